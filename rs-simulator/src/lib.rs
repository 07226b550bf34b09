#![doc = include_str!("../README.md")]

mod answers;
mod disk;
mod error;
mod network;
mod node;
mod session;
mod simulator;

pub use answers::Answers;
pub use disk::MemoryDisk;
pub use error::Error;
pub use network::Network;
pub use session::{Ran, Session};
pub use simulator::{Builder, Engineer, NODE_NAME, START, Simulator};
