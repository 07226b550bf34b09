//! FortiGate: address objects of type FQDN, groups, policies, and web-filter URL lists.
//!
//! A wildcard object is a set of addresses that the FortiGate learns from DNS answers passing through it, so what it
//! covers is never certain from the text. Policies apply in order; an object that no policy uses allows nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::{Action, Condition, Entry, Hosts, Matches, Policy, Rule};
use super::report::Finding;
use super::{Dialect, numbered, rendered};
use crate::name::HostPattern;
use crate::render::Format;

/// Deepest nesting of groups that is followed.
const GROUP_DEPTH_MAX: usize = 8;

/// A configuration, or names of FQDN objects one after the other.
#[derive(Debug)]
pub(super) struct Fortigate;

impl Dialect for Fortigate {
    fn looks_like(&self, text: &str) -> Option<String> {
        let (line, _) = numbered(text).find(|(_, line)| {
            ["config firewall", "config webfilter", "set fqdn ", "set type fqdn"]
                .iter()
                .any(|s| line.starts_with(s))
        })?;
        Some(format!("line {line} is FortiOS configuration"))
    }

    fn read(&self, text: &str) -> Policy {
        if self.looks_like(text).is_none() {
            let entries = super::words(text).map(|(line, word)| fqdn(line, word)).collect();
            return Policy::allowing(entries);
        }
        let config = Config::read(text);
        let mut policy = Policy::of(config.rules());
        if config.policies.is_empty() && config.urls.is_empty() {
            policy.findings.push(Finding::warning(
                None,
                "the text has no firewall policy; the objects were read as if an accept policy used them all",
            ));
        }
        if config.policies.iter().any(|p| p.get("ssl-ssh-profile").is_some_and(|v| v.contains("deep"))) {
            policy.findings.push(Finding::warning(
                None,
                "a policy uses deep inspection, which Azure Local does not support",
            ));
        }
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("set fqdn \"{}\"", rendered(Format::Fortigate, pattern))
    }
}

/// One `edit` block: its settings by name, and where it begins.
#[derive(Debug, Default, Clone)]
struct Block {
    name: String,
    line: u32,
    values: BTreeMap<String, (u32, Vec<String>)>,
}

impl Block {
    fn get(&self, key: &str) -> Option<String> {
        self.values.get(key).map(|(_, words)| words.join(" "))
    }

