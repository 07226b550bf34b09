//! What happened on this node: sessions, and what was typed and shown in each.
//!
//! Everything here is read from the record files themselves; there is no index that could disagree with them. Records
//! are read one at a time, so memory does not grow with a transcript.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rs_consent::keys::PublicKey;
use rs_consent::{AccessLevel, EndCause, RequestNumber};
use serde::Serialize;
use uuid::Uuid;

use crate::keeping::{Hold, hold_of};
use crate::node_log::SessionHead;
use crate::record::{
    Content, ContentKey, Frame, FrameError, FrameReader, Kind, OutputData, SessionIdentity, Stored,
};

/// Extension of record files.
pub const RECORD_EXTENSION: &str = "record";
/// Days for which transcripts are kept after the end of their session.
pub const TRANSCRIPT_DAYS: i64 = 90;
/// Days that a listing goes back when no date is given.
pub const HISTORY_DAYS: i64 = 7;

/// The file that holds the record of `session` in `directory`.
#[must_use]
pub fn record_path(directory: &Path, session: Uuid) -> PathBuf {
    directory.join(format!("{}.{RECORD_EXTENSION}", session.hyphenated()))
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// It runs: the agent holds its record open.
    Live,
    /// It has its end record.
    Ended,
    /// No end record and nobody writing: it was cut off, and the agent has not been started since.
    CutOff,
    /// The record cannot be read to its end; `session verify` says where.
    Damaged,
}

impl SessionState {
    /// Every one.
    pub const ALL: &[Self] = &[Self::Live, Self::Ended, Self::CutOff, Self::Damaged];

    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::CutOff => "cut-off",
            Self::Damaged => "damaged",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Live => "it runs: the agent holds its record open",
            Self::Ended => "it has its end record",
            Self::CutOff => {
                "it has no end record and nobody writes: it was cut off, and the agent has not been started since"
            }
            Self::Damaged => "the record cannot be read to its end",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Live => "watch it with `remote-support session watch`",
            Self::Ended => "nothing is to be done",
            Self::CutOff => "start the agent, which completes the record",
            Self::Damaged => {
                "see where with `remote-support session verify SESSION-ID`, keep the file as it is, and compare it with the engineer's copy"
            }
        }
    }
}

/// One session as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// Id of the session.
    pub session_id: Uuid,
    /// How far it is.
    pub state: SessionState,
    /// When it began.
    pub session_start_time: DateTime<Utc>,
    /// When it ended; `None` while it runs.
    pub session_end_time: Option<DateTime<Utc>>,
    /// From start to end, in seconds; so far, while it runs.
    pub duration_seconds: i64,
    /// Why it ended.
    pub end_cause: Option<EndCause>,
    /// Level in force at its start.
    pub access_level: AccessLevel,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// The engineer's key.
    pub engineer_key: PublicKey,
    /// Number of the support request.
    pub support_request: RequestNumber,
    /// Id of the grant.
    pub grant_id: Uuid,
    /// Name of the node.
    pub node_name: String,
    /// How many lines were permitted.
    pub operations: u64,
    /// How many lines were refused.
    pub refusals: u64,
    /// How many contents were removed, by retention or redaction.
    pub contents_removed: u64,
    /// How many contents are sealed and were not opened.
    pub contents_sealed: u64,
    /// How many secrets were masked before they were recorded, in the contents that are there.
    pub masked: u64,
    /// Whether the contents are held past their time, and why.
    pub hold: Option<Hold>,
    /// Where the record lies.
    pub record: PathBuf,
}

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no such session.
    #[error("there is no session {0} on this node; list the sessions with `remote-support history`")]
    NotFound(Uuid),
    /// The record cannot be read.
    #[error("the record {path} cannot be read: {source}")]
    Record {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong.
        source: FrameError,
    },
    /// Reading failed.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// All sessions in `directory` that began at or after `from`, oldest first. A directory that does not exist yet holds
/// none; a file that is no record is passed over.
///
/// # Errors
/// [`HistoryError::Io`] when the directory cannot be read.
pub fn sessions(
    directory: &Path,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
    key: &ContentKey,
) -> Result<Vec<SessionSummary>, HistoryError> {
    let mut sessions: Vec<_> = record_files(directory)?
        .into_iter()
        .filter_map(|(id, path)| summary(&path, id, now, key).ok())
        .filter(|session| session.session_start_time >= from)
        .collect();
    sessions.sort_by_key(|session| (session.session_start_time, session.session_id));
    Ok(sessions)
}

