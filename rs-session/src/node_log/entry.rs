//! What one line of the node log says, and how it is written and read.

use chrono::{DateTime, Utc};
use rs_consent::clock::BootId;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::party::Node;
use rs_consent::statement::Statement;
use rs_consent::{AccessLevel, EndCause, RefusalCode, RequestNumber};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain::{entry_message, link};
use crate::record::{Digest, SignatureText};

/// Longest entry, in bytes, without its signature and newline.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Hexadecimal digits of the signature in front of each entry.
pub(super) const SIGNATURE_DIGITS: usize = 128;

/// A place in a log: whoever holds one can later check that a log goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Id of the log.
    pub log_id: Uuid,
    /// Number of the entry.
    pub sequence: u64,
    /// Link of that entry.
    pub link: Digest,
}

/// A head that the node signs for somebody who keeps it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Witness {
    /// The node whose log it is.
    pub node: Node,
    /// Where the log stood.
    pub head: Head,
    /// When.
    pub taken_at: DateTime<Utc>,
}

impl Statement for Witness {
    const KIND: &'static str = "node-log-witness";
}

/// Where the record of a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionHead {
    /// The session.
    pub session: Uuid,
    /// Number of its newest record.
    pub sequence: u64,
    /// Link of that record.
    pub link: Digest,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// Entry 0: the log begins.
    Begun {
        /// The node whose log it is.
        node: Node,
        /// Public half of the key that signs entry 0.
        first_key: PublicKey,
        /// The node key's signature over log id and first key.
        certificate: SignatureText,
        /// Where an older log ended that was set aside by hand because it could not be continued.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        predecessor: Option<Head>,
    },
    /// A change of consent or request, copied from the store's own log.
    Consent {
        /// Its number in the store, from 1 without gaps.
        number: u64,
        /// When the store wrote it.
        at: DateTime<Utc>,
        /// What it was, as the store tells it: an object with the field `act`.
        act: serde_json::Value,
    },
    /// The agent was started.
    AgentStarted {
        /// Version of the program.
        version: String,
        /// Sessions that had been cut off and were given their end record.
        interrupted: u64,
        /// Records that are damaged.
        damaged: u64,
    },
    /// The agent was stopped in good order; all sessions are down.
    AgentStopped {},
    /// The agent is there, and where the records of open sessions stand.
    Alive {
        /// One head for each open session.
        sessions: Vec<SessionHead>,
    },
    /// A session begins: its record 0 is durable, and nobody has been welcomed yet.
    SessionStarted {
        /// Record 0.
        head: SessionHead,
        /// The engineer, as the desk names them.
        engineer: String,
        /// The engineer's key.
        engineer_key: PublicKey,
        /// Number of the support request.
        support_request: RequestNumber,
        /// Id of the grant.
        grant: Uuid,
        /// Level in force.
        access_level: AccessLevel,
    },
    /// A session has ended: its end record, where it is durable.
    SessionEnded {
        /// The newest record: the end record, unless that could not be written.
        head: SessionHead,
        /// Why.
        cause: EndCause,
        /// Whether the end record is durable.
        recorded: bool,
    },
    /// The end-of-access statement of a session is signed and durable beside its record.
    EndStated {
        /// The session.
        session: Uuid,
        /// SHA-256 of the statement's file.
        sha256: Digest,
    },
    /// The record of a session that had begun is not there any more; found when the agent started.
    SessionLost {
        /// The session.
        session: Uuid,
    },
    /// Somebody was not let in.
    Refused {
        /// Why.
        code: RefusalCode,
        /// Fingerprint of the key that asked, when the handshake came that far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engineer: Option<String>,
        /// How many refusals before this one came too fast to be written one by one.
        #[serde(default, skip_serializing_if = "is_zero")]
        folded: u64,
    },
    /// Contents of a session were deleted because their time was over, or redacted.
    ContentsRemoved {
        /// The session.
        session: Uuid,
        /// How many records lost their content.
        records: u64,
        /// Why, in words.
        reason: String,
    },
    /// The contents of a session are kept past their time, until it is released.
    Held {
        /// The session.
        session: Uuid,
        /// Why, in words.
        reason: String,
        /// Who said so, as user@host.
        by: String,
    },
    /// A session is held no longer.
    Released {
        /// The session.
        session: Uuid,
        /// Who said so, as user@host.
        by: String,
    },
    /// The whole record of a session was deleted.
    RecordDeleted {
        /// The session.
        session: Uuid,
        /// Why, in words.
        reason: String,
    },
    /// Evidence left the node.
    Exported {
        /// The session.
        session: Uuid,
        /// SHA-256 of the bundle or rendering.
        sha256: Digest,
        /// The form: `bundle`, `text`, `json`, `asciicast` or `csv`.
        form: String,
        /// Who exported it, as user@host.
        by: String,
    },
    /// Somebody tried whether collectors are reached; nothing happened.
    Tested {
        /// Who, as user@host.
        by: String,
    },
    /// Something that a newer version of this program wrote.
    #[serde(other)]
    Unknown,
}

