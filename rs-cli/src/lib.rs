//! The program `remote-support`: operator, agent, engineer, desk and relay in one binary.
//!
//! This crate composes; what a level permits, how sessions are recorded and how bytes travel is decided in the
//! libraries. A command is one module under [`commands`]: its arguments and a function
//! `run(args, &mut Context) -> Result<Outcome, Failure>`. Arguments come in GNU or PowerShell spelling ([`argv`]),
//! results leave as list, table or JSON ([`output`]), and every ending has an exit code ([`outcome`]).

pub mod agent;
pub mod argv;
pub mod casefiles;
pub mod cli;
pub mod commands;
pub mod context;
pub mod control;
pub mod credential;
pub mod dates;
pub mod explain;
pub mod files;
pub mod keys;
mod logging;
pub mod network;
pub mod node;
pub mod outcome;
pub mod output;
mod platform;
pub mod prompt;
pub mod records;
pub mod relay_access;
mod signals;
pub mod state;
pub mod values;

use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::context::{Console, Context};
use crate::outcome::{Exit, Failure};
use crate::output::OutputMode;
use crate::state::StateDir;

/// Runs the program with the process's own streams; `args` begin with the program's name.
///
/// # Examples
///
/// ```
/// use rs_cli::outcome::Exit;
///
/// assert_eq!(rs_cli::run(["remote-support", "--version"].map(Into::into)), Exit::Done);
/// assert_eq!(rs_cli::run(["remote-support", "enable", "-Level"].map(Into::into)), Exit::Usage);
/// ```
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let mode = cli.global.output;
    let result = StateDir::new(cli.global.state_dir)
        .and_then(|state| commands::run(cli.command, &mut Context::of_process(state, mode)));
    match result {
        Ok(outcome) => outcome.exit(),
        Err(failure) => {
            if !failure.is_broken_pipe() {
                // There is nowhere left to report that standard error is gone.
                let _ = report(&failure, mode);
            }
            failure.exit()
        }
    }
}

/// Reads the arguments; what cannot be read is explained on standard error, help and version go to standard output.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let mut command = Cli::command();
    let args = argv::rewrite(&command, args).map_err(|error| {
        let _ = writeln!(io::stderr(), "error: {}", output::safe(&error.to_string()));
        Exit::Usage
    })?;
    let matches = command.try_get_matches_from_mut(args);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let _ = explain_usage(&error);
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

/// Reads the words of one command, for a command that runs others.
pub(crate) fn parse_words(words: impl IntoIterator<Item = OsString>) -> Result<cli::Command, Failure> {
    let command = Cli::command();
    let usage = |text: String| Failure::new(outcome::ErrorCode::InvalidValue, text);
    let words = argv::rewrite(&command, words).map_err(|error| usage(error.to_string()))?;
    let cli = command.try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches));
    cli.map(|cli| cli.command).map_err(|error| usage(error.to_string()))
}

/// clap repeats what was typed; what could control the terminal is shown instead of obeyed.
fn explain_usage(error: &clap::Error) -> io::Result<()> {
    let plain = error.render().to_string();
    let safe = output::safe_lines(&plain);
    if safe == plain { error.print() } else { write!(io::stderr(), "{safe}") }
}

fn report(failure: &Failure, mode: OutputMode) -> io::Result<()> {
    let mut console = Console::of_process();
    match mode {
        OutputMode::Json => output::write_json_line(&mut *console.err, &failure.to_json()),
        OutputMode::List | OutputMode::Table => {
            let (red, plain) = if console.color { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
            let text = output::safe_lines(&failure.to_string());
            writeln!(console.err, "{red}error[{}]:{plain} {text}", failure.code())
        }
    }
}
