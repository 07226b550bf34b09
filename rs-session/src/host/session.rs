//! One session from the first byte to the closed channel.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rs_consent::clock::Clock;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::party::Node;
use rs_consent::statement::Envelope;
use rs_consent::{AccessLevel, Admission, EndCause, Gate, Permit, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::engine::{Engine, Progress, RunningWork};
use super::live::{Downed, LiveSession, Order, Place};
use super::{HostEvent, Shared};
use crate::channel::{Binding, Channel, ChannelError, FrameReceiver, FrameSender, HANDSHAKE_WAIT};
use crate::journal::{DurableRecord, Journal, JournalError, Recorder};
use crate::operations::wire::{Finish, Status};
use crate::protocol::wire::CLIENT_NAME_BYTES_MAX;
use crate::protocol::{
    Action, CLIENT_FRAME_BYTES_MAX, ClientMessage, Event, Form, HostMachine, NodeMessage, PROTOCOL_VERSION,
    Planned, Planner, Refused, Then, WireFrame,
};
use crate::record::{
    ChainError, Content, Digest, Draft, Kind, NoteContent, Receipt, RecordKeyCertificate, SessionIdentity,
    StartContent,
};

/// A deadline is looked at again at least this often, since the wall clock may be set while a timer runs.
const DEADLINE_TICK: Duration = Duration::from_millis(250);
/// What a frame that is being written when the gate shuts gets to complete.
const FRAME_GRACE: Duration = Duration::from_millis(100);
/// What the end record gets to become durable before the channel is closed without it.
const END_RECORD_WAIT: Duration = Duration::from_secs(2);
/// What the goodbye to the engineer gets.
const GOODBYE_WAIT: Duration = Duration::from_millis(200);
/// Most records that may wait for the engineer's receipt; older ones are forgotten, and can then not be receipted.
const UNRECEIPTED_MAX: usize = 65_536;

/// Why a session ends, as its own loop sees it.
#[derive(Debug, Clone)]
struct Ending {
    cause: EndCause,
    message: String,
    /// When the wake-up came.
    since: Instant,
    /// From the wake-up to the death of the running work.
    killed_after: Option<Duration>,
}

impl Ending {
    fn new(cause: EndCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), since: Instant::now(), killed_after: None }
    }

    fn gate(cause: EndCause) -> Self {
        Self::new(cause, cause.explanation())
    }
}

impl From<ChannelError> for Ending {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Wire(_) => Self::new(EndCause::Protocol, error.to_string()),
            _ => Self::new(EndCause::Transport, error.to_string()),
        }
    }
}

impl From<JournalError> for Ending {
    fn from(error: JournalError) -> Self {
        Self::new(EndCause::RecordFault, error.to_string())
    }
}

/// Plans with the host's engine.
struct EnginePlanner<E>(Arc<Shared<E>>);

impl<E: Engine> Planner for EnginePlanner<E> {
    type Work = E::Work;

