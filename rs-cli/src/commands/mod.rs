//! One module per command: its arguments, and `run(args, &mut Context)`.
//!
//! To add a command: a module with an `…Args` type (or a subcommand enum) and `run`, a variant in
//! [`Command`], and a line in [`run`].

pub mod access;
pub mod agent;
pub mod approve;
pub mod completions;
pub mod connect;
pub mod console;
pub mod demo;
pub mod desk;
pub mod diagnostic_data;
pub mod disable;
pub mod enable;
pub(crate) mod ending;
pub mod engineer;
pub mod explain;
pub mod forward;
pub mod history;
pub mod man_pages;
pub mod node_log;
pub mod operation_worker;
pub mod operations;
pub mod proxy;
pub mod relay;
pub mod relay_serve;
pub mod request;
pub mod session;

use crate::cli::Command;
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Runs one command.
///
/// # Errors
///
/// The command's own; see its module.
pub fn run(command: Command, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        Command::Enable(args) => enable::run(&args, context),
        Command::Disable(args) => disable::run(&args, context),
        Command::Approve(args) => approve::run(&args, context),
        Command::Access(args) => access::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::NodeLog(command) => node_log::run(&command, context),
        Command::Session(command) => session::run(&command, context),
        Command::DiagnosticData(command) => diagnostic_data::run(&command, context),
        Command::Request(command) => request::run(&command, context),
        Command::Operations(args) => operations::run(&args, context),
        Command::Agent(command) => agent::run(&command, context),
        Command::Desk(command) => desk::run(&command, context),
        Command::Engineer(command) => engineer::run(&command, context),
        Command::Connect(args) => connect::run(&args, context),
        Command::Console(args) => console::run(&args, context),
        Command::Proxy(command) => proxy::run(&command, context),
        Command::Forward(command) => forward::run(&command, context),
        Command::Relay(command) => relay::run(&command, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::ManPages(args) => man_pages::run(&args, context),
        Command::OperationWorker(args) => Ok(operation_worker::run(&args)),
    }
}
