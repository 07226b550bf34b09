//! Any text in front of the cursor: what is offered takes the place of the last word, fits it, and is what the node has.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rs_consent::AccessLevel;
use rs_session::operations::complete::WORDS_MAX;
use rs_session::operations::{Context, Offered, complete, offered};

static OFFERED: LazyLock<Vec<Offered>> =
    LazyLock::new(|| offered(&Context::new(AccessLevel::DiagnosticsRepair)));

fuzz_target!(|data: &[u8]| {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let found = complete(line, &OFFERED);
    assert!(line.is_char_boundary(found.start) && found.words.len() <= WORDS_MAX);
    let unfinished = &line[found.start..];
    for word in &found.words {
        let begins = word.get(..unfinished.len()).is_some_and(|own| own.eq_ignore_ascii_case(unfinished));
        assert!(begins, "{word:?} does not go on from {unfinished:?}");
        assert!(!word.is_empty() && !word.chars().any(char::is_control), "{word:?}");
    }
    // Nothing is offered twice, and the same line is offered the same.
    let mut words = found.words.clone();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), found.words.len(), "{:?}", found.words);
    assert_eq!(complete(line, &OFFERED), found);
});
