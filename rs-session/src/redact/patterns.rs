//! The owner's own patterns: a file with one pattern on a line.
//!
//! ```text
//! # NAME   REGULAR EXPRESSION
//! ticket   \bTCK-[0-9]{6}-[A-Z]{4}\b
//! pin      (?i)pin is (?P<secret>[0-9]{4,8})
//! ```
//!
//! The syntax is that of the `regex` crate: no look-around, no back references, and time that grows with the text alone. A
//! pattern sees one line at a time. What it matches is masked, or only its group `secret` where it has one.

use regex::{Regex, RegexBuilder};

/// Longest file of patterns, in bytes.
pub const PATTERNS_BYTES_MAX: usize = 64 * 1024;
/// Most patterns in a file.
pub const PATTERNS_MAX: usize = 100;
/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// Most memory that one pattern may take when it is compiled, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 40;

/// One pattern of the owner.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub(super) name: String,
    pub(super) regex: Regex,
}

impl Pattern {
    /// A pattern that masks what `expression` matches in a line, or its group `secret`.
    ///
    /// # Errors
    /// [`PatternError`] for a name that is not 1 to 40 of `a-z`, `0-9` and `-`, an expression over
    /// [`PATTERN_BYTES_MAX`], one that cannot be compiled within 1 MiB, and one that matches nothing at all, which would
    /// mask between any two characters.
    pub fn new(name: &str, expression: &str) -> Result<Self, PatternError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
            return Err(PatternError::Name);
        }
        if expression.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let regex = RegexBuilder::new(expression)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| PatternError::Expression(error.to_string()))?;
        if regex.is_match("") {
            return Err(PatternError::Empty);
        }
        Ok(Self { name: name.to_owned(), regex })
    }

    /// Whether it matches anywhere in `text`.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Its name, which stands in the markers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why a pattern was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The name.
    #[error("a name has 1 to 40 of a-z, 0-9 and '-', then a blank and the expression")]
    Name,
    /// The expression is too long.
    #[error("an expression has at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// The expression does not compile.
    #[error("the expression cannot be used: {0}")]
    Expression(String),
    /// The expression matches the empty text.
    #[error(
        "the expression also matches nothing at all, so it would mask everywhere; demand at least one character"
    )]
    Empty,
    /// Too many of them.
    #[error("there are more than {PATTERNS_MAX} patterns")]
    TooMany,
    /// The file.
    #[error("the file has more than {PATTERNS_BYTES_MAX} bytes")]
    FileTooLong,
}

/// Reads a file of patterns; the error comes with the number of its line, from 1.
///
/// ```
/// use rs_session::redact::{PatternError, parse_patterns};
///
/// let patterns = parse_patterns("# our tickets\nticket  TCK-[0-9]{6}\n").unwrap();
/// assert_eq!(patterns[0].name(), "ticket");
/// assert_eq!(parse_patterns("\nall .*").unwrap_err(), (2, PatternError::Empty));
/// ```
///
/// # Errors
/// The first line that is no pattern, and the bounds [`PATTERNS_MAX`] and [`PATTERNS_BYTES_MAX`].
pub fn parse_patterns(text: &str) -> Result<Vec<Pattern>, (usize, PatternError)> {
    if text.len() > PATTERNS_BYTES_MAX {
        return Err((1, PatternError::FileTooLong));
    }
    let mut patterns = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = at + 1;
        let (name, expression) = line.split_once([' ', '\t']).ok_or((number, PatternError::Name))?;
        if patterns.len() == PATTERNS_MAX {
            return Err((number, PatternError::TooMany));
        }
        patterns.push(Pattern::new(name, expression.trim_start()).map_err(|error| (number, error))?);
    }
    Ok(patterns)
}
