//! Records as bytes: written once, read back with every length checked before memory is taken.

use std::io::{self, Read};

use bytes::Bytes;

use super::chain::{commitment, link};
use super::sealed::{Closed, ContentKey, Opener, SEAL_BYTES, SealedContent, Sealer, sealed_length};
use super::skeleton::Skeleton;
use rs_consent::digest::Sha256 as Digest;
use uuid::Uuid;

/// First bytes of every record file: name, version 1, zeros.
pub const FILE_HEADER: [u8; 16] = *b"RSRECORD\0\x01\0\0\0\0\0\0";
/// Longest skeleton, in bytes.
pub const SKELETON_BYTES_MAX: usize = 16 * 1024;
/// Longest content, in bytes.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of a salt, in bytes.
pub const SALT_BYTES: usize = 32;
/// Longest record, prefix included, in bytes.
pub const RECORD_BYTES_MAX: usize =
    PREFIX_BYTES + SKELETON_BYTES_MAX + SIGNATURE_BYTES + SEAL_BYTES + SALT_BYTES + CONTENT_BYTES_MAX;

pub(super) const PREFIX_BYTES: usize = 12;
pub(super) const STATE_REMOVED: u8 = 0;
const STATE_PRESENT: u8 = 1;
pub(super) const STATE_SEALED: u8 = 2;

/// The content of a record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Deleted or redacted; the skeleton still commits to what it was.
    Removed,
    /// There, with the salt that hides it in the commitment.
    Present {
        /// Random bytes that belong to this record alone.
        salt: [u8; SALT_BYTES],
        /// What was typed or shown, as JSON.
        bytes: Bytes,
    },
    /// There, and closed.
    Sealed(SealedContent),
}

impl Stored {
    /// How many bytes it takes in a file.
    fn length(&self) -> usize {
        match self {
            Self::Removed => 0,
            Self::Present { bytes, .. } => SALT_BYTES + bytes.len(),
            Self::Sealed(sealed) => sealed.bytes.len(),
        }
    }
}

