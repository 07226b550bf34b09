//! Where a host keeps book of its sessions: normally the node's log.

use std::fmt;

use rs_consent::keys::PublicKey;
use rs_consent::{AccessLevel, EndCause, RequestNumber};
use uuid::Uuid;

use crate::node_log::{Head, SessionHead};
use crate::record::Digest;

/// A session begins; its record 0 is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Record 0.
    pub head: SessionHead,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// The engineer's key.
    pub engineer_key: PublicKey,
    /// Number of the support request.
    pub support_request: RequestNumber,
    /// Id of the grant.
    pub grant: Uuid,
    /// Level in force.
    pub access_level: AccessLevel,
}

/// A session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its newest record.
    pub head: SessionHead,
    /// Why.
    pub cause: EndCause,
    /// Whether the end record is durable.
    pub recorded: bool,
}

/// The book of sessions. `begun` and `ended` return when the entry is durable; they are called where blocking is allowed.
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Where the node's log stands, for record 0; `None` where there is no log.
    ///
    /// # Errors
    /// Why it cannot be said; nobody is let in then.
    fn head(&self) -> Result<Option<Head>, String>;

    /// A session begins, and nobody has been welcomed yet.
    ///
    /// # Errors
    /// Why it could not be made durable; the engineer is not let in then.
    fn begun(&self, begun: &Begun) -> Result<(), String>;

    /// A record became durable. Called for every record: must not block.
    fn advanced(&self, head: SessionHead);

    /// A session has ended; its channel is not closed yet.
    ///
    /// # Errors
    /// Why it could not be made durable; the session ends all the same.
    fn ended(&self, ended: &Ended) -> Result<(), String>;

    /// The end of a session is stated: the signed statement with this SHA-256 is durable beside its record. A book that
    /// keeps it can tell later that the statement was removed or exchanged.
    ///
    /// # Errors
    /// Why it could not be made durable.
    fn stated(&self, _session: Uuid, _statement: Digest) -> Result<(), String> {
        Ok(())
    }
}

/// No book is kept: for tests and for hosts that are no nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLedger;

impl Ledger for NoLedger {
    fn head(&self) -> Result<Option<Head>, String> {
        Ok(None)
    }

    fn begun(&self, _begun: &Begun) -> Result<(), String> {
        Ok(())
    }

    fn advanced(&self, _head: SessionHead) {}

    fn ended(&self, _ended: &Ended) -> Result<(), String> {
        Ok(())
    }
}
