//! Any bytes on the session's channel, cut anywhere.
#![no_main]

use bytes::Buf as _;
use libfuzzer_sys::fuzz_target;
use rs_session::protocol::{ClientMessage, Decoder, Encoder, HELLO_BYTES_MAX, NodeMessage, WireFrame};

fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else { return };
    let mut decoder = Decoder::new(HELLO_BYTES_MAX);
    for piece in data.chunks(usize::from(*cut).max(1)) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(WireFrame::Control(body))) => {
                    if let Ok(message) = serde_json::from_slice::<ClientMessage>(&body) {
                        let mut encoder = Encoder::default();
                        encoder.control(&message).expect("a message can be written");
                        let mut other = Decoder::new(usize::MAX);
                        other.buffer().extend_from_slice(&encoder.copy_to_bytes(encoder.remaining()));
                        let Ok(Some(WireFrame::Control(again))) = other.next_frame() else {
                            panic!("and taken out again");
                        };
                        let again: ClientMessage = serde_json::from_slice(&again).expect("and read again");
                        assert_eq!(again, message);
                    }
                    let _: Result<NodeMessage, _> = serde_json::from_slice(&body);
                }
                Ok(Some(WireFrame::Record(_))) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
