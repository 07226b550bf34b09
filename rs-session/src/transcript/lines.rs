//! A record as rows, and each row in the form that was asked for.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::csv;
use super::text::{self, Line};
use crate::operations::objects::harmless;
use crate::operations::wire::Status;
use crate::record::{Closed, Content, Kind, OutputData, SessionIdentity};

/// The form of a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The shape of a PowerShell transcript.
    Text,
    /// One JSON object a line.
    Json,
    /// Asciicast version 2.
    Asciicast,
    /// Comma-separated values.
    Csv,
}

/// One record, as the renderings see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the record.
    pub sequence: u64,
    /// What it tells.
    pub kind: Kind,
    /// Wall clock of the node.
    pub wall_time: DateTime<Utc>,
    /// Time since the node was started; within a session it only goes forward.
    pub boot_time: std::time::Duration,
    /// Its content; `None` when it was removed, or is sealed and could not be opened.
    pub content: Option<Content>,
    /// Why the content is closed, if it is sealed and could not be opened.
    pub closed: Option<Closed>,
}

/// Renders the rows of one session, one after the other.
#[derive(Debug)]
pub struct Renderer {
    form: Form,
    identity: SessionIdentity,
    began: Option<DateTime<Utc>>,
    last: f64,
}

impl Renderer {
    /// For the session with this identity.
    #[must_use]
    pub const fn new(form: Form, identity: SessionIdentity) -> Self {
        Self { form, identity, began: None, last: 0.0 }
    }

    /// What stands in front of the first row.
    #[must_use]
    pub fn begin(&mut self, started: DateTime<Utc>) -> String {
        self.began = Some(started);
        match self.form {
            Form::Text => text::print_header(text::TITLE, &self.header(started)),
            Form::Json => line_of(&json!({ "session": self.identity, "startedAt": started })),
            Form::Asciicast => line_of(&json!({
                "version": 2,
                "width": CAST_COLUMNS,
                "height": CAST_ROWS,
                "timestamp": started.timestamp(),
                "title": format!("Session {} on {}", self.identity.session_id, visible(&self.identity.node.name.to_string(), "")),
            })),
            Form::Csv => csv::record([
                "sequence",
                "wallTime",
                "kind",
                "engineer",
                "supportRequest",
                "invocation",
                "text",
                "detail",
            ]),
        }
    }

    /// One row.
    #[must_use]
    pub fn row(&mut self, row: &Row) -> String {
        match self.form {
            Form::Text => self.text(row),
            Form::Json => line_of(&json!({
                "sequence": row.sequence,
                "kind": row.kind,
                "wallTime": row.wall_time,
                "content": row.content.as_ref().map_or(Value::Null, value_of),
                "sealed": row.closed.is_some(),
            })),
            Form::Asciicast => self.cast(row),
            Form::Csv => self.csv(row),
        }
    }

