//! A WebSocket that carries short text messages and binary bodies: the control channel, and the rendezvous of an HTTP request.
//!
//! One owner reads and writes, so that nothing ever comes between a message and its body. Text messages, the queue of what
//! is to be written, and the number of control frames are bounded; binary messages are handed on piece by piece. Pings are
//! answered here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
#[cfg(feature = "server")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

#[cfg(feature = "server")]
use super::Budget;
use super::budget::Share;
use super::random::Masks;
use super::{BoxedStream, Upgraded};
use crate::proto::frame::{self, CloseReason, ControlBudget, Decoder, FrameError, Item, Kind, Opcode, Role};
use crate::proto::limits::{FRAME_PAYLOAD_BYTES_MAX, UNFINISHED_FREE_BYTES};

/// Bytes asked for with one read, at first and after each read that did not fill them.
const READ_BYTES: usize = 4 * 1024;

/// Bytes asked for with one read while the peer sends much. A record of TLS has no more.
const READ_BYTES_MAX: usize = 16 * 1024;

/// Bytes that may wait to be written before reading stops. Owners queue less than that by themselves: two peers that
/// both wait for the other to read would never end.
const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// How long a peer may take nothing of what waits for it.
const WRITE_WAIT: Duration = Duration::from_secs(15);

/// What the peer did.
#[derive(Debug)]
pub(crate) enum Event {
    Text(String),
    /// Bytes of a binary message, as they come: the message is not collected.
    Data {
        bytes: Vec<u8>,
        /// Whether the message begins with them.
        #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only the server has to know"))]
        first: bool,
        /// Whether the message ends with them.
        last: bool,
    },
    Ping,
    Pong,
    /// The peer has closed; nothing more comes. The answer is queued already.
    Close(Option<CloseReason>),
}

/// Why a control channel ended without a Close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
    #[error("the other side broke the WebSocket protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("a message was longer than {0} bytes")]
    TooBig(usize),
    #[error("a text message was no UTF-8")]
    NotText,
    #[error("too many Ping and Pong frames")]
    Flood,
    #[error("too many messages are under way; come back later")]
    Crowded,
}

impl SocketError {
    /// Whether the other side broke the protocol; where others take all room there is, it did not.
    #[cfg(feature = "server")]
    pub(crate) const fn is_its_fault(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Crowded)
    }

    /// The Close to send for it; none when the connection is gone.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        let code = match self {
            Self::Io(_) => return None,
            Self::Frame(_) => CloseReason::PROTOCOL,
            Self::TooBig(_) => CloseReason::TOO_BIG,
            Self::NotText => CloseReason::INVALID_DATA,
            Self::Flood => CloseReason::POLICY,
            Self::Crowded => CloseReason::TRY_LATER,
        };
        Some(CloseReason::new(code, &self.to_string()))
    }
}

/// See the module's text.
pub(crate) struct Socket {
    io: BoxedStream,
    decoder: Decoder,
    /// `Some` on the client's side.
    masks: Option<Masks>,
    /// Bytes read; the first `parsed` are done with.
    input: Vec<u8>,
    parsed: usize,
    read_bytes: usize,
    /// Bytes to write; the first `written` are done with.
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    message: Vec<u8>,
    message_bytes_max: usize,
    /// What an unfinished message holds beyond [`UNFINISHED_FREE_BYTES`].
    share: Share,
    /// When it began.
    unfinished_since: Option<Instant>,
    budget: ControlBudget,
    close_sent: bool,
    /// When the queue was last empty, or something of it was written.
    moved: Instant,
    /// Whether anything was read since the flag was last taken.
    heard: bool,
}

impl Socket {
    pub(crate) fn new(upgraded: Upgraded, role: Role, message_bytes_max: usize) -> Self {
        Self {
            io: upgraded.io,
            decoder: Decoder::new(role),
            masks: (role == Role::Client).then(Masks::new),
            input: upgraded.early.to_vec(),
            parsed: 0,
            read_bytes: READ_BYTES,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            message: Vec::new(),
            message_bytes_max,
            share: Share::default(),
            unfinished_since: None,
            budget: ControlBudget::new(Instant::now().into_std()),
            close_sent: false,
            moved: Instant::now(),
            heard: true,
        }
    }

