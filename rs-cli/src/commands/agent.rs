//! `agent run|status|doctor`: the service of the node.

mod doctor;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::agent::{Agent, AgentSettings, Found};
use crate::commands::operation_worker;
use crate::commands::relay::Side;
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::network::ProxyArgs;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::relay_access::RelayAccess;
use crate::{logging, node, signals};

/// What to do with the agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Run the agent in the foreground until it is told to stop.
    Run(RunArgs),
    /// Say whether the agent runs, whether the relay is reached, and which sessions are open.
    Status,
    /// Look at service, store, clock, disk, proxy, relay and catalog, and say what is wrong, why, and what to do.
    ///
    /// Exit codes: 0 nothing is wrong (there may be advice); 6 the store is damaged; 1 a file, the clock, the disk or the
    /// proxy setting is at fault; 5 the agent or the relay is not reached. Of several faults the first in this order counts.
    Doctor(RunArgs),
}

/// Arguments of `agent run` and `agent doctor`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// File with the relay's connection string for listening; never given on the command line [default: that of this
    /// state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE", hide_env_values = true)]
    pub relay_credential_file: Option<PathBuf>,
    /// File with the certificate of the relay's authority, PEM [default: that of this state directory, else the
    /// system's authorities].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CA")]
    pub relay_ca: Option<PathBuf>,
    /// How the relay is reached.
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

impl RunArgs {
    fn relay(&self, context: &Context) -> Result<RelayAccess, Failure> {
        let (credential, authority) = (self.relay_credential_file.as_deref(), self.relay_ca.as_deref());
        Ok(RelayAccess::new(&context.state, Side::Listen, credential, authority, self.proxy.way()?))
    }
}

/// Runs an agent command.
///
/// # Errors
///
/// [`ErrorCode::AgentUnreachable`](crate::outcome::ErrorCode) where no agent answers a `status`, or another one runs already;
/// errors of keys, store and files.
pub fn run(command: &AgentCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        AgentCommand::Run(args) => serve(args, context),
        AgentCommand::Status => status(context),
        AgentCommand::Doctor(args) => doctor::run(args, context),
    }
}

fn serve(args: &RunArgs, context: &mut Context) -> Result<Outcome, Failure> {
    logging::to_stderr();
    let settings = AgentSettings {
        state: context.state.clone(),
        relay: args.relay(context)?,
        worker: operation_worker::program()?,
        clock: Arc::clone(&context.clock),
    };
    Context::block_on(async {
        let (agent, found) = Agent::start(settings).await?;
        greet(&found, context);
        signals::stop().await;
        context.note("Stopping: the gate is shut, sessions are being ended.");
        tokio::select! {
            ended = agent.stop() => context.note(format!("Stopped; {ended} session(s) ended.")),
            () = signals::stop() => context.note("Stopped at once."),
        }
        Ok(Outcome::Done)
    })
}

fn greet(found: &Found, context: &mut Context) {
    if found.interrupted > 0 {
        context.note(format!(
            "{} session(s) had been cut off; their records have an end with cause `interrupted` now.",
            found.interrupted
        ));
    }
    for damaged in &found.damaged {
        context.note(format!("ALARM: the record of a session is damaged and was left as it is: {damaged}"));
    }
    context.note(
        "The agent of this node runs. Without a consent it is connected to nothing.\n\
         Next, in another terminal: remote-support request submit --reason TEXT, or remote-support enable",
    );
}

fn status(context: &mut Context) -> Result<Outcome, Failure> {
    let status = node::agent(context).status()?;
    let sessions = serde_json::to_value(&status.sessions).map_err(|error| {
        Failure::new(crate::outcome::ErrorCode::Internal, "the status cannot be shown").because(error)
    })?;
    let record = Record::new()
        .field("Pid", status.pid)
        .field("StartedAt", status.started_at)
        .field("ConnectionStatus", status.connection_status)
        .field("ConnectionErrorMessage", status.connection_error_message)
        .field("Sessions", sessions);
    context.print_one(&record)?;
    Ok(Outcome::Done)
}
