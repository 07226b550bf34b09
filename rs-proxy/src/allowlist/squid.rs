//! squid: `dstdomain` files and whole configurations, read as squid reads them.
//!
//! A leading dot is the wildcard and includes the name itself; a star is an ordinary character that no host has; case
//! does not count; schemes, ports and trailing dots make an entry that never matches, and squid does not say so.
//! Overlapping entries in an unlucky order stop squid before version 7 from starting.

use std::collections::{BTreeMap, HashSet};

use super::policy::{Action, Condition, Entry, Hosts, Matches, Policy, Rule};
use super::posix::{Grammar, compile};
use super::report::Finding;
use super::{Dialect, numbered, rendered};
use crate::name::HostPattern;
use crate::render::Format;
use crate::severity::Severity;

/// A file with one `dstdomain` entry a line.
#[derive(Debug)]
pub(super) struct AclFile;

impl Dialect for AclFile {
    fn looks_like(&self, text: &str) -> Option<String> {
        let entries: Vec<&str> = numbered(text).map(|(_, line)| line).collect();
        let network =
            |entry: &str| entry.split('/').next().is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok());
        let dotted = entries.iter().any(|e| e.starts_with('.'));
        let plain = entries.iter().all(|e| network(e) || !e.contains(['*', ' ', ',', ';', '/', '\\', '^']));
        (dotted && plain).then(|| "one name a line, dots in front of some and no stars".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let words = numbered(text).map(|(line, text)| (line, without_comment(text)));
        let mut overlaps = Overlaps::default();
        let entries: Vec<Entry> = words.map(|(line, text)| dstdomain(line, text, &mut overlaps)).collect();
        let mut policy = Policy::allowing(entries);
        policy.findings = overlaps.findings;
        policy.fatal = overlaps.fatal;
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Squid, pattern)
    }
}

/// An entry without the comment behind it.
fn without_comment(text: &str) -> &str {
    text.split_once(" #").map_or(text, |(entry, _)| entry).trim()
}

/// One entry of a `dstdomain` ACL.
fn dstdomain(line: u32, text: &str, overlaps: &mut Overlaps) -> Entry {
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    let name = text.to_ascii_lowercase();
    overlaps.add(line, &name);
    if name.contains("://") {
        return never(
            "dstdomain compares host names, and this one begins with a scheme; leave the scheme out",
        );
    }
    if name.contains('*') {
        return never("squid's dstdomain knows no star; a leading dot stands for everything below");
    }
    if name.contains('/') {
        let address = name.split('/').next().is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok());
        return if address {
            Entry::new(line, text, Matches::Address)
        } else {
            never("a host name has no slash; leave the path out")
        };
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Entry::new(line, text, Matches::Address);
    }
    if name.contains(':') {
        return never("a dstdomain entry has no port; leave it out, the port is a matter of SSL_ports");
    }
    if name.contains(char::is_whitespace) {
        return never("this is more than one word, and squid takes it as one name; write one name a line");
    }
    if name.ends_with('.') {
        return never("squid drops the last dot of the request, not of the entry; leave the dot out");
    }
    if !name.is_ascii() {
        return never("squid compares the xn-- form; write that");
    }
    match name.strip_prefix('.') {
        Some(suffix) => Entry::new(line, text, Matches::at_and_below(suffix)),
        None => Entry::new(line, text, Matches::exact(&name)),
    }
}

/// What squid says about entries that overlap.
#[derive(Debug, Default)]
struct Overlaps {
    /// Entries so far without their dot, those with a dot apart.
    plain: HashSet<String>,
    dotted: HashSet<String>,
    /// Every domain that has an earlier entry below it.
    above: HashSet<String>,
    findings: Vec<Finding>,
    fatal: Option<(u32, String)>,
}

impl Overlaps {
    fn add(&mut self, line: u32, entry: &str) {
        let (name, dotted) = entry.strip_prefix('.').map_or((entry, false), |name| (name, true));
        if self.fatal.is_none() {
            self.compare(line, name, dotted);
        }
        for (at, _) in name.match_indices('.') {
            self.above.insert(name[at + 1..].to_owned());
        }
        let set = if dotted { &mut self.dotted } else { &mut self.plain };
        set.insert(name.to_owned());
    }

    fn compare(&mut self, line: u32, name: &str, dotted: bool) {
        let covers_earlier = dotted && (self.above.contains(name) || self.plain.contains(name));
        let is_apex_of_earlier = !dotted && self.dotted.contains(name);
        if covers_earlier || is_apex_of_earlier {
            let shown = if dotted { format!(".{name}") } else { name.to_owned() };
            self.fatal = Some((
                line,
                format!(
                    "line {line} '{shown}' overlaps an earlier entry: squid before version 7 refuses to start with \
                     this list (\"FATAL: Bungled\"), or keeps its old one; remove the narrower of the two"
                ),
            ));
            return;
        }
        let covering =
            name.match_indices('.').map(|(at, _)| &name[at + 1..]).find(|above| self.dotted.contains(*above));
        if let Some(above) = covering {
            let text =
                format!("'.{above}' above covers this entry already; squid warns about it at each start");
            self.findings.push(Finding::new(Severity::Note, line, text));
        }
    }
}

