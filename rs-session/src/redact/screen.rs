//! Passes over text in which nothing can be a secret, many bytes at a step.
//!
//! It sees less than the forms do and never misses: where it finds nothing, no form can. What it stops at is looked at line
//! by line.

use std::collections::BTreeSet;

use aho_corasick::packed;

use super::forms::{BLOCK_HINTS, FORMS};

/// Most bytes that are folded at once. The first steps are shorter, as in text full of hints each step ends at once.
const STEP_BYTES_MAX: usize = 4096;
const STEP_BYTES_MIN: usize = 128;
/// So much of the beginning of a hint is looked for. It also bounds by how much steps overlap.
const HINT_BYTES_MAX: usize = 8;
/// Hints shorter than this are told by a mark instead.
const HINT_BYTES_MIN: usize = 3;
/// Hints as long as this are looked for by themselves: beginnings of 4 bytes are taken for one that is not there far less
/// often than beginnings of 3.
const HINT_BYTES_LONG: usize = 4;
/// What stands in each hint that is shorter than [`HINT_BYTES_MIN`].
const MARKS: [u8; 2] = [b'$', b'~'];

/// Forms without hints are groups of characters with a dash between them. Distance of two dashes, and how many there are
/// at least: a product key has 4, a recovery key 7.
const DASHES: [(usize, usize); 2] = [(6, 4), (7, 7)];

/// Finds the beginnings of hints, whatever their case.
#[derive(Debug)]
pub(super) struct Screen {
    long: packed::Searcher,
    short: packed::Searcher,
}

impl Screen {
    /// `None` where the processor has no instructions for it.
    pub(super) fn new() -> Option<Self> {
        let hints: BTreeSet<String> = FORMS
            .iter()
            .flat_map(|form| form.hints)
            .chain(&BLOCK_HINTS)
            .filter(|hint| hint.len() >= HINT_BYTES_MIN)
            .map(|hint| hint.to_ascii_lowercase())
            .collect();
        // One that holds another is found with it.
        let alone =
            |hint: &&String| !hints.iter().any(|other| other != *hint && hint.contains(other.as_str()));
        let (long, short): (Vec<&String>, Vec<&String>) =
            hints.iter().filter(alone).partition(|hint| hint.len() >= HINT_BYTES_LONG);
        let searcher = |hints: Vec<&String>| {
            let begins = hints.into_iter().map(|hint| &hint[..hint.len().min(HINT_BYTES_MAX)]);
            packed::Config::new().heuristic_pattern_limits(false).builder().extend(begins).build()
        };
        Some(Self { long: searcher(long)?, short: searcher(short)? })
    }

    /// Somewhere in the first line that may hold a secret; `None`: no line does.
    pub(super) fn hit(&self, text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut folded = [0; STEP_BYTES_MAX + HINT_BYTES_MAX];
        let (mut at, mut step) = (0, STEP_BYTES_MIN);
        while at < bytes.len() {
            let end = (at + step).min(bytes.len());
            let seen = &bytes[at..(end + HINT_BYTES_MAX).min(bytes.len())];
            let folded = &mut folded[..seen.len()];
            folded.copy_from_slice(seen);
            folded.make_ascii_lowercase();
            // What begins behind this step is the next one's, or it would hide what that finds before it.
            let begins = |hints: &packed::Searcher| {
                hints.find(&*folded).map(|found| found.start()).filter(|hint| at + hint < end)
            };
            let mark = memchr::memchr2(MARKS[0], MARKS[1], &bytes[at..end]);
            let hits = [begins(&self.long), begins(&self.short), mark, dashes(bytes, at, end)];
            if let Some(hit) = hits.into_iter().flatten().min() {
                return Some(at + hit);
            }
            (at, step) = (end, (2 * step).min(STEP_BYTES_MAX));
        }
        None
    }
}

/// Where in `at..end` dashes begin to stand as in a key, counted from `at`.
fn dashes(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let stands = |dash: usize| bytes.get(dash) == Some(&b'-');
    let begins = |dash: usize| {
        DASHES.iter().any(|(apart, count)| (1..*count).all(|nth| stands(at + dash + nth * apart)))
            && bytes.get(at + dash + 1) != Some(&b'-')
    };
    memchr::memchr_iter(b'-', &bytes[at..end]).find(|dash| begins(*dash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever a hint or a key stands, how ever it is written, and whatever stands before it: the screen stops at its
        /// beginning or before.
        #[test]
        fn sec34_it_stops_at_every_hint(
            before in "[ a-zA-Z0-9\n=.,;:_\\-]{0,300}",
            filler in 0_usize..3 * STEP_BYTES_MAX,
            hint in prop::sample::select(FORMS.iter().flat_map(|form| form.hints).chain(&BLOCK_HINTS).copied()
                .chain(["BCDFG-HJKMN-PQRTV-WXY23-45678", "111111-222222-333333-444444-555555-666666-777777-888888"])
                .collect::<Vec<_>>()),
            upper in any::<bool>(),
        ) {
            let Some(screen) = Screen::new() else { return Ok(()) };
            let hint = if upper { hint.to_ascii_uppercase() } else { hint.to_owned() };
            let text = format!("{}{before}{hint}", "é0123456789\n".repeat(filler / 12));
            let (from, last) = (text.len() - hint.len(), text.len());
            let hit = screen.hit(&text);
            prop_assert!(hit.is_some_and(|hit| hit < last), "{hit:?} of {from}..{last}");
            let line = |at: usize| text[..at].matches('\n').count();
            prop_assert!(hit.is_some_and(|hit| text.is_char_boundary(hit) && line(hit) <= line(from)));
        }
    }

    #[test]
    fn sec34_a_hint_over_the_end_of_a_step_is_found() {
        let Some(screen) = Screen::new() else { return };
        for hint in FORMS.iter().flat_map(|form| form.hints).chain(&BLOCK_HINTS) {
            for at in STEP_BYTES_MIN - hint.len()..=STEP_BYTES_MIN {
                let text = format!("{}{hint}{}", "0".repeat(at), "0".repeat(2 * STEP_BYTES_MIN));
                assert!(screen.hit(&text).is_some_and(|hit| hit <= at + hint.len()), "{hint} at {at}");
            }
        }
    }

    #[test]
    fn dashes_of_tables_and_identifiers_are_passed() {
        let Some(screen) = Screen::new() else { return };
        let text = "------------------------\n123e4567-e89b-12d3-a456-426614174000 2025-11-28\n";
        assert_eq!(screen.hit(text), None);
    }

    #[test]
    fn each_hint_is_found_by_its_beginning_or_by_a_mark() {
        for hint in FORMS.iter().flat_map(|form| form.hints).chain(&BLOCK_HINTS) {
            assert!(
                hint.len() >= HINT_BYTES_MIN || hint.bytes().any(|byte| MARKS.contains(&byte)),
                "{hint:?} is short and has no mark"
            );
        }
        let unhinted: Vec<&str> =
            FORMS.iter().filter(|form| form.hints.is_empty()).map(|form| form.name).collect();
        assert_eq!(unhinted, ["bitlocker-recovery-key", "product-key"], "dashes() knows these two");
    }
}
