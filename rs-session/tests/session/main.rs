//! Whole sessions: host and client over an in-memory stream, with an engine whose every step the test decides.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod admission;
mod channel;
#[path = "../common/mod.rs"]
mod common;
mod course;
mod endings;
mod ends;
mod receipts;
mod world;
