//! Rendezvous addresses of HTTP requests that are over, while their listener may still come.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use super::RendezvousId;
use crate::proto::limits::{LATE_RENDEZVOUS_MAX, LATE_WAIT};

/// Looked over whenever something is put in or taken out, so that it needs no timer of its own.
#[derive(Debug, Default)]
pub(super) struct Late {
    ids: HashSet<RendezvousId>,
    /// In the order of their time.
    order: VecDeque<(Instant, RendezvousId)>,
}

impl Late {
    /// Remembers an id for [`LATE_WAIT`]. When there are too many the oldest is forgotten.
    pub(super) fn insert(&mut self, now: Instant, id: RendezvousId) {
        self.forget_old(now);
        self.order.push_back((now + LATE_WAIT, id.clone()));
        self.ids.insert(id);
        if self.order.len() > LATE_RENDEZVOUS_MAX {
            self.forget_first();
        }
    }

    /// Whether the id is remembered. It is not any more, then.
    pub(super) fn take(&mut self, now: Instant, id: &RendezvousId) -> bool {
        self.forget_old(now);
        self.ids.remove(id)
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn id(number: u32) -> RendezvousId {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        RendezvousId::from_bytes(bytes)
    }

    #[test]
    fn remembered_for_a_while_and_taken_once() {
        let (mut late, now) = (Late::default(), Instant::now());
        late.insert(now, id(1));
        late.insert(now, id(2));
        assert!(late.take(now + LATE_WAIT - Duration::from_millis(1), &id(1)));
        assert!(!late.take(now, &id(1)), "once");
        assert!(!late.take(now + LATE_WAIT, &id(2)), "too late");
    }

    #[test]
    fn sec43_memory_at_and_past_the_bound() {
        let (mut late, now) = (Late::default(), Instant::now());
        for number in 0..=LATE_RENDEZVOUS_MAX {
            late.insert(now, id(number as u32));
        }
        assert_eq!((late.order.len(), late.ids.len()), (LATE_RENDEZVOUS_MAX, LATE_RENDEZVOUS_MAX));
        assert!(!late.take(now, &id(0)), "the oldest made room");
        assert!(late.take(now, &id(1)));
    }
}