    fn header(&self, started: DateTime<Utc>) -> Vec<(String, String)> {
        let identity = &self.identity;
        let level = identity.access_level.to_string();
        let configuration = level.strip_prefix("Diagnostics").map_or(level.as_str(), |rest| {
            if rest.is_empty() { "RemoteDiagnostics" } else { "RemoteRepair" }
        });
        [
            ("Start time", stamp(started)),
            ("Time zone", "UTC".to_owned()),
            ("Username", identity.engineer.id.to_string()),
            ("RunAs User", "agent of the node".to_owned()),
            ("Configuration Name", configuration.to_owned()),
            ("Machine", identity.node.name.to_string()),
            ("Host Application", concat!("remote-support ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Session", identity.session_id.to_string()),
            ("Engineer key", identity.engineer.key.fingerprint().to_string()),
            ("Node key", identity.node.key.fingerprint().to_string()),
            ("Support request", identity.support_request.to_string()),
            ("Grant", identity.grant_id.to_string()),
            ("Access level", level.clone()),
            ("Terms", format!("{} (sha256 {})", identity.terms.version, identity.terms.sha256)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn text(&self, row: &Row) -> String {
        let mut lines = vec![mark("Record", row.sequence, exact(row.wall_time))];
        match &row.content {
            None => lines.push(match row.closed {
                Some(closed) => mark("Sealed", row.sequence, format!("the content is sealed: {closed}")),
                None => mark("Removed", row.sequence, "the content was removed"),
            }),
            Some(content) => text_of(content, &mut lines),
        }
        let mut out = String::new();
        for line in &lines {
            text::print_line(line, &mut out);
        }
        if row.kind == Kind::End {
            out.push_str(&text::print_footer(&stamp(row.wall_time)));
        }
        out
    }

    /// Seconds since the beginning; never back, whatever the wall clock did.
    fn seconds(&mut self, at: DateTime<Utc>) -> f64 {
        let began = *self.began.get_or_insert(at);
        let milliseconds = i32::try_from((at - began).num_milliseconds().max(0)).unwrap_or(i32::MAX);
        self.last = self.last.max(f64::from(milliseconds) / 1000.0);
        self.last
    }

    fn cast(&mut self, row: &Row) -> String {
        let shown = match &row.content {
            Some(Content::Request(request)) => format!("PS> {}\n", visible(&request.line, ">> ")),
            Some(Content::Refusal(refusal)) => {
                format!(
                    "PS> {}\nrefused ({}): {}\n",
                    visible(&refusal.line, ">> "),
                    refusal.code,
                    visible(&refusal.message, "  ")
                )
            }
            Some(Content::Output(output)) => visible(data_of(&output.data), ""),
            Some(Content::Finished(finished)) if !finished.message.is_empty() => {
                format!("{}\n", visible(&finished.message, "  "))
            }
            Some(Content::Note(note)) => format!("note: {}\n", visible(&note.text, "  ")),
            Some(Content::Start(start)) => format!("support request: {}\n", visible(&start.reason, "  ")),
            Some(Content::End(end)) => {
                format!("session ended ({}): {}\n", end.cause, visible(&end.message, "  "))
            }
            None if row.kind != Kind::Receipt => "(content removed)\n".to_owned(),
            _ => return String::new(),
        };
        let at = self.seconds(row.wall_time);
        line_of(&json!([at, "o", shown.replace('\n', "\r\n")]))
    }

    fn csv(&self, row: &Row) -> String {
        let (invocation, shown, detail) = row
            .content
            .as_ref()
            .map_or_else(|| (None, String::new(), "content removed".to_owned()), cells_of);
        let kind = serde_json::to_value(row.kind)
            .ok()
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default();
        csv::record([
            row.sequence.to_string().as_str(),
            &exact(row.wall_time),
            &kind,
            &self.identity.engineer.id.to_string(),
            &self.identity.support_request.to_string(),
            &invocation.map_or(String::new(), |number: u64| number.to_string()),
            &shown,
            &detail,
        ])
    }
}

const CAST_COLUMNS: u16 = 120;
const CAST_ROWS: u16 = 40;

fn line_of(value: &Value) -> String {
    format!("{value}\n")
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y%m%d%H%M%S").to_string()
}

fn exact(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn mark(kind: &str, of: impl ToString, text: impl Into<String>) -> Line {
    Line::Mark { kind: kind.to_owned(), of: of.to_string(), text: text.into() }
}

fn value_of(content: &Content) -> Value {
    content.encode().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

const fn data_of(data: &OutputData) -> &String {
    match data {
        OutputData::Text(text) | OutputData::Objects(text) | OutputData::Error(text) => text,
    }
}

fn status(status: Status) -> String {
    serde_json::to_value(status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn text_of(content: &Content, lines: &mut Vec<Line>) {
    match content {
        Content::Start(start) => {
            lines.push(mark("Start", "client", start.client.clone()));
            lines.push(mark("Start", "reason", start.reason.clone()));
            lines.push(mark("Start", "grantedBy", start.granted_by.clone()));
            lines.push(mark("Start", "expiresAt", exact(start.expires_at)));
        }
        Content::Request(request) => {
            lines.push(mark("Line", request.invocation, request.line.clone()));
            calls(&request.plan, &request.line, lines);
        }
        Content::Refusal(refusal) => {
            lines.push(mark("Line", refusal.invocation, refusal.line.clone()));
            lines.push(mark("Refused", &refusal.code, refusal.message.clone()));
        }
        Content::Output(output) => {
            let kind = match output.data {
                OutputData::Text(_) => "text",
                OutputData::Objects(_) => "objects",
                OutputData::Error(_) => "error",
            };
            let data = data_of(&output.data);
            // Whether the last line goes on in the next record must not be lost.
            let ends = if data.ends_with('\n') { "whole" } else { "open" };
            lines.push(mark("Output", format!("{}.{kind}", output.invocation), ends));
            lines.extend(
                data.strip_suffix('\n').unwrap_or(data).split('\n').map(|line| Line::Output(line.to_owned())),
            );
        }
        Content::Finished(finished) => {
            lines.push(mark("Finished", status(finished.status), finished.message.clone()));
            lines.push(mark("Elapsed", "ms", finished.elapsed_ms.to_string()));
        }
        Content::Interrupt(interrupt) => lines.push(mark("Interrupt", interrupt.invocation, "")),
        Content::Note(note) => lines.push(mark("Note", "node", note.text.clone())),
        Content::End(end) => lines.push(mark("End", end.cause, end.message.clone())),
        Content::Receipt => lines.push(mark("Receipt", "engineer", "")),
        _ => lines.push(mark("Other", "record", "")),
    }
}

/// The commands of a plan, in the shape in which PowerShell tells them.
fn calls(plan: &Value, line: &str, lines: &mut Vec<Line>) {
    let source = plan.pointer("/call/command").and_then(Value::as_str);
    let command = source.unwrap_or_else(|| line.split([' ', '|']).next().unwrap_or_default());
    let invocation = |nested, command: &str| Line::Invocation {
        nested,
        command: command.to_owned(),
        text: command.to_owned(),
    };
    lines.push(invocation(false, command));
    bindings(command, plan.pointer("/call/arguments"), lines);
    for stage in plan.pointer("/stages").and_then(Value::as_array).into_iter().flatten() {
        let (name, members) = match stage {
            Value::Object(object) if object.len() == 1 => {
                object.iter().next().map_or(("", None), |(name, members)| (name.as_str(), Some(members)))
            }
            Value::String(name) => (name.as_str(), None),
            other => (other.get("stage").and_then(Value::as_str).unwrap_or("stage"), Some(other)),
        };
        let mut letters = name.chars();
        let name =
            letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect());
        let command = if name.contains('-') { name } else { format!("{name}-Object") };
        lines.push(invocation(true, &command));
        bindings(&command, members, lines);
    }
}

fn bindings(command: &str, members: Option<&Value>, lines: &mut Vec<Line>) {
    for (name, value) in members.and_then(Value::as_object).into_iter().flatten() {
        let is_empty =
            value.is_null() || value.as_array().is_some_and(Vec::is_empty) || *value == Value::Bool(false);
        if !is_empty {
            lines.push(Line::Binding {
                command: command.to_owned(),
                name: name.clone(),
                value: plain_of(value),
            });
        }
    }
}

fn plain_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Array(values) => values.iter().map(plain_of).collect::<Vec<_>>().join(", "),
        // The kind of the values, which the lists of the plan carry, says nothing to a reader.
        Value::Object(object) if object.len() == 1 => object.values().next().map_or(String::new(), plain_of),
        other => other.to_string(),
    }
}

fn cells_of(content: &Content) -> (Option<u64>, String, String) {
    match content {
        Content::Start(start) => (None, start.reason.clone(), format!("granted by {}", start.granted_by)),
        Content::Request(request) => (Some(request.invocation), request.line.clone(), String::new()),
        Content::Refusal(refusal) => {
            (Some(refusal.invocation), refusal.line.clone(), format!("{}: {}", refusal.code, refusal.message))
        }
        Content::Output(output) => (Some(output.invocation), data_of(&output.data).clone(), String::new()),
        Content::Finished(finished) => {
            let mut detail = format!("{} after {} ms", status(finished.status), finished.elapsed_ms);
            if !finished.message.is_empty() {
                let _ = write!(detail, ": {}", finished.message);
            }
            (Some(finished.invocation), String::new(), detail)
        }
        Content::Interrupt(interrupt) => (Some(interrupt.invocation), String::new(), String::new()),
        Content::Note(note) => (None, note.text.clone(), String::new()),
        Content::End(end) => (end.last_invocation, end.message.clone(), end.cause.to_string()),
        _ => (None, String::new(), String::new()),
    }
}

/// Text that is harmless to print ([`is_harmful`](crate::operations::objects::is_harmful) has the rule); every line but the
/// first begins with `indent`, so that content never stands where a line of the transcript begins.
///
/// ```
/// use rs_session::transcript::visible;
///
/// assert_eq!(visible("red\u{1b}[31m\nnext", "  "), "red\\u{1b}[31m\n  next");
/// ```
#[must_use]
pub fn visible(text: &str, indent: &str) -> String {
    harmless(text).replace('\n', &format!("\n{indent}"))
}

/// Invisible characters that change the direction or hide parts of a line.
pub(super) fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
