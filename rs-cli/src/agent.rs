//! The node's agent: the only process that lets anybody in.
//!
//! It holds the gate, the sessions and, while a grant is in force, a listener at the relay. Commands change the store
//! and then call over the control socket ([`crate::control`]); the agent reads the store, changes the gate, and
//! answers when every session that may no longer live is down.
//!
//! Without a grant it sends no packet: there is no listener then.

mod link;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rs_consent::store::{Act, ConsentStore};
use rs_consent::{Clock, EndCause, Facts, Gate, GrantId, GrantState, SigningKey};
use rs_session::history::record_files;
use rs_session::host::{Host, HostEvent, HostSettings, Observer, OperationsEngine};
use rs_session::journal::{Recovery, recover};
use rs_session::operations::executor::WorkerExecutor;
use rs_session::operations::{Limits, Policy};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

pub use self::link::Link;
use crate::control::{Changed, ControlReply, ControlRequest, ControlServer, OpenSession, SessionEnd, Status};
use crate::outcome::{ErrorCode, Failure};
use crate::relay_access::RelayAccess;
use crate::state::{Role, StateDir};
use crate::{keys, node};

/// How often the agent makes the time durable, and looks whether the store changed without a call (a command that was
/// killed between its write and its call).
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Longest time that a change waits for sessions to go down before it says that some are left.
const SETTLE_WAIT: Duration = Duration::from_secs(5);
/// Longest time that the store may take to say what holds now. Then the gate shuts, before whoever made the change is
/// answered; it opens again when the store answers.
const STORE_WAIT: Duration = Duration::from_secs(3);
/// Events of sessions that wait to be told; more are dropped, since strangers cause them and memory is finite.
const EVENTS_MAX: usize = 1024;
/// Refusals that are put into the node log in [`NOTED_WITHIN`]: strangers cause them, and each is a synced write.
const NOTED_MAX: u32 = 60;
/// See [`NOTED_MAX`].
const NOTED_WITHIN: Duration = Duration::from_secs(60);
/// Most characters of a refusal's cause that are logged.
const CAUSE_CHARS_MAX: usize = 500;
/// Folder of the record files in the node's folder.
pub const SESSIONS_FOLDER: &str = "sessions";

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Where the node keeps its files.
    pub state: StateDir,
    /// How the relay is reached.
    pub relay: RelayAccess,
    /// The program that runs one operation, and its arguments.
    pub worker: (PathBuf, Vec<OsString>),
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// A running agent. Stop it with [`Agent::stop`]; dropping it leaves sessions to [`recover`].
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the agent's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Arc<ConsentStore>,
    gate: Gate,
    host: Host<OperationsEngine>,
    clock: Arc<dyn Clock>,
    relay: RelayAccess,
    started_at: DateTime<Utc>,
    facts: Mutex<Facts>,
    /// The act of consent in force when the gate was shut because the store could not be written.
    shut_at: Mutex<Option<ActOfConsent>>,
    /// The gate is shut because the store did not say what holds.
    blind: AtomicBool,
    link: Mutex<Link>,
    changed: Notify,
}

/// One consent for one grant, if there is any.
type ActOfConsent = Option<(GrantId, u32)>;

/// What the agent found when it started.
#[derive(Debug, Default)]
pub struct Found {
    /// Sessions that had been cut off and have their end record now.
    pub interrupted: usize,
    /// Records that are damaged; they were left as they are.
    pub damaged: Vec<String>,
}

