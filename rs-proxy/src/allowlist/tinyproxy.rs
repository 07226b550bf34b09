//! tinyproxy: a filter file of regular expressions, with `FilterDefaultDeny Yes`.
//!
//! Basic POSIX expressions without regard to case, found *anywhere* in the host: what is not anchored is over-broad.

use super::policy::{Entry, Matches, Policy};
use super::posix::{Grammar, PosixError, compile};
use super::report::Finding;
use super::{Dialect, numbered, rendered};
use crate::name::HostPattern;
use crate::render::Format;

/// A filter file.
#[derive(Debug)]
pub(super) struct Filter;

impl Dialect for Filter {
    fn looks_like(&self, text: &str) -> Option<String> {
        let mut lines = numbered(text).map(|(_, line)| line).peekable();
        lines.peek()?;
        let all = lines.all(|line| {
            (line.contains("\\.") || line.starts_with('^') || line.ends_with('$')) && !line.contains("\\*")
        });
        all.then(|| "every line is a regular expression".to_owned())
    }

    fn read(&self, text: &str) -> Policy {
        let mut fatal = None;
        let mut entries = Vec::new();
        for (line, text) in numbered(text) {
            let word = text.split_whitespace().next().unwrap_or(text);
            if fatal.is_none() && compile(word, Grammar::Basic, true).is_err_and(|e| e == PosixError::Invalid)
            {
                fatal = Some((
                    line,
                    format!("line {line} '{word}': tinyproxy refuses to start with a bad expression"),
                ));
            }
            entries.push(entry(line, word));
        }
        let mut policy = Policy::allowing(entries);
        policy.fatal = fatal;
        policy.findings.push(Finding::new(
            crate::Severity::Note,
            None,
            "read as basic expressions on host names, for FilterDefaultDeny Yes, FilterURLs Off and ConnectPort 443",
        ));
        policy
    }

    fn line(&self, pattern: &HostPattern) -> String {
        rendered(Format::Tinyproxy, pattern)
    }
}

fn entry(line: u32, word: &str) -> Entry {
    let never = |why: &str| Entry::new(line, word, Matches::Never(why.to_owned()));
    if word.contains("://") {
        return never("the expression is compared with the host name alone; leave the scheme out");
    }
    if word.starts_with('*') {
        return never(
            "a star at the front of a basic expression is the character itself; write \\.name\\.tld$",
        );
    }
    match compile(word, Grammar::Basic, true) {
        Ok(regex) => Entry::new(line, word, Matches::Regex(Box::new(regex))),
        Err(PosixError::Invalid) => never("not a valid regular expression"),
        Err(error) => Entry::new(line, word, Matches::Unknown(error.to_string())),
    }
}
