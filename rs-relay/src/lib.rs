//! Azure Relay Hybrid Connections.

pub mod proto;
