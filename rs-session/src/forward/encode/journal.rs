//! The systemd journal's own protocol: fields, each a line `NAME=value`.

use super::super::event::{Event, Severity};
use super::{PRODUCT, facts, one_line, titled};

/// The first 28 digits of a `MESSAGE_ID`; the number of the kind follows in hexadecimal.
const MESSAGE_ID_PREFIX: &str = "5c1e0f7a93d24b86a1d07e64b9f2";
/// In front of the names of our own fields.
const OURS: &str = "REMOTE_SUPPORT_";

/// The fields of an entry. A value has no line end and no control character, so none can begin a field of its own.
pub(super) fn fields(event: &Event) -> Vec<u8> {
    let mut out = String::new();
    let mut add = |name: &str, value: &str| {
        out.push_str(name);
        out.push('=');
        out.push_str(&one_line(value));
        out.push('\n');
    };
    add("MESSAGE", &titled(event));
    add("MESSAGE_ID", &format!("{MESSAGE_ID_PREFIX}{:04x}", event.event_id));
    add("PRIORITY", priority(event.severity));
    add("SYSLOG_IDENTIFIER", PRODUCT);
    for (name, value) in [
        ("ID", event.id.as_str()),
        ("EVENT_ID", &event.event_id.to_string()),
        ("KIND", event.kind.word()),
        ("TIME", &event.time.to_rfc3339()),
        ("NODE", &event.node),
    ] {
        add(&format!("{OURS}{name}"), value);
    }
    for (name, value) in facts(event) {
        add(&format!("{OURS}{}", screaming(name)), &value);
    }
    out.into_bytes()
}

const fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "2",
        Severity::Warning => "4",
        Severity::Notice => "5",
        Severity::Informational => "6",
    }
}

/// `engineerKey` as fields of the journal are named: `ENGINEER_KEY`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::event::EventKind;
    use super::*;

    #[test]
    fn q02_the_number_of_the_kind_is_a_field_and_the_end_of_the_message_id() {
        let at = "2026-11-28T10:00:00Z".parse().unwrap();
        let mut event = Event::new("log/7", "node-01", EventKind::ConsentRevoked, at, "taken back");
        event.engineer_key = Some("SHA256:abc".to_owned());
        let text = String::from_utf8(fields(&event)).unwrap();
        for line in [
            "MESSAGE=Consent revoked: taken back",
            "MESSAGE_ID=5c1e0f7a93d24b86a1d07e64b9f246b8",
            "PRIORITY=5",
            "REMOTE_SUPPORT_EVENT_ID=18104",
            "REMOTE_SUPPORT_ENGINEER_KEY=SHA256:abc",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in {text}");
        }
    }

    proptest! {
        #[test]
        fn sec37_what_an_engineer_wrote_begins_no_field(text in any::<String>()) {
            let at = "2026-11-28T10:00:00Z".parse().unwrap();
            let plain = Event::new("log/7", "node-01", EventKind::CommandRefused, at, "");
            let mut event = Event { message: text.clone(), ..plain.clone() };
            event.line = Some(text);
            let fields = fields(&event);
            prop_assert_eq!(fields.iter().filter(|&&byte| byte == b'\n').count(), super::fields(&plain).iter().filter(|&&byte| byte == b'\n').count() + 1);
            prop_assert!(!fields.contains(&0));
        }
    }
}
