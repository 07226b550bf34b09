//! The events in a session's record.

use rs_consent::EndCause;
use serde::Deserialize as _;

use super::event::{Event, EventKind, Outcome, shortened};
use crate::operations::Plan;
use crate::operations::wire::Status;
use crate::record::{ApprovalStep, Content, Frame, SessionIdentity, Stored};

/// The event that a record is, if it is one: lines, refusals, questions to the operator, ends and remarks are; what was printed, receipts and the
/// start, which the node log tells, are not. A record whose content was removed or cannot be read still says what kind it was.
#[must_use]
pub fn event(identity: &SessionIdentity, frame: &Frame) -> Option<Event> {
    use crate::record::Kind;
    let skeleton = frame.skeleton();
    let kind = match skeleton.kind {
        Kind::Request => EventKind::CommandPermitted,
        Kind::Refusal => EventKind::CommandRefused,
        Kind::Finished => EventKind::CommandFinished,
        Kind::Interrupt => EventKind::CommandInterrupted,
        Kind::Approval => EventKind::ApprovalAnswered,
        Kind::Note => EventKind::SessionNote,
        Kind::End => EventKind::SessionEnded,
        _ => return None,
    };
    let id = format!("{}/{}", identity.session_id.hyphenated(), skeleton.sequence);
    let content = content(frame);
    let kind = content.as_ref().and_then(told_apart).unwrap_or(kind);
    let mut event = Event::new(&id, identity.node.name.as_str(), kind, skeleton.wall_time, kind.title());
    event.engineer = Some(identity.engineer.id.to_string());
    event.engineer_key = Some(identity.engineer.key.fingerprint().to_string());
    event.support_request = Some(identity.support_request);
    event.grant_id = Some(identity.grant_id);
    event.session_id = Some(identity.session_id);
    event.access_level = Some(identity.access_level);
    event.reason = skeleton.end.map(|cause| cause.to_string());
    match content {
        Some(content) => describe(&mut event, content),
        None if matches!(frame.content(), Stored::Sealed(_)) => {
            event.message = format!("{} (content sealed)", kind.title());
        }
        None => event.message = format!("{} (content removed)", kind.title()),
    }
    Some(event)
}

/// The kind that only the content tells.
fn told_apart(content: &Content) -> Option<EventKind> {
    match content {
        Content::Request(request) => {
            let plan = Plan::deserialize(&request.plan).ok()?;
            plan.effects().changes_state().then_some(EventKind::RepairPermitted)
        }
        Content::Approval(approval) => {
            matches!(approval.step, ApprovalStep::Asked { .. }).then_some(EventKind::ApprovalAsked)
        }
        _ => None,
    }
}

fn content(frame: &Frame) -> Option<Content> {
    match frame.content() {
        Stored::Present { bytes, .. } => Content::decode(frame.skeleton().kind, bytes).ok(),
        Stored::Removed | Stored::Sealed(_) => None,
    }
}

fn describe(event: &mut Event, content: Content) {
    match content {
        Content::Request(request) => {
            event.access_level = Some(request.access_level);
            event.message = format!("line {} is permitted", request.invocation);
            event.line = Some(shortened(&request.line));
        }
        Content::Refusal(refusal) => {
            event.message =
                shortened(&format!("line {} is refused: {}", refusal.invocation, refusal.message));
            event.line = Some(shortened(&refusal.line));
            event.reason = Some(refusal.code);
        }
        Content::Finished(finished) => {
            let done = finished.status == Status::Done;
            event.outcome = if done { Outcome::Success } else { Outcome::Failure };
            let said = if finished.message.is_empty() { "" } else { ": " };
            event.message = shortened(&format!(
                "line {} ended after {} ms{said}{}",
                finished.invocation, finished.elapsed_ms, finished.message
            ));
            event.reason =
                serde_json::to_value(finished.status).ok().and_then(|word| word.as_str().map(str::to_owned));
        }
        Content::Interrupt(interrupt) => {
            event.message = format!("the engineer interrupted line {}", interrupt.invocation);
        }
        Content::Approval(approval) => {
            event.message = shortened(&format!("line {}: {}", approval.invocation, approval.step));
            let agreed = matches!(approval.step, ApprovalStep::Asked { .. } | ApprovalStep::Approved { .. });
            event.outcome = if agreed { Outcome::Success } else { Outcome::Failure };
        }
        Content::Note(note) => event.message = shortened(&note.text),
        Content::End(end) => {
            let fault = matches!(end.cause, EndCause::Fault | EndCause::RecordFault | EndCause::Protocol);
            event.outcome = if fault { Outcome::Failure } else { Outcome::Success };
            event.message = shortened(&format!("{}; {} lines were to be run", end.message, end.operations));
        }
        _ => {}
    }
}