/// One record: its skeleton as read and as bytes, its signature and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    skeleton: Skeleton,
    skeleton_bytes: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    content: Stored,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The file does not begin as a record file does.
    #[error("not a record file of version 1: the first 16 bytes differ")]
    Header,
    /// The bytes end inside a record: the tail of a write that never became durable, or a cut.
    #[error("the file ends {missing_at_least} byte(s) or more before the end of the record")]
    Torn {
        /// How many bytes are missing at least.
        missing_at_least: usize,
    },
    /// A length, a flag or a zero of the prefix is not what it may be.
    #[error("the record's prefix is damaged: {0}")]
    Prefix(&'static str),
    /// The skeleton is not the JSON that version 1 describes.
    #[error("the skeleton cannot be read: {0}")]
    Skeleton(#[source] serde_json::Error),
    /// The skeleton's fields contradict each other.
    #[error("the skeleton contradicts itself: {0}")]
    Contradiction(&'static str),
    /// Reading failed.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

impl Frame {
    pub(crate) fn new(
        skeleton: Skeleton,
        skeleton_bytes: Vec<u8>,
        signature: [u8; SIGNATURE_BYTES],
        content: Stored,
    ) -> Self {
        Self { skeleton, skeleton_bytes, signature, content }
    }

    /// What the skeleton says.
    #[must_use]
    pub const fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The signature under this head.
    #[must_use]
    pub const fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }

    /// The stored content.
    #[must_use]
    pub const fn content(&self) -> &Stored {
        &self.content
    }

    /// Hash that the next record points back to.
    #[must_use]
    pub fn link(&self) -> Digest {
        link(&self.skeleton_bytes)
    }

    /// Whether the content is what the skeleton commits to; one that was removed, or for which there is no key,
    /// contradicts nothing.
    #[must_use]
    pub fn content_is_committed(&self) -> bool {
        match &self.content {
            Stored::Removed => true,
            Stored::Present { salt, bytes } => self.skeleton.commitment == commitment(salt, bytes),
            Stored::Sealed(sealed) => sealed.closed != Closed::Damaged,
        }
    }

    /// The same record with its content closed, as it goes to the disk; `None` where it cannot be closed.
    #[must_use]
    pub fn sealed(mut self, sealer: &dyn Sealer) -> Option<Self> {
        if let Stored::Present { salt, bytes } = &self.content {
            let mut sealed = Vec::with_capacity(sealed_length(bytes.len()));
            if !sealer.seal(&self.link(), salt, bytes, &mut sealed) {
                return None;
            }
            self.content = Stored::Sealed(SealedContent { bytes: sealed.into(), closed: Closed::NoKey });
        }
        Some(self)
    }

    /// The same record of `session` with its content opened. Where it cannot be, [`SealedContent::closed`] says why.
    #[must_use]
    pub fn opened(mut self, session: Uuid, opener: &dyn Opener) -> Self {
        if let Stored::Sealed(sealed) = &self.content {
            let opened = opener.open(session, &self.link(), &sealed.bytes);
            self.content = match opened.map(|salted| salted.split_first_chunk().map(split)) {
                Ok(Some((salt, bytes))) => Stored::Present { salt, bytes },
                Ok(None) => sealed.but(Closed::Damaged),
                Err(closed) => sealed.but(closed),
            };
        }
        self
    }

    /// The same record with its content taken out; its place in the chain stays provable.
    #[must_use]
    pub fn without_content(mut self) -> Self {
        self.content = Stored::Removed;
        self
    }

    /// The record as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the record to `out`.
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_length());
        self.encode_front(out);
        out.extend_from_slice(self.content_bytes());
    }

    /// Everything of [`Self::encode`] that stands in front of [`Self::content_bytes`].
    pub(crate) fn encode_front(&self, out: &mut Vec<u8>) {
        match &self.content {
            Stored::Removed => self.encode_head(STATE_REMOVED, 0, out),
            Stored::Present { salt, bytes } => {
                self.encode_head(STATE_PRESENT, bytes.len(), out);
                out.extend_from_slice(salt);
            }
            Stored::Sealed(sealed) => {
                self.encode_head(STATE_SEALED, sealed.bytes.len() - sealed_length(0), out);
            }
        }
    }

    /// What stands last in [`Self::encode`], with no copy made; empty where the content is removed.
    pub(crate) fn content_bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match &self.content {
            Stored::Removed => &NONE,
            Stored::Present { bytes, .. } => bytes,
            Stored::Sealed(sealed) => &sealed.bytes,
        }
    }

    /// Appends the record to `out` with its content closed, as it goes to the disk: the bytes of [`Self::sealed`], made in
    /// their place. False where it cannot be closed; then `out` is as it was.
    #[must_use]
    pub fn encode_sealed(&self, sealer: &dyn Sealer, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        out.reserve(self.encoded_length() + SEAL_BYTES);
        let Stored::Present { salt, bytes } = &self.content else {
            self.encode_to(out);
            return true;
        };
        self.encode_head(STATE_SEALED, bytes.len(), out);
        let sealed = sealer.seal(&self.link(), salt, bytes, out);
        if !sealed {
            out.truncate(before);
        }
        sealed
    }

    /// How many bytes [`Self::encode`] gives.
    #[must_use]
    pub fn encoded_length(&self) -> usize {
        PREFIX_BYTES + self.skeleton_bytes.len() + SIGNATURE_BYTES + self.content.length()
    }

    /// Everything in front of the content.
    fn encode_head(&self, state: u8, content_length: usize, out: &mut Vec<u8>) {
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&length(self.skeleton_bytes.len()));
        out.extend_from_slice(&[state, 0, 0, 0]);
        out.extend_from_slice(&length(content_length));
        out.extend_from_slice(&self.skeleton_bytes);
        out.extend_from_slice(&self.signature);
    }

    /// Reads exactly one record from `bytes`.
    ///
    /// # Errors
    /// [`FrameError`] when `bytes` are not one whole record, or more than one.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut rest = Reading(bytes);
        let frame = read_frame(&mut rest);
        alone(frame, rest.0.is_empty())
    }

    /// As [`Self::decode`], and no copy is made of the content: as long as the record has it, all of what `bytes` is a part of
    /// stays in memory.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_shared(bytes: &Bytes) -> Result<Self, FrameError> {
        let mut rest = bytes.clone();
        let frame = read_frame(&mut rest);
        alone(frame, rest.is_empty())
    }
}

fn alone(frame: Result<Option<Frame>, FrameError>, nothing_follows: bool) -> Result<Frame, FrameError> {
    let frame = frame?.ok_or(FrameError::Torn { missing_at_least: PREFIX_BYTES })?;
    if nothing_follows { Ok(frame) } else { Err(FrameError::Prefix("bytes follow the record")) }
}

fn split<const N: usize>((salt, bytes): (&[u8; N], &[u8])) -> ([u8; N], Bytes) {
    (*salt, Bytes::copy_from_slice(bytes))
}

impl SealedContent {
    fn but(&self, closed: Closed) -> Stored {
        Stored::Sealed(Self { bytes: self.bytes.clone(), closed })
    }
}

/// Reads a record file record by record, with one record in memory at a time.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    offset: u64,
    key: ContentKey,
    session: Option<Uuid>,
    opened: u64,
}

impl<R: Read> FrameReader<R> {
    /// Begins to read; the file header is checked first.
    ///
    /// # Errors
    /// [`FrameError::Header`] when this is no record file of version 1, [`FrameError::Io`] when reading fails.
    pub fn new(mut inner: R) -> Result<Self, FrameError> {
        let mut header = [0; FILE_HEADER.len()];
        let got = fill(&mut inner, &mut header)?;
        if got < header.len() || header != FILE_HEADER {
            return Err(FrameError::Header);
        }
        Ok(Self { inner, offset: FILE_HEADER.len() as u64, key: None, session: None, opened: 0 })
    }

