//! Granting and changing access: first what, then what that permits and the terms, then the button.

use maud::{Markup, html};
use rs_consent::party::Method;
use rs_consent::request::RequestState;
use rs_consent::{AccessLevel, ApprovalRule, Grant, Minutes, RequestNumber, Scope, Terms};
use rs_session::operations::Effect;
use rs_session::operations::catalog::Entry;
use secrecy::SecretString;

use crate::commands::access;
use crate::commands::enable::{self, Choice};
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure};
use crate::output::safe;
use crate::owner_policy::OwnerPolicy;
use crate::page::form::{Form, invalid};
use crate::page::route::{Call, Reply};
use crate::page::view::{self, Screen};
use crate::state::Role;
use crate::{explain, files, node};

/// Periods to choose from, in minutes; any other can be typed.
const PERIODS: [(u32, &str); 6] = [
    (60, "1 hour"),
    (480, "8 hours"),
    (1440, "1 day"),
    (4320, "3 days"),
    (10_080, "7 days"),
    (20_160, "14 days"),
];

/// The field of the relay's credential, in the form that is sent and in no address.
const CREDENTIAL: &str = "credential";

/// The fields of a choice, in forms and addresses.
const FIELDS: [&str; 7] = ["level", "period", "minutes", "request", "strict", "product", "approval"];

pub(in crate::page) fn choose(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let consents = access::consents(false, call.context)?;
    let active = consents.active();
    let title = if active.is_some() { "Change access" } else { "Grant access" };
    let requests = open_requests(call.context)?;
    let body = html! {
        h1 { (title) }
        @if active.is_some() {
            p { "A new choice takes the place of the one in force as soon as you agree to it. Sessions that it does not permit end then." }
        }
        form.card method="get" action="/grant/review" {
            // Chosen in the terminal; a change here leaves it as it is.
            @if let Some(grant) = active { input type="hidden" name="product" value=(grant.scope.product); }
            (levels(active))
            (periods(active))
            (requests_to_choose(&requests, active))
            fieldset {
                legend { "Limits" }
                label.tick {
                    input type="checkbox" name="strict" value="yes" checked[active.is_none_or(|grant| grant.scope.strict_read_only)];
                    span { strong { "Keep Diagnostics read-only" } " The published commands that change state are taken out of it." }
                }
                p #approval-label { strong { "Which calls wait for your approval" } }
                @for rule in ApprovalRule::ALL {
                    label.tick {
                        input type="radio" name="approval" value=(rule.as_str())
                            checked[active.map_or_else(ApprovalRule::default, |grant| grant.approval) == rule];
                        span { (view::approval(rule)) }
                    }
                }
            }
            div.actions {
                button.first type="submit" { "Go on: see what this permits, and the terms" }
                a.button href="/" { "Cancel" }
            }
        }
    };
    Ok(Reply::Show(Screen { title: title.to_owned(), here: "/grant", body }))
}

fn levels(active: Option<&Grant>) -> Markup {
    let chosen = active.map_or(AccessLevel::Diagnostics, |grant| grant.level);
    html! {
        fieldset {
            legend { "Access level" }
            @for level in AccessLevel::ALL {
                label.tick {
                    input type="radio" name="level" value=(level) checked[level == chosen];
                    span {
                        strong { (view::level(level)) }
                        @match level {
                            AccessLevel::Diagnostics => " An engineer may look at this node.",
                            _ => " An engineer may also repair: for example start and stop services.",
                        }
                    }
                }
            }
        }
    }
}

fn periods(active: Option<&Grant>) -> Markup {
    let chosen = active.map_or(Minutes::DEFAULT, |grant| grant.minutes).get();
    let other = PERIODS.iter().all(|(minutes, _)| *minutes != chosen);
    html! {
        fieldset {
            legend { "Access period" }
            div.row {
                @for (minutes, words) in PERIODS {
                    label.tick {
                        input type="radio" name="period" value=(minutes) checked[minutes == chosen];
                        span { (words) }
                    }
                }
                label.tick {
                    input type="radio" name="period" value="other" checked[other];
                    span { "Other" }
                }
            }
            label for="minutes" { "Minutes, where you chose Other: " (Minutes::MIN) " to " (Minutes::MAX) }
            input #minutes type="number" name="minutes" value=[other.then_some(chosen)] min=(Minutes::MIN) max=(Minutes::MAX) inputmode="numeric";
        }
    }
}

