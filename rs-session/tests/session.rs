//! Whole sessions: host and client over an in-memory stream, with an engine whose every step the test decides.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use rs_consent::clock::{Clock, ManualClock, Now};
use rs_consent::grant::{Consent, Grant};
use rs_consent::party::{Desk, Engineer, Grantor, Method, Node};
use rs_consent::request::Opening;
use rs_consent::{
    AccessLevel, Assignment, EndCause, Envelope, Facts, Gate, Minutes, RefusalCode, SigningKey,
    SupportRequest, Terms,
};
use rs_session::channel::{Channel, ChannelError, HANDSHAKE_WAIT};
use rs_session::client::{Client, ClientEvent, ConnectError, Credentials, RECEIPT_WAIT, SessionError};
use rs_session::history::{SessionState, record_path, sessions};
use rs_session::host::{Downed, Engine, Host, HostEvent, HostSettings, Observer, Progress, RunningWork};
use rs_session::operations::wire::{Finish, Status};
use rs_session::protocol::{Form, NodeMessage, Offered, PROTOCOL_VERSION, Planned, Refused};
use rs_session::record::{Content, Digest, Kind, OutputData, Report, Trust, Verdict, verify};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// What the scripted engine did, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    Started(String),
    Interrupted,
    Killed,
}

/// Permits lines that begin with `Get-`, runs them by what the test feeds in.
#[derive(Clone)]
struct Script {
    did: mpsc::UnboundedSender<Did>,
    feed: Arc<Mutex<BTreeMap<String, mpsc::UnboundedReceiver<Progress>>>>,
    records: std::path::PathBuf,
}

struct Scripted {
    did: mpsc::UnboundedSender<Did>,
    feed: mpsc::UnboundedReceiver<Progress>,
}

#[async_trait]
impl Engine for Script {
    type Work = String;

    fn plan(
        &self,
        line: &str,
        level: AccessLevel,
        _form: Form,
        _columns: Option<u16>,
    ) -> Result<Planned<String>, Refused> {
        let refused =
            |code: &str| Refused { code: code.into(), column: Some(1), message: format!("no {line}") };
        if line == "Stop-Service" && level < AccessLevel::DiagnosticsRepair {
            return Err(refused("not-permitted"));
        }
        if line == "exit" {
            return Ok(Planned { work: line.into(), description: line.into(), leaves: true });
        }
        if !line.starts_with("Get-") {
            return Err(refused("unknown-command"));
        }
        Ok(Planned {
            work: line.into(),
            description: serde_json::json!({ "operation": line }),
            leaves: false,
        })
    }

    fn offered(&self, _level: AccessLevel) -> Vec<Offered> {
        vec![Offered { name: "Get-Date".into(), parameters: vec![], available: true }]
    }

    fn catalog_sha256(&self) -> Digest {
        Digest::of(b"script")
    }

    async fn start(&self, work: String) -> Result<Box<dyn RunningWork>, String> {
        // SEC24: the request is on disk before anything starts.
        assert!(is_on_disk(&self.records, &work), "{work} starts before its record is on disk");
        let feed = self.feed.lock().unwrap().remove(&work).ok_or("nothing was prepared")?;
        self.did.send(Did::Started(work)).unwrap();
        Ok(Box::new(Scripted { did: self.did.clone(), feed }))
    }
}

fn is_on_disk(records: &Path, line: &str) -> bool {
    let bytes =
        std::fs::read_dir(records).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let needle = format!("\"line\":\"{line}\"");
    bytes.into_iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
}

#[async_trait]
impl RunningWork for Scripted {
    async fn next(&mut self) -> Progress {
        match self.feed.recv().await {
            Some(progress) => progress,
            None => std::future::pending().await,
        }
    }

    async fn interrupt(&mut self) {
        self.did.send(Did::Interrupted).unwrap();
    }

    async fn kill(&mut self) {
        self.did.send(Did::Killed).unwrap();
    }
}

