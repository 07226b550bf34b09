//! Everything between welcome and end: what comes in, what the machine makes of it, what is started.

use std::future::ready;
use std::sync::PoisonError;

use rs_consent::EndCause;
use rs_consent::statement::Envelope;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use uuid::Uuid;

use super::Session;
use super::end::Ending;
use super::release::Outgoing;
use crate::host::HostEvent;
use crate::host::approvals::Asker;
use crate::host::engine::{Engine, Occasion, Progress, Rights};
use crate::invariant::{Invariant, hold};
use crate::journal::{DurableRecord, JournalError};
use crate::operations::wire::{Finish, Status};
use crate::protocol::{
    Action, Answer, Ask, CatalogInForce, ClientMessage, Event, NodeMessage, PROTOCOL_VERSION, Then, WireFrame,
};
use crate::record::{ChainError, Content, Draft, NoteContent, OutputData, Receipt};
use crate::redact::Masked;

/// What the loop waits for.
enum Next {
    /// The oldest record under way is durable, or cannot become so.
    Durable(Box<Result<DurableRecord, JournalError>>),
    Frame(Option<WireFrame>),
    /// The newest receipt is to be put on record.
    Receipt,
    Progress(Progress),
    Answered(Answer),
    End(Ending),
}

/// A content that passed the masker, on its way to the record.
pub(super) fn draft((content, masked): (Content, Vec<Masked>)) -> Result<Draft, ChainError> {
    Draft::new(&content)?.masked(&masked)
}

