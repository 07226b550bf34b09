//! All that a node keeps, held against each other and against what others keep.
//!
//! A record by itself shows that nothing in it was changed. That it is *all* there is, that its end was not cut off, and
//! that no record is missing, is shown by the node's log, which names each session with the links of its record; and that
//! the log was not put back to an older copy together with everything else, by what others keep: a [`Witness`], or the
//! engineers' own copies of their records.

mod bundle;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::EndCause;
use rs_consent::keys::PublicKey;
use serde::Serialize;
use uuid::Uuid;

use crate::ending::statement_path;
use crate::history::{HistoryError, is_written, record_files};
use crate::keeping::CONTENT_DAYS;
use crate::node_log::{self, Checker, Entry, Event, Head, LOG_NAME, Witness, key_follows};
use crate::record::{
    self, ContentKey, Digest, FILE_HEADER, FrameError, FrameReader, Report, Trust, Verdict, verify_opened,
};

pub use bundle::{
    BUNDLE_FILES_MAX, BUNDLE_LOG_NAME, BundleAudit, BundleFile, BundleFinding, MANIFEST_NAME, Manifest,
    RECORD_NAME, audit_bundle, bundle_file, is_bundle_name,
};

/// Links of a session's record by record number.
pub type Heads = BTreeMap<u64, Digest>;

/// What the node's log, and others, know of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Links of its record.
    pub heads: Heads,
    /// SHA-256 of its end-of-access statement; `None` where none was entered, as in logs of earlier versions.
    pub statement: Option<Digest>,
}

/// What others keep.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// Heads of the node's log, and who keeps each, for people.
    pub log: Vec<(Head, String)>,
    /// Heads of sessions.
    pub sessions: BTreeMap<Uuid, Heads>,
}

impl Witnesses {
    /// Adds a witness file that the operator keeps.
    pub fn add_witness(&mut self, witness: &Witness, name: &str) {
        self.log.push((witness.head, name.to_owned()));
    }

    /// Adds an engineer's copy of a record: all its heads, and the head of the node's log that it names.
    ///
    /// # Errors
    /// The copy's own report, when it does not hold by itself.
    pub fn add_copy(&mut self, copy: &Path, trust: Trust, name: &str) -> Result<(), Box<Report>> {
        let mut heads = Heads::new();
        let report = match File::open(copy) {
            Ok(file) => record::verify(BufReader::new(file), trust),
            Err(_) => record::verify(io::empty(), trust),
        };
        let Some(identity) = report.session.clone().filter(|_| report.faults == 0) else {
            return Err(Box::new(report));
        };
        if let Ok(mut reader) =
            File::open(copy).map_err(FrameError::from).and_then(|file| FrameReader::new(BufReader::new(file)))
        {
            while let Ok(Some(frame)) = reader.next_frame() {
                heads.insert(frame.skeleton().sequence, frame.link());
            }
        }
        self.log.extend(identity.node_log.map(|head| (head, name.to_owned())));
        self.sessions.entry(identity.session_id).or_default().extend(heads);
        Ok(())
    }
}

/// What a check of the log came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogAudit {
    /// Where it lies.
    pub path: PathBuf,
    /// Entry by entry.
    #[serde(flatten)]
    pub report: node_log::Report,
    /// How many heads that others keep it goes through.
    pub witnesses: u64,
}

/// What a check of one record came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordAudit {
    /// Where it lies.
    pub path: PathBuf,
    /// A running session writes it.
    pub live: bool,
    /// How many heads the log, and others, know of it.
    pub heads: u64,
    /// Record by record.
    #[serde(flatten)]
    pub report: Report,
}

/// A session of which the log knows and no record is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRecord {
    /// The session.
    pub session: Uuid,
    /// When it began, if that is known.
    pub started_at: Option<DateTime<Utc>>,
}

/// What a check of a node came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Nothing is wrong anywhere.
    pub intact: bool,
    /// The node's log; `None` where the node never kept one.
    pub log: Option<LogAudit>,
    /// All records, by session id.
    pub records: Vec<RecordAudit>,
    /// Sessions whose records are not there.
    pub missing: Vec<MissingRecord>,
    /// Sessions whose records were deleted by the rules, as the log says.
    pub deleted: Vec<Uuid>,
}

/// What a log says about sessions.
#[derive(Debug, Clone, Default)]
pub struct LogBook {
    /// Heads by session.
    pub heads: BTreeMap<Uuid, Heads>,
    /// When each session began.
    pub started: BTreeMap<Uuid, DateTime<Utc>>,
    /// Why each session ended, as the log says first.
    pub ended: BTreeMap<Uuid, EndCause>,
    /// SHA-256 of the end-of-access statement of each session.
    pub stated: BTreeMap<Uuid, Digest>,
    /// Sessions whose records were deleted by the rules.
    pub deleted: BTreeSet<Uuid>,
    /// Contents that were removed, by session.
    pub removed: BTreeMap<Uuid, Vec<RemovedContents>>,
}

