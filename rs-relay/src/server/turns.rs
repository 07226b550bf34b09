//! Turns for what is expensive before anybody has shown a token: TLS handshakes.
//!
//! A handshake costs the relay a signature and a key agreement, and a stranger a few hundred bytes that may be the same each
//! time. So only some handshakes are at work at the same time, and the others wait by source: an IPv4 address or an IPv6
//! network. Sources are served one after another, those that have just come in between the others, so a source with a
//! thousand handshakes waits for itself, and one with a single handshake waits for one or two of theirs. Of four turns at most
//! three go to sources that stand good (`standing`) while others wait, so those hardly notice how many strangers there are.
//!
//! A turn is one step of a handshake, from bytes that have come to bytes that are to be sent. A peer that sends slowly has no
//! turn while it is waited for.
//!
//! While few wait a step is taken where the connection is served. When there is a crowd it is taken on a thread for
//! blocking work: a row of signatures would keep the threads of the runtime from seeing what else has come.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;

use super::metrics::{Cause, Metrics};

/// Handshakes that wait for a turn, of one source. One more is closed.
pub(crate) const WAITING_PER_SOURCE_MAX: usize = 1024;

/// Handshakes that wait for a turn, in all. With one more, the source with the most of them loses its newest.
pub(crate) const WAITING_MAX: usize = 3072;

/// So many wait in a crowd. Below that it costs less to take a step where the connection is served.
const CROWD: usize = 32;

/// For so long it is remembered that several sources waited.
pub(crate) const CONTENDED_FOR: Duration = Duration::from_secs(1);

/// Turns that go to sources that stand good, one after another, while others wait.
const GOOD_IN_A_ROW_MAX: usize = 3;

/// Sources that are remembered, from which on those that have nothing waiting are forgotten at once.
const SOURCES_MAX: usize = 2 * WAITING_MAX;

/// Turns at the same time unless set: one for each core, and two at least.
pub(crate) fn default_at_once() -> NonZeroUsize {
    let two = NonZeroUsize::MIN.saturating_add(1);
    std::thread::available_parallelism().unwrap_or(two).max(two)
}

/// Turns, and those who wait for one.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: Mutex<Queue<oneshot::Sender<Turn>>>,
    /// When several sources waited at the same time.
    contended: Mutex<Option<Instant>>,
    metrics: Metrics,
}

/// Permission for one step. It passes on when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Option<Arc<Turns>>,
    /// Many others wait.
    crowded: bool,
}

impl Turn {
    fn new(turns: &Arc<Turns>, crowded: bool) -> Self {
        Self { turns: Some(Arc::clone(turns)), crowded }
    }
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many handshakes of this source wait for their turn")]
    OfSource,
    #[error("too many handshakes wait for their turn")]
    InAll,
}

impl Turns {
    pub(crate) fn new(at_once: NonZeroUsize, metrics: Metrics) -> Self {
        Self { queue: Mutex::new(Queue::new(at_once)), contended: Mutex::default(), metrics }
    }

    /// Drives a future to its end, each step in a turn of its source.
    ///
    /// # Errors
    ///
    /// [`Full`]; the future is dropped then.
    ///
    /// # Cancel safety
    ///
    /// When this is dropped, so are the future, the turn and the place in the queue.
    pub(crate) fn drive<F>(
        self: &Arc<Self>,
        source: IpAddr,
        good: bool,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Full>> + Send + use<F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (turns, mut future) = (Arc::clone(self), Box::pin(future));
        async move {
            let (bell, number) = (Arc::new(Bell::default()), turns.queue().draw_number());
            loop {
                let turn = turns.take(source, good, number).await?;
                // What has rung until now is seen by this step.
                bell.rung.swap(false, Ordering::Acquire);
                let waker = Waker::from(Arc::clone(&bell));
                let step;
                (future, step) = if turn.crowded {
                    spawn_blocking(move || poll_once(future, &waker, turn)).await.map_or_else(resume, Ok)?
                } else {
                    poll_once(future, &waker, turn)
                };
                match step {
                    Poll::Ready(output) => return Ok(output),
                    Poll::Pending => bell.heard().await,
                }
            }
        }
    }

    /// Whether several sources wait, or have waited within [`CONTENDED_FOR`].
    pub(crate) fn are_contended(&self) -> bool {
        let contended = *self.contended();
        contended.is_some_and(|at| at.elapsed() < CONTENDED_FOR)
    }

