//! Support requests: made, sent to the desk as a file, confirmed with the desk's answer, closed.

use maud::{Markup, html};
use rs_consent::party::Reason;
use rs_consent::request::RequestState;
use rs_consent::{RequestNumber, SupportRequest};

use crate::casefiles::{self, Paper};
use crate::commands::{ending, request};
use crate::files;
use crate::node;
use crate::outcome::{ErrorCode, Failure};
use crate::output::safe;
use crate::page::form::invalid;
use crate::page::route::{Call, Reply};
use crate::page::server::Answer;
use crate::page::view::{self, Screen};

/// Largest request file that is handed out, in bytes.
const STATEMENT_BYTES_MAX: usize = 256 * 1024;

pub(in crate::page) fn list(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let requests = request::all(call.context)?;
    let body = html! {
        h1 { "Support requests" }
        section.card aria-labelledby="known" {
            h2 #known { "Requests of this node" }
            (table(&requests, call))
        }
        section.card aria-labelledby="new" {
            h2 #new { "Ask for support" }
            form method="post" action="/requests" {
                (view::token(call.operator, "/requests"))
                label for="reason" { "Why support is needed, one line" }
                input #reason name="reason" required maxlength="256" autocomplete="off";
                div.actions { button.first type="submit" { "Make the request" } }
            }
            p.quiet { "You get a file to send to the support organisation." }
        }
        section.card aria-labelledby="answer" {
            h2 #answer { "The desk has answered" }
            form method="post" action="/requests/opening" {
                (view::token(call.operator, "/requests/opening"))
                label for="opening" { "The text of the file that the desk sent (its opening)" }
                textarea #opening name="opening" required spellcheck="false" {}
                (view::file_chooser("opening", STATEMENT_BYTES_MAX))
                div.actions { button.first type="submit" { "Look at it" } }
            }
            p.quiet { "Nothing is confirmed yet by that." }
        }
    };
    Ok(Reply::Show(Screen { title: "Support requests".to_owned(), here: "/requests", body }))
}

fn table(requests: &[SupportRequest], call: &Call<'_>) -> Markup {
    if requests.is_empty() {
        return html! { p { "No support request exists." } };
    }
    html! {
        div.wide tabindex="0" role="region" aria-labelledby="known" {
            table {
                thead { tr {
                    th scope="col" { "Number" } th scope="col" { "State" } th scope="col" { "Reason" } th scope="col" { "Made" }
                    th scope="col" { "Desk" } th scope="col" { "What to do" }
                } }
                tbody { @for request in requests { (row(request, call)) } }
            }
        }
    }
}

fn row(request: &SupportRequest, call: &Call<'_>) -> Markup {
    let number = request.number;
    let submitted = request.state() == RequestState::Submitted;
    let answered = submitted && casefiles::path(&call.context.state, Paper::Opening, number).exists();
    let action = format!("/requests/{number}/close");
    html! {
        tr {
            th scope="row" { (number) }
            td { (request.state()) }
            td { (safe(request.reason.as_str())) }
            td { (view::time(request.created_at)) }
            td {
                @if let Some(confirmed) = &request.confirmed {
                    (safe(confirmed.desk.name.as_str())) br; span.quiet { "key " (confirmed.desk.key.fingerprint()) }
                } @else { "-" }
            }
            td {
                a href={ "/requests/" (number) "/file" } aria-label={ "File of request " (number) " for the desk" } { "File for the desk" }
                @if answered {
                    " " a href={ "/requests/" (number) "/opening" } aria-label={ "Answer of the desk to request " (number) } { "The desk's answer" }
                }
                @if request.state() != RequestState::Closed {
                    form method="post" action=(action) {
                        (view::token(call.operator, &action))
                        button type="submit" aria-label={ "Close request " (number) } { "Close" }
                    }
                }
            }
        }
    }
}

pub(in crate::page) fn submit(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let reason: Reason = call.ask.form.needed("reason", "Reason")?;
    let (request, _, _) = request::make(&reason, call.context)?;
    let line = format!(
        "Support request {} is made. Take its file from the list and send it to the desk; this node's key has the fingerprint {}.",
        request.number,
        request.node.key.fingerprint()
    );
    Ok(call.done(vec![line], "/requests"))
}

fn number(text: &str) -> Result<RequestNumber, Failure> {
    text.parse().map_err(|_| invalid("Support request", "this is not the number of one"))
}

pub(in crate::page) fn file(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let number = number(text)?;
    let path = casefiles::path(&call.context.state, Paper::Request, number);
    let content = files::read(&path, STATEMENT_BYTES_MAX)?;
    Ok(Reply::Other(Answer::File(format!("request-{number}.json"), "application/json", content)))
}

/// Shows who answered, before anything is confirmed.
pub(in crate::page) fn opening(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let text = call.ask.form.get("opening").unwrap_or_default().to_owned();
    answered(&text, call)
}

/// As [`opening`], where the desk is one of this machine and its answer lies there.
pub(in crate::page) fn opening_here(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let path = casefiles::path(&call.context.state, Paper::Opening, number(text)?);
    let content = files::read(&path, STATEMENT_BYTES_MAX)?;
    answered(&String::from_utf8_lossy(&content), call)
}

fn answered(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let opening = request::opening_of_text(text, call.context)?;
    let body = html! {
        h1 { "Is this the desk that you asked for support?" }
        section.card aria-labelledby="desk" {
            h2 #desk { (safe(opening.desk.name.as_str())) }
            (view::facts([
                ("Support request", html! { (opening.number) }),
                ("Fingerprint of the desk's key", html! { code { (opening.desk.key.fingerprint()) } }),
            ]))
            p { "Compare the fingerprint with the one that the support organisation told you in another way, for example on the telephone. "
                "If you confirm, this key and no other assigns engineers for this request." }
            form method="post" action="/requests/confirm" {
                (view::token(call.operator, "/requests/confirm"))
                input type="hidden" name="opening" value=(text);
                label.tick {
                    input type="checkbox" name="compared" value="yes" required;
                    span { strong { "I have compared the fingerprint, and it is the right one." } }
                }
                div.actions {
                    button.first type="submit" { "Confirm this desk" }
                    a.button href="/requests" { "No, change nothing" }
                }
            }
        }
    };
    Ok(Reply::Show(Screen { title: "The desk's answer".to_owned(), here: "/requests", body }))
}

pub(in crate::page) fn confirm(call: &mut Call<'_>) -> Result<Reply, Failure> {
    if !call.ask.form.has("compared") {
        return Err(Failure::new(ErrorCode::Refused, "the fingerprint was not compared")
            .next_step("go back; nothing was changed"));
    }
    let opening = request::opening_of_text(call.ask.form.get("opening").unwrap_or_default(), call.context)?;
    let request = request::accept(&opening, call.context)?;
    let line = format!("Support request {} is open; its desk is {}.", request.number, opening.desk.name);
    Ok(call.done(vec![line], "/requests"))
}

pub(in crate::page) fn close(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let number = number(text)?;
    let closed = request::shut(number, call.context)?;
    let mut lines = vec![if closed.changed {
        format!("Support request {number} is closed.")
    } else {
        format!("Support request {number} was closed already.")
    }];
    lines.extend(closed.ended.changed.sessions.iter().map(ending::words));
    lines.extend(closed.ended.ended_agent.map(node::ended_agent));
    Ok(call.done(lines, "/requests"))
}
