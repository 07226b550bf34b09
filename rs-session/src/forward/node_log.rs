//! The events in the node log.

use rs_consent::AccessLevel;
use serde::Deserialize as _;
use serde_json::Value;
use uuid::Uuid;

use super::event::{Event, EventKind};
use crate::node_log::{Entry, Event as Logged};

/// The event that an entry of `node`'s log is; `None` for signs of life, for ends of sessions, which the sessions' own
/// records tell, and for what the program itself did to keep the log.
#[must_use]
pub fn event(node: &str, entry: &Entry) -> Option<Event> {
    let id = format!("{}/{}", entry.log_id.hyphenated(), entry.sequence);
    let new = |kind: EventKind, message: &str| Event::new(&id, node, kind, entry.wall_time, message);
    Some(match &entry.event {
        Logged::Consent { at, act, .. } => Event { time: *at, ..consent(&new, act)? },
        Logged::AgentStarted { version, interrupted, damaged } => new(
            EventKind::AgentStarted,
            &format!(
                "version {version}; {interrupted} sessions had been cut off, {damaged} records are damaged"
            ),
        ),
        Logged::AgentStopped {} => new(EventKind::AgentStopped, "all sessions are down"),
        Logged::SessionStarted { head, engineer, engineer_key, support_request, grant, access_level } => {
            Event {
                session_id: Some(head.session),
                engineer: Some(engineer.clone()),
                engineer_key: Some(engineer_key.fingerprint().to_string()),
                support_request: Some(*support_request),
                grant_id: Some(*grant),
                access_level: Some(*access_level),
                ..new(EventKind::SessionStarted, &format!("{engineer} was let in with {access_level}"))
            }
        }
        Logged::SessionLost { session } => Event {
            session_id: Some(*session),
            ..new(EventKind::RecordDamaged, "the record of a session is not there any more")
        },
        Logged::Refused { code, engineer, folded } => {
            let more = if *folded > 0 {
                format!("; {folded} before came too fast to be told")
            } else {
                String::new()
            };
            Event {
                engineer_key: engineer.clone(),
                reason: Some(code.to_string()),
                ..new(EventKind::EngineerRefused, &format!("an engineer was not let in: {}{more}", code))
            }
        }
        Logged::ContentsRemoved { session, records, reason } => Event {
            session_id: Some(*session),
            ..new(EventKind::ContentsRemoved, &format!("{records} records lost their content: {reason}"))
        },
        Logged::RecordDeleted { session, reason } => Event {
            session_id: Some(*session),
            ..new(EventKind::RecordDeleted, &format!("the record was deleted: {reason}"))
        },
        Logged::Exported { session, form, by, .. } => Event {
            session_id: Some(*session),
            operator: Some(by.clone()),
            ..new(EventKind::EvidenceExported, &format!("the record left the node as {form}"))
        },
        Logged::Tested { by } => Event {
            operator: Some(by.clone()),
            ..new(EventKind::Test, &format!("{by} tries whether this arrives; nothing happened"))
        },
        Logged::Begun { .. }
        | Logged::Alive { .. }
        | Logged::SessionEnded { .. }
        | Logged::EndStated { .. } => return None,
        _ => new(EventKind::Other, "a newer version of the program wrote this entry"),
    })
}

/// An act of the store, as it tells it: an object with the field `act`.
fn consent(new: &dyn Fn(EventKind, &str) -> Event, act: &Value) -> Option<Event> {
    let kind = match act["act"].as_str()? {
        "grant-enabled" => EventKind::ConsentGranted,
        "grant-declined" => EventKind::ConsentDeclined,
        "grant-revoked" => EventKind::ConsentRevoked,
        "grant-expired" => EventKind::ConsentExpired,
        "grant-approved" => EventKind::ConsentApproved,
        "grant-begun" => EventKind::ConsentBegun,
        "grant-superseded" => EventKind::ConsentSuperseded,
        "grant-expiring" => EventKind::ConsentExpiring,
        "clock-held" => EventKind::ClockHeld,
        "request-submitted" => EventKind::RequestSubmitted,
        "request-opened" => EventKind::RequestOpened,
        "request-closed" => EventKind::RequestClosed,
        // The log's own entries tell these.
        "engineer-refused" | "agent-started" | "agent-stopped" => return None,
        _ => EventKind::Other,
    };
    let level = AccessLevel::deserialize(&act["level"]).ok();
    let minutes = act["minutes"].as_u64();
    let message = match (kind, level, minutes) {
        (EventKind::ConsentGranted, Some(level), Some(minutes)) => format!("{level} for {minutes} minutes"),
        (EventKind::ConsentDeclined, Some(level), Some(minutes)) => {
            format!("{level} for {minutes} minutes was declined")
        }
        (EventKind::ConsentExpiring, ..) => match act["expiresAt"].as_str() {
            Some(end) => format!("the consent ends at {end}"),
            None => kind.title().to_owned(),
        },
        (EventKind::Other, ..) => act["act"].as_str().unwrap_or_default().to_owned(),
        _ => kind.title().to_owned(),
    };
    let mut event = new(kind, &message);
    event.access_level = level;
    event.grant_id = act["grant"].as_str().and_then(|id| id.parse::<Uuid>().ok());
    event.support_request = act["request"].as_str().and_then(|number| number.parse().ok());
    event.operator = operator(&act["by"]);
    Some(event)
}

/// `user@host` of whoever acted.
fn operator(by: &Value) -> Option<String> {
    Some(format!("{}@{}", by["user"].as_str()?, by["host"].as_str()?))
}