/// `acl` and `http_access` lines.
#[derive(Debug)]
pub(super) struct Configuration;

impl Dialect for Configuration {
    fn looks_like(&self, text: &str) -> Option<String> {
        let directive = |line: &str| {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("acl") => words.nth(2).is_some(),
                Some("http_access") => matches!(words.next(), Some("allow" | "deny")),
                _ => false,
            }
        };
        let (line, _) = numbered(text).find(|(_, line)| directive(line))?;
        Some(format!("line {line} is a squid directive"))
    }

    fn read(&self, text: &str) -> Policy {
        let mut reader = Reader::default();
        for (line, text) in logical_lines(text) {
            reader.directive(line, &text);
        }
        reader.policy()
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("acl remote_support dstdomain {}", rendered(Format::Squid, pattern))
    }

    fn last_line(&self) -> Option<&'static str> {
        Some("http_access allow CONNECT remote_support")
    }
}

/// Lines joined where a backslash ends them, without comments and empty ones.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut lines: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut() {
            Some((_, last)) if open => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push((number, line.to_owned())),
        }
        open = continues;
    }
    lines.retain(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
}

/// One named ACL.
#[derive(Debug, Default)]
struct Acl {
    kind: String,
    entries: Vec<Entry>,
    ports: Vec<std::ops::RangeInclusive<u16>>,
    words: Vec<String>,
}

/// Collects the directives.
#[derive(Debug, Default)]
struct Reader {
    acls: BTreeMap<String, Acl>,
    overlaps: BTreeMap<String, Overlaps>,
    accesses: Vec<(u32, Action, Vec<String>)>,
    findings: Vec<Finding>,
    fatal: Option<(u32, String)>,
    used: HashSet<String>,
}