impl Agent {
    /// Becomes the agent of the node: keys, store, recovery of records, gate, control socket, relay.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::AgentUnreachable`] where another agent runs; errors of keys, store and files.
    pub async fn start(settings: AgentSettings) -> Result<(Self, Found), Failure> {
        let folder = settings.state.role(Role::Node);
        let control = ControlServer::bind(&folder)?;
        let key = Arc::new(keys::load_or_create(&settings.state, Role::Node)?);
        let records = folder.ensure_inner(SESSIONS_FOLDER)?;
        let clock = Arc::clone(&settings.clock);
        let (store, found) = {
            let (path, key, clock, records) =
                (folder.file(node::STORE_NAME), Arc::clone(&key), Arc::clone(&clock), records.clone());
            blocking(move || {
                let found = recover_records(&records, &key, &*clock)?;
                let store = ConsentStore::open(path)?;
                store.note(Act::AgentStarted, &clock.now())?;
                Ok::<_, Failure>((Arc::new(store), found))
            })
            .await??
        };
        let gate = Gate::new(key.public());
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let executor = WorkerExecutor::new(settings.worker.0, settings.worker.1)
            .map_err(|error| {
                Failure::new(ErrorCode::Internal, "operations cannot be started").because(error)
            })?
            .with_state_directory(folder.path());
        let engine = OperationsEngine::new(Arc::new(executor), Policy::default(), Limits::default());
        let host = Host::new(
            HostSettings::new(node::name(), records),
            key,
            gate.clone(),
            Arc::clone(&clock),
            engine,
            Arc::new(Teller(events)),
        );
        let shared = Arc::new(Shared {
            store,
            gate,
            host,
            relay: settings.relay,
            started_at: clock.now().wall,
            clock,
            facts: Mutex::default(),
            shut_at: Mutex::default(),
            blind: AtomicBool::new(false),
            link: Mutex::default(),
            changed: Notify::new(),
        });
        shared.reload().await?;
        let tasks = vec![
            tokio::spawn(answer(Arc::clone(&shared), control)),
            tokio::spawn(heartbeat(Arc::clone(&shared))),
            tokio::spawn(link::keep(Arc::clone(&shared))),
            tokio::spawn(tell(Arc::clone(&shared.store), Arc::clone(&shared.clock), heard)),
        ];
        Ok((Self { shared, tasks }, found))
    }

    /// Shuts the gate, ends all sessions with cause `agent-stopped`, and returns when they are down.
    pub async fn stop(self) -> usize {
        self.shared.gate.shut(EndCause::AgentStopped);
        let ended = self
            .shared
            .host
            .end_all(EndCause::AgentStopped, EndCause::AgentStopped.explanation())
            .await
            .len();
        let (store, now) = (Arc::clone(&self.shared.store), self.shared.clock.now());
        // The node log is the poorer without this line; the stop must not fail for it.
        let _noted = blocking(move || store.note(Act::AgentStopped, &now)).await;
        for task in &self.tasks {
            task.abort();
        }
        ended
    }

    /// How the agent stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(ErrorCode::Internal, "a task broke").because(error))
}

/// Brings the records of sessions that were cut off to their end.
fn recover_records(records: &std::path::Path, key: &SigningKey, clock: &dyn Clock) -> Result<Found, Failure> {
    let mut found = Found::default();
    let files = record_files(records)
        .map_err(|error| Failure::new(ErrorCode::Io, "the records cannot be listed").because(error))?;
    for (id, path) in files {
        match recover(&path, key, clock) {
            Ok(Recovery::Ended { .. }) => found.interrupted += 1,
            Ok(Recovery::Damaged { explanation }) => found.damaged.push(format!("{id}: {explanation}")),
            Ok(_) => {}
            Err(error) => found.damaged.push(format!("{id}: {error}")),
        }
    }
    Ok(found)
}

impl Shared {
    /// Reads the store into the gate; returns the sessions that this ended. A store that cannot be read, or not in time,
    /// shuts the gate until it can.
    async fn reload(&self) -> Result<Vec<rs_session::host::Downed>, Failure> {
        let facts = match self.read_facts().await {
            Ok(facts) => facts,
            Err(failure) => {
                self.host
                    .change(|gate| {
                        let _one_at_a_time = lock(&self.shut_at);
                        self.blind.store(true, Ordering::SeqCst);
                        gate.shut(EndCause::Fault);
                    })
                    .await;
                return Err(failure);
            }
        };
        *lock(&self.facts) = facts.clone();
        let downed = self
            .host
            .change(|gate| {
                let mut shut_at = lock(&self.shut_at);
                if self.may_resume(&mut shut_at, &facts) {
                    gate.resume(facts);
                } else {
                    gate.load(facts);
                }
            })
            .await;
        self.changed.notify_waiters();
        Ok(downed)
    }

    async fn read_facts(&self) -> Result<Facts, Failure> {
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        match timeout(STORE_WAIT, blocking(move || store.facts(&now))).await {
            Ok(facts) => Ok(facts??),
            Err(_) => Err(Failure::new(ErrorCode::Store, "the store of this node did not answer in time")),
        }
    }