/// What the host tells its owner.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<HostEvent>>>);

impl Observer for Heard {
    fn event(&self, event: &HostEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A node with everything that a session needs.
struct World {
    directory: tempfile::TempDir,
    node: Arc<SigningKey>,
    desk: SigningKey,
    engineer: Arc<SigningKey>,
    clock: ManualClock,
    gate: Gate,
    facts: Facts,
    host: Host<Script>,
    script: Script,
    did: mpsc::UnboundedReceiver<Did>,
    heard: Heard,
}

impl World {
    /// Grant, open request: everything but the engineer.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = common::clock(0);
        let node = Arc::new(common::key(1));
        let gate = Gate::new(node.public());
        let (sender, did) = mpsc::unbounded_channel();
        let script = Script { did: sender, feed: Arc::default(), records: directory.path().to_owned() };
        let heard = Heard::default();
        let settings = HostSettings::new("node-01".parse().unwrap(), directory.path());
        let host = Host::new(
            settings,
            Arc::clone(&node),
            gate.clone(),
            Arc::new(clock.clone()),
            script.clone(),
            Arc::new(heard.clone()),
        );
        let desk = common::key(2);
        let mut world = Self {
            directory,
            node,
            desk,
            engineer: Arc::new(common::key(3)),
            clock,
            gate,
            facts: Facts::default(),
            host,
            script,
            did,
            heard,
        };
        world.facts.requests = vec![world.request()];
        world.facts.grant = Some(world.grant(AccessLevel::Diagnostics));
        world.load();
        world
    }

    /// Another host, for sessions that end when nothing comes for `wait`.
    fn idle_after(&mut self, wait: Duration) {
        let settings = HostSettings {
            idle_wait: wait,
            ..HostSettings::new("node-01".parse().unwrap(), self.directory.path())
        };
        let clock = Arc::new(self.clock.clone());
        let (node, observer) = (Arc::clone(&self.node), Arc::new(self.heard.clone()));
        self.host = Host::new(settings, node, self.gate.clone(), clock, self.script.clone(), observer);
    }

    fn about(&self) -> (Node, Desk) {
        let node = Node { name: "node-01".parse().unwrap(), key: self.node.public() };
        (node, Desk { name: "support.example".parse().unwrap(), key: self.desk.public() })
    }

    fn request(&self) -> SupportRequest {
        let (node, desk) = self.about();
        let at = self.clock.now().wall;
        let number = "2611250000000001".parse().unwrap();
        let mut request = SupportRequest::submit(number, "a volume is gone".parse().unwrap(), node, at);
        request.confirm(&Opening { number, node_key: self.node.public(), desk, opened_at: at }, at).unwrap();
        request
    }

    fn grant(&self, level: AccessLevel) -> Grant {
        let consent = Consent {
            level,
            minutes: Minutes::DEFAULT,
            terms: Terms::azure_local(),
            request: None,
            grantor: Grantor {
                user: "operator".parse().unwrap(),
                host: "node-01".parse().unwrap(),
                method: Method::CommandLine,
            },
            catalog: None,
            requested: self.clock.now(),
        };
        let id = rs_consent::GrantId::new(Uuid::from_u128(5));
        Grant::new(id, &consent, &self.clock.now()).unwrap()
    }

    fn load(&mut self) {
        self.facts.revision += 1;
        self.gate.load(self.facts.clone());
    }

    fn assignment(&self) -> Assignment {
        let (node, desk) = self.about();
        let now = self.clock.now().wall;
        Assignment {
            id: Uuid::from_u128(77),
            desk,
            request: "2611250000000001".parse().unwrap(),
            node,
            engineer: Engineer {
                id: "engineer@support.example".parse().unwrap(),
                key: self.engineer.public(),
            },
            level_cap: AccessLevel::DiagnosticsRepair,
            issued_at: now,
            expires_at: now + TimeDelta::hours(8),
            relay: None,
        }
    }

    fn credentials(&self, assignment: &Assignment) -> Credentials {
        Credentials {
            engineer: Arc::clone(&self.engineer),
            assignment: assignment.issue(&self.desk).unwrap(),
            assignment_id: assignment.id,
            node: self.node.public(),
        }
    }

    fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> JoinHandle<()> {
        let host = self.host.clone();
        tokio::spawn(async move { host.serve(stream).await })
    }

    /// A line that the engine will run; what is sent into it comes out.
    fn prepare(&self, line: &str) -> mpsc::UnboundedSender<Progress> {
        let (sender, feed) = mpsc::unbounded_channel();
        self.script.feed.lock().unwrap().insert(line.to_owned(), feed);
        sender
    }

    async fn connect(&self) -> (Client<DuplexStream>, JoinHandle<()>) {
        let (near, far) = duplex(64 * 1024);
        let served = self.serve(far);
        let client =
            Client::connect(near, self.credentials(&self.assignment()), "test/1", None).await.unwrap();
        (client, served)
    }

    async fn refusal(&self, credentials: Credentials) -> RefusalCode {
        let (near, far) = duplex(64 * 1024);
        let served = self.serve(far);
        let error = Client::connect(near, credentials, "test/1", None).await.unwrap_err();
        served.await.unwrap();
        let ConnectError::Refused { code, .. } = error else { panic!("{error}") };
        code
    }

    fn verified(&self, session: Uuid) -> Report {
        let bytes = std::fs::read(record_path(self.directory.path(), session)).unwrap();
        verify(&bytes[..], Trust::Node(self.node.public()))
    }

    async fn started(&mut self, line: &str) {
        assert_eq!(self.did.recv().await, Some(Did::Started(line.to_owned())));
    }

    async fn revoke(&mut self) -> Vec<Downed> {
        self.facts.grant = None;
        self.facts.revision += 1;
        let facts = self.facts.clone();
        self.host
            .change(|gate| {
                gate.load(facts);
            })
            .await
    }
}

fn text(text: &str) -> Progress {
    Progress::Output(OutputData::Text(text.to_owned()))
}

fn done() -> Progress {
    Progress::Finished(Finish::new(Status::Done, ""))
}

async fn content(client: &mut Client<DuplexStream>) -> Option<Content> {
    loop {
        match client.next().await.unwrap() {
            ClientEvent::Record { content: Some(Content::Receipt), .. } => {}
            ClientEvent::Record { content, .. } => return content,
            other => panic!("{other:?}"),
        }
    }
}

async fn ended(client: &mut Client<DuplexStream>) -> EndCause {
    loop {
        if let ClientEvent::Ended { cause, .. } = client.next().await.unwrap() {
            return cause;
        }
    }
}

#[tokio::test]
async fn a_session_from_hello_to_goodbye_is_on_record() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    assert_eq!(client.welcome().level, AccessLevel::Diagnostics);
    assert_eq!(world.host.live().len(), 1);

