//! The hunt on Linux, over the process table in `/proc`.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};

use super::MARK;

/// Longest chain of parents that is followed.
const CHAIN_MAX: usize = 4096;
/// How often a process is looked at again whose line of parents changes under the eye.
const TRIES: usize = 8;

/// What the table says about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operations) struct Seen {
    parent: u32,
    group: u32,
    /// Ticks after boot.
    pub(in crate::operations) start: u64,
    pub(in crate::operations) alive: bool,
}

/// A process for certain: its number, and when it started.
type Id = (u32, u64);

/// The processes of a system.
pub(in crate::operations) trait Table {
    fn numbers(&self) -> Vec<u32>;
    /// A process as it is now; `None` if it is gone.
    fn look(&self, number: u32) -> Option<Seen>;
    fn has_mark(&self, number: u32, mark: &str) -> bool;
    /// Ends this process and no other.
    fn kill(&self, id: Id);
    fn kill_group(&self, group: u32);
}

/// True if more than so many processes and threads are below a process. Where the kernel names no children, it is false.
#[cfg(feature = "native")]
pub(in crate::operations) fn is_crowded(root: u32, most: u32) -> bool {
    let entries = |path: String| fs::read_dir(path).into_iter().flatten().flatten();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut processes, mut threads, mut at) = (vec![root], 0, 0);
    while let Some(process) = processes.get(at).copied() {
        at += 1;
        for thread in entries(format!("/proc/{process}/task")) {
            threads += usize::from(process != root);
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        if threads.max(processes.len() - 1) > most {
            return true;
        }
    }
    false
}

/// Rounds of looking and killing.
pub(super) struct Hunt<T = Proc> {
    table: T,
    root: u32,
    mark: String,
    own_group: u32,
    /// Processes of the tree ever seen.
    members: BTreeSet<Id>,
    dead: BTreeSet<Id>,
    /// Dead children of the root: it reaps nobody, so their numbers stay theirs, and they need no further look.
    kept: BTreeSet<u32>,
    killed: BTreeSet<Id>,
    /// Processes that have nothing to do with the tree; forgotten before a look that counts.
    strangers: BTreeSet<u32>,
}

/// Whether a process hangs below the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kin {
    Yes,
    No,
    /// Its line of parents kept changing: it is let live, and looked at in the next round.
    Unclear,
}

impl Hunt {
    pub(super) fn new(root: u32, mark: &str) -> Self {
        Self::over(Proc, root, mark, u32::try_from(getpgrp().as_raw_nonzero().get()).unwrap_or(0))
    }
}