fn open_requests(context: &Context) -> Result<Vec<RequestNumber>, Failure> {
    let requests =
        node::existing_store(context)?.map(|store| store.requests()).transpose()?.unwrap_or_default();
    Ok(requests.iter().filter(|one| one.state() != RequestState::Closed).map(|one| one.number).collect())
}

fn requests_to_choose(requests: &[RequestNumber], active: Option<&Grant>) -> Markup {
    let chosen = active.and_then(|grant| grant.request);
    html! {
        fieldset {
            legend { "Support request" }
            label for="request" { "Give access for" }
            select #request name="request" {
                option value="" { "Any open support request" }
                @for number in requests {
                    option value=(number) selected[chosen == Some(*number)] { "Only " (number) }
                }
            }
            @if requests.is_empty() {
                p.quiet { "No support request is open yet; nobody can connect before there is one." }
            }
        }
    }
}

/// Reads the choice from a form or an address.
fn chosen(form: &Form) -> Result<Choice, Failure> {
    let minutes = match form.get("period") {
        None | Some("other") => form.needed("minutes", "Minutes")?,
        Some(_) => form.needed("period", "Access period")?,
    };
    Ok(Choice {
        level: form.needed("level", "Access level")?,
        minutes,
        request: form.parsed("request", "Support request")?,
        scope: Scope {
            product: form.parsed("product", "Product")?.unwrap_or_else(|| Scope::default().product),
            strict_read_only: form.has("strict"),
        },
        approval: form.parsed("approval", "Approval")?.unwrap_or_default(),
        conditions: rs_consent::Conditions::default(),
    })
}

pub(in crate::page) fn review(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let choice = chosen(&call.ask.query)?;
    if let Some(number) = choice.request {
        enable::state_of(number, call.context)?;
    }
    let terms = Terms::azure_local();
    let permits = permits(choice.level, &choice.scope, call.context)?;
    let body = html! {
        h1 { "Before you agree" }
        section.card aria-labelledby="chosen" {
            h2 #chosen { "What you chose" }
            (view::facts([
                ("Access level", html! { (view::level(choice.level)) }),
                ("Access period", html! { (period(choice.minutes)) ", from the moment of the button" }),
                ("Product whose lists count", html! { (choice.scope.product) }),
                ("Support request", choice.request.map_or_else(|| html! { "Any that is open" }, |number| html! { (number) })),
                ("Waits for your approval", html! { (view::approval(choice.approval)) }),
            ]))
            p { a href="/grant" { "Choose differently" } }
        }
        section.card aria-labelledby="permits" {
            h2 #permits { "What this permits" }
            (permits)
        }
        section.card aria-labelledby="terms" {
            h2 #terms { "Terms and conditions" }
            (view::terms(&terms))
            form method="post" action="/grant" {
                (view::token(call.operator, "/grant"))
                (hidden(&call.ask.query))
                input type="hidden" name="terms" value=(terms.agreed().sha256);
                (credential_field(call.context))
                label.tick {
                    input type="checkbox" name="agree" value="yes" required;
                    span { strong { "I have read the terms and conditions and agree to them." } }
                }
                div.actions { button.first type="submit" { "Enable remote support" } }
            }
            form method="post" action="/grant/decline" {
                (view::token(call.operator, "/grant/decline"))
                (hidden(&call.ask.query))
                button type="submit" { "No, do not enable it" }
            }
        }
    };
    Ok(Reply::Show(Screen { title: "Before you agree".to_owned(), here: "/grant", body }))
}

/// Where the relay's credential is handed in. It is only ever sent, never shown again.
fn credential_field(context: &Context) -> Markup {
    let has_one = context.state.role(Role::Node).file(node::CREDENTIAL_NAME).exists();
    html! {
        details open[!has_one] {
            summary { "Relay credential" }
            p {
                @if has_one { "This node has a credential already; leave this empty to keep it." }
                @else { "Support gives it to you, unless you run the relay yourself on this machine; then leave this empty." }
            }
            label for=(CREDENTIAL) { "Credential: the content of the file from support" }
            input id=(CREDENTIAL) type="password" name=(CREDENTIAL) autocomplete="off" spellcheck="false" maxlength=(files::SECRET_BYTES_MAX);
            (view::file_chooser(CREDENTIAL, files::SECRET_BYTES_MAX))
        }
    }
}

