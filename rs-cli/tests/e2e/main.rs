//! The program from outside, whole: relay, agent, operator, desk and engineer in processes of their own.
//!
//! Each test has a state directory, a relay on a free port and processes of its own; all of them are killed when the
//! test ends, however it ends. Whatever a test waits for is looked at until it is there, up to a deadline.
#![cfg(target_os = "linux")]

mod concurrency;
mod daemon;
mod disk;
mod expiry;
mod four_shells;
mod hostile_relay;
mod kill9;
#[path = "../it/machine.rs"]
mod machine;
mod mistakes;
mod processes;
mod records;
mod refusals;
mod revoke;
mod secrets;
mod site;
mod tap;
