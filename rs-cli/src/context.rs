//! What a command works with: the state directory, the form of its output, the clock, and the three standard streams.
//!
//! A command takes all of it from here and nothing from the process, so that tests and `demo` can run the same
//! command with buffers and a clock of their own.

use std::fmt;
use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use rs_consent::{Clock, SystemClock};
use rs_session::record::ContentKey;

use crate::outcome::{ErrorCode, Failure};
use crate::output::{self, OutputMode, Record};
use crate::owner_policy::OwnerPolicy;
use crate::state::{Role, StateDir};
use crate::storage::{KeyStore, StorageOptions};

/// Columns assumed where the output is no terminal.
pub const COLUMNS_DEFAULT: usize = 120;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Where keys, store and files of the roles are.
    pub state: StateDir,
    /// Where the storage key is.
    pub storage: StorageOptions,
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
        let storage = StorageOptions::default();
        let clock = Arc::new(SystemClock::default());
        Self { state, storage, output, clock, console: Console::of_process() }
    }

    /// The key store of this node, as its owner's policy wants it.
    ///
    /// # Errors
    ///
    /// A policy that cannot be read, or a key file in the state directory.
    pub fn key_store(&self) -> Result<KeyStore, Failure> {
        let keeping = OwnerPolicy::read(&self.state.role(Role::Node))?.storage;
        KeyStore::new(&self.state, &self.storage, keeping)
    }

    /// What opens the sealed contents of this node's records. Where the key store is locked that is said, and they stay
    /// closed.
    pub fn content_key(&mut self) -> ContentKey {
        match self.key_store().and_then(|store| store.for_reading()) {
            Ok(key) => key,
            Err(failure) => {
                self.note(format!("{failure}\nContents that are sealed stay closed."));
                None
            }
        }
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
        let runtime = runtime
            .map_err(|error| Failure::new(ErrorCode::Internal, "cannot start the runtime").because(error))?;
        let outcome = runtime.block_on(future);
        runtime.shutdown_timeout(LEFTOVERS_WAIT);
        outcome
    }
}

/// What a call of the system that nobody waits for any more, such as one to a disk that hangs, may hold up the end of the
/// program: half a second.
const LEFTOVERS_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

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
    /// Somebody sits there and results go to their terminal, so that it can be taken as a whole.
    pub full_screen: bool,
    /// Messages may be coloured: a terminal, and `NO_COLOR` is not set.
    pub color: bool,
}

impl Console {
    /// The process's own streams.
    pub fn of_process() -> Self {
        let columns =
            terminal_size::terminal_size().map_or(COLUMNS_DEFAULT, |(width, _)| usize::from(width.0));
        let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
        let can_draw = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            input: Box::new(io::BufReader::new(io::stdin())),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            interactive,
            columns,
            live: io::stderr().is_terminal() && can_draw,
            full_screen: interactive && io::stdout().is_terminal() && can_draw,
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
            .field("full_screen", &self.full_screen)
            .field("color", &self.color)
            .finish_non_exhaustive()
    }
}