/// Contents that were removed, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedContents {
    /// When.
    pub at: DateTime<Utc>,
    /// How many.
    pub records: u64,
    /// Why, in words.
    pub reason: String,
}

impl LogBook {
    /// Takes what an entry says.
    pub fn take(&mut self, entry: &Entry) {
        match &entry.event {
            Event::SessionStarted { head, .. } => {
                self.started.insert(head.session, entry.wall_time);
                self.head(head);
            }
            Event::SessionEnded { head, cause, .. } => {
                self.ended.entry(head.session).or_insert(*cause);
                self.head(head);
            }
            // The first one counts: a statement is made once.
            Event::EndStated { session, sha256 } => drop(self.stated.entry(*session).or_insert(*sha256)),
            Event::Alive { sessions } => sessions.iter().for_each(|head| self.head(head)),
            Event::ContentsRemoved { session, records, reason } => {
                let removed =
                    RemovedContents { at: entry.wall_time, records: *records, reason: reason.clone() };
                self.removed.entry(*session).or_default().push(removed);
            }
            Event::RecordDeleted { session, .. } => drop(self.deleted.insert(*session)),
            _ => {}
        }
    }

    /// What it says of one session.
    #[must_use]
    pub fn expected(&self, session: Uuid) -> Expected {
        Expected {
            heads: self.heads.get(&session).cloned().unwrap_or_default(),
            statement: self.stated.get(&session).copied(),
        }
    }

    fn head(&mut self, head: &node_log::SessionHead) {
        self.heads.entry(head.session).or_default().insert(head.sequence, head.link);
    }
}

/// A log that was read and checked.
#[derive(Debug)]
pub struct ReadLog {
    /// Entry by entry.
    pub report: node_log::Report,
    /// Knows which heads it goes through.
    pub checker: Checker,
    /// What it says about sessions.
    pub book: LogBook,
}

/// Reads and checks a log file.
///
/// # Errors
/// When it cannot be opened.
pub fn read_log(path: &Path, node: Option<PublicKey>) -> io::Result<ReadLog> {
    let file = BufReader::new(File::open(path)?);
    let mut book = LogBook::default();
    let (report, checker) = node_log::verify(file, node, |entry, _| book.take(entry));
    Ok(ReadLog { report, checker, book })
}

/// Checks a record file, and the end-of-access statement beside it, against themselves, each other and what is expected,
/// and the contents that `key` opens. Only a record that a session writes may lack its end, and the tail of a write under
/// way. `went_on` hears now and then how many bytes were checked since it heard last.
///
/// # Errors
/// When it cannot be read.
pub fn audit_record(
    path: &Path,
    trust: Trust,
    session: Option<Uuid>,
    expected: &Expected,
    key: &ContentKey,
    went_on: WentOn<'_>,
) -> io::Result<RecordAudit> {
    let mut file = File::open(path)?;
    // Asked before the reading: a session that ends meanwhile leaves a record that is whole.
    let live = is_written(&file);
    let whole = if live { whole_bytes(&mut file)? } else { u64::MAX };
    let input = BufReader::with_capacity(1 << 18, Counted { inner: &file, went_on }).take(whole);
    let report = verify_opened(input, trust, &expected.heads, key.clone());
    let heads = expected.heads.len() as u64;
    let mut audit = RecordAudit { path: path.to_owned(), live, heads, report };
    audit.must_be_of(session);
    audit.must_have_its_end(file.metadata()?.len());
    audit.must_be_stated(&statement_path(path), expected.statement)?;
    Ok(audit)
}

/// Hears how many bytes were dealt with since it heard last, so that somebody who waits can be told.
pub type WentOn<'a> = &'a mut dyn FnMut(u64);

/// A reader that says how much was read from it.
struct Counted<'a, R> {
    inner: R,
    went_on: WentOn<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.went_on)(read as u64);
        Ok(read)
    }
}

/// How many bytes of a record that is being written are whole records: what follows is a write under way.
fn whole_bytes(file: &mut File) -> io::Result<u64> {
    let mut whole = u64::MAX;
    if let Ok(mut reader) = FrameReader::new(BufReader::new(&*file)) {
        loop {
            match reader.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) | Err(FrameError::Torn { .. }) => break whole = reader.offset(),
                Err(_) => break,
            }
        }
    }
    file.rewind()?;
    Ok(whole)
}

