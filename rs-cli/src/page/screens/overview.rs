//! The overview: how things stand at a glance, on each node that is known here, and the button that revokes.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};
use rs_consent::conditions::Wait;
use rs_consent::party::Method;
use rs_consent::{Grant, Now, SupportRequest, compat};

use crate::commands::access::{self, Consents};
use crate::commands::{diagnostic_data, disable, ending, request};
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError, OpenSession, Status};
use crate::node;
use crate::outcome::Failure;
use crate::output::{safe, span};
use crate::page::door::Operator;
use crate::page::route::{Call, Reply};
use crate::page::screens::steps::Progress;
use crate::page::view::{self, Screen};

/// A consent that ends within this time is said to end soon.
const SOON: Duration = Duration::from_secs(15 * 60);

/// How the node stands.
#[derive(Debug)]
pub(in crate::page) struct Standing {
    consents: Consents,
    agent: Result<Status, ControlError>,
    waiting: usize,
    requests: Vec<SupportRequest>,
    now: Now,
}

impl Standing {
    /// Asks store and agent.
    ///
    /// # Errors
    ///
    /// As [`access::consents`].
    pub(in crate::page) fn read(context: &Context) -> Result<Self, Failure> {
        let consents = access::consents(true, context)?;
        let agent = node::agent(context).status();
        let waiting = match &agent {
            Ok(status) if !status.sessions.is_empty() => {
                node::agent(context).approvals().map_or(0, |all| all.len())
            }
            _ => 0,
        };
        let requests = request::all(context)?;
        Ok(Self { consents, agent, waiting, requests, now: context.clock.now() })
    }

    fn sessions(&self) -> &[OpenSession] {
        self.agent.as_ref().map_or(&[], |status| &status.sessions)
    }

    fn left(&self, grant: &Grant) -> Markup {
        let left = chrono::TimeDelta::from_std(grant.remaining(&self.now)).unwrap_or_default();
        // By either clock, whichever ends it earlier.
        view::countdown(self.now.wall + left, &span(left))
    }

    /// The connection to the relay in words.
    fn connection(&self) -> String {
        match &self.agent {
            Ok(status) => {
                let words = match status.connection_status.as_str() {
                    "Connected" => "Connected to the relay",
                    "Connecting" => "Connecting to the relay",
                    _ => "Not connected to the relay",
                };
                match &status.connection_error_message {
                    Some(trouble) => format!("{words}: {trouble}"),
                    None => words.to_owned(),
                }
            }
            Err(ControlError::NotRunning) => "No agent runs on this node: nobody can connect".to_owned(),
            Err(error) => format!("The agent could not be asked: {error}"),
        }
    }

    /// What changes while somebody looks; the script puts each part in the place of the one with the same id.
    pub(in crate::page) fn parts(&self) -> Markup {
        html! {
            (self.headline())
            (self.details())
            (self.steps())
            (self.nodes())
        }
    }

    /// What is still to be done before an engineer can connect.
    fn steps(&self) -> Markup {
        let status = self.agent.as_ref().ok();
        let waits = self.consents.pending(&self.now).map(|(_, wait)| wait.to_string());
        let progress = Progress {
            agent: status.is_some(),
            granted: self.consents.active().is_some() && self.consents.trouble().is_none(),
            waits: waits.as_deref(),
            connected: status.is_some_and(|status| status.connection_status == "Connected"),
            trouble: status.and_then(|status| status.connection_error_message.as_deref()),
            ..Progress::of(&self.requests)
        };
        html! { div #steps { (progress.shown()) } }
    }

    fn headline(&self) -> Markup {
        let (word, text) = match (self.consents.active(), self.consents.trouble()) {
            (Some(_), Some(trouble)) => ("Held", trouble),
            (Some(grant), None) => ("Active", format!("Level: {}.", view::level(grant.level))),
            (None, _) => match self.consents.pending(&self.now) {
                Some((_, Wait::SecondPerson)) => (
                    "Pending",
                    "Nobody has access yet: the consent waits for a second person, who approves with `remote-support \
                     approve` at their own account."
                        .to_owned(),
                ),
                Some((grant, wait)) => (
                    "Pending",
                    format!("Nobody has access yet: the consent ({}) waits for {wait}.", view::level(grant.level)),
                ),
                None => ("Not enabled", "Nobody has access to this node.".to_owned()),
            },
        };
        let mark = if word == "Not enabled" {
            "off"
        } else if word == "Held" || word == "Pending" {
            "held"
        } else {
            "on"
        };
        html! {
            div #headline role="status" {
                p.state data-state=(mark) { (word) }
                p { (safe(&text)) }
                @if self.consents.active().is_some_and(|grant| grant.remaining(&self.now) < SOON) {
                    p { strong { "Access ends in less than 15 minutes." } }
                }
                @match self.waiting {
                    0 => {}
                    1 => p { a href="/approvals" { "1 call waits for your answer" } }
                    many => p { a href="/approvals" { (many) " calls wait for your answer" } }
                }
            }
        }
    }

