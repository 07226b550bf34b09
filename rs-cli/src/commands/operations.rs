//! `operations`: what a level permits.

use clap::Args;
use rs_consent::AccessLevel;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::values::AccessLevelParser;

/// Arguments of `operations`.
#[derive(Debug, Args)]
pub struct OperationsArgs {
    /// List what this level permits [default: both].
    #[arg(long, value_name = "LEVEL", value_parser = AccessLevelParser, env = "REMOTE_SUPPORT_ACCESS_LEVEL")]
    pub access_level: Option<AccessLevel>,
}

/// Lists operations.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &OperationsArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("operations"))
}
