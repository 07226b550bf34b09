//! Any bytes as a signed statement: nobody here holds a key, so nothing may open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_consent::compat::{AccessView, parse_date, print_date};
use rs_consent::{Assignment, Envelope, Minutes};

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::from_json(data) {
        assert!(envelope.open::<Assignment>(&[envelope.claimed_key()]).is_err());
        assert_eq!(Envelope::from_json(envelope.to_json().as_bytes()).ok(), Some(envelope));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(minutes) = text.parse::<Minutes>() {
        assert!((60..=20160).contains(&minutes.get()));
    }
    if let Ok(date) = parse_date(text) {
        let _ = parse_date(&print_date(date));
    }
    let _ = text.parse::<AccessView>();
});
