//! `agent run|status`: the service of the node.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// What to do with the agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Run the agent in the foreground until it is told to stop.
    Run(RunArgs),
    /// Say whether the agent runs, whether the relay is reached, and which sessions are open.
    Status,
}

/// Arguments of `agent run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// File with the relay's connection string for listening; never given on the command line [default: that of this
    /// state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE")]
    pub relay_credential_file: Option<PathBuf>,
    /// File with the certificate of the relay's authority, PEM [default: that of this state directory, else the
    /// system's authorities].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CA")]
    pub relay_ca: Option<PathBuf>,
}

/// Runs an agent command.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_command: &AgentCommand, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("agent"))
}
