//! The durable end of the record: nothing leaves it before it is synced to disk.
//!
//! One session has one record file, one writer thread and one [`Journal`] handle. [`Journal::append`] returns a
//! [`DurableRecord`] only after the bytes have been written *and* synced. Nothing else makes a `DurableRecord`, and
//! nothing but a `DurableRecord` can be sent to the engineer: that what was not recorded is never shown is checked by
//! the compiler. Drafts that wait at the same time share one sync (group commit).
//!
//! After the first failed write or sync the journal is dead: every later append fails with the same cause, and the
//! bytes whose sync failed are never synced again, since the kernel may have dropped them without a word.
//!
//! Each record file has room set aside for its end ([`RESERVE_BYTES`]). When the disk has no room for anything else, the
//! journal refuses what else there is and takes only what closes the session: so the end of a session that a full disk
//! ended is on record.

mod recovery;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rs_consent::clock::Clock;
use rs_consent::keys::SigningKey;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::history::record_path;
use crate::record::{
    Chain, ChainError, Committed, Digest, Draft, FILE_HEADER, Frame, Kind, SALT_BYTES, Sealer, Signer,
    Skeleton,
};
use crate::signing::ReadyKey;

pub(crate) use self::recovery::lock_within;
pub use self::recovery::{Known, LOCK_WAIT, Recovered, Recovery, recover, recover_known, recover_on};

/// Most drafts that share one sync.
pub const GROUP_MAX: usize = 128;
/// A group is closed when it has this many bytes: 1 MiB. With the record that closed it, no more than that is ever
/// written and not synced.
pub const GROUP_BYTES_MAX: usize = 1 << 20;
/// Room that each record file keeps for the records that close the session: 32 KiB.
pub const RESERVE_BYTES: u64 = 32 << 10;
/// Room that is set aside at once for the records before the end, where the disk has it: 256 KiB.
const RESERVE_AHEAD_BYTES: u64 = 256 << 10;

/// A record that is on disk. Only a [`Journal`] makes these.
#[derive(Debug, Clone)]
pub struct DurableRecord {
    frame: Frame,
    link: Digest,
}

impl DurableRecord {
    /// What the skeleton says.
    #[must_use]
    pub const fn skeleton(&self) -> &Skeleton {
        self.frame.skeleton()
    }

    /// The record, as it is shown: with its content open, also where the file has it sealed.
    #[must_use]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The hash that the next record points back to.
    #[must_use]
    pub const fn link(&self) -> Digest {
        self.link
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
    /// The system gave no random bytes, without which the record would not hide its content; the session must end.
    #[error("the system gives no random bytes for the record of the session ({cause}); the session ends")]
    Random {
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
    draft: Committed,
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
    /// Closes contents before they go to the disk; `None`: they lie there in clear.
    pub sealer: Option<Box<dyn Sealer>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Journal {
    /// Makes the record file of a new session, 0600, locked against other writers, its name durable, with room for its
    /// beginning and its end.
    ///
    /// # Errors
    /// When the file exists or cannot be made, locked or synced, or the disk has no room for it; then it is not there.
    pub fn create(directory: &Path, session: Uuid, recorder: Recorder) -> io::Result<Self> {
        Self::create_on(&RealDisk, directory, session, recorder)
    }

    /// As [`Journal::create`], on any disk.
    ///
    /// # Errors
    /// As [`Journal::create`].
    pub fn create_on(
        disk: &dyn Disk,
        directory: &Path,
        session: Uuid,
        recorder: Recorder,
    ) -> io::Result<Self> {
        let path = record_path(directory, session);
        let file = disk.create(&path)?;
        begin(disk, file, directory)
            .and_then(|file| Self::over(file, session, recorder))
            // Nobody was let in, so nothing is lost with the file; what cannot be removed is found by `recover`.
            .inspect_err(|_| drop(disk.remove(&path)))
    }

    /// A journal over a file that already holds the file header and nothing else.
    ///
    /// # Errors
    /// When no thread can be started, or the length of the file cannot be read.
    pub fn over(file: Box<dyn DiskFile>, session: Uuid, recorder: Recorder) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let Recorder { record_key, clock, sealer } = recorder;
        let (key, length) = (ReadyKey::new(&record_key)?, file.length()?);
        let writer = Writer {
            file,
            length,
            reserved: length,
            chain: Chain::new(session),
            key,
            clock,
            sealer,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            state: State::Open,
        };
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
        self.submit(draft)?.durable().await
    }

    /// Hands a record over for appending and returns when the commitment to its content is computed: so the writer, behind
    /// which the records of the session queue, has no more to do than must be done in their order. Records become durable in
    /// the order in which they are handed over; those that are handed over while a sync is under way share the next one. How
    /// many may be under way is for the caller to bound.
    ///
    /// # Errors
    /// [`JournalError::Stopped`] and [`JournalError::Random`]; everything else is told by [`Submitted::durable`].
    pub fn submit(&self, draft: Draft) -> Result<Submitted, JournalError> {
        let bytes = draft.content_length();
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| JournalError::Random { cause: Arc::new(io::Error::other(error)) })?;
        let draft = draft.commit(salt);
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { draft, reply }).map_err(|_| JournalError::Stopped)?;
        Ok(Submitted { answer, bytes })
    }
}

