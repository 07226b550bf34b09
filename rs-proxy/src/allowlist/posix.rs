//! POSIX regular expressions, as squid and tinyproxy hand them to the C library, in the words of the `regex` crate.
//!
//! What has no counterpart (back references) is refused rather than guessed.

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

/// Longest pattern that is compiled, in bytes.
pub(crate) const PATTERN_BYTES_MAX: usize = 4096;
/// Memory that one compiled pattern may take, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The two grammars of POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// `\(` groups, `+` is a plus sign.
    Basic,
    /// `(` groups, `+` repeats.
    Extended,
}

/// Why a pattern is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PosixError {
    /// The C library refuses it as well.
    #[error("it is not a valid regular expression")]
    Invalid,
    /// We cannot say what it means.
    #[error("it uses a part of regular expressions that cannot be judged here")]
    NotUnderstood,
}

/// Compiles a pattern. A match may be anywhere in the text, as with `regexec`.
pub(crate) fn compile(pattern: &str, grammar: Grammar, ignore_case: bool) -> Result<Regex, PosixError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(PosixError::NotUnderstood);
    }
    let translated =
        Translator { rest: pattern.chars().collect(), at: 0, grammar, out: String::new() }.run()?;
    RegexBuilder::new(&translated)
        .unicode(false)
        .case_insensitive(ignore_case)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|_| PosixError::Invalid)
}

/// Walks over one pattern.
struct Translator {
    rest: Vec<char>,
    at: usize,
    grammar: Grammar,
    out: String,
}

impl Translator {
    fn run(mut self) -> Result<String, PosixError> {
        let mut start = true; // nothing to repeat yet
        while let Some(c) = self.next() {
            start = self.one(c, start)?;
        }
        Ok(self.out)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.get(self.at).copied();
        self.at += 1;
        c
    }

    /// Translates one character; returns whether a repetition would have nothing to repeat after it.
    fn one(&mut self, c: char, start: bool) -> Result<bool, PosixError> {
        let extended = self.grammar == Grammar::Extended;
        match c {
            '\\' => return self.escape(start),
            '[' => self.bracket()?,
            '.' => self.out.push_str("(?s-u:.)"),
            '*' if start && !extended => self.out.push_str(r"\*"),
            '*' | '+' | '?' if start && extended => return Err(PosixError::Invalid),
            '*' => self.out.push('*'),
            '^' if extended || start => {
                self.out.push('^');
                return Ok(true);
            }
            '$' if extended || self.at_end() => self.out.push('$'),
            '+' | '?' | '{' | '}' if extended => self.out.push(c),
            '(' | '|' if extended => {
                self.out.push(c);
                return Ok(true);
            }
            ')' if extended => self.out.push(c),
            c => self.literal(c),
        }
        Ok(false)
    }

    /// Whether a `$` here ends the pattern, or a group of a basic pattern.
    fn at_end(&self) -> bool {
        self.at >= self.rest.len() || self.rest[self.at..].starts_with(&['\\', ')'])
    }

    fn literal(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
    }

    fn escape(&mut self, start: bool) -> Result<bool, PosixError> {
        let Some(c) = self.next() else { return Err(PosixError::Invalid) };
        let basic = self.grammar == Grammar::Basic;
        match c {
            '1'..='9' => return Err(PosixError::NotUnderstood),
            '(' | '|' if basic => {
                self.out.push(c);
                return Ok(true);
            }
            ')' | '{' | '}' if basic => self.out.push(c),
            '+' | '?' if basic && !start => self.out.push(c),
            'w' | 'W' | 's' | 'S' | 'b' | 'B' => {
                self.out.push('\\');
                self.out.push(c);
            }
            '<' => self.out.push_str(r"\b{start}"),
            '>' => self.out.push_str(r"\b{end}"),
            c => self.literal(c),
        }
        Ok(false)
    }

    /// A bracket expression: a backslash in it is a backslash.
    fn bracket(&mut self) -> Result<(), PosixError> {
        self.out.push('[');
        let mut first = true;
        loop {
            let c = self.next().ok_or(PosixError::Invalid)?;
            match c {
                '^' if first && self.out.ends_with('[') => {
                    self.out.push('^');
                    continue;
                }
                ']' if !first => break,
                '[' if matches!(self.rest.get(self.at), Some(':')) => self.class()?,
                '[' if matches!(self.rest.get(self.at), Some('.' | '=')) => {
                    return Err(PosixError::NotUnderstood);
                }
                '-' => self.out.push('-'),
                c if c.is_alphanumeric() || c == ' ' => self.out.push(c),
                c => {
                    self.out.push('\\');
                    self.out.push(c);
                }
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` and its like, after the first bracket.
    fn class(&mut self) -> Result<(), PosixError> {
        let rest: String = self.rest[self.at..].iter().take(12).collect();
        let end = rest.find(":]").ok_or(PosixError::Invalid)?;
        self.out.push('[');
        self.out.push_str(&rest[..end + 2]);
        self.at += end + 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammars_differ_where_posix_says() {
        for (pattern, grammar, text, expected) in [
            (r"\.s\.net$", Grammar::Basic, "a.s.net", true),
            (r"\.s\.net$", Grammar::Extended, "a.s.net.x", false),
            ("*.s", Grammar::Basic, "*.s", true),
            ("*.s", Grammar::Basic, "a.s", false),
            ("a+b", Grammar::Basic, "aab", false),
            ("a+b", Grammar::Basic, "a+b", true),
            ("a+b", Grammar::Extended, "aab", true),
            (r"(^|\.)s\.net$", Grammar::Extended, "s.net", true),
            (r"\(^\|\.\)s\.net$", Grammar::Basic, "x.s.net", true),
            (r"\(^\|\.\)s\.net$", Grammar::Basic, "xs.net", false),
            ("^[a-z0-9-]+\\.s$", Grammar::Extended, "a-1.s", true),
            ("^[a-z0-9-]+\\.s$", Grammar::Extended, "a_1.s", false),
            ("^[[:alnum:]]+$", Grammar::Extended, "a1", true),
            ("[\\.]", Grammar::Extended, "\\", true),
            ("a$b", Grammar::Basic, "a$b", true),
        ] {
            let found = compile(pattern, grammar, false).unwrap().is_match(text.as_bytes());
            assert_eq!(found, expected, "{pattern} {grammar:?} {text}");
        }
    }

    #[test]
    fn what_the_library_refuses_is_refused() {
        assert_eq!(compile("*.s", Grammar::Extended, false).unwrap_err(), PosixError::Invalid);
        assert_eq!(compile("(a", Grammar::Extended, false).unwrap_err(), PosixError::Invalid);
        assert_eq!(compile("[a", Grammar::Extended, false).unwrap_err(), PosixError::Invalid);
        assert_eq!(compile(r"\(a\)\1", Grammar::Basic, false).unwrap_err(), PosixError::NotUnderstood);
        let long = "a".repeat(PATTERN_BYTES_MAX);
        assert!(compile(&long, Grammar::Basic, false).is_ok());
        assert!(compile(&(long + "a"), Grammar::Basic, false).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_pattern_panics(pattern in "[\\PC\\\\\\[\\]\\(\\)\\*\\{\\}:^$.|]{0,24}", ignore_case: bool) {
            for grammar in [Grammar::Basic, Grammar::Extended] {
                let _ = compile(&pattern, grammar, ignore_case);
            }
        }
    }
}
