//! Azure Relay Hybrid Connections.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "net")]
mod net;
pub mod proto;
#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "net")]
pub use net::{BoxedStream, Clock, ManualClock, Stream, SystemClock};