    fn words(&self, key: &str) -> &[String] {
        self.values.get(key).map(|(_, words)| words.as_slice()).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Config {
    addresses: Vec<Block>,
    groups: Vec<Block>,
    policies: Vec<Block>,
    urls: Vec<Block>,
    exemptions: Vec<Block>,
}

impl Config {
    fn read(text: &str) -> Self {
        let mut config = Self::default();
        let mut sections: Vec<String> = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        for (line, text) in numbered(text) {
            let words = words(text);
            match words.first().map(String::as_str) {
                Some("config") => sections.push(words[1..].join(" ")),
                Some("edit") => {
                    blocks.push(Block {
                        name: words.get(1).cloned().unwrap_or_default(),
                        line,
                        ..Block::default()
                    });
                }
                Some("set" | "append") if words.len() > 2 => {
                    if let Some(block) = blocks.last_mut() {
                        block.values.insert(words[1].clone(), (line, words[2..].to_vec()));
                    }
                }
                Some("next") => config.close(blocks.pop(), sections.last()),
                Some("end") => {
                    sections.pop();
                }
                _ => {}
            }
        }
        while let Some(block) = blocks.pop() {
            config.close(Some(block), sections.last());
        }
        config
    }

    fn close(&mut self, block: Option<Block>, section: Option<&String>) {
        let Some(block) = block else { return };
        let list = match section.map(String::as_str) {
            Some("firewall addrgrp") => &mut self.groups,
            Some("firewall policy") => &mut self.policies,
            Some("entries") => &mut self.urls,
            Some(section) if section.starts_with("firewall wildcard-fqdn") => &mut self.exemptions,
            _ if block.values.contains_key("fqdn") || block.values.contains_key("subnet") => {
                &mut self.addresses
            }
            _ => return,
        };
        list.push(block);
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.policies.iter().map(|policy| self.policy_rule(policy)).collect();
        let used: BTreeSet<String> =
            self.policies.iter().flat_map(|p| self.members(p.words("dstaddr"), 0)).collect();
        let unused = self.addresses.iter().filter(|a| !used.contains(&a.name)).filter_map(address);
        let mut rule = Rule::new(1, Action::Allow, unused.collect());
        if !self.policies.is_empty() {
            rule.off = Some("none: no policy uses the object".to_owned());
        }
        rules.push(rule);
        rules.extend(self.urls.iter().filter_map(url_rule));
        let never = "wildcard-fqdn objects are for exemptions from SSL inspection only, they allow nothing";
        let exemptions = self.exemptions.iter().filter_map(|block| {
            let (line, words) = block.values.get("wildcard-fqdn")?;
            Some(Entry::new(*line, words.first()?, Matches::Never(never.to_owned())))
        });
        rules.push(Rule::new(1, Action::Allow, exemptions.collect()));
        rules
    }

    fn policy_rule(&self, policy: &Block) -> Rule {
        let members = self.members(policy.words("dstaddr"), 0);
        let mut entries: Vec<Entry> =
            self.addresses.iter().filter(|a| members.contains(&a.name)).filter_map(address).collect();
        if members.contains("all") {
            entries.push(Entry::new(policy.line, "all", Matches::Any));
        }
        let accept = policy.get("action").is_some_and(|action| action == "accept");
        let action = if accept { Action::Allow } else { Action::Deny };
        let hosts = Condition::Hosts { hosts: Hosts::of(entries), negated: false };
        let services = policy.words("service");
        let https = services.is_empty()
            || services.iter().any(|s| {
                matches!(s.to_ascii_uppercase().as_str(), "HTTPS" | "ALL" | "ALL_TCP" | "WEB ACCESS")
            });
        let known = services.iter().all(|s| {
            matches!(
                s.to_ascii_uppercase().as_str(),
                "HTTP" | "DNS" | "NTP" | "PING" | "SSH" | "HTTPS" | "ALL" | "ALL_TCP" | "WEB ACCESS"
            )
        });
        let service = match (https, known) {
            (true, _) => Condition::Known(true),
            (false, true) => Condition::Known(false),
            (false, false) => Condition::Unknown(format!("if service {} has TCP 443", services.join(" "))),
        };
        let off = policy.get("status").filter(|status| status == "disable").map(|_| "disabled".to_owned());
        let deep = policy.get("ssl-ssh-profile").is_some_and(|profile| profile.contains("deep"));
        let note = deep.then(|| "the policy inspects TLS, which Azure Local does not support".to_owned());
        Rule { line: policy.line, action, conditions: vec![hosts, service], off, note }
    }

    /// The names of all objects that the given names stand for, through groups.
    fn members(&self, names: &[String], depth: usize) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = names.iter().cloned().collect();
        if depth < GROUP_DEPTH_MAX {
            for group in self.groups.iter().filter(|group| names.contains(&group.name)) {
                all.extend(self.members(group.words("member"), depth + 1));
            }
        }
        all
    }
}

/// An address object as an entry.
fn address(block: &Block) -> Option<Entry> {
    if let Some((line, words)) = block.values.get("subnet") {
        return Some(Entry::new(*line, &words.join(" "), Matches::Address));
    }
    let (line, words) = block.values.get("fqdn")?;
    Some(fqdn(*line, words.first()?))
}

/// The name of an FQDN object as an entry.
fn fqdn(line: u32, text: &str) -> Entry {
    let name = text.to_ascii_lowercase();
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    let learnt = "the wildcard holds only addresses learnt from DNS answers that pass through the FortiGate: the \
                  nodes' DNS must cross it, unencrypted";
    match name.strip_prefix("*.") {
        _ if name.contains("://") || name.contains('/') => never("an FQDN object has no scheme and no path"),
        _ if name.starts_with('.') => never("a leading dot is not a wildcard here; write *.name"),
        _ if name.contains(':') => never("an FQDN object has no port"),
        Some(rest) if !rest.contains('*') => Entry::new(line, text, Matches::below(rest)).with_note(learnt),
        _ if name.contains('*') => Entry::new(line, text, Matches::Glob(name.clone())).with_note(learnt),
        _ => Entry::new(line, text, Matches::exact(&name)),
    }
}

/// One entry of a web-filter URL list.
fn url_rule(block: &Block) -> Option<Rule> {
    let (line, words) = block.values.get("url")?;
    let text = words.first()?;
    let name = text.to_ascii_lowercase();
    let kind = block.get("type").unwrap_or_else(|| "simple".to_owned());
    let matches = match kind.as_str() {
        "wildcard" if name.contains('*') => name
            .strip_prefix("*.")
            .filter(|rest| !rest.contains('*'))
            .map_or_else(|| Matches::Glob(name.clone()), Matches::below),
        "regex" => super::posix::compile(text, super::posix::Grammar::Extended, true).map_or_else(
            |error| Matches::Unknown(error.to_string()),
            |regex| Matches::Regex(Box::new(regex)),
        ),
        _ if name.contains('*') => Matches::Never("type simple knows no star; set type wildcard".to_owned()),
        _ => Matches::at_and_below(name.trim_end_matches('/')),
    };
    let action = if block.get("action").is_some_and(|a| a == "block") { Action::Deny } else { Action::Allow };
    let mut rule = Rule::new(*line, action, vec![Entry::new(*line, text, matches)]);
    rule.off = block.get("status").filter(|status| status == "disable").map(|_| "disabled".to_owned());
    Some(rule)
}

/// Words, with quotes around those that have blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
