//! The chain: how records are made one after the other, and how each is checked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use chrono::{DateTime, Utc};
use rs_consent::EndCause;
use rs_consent::clock::Now;
use rs_consent::keys::{PublicKey, SigningKey, Verifier};
use uuid::Uuid;

use super::content::Content;
use super::frame::{CONTENT_BYTES_MAX, Frame, SALT_BYTES, Stored};
use super::skeleton::{
    Kind, Receipt, RecordKeyCertificate, SessionIdentity, SignatureText, Signer, Skeleton,
};
use crate::redact::Masked;
use rs_consent::digest::Sha256 as Digest;

const LINK: &[u8] = b"remote-support record link v1\0";
const GENESIS: &[u8] = b"remote-support record genesis v1\0";
const CONTENT: &[u8] = b"remote-support record content v1\0";
const HEAD: &[u8] = b"remote-support record head v1\0";
const RECEIPT: &[u8] = b"remote-support record receipt v1\0";
const KEY: &[u8] = b"remote-support record key v1\0";

pub(crate) fn link(skeleton_bytes: &[u8]) -> Digest {
    Digest::of_parts(&[LINK, skeleton_bytes])
}

pub(crate) fn genesis(session: Uuid) -> Digest {
    Digest::of_parts(&[GENESIS, session.as_bytes()])
}

pub(crate) fn commitment(salt: &[u8; SALT_BYTES], content: &[u8]) -> Digest {
    Digest::of_parts(&[CONTENT, salt, content])
}

pub(crate) fn certificate_message(session: Uuid, record_key: &PublicKey) -> Vec<u8> {
    [KEY, session.as_bytes(), record_key.as_bytes()].concat()
}

fn head_message(domain: &[u8], session: Uuid, sequence: u64, link: &Digest) -> Vec<u8> {
    [domain, session.as_bytes(), &sequence.to_be_bytes(), link.as_bytes()].concat()
}

impl RecordKeyCertificate {
    /// The node's word that `record_key` signs the records of `session`.
    #[must_use]
    pub fn issue(node: &SigningKey, session: Uuid, record_key: PublicKey) -> Self {
        let signature = SignatureText(node.sign(&certificate_message(session, &record_key)));
        Self { record_key, signature }
    }
}

/// What signs heads: the key of a session, of a node, of an engineer.
pub trait HeadSigner {
    /// The Ed25519 signature under `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

impl HeadSigner for SigningKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        Self::sign(self, message)
    }
}

impl Receipt {
    /// The engineer's signature under the head (`sequence`, `link`) of `session`.
    #[must_use]
    pub fn sign(engineer: &impl HeadSigner, session: Uuid, sequence: u64, link: Digest) -> Self {
        let signature = SignatureText(engineer.sign(&head_message(RECEIPT, session, sequence, &link)));
        Self { sequence, link, signature }
    }

    /// Whether this receipt is `engineer`'s for `session`.
    #[must_use]
    pub fn is_by(&self, engineer: &PublicKey, session: Uuid) -> bool {
        self.is_by_key(&engineer.verifier(), session)
    }

    fn is_by_key(&self, engineer: &Verifier, session: Uuid) -> bool {
        let message = head_message(RECEIPT, session, self.sequence, &self.link);
        engineer.verify(&message, &self.signature.0).is_ok()
    }
}

/// A record before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    kind: Kind,
    content: Vec<u8>,
    session: Option<Box<SessionIdentity>>,
    receipt: Option<Receipt>,
    end: Option<EndCause>,
}

/// A [`Draft`] with the commitment to its content: what takes time in proportion to its length is done, wherever its place
/// in the chain will be. There is one record for each.
pub struct Committed {
    draft: Draft,
    salt: [u8; SALT_BYTES],
    commitment: Digest,
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Committed({:?}, {} bytes)", self.kind(), self.draft.content_length())
    }
}

impl Committed {
    /// What the record will tell.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.draft.kind()
    }
}

