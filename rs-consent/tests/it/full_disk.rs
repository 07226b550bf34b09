//! A store on a disk that is full, and what the room that is set aside is good for (SEC45).
#![cfg(target_os = "linux")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rs_consent::store::{Act, ConsentStore};
use rs_consent::{Clock as _, GrantState, RefusalCode, StoreError};

use crate::fixture::*;
use crate::store::Place;

/// A small file system in memory for the store of a place; only root can mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Place) -> Option<Self> {
        let disk = Self(place.path().parent().unwrap().to_owned());
        fs::create_dir_all(&disk.0).unwrap();
        let mounted = disk.command("mount", &["-t", "tmpfs", "-o", "size=1M,mode=0700", "tmpfs"]);
        assert!(
            mounted || std::env::var_os("REQUIRE_MOUNTS").is_none(),
            "a file system must be mountable here"
        );
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then_some(disk)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.0).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.0.join("filler")).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.command("umount", &["--lazy"]);
    }
}

/// Gives back what the store has set aside, as if it had never been.
fn without_reserve(path: &Path) {
    let sql = rusqlite::Connection::open(path).unwrap();
    sql.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
}

fn strangers_and_more(place: &Place, store: &ConsentStore) -> usize {
    let now = place.clock.now();
    (0..2000)
        .filter(|_| store.note(Act::EngineerRefused { code: RefusalCode::NoGrant }, &now).is_ok())
        .count()
}

#[test]
fn sec45_on_a_full_disk_consent_is_taken_back_expires_and_is_listed() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place) else { return };
    let store = place.open();
    let granted = place.enable(&store, 60);
    disk.fill();
    // What strangers can cause uses up only what is free.
    assert!(strangers_and_more(&place, &store) < 2000);
    disk.fill();
    let now = place.clock.now();
    let again = consent(rs_consent::AccessLevel::Diagnostics, 60, now);
    assert!(matches!(store.enable(&again, &now), Err(StoreError::NoSpace)), "more is not granted");
    for _ in 0..200 {
        place.clock.advance(std::time::Duration::from_secs(5));
        store.stamp(&place.clock.now()).expect("a sign of life has its room");
    }
    store.revoke(&owner(), &place.clock.now()).expect("room is set aside").expect("it was granted");
    disk.fill();
    let now = place.clock.now();
    assert_eq!(store.grants(false, &now).unwrap(), []);
    drop(store);
    let store = place.open();
    assert_eq!(store.grant(granted.id).unwrap().unwrap().state, GrantState::Revoked, "durable");
    fs::remove_file(disk.0.join("filler")).unwrap();
    let granted = place.enable(&store, 60);
    disk.fill();
    place.clock.advance(minutes(61));
    assert!(store.stamp(&place.clock.now()).expect("room is set aside"));
    assert_eq!(store.grant(granted.id).unwrap().unwrap().state, GrantState::Expired);
}

#[test]
fn sec45_control_without_the_reserve_nothing_can_be_taken_back() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place) else { return };
    let store = place.open();
    place.enable(&store, 60);
    without_reserve(&place.path());
    disk.fill();
    let revoked = store.revoke(&owner(), &place.clock.now());
    assert!(matches!(revoked, Err(StoreError::NoSpace)), "{revoked:?}");
}
