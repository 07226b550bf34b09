//! Azure Firewall: rule collection groups of a firewall policy, and classic application rules.
//!
//! `*.S` is everything below, `*S` is everything that ends so, a star elsewhere is not supported. Collections apply by
//! priority, the lowest number first; a denying collection above wins.

use serde_json::Value;

use super::json::{Lines, exact_entry, parse, texts, unreadable};
use super::policy::{Action, Entry, Matches, Policy, Rule};
use super::report::Finding;
use super::{Dialect, rendered, words};
use crate::name::HostPattern;
use crate::render::Format;

/// Rule collections in JSON, or target FQDNs one after the other.
#[derive(Debug)]
pub(super) struct AzureFirewall;

impl Dialect for AzureFirewall {
    fn looks_like(&self, text: &str) -> Option<String> {
        let signs = ["targetFqdns", "applicationRuleCollections", "\"ApplicationRule\"", "fqdnTags"];
        let sign = signs.iter().find(|sign| text.contains(**sign))?;
        text.trim_start()
            .starts_with(['{', '['])
            .then(|| format!("it is JSON with {}", sign.trim_matches('"')))
    }

    fn read(&self, text: &str) -> Policy {
        if !text.trim_start().starts_with(['{', '[']) {
            return Policy::allowing(words(text).map(|(line, word)| target_fqdn(line, word)).collect());
        }
        let Some(value) = parse(text) else { return unreadable() };
        let mut collections = Vec::new();
        collect(&value, u64::MAX, &mut collections);
        collections.sort_by_key(|(priority, own, _)| (*priority, *own));
        let mut reader = Reader { lines: Lines::new(text), findings: Vec::new() };
        let rules = collections.iter().flat_map(|(_, _, collection)| reader.collection(collection)).collect();
        let mut policy = Policy::of(rules);
        policy.findings = reader.findings;
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        format!("\"targetFqdns\": [\"{}\"]", rendered(Format::AzureFirewall, pattern))
    }
}

/// Everything that has `rules`, with the priority of its group and its own.
fn collect<'a>(value: &'a Value, group: u64, out: &mut Vec<(u64, u64, &'a Value)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, group, out)),
        Value::Object(fields) => {
            let own = fields.get("priority").and_then(Value::as_u64);
            if fields.get("rules").is_some_and(Value::is_array) {
                out.push((group, own.unwrap_or(u64::MAX), value));
                return;
            }
            let group = if fields.contains_key("ruleCollections") { own.unwrap_or(group) } else { group };
            fields.values().for_each(|value| collect(value, group, out));
        }
        _ => {}
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn collection(&mut self, collection: &Value) -> Vec<Rule> {
        let action = &collection["action"];
        let action = action["type"].as_str().or_else(|| action.as_str()).unwrap_or("Allow");
        let action = if action.eq_ignore_ascii_case("deny") { Action::Deny } else { Action::Allow };
        let rules = collection["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        rules.iter().filter_map(|rule| self.rule(rule, action)).collect()
    }

    fn rule(&mut self, rule: &Value, action: Action) -> Option<Rule> {
        let kind = rule["ruleType"].as_str().unwrap_or("ApplicationRule");
        if kind != "ApplicationRule" {
            return self.network_rule(rule, kind, action);
        }
        let ports = https_ports(&rule["protocols"]);
        let mut entries: Vec<Entry> = Vec::new();
        for fqdn in texts(rule.get("targetFqdns")) {
            entries.push(target_fqdn(self.lines.find(fqdn), fqdn).with_ports(ports.clone()));
        }
        for url in texts(rule.get("targetUrls")) {
            let line = self.lines.find(url);
            let why = "rules by URL need TLS inspection, which Azure Local does not support; use targetFqdns";
            entries.push(exact_entry(line, url, Matches::Never(why.to_owned())));
        }
        for key in ["fqdnTags", "webCategories"] {
            for tag in texts(rule.get(key)) {
                let why = format!("which names the {key} entry stands for is known to Azure only");
                let line = self.lines.find(tag);
                entries.push(Entry { meant: None, ..exact_entry(line, tag, Matches::Unknown(why)) });
            }
        }
        let line = entries.first().map_or(1, |entry| entry.line);
        let mut made = Rule::new(line, action, entries);
        if rule["terminateTLS"].as_bool() == Some(true) {
            let note = "terminateTLS inspects TLS, which Azure Local does not support";
            made.note = Some(note.to_owned());
            self.findings.push(Finding::warning(line, note));
        }
        Some(made)
    }

    /// Network rules come by address or service tag; destinationFqdns are names.
    fn network_rule(&mut self, rule: &Value, kind: &str, action: Action) -> Option<Rule> {
        let mut entries = Vec::new();
        for fqdn in texts(rule.get("destinationFqdns")) {
            entries.push(target_fqdn(self.lines.find(fqdn), fqdn));
        }
        for address in texts(rule.get("destinationAddresses")) {
            let line = self.lines.find(address);
            let matches = match address {
                "*" => Matches::Any,
                _ if address.starts_with(|c: char| c.is_ascii_digit()) => Matches::Address,
                _ => Matches::Unknown(format!(
                    "which addresses the service tag {address} has is known to Azure only"
                )),
            };
            entries.push(Entry { meant: None, ..exact_entry(line, address, matches) });
        }
        let ports =
            texts(rule.get("destinationPorts")).iter().filter_map(|p| p.parse().ok()).collect::<Vec<u16>>();
        let entries: Vec<Entry> = entries.into_iter().map(|entry| entry.with_ports(ports.clone())).collect();
        (kind == "NetworkRule" && !entries.is_empty())
            .then(|| Rule::new(entries.first().map_or(1, |entry| entry.line), action, entries))
    }
}

/// The ports for HTTPS. None given means any; only plain HTTP means a port that HTTPS never has.
fn https_ports(protocols: &Value) -> Vec<u16> {
    let Some(protocols) = protocols.as_array().filter(|list| !list.is_empty()) else { return Vec::new() };
    let https = protocols
        .iter()
        .filter(|p| p["protocolType"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("https")));
    let ports: Vec<u16> =
        https.map(|p| p["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443)).collect();
    if ports.is_empty() { vec![80] } else { ports }
}

fn target_fqdn(line: u32, text: &str) -> Entry {
    let lower = text.trim().to_ascii_lowercase();
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    let stars = lower.matches('*').count();
    match lower.strip_prefix('*') {
        Some("") => Entry::new(line, text, Matches::Any),
        _ if lower.contains("://") || lower.contains('/') => never("a target FQDN has no scheme and no path"),
        _ if lower.starts_with('.') => never("a leading dot is not a wildcard here; write *.name"),
        _ if lower.contains(':') => never("a target FQDN has no port; the port belongs to protocols"),
        Some(rest) if stars == 1 => match rest.strip_prefix('.') {
            Some(name) => Entry::new(line, text, Matches::below(name)),
            None => Entry::new(line, text, Matches::Glob(lower.clone())),
        },
        _ if stars > 0 => never("a star is supported only as the first character"),
        _ => Entry::new(line, text, Matches::exact(lower.trim_end_matches('.'))),
    }
}
