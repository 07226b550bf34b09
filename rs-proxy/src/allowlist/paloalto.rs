//! Palo Alto: external dynamic lists of type URL, and custom URL categories in `set` or braces form.
//!
//! A wildcard must be a whole token between `.` and `/`: `*` is one or more labels, `^` exactly one. Without a slash at
//! the end an entry also matches names that go on, unless PAN-OS adds the slash (10.2 and newer do by default).

use super::policy::{Entry, Matches, Policy};
use super::report::Finding;
use super::{Dialect, numbered, rendered};
use crate::name::HostPattern;
use crate::render::Format;
use crate::severity::Severity;

/// Longest entry, in characters.
const ENTRY_CHARS_MAX: usize = 255;

/// A URL list or category.
#[derive(Debug)]
pub(super) struct Paloalto;

impl Dialect for Paloalto {
    fn looks_like(&self, text: &str) -> Option<String> {
        if text.contains("custom-url-category") {
            return Some("it has custom-url-category".to_owned());
        }
        let mut hosts = numbered(text).map(|(_, line)| line).filter(|line| !line.contains("://"));
        let sign = hosts.any(|line| line.starts_with("^.") || (line.ends_with('/') && !line.contains(' ')));
        sign.then(|| "names end with a slash".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let entries: Vec<Entry> = if text.contains("custom-url-category") || text.contains("<member>") {
            category(text)
        } else {
            numbered(text).map(|(line, word)| entry(line, word)).collect()
        };
        let bare =
            entries.iter().find(|e| matches!(e.matches, Matches::Labels(..)) && !e.text.ends_with('/'));
        let mut findings = vec![Finding::new(
            Severity::Note,
            None,
            "the list must be used as type URL, in a rule that allows ssl and web-browsing, without decryption",
        )];
        if let Some(bare) = bare {
            let text = format!(
                "'{}' has no slash at the end: PAN-OS before 10.2 also lets {}.evil.example through",
                bare.text, bare.text
            );
            findings.push(Finding::warning(bare.line, text));
        }
        let mut policy = Policy::allowing(entries);
        policy.findings = findings;
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Paloalto, pattern)
    }
}

/// The members of categories: `set … list [ a b ]`, `list [ a b ];` or `<member>a</member>`.
fn category(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        for member in line.split("<member>").skip(1) {
            entries.extend(member.split("</member>").next().map(|word| entry(number, word)));
        }
        let mut list = line;
        if let Some(at) = line.find(" list ").or_else(|| line.trim_start().starts_with("list ").then_some(0))
        {
            list = line[at..].trim_start().trim_start_matches("list");
            inside = list.contains('[');
            if !inside {
                entries.extend(
                    list.split_whitespace().next().map(|word| entry(number, word.trim_end_matches(';'))),
                );
            }
        }
        if inside {
            let words = list.split_whitespace().map(|word| word.trim_matches(['[', ']', ';', '"']));
            entries.extend(words.filter(|word| word.contains('.')).map(|word| entry(number, word)));
            inside = !list.contains(']');
        }
    }
    entries
}

fn entry(line: u32, text: &str) -> Entry {
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    let name = text.trim().to_ascii_lowercase();
    if name.chars().count() > ENTRY_CHARS_MAX {
        return never("an entry has at most 255 characters");
    }
    if name.contains("://") {
        return never("PAN-OS takes entries without a scheme");
    }
    if name.starts_with(|c: char| c.is_ascii_digit())
        && name.trim_end_matches('/').parse::<std::net::IpAddr>().is_ok()
    {
        return Entry::new(line, text, Matches::Address);
    }
    let (host, path) = name.split_once('/').unwrap_or((&name, ""));
    if !path.is_empty() && path != "*" {
        return never("an entry with a path needs decryption to be seen");
    }
    if host.starts_with('.') {
        return never("a leading dot is not a wildcard here; write *.name/");
    }
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, port.parse().ok()));
    let tokens: Vec<&str> = host.split('.').collect();
    if tokens.iter().any(|token| token.len() > 1 && token.contains(['*', '^'])) {
        return never("a wildcard must be a whole label between dots");
    }
    if host == "*" {
        return Entry::new(line, text, Matches::Any);
    }
    let matches = match (tokens.first(), host.split_once('.')) {
        (_, Some((_, rest))) if rest.contains(['*', '^']) => {
            Matches::Unknown("it has wildcards in the middle".to_owned())
        }
        (Some(&"*"), Some((_, rest))) => Matches::below(rest),
        (Some(&"^"), Some((_, rest))) => Matches::Labels(rest.to_owned(), 1..=1),
        _ => Matches::exact(host),
    };
    let mut made = Entry::new(line, text, matches).with_ports(port.into_iter().collect());
    made.meant =
        made.meant.or_else(|| super::policy::meant_by(&format!("*.{}", host.trim_start_matches("^."))));
    made
}
