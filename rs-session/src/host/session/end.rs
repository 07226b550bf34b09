//! How a session ends: its cause, its last record, what is said to the engineer, and the statement of its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rs_consent::party::Node;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::begin::with_ledger;
use super::conversation::draft;
use super::{END_RECORD_WAIT, GOODBYE_WAIT, Session};
use crate::channel::ChannelError;
use crate::ending::{Delays, EndOfAccess, micros};
use crate::history::record_path;
use crate::host::engine::Engine;
use crate::host::live::Downed;
use crate::host::{Ended, Shared, statement};
use crate::invariant::{Invariant, hold};
use crate::journal::{DurableRecord, JournalError};
use crate::protocol::{Action, Event};
use crate::record::Kind;

/// How long an end that closes the whole node waits to learn that the relay was left, before it is stated without that.
const LISTENER_WAIT: Duration = Duration::from_millis(500);

/// Why a session ends, as its own loop sees it.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    cause: EndCause,
    message: String,
    /// When the cause came up; all delays count from here.
    since: Instant,
    /// From then until this session knew: nothing is read, started or shown any more.
    known_after: Duration,
    /// From then to the death of the running work.
    killed_after: Option<Duration>,
}

impl Ending {
    /// The cause came up just now.
    pub(super) fn new(cause: EndCause, message: impl Into<String>) -> Self {
        Self::since(Instant::now(), cause, message)
    }

    /// The cause came up before this session knew.
    pub(super) fn since(since: Instant, cause: EndCause, message: impl Into<String>) -> Self {
        let known_after = since.elapsed();
        Self { cause, message: message.into(), since, known_after, killed_after: None }
    }

    /// The running work was killed just now.
    pub(super) fn work_killed(&mut self) {
        self.killed_after = Some(self.since.elapsed());
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

impl<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, E, S> {
    /// Gate shut, work killed, end on record, end shown, channel closed, end stated; each with a bound of its own.
    pub(super) async fn end(mut self, mut ending: Ending) -> Downed {
        if let Some(mut work) = self.work.take() {
            work.kill().await;
            ending.work_killed();
        }
        self.shared.engine.forget(self.session).await;
        self.keep_last_receipt();
        self.keep_back_the_rest().await;
        let end = Event::End {
            cause: ending.cause,
            message: ending.message.clone(),
            killed_after: ending.killed_after,
        };
        let level = self.permit.level();
        let mut end_record = None;
        for action in self.machine.step(end, level, self.shared.clock.now().boot) {
            let Action::Record(content, _) = action else { continue };
            for passed in self.masker.pass(content) {
                let Ok(draft) = draft(passed) else { continue };
                end_record = match timeout(END_RECORD_WAIT, self.journal.append(draft)).await {
                    Ok(Ok(record)) => {
                        hold(Invariant::OneEnd, end_record.is_none());
                        self.keep_back(record.clone());
                        Some(record).filter(|record| record.skeleton().kind == Kind::End)
                    }
                    Ok(Err(_)) | Err(_) => None,
                };
            }
        }
        let recorded = end_record.is_some();
        let ended = Ended { head: self.head.clone(), cause: ending.cause, recorded };
        // The agent makes up at its next start for what could not be entered now.
        let _entered =
            timeout(END_RECORD_WAIT, with_ledger(self.shared, move |ledger| ledger.ended(&ended))).await;
        self.say_goodbye().await;
        let closed_after = ending.since.elapsed();
        let listener_after = relay_left(self.shared.settings.listens.clone(), &ending).await;
        let delays = Delays {
            gate_us: micros(ending.known_after),
            work_us: ending.killed_after.map(micros),
            closed_us: micros(closed_after),
            listener_us: listener_after.map(micros),
        };
        let end = end_record.as_ref().map(|record| self.end_of_access(ending.cause, delays, record));
        let (session_id, last_executed, shared) = (self.session, self.last_executed, self.shared);
        // The journal's lock on the record goes before the end is told.
        drop(self);
        let statement = match end {
            Some(end) => state(shared, end).await,
            None => None,
        };
        Downed { session_id, cause: ending.cause, delays, last_executed, recorded, statement }
    }

    /// The engineer's last word on what was shown goes on record too. One that does not fit is none.
    fn keep_last_receipt(&mut self) {
        if let (Some(draft), _) = self.kept_receipt()
            && let Ok(submitted) = self.journal.submit(draft)
        {
            self.outbox.push(submitted);
        }
    }

    /// What was under way when the gate shut becomes durable before the end, and is not shown.
    async fn keep_back_the_rest(&mut self) {
        let until = tokio::time::Instant::now() + END_RECORD_WAIT;
        while let Ok(Some(outcome)) = timeout_at(until, self.outbox.next()).await {
            // One that is refused for want of room may have others behind it that are not.
            if let Ok(record) = outcome {
                self.keep_back(record);
            }
        }
    }

    fn end_of_access(&self, cause: EndCause, delays: Delays, record: &DurableRecord) -> EndOfAccess {
        let assignment = self.permit.assignment();
        let name = self.shared.settings.node_name.clone();
        EndOfAccess {
            session_id: self.session,
            node: Node { name, key: self.shared.node.public() },
            engineer: assignment.engineer.clone(),
            grant_id: *self.permit.grant_id().as_uuid(),
            support_request: assignment.request,
            cause,
            ended_at: record.skeleton().wall_time,
            last_executed: self.last_executed,
            records: record.skeleton().sequence + 1,
            head: record.link(),
            delays: Some(delays),
            recovered: false,
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

/// From the cause to the moment when the node had left the relay, if this end makes it leave.
async fn relay_left(listens: Option<watch::Receiver<bool>>, ending: &Ending) -> Option<Duration> {
    use EndCause::{AgentStopped, ClockHeld, Expired, Revoked};
    let mut listens = listens?;
    if !matches!(ending.cause, Revoked | Expired | ClockHeld | AgentStopped) {
        return None;
    }
    let left = timeout(LISTENER_WAIT, listens.wait_for(|listens| !listens)).await;
    left.ok()?.ok().map(|_| ending.since.elapsed())
}

/// Signs how a session ended. What fails here is made up for by [`crate::host::complete_end`].
async fn state<E>(shared: &Shared<E>, end: EndOfAccess) -> Option<PathBuf> {
    let (session, node) = (end.session_id, Arc::clone(&shared.node));
    let path = record_path(&shared.settings.records, session);
    let disk = Arc::clone(&shared.settings.disk);
    let written = tokio::task::spawn_blocking(move || statement::write(&*disk, &path, &end, &node));
    match timeout(END_RECORD_WAIT, written).await {
        Ok(Ok(Ok((path, sha256)))) => {
            // The agent makes up for this too at its next start.
            let entered = with_ledger(shared, move |ledger| ledger.stated(session, sha256));
            let _entered = timeout(END_RECORD_WAIT, entered).await;
            Some(path)
        }
        outcome => {
            tracing::error!(%session, ?outcome, "the end of access could not be stated yet");
            None
        }
    }
}