    /// The same reader, which opens sealed contents with `key`. The session is read from record 0; whoever begins to read
    /// behind that names it.
    #[must_use]
    pub fn opening(self, key: ContentKey, session: Option<Uuid>) -> Self {
        Self { key, session, ..self }
    }

    /// Offset in the file behind the last whole record that was read.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many sealed contents were opened so far.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// # Errors
    /// [`FrameError`]; after an error nothing more can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(frame) = read_frame(&mut Reading(&mut self.inner))? else { return Ok(None) };
        self.offset += frame.encoded_length() as u64;
        self.session = self.session.or_else(|| frame.skeleton.session.as_ref().map(|it| it.session_id));
        let (Stored::Sealed(_), Some(key), Some(session)) = (&frame.content, &self.key, self.session) else {
            return Ok(Some(frame));
        };
        let frame = frame.opened(session, &**key);
        self.opened += u64::from(matches!(frame.content, Stored::Present { .. }));
        Ok(Some(frame))
    }
}

struct Prefix {
    skeleton_length: usize,
    state: u8,
    content_length: usize,
}

fn parse_prefix(bytes: [u8; PREFIX_BYTES]) -> Result<Prefix, FrameError> {
    let [s0, s1, s2, s3, state, zeros @ .., c0, c1, c2, c3] = bytes;
    let skeleton_length = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    let content_length = u32::from_be_bytes([c0, c1, c2, c3]) as usize;
    if skeleton_length == 0 || skeleton_length > SKELETON_BYTES_MAX {
        return Err(FrameError::Prefix("the length of the skeleton is not within 1..=16384"));
    }
    if zeros != [0; 3] {
        return Err(FrameError::Prefix("reserved bytes are not zero"));
    }
    match state {
        STATE_REMOVED if content_length == 0 => {}
        STATE_REMOVED => return Err(FrameError::Prefix("a removed content has a length")),
        STATE_PRESENT | STATE_SEALED if content_length <= CONTENT_BYTES_MAX => {}
        STATE_PRESENT | STATE_SEALED => {
            return Err(FrameError::Prefix("the length of the content is above 262144"));
        }
        _ => return Err(FrameError::Prefix("the state of the content is unknown")),
    }
    Ok(Prefix { skeleton_length, state, content_length })
}

/// What records are read from.
trait Source {
    /// Fills `bytes` as far as there is something; returns how many bytes there were.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<usize>;

    /// The next bytes, `length` of them or as many as there are.
    fn take(&mut self, length: usize) -> io::Result<Bytes>;
}

impl Source for Bytes {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let part = self.split_to(bytes.len().min(self.len()));
        bytes[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }

    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        Ok(self.split_to(length.min(self.len())))
    }
}

/// A stream.
struct Reading<R>(R);

impl<R: Read> Source for Reading<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        fill(&mut self.0, bytes)
    }

    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.0.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

fn read_frame(input: &mut impl Source) -> Result<Option<Frame>, FrameError> {
    let mut prefix = [0; PREFIX_BYTES];
    match input.fill(&mut prefix)? {
        0 => return Ok(None),
        PREFIX_BYTES => {}
        got => return Err(FrameError::Torn { missing_at_least: PREFIX_BYTES - got }),
    }
    let prefix = parse_prefix(prefix)?;
    let mut skeleton_bytes = vec![0; prefix.skeleton_length];
    take_into(input, &mut skeleton_bytes)?;
    let mut signature = [0; SIGNATURE_BYTES];
    take_into(input, &mut signature)?;
    let content = match prefix.state {
        STATE_PRESENT => {
            let mut salt = [0; SALT_BYTES];
            take_into(input, &mut salt)?;
            Stored::Present { salt, bytes: take(input, prefix.content_length)? }
        }
        STATE_SEALED => {
            let bytes = take(input, sealed_length(prefix.content_length))?;
            Stored::Sealed(SealedContent { bytes, closed: Closed::NoKey })
        }
        _ => Stored::Removed,
    };
    let skeleton: Skeleton = serde_json::from_slice(&skeleton_bytes).map_err(FrameError::Skeleton)?;
    if !skeleton.is_well_formed() {
        return Err(FrameError::Contradiction("its fields do not fit its kind"));
    }
    if prefix.state != STATE_REMOVED && skeleton.content_length as usize != prefix.content_length {
        return Err(FrameError::Contradiction("the content is not as long as the skeleton says"));
    }
    Ok(Some(Frame { skeleton, skeleton_bytes, signature, content }))
}

fn take(input: &mut impl Source, length: usize) -> Result<Bytes, FrameError> {
    let bytes = input.take(length)?;
    whole(bytes.len(), length).map(|()| bytes)
}

fn take_into(input: &mut impl Source, bytes: &mut [u8]) -> Result<(), FrameError> {
    whole(input.fill(bytes)?, bytes.len())
}

fn whole(got: usize, length: usize) -> Result<(), FrameError> {
    if got < length { Err(FrameError::Torn { missing_at_least: length - got }) } else { Ok(()) }
}

/// Reads until `bytes` is full or the input ends; returns how many bytes there were.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
