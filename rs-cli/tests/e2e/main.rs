//! The program from outside, whole: relay, agent, operator, desk and engineer in processes of their own.
//!
//! Each test has a state directory, a relay on a free port and processes of its own; all of them are killed when the
//! test ends, however it ends. Whatever a test waits for is looked at until it is there, up to a deadline.
#![cfg(target_os = "linux")]

mod azurite;
mod clocks;
mod concurrency;
mod conditions;
mod console;
mod daemon;
mod diagnostic_data;
mod disk;
mod ending;
mod expiry;
mod export;
mod fleet;
mod forwarding;
mod four_shells;
mod hostile_relay;
mod kill9;
mod limits;
#[path = "../it/machine.rs"]
mod machine;
mod mail;
mod mistakes;
mod node_log;
mod notify;
mod own_account;
mod people;
mod pipeline;
mod power_cut;
mod processes;
mod records;
mod refusals;
mod repair;
mod revoke;
mod sealing;
mod secrets;
mod site;
mod taking_up;
mod tap;
#[path = "../it/terminal.rs"]
mod terminal;
mod watch;
#[path = "../page/wire.rs"]
mod wire;
mod write_ahead;
