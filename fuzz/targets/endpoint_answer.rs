//! Any bytes from a PowerShell endpoint: frames, messages, values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::operations::powershell::{
    CallMessage, FinishMessage, HEADER_BYTES, Hello, Kind, ObjectMessage, TextMessage, read_header,
};

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Ok((kind, length)) = read_header(*head) else { return };
        assert!(length <= kind.bytes_max());
        let Some((payload, after)) = after.split_at_checked(length) else { return };
        rest = after;
        match kind {
            Kind::Hello => drop(serde_json::from_slice::<Hello>(payload)),
            Kind::Text => drop(serde_json::from_slice::<TextMessage>(payload)),
            Kind::Finish => drop(serde_json::from_slice::<FinishMessage>(payload)),
            Kind::Object => {
                if let Ok(message) = serde_json::from_slice::<ObjectMessage>(payload) {
                    let again = serde_json::to_vec(&message).expect("a message can be written");
                    let again: ObjectMessage = serde_json::from_slice(&again).expect("and read again");
                    assert_eq!(again.number, message.number);
                    drop(message.value.into_value());
                }
            }
            Kind::Call => {
                if let Ok(message) = serde_json::from_slice::<CallMessage>(payload) {
                    let call = message.call();
                    if let Ok(again) = CallMessage::new(message.number, &call, message.module.as_deref()) {
                        assert_eq!(again.call(), call);
                    }
                }
            }
            _ => {}
        }
    }
});
