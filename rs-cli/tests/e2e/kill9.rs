//! The agent is killed in the middle of sessions, again and again.

use std::time::Duration;

use rs_cli::state::Role;
use rs_consent::EndCause;
use uuid::Uuid;

use crate::daemon::{Daemon, until_true};
use crate::records;
use crate::site::{ENDLESS, Site, session_of};

/// How often the agent is killed.
const ROUNDS: usize = 50;
/// The kill comes within this time after the output began to flow.
const MOMENT_MAX_MS: u64 = 200;
/// The bytes that an engineer must have been shown before the agent is killed.
const SHOWN_MIN: u64 = 6 * 1024;

/// Many short lines: some run, some are refused, so that records come as fast as the disk takes them.
fn short_lines() -> impl Iterator<Item = String> {
    (0..2000).map(|n| match n % 20 {
        10 => "Get-Date".to_owned(),
        _ => format!("Get-Nothing{n}"),
    })
}

/// Numbers that follow from a seed; a failure can be looked at again with the seed that is printed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let seed = u64::from_le_bytes(rand_bytes()) | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % (MOMENT_MAX_MS * 1000))
    }
}

fn rand_bytes() -> [u8; 8] {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

/// Two engineers at work: one watches, one types as fast as the node answers.
struct AtWork {
    engineers: [Daemon; 2],
    sessions: [Uuid; 2],
}

impl AtWork {
    fn start(site: &Site) -> Self {
        let watching = site.engineer([ENDLESS]);
        let typing = site.engineer(short_lines());
        let sessions = [session_of(&watching), session_of(&typing)];
        until_true("output flows to both", || {
            let shown = |session| site.received(session).metadata().map_or(0, |about| about.len());
            watching.stdout().contains("OK") && shown(sessions[1]) > SHOWN_MIN
        });
        Self { engineers: [watching, typing], sessions }
    }
}

#[test]
fn sec12_sec24_after_kill_9_all_that_was_shown_is_on_record_and_each_session_has_one_end() {
    let mut site = Site::ready_without_agent();
    let mut moments = Moments::new();
    let mut sessions = Vec::new();
    let mut survivors_gone = Vec::new();
    for round in 0..ROUNDS {
        site.start_agent();
        site.connected();
        let mut work = AtWork::start(&site);
        // Not to wait for anything: the moment of the kill is to be a random one.
        std::thread::sleep(moments.next());
        site.agent().kill9();
        survivors_gone.push(until_true("no worker survives its agent", || site.workers().is_empty()));
        for engineer in &mut work.engineers {
            assert_eq!(engineer.exit_code(), 5, "round {round}: {}", engineer.stderr());
        }
        sessions.extend(work.sessions);
    }
    site.start_agent();
    let shown = sessions.iter().map(|session| check(&site, *session)).sum::<usize>();
    survivors_gone.sort();
    println!(
        "{ROUNDS} kills, {} sessions, {shown} bytes shown, all on record; workers gone after {:?} (median), {:?} (longest)",
        sessions.len(),
        survivors_gone[ROUNDS / 2],
        survivors_gone[ROUNDS - 1],
    );
    assert_eq!(site.records().len(), sessions.len(), "no session without an engineer");
    assert!(survivors_gone[ROUNDS - 1] <= Duration::from_secs(1), "sec08");
}

/// One session after the restart; returns how much the engineer was shown.
fn check(site: &Site, session: Uuid) -> usize {
    let shown = std::fs::read(site.received(session)).expect("the engineer's copy");
    let record = std::fs::read(site.record(session)).expect("the node's record");
    assert_eq!(records::is_prefix(&shown, &record), Ok(()), "{session}: shown and not on record");
    assert!(shown.len() > 2000, "the session was in the middle of its work");
    assert_eq!(records::ends(&site.record(session)), [EndCause::Interrupted], "{session}");
    let verified = site.machine.run(&format!("session verify {session}"));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    let copy = site.role(Role::Engineer).join("received").join(format!("{session}.record"));
    // The engineer's copy has no end: it is whole as far as it goes, and never taken for complete.
    assert!(records::ends(&copy).is_empty(), "sec17: {session}");
    shown.len()
}

#[test]
fn sec29_control_a_record_that_lost_what_was_shown_is_found_out() {
    let mut site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    site.agent().kill9();
    assert_eq!(engineer.exit_code(), 5);
    let shown = std::fs::read(site.received(session)).expect("the engineer's copy");
    let record = std::fs::read(site.record(session)).expect("the node's record");
    assert_eq!(records::is_prefix(&shown, &record), Ok(()));
    // As if the last record had been shown before it was durable.
    let cut = shown.len() - 100;
    std::fs::write(site.record(session), &record[..cut]).expect("own file");
    site.start_agent();
    let record = std::fs::read(site.record(session)).expect("the node's record");
    assert!(records::is_prefix(&shown, &record).is_err(), "the check bites");
    assert_eq!(records::ends(&site.record(session)), [EndCause::Interrupted], "it is brought to its end");
}
