//! The store: what it keeps, what several users of it see, and what it does with damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use chrono::TimeDelta;
use rs_consent::AccessLevel::Diagnostics;
use rs_consent::grant::GrantError;
use rs_consent::party::Grantor;
use rs_consent::request::{Closing, RequestState};
use rs_consent::store::{Act, REQUESTS_PENDING_MAX};
use rs_consent::{
    Clock as _, Conditions, Consent, ConsentStore, EndCause, Envelope, Grant, GrantId, GrantState,
    ManualClock, RefusalCode, RequestNumber, StoreError, Terms,
};
use tempfile::TempDir;

use crate::fixture::*;

/// A store in a directory of its own, with a clock.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) clock: ManualClock,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: clock() }
    }

    /// A place where syncs cost nothing, if there is one: for what is done thousands of times.
    fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { dir, clock: clock() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("node").join("store.sqlite")
    }

    pub(crate) fn open(&self) -> ConsentStore {
        ConsentStore::open(self.path()).unwrap()
    }

    pub(crate) fn enable(&self, store: &ConsentStore, minutes: i64) -> Grant {
        let now = self.clock.now();
        store.enable(&consent(Diagnostics, minutes, now), &now).unwrap()
    }

    pub(crate) fn opened(&self, store: &ConsentStore) -> RequestNumber {
        let now = self.clock.now();
        let number = store.submit_request("disk is slow".parse().unwrap(), node(), &now).unwrap().number;
        store.confirm_opening(&opening(number, DESK, now), &now).unwrap();
        number
    }
}

#[test]
fn c23_what_was_granted_is_there_after_reopening() {
    let place = Place::new();
    let store = place.open();
    let granted = place.enable(&store, 60);
    let request = place.opened(&store);
    drop(store);
    let store = place.open();
    let facts = store.facts(&place.clock.now()).unwrap();
    assert_eq!(facts.grant, Some(granted.clone()));
    assert_eq!(
        facts.requests.iter().map(|r| (r.number, r.state())).collect::<Vec<_>>(),
        [(request, RequestState::Open)]
    );
    assert!(!facts.held);
    assert_eq!(store.grant(granted.id).unwrap(), Some(granted));
}

#[test]
fn c14_a_second_enable_changes_the_grant_in_place() {
    let place = Place::new();
    let store = place.open();
    let first = place.enable(&store, 1440);
    place.clock.advance(Duration::from_secs(34));
    let second = place.enable(&store, 60);
    assert_eq!((second.id, second.created_at, second.revision), (first.id, first.created_at, 2));
    assert_eq!(second.updated_at - first.updated_at, TimeDelta::seconds(34));
    assert_eq!(store.grants(true, &place.clock.now()).unwrap(), [second]);
}

#[test]
fn c16_c17_revoking_ends_it_once_and_is_quiet_after_that() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.revoke(&owner(), &place.clock.now()).unwrap(), None);
    let granted = place.enable(&store, 60);
    let revoked = store.revoke(&owner(), &place.clock.now()).unwrap().unwrap();
    assert_eq!((revoked.id, revoked.state), (granted.id, GrantState::Revoked));
    assert_eq!(revoked.ended.unwrap().cause, EndCause::Revoked);
    assert_eq!(store.revoke(&owner(), &place.clock.now()).unwrap(), None);
    let fresh = place.enable(&store, 60);
    assert_ne!(fresh.id, granted.id, "no way leads back from an end");
    assert_eq!(fresh.revision, 1);
    place.clock.advance(minutes(60));
    assert_eq!(store.revoke(&owner(), &place.clock.now()).unwrap(), None, "it has expired");
}

#[test]
fn c13_an_expired_grant_is_recorded_as_such_once() {
    let place = Place::new();
    let store = place.open();
    let granted = place.enable(&store, 60);
    place.clock.advance(minutes(60));
    assert!(store.stamp(&place.clock.now()).unwrap());
    assert!(!store.stamp(&place.clock.now()).unwrap());
    let kept = store.grant(granted.id).unwrap().unwrap();
    assert_eq!((kept.state, kept.ended.unwrap().at), (GrantState::Expired, granted.deadline.wall));
    let acts: Vec<Act> = store.log(0, 100).unwrap().into_iter().map(|entry| entry.act).collect();
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::GrantExpired { .. })).count(), 1);
}

