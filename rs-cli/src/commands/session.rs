//! `session verify|end`: prove a session's record, or end one that is open.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// What to do with a session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Verify the record of a session offline; exit code 6 and the record's number where it was altered.
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
    /// File with the node's public key [default: that of this state directory].
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
/// Not part of this build.
pub fn run(_command: &SessionCommand, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("session"))
}
