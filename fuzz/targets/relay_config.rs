//! Any text as a relay's configuration, and as the claims of a token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_relay::config;
use rs_relay::proto::JwtClaims;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = serde_json::from_str::<JwtClaims>(text);
    let _ = config::has_keys(text);
    if let Err(error) = config::parse(text, |_| Ok("canary-in-a-key-file".to_owned())) {
        assert!(!format!("{error} {error:?}").contains("canary-in-a-key-file"));
    }
});
