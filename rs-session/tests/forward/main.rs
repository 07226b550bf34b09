//! Events reach collectors: each once, in order, whatever breaks on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod crash;
mod node;
mod pace;
mod receivers;
mod syslog;
mod webhook;
