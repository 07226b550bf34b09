//! The node's log: what it shows, what is found, and what nobody can sign again.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::key;
use rs_consent::clock::{Clock, ManualClock};
use rs_consent::keys::SigningKey;
use rs_consent::party::Node;
use rs_consent::{AccessLevel, EndCause, RefusalCode};
use rs_session::node_log::{
    Entry, Event, GAP_MAX, GapKind, HEARTBEAT_IDLE, Head, KEY_NAME, LOG_NAME, NodeLog, NodeLogError,
    ProofVerdict, Report, SessionHead, key_follows, prove, verify,
};
use rs_session::record::Digest;
use uuid::Uuid;

fn start() -> DateTime<Utc> {
    common::at(0).wall
}

struct Bed {
    directory: tempfile::TempDir,
    clock: ManualClock,
    log: NodeLog,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("valid");
        let clock = ManualClock::new(start());
        let log = open(directory.path(), &clock);
        Self { directory, clock, log }
    }

    fn enter(&self, event: Event) -> Head {
        self.log.append(|_| vec![event]).expect("valid")
    }

    fn after(&self, seconds: u64, event: Event) -> Head {
        self.clock.advance(Duration::from_secs(seconds));
        self.enter(event)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.log.path()).expect("valid")
    }

    fn entries(&self) -> (Report, Vec<Entry>) {
        let mut entries = Vec::new();
        let (report, _) = verify(&self.bytes()[..], Some(key(1).public()), |entry, fits| {
            entries.extend(fits.then(|| entry.clone()))
        });
        (report, entries)
    }

    fn prove(&self, from: u64, to: u64) -> rs_session::node_log::Proof {
        let (report, entries) = self.entries();
        let at = |seconds| start() + chrono::TimeDelta::seconds(i64::try_from(seconds).expect("valid"));
        prove(&entries, report.intact, at(from), at(to))
    }
}

fn open(folder: &Path, clock: &ManualClock) -> NodeLog {
    let node = Node { name: "node-01".parse().expect("valid"), key: key(1).public() };
    NodeLog::new(folder, node, Arc::new(key(1)), Arc::new(clock.clone()))
}

fn check(bytes: &[u8]) -> Report {
    verify(bytes, Some(key(1).public()), |_, _| {}).0
}

fn started(session: u128) -> Event {
    Event::SessionStarted {
        head: head(session, 0),
        engineer: "erika@example.com".to_owned(),
        engineer_key: key(2).public(),
        support_request: rs_consent::RequestNumber::generate(start()),
        grant: Uuid::from_u128(5),
        access_level: AccessLevel::Diagnostics,
    }
}

fn head(session: u128, sequence: u64) -> SessionHead {
    SessionHead { session: Uuid::from_u128(session), sequence, link: Digest::of(&sequence.to_be_bytes()) }
}

fn ended(session: u128) -> Event {
    Event::SessionEnded { head: head(session, 9), cause: EndCause::Exit, recorded: true }
}

fn agent_started() -> Event {
    Event::AgentStarted { version: "test".to_owned(), interrupted: 0, damaged: 0 }
}

fn alive() -> Event {
    Event::Alive { sessions: Vec::new() }
}

fn refused() -> Event {
    Event::Refused { code: RefusalCode::NoGrant, engineer: None, folded: 3 }
}

/// A log with everything in it.
fn story() -> Bed {
    let bed = Bed::new();
    bed.enter(agent_started());
    bed.after(60, refused());
    bed.after(100, started(7));
    bed.after(60, Event::Alive { sessions: vec![head(7, 4)] });
    bed.after(60, ended(7));
    bed.after(300, alive());
    bed.after(10, Event::AgentStopped {});
    bed
}

#[test]
fn a_clean_log_is_intact_and_its_secret_follows() {
    let bed = story();
    let (report, entries) = bed.entries();
    assert!(report.intact, "{report:?}");
    assert_eq!((report.entries, entries.len()), (8, 8));
    let next = entries.last().expect("valid").next_key;
    assert!(key_follows(bed.directory.path(), &next).expect("valid"));
    assert_eq!(report.head.expect("valid").sequence, 7);
}

#[test]
fn sec31_every_flipped_byte_is_found_at_its_entry() {
    let bed = Bed::new();
    bed.enter(agent_started());
    bed.enter(started(7));
    let clean = bed.bytes();
    for position in 0..clean.len() {
        for flip in [0x01, 0x20, 0xff] {
            let mut bytes = clean.clone();
            bytes[position] ^= flip;
            let report = check(&bytes);
            assert!(!report.intact, "byte {position} ^ {flip:#x} was not found");
            let entry = clean[..position].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(report.findings[0].entry, entry, "byte {position}: {:?}", report.findings);
        }
    }
}

