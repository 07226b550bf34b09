//! `disable`: revoke, end all sessions, say how it went.

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `disable`.
#[derive(Debug, Args)]
pub struct DisableArgs {}

/// Revokes consent.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &DisableArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("disable"))
}
