//! Frames and messages as bytes; pure.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use rs_consent::statement::Envelope;
use rs_consent::{AccessLevel, RefusalCode, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::operations::Offered;
use crate::record::{Digest, RECORD_BYTES_MAX, Receipt};

/// The version of the session protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// Largest frame before the node has admitted the engineer, in bytes (kind and body).
pub const HELLO_BYTES_MAX: usize = 32 * 1024;
/// Largest frame from the engineer, in bytes (kind and body).
pub const CLIENT_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest frame from the node, in bytes (kind and body).
pub const NODE_FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX + 1;
/// Longest line that an engineer may send, in bytes.
pub const LINE_BYTES_MAX: usize = 4096;
/// Longest name that a client may give itself, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 128;

const KIND_CONTROL: u8 = 1;
const KIND_RECORD: u8 = 2;
const LENGTH_BYTES: usize = 4;

/// How the engineer wants to see objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Formatted as text at the node.
    #[default]
    Text,
    /// As JSON objects.
    Objects,
}

/// What the engineer's side says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ClientMessage {
    /// The first message: who asks, on what grounds.
    Hello {
        /// Versions of this protocol that the client speaks.
        versions: Vec<u16>,
        /// The desk's signed assignment.
        assignment: Envelope,
        /// Name and version of the client; at most [`CLIENT_NAME_BYTES_MAX`] bytes.
        client: String,
    },
    /// Run a line.
    Invoke {
        /// Number of the line: 1, 2, 3, …
        invocation: u64,
        /// The line; at most [`LINE_BYTES_MAX`] bytes.
        line: String,
        /// How to see the objects.
        #[serde(default)]
        form: Form,
        /// Width of the engineer's window in columns, for text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        columns: Option<u16>,
    },
    /// Stop the running line.
    Interrupt {
        /// Its number.
        invocation: u64,
    },
    /// The engineer's signature under the chain so far.
    Receipt(Receipt),
    /// A newer assignment for the same engineer, request and node.
    Renew {
        /// The desk's signed assignment.
        assignment: Envelope,
    },
    /// Are you there?
    Ping {
        /// Comes back in the answer.
        token: u64,
    },
    /// The engineer leaves.
    Bye,
}

/// What the node says besides records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum NodeMessage {
    /// The engineer is in. Record 0 follows.
    Welcome {
        /// Version of the protocol that both will speak.
        version: u16,
        /// Id of the session.
        session_id: Uuid,
        /// Name of the node.
        node_name: String,
        /// Level in force.
        access_level: AccessLevel,
        /// When the session ends at the latest.
        expires_at: DateTime<Utc>,
        /// What the level permits.
        operations: Vec<Offered>,
        /// The catalog behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        catalog: Option<CatalogInForce>,
    },
    /// The engineer is not let in. The channel is closed after this.
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people; says nothing about the inside of the node.
        message: String,
    },
    /// The answer to a ping.
    Pong {
        /// As it came.
        token: u64,
    },
}

/// The catalog that the node judges by in this session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogInForce {
    /// SHA-256 of the published lists.
    pub sha256: Digest,
    /// Whose lists count, and what the operator's consent takes out of them.
    pub scope: Scope,
}

/// Why bytes are not a frame or message of this protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The announced length is above the limit of this state.
    #[error("a frame of {length} bytes was announced, {limit} are allowed here")]
    TooLong {
        /// What was announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The frame has no kind, or one that is not known.
    #[error("unknown kind of frame")]
    Kind,
    /// The JSON is not a message.
    #[error("not a message of this protocol: {0}")]
    Json(#[from] serde_json::Error),
    /// The bytes ended inside a frame.
    #[error("the channel ended inside a frame")]
    Truncated,
}

/// One frame, taken off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireFrame {
    /// A message as JSON.
    Control(Bytes),
    /// A record.
    Record(Bytes),
}

/// Takes frames out of a stream of bytes, however it was cut.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder that refuses frames above `limit` bytes (kind and body).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new() }
    }

    /// Changes the limit for the frames to come.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where the next bytes from the wire belong.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether bytes of an unfinished frame are waiting.
    #[must_use]
    pub fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::TooLong`] as soon as the length is known, before memory is taken for it; [`WireError::Kind`].
    pub fn next_frame(&mut self) -> Result<Option<WireFrame>, WireError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.limit {
            return Err(WireError::TooLong { length, limit: self.limit });
        }
        if length == 0 {
            return Err(WireError::Kind);
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            self.buffer.reserve(LENGTH_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let mut frame = self.buffer.split_to(length).freeze();
        match frame.get_u8() {
            KIND_CONTROL => Ok(Some(WireFrame::Control(frame))),
            KIND_RECORD => Ok(Some(WireFrame::Record(frame))),
            _ => Err(WireError::Kind),
        }
    }
}

/// Appends a control message as a frame to `out`.
///
/// # Errors
/// When the message cannot be written as JSON.
pub fn encode_control(message: &impl Serialize, out: &mut BytesMut) -> Result<(), WireError> {
    frame(KIND_CONTROL, &serde_json::to_vec(message)?, out);
    Ok(())
}

/// Appends a record as a frame to `out`.
pub fn encode_record(record: &[u8], out: &mut BytesMut) {
    frame(KIND_RECORD, record, out);
}

fn frame(kind: u8, body: &[u8], out: &mut BytesMut) {
    out.reserve(LENGTH_BYTES + 1 + body.len());
    out.put_u32(u32::try_from(body.len() + 1).unwrap_or(u32::MAX));
    out.put_u8(kind);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sec43_a_length_past_the_limit_is_refused_before_memory_is_taken() {
        for (length, refused) in [(100_u32, false), (101, true), (u32::MAX, true)] {
            let mut decoder = Decoder::new(100);
            decoder.buffer().extend_from_slice(&length.to_be_bytes());
            let outcome = decoder.next_frame();
            assert_eq!(matches!(outcome, Err(WireError::TooLong { .. })), refused, "{length}");
            assert!(decoder.buffer().capacity() < 1000);
        }
    }

    #[test]
    fn a_frame_needs_a_known_kind() {
        for bytes in [&[0, 0, 0, 0][..], &[0, 0, 0, 1, 0], &[0, 0, 0, 2, 3, 7]] {
            let mut decoder = Decoder::new(100);
            decoder.buffer().extend_from_slice(bytes);
            assert!(matches!(decoder.next_frame(), Err(WireError::Kind)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_out_however_it_was_cut(
            bodies in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..10),
            cut in 1_usize..50,
        ) {
            let mut wire = BytesMut::new();
            for (record, body) in &bodies {
                frame(if *record { KIND_RECORD } else { KIND_CONTROL }, body, &mut wire);
            }
            let mut decoder = Decoder::new(HELLO_BYTES_MAX);
            let mut seen = Vec::new();
            for piece in wire.chunks(cut) {
                decoder.buffer().extend_from_slice(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(match frame {
                        WireFrame::Control(body) => (false, body.to_vec()),
                        WireFrame::Record(body) => (true, body.to_vec()),
                    });
                }
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(!decoder.is_inside_frame());
        }

        #[test]
        fn sec44_no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(HELLO_BYTES_MAX);
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                if let WireFrame::Control(body) = frame {
                    let _: Result<ClientMessage, _> = serde_json::from_slice(&body);
                }
            }
        }
    }
}
