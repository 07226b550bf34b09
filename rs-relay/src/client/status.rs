//! What a listener is doing, and how others learn of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::connector::ConnectError;

/// What a listener is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// On its way to the relay.
    Connecting,
    /// The relay sends connections here.
    Online,
    /// Not reachable; the next attempt follows after the pause.
    Offline {
        /// Why.
        cause: Arc<OfflineCause>,
        /// Until the next attempt.
        pause: Duration,
    },
    /// Closed by its owner.
    Stopped,
}

impl Status {
    /// Whether senders can get through.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online)
    }

    /// How good it is, to choose the best of several.
    fn rank(&self) -> u8 {
        match self {
            Self::Online => 3,
            Self::Connecting => 2,
            Self::Offline { .. } => 1,
            Self::Stopped => 0,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Online => f.write_str("online"),
            Self::Offline { cause, .. } => write!(f, "offline: {cause}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// Why a listener is offline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineCause {
    /// The control channel could not be opened.
    #[error("{}", chain(.0))]
    Connect(#[from] ConnectError),
    /// The control channel was lost.
    #[error("the control channel failed: {0}")]
    Lost(String),
    /// The relay closed the control channel.
    #[error("the relay closed the control channel with code {code}: {reason}")]
    Closed {
        /// Close code; 1005 for none.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// The relay did not answer, or nothing of what it was sent was acknowledged: it is silent, or the way to it is dead.
    #[error("the relay did not answer for too long")]
    Silent,
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Watches the status of a [`Listener`](super::Listener), or of one of its relays. Clones watch on their own.
#[derive(Debug, Clone)]
pub struct StatusWatch(watch::Receiver<Status>);

impl StatusWatch {
    /// The status now.
    #[must_use]
    pub fn now(&self) -> Status {
        self.0.borrow().clone()
    }

    /// Waits for another status; `None` when the listener is gone. Short-lived ones in between may be missed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<Status> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the listener is online; `false` when it is gone before.
    pub async fn online(&mut self) -> bool {
        self.0.wait_for(Status::is_online).await.is_ok()
    }
}

/// The status of each relay of a listener and of all together: the best of them.
#[derive(Debug)]
pub(super) struct Board {
    each: Mutex<Vec<watch::Sender<Status>>>,
    all: watch::Sender<Status>,
}

impl Board {
    /// A board for so many relays, and the watches of each and of all.
    pub(super) fn new(relays: usize) -> (Arc<Self>, Vec<StatusWatch>, StatusWatch) {
        let (each, watches) = (0..relays)
            .map(|_| {
                let (status, watch) = watch::channel(Status::Connecting);
                (status, StatusWatch(watch))
            })
            .unzip();
        let (all, watch) = watch::channel(Status::Connecting);
        (Arc::new(Self { each: Mutex::new(each), all }), watches, StatusWatch(watch))
    }

    /// Puts the status of a relay up.
    pub(super) fn put(&self, relay: usize, status: Status) {
        let each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = matches!((&*each[relay].borrow(), &status), (Status::Connecting, Status::Connecting));
        if silent {
            return;
        }
        each[relay].send_replace(status);
        // The first relay of the best ones speaks for all.
        let mut best = each[0].borrow().clone();
        for other in each.iter().skip(1) {
            let other = other.borrow();
            if other.rank() > best.rank() {
                best = other.clone();
            }
        }
        let same = best.rank() == self.all.borrow().rank() && !matches!(best, Status::Offline { .. });
        if !same {
            self.all.send_replace(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline() -> Status {
        Status::Offline { cause: Arc::new(OfflineCause::Silent), pause: Duration::ZERO }
    }

    #[test]
    fn r15_the_best_relay_speaks_for_all() {
        let (board, each, all) = Board::new(2);
        board.put(0, offline());
        assert_eq!(all.now().to_string(), "connecting");
        board.put(1, Status::Online);
        assert!(all.now().is_online() && !each[0].now().is_online());
        board.put(0, Status::Online);
        board.put(1, offline());
        assert!(all.now().is_online() && !each[1].now().is_online());
        board.put(0, offline());
        assert_eq!(all.now().to_string(), "offline: the relay did not answer for too long");
        board.put(0, Status::Stopped);
        board.put(1, Status::Stopped);
        assert_eq!(all.now().to_string(), "stopped");
    }
}
