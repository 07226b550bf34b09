//! A joined connection as whole messages.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;

use super::stream::{Piece, RelayStream};
use crate::proto::frame::{CloseReason, Kind, Opcode};
use crate::proto::limits::FRAME_PAYLOAD_BYTES_MAX;

/// A message of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// A connection through the relay that carries messages, made by [`RelayStream::into_messages`].
///
/// ```no_run
/// use rs_relay::client::{Message, RelayStream};
///
/// # async fn example(stream: RelayStream) -> std::io::Result<()> {
/// let mut messages = stream.into_messages(1024 * 1024);
/// messages.send("hello".into()).await?;
/// while let Some(message) = messages.receive().await? {
///     if let Message::Text(text) = message {
///         println!("{text}");
///     }
/// }
/// messages.close(1000, "bye").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageStream {
    sender: MessageSender,
    receiver: MessageReceiver,
}

impl MessageStream {
    pub(super) fn new(stream: RelayStream, bytes_max: usize) -> Self {
        let stream = Arc::new(stream);
        let sender = MessageSender { stream: Arc::clone(&stream), sent: 0 };
        Self { sender, receiver: MessageReceiver { stream, message: Vec::new(), bytes_max } }
    }

    /// See [`MessageReceiver::receive`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        self.receiver.receive().await
    }

    /// See [`MessageSender::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        self.sender.send(message).await
    }

    /// See [`MessageSender::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        self.sender.close(code, reason).await
    }

    /// The connection: its id, its subprotocol, how it was closed.
    #[must_use]
    pub fn stream(&self) -> &RelayStream {
        &self.receiver.stream
    }

    /// Both directions, for two tasks. The connection ends when both are dropped.
    #[must_use]
    pub fn split(self) -> (MessageSender, MessageReceiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half of a [`MessageStream`].
#[derive(Debug)]
pub struct MessageSender {
    stream: Arc<RelayStream>,
    /// Bytes of the message in progress that are on their way.
    sent: usize,
}

impl MessageSender {
    /// Sends a message. It may still be on its way then; the next one waits for it.
    ///
    /// # Errors
    ///
    /// When the connection is lost, or was closed by [`MessageSender::close`].
    ///
    /// # Cancel safety
    ///
    /// A message that was dropped in the middle breaks the connection off with the next one: half of it is on its way.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        if self.sent > 0 {
            return Err(io::Error::other("the message before was given up in the middle"));
        }
        let bytes = message.as_bytes();
        loop {
            let piece = &bytes[self.sent..bytes.len().min(self.sent + FRAME_PAYLOAD_BYTES_MAX)];
            let opcode = if self.sent == 0 { Opcode::Begin(message.kind()) } else { Opcode::Continuation };
            let last = self.sent + piece.len() == bytes.len();
            poll_fn(|cx| self.stream.poll_frame(cx, opcode, last, piece)).await?;
            self.sent += piece.len();
            if last {
                self.sent = 0;
                return poll_fn(|cx| self.stream.poll_flushed(cx)).await;
            }
        }
    }

    /// Ends the own direction with a code and a reason of at most 123 bytes; a longer one is cut. Receiving goes on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a code that must not travel: allowed are 1000 to 1003, 1007 to 1014 and 3000 to
    /// 4999. Else when the connection is lost.
    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let reason = CloseReason::new(code, reason);
        if CloseReason::parse(&reason.to_payload()).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the close code must not travel"));
        }
        poll_fn(|cx| self.stream.poll_close(cx, &reason)).await
    }
}

/// The receiving half of a [`MessageStream`].
#[derive(Debug)]
pub struct MessageReceiver {
    stream: Arc<RelayStream>,
    message: Vec<u8>,
    bytes_max: usize,
}

impl MessageReceiver {
    /// Waits for a message; `None` when the other side has closed in order. How, says [`RelayStream::close_reason`].
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for a message that is too long, or a text that is no text; the connection is over
    /// then. [`io::ErrorKind::ConnectionAborted`] with code and reason when the other side closed with another code than
    /// 1000, else when the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        poll_fn(|cx| {
            loop {
                match ready!(self.stream.poll_piece(cx, &mut self.message, self.bytes_max))? {
                    None if self.message.is_empty() => return Poll::Ready(Ok(None)),
                    None => {
                        let text = "the other side closed in the middle of a message";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                    }
                    Some(Piece { last: false, .. }) => {}
                    Some(Piece { kind, .. }) => return Poll::Ready(self.whole(kind).map(Some)),
                }
            }
        })
        .await
    }

    fn whole(&mut self, kind: Kind) -> io::Result<Message> {
        let message = std::mem::take(&mut self.message);
        match kind {
            Kind::Binary => Ok(Message::Binary(message.into())),
            Kind::Text => String::from_utf8(message).map(Message::Text).map_err(|_| self.stream.not_text()),
        }
    }

    /// The connection: its id, its subprotocol, how it was closed.
    #[must_use]
    pub fn stream(&self) -> &RelayStream {
        &self.stream
    }
}
