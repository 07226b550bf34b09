//! A process and everything that came from it, found and ended.
//!
//! On Linux the root of a tree is a child subreaper: whatever comes loose below it, by `setsid`, a double fork or the
//! death of a parent, hangs on it again. While the tree is hunted the root reaps nobody, so whatever dies stays visible
//! as dead. That makes the end certain: looks that find nobody alive and nobody newly dead have missed nobody, not even
//! processes that fork and exit faster than they can be killed. If the root itself is gone, the operation's mark in the
//! environment of its processes finds them.
//!
//! The numbers of processes are given anew, and a runaway makes that happen soon. So a process is known by its number
//! *and* the time of its start, its line of parents is checked link by link, and the signal goes through a descriptor
//! that cannot come to mean another process.
//!
//! Where the worker is the first process of a namespace of its own, its death takes the whole tree with it, and the hunt
//! only confirms that.
//!
//! On Windows nothing is hunted: the root is put into a job object before it runs, and the kernel keeps the account.

use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

#[cfg(unix)]
use super::wire::Killed;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use self::unix::{Tree, hold_back};
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(super) use self::windows::{Tree, hold_back, is_held};

/// Longest time that killing a tree goes round. A tree of any usual kind is gone within a small part of a second; the
/// rest is for processes that fork and exit without end, which have to be met in their short lives.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(20);
/// Environment variable that marks the processes of one operation.
pub(super) const MARK: &str = "REMOTE_SUPPORT_OPERATION";
/// Environment variable that names the node's directory to supervisors and workers.
pub(super) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// A directory that is always there and holds nothing of ours.
pub(super) const fn root_directory() -> &'static str {
    if cfg!(windows) { "C:\\" } else { "/" }
}

/// What a tree is held to by whoever started it. On Unix the worker sets its limits itself; see [`sandbox`](super::sandbox).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Most bytes that all its processes have committed.
    pub(super) memory_bytes: u64,
    /// Most processes at once.
    pub(super) processes: u32,
    /// Most seconds of processor time of all its processes; `None` for a tree that lives as long as its session.
    pub(super) cpu_seconds: Option<u32>,
}

/// What a process has for a console, where consoles are processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Console {
    /// None: it speaks through its pipes alone.
    None,
    /// One that nobody sees, for a program that does not work without.
    Hidden,
}

/// Looks in a row that must find nobody before the tree counts as gone.
#[cfg(unix)]
const QUIET_LOOKS: u32 = 2;

/// Ends every process below `root`, and, if `root` is gone, every marked one.
///
/// With `with_root` the root is another process: it is stopped first, so that it reaps nobody, and ended last.
/// Otherwise the root is the caller, which must reap nobody meanwhile.
///
/// Returns when nobody is alive, or after [`KILL_TIME_MAX`] with `complete` false. Processes that have died and wait
/// to be reaped count as ended.
#[cfg(unix)]
pub(super) fn kill(root: u32, mark: &str, with_root: bool) -> Killed {
    let start = Instant::now();
    if with_root {
        platform::stop(root);
    }
    let mut hunt = platform::Hunt::new(root, mark);
    let mut quiet = 0;
    let complete = loop {
        quiet = if hunt.look_and_kill() { quiet + 1 } else { 0 };
        if quiet == QUIET_LOOKS {
            break true;
        }
        if start.elapsed() > KILL_TIME_MAX {
            break false;
        }
    };
    let mut processes = hunt.ended();
    if with_root {
        processes = processes.saturating_add(1);
        platform::kill(root);
    }
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    Killed { processes, micros, complete }
}

#[cfg(target_os = "linux")]
#[path = "process_tree/linux.rs"]
mod platform;
#[cfg(all(target_os = "linux", feature = "driver", feature = "native"))]
pub(super) use platform::{Proc, Table, pid};

#[cfg(all(target_os = "linux", feature = "native"))]
pub(super) use platform::is_crowded;

#[cfg(all(unix, not(target_os = "linux")))]
mod platform {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};

    /// Without a process table to walk, the process group stands for the tree.
    pub(super) struct Hunt(u32);

    impl Hunt {
        pub(super) fn new(root: u32, _mark: &str) -> Self {
            Self(root)
        }

        pub(super) fn look_and_kill(&mut self) -> bool {
            if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            true
        }

        pub(super) fn ended(&self) -> u32 {
            0
        }
    }

    pub(super) fn kill(pid: u32) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Nothing is looked at here, so nothing needs to stand still.
    pub(super) fn stop(_pid: u32) {}
}