    let feed = world.prepare("Get-Date");
    client.invoke("Get-Date", Form::Text, Some(80)).await.unwrap();
    world.started("Get-Date").await;
    feed.send(text("noon\n")).unwrap();
    feed.send(done()).unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Request(request)) if request.line == "Get-Date")
    );
    assert!(
        matches!(content(&mut client).await, Some(Content::Output(output)) if output.data == OutputData::Text("noon\n".into()))
    );
    assert!(
        matches!(content(&mut client).await, Some(Content::Finished(finished)) if finished.status == Status::Done)
    );

    client.invoke("rm -rf /", Form::Text, None).await.unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "unknown-command")
    );
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();

    let session = client.welcome().session;
    let report = world.verified(session);
    assert_eq!((report.verdict, report.end), (Verdict::Intact, Some(EndCause::Exit)), "{report:?}");
    assert_eq!((report.requests, report.refusals), (1, 1));
    assert!(report.receipted.is_some(), "sec29: the engineer countersigned");
    let now = world.clock.now().wall;
    let list = sessions(world.directory.path(), now - TimeDelta::days(7), now).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].state, list[0].operations, list[0].refusals), (SessionState::Ended, 1, 1));
    assert!(world.host.live().is_empty());
}

#[tokio::test]
async fn sec29_the_engineers_copy_is_the_nodes_record_byte_by_byte() {
    let world = World::new();
    let copy = Arc::new(Mutex::new(Vec::new()));
    let (near, far) = duplex(64 * 1024);
    let served = world.serve(far);
    let sink = Box::new(Shared(Arc::clone(&copy)));
    let credentials = world.credentials(&world.assignment());
    let mut client = Client::connect(near, credentials, "test/1", Some(sink)).await.unwrap();
    client.invoke("nonsense", Form::Text, None).await.unwrap();
    content(&mut client).await;
    client.bye().await.unwrap();
    ended(&mut client).await;
    served.await.unwrap();
    let node = std::fs::read(record_path(world.directory.path(), client.welcome().session)).unwrap();
    assert_eq!(*copy.lock().unwrap(), node);
}