/// The credential of a form, if it would be taken.
fn credential(form: &Form, minutes: Minutes, context: &mut Context) -> Result<Option<SecretString>, Failure> {
    let Some(text) = form.get(CREDENTIAL) else { return Ok(None) };
    if text.len() > files::SECRET_BYTES_MAX {
        return Err(invalid("Credential", &format!("it is longer than {} bytes", files::SECRET_BYTES_MAX)));
    }
    let text = SecretString::from(text);
    enable::check_credential(&text, |now| now + minutes.delta(), context)?;
    Ok(Some(text))
}

fn hidden(form: &Form) -> Markup {
    html! {
        @for name in FIELDS {
            @if let Some(value) = form.get(name) { input type="hidden" name=(name) value=(value); }
        }
    }
}

fn period(minutes: Minutes) -> String {
    let known = PERIODS.iter().find(|(own, _)| *own == minutes.get());
    known.map_or_else(|| format!("{minutes} minutes"), |(_, words)| (*words).to_owned())
}

/// Everything that a level permits: in words as the command says it, then by name, what does more than read first.
///
/// # Errors
///
/// As [`explain::level_here`].
pub(super) fn permits(level: AccessLevel, scope: &Scope, context: &Context) -> Result<Markup, Failure> {
    let words = explain::level_here(level, scope, context)?;
    let commands = OwnerPolicy::read(&context.state.role(Role::Node))?.commands;
    let (only_reads, does_more): (Vec<&Entry>, Vec<&Entry>) = explain::permitted(level, scope)
        .filter(|entry| !commands.take_out(&entry.name))
        .partition(|entry| marks(entry).is_empty());
    Ok(html! {
        @for line in words.lines().filter(|line| !line.starts_with("The list:")) { p { (safe(line)) } }
        @if !does_more.is_empty() {
            h3 { (does_more.len()) " commands do more than read" }
            ul.commands { @for entry in does_more { (command(entry)) } }
        }
        details {
            summary { (only_reads.len()) " commands read only" }
            ul.commands { @for entry in only_reads { (command(entry)) } }
        }
    })
}

fn command(entry: &Entry) -> Markup {
    html! {
        li { code { (entry.name) } @for mark in marks(entry) { " " span.mark { (mark) } } }
    }
}

/// What a command does besides reading, a word or two each.
fn marks(entry: &Entry) -> Vec<&'static str> {
    let mut marks: Vec<_> = Effect::ALL
        .into_iter()
        .filter(|effect| entry.effects.has(*effect))
        .filter_map(|effect| match effect {
            Effect::Changes => Some("changes state"),
            Effect::Services => Some("starts or stops services"),
            Effect::Network => Some("opens connections"),
            Effect::DataLeaving => Some("data leaves"),
            _ => None,
        })
        .collect();
    if entry.may_return_secrets {
        marks.push("may return secrets");
    }
    marks
}

/// Whether the form agrees to these terms, which stood above its button.
pub(super) fn agreed(form: &Form, terms: &Terms) -> Result<(), Failure> {
    if !form.has("agree") {
        return Err(invalid("Terms and conditions", "you did not agree to them, so nothing is enabled"));
    }
    if form.get("terms") != Some(&terms.agreed().sha256.to_string()) {
        return Err(Failure::new(ErrorCode::Refused, "the terms agreed to are not the ones in force")
            .next_step("open the page anew and read them again; nothing was changed"));
    }
    Ok(())
}

pub(in crate::page) fn give(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let form = &call.ask.form;
    let choice = chosen(form)?;
    let terms = Terms::azure_local();
    agreed(form, &terms)?;
    if let Some(number) = choice.request {
        enable::state_of(number, call.context)?;
    }
    let credential = credential(form, choice.minutes, call.context)?;
    let now = call.context.clock.now();
    let consent = choice.consent(terms, Method::Console, now);
    let grant = enable::give(&consent, None, credential.as_ref(), call.context)?;
    let mut lines = vec![format!(
        "Access at level {} ends at {}.",
        view::level(grant.level),
        crate::output::date(grant.deadline.wall)
    )];
    if let Some(wait) = grant.waits_for(&call.context.clock.now()) {
        lines.push(format!("Nobody gets in yet: the consent waits for {wait}."));
    }
    Ok(call.done(lines, "/"))
}

pub(in crate::page) fn decline(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let choice = chosen(&call.ask.form)?;
    enable::note_declined(choice.level, choice.minutes, Method::Console, call.context)?;
    Ok(call.done(vec!["Remote Support was not enabled; nothing was changed.".to_owned()], "/"))
}
