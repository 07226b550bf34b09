//! WebSocket frames (RFC 6455), without a socket.
//!
//! A relay moves frames of any length in both directions, ends each direction by itself, and must hold no message in
//! memory. Message-oriented WebSocket libraries collect messages and answer a Close at once, so the frame layer is our
//! own: [`Decoder`] walks over a buffer that the caller fills and yields pieces of messages as they arrive, unmasked in
//! place; [`write_header`] writes the head of a frame. Neither allocates.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Longest head of a frame: two bytes, a 64-bit length, a mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Longest reason text of a Close frame.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// Which side of a WebSocket this is. Clients mask what they send, servers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends masked frames.
    Client,
    /// Sends plain frames.
    Server,
}

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// First four bits of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation,
    /// Begins a message.
    Begin(Kind),
    /// Ends a direction.
    Close,
    /// Asks for a Pong.
    Ping,
    /// Answers a Ping, or says "still here".
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, FrameError> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Begin(Kind::Text)),
            2 => Ok(Self::Begin(Kind::Binary)),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(FrameError::Opcode),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Begin(Kind::Text) => 1,
            Self::Begin(Kind::Binary) => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Code and reason of a Close frame.
///
/// ```
/// use rs_relay::proto::frame::CloseReason;
///
/// let reason = CloseReason::new(1008, "the token has expired");
/// assert_eq!(CloseReason::parse(&reason.to_payload()).unwrap(), Some(reason));
/// assert_eq!(CloseReason::parse(b"").unwrap(), None);
/// assert!(CloseReason::parse(&[0x03, 0xed]).is_err(), "1005 never travels");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Status code.
    pub code: u16,
    /// Text, at most [`CLOSE_REASON_BYTES_MAX`] bytes.
    pub text: String,
}

impl CloseReason {
    /// Fulfilled its purpose.
    pub const NORMAL: u16 = 1000;
    /// The other side is gone.
    pub const GOING_AWAY: u16 = 1001;
    /// A frame that breaks the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is no UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// A rule was broken, or a token has expired.
    pub const POLICY: u16 = 1008;
    /// A message that is too long.
    pub const TOO_BIG: u16 = 1009;
    /// Trouble of the server's own.
    pub const INTERNAL: u16 = 1011;
    /// Too busy for this now.
    pub const TRY_LATER: u16 = 1013;

    /// A reason; a text that is too long is cut between characters.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let mut end = text.len().min(CLOSE_REASON_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, text: text[..end].to_owned() }
    }

    /// Reads the payload of a Close frame. An empty one gives no reason.
    ///
    /// # Errors
    ///
    /// [`FrameError::Close`] for a payload of one byte, a code that must not travel, or a text that is no UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, FrameError> {
        let [high, low, text @ ..] = payload else {
            return if payload.is_empty() { Ok(None) } else { Err(FrameError::Close) };
        };
        let code = u16::from_be_bytes([*high, *low]);
        let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let text = std::str::from_utf8(text).map_err(|_| FrameError::Close)?;
        if known { Ok(Some(Self::new(code, text))) } else { Err(FrameError::Close) }
    }

    /// The payload of a Close frame.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.text.as_bytes());
        payload
    }
}

/// What stands next in the buffer. Ranges index the buffer that was given to [`Decoder::next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Part of a message, unmasked in place.
    Data {
        /// Kind of the message.
        kind: Kind,
        /// Whether the message begins here.
        first: bool,
        /// Whether the message ends here.
        last: bool,
        /// Where the bytes are. In front of them the frame's own head, if it began in this buffer.
        payload: Range<usize>,
    },
    /// A whole Ping, unmasked in place.
    Ping(Range<usize>),
    /// A whole Pong, unmasked in place.
    Pong(Range<usize>),
    /// A whole Close, unmasked in place. Nothing follows it.
    Close(Range<usize>),
}

/// The frame whose payload is being read.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Bytes still to come.
    left: u64,
    /// Bytes already yielded, for the phase of the mask.
    done: u64,
    mask: Option<[u8; 4]>,
    fin: bool,
    /// Whether the frame is the first of its message and nothing of it was yielded yet.
    first: bool,
}

