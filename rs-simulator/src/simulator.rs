//! The whole of it: builder, operator, desk, engineers, and time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::party::{Desk, Engineer as Party, Grantor, Method, Node as NodeParty};
use rs_consent::request::{ClosedBy, Opening};
use rs_consent::{
    AccessLevel, ApprovalRule, Assignment, Clock as _, Conditions, Consent, Envelope, Grant, GrantId,
    GrantState, ManualClock, Minutes, Now, PublicKey, RequestNumber, Scope, SigningKey, SupportRequest,
    Terms,
};
use rs_relay::client::{Connector, HybridConnection, SasKeyProvider, Sender, Trust};
use rs_relay::proto::{Authority, AuthorizationRule, Right, Rules, SharedKey};
use rs_relay::server::{RelayServer, dev_certificate};
use rs_session::client::{Client, Credentials};
use rs_session::history::record_path;
use rs_session::host::{Downed, Host, OperationsEngine};
use rs_session::operations::pipeline::Sink;
use rs_session::operations::providers::ProviderError;
use rs_session::operations::{Object, Plan};
use rs_session::record::{Report, Trust as RecordTrust, verify};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::answers::Answers;
use crate::disk::MemoryDisk;
use crate::error::Error;
use crate::network::Network;
use crate::node::{Node, RECORDS};
use crate::session::{Copy, Session};

/// What the virtual clock shows at first.
pub const START: &str = "2026-01-01T00:00:00Z";
/// Name of the simulated node.
pub const NODE_NAME: &str = "node-01";

const DESK_NAME: &str = "support.example";
const OPERATOR: &str = "operator";
const RELAY_NAME: &str = "relay.example.test";
/// How long an assignment is good.
const ASSIGNED_HOURS: i64 = 8;
/// Seeds of the keys; engineers count on from the last.
const NODE_SEED: u8 = 1;
const DESK_SEED: u8 = 2;
const ENGINEER_SEED: u8 = 3;

/// Settings of a [`Simulator`].
///
/// ```
/// use rs_session::operations::Object;
/// use rs_simulator::Simulator;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let simulator = Simulator::builder()
///     .start_at("2030-05-06T07:08:09Z".parse()?)
///     .answer("Get-Volume", vec![Object::new("Volume").with("MountPoint", "/data").with("HealthStatus", "Unhealthy")])
///     .build()?;
/// assert_eq!(simulator.now().wall.to_rfc3339(), "2030-05-06T07:08:09+00:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    clock: ManualClock,
    answers: Vec<Given>,
    approval: ApprovalRule,
    scope: Scope,
}

