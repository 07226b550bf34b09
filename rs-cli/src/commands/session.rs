//! `session watch|replay|verify|end|approvals|approve|decline|hold|release|redact|expire`: see a session live or again, prove
//! its record, end it, answer its calls, keep or remove its contents.

pub(crate) mod approvals;
mod event;
pub mod export;
mod keeping;
mod replay;
pub(crate) mod report;
pub(crate) mod verification;
mod watch;
mod whole;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

pub use self::approvals::{ApprovalsArgs, ApproveArgs, DeclineArgs};
pub use self::keeping::{ExpireArgs, HoldArgs, RedactArgs, ReleaseArgs};
pub use self::replay::ReplayArgs;
pub(crate) use self::verification::OwnRecords;
pub use self::watch::WatchArgs;

use crate::commands::ending;
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError, EndedSession};
use crate::dry_run::{self, DryRun};
use crate::last_resort::EndedAgent;
use crate::node;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;

/// What to do with a session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Watch sessions live, each record within a second; q leaves, e ends a session.
    Watch(WatchArgs),
    /// Show a session again in its own time, made harmless for the terminal.
    Replay(ReplayArgs),
    /// Verify the record of a session offline; exit code 6 and the record's number where it was altered, also where its
    /// end is missing and no session writes it.
    Verify(VerifyArgs),
    /// Export the evidence of a session as a signed bundle, or one rendering of it.
    Export(export::ExportArgs),
    /// End one open session; the consent stands.
    End(EndArgs),
    /// List the calls that wait for your answer.
    Approvals(ApprovalsArgs),
    /// Let a call that waits go on; for a higher level after a fresh consent.
    Approve(ApproveArgs),
    /// Refuse a call that waits.
    Decline(DeclineArgs),
    /// Keep what a session holds past the 90 days, until it is released.
    Hold(HoldArgs),
    /// Let a held session go; its contents are removed when their time is over.
    Release(ReleaseArgs),
    /// Remove contents from the record of a session for ever, by record number or by pattern; what remains is verified as
    /// before, and the removal is in the node's log.
    Redact(RedactArgs),
    /// Remove all contents whose time is over, as the agent does by itself twice an hour.
    Expire(ExpireArgs),
}

/// Arguments of `session verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Id of a session of this node, a record file, a state directory, or an exported bundle [default: everything that this
    /// node keeps].
    #[arg(value_name = "ID|FILE|DIR")]
    pub target: Option<String>,
    /// File with the node's public key [default: that of this state directory; for a file where there is none, the key
    /// that the record itself names].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_NODE_KEY")]
    pub node_key: Option<PathBuf>,
    /// What somebody else keeps: a file of `node-log witness`, or an engineer's copy of a record. May be repeated.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_WITNESS")]
    pub witness: Vec<PathBuf>,
}

/// Arguments of `session end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Runs a session command.
///
/// # Errors
///
/// For `watch` and `replay` [`ErrorCode::NotFound`] where there is no such session, and [`ErrorCode::Integrity`] where its
/// record cannot be read to its end; for `verify` [`ErrorCode::NotFound`] where there is no such record, and what keeps file or key from being read; for
/// `end` [`ErrorCode::NotFound`] where no such session is open, and
/// [`ErrorCode::AgentUnreachable`] where no agent answers.
pub fn run(command: &SessionCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        SessionCommand::Watch(args) => watch::run(args, context),
        SessionCommand::Replay(args) => replay::run(args, context),
        SessionCommand::Verify(args) => verification::run(args, context),
        SessionCommand::Export(args) => export::run(args, context),
        SessionCommand::End(args) if args.dry_run.dry_run => would_end(args.session_id, context),
        SessionCommand::End(args) => end(args.session_id, context),
        SessionCommand::Approvals(_) => approvals::list(context),
        SessionCommand::Approve(args) => approvals::approve(args, context),
        SessionCommand::Decline(args) => approvals::decline(args, context),
        SessionCommand::Hold(args) => keeping::hold(args, context),
        SessionCommand::Release(args) => keeping::release(args, context),
        SessionCommand::Redact(args) => keeping::redact(args, context),
        SessionCommand::Expire(args) => keeping::expire(args, context),
    }
}

/// How one session was ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By the agent, which says how.
    Session(EndedSession, u64),
    /// With the agent, which did not answer.
    Agent(EndedAgent),
}

/// Ends one open session; the consent stands. With an agent that does not answer, the agent is ended.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where no such session is open; [`ErrorCode::AgentUnreachable`].
pub(crate) fn end_one(session: Uuid, context: &Context) -> Result<Ended, Failure> {
    let agent = node::agent(context);
    let end = match agent.end_session(session) {
        Err(unanswered @ ControlError::NoAnswer(_)) => {
            // The only way to end a session of an agent that does not answer.
            return Ok(Ended::Agent(agent.end_agent().map_err(|_| unanswered)?));
        }
        answered => answered?,
    };
    let ended = end.session.ok_or_else(|| not_open(session))?;
    Ok(Ended::Session(ended, end.elapsed_ms))
}

fn not_open(session: Uuid) -> Failure {
    Failure::new(ErrorCode::NotFound, "no such session is open on this node")
        .about(session.to_string())
        .next_step("see which are open with `remote-support agent status`")
}

fn would_end(session: Uuid, context: &mut Context) -> Result<Outcome, Failure> {
    let status = node::agent(context).status()?;
    let open = status.sessions.into_iter().find(|open| open.session_id == session);
    let open = open.ok_or_else(|| not_open(session))?;
    let record = Record::new()
        .field("SessionId", session.to_string())
        .field("Ended", false)
        .field("Engineer", open.engineer)
        .field("AccessLevel", open.access_level.to_string())
        .field("StartedAt", open.started_at);
    dry_run::told(record, context)
}

fn end(session: Uuid, context: &mut Context) -> Result<Outcome, Failure> {
    let (ended, elapsed_ms) = match end_one(session, context)? {
        Ended::Session(ended, elapsed_ms) => (ended, elapsed_ms),
        Ended::Agent(agent) => {
            context.note(node::ended_agent(agent));
            return Ok(Outcome::Done);
        }
    };
    let record = Record::new()
        .field("SessionId", session.to_string())
        .field("Ended", true)
        .field("ElapsedMilliseconds", elapsed_ms)
        .extra("Sessions", ending::values(std::slice::from_ref(&ended)));
    context.print_one(&record)?;
    ending::tell(&[ended], context);
    context.note("The session is down. The consent stands; to revoke it use `remote-support disable`.");
    Ok(Outcome::Done)
}
