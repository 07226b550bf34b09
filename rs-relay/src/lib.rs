#![cfg_attr(all(feature = "client", feature = "server"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "client", feature = "server")),
    doc = "Azure Relay Hybrid Connections, in part."
)]

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "net")]
mod net;
pub mod proto;
#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "net")]
pub use net::{BoxedStream, Clock, ManualClock, ReadAhead, Stream, SystemClock};