    fn contended(&self) -> MutexGuard<'_, Option<Instant>> {
        self.contended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two sources wait for ever.
    #[cfg(test)]
    pub(crate) fn contend(&self) {
        let mut queue = self.queue();
        for last in 0..3 {
            let number = queue.draw_number();
            queue.enter(IpAddr::from([192, 0, 2, last]), false, number, oneshot::channel().0);
        }
        *self.contended() = Some(Instant::now() + Duration::from_secs(3600));
    }

    async fn take(self: &Arc<Self>, source: IpAddr, good: bool, number: u64) -> Result<Turn, Full> {
        let (waiter, given) = oneshot::channel();
        let turn = if self.enter((source, good), number, waiter)? {
            Turn::new(self, false)
        } else {
            let _place = Place { turns: self, source, number };
            given.await.map_err(|_| Full::InAll)?
        };
        if !turn.crowded {
            // Whatever else is ready to run comes first: others take their places before this one works, and what is no
            // handshake is not held up by a row of them.
            behind_the_others().await;
        }
        Ok(turn)
    }

    /// Whether there is a turn at once.
    fn enter(
        &self,
        (source, good): (IpAddr, bool),
        own: u64,
        waiter: oneshot::Sender<Turn>,
    ) -> Result<bool, Full> {
        let mut queue = self.queue();
        let entered = queue.enter(source, good, own, waiter);
        self.metrics.handshakes_waiting.set(number(queue.waiting));
        if queue.are_several() {
            *self.contended() = Some(Instant::now());
        }
        drop(queue);
        let refused = match &entered {
            Entered::Refused(Full::OfSource) => "too_many_of_source",
            Entered::Refused(Full::InAll) | Entered::Waits { instead_of: Some(_), .. } => "too_many",
            Entered::Now | Entered::Waits { instead_of: None, .. } => "",
        };
        if !refused.is_empty() {
            self.metrics.handshakes_refused.get_or_create(&Cause { cause: refused }).inc();
        }
        match entered {
            Entered::Now => Ok(true),
            Entered::Waits { .. } => Ok(false),
            Entered::Refused(full) => Err(full),
        }
    }

    /// Passes a turn on.
    fn pass(self: &Arc<Self>) {
        loop {
            let mut queue = self.queue();
            let (next, crowded) = (queue.next(), queue.waiting >= CROWD);
            self.metrics.handshakes_waiting.set(number(queue.waiting));
            drop(queue);
            let Some(next) = next else { return };
            match next.send(Turn::new(self, crowded)) {
                Ok(()) => return,
                // It is gone; the turn is still here.
                Err(mut turn) => drop(turn.turns.take()),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Turn>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass();
        }
    }
}

/// A place in the queue, given up when this is dropped.
struct Place<'a> {
    turns: &'a Turns,
    source: IpAddr,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        let left = queue.leave(self.source, self.number);
        self.turns.metrics.handshakes_waiting.set(number(queue.waiting));
        drop(queue);
        drop(left);
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Lets every task that is ready run first. Unlike `yield_now` of tokio it does not wait until there is none left.
async fn behind_the_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One step of a handshake in its turn.
fn poll_once<F: Future>(
    mut future: Pin<Box<F>>,
    waker: &Waker,
    turn: Turn,
) -> (Pin<Box<F>>, Poll<F::Output>) {
    let step = future.as_mut().poll(&mut Context::from_waker(waker));
    drop(turn);
    (future, step)
}

/// What a step on another thread came to, when it came to nothing: it panicked, or the runtime ends.
fn resume<T>(error: JoinError) -> Result<T, Full> {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Full::InAll),
    }
}

/// Wakes a task and remembers it: steps on other threads are woken, too, while the task waits for something else.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    async fn heard(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Who waits, and who is next. `W` is what is needed to wake somebody.
#[derive(Debug)]
struct Queue<W> {
    at_once: usize,
    taken: usize,
    waiting: usize,
    last_number: u64,
    /// Each source here stands either among the good ones, among the new ones or in the ring, once.
    lines: HashMap<IpAddr, Line<W>>,
    /// Sources that stand good, the one that is next in front.
    good: VecDeque<IpAddr>,
    /// Turns that went to them since the last one of another.
    good_in_a_row: usize,
    /// Sources that have had no turn since they came.
    new: VecDeque<IpAddr>,
    /// The others, the one that is next in front. Some have nothing waiting any more: a source has to be absent for a whole
    /// round to count as new again.
    ring: VecDeque<IpAddr>,
    /// Whether the last turn went to a new source.
    new_was_last: bool,
}

