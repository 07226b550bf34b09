//! ArcSight's Common Event Format.

use super::super::event::{Event, Outcome, Severity};
use super::{PRODUCT, VENDOR, VERSION, one_line};

pub(super) fn line(event: &Event) -> String {
    let mut out = format!(
        "CEF:0|{VENDOR}|{PRODUCT}|{VERSION}|{}|{}|{}|",
        event.event_id,
        header(event.kind.title()),
        severity(event.severity)
    );
    let fields: Vec<_> =
        extension(event).iter().map(|(name, text)| format!("{name}={}", value(text))).collect();
    out += &fields.join(" ");
    out
}

const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 3,
        Severity::Notice => 5,
        Severity::Warning => 7,
        Severity::Critical => 10,
    }
}

/// The extension by CEF's own dictionary where it has a name, by custom strings with labels where it has none.
fn extension(event: &Event) -> Vec<(&'static str, String)> {
    let outcome = match event.outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
    };
    let mut fields = vec![
        ("rt", event.time.timestamp_millis().to_string()),
        ("externalId", event.id.clone()),
        ("dvchost", event.node.clone()),
        ("outcome", outcome.to_owned()),
    ];
    let mut add = |name, label: Option<(&'static str, &str)>, text: Option<String>| {
        let Some(text) = text else { return };
        fields.push((name, text));
        if let Some((name, label)) = label {
            fields.push((name, label.to_owned()));
        }
    };
    add("suser", None, event.engineer.clone().or_else(|| event.operator.clone()));
    add("cs1", Some(("cs1Label", "supportRequest")), event.support_request.map(|number| number.to_string()));
    add("cs2", Some(("cs2Label", "grantId")), event.grant_id.map(|id| id.to_string()));
    add("cs3", Some(("cs3Label", "sessionId")), event.session_id.map(|id| id.to_string()));
    add("cs4", Some(("cs4Label", "accessLevel")), event.access_level.map(|level| level.to_string()));
    add("cs5", Some(("cs5Label", "engineerKey")), event.engineer_key.clone());
    add("cs6", Some(("cs6Label", "line")), event.line.clone());
    add("reason", None, event.reason.clone());
    add("msg", None, Some(event.message.clone()));
    fields
}

/// In the header `|` and `\` are escaped.
fn header(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// In a value `=` and `\` are escaped.
fn value(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('=', "\\=")
}
