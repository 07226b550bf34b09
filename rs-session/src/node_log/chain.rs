//! Whether a node log is what was written: entry by entry, then as a whole.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use chrono::{DateTime, Utc};
use rs_consent::keys::PublicKey;
use rs_consent::party::Node;
use serde::Serialize;
use uuid::Uuid;

use super::entry::{ENTRY_BYTES_MAX, Entry, Event, Head, Line, LineError, SIGNATURE_DIGITS};
use crate::record::Digest;

/// Most findings that a report lists; the count goes on.
pub const FINDINGS_MAX: usize = 100;

const LINK: &[u8] = b"remote-support node log link v1\0";
const GENESIS: &[u8] = b"remote-support node log genesis v1\0";
const ENTRY: &[u8] = b"remote-support node log entry v1\0";
const KEY: &[u8] = b"remote-support node log key v1\0";

pub(super) fn link(bytes: &[u8]) -> Digest {
    Digest::of_parts(&[LINK, bytes])
}

pub(super) fn genesis(log_id: Uuid) -> Digest {
    Digest::of_parts(&[GENESIS, log_id.as_bytes()])
}

pub(super) fn entry_message(log_id: Uuid, link: &Digest) -> Vec<u8> {
    [ENTRY, log_id.as_bytes(), link.as_bytes()].concat()
}

pub(super) fn certificate_message(log_id: Uuid, first_key: &PublicKey) -> Vec<u8> {
    [KEY, log_id.as_bytes(), first_key.as_bytes()].concat()
}

/// What is wrong with an entry, in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its number is not the one that comes next.
    #[error(
        "entry {expected} is expected here, and this is entry {found}: entries were removed, repeated or moved"
    )]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// It does not point back to the entry before it.
    #[error("it does not follow from the entry before it")]
    Link,
    /// Its signature is not by the key that the entry before named.
    #[error(
        "its signature is not by the key that the entry before names: it was changed, or somebody else wrote it"
    )]
    Signature,
    /// It is of another log.
    #[error("it belongs to another log ({0})")]
    OtherLog(Uuid),
    /// Entry 0 does not begin a log, or another entry does.
    #[error("a log begins with its first entry, and only there")]
    Beginning,
    /// The node does not vouch for the first key.
    #[error("the node key does not vouch for the key that signs this log")]
    Certificate,
    /// The node is not the one that was expected.
    #[error("the log is of another node key ({found}) than the one that is trusted ({trusted})")]
    OtherNode {
        /// The key that is trusted.
        trusted: PublicKey,
        /// The key in the log.
        found: PublicKey,
    },
    /// The store's acts do not follow each other.
    #[error("act {expected} of the consent store is expected here, and this is act {found}")]
    Acts {
        /// The act that comes next.
        expected: u64,
        /// The act that stands there.
        found: u64,
    },
}

/// The reading end of a log: takes lines in order and says of each whether it fits.
#[derive(Debug, Clone)]
pub struct Checker {
    trusted_node: Option<PublicKey>,
    begun: Option<(Uuid, Node)>,
    /// Links of the entries whose signatures fit.
    links: BTreeMap<u64, Digest>,
    next_sequence: u64,
    next_key: Option<PublicKey>,
    acts: u64,
}

impl Checker {
    /// A checker that trusts `node`, or, with `None`, whatever node key entry 0 names.
    #[must_use]
    pub const fn new(node: Option<PublicKey>) -> Self {
        let links = BTreeMap::new();
        Self { trusted_node: node, begun: None, links, next_sequence: 0, next_key: None, acts: 0 }
    }

