//! Any text as a name, a pattern, or an allowlist of any product.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_proxy::allowlist::ListFormat;
use rs_proxy::settings::ProxyUrl;
use rs_proxy::{HostName, HostPattern, Target};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<HostName>() {
        assert_eq!(name.to_string().parse::<HostName>().ok(), Some(name));
    }
    let _ = text.parse::<ListFormat>();
    let _ = text.parse::<ProxyUrl>();
    if let (Ok(pattern), Ok(target)) = (text.parse::<HostPattern>(), text.parse::<Target>()) {
        // A pattern with a star is never a target.
        assert!(!pattern.to_string().contains('*') || !target.to_string().contains('*'));
    }
});
