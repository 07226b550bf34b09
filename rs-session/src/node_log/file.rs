//! The one place that appends to the node log, from several processes at once.
//!
//! Each append holds the lock file, reads the last line, and then, in this order:
//!
//! 1. the secret that will sign the entry after the new one is written into the free slot of the key file, and synced;
//! 2. the new lines are written and synced;
//! 3. the slot of the secret that is used up is overwritten with zeros, and synced.
//!
//! A crash between any two leaves the one slot whose public half the last whole line names; the other is overwritten at
//! the next append. A line that was cut off by a crash was never told to anybody, and is dropped then.
//!
//! The key file is written in place, so that it needs no space on a full disk, and so that the old secret is gone from
//! the blocks that held it. Disks that copy on write, and flash that remaps, may keep an old block that only forensics
//! on the bare device can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rs_consent::clock::Clock;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::party::Node;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::chain::{certificate_message, genesis};
use super::entry::{ENTRY_BYTES_MAX, Entry, Event, Head, Line, LineError, SIGNATURE_DIGITS, SessionHead};
use crate::disk::{Disk, DiskFile, ReadFrom, RealDisk};
use crate::journal::lock_within;
use crate::record::{Digest, SignatureText};

/// Name of the log in the node's folder.
pub const LOG_NAME: &str = "node.log";
/// Name of the file with the secret that signs the next entry.
pub const KEY_NAME: &str = "node-log.key";
/// Name of the lock between the processes that append.
const LOCK_NAME: &str = "node-log.lock";
/// The key file before the log has its first entry.
const NEW_KEY_NAME: &str = "node-log.key.new";
/// Longest time that an append waits for other processes.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Length of a secret; the key file has two slots of it.
const SEED_BYTES: usize = 32;
/// Room that is set aside behind the log for what ends something, while there is any: 64 KiB, some 80 entries. What strangers
/// can cause, and what begins something, leaves it as it is (SEC45).
const RESERVE_BYTES: u64 = 64 << 10;

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeLogError {
    /// The file system refused.
    #[error("the node log {path} cannot be written: {source}")]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("another process holds the node log for longer than {} s", LOCK_WAIT.as_secs())]
    Busy,
    /// It cannot be continued.
    #[error("the node log {path} cannot be continued: {explanation}")]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        explanation: String,
    },
    /// An entry could not be made.
    #[error("the entry of the node log cannot be made: {0}")]
    Entry(#[from] LineError),
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The newest entry.
    pub head: Head,
    /// The public key that must sign the next.
    pub next_key: PublicKey,
    /// Number of the store's newest act that the log has.
    pub acts: u64,
}

/// The log of one node. Each process has its own value; they agree by the lock.
///
/// ```
/// use std::sync::Arc;
/// use rs_consent::party::Node;
/// use rs_consent::{SigningKey, SystemClock};
/// use rs_session::node_log::{Event, NodeLog, verify};
///
/// let folder = tempfile::tempdir()?;
/// let key = Arc::new(SigningKey::generate()?);
/// let node = Node { name: "node-01".parse()?, key: key.public() };
/// let log = NodeLog::new(folder.path(), node, Arc::clone(&key), Arc::new(SystemClock::new()));
/// let head = log.append(|_| vec![Event::AgentStopped {}])?;
/// assert_eq!(head.sequence, 1, "entry 0 says whose log it is");
///
/// let text = std::fs::read(log.path())?;
/// let (report, checker) = verify(&text[..], Some(key.public()), |_, _| {});
/// assert!(report.intact && checker.passes(&head));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NodeLog {
    folder: PathBuf,
    path: PathBuf,
    node: Node,
    node_key: Arc<SigningKey>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    /// A sync failed: nobody knows what is on disk, so this process says nothing more.
    dead: AtomicBool,
}

impl std::fmt::Debug for NodeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl NodeLog {
    /// The log of `node` in `folder`, which exists and is private. Nothing is made before the first append.
    #[must_use]
    pub fn new(folder: &Path, node: Node, node_key: Arc<SigningKey>, clock: Arc<dyn Clock>) -> Self {
        Self::on(Arc::new(RealDisk), folder, node, node_key, clock)
    }

