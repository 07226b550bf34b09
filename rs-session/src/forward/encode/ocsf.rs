//! The Open Cybersecurity Schema Framework.
//!
//! | events | class |
//! | --- | --- |
//! | consents | User Access Management (3005): privileges assigned or revoked |
//! | sessions, refused engineers | Authentication (3002): logon, logoff |
//! | commands | API Activity (6003) |
//! | support requests | Entity Management (3004) |
//! | everything else | Application Lifecycle (6002) |

use serde_json::{Value, json};

use super::super::event::{Event, EventKind, Outcome, Severity};
use super::{PRODUCT, VENDOR, VERSION};

/// Version of the schema that the objects follow.
pub const SCHEMA_VERSION: &str = "1.3.0";

/// Activity of a class that none of its own numbers names.
const OTHER: u32 = 99;

pub(super) fn object(event: &Event) -> Value {
    let (class, activity) = class_and_activity(event.kind);
    let mut object = json!({
        "class_uid": class,
        "category_uid": class / 1000,
        "activity_id": activity,
        "activity_name": event.kind.title(),
        "type_uid": class * 100 + activity,
        "time": event.time.timestamp_millis(),
        "severity_id": severity(event.severity),
        "status_id": if event.outcome == Outcome::Success { 1 } else { 2 },
        "message": event.message,
        "metadata": {
            "version": SCHEMA_VERSION,
            "uid": event.id,
            "event_code": event.event_id.to_string(),
            "product": { "name": PRODUCT, "vendor_name": VENDOR, "version": VERSION },
        },
        "device": { "hostname": event.node, "type_id": 1 },
        "unmapped": unmapped(event),
    });
    let mut set = |name: &str, value: Value| {
        if let Some(map) = object.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    if let Some(reason) = &event.reason {
        set("status_code", json!(reason));
    }
    match class {
        3005 => {
            set("user", user(event));
            set("privileges", json!(event.access_level.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        3002 => {
            set("user", user(event));
            set("is_remote", json!(true));
            if let Some(session) = event.session_id {
                set("session", json!({ "uid": session.to_string(), "is_remote": true }));
            }
        }
        3004 => {
            let number = event.support_request.map(|number| number.to_string()).unwrap_or_default();
            set("entity", json!({ "name": number, "type": "support request", "uid": number }));
        }
        6003 => {
            set(
                "actor",
                json!({ "user": user(event), "session": { "uid": event.session_id, "is_remote": true } }),
            );
            set(
                "api",
                json!({ "operation": event.line.clone().unwrap_or_else(|| event.kind.word().to_owned()) }),
            );
            set("src_endpoint", json!({ "name": event.engineer.clone().unwrap_or_default() }));
        }
        _ => set("app", json!({ "name": PRODUCT, "vendor_name": VENDOR, "version": VERSION })),
    }
    object
}

const fn class_and_activity(kind: EventKind) -> (u32, u32) {
    match kind {
        EventKind::ConsentGranted | EventKind::ConsentBegun => (3005, 1),
        EventKind::ConsentRevoked | EventKind::ConsentExpired | EventKind::ConsentSuperseded => (3005, 2),
        EventKind::ConsentDeclined
        | EventKind::ConsentApproved
        | EventKind::ClockHeld
        | EventKind::ConsentExpiring => (3005, OTHER),
        EventKind::SessionStarted | EventKind::EngineerRefused => (3002, 1),
        EventKind::SessionEnded => (3002, 2),
        EventKind::CommandPermitted
        | EventKind::CommandRefused
        | EventKind::CommandFinished
        | EventKind::CommandInterrupted
        | EventKind::SessionNote
        | EventKind::RepairPermitted
        | EventKind::ApprovalAsked
        | EventKind::ApprovalAnswered => (6003, OTHER),
        EventKind::RequestSubmitted => (3004, 1),
        EventKind::RequestOpened => (3004, 3),
        EventKind::RequestClosed => (3004, 4),
        EventKind::AgentStarted => (6002, 3),
        EventKind::AgentStopped => (6002, 4),
        EventKind::RecordDamaged
        | EventKind::ContentsRemoved
        | EventKind::RecordDeleted
        | EventKind::EvidenceExported
        | EventKind::Test
        | EventKind::Other => (6002, OTHER),
    }
}

const fn severity(severity: Severity) -> u32 {
    match severity {
        Severity::Informational => 1,
        Severity::Notice => 2,
        Severity::Warning => 3,
        Severity::Critical => 5,
    }
}

/// Whom it is about: the engineer where there is one, else the operator.
fn user(event: &Event) -> Value {
    let name =
        event.engineer.clone().or_else(|| event.operator.clone()).unwrap_or_else(|| "unknown".to_owned());
    let mut user = json!({ "name": name });
    if let (Some(map), Some(key)) = (user.as_object_mut(), &event.engineer_key) {
        map.insert("uid".to_owned(), json!(key));
    }
    user
}

/// What the schema has no place for.
fn unmapped(event: &Event) -> Value {
    super::facts(event).into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}