/// Why a record could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The content is longer than a record holds.
    #[error("a record holds at most {CONTENT_BYTES_MAX} bytes of content, this has {bytes}; split it")]
    ContentTooLong {
        /// Length that was asked for.
        bytes: usize,
    },
    /// The session has its end record; nothing may follow.
    #[error("the session has ended; nothing can be added to its record")]
    Ended,
    /// The skeleton could not be written as JSON.
    #[error("the skeleton cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl Draft {
    /// A draft of any content but a receipt, which has its own constructor.
    ///
    /// # Errors
    /// [`ChainError::ContentTooLong`] past [`CONTENT_BYTES_MAX`].
    pub fn new(content: &Content) -> Result<Self, ChainError> {
        let bytes = content.encode()?;
        if bytes.len() > CONTENT_BYTES_MAX {
            return Err(ChainError::ContentTooLong { bytes: bytes.len() });
        }
        let end = match content {
            Content::End(end) => Some(end.cause),
            _ => None,
        };
        Ok(Self { kind: content.kind(), content: bytes, session: None, receipt: None, end })
    }

    /// The draft of record 0.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn start(identity: SessionIdentity, content: super::StartContent) -> Result<Self, ChainError> {
        Ok(Self { session: Some(Box::new(identity)), ..Self::new(&Content::Start(content))? })
    }

    /// The same draft, whose content also tells what was masked in it, as `"masked"` behind its own fields.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn masked(mut self, masked: &[Masked]) -> Result<Self, ChainError> {
        if masked.is_empty() {
            return Ok(self);
        }
        // Every content is one JSON object; what was masked stands last in it.
        self.content.pop();
        if self.content.len() > 1 {
            self.content.push(b',');
        }
        self.content.extend_from_slice(b"\"masked\":");
        serde_json::to_writer(&mut self.content, masked)?;
        self.content.push(b'}');
        match self.content.len() {
            bytes if bytes > CONTENT_BYTES_MAX => Err(ChainError::ContentTooLong { bytes }),
            _ => Ok(self),
        }
    }

    /// The draft of a receipt.
    #[must_use]
    pub fn receipt(receipt: Receipt) -> Self {
        Self {
            kind: Kind::Receipt,
            content: b"{}".to_vec(),
            session: None,
            receipt: Some(receipt),
            end: None,
        }
    }

    /// Commits to the content.
    ///
    /// `salt` must be random and fresh: it hides the content in the commitment.
    #[must_use]
    pub fn commit(mut self, salt: [u8; SALT_BYTES]) -> Committed {
        // These bytes are held until they are on the disk and shown; what was room for more is given back.
        if self.content.capacity() > self.content.len() + self.content.len() / 4 {
            self.content.shrink_to_fit();
        }
        let commitment = commitment(&salt, &self.content);
        Committed { draft: self, salt, commitment }
    }

    /// What the record will tell.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How long its content is, in bytes.
    #[must_use]
    pub const fn content_length(&self) -> usize {
        self.content.len()
    }
}

/// The writing end of a chain. Pure: keys, salt and time come from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    session: Uuid,
    next_sequence: u64,
    head: Digest,
    ended: bool,
}

impl Chain {
    /// The empty chain of `session`.
    #[must_use]
    pub fn new(session: Uuid) -> Self {
        Self { session, next_sequence: 0, head: genesis(session), ended: false }
    }

    /// Goes on behind `frame`, the last record that was kept.
    #[must_use]
    pub fn after(session: Uuid, frame: &Frame) -> Self {
        let skeleton = frame.skeleton();
        Self {
            session,
            next_sequence: skeleton.sequence + 1,
            head: frame.link(),
            ended: skeleton.kind == Kind::End,
        }
    }

    /// Number of the record that comes next.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Link of the newest record.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Commits to `draft` with `salt` (see [`Draft::commit`]), gives it its place in the chain, signs it, and moves the head.
    ///
    /// # Errors
    /// As [`Chain::append_committed`].
    pub fn append(
        &mut self,
        draft: Draft,
        key: &impl HeadSigner,
        signer: Signer,
        salt: [u8; SALT_BYTES],
        now: &Now,
    ) -> Result<Frame, ChainError> {
        self.append_committed(draft.commit(salt), key, signer, now)
    }

    /// Gives `committed` its place in the chain, signs it, and moves the head.
    ///
    /// # Errors
    /// [`ChainError::Ended`] after an end record; then the chain is as before.
    pub fn append_committed(
        &mut self,
        committed: Committed,
        key: &impl HeadSigner,
        signer: Signer,
        now: &Now,
    ) -> Result<Frame, ChainError> {
        if self.ended {
            return Err(ChainError::Ended);
        }
        let Committed { draft, salt, commitment } = committed;
        let skeleton = self.skeleton(&draft, commitment, signer, now);
        let bytes = serde_json::to_vec(&skeleton)?;
        let head = link(&bytes);
        let signature = key.sign(&head_message(HEAD, self.session, skeleton.sequence, &head));
        self.next_sequence += 1;
        self.head = head;
        self.ended = skeleton.kind == Kind::End;
        let content = Stored::Present { salt, bytes: draft.content.into() };
        Ok(Frame::new(skeleton, bytes, signature, content))
    }

