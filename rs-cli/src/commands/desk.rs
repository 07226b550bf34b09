//! `desk init|open|assign|close`: the support organisation's side.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rs_consent::party::{DeskName, EngineerId};
use rs_consent::{AccessLevel, RequestNumber};

use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::values::AccessLevelParser;

/// What to do at the desk.
#[derive(Debug, Subcommand)]
pub enum DeskCommand {
    /// Make the desk's key and give the desk its name.
    Init(InitArgs),
    /// Take a request and write the signed opening that goes back to the node.
    Open(OpenArgs),
    /// Assign an engineer to a request that was taken, and write the signed assignment.
    Assign(AssignArgs),
    /// Close a request and write the signed closing that goes back to the node.
    Close(CloseArgs),
}

/// Arguments of `desk init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The name that operators will see, one line.
    #[arg(long, value_name = "TEXT", default_value = "Support desk", env = "REMOTE_SUPPORT_DESK_NAME")]
    pub desk_name: DeskName,
}

/// Arguments of `desk open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// The node's file, or the number of a request of this state directory [default: the newest one there].
    #[arg(value_name = "NUMBER|FILE")]
    pub request: Option<String>,
    /// Where to write the opening as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `desk assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// Number of the request [default: the newest one that this desk took].
    #[arg(value_name = "NUMBER")]
    pub request: Option<RequestNumber>,
    /// Who is assigned, as it will stand on record.
    #[arg(long, value_name = "ID", env = "REMOTE_SUPPORT_ENGINEER")]
    pub engineer: EngineerId,
    /// File with the engineer's public key [default: that of this state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ENGINEER_KEY")]
    pub engineer_key: Option<PathBuf>,
    /// Highest level for this engineer; the node's consent may permit less.
    #[arg(
        long, value_name = "LEVEL", default_value = "DiagnosticsRepair", value_parser = AccessLevelParser,
        env = "REMOTE_SUPPORT_LEVEL_CAP"
    )]
    pub level_cap: AccessLevel,
    /// Minutes for which the assignment is valid, 1 to 1440.
    #[arg(
        long, value_name = "MINUTES", default_value_t = 480, value_parser = clap::value_parser!(i64).range(1..=1440),
        allow_hyphen_values = true, env = "REMOTE_SUPPORT_VALID_MINUTES"
    )]
    pub valid_minutes: i64,
    /// Where to write the assignment as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `desk close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Number of the request [default: the newest one that this desk took].
    #[arg(value_name = "NUMBER")]
    pub request: Option<RequestNumber>,
    /// Where to write the closing as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Runs a desk command.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_command: &DeskCommand, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("desk"))
}