#[test]
fn c18_c19_listing_shows_active_and_for_thirty_days_ended_grants() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 60);
    place.clock.advance(minutes(60));
    let revoked = place.enable(&store, 60);
    store.revoke(&owner(), &place.clock.now()).unwrap();
    place.clock.advance(Duration::from_secs(30 * 86_400));
    let active = place.enable(&store, 60);
    let ids = |include| -> Vec<_> {
        store.grants(include, &place.clock.now()).unwrap().iter().map(|g| g.id).collect()
    };
    assert_eq!(ids(false), [active.id]);
    assert_eq!(ids(true).len(), 3, "both ended exactly 30 days ago");
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(ids(true), [active.id]);
    let week = store.grants_within(true, TimeDelta::days(31), &place.clock.now()).unwrap();
    assert_eq!(week.iter().filter(|grant| grant.id == revoked.id).count(), 1, "kept, only not listed");
}

#[test]
fn c06_the_agreed_text_stays_readable() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let own = Terms::new("example-1", "Engineers may look.").unwrap();
    let granted =
        store.enable(&Consent { terms: own.clone(), ..consent(Diagnostics, 60, now) }, &now).unwrap();
    place.enable(&store, 60);
    assert_eq!(store.terms(&granted.terms.sha256).unwrap(), Some(own.clone()));
    assert_eq!(store.terms(&Terms::azure_local().agreed().sha256).unwrap(), Some(Terms::azure_local()));
    let kept = store.grant(granted.id).unwrap().unwrap();
    assert_eq!(kept.changes[0].terms, own.agreed(), "the history keeps the old hash");
}

fn acts(store: &ConsentStore) -> Vec<Act> {
    store.log(0, 100).unwrap().into_iter().map(|entry| entry.act).collect()
}

#[test]
fn c25_a_scheduled_grant_begins_once_and_can_be_taken_back_before() {
    let place = Place::new();
    let store = place.open();
    let scheduled = || {
        let now = place.clock.now();
        let not_before = Some(now.wall + TimeDelta::hours(1));
        let conditions = Conditions { not_before, second_person: false };
        store.enable(&Consent { conditions, ..consent(Diagnostics, 60, now) }, &now).unwrap()
    };
    let grant = scheduled();
    assert_eq!(
        store.grants(false, &place.clock.now()).unwrap(),
        std::slice::from_ref(&grant),
        "what is pending is listed"
    );
    place.clock.advance(minutes(60));
    let reopened = place.open();
    assert!(reopened.stamp(&place.clock.now()).unwrap());
    assert!(!reopened.stamp(&place.clock.now()).unwrap());
    assert_eq!(reopened.grant(grant.id).unwrap().map(|grant| grant.state), Some(GrantState::Active));
    assert_eq!(acts(&store).iter().filter(|act| matches!(act, Act::GrantBegun { .. })).count(), 1);
    store.revoke(&owner(), &place.clock.now()).unwrap();
    let second = scheduled();
    let revoked = store.revoke(&owner(), &place.clock.now()).unwrap().unwrap();
    assert_eq!((revoked.id, revoked.state), (second.id, GrantState::Revoked));
}

#[test]
fn c25_sec10_time_that_went_back_begins_nothing() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let conditions = Conditions { not_before: Some(now.wall + TimeDelta::hours(1)), second_person: true };
    let grant = store.enable(&Consent { conditions, ..consent(Diagnostics, 600, now) }, &now).unwrap();
    place.clock.step_wall(-TimeDelta::minutes(5));
    store.stamp(&place.clock.now()).unwrap();
    let approved = store.approve(grant.id, 1, &second(), &place.clock.now());
    assert!(matches!(approved, Err(StoreError::Grant(_))), "{approved:?}");
    place.clock.advance(minutes(120));
    let facts = store.facts(&place.clock.now()).unwrap();
    assert!(facts.held);
    assert_eq!(facts.grant.map(|grant| grant.state), Some(GrantState::Pending));
}

#[test]
fn c26_the_second_person_is_on_record_and_binds_to_what_was_seen() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let conditions = Conditions { not_before: None, second_person: true };
    let wish = Consent { conditions, ..consent(Diagnostics, 60, now) };
    let seen = store.enable(&wish, &now).unwrap();
    let changed = store.enable(&wish, &now).unwrap();
    assert_eq!((changed.id, changed.revision), (seen.id, 2));
    let error = |result: Result<Grant, StoreError>| match result {
        Err(StoreError::Grant(error)) => error,
        other => panic!("{other:?}"),
    };
    let approve = |revision, by: Grantor| store.approve(seen.id, revision, &by, &now);
    assert_eq!(error(approve(1, second())), GrantError::Changed);
    assert_eq!(error(approve(2, owner())), GrantError::SamePerson);
    let other = GrantId::new(uuid::Uuid::from_u128(9));
    assert_eq!(error(store.approve(other, 2, &second(), &now)), GrantError::Changed);
    assert_eq!(approve(2, second()).unwrap().state, GrantState::Active);
    assert_eq!(error(approve(2, second())), GrantError::NotAwaited);
    let kept = acts(&store);
    let by = kept.iter().find_map(|act| match act {
        Act::GrantApproved { by, revision: 2, .. } => Some(by.clone()),
        _ => None,
    });
    assert_eq!(by, Some(second()));
    assert!(matches!(kept.last(), Some(Act::GrantBegun { .. })));
}

