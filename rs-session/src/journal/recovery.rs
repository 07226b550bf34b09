//! What a crash, a kill or a power cut left of a record, and how it is brought to its end.
//!
//! Nothing is read twice and nothing is read that need not be: a session that ended is known by its last record, and one
//! whose end the node has stated by 32 KiB of it, so many gigabytes of old records cost a start nothing. One that was cut
//! off is read once, and that one way through it says all that has to be known ([`Recovered`]): every link and every
//! content is checked, and each signature that can be of a write that was under way; the other signatures stand behind the
//! last one, which covers them through the links, and are for `session verify`.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rs_consent::clock::Clock;
use rs_consent::keys::SigningKey;
use uuid::Uuid;

use super::{GROUP_BYTES_MAX, RESERVE_BYTES};
use crate::disk::{Disk, DiskFile, ReadFrom, RealDisk};
use crate::ending::EndOfAccess;
use crate::node_log::SessionHead;
use crate::record::{
    Chain, Checker, Content, Digest, Draft, EndContent, FILE_HEADER, Fault, Frame, FrameError, FrameReader,
    Kind, RECORD_BYTES_MAX, SALT_BYTES, SessionIdentity, Signer, Stored, whole_records,
};

/// Longest time that [`recover`] waits for readers who feel for the lock of a record.
pub const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How often it tries meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// No write that was under way, and may be torn, is longer: a group, and the record that closed it.
const UNSYNCED_MAX: u64 = (GROUP_BYTES_MAX + RECORD_BYTES_MAX) as u64;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// How much is read at once.
const READ_BYTES: usize = 1 << 20;

/// What [`recover`] found in a record file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// The session has its end record; nothing was touched.
    Complete,
    /// Somebody writes to it right now; nothing was touched.
    Live,
    /// The session was cut off; it has its end record now.
    Ended {
        /// How many records had been durable.
        records: u64,
        /// Bytes of a write that never became durable, and that nobody was shown.
        dropped_bytes: u64,
    },
    /// The file is damaged; it was left as it is, for `verify` to tell where.
    Damaged {
        /// What is wrong.
        explanation: String,
    },
    /// It is shorter than it was known to be, which no crash does to it; it was left as it is.
    CutShort {
        /// Number of the first record that is missing.
        missing: u64,
    },
}

/// What others say of a record before it is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// A head that it had, from the node's log for example.
    pub head: Option<&'a SessionHead>,
    /// The node's own statement of its end. It is made when the end record is durable, so no hole is looked for before an
    /// end record that it names.
    pub stated: Option<&'a EndOfAccess>,
}

/// What [`recover_known`] did, and what it learned on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What it found and did.
    pub outcome: Recovery,
    /// The newest record, as the file is now; `None` where nothing of it can be trusted.
    pub head: Option<SessionHead>,
    /// The cause in the end record.
    pub cause: Option<EndCause>,
    /// What the record says of its end, where all of it had to be read for another reason.
    pub end: Option<EndOfAccess>,
}

impl Recovered {
    const fn only(outcome: Recovery) -> Self {
        Self { outcome, head: None, cause: None, end: None }
    }
}

/// Brings the record of a session that was cut off (crash, kill, power, disk) to its end: the torn tail of a write that
/// was never acknowledged is dropped, and an end record with cause `interrupted` is added, signed by the node key.
///
/// No key is needed where contents are sealed: the end record holds nothing that was typed or shown, and is written in
/// clear. A sealed content that a power cut tore is told by the sectors that never came to the disk, and the number of the
/// last line, which stands in a content, is left out.
///
/// A tail in which a whole signed record stands is no torn write but damage, and is left as it is. Readers that feel for
/// the lock of the file are waited for, up to [`LOCK_WAIT`]. The last record of a session that ended is all that is
/// looked at there; whether the others are what was written, [`verify`](crate::record::verify) says.
///
/// # Errors
/// When the file cannot be read or written. A damaged file is not an error: see [`Recovery::Damaged`].
pub fn recover(path: &Path, node: &SigningKey, clock: &dyn Clock) -> io::Result<Recovery> {
    recover_on(&RealDisk, path, node, clock)
}

/// As [`recover`], on any disk.
///
/// # Errors
/// As [`recover`].
pub fn recover_on(
    disk: &dyn Disk,
    path: &Path,
    node: &SigningKey,
    clock: &dyn Clock,
) -> io::Result<Recovery> {
    recover_known_on(disk, path, node, clock, Known::default()).map(|recovered| recovered.outcome)
}