/// The session with this id, however long ago it was.
///
/// # Errors
/// [`HistoryError::NotFound`], or what keeps it from being read.
pub fn session(
    directory: &Path,
    id: Uuid,
    now: DateTime<Utc>,
    key: &ContentKey,
) -> Result<SessionSummary, HistoryError> {
    let path = record_path(directory, id);
    if !path.exists() {
        return Err(HistoryError::NotFound(id));
    }
    summary(&path, id, now, key)
}

/// The record files in `directory`, with the ids that their names say.
///
/// # Errors
/// [`HistoryError::Io`] when the directory exists and cannot be read.
pub fn record_files(directory: &Path) -> Result<Vec<(Uuid, PathBuf)>, HistoryError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(HistoryError::Io { path: directory.to_owned(), source }),
    };
    Ok(entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let named = path.extension().is_some_and(|extension| extension == RECORD_EXTENSION);
            let id = path.file_stem()?.to_str()?.parse().ok()?;
            named.then_some((id, path))
        })
        .collect())
}

fn summary(
    path: &Path,
    id: Uuid,
    now: DateTime<Utc>,
    key: &ContentKey,
) -> Result<SessionSummary, HistoryError> {
    let file = File::open(path).map_err(|source| HistoryError::Io { path: path.to_owned(), source })?;
    let live = is_written(&file);
    let record_error = |source| HistoryError::Record { path: path.to_owned(), source };
    let reader = FrameReader::new(BufReader::new(&file)).map_err(record_error)?;
    let mut reader = reader.opening(key.clone(), None);
    let first = reader.next_frame().map_err(record_error)?;
    let Some((identity, started)) = first.as_ref().and_then(identity) else {
        return Err(HistoryError::NotFound(id));
    };
    let mut summary = SessionSummary {
        session_id: identity.session_id,
        state: if live { SessionState::Live } else { SessionState::CutOff },
        session_start_time: started,
        session_end_time: None,
        duration_seconds: 0,
        end_cause: None,
        access_level: identity.access_level,
        engineer: identity.engineer.id.to_string(),
        engineer_key: identity.engineer.key,
        support_request: identity.support_request,
        grant_id: identity.grant_id,
        node_name: identity.node.name.to_string(),
        operations: 0,
        refusals: 0,
        contents_removed: 0,
        contents_sealed: 0,
        masked: 0,
        hold: hold_at(path, identity.session_id),
        record: path.to_owned(),
    };
    let mut last = started;
    first.iter().for_each(|frame| count(&mut summary, frame));
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                last = frame.skeleton().wall_time;
                count(&mut summary, &frame);
            }
            Ok(None) | Err(FrameError::Torn { .. }) => break,
            Err(_) => {
                summary.state = SessionState::Damaged;
                break;
            }
        }
    }
    let until = summary.session_end_time.unwrap_or(if live { now } else { last });
    summary.duration_seconds = (until - started).num_seconds().max(0);
    Ok(summary)
}

/// The newest record in a file, with the cause if it is the end record; `None` where none can be read. Nothing is
/// verified.
#[must_use]
pub fn record_head(path: &Path) -> Option<(SessionHead, Option<EndCause>)> {
    let mut reader = FrameReader::new(BufReader::new(File::open(path).ok()?)).ok()?;
    let (mut session, mut newest) = (None, None);
    while let Ok(Some(frame)) = reader.next_frame() {
        let skeleton = frame.skeleton();
        session = session.or_else(|| skeleton.session.as_ref().map(|identity| identity.session_id));
        newest = Some((skeleton.sequence, frame.link(), skeleton.end));
    }
    let (sequence, link, end) = newest?;
    Some((SessionHead { session: session?, sequence, link }, end))
}

/// Whether somebody writes to this record now. The lock is given back at once: an agent that starts must be able to
/// take it.
pub(crate) fn is_written(file: &File) -> bool {
    let probe = file.try_lock_shared();
    // Nothing is lost if this fails: the lock ends with the file.
    let _ = file.unlock();
    matches!(probe, Err(fs::TryLockError::WouldBlock))
}

