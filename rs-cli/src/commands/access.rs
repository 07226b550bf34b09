//! `access`: consents, in the product's form.
//!
//! List and table show the nine public fields in their public order; JSON adds what stands behind them.

use clap::Args;
use rs_consent::compat::{self, ConnectionStatus};
use rs_consent::conditions::Wait;
use rs_consent::store::Hold;
use rs_consent::{Grant, GrantState, Now};

use crate::context::Context;
use crate::control::{AgentControl as _, ControlError};
use crate::fleet::{self, FleetArgs};
use crate::node;
use crate::outcome::{Failure, Outcome};
use crate::output::{Record, Value, date, span};

/// Arguments of `access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// List also consents that ended in the last 30 days, expired or revoked.
    #[arg(long, env = "REMOTE_SUPPORT_INCLUDE_EXPIRED", value_parser = clap::builder::BoolishValueParser::new())]
    pub include_expired: bool,
    /// On which nodes.
    #[command(flatten)]
    pub nodes: FleetArgs,
}

/// Lists consents, the newest first.
///
/// # Errors
///
/// As [`node::existing_store`].
pub fn run(args: &AccessArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(fleet) = args.nodes.fleet()? {
        return fleet::verbs::access(args, &fleet, context);
    }
    let now = context.clock.now();
    let consents = consents(args.include_expired, context)?;
    let grants = &consents.grants;
    let connection =
        Connection::of_agent(context, grants.iter().any(|grant| grant.state == GrantState::Active));
    let records: Vec<Record> = grants.iter().map(|grant| record(grant, &connection, &now)).collect();
    context.print_all(&records)?;
    advise(&consents, context, &now);
    if let Some(trouble) = consents.trouble() {
        context.note(trouble);
    }
    Ok(Outcome::Done)
}

/// The consents of this node, and whether they count.
#[derive(Debug)]
pub(crate) struct Consents {
    /// The newest first.
    pub(crate) grants: Vec<Grant>,
    hold: Option<Hold>,
}

/// Reads the consents; with `ended` also those that ended in the last 30 days.
///
/// # Errors
///
/// As [`node::existing_store`].
pub(crate) fn consents(ended: bool, context: &Context) -> Result<Consents, Failure> {
    let Some(store) = node::existing_store(context)? else {
        return Ok(Consents { grants: Vec::new(), hold: None });
    };
    Ok(Consents { grants: store.grants(ended, &context.clock.now())?, hold: store.held()? })
}

impl Consents {
    /// The one in force.
    pub(crate) fn active(&self) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.state == GrantState::Active)
    }

    /// The one that waits, and for what.
    pub(crate) fn pending(&self, now: &Now) -> Option<(&Grant, Wait)> {
        self.grants.iter().find_map(|grant| Some((grant, grant.waits_for(now)?)))
    }

    /// Why a consent lets nobody in, where one is held, and what to do.
    pub(crate) fn trouble(&self) -> Option<String> {
        let hold = self.hold.as_ref()?;
        let found = if hold.found.went_back_since(&hold.seen) {
            let (seen, found) = (date(hold.seen.wall), date(hold.found.wall));
            format!(
                "The clock went back from {seen} to {found}: nobody is let in. Set the clock if it is wrong"
            )
        } else {
            "The store of this node was put back or copied: nobody is let in. Look at what it lists as granted"
                .to_owned()
        };
        Some(format!("{found}, then confirm by enabling remote support again."))
    }
}

fn advise(consents: &Consents, context: &mut Context, now: &Now) {
    let grants = &consents.grants;
    if grants.is_empty() {
        context.note(compat::NO_ACCESS);
        context.note("Give it with `remote-support enable --access-level Diagnostics`.");
    }
    if let Some((pending, wait)) = consents.pending(now) {
        let left = chrono::TimeDelta::from_std(pending.remaining(now)).unwrap_or_default();
        let step = match wait {
            Wait::SecondPerson => ": somebody else approves with `remote-support approve`",
            Wait::Start(_) => "",
        };
        context.note(format!("The consent waits for {wait}{step}. It ends in {}.", span(left)));
    }
    if let Some(active) = grants.iter().find(|grant| grant.state == GrantState::Active) {
        let left = chrono::TimeDelta::from_std(active.remaining(now)).unwrap_or_default();
        context.note(format!("Access ends in {}.", span(left)));
    }
}

/// How the node stands with its relay, as the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// In one word.
    pub(crate) status: String,
    /// The last trouble.
    pub(crate) error: Option<String>,
}

impl Connection {
    /// Asks the agent, where a grant is in force and the answer can matter.
    pub(crate) fn of_agent(context: &Context, matters: bool) -> Self {
        let none = |error| Self { status: ConnectionStatus::NotConnected.to_string(), error };
        if !matters {
            return none(None);
        }
        match node::agent(context).status() {
            Ok(status) => Self { status: status.connection_status, error: status.connection_error_message },
            Err(ControlError::NotRunning) => none(None),
            Err(error) => none(Some(error.to_string())),
        }
    }
}

/// One grant with the nine public fields; `SasCredential` is always blank.
pub(crate) fn record(grant: &Grant, connection: &Connection, now: &Now) -> Record {
    let active = grant.state == GrantState::Active;
    let status =
        if grant.state.is_open() { ConnectionStatus::NotConnected } else { ConnectionStatus::Closed };
    let closed = Connection { status: status.to_string(), error: None };
    let connection = if active { connection } else { &closed };
    Record::new()
        .field("State", grant.state.to_string())
        .field("CreatedAt", grant.created_at)
        .detail("UpdatedAt", grant.updated_at)
        .field("ConnectionStatus", connection.status.as_str())
        .detail("ConnectionErrorMessage", connection.error.clone())
        .detail("TargetService", compat::TARGET_SERVICE)
        .field("AccessLevel", grant.level.to_string())
        .field("ExpiresAt", grant.deadline.wall)
        .detail("SasCredential", Value::None)
        .extra("Id", grant.id.to_string())
        .extra("RequireApproval", grant.approval.as_str())
        .extra("Minutes", grant.minutes.get())
        .extra("RemainingSeconds", grant.remaining(now).as_secs())
        .extra("NotBefore", grant.begins.map(|begins| begins.wall))
        .extra(
            "SecondPerson",
            grant.second_person.as_ref().map_or(Value::None, |one| Value::Json(serde_json::json!(one))),
        )
        .extra("WaitsFor", grant.waits_for(now).map(|wait| wait.to_string()))
        .extra("Revision", grant.revision)
        .extra("SupportRequest", grant.request.map(|number| number.to_string()))
        .extra("Terms", serde_json::json!(grant.terms))
        .extra("Grantor", serde_json::json!(grant.grantor))
        .extra("Catalog", grant.catalog.map(|catalog| catalog.to_string()))
        .extra("Product", grant.scope.product.to_string())
        .extra("StrictReadOnly", grant.scope.strict_read_only)
        .extra("EndedAt", grant.ended.map(|ended| ended.at))
        .extra("EndCause", grant.ended.map(|ended| ended.cause.as_str()))
}