    /// As [`NodeLog::new`], with the log (not its key and lock) on any disk.
    #[must_use]
    pub fn on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        node: Node,
        node_key: Arc<SigningKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let path = folder.join(LOG_NAME);
        Self { folder: folder.to_owned(), path, node, node_key, clock, disk, dead: AtomicBool::new(false) }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends what `events` makes of the present end of the log, and returns when it is durable. With no events nothing
    /// is written. Returns the newest head.
    ///
    /// # Errors
    /// [`NodeLogError`]; after a failed sync this value appends nothing any more.
    pub fn append(&self, events: impl FnOnce(&Tail) -> Vec<Event>) -> Result<Head, NodeLogError> {
        let _lock = self.lock()?;
        if self.dead.load(Ordering::SeqCst) {
            return Err(self.io(io::Error::other("a write failed before; restart the program")));
        }
        let mut open = match self.open()? {
            Some(open) => open,
            None => self.begin(None)?,
        };
        let events = events(&open.tail);
        if !events.is_empty() {
            self.write(&mut open, events)?;
        }
        Ok(open.tail.head)
    }

    /// Sets a log that cannot be continued aside, under a name with `suffix`, and begins a new one whose first entry names
    /// where the old one ended as far as it can be read. An act of the owner: nothing before it can be proved by the new log.
    ///
    /// # Errors
    /// [`NodeLogError`].
    pub fn restart(&self, suffix: &str) -> Result<(Head, PathBuf), NodeLogError> {
        let _lock = self.lock()?;
        let predecessor = match fs::read(&self.path) {
            Ok(bytes) => super::verify(&bytes[..], Some(self.node.key), |_, _| {}).1.head(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.io(error)),
        };
        let aside = self.folder.join(format!("{LOG_NAME}.{suffix}"));
        if self.path.exists() {
            fs::rename(&self.path, &aside).map_err(|error| self.io(error))?;
        }
        match fs::remove_file(self.folder.join(KEY_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.io(error)),
            _ => {}
        }
        Ok((self.begin(predecessor)?.tail.head, aside))
    }

    fn io(&self, source: io::Error) -> NodeLogError {
        NodeLogError::Io { path: self.path.clone(), source }
    }

    fn damaged(&self, explanation: impl Into<String>) -> NodeLogError {
        NodeLogError::Damaged { path: self.path.clone(), explanation: explanation.into() }
    }

    fn lock(&self) -> Result<File, NodeLogError> {
        let lock = private(&self.folder.join(LOCK_NAME)).map_err(|error| self.io(error))?;
        match lock_within(&lock, LOCK_WAIT) {
            Ok(true) => Ok(lock),
            Ok(false) => Err(NodeLogError::Busy),
            Err(error) => Err(self.io(error)),
        }
    }

