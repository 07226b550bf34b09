//! Any answer to the question about neighbours: it is read or not, never a panic, and never more than it has room for.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../rs-session/src/operations/native/platform/linux/neighbors/message.rs"]
#[allow(dead_code)]
mod message;

/// Least bytes of a message with a neighbour in it: its head, the neighbour, an address.
const NEIGHBOR_BYTES_MIN: usize = 16 + 12 + 4 + 4;

fuzz_target!(|data: &[u8]| {
    if let Some(read) = message::read(data) {
        assert!(read.neighbors.len() * NEIGHBOR_BYTES_MIN <= data.len() + 3);
        for neighbor in &read.neighbors {
            assert!(neighbor.hardware.len() <= data.len() * 3);
        }
    }
});
