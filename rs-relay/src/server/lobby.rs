//! What strangers may cost: connections that have not shown a token yet, and listeners that are refused.
//!
//! A stranger has arrived until its first bytes are whole, which costs next to nothing. Then it is at work: TLS and the head
//! of its request take some 40 KiB. Both are bounded, and one too many drops the oldest of the source that has most of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::AbortHandle;
use tokio::time::Instant;

/// Connections whose first bytes are not whole.
pub(crate) const ARRIVED_MAX: usize = 4096;

/// Connections between their first bytes and the end of their request's head.
pub(crate) const AT_WORK_MAX: usize = 1024;

/// Addresses of refused listeners that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// How long a refused listener's address is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10);

/// Refusals that may be held back at the same time. More are given at once.
const HELD_MAX: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Lobby(Mutex<State>);

#[derive(Debug)]
struct State {
    next: u64,
    arrived: Crowd,
    at_work: Crowd,
    refused: HashMap<IpAddr, Instant>,
    held: usize,
}

/// A place in the lobby, by age.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    number: u64,
    source: IpAddr,
}

/// Connections by source and age.
#[derive(Debug)]
struct Crowd {
    of: HashMap<IpAddr, BTreeMap<u64, AbortHandle>>,
    count: usize,
    count_max: usize,
}

impl Crowd {
    fn new(count_max: usize) -> Self {
        Self { of: HashMap::new(), count: 0, count_max }
    }

    /// Lets a connection in. When there is no room the source with the most connections loses its oldest: a flood makes
    /// room for those that are in earnest.
    fn enter(&mut self, place: Place, task: AbortHandle) {
        if self.count >= self.count_max
            && let Some((source, line)) = self.of.iter().max_by_key(|(_, line)| line.len())
            && let Some(number) = line.keys().next().copied()
            && let Some(oldest) = self.leave(Place { number, source: *source })
        {
            oldest.abort();
        }
        self.of.entry(place.source).or_default().insert(place.number, task);
        self.count += 1;
    }

    fn leave(&mut self, place: Place) -> Option<AbortHandle> {
        let line = self.of.get_mut(&place.source)?;
        let left = line.remove(&place.number)?;
        if line.is_empty() {
            self.of.remove(&place.source);
        }
        self.count -= 1;
        Some(left)
    }
}

impl Default for Lobby {
    fn default() -> Self {
        Self::new(ARRIVED_MAX, AT_WORK_MAX)
    }
}

