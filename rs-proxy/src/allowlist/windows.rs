//! Windows bypass lists, which WinINET and WinHTTP share: names that go direct, past the proxy.
//!
//! Separators are `;`, `,` and blanks. A bare name is that host only, `*.name` is everything below, `.name` is no rule,
//! and one entry with a slash spoils the whole list.

use super::policy::{Entry, Matches, Policy};
use super::report::Finding;
use super::{Dialect, rendered};
use crate::name::HostPattern;
use crate::render::Format;

/// A list, or the text in which `netsh` shows one.
#[derive(Debug)]
pub(super) struct Bypass;

impl Dialect for Bypass {
    fn looks_like(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        let signs = ["winhttp", "bypass-list", "<local>", "<-loopback>", "proxyoverride"];
        let sign = signs.iter().find(|sign| lower.contains(**sign))?;
        Some(format!("it has '{sign}'"))
    }

    fn read(&self, text: &str) -> Policy {
        let (line, list) = list_in(text);
        let mut policy = Policy::allowing(
            list.split([';', ',', ' ', '\t', '\r', '\n'])
                .filter(|e| !e.is_empty())
                .map(|e| entry(line, e))
                .collect(),
        );
        if list.contains('/') && list.split([';', ',', ' ']).any(|e| e.contains('/') && !e.contains("://")) {
            policy.fatal = Some((
                line,
                format!(
                    "line {line}: an entry with a slash spoils the whole list (Windows knows no CIDR): write 192.168.1.*"
                ),
            ));
        }
        policy.findings.push(Finding::warning(
            None,
            "a bypass list sends these names past the proxy: the direct path to TCP 443 must be open for them",
        ));
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Netsh, pattern)
    }
}

/// The line and text of the list: the `bypass-list=` argument, the value behind the second colon of netsh's table, or
/// everything.
fn list_in(text: &str) -> (u32, String) {
    for (number, line) in (1..).zip(text.lines()) {
        if let Some((_, rest)) = line.split_once("bypass-list=") {
            let rest = rest.trim().trim_start_matches('"');
            return (number, rest.split('"').next().unwrap_or(rest).to_owned());
        }
    }
    match crate::settings::winhttp::parse(text) {
        Some(settings) => (settings.bypass_line, settings.bypass.unwrap_or_default()),
        None => (1, text.to_owned()),
    }
}

fn entry(line: u32, text: &str) -> Entry {
    let lower = text.to_ascii_lowercase();
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    match lower.as_str() {
        "<local>" => return never("it stands for names without a dot"),
        "<-loopback>" => return never("it stands for no name"),
        "*" => return Entry::new(line, text, Matches::Any),
        _ => {}
    }
    if lower.starts_with('.') {
        return never("a leading dot is no rule in Windows lists; write *.name");
    }
    if let Some((_, host)) = lower.split_once("://") {
        return Entry { text: text.to_owned(), ..entry(line, host) };
    }
    let (host, port) =
        lower.rsplit_once(':').map_or((lower.as_str(), None), |(host, port)| (host, port.parse().ok()));
    if host.starts_with(|c: char| c.is_ascii_digit())
        && host.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '*')
    {
        return Entry::new(line, text, Matches::Address);
    }
    let matches = match host.strip_prefix("*.").filter(|rest| !rest.contains('*')) {
        Some(rest) => Matches::below(rest),
        None if host.contains('*') => Matches::Glob(host.to_owned()),
        None => Matches::exact(host),
    };
    Entry::new(line, text, matches).with_ports(port.into_iter().collect())
}
