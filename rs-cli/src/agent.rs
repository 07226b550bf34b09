//! The node's agent: the only process that lets anybody in.
//!
//! It holds the gate, the sessions and, while a grant is in force, a listener at the relay. Commands change the store
//! and then call over the control socket ([`crate::control`]); the agent reads the store, changes the gate, and
//! answers when every session that may no longer live is down.
//!
//! Without a grant it sends no packet: there is no listener then.

mod approvals;
mod catch_up;
mod diagnostic_data;
mod eyes;
mod forward;
mod keeping;
mod link;
pub mod power_shell;
mod recovery;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rs_consent::party::{Grantor, Node};
use rs_consent::store::ConsentStore;
use rs_consent::{Clock, EndCause, Facts, Gate, Grant, GrantId, GrantState, SigningKey};
use rs_session::host::{Host, HostEvent, HostSettings, Ledger, Observer, OperationsEngine};
use rs_session::node_log::Event;
use rs_session::operations::Policy;
#[cfg(target_os = "linux")]
use rs_session::operations::executor::RootPart;
use rs_session::operations::executor::WorkerExecutor;
use rs_session::operations::leftovers::end_leftovers;
use rs_session::record::ContentKey;
use rs_session::sealing::Storage;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use uuid::Uuid;

pub use self::link::Link;
use crate::control::{
    Changed, ControlReply, ControlRequest, ControlServer, EndedSession, OpenSession, Peer, SessionEnd,
    Status, Version,
};
use crate::forwarding::Collectors;
use crate::node_log::Book;
use crate::outcome::{ErrorCode, Failure};
use crate::owner_policy::OwnerPolicy;
use crate::page::{Offering, Page};
use crate::records::SESSIONS_FOLDER;
use crate::relay_access::RelayAccess;
use crate::state::{Role, StateDir};
use crate::storage::{KeyStore, StorageOptions};
use crate::{keys, masking, node};

/// How often the agent makes the time durable, and looks whether the store changed where nobody told it: neither the
/// command that did it nor the system ([`eyes`]).
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

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Where the node keeps its files.
    pub state: StateDir,
    /// Where the storage key is.
    pub storage: StorageOptions,
    /// How the relay is reached.
    pub relay: RelayAccess,
    /// The program that runs one operation, and its arguments.
    pub worker: (PathBuf, Vec<OsString>),
    /// Socket of the part that runs as root; none where the agent asks nobody.
    pub root_part: Option<PathBuf>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// A running agent. Stop it with [`Agent::stop`]; dropping it leaves sessions to the next start.
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the agent's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Arc<ConsentStore>>,
    book: Arc<Book>,
    gate: Gate,
    host: Host<OperationsEngine>,
    storage: Arc<KeyStore>,
    clock: Arc<dyn Clock>,
    relay: RelayAccess,
    started_at: DateTime<Utc>,
    facts: Mutex<Facts>,
    /// Set when the operator revoked and the store could not be written.
    shut_at: Mutex<Option<Shut>>,
    /// Sessions whose end could not be recorded when they ended, and why they ended.
    unrecorded: Mutex<Vec<(Uuid, EndCause)>>,
    key: Arc<SigningKey>,
    records: PathBuf,
    /// The gate is shut because the store did not say what holds.
    blind: AtomicBool,
    /// The gate is shut for good.
    stopping: AtomicBool,
    link: Mutex<Link>,
    changed: Notify,
    /// Whether the relay has a listener of this node, or may have.
    listens: watch::Sender<bool>,
    /// The operator's page, where this agent serves one.
    page: OnceLock<Offering>,
}

/// One consent for one grant, if there is any.
type ActOfConsent = Option<(GrantId, u32)>;

/// A revocation that is in force and not yet in the store.
#[derive(Debug, Clone)]
struct Shut {
    /// The consent that it takes back.
    act: ActOfConsent,
    by: Grantor,
}

