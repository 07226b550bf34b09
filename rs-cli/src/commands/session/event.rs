//! One event of a session on its way to the owner: text for people, a line of JSON for programs. Used by `watch` and
//! `replay`, so both look the same.

use rs_session::history::{self, Entry};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::context::Context;
use crate::outcome::Failure;
use crate::output::{self, OutputMode};

/// Shows one entry. `mark` stands in front of each line, where several sessions share the screen.
pub(super) fn show(session: Uuid, entry: &Entry, mark: &str, context: &mut Context) -> Result<(), Failure> {
    if context.output == OutputMode::Json {
        return line(&as_json(session, entry), context);
    }
    let Some(text) = history::text(entry) else { return Ok(()) };
    print(&text, mark, context)
}

/// Shows text that has lines, harmless whatever it says.
pub(super) fn print(text: &str, mark: &str, context: &mut Context) -> Result<(), Failure> {
    let out = &mut *context.console.out;
    for line in output::safe_lines(text).lines() {
        writeln!(out, "{mark}{line}")?;
    }
    Ok(out.flush()?)
}

/// Shows an event that is no record, to programs only.
pub(super) fn tell(event: &str, session: Option<Uuid>, context: &mut Context) -> Result<(), Failure> {
    if context.output != OutputMode::Json {
        return Ok(());
    }
    let mut value = json!({ "event": event });
    if let Some(session) = session {
        value["sessionId"] = json!(session);
    }
    line(&value, context)
}

fn line(value: &Value, context: &mut Context) -> Result<(), Failure> {
    let out = &mut *context.console.out;
    output::write_json_line(out, value)?;
    Ok(out.flush()?)
}

fn as_json(session: Uuid, entry: &Entry) -> Value {
    let content = entry.content.as_ref().and_then(|content| content.encode().ok());
    let content: Value = content.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    json!({
        "event": "record",
        "sessionId": session,
        "sequence": entry.sequence,
        "kind": entry.kind,
        "wallTime": entry.wall_time,
        "content": content,
    })
}
