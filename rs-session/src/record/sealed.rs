//! Contents that lie closed on a disk: their form, and what opens them. How they are closed is the driver's
//! ([`crate::sealing`]); skeletons, links and signatures are checked without it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rs_consent::digest::Sha256 as Digest;
use uuid::Uuid;

use super::frame::SALT_BYTES;

/// Length of the mark that tells which key closed a content, in bytes.
pub const KEY_MARK_BYTES: usize = 8;
/// Length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 12;
/// Length of the tag behind a sealed content, in bytes.
pub const TAG_BYTES: usize = 16;
/// By how much a sealed content is longer than the salt and the content in it, in bytes.
pub const SEAL_BYTES: usize = KEY_MARK_BYTES + NONCE_BYTES + TAG_BYTES;

const CONTENT_SEAL: &[u8] = b"remote-support sealed content v1\0";

/// Why a content stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// There is no key.
    #[error("the key that opens it is not here")]
    NoKey,
    /// Another key closed it.
    #[error("another key closed it than the one that is here")]
    OtherKey,
    /// This key closed something, and not this at this place.
    #[error("it was changed after it was closed, or belongs to another place")]
    Damaged,
}

/// A content that was not opened.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedContent {
    pub(super) bytes: Bytes,
    pub(super) closed: Closed,
}

impl SealedContent {
    /// Key mark, nonce, closed salt and content, tag.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why it is closed.
    #[must_use]
    pub const fn closed(&self) -> Closed {
        self.closed
    }
}

impl fmt::Debug for SealedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedContent({} bytes, {:?})", self.bytes.len(), self.closed)
    }
}

/// Opens what was sealed on one node.
pub trait Opener: fmt::Debug + Send + Sync {
    /// Salt and content, one behind the other, of the record of `session` with this `link`.
    ///
    /// # Errors
    /// [`Closed::OtherKey`] or [`Closed::Damaged`].
    fn open(&self, session: Uuid, link: &Digest, sealed: &[u8]) -> Result<Vec<u8>, Closed>;
}

/// Closes the contents of one session.
pub trait Sealer: fmt::Debug + Send {
    /// Appends to `out` salt and content of the record with this `link`, closed: [`SEAL_BYTES`] longer than both. False
    /// where no nonce could be had; then `out` is as it was.
    fn seal(&self, link: &Digest, salt: &[u8; SALT_BYTES], content: &[u8], out: &mut Vec<u8>) -> bool;
}

/// What opens sealed contents; `None`: nothing does, and they are passed over as closed.
pub type ContentKey = Option<Arc<dyn Opener>>;

/// What is authenticated with a content besides itself: the place where it belongs. The link stands for everything else
/// that the skeleton says, commitment and session included.
#[must_use]
pub fn sealed_place(session: Uuid, link: &Digest) -> Vec<u8> {
    [CONTENT_SEAL, session.as_bytes(), link.as_bytes()].concat()
}

/// Length of a sealed content in a record whose content has `content` bytes.
pub(super) const fn sealed_length(content: usize) -> usize {
    SEAL_BYTES + SALT_BYTES + content
}
