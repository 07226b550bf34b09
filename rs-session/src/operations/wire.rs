//! What passes between the program and its worker process, and how an operation ended.
//!
//! Frames: one byte kind, four bytes length (big endian), payload. To the worker goes one plan (`p`, JSON); back come
//! the measures of the sandbox (`s`, JSON), results (`o`, UTF-8), error lines (`e`, UTF-8) and one finish (`f`, JSON). Lengths are checked before memory is
//! taken.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Most bytes in one chunk of results.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a plan.
pub const PLAN_BYTES_MAX: usize = 256 << 10;
/// Bytes in front of each payload.
pub const HEADER_BYTES: usize = 5;
/// Exit code of a supervisor whose operation had more processes than it may.
#[cfg(all(unix, any(feature = "driver", feature = "native")))]
pub(super) const CROWDED: u8 = 4;

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameKind {
    /// A plan, JSON.
    Plan,
    /// The measures that are in force, JSON; the first frame, before anything runs.
    Started,
    /// Results, UTF-8.
    Output,
    /// Error lines, UTF-8.
    Error,
    /// How it ended, JSON; the last frame.
    Finish,
    /// To a part that runs as root: the consent is revoked. Nothing is in it.
    Withdraw,
}

impl FrameKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Plan => b'p',
            Self::Started => b's',
            Self::Output => b'o',
            Self::Error => b'e',
            Self::Finish => b'f',
            Self::Withdraw => b'w',
        }
    }

    const fn bytes_max(self) -> usize {
        match self {
            Self::Plan => PLAN_BYTES_MAX,
            Self::Started | Self::Output | Self::Error | Self::Finish => CHUNK_BYTES_MAX,
            Self::Withdraw => 0,
        }
    }
}

/// A frame that breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that does not exist.
    #[error("the worker sent a frame of the unknown kind {0}; it is not trusted any further")]
    Kind(u8),
    /// A payload over its limit.
    #[error("the worker announced {found} bytes where {limit} are the limit; it is not trusted any further")]
    Length {
        /// Announced bytes.
        found: usize,
        /// Permitted bytes.
        limit: usize,
    },
}

/// Reads a header: kind and payload length.
///
/// # Errors
/// [`FrameError`] for unknown kinds and lengths over the limit.
pub fn read_header(header: [u8; HEADER_BYTES]) -> Result<(FrameKind, usize), FrameError> {
    let [kind, length @ ..] = header;
    let kinds = [
        FrameKind::Plan,
        FrameKind::Started,
        FrameKind::Output,
        FrameKind::Error,
        FrameKind::Finish,
        FrameKind::Withdraw,
    ];
    let kind = kinds.into_iter().find(|own| own.byte() == kind).ok_or(FrameError::Kind(kind))?;
    let found = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let limit = kind.bytes_max();
    if found > limit { Err(FrameError::Length { found, limit }) } else { Ok((kind, found)) }
}

/// The header of a payload.
#[must_use]
pub fn header(kind: FrameKind, length: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind.byte(), a, b, c, d]
}

/// Writes one frame.
///
/// # Errors
/// Those of the writer; `InvalidInput` for a payload over its limit.
pub fn write_frame(writer: &mut impl Write, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
    if payload.len() > kind.bytes_max() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame over its limit"));
    }
    writer.write_all(&header(kind, payload.len()))?;
    writer.write_all(payload)
}

/// Reads one frame.
///
/// # Errors
/// Those of the reader; `InvalidData` for a frame that breaks the rules.
pub fn read_frame(reader: &mut impl Read) -> io::Result<(FrameKind, Vec<u8>)> {
    let mut head = [0; HEADER_BYTES];
    reader.read_exact(&mut head)?;
    let (kind, length) =
        read_header(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    Ok((kind, payload))
}

/// Which of an operation's texts a chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Results: text, or JSON lines.
    Output,
    /// Errors that did not end the operation.
    Error,
}

