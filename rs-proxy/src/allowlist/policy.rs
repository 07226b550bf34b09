//! What a list means, whatever its dialect: ordered rules, the first that applies decides.
//!
//! A dialect turns its text into a [`Policy`]; from there on nothing knows the dialect any more. "The name occurs in
//! the file" is not coverage: a rule may be disabled, denied above, for another port, or made of entries that can never
//! match.

use std::ops::RangeInclusive;

use regex::bytes::Regex;

use super::report::Finding;
use crate::host_set::{ANY_DEPTH, HostSet};
use crate::name::HostPattern;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
}

impl Action {
    pub(crate) fn opposite(self) -> Self {
        if self == Self::Allow { Self::Deny } else { Self::Allow }
    }
}

/// What an entry matches.
#[derive(Debug, Clone)]
pub(crate) enum Matches {
    /// A suffix with so many labels before it.
    Labels(String, RangeInclusive<u8>),
    /// Text with stars; a star stands for any characters, dots too.
    Glob(String),
    /// A pattern, found anywhere in the host.
    Regex(Box<Regex>),
    /// Like `Regex`, on `host:port`.
    RegexWithPort(Box<Regex>),
    /// Every host.
    Any,
    /// Addresses: no name.
    Address,
    /// Nothing, with the reason.
    Never(String),
    /// Cannot be judged from the text, with the reason.
    Unknown(String),
}

impl Matches {
    /// Only the name itself.
    pub(crate) fn exact(name: &str) -> Self {
        Self::Labels(name.to_owned(), 0..=0)
    }

    /// Everything below the name.
    pub(crate) fn below(name: &str) -> Self {
        Self::Labels(name.to_owned(), 1..=ANY_DEPTH)
    }

    /// The name and everything below.
    pub(crate) fn at_and_below(name: &str) -> Self {
        Self::Labels(name.to_owned(), 0..=ANY_DEPTH)
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Labels(suffix, labels) => crate::name::labels_below(host, suffix)
                .is_some_and(|below| labels.contains(&u8::try_from(below).unwrap_or(ANY_DEPTH))),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), host.as_bytes()),
            Self::Regex(regex) => regex.is_match(host.as_bytes()),
            Self::RegexWithPort(regex) => regex.is_match(format!("{host}:{port}").as_bytes()),
            Self::Any => true,
            Self::Address | Self::Never(_) | Self::Unknown(_) => false,
        }
    }
}

/// One entry of a list.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Line in the file, from 1.
    pub(crate) line: u32,
    /// The entry as written.
    pub(crate) text: String,
    pub(crate) matches: Matches,
    /// Ports the entry is limited to; empty means no limit.
    pub(crate) ports: Vec<u16>,
    /// What the writer most likely meant.
    pub(crate) meant: Option<HostPattern>,
    /// A reservation to report when this entry is what covers an endpoint.
    pub(crate) note: Option<String>,
}

impl Entry {
    pub(crate) fn new(line: u32, text: &str, matches: Matches) -> Self {
        let meant = meant_by(text);
        Self { line, text: text.to_owned(), matches, ports: Vec::new(), meant, note: None }
    }

    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }

    pub(crate) fn with_ports(mut self, ports: Vec<u16>) -> Self {
        self.ports = ports;
        self
    }

    pub(crate) fn matches(&self, host: &str, port: u16) -> bool {
        (self.ports.is_empty() || self.ports.contains(&port)) && self.matches.matches(host, port)
    }
}

/// The pattern a person means by a text, read leniently: `.S` and `*.S`, schemes, ports, slashes, `^`, escapes.
pub(crate) fn meant_by(text: &str) -> Option<HostPattern> {
    let plain: String =
        crate::article::unescape(text).chars().filter(|c| !matches!(c, '$' | '(' | ')')).collect();
    let plain = plain.trim().trim_start_matches('^').trim_end_matches(['/', '*', '.']);
    let plain = plain.replace("://.", "://*.");
    let plain = plain.replace("[a-z0-9-]+.", "*.").replace(".*.", "*.").replace(".+.", "*.");
    let plain = plain.strip_prefix('.').map_or_else(|| plain.clone(), |rest| format!("*.{rest}"));
    if let Ok(pattern) = plain.parse::<HostPattern>() {
        return Some(pattern).filter(|p| p.name().as_str().contains('.'));
    }
    let rest = plain.split_once("://").map_or(plain.as_str(), |(_, rest)| rest);
    let rest = rest.strip_prefix('*')?;
    format!("*.{}", rest.trim_start_matches('.')).parse().ok()
}

