//! Nobody gets in without each of: an active grant, an open request, a valid assignment for this node and request, and the
//! engineer's key. One test for each piece that is missing, each with its own code.

use std::sync::Arc;

use chrono::TimeDelta;
use rs_cli::state::Role;
use rs_consent::party::Desk;
use rs_consent::{AccessLevel, Assignment, Clock as _, Envelope, Gate, RefusalCode, SigningKey, SystemClock};
use rs_relay::client::{HybridConnection, Listener, Sender};
use rs_session::client::{Client, ConnectError, Credentials};
use rs_session::host::{Host, HostSettings, OperationsEngine, Silent};
use rs_session::operations::executor::WorkerExecutor;
use rs_session::operations::{Limits, Policy};

use crate::daemon::until_true;
use crate::machine::{PROGRAM, Run};
use crate::site::{Site, files};
use crate::tap::reach;

impl Site {
    /// Another assignment than the desk's newest: the same, changed by `change`, signed by `desk`. Its file is
    /// `changed.json`.
    fn assign(&self, desk: &SigningKey, change: impl FnOnce(&mut Assignment)) -> Envelope {
        let number = self.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
        let path = self.role(Role::Desk).join(format!("requests/{number}.assignment.json"));
        let envelope = Envelope::from_json(&std::fs::read(path).expect("assigned")).expect("an envelope");
        let mut assignment: Assignment = envelope.open(&[envelope.claimed_key()]).expect("an assignment");
        change(&mut assignment);
        // Not by `Assignment::issue`, which does not sign in another desk's name.
        let envelope = Envelope::sign(&assignment, desk).expect("signed");
        std::fs::write(self.machine.file("changed.json"), envelope.to_json()).expect("own directory");
        envelope
    }

    fn connect_changed(&self) -> Run {
        self.connect("--assignment changed.json")
    }

    /// Refused with this code, and nothing has happened.
    #[track_caller]
    fn refused(&self, run: &Run, code: RefusalCode) {
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains(&format!("the node let nobody in ({code})")), "{}", run.stderr);
        assert!(run.stderr.contains(code.cause()) && run.stderr.contains(code.remedy()), "{}", run.stderr);
        self.nothing_happened(run);
    }

    #[track_caller]
    fn nothing_happened(&self, run: &Run) {
        assert_eq!(run.stdout, "");
        assert_eq!(self.records(), Vec::<std::path::PathBuf>::new(), "no session");
        assert_eq!(files(&self.role(Role::Engineer).join("received")), Vec::<std::path::PathBuf>::new());
        assert_eq!(self.workers(), Vec::<u32>::new());
    }

    /// What a node with this store answers to the engineer's client. The agent does not even listen without a grant;
    /// here the same host does, with the same gate and the facts of the same store.
    fn answer_of_a_node_that_listens_all_the_same(&self) -> Run {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let key = Arc::new(self.key(Role::Node));
        let clock = Arc::new(SystemClock::new());
        let gate = Gate::new(key.public());
        gate.load(self.store().facts(&clock.now()).expect("a store"));
        let executor = WorkerExecutor::new(PROGRAM, ["operation-worker"]).expect("absolute");
        let engine = OperationsEngine::new(Arc::new(executor), Policy::default(), Limits::default());
        let records = self.role(Role::Node).join("sessions");
        std::fs::create_dir_all(&records).expect("own directory");
        let settings = HostSettings::new("node-01".parse().expect("a name"), records);
        let host = Host::new(settings, key, gate, clock, engine, Arc::new(Silent));
        let (connection, connector) = reach(self, "listen");
        let mut listener = runtime.block_on(async { Listener::builder(connection, connector).start() });
        assert!(runtime.block_on(listener.status().online()));
        runtime.spawn(async move {
            while let Some(incoming) = listener.accept().await {
                host.serve(incoming.accept().await.expect("a stream")).await;
            }
        });
        self.connect("")
    }
}

fn without_agent() -> Site {
    let mut site = Site::empty();
    site.start_relay();
    site.papers();
    site
}

#[test]
fn sec03_control_with_all_pieces_the_engineer_gets_in() {
    let site = Site::ready();
    site.assign(&site.key(Role::Desk), |_| {});
    let run = site.connect_changed();
    assert_eq!((run.code, site.records().len()), (0, 1), "{}", run.stderr);
}

#[test]
fn sec03_without_a_grant_the_node_is_not_even_there() {
    let site = Site::started();
    site.papers();
    let run = site.connect("");
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("ask its owner whether consent is in force"), "{}", run.stderr);
    site.nothing_happened(&run);
}

#[test]
fn sec03_no_grant() {
    let site = without_agent();
    site.refused(&site.answer_of_a_node_that_listens_all_the_same(), RefusalCode::NoGrant);
}

