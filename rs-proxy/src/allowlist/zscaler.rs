//! Zscaler: a URL category as JSON, or its list of URLs.
//!
//! A leading dot stands for the name itself and up to five levels below. Stars are not used.

use super::json::{Lines, parse, texts, unreadable};
use super::policy::{Entry, Matches, Policy};
use super::report::Finding;
use super::{Dialect, numbered, rendered};
use crate::name::HostPattern;
use crate::render::Format;
use crate::severity::Severity;

/// Levels below a name that a leading dot covers.
const LEVELS: u8 = 5;

/// A URL category.
#[derive(Debug)]
pub(super) struct Zscaler;

impl Dialect for Zscaler {
    fn looks_like(&self, text: &str) -> Option<String> {
        let signs =
            ["dbCategorizedUrls", "configuredName", "customCategory", "superCategory", "URL_CATEGORY"];
        let sign = signs.iter().find(|sign| text.contains(**sign))?;
        Some(format!("it has {sign}"))
    }

    fn read(&self, text: &str) -> Policy {
        let entries = if text.trim_start().starts_with(['{', '[']) {
            let Some(value) = parse(text) else { return unreadable() };
            let mut lines = Lines::new(text);
            let categories = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            let keys = ["urls", "dbCategorizedUrls"];
            let urls = categories
                .iter()
                .flat_map(|category| keys.into_iter().flat_map(|key| texts(category.get(key))));
            urls.map(|url| entry(lines.find(url), url)).collect()
        } else {
            let cells =
                numbered(text).flat_map(|(line, text)| text.split([',', ';']).map(move |cell| (line, cell)));
            let cells = cells.map(|(line, cell)| (line, cell.trim().trim_matches('"')));
            cells.filter(|(_, cell)| cell.contains('.')).map(|(line, cell)| entry(line, cell)).collect()
        };
        let mut policy = Policy::allowing(entries);
        let text = "a category allows nothing by itself: the URL filtering rule and the exemption from SSL inspection \
                    must refer to it";
        policy.findings.push(Finding::new(Severity::Note, None, text));
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Zscaler, pattern)
    }
}

fn entry(line: u32, text: &str) -> Entry {
    let name = text.trim().to_ascii_lowercase();
    let never = |why: &str| Entry::new(line, text, Matches::Never(why.to_owned()));
    if name.contains("://") {
        return never("Zscaler takes URLs without a scheme");
    }
    if name.contains('*') {
        return never("Zscaler has no star; a leading dot stands for the name and five levels below");
    }
    let (host, path) = name.split_once('/').unwrap_or((&name, ""));
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, port.parse().ok()));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Entry::new(line, text, Matches::Address);
    }
    if !path.is_empty() {
        return never("an entry with a path needs SSL inspection to be seen");
    }
    let suffix = host.strip_prefix('.');
    if !suffix.unwrap_or(host).contains('.') {
        return never("a bare top-level domain is not accepted");
    }
    let matches = match suffix {
        Some(suffix) => Matches::Labels(suffix.to_owned(), 0..=LEVELS),
        None => Matches::exact(host),
    };
    Entry::new(line, text, matches).with_ports(port.into_iter().collect())
}
