//! Two joined WebSockets: frames are moved from each side to the other, as they come, with back-pressure.
//!
//! Both sides are clients, so what they send is masked and what they get is not. A frame is unmasked where it lies in the
//! read buffer, its new head is written over the end of the old one, and it goes out from the same place: no byte is
//! copied. What is read of a frame goes on at once as a frame of its own, so that a message of any length takes no more
//! memory than one buffer, and a control frame never has to wait for the end of a long one.
//!
//! Each direction ends by itself: a Close is passed on behind the data before it, and the other direction goes on until
//! its own Close.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::RelayServer;
use crate::net::{self, BoxedStream, Upgraded};
use crate::proto::frame::{
    self, CloseReason, ControlBudget, Decoder, FrameError, HEADER_BYTES_MAX, Item, Opcode, Role,
};
use crate::proto::limits::FRAME_PAYLOAD_BYTES_MAX;

/// First size of a read buffer. A side that sends much gets the large one.
const SMALL_BUFFER_BYTES: usize = 8 * 1024;

/// Largest read buffer. No frame that goes out can be longer.
const LARGE_BUFFER_BYTES: usize = FRAME_PAYLOAD_BYTES_MAX;

/// Slices given to one write.
const SLICES_MAX: usize = 32;

/// Bytes of Pongs that may wait for one side. Answering the newest Ping is enough.
const CONTROL_BYTES_MAX: usize = 1024;

/// Pings that may stay unanswered.
const MISSED_PINGS_MAX: u32 = 3;

/// The same for a side that takes no data at the moment: it cannot see our Pings behind them.
const MISSED_PINGS_BLOCKED_MAX: u32 = 20;

/// The same for a side that has sent its Close and waits for the other's: it need not answer, but it should not stay for ever.
const MISSED_PINGS_CLOSED_MAX: u32 = 30;

/// Joins a sender and a listener until both have closed or one is lost.
pub(crate) async fn join(
    server: &RelayServer,
    sender: Option<Upgraded>,
    listener: Option<Upgraded>,
    tracking: &str,
) -> Moved {
    let (sender, listener) = match (sender, listener) {
        (Some(sender), Some(listener)) => (sender, listener),
        (Some(left), None) | (None, Some(left)) => {
            farewell(left).await;
            return Moved::default();
        }
        (None, None) => return Moved::default(),
    };
    let times = server.0.times;
    let mut pair = Pair {
        sender: Leg::new(sender),
        listener: Leg::new(listener),
        tick: Box::pin(sleep(times.ping)),
        ping: times.ping,
        half_close: times.half_close,
    };
    let end = tokio::select! {
        end = pair.run() => end,
        () = server.0.cut.cancelled() => End::Cut,
    };
    tracing::info!(
        tracking,
        end = %end,
        sent = pair.sender.received,
        received = pair.listener.received,
        "connection ended"
    );
    let moved = Moved { from_sender: pair.sender.received, from_listener: pair.listener.received };
    pair.finish(end).await;
    moved
}

/// Bytes that came, frames included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) from_sender: u64,
    pub(crate) from_listener: u64,
}

/// The other side got lost between its handshake and here.
async fn farewell(left: Upgraded) {
    let reason = CloseReason::new(CloseReason::GOING_AWAY, "The other side is gone.");
    let mut last = Vec::new();
    frame::append_frame(&mut last, Opcode::Close, true, &reason.to_payload(), None);
    Leg::new(left).finish(last).await;
}

/// How a joined connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides have closed.
    Closed,
    /// One side was lost.
    Lost(Side),
    /// One side did not answer.
    Silent(Side),
    /// One side broke the protocol.
    Broken(Side, FrameError),
    /// One side sent too many control frames.
    Flood(Side),
    /// The server shuts down.
    Cut,
}

impl End {
    /// What to tell a side, if it was not told the other side's own Close.
    fn reason(self, to: Side) -> Option<CloseReason> {
        let (code, text) = match self {
            Self::Closed => return None,
            Self::Broken(side, error) if side == to => (CloseReason::PROTOCOL, error.to_string()),
            Self::Flood(side) if side == to => (CloseReason::POLICY, "Too many Pings.".to_owned()),
            Self::Silent(side) if side == to => (CloseReason::POLICY, "No sign of life.".to_owned()),
            Self::Cut => (CloseReason::GOING_AWAY, "The relay is shutting down.".to_owned()),
            _ => (CloseReason::GOING_AWAY, "The other side is gone.".to_owned()),
        };
        Some(CloseReason::new(code, &text))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => write!(f, "closed"),
            Self::Lost(side) => write!(f, "{side} lost"),
            Self::Silent(side) => write!(f, "{side} silent"),
            Self::Broken(side, error) => write!(f, "{side} broke the protocol: {error}"),
            Self::Flood(side) => write!(f, "{side} sent too many Pings"),
            Self::Cut => write!(f, "cut by shutdown"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Listener,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Sender => Self::Listener,
            Self::Listener => Self::Sender,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sender => "the sender",
            Self::Listener => "the listener",
        })
    }
}