    fn details(&self) -> Markup {
        let connection = html! { (safe(&self.connection())) };
        let sessions = match self.sessions() {
            [] => html! { "None" },
            open => html! {
                ul.plain {
                    @for session in open {
                        li {
                            a href={ "/sessions/" (session.session_id) } { (safe(&session.engineer)) }
                            " since " (view::time(session.started_at)) ", " (view::level(session.access_level))
                        }
                    }
                }
            },
        };
        html! {
            div #details {
                @if let Some(grant) = self.consents.active() {
                    (view::facts([
                        ("Time left", html! { strong { (self.left(grant)) } }),
                        ("Ends at", view::time(grant.deadline.wall)),
                        ("For support request", grant.request.map_or_else(
                            || html! { "Any that is open" }, |number| html! { (number) })),
                        ("Diagnostics is read-only", html! { (if grant.scope.strict_read_only { "Yes" } else { "No: as published" }) }),
                        ("Waits for your approval", html! { (view::approval(grant.approval)) }),
                        ("Relay", connection),
                        ("Open sessions", sessions),
                        ("Given by", html! { (safe(grant.grantor.user.as_str())) " on " (view::time(grant.updated_at)) }),
                    ]))
                } @else {
                    (view::facts([("Relay", connection), ("Open sessions", sessions)]))
                }
            }
        }
    }

    /// One row a node. This program knows its own node only.
    fn nodes(&self) -> Markup {
        let enabled = usize::from(self.consents.active().is_some());
        let word = if enabled == 1 { "Enabled" } else { "Not enabled" };
        html! {
            div #nodes {
                p { (partial(enabled, 1)) }
                table {
                    thead { tr { th scope="col" { "Node" } th scope="col" { "Remote support" } th scope="col" { "Level" } th scope="col" { "Time left" } th scope="col" { "Sessions" } } }
                    tbody {
                        tr {
                            th scope="row" { (node::name()) " (this node)" }
                            td { (word) }
                            @if let Some(grant) = self.consents.active() {
                                td { (view::level(grant.level)) } td { (self.left(grant)) }
                            } @else { td { "-" } td { "-" } }
                            td { (self.sessions().len()) }
                        }
                    }
                }
            }
        }
    }
}

/// On how many nodes remote support is enabled, in words: silence would be no answer (F03, F04).
fn partial(enabled: usize, all: usize) -> String {
    match (enabled, all) {
        (0, 1) => "Remote support is not enabled on the only node that this page knows.".to_owned(),
        (1, 1) => "Remote support is enabled on the only node that this page knows.".to_owned(),
        (0, all) => format!("Remote support is not enabled on any of {all} nodes."),
        (enabled, all) if enabled == all => format!("Remote support is enabled on all {all} nodes."),
        (enabled, all) => {
            format!("Remote support is enabled on {enabled} of {all} nodes, and not on the others.")
        }
    }
}

