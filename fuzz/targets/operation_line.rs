//! Any text as a line of an engineer: read or refused, and what was read prints back to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_consent::AccessLevel;
use rs_session::operations::{Context, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(line) = std::str::from_utf8(data) else { return };
    match parse(line) {
        Ok(pipeline) => {
            let again = parse(&pipeline.to_string()).expect("what was read can be printed and read again");
            assert_eq!(again.to_string(), pipeline.to_string());
        }
        Err(refused) => assert!(!refused.message.is_empty()),
    }
    for level in [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair] {
        let _ = Context::new(level).plan_line(line);
    }
});