    /// After the operator's shut the gate opens only when the consent that was then in force is gone or was given anew;
    /// after one for want of the store, now that it is read.
    fn may_resume(&self, shut_at: &mut Option<ActOfConsent>, facts: &Facts) -> bool {
        let sees_again = self.blind.swap(false, Ordering::SeqCst);
        match *shut_at {
            None => sees_again,
            Some(act) if act == act_of(facts) && self.is_in_force(facts) => false,
            Some(_) => {
                *shut_at = None;
                true
            }
        }
    }

    fn is_in_force(&self, facts: &Facts) -> bool {
        let now = self.clock.now();
        !facts.held && facts.grant.as_ref().is_some_and(|grant| grant.state_at(&now) == GrantState::Active)
    }

    /// Whether the relay should be told that this node listens.
    pub(crate) fn wants_relay(&self) -> bool {
        let open = lock(&self.shut_at).is_none() && !self.blind.load(Ordering::SeqCst);
        open && self.is_in_force(&lock(&self.facts))
    }

    async fn handle(&self, request: ControlRequest) -> ControlReply {
        let since = Instant::now();
        match request {
            ControlRequest::Changed {} => match timeout(SETTLE_WAIT, self.reload()).await {
                Ok(Ok(downed)) => ControlReply::Changed(Changed {
                    sessions_ended: count(downed.len()),
                    sessions_still_ending: 0,
                    elapsed_ms: milliseconds(since),
                }),
                Ok(Err(failure)) => failed(&failure),
                Err(_) => ControlReply::Changed(Changed {
                    sessions_ended: 0,
                    sessions_still_ending: count(self.host.live().len()),
                    elapsed_ms: milliseconds(since),
                }),
            },
            ControlRequest::Shut {} => {
                let act = act_of(&lock(&self.facts));
                let downed = self
                    .host
                    .change(|gate| {
                        let mut shut_at = lock(&self.shut_at);
                        *shut_at = Some(act);
                        gate.shut(EndCause::Revoked);
                    })
                    .await;
                self.changed.notify_waiters();
                ControlReply::Changed(Changed {
                    sessions_ended: count(downed.len()),
                    sessions_still_ending: 0,
                    elapsed_ms: milliseconds(since),
                })
            }
            ControlRequest::Status {} => ControlReply::Status(self.status()),
            ControlRequest::EndSession { session_id } => {
                let downed =
                    self.host.end(session_id, EndCause::Operator, EndCause::Operator.explanation()).await;
                ControlReply::EndSession(SessionEnd {
                    ended: downed.is_some(),
                    elapsed_ms: milliseconds(since),
                })
            }
        }
    }

