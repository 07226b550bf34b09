//! Any bytes as something to be shown: no control byte and nothing that hides or reorders text reaches the terminal, and
//! no line is added.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::operations::objects::harmless;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let shown = harmless(&text);
    for c in shown.chars() {
        let steers = matches!(u32::from(c), 0x00..=0x08 | 0x0b..=0x1f | 0x7f..=0x9f
            | 0x061c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060 | 0x2066..=0x2069 | 0xfeff);
        assert!(!steers, "{c:?} of {text:?}");
    }
    assert_eq!(shown.matches('\n').count(), text.matches('\n').count());
});