/// How far the Close of one side has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Closing {
    No,
    /// It has arrived and waits for the data before it to be written.
    Arrived(Vec<u8>),
    /// It was passed on.
    Passed,
}

/// One side: its stream, what was read from it and is to go to the other, and control frames for it.
struct Leg {
    io: BoxedStream,
    decoder: Decoder,
    budget: ControlBudget,
    /// A head's worth of free space, then what was read.
    buffer: Vec<u8>,
    /// Bytes that were read and not looked at.
    raw: Range<usize>,
    /// Whole frames in the buffer, ready for the other side.
    frames: Vec<Range<usize>>,
    /// Frames that are written already.
    frames_done: usize,
    closing: Closing,
    eof: bool,
    /// Control frames for this side.
    control: Vec<u8>,
    control_done: usize,
    /// A Close to this side is among them, or was written.
    close_queued: bool,
    unflushed: bool,
    /// The last write did not go through.
    blocked: bool,
    /// Something came, or a blocked write went through, since the last tick.
    heard: bool,
    missed: u32,
    received: u64,
}

impl Leg {
    fn new(upgraded: Upgraded) -> Self {
        let early = &upgraded.early;
        let mut buffer = vec![0; HEADER_BYTES_MAX + SMALL_BUFFER_BYTES.max(early.len())];
        let raw = HEADER_BYTES_MAX..HEADER_BYTES_MAX + early.len();
        buffer[raw.clone()].copy_from_slice(early);
        Self {
            io: upgraded.io,
            decoder: Decoder::new(Role::Server),
            budget: ControlBudget::new(Instant::now().into_std()),
            buffer,
            raw,
            frames: Vec::new(),
            frames_done: 0,
            closing: Closing::No,
            eof: false,
            control: Vec::new(),
            control_done: 0,
            close_queued: false,
            unflushed: false,
            blocked: false,
            heard: true,
            missed: 0,
            received: 0,
        }
    }

    fn has_closed(&self) -> bool {
        self.closing != Closing::No
    }

