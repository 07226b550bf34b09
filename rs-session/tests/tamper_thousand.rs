//! A transcript of a thousand records under every change of one byte, of one record, and of its end; and clean ones that
//! must not be suspected.
//!
//! Every byte is flipped, each on its own: some 700,000 changes. The verifier reads record by record, and what it says
//! about record *k* depends on records 0 to *k* alone; so for each change it is taken up with the state that it has before
//! *k* instead of from the beginning. That this is the same is checked on a sample with the verifier as it is.
//!
//! `TAMPER_SHARD=i/n` looks at each n-th byte from the i-th on (default 0/97); `TAMPER_CLEAN=N` at N clean transcripts
//! (default 500). `scripts/tamper` runs all of it.

mod common;

use std::collections::BTreeMap;
use std::io::Read as _;

use common::{Story, at, clock, file};
use rs_consent::EndCause;
use rs_session::journal::{Recovery, recover};
use rs_session::record::{
    Chain, Checker, Content, Draft, FILE_HEADER, Fault, Frame, FrameReader, NoteContent, Signer, Trust,
    Verdict, verify, verify_with,
};

const RECORDS: usize = 1000;

fn thousand() -> Story {
    let mut story = Story::begin();
    let mut invocation = 0;
    while story.frames.len() < RECORDS - 1 {
        match story.frames.len() % 5 {
            1 => {
                invocation += 1;
                story.request(invocation, "Get-Process | Select-Object Id");
            }
            4 => story.receipt(),
            _ => story.output(invocation.max(1), "Id\n--\n 1\n"),
        }
    }
    story.end(EndCause::Exit);
    assert_eq!(story.frames.len(), RECORDS);
    story
}

/// What a verifier leaves out; the suite must notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Links,
    Signatures,
}

impl Without {
    fn looks_at(self, fault: &Fault) -> bool {
        match self {
            Self::Nothing => !fault.is_remark(),
            Self::Links => !fault.is_remark() && !matches!(fault, Fault::Link),
            Self::Signatures => !fault.is_remark() && !matches!(fault, Fault::Signature | Fault::Certificate),
        }
    }
}

/// The record at which a reader that begins at record `from`, with the state `checker`, finds the first fault.
fn first_fault(checker: &Checker, from: usize, bytes: &[u8], stop: usize, without: Without) -> Option<usize> {
    let mut checker = checker.clone();
    let mut reader = FrameReader::new((&FILE_HEADER[..]).chain(bytes)).expect("the header is whole");
    for number in from..=stop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                if checker.take(&frame).iter().any(|fault| without.looks_at(fault)) {
                    return Some(number);
                }
            }
            Ok(None) => return None,
            Err(_) => return Some(number),
        }
    }
    None
}

struct Clean {
    story: Story,
    bytes: Vec<u8>,
    /// Where each record begins, and where the last one ends.
    borders: Vec<usize>,
    /// The state in front of each record.
    states: Vec<Checker>,
}

impl Clean {
    fn new(story: Story) -> Self {
        let bytes = story.file();
        let mut borders = vec![FILE_HEADER.len()];
        let mut states = vec![Checker::new(Some(story.parties.node.public()))];
        for frame in &story.frames {
            borders.push(borders.last().expect("valid") + frame.encode().len());
            let mut state = states.last().expect("valid").clone();
            assert_eq!(state.take(frame), []);
            states.push(state);
        }
        Self { story, bytes, borders, states }
    }

    fn whole(&self, bytes: &[u8]) -> rs_session::record::Report {
        verify(bytes, Trust::Node(self.story.parties.node.public()))
    }

    /// The fault that the verifier finds first when `frames` stand in the file, looked for around `near`.
    fn found(&self, frames: &[Frame], near: usize, without: Without) -> Option<usize> {
        let tail = &file(&frames[near..frames.len().min(near + 4)])[FILE_HEADER.len()..];
        first_fault(&self.states[near], near, tail, near + 3, without)
    }
}

fn shard() -> (usize, usize) {
    let text = std::env::var("TAMPER_SHARD").unwrap_or_else(|_| "0/97".to_owned());
    let (one, of) = text.split_once('/').expect("i/n");
    (one.parse().expect("a number"), of.parse().expect("a number"))
}