#[test]
fn c20_a_grant_can_only_be_for_a_request_that_is_known_and_not_closed() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let enable =
        |number| store.enable(&Consent { request: Some(number), ..consent(Diagnostics, 60, now) }, &now);
    assert!(matches!(enable(number(1)), Err(StoreError::UnknownRequest(_))));
    let request = place.opened(&store);
    assert_eq!(enable(request).unwrap().request, Some(request));
    store.close_request(request, &now).unwrap();
    assert!(matches!(enable(request), Err(StoreError::Request(_))));
}

#[test]
fn requests_go_through_their_states() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let request = place.opened(&store);
    let closing = |by| {
        let closing = Closing { number: request, node_key: public(NODE), closed_at: now.wall };
        Envelope::sign(&closing, &key(by)).unwrap()
    };
    assert!(matches!(store.close_request_by_desk(&closing(STRANGER), &now), Err(StoreError::Request(_))));
    let closed = store.close_request_by_desk(&closing(DESK), &now).unwrap().unwrap();
    assert_eq!(closed.state(), RequestState::Closed);
    assert_eq!(store.close_request_by_desk(&closing(DESK), &now).unwrap(), None);
    assert_eq!(store.close_request(request, &now).unwrap(), None);
    assert_eq!(store.request(request).unwrap(), Some(closed));
    assert!(matches!(store.close_request(number(1), &now), Err(StoreError::UnknownRequest(_))));
    assert!(store.facts(&now).unwrap().requests.is_empty(), "the gate needs no closed ones");
}

#[test]
fn pending_requests_are_bounded() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    let submit = || store.submit_request("disk is slow".parse().unwrap(), node(), &now);
    for _ in 0..REQUESTS_PENDING_MAX {
        submit().unwrap();
    }
    assert!(matches!(submit(), Err(StoreError::TooManyRequests)));
    let any = store.requests().unwrap()[0].number;
    store.close_request(any, &now).unwrap();
    assert!(submit().is_ok());
}

#[test]
fn two_enables_at_once_lose_nothing() {
    let place = Place::new();
    let (threads, each) = (4, 5);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let store = place.open();
                (0..each).for_each(|_| drop(place.enable(&store, 60)));
            });
        }
    });
    let store = place.open();
    let grants = store.grants(true, &place.clock.now()).unwrap();
    assert_eq!(grants.len(), 1, "all changed the same grant");
    assert_eq!((grants[0].revision, grants[0].changes.len()), (threads * each, (threads * each) as usize));
    let revisions: Vec<u32> =
        store.log(0, 1000).unwrap().iter().filter_map(|entry| revision(&entry.act)).collect();
    assert_eq!(revisions, (1..=threads * each).collect::<Vec<_>>());
}

fn revision(act: &Act) -> Option<u32> {
    match act {
        Act::GrantEnabled { revision, .. } => Some(*revision),
        _ => None,
    }
}

#[test]
fn one_store_is_shared_between_threads_and_readers_do_not_wait() {
    let place = Place::new();
    let store = place.open();
    let reader = place.open();
    place.enable(&store, 60);
    thread::scope(|scope| {
        scope.spawn(|| (0..20).for_each(|_| assert!(!store.stamp(&place.clock.now()).unwrap())));
        scope.spawn(|| (0..20).for_each(|_| drop(place.enable(&store, 60))));
        for _ in 0..50 {
            assert_eq!(reader.grants(false, &place.clock.now()).unwrap().len(), 1);
        }
    });
}

#[test]
fn revisions_grow_with_changes_and_not_with_stamps() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 60);
    let before = store.revision().unwrap();
    store.stamp(&place.clock.now()).unwrap();
    assert_eq!(store.facts(&place.clock.now()).unwrap().revision, before);
    place.open().revoke(&owner(), &place.clock.now()).unwrap();
    assert_eq!(store.revision().unwrap(), before + 1);
    assert_eq!(store.facts(&place.clock.now()).unwrap().revision, before + 1);
}

