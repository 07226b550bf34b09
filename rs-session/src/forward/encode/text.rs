//! For people: one line in words.

use super::super::event::Event;
use super::{facts, one_line, titled};

/// Time, node, what happened, and who and what it is about.
pub(super) fn line(event: &Event) -> String {
    let time = event.time.format("%Y-%m-%d %H:%M:%S UTC");
    let told = ["engineer", "operator", "supportRequest", "sessionId", "line"];
    let facts: Vec<_> = facts(event)
        .into_iter()
        .filter(|(name, value)| told.contains(name) && !event.message.contains(value.as_str()))
        .map(|(name, value)| format!("{} {value}", words(name)))
        .collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    one_line(&format!("{time} {}: {}{facts}", event.node, titled(event)))
}

fn words(name: &str) -> &str {
    match name {
        "supportRequest" => "request",
        "sessionId" => "session",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::EventKind;
    use super::*;

    #[test]
    fn an_event_is_a_sentence_without_repetition_and_without_line_ends() {
        let at = "2026-11-28T10:00:00Z".parse().unwrap();
        let mut event = Event::new("log/7", "node-01", EventKind::SessionStarted, at, "e@desk was let in");
        event.engineer = Some("e@desk".to_owned());
        event.line = Some("a\r\nb\u{202e}".to_owned());
        assert_eq!(
            line(&event),
            "2026-11-28 10:00:00 UTC node-01: Session started: e@desk was let in (line a\\u{d}\\u{a}b\\u{202e})"
        );
        let plain = Event::new("log/8", "node-01", EventKind::ConsentExpired, at, "Consent expired");
        assert_eq!(line(&plain), "2026-11-28 10:00:00 UTC node-01: Consent expired");
    }
}