    fn queue_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let full = self.control.len() - self.control_done > CONTROL_BYTES_MAX;
        if !self.close_queued && (opcode == Opcode::Close || !full) {
            frame::append_frame(&mut self.control, opcode, true, payload, None);
            self.close_queued = opcode == Opcode::Close;
        }
    }

    /// Reads until nothing more is there or the buffer is full. Whether anything came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        self.rewind();
        let before = self.raw.end;
        while self.raw.end < self.buffer.len() && !self.eof {
            let mut free = ReadBuf::new(&mut self.buffer[self.raw.end..]);
            match Pin::new(&mut self.io).poll_read(cx, &mut free) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) if self.raw.end == before => return Err(error),
                Poll::Ready(Err(_)) => self.eof = true,
                Poll::Ready(Ok(())) => {
                    let read = free.filled().len();
                    self.raw.end += read;
                    self.eof = read == 0;
                }
            }
        }
        let read = self.raw.end - before;
        self.received += read as u64;
        self.heard |= read > 0;
        Ok(read > 0)
    }

    /// Moves what is left over to the front, and makes the buffer larger when it was filled.
    fn rewind(&mut self) {
        let filled = self.raw.end == self.buffer.len();
        let left = self.raw.len();
        self.buffer.copy_within(self.raw.clone(), HEADER_BYTES_MAX);
        self.raw = HEADER_BYTES_MAX..HEADER_BYTES_MAX + left;
        if filled && self.buffer.len() < LARGE_BUFFER_BYTES {
            self.buffer.resize(LARGE_BUFFER_BYTES, 0);
        }
        self.frames.clear();
        self.frames_done = 0;
    }

    /// Gives a large buffer back that is not in use.
    fn shrink(&mut self) {
        let large = self.buffer.len() > HEADER_BYTES_MAX + SMALL_BUFFER_BYTES;
        if large && self.raw.is_empty() && self.frames_done == self.frames.len() {
            self.buffer = vec![0; HEADER_BYTES_MAX + SMALL_BUFFER_BYTES];
            self.raw = HEADER_BYTES_MAX..HEADER_BYTES_MAX;
            self.frames = Vec::new();
            self.frames_done = 0;
        }
    }

    /// Turns what was read into frames for the other side, and answers control frames. Whether there was anything.
    fn parse(&mut self) -> Result<bool, Fault> {
        let before = self.raw.start;
        while let Some(step) = self.decoder.next(&mut self.buffer[self.raw.clone()]).map_err(Fault::Frame)? {
            let start = self.raw.start;
            self.raw.start += step.consumed;
            let at = |range: Range<usize>| start + range.start..start + range.end;
            match step.item {
                Item::Data { kind, first, last, payload } => {
                    if first || last || !payload.is_empty() {
                        let opcode = if first { Opcode::Begin(kind) } else { Opcode::Continuation };
                        self.frame(opcode, last, at(payload));
                    }
                }
                Item::Ping(payload) => {
                    self.spend()?;
                    let payload = self.buffer[at(payload)].to_vec();
                    self.queue_control(Opcode::Pong, &payload);
                }
                Item::Pong(_) => self.spend()?,
                Item::Close(payload) => self.closing = Closing::Arrived(self.buffer[at(payload)].to_vec()),
            }
        }
        Ok(self.raw.start > before)
    }

    /// Writes a head in front of a payload, over the end of the old one or into the free space before the buffer.
    fn frame(&mut self, opcode: Opcode, fin: bool, payload: Range<usize>) {
        let start = payload.start - frame::header_len(payload.len(), false);
        frame::write_header(&mut self.buffer[start..payload.start], opcode, fin, payload.len(), None);
        self.frames.push(start..payload.end);
    }

    fn spend(&mut self) -> Result<(), Fault> {
        let some = self.budget.spend(Instant::now().into_std());
        if some { Ok(()) } else { Err(Fault::Flood) }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed && self.control.is_empty() {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(result) => {
                    self.unflushed = false;
                    return result;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Writes the last bytes and ends the stream.
    async fn finish(mut self, last: Vec<u8>) {
        let written = tokio::time::timeout(net::LINGER, async {
            self.io.write_all(&last).await?;
            self.io.flush().await
        });
        if matches!(written.await, Ok(Ok(()))) {
            net::end(self.io).await;
        }
    }
}

/// What is still to be written to `to`: frames that arrived whole, what is left of a control frame, a Close.
fn last_bytes(from: &Leg, to: &Leg, reason: Option<&CloseReason>) -> Vec<u8> {
    let control = &to.control[to.control_done..];
    let mut last = Vec::new();
    if to.control_done > 0 {
        last.extend_from_slice(control);
    }
    for frame in &from.frames[from.frames_done..] {
        last.extend_from_slice(&from.buffer[frame.clone()]);
    }
    if to.control_done == 0 {
        last.extend_from_slice(control);
    }
    if let Some(reason) = reason.filter(|_| !to.close_queued) {
        frame::append_frame(&mut last, Opcode::Close, true, &reason.to_payload(), None);
    }
    last
}

/// What a side can do wrong.
enum Fault {
    Frame(FrameError),
    Flood,
}

/// Frames of `from` and control frames of `to`, written to `to`. Whether anything was written.
fn poll_write(from: &mut Leg, to: &mut Leg, cx: &mut Context<'_>) -> io::Result<bool> {
    let mut progress = false;
    loop {
        let frames = &from.frames[from.frames_done..];
        // Frames are never cut: a control frame that was begun is ended first, and waits for the frames otherwise.
        let control = to.control_done > 0 || frames.is_empty();
        let polled = if control && to.control.is_empty() {
            return Ok(progress);
        } else if control {
            Pin::new(&mut to.io).poll_write(cx, &to.control[to.control_done..])
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = frames.len().min(SLICES_MAX);
            for (slice, frame) in slices.iter_mut().zip(frames) {
                *slice = IoSlice::new(&from.buffer[frame.clone()]);
            }
            Pin::new(&mut to.io).poll_write_vectored(cx, &slices[..count])
        };
        match polled {
            Poll::Pending => {
                to.blocked = true;
                return Ok(progress);
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(wrote)) => {
                to.heard |= std::mem::take(&mut to.blocked);
                to.unflushed = true;
                progress = true;
                if control { control_written(to, wrote) } else { frames_written(from, wrote) }
            }
        }
    }
}

fn control_written(to: &mut Leg, wrote: usize) {
    to.control_done += wrote;
    if to.control_done == to.control.len() {
        to.control = Vec::new();
        to.control_done = 0;
    }
}

fn frames_written(from: &mut Leg, mut wrote: usize) {
    while wrote > 0 {
        let frame = &mut from.frames[from.frames_done];
        let here = wrote.min(frame.len());
        frame.start += here;
        wrote -= here;
        if frame.start == frame.end {
            from.frames_done += 1;
        }
    }
}

/// Both sides and their clock.
struct Pair {
    sender: Leg,
    listener: Leg,
    tick: Pin<Box<Sleep>>,
    ping: Duration,
    half_close: Duration,
}

impl Pair {
    /// Moves frames until the end.
    async fn run(&mut self) -> End {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let mut progress = false;
            for side in [Side::Sender, Side::Listener] {
                match self.advance(side, cx) {
                    Ok(moved) => progress |= moved,
                    Err(end) => return Poll::Ready(end),
                }
            }
            if self.is_done() {
                return Poll::Ready(End::Closed);
            }
            if !progress {
                if self.tick.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if let Some(end) = self.tick() {
                    return Poll::Ready(end);
                }
            }
        }
    }

    fn legs(&mut self, from: Side) -> (&mut Leg, &mut Leg) {
        match from {
            Side::Sender => (&mut self.sender, &mut self.listener),
            Side::Listener => (&mut self.listener, &mut self.sender),
        }
    }

    /// One round of one direction: writes what is there, then reads more. Whether anything moved.
    fn advance(&mut self, side: Side, cx: &mut Context<'_>) -> Result<bool, End> {
        let (from, to) = self.legs(side);
        let mut progress = poll_write(from, to, cx).map_err(|_| End::Lost(side.other()))?;
        if from.frames_done < from.frames.len() {
            return Ok(progress);
        }
        if let Closing::Arrived(payload) = &from.closing {
            to.queue_control(Opcode::Close, payload);
            from.closing = Closing::Passed;
            self.begin_half_close();
            return Ok(true);
        }
        let closed = from.has_closed();
        progress |= from.poll_read(cx).map_err(|_| End::Lost(side))?;
        if closed {
            // Nothing counts behind a Close; reading goes on to notice the end.
            from.raw = HEADER_BYTES_MAX..HEADER_BYTES_MAX;
        }
        progress |= from.parse().map_err(|fault| match fault {
            Fault::Frame(error) => End::Broken(side, error),
            Fault::Flood => End::Flood(side),
        })?;
        if from.eof && from.frames.is_empty() && from.closing == Closing::No {
            return Err(End::Lost(side));
        }
        if from.eof && from.closing == Closing::Passed {
            return Err(End::Closed);
        }
        if !progress {
            to.poll_flush(cx).map_err(|_| End::Lost(side.other()))?;
        }
        Ok(progress)
    }

    /// Both Closes were passed on and written.
    fn is_done(&self) -> bool {
        [&self.sender, &self.listener]
            .iter()
            .all(|leg| leg.closing == Closing::Passed && leg.control.is_empty())
    }

    /// One side has closed: from now on the other must not be silent for long.
    fn begin_half_close(&mut self) {
        self.sender.heard = false;
        self.listener.heard = false;
        let wait = self.half_close;
        self.tick.as_mut().reset(Instant::now() + wait);
    }

    /// Asks both sides for a sign of life, and judges those who gave none.
    fn tick(&mut self) -> Option<End> {
        let half_closed = self.sender.has_closed() || self.listener.has_closed();
        let every = if half_closed { self.half_close } else { self.ping };
        self.tick.as_mut().reset(Instant::now() + every);
        for side in [Side::Sender, Side::Listener] {
            let (leg, other) = self.legs(side);
            let heard = std::mem::take(&mut leg.heard);
            leg.missed = if heard { 0 } else { leg.missed + 1 };
            let allowed = match (half_closed, leg.has_closed()) {
                (true, true) => MISSED_PINGS_CLOSED_MAX,
                // What it sends is not read while the other side takes nothing.
                (true, false) if other.blocked => MISSED_PINGS_BLOCKED_MAX,
                (true, false) => 0,
                (false, _) if leg.blocked => MISSED_PINGS_BLOCKED_MAX,
                (false, _) => MISSED_PINGS_MAX,
            };
            if leg.missed > allowed {
                return Some(End::Silent(side));
            }
            leg.budget.allow_answer();
            leg.queue_control(Opcode::Ping, b"");
            leg.shrink();
        }
        None
    }

    /// Tells both sides how it ended, and ends their streams.
    async fn finish(self, end: End) {
        let reason = |side| end.reason(side);
        let sender = last_bytes(&self.listener, &self.sender, reason(Side::Sender).as_ref());
        let listener = last_bytes(&self.sender, &self.listener, reason(Side::Listener).as_ref());
        tokio::join!(self.sender.finish(sender), self.listener.finish(listener));
    }
}
