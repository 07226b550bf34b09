//! The corpus of refused lines through whole sessions: each is on record with its code and column, and nothing was
//! started or touched for any of them (SEC19, A10).

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;
#[path = "common/corpus.rs"]
mod corpus;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::TimeDelta;
use rs_consent::clock::{Clock as _, ManualClock};
use rs_consent::grant::{Consent, Grant};
use rs_consent::party::{Desk, Engineer, Grantor, Method, Node};
use rs_consent::request::Opening;
use rs_consent::{
    AccessLevel, ApprovalRule, Assignment, EndCause, Facts, Gate, GrantId, Minutes, Scope, SigningKey,
    SupportRequest, Terms,
};
use rs_session::client::{Client, ClientEvent, Credentials};
use rs_session::history::{Transcript, record_path};
use rs_session::host::{Host, HostEvent, HostSettings, Observer, OperationsEngine};
use rs_session::operations::executor::{Executor, InProcessExecutor, Running, StartError};
use rs_session::operations::{Catalog, Limits, Plan, Policy};
use rs_session::protocol::Form;
use rs_session::record::{Content, RefusalContent, Trust, Verdict, verify};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Counts what is started.
#[derive(Debug, Default)]
struct Counting {
    inner: InProcessExecutor,
    started: AtomicUsize,
}

#[async_trait]
impl Executor for Counting {
    async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.inner.start(plan).await
    }
}

struct Deaf;

impl Observer for Deaf {
    fn event(&self, _: &HostEvent) {}
}

/// A node with the product's own engine, and an engineer.
struct Site {
    directory: tempfile::TempDir,
    node: Arc<SigningKey>,
    desk: SigningKey,
    engineer: Arc<SigningKey>,
    clock: ManualClock,
    gate: Gate,
    host: Host<OperationsEngine>,
    executor: Arc<Counting>,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = common::clock(0);
        let node = Arc::new(common::key(1));
        let gate = Gate::new(node.public());
        let executor = Arc::new(Counting::default());
        let engine = OperationsEngine::new(
            Arc::clone(&executor) as Arc<dyn Executor>,
            Policy::default(),
            Limits::default(),
        );
        let settings = HostSettings::new("node-01".parse().unwrap(), directory.path());
        let host = Host::new(
            settings,
            Arc::clone(&node),
            gate.clone(),
            Arc::new(clock.clone()),
            engine,
            Arc::new(Deaf),
        );
        let (desk, engineer) = (common::key(2), Arc::new(common::key(3)));
        Self { directory, node, desk, engineer, clock, gate, host, executor }
    }

    /// Puts a consent of this scope into force.
    fn consent(&self, level: AccessLevel, scope: Scope, revision: u64) {
        let now = self.clock.now();
        let (node, desk) = self.about();
        let number = "2611250000000001".parse().unwrap();
        let mut request = SupportRequest::submit(number, "a volume is gone".parse().unwrap(), node, now.wall);
        let opening = Opening { number, node_key: self.node.public(), desk, opened_at: now.wall };
        request.confirm(&opening, now.wall).unwrap();
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
            catalog: Catalog::sha256().parse().ok(),
            scope,
            approval: ApprovalRule::default(),
            conditions: rs_consent::Conditions::default(),
            requested: now,
        };
        let grant = Grant::new(GrantId::new(Uuid::from_u128(5)), &consent, &now).unwrap();
        self.gate.load(Facts { grant: Some(grant), requests: vec![request], revision, ..Facts::default() });
    }

    fn about(&self) -> (Node, Desk) {
        let node = Node { name: "node-01".parse().unwrap(), key: self.node.public() };
        (node, Desk { name: "support.example".parse().unwrap(), key: self.desk.public() })
    }

    async fn connect(&self) -> (Client<DuplexStream>, JoinHandle<()>) {
        let (node, desk) = self.about();
        let now = self.clock.now().wall;
        let assignment = Assignment {
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
        };
        let credentials = Credentials {
            engineer: Arc::clone(&self.engineer),
            assignment: assignment.issue(&self.desk).unwrap(),
            assignment_id: assignment.id,
            node: self.node.public(),
        };
        let (near, far) = duplex(64 * 1024);
        let host = self.host.clone();
        let served = tokio::spawn(async move { host.serve(far).await });
        (Client::connect(near, credentials, "test/1", None).await.unwrap(), served)
    }

    /// What the record of a session holds.
    fn record(&self, session: Uuid) -> Vec<Content> {
        let path = record_path(self.directory.path(), session);
        let report = verify(&std::fs::read(&path).unwrap()[..], Trust::Node(self.node.public()));
        assert_eq!(report.verdict, Verdict::Intact);
        Transcript::open(&path, None).unwrap().filter_map(|entry| entry.unwrap().content).collect()
    }
}

