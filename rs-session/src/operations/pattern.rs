//! Regular expressions of `-Match`: bounded in size, and linear in the length of the text.
//!
//! Only what .NET and this engine read alike is taken; everything else is refused with its reason, so that no pattern
//! means something else than in PowerShell.

use regex::{Regex, RegexBuilder};

/// Longest pattern, in characters.
pub const PATTERN_CHARS_MAX: usize = 256;
/// Most memory of a compiled pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Most memory that matching keeps, in bytes.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups.
const NEST_MAX: u32 = 16;

/// A compiled pattern.
///
/// ```
/// use rs_session::operations::pattern::Pattern;
/// assert!(Pattern::new("^ssh(d|-agent)$", false).unwrap().is_match("SSHD"));
/// assert!(Pattern::new("(a)\\1", false).unwrap_err().contains("\\1"));
/// ```
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for people: too long, too large, not a pattern, or not read alike by .NET.
    pub fn new(pattern: &str, case_sensitive: bool) -> Result<Self, String> {
        if pattern.chars().count() > PATTERN_CHARS_MAX {
            return Err(format!("a pattern has at most {PATTERN_CHARS_MAX} characters"));
        }
        if let Some(what) = read_differently(pattern) {
            return Err(format!(
                "the pattern has {what}, which is not supported here; use -Like, or a simpler pattern"
            ));
        }
        RegexBuilder::new(pattern)
            .case_insensitive(!case_sensitive)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .nest_limit(NEST_MAX)
            .build()
            .map(Self)
            .map_err(|error| format!("this is no pattern that is supported here: {}", reason(&error)))
    }

    /// True if the pattern is found anywhere in the text. The cost grows with the length of the text and no faster.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The last line of the engine's message, which has the reason without the drawing.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        error => {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