/// A record on its way to the disk.
#[derive(Debug)]
pub struct Submitted {
    answer: oneshot::Receiver<Result<DurableRecord, JournalError>>,
    bytes: usize,
}

impl Submitted {
    /// How long its content is, in bytes.
    #[must_use]
    pub const fn content_length(&self) -> usize {
        self.bytes
    }

    /// The record, when it is durable. After it was returned nothing more comes.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`JournalError`]; after [`JournalError::Storage`] no append will succeed again.
    pub async fn durable(&mut self) -> Result<DurableRecord, JournalError> {
        (&mut self.answer).await.map_err(|_| JournalError::Stopped)?
    }
}

/// Header, room and name of a new record file.
fn begin(disk: &dyn Disk, mut file: Box<dyn DiskFile>, directory: &Path) -> io::Result<Box<dyn DiskFile>> {
    if !file.try_lock()? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process writes this record"));
    }
    file.append(&FILE_HEADER)?;
    file.reserve(2 * RESERVE_BYTES)?;
    file.sync()?;
    disk.sync_directory(directory)?;
    Ok(file)
}

/// What the writer still takes.
#[derive(Debug, Clone)]
enum State {
    /// Everything.
    Open,
    /// Only what closes the session: there is no room for more. Nothing was written that is not durable.
    Closing(JournalError),
    /// Nothing: a write or a sync failed.
    Dead(JournalError),
}

struct Writer {
    file: Box<dyn DiskFile>,
    /// How many bytes the file has.
    length: u64,
    /// Room is set aside up to this offset.
    reserved: u64,
    chain: Chain,
    key: ReadyKey,
    clock: Arc<dyn Clock>,
    sealer: Option<Box<dyn Sealer>>,
    /// What waited when the last group was begun and did not fit into it.
    waiting: VecDeque<Job>,
    /// Room for the bytes of the next group.
    spare: Vec<u8>,
    state: State,
}

/// A group as it is being made: records with whoever waits for them, and their bytes one behind the other.
struct Group {
    records: Vec<(oneshot::Sender<Result<DurableRecord, JournalError>>, DurableRecord)>,
    bytes: Vec<u8>,
}