pub(in crate::page) fn show(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let standing = Standing::read(call.context)?;
    let active = standing.consents.grants.iter().any(|grant| grant.state.is_open());
    let body = html! {
        h1 { "Remote support" }
        section.card aria-labelledby="now" data-events="/events" {
            h2 #now { "How it stands" }
            (standing.headline())
            (standing.details())
            div.actions {
                @if active {
                    a.button href="/grant" { "Change access" }
                    (revoke_form(call.operator))
                } @else {
                    a.button.first href="/grant" { "Grant access" }
                }
            }
            p.quiet #link aria-live="polite" {}
        }
        section.card aria-labelledby="steps-title" {
            h2 #steps-title { "Before an engineer can connect" }
            (standing.steps())
        }
        section.card aria-labelledby="nodes-title" {
            h2 #nodes-title { "Nodes" }
            (standing.nodes())
        }
        section.card aria-labelledby="earlier" {
            h2 #earlier { "Earlier consents" }
            (earlier(&standing.consents.grants))
        }
    };
    Ok(Reply::Show(Screen { title: "Overview".to_owned(), here: "/", body }))
}

fn revoke_form(operator: &Operator) -> Markup {
    html! {
        form method="post" action="/revoke" {
            (view::token(operator, "/revoke"))
            button.danger type="submit" { "Revoke access now" }
        }
    }
}

/// The consents that ended in the last 30 days.
fn earlier(grants: &[Grant]) -> Markup {
    let ended: Vec<&Grant> = grants.iter().filter(|grant| !grant.state.is_open()).collect();
    if ended.is_empty() {
        return html! { p { "None in the last 30 days." } };
    }
    html! {
        div.wide tabindex="0" role="region" aria-labelledby="earlier" {
            table {
                thead { tr { th scope="col" { "State" } th scope="col" { "Level" } th scope="col" { "Given" } th scope="col" { "Ended" } th scope="col" { "By" } } }
                tbody {
                    @for grant in ended {
                        tr {
                            td { (grant.state) }
                            td { (view::level(grant.level)) }
                            td { (view::time(grant.created_at)) }
                            td { @if let Some(ended) = grant.ended { (view::time(ended.at)) } @else { (view::time(grant.deadline.wall)) } }
                            td { (safe(grant.grantor.user.as_str())) }
                        }
                    }
                }
            }
        }
    }
}

/// Revokes, and tells how long that took and how each session ended.
pub(in crate::page) fn revoke(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let revoked = disable::end_access(Method::Console, call.context)?;
    let now = &revoked.ended.changed;
    let mut lines = Vec::new();
    let mut first =
        String::from(if revoked.changed { compat::DISABLED } else { "Remote Support was not enabled." });
    // Into a string nothing fails.
    let _ = write!(
        first,
        " {} ended, all within {} ms of the button.",
        count(now.sessions_ended, "session"),
        revoked.elapsed.as_millis()
    );
    lines.push(first);
    lines.extend(now.sessions.iter().map(ending::words));
    lines.extend(revoked.ended.ended_agent.map(node::ended_agent));
    if now.sessions_still_ending > 0 {
        lines.push(format!(
            "{} not down yet; stop the agent to end them.",
            count(now.sessions_still_ending, "session")
        ));
    }
    if !revoked.durable {
        lines.push(
            "The store could not be written; the agent writes the revocation as soon as the disk allows."
                .to_owned(),
        );
    }
    lines.extend(diagnostic_data::what_left(&call.context.state));
    Ok(call.done(lines, "/"))
}

pub(in crate::page) fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f03_f04_how_many_nodes_is_said_in_words() {
        for (enabled, all, words) in [
            (0, 1, "not enabled on the only node"),
            (1, 1, "is enabled on the only node"),
            (0, 3, "not enabled on any of 3 nodes"),
            (2, 3, "enabled on 2 of 3 nodes, and not on the others"),
            (3, 3, "enabled on all 3 nodes"),
        ] {
            assert!(partial(enabled, all).contains(words), "{enabled} {all}");
        }
    }
}
