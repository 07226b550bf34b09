//! The program `remote-support`: operator, agent, engineer, desk and relay in one binary.
//!
//! This crate composes; what a level permits, how sessions are recorded and how bytes travel is decided in the
//! libraries. A command is one module under [`commands`]: its arguments and a function
//! `run(args, &mut Context) -> Result<Outcome, Failure>`. Arguments come in GNU or PowerShell spelling ([`argv`]),
//! results leave as list, table or JSON ([`output`]), and every ending has an exit code ([`outcome`]).

pub mod agent;
pub mod argv;
pub mod blob;
pub mod casefiles;
pub mod cli;
pub mod commands;
pub mod context;
pub mod control;
pub mod credential;
pub mod dates;
pub mod dry_run;
#[cfg(windows)]
pub mod event_log;
pub mod explain;
pub mod files;
pub mod fleet;
pub mod forwarding;
pub mod keys;
pub mod last_resort;
#[cfg(any(windows, test))]
mod log_file;
mod logging;
pub mod masking;
pub mod network;
pub mod node;
pub mod node_log;
pub mod outcome;
pub mod output;
pub mod owner_policy;
pub mod page;
mod platform;
pub mod prompt;
pub mod records;
pub mod relay_access;
#[cfg(target_os = "linux")]
mod root_part;
mod service;
mod signals;
pub mod state;
pub mod storage;
mod terminal;
pub mod troubleshooting;
pub mod values;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Command};
use crate::context::{Console, Context};
use crate::outcome::{ErrorCode, Exit, Failure};
use crate::output::OutputMode;
use crate::state::StateDir;
use crate::storage::StorageOptions;

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
    let storage = StorageOptions {
        key_file: cli.global.storage_key_file,
        passphrase_file: cli.global.storage_passphrase_file,
    };
    let result = match cli.command {
        // Its environment names no home, and it keeps nothing.
        Command::OperationWorker(args) => Ok(commands::operation_worker::run(&args)),
        command => StateDir::new(cli.global.state_dir).and_then(|state| {
            if command.works_in_state() {
                platform::work_as_owner_of(state.root())
                    .map_err(|error| Failure::io(state.root(), "work as the owner of", error))?;
            }
            commands::run(command, &mut Context { storage, ..Context::of_process(state, mode) })
        }),
    };
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
    let args: Vec<OsString> = args.into_iter().collect();
    let for_programs = asks_for_json(&args, std::env::var_os("REMOTE_SUPPORT_OUTPUT").as_deref());
    let args = argv::rewrite(&command, args).map_err(|error| {
        let text = error.to_string();
        let _ = if for_programs {
            report(&misused(text), OutputMode::Json)
        } else {
            writeln!(io::stderr(), "error: {}", output::safe(&text))
        };
        Exit::Usage
    })?;
    let matches = command.try_get_matches_from_mut(args);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        if !error.use_stderr() {
            let _ = error.print();
            return Exit::Done;
        }
        let _ = if for_programs {
            report(&misused(first_paragraph(&error)), OutputMode::Json)
        } else if error.kind() == ErrorKind::MissingSubcommand {
            explain_group(&command, &error)
        } else {
            explain_usage(&error)
        };
        Exit::Usage
    })
}

/// Whether results are wanted as JSON, as far as arguments tell that could not be read. What follows `--` are no options.
fn asks_for_json(args: &[OsString], variable: Option<&OsStr>) -> bool {
    let is_json = |value: &str| value.eq_ignore_ascii_case("json");
    let mut asked = variable.and_then(OsStr::to_str).is_some_and(is_json);
    let mut words =
        args.iter().map_while(|word| Some(word.to_str().unwrap_or_default()).filter(|word| *word != "--"));
    while let Some(word) = words.next() {
        let option = word.trim_start_matches('-');
        let (name, value) =
            option.split_once(['=', ':']).map_or((option, None), |(name, value)| (name, Some(value)));
        if word.starts_with('-') && name.eq_ignore_ascii_case("output") {
            asked = value.or_else(|| words.next()).is_some_and(is_json);
        }
    }
    asked
}

/// Arguments that cannot be read, as a failure for programs.
fn misused(message: String) -> Failure {
    Failure::new(ErrorCode::InvalidValue, message)
        .next_step("see `remote-support --help`, or that of the command")
}

/// What clap found, without its heading and without the usage below it.
fn first_paragraph(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::MissingSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.to_string();
    let paragraph: Vec<&str> = text
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    paragraph.strip_prefix("error: ").unwrap_or(&paragraph).to_owned()
}

/// Reads the words of one command, for a command that runs others.
pub(crate) fn parse_words(words: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let command = Cli::command();
    let usage = |text: String| Failure::new(ErrorCode::InvalidValue, text);
    let words = argv::rewrite(&command, words).map_err(|error| usage(error.to_string()))?;
    let cli = command.try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches));
    cli.map(|cli| cli.command).map_err(|error| usage(error.to_string()))
}

/// Whoever names no command wants to know which there are.
fn explain_group(tree: &clap::Command, error: &clap::Error) -> io::Result<()> {
    let words = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(words)) => words.clone(),
        _ => String::new(),
    };
    let mut group = tree.clone();
    for word in words.split(' ').skip(1) {
        let Some(inner) = group.find_subcommand(word) else { break };
        group = inner.clone();
    }
    writeln!(io::stderr(), "error: name a command\n\n{}", group.render_help())
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
