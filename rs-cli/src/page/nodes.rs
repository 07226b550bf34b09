//! What the page knows of other nodes: asked now and then while somebody looks, and never waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rs_consent::Clock;

use crate::fleet::verbs::{Standing, standings};
use crate::fleet::{Fleet, target::Host};

/// Between two rounds, while somebody looks.
pub(crate) const NODES_PAUSE: Duration = Duration::from_secs(30);

/// The other nodes, and what they answered last.
#[derive(Debug)]
pub(crate) struct Board {
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Since when a round is due, from its end on; none before the first.
    asked: Option<Instant>,
    asking: bool,
    seen: Option<Seen>,
}

/// One round of answers.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: DateTime<Utc>,
    pub(super) nodes: Vec<(Host, Standing)>,
}

impl Board {
    /// For these nodes, without the one that serves the page.
    pub(crate) fn of(mut fleet: Fleet, own: &str, clock: Arc<dyn Clock>) -> Option<Arc<Self>> {
        fleet.hosts.retain(|host| !host.is_called(own));
        (!fleet.hosts.is_empty()).then(|| Arc::new(Self { fleet, clock, known: Mutex::default() }))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.fleet.hosts.len()
    }

    /// What is known now. A new round begins where the last is over for [`NODES_PAUSE`]; nobody waits for it, and it ends
    /// with the page.
    pub(super) fn look(self: &Arc<Self>) -> Option<Seen> {
        let mut known = self.known();
        let due = known.asked.is_none_or(|asked| asked.elapsed() >= NODES_PAUSE);
        if due
            && !known.asking
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            known.asking = true;
            let board = Arc::clone(self);
            drop(runtime.spawn(async move { board.round().await }));
        }
        known.seen.clone()
    }

    async fn round(&self) {
        let nodes = standings(&self.fleet).await;
        let at = self.clock.now().wall;
        let mut known = self.known();
        *known = Known { asked: Some(Instant::now()), asking: false, seen: Some(Seen { at, nodes }) };
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