    fn plan(
        &self,
        line: &str,
        level: AccessLevel,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<E::Work>, Refused> {
        self.0.engine.plan(line, level, form, columns)
    }
}

/// An engineer who was let in.
struct Admitted<S> {
    sender: FrameSender<S>,
    receiver: FrameReceiver<S>,
    entry: Entry,
}

/// What is known of them.
struct Entry {
    permit: Permit,
    client: String,
    session: Uuid,
    binding: Digest,
}

/// Why somebody was not let in.
struct NotAdmitted {
    code: RefusalCode,
    explanation: String,
    engineer: Option<PublicKey>,
}

pub(super) async fn serve<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send>(
    shared: &Arc<Shared<E>>,
    stream: S,
) {
    let mut admitted = match admit(shared, stream).await {
        Ok(admitted) => admitted,
        Err(not) => return refused(shared, not),
    };
    let about = LiveSession {
        session_id: admitted.entry.session,
        engineer: admitted.entry.permit.assignment().engineer.id.to_string(),
        access_level: admitted.entry.permit.level(),
        started_at: shared.clock.now().wall,
    };
    let place = shared.live.enter(about.clone(), admitted.entry.permit.clone());
    let begun = match still_open(shared, &admitted.entry.permit) {
        Ok(()) => begin(shared, &admitted.entry).await.map_err(|error| (RefusalCode::GateShut, error)),
        Err(cause) => Err((refusal_of(cause), cause.explanation().to_owned())),
    };
    let Begun { journal, first } = match begun {
        Ok(begun) => begun,
        Err((code, explanation)) => {
            let engineer = Some(admitted.entry.permit.assignment().engineer.key);
            shared.observer.event(&HostEvent::Refused { code, explanation, engineer });
            return say_refused(&mut admitted.sender, code, code.explanation().to_owned()).await;
        }
    };
    shared.observer.event(&HostEvent::Started {
        session: about.session_id,
        engineer: about.engineer,
        level: about.access_level,
    });
    let downed = Session::new(shared, admitted, journal, &place).run(first).await;
    shared.observer.event(&HostEvent::Ended {
        session: downed.session_id,
        cause: downed.cause,
        recorded: downed.recorded,
    });
    place.down(downed);
}

/// A change of the gate between admission and entry did not wait for this session, so it must not begin.
fn still_open<E>(shared: &Shared<E>, permit: &Permit) -> Result<(), EndCause> {
    shared.gate.check(permit, &shared.clock.now()).map(drop)
}

const fn refusal_of(cause: EndCause) -> RefusalCode {
    match cause {
        EndCause::Revoked => RefusalCode::GrantRevoked,
        EndCause::Expired => RefusalCode::GrantExpired,
        EndCause::ClockHeld => RefusalCode::GrantHeld,
        EndCause::RequestClosed => RefusalCode::NoOpenRequest,
        EndCause::AssignmentExpired => RefusalCode::AssignmentExpired,
        _ => RefusalCode::GateShut,
    }
}

fn refused<E>(shared: &Shared<E>, not: NotAdmitted) {
    let NotAdmitted { code, explanation, engineer } = not;
    shared.observer.event(&HostEvent::Refused { code, explanation, engineer });
}

/// An error with all its causes, for the owner.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Tells the other side the code and nothing of the inside; whether it hears it makes no difference.
async fn say_refused<S: AsyncRead + AsyncWrite + Unpin>(
    sender: &mut FrameSender<S>,
    code: RefusalCode,
    message: String,
) {
    let goodbye = async {
        sender.reply(&NodeMessage::Refused { code, message }).await?;
        sender.close().await
    };
    let _unheard = timeout(GOODBYE_WAIT, goodbye).await;
}

/// Handshake, hello and gate. Whoever is refused has been told when this returns.
async fn admit<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send>(
    shared: &Arc<Shared<E>>,
    stream: S,
) -> Result<Admitted<S>, NotAdmitted> {
    let deadline = tokio::time::Instant::now() + HANDSHAKE_WAIT;
    let no_channel = |error: &ChannelError| NotAdmitted {
        code: RefusalCode::Protocol,
        explanation: error.to_string(),
        engineer: None,
    };
    let channel = Channel::accept(stream, &shared.node).await.map_err(|error| no_channel(&error))?;
    let peer = channel.peer();
    let session = Uuid::new_v4();
    let exporter = channel.exporter().map_err(|error| no_channel(&error))?;
    let (mut sender, mut receiver) = channel.split();
    let hello = tokio::time::timeout_at(deadline, receiver.next_frame()).await;
    let outcome = match hello {
        Err(_) => Err((RefusalCode::Protocol, "no hello came in time".to_owned())),
        Ok(Err(error)) => Err((RefusalCode::Protocol, error.to_string())),
        Ok(Ok(frame)) => parse_hello(frame).and_then(|(assignment, client)| {
            let permit =
                admission(shared, assignment, peer).map_err(|refusal| (refusal.code, chain(&refusal)))?;
            Ok((permit, client))
        }),
    };
    match outcome {
        Ok((permit, client)) => {
            let node = shared.node.public();
            let facts = Binding { node: &node, engineer: &peer, assignment: permit.assignment().id, session };
            let binding = exporter.binding(&facts);
            receiver.set_limit(CLIENT_FRAME_BYTES_MAX);
            Ok(Admitted { sender, receiver, entry: Entry { permit, client, session, binding } })
        }
        Err((code, explanation)) => {
            say_refused(&mut sender, code, code.explanation().to_owned()).await;
            Err(NotAdmitted { code, explanation, engineer: Some(peer) })
        }
    }
}

fn parse_hello(frame: Option<WireFrame>) -> Result<(Envelope, String), (RefusalCode, String)> {
    let protocol = |text: &str| (RefusalCode::Protocol, text.to_owned());
    let Some(WireFrame::Control(body)) = frame else {
        return Err(protocol("the first message is not a hello"));
    };
    match serde_json::from_slice(&body) {
        Ok(ClientMessage::Hello { versions, assignment, client }) => {
            if !versions.contains(&PROTOCOL_VERSION) {
                let spoken =
                    format!("the client speaks versions {versions:?}, this node speaks {PROTOCOL_VERSION}");
                return Err((RefusalCode::Version, spoken));
            }
            if client.len() > CLIENT_NAME_BYTES_MAX {
                return Err(protocol("the client's name is too long"));
            }
            Ok((assignment, client))
        }
        Ok(_) => Err(protocol("the first message is not a hello")),
        Err(error) => Err(protocol(&error.to_string())),
    }
}

fn admission<E>(shared: &Shared<E>, assignment: Envelope, peer: PublicKey) -> Result<Permit, Refusal> {
    let ask = Admission { assignment: Some(assignment), engineer_key: Some(peer) };
    shared.gate.admit(&ask, &shared.clock.now())
}

struct Begun {
    journal: Journal,
    first: DurableRecord,
}

/// Makes the record file and record 0; nobody is welcomed before it is durable.
async fn begin<E: Engine>(shared: &Arc<Shared<E>>, entry: &Entry) -> Result<Begun, String> {
    let record_key = SigningKey::generate().map_err(|error| error.to_string())?;
    let identity = identity(shared, entry, &record_key);
    let grant = entry.permit.grant();
    let content = StartContent {
        reason: entry.permit.reason().to_string(),
        expires_at: entry.permit.deadline(),
        granted_by: format!("{}@{}", grant.grantor.user, grant.grantor.host),
        client: entry.client.clone(),
    };
    let recorder = Recorder { record_key, clock: Arc::clone(&shared.clock) };
    let directory = shared.settings.records.clone();
    let session = entry.session;
    let created = tokio::task::spawn_blocking(move || Journal::create(&directory, session, recorder)).await;
    let journal = created.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let draft = Draft::start(identity, content).map_err(|error| error.to_string())?;
    let first = journal.append(draft).await.map_err(|error| error.to_string())?;
    Ok(Begun { journal, first })
}

fn identity<E: Engine>(shared: &Shared<E>, entry: &Entry, record_key: &SigningKey) -> SessionIdentity {
    let assignment = entry.permit.assignment();
    let grant = entry.permit.grant();
    SessionIdentity {
        session_id: entry.session,
        protocol_version: PROTOCOL_VERSION,
        node: Node { name: shared.settings.node_name.clone(), key: shared.node.public() },
        record_key: RecordKeyCertificate::issue(&shared.node, entry.session, record_key.public()),
        engineer: assignment.engineer.clone(),
        desk: assignment.desk.clone(),
        support_request: assignment.request,
        assignment_id: assignment.id,
        grant_id: *grant.id.as_uuid(),
        terms: grant.terms.clone(),
        catalog_sha256: shared.engine.catalog_sha256(),
        access_level: entry.permit.level(),
        channel_binding: entry.binding,
    }
}

/// Wakes when the gate no longer lets the session live, or when somebody ordered its end.
struct Watch {
    gate: Gate,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    _subscription: rs_consent::gate::Subscription,
    order: watch::Receiver<Option<Order>>,
}

impl Watch {
    fn new(gate: &Gate, clock: Arc<dyn Clock>, order: watch::Receiver<Option<Order>>) -> Self {
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        let subscription = gate.subscribe(Arc::new(move || waker.notify_one()));
        Self { gate: gate.clone(), clock, changed, _subscription: subscription, order }
    }

