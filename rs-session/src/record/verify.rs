//! Checking a whole record file offline, without trusting whoever keeps it.

use std::io::Read;

use chrono::{DateTime, Utc};
use rs_consent::EndCause;
use rs_consent::keys::PublicKey;
use serde::Serialize;

use super::chain::Checker;
use super::frame::{Frame, FrameError, FrameReader, Stored};
use super::skeleton::{Kind, SessionIdentity};

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
    /// The faults, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// What is worth a remark and breaks nothing, for example a wall clock that went back.
    pub remarks: Vec<Finding>,
}

/// Checks a record file from its first byte to its last. Memory does not grow with the contents.
///
/// Reading errors count as findings too: what cannot be read cannot be vouched for.
pub fn verify(input: impl Read, trust: Trust) -> Report {
    let node = match trust {
        Trust::Node(key) => Some(key),
        Trust::Recorded => None,
    };
    let mut check = Check { checker: Checker::new(node), report: Report::empty(), offset: 0 };
    check.file(input);
    check.finish()
}

struct Check {
    checker: Checker,
    report: Report,
    offset: u64,
}

impl Report {
    const fn empty() -> Self {
        Self {
            verdict: Verdict::Broken,
            session: None,
            records: 0,
            contents_removed: 0,
            requests: 0,
            refusals: 0,
            started_at: None,
            last_at: None,
            end: None,
            receipted: None,
            faults: 0,
            findings: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

impl Check {
    fn file(&mut self, input: impl Read) {
        let mut reader = match FrameReader::new(input) {
            Ok(reader) => reader,
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
        if self.report.records == 0 {
            self.fault(
                Some(0),
                "the file holds no record: everything behind its header is missing".to_owned(),
            );
        }
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
        self.count(frame);
    }

    fn count(&mut self, frame: &Frame) {
        let report = &mut self.report;
        let skeleton = frame.skeleton();
        report.records += 1;
        report.started_at = report.started_at.or(Some(skeleton.wall_time));
        report.last_at = Some(skeleton.wall_time);
        report.contents_removed += u64::from(*frame.content() == Stored::Removed);
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