/// Reads frames of the peer.
///
/// The caller keeps bytes in a buffer, asks [`Decoder::next`] with the part that was not consumed yet, and goes on behind
/// [`Step::consumed`].
///
/// ```
/// use rs_relay::proto::frame::{Decoder, Item, Kind, Role};
///
/// let mut hello = *b"\x82\x05hello\x82";
/// let mut decoder = Decoder::new(Role::Client);
/// let step = decoder.next(&mut hello)?.unwrap();
/// assert_eq!(step.item, Item::Data { kind: Kind::Binary, first: true, last: true, payload: 2..7 });
/// assert_eq!(decoder.next(&mut hello[step.consumed..])?, None, "half a head: more bytes are needed");
/// # Ok::<(), rs_relay::proto::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// The reader's own role.
    role: Role,
    open: Option<Open>,
    /// The message in progress.
    message: Option<Kind>,
    closed: bool,
}

/// One item, and how many bytes of the buffer are done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was found.
    pub item: Item,
    /// Bytes to leave behind.
    pub consumed: usize,
}

struct Head {
    fin: bool,
    opcode: Opcode,
    length: u64,
    mask: Option<[u8; 4]>,
    bytes: usize,
}

impl Decoder {
    /// A decoder for one WebSocket. `role` is the reader's own.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, open: None, message: None, closed: false }
    }

    /// Whether the peer has sent its Close.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing has begun that is not complete: no message, no frame.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.message.is_none() && self.open.is_none()
    }

    /// Looks at the front of `buffer`. `None` asks for more bytes; at most
    /// [`HEADER_BYTES_MAX`] + [`CONTROL_PAYLOAD_BYTES_MAX`] bytes are ever left unconsumed then.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the peer breaks the protocol. The connection is of no use then.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Step>, FrameError> {
        if self.closed || buffer.is_empty() {
            return Ok(None);
        }
        if let Some(open) = self.open {
            return Ok(Some(self.data(open, buffer, 0)));
        }
        let Some(head) = self.head(buffer)? else { return Ok(None) };
        if head.opcode.is_control() {
            return self.control(&head, buffer);
        }
        if head.length > 0 && buffer.len() == head.bytes {
            return Ok(None);
        }
        let first = self.begin(head.opcode)?;
        let open = Open { left: head.length, done: 0, mask: head.mask, fin: head.fin, first };
        Ok(Some(self.data(open, buffer, head.bytes)))
    }

    fn head(&self, buffer: &[u8]) -> Result<Option<Head>, FrameError> {
        let [first, second, ..] = *buffer else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::from_bits(first & 0x0f)?);
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        if masked != (self.role == Role::Server) {
            return Err(FrameError::Mask);
        }
        if opcode.is_control() && (!fin || short > 125) {
            return Err(FrameError::Control);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let bytes = 2 + extended + if masked { 4 } else { 0 };
        let Some(rest) = buffer.get(2..bytes) else { return Ok(None) };
        let (number, key) = rest.split_at(extended);
        let length = number.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let length = if extended == 0 { u64::from(short) } else { length };
        let shortest = match extended {
            2 => length > 125,
            8 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(FrameError::Length);
        }
        Ok(Some(Head { fin, opcode, length, mask: key.try_into().ok(), bytes }))
    }

    /// Whether the frame begins a message.
    fn begin(&mut self, opcode: Opcode) -> Result<bool, FrameError> {
        match (opcode, self.message) {
            (Opcode::Begin(kind), None) => {
                self.message = Some(kind);
                Ok(true)
            }
            (Opcode::Continuation, Some(_)) => Ok(false),
            _ => Err(FrameError::Order),
        }
    }

    fn control(&mut self, head: &Head, buffer: &mut [u8]) -> Result<Option<Step>, FrameError> {
        let length = usize::try_from(head.length).map_err(|_| FrameError::Control)?;
        let consumed = head.bytes + length;
        let Some(payload) = buffer.get_mut(head.bytes..consumed) else { return Ok(None) };
        apply_mask(payload, head.mask, 0);
        let range = head.bytes..consumed;
        let item = match head.opcode {
            Opcode::Ping => Item::Ping(range),
            Opcode::Pong => Item::Pong(range),
            _ => {
                CloseReason::parse(payload)?;
                self.closed = true;
                Item::Close(range)
            }
        };
        Ok(Some(Step { item, consumed }))
    }

    fn data(&mut self, open: Open, buffer: &mut [u8], start: usize) -> Step {
        let here = (buffer.len() - start).min(usize::try_from(open.left).unwrap_or(usize::MAX));
        let payload = start..start + here;
        apply_mask(&mut buffer[payload.clone()], open.mask, open.done);
        let left = open.left - here as u64;
        let last = open.fin && left == 0;
        let kind = self.message.unwrap_or(Kind::Binary);
        self.open = (left > 0).then_some(Open { left, done: open.done + here as u64, first: false, ..open });
        if last {
            self.message = None;
        }
        let item = Item::Data { kind, first: open.first, last, payload: payload.clone() };
        Step { item, consumed: payload.end }
    }
}

