//! Several processes at once, and processes that are killed in the middle: what was acknowledged is there, and the
//! store opens again without repair.
//!
//! The other processes are this test program itself, started for the one ignored test at the end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rs_consent::store::Act;
use rs_consent::{AccessLevel, Clock as _, ConsentStore, GrantState, SystemClock};

use crate::fixture::*;
use crate::store::Place;

const STORE: &str = "RS_CONSENT_TEST_STORE";
const ROUNDS: &str = "RS_CONSENT_TEST_ROUNDS";

/// Another process that enables and revokes in turn, and tells each act after it has returned.
fn other_process(place: &Place, rounds: u32) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::other_process_main", "--exact", "--ignored", "--nocapture"])
        .env(STORE, place.path())
        .env(ROUNDS, rounds.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acts =
        lines.map_while(Result::ok).filter_map(|line: String| line.strip_prefix("act ").map(str::to_owned));
    (child, acts)
}

#[test]
#[ignore = "the other process of the tests in this file"]
fn other_process_main() {
    let (Some(path), Ok(rounds)) = (std::env::var_os(STORE), std::env::var(ROUNDS)) else { return };
    let store = ConsentStore::open(path).unwrap();
    let clock = SystemClock::new();
    for _ in 0..rounds.parse::<u32>().unwrap() {
        let now = clock.now();
        let grant = store.enable(&consent(AccessLevel::Diagnostics, 60, now), &now).unwrap();
        println!("act enabled {}", grant.id);
        let revoked = store.revoke(&owner(), &clock.now()).unwrap();
        println!("act revoked {}", revoked.map(|grant| grant.id.to_string()).unwrap_or_default());
    }
}

#[test]
fn c23_killed_at_any_moment_nothing_acknowledged_is_lost() {
    for told in 1..=20 {
        let place = Place::new();
        let (mut child, mut acts) = other_process(&place, 1_000_000);
        let mut last = String::new();
        for _ in 0..told {
            last = acts.next().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was told between the last line read and the kill counts too.
        last = acts.last().unwrap_or(last);
        let store = place.open();
        let now = SystemClock::new().now();
        let acts: Vec<Act> = store.log(0, 100_000).unwrap().into_iter().map(|entry| entry.act).collect();
        assert!(acts.len() as u64 >= told, "{} of {told}", acts.len());
        let (what, id) = last.split_once(' ').unwrap();
        let grant = store.grant(id.parse().unwrap()).unwrap().unwrap();
        match what {
            "revoked" => assert_eq!(grant.state, GrantState::Revoked, "a revoke that was told holds"),
            _ => assert!(store.log(0, 100_000).unwrap().iter().any(|e| enables(&e.act, id)), "{last}"),
        }
        assert!(!store.facts(&now).unwrap().held);
        store.enable(&consent(AccessLevel::Diagnostics, 60, now), &now).unwrap();
    }
}

fn enables(act: &Act, id: &str) -> bool {
    matches!(act, Act::GrantEnabled { grant, .. } if grant.to_string() == id)
}

#[test]
fn several_processes_at_once_lose_nothing() {
    let place = Place::new();
    let rounds = 10;
    let mut others: Vec<_> = (0..3).map(|_| other_process(&place, rounds)).collect();
    let told: Vec<String> =
        others.iter_mut().flat_map(|(_, acts)| acts.by_ref().collect::<Vec<_>>()).collect();
    for (child, _) in &mut others {
        assert!(child.wait().unwrap().success());
    }
    let log = place.open().log(0, 10_000).unwrap();
    let enabled = log.iter().filter(|entry| matches!(entry.act, Act::GrantEnabled { .. })).count();
    assert_eq!(enabled, 3 * rounds as usize, "every enable is in the log");
    let revoked = |line: &&String| line.starts_with("revoked ") && line.len() > "revoked ".len();
    let ended = log.iter().filter(|entry| matches!(entry.act, Act::GrantRevoked { .. })).count();
    assert_eq!(told.iter().filter(revoked).count(), ended, "every revoke was told to exactly one");
    assert!(
        !log.iter().any(|entry| matches!(entry.act, Act::ClockHeld { .. })),
        "waiting is no clock that went back"
    );
}
