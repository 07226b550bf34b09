//! Placeholder.

pub mod operations;
