//! Node log and session records as one ordered stream of events, with a position to go on from.
//!
//! The node log says which sessions there are; each is then read to its end record. So a position holds one number for the
//! log and one for each session that is not forwarded to its end, and nothing for those that are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{Event, EventKind};
use super::{node_log, records};
use crate::history::record_path;
use crate::node_log::{ENTRY_BYTES_MAX, Event as Logged, LOG_NAME, Line};
use crate::record::{ContentKey, FILE_HEADER, Frame, FrameError, FrameReader, Kind, SessionIdentity};

/// How far a collector is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// The next entry of the node log.
    pub log: LogPlace,
    /// For each session that has begun and is not forwarded to its end: the number of its next record.
    #[serde(default)]
    pub sessions: BTreeMap<Uuid, u64>,
}

/// A place in a node log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogPlace {
    /// Id of the log; `None` before anything of it was read. A log that was begun anew is read from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Number of the entry that comes next.
    pub next: u64,
}

/// One entry of the node log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The place behind it.
    pub behind: LogPlace,
    /// The event that it is; `None` for one that is of no interest to a collector.
    pub event: Option<Event>,
    /// The session that begins with it.
    pub session: Option<Uuid>,
}

/// The node's log of its own acts.
pub trait NodeLog: Send + Sync {
    /// Durable entries from `from` on, oldest first, at most `most` of them.
    ///
    /// # Errors
    /// When the log cannot be read now; the caller tries again later.
    fn read(&self, from: LogPlace, most: usize) -> io::Result<Vec<LogEntry>>;
}

/// Events that [`Source::end`] reads and drops at a time.
const SKIPPED_AT_ONCE: usize = 1_000;

