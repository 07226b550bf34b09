//! A process and everything that came from it, found and ended.
//!
//! On Linux a tree is every process below a root, by parent, and every process that carries the operation's mark in
//! its environment, wherever it hangs. Killing goes round until a look finds nobody alive; processes that call
//! `setsid`, fork twice or ignore signals are found all the same, because the root is a child subreaper.

use std::time::{Duration, Instant};

use super::wire::Killed;

/// Longest time that killing a tree goes round.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(1);
/// Environment variable that marks the processes of one operation.
pub(super) const MARK: &str = "REMOTE_SUPPORT_OPERATION";

/// Ends every process below `root`, and every marked one, then, if wanted, `root` itself.
///
/// Returns when nobody is alive, or after [`KILL_TIME_MAX`] with `complete` false. Processes that have died and wait
/// to be reaped count as ended.
pub(super) fn kill(root: u32, mark: &str, with_root: bool) -> Killed {
    let start = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let alive = platform::members(root, mark);
        for pid in &alive {
            seen.insert(*pid);
            platform::kill(*pid);
        }
        let complete = alive.is_empty();
        if complete || start.elapsed() > KILL_TIME_MAX {
            if with_root {
                seen.insert(root);
                platform::kill(root);
            }
            let processes = u32::try_from(seen.len()).unwrap_or(u32::MAX);
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            return Killed { processes, micros, complete };
        }
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::HashMap;
    use std::fs;

    use rustix::process::{Pid, Signal, kill_process};

    use super::MARK;

    /// Living processes below `root` or with the mark, without `root` and without this process.
    pub(super) fn members(root: u32, mark: &str) -> Vec<u32> {
        let parents = living();
        let own = std::process::id();
        let marked = format!("{MARK}={mark}");
        let below = |pid: u32| {
            let mut at = pid;
            // A chain of parents is never longer than the table; the bound guards against a table read in motion.
            for _ in 0..parents.len() {
                match parents.get(&at) {
                    Some(parent) if *parent == root => return true,
                    Some(parent) => at = *parent,
                    None => return false,
                }
            }
            false
        };
        let belongs = |pid: u32| {
            pid != root && pid != own && (below(pid) || (!mark.is_empty() && has_mark(pid, &marked)))
        };
        parents.keys().copied().filter(|pid| belongs(*pid)).collect()
    }

    fn has_mark(pid: u32, marked: &str) -> bool {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == marked.as_bytes())
        })
    }

    /// Parents of all living processes.
    fn living() -> HashMap<u32, u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| Some((pid, living_parent(pid)?))).collect()
    }

    /// The parent of a process; `None` if it is gone or waits to be reaped.
    fn living_parent(pid: u32) -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        if matches!(state, "Z" | "X" | "x") { None } else { Some(parent) }
    }

    pub(super) fn kill(pid: u32) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // A process that is gone already is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod platform {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};

    /// Without a process table to walk, the process group stands for the tree.
    pub(super) fn members(root: u32, _mark: &str) -> Vec<u32> {
        if let Some(pid) = i32::try_from(root).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        Vec::new()
    }

    pub(super) fn kill(pid: u32) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(not(unix))]
mod platform {
    /// A job object takes this place; until then the driver ends the worker itself.
    pub(super) fn members(_root: u32, _mark: &str) -> Vec<u32> {
        Vec::new()
    }

    pub(super) fn kill(_pid: u32) {}
}