#[test]
fn sec10_a_wall_clock_before_the_last_stamp_holds_the_grant() {
    for reboot in [false, true] {
        let place = Place::new();
        let store = place.open();
        place.enable(&store, 480);
        place.clock.advance(minutes(10));
        store.stamp(&place.clock.now()).unwrap();
        drop(store);
        if reboot {
            place.clock.reboot();
        }
        place.clock.step_wall(-TimeDelta::minutes(5));
        let store = place.open();
        assert!(store.facts(&place.clock.now()).unwrap().held);
        let hold = store.held().unwrap().unwrap();
        assert_eq!(hold.seen.wall - hold.found.wall, TimeDelta::minutes(5));
        place.clock.advance(minutes(30));
        assert!(place.open().facts(&place.clock.now()).unwrap().held, "the right time does not undo it");
        assert_eq!(store.grants(false, &place.clock.now()).unwrap().len(), 1, "it is still listed");
    }
}

/// Control to the test above: the same restart with a clock that did not go back.
#[test]
fn sec10_a_restart_alone_holds_nothing_and_both_clocks_count_on() {
    let place = Place::new();
    let store = place.open();
    let granted = place.enable(&store, 480);
    place.clock.advance(minutes(10));
    store.stamp(&place.clock.now()).unwrap();
    place.clock.reboot();
    place.clock.advance(minutes(1));
    let facts = store.facts(&place.clock.now()).unwrap();
    assert!(!facts.held);
    let grant = facts.grant.unwrap();
    assert_eq!((grant.id, grant.revision, grant.deadline.wall), (granted.id, 1, granted.deadline.wall));
    assert_eq!(grant.deadline.boot, minutes(1) + minutes(469));
    assert_eq!(store.facts(&place.clock.now()).unwrap().grant, Some(grant), "found once, kept from then on");
}

#[test]
fn sec10_a_fresh_enable_clears_the_hold_with_a_new_grant() {
    let place = Place::new();
    let store = place.open();
    let held = place.enable(&store, 480);
    place.clock.step_wall(-TimeDelta::days(1));
    assert!(store.facts(&place.clock.now()).unwrap().held);
    let fresh = place.enable(&store, 60);
    assert_ne!(fresh.id, held.id);
    assert_eq!(store.grant(held.id).unwrap().unwrap().state, GrantState::Superseded);
    let facts = store.facts(&place.clock.now()).unwrap();
    assert_eq!((facts.held, facts.grant), (false, Some(fresh)));
    assert_eq!(store.held().unwrap(), None);
    assert!(!store.stamp(&place.clock.now()).unwrap(), "time counts from the new clock");
}

#[test]
fn sec10_small_steps_back_do_not_add_up_over_stamps() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 480);
    place.clock.step_wall(-TimeDelta::seconds(1));
    assert!(!store.stamp(&place.clock.now()).unwrap(), "as time services do it");
    place.clock.step_wall(-TimeDelta::seconds(1));
    assert!(store.stamp(&place.clock.now()).unwrap());
    assert!(store.facts(&place.clock.now()).unwrap().held);
}

#[test]
fn sec10_a_hold_seen_by_the_gate_can_be_made_durable() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 480);
    store.hold(&place.clock.now()).unwrap();
    assert!(place.open().facts(&place.clock.now()).unwrap().held);
    assert_eq!(store.revoke(&owner(), &place.clock.now()).unwrap().unwrap().state, GrantState::Revoked);
    assert!(!store.facts(&place.clock.now()).unwrap().held, "nothing is left to hold");
}

