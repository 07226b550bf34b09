//! The node's log, as the program keeps it: what the store did, what the agent did, and each session.
//!
//! Acts of consent and requests are transactions of the store, which numbers them. Whoever appends to the log first copies
//! the acts that it does not have yet; so an act whose command was killed in between is in the log at the next entry, once
//! and in its order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rs_consent::Clock;
use rs_consent::keys::SigningKey;
use rs_consent::party::Node;
use rs_consent::store::{ConsentStore, LogEntry};
use rs_session::host::{Begun, Ended, Ledger};
use rs_session::node_log::{Event, Head, NodeLog, NodeLogError, SessionHead};
use rs_session::record::Digest;
use uuid::Uuid;

use crate::outcome::{ErrorCode, Failure};

/// Most acts that are copied in one append.
const ACTS_MAX: usize = 1000;

/// The log, the store whose acts it copies, and where the open sessions stand.
#[derive(Debug)]
pub struct Book {
    log: NodeLog,
    store: Mutex<Arc<ConsentStore>>,
    open: Mutex<BTreeMap<Uuid, SessionHead>>,
}

impl Book {
    /// The book in the node's folder.
    pub fn new(
        folder: &Path,
        node: Node,
        key: Arc<SigningKey>,
        clock: Arc<dyn Clock>,
        store: Arc<ConsentStore>,
    ) -> Self {
        Self { log: NodeLog::new(folder, node, key, clock), store: Mutex::new(store), open: Mutex::default() }
    }

    /// The log itself.
    pub fn log(&self) -> &NodeLog {
        &self.log
    }

    /// Goes on with another store, which lies in the place of the one before.
    pub(crate) fn follow(&self, store: Arc<ConsentStore>) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// Copies what the store did since, and returns when it is durable.
    ///
    /// # Errors
    /// [`NodeLogError`].
    pub fn settle(&self) -> Result<Head, NodeLogError> {
        self.append(Vec::new())
    }

    /// Enters an event, behind what the store did before, and returns when it is durable.
    ///
    /// # Errors
    /// [`NodeLogError`].
    pub fn enter(&self, event: Event) -> Result<Head, NodeLogError> {
        self.append(vec![event])
    }

    /// Enters that the agent is there, and where the open sessions stand.
    ///
    /// # Errors
    /// [`NodeLogError`].
    pub fn beat(&self) -> Result<Head, NodeLogError> {
        let sessions = self.open().values().cloned().collect();
        self.enter(Event::Alive { sessions })
    }

    /// Whether a session is open.
    pub fn has_sessions(&self) -> bool {
        !self.open().is_empty()
    }

    fn append(&self, events: Vec<Event>) -> Result<Head, NodeLogError> {
        self.log.append(|tail| {
            let mut all = self.acts_after(tail.acts);
            all.extend(events);
            all
        })
    }

    /// A store that cannot be read keeps no session's end out of the log; its acts come with a later entry.
    fn acts_after(&self, number: u64) -> Vec<Event> {
        let store = Arc::clone(&self.store.lock().unwrap_or_else(PoisonError::into_inner));
        match store.log(number, ACTS_MAX) {
            Ok(acts) => acts.into_iter().map(event).collect(),
            Err(error) => {
                tracing::error!(%error, "the acts of consent could not be copied into the node log");
                Vec::new()
            }
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, SessionHead>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(entry: LogEntry) -> Event {
    let act = serde_json::to_value(&entry.act).unwrap_or(serde_json::Value::Null);
    Event::Consent { number: entry.number, at: entry.at, act }
}

impl Ledger for Book {
    fn head(&self) -> Result<Option<Head>, String> {
        self.settle().map(Some).map_err(|error| error.to_string())
    }

    fn begun(&self, begun: &Begun) -> Result<(), String> {
        let Begun { head, engineer, engineer_key, support_request, grant, access_level } = begun.clone();
        self.open().insert(head.session, head.clone());
        let session = head.session;
        let started =
            Event::SessionStarted { head, engineer, engineer_key, support_request, grant, access_level };
        self.enter(started).map(drop).map_err(|error| {
            self.open().remove(&session);
            error.to_string()
        })
    }

    fn advanced(&self, head: SessionHead) {
        self.open().insert(head.session, head);
    }

    fn ended(&self, ended: &Ended) -> Result<(), String> {
        let Ended { head, cause, recorded } = ended.clone();
        self.open().remove(&head.session);
        self.enter(Event::SessionEnded { head, cause, recorded }).map(drop).map_err(|error| {
            tracing::error!(%error, "the end of a session could not be entered in the node log");
            error.to_string()
        })
    }

    fn stated(&self, session: Uuid, sha256: Digest) -> Result<(), String> {
        self.enter(Event::EndStated { session, sha256 }).map(drop).map_err(|error| error.to_string())
    }
}

impl From<NodeLogError> for Failure {
    fn from(error: NodeLogError) -> Self {
        match error {
            NodeLogError::Damaged { .. } => Self::new(ErrorCode::Integrity, error.to_string()).next_step(
                "see what is wrong with `remote-support session verify`; to go on with a new log, which proves \
                 nothing of before, use `remote-support node-log restart`",
            ),
            error => Self::new(ErrorCode::Io, error.to_string())
                .next_step("no session can begin until it can be written again"),
        }
    }
}
