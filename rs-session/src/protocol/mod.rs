//! The session protocol: what node and engineer say to each other inside the encrypted channel.
//!
//! Every message is one frame: `length:u32 kind:u8 body`, big-endian, where `length` counts kind and body.
//!
//! | kind | body | direction |
//! | --- | --- | --- |
//! | 1 control | one JSON object, [`ClientMessage`] or [`NodeMessage`] | both |
//! | 2 record | one record, byte by byte as it stands in the record file | node to engineer |
//!
//! ```text
//! engineer: hello (assignment) ──► node
//! node:     welcome, record 0      or  refused (code, reason)
//! engineer: invoke ──► node: record request, record output*, record finished     or record refusal
//! engineer: interrupt | receipt | renew | ping | bye
//! node:     record end, then the channel is closed
//! ```
//!
//! The node shows the engineer nothing but records, so both sides hold the same chain, and what was not recorded cannot
//! be shown. Lengths are checked before memory is taken; see the constants in [`wire`].

mod machine;
pub mod wire;

pub use crate::operations::offered::{Offered, OfferedParameter, Place, Takes};
pub use machine::{APPROVAL_WAIT, Action, Answer, Ask, Event, HostMachine, Planned, Planner, Refused, Then};
pub use wire::{
    CLIENT_FRAME_BYTES_MAX, CatalogInForce, ClientMessage, Decoder, Encoder, Form, HELLO_BYTES_MAX,
    LINE_BYTES_MAX, NODE_FRAME_BYTES_MAX, NodeMessage, PROTOCOL_VERSION, WireError, WireFrame,
};