    /// The log as it stands; `None` when there is none yet.
    fn open(&self) -> Result<Option<Open>, NodeLogError> {
        let last = match self.disk.open(&self.path) {
            Ok(file) => last_line(&*file).map_err(|error| self.io(error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Last::default(),
            Err(error) => return Err(self.io(error)),
        };
        let key_path = self.folder.join(KEY_NAME);
        let Some(line) = last.line else {
            return if key_path.exists() { Err(self.damaged("its entries were removed")) } else { Ok(None) };
        };
        let line = Line::decode(&line)
            .map_err(|error| self.damaged(format!("its last entry is damaged: {error}")))?;
        let next_key = line.entry().next_key;
        let new_key = self.folder.join(NEW_KEY_NAME);
        if !key_path.exists() && slots(&new_key).is_ok_and(|slots| slots.holds(&next_key)) {
            fs::rename(&new_key, &key_path).map_err(|error| self.io(error))?;
        }
        let slots = match slots(&key_path) {
            Ok(slots) => slots,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Slots::default(),
            Err(error) => return Err(self.io(error)),
        };
        let Some(used) = slots.find(&next_key) else {
            return Err(self.damaged(
                "the secret beside it does not sign the entry that comes next: entries were cut off, or log or secret \
                 is an older copy",
            ));
        };
        let tail = Tail { head: line.head(), next_key, acts: line.entry().acts };
        Ok(Some(Open { tail, length: last.whole, slots, used }))
    }

    fn begin(&self, predecessor: Option<Head>) -> Result<Open, NodeLogError> {
        let log_id = Uuid::new_v4();
        let first = key_of(&*seed().map_err(|error| self.io(error))?);
        let mut slots = Slots::default();
        *slots.0[0] = *seed().map_err(|error| self.io(error))?;
        let new_key = self.folder.join(NEW_KEY_NAME);
        slots.write_all_to(&new_key).map_err(|error| self.io(error))?;
        let certificate = SignatureText(self.node_key.sign(&certificate_message(log_id, &first.public())));
        let event =
            Event::Begun { node: self.node.clone(), first_key: first.public(), certificate, predecessor };
        let at = Place { sequence: 0, log_id, previous: genesis(log_id), acts: 0 };
        let line = self.line(event, &at, slots.public(0), &first)?;
        self.append_bytes(0, &line.encode(), false)?;
        fs::rename(&new_key, self.folder.join(KEY_NAME)).map_err(|error| self.io(error))?;
        self.disk.sync_directory(&self.folder).map_err(|error| self.io(error))?;
        let tail = Tail { head: line.head(), next_key: line.entry().next_key, acts: 0 };
        Ok(Open { tail, length: line.encode().len() as u64, slots, used: 0 })
    }

    fn write(&self, open: &mut Open, events: Vec<Event>) -> Result<(), NodeLogError> {
        let free = 1 - open.used;
        let mut key = key_of(&open.slots.0[open.used]);
        let mut seeds = Vec::with_capacity(events.len());
        for _ in &events {
            seeds.push(seed().map_err(|error| self.io(error))?);
        }
        let mut tail = open.tail.clone();
        let mut bytes = Vec::new();
        let ends = events.iter().all(Event::ends_something);
        for (event, seed) in events.into_iter().zip(&seeds) {
            let acts = if let Event::Consent { number, .. } = event { number } else { tail.acts };
            let head = tail.head;
            let at = Place { sequence: head.sequence + 1, log_id: head.log_id, previous: head.link, acts };
            let next = key_of(seed);
            let line = self.line(event, &at, next.public(), &key)?;
            bytes.extend(line.encode());
            tail = Tail { head: line.head(), next_key: next.public(), acts };
            key = next;
        }
        if let Some(last) = seeds.last() {
            *open.slots.0[free] = **last;
        }
        let key_path = self.folder.join(KEY_NAME);
        open.slots.write_slot(&key_path, free).map_err(|error| self.io(error))?;
        self.append_bytes(open.length, &bytes, ends)?;
        // What is told from here on is durable; the secret behind it must go. If that fails, it is tried again by the
        // next append, which overwrites this slot.
        open.slots.0[open.used].fill(0);
        open.slots.write_slot(&key_path, open.used).map_err(|error| self.fatal(error))?;
        open.tail = tail;
        Ok(())
    }

    fn line(
        &self,
        event: Event,
        at: &Place,
        next_key: PublicKey,
        key: &SigningKey,
    ) -> Result<Line, NodeLogError> {
        let now = self.clock.now();
        let entry = Entry {
            sequence: at.sequence,
            log_id: at.log_id,
            wall_time: now.wall,
            boot_time_ns: u64::try_from(now.boot.as_nanos()).unwrap_or(u64::MAX),
            boot_id: now.boot_id,
            previous: at.previous,
            next_key,
            acts: at.acts,
            event,
        };
        Ok(Line::sign(entry, key)?)
    }

    /// Writes behind `length`, where the last whole line ends, and syncs. A write that fails is taken back. Only what
    /// `ends` something may use up what is set aside.
    fn append_bytes(&self, length: u64, bytes: &[u8], ends: bool) -> Result<(), NodeLogError> {
        let mut file = match self.disk.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(&self.path),
            opened => opened,
        }
        .map_err(|error| self.io(error))?;
        let mut write = || {
            if file.length()? > length {
                file.truncate(length)?;
            }
            match file.reserve(length + bytes.len() as u64 + RESERVE_BYTES) {
                Err(error) if !ends => Err(error),
                _ => file.append(bytes),
            }
        };
        if let Err(error) = write() {
            // If this fails too, a torn line stays, which the next append drops.
            let _ = file.truncate(length);
            return Err(self.io(error));
        }
        file.sync().map_err(|error| self.fatal(error))
    }

    fn fatal(&self, error: io::Error) -> NodeLogError {
        self.dead.store(true, Ordering::SeqCst);
        self.io(error)
    }
}

struct Place {
    sequence: u64,
    log_id: Uuid,
    previous: Digest,
    acts: u64,
}

/// The log while the lock is held.
struct Open {
    tail: Tail,
    /// Where its last whole line ends.
    length: u64,
    slots: Slots,
    /// The slot of the secret that signs the next entry.
    used: usize,
}

type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// The two slots of the key file.
#[derive(Default)]
struct Slots([Seed; 2]);

impl Slots {
    fn public(&self, slot: usize) -> PublicKey {
        key_of(&self.0[slot]).public()
    }