/// The first thing in a pattern that .NET reads in another way, or that only one of both has.
fn read_differently(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => match escape(rest) {
                Ok(length) => length,
                Err(what) => return Some(what),
            },
            '[' if in_class => return Some("[ inside a class".to_owned()),
            '[' => {
                in_class = true;
                // A bracket right behind the opening one is a member of the class.
                ["[^]", "[]", "[^", "["]
                    .iter()
                    .find(|open| rest.starts_with(**open))
                    .map_or(1, |open| open.len())
            }
            ']' => {
                in_class = false;
                1
            }
            '&' | '-' | '~' if in_class && rest[1..].starts_with(c) => {
                return Some(format!("{c}{c} inside a class"));
            }
            '(' if !in_class && rest.starts_with("(?") => match group(rest) {
                Ok(length) => length,
                Err(what) => return Some(what),
            },
            c => c.len_utf8(),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

/// Length of an escape that both read alike.
fn escape(rest: &str) -> Result<usize, String> {
    let Some(c) = rest[1..].chars().next() else { return Err("a \\ at its end".to_owned()) };
    let same = match c {
        'b' => !rest.starts_with("\\b{"),
        'x' | 'u' => !rest[2..].starts_with('{'),
        'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'B' | 'A' | 'z' | 't' | 'n' | 'r' | 'f' | 'v' | 'a' => true,
        '<' | '>' => false,
        c => c.is_ascii_punctuation() || c == ' ',
    };
    if same { Ok(1 + c.len_utf8()) } else { Err(format!("\\{c}")) }
}

/// Length of the beginning of a group that both read alike.
fn group(rest: &str) -> Result<usize, String> {
    for open in ["(?:", "(?i)", "(?-i)", "(?i:", "(?-i:"] {
        if rest.starts_with(open) {
            return Ok(open.len());
        }
    }
    let named =
        rest.strip_prefix("(?<").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
    if named { Ok("(?<".len()) } else { Err(rest.chars().take(4).collect()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_anywhere_and_without_case() {
        for (pattern, text, case_sensitive, expected) in [
            ("ssh", "openSSHd", false, true),
            ("ssh", "openSSHd", true, false),
            ("^ssh", "openSSHd", false, false),
            (r"\d{3}$", "port 443", false, true),
            (r"[a-f0-9:]{17}", "00:15:5d:01:02:03", false, true),
            (r"[]x]", "a]", false, true),
            (r"[^]x]", "]", false, false),
            (r"a\.b", "axb", false, false),
            ("(?<n>a)|b", "B", false, true),
            ("É", "é", false, true),
        ] {
            let found = Pattern::new(pattern, case_sensitive).map(|own| own.is_match(text));
            assert_eq!(found, Ok(expected), "{pattern} in {text}");
        }
    }

    #[test]
    fn sec20_what_dot_net_reads_differently_is_refused() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<!a)b",
            "(?>a)",
            "(?P<n>a)",
            "(?U)a",
            "(?#x)",
            "(?'n'a)",
            r"(a)\1",
            r"\k<n>",
            r"\Z",
            r"\G",
            r"\<a",
            r"a\>",
            r"\b{start}",
            r"\x{41}",
            r"\u{41}",
            r"\p{L}",
            r"\Qa\E",
            "[a-z-[b]]",
            "[[:alpha:]]",
            "[a&&b]",
            "[a--b]",
            "[a~~b]",
            "a\\",
        ] {
            let error = Pattern::new(pattern, false).unwrap_err();
            assert!(error.contains("not supported here"), "{pattern}: {error}");
        }
        for pattern in ["(", ")", "[a", "*", "a{2,1}", "(?:", "(?<n"] {
            assert!(Pattern::new(pattern, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn sec46_patterns_are_bounded() {
        assert!(Pattern::new(&"a".repeat(PATTERN_CHARS_MAX), false).is_ok());
        assert!(Pattern::new(&"a".repeat(PATTERN_CHARS_MAX + 1), false).is_err());
        let error = Pattern::new("((((a{100}){100}){100}){100})", false).unwrap_err();
        assert!(error.ends_with("it is too large"), "{error}");
        let nested =
            |groups: usize| Pattern::new(&format!("{}a{}", "(".repeat(groups), ")".repeat(groups)), false);
        let most = NEST_MAX as usize;
        assert!(nested(most).is_ok() && nested(most + 1).is_err());
        // What takes a backtracking engine for ever.
        let evil = Pattern::new("^(a+)+$", false).unwrap();
        assert!(!evil.is_match(&("a".repeat(1 << 20) + "!")));
    }

    #[test]
    fn sec46_the_memory_of_a_pattern_is_bounded_exactly() {
        let repeated = |count: usize| format!("a{{{count}}}");
        // The least bound under which the engine makes it: found apart from ours.
        let cost = |pattern: &str| {
            let (mut low, mut high) = (0, 64 << 20);
            while low < high {
                let middle = (low + high) / 2;
                let made =
                    RegexBuilder::new(pattern).size_limit(middle).dfa_size_limit(CACHE_BYTES_MAX).build();
                if made.is_ok() { high = middle } else { low = middle + 1 }
            }
            low
        };
        let is_taken = |count| Pattern::new(&repeated(count), true).is_ok();
        let (mut taken, mut refused) = (1, 1 << 20);
        assert!(is_taken(taken) && !is_taken(refused));
        while refused - taken > 1 {
            let middle = usize::midpoint(taken, refused);
            if is_taken(middle) { taken = middle } else { refused = middle }
        }
        let (at, past) = (cost(&repeated(taken)), cost(&repeated(refused)));
        assert!(at <= PATTERN_BYTES_MAX && PATTERN_BYTES_MAX < past, "{at} {past}");
        // One repeat costs far less than the bound, so it is this bound that stands between both.
        assert!(past - at < PATTERN_BYTES_MAX / 100, "{at} {past}");
    }

    proptest! {
        #[test]
        fn sec44_no_pattern_panics(pattern in r"[a\[\](){}?*+.^$|\\<>:=!&~0-9i-]{0,24}", text in any::<String>()) {
            if let Ok(pattern) = Pattern::new(&pattern, false) {
                let _ = pattern.is_match(&text);
            }
        }
    }
}
