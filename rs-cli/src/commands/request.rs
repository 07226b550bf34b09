//! `request submit|list|confirm|close`: the operator's side of a support request.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rs_consent::RequestNumber;
use rs_consent::party::Reason;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// What to do with support requests.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Make a request and write the signed file that goes to the desk.
    Submit(SubmitArgs),
    /// List the requests of this node.
    List,
    /// Confirm the desk that answered, by its opening: shows its name and the fingerprint of its key.
    Confirm(ConfirmArgs),
    /// Close a request; sessions under it end.
    Close(CloseArgs),
}

/// Arguments of `request submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// Why support is needed, one line.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_REASON")]
    pub reason: Reason,
    /// Where to write the file for the desk [default: request-NUMBER.json in the current directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `request confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The desk's opening.
    #[arg(value_name = "FILE")]
    pub opening: PathBuf,
    /// Confirm without being asked if the desk's key has this fingerprint, learned in another way.
    #[arg(long, value_name = "xxxx-xxxx-xxxx-xxxx", env = "REMOTE_SUPPORT_DESK_FINGERPRINT")]
    pub desk_fingerprint: Option<rs_consent::keys::Fingerprint>,
}

/// Arguments of `request close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Its number [default: the only one that is not closed].
    #[arg(value_name = "NUMBER")]
    pub number: Option<RequestNumber>,
}

/// Runs a request command.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_command: &RequestCommand, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("request"))
}