    /// The node whose log it is; `None` before entry 0.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.begun.as_ref().map(|(_, node)| node)
    }

    /// Id of the log; `None` before entry 0.
    #[must_use]
    pub fn log_id(&self) -> Option<Uuid> {
        self.begun.as_ref().map(|(id, _)| *id)
    }

    /// The newest entry whose signature fits.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        let (sequence, link) = self.links.last_key_value()?;
        Some(Head { log_id: self.log_id()?, sequence: *sequence, link: *link })
    }

    /// The key that must sign the entry to come.
    #[must_use]
    pub const fn next_key(&self) -> Option<PublicKey> {
        self.next_key
    }

    /// Whether the log goes through `head`.
    #[must_use]
    pub fn passes(&self, head: &Head) -> bool {
        self.log_id() == Some(head.log_id) && self.links.get(&head.sequence) == Some(&head.link)
    }

    /// Takes the next line and returns everything that is wrong with it; nothing when it fits. After a fault it goes on
    /// from what it read, so that each faulty entry is named.
    pub fn take(&mut self, line: &Line) -> Vec<Fault> {
        let mut faults = Vec::new();
        let entry = line.entry();
        self.check_beginning(entry, &mut faults);
        self.check_place(entry, &mut faults);
        self.check_acts(entry, &mut faults);
        let log_id = self.log_id().unwrap_or(entry.log_id);
        if self.next_key.is_some_and(|key| line.is_by(&key, log_id)) {
            self.links.insert(entry.sequence, line.link());
        } else {
            faults.push(Fault::Signature);
        }
        self.next_sequence = entry.sequence.saturating_add(1);
        self.next_key = Some(entry.next_key);
        faults
    }

    fn check_beginning(&mut self, entry: &Entry, faults: &mut Vec<Fault>) {
        let Event::Begun { node, first_key, certificate, .. } = &entry.event else {
            if self.begun.is_none() {
                faults.push(Fault::Beginning);
            }
            return;
        };
        if self.begun.is_some() || entry.sequence != 0 {
            return faults.push(Fault::Beginning);
        }
        if let Some(trusted) = self.trusted_node.filter(|trusted| *trusted != node.key) {
            faults.push(Fault::OtherNode { trusted, found: node.key });
        }
        let vouching = self.trusted_node.unwrap_or(node.key);
        if vouching.verify(&certificate_message(entry.log_id, first_key), &certificate.0).is_err() {
            faults.push(Fault::Certificate);
        }
        self.begun = Some((entry.log_id, node.clone()));
        self.next_key = Some(*first_key);
    }

    fn check_place(&self, entry: &Entry, faults: &mut Vec<Fault>) {
        let expected = self.next_sequence;
        let before = match expected.checked_sub(1) {
            None => Some(genesis(entry.log_id)),
            Some(before) => self.links.get(&before).copied(),
        };
        if entry.sequence != expected {
            faults.push(Fault::Sequence { expected, found: entry.sequence });
        } else if before.is_some_and(|link| link != entry.previous) {
            faults.push(Fault::Link);
        }
        if self.log_id().is_some_and(|id| id != entry.log_id) {
            faults.push(Fault::OtherLog(entry.log_id));
        }
    }

    fn check_acts(&mut self, entry: &Entry, faults: &mut Vec<Fault>) {
        let expected = self.acts + u64::from(matches!(entry.event, Event::Consent { .. }));
        let found = match entry.event {
            Event::Consent { number, .. } => number,
            _ => entry.acts,
        };
        // A log that begins on a node with an older store takes the acts up from there.
        let first = self.acts == 0;
        if entry.acts != found || (found != expected && !first) {
            faults.push(Fault::Acts { expected, found });
        }
        self.acts = found;
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Number of the line, from 0: the entry that should stand there.
    pub entry: u64,
    /// Offset in the file where that line begins, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub explanation: String,
}

/// The outcome of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every entry is what was written.
    pub intact: bool,
    /// The node that entry 0 names.
    pub node: Option<Node>,
    /// How many lines were read.
    pub entries: u64,
    /// Time of entry 0.
    pub began_at: Option<DateTime<Utc>>,
    /// Time of the newest entry.
    pub last_at: Option<DateTime<Utc>>,
    /// The newest entry whose signature fits.
    pub head: Option<Head>,
    /// How many faults there are; may be more than are listed.
    pub faults: u64,
    /// The faults, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a fault that was found by holding the log against something else.
    pub fn fault(&mut self, entry: u64, offset: u64, explanation: impl Into<String>) {
        self.intact = false;
        self.faults += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { entry, offset, explanation: explanation.into() });
        }
    }
}

/// Checks a log from its first byte to its last and hands each entry that could be read to `each`, in order, with
/// whether it fits. Memory grows by some 100 bytes an entry.
///
/// Returns the report and the checker, which knows whether the log passes through a head.
pub fn verify(
    input: impl BufRead,
    node: Option<PublicKey>,
    mut each: impl FnMut(&Entry, bool),
) -> (Report, Checker) {
    let mut checker = Checker::new(node);
    let mut report = Report {
        intact: true,
        node: None,
        entries: 0,
        began_at: None,
        last_at: None,
        head: None,
        faults: 0,
        findings: Vec::new(),
    };
    let mut lines = Lines { input, offset: 0 };
    loop {
        let (place, offset) = (report.entries, lines.offset);
        match lines.next_line() {
            Ok(None) => break,
            Ok(Some(line)) => {
                let faults = checker.take(&line);
                let entry = line.entry();
                report.began_at = report.began_at.or(Some(entry.wall_time));
                report.last_at = Some(entry.wall_time);
                each(entry, faults.is_empty());
                for fault in faults {
                    report.fault(place, offset, fault.to_string());
                }
            }
            Err(LinesError::Line(error)) => report.fault(place, offset, error.to_string()),
            Err(LinesError::Io(error)) => {
                report.fault(
                    place,
                    offset,
                    format!("reading failed: {error}; nothing behind this place is vouched for"),
                );
                break;
            }
        }
        report.entries += 1;
    }
    if report.entries == 0 {
        report.fault(0, 0, "the log is empty: every entry is missing");
    }
    report.node = checker.node().cloned();
    report.head = checker.head();
    (report, checker)
}

enum LinesError {
    Line(LineError),
    Io(io::Error),
}

/// Reads lines of bounded length; one that is too long is passed over to its newline.
struct Lines<R> {
    input: R,
    offset: u64,
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Result<Option<Line>, LinesError> {
        let mut bytes = Vec::new();
        let limit = (SIGNATURE_DIGITS + 2 + ENTRY_BYTES_MAX) as u64;
        let read = io::Read::take(&mut self.input, limit + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(LinesError::Io)?;
        self.offset += read as u64;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 > limit && !bytes.ends_with(b"\n") {
            self.skip_line().map_err(LinesError::Io)?;
            return Err(LinesError::Line(LineError::TooLong));
        }
        Line::decode(&bytes).map(Some).map_err(LinesError::Line)
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let used = newline.map_or(buffer.len(), |at| at + 1);
            let done = newline.is_some() || used == 0;
            self.input.consume(used);
            self.offset += used as u64;
            if done {
                return Ok(());
            }
        }
    }
}