    fn status(&self) -> Status {
        let link = match lock(&self.link).clone() {
            // The listener's task has not woken yet.
            Link::NotConnected if self.wants_relay() => Link::Connecting(None),
            link => link,
        };
        let open = |session: rs_session::host::LiveSession| OpenSession {
            session_id: session.session_id,
            engineer: session.engineer,
            access_level: session.access_level,
            started_at: session.started_at,
        };
        Status {
            pid: std::process::id(),
            started_at: self.started_at,
            connection_status: link.word().to_owned(),
            connection_error_message: link.trouble().map(str::to_owned),
            sessions: self.host.live().into_iter().map(open).collect(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn act_of(facts: &Facts) -> ActOfConsent {
    facts.grant.as_ref().map(|grant| (grant.id, grant.revision))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn failed(failure: &Failure) -> ControlReply {
    ControlReply::Failed { code: failure.code().as_str().to_owned(), message: failure.to_string() }
}

/// Answers commands.
async fn answer(shared: Arc<Shared>, control: ControlServer) {
    let serve = control.serve(move |_peer, request| {
        let shared = Arc::clone(&shared);
        async move { shared.handle(request).await }
    });
    if let Err(error) = serve.await {
        tracing::error!(%error, "the control socket failed; commands cannot reach this agent any more");
    }
}

/// Makes the time durable, notices a clock that went back, and reads the store when it changed without a call.
async fn heartbeat(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        beat.tick().await;
        let (store, now) = (Arc::clone(&shared.store), shared.clock.now());
        let held = shared.gate.is_held();
        let known = lock(&shared.facts).revision;
        let stamped = blocking(move || {
            if held && store.held()?.is_none() {
                store.hold(&now)?;
            }
            store.stamp(&now)?;
            store.revision()
        });
        let outcome = match stamped.await {
            Ok(Ok(revision)) if revision == known && !shared.blind.load(Ordering::SeqCst) => Ok(()),
            Ok(Ok(_)) => shared.reload().await.map(drop),
            Ok(Err(error)) => Err(error.into()),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = outcome {
            tracing::error!(%failure, "the store cannot be used");
        }
    }
}

/// Hands the host's events over to a task that may wait.
#[derive(Debug)]
struct Teller(mpsc::Sender<HostEvent>);

impl Observer for Teller {
    fn event(&self, event: &HostEvent) {
        // Nobody hears any more while the agent stops, and nobody has to hear everything in a flood.
        let _ = self.0.try_send(event.clone());
    }
}

/// Lets [`NOTED_MAX`] pass in [`NOTED_WITHIN`].
#[derive(Debug, Default)]
struct Limit {
    since: Option<Instant>,
    passed: u32,
    over: u64,
}

impl Limit {
    /// How many were passed over since the last that passed; `None` when this one is passed over too.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= NOTED_WITHIN) {
            (self.since, self.passed) = (Some(now), 0);
        }
        if self.passed >= NOTED_MAX {
            self.over += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.over))
    }
}

/// Logs events, and puts refusals into the node log, as many as [`Limit`] lets pass.
async fn tell(store: Arc<ConsentStore>, clock: Arc<dyn Clock>, mut heard: mpsc::Receiver<HostEvent>) {
    let mut limit = Limit::default();
    while let Some(event) = heard.recv().await {
        match event {
            HostEvent::Refused { code, explanation, engineer } => {
                let Some(passed_over) = limit.pass(Instant::now()) else { continue };
                if passed_over > 0 {
                    tracing::warn!(passed_over, "refusals came too fast to be told and noted one by one");
                }
                let key = engineer.map_or_else(|| "none".to_owned(), |key| key.fingerprint().to_string());
                let cause: String = crate::output::safe(&explanation).chars().take(CAUSE_CHARS_MAX).collect();
                tracing::warn!(%code, cause, key, "an engineer was not let in");
                let (store, now) = (Arc::clone(&store), clock.now());
                if let Ok(Err(error)) =
                    blocking(move || store.note(Act::EngineerRefused { code }, &now)).await
                {
                    tracing::error!(%error, "the refusal could not be written to the node log");
                }
            }
            HostEvent::Started { session, engineer, level } => {
                tracing::info!(%session, engineer = %crate::output::safe(&engineer), %level, "session started");
            }
            HostEvent::Ended { session, cause, recorded } => {
                tracing::info!(%session, %cause, recorded, "session ended");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rs_consent::{Admission, RefusalCode, SystemClock};

    use super::*;
    use crate::commands::relay::Side;

    async fn agent(state: &StateDir) -> Agent {
        let settings = AgentSettings {
            state: state.clone(),
            relay: RelayAccess::new(state, Side::Listen, None, None, crate::network::Way::direct()),
            worker: ("/bin/true".into(), Vec::new()),
            clock: Arc::new(SystemClock::new()),
        };
        Agent::start(settings).await.expect("started").0
    }

    fn refusal(agent: &Agent) -> RefusalCode {
        let now = agent.shared.clock.now();
        agent.shared.gate.admit(&Admission::default(), &now).expect_err("nothing is granted").code
    }

    #[tokio::test]
    async fn sec45_a_gate_that_shut_for_want_of_the_store_opens_by_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(Some(directory.path().join("s"))).expect("a path");
        let agent = agent(&state).await;
        assert_eq!(refusal(&agent), RefusalCode::NoGrant);

        // What a failed reading leaves behind.
        agent.shared.blind.store(true, Ordering::SeqCst);
        agent.shared.gate.shut(EndCause::Fault);
        assert_eq!(refusal(&agent), RefusalCode::GateShut);
        agent.shared.reload().await.expect("the store is there");
        assert_eq!(refusal(&agent), RefusalCode::NoGrant);

        agent.stop().await;
    }

    #[test]
    fn sec46_strangers_do_not_fill_the_node_log() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let passed = (0..1000).filter(|_| limit.pass(start).is_some()).count();
        assert_eq!(passed, NOTED_MAX as usize);
        assert_eq!(limit.pass(start + NOTED_WITHIN), Some(1000 - u64::from(NOTED_MAX)));
        assert_eq!(limit.pass(start + NOTED_WITHIN), Some(0));
    }
}
