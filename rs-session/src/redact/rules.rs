//! The forms and patterns in force, compiled: where the secrets of a line are.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use regex::{Captures, Regex};

use super::forms::{BLOCK_HINTS, Check, FORMS, KEY_NAME, PASSWORD_NAME};
use super::patterns::Pattern;
use super::screen::Screen;

/// How far back from a match the rest of its name is looked for, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Which secrets are masked: the known forms, and the owner's own patterns.
///
/// ```
/// use rs_session::redact::{Commitments, MaskKey, Rules, parse_patterns};
/// use uuid::Uuid;
///
/// let rules = Rules::with(parse_patterns("ticket TCK-[0-9]{6}").unwrap());
/// let mut commitments = Commitments::new(MaskKey::from_bytes([7; 32]), Uuid::nil());
/// let piece = rules.mask("TCK-123456 password=hunter2", &mut commitments);
/// assert_eq!(piece.text, "[masked: ticket, 10 bytes] password=[masked: password, 7 bytes]");
/// assert_eq!(piece.masked.len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    /// Passes over most lines at once.
    screen: Option<Screen>,
    /// Finds in one go a hint of any known form, or a form that has none: most lines hold neither.
    exact: Regex,
    /// Which hints a line holds.
    hints: AhoCorasick,
    /// For each hint the rule that it calls for.
    called: Vec<usize>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    regex: Regex,
    check: Check,
    always: bool,
    own: bool,
}

/// A secret in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// What is to be masked.
    pub(super) secret: Range<usize>,
    /// Where the match begins that led there: the name in front belongs to it.
    pub(super) from: usize,
    pub(super) form: String,
    /// It may go on in the lines that follow.
    pub(super) opens: bool,
}

fn known() -> &'static Rules {
    static KNOWN: OnceLock<Rules> = OnceLock::new();
    KNOWN.get_or_init(|| Rules::compile(Vec::new()))
}

impl Rules {
    /// The known forms alone.
    #[must_use]
    pub fn known() -> Self {
        known().clone()
    }

    /// The known forms and these patterns of the owner.
    #[must_use]
    pub fn with(patterns: Vec<Pattern>) -> Self {
        if patterns.is_empty() { Self::known() } else { Self::compile(patterns) }
    }

    fn compile(patterns: Vec<Pattern>) -> Self {
        #[expect(clippy::expect_used, reason = "constants, compiled by every test")]
        let known = FORMS.iter().map(|form| Rule {
            name: form.name.to_owned(),
            regex: Regex::new(form.expression).expect("a known form is an expression"),
            check: form.check,
            always: form.hints.is_empty(),
            own: false,
        });
        let own = patterns.into_iter().map(|pattern| Rule {
            name: pattern.name,
            regex: pattern.regex,
            check: Check::None,
            always: true,
            own: true,
        });
        let rules = known.chain(own).collect();
        let hints =
            FORMS.iter().enumerate().flat_map(|(rule, form)| form.hints.iter().map(move |hint| (hint, rule)));
        let (hints, called): (Vec<&str>, Vec<usize>) = hints.map(|(hint, rule)| (*hint, rule)).unzip();
        #[expect(clippy::expect_used, reason = "constants, compiled by every test")]
        let hints =
            AhoCorasick::builder().ascii_case_insensitive(true).build(hints).expect("hints are a few words");
        Self(Arc::new(Compiled { screen: Screen::new(), exact: exact(), hints, called, rules }))
    }

    /// Where the first line of `text` begins that has to be looked at, line by line: no line before it holds a secret, by
    /// itself or together with others.
    pub(super) fn first_suspect(&self, text: &str) -> Option<usize> {
        // The owner's patterns may be anything, and are written for a line.
        let hit = match &self.0.screen {
            _ if self.0.rules.iter().any(|rule| rule.own) => Some(0),
            Some(screen) => screen.hit(text),
            None => self.hit(text),
        };
        hit.map(|hit| text.as_bytes()[..hit].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1))
    }

    /// Somewhere in the first line that holds a hint, or a form that has none.
    fn hit(&self, text: &str) -> Option<usize> {
        self.0.exact.shortest_match_at(text, 0)
    }

    /// Which rules have to look at `text`.
    fn rules_for(&self, text: &str) -> Vec<bool> {
        if self.hit(text).is_none() {
            return self.0.rules.iter().map(|rule| rule.own).collect();
        }
        let mut wanted: Vec<bool> = self.0.rules.iter().map(|rule| rule.always).collect();
        for hit in self.0.hints.find_overlapping_iter(text) {
            wanted[self.0.called[hit.pattern().as_usize()]] = true;
        }
        wanted
    }

    /// The secrets in `text`, which holds no line end, in order and apart from each other; only what ends behind `from`.
    pub(super) fn find(&self, text: &str, from: usize) -> Vec<Found> {
        let mut found = Vec::new();
        for (rule, wanted) in self.0.rules.iter().zip(self.rules_for(text)) {
            if wanted {
                rule.find(text, from, &mut found);
            }
        }
        merge(found)
    }
}