#[test]
fn the_log_has_every_act_in_order() {
    let place = Place::new();
    let store = place.open();
    let now = place.clock.now();
    place.opened(&store);
    place.enable(&store, 60);
    store.revoke(&owner(), &now).unwrap();
    store.note(Act::EngineerRefused { code: RefusalCode::NoGrant }, &now).unwrap();
    let log = store.log(0, 100).unwrap();
    assert_eq!(log.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(matches!(log[0].act, Act::RequestSubmitted { .. }));
    assert!(matches!(log[1].act, Act::RequestOpened { .. }));
    assert!(matches!(log[2].act, Act::GrantEnabled { .. }));
    assert!(matches!(log[3].act, Act::GrantRevoked { .. }));
    assert_eq!(log[4].act, Act::EngineerRefused { code: RefusalCode::NoGrant });
    assert_eq!(store.log(2, 2).unwrap(), log[2..4]);
    assert_eq!(store.log(5, 10).unwrap(), []);
    assert_eq!(store.log(u64::MAX, 10).unwrap(), []);
    assert_eq!(store.log(0, 0).unwrap(), []);
}

/// Does what an honest program never does to a closed store.
fn tamper(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

/// What the agent asks for before it lets anybody in, and the log.
fn look(path: &Path, clock: &ManualClock) -> Result<(), StoreError> {
    let store = ConsentStore::open(path)?;
    store.facts(&clock.now())?;
    store.grants(true, &clock.now())?;
    store.log(0, 1000)?;
    Ok(())
}

#[test]
fn c23_rows_that_were_changed_fail_closed() {
    let table = [
        "UPDATE grants SET body = replace(body, 'Diagnostics', 'DiagnosticsRepair')",
        "UPDATE grants SET body = replace(body, '\"Revoked\"', '\"Active\"')",
        "UPDATE grants SET body = body || ' '",
        "UPDATE grants SET sum = zeroblob(32)",
        "UPDATE grants SET sum = x''",
        "UPDATE grants SET id = '00000000-0000-0000-0000-000000000000'",
        "DELETE FROM grants",
        "UPDATE requests SET body = replace(body, 'slow', 'fast')",
        "DELETE FROM requests",
        "INSERT INTO requests SELECT 'x' || id, body, sum FROM requests",
        "UPDATE state SET body = replace(body, '\"hold\":null', '\"hold\": null')",
        "DELETE FROM state",
        "DELETE FROM log WHERE number = 2",
        "DELETE FROM log WHERE number = (SELECT max(number) FROM log)",
        "UPDATE log SET body = replace(body, 'admin', 'other')",
        "UPDATE log SET number = number + 100 WHERE number = 1",
        "INSERT INTO log VALUES (100, '{}', x'')",
    ];
    for sql in table {
        let place = Place::new();
        let store = place.open();
        place.opened(&store);
        place.enable(&store, 60);
        store.revoke(&owner(), &place.clock.now()).unwrap();
        drop(store);
        look(&place.path(), &place.clock).unwrap();
        tamper(&place.path(), sql);
        let error = look(&place.path(), &place.clock).expect_err(sql);
        assert!(
            matches!(&error, StoreError::Corrupt { path, .. } if *path == place.path()),
            "{sql}: {error:?}"
        );
        assert!(error.to_string().contains("nobody is let in"), "{error}");
    }
}

/// Every byte of the file, one bit each: the store either finds the damage or it is where nothing is stored. In no case
/// does it say anything else than the truth.
#[test]
fn c23_no_flipped_bit_makes_the_store_say_something_else() {
    let place = Place::in_memory();
    let store = place.open();
    place.opened(&store);
    place.enable(&store, 60);
    store.revoke(&owner(), &place.clock.now()).unwrap();
    let truth = place.open().facts(&place.clock.now()).unwrap();
    drop(store);
    let clean = fs::read(place.path()).unwrap();
    let copy = place.dir.path().join("node").join("copy.sqlite");
    let mut found = 0;
    for at in (0..clean.len()).step_by(41) {
        let mut damaged = clean.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&copy, &damaged).unwrap();
        private(&copy);
        fs::copy(place.path().with_extension("anchor"), copy.with_extension("anchor")).unwrap();
        match ConsentStore::open(&copy).and_then(|store| store.facts(&place.clock.now())) {
            Ok(facts) => assert_eq!(facts, truth, "byte {at}"),
            Err(_) => found += 1,
        }
        for tail in ["-wal", "-shm"] {
            let _ = fs::remove_file(place.dir.path().join("node").join(format!("copy.sqlite{tail}")));
        }
    }
    assert!(found > 20, "the test bites: {found}");
}

fn private(path: &Path) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let _ = path;
}

/// A damaged write-ahead log is believed up to the damage, so a revoke must not be there alone.
#[test]
fn c23_a_revoke_does_not_depend_on_the_write_ahead_log() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 60);
    store.revoke(&owner(), &place.clock.now()).unwrap();
    let copy = place.dir.path().join("node").join("copy.sqlite");
    fs::copy(place.path(), &copy).unwrap();
    let facts = ConsentStore::open(&copy).unwrap().facts(&place.clock.now()).unwrap();
    assert_eq!(facts.grant.unwrap().state, GrantState::Revoked, "with the log thrown away");
}