/// Masks or unmasks bytes that stand `done` bytes behind the beginning of a frame's payload.
fn apply_mask(bytes: &mut [u8], mask: Option<[u8; 4]>, done: u64) {
    let Some(mut mask) = mask else { return };
    mask.rotate_left((done % 4) as usize);
    let wide = [mask, mask].concat();
    let wide = u64::from_ne_bytes(wide.try_into().unwrap_or_default());
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes((&*chunk).try_into().unwrap_or_default()) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Masks the payload of a frame in place.
pub fn mask_payload(payload: &mut [u8], mask: [u8; 4]) {
    apply_mask(payload, Some(mask), 0);
}

/// Length of the head that [`write_header`] writes.
#[must_use]
pub fn header_len(payload_len: usize, masked: bool) -> usize {
    let extended = match payload_len {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + extended + if masked { 4 } else { 0 }
}

/// Writes the head of a frame to the front of `out` and returns its length.
///
/// # Panics
///
/// When `out` is shorter than [`header_len`] says.
pub fn write_header(
    out: &mut [u8],
    opcode: Opcode,
    fin: bool,
    payload_len: usize,
    mask: Option<[u8; 4]>,
) -> usize {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    out[0] = opcode.bits() | if fin { 0x80 } else { 0 };
    let mut at = 2;
    match payload_len {
        0..=125 => out[1] = mask_bit | payload_len as u8,
        126..=0xffff => {
            out[1] = mask_bit | 126;
            out[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            at = 4;
        }
        _ => {
            out[1] = mask_bit | 127;
            out[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            at = 10;
        }
    }
    if let Some(mask) = mask {
        out[at..at + 4].copy_from_slice(&mask);
        at += 4;
    }
    at
}

/// Appends a whole frame to `out`.
pub fn append_frame(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8], mask: Option<[u8; 4]>) {
    let mut head = [0; HEADER_BYTES_MAX];
    let length = write_header(&mut head, opcode, fin, payload.len(), mask);
    out.extend_from_slice(&head[..length]);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask, 0);
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set; no extension was agreed upon.
    #[error("a frame has a reserved bit set, but no extension was agreed upon")]
    Reserved,
    /// An opcode that does not exist.
    #[error("a frame has an opcode that does not exist")]
    Opcode,
    /// A client's frame without a mask, or a server's with one.
    #[error("a frame is masked and should not be, or is not and should be")]
    Mask,
    /// A length that is not written in its shortest form, or beyond 2^63.
    #[error("the length of a frame is not written in its shortest form, or is 2^63 or more")]
    Length,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("a control frame is fragmented or longer than {CONTROL_PAYLOAD_BYTES_MAX} bytes")]
    Control,
    /// A continuation without a beginning, or a beginning inside a message.
    #[error("a frame continues no message, or begins one inside another")]
    Order,
    /// A Close frame with a wrong payload.
    #[error("a Close frame has a wrong length, code or text")]
    Close,
}

/// How many control frames a peer may send: [`ControlBudget::BURST`] at once, and [`ControlBudget::PER_SECOND`] for long.
///
/// ```
/// use std::time::{Duration, Instant};
/// use rs_relay::proto::frame::ControlBudget;
///
/// let start = Instant::now();
/// let mut budget = ControlBudget::new(start);
/// assert!((0..ControlBudget::BURST).all(|_| budget.spend(start)));
/// assert!(!budget.spend(start));
/// assert!(budget.spend(start + Duration::from_secs(1)));
/// ```
#[derive(Debug)]
pub struct ControlBudget {
    left: u32,
    since: Instant,
}

impl ControlBudget {
    /// Control frames that may come at once.
    pub const BURST: u32 = 128;
    /// Control frames per second that may come for long.
    pub const PER_SECOND: u32 = 8;

    /// A full budget.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { left: Self::BURST, since: now }
    }

    /// Allows one control frame more: the answer to a Ping of our own.
    pub fn allow_answer(&mut self) {
        self.left = (self.left + 1).min(Self::BURST);
    }

    /// Takes one control frame out of the budget; `false` when it is empty.
    #[must_use]
    pub fn spend(&mut self, now: Instant) -> bool {
        let step = Duration::from_secs(1) / Self::PER_SECOND;
        let earned = now.saturating_duration_since(self.since).as_nanos() / step.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(Self::BURST);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Event {
        Message(Kind, Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Vec<u8>),
    }

    /// Feeds `wire` in pieces of the given sizes and collects messages.
    fn decode(role: Role, wire: &[u8], pieces: &[usize]) -> Result<Vec<Event>, FrameError> {
        let mut decoder = Decoder::new(role);
        let (mut events, mut message, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = wire;
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let size = pieces.next().unwrap_or(1).clamp(1, rest.len());
            buffer.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            while let Some(step) = decoder.next(&mut buffer)? {
                let bytes = |range: Range<usize>| buffer[range].to_vec();
                match step.item {
                    Item::Data { kind, first, last, payload } => {
                        assert!(!first || message.is_empty());
                        message.extend(bytes(payload));
                        if last {
                            events.push(Event::Message(kind, std::mem::take(&mut message)));
                        }
                    }
                    Item::Ping(range) => events.push(Event::Ping(bytes(range))),
                    Item::Pong(range) => events.push(Event::Pong(bytes(range))),
                    Item::Close(range) => events.push(Event::Close(bytes(range))),
                }
                buffer.drain(..step.consumed);
            }
            assert!(buffer.len() <= HEADER_BYTES_MAX + CONTROL_PAYLOAD_BYTES_MAX || decoder.is_closed());
        }
        Ok(events)
    }

    fn frame(opcode: Opcode, fin: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = Vec::new();
        append_frame(&mut out, opcode, fin, payload, mask);
        out
    }

    #[test]
    fn examples_of_the_rfc() {
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(
            decode(Role::Server, &masked, &[1]),
            Ok(vec![Event::Message(Kind::Text, b"Hello".to_vec())])
        );
        assert_eq!(frame(Opcode::Begin(Kind::Text), true, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d])), masked);
        let fragmented = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x00, 0x80, 0x02, 0x6c, 0x6f];
        let expected = vec![Event::Ping(vec![]), Event::Message(Kind::Text, b"Hello".to_vec())];
        assert_eq!(decode(Role::Client, &fragmented, &[3]), Ok(expected));
    }

    #[test]
    fn sec43_frames_that_break_the_protocol() {
        let long_ping = [&[0x89, 126, 0, 126][..], &[0; 126]].concat();
        let table: [(&[u8], FrameError); 15] = [
            (&[0xc2, 0], FrameError::Reserved),
            (&[0xa2, 0], FrameError::Reserved),
            (&[0x83, 0], FrameError::Opcode),
            (&[0x8b, 0], FrameError::Opcode),
            (&[0x82, 0x80, 0, 0, 0, 0], FrameError::Mask),
            (&[0x82, 126, 0, 125], FrameError::Length),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], FrameError::Length),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
            (&[0x09, 0], FrameError::Control),
            (&long_ping, FrameError::Control),
            (&[0x80, 0], FrameError::Order),
            (&[0x02, 1, 0, 0x82, 1, 0], FrameError::Order),
            (&[0x88, 1, 3], FrameError::Close),
            (&[0x88, 2, 0x03, 0xed], FrameError::Close),
            (&[0x88, 3, 0x03, 0xe8, 0xff], FrameError::Close),
        ];
        for (wire, error) in table {
            assert_eq!(decode(Role::Client, wire, &[1]), Err(error), "{wire:x?}");
        }
        assert_eq!(decode(Role::Server, &[0x82, 0], &[1]), Err(FrameError::Mask));
    }

    #[test]
    fn sec43_an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(Role::Client);
        let mut wire = [0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let step = decoder.next(&mut wire).unwrap().unwrap();
        assert_eq!(step.item, Item::Data { kind: Kind::Binary, first: true, last: false, payload: 10..13 });
        assert_eq!(step.consumed, 13);
    }

    #[test]
    fn nothing_follows_a_close() {
        let wire = [frame(Opcode::Close, true, b"", None), frame(Opcode::Ping, true, b"x", None)].concat();
        assert_eq!(decode(Role::Client, &wire, &[99]), Ok(vec![Event::Close(vec![])]));
    }

    #[test]
    fn a_cut_reason_stays_text() {
        let reason = CloseReason::new(1000, &"ä".repeat(100));
        assert_eq!(reason.text.len(), CLOSE_REASON_BYTES_MAX - 1);
        assert_eq!(CloseReason::parse(&reason.to_payload()), Ok(Some(reason)));
    }

    fn any_message() -> impl Strategy<Value = Event> {
        let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
        prop_oneof![
            bytes(70_000).prop_map(|b| Event::Message(Kind::Binary, b)),
            bytes(300).prop_map(|b| Event::Message(Kind::Binary, b)),
            "[a-zäöü]{0,80}".prop_map(|s| Event::Message(Kind::Text, s.into_bytes())),
            bytes(125).prop_map(Event::Ping),
            bytes(125).prop_map(Event::Pong),
        ]
    }

    fn encode(event: &Event, cut: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        match event {
            Event::Ping(bytes) => frame(Opcode::Ping, true, bytes, mask),
            Event::Pong(bytes) => frame(Opcode::Pong, true, bytes, mask),
            Event::Close(bytes) => frame(Opcode::Close, true, bytes, mask),
            Event::Message(kind, bytes) => {
                let pieces: Vec<_> = bytes.chunks(cut.max(1)).collect();
                let pieces = if pieces.is_empty() { vec![&[][..]] } else { pieces };
                let last = pieces.len() - 1;
                let opcode = |i| if i == 0 { Opcode::Begin(*kind) } else { Opcode::Continuation };
                pieces.iter().enumerate().flat_map(|(i, p)| frame(opcode(i), i == last, p, mask)).collect()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cutting_gives_the_same_messages(
            events in proptest::collection::vec(any_message(), 0..5),
            cut in 1usize..80_000, pieces in proptest::collection::vec(1usize..5_000, 1..6), mask: Option<[u8; 4]>,
        ) {
            let wire: Vec<u8> = events.iter().flat_map(|event| encode(event, cut, mask)).collect();
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            prop_assert_eq!(decode(role, &wire, &pieces), Ok(events));
        }

        #[test]
        fn sec44_no_bytes_panic(wire in proptest::collection::vec(any::<u8>(), 0..200), pieces in proptest::collection::vec(1usize..50, 1..4)) {
            let _ = decode(Role::Client, &wire, &pieces);
            let _ = decode(Role::Server, &wire, &pieces);
        }

        #[test]
        fn masking_twice_is_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..100), mask: [u8; 4], split in 0usize..100) {
            let mut once = bytes.clone();
            mask_payload(&mut once, mask);
            let split = split.min(once.len());
            let (left, right) = once.split_at_mut(split);
            apply_mask(left, Some(mask), 0);
            apply_mask(right, Some(mask), split as u64);
            prop_assert_eq!(once, bytes);
        }
    }
}
