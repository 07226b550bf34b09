//! `connect`: the engineer's console, interactive or scripted.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// File with the desk's assignment [default: the newest of this state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ASSIGNMENT")]
    pub assignment: Option<PathBuf>,
    /// File with the relay's connection string for sending; never given on the command line [default: that of this
    /// state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE")]
    pub relay_credential_file: Option<PathBuf>,
    /// File with the certificate of the relay's authority, PEM [default: that of this state directory, else the
    /// system's authorities].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CA")]
    pub relay_ca: Option<PathBuf>,
    /// Run this line and leave; can be given several times, run in order.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true, env = "REMOTE_SUPPORT_COMMAND")]
    pub command: Vec<String>,
}

/// Connects to a node.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &ConnectArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("connect"))
}
