//! Recorded remote support sessions.
//!
//! A session is one connection of one engineer under one grant. This crate has everything between the stream that carries
//! it and the operations that it runs:
//!
//! | module | what |
//! | --- | --- |
//! | [`record`] | the record of a session, byte by byte: chain, signatures, receipts, offline verification |
//! | [`redact`] | known secret forms are masked before anything is stored or shown |
//! | [`node_log`] | what happened on the node, signed with a key that moves forward; who had access when |
//! | [`protocol`] | what node and engineer say to each other, and the node's side as a pure state machine |
//! | [`operations`] | what an engineer may run: catalog, language, objects, formatting, providers |
//! | [`bundle`] | diagnostic data: manifest, archive, what left |
//! | [`ending`] | the signed statement of how a session ended |
//! | [`journal`] | the durable end of the record: nothing leaves it before it is on disk (feature `driver`) |
//! | [`disk`] | the file layer below it: what is durable when, and what tests let fail (feature `driver`) |
//! | [`channel`] | mutual TLS 1.3 with pinned Ed25519 keys inside any stream (feature `driver`) |
//! | [`host`] | the node's end: lets in, runs, records, shows, ends (feature `driver`) |
//! | [`invariant`] | what must hold at all times, and what is done if it does not (feature `driver`) |
//! | [`client`] | the engineer's end (feature `driver`) |
//! | [`forward`] | what happened, told to collectors in their languages |
//! | [`evidence`] | all records of a node held against its log and against what others keep (feature `driver`) |
//! | [`follow`] | a record while it is being written (feature `driver`) |
//! | [`keeping`] | how long contents are kept, what keeps them longer, and how they go (feature `driver`) |
//! | [`sealing`] | contents are closed before they go to the disk, and opened with the node's storage key (feature `driver`) |
//! | [`search`] | finds sessions by who, for what, how they ended, and what was typed or shown (feature `driver`) |
//! | [`history`] | sessions and transcripts of a node, read back (feature `driver`) |
//! | [`transcript`] | renderings of a record: text in PowerShell's shape with its parser, JSON, asciicast, CSV |
//!
//! Without default features the core remains: records and their verification, the protocol, the language and the catalog;
//! no runtime, no sockets, no clock, no C.

pub mod bundle;
pub mod ending;
pub mod forward;
pub mod node_log;
pub mod operations;
pub mod protocol;
pub mod record;
pub mod redact;
pub mod transcript;

#[cfg(feature = "driver")]
pub mod channel;
#[cfg(feature = "driver")]
pub mod client;
#[cfg(feature = "driver")]
pub mod disk;
#[cfg(feature = "driver")]
pub mod evidence;
#[cfg(feature = "driver")]
pub mod follow;
#[cfg(feature = "driver")]
pub mod history;
#[cfg(feature = "driver")]
pub mod host;
#[cfg(feature = "driver")]
pub mod invariant;
#[cfg(feature = "driver")]
pub mod journal;
#[cfg(feature = "driver")]
pub mod keeping;
#[cfg(feature = "driver")]
mod platform;
#[cfg(feature = "driver")]
pub mod sealing;
#[cfg(feature = "driver")]
pub mod search;
#[cfg(feature = "driver")]
pub mod seek;
#[cfg(feature = "driver")]
mod signing;