    fn skeleton(&self, draft: &Draft, commitment: Digest, signer: Signer, now: &Now) -> Skeleton {
        Skeleton {
            sequence: self.next_sequence,
            kind: draft.kind,
            wall_time: now.wall,
            boot_time_ns: u64::try_from(now.boot.as_nanos()).unwrap_or(u64::MAX),
            previous: self.head,
            commitment,
            content_length: u32::try_from(draft.content.len()).unwrap_or(u32::MAX),
            signer,
            session: draft.session.as_deref().cloned(),
            receipt: draft.receipt.clone(),
            end: draft.end,
        }
    }
}

/// What is wrong with a record, in its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its number is not the one that comes next: records were removed, repeated or put in another order.
    #[error(
        "record {expected} is expected here, and this is record {found}: records were removed, repeated or moved"
    )]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// It does not point back to the record before it.
    #[error("it does not follow from the record before it")]
    Link,
    /// Its signature is not by the key that may sign it.
    #[error("its signature does not fit: the record was changed, or somebody else made it")]
    Signature,
    /// Its content is not what the skeleton commits to.
    #[error("its content is not what was committed to")]
    Content,
    /// The node does not vouch for the record key.
    #[error("the node key does not vouch for the key that signs this session")]
    Certificate,
    /// The node is not the one that was expected.
    #[error(
        "the session was recorded by another node key ({found}) than the one that is trusted ({trusted})"
    )]
    OtherNode {
        /// The key that is trusted.
        trusted: PublicKey,
        /// The key in the record.
        found: PublicKey,
    },
    /// A receipt is not by the engineer, or speaks of a record that is not in this chain.
    #[error("the engineer's receipt does not fit this chain")]
    Receipt,
    /// Something stands behind the end record.
    #[error("it stands behind the end of the session")]
    AfterEnd,
    /// The wall clock stands before that of the record before.
    #[error("its wall clock ({found}) is before that of the record before ({before})")]
    ClockBack {
        /// Time of the record before.
        before: DateTime<Utc>,
        /// Time of this record.
        found: DateTime<Utc>,
    },
}

impl Fault {
    /// Whether this is only worth a remark: clocks do go back, and the record says so honestly.
    #[must_use]
    pub const fn is_remark(&self) -> bool {
        matches!(self, Self::ClockBack { .. })
    }
}

/// The reading end of a chain: takes records in order and says of each whether it fits.
#[derive(Debug, Clone)]
pub struct Checker {
    trusted_node: Option<PublicKey>,
    identity: Option<SessionIdentity>,
    /// The keys of record and engineer that the identity names.
    keys: Option<(Verifier, Verifier)>,
    /// Links of the records whose signatures fit, by sequence number.
    links: BTreeMap<u64, Digest>,
    records: u64,
    next_sequence: u64,
    last_wall: Option<DateTime<Utc>>,
    end: Option<EndCause>,
    receipted: Option<u64>,
    made: VecDeque<Receipt>,
}

/// Receipts that a [`Checker`] knows as made on its own side, until they come back on record: the newest 256.
pub const RECEIPTS_MADE_MAX: usize = 256;

impl Checker {
    /// A checker that trusts `node`, or, with `None`, whatever node key record 0 names.
    #[must_use]
    pub const fn new(node: Option<PublicKey>) -> Self {
        Self {
            trusted_node: node,
            identity: None,
            keys: None,
            links: BTreeMap::new(),
            records: 0,
            next_sequence: 0,
            last_wall: None,
            end: None,
            receipted: None,
            made: VecDeque::new(),
        }
    }

    /// A receipt that this side signed itself: when it comes back as it was made, its signature is known to fit.
    pub fn made_receipt(&mut self, receipt: Receipt) {
        if self.made.len() == RECEIPTS_MADE_MAX {
            self.made.pop_front();
        }
        self.made.push_back(receipt);
    }

    /// What record 0 says; `None` before it was read.
    #[must_use]
    pub const fn identity(&self) -> Option<&SessionIdentity> {
        self.identity.as_ref()
    }

