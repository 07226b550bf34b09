//! The durable end of the record: nothing leaves it before it is synced to disk.
//!
//! One session has one record file, one writer thread and one [`Journal`] handle. [`Journal::append`] returns a
//! [`DurableRecord`] only after the bytes have been written *and* synced. Nothing else makes a `DurableRecord`, and
//! nothing but a `DurableRecord` can be sent to the engineer: that what was not recorded is never shown is checked by
//! the compiler. Drafts that wait at the same time share one sync (group commit).
//!
//! After the first failed write or sync the journal is dead: every later append fails with the same cause, and the
//! bytes whose sync failed are never synced again, since the kernel may have dropped them without a word.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rs_consent::EndCause;
use rs_consent::clock::Clock;
use rs_consent::keys::SigningKey;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::history::record_path;
use crate::platform;
use crate::record::{
    Chain, ChainError, Checker, Content, Digest, Draft, EndContent, FILE_HEADER, Fault, Frame, FrameError,
    FrameReader, Kind, RECORD_BYTES_MAX, SALT_BYTES, Signer, Skeleton, Stored, whole_records,
};

/// Most drafts that share one sync.
pub const GROUP_MAX: usize = 128;
/// Longest time that [`recover`] waits for readers who feel for the lock of a record.
pub const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How often it tries meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Where the bytes of a record go. The file is one; tests put failing ones in its place.
pub trait Medium: Send {
    /// Puts `bytes` behind everything that was appended before.
    ///
    /// # Errors
    /// Whatever the operating system says; the caller will not append again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything that was appended would survive a power cut.
    ///
    /// # Errors
    /// Whatever the operating system says; the caller will not sync again.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A record that is on disk. Only a [`Journal`] makes these.
#[derive(Debug, Clone)]
pub struct DurableRecord {
    frame: Frame,
    bytes: Bytes,
}

impl DurableRecord {
    /// What the skeleton says.
    #[must_use]
    pub const fn skeleton(&self) -> &Skeleton {
        self.frame.skeleton()
    }

    /// The record, as it stands in the file.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The record without its content: its place in the chain, and nothing that was typed or printed.
    #[must_use]
    pub fn skeleton_only(&self) -> Vec<u8> {
        self.frame.clone().without_content().encode()
    }

    /// The hash that the next record points back to.
    #[must_use]
    pub fn link(&self) -> Digest {
        self.frame.link()
    }
}

/// Why a record is not durable.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Writing or syncing failed, now or before; the session must end.
    #[error(
        "the record of the session cannot be written ({cause}); the session ends, since nothing may happen off the record"
    )]
    Storage {
        /// What the operating system said.
        cause: Arc<io::Error>,
    },
    /// The draft does not fit the chain.
    #[error("the record was not taken: {0}")]
    Chain(Arc<ChainError>),
    /// The writer is gone.
    #[error("the writer of the record has stopped; the session ends")]
    Stopped,
}

struct Job {
    draft: Draft,
    reply: oneshot::Sender<Result<DurableRecord, JournalError>>,
}

/// The handle of one session's record.
#[derive(Debug, Clone)]
pub struct Journal {
    jobs: mpsc::Sender<Job>,
    session: Uuid,
}

/// What signs and dates the records of a journal.
pub struct Recorder {
    /// The key that lives as long as the session.
    pub record_key: SigningKey,
    /// The clocks of the node.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Journal {
    /// Makes the record file of a new session, 0600, locked against other writers, its name durable.
    ///
    /// # Errors
    /// When the file exists or cannot be made, locked or synced.
    pub fn create(directory: &Path, session: Uuid, recorder: Recorder) -> io::Result<Self> {
        let path = record_path(directory, session);
        let mut file = platform::create_private_new(&path)?;
        lock(&file)?;
        file.write_all(&FILE_HEADER)?;
        file.sync_all()?;
        platform::sync_directory(directory)?;
        Self::over(Box::new(file), session, recorder)
    }

    /// A journal over any medium that already holds the file header.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn over(medium: Box<dyn Medium>, session: Uuid, recorder: Recorder) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let writer = Writer { medium, chain: Chain::new(session), recorder, dead: None };
        thread::Builder::new()
            .name(format!("record-{}", session.simple()))
            .spawn(move || writer.run(&inbox))?;
        Ok(Self { jobs, session })
    }

    /// Id of the session.
    #[must_use]
    pub const fn session(&self) -> Uuid {
        self.session
    }

    /// Appends a record and returns when it is durable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is written all the same; only its confirmation is lost.
    ///
    /// # Errors
    /// [`JournalError`]; after [`JournalError::Storage`] no append will succeed again.
    pub async fn append(&self, draft: Draft) -> Result<DurableRecord, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { draft, reply }).map_err(|_| JournalError::Stopped)?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }
}

