//! Checking a whole record file offline, without trusting whoever keeps it.

use std::collections::BTreeMap;
use std::io::Read;

use chrono::{DateTime, Utc};
use rs_consent::EndCause;
use rs_consent::keys::PublicKey;
use serde::Serialize;

use super::chain::Checker;
use super::frame::{Frame, FrameError, FrameReader, Stored};
use super::sealed::{Closed, ContentKey};
use super::skeleton::{Kind, SessionIdentity};
use rs_consent::digest::Sha256 as Digest;

/// Most findings that a report lists; the count goes on.
pub const FINDINGS_MAX: usize = 100;

/// Whose word is the root of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// This node key, which the verifier knows from elsewhere.
    Node(PublicKey),
    /// The node key that the file itself names. Then the check shows that the file is whole and of one piece, and
    /// whoever reads the report must compare the key's fingerprint.
    Recorded,
}

/// What the check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every record is what was written, from the first to the end record.
    Intact,
    /// Every record is what was written, and there is no end record: the session still runs, or the end was cut off.
    Open,
    /// Something was changed, removed, added, moved or damaged; the findings say where.
    Broken,
}

impl Verdict {
    /// Every one.
    pub const ALL: &[Self] = &[Self::Intact, Self::Open, Self::Broken];

    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Open => "open",
            Self::Broken => "broken",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Intact => "every record is what was written, from the first to the end record",
            Self::Open => {
                "every record is what was written, and there is no end record: the session still runs, or its end was cut off"
            }
            Self::Broken => "something was changed, removed, added, moved or damaged; the findings say where",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Intact => "nothing is to be done",
            Self::Open => {
                "verify again when the session is over; with the node's log beside it the verifier knows which of the two it is"
            }
            Self::Broken => {
                "keep the file as it is, and compare it with the engineer's copy, an export or a witness"
            }
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Number of the record, counted from 0 in the file; `None` for the file header.
    pub record: Option<u64>,
    /// Offset in the file where that record begins, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub explanation: String,
}

/// The outcome of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The outcome in a word.
    pub verdict: Verdict,
    /// What record 0 says; absent when it could not be read.
    pub session: Option<SessionIdentity>,
    /// How many records were read.
    pub records: u64,
    /// How many of them have had their content removed.
    pub contents_removed: u64,
    /// How many contents are sealed and could not be opened, so that they were not checked.
    pub contents_sealed: u64,
    /// How many lines were permitted and how many refused.
    pub requests: u64,
    /// Lines that were refused.
    pub refusals: u64,
    /// Time of record 0.
    pub started_at: Option<DateTime<Utc>>,
    /// Time of the newest record.
    pub last_at: Option<DateTime<Utc>>,
    /// Cause in the end record.
    pub end: Option<EndCause>,
    /// Newest record that the engineer countersigned.
    pub receipted: Option<u64>,
    /// How many faults there are; may be more than are listed.
    pub faults: u64,
    /// Link of the newest record that fits, by its number.
    pub head: Option<(u64, Digest)>,
    /// The faults, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// What is worth a remark and breaks nothing, for example a wall clock that went back.
    pub remarks: Vec<Finding>,
}

/// Checks a record file from its first byte to its last. Memory does not grow with the contents.
///
/// Reading errors count as findings too: what cannot be read cannot be vouched for.
pub fn verify(input: impl Read, trust: Trust) -> Report {
    verify_with(input, trust, &BTreeMap::new())
}

/// As [`verify`], and checks that the record goes through `heads`: links by record number that somebody else keeps, for
/// example the node's log or the engineer. A cut at the border of a record, or a whole other story, is found by them.
pub fn verify_with(input: impl Read, trust: Trust, heads: &BTreeMap<u64, Digest>) -> Report {
    verify_opened(input, trust, heads, None)
}

/// As [`verify_with`], and opens sealed contents with `key` to check them too. One that was changed is a fault; where the
/// key is another one than the record was sealed with, they stay closed and are counted.
pub fn verify_opened(
    input: impl Read,
    trust: Trust,
    heads: &BTreeMap<u64, Digest>,
    key: ContentKey,
) -> Report {
    let node = match trust {
        Trust::Node(key) => Some(key),
        Trust::Recorded => None,
    };
    let mut check =
        Check { checker: Checker::new(node), report: Report::empty(), offset: 0, heads, foreign: Vec::new() };
    check.file(input, key);
    check.finish()
}

struct Check<'a> {
    checker: Checker,
    report: Report,
    offset: u64,
    heads: &'a BTreeMap<u64, Digest>,
    /// Contents that bear the mark of another key, at most [`FINDINGS_MAX`]: record and offset.
    foreign: Vec<(u64, u64)>,
}

