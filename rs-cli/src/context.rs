//! What a command works with: the state directory, the form of its output, the clock, and the three standard streams.
//!
//! A command takes all of it from here and nothing from the process, so that tests and `demo` can run the same
//! command with buffers and a clock of their own.

use std::fmt;
use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use rs_consent::{Clock, SystemClock};

use crate::outcome::{ErrorCode, Failure};
use crate::output::{self, OutputMode, Record};
use crate::state::StateDir;

/// Columns assumed where the output is no terminal.
pub const COLUMNS_DEFAULT: usize = 120;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Where keys, store and files of the roles are.
    pub state: StateDir,
    /// How results are printed.
    pub output: OutputMode,
    /// Source of the present time.
    pub clock: Arc<dyn Clock>,
    /// Input, results and messages.
    pub console: Console,
}

impl Context {
    /// The surroundings of a command that runs for a person or a script: the process's own streams and the system's
    /// clock.
    pub fn of_process(state: StateDir, output: OutputMode) -> Self {
        Self { state, output, clock: Arc::new(SystemClock::default()), console: Console::of_process() }
    }

    /// Prints one result on standard output.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written.
    pub fn print_one(&mut self, record: &Record) -> Result<(), Failure> {
        Ok(output::write_one(&mut *self.console.out, record, self.output, self.console.columns)?)
    }

    /// Prints results on standard output.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written.
    pub fn print_all(&mut self, records: &[Record]) -> Result<(), Failure> {
        Ok(output::write_all(&mut *self.console.out, records, self.output, self.console.columns)?)
    }

    /// Shows a text on standard error, made safe for a terminal: what somebody must have seen before they answer.
    ///
    /// # Errors
    ///
    /// Where standard error cannot be written; the command must not go on then.
    pub fn show(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        let text = format!("{}\n", output::safe_lines(text.as_ref()));
        self.console.err.write_all(text.as_bytes())?;
        Ok(self.console.err.flush()?)
    }

    /// Shows progress or advice on standard error. A command does its work also where nobody can read that.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = self.show(text);
    }

    /// Runs a future to its end on a runtime of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Internal`] where the runtime cannot be started, and what the future fails with.
    pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime
            .map_err(|error| Failure::new(ErrorCode::Internal, "cannot start the runtime").because(error))?
            .block_on(future)
    }
}

/// The three standard streams, and what is known about the terminal behind them.
pub struct Console {
    /// Answers and commands.
    pub input: Box<dyn BufRead + Send>,
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Everything else: terms, questions, progress, failures.
    pub err: Box<dyn Write + Send>,
    /// Somebody sits there: input and messages are a terminal, so that a question is seen and can be answered.
    pub interactive: bool,
    /// Columns of the terminal.
    pub columns: usize,
    /// Messages go to a terminal on which a line can be drawn anew.
    pub live: bool,
    /// Messages may be coloured: a terminal, and `NO_COLOR` is not set.
    pub color: bool,
}

impl Console {
    /// The process's own streams.
    pub fn of_process() -> Self {
        let columns =
            terminal_size::terminal_size().map_or(COLUMNS_DEFAULT, |(width, _)| usize::from(width.0));
        Self {
            input: Box::new(io::BufReader::new(io::stdin())),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            columns,
            live: io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            color: io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("interactive", &self.interactive)
            .field("columns", &self.columns)
            .field("live", &self.live)
            .field("color", &self.color)
            .finish_non_exhaustive()
    }
}