struct Writer {
    medium: Box<dyn Medium>,
    chain: Chain,
    recorder: Recorder,
    dead: Option<JournalError>,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let group = std::iter::once(first).chain(inbox.try_iter().take(GROUP_MAX - 1)).collect();
            self.commit(group);
        }
    }

    /// Writes a group of drafts, syncs once, then answers; never the other way round.
    fn commit(&mut self, group: Vec<Job>) {
        let mut written = Vec::with_capacity(group.len());
        for job in group {
            match self.write(job.draft) {
                Ok(record) => written.push((job.reply, record)),
                Err(error) => drop(job.reply.send(Err(error))),
            }
        }
        if !written.is_empty() {
            self.sync();
        }
        for (reply, record) in written {
            let answer = self.dead.clone().map_or(Ok(record), Err);
            drop(reply.send(answer));
        }
    }

    fn write(&mut self, draft: Draft) -> Result<DurableRecord, JournalError> {
        if let Some(cause) = &self.dead {
            return Err(cause.clone());
        }
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| self.die(io::Error::other(error)))?;
        let now = self.recorder.clock.now();
        let frame = self
            .chain
            .append(draft, &self.recorder.record_key, Signer::Record, salt, &now)
            .map_err(|error| JournalError::Chain(Arc::new(error)))?;
        let bytes = Bytes::from(frame.encode());
        self.medium.append(&bytes).map_err(|error| self.die(error))?;
        Ok(DurableRecord { frame, bytes })
    }

    fn sync(&mut self) {
        if self.dead.is_none()
            && let Err(error) = self.medium.sync()
        {
            self.die(error);
        }
    }

    fn die(&mut self, error: io::Error) -> JournalError {
        let error = JournalError::Storage { cause: Arc::new(error) };
        self.dead.get_or_insert(error).clone()
    }
}

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
}

/// Brings the record of a session that was cut off (crash, kill, power) to its end: the torn tail of a write that was
/// never acknowledged is dropped, and an end record with cause `interrupted` is added, signed by the node key.
///
/// A tail in which a whole signed record stands is no torn write but damage, and is left as it is. Readers that feel for
/// the lock of the file are waited for, up to [`LOCK_WAIT`].
///
/// # Errors
/// When the file cannot be read or written. A damaged file is not an error: see [`Recovery::Damaged`].
pub fn recover(path: &Path, node: &SigningKey, clock: &dyn Clock) -> io::Result<Recovery> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if !lock_within(&file, LOCK_WAIT)? {
        return Ok(Recovery::Live);
    }
    let tail = match read_tail(&file)? {
        Ok(tail) => tail,
        Err(explanation) => return Ok(Recovery::Damaged { explanation }),
    };
    if tail.last.as_ref().is_some_and(|frame| frame.skeleton().kind == Kind::End) && tail.torn == 0 {
        return Ok(Recovery::Complete);
    }
    let Some((last, session)) = tail.last.clone().zip(tail.session) else {
        // No record ever became durable, so nobody was let in: there is nothing to keep.
        fs::remove_file(path)?;
        return Ok(Recovery::Ended { records: 0, dropped_bytes: tail.torn });
    };
    file.set_len(tail.whole)?;
    file.seek(SeekFrom::Start(tail.whole))?;
    let records = last.skeleton().sequence + 1;
    if last.skeleton().kind != Kind::End {
        let content = interrupted_end(&tail);
        let end = signed_end(Chain::after(session, &last), content, node, clock)?;
        file.write_all(&end.encode())?;
    }
    file.sync_all()?;
    Ok(Recovery::Ended { records, dropped_bytes: tail.torn })
}

fn interrupted_end(tail: &Tail) -> Content {
    Content::End(EndContent {
        cause: EndCause::Interrupted,
        message: format!(
            "the agent stopped without ending the session; found at its next start, {} byte(s) of an unfinished \
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
    session: Option<Uuid>,
    /// Lines that were permitted, and the number of the last of them.
    requests: u64,
    last_invocation: Option<u64>,
    whole: u64,
    torn: u64,
}

/// Walks the file; the outer error is the system's, the inner one the file's.
fn read_tail(file: &File) -> io::Result<Result<Tail, String>> {
    let length = file.metadata()?.len();
    if length < FILE_HEADER.len() as u64 {
        return Ok(Ok(Tail { torn: length, ..Tail::default() }));
    }
    let mut reader = match FrameReader::new(BufReader::new(file)) {
        Ok(reader) => reader,
        Err(FrameError::Io(error)) => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut checker = Checker::new(None);
    let mut tail = Tail::default();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if let Some(fault) = checker.take(&frame).into_iter().find(|fault| !fault.is_remark()) {
                    return Ok(Err(format!("record {}: {fault}", frame.skeleton().sequence)));
                }
                if let Some(invocation) = requested(&frame) {
                    tail.requests += 1;
                    tail.last_invocation = invocation.or(tail.last_invocation);
                }
                tail.last = Some(frame);
            }
            Ok(None) | Err(FrameError::Torn { .. }) => break,
            Err(FrameError::Io(error)) => return Err(error),
            Err(error) => return Ok(Err(format!("record {}: {error}", checker.records()))),
        }
    }
    tail.whole = reader.offset();
    tail.torn = length - tail.whole;
    tail.session = checker.identity().map(|identity| identity.session_id);
    if let Some(sequence) = whole_record_behind(file, tail.whole, &checker)? {
        let place = checker.records();
        return Ok(Err(format!(
            "record {place}: its lengths are damaged, since record {sequence} stands whole behind that place"
        )));
    }
    Ok(Ok(tail))
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
fn whole_record_behind(mut file: &File, offset: u64, checker: &Checker) -> io::Result<Option<u64>> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(RECORD_BYTES_MAX as u64).read_to_end(&mut rest)?;
    let signed = |frame: &Frame| !checker.clone().take(frame).contains(&Fault::Signature);
    Ok(whole_records(&rest).find(signed).map(|frame| frame.skeleton().sequence))
}

/// Whether the file could be locked before the time was over.
fn lock_within(file: &File, wait: Duration) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if start.elapsed() >= wait => return Ok(false),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
        }
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        fs::TryLockError::Error(error) => error,
        fs::TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another process writes this record")
        }
    })
}
