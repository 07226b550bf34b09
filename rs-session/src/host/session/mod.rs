//! One session from the first byte to the closed channel.

mod admit;
mod begin;
mod conversation;
mod end;
mod release;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rs_consent::{AccessLevel, EndCause, Permit, RefusalCode, Scope};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use self::admit::{Admitted, admit, refusal_of, refused, say_refused, still_open};
use self::begin::{Begun, begin, head_of};
use self::watch::Watch;
use super::approvals::Asked;
use super::engine::{Engine, Rights, RunningWork};
use super::live::{Downed, LiveSession, Place};
use super::outbox::Outbox;
use super::quota::Quota;
use super::receipts::Receipts;
use super::{HostEvent, Observer, Shared};
use crate::channel::{FrameReceiver, FrameSender};
use crate::journal::{DurableRecord, Journal};
use crate::node_log::SessionHead;
use crate::protocol::{Form, HostMachine, Planned, Planner, Refused};
use crate::redact::ContentMasker;

/// What the end record gets to become durable before the channel is closed without it.
const END_RECORD_WAIT: Duration = Duration::from_secs(2);

/// What the goodbye to the engineer gets.
const GOODBYE_WAIT: Duration = Duration::from_millis(200);

/// Plans with the host's engine, within the consent that the session was let in by and as far as the limits let it. A
/// consent that narrows it ends the session (`rs_consent::Gate`).
struct EnginePlanner<E> {
    shared: Arc<Shared<E>>,
    scope: Scope,
    quota: Arc<Mutex<Quota>>,
}

impl<E: Engine> Planner for EnginePlanner<E> {
    type Work = E::Work;

    fn plan(
        &self,
        line: &str,
        level: AccessLevel,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<E::Work>, Refused> {
        let now = self.shared.clock.now();
        self.quota.lock().unwrap_or_else(PoisonError::into_inner).line(now.boot)?;
        self.shared.day.room_for_line(now.wall)?;
        self.shared.engine.plan(line, Rights { level, scope: &self.scope }, form, columns)
    }
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
    let Begun { masker, journal, first } = match begun {
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
    let _told = Breakdown { observer: &*shared.observer, session: about.session_id };
    let head = head_of(about.session_id, &first);
    let downed = Session::new(shared, admitted, masker, journal, &place, head).run(first).await;
    shared.observer.event(&HostEvent::Ended {
        session: downed.session_id,
        cause: downed.cause,
        recorded: downed.recorded,
    });
    place.down(downed);
}

/// Tells of a session that broke down in the middle, so that its record can be brought to its end.
struct Breakdown<'a> {
    observer: &'a dyn Observer,
    session: Uuid,
}

impl Drop for Breakdown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (session, cause) = (self.session, EndCause::Fault);
            self.observer.event(&HostEvent::Ended { session, cause, recorded: false });
        }
    }
}

struct Session<'a, E: Engine, S> {
    shared: &'a Arc<Shared<E>>,
    place: &'a Place,
    machine: HostMachine<EnginePlanner<E>>,
    quota: Arc<Mutex<Quota>>,
    /// Everything that goes on record passes here first.
    masker: ContentMasker,
    journal: Journal,
    sender: Option<FrameSender<S>>,
    receiver: FrameReceiver<S>,
    permit: Permit,
    watch: Watch,
    work: Option<Box<dyn RunningWork>>,
    /// The question that the running work waits with.
    asked: Option<Asked>,
    /// Records on their way to the disk.
    outbox: Outbox,
    /// Durable records that the engineer has not been shown.
    unshown: Vec<DurableRecord>,
    receipts: Receipts,
    /// The newest durable record.
    head: SessionHead,
    session: Uuid,
    /// Number of the last record whose line was started.
    last_executed: Option<u64>,
    /// Number of the next record to be shown.
    shown: u64,
}

impl<'a, E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'a, E, S> {
    fn new(
        shared: &'a Arc<Shared<E>>,
        admitted: Admitted<S>,
        masker: ContentMasker,
        journal: Journal,
        place: &'a Place,
        head: SessionHead,
    ) -> Self {
        let quota = Arc::new(Mutex::new(Quota::new(shared.settings.limits)));
        let watch = Watch::new(shared, place.order.clone());
        Self {
            shared,
            place,
            machine: HostMachine::new(EnginePlanner {
                shared: Arc::clone(shared),
                scope: admitted.entry.permit.grant().scope.clone(),
                quota: Arc::clone(&quota),
            }),
            quota,
            masker,
            journal,
            sender: Some(admitted.sender),
            receiver: admitted.receiver,
            permit: admitted.entry.permit,
            watch,
            work: None,
            asked: None,
            outbox: Outbox::default(),
            unshown: Vec::new(),
            receipts: Receipts::default(),
            head,
            session: admitted.entry.session,
            last_executed: None,
            shown: 0,
        }
    }

    async fn run(mut self, first: DurableRecord) -> Downed {
        let ending = match self.welcome(first).await {
            Ok(()) => self.converse().await,
            Err(ending) => ending,
        };
        self.end(ending).await
    }
}