/// Nothing more comes from the node, and the engineer says nothing: what was seen is countersigned all the same.
#[tokio::test]
async fn sec29_a_receipt_follows_soon_also_when_nothing_more_comes() {
    let mut world = World::new();
    let (mut client, _served) = world.connect().await;
    let session = client.welcome().session;
    let _feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    let receipt = loop {
        if let ClientEvent::Record { content: Some(Content::Receipt), .. } = client.next().await.unwrap() {
            break world.verified(session).receipted;
        }
    };
    assert!(receipt.is_some());
}

/// The node's record of a receipt is the newest record when the next receipt is due.
#[tokio::test]
async fn sec29_a_receipt_may_cover_the_record_of_an_earlier_receipt() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    tokio::time::sleep(RECEIPT_WAIT).await;
    let feed = world.prepare("Get-Date");
    feed.send(text("noon\n")).unwrap();
    feed.send(done()).unwrap();
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    world.started("Get-Date").await;
    let session = client.welcome().session;
    while world.verified(session).records < 4 {
        tokio::task::yield_now().await;
    }
    // The first receipt is sent now and recorded behind the four; the second covers that record too.
    let seen = tokio::time::timeout(3 * RECEIPT_WAIT, async {
        loop {
            if let ClientEvent::Ended { cause, message } = client.next().await.unwrap() {
                break (cause, message);
            }
        }
    });
    assert!(seen.await.is_err(), "the session lives on");
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

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

#[tokio::test]
async fn sec07_sec08_revoke_kills_running_work_and_closes_the_channel() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    let session = client.welcome().session;
    let feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    feed.send(text("first\n")).unwrap();
    content(&mut client).await;
    content(&mut client).await;

    let downed = world.revoke().await;
    assert_eq!(world.did.recv().await, Some(Did::Killed));
    served.await.unwrap();
    assert_eq!(downed.len(), 1);
    assert_eq!(
        (downed[0].session_id, downed[0].cause, downed[0].recorded),
        (session, EndCause::Revoked, true)
    );
    assert!(downed[0].work_dead_after.is_some());

    // Whatever the engineer sends now is acted on by nobody.
    let _ = client.invoke("Get-Date", Form::Text, None).await;
    assert_eq!(ended(&mut client).await, EndCause::Revoked);
    assert!(world.did.try_recv().is_err());
    let report = world.verified(session);
    assert_eq!((report.verdict, report.end, report.requests), (Verdict::Intact, Some(EndCause::Revoked), 1));
}