/// What the agent found when it started.
#[derive(Debug, Default)]
pub struct Found {
    /// Operations of an earlier agent that still stood there, and were ended.
    pub leftovers: usize,
    /// Sessions that had been cut off and have their end record now.
    pub interrupted: usize,
    /// Records that are damaged; they were left as they are.
    pub damaged: Vec<String>,
    /// Why the node's log cannot be continued; no session can begin then.
    pub log_trouble: Option<String>,
    /// Why contents cannot be sealed; no session can begin then.
    pub storage_trouble: Option<String>,
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
        let policy = OwnerPolicy::read(&folder)?;
        let (rules, mask_key) = (masking::rules(&folder)?, masking::mask_key(&folder)?);
        let data = diagnostic_data::of_node(&settings, Arc::clone(&rules), mask_key.clone());
        let key = Arc::new(keys::load_or_create(&settings.state, Role::Node)?);
        let records = folder.ensure_inner(SESSIONS_FOLDER)?;
        let clock = Arc::clone(&settings.clock);
        let storage = Arc::new(KeyStore::new(&settings.state, &settings.storage, policy.storage)?);
        let (store, book, leftovers) = {
            let (folder, key, clock) = (folder.clone(), Arc::clone(&key), Arc::clone(&clock));
            blocking(move || {
                // Before anything of this agent runs: whatever is marked as this node's is an earlier agent's.
                let leftovers = end_leftovers(folder.path());
                let store = Arc::new(ConsentStore::open(folder.file(node::STORE_NAME))?);
                let this = Node { name: node::name(), key: key.public() };
                let book =
                    Book::new(folder.path(), this, Arc::clone(&key), Arc::clone(&clock), Arc::clone(&store));
                Ok::<_, Failure>((store, Arc::new(book), leftovers))
            })
            .await??
        };
        let unlocking = Arc::clone(&storage);
        let mut storage_trouble = None;
        let content_key: ContentKey = match blocking(move || unlocking.for_writing()).await? {
            Ok(Some(key)) => Some(Arc::new(key)),
            Ok(None) => storage.for_reading().unwrap_or_default(),
            Err(failure) => {
                storage_trouble = Some(failure.to_string());
                None
            }
        };
        let gate = Gate::with_sessions_max(key.public(), policy.limits.sessions());
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let executor = WorkerExecutor::new(settings.worker.0, settings.worker.1)
            .map_err(|error| {
                Failure::new(ErrorCode::Internal, "operations cannot be started").because(error)
            })?
            .with_state_directory(folder.path());
        let mut engine =
            OperationsEngine::new(Arc::new(executor), Policy::default(), policy.limits.operation)
                .with_services(policy.services)
                .with_commands(policy.commands)
                .with_diagnostic_data(data);
        #[cfg(target_os = "linux")]
        if let Some(socket) = settings.root_part {
            engine = engine.with_root_part(RootPart::new(socket));
        }
        if let Some(power_shell) = power_shell::find(&folder)? {
            engine = engine.with_power_shell(power_shell);
        }
        let (listens, heard_listens) = watch::channel(false);
        let mut settings_of_host = HostSettings::new(node::name(), records.clone());
        settings_of_host.limits = policy.limits.session;
        settings_of_host.storage = Arc::clone(&storage) as Arc<dyn Storage>;
        settings_of_host.ledger = Arc::clone(&book) as Arc<dyn Ledger>;
        settings_of_host.listens = Some(heard_listens);
        settings_of_host.rules = rules;
        settings_of_host.mask_key = mask_key;
        let host = Host::new(
            settings_of_host,
            Arc::clone(&key),
            gate.clone(),
            Arc::clone(&clock),
            engine,
            Arc::new(Teller(events)),
        );
        let node_folder = folder.path().to_owned();
        let told = forward::keep(
            Collectors::of(folder).opening(content_key),
            settings.relay.way().clone(),
            Arc::clone(&clock),
        );
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            book,
            gate,
            host,
            storage,
            relay: settings.relay,
            started_at: clock.now().wall,
            clock,
            facts: Mutex::default(),
            shut_at: Mutex::default(),
            unrecorded: Mutex::default(),
            key,
            records,
            blind: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            link: Mutex::default(),
            changed: Notify::new(),
            listens,
            page: OnceLock::new(),
        });
        // Commands are answered while old records are taken up, which may be gigabytes. Nobody can get in before the log says
        // how the sessions before this start ended: the gate has read nothing yet, and no listener is there.
        let answering = tokio::spawn(answer(Arc::clone(&shared), control));
        let taken_up = shared.take_up(node_folder.clone()).await;
        let found = taken_up.inspect_err(|_| answering.abort())?;
        // Before the first look, so that nothing can change between both.
        let eyes = eyes::Eyes::open(&node_folder);
        shared.reload().await?;
        let tasks = vec![
            answering,
            tokio::spawn(heartbeat(Arc::clone(&shared), policy.expiry_notice_minutes)),
            tokio::spawn(eyes::keep_open(Arc::clone(&shared), eyes)),
            tokio::spawn(link::keep(Arc::clone(&shared))),
            tokio::spawn(tell(Arc::clone(&shared), heard)),
            tokio::spawn(told),
            tokio::spawn(recovery::beat(Arc::clone(&shared.book))),
            tokio::spawn(keeping::keep(
                shared.records.clone(),
                policy.retention_days,
                Arc::clone(&shared.book),
                Arc::clone(&shared.clock),
            )),
        ];
        Ok((Self { shared, tasks }, Found { storage_trouble, leftovers, ..found }))
    }

    /// Shuts the gate, ends all sessions with cause `agent-stopped`, and returns when they are down.
    pub async fn stop(self) -> usize {
        self.shared.gate.shut(EndCause::AgentStopped);
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
        let ended =
            self.shared.host.end_all(EndCause::AgentStopped, EndCause::AgentStopped.cause()).await.len();
        for task in &self.tasks {
            task.abort();
        }
        let book = Arc::clone(&self.shared.book);
        // The node log is the poorer without this entry; the stop must not fail for it.
        if let Ok(Err(error)) = blocking(move || book.enter(Event::AgentStopped {})).await {
            tracing::error!(%error, "the stop could not be entered in the node log");
        }
        ended
    }

    /// Gives codes for this page to whoever asks over the control socket.
    pub(crate) fn offer_page(&self, page: &Page) {
        // There is one page an agent; a second one would have no codes.
        let _ = self.shared.page.set(page.offering());
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

impl Shared {
    async fn take_up(&self, folder: PathBuf) -> Result<Found, Failure> {
        let (records, book, key) = (self.records.clone(), Arc::clone(&self.book), Arc::clone(&self.key));
        let clock = Arc::clone(&self.clock);
        blocking(move || recovery::take_up(&records, &folder, &book, &key, &*clock)).await?
    }

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
                        self.changed.notify_waiters();
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
                // The relay is left while the sessions end, not after.
                self.changed.notify_waiters();
            })
            .await;
        Ok(downed)
    }

    async fn read_facts(&self) -> Result<Facts, Failure> {
        let (store, now) = (self.store(), self.clock.now());
        match timeout(STORE_WAIT, blocking(move || store.facts(&now))).await {
            Ok(facts) => Ok(facts??),
            Err(_) => Err(Failure::new(ErrorCode::Store, "the store of this node did not answer in time")),
        }
    }

    fn store(&self) -> Arc<ConsentStore> {
        Arc::clone(&lock(&self.store))
    }

    /// Reads the store if it has changed; if another file lies in its place, that one.
    async fn look(&self) -> Result<(), Failure> {
        let (store, known) = (self.store(), lock(&self.facts).revision);
        let looked = blocking(move || {
            if store.is_replaced() {
                return Ok::<_, Failure>((Some(ConsentStore::open(store.path())?), None));
            }
            Ok((None, Some(store.revision()?)))
        });
        let (replaced, revision) = looked.await??;
        if let Some(store) = replaced {
            tracing::error!("another store lies in the place of this node's store; it is read anew");
            let store = Arc::new(store);
            self.book.follow(Arc::clone(&store));
            *lock(&self.store) = store;
        } else if revision == Some(known) && !self.blind.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.reload().await.map(drop)
    }

    /// After the operator's shut the gate opens only when the consent that was then in force is gone or was given anew;
    /// after one for want of the store, now that it is read.
    fn may_resume(&self, shut_at: &mut Option<Shut>, facts: &Facts) -> bool {
        let sees_again = self.blind.swap(false, Ordering::SeqCst);
        match shut_at {
            None => sees_again,
            Some(shut) if shut.act == act_of(facts) && self.is_in_force(facts) => false,
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
        let closed = self.blind.load(Ordering::SeqCst) || self.stopping.load(Ordering::SeqCst);
        // The gate sees a clock that went back before the store does.
        let open = lock(&self.shut_at).is_none() && !closed && !self.gate.is_held();
        open && self.is_in_force(&lock(&self.facts))
    }

    async fn handle(&self, peer: &Peer, request: ControlRequest) -> ControlReply {
        let since = Instant::now();
        match request {
            ControlRequest::Changed {} => match timeout(SETTLE_WAIT, self.reload()).await {
                Ok(Ok(downed)) => ControlReply::Changed(Changed::all_down(&downed, milliseconds(since))),
                Ok(Err(failure)) => failed(&failure),
                Err(_) => ControlReply::Changed(Changed {
                    sessions_still_ending: count(self.host.live().len()),
                    elapsed_ms: milliseconds(since),
                    ..Changed::default()
                }),
            },
            ControlRequest::Shut { by } => {
                let act = act_of(&lock(&self.facts));
                let downed = self
                    .host
                    .change(|gate| {
                        let mut shut_at = lock(&self.shut_at);
                        *shut_at = Some(Shut { act, by });
                        gate.shut(EndCause::Revoked);
                        self.changed.notify_waiters();
                    })
                    .await;
                ControlReply::Changed(Changed::all_down(&downed, milliseconds(since)))
            }
            ControlRequest::Status {} => ControlReply::Status(self.status()),
            ControlRequest::EndSession { session_id } => {
                let downed = self.host.end(session_id, EndCause::Operator, EndCause::Operator.cause()).await;
                ControlReply::EndSession(SessionEnd {
                    session: downed.as_ref().map(EndedSession::from),
                    elapsed_ms: milliseconds(since),
                })
            }
            ControlRequest::Version {} => ControlReply::Version(Version::of_this_program()),
            ControlRequest::ConsoleCode {} => match self.page.get().map(Offering::offer).transpose() {
                Ok(offer) => ControlReply::ConsoleCode { offer },
                Err(failure) => failed(&failure),
            },
            ControlRequest::Approvals {} => {
                ControlReply::Approvals { waiting: approvals::listed(self.host.approvals()) }
            }
            ControlRequest::Answer { approval_id, verdict } => {
                match approvals::answer(self, peer, approval_id, verdict).await {
                    Ok(taken) => ControlReply::Answer { taken },
                    Err(failure) => failed(&failure),
                }
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
    let serve = control.serve(move |peer, request| {
        let shared = Arc::clone(&shared);
        async move { shared.handle(&peer, request).await }
    });
    if let Err(error) = serve.await {
        tracing::error!(%error, "the control socket failed; commands cannot reach this agent any more");
    }
}

/// Makes the time durable, notices a clock that went back and an end that is near, and reads the store when it changed without
/// a call.
async fn heartbeat(shared: Arc<Shared>, expiry_notice_minutes: u8) {
    let ahead = Duration::from_secs(u64::from(expiry_notice_minutes) * 60);
    let (mut beat, mut told) = (tokio::time::interval(HEARTBEAT), End::None);
    loop {
        beat.tick().await;
        catch_up::catch_up(&shared).await;
        end_when_locked(&shared).await;
        let (store, now) = (shared.store(), shared.clock.now());
        let held = shared.gate.is_held();
        let stamped = blocking(move || {
            if held && store.held()?.is_none() {
                store.hold(&now)?;
            }
            store.stamp(&now)
        });
        let outcome = match stamped.await {
            Ok(Ok(_)) => shared.look().await,
            Ok(Err(error)) => Err(error.into()),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = outcome {
            tracing::error!(%failure, "the store cannot be used");
        }
        match tell_of_end(&shared, ahead, told).await {
            Ok(end) => told = end,
            Err(failure) => tracing::error!(%failure, "that the consent ends soon cannot be told yet"),
        }
    }
}

/// A grant and when it ends.
type End = Option<(GrantId, DateTime<Utc>)>;

/// Puts it on record that the consent ends within `ahead`; collectors are told from there. The store knows what it has told,
/// `told` spares asking it again. Returns the end that is known to be told.
async fn tell_of_end(shared: &Arc<Shared>, ahead: Duration, told: End) -> Result<End, Failure> {
    let now = shared.clock.now();
    let near = |grant: &&Grant| grant.state_at(&now) == GrantState::Active && grant.remaining(&now) <= ahead;
    let end = lock(&shared.facts).grant.as_ref().filter(near).map(|grant| (grant.id, grant.deadline.wall));
    if end.is_none() || end == told {
        return Ok(told);
    }
    let (store, book) = (shared.store(), Arc::clone(&shared.book));
    blocking(move || {
        if store.tell_of_end(ahead, &now)? {
            book.settle()?;
        }
        Ok(end)
    })
    .await?
}

/// No session goes on while the key store is locked: nobody could read what it does.
async fn end_when_locked(shared: &Arc<Shared>) {
    if !shared.book.has_sessions() {
        return;
    }
    let storage = Arc::clone(&shared.storage);
    if let Ok(Err(failure)) = blocking(move || storage.for_writing().map(drop)).await {
        tracing::error!(%failure, "sessions are ended, and none can begin");
        shared.host.end_all(EndCause::RecordFault, "the key store of the node is locked").await;
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
async fn tell(shared: Arc<Shared>, mut heard: mpsc::Receiver<HostEvent>) {
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
                let engineer = engineer.map(|key| key.fingerprint().to_string());
                let refused = Event::Refused { code, engineer, folded: passed_over };
                let book = Arc::clone(&shared.book);
                if let Ok(Err(error)) = blocking(move || book.enter(refused)).await {
                    tracing::error!(%error, "the refusal could not be entered in the node log");
                }
            }
            HostEvent::Started { session, engineer, level } => {
                tracing::info!(%session, engineer = %crate::output::safe(&engineer), %level, "session started");
            }
            HostEvent::ApprovalAsked(asked) => {
                let summary = crate::output::safe(&asked.summary);
                tracing::info!(approval = %asked.approval_id, session = %asked.session_id, summary, "a call waits for the operator");
            }
            HostEvent::ApprovalAnswered { approval, session, answer } => {
                tracing::info!(%approval, %session, approved = answer.is_yes(), "a call that waited is answered");
            }
            HostEvent::Ended { session, cause, recorded } => {
                tracing::info!(%session, %cause, recorded, "session ended");
                if !recorded {
                    lock(&shared.unrecorded).push((session, cause));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rs_consent::{Admission, RefusalCode, SystemClock};

    use super::*;
    use crate::relay_access::Side;

    async fn agent(state: &StateDir) -> Agent {
        let settings = AgentSettings {
            state: state.clone(),
            storage: StorageOptions {
                key_file: state.root().parent().map(|parent| parent.join("storage.key")),
                ..StorageOptions::default()
            },
            relay: RelayAccess::new(state, Side::Listen, None, None, crate::network::Way::direct()),
            worker: (std::env::current_exe().expect("this program"), Vec::new()),
            root_part: None,
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
