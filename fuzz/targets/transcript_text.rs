//! Any text as a transcript: what was read prints, and prints back to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::node_log::{Line, verify};
use rs_session::transcript::text::{parse, print};

fuzz_target!(|data: &[u8]| {
    // No key signed this, so no log of it holds; and what is read as a line prints back byte by byte.
    assert!(!verify(data, None, |_, _| {}).0.intact);
    if let Ok(line) = Line::decode(data) {
        assert_eq!(line.encode(), data);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(parsed) = parse(text) {
        let printed = print(&parsed);
        let again = parse(&printed).expect("what was printed can be parsed");
        assert_eq!(print(&again), printed);
    }
});