    /// Takes the memory for unfinished messages from what all connections share.
    #[cfg(feature = "server")]
    pub(crate) fn within(mut self, budget: &Arc<Budget>) -> Self {
        self.share = Share::new(Arc::clone(budget));
        self
    }

    /// When the message began that has not ended yet.
    #[cfg(feature = "server")]
    pub(crate) fn unfinished_since(&self) -> Option<Instant> {
        self.unfinished_since
    }

    /// Bytes that wait to be written.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    /// When a queue that does not move counts as stalled.
    pub(crate) fn stalled_at(&self) -> Instant {
        self.moved + WRITE_WAIT
    }

    /// Whether anything came since the last question.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    pub(crate) fn queue_text(&mut self, text: &str) {
        self.queue(Opcode::Begin(Kind::Text), true, text.as_bytes());
    }

    /// Queues bytes of a binary message, cut into frames that every client takes. `first` begins the message, `last` ends it.
    pub(crate) fn queue_data(&mut self, bytes: &[u8], first: bool, last: bool) {
        let mut opcode = if first { Opcode::Begin(Kind::Binary) } else { Opcode::Continuation };
        let (mut piece, mut rest) = bytes.split_at(bytes.len().min(FRAME_PAYLOAD_BYTES_MAX));
        loop {
            self.queue(opcode, last && rest.is_empty(), piece);
            if rest.is_empty() {
                return;
            }
            (piece, rest) = rest.split_at(rest.len().min(FRAME_PAYLOAD_BYTES_MAX));
            opcode = Opcode::Continuation;
        }
    }

    pub(crate) fn queue_ping(&mut self) {
        self.budget.allow_answer();
        self.queue(Opcode::Ping, true, b"");
    }

    #[cfg(feature = "client")]
    pub(crate) fn queue_pong(&mut self) {
        self.queue(Opcode::Pong, true, b"");
    }

    /// Queues a Close, once.
    pub(crate) fn queue_close(&mut self, reason: Option<&CloseReason>) {
        let payload = reason.map(CloseReason::to_payload).unwrap_or_default();
        self.queue(Opcode::Close, true, &payload);
        self.close_sent = true;
    }

    fn queue(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        if !self.close_sent {
            if self.backlog() == 0 {
                self.moved = Instant::now();
            }
            let mask = self.masks.as_mut().map(Masks::draw);
            frame::append_frame(&mut self.output, opcode, fin, payload, mask);
        }
    }

    /// The next event. Writes what is queued, too: call it again and again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Event, SocketError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Socket::next`]; `None` as soon as what waits to be written has become `limit` bytes or less, if it was more. For
    /// owners that stop queueing above a limit: nothing else would tell them to go on.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next_or_room(&mut self, limit: usize) -> Result<Option<Event>, SocketError> {
        let crowded = self.backlog() > limit;
        poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(event) => Poll::Ready(event.map(Some)),
            Poll::Pending if crowded && self.backlog() <= limit => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Writes all that is queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_output(cx)).await
    }

    /// Closes in order: sends a Close, waits for the peer's for the time of [`super::LINGER`], ends the stream.
    pub(crate) async fn close(mut self, reason: Option<&CloseReason>) {
        self.queue_close(reason);
        self.forget_message();
        let closed = self.decoder.is_closed();
        let _ = tokio::time::timeout(super::LINGER, async {
            while !closed && !matches!(self.next().await, Ok(Event::Close(_)) | Err(_)) {}
            self.flush().await
        })
        .await;
        super::end(self.into_io()).await;
    }

    /// The stream alone: what was read and collected is given back, since a peer may take its time to go.
    fn into_io(self) -> BoxedStream {
        self.io
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, SocketError>> {
        loop {
            if let Poll::Ready(Err(error)) = self.poll_output(cx) {
                return Poll::Ready(Err(error.into()));
            }
            if let Some(event) = self.parse()? {
                return Poll::Ready(Ok(event));
            }
            if self.backlog() > BACKLOG_BYTES_MAX {
                return Poll::Pending;
            }
            ready!(self.poll_input(cx))?;
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.drain(..self.parsed);
        self.parsed = 0;
        let filled = self.input.len();
        self.input.resize(filled + self.read_bytes, 0);
        let mut buffer = ReadBuf::new(&mut self.input[filled..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        self.input.truncate(filled + read);
        if polled.is_pending() {
            // A channel that waits holds no buffer: there are thousands of them.
            self.input.shrink_to_fit();
        }
        ready!(polled)?;
        self.heard = true;
        self.read_bytes = if read == self.read_bytes { READ_BYTES_MAX } else { READ_BYTES };
        if read == 0 { Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())) } else { Poll::Ready(Ok(())) }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote;
            self.moved = Instant::now();
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.output = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Goes over what was read until there is something to tell.
    fn parse(&mut self) -> Result<Option<Event>, SocketError> {
        loop {
            let buffer = &mut self.input[self.parsed..];
            let Some(step) = self.decoder.next(buffer)? else { return Ok(None) };
            let start = self.parsed;
            self.parsed += step.consumed;
            let at = |range: std::ops::Range<usize>| start + range.start..start + range.end;
            match step.item {
                Item::Data { kind: Kind::Binary, first, last, payload } => {
                    if first || last || !payload.is_empty() {
                        let bytes = self.input[at(payload)].to_vec();
                        return Ok(Some(Event::Data { bytes, first, last }));
                    }
                }
                Item::Data { kind: Kind::Text, last, payload, .. } => {
                    if self.message.len() + payload.len() > self.message_bytes_max {
                        return Err(SocketError::TooBig(self.message_bytes_max));
                    }
                    self.make_room(payload.len(), last);
                    self.message.extend_from_slice(&self.input[at(payload)]);
                    if last {
                        let text = String::from_utf8(self.forget_message());
                        return text.map(|text| Some(Event::Text(text))).map_err(|_| SocketError::NotText);
                    }
                    self.unfinished_since.get_or_insert_with(Instant::now);
                    if !self.share.hold(self.message.capacity().saturating_sub(UNFINISHED_FREE_BYTES)) {
                        return Err(SocketError::Crowded);
                    }
                }
                Item::Ping(payload) => {
                    self.spend()?;
                    let payload = self.input[at(payload)].to_vec();
                    self.queue(Opcode::Pong, true, &payload);
                    return Ok(Some(Event::Ping));
                }
                Item::Pong(_) => {
                    self.spend()?;
                    return Ok(Some(Event::Pong));
                }
                Item::Close(payload) => {
                    let reason = CloseReason::parse(&self.input[at(payload)])?;
                    self.queue_close(reason.as_ref());
                    return Ok(Some(Event::Close(reason)));
                }
            }
        }
    }

    /// Room in the message for so many bytes more, and no more than it may have.
    fn make_room(&mut self, more: usize, last: bool) {
        let (length, capacity) = (self.message.len(), self.message.capacity());
        if length + more > capacity {
            let growing = (2 * capacity).clamp(UNFINISHED_FREE_BYTES, self.message_bytes_max);
            let wanted = if last { 0 } else { growing };
            self.message.reserve_exact(wanted.max(length + more) - length);
        }
    }

    fn forget_message(&mut self) -> Vec<u8> {
        self.share.release();
        self.unfinished_since = None;
        std::mem::take(&mut self.message)
    }

    fn spend(&mut self) -> Result<(), SocketError> {
        let some = self.budget.spend(Instant::now().into_std());
        if some { Ok(()) } else { Err(SocketError::Flood) }
    }
}