    /// The one question in front of every input, start and release.
    fn check(&self, permit: &Permit) -> Result<AccessLevel, Ending> {
        self.gate.check(permit, &self.clock.now()).map_err(Ending::gate)
    }

    /// Returns when the session has to end.
    async fn closed(&self, permit: &Permit) -> Ending {
        let mut order = self.order.clone();
        loop {
            if let Some(Order { cause, message }) = order.borrow_and_update().clone() {
                return Ending::new(cause, message);
            }
            if let Err(ending) = self.check(permit) {
                return ending;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = order.changed() => {}
                () = sleep(DEADLINE_TICK) => {}
            }
        }
    }
}

struct Session<'a, E: Engine, S> {
    shared: &'a Arc<Shared<E>>,
    place: &'a Place,
    machine: HostMachine<EnginePlanner<E>>,
    journal: Journal,
    sender: Option<FrameSender<S>>,
    receiver: FrameReceiver<S>,
    permit: Permit,
    watch: Watch,
    work: Option<Box<dyn RunningWork>>,
    /// Durable records that the engineer has not been shown.
    unshown: Vec<DurableRecord>,
    unreceipted: BTreeMap<u64, Digest>,
    session: Uuid,
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err calls")]
fn no_draft(error: ChainError) -> Ending {
    Ending::new(EndCause::Fault, format!("a record could not be made: {error}"))
}

/// What goes out to the engineer.
enum Outgoing<'a> {
    Record(&'a DurableRecord),
    Reply(&'a NodeMessage),
}

/// What the loop waits for.
enum Next {
    Frame(Option<WireFrame>),
    Progress(Progress),
    End(Ending),
}

impl<'a, E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'a, E, S> {
    fn new(shared: &'a Arc<Shared<E>>, admitted: Admitted<S>, journal: Journal, place: &'a Place) -> Self {
        let watch = Watch::new(&shared.gate, Arc::clone(&shared.clock), place.order.clone());
        Self {
            shared,
            place,
            machine: HostMachine::new(EnginePlanner(Arc::clone(shared))),
            journal,
            sender: Some(admitted.sender),
            receiver: admitted.receiver,
            permit: admitted.entry.permit,
            watch,
            work: None,
            unshown: Vec::new(),
            unreceipted: BTreeMap::new(),
            session: admitted.entry.session,
        }
    }

    async fn run(mut self, first: DurableRecord) -> Downed {
        let ending = match self.welcome(first).await {
            Ok(()) => self.converse().await,
            Err(ending) => ending,
        };
        self.end(ending).await
    }

    async fn welcome(&mut self, first: DurableRecord) -> Result<(), Ending> {
        let level = self.watch.check(&self.permit)?;
        let welcome = NodeMessage::Welcome {
            version: PROTOCOL_VERSION,
            session_id: self.session,
            node_name: self.shared.settings.node_name.to_string(),
            access_level: level,
            expires_at: self.permit.deadline(),
            operations: self.shared.engine.offered(level),
        };
        self.unshown.push(first.clone());
        self.guarded_send(Outgoing::Reply(&welcome)).await?;
        self.unshown.clear();
        self.show(first).await
    }

    /// Everything between welcome and end.
    async fn converse(&mut self) -> Ending {
        loop {
            let event = match self.next().await {
                Next::End(ending) => return ending,
                Next::Frame(None) => {
                    return Ending::new(EndCause::Exit, "the engineer's client closed the channel");
                }
                Next::Frame(Some(frame)) => self.frame(&frame).await,
                Next::Progress(Progress::Output(data)) => Ok(Some(Event::Output(data))),
                Next::Progress(Progress::Finished(finish)) => {
                    self.work = None;
                    Ok(Some(Event::Finished(finish)))
                }
            };
            let outcome = match event {
                Ok(Some(event)) => self.step(event).await,
                Ok(None) => Ok(()),
                Err(ending) => Err(ending),
            };
            if let Err(ending) = outcome {
                return ending;
            }
        }
    }

    async fn next(&mut self) -> Next {
        let idle = self.shared.settings.idle_wait;
        let running = self.work.is_some();
        let progress = async {
            match &mut self.work {
                Some(work) => work.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = self.watch.closed(&self.permit) => Next::End(ending),
            frame = self.receiver.next_frame() => frame.map_or_else(|error| Next::End(error.into()), Next::Frame),
            progress = progress => Next::Progress(progress),
            () = sleep(idle), if !running => {
                let text = format!("nothing came from the engineer for {} minutes", idle.as_secs() / 60);
                Next::End(Ending::new(EndCause::Idle, text))
            }
        }
    }

    /// Reads a frame. Receipts and renewals need keys and the gate and are answered here, all else by the machine.
    async fn frame(&mut self, frame: &WireFrame) -> Result<Option<Event>, Ending> {
        let WireFrame::Control(body) = frame else {
            return Err(Ending::new(EndCause::Protocol, "the engineer's client sent a record"));
        };
        let message: ClientMessage = serde_json::from_slice(body).map_err(|error| {
            Ending::new(EndCause::Protocol, format!("the engineer's client sent no message: {error}"))
        })?;
        match message {
            ClientMessage::Receipt(receipt) => self.receipt(receipt).await.map(|()| None),
            ClientMessage::Renew { assignment } => self.renew(assignment).await.map(|()| None),
            message => Ok(Some(Event::Message(message))),
        }
    }

    /// The gate in front of the input, then the machine, then what it says in its order.
    async fn step(&mut self, event: Event) -> Result<(), Ending> {
        let level = self.watch.check(&self.permit)?;
        let now = self.shared.clock.now().boot;
        for action in self.machine.step(event, level, now) {
            match action {
                Action::Record(content, then) => {
                    let draft = Draft::new(&content).map_err(no_draft)?;
                    self.record(draft, then).await?;
                }
                Action::Reply(message) => self.guarded_send(Outgoing::Reply(&message)).await?,
                Action::InterruptWork => {
                    if let Some(work) = &mut self.work {
                        work.interrupt().await;
                    }
                }
                Action::Leave(cause, message) => return Err(Ending::new(cause, message)),
            }
        }
        Ok(())
    }

    /// Durable first; only then shown, and only then run.
    async fn record(&mut self, draft: Draft, then: Then<E::Work>) -> Result<(), Ending> {
        let record = self.append(draft).await?;
        self.show(record).await?;
        if let Then::ShowAndRun(work) = then {
            self.watch.check(&self.permit)?;
            match self.shared.engine.start(work).await {
                Ok(work) => self.work = Some(work),
                Err(message) => {
                    let finish = Finish::new(Status::Failed, message);
                    return Box::pin(self.step(Event::Finished(finish))).await;
                }
            }
        }
        Ok(())
    }

    async fn append(&mut self, draft: Draft) -> Result<DurableRecord, Ending> {
        let journal = self.journal.clone();
        let record =
            guard(&self.watch, &self.permit, &mut self.work, END_RECORD_WAIT, journal.append(draft)).await;
        let (outcome, ending) = record;
        match (outcome, ending) {
            (Some(Ok(record)), None) => Ok(record),
            (Some(Ok(record)), Some(ending)) => {
                // It became durable while the gate shut: it stays on record and is not shown.
                self.unshown.push(record);
                Err(ending)
            }
            (Some(Err(error)), ending) => Err(ending.unwrap_or_else(|| error.into())),
            (None, ending) => {
                Err(ending.unwrap_or_else(|| Ending::new(EndCause::RecordFault, "the record takes too long")))
            }
        }
    }

    /// Shows a durable record, if the gate still lets it out.
    async fn show(&mut self, record: DurableRecord) -> Result<(), Ending> {
        if let Err(ending) = self.watch.check(&self.permit) {
            self.unshown.push(record);
            return Err(ending);
        }
        self.guarded_send(Outgoing::Record(&record)).await?;
        // Also the record of a receipt: it may be the newest when the next one is due.
        self.unreceipted.insert(record.skeleton().sequence, record.link());
        if self.unreceipted.len() > UNRECEIPTED_MAX {
            self.unreceipted.pop_first();
        }
        Ok(())
    }

    /// Sends while the gate is watched. A frame that has begun gets a moment to complete; then the channel is given up.
    async fn guarded_send(&mut self, what: Outgoing<'_>) -> Result<(), Ending> {
        let Some(mut sender) = self.sender.take() else {
            return Err(Ending::new(EndCause::Transport, "the channel is closed"));
        };
        let send = async {
            match what {
                Outgoing::Record(record) => sender.show(record).await,
                Outgoing::Reply(message) => sender.reply(message).await,
            }
        };
        let (outcome, ending) = guard(&self.watch, &self.permit, &mut self.work, FRAME_GRACE, send).await;
        match (outcome, ending) {
            (Some(Ok(())), ending) => {
                self.sender = Some(sender);
                ending.map_or(Ok(()), Err)
            }
            (Some(Err(error)), ending) => Err(ending.unwrap_or_else(|| error.into())),
            (None, ending) => {
                Err(ending.unwrap_or_else(|| Ending::new(EndCause::Transport, "the channel is stuck")))
            }
        }
    }

    async fn receipt(&mut self, receipt: Receipt) -> Result<(), Ending> {
        self.watch.check(&self.permit)?;
        let fits = self.unreceipted.get(&receipt.sequence) == Some(&receipt.link)
            && receipt.is_by(&self.permit.assignment().engineer.key, self.session);
        if !fits {
            return Err(Ending::new(EndCause::Protocol, "the engineer's receipt does not fit the record"));
        }
        self.unreceipted = self.unreceipted.split_off(&(receipt.sequence + 1));
        let record = self.append(Draft::receipt(receipt)).await?;
        self.show(record).await
    }

    /// A newer assignment takes the place of the old one, if the gate admits it for the same engineer and request; from
    /// then on the session stands on another statement than record 0 names, so that is on record first.
    async fn renew(&mut self, assignment: Envelope) -> Result<(), Ending> {
        self.watch.check(&self.permit)?;
        // A refused one changes nothing: the old one stays in force until it runs out by itself.
        let Ok(permit) = self.shared.gate.renew(&self.permit, assignment, &self.shared.clock.now()) else {
            return Ok(());
        };
        let (id, until) = (permit.assignment().id, permit.assignment().expires_at.to_rfc3339());
        let text =
            format!("the engineer handed in a newer assignment of the desk: {id}, valid until {until}");
        let draft = Draft::new(&Content::Note(NoteContent { text })).map_err(no_draft)?;
        let record = self.append(draft).await?;
        self.permit = permit.clone();
        self.place.renew(permit);
        self.show(record).await
    }

    /// Gate shut, work killed, end on record, end shown, channel closed; each with a bound of its own.
    async fn end(mut self, mut ending: Ending) -> Downed {
        if let Some(mut work) = self.work.take() {
            work.kill().await;
            ending.killed_after = Some(ending.since.elapsed());
        }
        let end = Event::End {
            cause: ending.cause,
            message: ending.message.clone(),
            killed_after: ending.killed_after,
        };
        let level = self.permit.level();
        let mut recorded = true;
        for action in self.machine.step(end, level, self.shared.clock.now().boot) {
            let Action::Record(content, _) = action else { continue };
            let Ok(draft) = Draft::new(&content) else { continue };
            match timeout(END_RECORD_WAIT, self.journal.append(draft)).await {
                Ok(Ok(record)) => self.unshown.push(record),
                Ok(Err(_)) | Err(_) => recorded = false,
            }
        }
        self.say_goodbye().await;
        Downed {
            session_id: self.session,
            cause: ending.cause,
            work_dead_after: ending.killed_after,
            closed_after: ending.since.elapsed(),
            recorded,
        }
    }

    /// Shows how it ended. What was not shown before the gate shut stays on the node: only its place in the chain goes
    /// out, so that the engineer's copy of the chain has no hole.
    async fn say_goodbye(&mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        let unshown = std::mem::take(&mut self.unshown);
        let goodbye = async {
            for record in &unshown {
                match record.skeleton().kind {
                    Kind::End => sender.show(record).await?,
                    _ => sender.show_skeleton(record).await?,
                }
            }
            sender.close().await
        };
        let _unheard = timeout(GOODBYE_WAIT, goodbye).await;
    }
}

/// Carries `future` out while the gate is watched. When it shuts, the running work is killed first, then the future gets
/// `grace` to complete. Returns what came of each; `None` when the future did not complete.
async fn guard<T>(
    watch: &Watch,
    permit: &Permit,
    work: &mut Option<Box<dyn RunningWork>>,
    grace: Duration,
    future: impl Future<Output = T>,
) -> (Option<T>, Option<Ending>) {
    let mut future = pin!(future);
    let mut ending = tokio::select! {
        biased;
        outcome = &mut future => return (Some(outcome), None),
        ending = watch.closed(permit) => ending,
    };
    if let Some(mut work) = work.take() {
        work.kill().await;
        ending.killed_after = Some(ending.since.elapsed());
    }
    (timeout(grace, future).await.ok(), Some(ending))
}
