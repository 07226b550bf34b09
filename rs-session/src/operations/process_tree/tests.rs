//! The hunt in a world with few numbers, in which processes fork, die and are reaped between any two looks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ROOT: u32 = 2;
/// Numbers that processes can have: few, so that they are given anew all the time.
const NUMBERS: std::ops::Range<u32> = 3..40;

#[derive(Clone, Copy)]
struct Process {
    start: u64,
    parent: u32,
    alive: bool,
    stranger: bool,
}

struct World {
    now: u64,
    seed: u64,
    /// Changes that are left; then the world stands still.
    changes: u32,
    processes: BTreeMap<u32, Process>,
    killed_strangers: u32,
}

struct Watched(RefCell<World>);

impl World {
    fn new(seed: u64, changes: u32) -> Self {
        let mut processes = BTreeMap::new();
        let process = |parent, stranger| Process { start: 1, parent, alive: true, stranger };
        processes.insert(1, process(0, true));
        processes.insert(ROOT, process(1, true));
        processes.insert(3, process(ROOT, false));
        processes.insert(4, process(1, true));
        let mut world = Self { now: 1, seed: seed | 1, changes: 40, processes, killed_strangers: 0 };
        // The tree and the strangers have a past.
        (0..40).for_each(|_| world.change());
        world.changes = changes;
        world
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    /// Some process forks, or dies.
    fn change(&mut self) {
        if self.changes == 0 {
            return;
        }
        self.changes -= 1;
        self.now += 1;
        let living: Vec<u32> = self
            .processes
            .iter()
            .filter(|(number, own)| own.alive && **number != ROOT)
            .map(|(n, _)| *n)
            .collect();
        let chosen = living[self.random(living.len())];
        if chosen == 1 || self.random(3) > 0 {
            self.fork(chosen);
        } else {
            self.die(chosen);
        }
    }

    fn fork(&mut self, parent: u32) {
        let free: Vec<u32> = NUMBERS.filter(|number| !self.processes.contains_key(number)).collect();
        if free.is_empty() {
            return;
        }
        let number = free[self.random(free.len().min(3))];
        let stranger = self.processes[&parent].stranger;
        self.processes.insert(number, Process { start: self.now, parent, alive: true, stranger });
    }

    /// Children go to the root, or to the first process; only the root does not reap.
    fn die(&mut self, number: u32) {
        let Some(dead) = self.processes.get(&number).copied() else { return };
        let heir = if dead.stranger { 1 } else { ROOT };
        for child in self.processes.values_mut().filter(|own| own.parent == number) {
            child.parent = heir;
        }
        if dead.parent == ROOT {
            self.processes.insert(number, Process { alive: false, ..dead });
        } else {
            self.processes.remove(&number);
        }
        // Whoever was dead and waited for this parent waits for the root now, which keeps them.
    }

    fn kill(&mut self, number: u32) {
        if let Some(hit) = self.processes.get(&number).copied().filter(|own| own.alive) {
            self.killed_strangers += u32::from(hit.stranger);
            self.die(number);
        }
    }

    fn members_alive(&self) -> usize {
        self.processes.values().filter(|own| own.alive && !own.stranger).count()
    }
}

impl Table for &Watched {
    fn numbers(&self) -> Vec<u32> {
        let mut world = self.0.borrow_mut();
        world.change();
        world.processes.keys().copied().collect()
    }

    fn look(&self, number: u32) -> Option<Seen> {
        let mut world = self.0.borrow_mut();
        world.change();
        let found = world.processes.get(&number)?;
        Some(Seen { parent: found.parent, group: 0, start: found.start, alive: found.alive })
    }

    fn has_mark(&self, _: u32, _: &str) -> bool {
        false
    }

    fn kill(&self, (number, start): Id) {
        let mut world = self.0.borrow_mut();
        world.change();
        if world.processes.get(&number).is_some_and(|own| own.start == start) {
            world.kill(number);
        }
    }

    fn kill_group(&self, _: u32) {}
}

/// A hunt that knows members by their number alone.
fn hunt_by_number(world: &Watched) {
    let mut members = BTreeSet::new();
    for _ in 0..100 {
        for number in Table::numbers(&world).into_iter().rev().filter(|number| *number != ROOT) {
            let parents = std::iter::successors(Some(number), |own| Some(Table::look(&world, *own)?.parent));
            if parents.take(64).any(|own| own == ROOT || members.contains(&own)) {
                members.insert(number);
                world.0.borrow_mut().kill(number);
            }
        }
    }
}

fn hunt(world: &Watched) -> bool {
    let mut hunt = Hunt::over(world, ROOT, "", 0);
    let mut quiet = 0;
    for _ in 0..2000 {
        quiet = if hunt.look_and_kill() { quiet + 1 } else { 0 };
        if quiet == 2 {
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sec07_no_stranger_is_killed_and_no_member_is_left(seed: u64, changes in 0_u32..400) {
        let world = Watched(RefCell::new(World::new(seed, changes)));
        let ended = hunt(&world);
        let world = world.0.into_inner();
        prop_assert_eq!(world.killed_strangers, 0);
        prop_assert!(ended && world.members_alive() == 0, "{} members live on", world.members_alive());
    }
}

#[test]
fn sec07_control_a_hunt_by_number_kills_strangers() {
    let killed: u32 = (1..200)
        .map(|seed| {
            let world = Watched(RefCell::new(World::new(seed * 0x9e37_79b9, 400)));
            hunt_by_number(&world);
            world.0.into_inner().killed_strangers
        })
        .sum();
    assert!(killed > 0, "the control shows nothing");
}

#[test]
fn a_line_of_the_table_is_read_whatever_the_name_is() {
    let line = "12 (a) Z) b) S 7 12 12 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
    assert_eq!(seen(line), Some(Seen { parent: 7, group: 12, start: 98_765, alive: true }));
    assert_eq!(seen("12 (a"), None);
}