impl Report {
    /// Adds a fault that was found by holding the record against something else.
    pub fn fault(&mut self, record: Option<u64>, offset: u64, explanation: impl Into<String>) {
        self.verdict = Verdict::Broken;
        self.faults += 1;
        push(&mut self.findings, Finding { record, offset, explanation: explanation.into() });
    }

    /// Adds something that is worth a remark and breaks nothing.
    pub fn remark(&mut self, record: Option<u64>, offset: u64, explanation: impl Into<String>) {
        push(&mut self.remarks, Finding { record, offset, explanation: explanation.into() });
    }

    const fn empty() -> Self {
        Self {
            verdict: Verdict::Broken,
            session: None,
            records: 0,
            contents_removed: 0,
            contents_sealed: 0,
            requests: 0,
            refusals: 0,
            started_at: None,
            last_at: None,
            end: None,
            receipted: None,
            faults: 0,
            head: None,
            findings: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

impl Check<'_> {
    fn file(&mut self, input: impl Read, key: ContentKey) {
        let mut reader = match FrameReader::new(input) {
            Ok(reader) => reader.opening(key, None),
            Err(error) => return self.fault(None, error.to_string()),
        };
        loop {
            self.offset = reader.offset();
            match reader.next_frame() {
                Ok(Some(frame)) => self.frame(&frame),
                Ok(None) => break,
                Err(error) => return self.unreadable(&error),
            }
        }
        if reader.opened() > 0 {
            self.foreign();
        }
        if self.report.records == 0 {
            self.fault(
                Some(0),
                "the file holds no record: everything behind its header is missing".to_owned(),
            );
        }
        self.missing();
    }

    fn frame(&mut self, frame: &Frame) {
        let position = self.report.records;
        for fault in self.checker.take(frame) {
            if fault.is_remark() {
                let offset = self.offset;
                push(
                    &mut self.report.remarks,
                    Finding { record: Some(position), offset, explanation: fault.to_string() },
                );
            } else {
                self.fault(Some(position), fault.to_string());
            }
        }
        if self.heads.get(&frame.skeleton().sequence).is_some_and(|link| *link != frame.link()) {
            self.fault(Some(position), "another record stood here when its head was taken".to_owned());
        }
        self.count(frame);
    }

    /// One session has one key: where some contents open, one with the mark of another key was changed.
    fn foreign(&mut self) {
        for (record, offset) in std::mem::take(&mut self.foreign) {
            self.report.faults += 1;
            let explanation =
                "its content is sealed with another key than the rest of the session".to_owned();
            push(&mut self.report.findings, Finding { record: Some(record), offset, explanation });
        }
    }

    /// What was there when a head was taken, and is not there now.
    fn missing(&mut self) {
        let Some((newest, _)) = self.heads.last_key_value() else { return };
        let next = self.report.records;
        if *newest >= next {
            self.fault(
                Some(next),
                format!("records {next} to {newest} are missing: a head of record {newest} was taken"),
            );
        }
    }

    fn count(&mut self, frame: &Frame) {
        let report = &mut self.report;
        let skeleton = frame.skeleton();
        report.records += 1;
        report.started_at = report.started_at.or(Some(skeleton.wall_time));
        report.last_at = Some(skeleton.wall_time);
        report.contents_removed += u64::from(*frame.content() == Stored::Removed);
        if let Stored::Sealed(sealed) = frame.content() {
            report.contents_sealed += 1;
            if sealed.closed() == Closed::OtherKey && self.foreign.len() < FINDINGS_MAX {
                self.foreign.push((report.records - 1, self.offset));
            }
        }
        report.requests += u64::from(skeleton.kind == Kind::Request);
        report.refusals += u64::from(skeleton.kind == Kind::Refusal);
    }

    fn unreadable(&mut self, error: &FrameError) {
        let explanation = format!("{error}; nothing behind this place can be vouched for");
        self.fault(Some(self.report.records), explanation);
    }

    fn fault(&mut self, record: Option<u64>, explanation: String) {
        self.report.faults += 1;
        push(&mut self.report.findings, Finding { record, offset: self.offset, explanation });
    }

    fn finish(mut self) -> Report {
        self.report.session = self.checker.identity().cloned();
        self.report.end = self.checker.end();
        self.report.receipted = self.checker.receipted();
        self.report.head = self.checker.head();
        self.report.verdict = match (self.report.faults, self.report.end) {
            (0, Some(_)) => Verdict::Intact,
            (0, None) => Verdict::Open,
            _ => Verdict::Broken,
        };
        self.report
    }
}

fn push(list: &mut Vec<Finding>, finding: Finding) {
    if list.len() < FINDINGS_MAX {
        list.push(finding);
    }
}
