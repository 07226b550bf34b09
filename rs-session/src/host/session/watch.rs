//! The gate, as a running session watches it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rs_consent::clock::Clock;
use rs_consent::{AccessLevel, EndCause, Gate, Permit};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::end::Ending;
use crate::host::Shared;
use crate::host::engine::RunningWork;
use crate::host::live::Order;
use crate::platform::alarm::Alarm;

/// Wakes when the gate no longer lets the session live, or when somebody ordered its end.
pub(super) struct Watch {
    gate: Gate,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    alarm: Alarm,
    _subscription: rs_consent::gate::Subscription,
    order: watch::Receiver<Option<Order>>,
    /// When the change began that the gate saw last.
    change: Arc<Mutex<Instant>>,
    /// When the gate last said yes.
    open: Mutex<Instant>,
}

impl Watch {
    pub(super) fn new<E>(shared: &Shared<E>, order: watch::Receiver<Option<Order>>) -> Self {
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        let subscription = shared.gate.subscribe(Arc::new(move || waker.notify_one()));
        let (gate, clock) = (shared.gate.clone(), Arc::clone(&shared.clock));
        let (change, open) = (shared.live.change_began(), Mutex::new(Instant::now()));
        Self { gate, clock, changed, alarm: Alarm::new(), _subscription: subscription, order, change, open }
    }

    /// The one question in front of every input, start and release.
    pub(super) fn check(&self, permit: &Permit) -> Result<AccessLevel, Ending> {
        let now = self.clock.now();
        let outcome = self.gate.check(permit, &now);
        let mut open = lock(&self.open);
        match outcome {
            Ok(level) => {
                *open = Instant::now();
                Ok(level)
            }
            Err(cause) => {
                // A cause is never older than the last yes: a clock that was set forward passes deadlines in no time.
                let since = match cause {
                    EndCause::Expired | EndCause::AssignmentExpired => {
                        Instant::now().checked_sub(permit.overdue(&now)).unwrap_or(*open)
                    }
                    _ => *lock(&self.change),
                };
                Err(Ending::since(since.max(*open), cause, cause.cause()))
            }
        }
    }

    /// Returns when the session has to end.
    pub(super) async fn closed(&self, permit: &Permit) -> Ending {
        let mut order = self.order.clone();
        loop {
            if let Some(Order { cause, message, since }) = order.borrow_and_update().clone() {
                return Ending::since(since, cause, message);
            }
            if let Err(ending) = self.check(permit) {
                return ending;
            }
            let remaining = permit.remaining(&self.clock.now());
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = order.changed() => {}
                () = self.alarm.wait(remaining) => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries `future` out while the gate is watched. When it shuts, the running work is killed first, then the future gets
/// `grace` to complete. Returns what came of each; `None` when the future did not complete.
pub(super) async fn guard<T>(
    watch: &Watch,
    permit: &Permit,
    work: &mut Option<Box<dyn RunningWork>>,
    grace: Duration,
    future: impl Future<Output = T>,
) -> (Option<T>, Option<Ending>) {
    let mut future = pin!(future);
    let mut ending = tokio::select! {
        biased;
        outcome = &mut future => return (Some(outcome), None),
        ending = watch.closed(permit) => ending,
    };
    if let Some(mut work) = work.take() {
        work.kill().await;
        ending.work_killed();
    }
    (timeout(grace, future).await.ok(), Some(ending))
}