/// The handshakes of one source, the oldest in front: what was begun is ended before more is begun. Numbers ascend.
type Line<W> = VecDeque<(u64, W)>;

#[derive(Debug, PartialEq, Eq)]
enum Entered<W> {
    /// A turn was free.
    Now,
    /// Somebody else may have lost their place for this one.
    Waits {
        instead_of: Option<W>,
    },
    Refused(Full),
}

impl<W> Queue<W> {
    fn new(at_once: NonZeroUsize) -> Self {
        Self {
            at_once: at_once.get(),
            taken: 0,
            waiting: 0,
            last_number: 0,
            lines: HashMap::new(),
            good: VecDeque::new(),
            good_in_a_row: 0,
            new: VecDeque::new(),
            ring: VecDeque::new(),
            new_was_last: false,
        }
    }

    /// Whether more than one source waits, or did in this round.
    fn are_several(&self) -> bool {
        self.waiting > 0 && self.lines.len() > 1
    }

    /// The number of a handshake, which it keeps for all its steps.
    fn draw_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn enter(&mut self, source: IpAddr, good: bool, number: u64, waiter: W) -> Entered<W> {
        if self.taken < self.at_once {
            self.taken += 1;
            return Entered::Now;
        }
        let own = self.lines.get(&source).map_or(0, VecDeque::len);
        let mut instead_of = None;
        if own >= WAITING_PER_SOURCE_MAX {
            let line = self.lines.get_mut(&source);
            let Some(newest) = line.and_then(|line| line.pop_back_if(|(newest, _)| *newest > number)) else {
                return Entered::Refused(Full::OfSource);
            };
            instead_of = Some(newest.1);
            self.waiting -= 1;
        } else if self.waiting >= WAITING_MAX {
            // Looks through all sources, which is still much cheaper than a handshake.
            let Some(longest) = self.lines.values_mut().max_by_key(|line| line.len()) else {
                return Entered::Refused(Full::InAll);
            };
            if longest.len() <= own + 1 {
                return Entered::Refused(Full::InAll);
            }
            instead_of = longest.pop_back().map(|(_, waiter)| waiter);
            self.waiting -= 1;
        }
        self.waiting += 1;
        let line = match self.lines.entry(source) {
            Entry::Occupied(line) => {
                // It stands good no longer.
                if !good && let Some(index) = self.good.iter().position(|other| *other == source) {
                    self.good.remove(index);
                    self.ring.push_back(source);
                }
                line.into_mut()
            }
            Entry::Vacant(line) => {
                if good { &mut self.good } else { &mut self.new }.push_back(source);
                line.insert(VecDeque::new())
            }
        };
        let place = line.partition_point(|(other, _)| *other < number);
        line.insert(place, (number, waiter));
        Entered::Waits { instead_of }
    }

    /// A turn was given back: the one who has it next. Without one the turn is free.
    fn next(&mut self) -> Option<W> {
        while self.waiting > 0 {
            let no_others = self.new.is_empty() && self.ring.is_empty();
            let take_good = !self.good.is_empty() && (no_others || self.good_in_a_row < GOOD_IN_A_ROW_MAX);
            let take_new = !self.new.is_empty() && (self.ring.is_empty() || !self.new_was_last);
            let front = if take_good {
                self.good.pop_front()
            } else if take_new {
                self.new.pop_front()
            } else {
                self.ring.pop_front()
            };
            let Some(source) = front else { break };
            let Some((_, waiter)) = self.lines.get_mut(&source).and_then(VecDeque::pop_front) else {
                self.lines.remove(&source);
                continue;
            };
            self.waiting -= 1;
            let is_empty = self.lines.get(&source).is_none_or(VecDeque::is_empty);
            if is_empty && (take_good || self.lines.len() > SOURCES_MAX) {
                self.lines.remove(&source);
            } else {
                if take_good { &mut self.good } else { &mut self.ring }.push_back(source);
            }
            if take_good {
                self.good_in_a_row += 1;
            } else {
                (self.good_in_a_row, self.new_was_last) = (0, take_new);
            }
            self.forget_if_idle();
            return Some(waiter);
        }
        self.taken = self.taken.saturating_sub(1);
        None
    }

