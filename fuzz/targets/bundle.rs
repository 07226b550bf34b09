//! Any bytes as a bundle's manifest: read within its bounds or refused, and what was read is written to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::bundle::{Manifest, PARTS_MAX};

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::decode(data) else { return };
    assert!(manifest.parts.len() <= PARTS_MAX);
    assert!(!manifest.describe().is_empty());
    let bytes = manifest.encode().expect("what was read can be written");
    // Written with indents it may be longer than a manifest may be.
    if let Ok(again) = Manifest::decode(&bytes) {
        assert_eq!(again, manifest);
    }
});
