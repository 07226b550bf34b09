//! The program as its users meet it: command lines in, exit codes and text out.

#[cfg(unix)]
mod agent;
mod argv;
mod machine;
mod operator;
#[cfg(unix)]
mod prompt;
#[cfg(unix)]
mod relay;
mod requests;
mod usage;
