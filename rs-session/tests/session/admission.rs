//! Who is let in.

use chrono::TimeDelta;
use rs_consent::clock::{Clock, ManualClock, Now};
use rs_consent::{AccessLevel, Assignment, EndCause, Envelope, RefusalCode, SigningKey};
use rs_session::channel::{Channel, ChannelError, HANDSHAKE_WAIT};
use rs_session::client::{Client, ConnectError, Credentials};
use rs_session::host::{Host, HostSettings};
use rs_session::protocol::{NodeMessage, PROTOCOL_VERSION};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::duplex;
use uuid::Uuid;

use crate::world::World;

#[tokio::test]
async fn sec03_each_missing_piece_has_its_own_code() {
    let mut world = World::new();
    let good = world.assignment();

    let stranger = SigningKey::from_seed([50; 32]);
    let mut wrong_key = world.credentials(&good);
    wrong_key.engineer = Arc::new(SigningKey::from_seed([51; 32]));
    assert_eq!(world.refusal(wrong_key).await, RefusalCode::EngineerKeyMismatch);

    let other_desk = Credentials { assignment: foreign(&good, &stranger), ..world.credentials(&good) };
    assert_eq!(world.refusal(other_desk).await, RefusalCode::DeskUnknown);

    let mut other_node = good.clone();
    other_node.node.key = stranger.public();
    let mut credentials = world.credentials(&other_node);
    credentials.node = world.node.public();
    assert_eq!(world.refusal(credentials).await, RefusalCode::AssignmentOtherNode);

    let other_request = Assignment { request: "2611250000000002".parse().unwrap(), ..good.clone() };
    assert_eq!(world.refusal(world.credentials(&other_request)).await, RefusalCode::AssignmentOtherRequest);

    let now = world.clock.now().wall;
    let stale = Assignment {
        issued_at: now - TimeDelta::hours(2),
        expires_at: now - TimeDelta::hours(1),
        ..good.clone()
    };
    assert_eq!(world.refusal(world.credentials(&stale)).await, RefusalCode::AssignmentExpired);

    let requests = std::mem::take(&mut world.facts.requests);
    world.load();
    assert_eq!(world.refusal(world.credentials(&good)).await, RefusalCode::NoOpenRequest);
    world.facts.requests = requests;

    let grant = world.facts.grant.take();
    world.load();
    assert_eq!(world.refusal(world.credentials(&good)).await, RefusalCode::NoGrant);
    world.facts.grant = grant;
    world.facts.held = true;
    world.load();
    assert_eq!(world.refusal(world.credentials(&good)).await, RefusalCode::GrantHeld);
    world.facts.held = false;

    world.load();
    world.clock.advance(Duration::from_secs(480 * 60));
    let fresh = world.assignment();
    assert_eq!(world.refusal(world.credentials(&fresh)).await, RefusalCode::GrantExpired);

    let refused = world.heard.0.lock().unwrap().len();
    assert_eq!(refused, 9, "the owner hears of each");
    assert_eq!(std::fs::read_dir(world.directory.path()).unwrap().count(), 0, "no session was made");
}

fn foreign(assignment: &Assignment, desk: &SigningKey) -> Envelope {
    let mut assignment = assignment.clone();
    assignment.desk.key = desk.public();
    assignment.issue(desk).unwrap()
}

/// The control of the table above: with every piece there, the same engineer gets in.
#[tokio::test]
async fn sec03_control_with_all_pieces_the_engineer_is_let_in() {
    let world = World::new();
    let (client, _served) = world.connect().await;
    assert_eq!(client.welcome().node_name, "node-01");
}

#[tokio::test]
async fn sec13_a_node_with_another_key_is_not_talked_to() {
    let world = World::new();
    let (near, far) = duplex(64 * 1024);
    let _served = world.serve(far);
    let mut credentials = world.credentials(&world.assignment());
    credentials.node = SigningKey::from_seed([60; 32]).public();
    let error = Client::connect(near, credentials, "test/1", None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Channel(_)), "{error}");
}

/// Runs something when it is read for the so-many-th time.
#[derive(Clone)]
struct Trap {
    inner: ManualClock,
    reads: Arc<AtomicUsize>,
    at: usize,
    spring: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trap")
    }
}

impl Clock for Trap {
    fn now(&self) -> Now {
        if self.reads.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.spring)();
        }
        self.inner.now()
    }
}

/// The first read is the admission's; the gate shuts at the second, before the session is among the running ones.
#[tokio::test]
async fn sec01_a_session_that_was_let_in_just_before_the_gate_shut_does_not_begin() {
    let mut world = World::new();
    let gate = world.gate.clone();
    let spring = Arc::new(move || gate.shut(EndCause::Revoked));
    let clock = Trap { inner: world.clock.clone(), reads: Arc::default(), at: 1, spring };
    let settings = HostSettings::new("node-01".parse().unwrap(), world.directory.path());
    let (node, observer) = (Arc::clone(&world.node), Arc::new(world.heard.clone()));
    world.host =
        Host::new(settings, node, world.gate.clone(), Arc::new(clock), world.script.clone(), observer);
    assert_eq!(world.refusal(world.credentials(&world.assignment())).await, RefusalCode::GrantRevoked);
    assert_eq!(std::fs::read_dir(world.directory.path()).unwrap().count(), 0, "no session was made");
    assert!(world.host.live().is_empty());
}

/// A node that welcomes and then says nothing more.
#[tokio::test(start_paused = true)]
async fn sec42_a_node_that_never_sends_the_first_record_is_not_waited_for() {
    let world = World::new();
    let (near, far) = duplex(64 * 1024);
    let node = Arc::clone(&world.node);
    let silent = tokio::spawn(async move {
        let (mut sender, mut receiver) = Channel::accept(far, &node).await.unwrap().split();
        receiver.next_frame().await.unwrap();
        let welcome = NodeMessage::Welcome {
            version: PROTOCOL_VERSION,
            session_id: Uuid::from_u128(1),
            node_name: "node-01".to_owned(),
            access_level: AccessLevel::Diagnostics,
            expires_at: chrono::DateTime::UNIX_EPOCH,
            operations: Vec::new(),
            catalog: None,
        };
        sender.reply(&welcome).await.unwrap();
        std::future::pending::<()>().await;
    });
    let credentials = world.credentials(&world.assignment());
    let connect = Client::connect(near, credentials, "test/1", None);
    let outcome = tokio::time::timeout(2 * HANDSHAKE_WAIT, connect).await.expect("an end of the waiting");
    assert!(matches!(outcome.unwrap_err(), ConnectError::Channel(ChannelError::Deadline)));
    silent.abort();
}

#[tokio::test]
async fn s16_a_third_session_is_refused() {
    let world = World::new();
    let _one = world.connect().await;
    let _two = world.connect().await;
    assert_eq!(world.refusal(world.credentials(&world.assignment())).await, RefusalCode::TooManySessions);
}
