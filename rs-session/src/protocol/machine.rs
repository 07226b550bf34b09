//! The node's side of a session as a pure state machine: facts go in, actions come out.
//!
//! It holds the order that the whole product stands on: a line is planned, recorded, and only then run; output is
//! recorded and only then shown; one end record closes the session, whatever the cause. The driver carries the actions
//! out one after the other, and asks the gate before each of them.

use std::time::Duration;

use rs_consent::{AccessLevel, EndCause};
use uuid::Uuid;

use super::wire::{ClientMessage, Form, LINE_BYTES_MAX, NodeMessage};
use crate::operations::wire::{Finish, Status};
use crate::record::{
    ApprovalContent, ApprovalStep, ApprovalSubject, Content, EndContent, FinishedContent, InterruptContent,
    NoteContent, OutputContent, OutputData, RefusalContent, RequestContent,
};

/// How long the operator has to answer; then the call is refused.
pub const APPROVAL_WAIT: Duration = Duration::from_secs(5 * 60);

/// Says what a line means and whether a level permits it; nothing runs here.
pub trait Planner {
    /// What the executor gets.
    type Work;

    /// Reads `line` and permits or refuses it; `form` and `columns` say how the engineer wants to see what comes of it.
    ///
    /// # Errors
    /// [`Refused`] with the reason, when the line is not understood or not permitted.
    fn plan(
        &self,
        line: &str,
        level: AccessLevel,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<Self::Work>, Refused>;
}

/// A permitted line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<W> {
    /// What the executor gets.
    pub work: W,
    /// The same for the record: operations and parameters, typed.
    pub description: serde_json::Value,
    /// Whether the line asks to leave the session.
    pub leaves: bool,
}

/// A refused line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Reason code, in kebab-case.
    pub code: String,
    /// Column of the fault, from 1, when it has one.
    pub column: Option<u32>,
    /// The reason in words, and what to do instead.
    pub message: String,
}

/// What running work asks the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Names the question.
    pub id: Uuid,
    /// What it is about.
    pub subject: ApprovalSubject,
    /// What would be done, in a sentence.
    pub summary: String,
    /// The same for programs.
    pub details: serde_json::Value,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Approved {
        /// Who, as the operating system vouches for it.
        by: String,
    },
    /// No.
    Declined {
        /// Who, as the operating system vouches for it.
        by: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Nobody answered within [`APPROVAL_WAIT`].
    Unanswered,
}

impl Answer {
    /// True for Yes.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Approved { .. })
    }

    /// Why the work does not go on; for the engineer and the record.
    #[must_use]
    pub fn refusal(&self) -> String {
        match self {
            Self::Approved { .. } => String::new(),
            Self::Declined { reason, .. } if reason.is_empty() => "the operator declined".to_owned(),
            Self::Declined { reason, .. } => format!("the operator declined: {reason}"),
            Self::Unanswered => {
                let minutes = APPROVAL_WAIT.as_secs() / 60;
                format!("the operator did not answer within {minutes} minutes; agree on a time and ask again")
            }
        }
    }
}

impl From<Answer> for ApprovalStep {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Approved { by } => Self::Approved { by },
            Answer::Declined { by, reason } => Self::Declined { by, reason },
            Answer::Unanswered => Self::Unanswered,
        }
    }
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The engineer said something; the gate has let it pass.
    Message(ClientMessage),
    /// The running work printed something.
    Output(OutputData),
    /// The running work says something for the record.
    Note(String),
    /// The running work asks the operator something before it goes on.
    Ask(Ask),
    /// The question is answered, or its time is over.
    Answered(Answer),
    /// The running work ended.
    Finished(Finish),
    /// The session ends.
    End {
        /// Why.
        cause: EndCause,
        /// Why, in words.
        message: String,
        /// From the moment the gate closed to the death of the running work's last process.
        killed_after: Option<Duration>,
    },
}

/// What follows when a record is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then<W> {
    /// Show it.
    Show,
    /// Show it, then start the work.
    ShowAndRun(W),
    /// Show it, then put the question to the operator.
    ShowAndAsk(Ask),
    /// Show it, then tell the work that waits.
    ShowAndGoOn(Uuid, Answer),
    /// Show it, then close the channel.
    ShowAndClose,
}

