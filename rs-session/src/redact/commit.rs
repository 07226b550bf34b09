//! Commitments to what was masked: provable by the owner, of no use to anybody else.

use rs_consent::digest::Sha256 as Digest;
use sha2::Digest as _;
use uuid::Uuid;

use super::{Masked, Released, marker};

/// Length of a mask key, in bytes.
pub const MASK_KEY_BYTES: usize = 32;

const SALT: &[u8] = b"remote-support mask salt v1\0";
const MASKED: &[u8] = b"remote-support mask v1\0";

/// The node's secret from which the salt of each masked place is derived.
///
/// The record goes to the engineer, and a commitment whose salt stood beside it could be tried against lists of passwords.
/// So the salts stay on the node. The owner can hand out the salt of one place and opens no other by it.
///
/// ```
/// use rs_session::redact::MaskKey;
/// use uuid::Uuid;
///
/// let (key, session) = (MaskKey::from_bytes([7; 32]), Uuid::nil());
/// let commitment = key.commitment(session, 0, b"hunter2");
/// assert_eq!(commitment, MaskKey::open(&key.salt(session, 0), b"hunter2"));
/// assert_ne!(commitment, key.commitment(session, 1, b"hunter2"));
/// ```
#[derive(Clone)]
pub struct MaskKey([u8; MASK_KEY_BYTES]);

impl std::fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskKey")
    }
}

impl MaskKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; MASK_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The salt of masked place `number` in `session`.
    #[must_use]
    pub fn salt(&self, session: Uuid, number: u64) -> [u8; 32] {
        // Every part has a fixed length, so the key in front is enough.
        let mut hash = sha2::Sha256::new();
        hash.update(SALT);
        hash.update(self.0);
        hash.update(session.as_bytes());
        hash.update(number.to_be_bytes());
        hash.finalize().into()
    }

    /// The commitment to `bytes` at masked place `number` in `session`: compare it with [`Masked::commitment`].
    #[must_use]
    pub fn commitment(&self, session: Uuid, number: u64, bytes: &[u8]) -> Digest {
        Self::open(&self.salt(session, number), bytes)
    }

    /// The commitment to `bytes` under a salt that was handed out.
    #[must_use]
    pub fn open(salt: &[u8; 32], bytes: &[u8]) -> Digest {
        let mut hash = begin(salt);
        hash.update(bytes);
        Digest::from_bytes(hash.finalize().into())
    }
}

fn begin(salt: &[u8; 32]) -> sha2::Sha256 {
    let mut hash = sha2::Sha256::new();
    hash.update(MASKED);
    hash.update(salt);
    hash
}

/// Numbers and salts the masked places of one session.
#[derive(Debug)]
pub struct Commitments {
    key: MaskKey,
    session: Uuid,
    next: u64,
}

impl Commitments {
    /// The places of `session`, from 0.
    #[must_use]
    pub const fn new(key: MaskKey, session: Uuid) -> Self {
        Self { key, session, next: 0 }
    }

    /// How many places were masked so far.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.next
    }

    pub(super) fn begin(&mut self, form: &str) -> Masking {
        let number = self.next;
        self.next += 1;
        let hash = begin(&self.key.salt(self.session, number));
        Masking { form: form.to_owned(), number, bytes: 0, hash }
    }
}

/// A secret that goes by; nothing of it is kept.
#[derive(Debug)]
pub(super) struct Masking {
    form: String,
    number: u64,
    bytes: u64,
    hash: sha2::Sha256,
}

impl Masking {
    pub(super) fn take(&mut self, text: &str) {
        self.hash.update(text.as_bytes());
        self.bytes += text.len() as u64;
    }

    pub(super) fn finish(self, out: &mut Released) {
        let marker = marker(&self.form, self.bytes);
        let commitment = Digest::from_bytes(self.hash.finalize().into());
        let Self { form, number, bytes, .. } = self;
        out.marker(&marker, Masked { form, bytes, number, commitment });
    }
}
