//! Two texts, divided by a line break: a pattern of `-Match` and `-Like`, and what it is held against. Neither panics, both
//! say the same again, and a text fits itself as a wildcard once its special signs are taken literally.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::operations::compare::{has_wildcard, wildcard};
use rs_session::operations::pattern::{PATTERN_CHARS_MAX, Pattern};

fuzz_target!(|data: &[u8]| {
    let Ok(both) = std::str::from_utf8(data) else { return };
    let (pattern, text) = both.split_once('\n').unwrap_or((both, both));
    for case_sensitive in [false, true] {
        match Pattern::new(pattern, case_sensitive) {
            Ok(made) => {
                assert!(pattern.chars().count() <= PATTERN_CHARS_MAX);
                assert_eq!(made.is_match(text), made.clone().is_match(text));
            }
            Err(why) => assert!(!why.is_empty()),
        }
        // The cost is the product of both lengths, so the longest are left to the test of that.
        if pattern.len() * text.len() > 1 << 20 {
            continue;
        }
        let fits = wildcard(pattern, text, case_sensitive);
        if !has_wildcard(pattern) && !pattern.contains(['`', ']']) {
            assert!(fits || pattern != text, "{pattern:?} is {text:?}");
        }
        assert!(wildcard("*", text, case_sensitive));
        let literal: String = text
            .chars()
            .flat_map(|c| matches!(c, '*' | '?' | '[' | ']' | '`').then_some('`').into_iter().chain([c]))
            .collect();
        assert!(wildcard(&literal, text, case_sensitive), "{literal:?} is not {text:?}");
    }
});