/// Puts an answer into the registry once the clock is known.
struct Given(Box<dyn FnOnce(Answers) -> Answers + Send>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Builder {
    /// What the virtual clock shows at first; default [`START`].
    #[must_use]
    pub fn start_at(self, wall: DateTime<Utc>) -> Self {
        Self { clock: ManualClock::new(wall), ..self }
    }

    /// What a published command answers. Its parameters choose by the properties of their name.
    #[must_use]
    pub fn answer(mut self, command: &'static str, objects: Vec<Object>) -> Self {
        self.answers.push(Given(Box::new(move |answers| answers.fixed(command, objects))));
        self
    }

    /// Who answers a published command. It runs on a thread; when the operation is ended, its next `emit` fails.
    ///
    /// ```
    /// use rs_session::operations::Object;
    /// use rs_simulator::Simulator;
    ///
    /// // Never ends by itself: something to revoke.
    /// let builder = Simulator::builder().provider("Get-Volume", |_, sink| loop {
    ///     sink.emit(Object::new("Volume").with("MountPoint", "/").into())?;
    /// });
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn provider(
        mut self,
        command: &'static str,
        provider: impl Fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError> + Send + Sync + 'static,
    ) -> Self {
        self.answers.push(Given(Box::new(move |answers| answers.with(command, provider))));
        self
    }

    /// Which calls wait for the owner's answer, under every grant; default as the product's. What waits is in
    /// [`Host::approvals`], and [`Host::answer`] answers it.
    #[must_use]
    pub fn approval(self, approval: ApprovalRule) -> Self {
        Self { approval, ..self }
    }

    /// What every grant narrows besides the level; default strict-read-only.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Builds it. Call it within a tokio runtime that has its time driver.
    ///
    /// # Errors
    /// [`Error::Setup`] where the relay's certificate cannot be made, for want of randomness.
    pub fn build(self) -> Result<Simulator, Error> {
        let Self { clock, answers, approval, scope } = self;
        let certificate = dev_certificate([RELAY_NAME]).map_err(Error::setup)?;
        let (network, side) = Network::new(&certificate)?;
        let authority: Authority = RELAY_NAME.parse().map_err(Error::setup)?;
        let (name, key) = ("simulator", SharedKey::generate().map_err(Error::setup)?);
        let rule = AuthorizationRule::new(name.parse().map_err(Error::setup)?, [Right::Manage], key.clone());
        let rules = Rules::new([rule.clone()]).map_err(Error::setup)?;
        let relay = RelayServer::builder([authority.clone()]).rules(rules).refusal_delay(Duration::ZERO);
        let relay = relay.build().map_err(Error::setup)?;
        let serving = tokio::spawn({
            let relay = relay.clone();
            async move { drop(relay.serve(side).await) }
        });
        let trust = Trust::Only(certificate.authority_pem().as_bytes().to_vec());
        let connector = Connector::builder().trust(trust).dialer(Arc::new(network.clone())).build();
        let connector = connector.map_err(Error::setup)?;
        let tokens = Arc::new(SasKeyProvider::new(rule.name().clone(), key));
        let entity = NODE_NAME.parse().map_err(Error::setup)?;
        let way = (HybridConnection::new(authority, entity).with_tokens(tokens), connector);
        let answers = answers.into_iter().fold(Answers::new(clock.clone()), |all, given| (given.0)(all));
        let disk = MemoryDisk::default();
        let key = seeded(NODE_SEED);
        let node = Node::new(key, clock.clone(), answers, &disk, network.clone(), way.clone())?;
        Ok(Simulator {
            clock,
            disk,
            network,
            node,
            desk: seeded(DESK_SEED),
            approval,
            scope,
            way,
            serving,
            engineers: AtomicU8::new(ENGINEER_SEED),
            numbers: AtomicU64::new(1),
        })
    }
}

fn seeded(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// An engineer with the desk's papers.
#[derive(Debug, Clone)]
pub struct Engineer {
    key: Arc<SigningKey>,
    assignment: Assignment,
    papers: Envelope,
}

impl Engineer {
    /// What the desk assigned.
    #[must_use]
    pub const fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The same papers in the hands of somebody with another key.
    #[must_use]
    pub fn stolen(&self) -> Self {
        Self { key: Arc::new(seeded(u8::MAX)), ..self.clone() }
    }
}

/// A node, a relay, a desk and engineers in memory; see the [crate].
///
/// Dropping it takes the relay away and ends what runs.
#[derive(Debug)]
pub struct Simulator {
    clock: ManualClock,
    disk: MemoryDisk,
    network: Network,
    node: Node,
    desk: SigningKey,
    approval: ApprovalRule,
    scope: Scope,
    way: (HybridConnection, Connector),
    serving: JoinHandle<()>,
    engineers: AtomicU8,
    numbers: AtomicU64,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.network.relay_away();
        self.serving.abort();
    }
}

impl Simulator {
    /// A node without a grant, a relay where nobody listens, and a desk. Call it within a tokio runtime that has its time
    /// driver.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings that can be changed first.
    #[must_use]
    pub fn builder() -> Builder {
        let start = START.parse().unwrap_or(DateTime::UNIX_EPOCH);
        Builder {
            clock: ManualClock::new(start),
            answers: Vec::new(),
            approval: ApprovalRule::default(),
            scope: Scope::default(),
        }
    }

    /// The operator asks for support, the desk opens the request, and the operator confirms the desk.
    ///
    /// # Errors
    /// [`Error::Name`] for a reason that cannot be.
    pub async fn open_request(&self, reason: &str) -> Result<RequestNumber, Error> {
        let wall = self.now().wall;
        let number = RequestNumber::from_parts(wall, self.numbers.fetch_add(1, Ordering::Relaxed));
        let reason = reason.parse().map_err(|why| Error::name("the reason", why))?;
        let mut request = SupportRequest::submit(number, reason, self.node_party()?, wall);
        let opening =
            Opening { number, node_key: self.node_key(), desk: self.desk_party()?, opened_at: wall };
        request.confirm(&opening, wall)?;
        let open = |facts: &mut rs_consent::Facts| {
            facts.requests.push(request);
            Ok(())
        };
        self.node.change(open).await?;
        Ok(number)
    }

    /// The operator closes a request. Returns when the sessions under it are down, with how that went.
    ///
    /// # Errors
    /// [`Error::NoRequest`].
    pub async fn close_request(&self, number: RequestNumber) -> Result<Vec<Downed>, Error> {
        let wall = self.now().wall;
        let close = |facts: &mut rs_consent::Facts| {
            let request = facts.requests.iter_mut().find(|request| request.number == number);
            Ok(request.ok_or(Error::NoRequest)?.close(ClosedBy::Operator, wall))
        };
        Ok(self.node.change(close).await?.1)
    }

    /// The desk assigns an engineer with a key of their own to a request, for eight hours, at any level.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that cannot be.
    pub fn assign(&self, engineer: &str, request: RequestNumber) -> Result<Engineer, Error> {
        let key = seeded(self.engineers.fetch_add(1, Ordering::Relaxed));
        let issued_at = self.now().wall;
        let id = engineer.parse().map_err(|why| Error::name("the engineer's name", why))?;
        let assignment = Assignment {
            id: Uuid::new_v4(),
            desk: self.desk_party()?,
            request,
            node: self.node_party()?,
            engineer: Party { id, key: key.public() },
            level_cap: AccessLevel::DiagnosticsRepair,
            issued_at,
            expires_at: issued_at + TimeDelta::hours(ASSIGNED_HOURS),
            relay: None,
        };
        let papers = assignment.issue(&self.desk)?;
        Ok(Engineer { key: Arc::new(key), assignment, papers })
    }

    /// The operator gives consent, or changes the one that is in force. Returns when the node listens at the relay, and
    /// when sessions that the change ends are down.
    ///
    /// # Errors
    /// [`Error::Minutes`] outside of 60 to 20160, and [`Error::Grant`].
    pub async fn grant(&self, level: AccessLevel, minutes: i64) -> Result<Grant, Error> {
        let now = self.now();
        let consent = Consent {
            level,
            minutes: Minutes::new(minutes)?,
            terms: Terms::azure_local(),
            request: None,
            grantor: Grantor {
                user: OPERATOR.parse().map_err(|why| Error::name("the operator's name", why))?,
                host: NODE_NAME.parse().map_err(|why| Error::name("the node's name", why))?,
                method: Method::CommandLine,
            },
            catalog: None,
            scope: self.scope.clone(),
            approval: self.approval,
            conditions: Conditions::default(),
            requested: now,
        };
        let fresh = self.node.is_held();
        let give = |facts: &mut rs_consent::Facts| {
            let in_force =
                facts.grant.as_ref().filter(|grant| !fresh && grant.state_at(&now) == GrantState::Active);
            let grant = match in_force {
                Some(grant) => grant.renewed(&consent, &now)?,
                None => Grant::new(GrantId::new(Uuid::new_v4()), &consent, &now)?,
            };
            facts.grant = Some(grant.clone());
            Ok(grant)
        };
        Ok(self.node.change(give).await?.0)
    }

    /// The operator takes consent back. Returns when every session is down and nobody listens any more, with how it went.
    pub async fn revoke(&self) -> Vec<Downed> {
        let now = self.now();
        let revoke = |facts: &mut rs_consent::Facts| {
            facts.grant = facts.grant.as_ref().map(|grant| grant.revoked(&now));
            Ok(())
        };
        self.node.change(revoke).await.map(|(_, downed)| downed).unwrap_or_default()
    }

    /// The newest grant as it stands now, if there ever was one.
    #[must_use]
    pub fn newest_grant(&self) -> Option<Grant> {
        let now = self.now();
        self.node.facts().grant.as_ref().map(|grant| grant.as_of(&now))
    }

    /// The engineer connects through the relay.
    ///
    /// # Errors
    /// [`Error::Relay`] when nobody listens or the relay is away; [`Error::Session`] when the node refuses, with
    /// [`Error::refusal`].
    pub async fn connect(&self, engineer: &Engineer) -> Result<Session, Error> {
        let (connection, connector) = self.way.clone();
        let stream = Sender::new(connection, connector).connect().await?;
        let credentials = Credentials {
            engineer: Arc::clone(&engineer.key),
            assignment: engineer.papers.clone(),
            assignment_id: engineer.assignment.id,
            node: self.node_key(),
        };
        let copy = Copy::default();
        let client = Client::connect(stream, credentials, "simulator", Some(Box::new(copy.clone()))).await?;
        Ok(Session::new(client, copy))
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Lets time pass on both clocks. Returns when every session that may no longer live is down, with how that went.
    pub async fn advance(&self, by: Duration) -> Vec<Downed> {
        self.clock.advance(by);
        self.node.look().await
    }

    /// Sets the wall clock forward or back; the boot clock stays. Returns as [`Simulator::advance`].
    pub async fn step_clock(&self, by: TimeDelta) -> Vec<Downed> {
        self.clock.step_wall(by);
        self.node.look().await
    }

    /// The network, to make its weather.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Returns when the node listens at the relay, for example after [`Network::relay_back`]; at once where no grant is in
    /// force.
    pub async fn online(&self) {
        self.node.online().await;
    }

    /// The node's disk.
    #[must_use]
    pub const fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// The host below: its live sessions, and the calls that wait for the operator.
    #[must_use]
    pub const fn host(&self) -> &Host<OperationsEngine> {
        &self.node.host
    }

    /// The node's key, which verifiers trust.
    #[must_use]
    pub fn node_key(&self) -> PublicKey {
        self.node.key.public()
    }

    /// Ids of the sessions on record.
    #[must_use]
    pub fn sessions(&self) -> Vec<Uuid> {
        let names =
            self.disk.names().into_iter().filter(|path| path.extension().is_some_and(|end| end == "record"));
        names.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect()
    }

    /// The record of a session as it lies on the node's disk.
    #[must_use]
    pub fn record(&self, session: Uuid) -> Option<Vec<u8>> {
        self.disk.content(&record_path(Path::new(RECORDS), session))
    }

    /// Verifies the record of a session by the node's key; `None` where there is none.
    #[must_use]
    pub fn verify(&self, session: Uuid) -> Option<Report> {
        Some(self.verify_copy(&self.record(session)?))
    }

    /// Verifies any copy of a record of this node by the node's key.
    #[must_use]
    pub fn verify_copy(&self, record: &[u8]) -> Report {
        verify(record, RecordTrust::Node(self.node_key()))
    }

    fn node_party(&self) -> Result<NodeParty, Error> {
        let name = NODE_NAME.parse().map_err(|why| Error::name("the node's name", why))?;
        Ok(NodeParty { name, key: self.node_key() })
    }

    fn desk_party(&self) -> Result<Desk, Error> {
        let name = DESK_NAME.parse().map_err(|why| Error::name("the desk's name", why))?;
        Ok(Desk { name, key: self.desk.public() })
    }
}
