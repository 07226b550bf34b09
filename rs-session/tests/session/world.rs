//! A node with everything that a session needs, and an engine whose every step the test decides.

use async_trait::async_trait;
use chrono::TimeDelta;
use rs_consent::clock::{Clock, ManualClock};
use rs_consent::grant::{Consent, Grant};
use rs_consent::party::{Desk, Engineer, Grantor, Method, Node};
use rs_consent::request::Opening;
use rs_consent::{
    AccessLevel, Assignment, EndCause, Facts, Gate, Minutes, RefusalCode, SigningKey, SupportRequest, Terms,
};
use rs_session::client::{Client, ClientEvent, ConnectError, Credentials};
use rs_session::history::record_path;
use rs_session::host::{
    Downed, Engine, Host, HostEvent, HostSettings, Observer, Occasion, Progress, Rights, RunningWork,
};
use rs_session::operations::wire::{Finish, Status};
use rs_session::protocol::{Answer, Form, Offered, Planned, Refused};
use rs_session::record::{Content, Digest, OutputData, Report, Trust, verify};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::common;

/// What the scripted engine did, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    Started(String),
    Answered(Answer),
    Interrupted,
    Killed,
}

/// Permits lines that begin with `Get-`, runs them by what the test feeds in.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) did: mpsc::UnboundedSender<Did>,
    pub(crate) feed: Arc<Mutex<BTreeMap<String, mpsc::UnboundedReceiver<Progress>>>>,
    pub(crate) records: std::path::PathBuf,
}

pub(crate) struct Scripted {
    pub(crate) did: mpsc::UnboundedSender<Did>,
    pub(crate) feed: mpsc::UnboundedReceiver<Progress>,
}

#[async_trait]
impl Engine for Script {
    type Work = String;