    fn find(&self, key: &PublicKey) -> Option<usize> {
        (0..self.0.len()).find(|slot| self.public(*slot) == *key)
    }

    fn holds(&self, key: &PublicKey) -> bool {
        self.find(key).is_some()
    }

    fn write_slot(&self, path: &Path, slot: usize) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start((slot * SEED_BYTES) as u64))?;
        file.write_all(&*self.0[slot])?;
        file.sync_all()
    }

    fn write_all_to(&self, path: &Path) -> io::Result<()> {
        let mut file = private(path)?;
        file.set_len(0)?;
        for slot in &self.0 {
            file.write_all(&**slot)?;
        }
        file.sync_all()
    }
}

fn slots(path: &Path) -> io::Result<Slots> {
    let mut file = File::open(path)?;
    let mut slots = Slots::default();
    for slot in &mut slots.0 {
        file.read_exact(&mut **slot)?;
    }
    Ok(slots)
}

/// The newest head that a log names of each session that it does not name as ended. Nothing is verified.
///
/// # Errors
/// When the log exists and cannot be read.
pub fn open_sessions(folder: &Path) -> io::Result<BTreeMap<Uuid, SessionHead>> {
    let mut open = BTreeMap::new();
    for_each_event(folder, |event| match event {
        Event::SessionStarted { head, .. } => drop(open.insert(head.session, head.clone())),
        Event::Alive { sessions } => {
            for head in sessions {
                open.entry(head.session).and_modify(|known| known.clone_from(head));
            }
        }
        Event::SessionEnded { head, .. } => drop(open.remove(&head.session)),
        Event::SessionLost { session } => drop(open.remove(session)),
        _ => {}
    })?;
    Ok(open)
}

/// The sessions whose end-of-access statement a log names. Nothing is verified.
///
/// # Errors
/// When the log exists and cannot be read.
pub fn stated_sessions(folder: &Path) -> io::Result<BTreeSet<Uuid>> {
    let mut stated = BTreeSet::new();
    for_each_event(folder, |event| {
        if let Event::EndStated { session, .. } = event {
            stated.insert(*session);
        }
    })?;
    Ok(stated)
}

/// Every event of the log that can be read, if there is a log.
fn for_each_event(folder: &Path, mut take: impl FnMut(&Event)) -> io::Result<()> {
    let log = match File::open(folder.join(LOG_NAME)) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::new(log);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let longest = (SIGNATURE_DIGITS + 2 + ENTRY_BYTES_MAX) as u64;
        if (&mut log).take(longest).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        if let Ok(line) = Line::decode(&bytes) {
            take(&line.entry().event);
        }
    }
}

/// Whether the secret that lies in `folder` signs the entry behind the one that names `next_key`: then nothing was cut off
/// the end of the log since this secret was written.
///
/// # Errors
/// When the key file exists and cannot be read.
pub fn key_follows(folder: &Path, next_key: &PublicKey) -> io::Result<bool> {
    match slots(&folder.join(KEY_NAME)) {
        Ok(slots) => Ok(slots.holds(next_key)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn key_of(seed: &[u8; SEED_BYTES]) -> SigningKey {
    SigningKey::from_seed(*seed)
}

fn seed() -> io::Result<Seed> {
    let mut seed = Seed::default();
    getrandom::fill(&mut *seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// Opens a file that its owner alone can reach, and makes it where there is none.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[derive(Default)]
struct Last {
    /// The last whole line with its newline.
    line: Option<Vec<u8>>,
    /// Where it ends.
    whole: u64,
}

/// Reads the last whole line from the end, without the rest of the file.
fn last_line(file: &dyn DiskFile) -> io::Result<Last> {
    let length = file.length()?;
    let window = 2 * (SIGNATURE_DIGITS + 2 + ENTRY_BYTES_MAX) as u64;
    let start = length.saturating_sub(window);
    let mut bytes = Vec::new();
    ReadFrom::new(file, start).take(window).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(Last::default()) };
    let begin = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(Last { line: Some(bytes[begin..=end].to_vec()), whole: start + end as u64 + 1 })
}