    /// How many records were taken.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Sequence number and link of the newest record whose signature fits.
    #[must_use]
    pub fn head(&self) -> Option<(u64, Digest)> {
        self.links.last_key_value().map(|(sequence, link)| (*sequence, *link))
    }

    /// The cause in the end record, once it was read.
    #[must_use]
    pub const fn end(&self) -> Option<EndCause> {
        self.end
    }

    /// The newest record that the engineer countersigned.
    #[must_use]
    pub const fn receipted(&self) -> Option<u64> {
        self.receipted
    }

    /// Takes the next record and returns everything that is wrong with it; nothing when it fits.
    ///
    /// After a fault the checker goes on from what it read, so that each faulty record is named and not only the first.
    pub fn take(&mut self, frame: &Frame) -> Vec<Fault> {
        let mut faults = Vec::new();
        let skeleton = frame.skeleton();
        if let Some(session) = &skeleton.session
            && self.identity.is_none()
        {
            self.begin(session, &mut faults);
        }
        self.check_place(skeleton, &mut faults);
        let signed = self.is_signed(frame);
        if !signed {
            faults.push(Fault::Signature);
        }
        if !frame.content_is_committed() {
            faults.push(Fault::Content);
        }
        self.check_receipt(skeleton, &mut faults);
        if signed {
            self.links.insert(skeleton.sequence, frame.link());
        }
        self.records += 1;
        self.next_sequence = skeleton.sequence.saturating_add(1);
        self.last_wall = Some(skeleton.wall_time);
        self.end = self.end.or(skeleton.end);
        faults
    }

    fn begin(&mut self, session: &SessionIdentity, faults: &mut Vec<Fault>) {
        if let Some(trusted) = self.trusted_node
            && trusted != session.node.key
        {
            faults.push(Fault::OtherNode { trusted, found: session.node.key });
        }
        let node = self.trusted_node.unwrap_or(session.node.key);
        if !session.record_key.is_by(&node, session.session_id) {
            faults.push(Fault::Certificate);
        }
        self.keys = Some((session.record_key.record_key.verifier(), session.engineer.key.verifier()));
        self.identity = Some(session.clone());
    }

    fn check_place(&self, skeleton: &Skeleton, faults: &mut Vec<Fault>) {
        let expected = self.next_sequence;
        let before = expected.checked_sub(1).and_then(|before| self.links.get(&before));
        if skeleton.sequence != expected {
            faults.push(Fault::Sequence { expected, found: skeleton.sequence });
        } else if before.is_some_and(|link| *link != skeleton.previous) {
            faults.push(Fault::Link);
        }
        if self.end.is_some() {
            faults.push(Fault::AfterEnd);
        }
        if let Some(before) = self.last_wall
            && skeleton.wall_time < before
        {
            faults.push(Fault::ClockBack { before, found: skeleton.wall_time });
        }
    }

    fn is_signed(&self, frame: &Frame) -> bool {
        let Some((identity, (record_key, _))) = self.identity.as_ref().zip(self.keys.as_ref()) else {
            return false;
        };
        let skeleton = frame.skeleton();
        let message = head_message(HEAD, identity.session_id, skeleton.sequence, &frame.link());
        match skeleton.signer {
            Signer::Record => record_key.verify(&message, frame.signature()).is_ok(),
            Signer::Node => {
                let node = self.trusted_node.unwrap_or(identity.node.key);
                node.verify(&message, frame.signature()).is_ok()
            }
        }
    }

    fn check_receipt(&mut self, skeleton: &Skeleton, faults: &mut Vec<Fault>) {
        let (Some(receipt), Some(identity), Some((_, engineer))) =
            (&skeleton.receipt, &self.identity, &self.keys)
        else {
            return;
        };
        // A record whose own signature does not fit is named already; a receipt for it is no second fault.
        let fits = match self.links.get(&receipt.sequence) {
            Some(link) => *link == receipt.link,
            None => receipt.sequence < self.next_sequence,
        };
        let forward = self.receipted.is_none_or(|newest| receipt.sequence > newest);
        while self.made.front().is_some_and(|made| made.sequence < receipt.sequence) {
            self.made.pop_front();
        }
        let own = self.made.front() == Some(receipt);
        if fits && forward && (own || receipt.is_by_key(engineer, identity.session_id)) {
            self.receipted = Some(receipt.sequence);
        } else {
            faults.push(Fault::Receipt);
        }
    }
}
