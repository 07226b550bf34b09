//! The node's end of a session: one place that lets in, runs, records, shows and ends.
//!
//! [`Host::serve`] takes any stream (normally a relayed one) through the whole life of a session:
//!
//! 1. mutual TLS inside the stream, then the engineer's hello with the desk's assignment, all within 10 seconds;
//! 2. the gate admits or refuses ([`rs_consent::Gate::admit`]); a refusal goes out with its code, and is told to the
//!    [`Observer`];
//! 3. record 0 is durable, then the welcome goes out;
//! 4. each line: receive, gate, plan, record durable, gate, run; each output: record durable, gate, show;
//! 5. the end, whatever the cause: gate shut, work killed, end record durable, end record shown, channel closed.
//!
//! The gate wakes the session the moment it changes, in whatever the session is doing; a deadline is watched beside it.

mod engine;
mod live;
mod operations;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rs_consent::clock::Clock;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::party::NodeName;
use rs_consent::{AccessLevel, EndCause, Gate, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

pub use self::engine::{Engine, Progress, RunningWork};
use self::live::LiveSessions;
pub use self::live::{Downed, LiveSession};
pub use self::operations::OperationsEngine;

/// A session in which nothing happens for this long is ended, when nothing else is said.
pub const IDLE_WAIT_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// What a node says about itself and how far it lets a session go.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Name of the node, as its owner calls it.
    pub node_name: NodeName,
    /// Where the record files go; it exists and is private.
    pub records: PathBuf,
    /// Longest time without a word from the engineer and without running work; default [`IDLE_WAIT_DEFAULT`].
    pub idle_wait: Duration,
}

impl HostSettings {
    /// Settings with all defaults.
    #[must_use]
    pub fn new(node_name: NodeName, records: impl Into<PathBuf>) -> Self {
        Self { node_name, records: records.into(), idle_wait: IDLE_WAIT_DEFAULT }
    }
}

/// What a host tells its owner, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// Somebody was not let in.
    Refused {
        /// Why.
        code: RefusalCode,
        /// The full cause, for the owner.
        explanation: String,
        /// The key that asked, when the handshake came that far.
        engineer: Option<PublicKey>,
    },
    /// A session began.
    Started {
        /// Its id.
        session: Uuid,
        /// The engineer, as the desk names them.
        engineer: String,
        /// Level in force.
        level: AccessLevel,
    },
    /// A session ended and its end record is durable, or could not be made so.
    Ended {
        /// Its id.
        session: Uuid,
        /// Why.
        cause: EndCause,
        /// Whether the end record is durable.
        recorded: bool,
    },
}

/// Hears what a host tells. Called from the sessions themselves: return soon.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, event: &HostEvent);
}

/// An observer that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &HostEvent) {}
}

/// The node's end of all its sessions. Cheap to clone; clones share everything.
pub struct Host<E> {
    shared: Arc<Shared<E>>,
}

pub(crate) struct Shared<E> {
    pub(crate) settings: HostSettings,
    pub(crate) node: Arc<SigningKey>,
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: E,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) live: LiveSessions,
}

impl<E> Clone for Host<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E> std::fmt::Debug for Host<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl<E: Engine> Host<E> {
    /// A host that lets in whom `gate` admits.
    #[must_use]
    pub fn new(
        settings: HostSettings,
        node: Arc<SigningKey>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        engine: E,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let live = LiveSessions::default();
        Self { shared: Arc::new(Shared { settings, node, gate, clock, engine, observer, live }) }
    }

    /// Takes one stream through the whole life of a session, or refuses it. Never fails: whatever happens is told to
    /// the observer and, once the engineer was let in, to the record.
    ///
    /// # Cancel safety
    /// Do not drop this future while a session runs: its work would be killed without an end record until the next
    /// [`crate::journal::recover`]. Shut the gate or use [`Self::end`] instead.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, stream: S) {
        session::serve(&self.shared, stream).await;
    }

    /// The sessions that run now, oldest first.
    #[must_use]
    pub fn live(&self) -> Vec<LiveSession> {
        self.shared.live.list()
    }

    /// Ends one session; the grant stays. Returns when it is down, or `None` when there is no such session.
    pub async fn end(&self, session: Uuid, cause: EndCause, message: &str) -> Option<Downed> {
        self.shared.live.end(session, cause, message).await
    }

    /// Changes the gate and returns when every session that it no longer lets live is down: work dead, end record
    /// written, channel closed. One entry for each.
    pub async fn change(&self, change: impl FnOnce(&Gate)) -> Vec<Downed> {
        self.shared.live.change(&self.shared.gate, &*self.shared.clock, change).await
    }

    /// Ends all sessions with this cause and returns when they are down.
    pub async fn end_all(&self, cause: EndCause, message: &str) -> Vec<Downed> {
        self.shared.live.end_all(cause, message).await
    }
}
