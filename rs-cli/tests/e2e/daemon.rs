//! Processes that run beside the test, and waiting for what they do.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything that a test expects.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// What other tests and builds on the same machine may add to a time that is promised.
const BUSY: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Looks until there is something, and fails the test when it does not come.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_for(WAIT, what, look)
}

/// As [`until`], with another deadline.
#[track_caller]
pub(crate) fn until_for<T>(wait: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < wait, "waited in vain: {what}");
        std::thread::sleep(LOOK);
    }
}

/// As [`until`], for what is true or not yet. Returns how long it took.
#[track_caller]
pub(crate) fn until_true(what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    until(what, || look().then(|| since.elapsed()))
}

/// The longest time that passes for a promise. Long trials (`TRIALS` is set, see `scripts/trials`) have the machine for
/// themselves and hold the promise itself; beside other tests it is a little more, so that only a wrong program fails.
pub(crate) fn promised(time: Duration) -> Duration {
    if std::env::var_os("TRIALS").is_some() { time } else { time + BUSY }
}

/// A process that is killed at the end of the test. What it prints goes to files.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Daemon {
    /// Starts a command; `log` is the beginning of the names of its files.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let (out, err) = (log.with_extension("out"), log.with_extension("err"));
        let file = |path: &PathBuf| Stdio::from(File::create_new(path).expect("own directory"));
        let child = command.stdout(file(&out)).stderr(file(&err)).spawn().expect("the program starts");
        Self { child, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).expect("text")
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).expect("text")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.send(signal).expect("own process");
    }

    /// As [`Daemon::signal`], to a process that may have ended meanwhile; nobody has reaped it.
    pub(crate) fn signal_if_there(&self, signal: Signal) {
        let _ended = self.send(signal);
    }

    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal)
    }

    /// SIGKILL, and the process is gone when this returns.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("own process");
        self.child.wait().expect("own process");
    }

    /// Waits for the end and gives the exit code; -1 for a signal.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> i32 {
        let ended = until("the process ends", || self.child.try_wait().expect("own process"));
        ended.code().unwrap_or(-1)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("own process").is_some()
    }

    /// Waits for a text in what it writes to standard error.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        until(text, || self.stderr().contains(text).then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