#[test]
fn sec31_removed_repeated_swapped_and_foreign_entries_are_found() {
    let (bed, other) = (story(), story());
    let bytes = bed.bytes();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let foreign = other.bytes();
    let foreign: Vec<&[u8]> = foreign.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at]);
        assert!(!check(&repeated.concat()).intact, "{at} repeated");
        let mut spliced = lines.clone();
        spliced[at] = foreign[at];
        assert!(!check(&spliced.concat()).intact, "{at} of another log");
        for to in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, to);
            assert!(!check(&swapped.concat()).intact, "{at} and {to} swapped");
        }
        let mut removed = lines.clone();
        removed.remove(at);
        let last = at + 1 == lines.len();
        assert_eq!(check(&removed.concat()).intact, last, "{at} removed");
    }
}

/// A cut at the border of an entry leaves a log that holds by itself. The secret on the disk does not fit it.
#[test]
fn sec31_sec30_a_cut_at_each_border_is_found_by_the_secret_beside_it() {
    let bed = story();
    let bytes = bed.bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let cut = &bytes[..=at];
        let (report, checker) = verify(cut, Some(key(1).public()), |_, _| {});
        assert!(report.intact);
        let follows = key_follows(bed.directory.path(), &checker.next_key().expect("valid")).expect("valid");
        assert_eq!(follows, cut.len() == bytes.len(), "cut to {} bytes", cut.len());
    }
}

#[test]
fn sec31_a_cut_at_each_byte_inside_an_entry_is_found() {
    let bytes = story().bytes();
    for length in 0..bytes.len() {
        let at_border = length > 0 && bytes[length - 1] == b'\n';
        assert_eq!(check(&bytes[..length]).intact, at_border, "cut to {length} bytes");
    }
}

/// The forger has the whole disk at time t: the log, the secret of the entry to come, and the node key. Nothing of before
/// can be signed again.
#[test]
fn sec30_with_todays_disk_nobody_signs_yesterday_again() {
    let bed = story();
    let bytes = bed.bytes();
    let secrets = fs::read(bed.directory.path().join(KEY_NAME)).expect("valid");
    let mut forgers: Vec<SigningKey> =
        secrets.chunks(32).map(|seed| SigningKey::from_seed(seed.try_into().expect("valid"))).collect();
    forgers.push(key(1));
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        let honest = rs_session::node_log::Line::decode(lines[at]).expect("valid");
        for forger in &forgers {
            let mut entry = honest.entry().clone();
            entry.event = alive();
            let forged = rs_session::node_log::Line::sign(entry, forger).expect("valid").encode();
            let mut other = lines[..at].to_vec();
            other.push(&forged);
            let report = check(&other.concat());
            assert!(!report.intact, "entry {at} was signed again");
            assert_eq!(report.findings[0].entry, at as u64);
        }
    }
}

/// The control: whoever kept the old secret can rewrite. That is why it is destroyed, and why an older copy of log and
/// secret together needs a witness from elsewhere.
#[test]
fn sec30_control_with_yesterdays_copy_of_log_and_secret_only_a_witness_tells() {
    let bed = story();
    let (log, secret) = (bed.bytes(), fs::read(bed.directory.path().join(KEY_NAME)).expect("valid"));
    let witness = bed.after(60, agent_started());
    bed.after(60, started(8));
    bed.after(60, ended(8));
    fs::write(bed.directory.path().join(LOG_NAME), &log).expect("valid");
    fs::write(bed.directory.path().join(KEY_NAME), &secret).expect("valid");
    bed.after(60, agent_started());
    bed.after(60, alive());
    let (report, checker) = verify(&bed.bytes()[..], Some(key(1).public()), |_, _| {});
    assert!(report.intact, "the control: by itself the forked log holds");
    assert!(!checker.passes(&witness), "the witness shows the fork");
    let older = check(&log).head.expect("valid");
    assert!(checker.passes(&older), "what was before the fork still fits");
}

#[test]
fn sec31_a_log_that_was_cut_or_removed_is_not_continued() {
    for damage in [
        (|path: &Path| fs::remove_file(path).expect("valid")) as fn(&Path),
        |path| fs::write(path, "").expect("valid"),
        |path| {
            let bytes = fs::read(path).expect("valid");
            let border = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("valid");
            fs::write(path, &bytes[..=border]).expect("valid");
        },
        |path| fs::remove_file(path.with_file_name(KEY_NAME)).expect("valid"),
    ] {
        let bed = story();
        damage(bed.log.path());
        let error = bed.log.append(|_| vec![alive()]).unwrap_err();
        assert!(matches!(error, NodeLogError::Damaged { .. }), "{error}");
        let (head, _) = bed.log.restart("set-aside").expect("valid");
        assert_eq!(head.sequence, 0);
        bed.enter(alive());
        assert!(check(&bed.bytes()).intact);
    }
}

