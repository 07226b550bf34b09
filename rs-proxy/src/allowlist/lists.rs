//! Plain lists, Markdown and comma-separated values: texts without a product, read as this crate reads required entries.
//!
//! `*.S` and `.S` stand for everything below, a bare `S` for itself. Bullets, quotes, comments and several names a line
//! are understood; which column of a table holds the names is taken from its head.

use super::policy::{Action, Entry, Matches, Policy, Rule};
use super::{Dialect, rendered};
use crate::article::unescape;
use crate::name::{HostPattern, NameError};
use crate::render::Format;

/// One name a line, or several.
#[derive(Debug)]
pub(super) struct Plain;

impl Dialect for Plain {
    fn looks_like(&self, _text: &str) -> Option<String> {
        None // what nothing else wants
    }

    fn read(&self, text: &str) -> Policy {
        Policy::allowing(
            (1..).zip(text.lines()).flat_map(|(number, line)| line_entries(number, line)).collect(),
        )
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Plain, pattern)
    }
}

/// The entries of one line of running text.
fn line_entries(number: u32, line: &str) -> Vec<Entry> {
    let line = line.trim();
    let line = line.trim_start_matches(['-', '+', '•', '–', '>']).trim_start();
    let line = line.strip_prefix("* ").unwrap_or(line);
    if line.starts_with('#') || line.starts_with("//") {
        return Vec::new();
    }
    let line = line.split_once(" #").map_or(line, |(line, _)| line);
    let words = line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|'));
    let words: Vec<&str> = words.map(|w| w.trim_matches(['"', '\'', '`', '<', '>', '(', ')'])).collect();
    let ports: Vec<u16> = words.iter().filter_map(|word| port_word(word)).collect();
    words
        .iter()
        .filter_map(|word| plain_entry(number, word))
        .map(|entry| if entry.ports.is_empty() { entry.with_ports(ports.clone()) } else { entry })
        .collect()
}

/// `tcp/443`, `443/tcp`.
fn port_word(word: &str) -> Option<u16> {
    let word = word.to_ascii_lowercase();
    let number = word.strip_prefix("tcp/").or_else(|| word.strip_suffix("/tcp"))?;
    number.parse().ok()
}

/// A word as an entry, if it is a name, a pattern or an address.
pub(super) fn plain_entry(line: u32, word: &str) -> Option<Entry> {
    let plain = unescape(word.trim());
    if plain == "*" {
        return Some(Entry::new(line, &plain, Matches::Any));
    }
    if is_network(&plain) {
        return Some(Entry::new(line, &plain, Matches::Address));
    }
    let dotted = plain.strip_prefix('.').map_or_else(|| plain.clone(), |rest| format!("*.{rest}"));
    match dotted.parse::<HostPattern>() {
        Ok(pattern) if pattern.name().as_str().contains('.') => {
            let name = pattern.name().as_str();
            let matches = if pattern.is_wildcard() { Matches::below(name) } else { Matches::exact(name) };
            let ports = if plain.contains(':') { vec![pattern.port()] } else { Vec::new() };
            let entry = Entry::new(line, &plain, matches).with_ports(ports);
            let path = plain
                .split_once("://")
                .map_or(plain.as_str(), |(_, rest)| rest)
                .split_once('/')
                .map(|(_, p)| p);
            Some(match path {
                Some(path) if !path.is_empty() && path != "*" => {
                    entry.with_note("it names a path, and a proxy that does not inspect TLS sees none")
                }
                _ => entry,
            })
        }
        Err(NameError::Star { .. }) => Some(star_entry(line, &plain)),
        _ => None,
    }
}

/// A star that is not the whole first label.
fn star_entry(line: u32, text: &str) -> Entry {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with('*') {
        let why = "a star without a dot behind it means something else in each product; write *.name";
        return Entry::new(line, text, Matches::Never(why.to_owned()));
    }
    let plain = lower.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*'));
    let matches = if plain { Matches::Glob(lower) } else { Matches::Never("it is not a name".to_owned()) };
    Entry::new(line, text, matches).with_note("most products do not understand a star inside a name")
}

/// An address, a network, or a range with a star.
fn is_network(text: &str) -> bool {
    let head = text.split(['/', '-']).next().unwrap_or(text);
    head.parse::<std::net::IpAddr>().is_ok()
        || (head.starts_with(|c: char| c.is_ascii_digit())
            && head.contains('.')
            && head.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '*')))
}

/// Tables and lists in Markdown.
#[derive(Debug)]
pub(super) struct Markdown;

impl Dialect for Markdown {
    fn looks_like(&self, text: &str) -> Option<String> {
        let rule = |line: &str| {
            let line = line.trim();
            line.starts_with('|')
                && line.len() > 3
                && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
        };
        if text.lines().any(rule) {
            return Some("it has a Markdown table".to_owned());
        }
        let escaped = text.lines().any(|line| line.contains("\\*.") || line.contains("\\://"));
        escaped.then(|| "stars or colons are escaped as in Markdown".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let mut entries = Vec::new();
        let mut columns: Option<Columns> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.starts_with('|') {
                columns = None;
                let item =
                    ["- ", "* ", "+ ", "`", "\\*", "*.", "."].iter().any(|start| line.starts_with(start));
                if item || plain_entry(number, line).is_some() {
                    entries.extend(line_entries(number, &link_texts(line)));
                }
                continue;
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            match &columns {
                None => columns = Some(Columns::of(&cells)),
                Some(columns) => entries.extend(columns.entries(number, &cells)),
            }
        }
        Policy::allowing(entries)
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("- {}", rendered(Format::Plain, pattern).replace('*', "\\*"))
    }
}

/// `[text](address)` as its text.
fn link_texts(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        let end = rest[at..].find(')').map_or(rest.len(), |end| at + end + 1);
        out.push_str(&rest[..at].replace('[', " "));
        rest = &rest[end..];
    }
    out + rest
}

