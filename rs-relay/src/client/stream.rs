//! A joined connection as a byte stream.
//!
//! Writing makes binary messages, reading ignores their boundaries. Each direction ends by itself: a Close frame ends what
//! its sender writes and nothing else.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connector::Opened;
use super::keep_alive::{KeepAlive, SILENT_INTERVALS_MAX};
use super::messages::MessageStream;
use crate::net::random::Masks;
use crate::net::{BoxedStream, Upgraded};
use crate::proto::frame::{self, CloseReason, ControlBudget, Decoder, Item, Kind, Opcode, Role};
use crate::proto::limits::FRAME_PAYLOAD_BYTES_MAX;

const BROKEN: &str = "the relay broke the WebSocket protocol";

/// Bytes asked for with one read.
const READ_BYTES: usize = 32 * 1024;

/// Bytes of Pongs and Pings that may wait.
const CONTROL_BYTES_MAX: usize = 1024;

/// A relay drops a half-closed side that is silent for 10 s. Nobody reads then, so nobody would answer its Pings.
const HALF_CLOSED_INTERVAL: Duration = Duration::from_secs(4);

/// How long a stream that was shut down and dropped waits for the other side's end.
const LINGER: Duration = Duration::from_secs(10);

/// A connection through the relay: reads and writes bytes in order.
///
/// * `shutdown` ends the own direction with a Close frame; reading goes on until the other side has ended its own.
/// * The end of the other direction is an ordinary end of file when the other side closed in order. When it was lost,
///   reading fails with [`io::ErrorKind::ConnectionAborted`], after all that had arrived.
/// * When it is dropped without `shutdown` the other side sees an abort. After `shutdown` it may be dropped at once: what was
///   written arrives.
/// * A task of its own keeps the connection alive while nobody reads or writes.
///
/// # Cancel safety
///
/// As with a TCP stream: `read` and `write` lose nothing when their future is dropped, `read_exact` and `write_all` do not
/// say how far they got.
pub struct RelayStream {
    core: Arc<Mutex<Core>>,
    half_closed: Arc<Notify>,
    keeper: tokio::task::JoinHandle<()>,
    id: Box<str>,
    subprotocol: Option<Box<str>>,
}

impl RelayStream {
    /// Must be called inside a runtime.
    pub(crate) fn new(opened: Opened, keep_alive: KeepAlive, azure: bool, id: &str) -> Self {
        let core = Arc::new(Mutex::new(Core::new(opened.upgraded, azure)));
        let half_closed = Arc::new(Notify::new());
        let keeper = tokio::spawn(keep(Arc::downgrade(&core), Arc::clone(&half_closed), keep_alive));
        Self { core, half_closed, keeper, id: id.into(), subprotocol: opened.subprotocol }
    }

    /// Tracking id of the connection, as it stands in the relay's log.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The subprotocol that both sides agreed upon, if the sender asked for one.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// What the other side said on closing: `None` before, `Some(None)` for a Close without a reason.
    #[must_use]
    pub fn close_reason(&self) -> Option<Option<CloseReason>> {
        self.core().peer_close.clone()
    }

    /// Sends and receives whole messages, text and binary, instead of bytes. One that is longer than `bytes_max` ends the
    /// connection with 1009.
    ///
    /// What was read or written before stays as it was: change over before the first byte.
    #[must_use]
    pub fn into_messages(self, bytes_max: usize) -> MessageStream {
        MessageStream::new(self, bytes_max)
    }