#[tokio::test]
async fn sec08_revoke_ends_a_session_whose_engineer_does_not_read() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    let feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    // Far more than the stream holds, and nobody reads: the host stands inside a write.
    for _ in 0..20 {
        feed.send(text(&"x".repeat(60_000))).unwrap();
    }
    let session = client.welcome().session;
    while world.verified(session).records < 4 {
        tokio::task::yield_now().await;
    }
    let downed = world.revoke().await;
    served.await.unwrap();
    assert_eq!(downed.len(), 1);
    assert_eq!(world.did.recv().await, Some(Did::Killed));
    assert_eq!(world.verified(session).end, Some(EndCause::Revoked));
}

#[tokio::test]
async fn sec09_expiry_ends_a_running_session_and_never_before() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    world.clock.advance(Duration::from_secs(480 * 60) - Duration::from_nanos(1));
    let feed = world.prepare("Get-Date");
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    world.started("Get-Date").await;
    drop(feed);
    world.clock.advance(Duration::from_nanos(1));
    let cause = ended(&mut client).await;
    assert!(matches!(cause, EndCause::Expired | EndCause::AssignmentExpired), "{cause}");
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).verdict, Verdict::Intact);
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

#[tokio::test]
async fn sec27_a_newer_assignment_is_on_record_before_it_counts() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    let mut newer = world.assignment();
    newer.id = Uuid::from_u128(78);
    client.renew(newer.issue(&world.desk).unwrap()).await.unwrap();
    let Some(Content::Note(note)) = content(&mut client).await else { panic!("no note") };
    assert!(note.text.contains(&newer.id.to_string()), "{}", note.text);
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).verdict, Verdict::Intact);
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
async fn c15_lowering_ends_the_wider_session_only_and_raising_is_for_new_ones() {
    let mut world = World::new();
    let (mut low, low_served) = world.connect().await;
    world.facts.grant = Some(world.grant(AccessLevel::DiagnosticsRepair));
    world.load();
    let (mut high, high_served) = world.connect().await;
    assert_eq!(high.welcome().level, AccessLevel::DiagnosticsRepair);
    low.invoke("Stop-Service", Form::Text, None).await.unwrap();
    assert!(matches!(content(&mut low).await, Some(Content::Refusal(_))), "raising holds for new sessions");

    world.facts.grant = Some(world.grant(AccessLevel::Diagnostics));
    world.load();
    assert_eq!(ended(&mut high).await, EndCause::LevelLowered);
    high_served.await.unwrap();
    low.bye().await.unwrap();
    assert_eq!(ended(&mut low).await, EndCause::Exit);
    low_served.await.unwrap();
}

#[tokio::test]
async fn s16_a_third_session_is_refused() {
    let world = World::new();
    let _one = world.connect().await;
    let _two = world.connect().await;
    assert_eq!(world.refusal(world.credentials(&world.assignment())).await, RefusalCode::TooManySessions);
}

#[tokio::test]
async fn s18_one_session_can_be_ended_and_the_grant_stays() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    let (_other, _) = world.connect().await;
    let downed = world.host.end(client.welcome().session, EndCause::Operator, "enough").await.unwrap();
    assert_eq!(downed.cause, EndCause::Operator);
    assert_eq!(ended(&mut client).await, EndCause::Operator);
    served.await.unwrap();
    assert_eq!(world.host.live().len(), 1);
    assert!(world.host.end(Uuid::from_u128(1), EndCause::Operator, "").await.is_none());
}

#[tokio::test]
async fn an_interrupt_reaches_the_work_and_the_session_lives_on() {
    let mut world = World::new();
    let (mut client, _served) = world.connect().await;
    let feed = world.prepare("Get-Process");
    let line = client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    content(&mut client).await;
    assert!(matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "busy"));
    client.interrupt(line).await.unwrap();
    assert_eq!(world.did.recv().await, Some(Did::Interrupted));
    feed.send(Progress::Finished(Finish::new(Status::Interrupted, "stopped"))).unwrap();
    assert!(matches!(content(&mut client).await, Some(Content::Interrupt(_))));
    assert!(
        matches!(content(&mut client).await, Some(Content::Finished(finished)) if finished.status == Status::Interrupted)
    );
}