impl RecordAudit {
    /// A record must be of the session whose name it bears, not a good record of another one.
    fn must_be_of(&mut self, session: Option<Uuid>) {
        let found = self.report.session.as_ref().map(|identity| identity.session_id);
        if let (Some(session), Some(found)) = (session, found)
            && session != found
        {
            let offset = FILE_HEADER.len() as u64;
            self.report.fault(
                Some(0),
                offset,
                format!("this is the record of session {found}, not of {session}"),
            );
        }
    }

    fn must_have_its_end(&mut self, length: u64) {
        if self.report.verdict == Verdict::Open && !self.live {
            self.report.fault(
                Some(self.report.records),
                length,
                "the end is missing: no end record stands here and no session writes this file; records were cut off, \
                 or the agent stopped and has not been started again",
            );
        }
    }
}

/// Checks everything in a node's folder: its log, its records, and each against the other and against `witnesses`. `went_on`
/// hears now and then how many bytes of records were checked, and of how many.
///
/// # Errors
/// When a file or folder that is there cannot be read.
pub fn audit_node(
    folder: &Path,
    sessions: &Path,
    trust: Trust,
    witnesses: &Witnesses,
    key: &ContentKey,
    went_on: &mut dyn FnMut(u64, u64),
) -> Result<Audit, HistoryError> {
    let node = match trust {
        Trust::Node(key) => Some(key),
        Trust::Recorded => None,
    };
    let mut logs = Logs::read(folder, node)?;
    let mut audits = Vec::new();
    let mut files = record_files(sessions)?;
    files.sort();
    // A record that grows meanwhile is more than was counted; that harms nobody.
    let length = |path: &PathBuf| path.metadata().map_or(0, |about| about.len());
    let (mut done, whole) = (0, files.iter().map(|(_, path)| length(path)).sum());
    for (id, path) in &files {
        let mut expected = logs.expected(*id);
        expected.heads.extend(witnesses.sessions.get(id).into_iter().flatten());
        let audit = audit_record(path, trust, Some(*id), &expected, key, &mut |bytes| {
            done += bytes;
            went_on(done, whole);
        });
        audits.push(audit.map_err(|source| HistoryError::Io { path: path.clone(), source })?);
    }
    let named = |logs: &Logs, audit: &RecordAudit| {
        let identity = audit.report.session.as_ref();
        identity.and_then(|identity| identity.node_log).is_none_or(|head| logs.pass(&head))
    };
    if !audits.iter().all(|audit| named(&logs, audit)) {
        // Sessions may have begun since the log was read.
        logs = Logs::read(folder, node)?;
    }
    for audit in &mut audits {
        logs.must_know(audit);
        logs.tell_true_cause(audit);
        logs.must_tell_of_removals(audit);
    }
    let there: BTreeSet<Uuid> = files.into_iter().map(|(id, _)| id).collect();
    let missing = logs.missing(&there, witnesses);
    let log = logs.audit(folder, witnesses);
    let whole = missing.is_empty() && audits.iter().all(|audit| audit.report.verdict != Verdict::Broken);
    let intact = whole && log.as_ref().is_none_or(|log| log.report.intact);
    Ok(Audit { intact, log, records: audits, missing, deleted: logs.deleted() })
}

/// The log, and those that were set aside before it.
struct Logs {
    current: Option<ReadLog>,
    aside: Vec<ReadLog>,
}

