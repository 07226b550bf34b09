//! The node's end of a session: one place that lets in, runs, records, shows and ends.
//!
//! [`Host::serve`] takes any stream (normally a relayed one) through the whole life of a session:
//!
//! 1. mutual TLS inside the stream, then the engineer's hello with the desk's assignment, all within 10 seconds;
//! 2. the gate admits or refuses ([`rs_consent::Gate::admit`]); a refusal goes out with its code, and is told to the
//!    [`Observer`];
//! 3. record 0 is durable, then the start is in the node's log ([`Ledger`]), then the welcome goes out;
//! 4. each line: receive, gate, plan, record durable, gate, run; each output: secrets masked, record durable, gate, show;
//! 5. the end, whatever the cause: gate shut, work killed, end record durable, end record shown, channel closed, and a
//!    signed statement of how it went ([`crate::ending`]).
//!
//! The gate wakes the session the moment it changes, in whatever the session is doing; a deadline is watched beside it.

mod approvals;
mod diagnostic_data;
mod engine;
mod ledger;
mod live;
mod operations;
mod outbox;
mod quota;
mod receipts;
mod session;
mod statement;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rs_consent::clock::Clock;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::party::NodeName;
use rs_consent::{AccessLevel, EndCause, Gate, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use uuid::Uuid;

use crate::disk::{Disk, RealDisk};
use crate::protocol::Answer;
use crate::redact::{MASK_KEY_BYTES, MaskKey, Rules};
use crate::sealing::{InClear, Storage};

use self::approvals::Approvals;
pub use self::approvals::PendingApproval;
pub use self::diagnostic_data::{Courier, DiagnosticData, Masker, Parcel};
pub use self::engine::{Engine, Occasion, Progress, Rights, RunningWork};
pub use self::ledger::{Begun, Ended, Ledger, NoLedger};
use self::live::LiveSessions;
pub use self::live::{Downed, LiveSession};
pub use self::operations::{OperationsEngine, Work as OperationsWork};
use self::quota::DayBook;
pub use self::quota::{LIMIT_CODE, SessionLimits};
pub use self::receipts::{RECEIPT_EVERY, RECEIPT_OVERDUE, UNRECEIPTED_BYTES_MAX};
pub use self::statement::{
    complete_end, complete_end_on, end_statement, end_statement_on, end_statement_sha256, state_end,
};

/// A session in which nothing happens for this long is ended, when nothing else is said.
pub const IDLE_WAIT_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// What a node says about itself and how far it lets a session go.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Name of the node, as its owner calls it.
    pub node_name: NodeName,
    /// Where the record files go; it exists and is private.
    pub records: PathBuf,
    /// Which secrets are masked before anything is recorded or shown; default: the known forms.
    pub rules: Arc<Rules>,
    /// The node's secret behind the commitments to what was masked; default: random, so that nobody can open them.
    pub mask_key: MaskKey,
    /// Longest time without a word from the engineer and without running work; default [`IDLE_WAIT_DEFAULT`].
    pub idle_wait: Duration,
    /// What closes the contents of records; default [`InClear`].
    pub storage: Arc<dyn Storage>,
    /// The disk of the records.
    pub disk: Arc<dyn Disk>,
    /// Whether the node can be reached at present; what ends all access measures with it when the node had left the
    /// relay. `None` where nobody says.
    pub listens: Option<watch::Receiver<bool>>,
    /// Longest time that a shown record may go without the engineer's receipt; default [`RECEIPT_OVERDUE`].
    pub receipt_wait: Duration,
    /// Where the host keeps book of its sessions; default [`NoLedger`].
    pub ledger: Arc<dyn Ledger>,
    /// How much sessions may ask for.
    pub limits: SessionLimits,
}

impl HostSettings {
    /// Settings with all defaults.
    #[must_use]
    pub fn new(node_name: NodeName, records: impl Into<PathBuf>) -> Self {
        let mut random = [0; MASK_KEY_BYTES];
        // Without randomness no session begins either: its record key is made of it.
        let _no_key = getrandom::fill(&mut random);
        Self {
            node_name,
            records: records.into(),
            rules: Arc::new(Rules::known()),
            mask_key: MaskKey::from_bytes(random),
            idle_wait: IDLE_WAIT_DEFAULT,
            storage: Arc::new(InClear),
            disk: Arc::new(RealDisk),
            listens: None,
            receipt_wait: RECEIPT_OVERDUE,
            ledger: Arc::new(NoLedger),
            limits: SessionLimits::default(),
        }
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
    /// A call waits for the operator.
    ApprovalAsked(PendingApproval),
    /// A question to the operator is answered, on record, or its time is over.
    ApprovalAnswered {
        /// The question.
        approval: Uuid,
        /// The session.
        session: Uuid,
        /// The answer.
        answer: Answer,
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
    pub(crate) day: DayBook,
    pub(crate) approvals: Approvals,
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
        let (live, approvals) = (LiveSessions::default(), Approvals::default());
        let day = DayBook::of(&settings.records, settings.limits.record_bytes_per_day, clock.now().wall);
        Self {
            shared: Arc::new(Shared { settings, node, gate, clock, engine, observer, live, approvals, day }),
        }
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

    /// The calls that wait for the operator now, the oldest first.
    #[must_use]
    pub fn approvals(&self) -> Vec<PendingApproval> {
        self.shared.approvals.list()
    }

    /// Answers the call that waits under `approval`; false when none does (any more). Call it only for who may consent
    /// on this node.
    #[must_use]
    pub fn answer(&self, approval: Uuid, answer: Answer) -> bool {
        self.shared.approvals.answer(approval, answer)
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