/// Which column of a table holds what.
#[derive(Debug, Default)]
struct Columns {
    names: Option<usize>,
    port: Option<usize>,
    action: Option<usize>,
    status: Option<usize>,
}

impl Columns {
    fn of(head: &[&str]) -> Self {
        let find = |words: &[&str]| {
            head.iter().position(|cell| {
                let cell = cell.to_ascii_lowercase();
                words.iter().any(|word| cell.contains(word))
            })
        };
        let by_words =
            find(&["endpoint", "fqdn", "url", "host", "destination", "domain", "site", "name", "address"]);
        Self {
            names: find(&["endpoint", "fqdn", "url"]).or(by_words),
            port: find(&["port"]),
            action: find(&["action"]),
            status: find(&["status", "enabled", "state"]),
        }
    }

    fn cell<'a>(&self, cells: &[&'a str], column: Option<usize>) -> Option<&'a str> {
        cells.get(column?).map(|cell| cell.trim().trim_matches('"'))
    }

    fn entries(&self, number: u32, cells: &[&str]) -> Vec<Entry> {
        let text = match self.names {
            Some(_) => self.cell(cells, self.names).unwrap_or_default().to_owned(),
            None => cells.join(" "),
        };
        let text = link_texts(&text.replace("<br>", " ").replace("<br/>", " "));
        let ports = self.cell(cells, self.port).map(ports_in).unwrap_or_default();
        let entries = line_entries(number, &text).into_iter();
        entries.map(|entry| if ports.is_empty() { entry } else { entry.with_ports(ports.clone()) }).collect()
    }

    fn action(&self, cells: &[&str]) -> Action {
        let action = self.cell(cells, self.action).unwrap_or_default().to_ascii_lowercase();
        if ["deny", "block", "drop", "reject"].iter().any(|word| action.contains(word)) {
            Action::Deny
        } else {
            Action::Allow
        }
    }

    fn off(&self, cells: &[&str]) -> Option<String> {
        let status = self.cell(cells, self.status)?.to_ascii_lowercase();
        matches!(status.as_str(), "disabled" | "disable" | "false" | "no" | "off" | "inactive")
            .then(|| "disabled".to_owned())
    }
}

/// The numbers in a port cell.
fn ports_in(cell: &str) -> Vec<u16> {
    cell.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .filter(|&port| port > 0)
        .collect()
}

/// Comma-separated values, with or without a head.
#[derive(Debug)]
pub(super) struct Csv;

impl Dialect for Csv {
    fn looks_like(&self, text: &str) -> Option<String> {
        let head = text.lines().find(|line| !line.trim().is_empty())?;
        let separator = separator(head);
        let columns = head.matches(separator).count();
        let rows = text.lines().filter(|line| !line.trim().is_empty());
        let same = columns > 0
            && rows.clone().count() > 1
            && rows.clone().all(|row| row.matches(separator).count() >= columns);
        let named = Columns::of(&split_row(head, separator).iter().map(String::as_str).collect::<Vec<_>>())
            .names
            .is_some();
        (same && named && !head.contains("://"))
            .then(|| "it has a head and the same columns in every line".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let mut rows = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).peekable();
        let Some((_, head)) = rows.peek().copied() else { return Policy::of(Vec::new()) };
        let separator = separator(head);
        let cells = split_row(head, separator);
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let has_head = !cells.iter().any(|cell| plain_entry(1, cell).is_some());
        let columns = if has_head { Columns::of(&cells) } else { Columns::default() };
        if has_head {
            rows.next();
        }
        Policy::of(rows.map(|(number, line)| csv_rule(number, line, separator, &columns)).collect())
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("{},443", rendered(Format::Plain, pattern))
    }
}

fn csv_rule(number: u32, line: &str, separator: char, columns: &Columns) -> Rule {
    let cells = split_row(line, separator);
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    let mut rule = Rule::new(number, columns.action(&cells), columns.entries(number, &cells));
    rule.off = columns.off(&cells);
    rule
}

/// The separator of a head: the one it has most of.
fn separator(head: &str) -> char {
    [',', ';', '\t'].into_iter().max_by_key(|&c| (head.matches(c).count(), c == ',')).unwrap_or(',')
}

/// The cells of a row; quotes hold separators together, two quotes are one.
fn split_row(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut cells, '"');
            }
            '"' => quoted = !quoted,
            c if c == separator && !quoted => cells.push(String::new()),
            c => push(&mut cells, c),
        }
    }
    cells.iter_mut().for_each(|cell| *cell = cell.trim().to_owned());
    cells
}

/// Adds a character to the last cell.
fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}
