//! The sessions that run now, and the way to end them from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use rs_consent::clock::Clock;
use rs_consent::{AccessLevel, EndCause, Gate, Permit};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::ending::Delays;

/// A session that runs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveSession {
    /// Its id.
    pub session_id: Uuid,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// Level in force.
    pub access_level: AccessLevel,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// How the end of one session went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Downed {
    /// Its id.
    pub session_id: Uuid,
    /// Why it ended.
    pub cause: EndCause,
    /// How long each step of the end took.
    pub delays: Delays,
    /// Number of the last record whose line was started.
    pub last_executed: Option<u64>,
    /// Whether the end record is durable.
    pub recorded: bool,
    /// Where the signed end-of-access statement lies; `None` when it could not be written.
    pub statement: Option<PathBuf>,
}

/// An order from outside to end a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) cause: EndCause,
    pub(crate) message: String,
    /// When it was given.
    pub(crate) since: Instant,
}

struct Slot {
    about: LiveSession,
    permit: Permit,
    order: watch::Sender<Option<Order>>,
    down: watch::Receiver<Option<Downed>>,
}

/// All running sessions of a host.
pub(crate) struct LiveSessions {
    slots: Arc<Mutex<BTreeMap<Uuid, Slot>>>,
    change: Arc<Mutex<Instant>>,
}

impl Default for LiveSessions {
    fn default() -> Self {
        Self { slots: Arc::default(), change: Arc::new(Mutex::new(Instant::now())) }
    }
}

/// A running session's place in the list; gives it back when dropped.
pub(crate) struct Place {
    session: Uuid,
    slots: Arc<Mutex<BTreeMap<Uuid, Slot>>>,
    down: watch::Sender<Option<Downed>>,
    pub(crate) order: watch::Receiver<Option<Order>>,
}

impl LiveSessions {
    /// Lists a session that the gate has let in. The gate has to be asked once more after that: a change that came
    /// before did not wait for this session.
    pub(crate) fn enter(&self, about: LiveSession, permit: Permit) -> Place {
        let session = about.session_id;
        let (order, ordered) = watch::channel(None);
        let (downed, down) = watch::channel(None);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.insert(session, Slot { about, permit, order, down });
        Place { session, slots: Arc::clone(&self.slots), down: downed, order: ordered }
    }

    pub(crate) fn list(&self) -> Vec<LiveSession> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = slots.values().map(|slot| slot.about.clone()).collect();
        list.sort_by_key(|session| session.started_at);
        list
    }

    pub(crate) async fn end(&self, session: Uuid, cause: EndCause, message: &str) -> Option<Downed> {
        let down = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = slots.get(&session)?;
            order(slot, cause, message);
            slot.down.clone()
        };
        wait(down).await
    }

    pub(crate) async fn end_all(&self, cause: EndCause, message: &str) -> Vec<Downed> {
        let downs: Vec<_> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.values().inspect(|slot| order(slot, cause, message)).map(|slot| slot.down.clone()).collect()
        };
        wait_all(downs).await
    }

    /// Makes a change and returns when every session that no longer may live is down.
    pub(crate) async fn change(
        &self,
        gate: &Gate,
        clock: &dyn Clock,
        change: impl FnOnce(&Gate),
    ) -> Vec<Downed> {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        // The list is taken first: a session may be down before the change returns, and it counts. It is taken again
        // for those that were let in before the change and entered since; whoever enters later finds the gate changed.
        let mut all = self.permits();
        change(gate);
        all.extend(self.permits());
        let now = clock.now();
        all.retain(|_, (permit, _)| gate.check(permit, &now).is_err());
        wait_all(all.into_values().map(|(_, down)| down)).await
    }

    /// When the newest change began; what it ends is measured from there.
    pub(crate) fn change_began(&self) -> Arc<Mutex<Instant>> {
        Arc::clone(&self.change)
    }

    fn permits(&self) -> BTreeMap<Uuid, (Permit, watch::Receiver<Option<Downed>>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|(session, slot)| (*session, (slot.permit.clone(), slot.down.clone()))).collect()
    }
}

fn order(slot: &Slot, cause: EndCause, message: &str) {
    slot.order.send_replace(Some(Order { cause, message: message.to_owned(), since: Instant::now() }));
}

async fn wait_all(downs: impl IntoIterator<Item = watch::Receiver<Option<Downed>>>) -> Vec<Downed> {
    let mut all = Vec::new();
    for down in downs {
        all.extend(wait(down).await);
    }
    all
}

async fn wait(mut down: watch::Receiver<Option<Downed>>) -> Option<Downed> {
    down.wait_for(Option::is_some).await.ok().and_then(|downed| downed.clone())
}

impl Place {
    /// A newer assignment was accepted.
    pub(crate) fn renew(&self, permit: Permit) {
        if let Some(slot) = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.session) {
            slot.permit = permit;
        }
    }

    /// Tells everybody who waits that the session is down.
    pub(crate) fn down(self, downed: Downed) {
        self.down.send_replace(Some(downed));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}