/// As [`recover`], of a record of which something is known; says what it learned too, so that nobody has to read it again.
///
/// # Errors
/// As [`recover`].
pub fn recover_known(
    path: &Path,
    node: &SigningKey,
    clock: &dyn Clock,
    known: Known<'_>,
) -> io::Result<Recovered> {
    recover_known_on(&RealDisk, path, node, clock, known)
}

fn recover_known_on(
    disk: &dyn Disk,
    path: &Path,
    node: &SigningKey,
    clock: &dyn Clock,
    known: Known<'_>,
) -> io::Result<Recovered> {
    let mut file = disk.open(path)?;
    if !lock_within(&*file, LOCK_WAIT)? {
        return Ok(Recovered::only(Recovery::Live));
    }
    let length = file.length()?;
    // A sync that failed leaves bytes in memory that the disk does not hold, and nobody may build on those.
    file.forget_cached(length.saturating_sub(UNSYNCED_MAX))?;
    if let Some((session, end)) = end_of(&*file, length)? {
        let is_stated = known.stated.is_some_and(|stated| stated.head == end.link());
        if is_stated || !may_have_holes(&*file, length)? {
            return Ok(complete(session, &end, known));
        }
    }
    let tail = match Walk::whole(&*file, length)? {
        Ok(tail) => tail,
        Err(explanation) => return Ok(Recovered::only(Recovery::Damaged { explanation })),
    };
    if let Some(missing) = missing(known, tail.last.as_ref()) {
        return Ok(Recovered::only(Recovery::CutShort { missing }));
    }
    let Some((last, identity)) = tail.last.clone().zip(tail.identity.clone()) else {
        // No record ever became durable, so nobody was let in: there is nothing to keep.
        disk.remove(path)?;
        return Ok(Recovered::only(Recovery::Ended { records: 0, dropped_bytes: tail.torn }));
    };
    if tail.torn > 0 {
        file.truncate(tail.whole)?;
        // Only then the end: its bytes and those of the torn write must never stand side by side.
        file.sync()?;
    }
    let has_end = last.skeleton().kind == Kind::End;
    let records = last.skeleton().sequence + 1;
    let end = if has_end {
        last
    } else {
        let end = signed_end(Chain::after(identity.session_id, &last), interrupted_end(&tail), node, clock)?;
        file.append(&end.encode())?;
        file.sync()?;
        end
    };
    let outcome = if has_end && tail.torn == 0 {
        Recovery::Complete
    } else {
        // Gives back what was set aside for an end that is there now.
        drop(file.length().and_then(|length| file.truncate(length)));
        Recovery::Ended { records, dropped_bytes: tail.torn }
    };
    let session = identity.session_id;
    let stated = EndOfAccess::found(identity, end.skeleton(), end.link(), tail.last_executed);
    Ok(Recovered { outcome, end: stated, ..complete(session, &end, Known::default()) })
}

fn complete(session: Uuid, end: &Frame, known: Known<'_>) -> Recovered {
    if let Some(missing) = missing(known, Some(end)) {
        return Recovered::only(Recovery::CutShort { missing });
    }
    let (sequence, link) = (end.skeleton().sequence, end.link());
    let head = Some(SessionHead { session, sequence, link });
    Recovered { outcome: Recovery::Complete, head, cause: end.skeleton().end, end: None }
}

/// The first record that was there once and is not there now.
fn missing(known: Known<'_>, last: Option<&Frame>) -> Option<u64> {
    let next = last.map_or(0, |last| last.skeleton().sequence + 1);
    known.head.is_some_and(|known| known.sequence >= next).then_some(next)
}

