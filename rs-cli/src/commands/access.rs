//! `access`: consents, in the product's form.
//!
//! List and table show the nine public fields in their public order; JSON adds what stands behind them.

use clap::Args;
use rs_consent::compat::{self, ConnectionStatus};
use rs_consent::{Grant, GrantState, Now};

use crate::context::Context;
use crate::control::{AgentControl as _, ControlError};
use crate::node;
use crate::outcome::{Failure, Outcome};
use crate::output::{Record, Value, date, span};

/// Arguments of `access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// List also consents that ended in the last 30 days, expired or revoked.
    #[arg(long, env = "REMOTE_SUPPORT_INCLUDE_EXPIRED", value_parser = clap::builder::BoolishValueParser::new())]
    pub include_expired: bool,
}

/// Lists consents, the newest first.
///
/// # Errors
///
/// As [`node::existing_store`].
pub fn run(args: &AccessArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let now = context.clock.now();
    let store = node::existing_store(context)?;
    let grants = match &store {
        Some(store) => store.grants(args.include_expired, &now)?,
        None => Vec::new(),
    };
    let connection =
        Connection::of_agent(context, grants.iter().any(|grant| grant.state == GrantState::Active));
    let records: Vec<Record> = grants.iter().map(|grant| record(grant, &connection, &now)).collect();
    context.print_all(&records)?;
    advise(&grants, context, &now);
    if let Some(hold) = store.map(|store| store.held()).transpose()?.flatten() {
        context.note(format!(
            "The clock went back from {} to {}: nobody is let in. Set the clock if it is wrong, then confirm by \
             enabling remote support again.",
            date(hold.seen.wall),
            date(hold.found.wall)
        ));
    }
    Ok(Outcome::Done)
}

fn advise(grants: &[Grant], context: &mut Context, now: &Now) {
    if grants.is_empty() {
        context.note(compat::NO_ACCESS);
    }
    if let Some(active) = grants.iter().find(|grant| grant.state == GrantState::Active) {
        let left = chrono::TimeDelta::from_std(active.remaining(now)).unwrap_or_default();
        context.note(format!("Access ends in {}.", span(left)));
    }
}

/// How the node stands with its relay, as the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    status: String,
    error: Option<String>,
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
    let closed = Connection { status: ConnectionStatus::Closed.to_string(), error: None };
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
        .extra("Minutes", grant.minutes.get())
        .extra("RemainingSeconds", grant.remaining(now).as_secs())
        .extra("Revision", grant.revision)
        .extra("SupportRequest", grant.request.map(|number| number.to_string()))
        .extra("Terms", serde_json::json!(grant.terms))
        .extra("Grantor", serde_json::json!(grant.grantor))
        .extra("Catalog", grant.catalog.map(|catalog| catalog.to_string()))
        .extra("EndedAt", grant.ended.map(|ended| ended.at))
        .extra("EndCause", grant.ended.map(|ended| ended.cause.as_str()))
}