/// The first record that says what became of a line.
async fn answer(client: &mut Client<DuplexStream>) -> Content {
    loop {
        match client.next().await.unwrap() {
            ClientEvent::Record { content: Some(Content::Receipt), .. } => {}
            ClientEvent::Record { content: Some(content), .. } => return content,
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

async fn refusal(client: &mut Client<DuplexStream>, line: &str) -> RefusalContent {
    client.invoke(line, Form::Text, None).await.unwrap();
    match answer(client).await {
        Content::Refusal(refusal) => refusal,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[tokio::test]
async fn sec19_every_refused_line_is_on_record_with_code_and_column_and_starts_nothing() {
    let node = Site::new();
    node.consent(AccessLevel::Diagnostics, Scope::as_published(), 1);
    let cases = corpus::refused();
    let mut shown = Vec::new();
    let mut recorded = Vec::new();
    // Several sessions: a session has its limits, and the corpus is longer than a person would type.
    for part in cases.chunks(100) {
        let (mut client, served) = node.connect().await;
        for case in part {
            shown.push(refusal(&mut client, &case.line).await);
        }
        client.bye().await.unwrap();
        assert_eq!(ended(&mut client).await, EndCause::Exit);
        served.await.unwrap();
        let record = node.record(client.welcome().session);
        recorded.extend(record.into_iter().filter_map(|content| match content {
            Content::Refusal(refusal) => Some(refusal),
            _ => None,
        }));
    }
    assert_eq!(shown, recorded, "what the engineer saw is what stands on record");
    assert_eq!(recorded.len(), cases.len());
    for (case, refusal) in cases.iter().zip(&recorded) {
        assert_eq!(refusal.line, case.line, "{}", case.at);
        assert_eq!(
            (refusal.code.as_str(), refusal.column),
            (case.code.as_str(), Some(case.column)),
            "{}",
            case.at
        );
    }
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 0, "nothing was started for any of them");
}

/// Control: what is permitted does reach the executor, so the count above means something.
#[tokio::test]
async fn sec19_control_a_permitted_line_is_counted() {
    let node = Site::new();
    node.consent(AccessLevel::Diagnostics, Scope::as_published(), 1);
    let (mut client, _served) = node.connect().await;
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    assert!(matches!(answer(&mut client).await, Content::Request(_)));
    while !matches!(answer(&mut client).await, Content::Finished(_)) {}
    assert_eq!(node.executor.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a10_strict_read_only_holds_on_the_node_and_stands_in_record_zero() {
    let node = Site::new();
    node.consent(AccessLevel::Diagnostics, Scope::default(), 1);
    let (mut client, served) = node.connect().await;
    let catalog = client.welcome().catalog.clone().unwrap();
    assert_eq!((catalog.sha256.to_string().as_str(), &catalog.scope), (Catalog::sha256(), &Scope::default()));
    assert!(!client.welcome().operations.iter().any(|one| one.name == "Start-SolutionUpdate"));
    let refused = refusal(&mut client, "Start-SolutionUpdate").await;
    assert_eq!((refused.code.as_str(), refused.column), ("policy-excludes", Some(1)));
    client.bye().await.unwrap();
    ended(&mut client).await;
    served.await.unwrap();
    let path = record_path(node.directory.path(), client.welcome().session);
    let identity = Transcript::open(&path, None).unwrap().identity().clone();
    assert_eq!((identity.scope, identity.catalog_sha256), (Some(Scope::default()), catalog.sha256));
}

/// Control: the same line under the other choice is not the policy's business.
#[tokio::test]
async fn a10_control_as_published_the_policy_is_silent() {
    let node = Site::new();
    node.consent(AccessLevel::Diagnostics, Scope::as_published(), 1);
    let (mut client, _served) = node.connect().await;
    assert!(client.welcome().operations.iter().any(|one| one.name == "Start-SolutionUpdate"));
    assert_eq!(refusal(&mut client, "Start-SolutionUpdate").await.code, "not-available");
}

#[tokio::test]
async fn a10_a_consent_that_narrows_ends_what_stands_on_the_wider_one() {
    let node = Site::new();
    node.consent(AccessLevel::Diagnostics, Scope::as_published(), 1);
    let (mut wide, served) = node.connect().await;
    node.consent(AccessLevel::Diagnostics, Scope::default(), 2);
    assert_eq!(ended(&mut wide).await, EndCause::LevelLowered);
    served.await.unwrap();
    let (mut strict, _served) = node.connect().await;
    node.consent(AccessLevel::Diagnostics, Scope::as_published(), 3);
    assert_eq!(
        refusal(&mut strict, "Start-SolutionUpdate").await.code,
        "policy-excludes",
        "a wider consent is for new sessions"
    );
}

#[tokio::test]
async fn a16_lists_that_this_program_does_not_have_permit_nothing() {
    let node = Site::new();
    let scope = Scope { product: "azure-mars".parse().unwrap(), ..Scope::default() };
    node.consent(AccessLevel::Diagnostics, scope, 1);
    let (mut client, _served) = node.connect().await;
    assert!(!client.welcome().operations.iter().any(|one| one.name == "Get-Process"));
    let refused = refusal(&mut client, "Get-Process").await;
    assert_eq!(refused.code, "not-permitted");
    assert!(refused.message.contains("azure-local"), "{}", refused.message);
}

#[tokio::test]
async fn a16_a_session_works_with_the_lists_of_its_product() {
    let node = Site::new();
    let scope = Scope { product: "azure-stack-edge-2110".parse().unwrap(), ..Scope::default() };
    node.consent(AccessLevel::DiagnosticsRepair, scope, 1);
    let (mut client, _served) = node.connect().await;
    assert!(client.welcome().operations.iter().any(|one| one.name == "Get-HcsApplianceInfo"));
    assert_eq!(refusal(&mut client, "Get-HcsApplianceInfo").await.code, "not-available");
    assert_eq!(refusal(&mut client, "Start-SolutionUpdate").await.code, "unknown-command");
}
