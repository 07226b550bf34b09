//! `operation-worker`: one operation in a process of its own, started by the agent.

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `operation-worker`.
#[derive(Debug, Args)]
pub struct OperationWorkerArgs {}

/// Runs it.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &OperationWorkerArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("operation-worker"))
}