impl Logs {
    fn read(folder: &Path, node: Option<PublicKey>) -> Result<Self, HistoryError> {
        let mut logs = Self { current: None, aside: Vec::new() };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::Io { path, source }
        };
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name == LOG_NAME {
                logs.current = Some(read_log(&path, node).map_err(failed(&path))?);
            } else if name.strip_prefix(LOG_NAME).is_some_and(|rest| rest.starts_with('.')) {
                logs.aside.push(read_log(&path, node).map_err(failed(&path))?);
            }
        }
        Ok(logs)
    }

    fn all(&self) -> impl Iterator<Item = &ReadLog> {
        self.current.iter().chain(&self.aside)
    }

    fn pass(&self, head: &Head) -> bool {
        self.all().any(|log| log.checker.passes(head))
    }

    fn expected(&self, session: Uuid) -> Expected {
        let mut expected = Expected::default();
        for log in self.all() {
            let Expected { heads, statement } = log.book.expected(session);
            expected.heads.extend(heads);
            expected.statement = expected.statement.or(statement);
        }
        expected
    }

    fn deleted(&self) -> Vec<Uuid> {
        self.all().flat_map(|log| log.book.deleted.iter().copied()).collect()
    }

    /// A record that names an entry of the log must be known to the log, at that entry.
    fn must_know(&self, audit: &mut RecordAudit) {
        let Some(identity) = audit.report.session.clone() else { return };
        let Some(head) = identity.node_log else { return };
        let offset = FILE_HEADER.len() as u64;
        if !self.pass(&head) {
            audit.report.fault(
                Some(0),
                offset,
                format!(
                    "it began at entry {} of the node's log {}, which is not there: the log was cut, forked or put back",
                    head.sequence, head.log_id
                ),
            );
        } else if !audit.live && self.expected(identity.session_id).heads.is_empty() {
            audit.report.fault(Some(0), offset, "the node's log does not know this session");
        }
    }

    /// An end that could not be written in time was made by recovery, which knows no cause; the log may.
    fn tell_true_cause(&self, audit: &mut RecordAudit) {
        let Some(session) = audit.report.session.as_ref().map(|identity| identity.session_id) else { return };
        let said = self.all().find_map(|log| log.book.ended.get(&session));
        if let Some(cause) = said.filter(|cause| {
            audit.report.end == Some(EndCause::Interrupted) && **cause != EndCause::Interrupted
        }) {
            let last = audit.report.records.checked_sub(1);
            audit.report.remark(
                last,
                0,
                format!(
                    "the node's log says that this session ended as `{cause}`; that could not be written here in time, so \
                     the end record was made later, as `interrupted`"
                ),
            );
        }
    }

    /// Contents go by the program alone, which tells the log first. A removal before its time is told, with its reason; one
    /// that nobody told of is a fault.
    fn must_tell_of_removals(&self, audit: &mut RecordAudit) {
        let Some(session) = audit.report.session.as_ref().map(|identity| identity.session_id) else { return };
        if self.current.is_none() {
            return;
        }
        let told: Vec<&RemovedContents> =
            self.all().filter_map(|log| log.book.removed.get(&session)).flatten().collect();
        let offset = FILE_HEADER.len() as u64;
        let (gone, explained) =
            (audit.report.contents_removed, told.iter().map(|removed| removed.records).sum::<u64>());
        if gone > explained {
            audit.report.fault(
                None,
                offset,
                format!(
                    "{gone} content(s) are gone, and the node's log tells of {explained}: the others were removed by \
                     nobody who may"
                ),
            );
        }
        let due = audit.report.last_at.map(|ended| ended + TimeDelta::days(CONTENT_DAYS));
        for RemovedContents { at, records, reason } in told {
            let early = due.is_some_and(|due| *at < due);
            let when = if early { "before their time" } else { "when their time was over" };
            audit.report.remark(
                None,
                offset,
                format!("{records} content(s) were removed {when}, on {}: {reason}", at.to_rfc3339()),
            );
        }
    }

    fn missing(&self, there: &BTreeSet<Uuid>, witnesses: &Witnesses) -> Vec<MissingRecord> {
        let deleted: BTreeSet<Uuid> = self.deleted().into_iter().collect();
        let known = self.all().flat_map(|log| log.book.heads.keys().copied());
        let known: BTreeSet<Uuid> = known.chain(witnesses.sessions.keys().copied()).collect();
        known
            .into_iter()
            .filter(|session| !there.contains(session) && !deleted.contains(session))
            .map(|session| {
                let started_at = self.all().find_map(|log| log.book.started.get(&session).copied());
                MissingRecord { session, started_at }
            })
            .collect()
    }

    fn audit(&self, folder: &Path, witnesses: &Witnesses) -> Option<LogAudit> {
        let path = folder.join(LOG_NAME);
        let Some(log) = &self.current else {
            // Whoever holds a head of it knows that there was one.
            let removed = !witnesses.log.is_empty() || folder.join(node_log::KEY_NAME).exists();
            return removed.then(|| {
                let (mut report, _) = node_log::verify(io::empty(), None, |_, _| {});
                report.findings.clear();
                report.faults = 0;
                report.fault(0, 0, "the log is gone, and there was one");
                LogAudit { path, report, witnesses: 0 }
            });
        };
        let mut report = log.report.clone();
        let mut passed = 0;
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        for (head, name) in &witnesses.log {
            if self.pass(head) {
                passed += 1;
            } else {
                let entry = head.sequence.min(report.entries);
                report.fault(
                    entry,
                    length,
                    format!(
                        "entry {} as {name} knows it is not in this log: it was cut, forked, cloned or put back to an \
                         older copy",
                        head.sequence
                    ),
                );
            }
        }
        // An append may be under way; what counts is the secret for the end as it was read, or a longer log now.
        let follows = log.checker.next_key().map(|key| key_follows(folder, &key));
        let grown = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > length) || {
            read_log(&path, None).is_ok_and(|now| now.report.entries > report.entries)
        };
        if report.intact && matches!(follows, Some(Ok(false))) && !grown {
            report.fault(
                report.entries,
                length,
                "the secret beside the log does not sign the entry that comes next: entries were cut off its end, or \
                 the secret was removed",
            );
        }
        Some(LogAudit { path, report, witnesses: passed })
    }
}