    /// A part of a message, appended to `message`; `None` at an end in order. One that makes it longer than `bytes_max`
    /// ends the connection.
    pub(super) fn poll_piece(
        &self,
        cx: &mut Context<'_>,
        message: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Poll<io::Result<Option<Piece>>> {
        let mut core = self.core();
        let was_open = core.peer_close.is_none();
        let polled = core.poll_piece(cx);
        if was_open && core.peer_close.is_some() {
            self.half_closed.notify_one();
        }
        let piece = ready!(polled)?;
        let ready = core.ready.clone();
        if message.len() + ready.len() > bytes_max {
            core.fail(CloseReason::TOO_BIG, "a message was longer than it may be");
            let _ = core.poll_output(cx, Who::Reader);
            let text = format!("a message was longer than {bytes_max} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        message.extend_from_slice(&core.input[ready]);
        Poll::Ready(Ok(piece))
    }

    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
        opcode: Opcode,
        fin: bool,
        payload: &[u8],
    ) -> Poll<io::Result<()>> {
        self.core().poll_frame(cx, opcode, fin, payload)
    }

    pub(super) fn poll_close(&self, cx: &mut Context<'_>, reason: &CloseReason) -> Poll<io::Result<()>> {
        self.core().poll_close(cx, reason)
    }

    pub(super) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core().poll_output(cx, Who::Writer)
    }

    /// A text message was no text.
    pub(super) fn not_text(&self) -> io::Error {
        self.core().fail(CloseReason::INVALID_DATA, "a text message was no UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, "a text message was no UTF-8")
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for RelayStream {
    fn drop(&mut self) {
        self.keeper.abort();
        let core = self.core();
        let ending = core.close_sent && core.peer_close.is_none() && core.dead.is_none();
        drop(core);
        if let (true, Ok(runtime)) = (ending, tokio::runtime::Handle::try_current()) {
            runtime.spawn(linger(Arc::clone(&self.core)));
        }
    }
}

/// Reads and drops what still comes until the other side has closed, too.
///
/// A socket that is closed with unread bytes is reset, and a reset destroys what is still on its way to the other side.
async fn linger(core: Arc<Mutex<Core>>) {
    let _ = tokio::time::timeout(LINGER, async {
        let mut sink = vec![0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut sink);
            let read = poll_fn(|cx| lock(&core).poll_read(cx, &mut buffer)).await;
            if read.is_err() || buffer.filled().is_empty() {
                return;
            }
        }
    })
    .await;
}

impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayStream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AsyncRead for RelayStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut core = self.core();
        let was_open = core.peer_close.is_none();
        let polled = core.poll_read(cx, buf);
        if was_open && core.peer_close.is_some() {
            self.half_closed.notify_one();
        }
        polled
    }
}

impl AsyncWrite for RelayStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.core().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core().poll_output(cx, Who::Writer)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core().poll_shutdown(cx)
    }
}

/// Who drives the output. A stream remembers one waker for writing, which must be the writer's when it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Reader,
    Writer,
    Keeper,
}

/// How the connection died.
#[derive(Debug, Clone, Copy)]
struct Dead(io::ErrorKind, &'static str);

impl From<Dead> for io::Error {
    fn from(Dead(kind, text): Dead) -> Self {
        Self::new(kind, text)
    }
}

/// Part of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    /// Whether the message ends with it.
    pub(super) last: bool,
}

struct Core {
    io: BoxedStream,
    decoder: Decoder,
    masks: Masks,
    budget: ControlBudget,
    /// What was read.
    input: Vec<u8>,
    /// Bytes of it that were not looked at.
    raw: Range<usize>,
    /// Bytes of it that are for the reader.
    ready: Range<usize>,
    /// What they are part of, until the reader has learned it.
    piece: Option<Piece>,
    /// Frames to write; the first `written` bytes are done with.
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    close_sent: bool,
    peer_close: Option<Option<CloseReason>>,
    dead: Option<Dead>,
    /// Azure says 1001 to a listener whose sender closed in order.
    going_away_is_end: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    heard: bool,
}

impl Core {
    fn new(upgraded: Upgraded, azure: bool) -> Self {
        let input = upgraded.early.to_vec();
        Self {
            io: upgraded.io,
            decoder: Decoder::new(Role::Client),
            masks: Masks::new(),
            budget: ControlBudget::new(Instant::now().into_std()),
            raw: 0..input.len(),
            input,
            ready: 0..0,
            piece: None,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            close_sent: false,
            peer_close: None,
            dead: None,
            going_away_is_end: azure,
            reader: None,
            writer: None,
            heard: true,
        }
    }

