//! `operation-worker`: one operation in a process of its own, started by the agent.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rs_session::operations::worker;

use crate::outcome::{ErrorCode, Exit, Failure, Outcome};

/// Name of the command.
const NAME: &str = "operation-worker";

/// Arguments of `operation-worker`.
#[derive(Debug, Args)]
pub struct OperationWorkerArgs {}

/// Runs it: reads a plan on standard input, answers on standard output. What goes wrong is the operation's own end.
pub fn run(_args: &OperationWorkerArgs) -> Outcome {
    if worker::run() == ExitCode::SUCCESS { Outcome::Done } else { Outcome::Exit(Exit::Failed) }
}

/// This program as a worker: its absolute path and the arguments.
///
/// # Errors
///
/// [`ErrorCode::Internal`] where the system does not say which program this is.
pub fn program() -> Result<(PathBuf, Vec<OsString>), Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(ErrorCode::Internal, "the program cannot find itself").because(error)
    })?;
    Ok((program, vec![NAME.into()]))
}
