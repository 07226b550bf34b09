//! `demo`: the whole path on this machine in one command.

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs it.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &DemoArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("demo"))
}