    /// Fills the buffer with what is there: few large reads make few large writes behind them.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if !self.ready.is_empty() {
                let count = self.ready.len().min(buf.remaining());
                buf.put_slice(&self.input[self.ready.start..self.ready.start + count]);
                self.ready.start += count;
                continue;
            }
            match self.poll_piece(cx) {
                Poll::Ready(Ok(Some(_))) => {}
                // An end or an error is told when it is asked for again. Until then nobody waits.
                _ if buf.filled().len() > before => {
                    self.reader = None;
                    break;
                }
                Poll::Ready(ended) => return Poll::Ready(ended.map(drop)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for a piece of a message, which `ready` then points to; `None` at an end in order. Drops what `ready` points to.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Piece>>> {
        self.reader = None;
        self.ready = 0..0;
        loop {
            if let Some(piece) = self.piece.take() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if let Some(close) = &self.peer_close {
                return Poll::Ready(end_of(close.as_ref(), self.going_away_is_end).map(|()| None));
            }
            if let Some(dead) = self.dead {
                return Poll::Ready(Err(dead.into()));
            }
            if self.parse()? {
                continue;
            }
            // Pongs go out even when nobody writes.
            if let Poll::Ready(Err(error)) = self.poll_output(cx, Who::Reader) {
                return Poll::Ready(Err(error));
            }
            let polled = self.poll_input(cx);
            if polled.is_pending() {
                self.reader = Some(cx.waker().clone());
            }
            ready!(polled)?;
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.copy_within(self.raw.clone(), 0);
        self.raw = 0..self.raw.len();
        self.ready = 0..0;
        if self.input.len() < READ_BYTES {
            self.input.resize(READ_BYTES, 0);
        }
        let mut free = ReadBuf::new(&mut self.input[self.raw.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut free))?;
        let read = free.filled().len();
        if read == 0 {
            self.dead =
                Some(Dead(io::ErrorKind::UnexpectedEof, "the relay ended the connection without a Close"));
        }
        self.raw.end += read;
        self.heard = true;
        Poll::Ready(Ok(()))
    }

    /// Looks at the next item. Whether there was one.
    fn parse(&mut self) -> io::Result<bool> {
        let step = self.decoder.next(&mut self.input[self.raw.clone()]);
        let step = step.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        let Some(step) = step.inspect_err(|_| self.fail(CloseReason::PROTOCOL, BROKEN))? else {
            return Ok(false);
        };
        let start = self.raw.start;
        self.raw.start += step.consumed;
        let at = |range: Range<usize>| start + range.start..start + range.end;
        match step.item {
            Item::Data { kind, last, payload, .. } => {
                self.ready = at(payload);
                self.piece = Some(Piece { kind, last });
            }
            Item::Ping(payload) => {
                self.spend()?;
                let payload = self.input[at(payload)].to_vec();
                self.queue_control(Opcode::Pong, &payload);
            }
            Item::Pong(_) => self.spend()?,
            Item::Close(payload) => {
                let reason = CloseReason::parse(&self.input[at(payload)]).unwrap_or_default();
                self.peer_close = Some(reason);
            }
        }
        Ok(true)
    }

    fn spend(&mut self) -> io::Result<()> {
        if self.budget.spend(Instant::now().into_std()) {
            return Ok(());
        }
        self.fail(CloseReason::POLICY, BROKEN);
        Err(io::Error::new(io::ErrorKind::InvalidData, "the relay sends too many Pings"))
    }

    /// The other side broke the protocol: says so and is dead from then on.
    fn fail(&mut self, code: u16, why: &'static str) {
        self.queue_control(Opcode::Close, &CloseReason::new(code, "").to_payload());
        self.close_sent = true;
        self.dead = Some(Dead(io::ErrorKind::InvalidData, why));
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() && self.dead.is_none() && !self.close_sent {
            return Poll::Ready(Ok(0));
        }
        let count = data.len().min(FRAME_PAYLOAD_BYTES_MAX);
        self.poll_frame(cx, Opcode::Begin(Kind::Binary), true, &data[..count]).map_ok(|()| count)
    }

    /// Sends a frame as soon as those before it are written.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        opcode: Opcode,
        fin: bool,
        payload: &[u8],
    ) -> Poll<io::Result<()>> {
        if let Some(dead) = self.dead {
            return Poll::Ready(Err(dead.into()));
        }
        if self.close_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_output(cx, Who::Writer))?;
        let mask = Some(self.masks.draw());
        frame::append_frame(&mut self.output, opcode, fin, payload, mask);
        match self.poll_bytes(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx, &CloseReason::new(CloseReason::NORMAL, ""))
    }

    /// Ends the own direction. The first reason counts.
    fn poll_close(&mut self, cx: &mut Context<'_>, reason: &CloseReason) -> Poll<io::Result<()>> {
        if !self.close_sent {
            self.queue_control(Opcode::Close, &reason.to_payload());
            self.close_sent = true;
        }
        if self.dead.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.poll_output(cx, Who::Writer)
    }

    fn queue_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let room = opcode == Opcode::Close || self.output.len() - self.written < CONTROL_BYTES_MAX;
        if !self.close_sent && room {
            let mask = Some(self.masks.draw());
            frame::append_frame(&mut self.output, opcode, true, payload, mask);
        }
    }

    /// Writes and flushes all that is queued.
    fn poll_output(&mut self, cx: &mut Context<'_>, who: Who) -> Poll<io::Result<()>> {
        if self.written == self.output.len() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let writer = if who == Who::Writer { None } else { self.writer.clone() };
        let polled = match &writer {
            Some(waker) => self.poll_all(&mut Context::from_waker(waker)),
            None => self.poll_all(cx),
        };
        if who == Who::Writer {
            self.writer = polled.is_pending().then(|| cx.waker().clone());
        } else if polled.is_ready() {
            // What the writer waited for was done by another.
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
        polled
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_bytes(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote;
            self.unflushed = true;
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// A moment of the keeper: a sign of life to the relay, a look at its own. Whether to go on.
    fn tick(&mut self, cx: &mut Context<'_>, keep_alive: KeepAlive, silent: &mut u32) -> bool {
        if self.dead.is_some() || (self.close_sent && self.peer_close.is_some()) {
            return false;
        }
        let heard = std::mem::take(&mut self.heard);
        // Nothing can be heard while nobody reads.
        let waiting = self.reader.is_some();
        *silent = if heard || !waiting { 0 } else { *silent + 1 };
        if keep_alive.expects_answers() && *silent >= SILENT_INTERVALS_MAX {
            self.dead = Some(Dead(io::ErrorKind::TimedOut, "the relay does not answer"));
            // The other side learns of it as soon as the relay does.
            self.io = Box::new(tokio::io::empty());
            [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
            return false;
        }
        let opcode = if keep_alive.expects_answers() { Opcode::Ping } else { Opcode::Pong };
        self.budget.allow_answer();
        self.queue_control(opcode, b"");
        let _ = self.poll_output(cx, Who::Keeper);
        true
    }
}

fn end_of(close: Option<&CloseReason>, going_away_is_end: bool) -> io::Result<()> {
    match close {
        None => Ok(()),
        Some(reason) if reason.code == CloseReason::NORMAL => Ok(()),
        Some(reason) if reason.code == CloseReason::GOING_AWAY && going_away_is_end => Ok(()),
        Some(reason) => {
            let text = format!("the connection was closed with code {}: {}", reason.code, reason.text);
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, text))
        }
    }
}

/// Keeps a connection alive until it is over.
async fn keep(core: Weak<Mutex<Core>>, half_closed: Arc<Notify>, keep_alive: KeepAlive) {
    let mut silent = 0;
    let mut interval = keep_alive.interval();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = half_closed.notified() => interval = interval.min(HALF_CLOSED_INTERVAL),
        }
        let Some(core) = core.upgrade() else { return };
        if !poll_fn(|cx| Poll::Ready(lock(&core).tick(cx, keep_alive, &mut silent))).await {
            return;
        }
    }
}
