//! The corpora: `corpus/refused/*.txt` and `corpus/accepted.txt`. A new case is a line in a file.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test file uses its own part"
)]

use std::path::PathBuf;

use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::{Context, Machine, Plan, Refused};

/// One line that has to be refused.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// File and line of the case, for people.
    pub(crate) at: String,
    pub(crate) code: String,
    pub(crate) column: u32,
    pub(crate) line: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn is_case(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("# ") && !line.starts_with("## ")
}

/// Every line that has to be refused.
pub(crate) fn refused() -> Vec<Case> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder().join("refused")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for (index, case) in text.split('\n').enumerate().filter(|(_, line)| is_case(line)) {
            let mut parts = case.splitn(3, '\t');
            let mut part = || parts.next().unwrap_or_else(|| panic!("{name}:{}", index + 1));
            let (code, column, line) = (part().to_owned(), part().parse().unwrap(), unescape(part()));
            cases.push(Case { at: format!("{name}:{}", index + 1), code, column, line });
        }
    }
    cases
}

/// Every line that an engineer would type.
pub(crate) fn accepted() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("accepted.txt")).unwrap();
    text.split('\n').filter(|line| is_case(line)).map(str::to_owned).collect()
}

/// Puts the characters in that a corpus file only names.
fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let Some((digits, after)) = after.split_once('}') else { break };
        let Some(c) = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32) else { break };
        text.push_str(before);
        text.push(c);
        rest = after;
    }
    text + rest
}

/// The lists as published, on a machine that has every native source.
pub(crate) fn context(level: AccessLevel) -> Context {
    let machine = Machine { native: Systems::ALL, power_shell: false };
    Context { machine, ..Context::new(level) }
}

/// What is wrong with a judge of lines: cases that it lets through, or refuses with another reason or place.
pub(crate) fn violations(judge: impl Fn(&str) -> Result<Plan, Refused>) -> Vec<String> {
    let wrong = |case: &Case| match judge(&case.line) {
        Ok(_) => Some(format!("{}: accepted: {:?}", case.at, case.line)),
        Err(refused) if refused.message.is_empty() => Some(format!("{}: no words", case.at)),
        Err(refused) if (refused.code.as_str(), refused.column) != (case.code.as_str(), case.column) => Some(
            format!("{}: {:?}: {refused}, expected {} at {}", case.at, case.line, case.code, case.column),
        ),
        Err(_) => None,
    };
    refused().iter().filter_map(wrong).collect()
}