#[test]
fn sec28_every_flipped_byte_of_a_thousand_records_is_found_at_its_record() {
    let clean = Clean::new(thousand());
    let (one, of) = shard();
    let mut flips = 0;
    for position in (one..clean.bytes.len()).step_by(of) {
        let flip = [0x01, 0x80, 0x20, 0xff][position % 4];
        if position < FILE_HEADER.len() {
            let mut bytes = clean.bytes.clone();
            bytes[position] ^= flip;
            assert_eq!(clean.whole(&bytes).findings[0].record, None);
            continue;
        }
        let record = clean.borders.partition_point(|border| *border <= position) - 1;
        let begin = clean.borders[record];
        let end = clean.borders[(record + 3).min(RECORDS)];
        let mut rest = clean.bytes[begin..end].to_vec();
        rest[position - begin] ^= flip;
        let found = first_fault(&clean.states[record], record, &rest, record, Without::Nothing);
        assert_eq!(found, Some(record), "byte {position} ^ {flip:#x}");
        flips += 1;
        if flips % 1009 == 1 {
            let mut bytes = clean.bytes.clone();
            bytes[position] ^= flip;
            let report = clean.whole(&bytes);
            assert_eq!((report.verdict, report.findings[0].record), (Verdict::Broken, Some(record as u64)));
            assert_eq!(report.findings[0].offset, begin as u64);
        }
    }
    println!("{flips} of {} bytes flipped, all found", clean.bytes.len());
    assert!(flips > 0);
}

#[test]
fn sec28_each_record_removed_doubled_swapped_and_spliced_is_found_at_its_place() {
    let clean = Clean::new(thousand());
    let frames = &clean.story.frames;
    // Another session, with a record key and an id of its own.
    let mut other = Story::begin();
    other.parties.session = uuid::Uuid::from_u128(99);
    other.parties.record = common::key(98);
    other.chain = Chain::new(other.parties.session);
    other.frames.clear();
    let identity = other.parties.identity();
    let start = rs_session::record::StartContent {
        reason: "another".to_owned(),
        expires_at: at(28_800).wall,
        granted_by: "operator@node-01".to_owned(),
        client: "test/1".to_owned(),
        assignment: None,
    };
    other.push(Draft::start(identity, start).expect("valid"));
    while other.frames.len() < RECORDS {
        other.output(1, "of another session");
    }
    for at in 0..RECORDS {
        let mut doubled = frames.clone();
        doubled.insert(at, frames[at].clone());
        assert_eq!(clean.found(&doubled, at, Without::Nothing), Some(at + 1), "{at} doubled");
        if at + 1 < RECORDS {
            let mut removed = frames.clone();
            removed.remove(at);
            assert_eq!(clean.found(&removed, at, Without::Nothing), Some(at), "{at} removed");
            let mut swapped = frames.clone();
            swapped.swap(at, at + 1);
            assert_eq!(clean.found(&swapped, at, Without::Nothing), Some(at), "{at} and the next swapped");
        }
        let mut spliced = frames.clone();
        spliced[at] = other.frames[at].clone();
        // Record 0 of another session is a good beginning; what follows does not fit it.
        let expected = at.max(1);
        assert_eq!(clean.found(&spliced, at, Without::Nothing), Some(expected), "{at} spliced");
    }
}

#[test]
fn sec28_the_tail_cut_at_each_border_and_each_byte_is_found() {
    let clean = Clean::new(thousand());
    let node = Trust::Node(clean.story.parties.node.public());
    let last = clean.story.frames.last().expect("valid");
    let heads = BTreeMap::from([(last.skeleton().sequence, last.link())]);
    let (_, of) = shard();
    for (record, border) in clean.borders.iter().enumerate().take(RECORDS).step_by(of) {
        let report = verify_with(&clean.bytes[..*border], node, &heads);
        assert_eq!(report.verdict, Verdict::Broken);
        assert_eq!(report.findings[0].record, Some(record as u64), "cut in front of {record}");
    }
    let mut cuts = 0;
    for record in 0..RECORDS {
        let (begin, end) = (clean.borders[record], clean.borders[record + 1]);
        for cut in begin + 1..end {
            let mut reader =
                FrameReader::new((&FILE_HEADER[..]).chain(&clean.bytes[begin..cut])).expect("valid");
            assert!(reader.next_frame().is_err(), "cut to {cut} bytes");
            cuts += 1;
        }
    }
    println!("{cuts} cuts inside records, all found");
}