/// A crash between any two of the steps of an append.
#[test]
fn a_crash_in_the_middle_of_an_append_is_taken_up() {
    let bed = story();
    let (log, key_file) = (bed.log.path().to_owned(), bed.directory.path().join(KEY_NAME));
    let (log_before, key_before) = (fs::read(&log).expect("valid"), fs::read(&key_file).expect("valid"));
    bed.after(60, agent_started());
    let (log_after, key_after) = (fs::read(&log).expect("valid"), fs::read(&key_file).expect("valid"));
    let both: Vec<u8> = key_before.iter().zip(&key_after).map(|(a, b)| a | b).collect();
    let torn = &log_after[..log_after.len() - 10];
    for (log_bytes, key_bytes, entries) in [
        (&log_before[..], &both, 8),
        (torn, &both, 8),
        (&log_after[..], &both, 9),
        (&log_after[..], &key_after, 9),
    ] {
        fs::write(&log, log_bytes).expect("valid");
        fs::write(&key_file, key_bytes).expect("valid");
        let head = bed.enter(alive());
        assert_eq!(head.sequence, entries);
        let report = check(&bed.bytes());
        assert!(report.intact, "{report:?}");
        let secrets = fs::read(&key_file).expect("valid");
        assert!(secrets.chunks(32).any(|slot| slot == [0; 32]), "the used secret is destroyed");
    }
}

#[test]
fn several_writers_at_once_make_one_chain() {
    let directory = tempfile::tempdir().expect("valid");
    let clock = ManualClock::new(start());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = open(directory.path(), &clock);
            scope.spawn(move || {
                for _ in 0..10 {
                    log.append(|_| vec![alive(), refused()]).expect("valid");
                }
            });
        }
    });
    let report = check(&fs::read(directory.path().join(LOG_NAME)).expect("valid"));
    assert!(report.intact, "{report:?}");
    assert_eq!(report.entries, 81);
}

#[test]
fn sec31_no_access_is_said_exactly_where_it_can_be() {
    let bed = story();
    let cases = [
        (0, 100, ProofVerdict::NoAccess),
        (221, 500, ProofVerdict::TheseSessions), // the session ended at 280
        (281, 590, ProofVerdict::NoAccess),
        (160, 160, ProofVerdict::TheseSessions), // it began at 160
        (0, 159, ProofVerdict::NoAccess),
        (281, 591, ProofVerdict::CannotBeSaid), // the log ends at 590
        (0, 591, ProofVerdict::CannotBeSaid),
    ];
    for (from, to, verdict) in cases {
        let proof = bed.prove(from, to);
        assert_eq!(proof.verdict, verdict, "{from}..{to}: {proof:?}");
    }
    let proof = bed.prove(0, 580);
    assert_eq!(proof.sessions.len(), 1);
    assert_eq!(
        (proof.sessions[0].session, proof.sessions[0].cause),
        (Uuid::from_u128(7), Some(EndCause::Exit))
    );
}

#[test]
fn sec31_gaps_are_named_with_their_reason() {
    let bed = story();
    bed.after(1000, agent_started()); // stopped from 590 to 1590
    bed.after(GAP_MAX.as_secs(), alive()); // at the bound: no gap
    bed.after(GAP_MAX.as_secs() + 1, alive()); // past it: silent
    let kinds = |from, to| bed.prove(from, to).gaps.iter().map(|gap| gap.kind).collect::<Vec<_>>();
    assert_eq!(kinds(600, 700), [GapKind::AgentStopped]);
    assert_eq!(kinds(1591, 2250), []);
    assert_eq!(kinds(2251, 2300), [GapKind::Silent]);
    bed.clock.step_wall(chrono::TimeDelta::hours(-1));
    bed.after(60, alive());
    assert!(kinds(600, 700).contains(&GapKind::ClockStepped), "the clock went back over it");
    let before = DateTime::<Utc>::MIN_UTC;
    let (report, entries) = bed.entries();
    assert_eq!(prove(&entries, report.intact, before, start()).gaps[0].kind, GapKind::BeforeLog);
    assert_eq!(prove(&entries, false, start(), start()).gaps[0].kind, GapKind::LogBroken);
    assert!(2 * HEARTBEAT_IDLE < GAP_MAX, "one heartbeat may be late");
}

#[test]
fn an_event_of_a_newer_version_is_passed_over() {
    let bed = Bed::new();
    bed.enter(Event::Unknown);
    let (report, entries) = bed.entries();
    assert!(report.intact);
    assert_eq!(entries[1].event, Event::Unknown);
}

#[test]
fn the_clock_is_only_read_under_the_lock() {
    let bed = Bed::new();
    let before = bed.clock.now();
    bed.log
        .append(|_| {
            bed.clock.advance(Duration::from_secs(5));
            vec![alive()]
        })
        .expect("valid");
    let (_, entries) = bed.entries();
    assert_eq!(entries[1].wall_time, before.wall + chrono::TimeDelta::seconds(5));
}
