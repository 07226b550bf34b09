//! What strangers may cost: connections that have not shown a token yet, and listeners that are refused.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Connections between their first byte and the end of their request's head. One more drops the oldest.
pub(crate) const STRANGERS_MAX: usize = 4096;

/// Addresses of refused listeners that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// How long a refused listener's address is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10);

/// Refusals that may be held back at the same time. More are given at once.
const HELD_MAX: usize = 512;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Lobby(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    strangers: BTreeMap<u64, AbortHandle>,
    refused: HashMap<IpAddr, Instant>,
    held: usize,
}

/// A place in the lobby, by age.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u64);

impl Lobby {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection whose task does not run yet.
    pub(crate) fn reserve(&self) -> Place {
        let mut state = self.state();
        state.next += 1;
        Place(state.next)
    }

    /// Lets a connection in. When the lobby is full the one that waits longest is dropped: slow clients make room for
    /// those that are in earnest.
    pub(crate) fn enter(&self, place: Place, task: AbortHandle) {
        let mut state = self.state();
        if task.is_finished() {
            return;
        }
        state.strangers.insert(place.0, task);
        if state.strangers.len() > STRANGERS_MAX
            && let Some((_, oldest)) = state.strangers.pop_first()
        {
            oldest.abort();
        }
    }

    /// The connection has sent its head, or is gone.
    pub(crate) fn leave(&self, place: Place) {
        self.state().strangers.remove(&place.0);
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

    #[tokio::test]
    async fn sec42_a_full_lobby_drops_the_oldest() {
        let lobby = Lobby::default();
        let tasks: Vec<_> = (0..=STRANGERS_MAX).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        for task in &tasks {
            lobby.enter(lobby.reserve(), task.abort_handle());
        }
        assert_eq!(lobby.state().strangers.len(), STRANGERS_MAX);
        let mut tasks = tasks.into_iter();
        assert!(tasks.next().unwrap().await.unwrap_err().is_cancelled());
        assert!(tasks.all(|task| !task.is_finished()));
    }
}
