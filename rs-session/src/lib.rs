//! Recorded remote support sessions.
//!
//! A session is one connection of one engineer under one grant. This crate has everything between the stream that carries
//! it and the operations that it runs:
//!
//! | module | what |
//! | --- | --- |
//! | [`record`] | the record of a session, byte by byte: chain, signatures, receipts, offline verification |
//! | [`protocol`] | what node and engineer say to each other, and the node's side as a pure state machine |
//! | [`operations`] | what an engineer may run: catalog, language, objects, formatting, providers |
//! | [`journal`] | the durable end of the record: nothing leaves it before it is on disk (feature `driver`) |
//! | [`channel`] | mutual TLS 1.3 with pinned Ed25519 keys inside any stream (feature `driver`) |
//! | [`host`] | the node's end: lets in, runs, records, shows, ends (feature `driver`) |
//! | [`client`] | the engineer's end (feature `driver`) |
//! | [`history`] | sessions and transcripts of a node, read back (feature `driver`) |
//!
//! Without default features the core remains: records and their verification, the protocol, the language and the catalog;
//! no runtime, no sockets, no clock, no C.

pub mod operations;
pub mod protocol;
pub mod record;

#[cfg(feature = "driver")]
pub mod channel;
#[cfg(feature = "driver")]
pub mod client;
#[cfg(feature = "driver")]
pub mod history;
#[cfg(feature = "driver")]
pub mod host;
#[cfg(feature = "driver")]
pub mod journal;
#[cfg(feature = "driver")]
mod platform;
