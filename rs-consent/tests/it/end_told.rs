//! U10: that the end is near is told once for each end, whatever happens in between.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rs_consent::store::{Act, ConsentStore};
use rs_consent::{AccessLevel, Clock as _, GrantState};

use crate::fixture::*;
use crate::store::Place;

const AHEAD: Duration = Duration::from_secs(15 * 60);

fn told(store: &ConsentStore) -> Vec<DateTime<Utc>> {
    let end = |act| match act {
        Act::GrantExpiring { expires_at, .. } => Some(expires_at),
        _ => None,
    };
    store.log(0, 100).unwrap().into_iter().filter_map(|entry| end(entry.act)).collect()
}

#[test]
fn u10_it_is_told_at_its_time_and_once() {
    let place = Place::new();
    let store = place.open();
    let grant = place.enable(&store, 60);
    place.clock.advance(minutes(45) - Duration::from_secs(1));
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "a second early");
    place.clock.advance(Duration::from_secs(1));
    assert!(store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "at its time");
    for _ in 0..14 {
        place.clock.advance(minutes(1));
        assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "once");
    }
    assert_eq!(told(&store), [grant.deadline.wall]);
}

#[test]
fn u10_neither_a_new_process_nor_a_restart_of_the_machine_tells_it_again() {
    let place = Place::new();
    place.enable(&place.open(), 60);
    place.clock.advance(minutes(50));
    assert!(place.open().tell_of_end(AHEAD, &place.clock.now()).unwrap(), "late is better than never");
    assert!(!place.open().tell_of_end(AHEAD, &place.clock.now()).unwrap(), "another process");
    place.clock.reboot();
    place.clock.advance(minutes(1));
    let store = place.open();
    store.facts(&place.clock.now()).unwrap();
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "another start of the machine");
    assert_eq!(told(&store).len(), 1);
}

#[test]
fn u10_a_grant_that_has_ended_or_is_held_has_no_end_ahead() {
    let place = Place::new();
    let store = place.open();
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "nothing is granted");
    place.enable(&store, 60);
    place.clock.advance(minutes(50));
    store.revoke(&owner(), &place.clock.now()).unwrap();
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "revoked");

    place.enable(&store, 60);
    place.clock.advance(minutes(60));
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "over");
    assert_eq!(store.grants(true, &place.clock.now()).unwrap()[0].state, GrantState::Expired);

    place.enable(&store, 60);
    place.clock.advance(minutes(50));
    store.hold(&place.clock.now()).unwrap();
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "held");
    assert!(told(&store).is_empty());
}

#[test]
fn u10_a_consent_that_moves_the_end_is_told_of_anew_and_one_that_does_not_is_not() {
    let place = Place::new();
    let store = place.open();
    let first = place.enable(&store, 60);
    place.clock.advance(minutes(50));
    assert!(store.tell_of_end(AHEAD, &place.clock.now()).unwrap());
    let now = place.clock.now();
    let raised = store.raise(&consent(AccessLevel::DiagnosticsRepair, 60, now), &now).unwrap();
    assert_eq!(raised.deadline.wall, first.deadline.wall);
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "the end is where it was");

    let longer = place.enable(&store, 120);
    assert!(!store.tell_of_end(AHEAD, &place.clock.now()).unwrap(), "far away again");
    place.clock.advance(minutes(110));
    assert!(store.tell_of_end(AHEAD, &place.clock.now()).unwrap());
    assert_eq!(told(&store), [first.deadline.wall, longer.deadline.wall]);
}
