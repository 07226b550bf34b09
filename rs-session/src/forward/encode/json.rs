//! JSON lines.

use super::super::event::Event;

/// The event as one JSON object.
pub(super) fn line(event: &Event) -> String {
    on_one_line(&serde_json::to_string(event).unwrap_or_default())
}

/// JSON without the characters at which some readers split lines; within its strings they are escaped, and it has them
/// nowhere else.
pub(super) fn on_one_line(json: &str) -> String {
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace('\u{85}', "\\u0085")
}
