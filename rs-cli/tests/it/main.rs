//! The program as its users meet it: command lines in, exit codes and text out.

#[cfg(unix)]
mod agent;
mod argv;
#[cfg(unix)]
mod doctor;
mod machine;
mod operations;
mod operator;
#[cfg(unix)]
mod prompt;
mod records;
#[cfg(unix)]
mod relay;
mod requests;
/// Sessions on record, as the tests of the records themselves make them.
#[path = "../../../rs-session/tests/common/mod.rs"]
mod story;
mod usage;
