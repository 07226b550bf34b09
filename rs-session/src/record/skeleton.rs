//! The part of a record that stays for ever: order, time, kind and what it leads to.

use chrono::{DateTime, Utc};
use rs_consent::keys::PublicKey;
use rs_consent::party::{Desk, Engineer, Node};
use rs_consent::terms::AgreedTerms;
use rs_consent::{AccessLevel, EndCause, RequestNumber, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain::{certificate_message, genesis};
use rs_consent::digest::Sha256 as Digest;

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Record 0: who came in, for what, under which consent.
    Start,
    /// A line that the level permits; it runs only after this record is durable.
    Request,
    /// A line that was refused, with the reason; nothing ran.
    Refusal,
    /// Something that an operation printed; shown only after this record is durable.
    Output,
    /// An operation came to its end.
    Finished,
    /// The engineer asked to stop the running operation.
    Interrupt,
    /// The engineer's signature under the chain so far.
    Receipt,
    /// A call waits for the operator's answer, or got it.
    Approval,
    /// A remark by the node, for the people who read the transcript.
    Note,
    /// The last record: how and why the session ended.
    End,
}

/// Which key signed a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// The key of this session, which only the running session ever held.
    #[default]
    Record,
    /// The node's own key; only an end record with cause `interrupted`, written after a crash.
    Node,
}

impl Signer {
    // serde hands a reference to `skip_serializing_if`.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    fn is_record(&self) -> bool {
        matches!(self, Self::Record)
    }
}

/// An Ed25519 signature as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SignatureText(pub(crate) [u8; 64]);

impl TryFrom<String> for SignatureText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let canonical = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = hex::decode(&text).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        match bytes {
            Some(bytes) if canonical => Ok(Self(bytes)),
            _ => Err("not a signature: 128 lower-case hexadecimal digits are expected"),
        }
    }
}

impl From<SignatureText> for String {
    fn from(signature: SignatureText) -> Self {
        hex::encode(signature.0)
    }
}

impl std::fmt::Debug for SignatureText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignatureText({})", hex::encode(self.0))
    }
}

/// The key that signs one session's records, and the node key's word for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordKeyCertificate {
    /// Public half of the key that exists only while the session lives.
    pub record_key: PublicKey,
    /// The node key's signature over session id and record key.
    pub signature: SignatureText,
}

impl RecordKeyCertificate {
    /// Whether `node` vouches for this record key in `session`.
    #[must_use]
    pub fn is_by(&self, node: &PublicKey, session: Uuid) -> bool {
        node.verify(&certificate_message(session, &self.record_key), &self.signature.0).is_ok()
    }
}

/// Who, for what, and under which consent: the facts that every record of a session leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionIdentity {
    /// Id of the session.
    pub session_id: Uuid,
    /// Version of the session protocol that was spoken.
    pub protocol_version: u16,
    /// The node: its name, as its owner calls it, and its key.
    pub node: Node,
    /// The key that signs this session's records.
    pub record_key: RecordKeyCertificate,
    /// The engineer, as the desk names them, and their key.
    pub engineer: Engineer,
    /// The desk that assigned the engineer.
    pub desk: Desk,
    /// Number of the support request.
    pub support_request: RequestNumber,
    /// Id of the desk's assignment.
    pub assignment_id: Uuid,
    /// Id of the operator's grant.
    pub grant_id: Uuid,
    /// The terms that the operator agreed to, by version and hash.
    pub terms: AgreedTerms,
    /// SHA-256 of the catalog of operations.
    pub catalog_sha256: Digest,
    /// Level in force at the start.
    pub access_level: AccessLevel,
    /// Whose lists counted, and what the consent took out of them; absent in records from before there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Value that both ends of the channel derived from its keys and these facts; a session cannot be spliced
    /// onto another channel.
    pub channel_binding: Digest,
    /// Where the node's log stood just before: every copy of this record is a witness of that log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_log: Option<crate::node_log::Head>,
}

/// The engineer's signature under a head: "I saw the chain up to here".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// Sequence number of the newest record that is covered.
    pub sequence: u64,
    /// Link hash of that record.
    pub link: Digest,
    /// Signature by the engineer's key.
    pub signature: SignatureText,
}

/// The skeleton of a record. It is stored as the JSON bytes that were hashed; those bytes are the truth, this is
/// their reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skeleton {
    /// Position in the session, from 0, without gaps.
    pub sequence: u64,
    /// What the record tells.
    pub kind: Kind,
    /// Wall clock of the node, UTC, nanoseconds.
    pub wall_time: DateTime<Utc>,
    /// Nanoseconds since the node was started, suspended time included.
    pub boot_time_ns: u64,
    /// Link hash of the record before.
    pub previous: Digest,
    /// Salted commitment to the content.
    pub commitment: Digest,
    /// Length of the content in bytes.
    pub content_length: u32,
    /// Which key signed.
    #[serde(default, skip_serializing_if = "Signer::is_record")]
    pub signer: Signer,
    /// In record 0 only: what the session is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionIdentity>,
    /// In receipts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// In the end record only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndCause>,
}

impl Skeleton {
    /// Whether the fields that only one kind carries are there exactly when they should be.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let start = self.kind == Kind::Start;
        let first = self.sequence == 0;
        let interrupted = self.end == Some(EndCause::Interrupted);
        start == first
            && self.session.is_some() == start
            && self.receipt.is_some() == (self.kind == Kind::Receipt)
            && self.end.is_some() == (self.kind == Kind::End)
            && (self.signer == Signer::Record || interrupted)
            && self.session.as_ref().is_none_or(|session| self.previous == genesis(session.session_id))
    }
}