/// Entries of which one must match.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    entries: Vec<Entry>,
    index: HostSet,
    /// Entries that the index cannot hold.
    others: Vec<u32>,
}

impl Hosts {
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut hosts = Self::default();
        for entry in entries {
            hosts.push(entry);
        }
        hosts
    }

    fn push(&mut self, entry: Entry) {
        let Ok(number) = u32::try_from(self.entries.len()) else { return };
        match &entry.matches {
            Matches::Labels(suffix, labels) if entry.ports.is_empty() => {
                self.index.insert(suffix, labels.clone(), number);
            }
            Matches::Never(_) | Matches::Address | Matches::Unknown(_) => {}
            _ => self.others.push(number),
        }
        self.entries.push(entry);
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether any entry matches.
    pub(crate) fn matches(&self, host: &str, port: u16) -> bool {
        self.index.find(host).is_some() || self.others().any(|(_, entry)| entry.matches(host, port))
    }

    /// All entries that match, in the order of the file.
    pub(crate) fn matching(&self, host: &str, port: u16) -> Vec<&Entry> {
        let mut numbers = Vec::new();
        self.index.visit(host, |number| numbers.push(number));
        numbers
            .extend(self.others().filter(|(_, entry)| entry.matches(host, port)).map(|(number, _)| number));
        numbers.sort_unstable();
        numbers.iter().filter_map(|&number| self.entries.get(number as usize)).collect()
    }

    fn others(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.others.iter().filter_map(|&number| Some((number, self.entries.get(number as usize)?)))
    }
}

/// One condition of a rule.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// The host is in the set, or is not.
    Hosts { hosts: Hosts, negated: bool },
    /// The port is in one of the ranges, or is not.
    Ports { ranges: Vec<RangeInclusive<u16>>, negated: bool },
    /// Always so.
    Known(bool),
    /// Depends on something that the text does not tell, such as who asks.
    Unknown(String),
}

/// One rule. All conditions must hold.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) line: u32,
    pub(crate) action: Action,
    pub(crate) conditions: Vec<Condition>,
    /// Why the rule is not in force, if it is not.
    pub(crate) off: Option<String>,
    /// A reservation to report with everything this rule allows.
    pub(crate) note: Option<String>,
}

impl Rule {
    /// A rule for a list of entries.
    pub(crate) fn new(line: u32, action: Action, entries: Vec<Entry>) -> Self {
        let hosts = Condition::Hosts { hosts: Hosts::of(entries), negated: false };
        Self { line, action, conditions: vec![hosts], off: None, note: None }
    }

    /// Whether the rule applies: no, yes, or yes if something unknown is so.
    fn applies(&self, host: &str, port: u16) -> Applies {
        if self.off.is_some() {
            return Applies::No;
        }
        self.applies_when_on(host, port)
    }

    /// [`Self::applies`] as if the rule were in force.
    pub(crate) fn applies_when_on(&self, host: &str, port: u16) -> Applies {
        let mut answer = Applies::Yes;
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Hosts { hosts, negated } => hosts.matches(host, port) != *negated,
                Condition::Ports { ranges, negated } => ranges.iter().any(|r| r.contains(&port)) != *negated,
                Condition::Known(known) => *known,
                Condition::Unknown(what) => {
                    answer = Applies::If(what.clone());
                    true
                }
            };
            if !holds {
                return Applies::No;
            }
        }
        answer
    }

    /// The entries of the rule's positive host conditions.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.hosts().flat_map(|hosts| hosts.entries().iter())
    }

    /// The entries that match a host.
    pub(crate) fn matching(&self, host: &str, port: u16) -> Vec<&Entry> {
        self.hosts().flat_map(|hosts| hosts.matching(host, port)).collect()
    }

    fn hosts(&self) -> impl Iterator<Item = &Hosts> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Hosts { hosts, negated: false } => Some(hosts),
            _ => None,
        })
    }
}