/// What the driver has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<W> {
    /// Make this durable, then do what follows.
    Record(Content, Then<W>),
    /// Answer without a record: nothing of the node is in it.
    Reply(NodeMessage),
    /// Ask the running work to stop.
    InterruptWork,
    /// End the session with this cause; comes back as [`Event::End`] when no work runs any more.
    Leave(EndCause, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Running { invocation: u64, since: Duration, interrupted: bool },
    Ended,
}

/// The node's side of one admitted session.
#[derive(Debug)]
pub struct HostMachine<P> {
    planner: P,
    state: State,
    last_invocation: u64,
    operations: u64,
    last_executed: Option<u64>,
    /// The question that waits for its answer.
    asked: Option<Uuid>,
}

impl<P: Planner> HostMachine<P> {
    /// A session in which nothing has been asked yet.
    #[must_use]
    pub const fn new(planner: P) -> Self {
        Self {
            planner,
            state: State::Idle,
            last_invocation: 0,
            operations: 0,
            last_executed: None,
            asked: None,
        }
    }

    /// Whether work is running.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether the end record was asked for.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Takes an event and says what to do. `level` is what the gate answered for it, `now` the boot clock.
    /// After the end nothing is done any more.
    pub fn step(&mut self, event: Event, level: AccessLevel, now: Duration) -> Vec<Action<P::Work>> {
        if self.has_ended() {
            return Vec::new();
        }
        match event {
            Event::Message(message) => self.message(message, level, now),
            Event::Output(data) => self.output(data),
            Event::Note(text) => vec![Action::Record(Content::Note(NoteContent { text }), Then::Show)],
            Event::Ask(ask) => self.ask(ask),
            Event::Answered(answer) => self.answered(answer),
            Event::Finished(finish) => self.finished(finish, now),
            Event::End { cause, message, killed_after } => self.end(cause, message, killed_after, now),
        }
    }

    fn message(&mut self, message: ClientMessage, level: AccessLevel, now: Duration) -> Vec<Action<P::Work>> {
        match message {
            ClientMessage::Invoke { invocation, line, form, columns } => {
                self.invoke(invocation, line, form, columns, level, now)
            }
            ClientMessage::Interrupt { invocation } => self.interrupt(invocation),
            ClientMessage::Ping { token } => vec![Action::Reply(NodeMessage::Pong { token })],
            ClientMessage::Bye => vec![Action::Leave(EndCause::Exit, "the engineer left".to_owned())],
            // The driver checks receipts and renewals, which need keys and the gate.
            ClientMessage::Receipt(_) | ClientMessage::Renew { .. } => Vec::new(),
            ClientMessage::Hello { .. } => vec![Self::violation("a second hello")],
        }
    }

    fn invoke(
        &mut self,
        invocation: u64,
        line: String,
        form: Form,
        columns: Option<u16>,
        level: AccessLevel,
        now: Duration,
    ) -> Vec<Action<P::Work>> {
        if Some(invocation) != self.last_invocation.checked_add(1) {
            return vec![Self::violation("lines are numbered 1, 2, 3, …")];
        }
        self.last_invocation = invocation;
        if line.len() > LINE_BYTES_MAX {
            let message = format!("a line has at most {LINE_BYTES_MAX} bytes; shorten it or split it");
            let kept = line.chars().take(LINE_BYTES_MAX / 4).collect();
            return Self::refusal(
                invocation,
                kept,
                Refused { code: "line-too-long".into(), column: None, message },
            );
        }
        if self.is_running() {
            let message = "another line is running; wait for its end or interrupt it".to_owned();
            return Self::refusal(invocation, line, Refused { code: "busy".into(), column: None, message });
        }
        match self.planner.plan(&line, level, form, columns) {
            Err(refused) => Self::refusal(invocation, line, refused),
            Ok(planned) => self.permitted(invocation, line, planned, level, now),
        }
    }

