//! `disable`: revoke, end all sessions, say how it went.
//!
//! The store is changed first and by this process, so that an agent that is down or stuck keeps nobody from revoking.
//! Then the agent is told, and this command returns when it has ended the sessions. If the store cannot be written,
//! the agent is told to shut its gate all the same (SEC11), and writes the revocation when the disk takes it again. If the
//! agent does not answer, it is ended itself.

use std::time::{Duration, Instant};

use clap::Args;
use rs_consent::compat;
use rs_consent::party::{Grantor, Method};
use rs_consent::store::StoreError;

use crate::commands::{diagnostic_data, ending};
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError, SocketControl};
use crate::fleet::{self, FleetArgs};
use crate::node::{self, Enforced};
use crate::outcome::{Failure, Outcome};
use crate::output::Record;

/// Arguments of `disable`.
#[derive(Debug, Args)]
pub struct DisableArgs {
    /// Say what would be revoked and which sessions would end, and change nothing.
    #[arg(long, env = "REMOTE_SUPPORT_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    pub dry_run: bool,
    /// On which nodes.
    #[command(flatten)]
    pub nodes: FleetArgs,
}

/// Revokes consent; a success also where nothing was granted.
///
/// # Errors
///
/// As [`node::open_store`]; [`ErrorCode::AgentUnreachable`](crate::outcome::ErrorCode) where an agent runs and does not
/// confirm that its sessions are down, and cannot be ended (the consent is revoked then).
pub fn run(args: &DisableArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(fleet) = args.nodes.fleet()? {
        return fleet::verbs::disable(args, &fleet, context);
    }
    if args.dry_run {
        return preview(context);
    }
    context.note(compat::DISABLING);
    let revoked = end_access(Method::CommandLine, context)?;
    report(&revoked, context)
}

/// What a revoke did.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// Whether anything was granted.
    pub(crate) changed: bool,
    /// Whether it stands in the store; else the agent writes it as soon as the disk allows.
    pub(crate) durable: bool,
    /// How sessions ended.
    pub(crate) ended: Enforced,
    /// From the call to the end of the last session.
    pub(crate) elapsed: Duration,
}

/// Revokes consent and ends all sessions: what `disable` and the page do.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn end_access(method: Method, context: &mut Context) -> Result<Revoked, Failure> {
    let start = Instant::now();
    let by = node::grantor(method);
    node::untell_root(context);
    let changed = match revoke(&by, context) {
        Ok(changed) => changed,
        Err(failure) => return shut(failure, &by, start, context),
    };
    let ended = node::enforce(context, SocketControl::notify_changed).map_err(|error| {
        Failure::from(error)
            .next_step("the consent is revoked; stop the agent to be sure that its sessions are down")
    })?;
    Ok(Revoked { changed, durable: true, ended, elapsed: start.elapsed() })
}

/// What a revoke would end (U09).
fn preview(context: &mut Context) -> Result<Outcome, Failure> {
    let now = context.clock.now();
    let grant = match node::existing_store(context)? {
        Some(store) => store.grants(false, &now)?.into_iter().next(),
        None => None,
    };
    let sessions = match node::agent(context).status() {
        Ok(status) => status.sessions,
        Err(ControlError::NotRunning) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let record = Record::new()
        .field("DryRun", true)
        .field("GrantId", grant.as_ref().map(|grant| grant.id.to_string()))
        .field("AccessLevel", grant.as_ref().map(|grant| grant.level.to_string()))
        .field("ExpiresAt", grant.as_ref().map(|grant| grant.deadline.wall))
        .field(
            "SessionsToEnd",
            sessions.iter().map(|session| session.session_id.to_string()).collect::<Vec<_>>(),
        );
    context.print_one(&record)?;
    context.note(if grant.is_some() {
        "This is what would be revoked; nothing was changed."
    } else {
        "Remote Support is not enabled: there is nothing to revoke."
    });
    Ok(Outcome::Done)
}

/// Revokes in the store; says whether anything was granted.
fn revoke(by: &Grantor, context: &Context) -> Result<bool, Failure> {
    let Some(store) = node::existing_store(context)? else { return Ok(false) };
    Ok(store.revoke(by, &context.clock.now())?.is_some())
}

/// The store failed: let the agent end access by itself. Where only the disk is in the way that is enough, since the agent
/// makes it durable by itself; a store that cannot be used for another reason needs its owner.
fn shut(failure: Failure, by: &Grantor, start: Instant, context: &mut Context) -> Result<Revoked, Failure> {
    let disk = failure.cause().and_then(|cause| cause.downcast_ref::<StoreError>());
    let waits = matches!(disk, Some(StoreError::ReadOnly | StoreError::NoSpace));
    let now = match node::enforce(context, |agent| agent.shut(by)) {
        Ok(Enforced { ended_agent: Some(ended), .. }) => format!(
            "the agent did not answer and was ended (process {}), so nobody has access; the store still holds the \
             consent, so repair it and run this again before the agent is started",
            ended.pid
        ),
        Ok(ended) if waits && ended.had_agent => {
            context.note(format!(
                "{failure}. Access has ended all the same, and the agent lets nobody in. It writes the revocation as \
                 soon as the disk can be written; leave it running until `remote-support access` shows no consent."
            ));
            return Ok(Revoked { changed: true, durable: false, ended, elapsed: start.elapsed() });
        }
        Ok(Enforced { changed, .. }) if changed.sessions_still_ending > 0 => {
            "the agent has shut its gate, but some sessions are not down: stop the agent at once".to_owned()
        }
        Ok(Enforced { changed, had_agent: true, .. }) => format!(
            "the agent has shut its gate and ended {} sessions; the store still holds the consent, so repair it and \
             run this again before the agent is restarted",
            changed.sessions_ended
        ),
        Ok(_) => "no agent is running, so nobody has access; repair the store before starting one".to_owned(),
        Err(error) => format!("stop the agent at once, its sessions may be open: {error}"),
    };
    let repair = failure.remedy().map_or_else(String::new, |remedy| format!("; to repair: {remedy}"));
    Err(failure.next_step(now + &repair))
}

fn report(revoked: &Revoked, context: &mut Context) -> Result<Outcome, Failure> {
    let Revoked { changed, durable, ended, elapsed } = revoked;
    let now = &ended.changed;
    let record = Record::new()
        .field("Changed", *changed)
        .field("Durable", *durable)
        .field("SessionsEnded", now.sessions_ended)
        .field("SessionsStillEnding", now.sessions_still_ending)
        .field("ElapsedMilliseconds", u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        .extra("Sessions", ending::values(&now.sessions))
        .extra("LeftoversEnded", u64::try_from(ended.leftovers).unwrap_or(u64::MAX))
        .extra("AgentEnded", ended.ended_agent.map(|agent| agent.pid));
    context.print_one(&record)?;
    ending::tell(&now.sessions, context);
    if let Some(agent) = ended.ended_agent {
        context.note(node::ended_agent(agent));
    }
    if ended.leftovers > 0 {
        context.note(format!(
            "{} operation(s) that an agent which is gone had left behind were ended.",
            ended.leftovers
        ));
    }
    if now.sessions_still_ending > 0 {
        context
            .note("The consent is revoked, but some sessions are not down yet; stop the agent to end them.");
        return Ok(Outcome::Partial);
    }
    if *changed {
        context.note(format!(
            "{} What was collected under the consent before is not affected.",
            compat::DISABLED
        ));
    } else {
        context.note("Remote Support was not enabled; nothing was changed.");
    }
    if let Some(left) = diagnostic_data::what_left(&context.state) {
        context.note(left);
    }
    Ok(Outcome::Done)
}