/// Cuts the stream after so many bytes towards the engineer.
struct Cut<S> {
    inner: S,
    left: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return std::task::Poll::Ready(Ok(()));
        }
        let mut part = buffer.take(left);
        let before = part.filled().len();
        std::task::ready!(std::pin::Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let read = part.filled().len() - before;
        let filled = buffer.filled().len() + read;
        // The bytes were written into the same memory.
        buffer.initialize_unfilled_to(read);
        buffer.set_filled(filled);
        self.left.fetch_sub(read, Ordering::SeqCst);
        std::task::Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn sec17_a_cut_stream_is_never_a_complete_session() {
    // Somewhere in the handshake, around the welcome, and behind it.
    for bytes in [10, 300, 700, 900, 1500, 3000, 4000] {
        let world = World::new();
        let (near, far) = duplex(64 * 1024);
        let served = world.serve(far);
        let near = Cut { inner: near, left: Arc::new(AtomicUsize::new(bytes)) };
        let connected = Client::connect(near, world.credentials(&world.assignment()), "test/1", None).await;
        let Ok(mut client) = connected else { continue };
        // Each line is answered by a refusal, until the stream ends.
        let error = loop {
            let _ = client.invoke("nonsense", Form::Text, None).await;
            match client.next().await {
                Ok(event) => assert!(!matches!(event, ClientEvent::Ended { .. }), "{bytes}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SessionError::Channel(_)), "{bytes}: {error}");
        assert!(!client.has_ended());
        drop(client);
        served.await.unwrap();
    }
}

#[tokio::test]
async fn sec27_a_client_that_breaks_the_protocol_is_put_out_and_that_is_on_record() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    // The line numbers must be 1, 2, 3: the client skips one by sending a line that gets lost.
    client.interrupt(99).await.unwrap();
    client.invoke("nonsense", Form::Text, None).await.unwrap();
    content(&mut client).await;
    let long = "x".repeat(5000);
    client.invoke(&long, Form::Text, None).await.unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "line-too-long")
    );
    // The node refuses the frame by its length, so the client may not even get rid of it.
    let _ = client.invoke(&"y".repeat(100_000), Form::Text, None).await;
    assert_eq!(ended(&mut client).await, EndCause::Protocol);
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).end, Some(EndCause::Protocol));
}

#[tokio::test]
async fn sec12_every_ending_leaves_exactly_one_end_record() {
    for cause in [EndCause::Operator, EndCause::AgentStopped, EndCause::RequestClosed, EndCause::Transport] {
        let mut world = World::new();
        let (mut client, served) = world.connect().await;
        let session = client.welcome().session;
        match cause {
            EndCause::Operator => assert!(world.host.end(session, cause, "enough").await.is_some()),
            EndCause::AgentStopped => assert_eq!(world.host.end_all(cause, "stopping").await.len(), 1),
            EndCause::RequestClosed => {
                world.facts.requests.clear();
                world.load();
                assert_eq!(ended(&mut client).await, cause);
            }
            _ => drop(client),
        }
        served.await.unwrap();
        let report = world.verified(session);
        assert_eq!(report.verdict, Verdict::Intact, "{cause}: {report:?}");
        let file = std::fs::read(record_path(world.directory.path(), session)).unwrap();
        let mut reader = rs_session::record::FrameReader::new(&file[..]).unwrap();
        let mut ends = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            ends.extend((frame.skeleton().kind == Kind::End).then_some(frame.skeleton().end));
        }
        assert_eq!(ends, [Some(cause)]);
    }
}

#[tokio::test]
async fn s15_an_idle_session_ends() {
    let mut world = World::new();
    world.idle_after(Duration::from_millis(50));
    let (mut client, served) = world.connect().await;
    assert_eq!(ended(&mut client).await, EndCause::Idle);
    served.await.unwrap();
}
