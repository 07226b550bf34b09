//! The formats that collectors read.
//!
//! One event is one line in each of them but the journal's: what an engineer typed can neither begin a new line nor a new field, since each
//! format's own escapes are used and control characters are written visibly.

mod cef;
mod journal;
mod json;
mod ocsf;
mod syslog;
mod text;

use serde::{Deserialize, Serialize};

use super::event::Event;

pub use self::ocsf::SCHEMA_VERSION as OCSF_VERSION;
pub use self::syslog::{ENTERPRISE_NUMBER, MESSAGE_BYTES_MAX};

/// Maker, as collectors show it.
pub(super) const VENDOR: &str = "Remote Support";
/// Program, as collectors show it.
pub(super) const PRODUCT: &str = "remote-support";
/// Version of the program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A collector's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object, with the names of [`Event`].
    Json,
    /// A syslog message by RFC 5424, with the facts as structured data.
    Syslog,
    /// ArcSight's Common Event Format, version 0.
    Cef,
    /// The Open Cybersecurity Schema Framework, version [`OCSF_VERSION`], as JSON.
    Ocsf,
    /// Fields of the systemd journal; several lines an event, for its own socket only.
    Journal,
    /// A sentence for people: time, node, what happened.
    Text,
}

impl Format {
    /// `event` as one line, without a line end; for the journal as one line a field.
    #[must_use]
    pub fn encode(self, event: &Event) -> Vec<u8> {
        match self {
            Self::Json => json::line(event).into_bytes(),
            Self::Syslog => syslog::message(event, &one_line(&event.message)),
            Self::Cef => cef::line(event).into_bytes(),
            Self::Ocsf => json::on_one_line(&ocsf::object(event).to_string()).into_bytes(),
            Self::Journal => journal::fields(event),
            Self::Text => text::line(event).into_bytes(),
        }
    }

    /// `event` for a syslog receiver: a syslog message, with this format as its text.
    #[must_use]
    pub fn encode_for_syslog(self, event: &Event) -> Vec<u8> {
        match self {
            Self::Syslog => self.encode(event),
            other => syslog::message(event, &String::from_utf8_lossy(&other.encode(event))),
        }
    }
}

/// What happened, with its title in front where the message is not the title itself.
fn titled(event: &Event) -> String {
    let title = event.kind.title();
    if event.message == title { title.to_owned() } else { format!("{title}: {}", event.message) }
}

/// `text` on one line: control characters, and the invisible ones that turn or hide text, as `\u{…}`.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The facts of an event besides time, node, kind and message, as `name, value`, in a fixed order.
fn facts(event: &Event) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            facts.push((name, value));
        }
    };
    add("engineer", event.engineer.clone());
    add("engineerKey", event.engineer_key.clone());
    add("operator", event.operator.clone());
    add("supportRequest", event.support_request.map(|number| number.to_string()));
    add("grantId", event.grant_id.map(|id| id.to_string()));
    add("sessionId", event.session_id.map(|id| id.to_string()));
    add("accessLevel", event.access_level.map(|level| level.to_string()));
    add("line", event.line.clone());
    add("reason", event.reason.clone());
    facts
}

#[cfg(test)]
mod tests;