/// All hints of the known forms, the forms that have none, and what begins a block of which single lines say nothing. No
/// match of it reaches over a line end.
fn exact() -> Regex {
    let hints = FORMS.iter().flat_map(|form| form.hints).chain(&BLOCK_HINTS);
    let hints: Vec<String> = hints.map(|hint| regex::escape(hint)).collect();
    let others = FORMS.iter().filter(|form| form.hints.is_empty()).map(|form| form.expression);
    let parts: Vec<String> =
        std::iter::once(format!("(?i-u:{})", hints.join("|"))).chain(others.map(str::to_owned)).collect();
    #[expect(clippy::expect_used, reason = "constants, compiled by every test")]
    Regex::new(&parts.join("|")).expect("known forms are expressions")
}

impl Rule {
    fn find(&self, text: &str, from: usize, found: &mut Vec<Found>) {
        let mut at = 0;
        while let Some(captures) = self.regex.captures_at(text, at) {
            let Some(whole) = captures.get(0) else { return };
            let secret = self.secret(&captures, text);
            let accepted = self.check.accepts(name(text, whole.start()), &text[secret.clone()]);
            // A name whose value is none may stand in front of another name.
            at = if accepted { whole.end() } else { secret.start }
                .max(text.ceil_char_boundary(whole.start() + 1));
            if accepted && secret.end > from {
                let opens = self.check == Check::Block
                    && secret.end == text.len()
                    && !is_closed(&text[secret.clone()]);
                found.push(Found { secret, from: whole.start(), form: self.name.clone(), opens });
            }
            if at > text.len() {
                return;
            }
        }
    }

    fn secret(&self, captures: &Captures<'_>, text: &str) -> Range<usize> {
        let group = if self.own { captures.name("secret") } else { captures.iter().skip(1).flatten().next() };
        let Some(group) = group.or_else(|| captures.get(0)) else { return 0..0 };
        match self.check {
            Check::Password | Check::Word => {
                group.start()..group.start() + without_next_parameter(&text[group.range()])
            }
            _ => group.range(),
        }
    }
}

/// The name that a match stands in: from where it begins, or the part of it before.
fn name(text: &str, at: usize) -> &str {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let back =
        text.as_bytes()[..at].iter().rev().take(NAME_BYTES_MAX).take_while(|byte| part(**byte)).count();
    text[at - back..].trim_start_matches(|char: char| !char.is_ascii_alphanumeric())
}

/// `password=x&user=y` and `password: x, user: y`: how far the value goes.
fn without_next_parameter(value: &str) -> usize {
    let next = |at: usize| {
        let rest = value[at + 1..].trim_start_matches(' ').trim_start_matches(['"', '\'']);
        let name = rest.trim_start_matches(|char: char| char.is_ascii_alphanumeric() || "_.-".contains(char));
        name.len() < rest.len() && name.trim_start_matches(['"', '\'', ' ']).starts_with(['=', ':'])
    };
    value.match_indices(['&', ',']).map(|(at, _)| at).find(|at| *at > 0 && next(*at)).unwrap_or(value.len())
}

pub(super) const BLOCK_END: &str = "PRIVATE KEY";

fn is_closed(block: &str) -> bool {
    block.find("END ").is_some_and(|at| block[at..].contains(BLOCK_END))
}

fn merge(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|found| (found.secret.start, usize::MAX - found.secret.end));
    let mut merged: Vec<Found> = Vec::with_capacity(found.len());
    for next in found {
        match merged.last_mut() {
            Some(last) if next.secret.start < last.secret.end => {
                last.secret.end = last.secret.end.max(next.secret.end);
                last.from = last.from.min(next.from);
                last.opens |= next.opens;
            }
            _ => merged.push(next),
        }
    }
    merged
}

/// What the name of a property says about its value.
pub(super) fn check_of_name(name: &str) -> Option<(&'static str, Check)> {
    struct Names {
        password: Regex,
        key: Regex,
    }
    static NAMES: OnceLock<Names> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "constants, compiled by every test")]
    let names = NAMES.get_or_init(|| Names {
        password: Regex::new(PASSWORD_NAME).expect("an expression"),
        key: Regex::new(KEY_NAME).expect("an expression"),
    });
    if names.password.is_match(name) {
        Some(("password", Check::Password))
    } else if names.key.is_match(name) {
        Some(("connection-key", Check::Key))
    } else {
        None
    }
}
