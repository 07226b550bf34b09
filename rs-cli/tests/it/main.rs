//! The program as its users meet it: command lines in, exit codes and text out.

mod argv;
mod machine;
mod operator;
#[cfg(unix)]
mod prompt;
mod requests;
mod usage;