impl Group {
    fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.records.iter().map(|(_, record)| record.skeleton().kind)
    }

    fn ends(&self) -> bool {
        self.kinds().any(|kind| kind == Kind::End)
    }
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        while let Some(first) = self.waiting.pop_front().or_else(|| inbox.recv().ok()) {
            self.commit(first, inbox);
        }
    }

    /// Writes the drafts that wait, syncs once, then answers; never the other way round.
    fn commit(&mut self, first: Job, inbox: &mpsc::Receiver<Job>) {
        let before = self.chain.clone();
        let group = self.group(first, inbox);
        if !group.records.is_empty() {
            let outcome = self.write(&group);
            if outcome.is_err() {
                // What was not written is not in the chain.
                self.chain = before;
            }
            for (reply, record) in group.records {
                drop(reply.send(outcome.clone().map(|()| record)));
            }
        }
        self.spare = group.bytes;
        self.spare.clear();
    }

    /// Gives the drafts that wait their places in the chain. Those that get none are answered at once. What comes while the
    /// group is being made waits for the next one: so a group is as large as the sync before it was slow, and no larger.
    fn group(&mut self, first: Job, inbox: &mpsc::Receiver<Job>) -> Group {
        self.waiting.push_front(first);
        self.waiting.extend(inbox.try_iter());
        let mut group = Group { records: Vec::new(), bytes: std::mem::take(&mut self.spare) };
        while group.records.len() < GROUP_MAX && group.bytes.len() < GROUP_BYTES_MAX {
            let Some(Job { draft, reply }) = self.waiting.pop_front() else { break };
            match self.admit(draft.kind()).and_then(|()| self.encode(draft, &mut group.bytes)) {
                Ok(record) => group.records.push((reply, record)),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        group
    }

    fn admit(&self, kind: Kind) -> Result<(), JournalError> {
        match &self.state {
            State::Open => Ok(()),
            State::Closing(_) if closes(kind) => Ok(()),
            State::Closing(cause) | State::Dead(cause) => Err(cause.clone()),
        }
    }

    /// The record; its bytes for the file go to `stored`.
    fn encode(&mut self, draft: Committed, stored: &mut Vec<u8>) -> Result<DurableRecord, JournalError> {
        let now = self.clock.now();
        let frame = self
            .chain
            .append_committed(draft, &self.key, Signer::Record, &now)
            .map_err(|error| JournalError::Chain(Arc::new(error)))?;
        let sealed = self.sealer.as_ref().map(|sealer| frame.encode_sealed(&**sealer, stored));
        match sealed {
            None => frame.encode_to(stored),
            Some(true) => {}
            // What closes the session is on record in any case.
            Some(false) if closes(frame.skeleton().kind) => {
                frame.clone().without_content().encode_to(stored);
            }
            Some(false) => return Err(self.die(io::Error::other("its content cannot be sealed"))),
        }
        Ok(DurableRecord { frame, link: self.chain.head() })
    }

    fn write(&mut self, group: &Group) -> Result<(), JournalError> {
        let end = self.length + group.bytes.len() as u64;
        self.make_room(end, group.kinds().all(closes))?;
        self.file.append(&group.bytes).map_err(|error| self.die(error))?;
        self.file.sync().map_err(|error| self.die(error))?;
        self.length = end;
        if group.ends() {
            // Gives back what was set aside; a disk that will not take it back has lost no record.
            drop(self.file.truncate(end));
        }
        Ok(())
    }

    /// Keeps [`RESERVE_BYTES`] set aside behind `end`, so that the records that close the session have their room
    /// whatever happens. Those use it up; once nothing else is taken they need not ask.
    fn make_room(&mut self, end: u64, closes: bool) -> Result<(), JournalError> {
        let needed = end + RESERVE_BYTES;
        if needed <= self.reserved || (closes && end <= self.reserved) {
            return Ok(());
        }
        let ahead = needed + RESERVE_AHEAD_BYTES;
        let reserved = match self.file.reserve(ahead) {
            Ok(()) => Ok(ahead),
            Err(_) => self.file.reserve(needed).map(|()| needed),
        };
        self.reserved = reserved.map_err(|error| {
            let error = JournalError::Storage { cause: Arc::new(error) };
            self.state = State::Closing(error.clone());
            error
        })?;
        Ok(())
    }

    fn die(&mut self, error: io::Error) -> JournalError {
        let error = JournalError::Storage { cause: Arc::new(error) };
        self.state = State::Dead(error.clone());
        error
    }
}

/// The records that end an operation and the session; they are small.
const fn closes(kind: Kind) -> bool {
    matches!(kind, Kind::Finished | Kind::End)
}
