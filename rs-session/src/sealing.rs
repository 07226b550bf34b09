//! Closes contents before they go to the disk, and opens them again: AES-256-GCM, with a key for each session that comes
//! from the node's storage key. The form is told in [`crate::record`].

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use crate::record::{
    Closed, Digest, KEY_MARK_BYTES, NONCE_BYTES, Opener, SALT_BYTES, SEAL_BYTES, Sealer, sealed_place,
};

/// Length of a storage key, in bytes.
pub const STORAGE_KEY_BYTES: usize = 32;

const STORAGE: &[u8] = b"remote-support storage v1\0";
const CONTENT_KEY: &[u8] = b"content key\0";
const KEY_MARK: &[u8] = b"key mark\0";
const CHECK: &[u8] = b"check\0";
const CONTENT_KEY_BYTES: usize = 32;

/// The key from which the keys of all sessions of a node come. It is overwritten when it is dropped.
///
/// ```
/// use rs_session::record::{Closed, Digest, Opener, Sealer};
/// use rs_session::sealing::StorageKey;
/// use uuid::Uuid;
///
/// let (key, other) = (StorageKey::from_bytes([7; 32]), StorageKey::from_bytes([8; 32]));
/// let (session, link) = (Uuid::from_u128(1), Digest::of(b"a record"));
/// let mut sealed = Vec::new();
/// assert!(key.sealer(session).unwrap().seal(&link, &[0; 32], b"content", &mut sealed));
/// assert_eq!(key.open(session, &link, &sealed), Ok([&[0; 32], &b"content"[..]].concat()));
/// assert_eq!(key.open(session, &Digest::of(b"another place"), &sealed), Err(Closed::Damaged));
/// assert_eq!(other.open(session, &link, &sealed), Err(Closed::OtherKey));
/// ```
#[derive(Clone)]
pub struct StorageKey(Zeroizing<[u8; STORAGE_KEY_BYTES]>);

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl StorageKey {
    /// The key that these bytes are.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; STORAGE_KEY_BYTES]) -> Self {
        let key = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    /// A new random key.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = [0; STORAGE_KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self::from_bytes(bytes))
    }

    /// The bytes, to be kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8; STORAGE_KEY_BYTES] {
        &self.0
    }

    /// By this a key is known again and nothing about it is told.
    #[must_use]
    pub fn check(&self) -> [u8; KEY_MARK_BYTES] {
        self.derive(&[CHECK]).unwrap_or_default()
    }

    /// What closes the contents of `session`; `None` where no cipher can be made of the key.
    #[must_use]
    pub fn sealer(&self, session: Uuid) -> Option<SessionSealer> {
        Some(SessionSealer { session, mark: self.mark(session)?, key: self.content_key(session)? })
    }

    fn content_key(&self, session: Uuid) -> Option<RandomizedNonceKey> {
        let key: Zeroizing<[u8; CONTENT_KEY_BYTES]> =
            Zeroizing::new(self.derive(&[CONTENT_KEY, session.as_bytes()])?);
        RandomizedNonceKey::new(&AES_256_GCM, &*key).ok()
    }

    fn mark(&self, session: Uuid) -> Option<[u8; KEY_MARK_BYTES]> {
        self.derive(&[KEY_MARK, session.as_bytes()])
    }

    fn derive<const N: usize>(&self, info: &[&[u8]]) -> Option<[u8; N]> {
        let prk: Prk = Salt::new(HKDF_SHA256, STORAGE).extract(&*self.0);
        let mut out = [0; N];
        prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).ok()?;
        Some(out)
    }
}

/// Where a host has it from whether and how contents are closed.
pub trait Storage: fmt::Debug + Send + Sync {
    /// What closes the contents of a session that begins; `None` where they are to lie in clear.
    ///
    /// # Errors
    /// Why the key cannot be had, in words; the session does not begin.
    fn sealer(&self, session: Uuid) -> Result<Option<Box<dyn Sealer>>, String>;
}

/// Contents lie in clear.
#[derive(Debug, Clone, Copy, Default)]
pub struct InClear;

impl Storage for InClear {
    fn sealer(&self, _session: Uuid) -> Result<Option<Box<dyn Sealer>>, String> {
        Ok(None)
    }
}

impl Storage for StorageKey {
    fn sealer(&self, session: Uuid) -> Result<Option<Box<dyn Sealer>>, String> {
        match Self::sealer(self, session) {
            Some(sealer) => Ok(Some(Box::new(sealer))),
            None => Err("no cipher can be made of the storage key".to_owned()),
        }
    }
}

/// Closes the contents of one session.
pub struct SessionSealer {
    session: Uuid,
    mark: [u8; KEY_MARK_BYTES],
    key: RandomizedNonceKey,
}

impl fmt::Debug for SessionSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSealer({})", self.session)
    }
}

impl Sealer for SessionSealer {
    fn seal(&self, link: &Digest, salt: &[u8; SALT_BYTES], content: &[u8], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        // All room at once, so that no copy in clear is left behind where it grows.
        out.reserve(SEAL_BYTES + SALT_BYTES + content.len());
        out.extend_from_slice(&self.mark);
        let nonce_at = out.len();
        out.extend_from_slice(&[0; NONCE_BYTES]);
        let closed_at = out.len();
        out.extend_from_slice(salt);
        out.extend_from_slice(content);
        let place = Aad::from(sealed_place(self.session, link));
        match self.key.seal_in_place_separate_tag(place, &mut out[closed_at..]) {
            Ok((nonce, tag)) => {
                out[nonce_at..closed_at].copy_from_slice(nonce.as_ref());
                out.extend_from_slice(tag.as_ref());
                true
            }
            Err(_) => {
                out[before..].zeroize();
                out.truncate(before);
                false
            }
        }
    }
}

impl Opener for StorageKey {
    fn open(&self, session: Uuid, link: &Digest, sealed: &[u8]) -> Result<Vec<u8>, Closed> {
        if sealed.len() < SEAL_BYTES + SALT_BYTES {
            return Err(Closed::Damaged);
        }
        let (mark, rest) = sealed.split_at(KEY_MARK_BYTES);
        let (nonce, closed) = rest.split_at(NONCE_BYTES);
        let ours = self.mark(session).is_some_and(|ours| ours == mark);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Closed::Damaged)?;
        let key = self.content_key(session).ok_or(Closed::NoKey)?;
        let mut salted = closed.to_vec();
        let place = Aad::from(sealed_place(session, link));
        let opened = key.open_in_place(nonce, place, &mut salted).map(|open| open.len());
        match (opened, ours) {
            (Ok(length), true) => {
                salted.truncate(length);
                Ok(salted)
            }
            // The key fits and the mark does not: the mark was changed.
            (Ok(_), false) | (Err(_), true) => Err(Closed::Damaged),
            (Err(_), false) => Err(Closed::OtherKey),
        }
    }
}