fn no_fit() -> Ending {
    Ending::new(EndCause::Protocol, "the engineer's receipt does not fit the record")
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err calls")]
fn no_draft(error: ChainError) -> Ending {
    Ending::new(EndCause::Fault, format!("a record could not be made: {error}"))
}

impl<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, E, S> {
    pub(super) async fn welcome(&mut self, first: DurableRecord) -> Result<(), Ending> {
        let level = self.watch.check(&self.permit)?;
        let scope = &self.permit.grant().scope;
        let welcome = NodeMessage::Welcome {
            version: PROTOCOL_VERSION,
            session_id: self.session,
            node_name: self.shared.settings.node_name.to_string(),
            access_level: level,
            expires_at: self.permit.deadline(),
            operations: self.shared.engine.offered(Rights { level, scope }),
            catalog: Some(CatalogInForce {
                sha256: self.shared.engine.catalog_sha256(),
                scope: scope.clone(),
            }),
        };
        self.unshown.push(first.clone());
        self.guarded_send(Outgoing::Reply(&welcome)).await?;
        self.unshown.clear();
        self.show(first).await
    }

    /// Everything between welcome and end.
    pub(super) async fn converse(&mut self) -> Ending {
        loop {
            let event = match self.next().await {
                Next::End(ending) => return ending,
                Next::Durable(outcome) => self.show_durable(*outcome).await.map(|()| None),
                Next::Frame(None) => {
                    return Ending::new(EndCause::Exit, "the engineer's client closed the channel");
                }
                Next::Frame(Some(frame)) => self.frame(&frame).await,
                Next::Receipt => self.enter_receipt().await.map(|()| None),
                Next::Progress(Progress::Output(data)) => Ok(Some(self.output(data).await)),
                Next::Progress(Progress::Note(text)) => Ok(Some(Event::Note(text))),
                Next::Progress(Progress::Ask(ask)) => Ok(Some(Event::Ask(ask))),
                Next::Answered(answer) => {
                    self.asked = None;
                    Ok(Some(Event::Answered(answer)))
                }
                Next::Progress(Progress::Finished(finish)) => {
                    (self.work, self.asked) = (None, None);
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
        let wait = self.shared.settings.receipt_wait;
        let (full, owed) = (self.receipts.is_full(self.outbox.bytes()), self.receipts.time_left(wait));
        // What is durable is shown when nothing else can be put on record: so the disk never waits for the channel.
        let room = !self.outbox.is_full();
        let progress = async {
            match &mut self.work {
                Some(work) if room && !full => work.next().await,
                _ => std::future::pending().await,
            }
        };
        let durable = async {
            match self.outbox.next().await {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match &mut self.asked {
                Some(asked) => asked.answer().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = self.watch.closed(&self.permit) => Next::End(ending),
            answer = answer => Next::Answered(answer),
            frame = self.receiver.next_frame(), if room => frame.map_or_else(|error| Next::End(error.into()), Next::Frame),
            () = ready(()), if room && self.receipts.is_due() => Next::Receipt,
            progress = progress => Next::Progress(progress),
            outcome = durable => Next::Durable(Box::new(outcome)),
            () = ready(()), if room && self.receipts.is_kept() => Next::Receipt,
            () = sleep(owed.unwrap_or_default()), if owed.is_some() => {
                let text = format!("no receipt came from the engineer for {} seconds", wait.as_secs());
                Next::End(Ending::new(EndCause::Protocol, text))
            }
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
            ClientMessage::Receipt(receipt) => self.receipt(receipt).map(|()| None),
            message => {
                // What the engineer says next is behind what they signed, also on record.
                self.enter_receipt().await?;
                match message {
                    ClientMessage::Renew { assignment } => self.renew(assignment).await.map(|()| None),
                    message => Ok(Some(Event::Message(message))),
                }
            }
        }
    }

    /// Output goes on as long as the limits of the session and of the day let it; then what prints it is ended.
    async fn output(&mut self, data: OutputData) -> Event {
        let within = self.quota.lock().unwrap_or_else(PoisonError::into_inner).output(data.text().len());
        match within.and_then(|()| self.shared.day.room(self.shared.clock.now().wall)) {
            Ok(()) => Event::Output(data),
            Err(message) => {
                if let Some(mut work) = self.work.take() {
                    work.kill().await;
                }
                Event::Finished(Finish::new(Status::OutputLimit, message))
            }
        }
    }

    /// The gate in front of the input, then the machine, then what it says in its order.
    async fn step(&mut self, event: Event) -> Result<(), Ending> {
        let level = self.watch.check(&self.permit)?;
        let now = self.shared.clock.now().boot;
        for action in self.machine.step(event, level, now) {
            match action {
                Action::Record(content, then) => {
                    let mut passed = self.masker.pass(content);
                    let last = passed.pop();
                    for before in passed {
                        self.record(draft(before).map_err(no_draft)?, Then::Show).await?;
                    }
                    if let Some(last) = last {
                        self.record(draft(last).map_err(no_draft)?, then).await?;
                    }
                }
                Action::Reply(message) => self.guarded_send(Outgoing::Reply(&message)).await?,
                Action::InterruptWork => {
                    if let Some(work) = &mut self.work {
                        work.interrupt().await;
                    }
                }
                Action::Leave(cause, message) => {
                    self.settle().await?;
                    return Err(Ending::new(cause, message));
                }
            }
        }
        if self.quota.lock().unwrap_or_else(PoisonError::into_inner).is_flooded() {
            return Err(Ending::new(
                EndCause::Protocol,
                "lines kept coming after the limit of lines in a minute",
            ));
        }
        Ok(())
    }

    /// Durable first; only then shown, and only then run. What is to be shown and no more may still be under way when this
    /// returns; before anything is done, everything is durable and shown.
    async fn record(&mut self, draft: Draft, then: Then<E::Work>) -> Result<(), Ending> {
        self.submit(draft).await?;
        if matches!(then, Then::Show | Then::ShowAndClose) {
            return Ok(());
        }
        self.settle().await?;
        match then {
            Then::Show | Then::ShowAndClose => {}
            Then::ShowAndRun(work) => {
                self.watch.check(&self.permit)?;
                hold(Invariant::OneLineAtATime, self.work.is_none());
                self.last_executed = Some(self.head.sequence);
                match self.shared.engine.start(work, &self.occasion()).await {
                    Ok(work) => self.work = Some(work),
                    Err(message) => {
                        let finish = Finish::new(Status::Failed, message);
                        return Box::pin(self.step(Event::Finished(finish))).await;
                    }
                }
            }
            Then::ShowAndAsk(ask) => self.put(ask),
            Then::ShowAndGoOn(approval, answer) => self.go_on(approval, answer).await?,
        }
        Ok(())
    }

    fn occasion(&self) -> Occasion {
        Occasion {
            session: self.session,
            engineer: self.permit.assignment().engineer.id.to_string(),
            request: self.permit.request(),
            grant: self.permit.grant_id(),
            approval: self.permit.approval(),
        }
    }

    /// Puts the question of the running work to the operator.
    fn put(&mut self, ask: Ask) {
        let Occasion { session, engineer, request, .. } = self.occasion();
        let (level, now) = (self.permit.level(), self.shared.clock.now().wall);
        let (asked, about) = self.shared.approvals.put(Asker { session, engineer, level, request, now }, ask);
        self.asked = Some(asked);
        self.shared.observer.event(&HostEvent::ApprovalAsked(about));
    }

    /// Hands the answer to the work that waits for it; what it then does passes the gate like a start.
    async fn go_on(&mut self, approval: Uuid, answer: Answer) -> Result<(), Ending> {
        let event = HostEvent::ApprovalAnswered { approval, session: self.session, answer: answer.clone() };
        self.shared.observer.event(&event);
        self.watch.check(&self.permit)?;
        if let Some(work) = &mut self.work {
            work.answered(answer).await;
        }
        Ok(())
    }

    /// Keeps a receipt until it is put on record, unless a newer one comes before.
    fn receipt(&mut self, receipt: Receipt) -> Result<(), Ending> {
        if !self.receipts.expects(&receipt) {
            return Err(no_fit());
        }
        self.receipts.keep(receipt);
        Ok(())
    }

    async fn enter_receipt(&mut self) -> Result<(), Ending> {
        if !self.receipts.is_kept() {
            return Ok(());
        }
        // Whatever ends the session here leaves the receipt for its end.
        self.watch.check(&self.permit)?;
        self.make_room().await?;
        let (draft, all_fit) = self.kept_receipt();
        if let Some(draft) = draft {
            self.submit(draft).await?;
        }
        if all_fit { Ok(()) } else { Err(no_fit()) }
    }

    /// The newest receipt that waits to be put on record and whose signature fits; and whether none that is newer does not.
    pub(super) fn kept_receipt(&mut self) -> (Option<Draft>, bool) {
        let (key, session) = (self.permit.assignment().engineer.key, self.session);
        let mut kept = self.receipts.take();
        let newest = kept.last().map(|receipt| receipt.sequence);
        while let Some(receipt) = kept.pop() {
            if receipt.is_by(&key, session) {
                self.receipts.came(receipt.sequence);
                return (Some(Draft::receipt(receipt.clone())), newest == Some(receipt.sequence));
            }
        }
        (None, newest.is_none())
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
        self.submit(draft).await?;
        self.settle().await?;
        self.permit = permit.clone();
        self.place.renew(permit);
        Ok(())
    }
}