impl Reader {
    fn directive(&mut self, line: u32, text: &str) {
        let text = text.split_once(" #").map_or(text, |(text, _)| text);
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["acl", name, kind, rest @ ..] => self.acl(line, name, kind, rest),
            ["http_access", action, rest @ ..] => self.access(line, action, rest),
            ["include", ..] => self.warn(line, "includes another file, which was not read; check the included file too"),
            ["ssl_bump", action, ..] if matches!(*action, "bump" | "stare" | "server-first" | "client-first") => {
                self.warn(line, "TLS is inspected; Azure does not support that, exempt these endpoints with ssl_bump splice");
            }
            ["auth_param", scheme, ..] => self.warn(line, &format!(
                "the proxy asks for {scheme} authentication; Azure Local's agents do not authenticate, exempt the nodes"
            )),
            _ => {}
        }
    }

    fn warn(&mut self, line: u32, text: &str) {
        let finding = Finding::warning(line, text);
        if !self.findings.iter().any(|f| f.text == finding.text) {
            self.findings.push(finding);
        }
    }

    fn acl(&mut self, line: u32, name: &str, kind: &str, words: &[&str]) {
        let acl = self
            .acls
            .entry(name.to_owned())
            .or_insert_with(|| Acl { kind: kind.to_owned(), ..Acl::default() });
        if acl.kind != kind {
            let text =
                format!("line {line}: ACL '{name}' already has type {}; squid refuses to start", acl.kind);
            self.fatal = self.fatal.take().or(Some((line, text)));
            return;
        }
        let mut ignore_case = false;
        for &word in words {
            match word {
                "-i" => ignore_case = true,
                "+i" => ignore_case = false,
                "-n" | "-m" | "--" => {}
                _ if word.starts_with(['"', '\'']) || word.starts_with("parameters(") => {
                    let why = "the entries are in another file, which was not read; check that file as format squid";
                    acl.entries.push(Entry::new(line, word, Matches::Unknown(why.to_owned())));
                    self.findings.push(Finding::warning(line, format!("{word}: {why}")));
                }
                _ => match kind {
                    "dstdomain" => {
                        let overlaps = self.overlaps.entry(name.to_owned()).or_default();
                        acl.entries.push(dstdomain(line, word, overlaps));
                    }
                    "dstdom_regex" => acl.entries.push(regex(line, word, ignore_case, false)),
                    "url_regex" => acl.entries.push(regex(line, word, ignore_case, true)),
                    "dst" => acl.entries.push(Entry::new(line, word, Matches::Address)),
                    "port" => acl.ports.extend(port_range(word)),
                    _ => acl.words.push(word.to_owned()),
                },
            }
        }
    }

    fn access(&mut self, line: u32, action: &str, names: &[&str]) {
        let action = if action == "allow" { Action::Allow } else { Action::Deny };
        self.used.extend(names.iter().map(|name| name.trim_start_matches('!').to_owned()));
        self.accesses.push((line, action, names.iter().map(|&name| name.to_owned()).collect()));
    }

    fn policy(mut self) -> Policy {
        let rules: Vec<Rule> =
            self.accesses.iter().map(|(line, action, names)| self.rule(*line, *action, names)).collect();
        let default = rules.last().map_or(Action::Deny, |rule| rule.action.opposite());
        let unused =
            self.acls.iter().filter(|(name, acl)| !acl.entries.is_empty() && !self.used.contains(*name));
        let mut rules = rules;
        for (name, acl) in unused {
            let line = acl.entries.first().map_or(1, |entry| entry.line);
            let mut rule = Rule::new(line, Action::Allow, acl.entries.clone());
            if self.accesses.is_empty() {
                let text = format!(
                    "no http_access line uses ACL '{name}' in this text; it was read as if one allowed it"
                );
                self.findings.push(Finding::warning(line, text));
            } else {
                rule.off = Some(format!("made of ACL '{name}', which no http_access line uses"));
            }
            rules.push(rule);
        }
        let overlaps = std::mem::take(&mut self.overlaps);
        for overlap in overlaps.into_values() {
            self.findings.extend(overlap.findings);
            self.fatal = self.fatal.or(overlap.fatal);
        }
        Policy { rules, default, findings: self.findings, fatal: self.fatal }
    }

    fn rule(&self, line: u32, action: Action, names: &[String]) -> Rule {
        let conditions = names.iter().map(|name| self.condition(name)).collect();
        Rule { line, action, conditions, off: None, note: None }
    }

    /// What one ACL name on an `http_access` line demands of a CONNECT from a node.
    fn condition(&self, name: &str) -> Condition {
        let (name, negated) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
        let Some(acl) = self.acls.get(name) else { return builtin(name, negated) };
        match acl.kind.as_str() {
            "dstdomain" | "dstdom_regex" | "url_regex" | "dst" => {
                Condition::Hosts { hosts: Hosts::of(acl.entries.clone()), negated }
            }
            "port" => Condition::Ports { ranges: acl.ports.clone(), negated },
            "method" => {
                Condition::Known(acl.words.iter().any(|m| m.eq_ignore_ascii_case("CONNECT")) != negated)
            }
            "proto" => Condition::Known(negated),
            _ => match name {
                "all" => Condition::Known(!negated),
                "localhost" | "manager" | "to_localhost" => Condition::Known(negated),
                _ => Condition::Unknown(format!(
                    "only {} ACL '{name}' ({} {})",
                    if negated { "outside" } else { "for" },
                    acl.kind,
                    acl.words.join(" ")
                )),
            },
        }
    }
}

/// The ACLs that squid has by itself.
fn builtin(name: &str, negated: bool) -> Condition {
    match name {
        "all" | "CONNECT" => Condition::Known(!negated),
        "localhost" | "manager" | "to_localhost" | "to_linklocal" => Condition::Known(negated),
        _ => Condition::Unknown(format!("under ACL '{name}', which the text does not define")),
    }
}

/// `443` or `1025-65535`.
fn port_range(word: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

/// One entry of a regular-expression ACL. The host arrives in lower case; a CONNECT has no scheme.
fn regex(line: u32, word: &str, ignore_case: bool, url: bool) -> Entry {
    let never = |why: &str| Entry::new(line, word, Matches::Never(why.to_owned()));
    if url && word.contains("://") {
        return never("for a CONNECT the URL is host:443, there is no scheme");
    }
    if !ignore_case && has_upper_case(word) {
        return never("squid compares the name in lower case; write the pattern in lower case or use -i");
    }
    match compile(word, Grammar::Extended, ignore_case) {
        Ok(regex) if url => Entry::new(line, word, Matches::RegexWithPort(Box::new(regex))),
        Ok(regex) => Entry::new(line, word, Matches::Regex(Box::new(regex))),
        Err(super::posix::PosixError::Invalid) => never("squid skips it: not a valid regular expression"),
        Err(error) => Entry::new(line, word, Matches::Unknown(error.to_string())),
    }
}

/// Upper-case letters outside escapes and character classes.
fn has_upper_case(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.split('[').next().unwrap_or_default().chars().any(|c| {
        let upper = c.is_ascii_uppercase() && !escaped;
        escaped = c == '\\' && !escaped;
        upper
    })
}