    /// Somebody gives up a place. `None` when it is served already.
    fn leave(&mut self, source: IpAddr, number: u64) -> Option<W> {
        let line = self.lines.get_mut(&source)?;
        let index = line.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, waiter) = line.remove(index)?;
        self.waiting -= 1;
        if line.is_empty() {
            for standing in [&mut self.good, &mut self.new] {
                if let Some(index) = standing.iter().position(|other| *other == source) {
                    standing.remove(index);
                    self.lines.remove(&source);
                }
            }
        }
        self.forget_if_idle();
        Some(waiter)
    }

    /// When nobody waits there is nobody to be fair to.
    fn forget_if_idle(&mut self) {
        if self.waiting == 0 {
            self.lines.clear();
            self.good.clear();
            self.new.clear();
            self.ring.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(last: usize) -> IpAddr {
        IpAddr::from([10, 0, (last >> 8) as u8, last as u8])
    }

    fn at_once(turns: usize) -> NonZeroUsize {
        NonZeroUsize::new(turns).unwrap()
    }

    impl<W> Queue<W> {
        /// A new handshake.
        fn arrive(&mut self, source: IpAddr, waiter: W) -> Entered<W> {
            let number = self.draw_number();
            self.enter(source, false, number, waiter)
        }
    }

    /// A queue whose one turn is taken.
    fn busy() -> Queue<usize> {
        let mut queue = Queue::new(at_once(1));
        assert_eq!(queue.arrive(source(0), 0), Entered::Now);
        queue
    }

    #[track_caller]
    fn wait(queue: &mut Queue<usize>, from: usize) -> u64 {
        match queue.arrive(source(from), from) {
            Entered::Waits { instead_of: None } => queue.last_number,
            other => panic!("{other:?}"),
        }
    }

    fn many(queue: &mut Queue<usize>, from: usize, count: usize) {
        for _ in 0..count {
            wait(queue, from);
        }
    }

    fn order(queue: &mut Queue<usize>) -> Vec<usize> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn turns_at_and_past_the_bound() {
        let mut queue = Queue::new(at_once(3));
        for _ in 0..3 {
            assert_eq!(queue.arrive(source(1), 1), Entered::Now);
        }
        wait(&mut queue, 1);
        assert_eq!(queue.next(), Some(1), "the turn passes on");
        assert_eq!(queue.next(), None, "nobody waits");
        assert_eq!(queue.arrive(source(1), 1), Entered::Now, "a free turn");
        assert!(default_at_once().get() >= 2);
    }

    #[test]
    fn a_flood_of_one_source_waits_for_itself() {
        let mut queue = busy();
        for _ in 0..WAITING_PER_SOURCE_MAX {
            wait(&mut queue, 1);
        }
        assert_eq!([queue.next(), queue.next()], [Some(1); 2]);
        wait(&mut queue, 2);
        assert_eq!(queue.next(), Some(2), "who is new comes before a thousand others");
        wait(&mut queue, 2);
        assert_eq!([queue.next(), queue.next()], [Some(1), Some(2)], "and is one of two from then on");
    }

    #[test]
    fn sources_are_served_in_rounds_and_the_oldest_of_each_first() {
        let mut queue = busy();
        for (from, count) in [(1, 3), (2, 1), (3, 2)] {
            many(&mut queue, from, count);
        }
        assert_eq!(order(&mut queue), [1, 1, 2, 1, 3, 3]);
        let mut queue = busy();
        for number in 1..=5 {
            queue.arrive(source(1), number);
        }
        assert_eq!(order(&mut queue), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn new_sources_without_end_do_not_starve_the_others() {
        let mut queue = busy();
        wait(&mut queue, 1);
        wait(&mut queue, 1);
        assert_eq!(queue.next(), Some(1), "in the ring from now on");
        for from in 2..10 {
            wait(&mut queue, from);
        }
        let place = order(&mut queue).iter().position(|from| *from == 1);
        assert!(place <= Some(1), "{place:?}");
    }

    #[test]
    fn who_has_just_been_served_is_not_new_again() {
        let mut queue = busy();
        many(&mut queue, 1, 9);
        wait(&mut queue, 2);
        assert_eq!([(); 3].map(|()| queue.next()), [Some(1), Some(1), Some(2)]);
        wait(&mut queue, 2);
        assert_eq!(
            [(); 2].map(|()| queue.next()),
            [Some(1), Some(2)],
            "behind the one that waits for longer"
        );
        // Absent for a whole round.
        assert_eq!([(); 2].map(|()| queue.next()), [Some(1); 2]);
        wait(&mut queue, 2);
        assert_eq!(queue.next(), Some(2));
    }

    /// One more handshake of a source that stands good.
    fn wait_good(queue: &mut Queue<usize>, from: usize) {
        let number = queue.draw_number();
        let entered = queue.enter(source(from), true, number, from);
        assert_eq!(entered, Entered::Waits { instead_of: None });
    }

    #[test]
    fn sec42_who_stands_good_comes_before_any_number_of_strangers() {
        let mut queue = busy();
        (1..100).for_each(|stranger| many(&mut queue, stranger, 3));
        wait_good(&mut queue, 200);
        assert_eq!(queue.next(), Some(200));
        queue.next();
        wait_good(&mut queue, 200);
        assert_eq!(queue.next(), Some(200), "and again");
        assert_eq!(queue.lines.len(), 99, "it has nothing waiting and no place");
    }

    #[test]
    fn sec42_good_sources_without_end_do_not_starve_strangers() {
        let mut queue = busy();
        many(&mut queue, 1, 2);
        let mut order = Vec::new();
        for good in 100..108 {
            wait_good(&mut queue, good);
            wait_good(&mut queue, good);
            order.extend(queue.next());
        }
        order.extend(std::iter::from_fn(|| queue.next()));
        let strangers: Vec<_> = (0..order.len()).filter(|at| order[*at] == 1).collect();
        assert_eq!(strangers, [GOOD_IN_A_ROW_MAX, 2 * GOOD_IN_A_ROW_MAX + 1]);
        assert_eq!(order.len(), 18, "nobody is lost");
    }

    #[test]
    fn who_stands_good_no_longer_waits_with_the_others() {
        let mut queue = busy();
        wait(&mut queue, 1);
        wait_good(&mut queue, 2);
        wait(&mut queue, 2);
        assert!(queue.good.is_empty());
        assert_eq!(order(&mut queue), [1, 2, 2]);
    }

    #[test]
    fn who_stands_good_and_leaves_is_forgotten() {
        let mut queue = busy();
        wait(&mut queue, 1);
        wait_good(&mut queue, 2);
        assert_eq!(queue.leave(source(2), queue.last_number), Some(2));
        assert!(queue.good.is_empty() && queue.lines.len() == 1);
        assert_eq!(order(&mut queue), [1]);
    }

    #[test]
    fn sec42_waiting_at_and_past_the_bounds() {
        let mut queue = busy();
        for (from, count) in [(1, WAITING_PER_SOURCE_MAX), (2, 1023), (3, 1023), (4, 2)] {
            many(&mut queue, from, count);
        }
        assert_eq!(queue.arrive(source(1), 1), Entered::Refused(Full::OfSource), "one more of a source");
        assert_eq!(queue.waiting, WAITING_MAX);
        // One more in all: the source with the most loses one, unless the newcomer's would have as many then.
        assert!(matches!(queue.arrive(source(5), 5), Entered::Waits { instead_of: Some(1) }));
        assert_eq!(queue.arrive(source(2), 2), Entered::Refused(Full::InAll));
        assert!(matches!(queue.arrive(source(4), 4), Entered::Waits { instead_of: Some(1..=3) }));
        assert_eq!(queue.waiting, WAITING_MAX);
    }

    #[test]
    fn many_sources_with_one_handshake_each_are_bounded_too() {
        let mut queue = busy();
        for from in 1..=WAITING_MAX {
            wait(&mut queue, from);
        }
        assert_eq!(queue.arrive(source(0), 0), Entered::Refused(Full::InAll));
    }

    #[test]
    fn who_gives_up_is_not_served() {
        let mut queue = busy();
        let [first, second, other] = [1, 1, 2].map(|from| wait(&mut queue, from));
        assert_eq!(queue.leave(source(1), first), Some(1));
        assert_eq!(queue.leave(source(1), first), None, "only once");
        assert_eq!(queue.leave(source(2), other), Some(2));
        assert_eq!(queue.leave(source(3), second), None, "of another source");
        assert_eq!(order(&mut queue), [1]);
        assert!(
            queue.lines.is_empty() && queue.new.is_empty() && queue.ring.is_empty(),
            "nobody is remembered"
        );
    }

    #[test]
    fn what_was_begun_is_ended_before_more_is_begun() {
        let mut queue = busy();
        let begun = queue.draw_number();
        many(&mut queue, 1, WAITING_PER_SOURCE_MAX);
        let newest = queue.enter(source(1), false, begun, 9);
        assert_eq!(newest, Entered::Waits { instead_of: Some(1) }, "the newest of the source makes room");
        assert_eq!(queue.waiting, WAITING_PER_SOURCE_MAX);
        assert_eq!([queue.next(), queue.next()], [Some(9), Some(1)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter(usize),
        Next,
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0..12_usize).prop_map(Step::Enter),
            3 => Just(Step::Next),
            1 => any::<usize>().prop_map(Step::Leave),
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        /// Whatever happens: nobody is lost or served twice, a free turn and somebody who waits never go together, each
        /// source stands where it should, and who waits in front waits for the others' turns once or twice, not for ever.
        #[test]
        fn every_place_is_served_in_bounded_turns(turns in 1..4_usize, steps in steps()) {
            let mut queue = Queue::new(at_once(turns));
            // Number, source, and at the latest after how many turns.
            let mut places: Vec<(u64, usize, usize)> = Vec::new();
            let (mut taken, mut served) = (0, 0);
            for step in steps {
                match step {
                    Step::Enter(from) => match queue.arrive(source(from), queue.last_number + 1) {
                        Entered::Now => {
                            prop_assert!(taken < turns && places.is_empty());
                            taken += 1;
                        }
                        Entered::Waits { instead_of } => {
                            let number = queue.last_number;
                            prop_assert!(taken == turns && instead_of.is_none());
                            let own = places.iter().filter(|(_, of, _)| *of == from).count();
                            let latest = served + (own + 1) * 2 * (queue.lines.len() + 1);
                            places.push((number, from, latest));
                        }
                        Entered::Refused(full) => prop_assert!(false, "{full}"),
                    },
                    Step::Next if taken > 0 => match queue.next() {
                        Some(number) => {
                            served += 1;
                            let at = places.iter().position(|(of, _, _)| *of == number);
                            prop_assert!(at.is_some(), "served, but not waiting");
                            let (_, from, latest) = places.remove(at.unwrap_or_default());
                            prop_assert!(served <= latest, "{served} > {latest}");
                            prop_assert!(places.iter().all(|(of, s, _)| *s != from || *of > number), "the oldest first");
                        }
                        None => {
                            prop_assert!(places.is_empty());
                            taken -= 1;
                        }
                    },
                    Step::Leave(any) if !places.is_empty() => {
                        let (number, from, _) = places.remove(any % places.len());
                        prop_assert_eq!(queue.leave(source(from), number), Some(number));
                    }
                    Step::Next | Step::Leave(_) => {}
                }
                prop_assert_eq!((queue.taken, queue.waiting), (taken, places.len()));
                let standing: Vec<_> = queue.new.iter().chain(&queue.ring).collect();
                prop_assert_eq!(standing.len(), queue.lines.len());
                prop_assert!(standing.iter().all(|source| queue.lines.contains_key(source)));
            }
        }
    }

    #[test]
    fn the_memory_for_sources_is_bounded() {
        let mut queue = busy();
        // One source that always waits, and new ones that come once each.
        let mut most = 0;
        for from in 0..3 * WAITING_MAX {
            queue.arrive(source(70_000), 0);
            for more in 0..2 {
                queue.arrive(IpAddr::from(u32::try_from(3 * from + more).unwrap().to_be_bytes()), 0);
            }
            queue.next();
            most = most.max(queue.lines.len());
        }
        assert!(most <= SOURCES_MAX + WAITING_MAX, "{most}");
    }

    fn turns(at: usize) -> Arc<Turns> {
        Arc::new(Turns::new(at_once(at), Metrics::new()))
    }

    /// A turn for a new handshake.
    fn take(turns: &Arc<Turns>, source: IpAddr) -> impl Future<Output = Result<Turn, Full>> {
        let (turns, number) = (Arc::clone(turns), turns.queue().draw_number());
        async move { turns.take(source, false, number).await }
    }

    /// A handshake: ready after some steps, and says which one it is at each.
    async fn steps_of(name: usize, steps: usize, said: Arc<Mutex<Vec<usize>>>) {
        for _ in 0..steps {
            said.lock().unwrap().push(name);
            behind_the_others().await;
        }
    }

    #[tokio::test]
    async fn a_thousand_handshakes_of_one_source_do_not_delay_another() {
        for (at, latest) in [(2, 8), (usize::MAX, usize::MAX)] {
            let (turns, said) = (turns(at), Arc::default());
            let flood: Vec<_> = (0..1000)
                .map(|_| {
                    let (turns, step) = (Arc::clone(&turns), steps_of(1, 1, Arc::clone(&said)));
                    tokio::spawn(async move { turns.drive(source(1), false, step).await })
                })
                .collect();
            let (good, step) = (Arc::clone(&turns), steps_of(2, 1, Arc::clone(&said)));
            tokio::spawn(async move { good.drive(source(2), false, step).await }).await.unwrap().unwrap();
            let before = said.lock().unwrap().iter().position(|name| *name == 2).unwrap();
            assert!(before <= latest, "{before} of the flood came first");
            // The control: with a turn for everybody, everybody who came before is served before.
            assert!(at == 2 || before >= 999, "{before}");
            for task in flood {
                task.await.unwrap().unwrap();
            }
            let queue = turns.queue();
            assert_eq!((queue.taken, queue.waiting, queue.lines.len()), (0, 0, 0));
        }
    }

    #[tokio::test]
    async fn who_only_waits_for_bytes_has_no_turn() {
        let turns = turns(1);
        let (bytes, coming) = oneshot::channel::<()>();
        let slow = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.drive(source(1), false, coming).await }
        });
        for _ in 0..10 {
            turns.drive(source(2), false, async {}).await.unwrap();
        }
        assert!(!slow.is_finished());
        bytes.send(()).unwrap();
        assert_eq!(slow.await.unwrap().unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_turn_of_somebody_who_is_gone_passes_on() {
        let turns = turns(1);
        let held = take(&turns, source(0)).await.unwrap();
        let waiting: Vec<_> = (0..10)
            .map(|from| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.drive(source(from), false, async {}).await })
            })
            .collect();
        behind_the_others().await;
        assert_eq!(turns.metrics.handshakes_waiting.get(), 10);
        for task in &waiting[..9] {
            task.abort();
        }
        behind_the_others().await;
        assert_eq!(turns.metrics.handshakes_waiting.get(), 1);
        drop(held);
        let mut waiting = waiting.into_iter();
        assert!(waiting.next_back().unwrap().await.unwrap().is_ok());
        assert_eq!(turns.queue().taken, 0);
    }

    #[tokio::test]
    async fn sec42_who_comes_too_late_is_refused_and_counted() {
        let turns = turns(1);
        let _held = take(&turns, source(0)).await.unwrap();
        let mut waiting: Vec<_> =
            (0..WAITING_PER_SOURCE_MAX).map(|_| Box::pin(take(&turns, source(1)))).collect();
        for take in &mut waiting {
            assert!(futures_util::poll!(take).is_pending());
        }
        assert_eq!(take(&turns, source(1)).await.unwrap_err(), Full::OfSource);
        let refused = |cause| turns.metrics.handshakes_refused.get_or_create(&Cause { cause }).get();
        assert_eq!((refused("too_many_of_source"), refused("too_many")), (1, 0));
        for from in 2..4 {
            waiting.extend((0..WAITING_PER_SOURCE_MAX).map(|_| Box::pin(take(&turns, source(from)))));
        }
        for take in &mut waiting[WAITING_PER_SOURCE_MAX..] {
            assert!(futures_util::poll!(take).is_pending());
        }
        let mut late = Box::pin(take(&turns, source(9)));
        assert!(futures_util::poll!(&mut late).is_pending());
        assert_eq!((refused("too_many_of_source"), refused("too_many")), (1, 1), "one gave way");
        let mut gone = 0;
        for take in &mut waiting {
            gone += usize::from(futures_util::poll!(take).is_ready());
        }
        assert_eq!(gone, 1);
    }
}