#[cfg(feature = "driver")]
impl Event {
    /// Whether this records an end, or what the store did already: it may use the room that is set aside.
    pub(super) const fn ends_something(&self) -> bool {
        matches!(
            self,
            Self::Consent { .. }
                | Self::AgentStarted { .. }
                | Self::AgentStopped {}
                | Self::SessionEnded { .. }
                | Self::EndStated { .. }
                | Self::SessionLost { .. }
        )
    }
}

// serde hands a reference to `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One entry. The JSON bytes that were hashed are the truth; this is their reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Position in the log, from 0, without gaps.
    pub sequence: u64,
    /// Id of the log.
    pub log_id: Uuid,
    /// Wall clock of the node, UTC.
    pub wall_time: DateTime<Utc>,
    /// Nanoseconds since the node was started, suspended time included.
    pub boot_time_ns: u64,
    /// The start of the machine that the boot time counts from.
    pub boot_id: BootId,
    /// Link of the entry before.
    pub previous: Digest,
    /// Public half of the key that signs the next entry.
    pub next_key: PublicKey,
    /// Number of the store's newest act that this log has.
    pub acts: u64,
    /// What happened.
    pub event: Event,
}

/// An entry with the bytes that were hashed and their signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    entry: Entry,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

/// Why bytes are not a line of a node log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The signature in front is missing or not written as it should be.
    #[error("the line does not begin with a signature of 128 lower-case hexadecimal digits and a space")]
    Signature,
    /// It is too long.
    #[error("the line is longer than an entry may be ({ENTRY_BYTES_MAX} bytes)")]
    TooLong,
    /// It has no newline: a write that was cut off, or a cut.
    #[error("the log ends in the middle of an entry")]
    Torn,
    /// What follows the signature is no entry.
    #[error("the entry cannot be read: {0}")]
    Entry(#[from] serde_json::Error),
}

impl Line {
    /// Signs `entry` with `key`, the one that the entry before named.
    ///
    /// # Errors
    /// [`LineError`] when the entry cannot be written or is too long.
    pub fn sign(entry: Entry, key: &SigningKey) -> Result<Self, LineError> {
        let bytes = serde_json::to_vec(&entry)?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        let signature = key.sign(&entry_message(entry.log_id, &link(&bytes)));
        Ok(Self { entry, bytes, signature })
    }

    /// What it says.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The hash that the next entry points back to.
    #[must_use]
    pub fn link(&self) -> Digest {
        link(&self.bytes)
    }

    /// Its place.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { log_id: self.entry.log_id, sequence: self.entry.sequence, link: self.link() }
    }

    /// Whether `key` signed it in the log `log_id`.
    #[must_use]
    pub fn is_by(&self, key: &PublicKey, log_id: Uuid) -> bool {
        key.verify(&entry_message(log_id, &self.link()), &self.signature).is_ok()
    }

    /// The line as it stands in the file, newline included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNATURE_DIGITS + 2 + self.bytes.len());
        out.extend_from_slice(hex::encode(self.signature).as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.bytes);
        out.push(b'\n');
        out
    }

    /// Reads one line, newline included.
    ///
    /// ```
    /// use rs_session::node_log::{Line, LineError};
    ///
    /// assert!(matches!(Line::decode(b"no signature {}\n"), Err(LineError::Signature)));
    /// assert!(matches!(Line::decode(b"cut"), Err(LineError::Torn)));
    /// ```
    ///
    /// # Errors
    /// [`LineError`].
    pub fn decode(line: &[u8]) -> Result<Self, LineError> {
        let line = line.strip_suffix(b"\n").ok_or(LineError::Torn)?;
        let (digits, rest) = line.split_at_checked(SIGNATURE_DIGITS).ok_or(LineError::Signature)?;
        let canonical = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut signature = [0; 64];
        let bytes = rest.strip_prefix(b" ").filter(|_| canonical).ok_or(LineError::Signature)?;
        hex::decode_to_slice(digits, &mut signature).map_err(|_| LineError::Signature)?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        Ok(Self { entry: serde_json::from_slice(bytes)?, bytes: bytes.to_vec(), signature })
    }
}