    fn plan(
        &self,
        line: &str,
        rights: Rights<'_>,
        _form: Form,
        _columns: Option<u16>,
    ) -> Result<Planned<String>, Refused> {
        let refused =
            |code: &str| Refused { code: code.into(), column: Some(1), message: format!("no {line}") };
        if line == "Stop-Service" && rights.level < AccessLevel::DiagnosticsRepair {
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

    fn offered(&self, _rights: Rights<'_>) -> Vec<Offered> {
        vec![Offered::named("Get-Date")]
    }

    fn catalog_sha256(&self) -> Digest {
        Digest::of(b"script")
    }

    async fn start(&self, work: String, _occasion: &Occasion) -> Result<Box<dyn RunningWork>, String> {
        // SEC24: the request is on disk before anything starts.
        assert!(is_on_disk(&self.records, &work), "{work} starts before its record is on disk");
        let feed = self.feed.lock().unwrap().remove(&work).ok_or("nothing was prepared")?;
        self.did.send(Did::Started(work)).unwrap();
        Ok(Box::new(Scripted { did: self.did.clone(), feed }))
    }
}

pub(crate) fn is_on_disk(records: &Path, line: &str) -> bool {
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

    async fn answered(&mut self, answer: Answer) {
        self.did.send(Did::Answered(answer)).unwrap();
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
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<HostEvent>>>);

impl Observer for Heard {
    fn event(&self, event: &HostEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A node with everything that a session needs.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) node: Arc<SigningKey>,
    pub(crate) desk: SigningKey,
    pub(crate) engineer: Arc<SigningKey>,
    pub(crate) clock: ManualClock,
    pub(crate) gate: Gate,
    pub(crate) facts: Facts,
    pub(crate) host: Host<Script>,
    pub(crate) script: Script,
    pub(crate) did: mpsc::UnboundedReceiver<Did>,
    pub(crate) heard: Heard,
}

impl World {
    /// Grant, open request: everything but the engineer.
    pub(crate) fn new() -> Self {
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

    /// What the host of a world begins with.
    pub(crate) fn settings(&self) -> HostSettings {
        HostSettings::new("node-01".parse().unwrap(), self.directory.path())
    }

    /// Another host with these settings.
    pub(crate) fn host_with(&mut self, settings: HostSettings) {
        let clock = Arc::new(self.clock.clone());
        let (node, observer) = (Arc::clone(&self.node), Arc::new(self.heard.clone()));
        self.host = Host::new(settings, node, self.gate.clone(), clock, self.script.clone(), observer);
    }

    /// Another host, for sessions that end when nothing comes for `wait`.
    pub(crate) fn idle_after(&mut self, wait: Duration) {
        self.host_with(HostSettings { idle_wait: wait, ..self.settings() });
    }

    /// Another host, for sessions in which a receipt may take `wait`.
    pub(crate) fn receipts_within(&mut self, wait: Duration) {
        self.host_with(HostSettings { receipt_wait: wait, ..self.settings() });
    }

    pub(crate) fn about(&self) -> (Node, Desk) {
        let node = Node { name: "node-01".parse().unwrap(), key: self.node.public() };
        (node, Desk { name: "support.example".parse().unwrap(), key: self.desk.public() })
    }

    pub(crate) fn request(&self) -> SupportRequest {
        let (node, desk) = self.about();
        let at = self.clock.now().wall;
        let number = "2611250000000001".parse().unwrap();
        let mut request = SupportRequest::submit(number, "a volume is gone".parse().unwrap(), node, at);
        request.confirm(&Opening { number, node_key: self.node.public(), desk, opened_at: at }, at).unwrap();
        request
    }

    pub(crate) fn grant(&self, level: AccessLevel) -> Grant {
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
            scope: rs_consent::Scope::default(),
            approval: rs_consent::ApprovalRule::default(),
            conditions: rs_consent::Conditions::default(),
            requested: self.clock.now(),
        };
        let id = rs_consent::GrantId::new(Uuid::from_u128(5));
        Grant::new(id, &consent, &self.clock.now()).unwrap()
    }

    pub(crate) fn load(&mut self) {
        self.facts.revision += 1;
        self.gate.load(self.facts.clone());
    }

    pub(crate) fn assignment(&self) -> Assignment {
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

    pub(crate) fn credentials(&self, assignment: &Assignment) -> Credentials {
        Credentials {
            engineer: Arc::clone(&self.engineer),
            assignment: assignment.issue(&self.desk).unwrap(),
            assignment_id: assignment.id,
            node: self.node.public(),
        }
    }

    pub(crate) fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> JoinHandle<()> {
        let host = self.host.clone();
        tokio::spawn(async move { host.serve(stream).await })
    }

    /// A line that the engine will run; what is sent into it comes out.
    pub(crate) fn prepare(&self, line: &str) -> mpsc::UnboundedSender<Progress> {
        let (sender, feed) = mpsc::unbounded_channel();
        self.script.feed.lock().unwrap().insert(line.to_owned(), feed);
        sender
    }

    pub(crate) async fn connect(&self) -> (Client<DuplexStream>, JoinHandle<()>) {
        let (near, far) = duplex(64 * 1024);
        let served = self.serve(far);
        let client =
            Client::connect(near, self.credentials(&self.assignment()), "test/1", None).await.unwrap();
        (client, served)
    }

    pub(crate) async fn refusal(&self, credentials: Credentials) -> RefusalCode {
        let (near, far) = duplex(64 * 1024);
        let served = self.serve(far);
        let error = Client::connect(near, credentials, "test/1", None).await.unwrap_err();
        served.await.unwrap();
        let ConnectError::Refused { code, .. } = error else { panic!("{error}") };
        code
    }

    pub(crate) fn verified(&self, session: Uuid) -> Report {
        let bytes = std::fs::read(record_path(self.directory.path(), session)).unwrap();
        verify(&bytes[..], Trust::Node(self.node.public()))
    }

    pub(crate) async fn started(&mut self, line: &str) {
        assert_eq!(self.did.recv().await, Some(Did::Started(line.to_owned())));
    }

    pub(crate) async fn revoke(&mut self) -> Vec<Downed> {
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

pub(crate) fn text(text: &str) -> Progress {
    Progress::Output(OutputData::Text(text.to_owned()))
}

pub(crate) fn done() -> Progress {
    Progress::Finished(Finish::new(Status::Done, ""))
}

pub(crate) async fn content(client: &mut Client<DuplexStream>) -> Option<Content> {
    loop {
        match client.next().await.unwrap() {
            ClientEvent::Record { content: Some(Content::Receipt), .. } => {}
            ClientEvent::Record { content, .. } => return content,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn ended(client: &mut Client<DuplexStream>) -> EndCause {
    loop {
        if let ClientEvent::Ended { cause, .. } = client.next().await.unwrap() {
            return cause;
        }
    }
}

/// What a client copies, readable by the test while the client writes.
pub(crate) struct Shared(pub(crate) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
