//! Calls that wait for the operator: what would be done, and the two buttons. A higher level shows the terms and what it
//! permits first, since the answer is a fresh consent.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use rs_consent::Terms;
use rs_consent::party::Method;
use rs_session::host::PendingApproval;
use rs_session::record::ApprovalSubject;
use uuid::Uuid;

use super::grant;
use crate::commands::session::approvals::{self, DECLINED, REASON_CHARS_MAX};
use crate::control::{AgentControl as _, Verdict};
use crate::node;
use crate::outcome::Failure;
use crate::output::{safe, safe_lines, span};
use crate::page::door::Operator;
use crate::page::form::invalid;
use crate::page::live::Subject;
use crate::page::route::{Call, Reply};
use crate::page::server::Answer;
use crate::page::view::{self, Screen};

pub(in crate::page) fn list(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let waiting = node::agent(call.context).approvals()?;
    let body = html! {
        h1 { "Approvals" }
        div data-events="/approvals/events" {
            p.quiet #link aria-live="polite" { "Reload this page to see what has come since." }
            (waiting_parts(&waiting, call.operator, call.context.clock.now().wall))
        }
    };
    Ok(Reply::Show(Screen { title: "Approvals".to_owned(), here: "/approvals", body }))
}

pub(in crate::page) fn events() -> Reply {
    Reply::Other(Answer::Live(Subject::Approvals))
}

/// What waits, for the page and for the stream that keeps it true.
pub(in crate::page) fn waiting_parts(
    waiting: &[PendingApproval],
    operator: &Operator,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        div #waiting {
            p role="status" {
                @match waiting.len() {
                    0 => "No call waits for an answer.",
                    1 => "1 call waits for your answer.",
                    many => { (many) " calls wait for your answer." }
                }
            }
            @for pending in waiting { (one(pending, operator, now)) }
        }
    }
}

fn one(pending: &PendingApproval, operator: &Operator, now: DateTime<Utc>) -> Markup {
    let id = pending.approval_id;
    let (title, reason) = (format!("t{}", id.simple()), format!("reason{}", id.simple()));
    let (approve, decline) = (format!("/approvals/{id}/approve"), format!("/approvals/{id}/decline"));
    html! {
        section.card id=(format!("call{}", id.simple())) aria-labelledby=(title) {
            h2 id=(title) { (subject(pending.subject)) }
            p.summary { (safe(&pending.summary)) }
            (view::facts([
                ("Engineer", html! { (safe(&pending.engineer)) }),
                ("Session", html! { a href={ "/sessions/" (pending.session_id) } { (pending.session_id) } }),
                ("Level of the session", html! { (view::level(pending.access_level)) }),
                ("Support request", html! { (pending.request) }),
                ("Asked", view::time(pending.asked_at)),
                ("Refused without an answer", html! { "after " (view::countdown(now + pending.remaining, &left(pending))) }),
            ]))
            @if !pending.details.is_null() {
                details {
                    summary { "In full, as it is on record" }
                    pre.wide tabindex="0" role="region" aria-label="The call in full" { (in_full(&pending.details)) }
                }
            }
            div.actions {
                @if pending.subject == ApprovalSubject::Level {
                    a.button.first href={ "/approvals/" (id) } { "See what the higher level permits" }
                } @else {
                    form method="post" action=(approve) {
                        (view::token(operator, &approve))
                        button.first type="submit" aria-describedby=(title) { "Approve: let it go on" }
                    }
                }
            }
            form method="post" action=(decline) {
                (view::token(operator, &decline))
                label for=(reason) { "Reason for the engineer and the record, if you decline (may be empty)" }
                input id=(reason) name="reason" maxlength=(REASON_CHARS_MAX) autocomplete="off";
                div.actions { button type="submit" aria-describedby=(title) { "Decline" } }
            }
        }
    }
}

/// The plan with its effects, or what would leave; the agent keeps it short enough for one message.
fn in_full(details: &serde_json::Value) -> String {
    safe_lines(&serde_json::to_string_pretty(details).unwrap_or_default())
}

/// In whole minutes, for whoever has no script.
fn left(pending: &PendingApproval) -> String {
    let minutes = pending.remaining.as_secs().div_ceil(60);
    span(chrono::TimeDelta::minutes(i64::try_from(minutes).unwrap_or(i64::MAX)))
}

fn subject(subject: ApprovalSubject) -> &'static str {
    match subject {
        ApprovalSubject::Change => "A call that changes the state of this node",
        ApprovalSubject::Release => "Collected data that would leave this site",
        ApprovalSubject::Level => "A higher level, for sessions to come",
    }
}

fn id(text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|_| invalid("Approval", "this is not the id of a call"))
}

/// What a higher level permits, the terms, and the button.
pub(in crate::page) fn show(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let pending = approvals::waiting(id(text)?, call.context)?;
    let raise = approvals::raise_of(&pending, call.context)?;
    let permits = match &raise {
        Some(raise) => grant::permits(raise.level, &raise.active.scope, call.context)?,
        None => html! {},
    };
    let terms = Terms::azure_local();
    let action = format!("/approvals/{}/approve", pending.approval_id);
    let body = html! {
        h1 { "Before you approve" }
        section.card aria-labelledby="asked" {
            h2 #asked { (subject(pending.subject)) }
            p.summary { (safe(&pending.summary)) }
            @if let Some(raise) = &raise {
                p { "The level would be " strong { (view::level(raise.level)) } " until the access ends at "
                    (view::time(raise.active.expires_at())) "; that end is not moved." }
            }
        }
        @if raise.is_some() {
            section.card aria-labelledby="permits" {
                h2 #permits { "What this permits" }
                (permits)
            }
            section.card aria-labelledby="terms" {
                h2 #terms { "Terms and conditions" }
                (view::terms(&terms))
            }
        }
        form.card method="post" action=(action) {
            (view::token(call.operator, &action))
            @if raise.is_some() {
                input type="hidden" name="terms" value=(terms.agreed().sha256);
                label.tick {
                    input type="checkbox" name="agree" value="yes" required;
                    span { strong { "I have read the terms and conditions and agree to them." } }
                }
            }
            div.actions {
                button.first type="submit" { "Approve" }
                a.button href="/approvals" { "Back" }
            }
        }
    };
    Ok(Reply::Show(Screen { title: "Before you approve".to_owned(), here: "/approvals", body }))
}

pub(in crate::page) fn approve(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let pending = approvals::waiting(id(text)?, call.context)?;
    if let Some(raise) = approvals::raise_of(&pending, call.context)? {
        grant::agreed(&call.ask.form, &Terms::azure_local())?;
        raise.give(Method::Console, call.context)?;
    }
    approvals::answer(&pending, Verdict::Approve {}, call.context)?;
    Ok(call.done(vec![approvals::approved(&pending).to_owned()], "/approvals"))
}

pub(in crate::page) fn decline(text: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let reason = call.ask.form.get("reason").unwrap_or_default().to_owned();
    approvals::decline_as(id(text)?, &reason, Method::Console, call.context)?;
    Ok(call.done(vec![DECLINED.to_owned()], "/approvals"))
}