fn identity(frame: &Frame) -> Option<(&SessionIdentity, DateTime<Utc>)> {
    let skeleton = frame.skeleton();
    skeleton.session.as_ref().map(|identity| (identity, skeleton.wall_time))
}

/// A hold that cannot be read holds all the same.
fn hold_at(path: &Path, session: Uuid) -> Option<Hold> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    hold_of(directory, session).unwrap_or_else(|error| {
        let reason = format!("the hold cannot be read: {error}");
        Some(Hold { reason, by: String::new(), at: DateTime::UNIX_EPOCH })
    })
}

/// How many secrets were masked in a content. Most contents hold none, so they are only searched.
fn masked(bytes: &[u8]) -> u64 {
    // What was masked stands last in a content, as a list of objects.
    if !bytes.ends_with(b"}]}") {
        return 0;
    }
    Content::masked(bytes).map_or(0, |masked| masked.len() as u64)
}

fn count(summary: &mut SessionSummary, frame: &Frame) {
    let skeleton = frame.skeleton();
    match frame.content() {
        Stored::Removed => summary.contents_removed += 1,
        Stored::Sealed(_) => summary.contents_sealed += 1,
        Stored::Present { bytes, .. } => summary.masked += masked(bytes),
    }
    match skeleton.kind {
        Kind::Request => summary.operations += 1,
        Kind::Refusal => summary.refusals += 1,
        Kind::End => {
            summary.state = SessionState::Ended;
            summary.session_end_time = Some(skeleton.wall_time);
            summary.end_cause = skeleton.end;
        }
        _ => {}
    }
}

/// One entry of a transcript.
pub use crate::transcript::Row as Entry;
pub use crate::transcript::visible;

/// Reads a record file entry by entry, in bounded memory.
#[derive(Debug)]
pub struct Transcript {
    reader: FrameReader<BufReader<File>>,
    path: PathBuf,
    identity: SessionIdentity,
    first: Option<Entry>,
    done: bool,
}

impl Transcript {
    /// Opens a record; `key` opens the contents that are sealed in it.
    ///
    /// # Errors
    /// [`HistoryError`] when it does not exist or does not begin as a record does.
    pub fn open(path: &Path, key: ContentKey) -> Result<Self, HistoryError> {
        let file = File::open(path).map_err(|source| HistoryError::Io { path: path.to_owned(), source })?;
        let record_error = |source| HistoryError::Record { path: path.to_owned(), source };
        let reader = FrameReader::new(BufReader::new(file)).map_err(record_error)?;
        let mut reader = reader.opening(key, None);
        let torn = FrameError::Torn { missing_at_least: 1 };
        let frame = reader.next_frame().and_then(|frame| frame.ok_or(torn)).map_err(record_error)?;
        let Some((identity, _)) = identity(&frame) else {
            return Err(record_error(FrameError::Contradiction(
                "record 0 does not say what session this is",
            )));
        };
        let identity = identity.clone();
        Ok(Self { reader, path: path.to_owned(), identity, first: Some(entry(&frame)), done: false })
    }

    /// Who, for what, under which consent.
    #[must_use]
    pub const fn identity(&self) -> &SessionIdentity {
        &self.identity
    }
}

impl Iterator for Transcript {
    type Item = Result<Entry, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.done {
            return None;
        }
        match self.reader.next_frame() {
            Ok(Some(frame)) => Some(Ok(entry(&frame))),
            Ok(None) | Err(FrameError::Torn { .. }) => {
                self.done = true;
                None
            }
            Err(source) => {
                self.done = true;
                Some(Err(HistoryError::Record { path: self.path.clone(), source }))
            }
        }
    }
}

pub(crate) fn entry(frame: &Frame) -> Entry {
    let skeleton = frame.skeleton();
    let (content, closed) = match frame.content() {
        Stored::Removed => (None, None),
        Stored::Present { bytes, .. } => (Content::decode(skeleton.kind, bytes).ok(), None),
        Stored::Sealed(sealed) => (None, Some(sealed.closed())),
    };
    Entry {
        sequence: skeleton.sequence,
        kind: skeleton.kind,
        wall_time: skeleton.wall_time,
        boot_time: Duration::from_nanos(skeleton.boot_time_ns),
        content,
        closed,
    }
}