#[test]
fn sec03_control_the_node_that_listens_all_the_same_lets_in_with_a_grant() {
    let site = without_agent();
    site.machine.enable("Diagnostics");
    let run = site.answer_of_a_node_that_listens_all_the_same();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn sec03_grant_revoked() {
    let site = without_agent();
    site.machine.enable("Diagnostics");
    site.machine.json("disable");
    site.refused(&site.answer_of_a_node_that_listens_all_the_same(), RefusalCode::GrantRevoked);
}

#[test]
fn sec03_request_closed() {
    let site = Site::ready();
    let number = site.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    assert_eq!(site.machine.json(&format!("request close {number}"))["state"], "Closed");
    site.refused(&site.connect(""), RefusalCode::NoOpenRequest);
}

#[test]
fn sec03_opening_never_confirmed() {
    let site = Site::started();
    // Consent comes before the desk has answered, so there is no opening to confirm on the way.
    site.machine.enable("Diagnostics");
    site.papers();
    site.connected();
    assert_eq!(site.machine.json("request list")[0]["state"], "Submitted");
    site.refused(&site.connect(""), RefusalCode::NoOpenRequest);
}

#[test]
fn sec03_assignment_expired() {
    let site = Site::ready();
    site.assign(&site.key(Role::Desk), |assignment| {
        assignment.issued_at -= TimeDelta::days(2);
        assignment.expires_at = assignment.issued_at + TimeDelta::minutes(480);
    });
    site.refused(&site.connect_changed(), RefusalCode::AssignmentExpired);
}

#[test]
fn sec18_assignment_from_the_future() {
    let site = Site::ready();
    site.assign(&site.key(Role::Desk), |assignment| {
        assignment.issued_at += TimeDelta::seconds(90);
    });
    site.refused(&site.connect_changed(), RefusalCode::AssignmentNotYetValid);
}

#[test]
fn sec03_assignment_for_another_request() {
    let site = Site::ready();
    site.assign(&site.key(Role::Desk), |assignment| {
        assignment.request = "2601020000000001".parse().expect("a number");
    });
    site.refused(&site.connect_changed(), RefusalCode::AssignmentOtherRequest);
}

#[test]
fn sec03_assignment_by_another_desk() {
    let site = Site::ready();
    let other = SigningKey::generate().expect("a key");
    site.assign(&other, |assignment| {
        assignment.desk = Desk { name: "Support desk".parse().expect("a name"), key: other.public() };
    });
    site.refused(&site.connect_changed(), RefusalCode::DeskUnknown);
}

#[test]
fn sec03_assignment_that_names_the_desk_and_is_signed_by_another_is_not_even_shown() {
    let site = Site::ready();
    site.assign(&SigningKey::generate().expect("a key"), |_| {});
    let run = site.connect_changed();
    assert_eq!(run.code, 6, "{}", run.stderr);
    site.nothing_happened(&run);
}

#[test]
fn sec03_another_engineers_key() {
    let site = Site::ready();
    let other = SigningKey::generate().expect("a key").public();
    site.assign(&site.key(Role::Desk), |assignment| assignment.engineer.key = other);
    site.refused(&site.connect_changed(), RefusalCode::EngineerKeyMismatch);
}

#[test]
fn sec03_sec14_assignment_for_another_node() {
    let site = Site::ready();
    let other = SigningKey::generate().expect("a key").public();
    let envelope = site.assign(&site.key(Role::Desk), |assignment| assignment.node.key = other);
    // The client trusts the node that the assignment names, and this is not it.
    let run = site.connect_changed();
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("no trusted channel to the node"), "{}", run.stderr);
    site.nothing_happened(&run);
    // A client that does not care gets no further.
    assert_eq!(knock(&site, envelope), RefusalCode::AssignmentOtherNode);
    site.nothing_happened(&run);
}

/// What the node answers to the engineer's key with this assignment, whatever node it names.
fn knock(site: &Site, assignment: Envelope) -> RefusalCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (connection, connector): (HybridConnection, _) = reach(site, "send");
    let credentials = Credentials {
        engineer: Arc::new(site.key(Role::Engineer)),
        assignment,
        assignment_id: uuid::Uuid::nil(),
        node: site.key(Role::Node).public(),
    };
    let outcome = runtime.block_on(async {
        let stream = Sender::new(connection, connector).connect().await.expect("the relay joins");
        Client::connect(stream, credentials, "test/1", None).await
    });
    match outcome {
        Err(ConnectError::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn sec06_the_assignments_cap_lowers_the_level() {
    let site = Site::started();
    site.papers();
    site.machine.enable("DiagnosticsRepair");
    site.connected();
    site.assign(&site.key(Role::Desk), |assignment| assignment.level_cap = AccessLevel::Diagnostics);
    let run = site.connect_changed();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("at level Diagnostics,"), "{}", run.stderr);
}

#[test]
fn sec46_a_third_session_is_refused_and_the_first_two_go_on() {
    let site = Site::ready();
    let (mut one, mut two) = (site.busy_engineer().0, site.busy_engineer().0);
    let run = site.connect("");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("(too-many-sessions)"), "{}", run.stderr);
    assert!(!one.has_ended() && !two.has_ended());
    one.kill9();
    until_true("the place is free again", || site.status().sessions.len() == 1);
    assert_eq!(site.connect("").code, 0);
    assert!(!two.has_ended());
}
