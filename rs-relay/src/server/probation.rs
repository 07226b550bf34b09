//! Probation: what a source is remembered for whose connections come to nothing while others wait.
//!
//! Turns are fair, but a source that keeps coming back keeps the processors busy, and everything takes longer for everybody. So
//! while several sources wait for their turns, each connection that begins takes a mark of its source. One that shows that it
//! may be here gives it back at once; one that ends without, or a listener that breaks the protocol, leaves it for a while. A
//! source with all its marks taken has so many connections on trial, or gets a few a second: each waits for a mark. A source in
//! earnest is soon rid of it, and has four times as many. Where nobody else is kept waiting, as behind one load balancer that
//! hides addresses, there are no marks.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::standing::Standing;
use super::turns::Turns;
use crate::net::random;

/// Marks of a source from which on its connections wait.
const MARKS_MAX: usize = 32;

/// So many times as many for one that stands good: many may share its address.
const GOOD_MARKS: usize = 4;

/// How long a mark stays at least, and at most: not all of them go at the same time.
const STAYS: std::ops::Range<u64> = 5_000..15_000;

/// Sources that are remembered. Further ones get no marks.
const SOURCES_MAX: usize = 4096;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Probation {
    turns: Arc<Turns>,
    marks_max: usize,
    standing: Standing,
    sources: Mutex<HashMap<IpAddr, Source>>,
}

#[derive(Debug, Default)]
struct Source {
    marks: usize,
    waiting: VecDeque<oneshot::Sender<Mark>>,
}

impl Probation {
    pub(crate) fn new(turns: Arc<Turns>, bounded: bool) -> Arc<Self> {
        let marks_max = if bounded { MARKS_MAX } else { usize::MAX };
        Arc::new(Self { turns, marks_max, standing: Standing::default(), sources: Mutex::default() })
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection begin, at once unless its source has all its marks.
    pub(crate) async fn enter(self: &Arc<Self>, source: IpAddr) -> Trial {
        let mark = match self.queue(source) {
            Some(given) => given.await.ok(),
            None if self.turns.are_contended() => self.mark(source),
            None => None,
        };
        Trial { probation: Arc::clone(self), source, mark, proven: false }
    }

    /// How many marks a source can have.
    fn marks_of(&self, source: IpAddr) -> usize {
        if self.standing.is_good(source) { self.marks_max.saturating_mul(GOOD_MARKS) } else { self.marks_max }
    }

    fn queue(&self, source: IpAddr) -> Option<oneshot::Receiver<Mark>> {
        let marks_max = self.marks_of(source);
        let mut sources = self.sources();
        let line = sources.get_mut(&source).filter(|line| line.marks >= marks_max)?;
        let (waiter, given) = oneshot::channel();
        line.waiting.push_back(waiter);
        Some(given)
    }

    /// Whether this source is served before strangers.
    pub(crate) fn stands_good(&self, source: IpAddr) -> bool {
        self.marks_max < usize::MAX && self.standing.is_good(source)
    }

    /// A client that had shown that it may be here broke the protocol.
    pub(crate) fn broken_by(self: &Arc<Self>, source: IpAddr) {
        self.standing.broke(source);
        if self.turns.are_contended() {
            self.leave(self.mark(source));
        }
    }

    /// A mark stays for a while.
    fn leave(&self, mark: Option<Mark>) {
        if let (Some(mark), Ok(runtime)) = (mark, Handle::try_current()) {
            let stays = STAYS.start + random::number() % (STAYS.end - STAYS.start);
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(stays)).await;
                drop(mark);
            });
        }
    }

    /// One more mark, if there is room for it.
    fn mark(self: &Arc<Self>, source: IpAddr) -> Option<Mark> {
        let marks_max = self.marks_of(source);
        let mut sources = self.sources();
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            return None;
        }
        let line = sources.entry(source).or_default();
        if line.marks >= marks_max {
            return None;
        }
        line.marks += 1;
        Some(Mark { of: Some((Arc::clone(self), source)) })
    }

    /// A mark goes: to the next who waits, or for good.
    fn pass(self: &Arc<Self>, source: IpAddr) {
        loop {
            let mut sources = self.sources();
            let Some(line) = sources.get_mut(&source) else { return };
            let Some(next) = line.waiting.pop_front() else {
                line.marks -= 1;
                if line.marks == 0 {
                    sources.remove(&source);
                }
                return;
            };
            drop(sources);
            match next.send(Mark { of: Some((Arc::clone(self), source)) }) {
                Ok(()) => return,
                // It is gone; the mark is still here.
                Err(mut mark) => mark.of = None,
            }
        }
    }
}