/// The stream of events of one node.
pub struct Source {
    node: String,
    log: Arc<dyn NodeLog>,
    directory: PathBuf,
    readers: HashMap<Uuid, Reader>,
    key: ContentKey,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Source {
    /// The events of `node`: those of its `log` and of the record files in `directory`.
    #[must_use]
    pub fn new(node: &str, log: Arc<dyn NodeLog>, directory: PathBuf) -> Self {
        Self { node: node.to_owned(), log, directory, readers: HashMap::new(), key: None }
    }

    /// The same events, with the contents that `key` opens.
    #[must_use]
    pub fn opening(self, key: ContentKey) -> Self {
        Self { key, ..self }
    }

    /// The events behind `position`, at most about `most`, and the position behind them. Nothing that is not durable is
    /// among them: each file is synced before it is read.
    ///
    /// # Errors
    /// When the log or a record cannot be read now; nothing is lost, call again.
    pub fn next(&mut self, position: &Position, most: usize) -> io::Result<(Vec<Event>, Position)> {
        let mut position = position.clone();
        let mut events = Vec::new();
        for entry in self.log.read(position.log, most)? {
            position.log = entry.behind;
            events.extend(entry.event);
            if let Some(session) = entry.session {
                position.sessions.insert(session, 0);
            }
        }
        let open: Vec<_> = position.sessions.keys().copied().collect();
        for session in open {
            if events.len() >= most {
                break;
            }
            self.read_session(session, &mut position, &mut events, most)?;
        }
        Ok((events, position))
    }

    /// The position behind everything that there is now.
    ///
    /// # Errors
    /// As [`Source::next`].
    pub fn end(&mut self) -> io::Result<Position> {
        let mut position = Position::default();
        loop {
            let (events, behind) = self.next(&position, SKIPPED_AT_ONCE)?;
            if events.is_empty() && behind == position {
                return Ok(position);
            }
            position = behind;
        }
    }

    fn read_session(
        &mut self,
        session: Uuid,
        position: &mut Position,
        events: &mut Vec<Event>,
        most: usize,
    ) -> io::Result<()> {
        let path = record_path(&self.directory, session);
        let from = position.sessions.get(&session).copied().unwrap_or(0);
        let reader = self.readers.remove(&session).filter(|reader| reader.sequence == from);
        let mut reader = reader.unwrap_or_default();
        match reader.read(&path, from, &self.key, events, most) {
            Ok(true) => {
                position.sessions.remove(&session);
            }
            Ok(false) => {
                position.sessions.insert(session, reader.sequence);
                self.readers.insert(session, reader);
            }
            Err(Trouble::Io(error)) => return Err(error),
            Err(Trouble::Damaged(why)) => {
                events.push(self.damaged(session, reader.last, &why));
                position.sessions.remove(&session);
            }
        }
        Ok(())
    }

    /// The event that a record cannot be read on; its time is that of the last record that could be.
    fn damaged(&self, session: Uuid, last: DateTime<Utc>, why: &str) -> Event {
        let id = format!("{}/damaged", session.hyphenated());
        let message = format!("the record cannot be read to its end: {why}; `session verify` says more");
        let mut event = Event::new(&id, &self.node, EventKind::RecordDamaged, last, &message);
        event.session_id = Some(session);
        event
    }
}

enum Trouble {
    /// Try again later.
    Io(io::Error),
    /// It will not get better.
    Damaged(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the reading of one record file stands.
#[derive(Default)]
struct Reader {
    identity: Option<SessionIdentity>,
    /// Number of the next record.
    sequence: u64,
    /// Where it begins, behind the file header; only as long as the file is not written anew.
    offset: u64,
    /// Time of the last record that was read.
    last: DateTime<Utc>,
}

impl Reader {
    /// Reads on, and says whether the end record was read. A redaction writes a file anew: what does not fit to what was
    /// read before is read once more from the top.
    fn read(
        &mut self,
        path: &Path,
        from: u64,
        key: &ContentKey,
        events: &mut Vec<Event>,
        most: usize,
    ) -> Result<bool, Trouble> {
        let begun = (events.len(), self.offset);
        match self.read_on(path, from, key, events, most) {
            Err(Trouble::Damaged(_)) if begun.1 > 0 => {
                events.truncate(begun.0);
                *self = Self { last: self.last, ..Self::default() };
                self.read_on(path, from, key, events, most)
            }
            other => other,
        }
    }

    fn read_on(
        &mut self,
        path: &Path,
        from: u64,
        key: &ContentKey,
        events: &mut Vec<Event>,
        most: usize,
    ) -> Result<bool, Trouble> {
        let start = self.offset;
        let session = self.identity.as_ref().map(|identity| identity.session_id);
        let mut frames = durable_records(path, start)?.opening(key.clone(), session);
        while events.len() < most {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                // What is missing is still being written.
                Ok(None) | Err(FrameError::Torn { .. }) => break,
                Err(error) => return Err(trouble(error)),
            };
            self.take(&frame, from, events)?;
            self.offset = start + frames.offset() - HEADER_BYTES;
            if frame.skeleton().kind == Kind::End {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take(&mut self, frame: &Frame, from: u64, events: &mut Vec<Event>) -> Result<(), Trouble> {
        let skeleton = frame.skeleton();
        if skeleton.sequence != self.sequence {
            let (found, expected) = (skeleton.sequence, self.sequence);
            return Err(Trouble::Damaged(format!("record {found} stands where {expected} belongs")));
        }
        if let Some(identity) = &skeleton.session {
            self.identity = Some(identity.clone());
        }
        let Some(identity) = &self.identity else {
            return Err(Trouble::Damaged("record 0 does not say what session this is".to_owned()));
        };
        if skeleton.sequence >= from {
            events.extend(records::event(identity, frame));
        }
        self.sequence += 1;
        self.last = skeleton.wall_time;
        Ok(())
    }
}

const HEADER_BYTES: u64 = FILE_HEADER.len() as u64;

/// The durable records of the file at `path` that begin `offset` bytes behind its header.
fn durable_records(path: &Path, offset: u64) -> Result<FrameReader<impl Read>, Trouble> {
    let mut file = crate::platform::open_to_sync(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Damaged("the file is gone".to_owned()),
        _ => Trouble::Io(error),
    })?;
    let length = file.metadata()?.len();
    // The writer syncs too; but what it has not yet synced must not be told.
    file.sync_data()?;
    if length < HEADER_BYTES + offset {
        return Err(Trouble::Damaged("records were removed from its end".to_owned()));
    }
    let mut header = [0; FILE_HEADER.len()];
    file.read_exact(&mut header)?;
    file.seek(SeekFrom::Start(HEADER_BYTES + offset))?;
    let records = BufReader::new(file.take(length - HEADER_BYTES - offset));
    // The header in front of the records that are wanted, since that is what a reader begins with.
    FrameReader::new(io::Cursor::new(header).chain(records)).map_err(trouble)
}

fn trouble(error: FrameError) -> Trouble {
    match error {
        FrameError::Io(error) => Trouble::Io(error),
        other => Trouble::Damaged(other.to_string()),
    }
}

/// The node log in its file, read on from where it was left.
#[derive(Debug)]
pub struct NodeLogFile {
    path: PathBuf,
    node: String,
    /// Where the last reading ended, and how many bytes are before it.
    known: Mutex<(LogPlace, u64)>,
}

impl NodeLogFile {
    /// The log of `node` in the folder of its files.
    #[must_use]
    pub fn new(folder: &Path, node: &str) -> Self {
        Self { path: folder.join(LOG_NAME), node: node.to_owned(), known: Mutex::default() }
    }

    /// Reads on at `start` bytes. `None` when the line there does not continue `from`: the log was begun anew.
    fn read_on(&self, from: LogPlace, start: u64, most: usize) -> io::Result<Option<(Vec<LogEntry>, u64)>> {
        let mut file = match crate::platform::open_to_sync(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some((Vec::new(), 0))),
            file => file?,
        };
        let length = file.metadata()?.len();
        file.sync_data()?;
        if length < start {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(start))?;
        let mut lines = BufReader::new(file.take(length - start));
        let (mut entries, mut place, mut behind, mut anew) = (Vec::new(), from, start, false);
        while entries.len() < most {
            let mut line = Vec::new();
            let limit = (ENTRY_BYTES_MAX + 256) as u64;
            let bytes = lines.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                // What is missing is still being written.
                break;
            }
            let line = Line::decode(&line).map_err(io::Error::other)?;
            let entry = line.entry();
            let follows = place.id.is_none_or(|id| id == entry.log_id);
            if start > 0 && !(follows && entry.sequence == place.next) {
                return Ok(None);
            }
            behind += bytes as u64;
            anew |= !follows;
            let is_new = anew || entry.sequence >= from.next;
            place = LogPlace { id: Some(entry.log_id), next: entry.sequence + 1 };
            if is_new {
                let session = match &entry.event {
                    Logged::SessionStarted { head, .. } => Some(head.session),
                    _ => None,
                };
                entries.push(LogEntry { behind: place, event: node_log::event(&self.node, entry), session });
            }
        }
        Ok(Some((entries, behind)))
    }
}

impl NodeLog for NodeLogFile {
    fn read(&self, from: LogPlace, most: usize) -> io::Result<Vec<LogEntry>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let start = if known.0 == from { known.1 } else { 0 };
        let (entries, behind) = match self.read_on(from, start, most)? {
            Some(read) => read,
            None => self.read_on(from, 0, most)?.unwrap_or_default(),
        };
        *known = (entries.last().map_or(from, |entry| entry.behind), behind);
        Ok(entries)
    }
}
