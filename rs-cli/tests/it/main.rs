//! The program as its users meet it: command lines in, exit codes and text out.

#[cfg(unix)]
mod agent;
mod argv;
#[cfg(unix)]
mod doctor;
mod documents;
mod dry_run;
mod everywhere;
mod fixtures;
mod fleet;
mod keeping;
mod machine;
mod operations;
mod operator;
mod powershell;
#[cfg(unix)]
mod prompt;
mod records;
#[cfg(unix)]
mod relay;
mod replay;
mod requests;
/// Sessions on record, as the tests of the records themselves make them.
#[path = "../../../rs-session/tests/common/mod.rs"]
mod story;
#[cfg(unix)]
mod terminal;
mod troubleshooting;
mod usage;
#[cfg(target_os = "linux")]
mod views;
