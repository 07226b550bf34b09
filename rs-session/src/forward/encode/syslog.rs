//! RFC 5424.

use chrono::SecondsFormat;

use super::super::event::{Event, Severity};
use super::{PRODUCT, facts, one_line};

/// Longest message, in bytes; a longer text is cut. Receivers take at least 2048, and most of them 8192.
pub const MESSAGE_BYTES_MAX: usize = 8_192;
/// The enterprise number of the structured data: that of examples (RFC 5612), until the project has one of its own.
pub const ENTERPRISE_NUMBER: u32 = 32_473;
/// Facility: log audit.
const FACILITY: u8 = 13;
/// Longest host name of the header.
const HOST_CHARS_MAX: usize = 255;
/// Longest value of the structured data, in characters, so that all of them leave room for the text.
const VALUE_CHARS_MAX: usize = 500;

/// A message with `text` behind its header and structured data.
pub(super) fn message(event: &Event, text: &str) -> Vec<u8> {
    let priority = FACILITY * 8 + severity(event.severity);
    let time = event.time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let host = header(&event.node, HOST_CHARS_MAX);
    let process = std::process::id();
    let data = structured_data(event);
    let mut out =
        format!("<{priority}>1 {time} {host} {PRODUCT} {process} {} {data} \u{feff}", event.event_id);
    let room = MESSAGE_BYTES_MAX.saturating_sub(out.len());
    out.push_str(cut(text, room));
    out.into_bytes()
}

const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Informational => 6,
    }
}

/// A field of the header: printable ASCII without spaces, `-` for none.
fn header(text: &str, chars_max: usize) -> String {
    let field: String =
        text.chars().take(chars_max).map(|one| if one.is_ascii_graphic() { one } else { '_' }).collect();
    if field.is_empty() { String::from("-") } else { field }
}

fn structured_data(event: &Event) -> String {
    let mut data = format!("[remoteSupport@{ENTERPRISE_NUMBER}");
    let own = [("id", event.id.clone()), ("kind", event.kind.word().to_owned())];
    for (name, value) in own.into_iter().chain(facts(event)) {
        let value: String = one_line(&value).chars().take(VALUE_CHARS_MAX).collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        data += &format!(" {name}=\"{value}\"");
    }
    data + "]"
}

/// `text`, at most `bytes` long, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