impl<T: Table> Hunt<T> {
    fn over(table: T, root: u32, mark: &str, own_group: u32) -> Self {
        Self {
            table,
            root,
            mark: if mark.is_empty() { String::new() } else { format!("{MARK}={mark}") },
            own_group,
            members: BTreeSet::new(),
            dead: BTreeSet::new(),
            kept: BTreeSet::new(),
            killed: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// Processes that were found alive.
    pub(super) fn ended(&self) -> u32 {
        u32::try_from(self.killed.len()).unwrap_or(u32::MAX)
    }

    /// One round; true if it found nobody alive and nobody newly dead. Quick looks at what is new go first, as a runaway
    /// is only met by the quick.
    pub(super) fn look_and_kill(&mut self) -> bool {
        if self.look() {
            return false;
        }
        self.strangers.clear();
        !self.look()
    }

    /// Looks at everybody who is not known, the newest first; true if a member was met that was not known as dead.
    fn look(&mut self) -> bool {
        let root_lives = self.table.look(self.root).is_some_and(|root| root.alive);
        let known = |number: &u32| {
            *number == self.root || self.kept.contains(number) || self.strangers.contains(number)
        };
        let mut numbers: Vec<u32> =
            self.table.numbers().into_iter().filter(|number| !known(number)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut met = false;
        for number in numbers {
            let Some((seen, kin)) = self.kin(number) else { continue };
            match kin {
                Kin::Yes => met |= self.end((number, seen.start), seen),
                Kin::Unclear => met = true,
                Kin::No if !root_lives && self.is_marked(number) => {
                    met |= self.end((number, seen.start), seen)
                }
                Kin::No => {
                    self.strangers.insert(number);
                }
            }
        }
        met
    }

    /// Ends a member, and its group if a member leads it: no fork outruns that. False if it was known as dead.
    fn end(&mut self, id: Id, seen: Seen) -> bool {
        self.members.insert(id);
        if !seen.alive {
            if seen.parent == self.root {
                self.kept.insert(id.0);
            }
            return self.dead.insert(id);
        }
        // The group first: its number is certainly the members' own as long as its leader is a child of the root.
        let leads =
            |leader: &Seen| leader.parent == self.root && self.members.contains(&(seen.group, leader.start));
        let group = seen.group > 1 && seen.group != self.own_group;
        if group && self.table.look(seen.group).as_ref().is_some_and(leads) {
            self.table.kill_group(seen.group);
        }
        self.table.kill(id);
        self.killed.insert(id);
        true
    }

    /// The process, and whether a chain of parents leads from it to the root; `None` if it is gone.
    fn kin(&self, number: u32) -> Option<(Seen, Kin)> {
        for _ in 0..TRIES {
            let seen = self.table.look(number)?;
            if self.members.contains(&(number, seen.start)) {
                return Some((seen, Kin::Yes));
            }
            if let Some(kin) = self.line(number, seen) {
                return Some((seen, kin));
            }
        }
        let seen = self.table.look(number)?;
        Some((seen, Kin::Unclear))
    }

    /// Follows the parents; `None` if a link changed meanwhile. A parent that was looked at is the parent for certain if
    /// the child still names it afterwards: it lived all the time, so nobody else had its number.
    fn line(&self, number: u32, seen: Seen) -> Option<Kin> {
        let (mut child, mut child_seen) = (number, seen);
        for _ in 0..CHAIN_MAX {
            let parent = child_seen.parent;
            if parent == self.root {
                return Some(Kin::Yes);
            }
            if parent <= 1 {
                return Some(Kin::No);
            }
            let parent_seen = self.table.look(parent);
            let again = self.table.look(child)?;
            if again.parent != parent || again.start != child_seen.start {
                return None;
            }
            let parent_seen = parent_seen?;
            if self.members.contains(&(parent, parent_seen.start)) {
                return Some(Kin::Yes);
            }
            (child, child_seen) = (parent, parent_seen);
        }
        Some(Kin::No)
    }

    /// True if the process carries the operation's mark and is not this one.
    fn is_marked(&self, number: u32) -> bool {
        !self.mark.is_empty() && number != std::process::id() && self.table.has_mark(number, &self.mark)
    }
}

/// The process table of this machine.
pub(in crate::operations) struct Proc;

impl Table for Proc {
    fn numbers(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn look(&self, number: u32) -> Option<Seen> {
        seen(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
    }

    fn has_mark(&self, number: u32, mark: &str) -> bool {
        fs::read(format!("/proc/{number}/environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        })
    }

    /// The descriptor first, then the look: it then means the process that was looked at, or nobody any more.
    fn kill(&self, (number, start): Id) {
        let Some(pid) = pid(number) else { return };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.look(number).is_some_and(|seen| seen.start == start) {
            // A process that is gone already is what is wanted.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    fn kill_group(&self, group: u32) {
        signal(group, Signal::KILL, kill_process_group);
    }
}

/// A line of `/proc/*/stat`; the name in it may hold anything, so the fields are counted from its end.
fn seen(stat: &str) -> Option<Seen> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let small = |at: usize| u32::try_from(number(at)?).ok();
    let alive = !matches!(*fields.first()?, "Z" | "X" | "x");
    Some(Seen { parent: small(1)?, group: small(2)?, start: number(19)?, alive })
}

pub(in crate::operations) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Ends a child of this process that it has not reaped: its number is its own.
pub(super) fn kill(number: u32) {
    signal(number, Signal::KILL, kill_process);
}

/// Stops a child of this process that it has not reaped.
pub(super) fn stop(number: u32) {
    signal(number, Signal::STOP, kill_process);
}

fn signal(number: u32, signal: Signal, send: fn(Pid, Signal) -> rustix::io::Result<()>) {
    if let Some(pid) = pid(number) {
        // A process that is gone already is what is wanted.
        let _ = send(pid, signal);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
