//! A process and everything that came from it, found and ended.
//!
//! On Linux the root of a tree is a child subreaper: whatever comes loose below it, by `setsid`, a double fork or the
//! death of a parent, hangs on it again. While the tree is hunted the root reaps nobody, so whatever dies stays visible
//! as dead. That makes the end certain: looks that find nobody alive and nobody newly dead have missed nobody, not even
//! processes that fork and exit faster than they can be killed. If the root itself is gone, the operation's mark in the
//! environment of its processes finds them.

use std::time::{Duration, Instant};

use super::wire::Killed;

/// Longest time that killing a tree goes round. A tree of any usual kind is gone within a small part of a second; the
/// rest is for processes that fork and exit without end, which have to be met in their short lives.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(20);
/// Environment variable that marks the processes of one operation.
pub(super) const MARK: &str = "REMOTE_SUPPORT_OPERATION";

/// Looks in a row that must find nobody before the tree counts as gone.
const QUIET_LOOKS: u32 = 2;

/// Ends every process below `root`, and, if `root` is gone, every marked one.
///
/// With `with_root` the root is another process: it is stopped first, so that it reaps nobody, and ended last.
/// Otherwise the root is the caller, which must reap nobody meanwhile.
///
/// Returns when nobody is alive, or after [`KILL_TIME_MAX`] with `complete` false. Processes that have died and wait
/// to be reaped count as ended.
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
mod platform {
    use std::collections::BTreeSet;
    use std::fs;

    use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};

    use super::MARK;

    /// Longest chain of parents that is followed.
    const CHAIN_MAX: usize = 4096;

    /// What `/proc` says about a process.
    #[derive(Clone, Copy)]
    struct Seen {
        parent: u32,
        group: u32,
        alive: bool,
    }

    /// Rounds of looking and killing.
    pub(super) struct Hunt {
        root: u32,
        mark: String,
        own_group: u32,
        /// Processes of the tree ever seen. While the root lives and reaps nobody, their numbers stay theirs.
        members: BTreeSet<u32>,
        /// Members that are dead; they are not looked at again.
        dead: BTreeSet<u32>,
        killed: BTreeSet<u32>,
        /// Processes that have nothing to do with the tree; forgotten before a look that counts.
        strangers: BTreeSet<u32>,
    }

    impl Hunt {
        pub(super) fn new(root: u32, mark: &str) -> Self {
            Self {
                root,
                mark: if mark.is_empty() { String::new() } else { format!("{MARK}={mark}") },
                own_group: u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or(0),
                members: BTreeSet::new(),
                dead: BTreeSet::new(),
                killed: BTreeSet::new(),
                strangers: BTreeSet::new(),
            }
        }

        /// Processes that were found alive.
        pub(super) fn ended(&self) -> u32 {
            u32::try_from(self.killed.len()).unwrap_or(u32::MAX)
        }

        /// One round; true if it found nobody alive and nobody newly dead. Quick looks at what is new go first, as a
        /// runaway is only met by the quick.
        pub(super) fn look_and_kill(&mut self) -> bool {
            if self.look() {
                return false;
            }
            self.strangers.clear();
            !self.look()
        }

        /// Looks at everybody who is not known, the newest first; true if a member was met.
        fn look(&mut self) -> bool {
            let root_lives = look(self.root).is_some_and(|root| root.alive);
            let known =
                |pid: &u32| *pid == self.root || self.dead.contains(pid) || self.strangers.contains(pid);
            let mut pids: Vec<u32> = numbers().filter(|pid| !known(pid)).collect();
            pids.sort_unstable_by(|a, b| b.cmp(a));
            let mut met = false;
            for pid in pids {
                let Some(seen) = look(pid) else { continue };
                if self.belongs(pid, seen) || (!root_lives && self.is_marked(pid)) {
                    met = true;
                    self.members.insert(pid);
                    self.end(pid, seen);
                } else {
                    self.strangers.insert(pid);
                }
            }
            met
        }

        /// Ends a member, and its group if a member leads it: no fork outruns that.
        fn end(&mut self, pid: u32, seen: Seen) {
            if !seen.alive {
                self.dead.insert(pid);
                return;
            }
            kill(pid);
            self.killed.insert(pid);
            if seen.group > 1 && seen.group != self.own_group && self.members.contains(&seen.group) {
                signal(seen.group, Signal::KILL, kill_process_group);
            }
        }

        /// True if a chain of parents leads to the root.
        fn belongs(&self, pid: u32, seen: Seen) -> bool {
            let mut parent = seen.parent;
            for _ in 0..CHAIN_MAX {
                if parent == self.root || self.members.contains(&parent) || self.members.contains(&pid) {
                    return true;
                }
                if parent <= 1 || self.strangers.contains(&parent) {
                    return false;
                }
                parent = match look(parent) {
                    Some(seen) => seen.parent,
                    // The parent died meanwhile: who is it now?
                    None => match look(pid) {
                        Some(seen) => seen.parent,
                        None => return false,
                    },
                };
            }
            false
        }

        /// True if the process carries the operation's mark and is not this one.
        fn is_marked(&self, pid: u32) -> bool {
            !self.mark.is_empty() && pid != std::process::id() && has_mark(pid, &self.mark)
        }
    }

    fn numbers() -> impl Iterator<Item = u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// A process as it is now; `None` if it is gone.
    fn look(pid: u32) -> Option<Seen> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let alive = !matches!(fields.next()?, "Z" | "X" | "x");
        Some(Seen { parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()?, alive })
    }

    fn has_mark(pid: u32, marked: &str) -> bool {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == marked.as_bytes())
        })
    }

    pub(super) fn kill(pid: u32) {
        signal(pid, Signal::KILL, kill_process);
    }

    pub(super) fn stop(pid: u32) {
        signal(pid, Signal::STOP, kill_process);
    }

    fn signal(number: u32, signal: Signal, send: fn(Pid, Signal) -> rustix::io::Result<()>) {
        if let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) {
            // A process that is gone already is what is wanted.
            let _ = send(pid, signal);
        }
    }
}

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

#[cfg(not(unix))]
mod platform {
    /// A job object takes this place; until then the driver ends the worker itself.
    pub(super) struct Hunt;

    impl Hunt {
        pub(super) fn new(_root: u32, _mark: &str) -> Self {
            Self
        }

        pub(super) fn look_and_kill(&mut self) -> bool {
            true
        }

        pub(super) fn ended(&self) -> u32 {
            0
        }
    }

    pub(super) fn kill(_pid: u32) {}

    pub(super) fn stop(_pid: u32) {}
}
