//! What sources are known for: those that were in earnest lately are served before strangers.
//!
//! Only a source that has shown a token, or an address that only others with one get, is remembered at all, so strangers cannot fill the memory or take the
//! place of others in it. A connection that comes to nothing counts against its source, and a listener that breaks the
//! protocol counts more than the token that it came with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most that a source can have to its credit, or against it.
const CREDIT_MAX: i32 = 32;

/// So long after the last proof a source still stands good.
const LASTS: Duration = Duration::from_secs(600);

/// What a broken protocol counts; a proof and a connection that came to nothing count one.
const BROKEN: i32 = 4;

/// Sources that are remembered. A further one takes the place of the one whose last proof is the oldest.
const SOURCES_MAX: usize = 4096;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<HashMap<IpAddr, Source>>);

#[derive(Debug)]
struct Source {
    credit: i32,
    proven: Instant,
}

impl Standing {
    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of this source has shown that it may be here.
    pub(crate) fn proven(&self, source: IpAddr) {
        let mut sources = self.sources();
        if sources.len() >= SOURCES_MAX
            && !sources.contains_key(&source)
            && let Some(oldest) =
                sources.iter().min_by_key(|(_, known)| known.proven).map(|(oldest, _)| *oldest)
        {
            sources.remove(&oldest);
        }
        let now = Instant::now();
        let known = sources.entry(source).or_insert(Source { credit: 0, proven: now });
        known.proven = now;
        known.credit = (known.credit + 1).min(CREDIT_MAX);
    }

    /// A connection of this source came to nothing.
    pub(crate) fn failed(&self, source: IpAddr) {
        self.less(source, 1);
    }

    /// A client of this source broke the protocol after it had shown that it may be here.
    pub(crate) fn broke(&self, source: IpAddr) {
        self.less(source, BROKEN);
    }

    fn less(&self, source: IpAddr, by: i32) {
        if let Some(known) = self.sources().get_mut(&source) {
            known.credit = (known.credit - by).max(-CREDIT_MAX);
        }
    }

    /// Whether more speaks for this source than against it, lately.
    pub(crate) fn is_good(&self, source: IpAddr) -> bool {
        self.sources().get(&source).is_some_and(|known| known.credit > 0 && known.proven.elapsed() < LASTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn who_proves_good_stands_good_until_more_speaks_against_it() {
        let standing = Standing::default();
        assert!(!standing.is_good(source(1)), "a stranger");
        standing.proven(source(1));
        assert!(standing.is_good(source(1)) && !standing.is_good(source(2)));
        standing.failed(source(1));
        assert!(!standing.is_good(source(1)));
        for _ in 0..BROKEN {
            standing.proven(source(1));
        }
        assert!(standing.is_good(source(1)));
        standing.broke(source(1));
        assert!(!standing.is_good(source(1)), "a broken protocol counts more than a token");
    }

    #[tokio::test(start_paused = true)]
    async fn credit_lasts_for_a_while() {
        let standing = Standing::default();
        standing.proven(source(1));
        tokio::time::advance(LASTS - Duration::from_millis(1)).await;
        assert!(standing.is_good(source(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!standing.is_good(source(1)));
        standing.proven(source(1));
        assert!(standing.is_good(source(1)));
    }

    #[test]
    fn credit_is_bounded_both_ways() {
        let standing = Standing::default();
        (0..=CREDIT_MAX).for_each(|_| standing.proven(source(1)));
        (0..CREDIT_MAX).for_each(|_| standing.failed(source(1)));
        assert!(!standing.is_good(source(1)));
        (0..=CREDIT_MAX).for_each(|_| standing.failed(source(1)));
        (0..=CREDIT_MAX).for_each(|_| standing.proven(source(1)));
        assert!(standing.is_good(source(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn sec42_sources_at_and_past_the_bound_and_strangers_take_no_room() {
        let standing = Standing::default();
        for number in 0..SOURCES_MAX {
            standing.proven(source(number));
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        for stranger in 0..SOURCES_MAX {
            standing.failed(source(SOURCES_MAX + 1 + stranger));
        }
        assert!(standing.is_good(source(0)));
        standing.proven(source(SOURCES_MAX));
        assert!(!standing.is_good(source(0)), "the one whose last proof is the oldest");
        assert!(standing.is_good(source(1)) && standing.is_good(source(SOURCES_MAX)));
        assert_eq!(standing.sources().len(), SOURCES_MAX);
    }
}
