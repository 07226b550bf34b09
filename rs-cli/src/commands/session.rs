//! `session verify|end`: prove a session's record, or end one that is open.

mod verification;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::context::Context;
use crate::control::AgentControl as _;
use crate::node;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;

/// What to do with a session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Verify the record of a session offline; exit code 6 and the record's number where it was altered, also where its
    /// end is missing and no session writes it.
    Verify(VerifyArgs),
    /// End one open session; the consent stands.
    End(EndArgs),
}

/// Arguments of `session verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Id of a session of this node, or a record file.
    #[arg(value_name = "ID|FILE")]
    pub target: String,
    /// File with the node's public key [default: that of this state directory; for a file where there is none, the key
    /// that the record itself names].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_NODE_KEY")]
    pub node_key: Option<PathBuf>,
}

/// Arguments of `session end`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
}

/// Runs a session command.
///
/// # Errors
///
/// For `verify` [`ErrorCode::NotFound`] where there is no such record, and what keeps file or key from being read; for
/// `end` [`ErrorCode::NotFound`] where no such session is open, and
/// [`ErrorCode::AgentUnreachable`] where no agent answers.
pub fn run(command: &SessionCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        SessionCommand::Verify(args) => verification::run(args, context),
        SessionCommand::End(args) => end(args.session_id, context),
    }
}

fn end(session: Uuid, context: &mut Context) -> Result<Outcome, Failure> {
    let end = node::agent(context).end_session(session)?;
    if !end.ended {
        return Err(Failure::new(ErrorCode::NotFound, "no such session is open on this node")
            .about(session.to_string())
            .next_step("see which are open with `remote-support agent status`"));
    }
    let record = Record::new()
        .field("SessionId", session.to_string())
        .field("Ended", true)
        .field("ElapsedMilliseconds", end.elapsed_ms);
    context.print_one(&record)?;
    context.note("The session is down. The consent stands; to revoke it use `remote-support disable`.");
    Ok(Outcome::Done)
}
