//! JSON of no particular product, and what the JSON dialects share: walking a document and finding lines.

use serde_json::Value;

use super::lists::plain_entry;
use super::policy::{Action, Entry, Policy, Rule};
use super::report::Finding;
use super::{Dialect, rendered};
use crate::name::HostPattern;
use crate::render::Format;
use crate::severity::Severity;

/// Keys whose text is a name or a list of names.
const KEYS: [&str; 24] = [
    "url",
    "urls",
    "fqdn",
    "fqdns",
    "targetfqdns",
    "host",
    "hosts",
    "hostname",
    "hostnames",
    "domain",
    "domains",
    "destination",
    "destinations",
    "entry",
    "entries",
    "pattern",
    "patterns",
    "allow",
    "allowed",
    "allowlist",
    "whitelist",
    "endpoint",
    "endpoints",
    "sites",
];
/// Keys whose text is denied.
const DENIED: [&str; 6] = ["deny", "denied", "denylist", "block", "blocked", "blacklist"];

/// JSON of no particular product.
#[derive(Debug)]
pub(super) struct Json;

impl Dialect for Json {
    fn looks_like(&self, text: &str) -> Option<String> {
        let text = text.trim_start();
        let json = text.starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok();
        json.then(|| "it is JSON".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let Some(value) = parse(text) else { return unreadable() };
        let mut lines = Lines::new(text);
        let mut allowed = Vec::new();
        let mut denied = Vec::new();
        walk(&value, value.is_array().then_some(Action::Allow), &mut |action, name| {
            let entry = plain_entry(lines.find(name), name);
            if action == Action::Allow { allowed.extend(entry) } else { denied.extend(entry) }
        });
        Policy::of(vec![Rule::new(1, Action::Deny, denied), Rule::new(1, Action::Allow, allowed)])
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("\"{}\"", rendered(Format::Plain, pattern))
    }
}

/// Calls `found` for each text that is a name by its key.
fn walk(value: &Value, as_name: Option<Action>, found: &mut impl FnMut(Action, &str)) {
    match value {
        Value::String(text) => {
            if let Some(action) = as_name {
                found(action, text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, as_name, found)),
        Value::Object(fields) => {
            if is_off(fields) {
                return;
            }
            let denies = denies(fields);
            for (key, value) in fields {
                let key = key.to_ascii_lowercase();
                let action = if DENIED.contains(&key.as_str()) || (denies && KEYS.contains(&key.as_str())) {
                    Some(Action::Deny)
                } else if KEYS.contains(&key.as_str()) {
                    Some(as_name.unwrap_or(Action::Allow))
                } else {
                    None
                };
                walk(value, action, found);
            }
        }
        _ => {}
    }
}

/// Whether an object is a rule that is switched off.
fn is_off(fields: &serde_json::Map<String, Value>) -> bool {
    let is = |key: &str, value: bool| fields.get(key).and_then(Value::as_bool) == Some(value);
    let mut status = ["status", "state"].into_iter().filter_map(|key| fields.get(key)?.as_str());
    is("enabled", false)
        || is("disabled", true)
        || status.any(|s| s.to_ascii_lowercase().starts_with("disable"))
}

/// Whether an object is a rule that denies.
fn denies(fields: &serde_json::Map<String, Value>) -> bool {
    let action = ["action", "access", "type"].into_iter().find_map(|key| fields.get(key)?.as_str());
    action.is_some_and(|action| {
        ["deny", "block", "drop", "reject"].contains(&action.to_ascii_lowercase().as_str())
    })
}

/// The document, if it is one.
pub(super) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim()).ok()
}

/// The policy of a text that is no JSON.
pub(super) fn unreadable() -> Policy {
    let mut policy = Policy::of(Vec::new());
    policy.findings.push(Finding::new(
        Severity::CouldNotRun,
        None,
        "the text is not valid JSON; export it again",
    ));
    policy
}

/// Finds the lines of texts that come in the order of the document.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the next occurrence of a text, or the line of the last one found.
    pub(super) fn find(&mut self, needle: &str) -> u32 {
        let quoted = serde_json::to_string(needle).unwrap_or_default();
        let ahead =
            self.text.get(self.at..).and_then(|rest| rest.find(&quoted)).map(|offset| self.at + offset);
        // Keys come sorted, not in the order of the document: then the search begins again at its start.
        let (from, line, found) = match ahead {
            Some(found) => (self.at, self.line, Some(found)),
            None => (0, 1, self.text.find(&quoted)),
        };
        if let Some(found) = found {
            let newlines = self.text[from..found].bytes().filter(|&byte| byte == b'\n').count();
            self.line = line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
            self.at = found;
        }
        self.line
    }
}

/// The texts of an array, or one text.
pub(super) fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    }
}

/// A plain entry where a JSON dialect has no rule of its own.
pub(super) fn exact_entry(line: u32, text: &str, matches: super::policy::Matches) -> Entry {
    Entry::new(line, text, matches)
}
