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
use crate::fleet::summary::{self, Stands};
use crate::fleet::{self, target::Host};
use crate::node;
use crate::outcome::Failure;
use crate::output::{safe, span};
use crate::page::Site;
use crate::page::door::Operator;
use crate::page::nodes::Seen;
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
    /// How many other nodes there are, and what they answered, if they have.
    others: Option<(usize, Option<Seen>)>,
}

impl Standing {
    /// Asks store and agent.
    ///
    /// # Errors
    ///
    /// As [`access::consents`].
    pub(in crate::page) fn read(site: &Site, context: &Context) -> Result<Self, Failure> {
        let consents = access::consents(true, context)?;
        let agent = node::agent(context).status();
        let waiting = match &agent {
            Ok(status) if !status.sessions.is_empty() => {
                node::agent(context).approvals().map_or(0, |all| all.len())
            }
            _ => 0,
        };
        let requests = request::all(context)?;
        let others = site.board.as_ref().map(|board| (board.count(), board.look()));
        Ok(Self { consents, agent, waiting, requests, now: context.clock.now(), others })
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

    /// On how many nodes remote support is enabled, in words: silence would be no answer (F03, F04).
    fn partial(&self) -> String {
        let active = self.consents.active().is_some();
        let Some((count, seen)) = &self.others else {
            let not = if active { "" } else { "not " };
            return format!("Remote support is {not}enabled on the only node that this page knows.");
        };
        let Some(seen) = seen else {
            return format!("{} being asked how remote support stands there.", count_of_others(*count));
        };
        let own = match (active, self.consents.pending(&self.now)) {
            (true, _) => Stands::Enabled,
            (false, Some((_, wait))) => Stands::Not(format!("waits for {wait}")),
            (false, None) => Stands::Not("not enabled".to_owned()),
        };
        let others = seen.nodes.iter().map(|(host, node)| (host.to_string(), node.stands.clone()));
        let all: Vec<(String, Stands)> =
            [(format!("{} (this node)", node::name()), own)].into_iter().chain(others).collect();
        summary::enabled(&all)
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

    /// One row a node: this one, and those that the page was told of.
    fn nodes(&self) -> Markup {
        let active = self.consents.active().is_some();
        let word = if active { "Enabled" } else { "Not enabled" };
        html! {
            div #nodes {
                p { (safe(&self.partial())) }
                @if let Some((_, Some(seen))) = &self.others {
                    p.quiet { "The other nodes answered at " (view::time(seen.at)) "; they are read only here." }
                }
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
                        @for (host, node) in self.others.iter().filter_map(|(_, seen)| seen.as_ref()).flat_map(|seen| &seen.nodes) {
                            (other(host, node, self.now.wall))
                        }
                    }
                }
            }
        }
    }
}

/// The row of another node: what it answered, or why nothing is known of it.
fn other(host: &Host, node: &fleet::verbs::Standing, now: chrono::DateTime<chrono::Utc>) -> Markup {
    let (word, why) = match &node.stands {
        Stands::Enabled => ("Enabled", None),
        Stands::Not(why) => ("Not enabled", Some(why.as_str()).filter(|_| node.level.is_some())),
        Stands::Unknown(trouble) => ("Not known", Some(trouble.cause.as_str())),
    };
    html! {
        tr {
            th scope="row" { (host) }
            td { (word) @if let Some(why) = why { ": " (safe(why)) } }
            td { (node.level.map_or("-", view::level)) }
            td { @if let Some(ends) = node.expires_at { (view::countdown(ends, &span((ends - now).min(node.left)))) } @else { "-" } }
            td { "-" }
        }
    }
}

fn count_of_others(count: usize) -> String {
    if count == 1 { "One other node is".to_owned() } else { format!("{count} other nodes are") }
}

pub(in crate::page) fn show(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let standing = Standing::read(call.site, call.context)?;
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