impl Lobby {
    /// With room for so many that have arrived, and so many that are at work.
    pub(crate) fn new(arrived_max: usize, at_work_max: usize) -> Self {
        Self(Mutex::new(State {
            next: 0,
            arrived: Crowd::new(arrived_max),
            at_work: Crowd::new(at_work_max),
            refused: HashMap::new(),
            held: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has arrived.
    pub(crate) fn enter(&self, source: IpAddr, task: AbortHandle) -> Place {
        let mut state = self.state();
        state.next += 1;
        let place = Place { number: state.next, source };
        state.arrived.enter(place, task);
        place
    }

    /// Its first bytes are whole: from now on it costs more.
    pub(crate) fn work(&self, place: Place) {
        let mut state = self.state();
        if let Some(task) = state.arrived.leave(place) {
            state.at_work.enter(place, task);
        }
    }

    /// The connection has sent its head, or is gone.
    pub(crate) fn leave(&self, place: Place) {
        let mut state = self.state();
        let left = state.arrived.leave(place).or_else(|| state.at_work.leave(place));
        drop(state);
        drop(left);
    }

    /// Whether to hold back the refusal of a listener. The first one of an address is given at once: some clients come
    /// back without any pause, and twice as many each time.
    pub(crate) fn hold(&self, address: IpAddr, now: Instant) -> bool {
        let mut state = self.state();
        if state.refused.len() >= ADDRESSES_MAX {
            state.refused.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        }
        let again = state.refused.get(&address).is_some_and(|at| now.duration_since(*at) < REMEMBERED);
        if again || state.refused.len() < ADDRESSES_MAX {
            state.refused.insert(address, now);
        }
        let hold = again && state.held < HELD_MAX;
        state.held += usize::from(hold);
        hold
    }

    /// A refusal that was held back is given.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.held = state.held.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u16) -> IpAddr {
        IpAddr::from([10, 0, (last >> 8) as u8, last as u8])
    }

    #[test]
    fn only_repeated_refusals_are_held_and_not_too_many() {
        let (lobby, now) = (Lobby::default(), Instant::now());
        assert!(!lobby.hold(address(1), now), "the first one");
        assert!(lobby.hold(address(1), now), "again");
        assert!(!lobby.hold(address(2), now), "somebody else");
        assert!(!lobby.hold(address(1), now + REMEMBERED), "long after");
        for _ in 1..HELD_MAX {
            assert!(lobby.hold(address(2), now));
        }
        assert!(!lobby.hold(address(2), now), "no room");
        lobby.release();
        assert!(lobby.hold(address(2), now));
    }

    #[test]
    fn the_memory_for_addresses_is_bounded() {
        let (lobby, now) = (Lobby::default(), Instant::now());
        for last in 0..ADDRESSES_MAX + 100 {
            lobby.hold(address(last as u16), now);
        }
        assert_eq!(lobby.state().refused.len(), ADDRESSES_MAX);
        lobby.hold(address(9), now + REMEMBERED);
        assert_eq!(lobby.state().refused.len(), 1);
    }

    fn enter(lobby: &Lobby, from: u16) -> (Place, AbortHandle) {
        let (task, _) = AbortHandle::new_pair();
        (lobby.enter(address(from), task.clone()), task)
    }

    #[test]
    fn sec42_who_has_arrived_at_and_past_the_bound() {
        let lobby = Lobby::default();
        let (_, good) = enter(&lobby, 9);
        let flood: Vec<_> = (1..ARRIVED_MAX).map(|index| enter(&lobby, (index % 2) as u16)).collect();
        assert!(flood.iter().all(|(_, task)| !task.is_aborted()));
        let (_, newcomer) = enter(&lobby, 5);
        let gone: Vec<_> = flood.iter().filter(|(_, task)| task.is_aborted()).collect();
        assert_eq!(gone.len(), 1, "one of the flood makes room");
        assert!(flood[0].1.is_aborted(), "the oldest of the source with most");
        assert!(!good.is_aborted() && !newcomer.is_aborted());
        assert_eq!(lobby.state().arrived.count, ARRIVED_MAX);
    }

    #[test]
    fn sec42_who_is_at_work_at_and_past_the_bound() {
        let lobby = Lobby::default();
        let (place, good) = enter(&lobby, 9);
        lobby.work(place);
        let flood: Vec<_> = (1..=AT_WORK_MAX).map(|_| enter(&lobby, 1)).collect();
        for (place, _) in &flood[1..] {
            lobby.work(*place);
        }
        assert!(flood.iter().all(|(_, task)| !task.is_aborted()), "at the bound");
        lobby.work(flood[0].0);
        let gone: Vec<_> = (0..flood.len()).filter(|index| flood[*index].1.is_aborted()).collect();
        assert_eq!(gone, [1], "the oldest of those at work");
        assert!(!good.is_aborted());
        lobby.work(flood[2].0);
        assert_eq!(lobby.state().at_work.count, AT_WORK_MAX, "nobody counts twice");
        for (place, _) in flood.into_iter().chain([(place, good)]) {
            lobby.leave(place);
            lobby.leave(place);
        }
        let state = lobby.state();
        assert_eq!((state.arrived.count, state.at_work.count), (0, 0));
        assert!(state.arrived.of.is_empty() && state.at_work.of.is_empty(), "nobody is remembered");
    }
}