    fn permitted(
        &mut self,
        invocation: u64,
        line: String,
        planned: Planned<P::Work>,
        level: AccessLevel,
        now: Duration,
    ) -> Vec<Action<P::Work>> {
        let content = Content::Request(RequestContent {
            invocation,
            line,
            plan: planned.description,
            access_level: level,
        });
        if planned.leaves {
            let leave = Action::Leave(EndCause::Exit, "the engineer left".to_owned());
            return vec![Action::Record(content, Then::Show), leave];
        }
        self.state = State::Running { invocation, since: now, interrupted: false };
        self.operations += 1;
        self.last_executed = Some(invocation);
        vec![Action::Record(content, Then::ShowAndRun(planned.work))]
    }

    fn refusal(invocation: u64, line: String, refused: Refused) -> Vec<Action<P::Work>> {
        let Refused { code, column, message } = refused;
        let content = Content::Refusal(RefusalContent { invocation, line, code, column, message });
        vec![Action::Record(content, Then::Show)]
    }

    fn interrupt(&mut self, wanted: u64) -> Vec<Action<P::Work>> {
        match &mut self.state {
            State::Running { invocation, interrupted, .. } if *invocation == wanted && !*interrupted => {
                *interrupted = true;
                let content = Content::Interrupt(InterruptContent { invocation: wanted });
                vec![Action::Record(content, Then::Show), Action::InterruptWork]
            }
            // It ended while the wish was on its way, or the wish came twice: nothing is left to stop.
            _ => Vec::new(),
        }
    }

    fn output(&self, data: OutputData) -> Vec<Action<P::Work>> {
        let State::Running { invocation, .. } = self.state else { return Vec::new() };
        vec![Action::Record(Content::Output(OutputContent { invocation, data }), Then::Show)]
    }

    fn ask(&mut self, ask: Ask) -> Vec<Action<P::Work>> {
        let State::Running { invocation, .. } = self.state else { return Vec::new() };
        let approval_id = ask.id;
        self.asked = Some(approval_id);
        let step = ApprovalStep::Asked {
            subject: ask.subject,
            summary: ask.summary.clone(),
            details: ask.details.clone(),
            wait_seconds: APPROVAL_WAIT.as_secs(),
        };
        let content = Content::Approval(ApprovalContent { invocation, approval_id, step });
        vec![Action::Record(content, Then::ShowAndAsk(ask))]
    }

    fn answered(&mut self, answer: Answer) -> Vec<Action<P::Work>> {
        let State::Running { invocation, .. } = self.state else { return Vec::new() };
        // An answer that comes after the work has ended answers nothing.
        let Some(approval_id) = self.asked.take() else { return Vec::new() };
        let content =
            Content::Approval(ApprovalContent { invocation, approval_id, step: answer.clone().into() });
        vec![Action::Record(content, Then::ShowAndGoOn(approval_id, answer))]
    }

    fn finished(&mut self, finish: Finish, now: Duration) -> Vec<Action<P::Work>> {
        let State::Running { invocation, since, .. } = self.state else { return Vec::new() };
        self.state = State::Idle;
        self.asked = None;
        vec![Action::Record(finished(invocation, now.saturating_sub(since), finish), Then::Show)]
    }

    fn end(
        &mut self,
        cause: EndCause,
        message: String,
        killed_after: Option<Duration>,
        now: Duration,
    ) -> Vec<Action<P::Work>> {
        let mut actions = Vec::new();
        if let State::Running { invocation, since, .. } = self.state {
            let finish = Finish::new(Status::Killed, message.clone());
            let content = finished(invocation, now.saturating_sub(since), finish);
            actions.push(Action::Record(content, Then::Show));
        }
        self.state = State::Ended;
        let content = Content::End(EndContent {
            cause,
            message,
            operations: self.operations,
            last_invocation: self.last_executed,
            killed_after_us: killed_after.map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        });
        actions.push(Action::Record(content, Then::ShowAndClose));
        actions
    }

    fn violation(what: &str) -> Action<P::Work> {
        Action::Leave(EndCause::Protocol, format!("the engineer's client broke the protocol: {what}"))
    }
}

fn finished(invocation: u64, elapsed: Duration, finish: Finish) -> Content {
    Content::Finished(FinishedContent {
        invocation,
        status: finish.status,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        message: finish.message,
        measures: finish.measures,
    })
}