/// The end record that stands, signed and whole, at the end of the file, and its session.
fn end_of(file: &dyn DiskFile, length: u64) -> io::Result<Option<(Uuid, Frame)>> {
    let begin = length.saturating_sub(RESERVE_BYTES).max(FILE_HEADER.len() as u64);
    let mut window = Vec::new();
    ReadFrom::new(file, begin).take(RESERVE_BYTES).read_to_end(&mut window)?;
    let Some(end) = last_record(&window).filter(|frame| frame.skeleton().kind == Kind::End) else {
        return Ok(None);
    };
    let mut reader = match FrameReader::new(BufReader::new(ReadFrom::new(file, 0))) {
        Ok(reader) => reader,
        Err(FrameError::Io(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let mut checker = Checker::new(None);
    Ok(match reader.next_frame() {
        Ok(Some(first)) if checker.take(&first).is_empty() && is_sound(&checker, &end) => {
            checker.identity().map(|identity| (identity.session_id, end))
        }
        Err(FrameError::Io(error)) => return Err(error),
        _ => None,
    })
}

/// Whether a piece of the newest writes may be missing before an end record that is there: a sector that ends in zeros is
/// either a piece that never came to the disk or a chance, and the whole walk tells which.
fn may_have_holes(file: &dyn DiskFile, length: u64) -> io::Result<bool> {
    let begin = (length.saturating_sub(UNSYNCED_MAX) / SECTOR_BYTES as u64) * SECTOR_BYTES as u64;
    let mut window = Vec::new();
    ReadFrom::new(file, begin).take(length - begin).read_to_end(&mut window)?;
    Ok(window.chunks_exact(SECTOR_BYTES).any(|sector| sector.ends_with(&[0; 3])))
}

/// The record that ends where `window` ends.
fn last_record(window: &[u8]) -> Option<Frame> {
    (0..window.len()).rev().find_map(|at| {
        // The state of the content, and the zeros behind it, stand in front of every record.
        let prefix = window.get(at + 4..at + 8)?;
        (prefix[0] <= 2 && prefix[1..] == [0; 3]).then(|| Frame::decode(&window[at..]).ok()).flatten()
    })
}

/// Whether signature and content of a record are right, wherever it stands.
fn is_sound(checker: &Checker, frame: &Frame) -> bool {
    let faults = checker.clone().take(frame);
    !faults.contains(&Fault::Signature) && !faults.contains(&Fault::Content)
}

fn interrupted_end(tail: &Tail) -> Content {
    Content::End(EndContent {
        cause: EndCause::Interrupted,
        message: format!(
            "the session was cut off before its end was on record; when that was found, {} byte(s) of an unfinished \
             write were dropped, none of which had been shown",
            tail.torn
        ),
        operations: tail.requests,
        last_invocation: tail.last_invocation,
        killed_after_us: None,
    })
}

fn signed_end(mut chain: Chain, content: Content, node: &SigningKey, clock: &dyn Clock) -> io::Result<Frame> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let draft = Draft::new(&content).map_err(io::Error::other)?;
    chain.append(draft, node, Signer::Node, salt, &clock.now()).map_err(io::Error::other)
}

#[derive(Default)]
struct Tail {
    last: Option<Frame>,
    identity: Option<SessionIdentity>,
    /// Lines that were permitted, the number of the last of them, and the number of its record.
    requests: u64,
    last_invocation: Option<u64>,
    last_executed: Option<u64>,
    whole: u64,
    torn: u64,
}

/// Reads a record that was cut off, from its first record to where it stops.
struct Walk {
    /// Knows the identity from record 0, and nothing of the others: their signatures are looked at one by one.
    checker: Checker,
    tail: Tail,
    next_sequence: u64,
    head: Option<Digest>,
}

impl Walk {
    /// The outer error is the system's, the inner one the file's.
    fn whole(file: &dyn DiskFile, length: u64) -> io::Result<Result<Tail, String>> {
        if length < FILE_HEADER.len() as u64 {
            return Ok(Ok(Tail { torn: length, ..Tail::default() }));
        }
        let input = BufReader::with_capacity(READ_BYTES, ReadFrom::new(file, 0));
        let mut reader = match FrameReader::new(input) {
            Ok(reader) => reader,
            Err(FrameError::Io(error)) => return Err(error),
            Err(_) if is_torn(file, 0, length)? => return Ok(Ok(Tail { torn: length, ..Tail::default() })),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut walk =
            Self { checker: Checker::new(None), tail: Tail::default(), next_sequence: 0, head: None };
        loop {
            let (place, begin) = (walk.next_sequence, reader.offset());
            let explanation = match reader.next_frame() {
                Ok(Some(frame)) => {
                    let may_be_torn = reader.offset() + UNSYNCED_MAX >= length;
                    let taken = if may_be_torn && is_sealed_and_torn(&frame, reader.offset()) {
                        Err(Fault::Content.to_string())
                    } else {
                        walk.take(frame, may_be_torn)
                    };
                    match taken {
                        Ok(()) => continue,
                        Err(explanation) => explanation,
                    }
                }
                Ok(None) | Err(FrameError::Torn { .. }) => return walk.finish(file, begin, length),
                Err(FrameError::Io(error)) => return Err(error),
                Err(error) => error.to_string(),
            };
            if is_torn(file, begin, length)? {
                return Ok(Ok(walk.end_at(begin, length)));
            }
            return Ok(Err(format!("record {place}: {explanation}")));
        }
    }

    fn take(&mut self, frame: Frame, may_be_torn: bool) -> Result<(), String> {
        let skeleton = frame.skeleton();
        if skeleton.sequence != self.next_sequence {
            let fault = Fault::Sequence { expected: self.next_sequence, found: skeleton.sequence };
            return Err(fault.to_string());
        }
        if self.head.is_some_and(|head| head != skeleton.previous) {
            return Err(Fault::Link.to_string());
        }
        if self.tail.last.as_ref().is_some_and(|last| last.skeleton().kind == Kind::End) {
            return Err(Fault::AfterEnd.to_string());
        }
        if self.next_sequence == 0 {
            if let Some(fault) = self.checker.take(&frame).first() {
                return Err(fault.to_string());
            }
        } else if !frame.content_is_committed() {
            return Err(Fault::Content.to_string());
        } else if may_be_torn && !is_sound(&self.checker, &frame) {
            return Err(Fault::Signature.to_string());
        }
        if let Some(invocation) = requested(&frame) {
            self.tail.requests += 1;
            self.tail.last_invocation = invocation.or(self.tail.last_invocation);
            self.tail.last_executed = Some(self.next_sequence);
        }
        self.head = Some(frame.link());
        self.next_sequence += 1;
        self.tail.last = Some(frame);
        Ok(())
    }

    fn finish(self, file: &dyn DiskFile, whole: u64, length: u64) -> io::Result<Result<Tail, String>> {
        let behind = whole_record_behind(file, whole, &self.checker)?;
        Ok(match behind {
            Some(sequence) if !is_torn(file, whole, length)? => Err(format!(
                "record {}: its lengths are damaged, since record {sequence} stands whole behind that place",
                self.next_sequence
            )),
            _ => Ok(self.end_at(whole, length)),
        })
    }

    fn end_at(self, whole: u64, length: u64) -> Tail {
        Tail { whole, torn: length - whole, identity: self.checker.identity().cloned(), ..self.tail }
    }
}

/// Whether what begins at `begin` is a write that a power cut tore: a piece of it never came to the disk, and the disk
/// shows zeros there. No record has a whole sector of zeros, nor three of them at its beginning, so this tells a torn write
/// from damage even where later pieces of the same write are there.
fn is_torn(file: &dyn DiskFile, begin: u64, length: u64) -> io::Result<bool> {
    if begin + UNSYNCED_MAX < length {
        return Ok(false);
    }
    let mut rest = Vec::new();
    ReadFrom::new(file, begin).take(UNSYNCED_MAX).read_to_end(&mut rest)?;
    let to_next = (begin.next_multiple_of(SECTOR_BYTES as u64) - begin) as usize;
    let (first, others) = rest.split_at(to_next.min(rest.len()));
    let unwritten = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    Ok((first.len() >= 3 && unwritten(first))
        || others.chunks_exact(SECTOR_BYTES).any(unwritten)
        || (rest.len() >= 3 && unwritten(&rest)))
}

/// Whether a piece of a sealed content that ends at `end` never came to the disk. What is sealed looks random, so it has
/// neither a sector of zeros nor three of them where its last sector ends or begins.
fn is_sealed_and_torn(frame: &Frame, end: u64) -> bool {
    let Stored::Sealed(sealed) = frame.content() else { return false };
    let bytes = sealed.bytes();
    let begin = end - bytes.len() as u64;
    let to_next = (begin.next_multiple_of(SECTOR_BYTES as u64) - begin) as usize;
    let (first, others) = bytes.split_at(to_next.min(bytes.len()));
    std::iter::once(first)
        .chain(others.chunks(SECTOR_BYTES))
        .any(|part| part.len() >= 3 && part.iter().all(|byte| *byte == 0))
}

/// The number of the line that `frame` permits, if it does: `Some(None)` when its content was removed.
fn requested(frame: &Frame) -> Option<Option<u64>> {
    if frame.skeleton().kind != Kind::Request {
        return None;
    }
    let Stored::Present { bytes, .. } = frame.content() else { return Some(None) };
    match Content::decode(Kind::Request, bytes) {
        Ok(Content::Request(request)) => Some(Some(request.invocation)),
        _ => Some(None),
    }
}

/// The number of a record of this session that stands whole behind `offset`, where reading came to its end. A length
/// announces at most one record, so no more than that is left there.
fn whole_record_behind(file: &dyn DiskFile, offset: u64, checker: &Checker) -> io::Result<Option<u64>> {
    let mut rest = Vec::new();
    ReadFrom::new(file, offset).take(RECORD_BYTES_MAX as u64).read_to_end(&mut rest)?;
    let signed = |frame: &Frame| !checker.clone().take(frame).contains(&Fault::Signature);
    Ok(whole_records(&rest).find(signed).map(|frame| frame.skeleton().sequence))
}

/// Whether the file could be locked before the time was over.
pub(crate) fn lock_within(file: &dyn DiskFile, wait: Duration) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        if file.try_lock()? {
            return Ok(true);
        }
        if start.elapsed() >= wait {
            return Ok(false);
        }
        thread::sleep(LOCK_RETRY);
    }
}
