//! Windows: a tree is a job object. The root is started suspended, put into the job and resumed only then, so that
//! nothing of it ever runs outside; nothing that it starts can leave.
//!
//! This process holds the only handle of the job. When it dies, however it dies, the kernel closes the handle and ends
//! everything in the job with it.

use std::io;
use std::os::windows::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Bounds, Console, KILL_TIME_MAX};
use crate::operations::wire::Killed;

mod job;

use self::job::Job;

/// How often the account is read while the job's processes end.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Creation flags (CreateProcessW): the first thread waits; no console, or one without a window. A console is a process
/// of its own, in the same job.
const CREATE_SUSPENDED: u32 = 0x4;
const DETACHED_PROCESS: u32 = 0x8;
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// A process that was started, with everything that it starts.
#[derive(Clone, Debug)]
pub(in crate::operations) struct Tree {
    job: Arc<Job>,
}

/// Makes the command's process wait from its first instruction until [`Tree::take`] has it.
pub(in crate::operations) fn hold_back(command: &mut Command, console: Console) {
    let console = match console {
        Console::None => DETACHED_PROCESS,
        Console::Hidden => CREATE_NO_WINDOW,
    };
    command.creation_flags(CREATE_SUSPENDED | console);
}

/// True if this process is in a job.
pub(in crate::operations) fn is_held() -> io::Result<bool> {
    job::is_this_process_in_one()
}

impl Tree {
    /// Makes a job with these bounds, puts the process `root` into it and lets it run. The caller holds the process, and
    /// ends it when this fails: it has not run then.
    pub(in crate::operations) fn take(root: u32, _mark: &str, bounds: &Bounds) -> io::Result<Self> {
        let job = Job::new(bounds)?;
        job.hold(root)?;
        job::resume(root)?;
        Ok(Self { job: Arc::new(job) })
    }

    /// Ends everything in the job and returns when nothing is left, or after [`KILL_TIME_MAX`] with `complete` false.
    pub(in crate::operations) fn kill(&self) -> Killed {
        let start = Instant::now();
        let processes = self.job.processes().unwrap_or_default();
        let complete = loop {
            // An account that cannot be read is no proof of an end.
            let ended = self.job.terminate().and_then(|()| self.job.processes());
            if ended.is_ok_and(|left| left == 0) {
                break true;
            }
            if start.elapsed() > KILL_TIME_MAX {
                break false;
            }
            std::thread::sleep(LOOK_PAUSE);
        };
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Killed { processes, micros, complete }
    }

    /// As [`Tree::kill`].
    pub(in crate::operations) fn kill_rest(&self) -> Killed {
        self.kill()
    }

    /// Ends what a root leaves that has ended by itself; true if nothing is left.
    pub(in crate::operations) fn tidy(&self) -> bool {
        self.kill().complete
    }
}

#[cfg(test)]
mod tests;