/// A branch that the same record key signed: whoever could do that in the session's life. Only the link tells.
fn branch(clean: &Clean, record: usize) -> Vec<Frame> {
    let parties = &clean.story.parties;
    let mut chain = Chain::after(parties.session, &clean.story.frames[record - 2]);
    let mut frames = clean.story.frames.clone();
    let draft =
        |text: &str| Draft::new(&Content::Note(NoteContent { text: text.to_owned() })).expect("valid");
    let number = record as u64 - 1;
    chain.append(draft("other"), &parties.record, Signer::Record, [1; 32], &at(number)).expect("valid");
    frames[record] = chain
        .append(draft("branch"), &parties.record, Signer::Record, [2; 32], &at(number + 1))
        .expect("valid");
    frames
}

/// A record that somebody without the key made, and everything behind it fitted to it.
fn rewritten(clean: &Clean, from: usize) -> Vec<Frame> {
    let forger = common::key(77);
    let parties = &clean.story.parties;
    let mut chain = Chain::after(parties.session, &clean.story.frames[from - 1]);
    let mut frames = clean.story.frames[..from].to_vec();
    for number in from..from + 4 {
        let draft = Draft::new(&Content::Note(NoteContent { text: "forged".to_owned() })).expect("valid");
        frames
            .push(chain.append(draft, &forger, Signer::Record, [3; 32], &at(number as u64)).expect("valid"));
    }
    frames
}

#[test]
fn sec28_a_branch_and_a_rewrite_are_found_and_both_controls_fail() {
    let clean = Clean::new(thousand());
    for record in [3, 10, 500, 990] {
        let branched = branch(&clean, record);
        assert_eq!(clean.found(&branched[..=record], record, Without::Nothing), Some(record));
        assert_eq!(
            clean.found(&branched[..=record], record, Without::Links),
            None,
            "the control: without the link check a record of another branch passes"
        );
        let forged = rewritten(&clean, record);
        assert_eq!(clean.found(&forged, record, Without::Nothing), Some(record));
        assert_eq!(
            clean.found(&forged, record, Without::Signatures),
            None,
            "the control: without the signature check a rewritten story passes"
        );
    }
}

/// Clean transcripts of every kind: whole, without some contents, without all, recovered, open with a head.
#[test]
fn sec28_no_clean_transcript_is_suspected() {
    let count: usize = std::env::var("TAMPER_CLEAN").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let directory = tempfile::tempdir().expect("valid");
    for number in 0..count {
        let mut story = Story::begin();
        for line in 0..number % 4 {
            story.request(line as u64 + 1, "Get-Date");
            story.output(line as u64 + 1, &format!("{number}\n"));
        }
        let recovered = number % 5 == 4;
        if !recovered {
            story.receipt();
            story.end([EndCause::Exit, EndCause::Revoked, EndCause::Expired][number % 3]);
        }
        match number % 5 {
            1 => redact(&mut story, |record| record % 2 == 0),
            2 => redact(&mut story, |_| true),
            _ => {}
        }
        let last = story.frames.last().expect("valid");
        let heads = BTreeMap::from([(last.skeleton().sequence, last.link())]);
        let mut bytes = story.file();
        if recovered {
            let path = directory.path().join("cut.record");
            bytes.extend_from_slice(&[0, 0, 2][..number % 3]);
            std::fs::write(&path, &bytes).expect("valid");
            let outcome = recover(&path, &story.parties.node, &clock(9999)).expect("valid");
            assert!(matches!(outcome, Recovery::Ended { .. }), "{outcome:?}");
            bytes = std::fs::read(&path).expect("valid");
        }
        let report = verify_with(&bytes[..], Trust::Node(story.parties.node.public()), &heads);
        assert_eq!((report.verdict, report.faults), (Verdict::Intact, 0), "{number}: {report:?}");
    }
    println!("{count} clean transcripts, none suspected");
}

fn redact(story: &mut Story, which: impl Fn(usize) -> bool) {
    for (number, frame) in story.frames.iter_mut().enumerate() {
        if which(number) {
            *frame = frame.clone().without_content();
        }
    }
}
