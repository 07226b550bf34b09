//! A store that was put back or copied: the grant in it is held until the owner gives a fresh consent (SEC10).

use std::fs;

use rs_consent::store::Act;
use rs_consent::{Clock as _, EndCause, Gate, GrantState};

use crate::fixture::*;
use crate::store::Place;

/// The store's file; each act of consent has moved all that was written out of the log and into it.
fn copy(place: &Place) -> Vec<u8> {
    fs::read(place.path()).unwrap()
}

/// Puts an older file back, as a restore does it: without the log of the newer one.
fn put_back(place: &Place, older: &[u8]) {
    for tail in ["sqlite-wal", "sqlite-shm"] {
        let _there_may_be_none = fs::remove_file(place.path().with_extension(tail));
    }
    fs::write(place.path(), older).unwrap();
}

/// A consent, its copy, and the revoke that the copy does not know.
fn revoked_after_copy(place: &Place) -> Vec<u8> {
    let store = place.open();
    place.enable(&store, 480);
    drop(store);
    let older = copy(place);
    let store = place.open();
    store.revoke(&owner(), &place.clock.now()).unwrap();
    older
}

#[test]
fn sec10_a_store_that_was_put_back_lets_nobody_in_until_consent_is_given_anew() {
    let place = Place::new();
    let older = revoked_after_copy(&place);
    put_back(&place, &older);

    let store = place.open();
    let facts = store.facts(&place.clock.now()).unwrap();
    assert!(facts.held, "the consent is there again, and holds nothing open");
    assert_eq!(facts.grant.map(|grant| grant.state), Some(GrantState::Active));
    let log = store.log(0, 100).unwrap();
    assert!(log.iter().any(|entry| matches!(entry.act, Act::StoreDoubted { .. })), "{log:?}");

    drop(store);
    let store = place.open();
    assert!(store.facts(&place.clock.now()).unwrap().held, "held for good, not once");
    let fresh = place.enable(&store, 60);
    let facts = store.facts(&place.clock.now()).unwrap();
    assert_eq!((facts.held, facts.grant.map(|grant| grant.id)), (false, Some(fresh.id)));
    drop(store);
    assert!(!place.open().facts(&place.clock.now()).unwrap().held, "and it stays confirmed");
}

#[test]
fn sec10_control_without_its_anchor_an_older_store_would_pass_for_the_present_one() {
    let place = Place::new();
    let older = revoked_after_copy(&place);
    put_back(&place, &older);
    // The anchor too goes back, as when a whole machine is put back: nobody inside can tell.
    let anchor = place.path().with_extension("anchor");
    let mark = fs::read_to_string(&anchor).unwrap();
    let (revision, before) = (mark.split("\"revision\":").nth(1).unwrap(), mark.len());
    let number: u64 = revision.split(',').next().unwrap().parse().unwrap();
    let back = mark.replacen(&format!(":{number},"), &format!(":{},", number - 1), 1);
    fs::write(&anchor, &back).unwrap();
    assert_eq!(before, back.len());
    assert!(!place.open().facts(&place.clock.now()).unwrap().held, "the check is what bites above");
}

#[test]
fn sec10_a_store_that_was_copied_elsewhere_without_its_anchor_is_held() {
    let place = Place::new();
    let older = revoked_after_copy(&place);
    let clone = Place::new();
    drop(clone.open());
    fs::remove_file(clone.path().with_extension("anchor")).unwrap_or_default();
    put_back(&clone, &older);
    assert!(clone.open().facts(&clone.clock.now()).unwrap().held);
}

#[test]
fn sec10_a_gate_that_has_seen_more_takes_the_facts_of_the_store_that_was_put_back() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 480);
    drop(store);
    let older = copy(&place);
    let store = place.open();
    place.opened(&store);
    let gate = Gate::new(key(NODE).public());
    assert!(gate.load(store.facts(&place.clock.now()).unwrap()));
    drop(store);
    put_back(&place, &older);

    let store = place.open();
    let facts = store.facts(&place.clock.now()).unwrap();
    assert!(gate.load(facts), "its revision is no lower than what the gate knows");
    assert!(gate.is_held());
    store.revoke(&owner(), &place.clock.now()).unwrap();
    assert!(gate.load(store.facts(&place.clock.now()).unwrap()), "so that a revoke is not ignored");
    gate.shut(EndCause::AgentStopped);
}

#[test]
fn sec10_a_store_that_is_gone_leaves_no_consent_behind() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 480);
    let gate = Gate::new(key(NODE).public());
    assert!(gate.load(store.facts(&place.clock.now()).unwrap()));
    drop(store);
    for tail in ["sqlite", "sqlite-wal", "sqlite-shm"] {
        fs::remove_file(place.path().with_extension(tail)).unwrap_or_default();
    }
    let facts = place.open().facts(&place.clock.now()).unwrap();
    assert_eq!(facts.grant, None);
    assert!(gate.load(facts));
}