#[test]
fn c23_files_that_are_no_store_are_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.path().parent().unwrap()).unwrap();
    for (name, content) in
        [("text", b"hello, this is no database at all".to_vec()), ("noise", vec![0xa5; 8192])]
    {
        let path = place.path().with_file_name(name);
        fs::write(&path, &content).unwrap();
        private(&path);
        assert!(matches!(ConsentStore::open(&path), Err(StoreError::Corrupt { .. })), "{name}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let foreign = place.path().with_file_name("foreign");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    private(&foreign);
    assert!(matches!(ConsentStore::open(&foreign), Err(StoreError::Corrupt { .. })));
}

#[test]
fn c23_a_cut_file_is_found() {
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 60);
    drop(store);
    let clean = fs::read(place.path()).unwrap();
    for length in [2, 511, 512, 4096, clean.len() / 2, clean.len() - 4096] {
        fs::write(place.path(), &clean[..length]).unwrap();
        assert!(look(&place.path(), &place.clock).is_err(), "{length} bytes");
    }
    fs::write(place.path(), &clean).unwrap();
    assert!(look(&place.path(), &place.clock).is_ok());
    // Cut to nothing it is a new store, which grants nothing. So it is with one byte left, for SQLite.
    for length in [0, 1] {
        fs::write(place.path(), &clean[..length]).unwrap();
        assert_eq!(place.open().facts(&place.clock.now()).unwrap().grant, None);
    }
}

/// SQLite's journal of a file that was empty: what it makes, and syncs, before the first byte of a new store.
fn journal_of_nothing() -> Vec<u8> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let numbers: [u32; 5] = [0, 0x5eed, 0, 512, 4096];
    let mut journal = MAGIC.to_vec();
    journal.extend(numbers.into_iter().flat_map(u32::to_be_bytes));
    journal.resize(512, 0);
    journal
}

/// The first page of a store, as it is written before anything else is in it.
fn first_page() -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store.sqlite");
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    fs::read(&path).unwrap()
}

/// A power cut in the making of a store leaves any part of its first page, and the journal that takes it back.
#[test]
fn c23_sec25_a_store_that_was_cut_off_in_its_making_is_made_anew() {
    let place = Place::in_memory();
    place.open();
    let (directory, page) = (place.path().with_file_name(""), first_page());
    assert_eq!(page.len(), 4096);
    let torn = |length: usize, with_journal: bool| {
        for name in fs::read_dir(&directory).unwrap() {
            fs::remove_file(name.unwrap().path()).unwrap();
        }
        fs::write(place.path(), &page[..length]).unwrap();
        private(&place.path());
        let journal = place.path().with_file_name("store.sqlite-journal");
        if with_journal {
            fs::write(journal, journal_of_nothing()).unwrap();
        }
        ConsentStore::open(place.path())
    };
    for length in 0..=page.len() {
        let store = torn(length, true).unwrap_or_else(|error| panic!("{length} bytes: {error}"));
        assert_eq!(store.grants(true, &place.clock.now()).unwrap(), [], "{length} bytes");
        if length % 512 < 2 {
            place.enable(&store, 60);
            assert!(!store.facts(&place.clock.now()).unwrap().held, "{length} bytes");
        }
    }
    // The control: with nothing to take it back by, a file that is too short to be one is refused.
    for length in 2..512 {
        assert!(matches!(torn(length, false), Err(StoreError::Corrupt { .. })), "{length} bytes");
    }
}

#[test]
fn sec50_a_newer_store_is_refused_with_its_version() {
    let place = Place::new();
    drop(place.open());
    rusqlite::Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = ConsentStore::open(place.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error:?}");
}

#[cfg(unix)]
#[test]
fn sec36_files_are_private_and_exposed_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let place = Place::new();
    let store = place.open();
    place.enable(&store, 60);
    let directory = place.path().parent().unwrap().to_owned();
    assert_eq!((mode(&place.path()), mode(&directory)), (0o600, 0o700));
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    for exposed in [0o640, 0o604, 0o660] {
        set(&place.path(), exposed);
        let error = ConsentStore::open(place.path()).unwrap_err();
        assert!(matches!(error, StoreError::Exposed { .. }), "{exposed:o}: {error:?}");
    }
    set(&place.path(), 0o600);
    set(&directory, 0o770);
    assert!(matches!(ConsentStore::open(place.path()), Err(StoreError::Exposed { .. })));
    set(&directory, 0o755);
    assert!(ConsentStore::open(place.path()).is_ok(), "others may see that there is a store");
}