/// A piece of an operation's output: at most [`CHUNK_BYTES_MAX`] bytes, whole characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it belongs.
    pub stream: Stream,
    /// The text, harmless to print.
    pub text: String,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// It ran to its end.
    Done,
    /// It could not answer.
    Failed,
    /// Its output was cut at the limit.
    OutputLimit,
    /// It was ended at its time limit.
    TimeLimit,
    /// The operator said No, or did not answer in time; what was asked for did not happen.
    Declined,
    /// The engineer interrupted it.
    Interrupted,
    /// It was killed from outside, by revoke, expiry or the end of the session.
    Killed,
    /// The worker could not be set up as declared, so nothing ran.
    Sandbox,
    /// The worker broke.
    Fault,
}

impl Status {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::Failed,
        Self::OutputLimit,
        Self::TimeLimit,
        Self::Declined,
        Self::Interrupted,
        Self::Killed,
        Self::Sandbox,
        Self::Fault,
    ];

    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::OutputLimit => "output-limit",
            Self::TimeLimit => "time-limit",
            Self::Declined => "declined",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
            Self::Sandbox => "sandbox",
            Self::Fault => "fault",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Done => "it ran to its end",
            Self::Failed => "it could not answer; the message says why",
            Self::OutputLimit => "its output was cut at the limit of one line",
            Self::TimeLimit => "it was ended at its time limit",
            Self::Declined => {
                "the owner said No, or did not answer within five minutes; what was asked for did not happen"
            }
            Self::Interrupted => "the engineer interrupted it",
            Self::Killed => "it was ended from outside, by revoke, expiry or the end of the session",
            Self::Sandbox => "what has to hold the operation in could not be set up, so nothing ran",
            Self::Fault => "the process of the operation broke",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Done => "nothing is to be done",
            Self::Failed => "correct the line as the message says, or use another command",
            Self::OutputLimit => "ask for less, with Select-Object -First or a filter",
            Self::TimeLimit => {
                "ask for less, or ask the owner for more time (`operation` in node/policy.json)"
            }
            Self::Declined => "speak with the owner, and run the line again",
            Self::Interrupted => "run the line again if its answer is still needed",
            Self::Killed => "nothing; the end of the session has its own cause",
            Self::Sandbox => {
                "ask the owner to look with `remote-support agent doctor`, which says what is missing on the node"
            }
            Self::Fault => "run the line again; if it breaks again, report it as a fault with the message",
        }
    }
}

/// What a kill did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Killed {
    /// Processes that were ended.
    pub processes: u32,
    /// Microseconds from the order until none was left.
    pub micros: u64,
    /// True if none was left when the kill returned.
    pub complete: bool,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finish {
    /// How it ended.
    pub status: Status,
    /// Why, for people; harmless to print; empty if it ran to its end.
    #[serde(default)]
    pub message: String,
    /// Bytes of output that were given.
    #[serde(default)]
    pub output_bytes: u64,
    /// Microseconds from start to end.
    #[serde(default)]
    pub micros: u64,
    /// What a kill did, if there was one.
    #[serde(default)]
    pub killed: Option<Killed>,
    /// Measures of the sandbox that were in force before anything ran; see [`sandbox`](super::sandbox).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<String>,
}

impl Finish {
    /// An end without figures.
    #[must_use]
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        let message = super::objects::harmless(&message.into()).into_owned();
        Self { status, message, output_bytes: 0, micros: 0, killed: None, measures: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_their_limit_and_no_byte_more() {
        for (kind, limit) in [(FrameKind::Output, CHUNK_BYTES_MAX), (FrameKind::Plan, PLAN_BYTES_MAX)] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, kind, &vec![b'x'; limit]).unwrap();
            assert_eq!(read_frame(&mut bytes.as_slice()).unwrap().1.len(), limit);
            assert!(write_frame(&mut bytes, kind, &vec![b'x'; limit + 1]).is_err());
            let found = limit + 1;
            assert_eq!(read_header(header(kind, found)), Err(FrameError::Length { found, limit }));
        }
        assert_eq!(read_header([b'z', 0, 0, 0, 0]), Err(FrameError::Kind(b'z')));
    }
}
