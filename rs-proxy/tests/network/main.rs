//! Connections through proxies, of our own and real ones, on loopback only.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod bed;
mod probe;
mod programs;
mod real;