/// Whether a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applies {
    No,
    Yes,
    If(String),
}

/// A list that has been read.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
    /// What happens when no rule applies.
    pub(crate) default: Action,
    pub(crate) findings: Vec<Finding>,
    /// The line and reason why the product refuses the whole list.
    pub(crate) fatal: Option<(u32, String)>,
}

/// What a policy says about one host.
#[derive(Debug, Clone)]
pub(crate) struct Decision<'a> {
    pub(crate) action: Action,
    /// The deciding rule; none when the default decided.
    pub(crate) rule: Option<&'a Rule>,
    /// On which unknown thing it depends.
    pub(crate) conditions: Vec<String>,
}

impl Policy {
    /// A list of entries that are allowed, everything else is not.
    pub(crate) fn allowing(entries: Vec<Entry>) -> Self {
        Self::of(vec![Rule::new(1, Action::Allow, entries)])
    }

    /// Ordered rules; what no rule names is not allowed.
    pub(crate) fn of(rules: Vec<Rule>) -> Self {
        Self { rules, default: Action::Deny, findings: Vec::new(), fatal: None }
    }

    /// The decision for one host. A rule that depends on something unknown is taken to apply when it allows and not
    /// to apply when it denies: the list was written for the nodes.
    pub(crate) fn decide(&self, host: &str, port: u16) -> Decision<'_> {
        let mut conditions = Vec::new();
        for rule in &self.rules {
            match rule.applies(host, port) {
                Applies::No => continue,
                Applies::If(what) if rule.action == Action::Deny => {
                    conditions.push(format!("line {} denies it {what}", rule.line));
                    continue;
                }
                Applies::If(what) => conditions.push(format!("line {} allows it {what}", rule.line)),
                Applies::Yes => {}
            }
            return Decision { action: rule.action, rule: Some(rule), conditions };
        }
        Decision { action: self.default, rule: None, conditions }
    }
}

/// Whether a text matches a glob in which `*` stands for any characters.
pub(crate) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            retry = Some((g, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            g = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("*a*b", "xxaxxb", true),
            ("*a*b", "xxaxxbc", false),
            ("azgn*.s", "azgn12.s", true),
            ("azgn*.s", "zgn12.s", false),
            ("", "a", false),
            ("", "", true),
            ("a**", "a", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text}");
        }
    }

    #[test]
    fn what_people_mean() {
        for (text, expected) in [
            ("*.s.net", Some("*.s.net")),
            (".s.net", Some("*.s.net")),
            ("https://h.s.net/", Some("h.s.net")),
            ("h.s.net:443", Some("h.s.net")),
            ("^h\\.s\\.net$", Some("h.s.net")),
            ("^h\\.s\\.net:443$", Some("h.s.net")),
            ("\\.s\\.net$", Some("*.s.net")),
            ("*s.net", Some("*.s.net")),
            ("s.net.", Some("s.net")),
            (".s.net.", Some("*.s.net")),
            ("https\\://h.s.net", Some("h.s.net")),
            ("*", None),
            ("word", None),
            ("10.0.0.0/8", None),
        ] {
            assert_eq!(meant_by(text).map(|p| p.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let entry = |line, name: &str| Entry::new(line, name, Matches::exact(name));
        let mut policy = Policy::of(vec![
            Rule::new(1, Action::Deny, vec![entry(1, "a.example")]),
            Rule::new(2, Action::Allow, vec![entry(2, "a.example"), entry(3, "b.example")]),
        ]);
        assert_eq!(policy.decide("a.example", 443).action, Action::Deny);
        assert_eq!(policy.decide("b.example", 443).action, Action::Allow);
        assert_eq!(policy.decide("c.example", 443).action, Action::Deny);
        policy.rules[0].off = Some("disabled".into());
        assert_eq!(policy.decide("a.example", 443).action, Action::Allow);
    }
}