/// A transcript as people read it, in the shape that users of PowerShell transcripts know: a header and a footer
/// between lines of asterisks, and between them each line that was sent with what came back.
///
/// The text is a rendering; the truth is the record. Control characters are made visible, so that content cannot forge
/// a line of the transcript or steer a terminal.
pub fn render(transcript: Transcript) -> impl Iterator<Item = Result<String, HistoryError>> {
    let header = header(transcript.identity());
    std::iter::once(Ok(header)).chain(transcript.filter_map(|entry| match entry {
        Ok(entry) => text(&entry).map(Ok),
        Err(error) => Some(Err(error)),
    }))
}

/// What every line of content begins with, so that none looks like a line of the transcript itself.
const INDENT: &str = "  ";
const STARS: &str = "**********************";

/// The beginning of a transcript: who, for what, under which consent.
#[must_use]
pub fn header(identity: &SessionIdentity) -> String {
    let lines = [
        ("Session", identity.session_id.to_string()),
        ("Node", format!("{} ({})", identity.node.name, identity.node.key.fingerprint())),
        ("Engineer", format!("{} ({})", identity.engineer.id, identity.engineer.key.fingerprint())),
        ("Support request", identity.support_request.to_string()),
        ("Grant", identity.grant_id.to_string()),
        ("Access level", identity.access_level.to_string()),
        ("Terms", format!("{} (sha256 {})", identity.terms.version, identity.terms.sha256)),
        ("Operations", operations(identity)),
    ];
    let body: String =
        lines.iter().map(|(name, value)| format!("{name}: {}\n", visible(value, ""))).collect();
    format!("{STARS}\nRemote support transcript start\n{body}{STARS}\n")
}

/// The lists that counted, and what the consent took out of them.
fn operations(identity: &SessionIdentity) -> String {
    let lists = format!("sha256 {}", identity.catalog_sha256);
    match &identity.scope {
        None => lists,
        Some(scope) if scope.strict_read_only => format!("{}, strict-read-only ({lists})", scope.product),
        Some(scope) => format!("{}, as published ({lists})", scope.product),
    }
}

/// One entry as it stands in the transcript, harmless to print; `None` for what people need not see.
#[must_use]
pub fn text(entry: &Entry) -> Option<String> {
    let at = entry.wall_time.format("%Y-%m-%d %H:%M:%S%.3f UTC");
    let mark = format!("[{} {at}]", entry.sequence);
    let Some(content) = &entry.content else {
        return Some(match entry.closed {
            Some(closed) => format!("{mark} (content sealed: {closed})\n"),
            None => format!("{mark} (content removed)\n"),
        });
    };
    Some(match content {
        Content::Start(start) => format!("{mark} start: {}\n", visible(&start.reason, "")),
        Content::Request(request) => format!("{mark} PS> {}\n", visible(&request.line, ">> ")),
        Content::Refusal(refusal) => {
            let line = visible(&refusal.line, ">> ");
            format!(
                "{mark} PS> {line}\n{mark} refused ({}): {}\n",
                refusal.code,
                visible(&refusal.message, "  ")
            )
        }
        Content::Output(output) => match &output.data {
            OutputData::Text(text) | OutputData::Objects(text) | OutputData::Error(text) => {
                format!("{INDENT}{}\n", visible(text.strip_suffix('\n').unwrap_or(text), INDENT))
            }
        },
        Content::Finished(finished) => {
            let status = serde_json::to_value(finished.status).ok()?;
            let message =
                if finished.message.is_empty() { String::new() } else { format!(": {}", finished.message) };
            format!(
                "{mark} {} after {} ms{}\n",
                status.as_str()?,
                finished.elapsed_ms,
                visible(&message, "  ")
            )
        }
        Content::Interrupt(_) => format!("{mark} interrupted by the engineer\n"),
        Content::Approval(approval) => {
            format!("{mark} approval: {}\n", visible(&approval.step.to_string(), "  "))
        }
        Content::Note(note) => format!("{mark} note: {}\n", visible(&note.text, "  ")),
        Content::End(end) => {
            let message = visible(&end.message, "  ");
            format!(
                "{STARS}\nRemote support transcript end\nEnd time: {at}\nCause: {} ({message})\n{STARS}\n",
                end.cause
            )
        }
        Content::Receipt => return None,
    })
}
