//! `disable`: revoke, end all sessions, say how it went.
//!
//! The store is changed first and by this process, so that an agent that is down or stuck keeps nobody from revoking.
//! Then the agent is told, and this command returns when it has ended the sessions. If the store cannot be written,
//! the agent is told to shut its gate all the same (SEC11).

use std::time::Instant;

use clap::Args;
use rs_consent::compat;
use rs_consent::party::Method;

use crate::context::Context;
use crate::control::{AgentControl as _, Changed, ControlError};
use crate::node;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;

/// Arguments of `disable`.
#[derive(Debug, Args)]
pub struct DisableArgs {}

/// Revokes consent; a success also where nothing was granted.
///
/// # Errors
///
/// As [`node::open_store`]; [`ErrorCode::AgentUnreachable`](crate::outcome::ErrorCode) where an agent runs and does not
/// confirm that its sessions are down (the consent is revoked then).
pub fn run(_args: &DisableArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let start = Instant::now();
    context.note(compat::DISABLING);
    let changed = revoke(context)?;
    let ended = node::notify(context).map_err(|error| {
        Failure::from(error)
            .next_step("the consent is revoked; stop the agent to be sure that its sessions are down")
    })?;
    report(changed, ended.unwrap_or_default(), start, context)
}

/// Revokes in the store; says whether anything was granted.
fn revoke(context: &mut Context) -> Result<bool, Failure> {
    let revoked = node::existing_store(context).and_then(|store| match store {
        Some(store) => Ok(store.revoke(&node::grantor(Method::CommandLine), &context.clock.now())?),
        None => Ok(None),
    });
    match revoked {
        Ok(grant) => Ok(grant.is_some()),
        Err(failure) => Err(shut(failure, context)),
    }
}

/// The store failed: let the agent end access by itself, and say what came of it.
fn shut(failure: Failure, context: &mut Context) -> Failure {
    let now = match node::agent(context).shut() {
        Ok(changed) => format!(
            "the agent has shut its gate and ended {} sessions; the store still holds the consent, so repair it and \
             run this again before the agent is restarted",
            changed.sessions_ended
        ),
        Err(ControlError::NotRunning) => {
            "no agent is running, so nobody has access; repair the store before starting one".to_owned()
        }
        Err(error) => format!("stop the agent at once, its sessions may be open: {error}"),
    };
    let repair = failure.remedy().map_or_else(String::new, |remedy| format!("; to repair: {remedy}"));
    failure.next_step(now + &repair)
}

fn report(changed: bool, ended: Changed, start: Instant, context: &mut Context) -> Result<Outcome, Failure> {
    let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let record = Record::new()
        .field("Changed", changed)
        .field("SessionsEnded", ended.sessions_ended)
        .field("SessionsStillEnding", ended.sessions_still_ending)
        .field("ElapsedMilliseconds", elapsed);
    context.print_one(&record)?;
    if ended.sessions_still_ending > 0 {
        context
            .note("The consent is revoked, but some sessions are not down yet; stop the agent to end them.");
        return Ok(Outcome::Partial);
    }
    if changed {
        context.note(format!(
            "{} What was collected under the consent before is not affected.",
            compat::DISABLED
        ));
    } else {
        context.note("Remote Support was not enabled; nothing was changed.");
    }
    Ok(Outcome::Done)
}
