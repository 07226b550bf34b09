//! Frames and messages as bytes; pure.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use rs_consent::statement::Envelope;
use rs_consent::{AccessLevel, RefusalCode, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::operations::Offered;
use crate::record::{Digest, Frame, RECORD_BYTES_MAX, Receipt};

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

/// Makes frames of messages and records, and holds them until they are written: their bytes come out of it as of any [`Buf`].
/// Of a record's content no copy is made.
#[derive(Debug, Default)]
pub struct Encoder {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
}

impl Encoder {
    /// Puts a control message behind what is there.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn control(&mut self, message: &impl Serialize) -> Result<(), WireError> {
        let body = serde_json::to_vec(message)?;
        self.frame(KIND_CONTROL, &body, Bytes::new());
        Ok(())
    }

    /// Puts a record behind what is there.
    pub fn record(&mut self, record: &Frame) {
        let mut front = Vec::new();
        record.encode_front(&mut front);
        self.frame(KIND_RECORD, &front, record.content_bytes().clone());
    }

    fn frame(&mut self, kind: u8, front: &[u8], content: Bytes) {
        let length = 1 + front.len() + content.len();
        let mut head = Vec::with_capacity(LENGTH_BYTES + 1 + front.len());
        head.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        head.put_u8(kind);
        head.put_slice(front);
        self.pieces.push_back(head.into());
        if !content.is_empty() {
            self.pieces.push_back(content);
        }
    }
}

impl Buf for Encoder {
    fn remaining(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = slices.iter_mut().zip(&self.pieces);
        pieces.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rs_consent::clock::{BootId, Now};
    use rs_consent::keys::SigningKey;

    use super::*;
    use crate::record::{Chain, Content, Draft, NoteContent, SALT_BYTES, SEAL_BYTES, Sealer, Signer};

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

    /// Records whose content is there, closed, and removed.
    fn records() -> [Frame; 3] {
        #[derive(Debug)]
        struct Zeros;
        impl Sealer for Zeros {
            fn seal(&self, _: &Digest, _: &[u8; SALT_BYTES], content: &[u8], out: &mut Vec<u8>) -> bool {
                out.resize(out.len() + SEAL_BYTES + SALT_BYTES + content.len(), 0);
                true
            }
        }
        let note = Content::Note(NoteContent { text: "what was said".to_owned() });
        let now = Now { wall: DateTime::UNIX_EPOCH, boot: Duration::ZERO, boot_id: BootId::new(Uuid::nil()) };
        let (mut chain, key) = (Chain::new(Uuid::nil()), SigningKey::from_seed([1; 32]));
        let mut append = || {
            let draft = Draft::new(&note).unwrap();
            chain.append(draft, &key, Signer::Record, [2; SALT_BYTES], &now).unwrap()
        };
        // Record 0 would have to be of another kind.
        append();
        let frame = append();
        [frame.clone(), frame.clone().sealed(&Zeros).unwrap(), frame.without_content()]
    }

    #[test]
    fn a_record_goes_out_as_its_file_has_it_whatever_became_of_its_content() {
        let mut encoder = Encoder::default();
        for record in records() {
            encoder.record(&record);
            let mut decoder = Decoder::new(NODE_FRAME_BYTES_MAX);
            decoder.buffer().extend_from_slice(&encoder.copy_to_bytes(encoder.remaining()));
            let Ok(Some(WireFrame::Record(bytes))) = decoder.next_frame() else { panic!("no record") };
            assert_eq!(bytes, record.encode());
            assert_eq!(bytes.len(), record.encoded_length());
            assert_eq!(Frame::decode_shared(&bytes).unwrap(), record);
            assert_eq!(Frame::decode(&bytes).unwrap(), record);
            assert!(!decoder.is_inside_frame());
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
            let mut encoder = Encoder::default();
            for (record, body) in &bodies {
                let (front, content) = body.split_at(body.len() / 2);
                let kind = if *record { KIND_RECORD } else { KIND_CONTROL };
                encoder.frame(kind, front, Bytes::copy_from_slice(content));
            }
            let mut decoder = Decoder::new(HELLO_BYTES_MAX);
            let mut seen = Vec::new();
            while encoder.has_remaining() {
                let before = encoder.remaining();
                let mut slices = [IoSlice::new(&[]); 2];
                let there = encoder.chunks_vectored(&mut slices);
                prop_assert!(there > 0 && slices[..there].iter().all(|slice| !slice.is_empty()));
                let piece: Vec<u8> = slices[..there].iter().flat_map(|slice| slice.iter().copied()).take(cut).collect();
                prop_assert!(piece.starts_with(&encoder.chunk()[..cut.min(encoder.chunk().len())]));
                encoder.advance(piece.len());
                prop_assert_eq!(encoder.remaining(), before - piece.len());
                decoder.buffer().extend_from_slice(&piece);
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
