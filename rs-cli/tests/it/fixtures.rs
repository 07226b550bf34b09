//! States that earlier formats wrote are read for ever, and those of a later one are refused with what is needed (SEC50).

use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use rs_consent::store::ConsentStore;
use rs_consent::{Clock as _, EndCause, GrantState, PublicKey, SystemClock};
use rs_session::history::{Transcript, record_files};
use rs_session::record::{Trust, Verdict, verify};

use crate::machine::{Machine, chmod};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    let entries = std::fs::read_dir(folder).expect("the folder of this test").flatten();
    let mut states: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    states.sort();
    states
}

/// A machine whose node has a copy of this state.
fn machine_with(state: &Path) -> (Machine, PathBuf) {
    let machine = Machine::new();
    let node = machine.state().join("node");
    copy(state, &node);
    chmod(&machine.state(), 0o700);
    (machine, node)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("own directory");
    chmod(to, 0o700);
    for entry in std::fs::read_dir(from).expect("a fixture").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("own file");
            chmod(&to, 0o600);
        }
    }
}

#[cfg_attr(windows, ignore = "it writes the state itself, without the access lists that Windows wants there")]
#[test]
fn sec50_every_kept_state_is_read() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty(), "at least that of the present format");
    for state in fixtures {
        let (machine, node) = machine_with(&state);
        let store = ConsentStore::open(node.join("store.sqlite")).expect("a store");
        let window = TimeDelta::days(100_000);
        let grants = store.grants_within(true, window, &SystemClock::new().now()).expect("grants");
        assert_eq!(grants.len(), 2, "{}", state.display());
        assert!(grants.iter().any(|grant| grant.state == GrantState::Revoked));
        assert_eq!(store.requests().expect("requests").len(), 1);
        assert!(store.log(0, 100).expect("the acts").len() >= 4);

        let key = std::fs::read_to_string(node.join("node.pub")).expect("a key");
        let key: PublicKey = key.trim().parse().expect("a key");
        let mut ends = Vec::new();
        for (session, path) in record_files(&node.join("sessions")).expect("records") {
            let report = verify(std::fs::File::open(&path).expect("a record"), Trust::Node(key));
            assert_eq!(report.verdict, Verdict::Intact, "{}: {:?}", path.display(), report.findings);
            ends.extend(report.end);
            let entries: Result<Vec<_>, _> = Transcript::open(&path, None).expect("a record").collect();
            assert!(entries.expect("all of them").len() > 3);
            let told = machine.run(&format!("session verify {session}"));
            assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
        }
        ends.sort_by_key(|end| end.as_str());
        assert_eq!(ends, [EndCause::Exit, EndCause::Interrupted], "{}", state.display());
        assert_eq!(machine.run("access").code, 0);
    }
}

#[cfg_attr(windows, ignore = "it writes the state itself, without the access lists that Windows wants there")]
#[test]
fn sec50_a_state_of_a_later_format_is_refused_with_what_is_needed_and_left_alone() {
    let state = fixtures().pop().expect("the present format");
    let (machine, node) = machine_with(&state);
    let path = node.join("store.sqlite");
    // The version stands in the header of the file; the log beside it is moved into the file first.
    drop(ConsentStore::open(&path).and_then(|store| store.stamp(&SystemClock::new().now())));
    for beside in ["store.sqlite-wal", "store.sqlite-shm"] {
        let _may_be_gone = std::fs::remove_file(node.join(beside));
    }
    let mut bytes = std::fs::read(&path).expect("a store");
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&path, &bytes).expect("own file");
    for line in ["access", "disable", "agent run"] {
        let run = machine.run(line);
        assert_ne!(run.code, 0, "{line}");
        assert!(run.stderr.contains("version 99"), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("update the program"), "{line}: {}", run.stderr);
    }
    assert_eq!(std::fs::read(&path).expect("a store")[..100], bytes[..100], "nothing was changed");
}
