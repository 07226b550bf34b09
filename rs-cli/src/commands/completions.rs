//! `completions SHELL`: a completion script on standard output (U14).

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum, ignore_case = true)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// Where standard output cannot be written.
pub fn run(args: &CompletionsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "remote-support", &mut script);
    context.console.out.write_all(&script)?;
    Ok(Outcome::Done)
}