/// A mark of a source. It passes on when this is dropped.
#[derive(Debug)]
struct Mark {
    of: Option<(Arc<Probation>, IpAddr)>,
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some((probation, source)) = self.of.take() {
            probation.pass(source);
        }
    }
}

/// A connection that has to prove that it may be here. When this is dropped before it leaves its mark.
#[derive(Debug)]
pub(crate) struct Trial {
    probation: Arc<Probation>,
    source: IpAddr,
    /// Taken while others waited.
    mark: Option<Mark>,
    proven: bool,
}

impl Trial {
    /// It may, as it has shown.
    pub(crate) fn proven(self) {
        self.probation.standing.proven(self.source);
        self.admitted();
    }

    /// It may, as anybody may.
    pub(crate) fn admitted(mut self) {
        self.proven = true;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.proven {
            return;
        }
        self.probation.standing.failed(self.source);
        if self.mark.is_none() && !self.probation.turns.are_contended() {
            return;
        }
        let mark = self.mark.take().or_else(|| self.probation.mark(self.source));
        self.probation.leave(mark);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::server::metrics::Metrics;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn probation(bounded: bool, others_wait: bool) -> Arc<Probation> {
        let turns = Arc::new(Turns::new(NonZeroUsize::MIN, Metrics::new()));
        if others_wait {
            turns.contend();
        }
        Probation::new(turns, bounded)
    }

    fn enter(probation: &Arc<Probation>, last: u8) -> Option<Trial> {
        probation.enter(source(last)).now_or_never()
    }

    /// What uses up all marks of a source holds it, where there are bounds and others wait; and no other source.
    fn holds(use_up: impl Fn(&Arc<Probation>) -> Vec<Trial>) {
        for (bounded, others_wait) in [(true, true), (false, true), (true, false)] {
            let probation = probation(bounded, others_wait);
            let _on_trial = use_up(&probation);
            // The controls are not held.
            assert_eq!(enter(&probation, 1).is_none(), bounded && others_wait, "{bounded} {others_wait}");
            assert!(enter(&probation, 2).is_some(), "another source");
        }
    }

    fn begin(probation: &Arc<Probation>) -> Trial {
        enter(probation, 1).expect("below the bound")
    }

    #[tokio::test(start_paused = true)]
    async fn sec42_a_source_whose_connections_come_to_nothing_has_to_wait() {
        holds(|probation| {
            (0..MARKS_MAX).for_each(|_| drop(begin(probation)));
            Vec::new()
        });
    }

    #[tokio::test(start_paused = true)]
    async fn sec42_while_others_wait_a_source_has_so_many_on_trial() {
        holds(|probation| (0..MARKS_MAX).map(|_| begin(probation)).collect());
    }

    #[tokio::test(start_paused = true)]
    async fn sec43_a_source_whose_listeners_break_the_protocol_has_to_wait() {
        holds(|probation| {
            for _ in 0..MARKS_MAX {
                begin(probation).proven();
                probation.broken_by(source(1));
            }
            Vec::new()
        });
    }

    #[tokio::test(start_paused = true)]
    async fn who_proves_good_makes_room_at_once_and_who_does_not_leaves_a_mark() {
        let probation = probation(true, true);
        let mut in_earnest: VecDeque<_> =
            (0..MARKS_MAX).map(|_| enter(&probation, 1).expect("no marks")).collect();
        assert!(enter(&probation, 1).is_none(), "as many as may be on trial");
        in_earnest.pop_front().expect("one on trial").proven();
        while in_earnest.len() < GOOD_MARKS * MARKS_MAX {
            in_earnest.push_back(enter(&probation, 1).expect("it stands good"));
        }
        assert!(enter(&probation, 1).is_none(), "as many as may be on trial of one that stands good");
        in_earnest.into_iter().for_each(Trial::proven);
        for _ in 0..MARKS_MAX {
            drop(enter(&probation, 3));
        }
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(probation.enter(source(3)))).collect();
        for entering in &mut waiting {
            assert!(entering.now_or_never().is_none());
        }
        let mut waiting = waiting.into_iter();
        let begun = tokio::time::Instant::now();
        let first = waiting.next().unwrap().await;
        assert!(begun.elapsed().as_millis() >= u128::from(STAYS.start), "a mark had to go");
        let second = waiting.next().unwrap();
        first.proven();
        assert!(second.now_or_never().is_some(), "its mark passes on");
        // The others leave, all marks go, and nobody is remembered.
        drop(waiting);
        tokio::time::sleep(Duration::from_millis(3 * STAYS.end)).await;
        assert!(probation.sources().is_empty());
    }
}
