//! `agent run|status|version|doctor`, and `service` on Windows: the service of the node.

pub(crate) mod doctor;
#[cfg(windows)]
pub mod windows_service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use rs_session::invariant;

use crate::agent::{Agent, AgentSettings, Found};
use crate::commands::operation_worker;
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::network::ProxyArgs;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::page::{Page, PageSettings};
use crate::relay_access::{RelayAccess, Side};
use crate::{last_resort, logging, node, service, signals};

/// What to do with the agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Run the agent in the foreground until it is told to stop.
    Run(ServeArgs),
    /// Make the agent a service of this machine, or remove it.
    #[cfg(windows)]
    #[command(subcommand)]
    Service(windows_service::ServiceCommand),
    /// Say whether the agent runs, whether the relay is reached, and which sessions are open.
    Status,
    /// Say which version the agent is of, which version of the local interface it speaks, and what it can be asked.
    Version,
    /// Look at service, store, clock, disk, proxy, relay and catalog, and say what is wrong, why, and what to do.
    ///
    /// Exit codes: 0 nothing is wrong (there may be advice); 6 the store is damaged; 1 a file, the clock, the disk or the
    /// proxy setting is at fault; 5 the agent or the relay is not reached. Of several faults the first in this order counts.
    Doctor(RunArgs),
    /// Hand the files of this node over to the account that the agent runs as, and tell root of the consent in force.
    ///
    /// Stop the agent before. What is in the state directory, and the storage key, belong to the account afterwards; the
    /// commands of the owner go on to be run by root. A package does this by itself.
    #[cfg(target_os = "linux")]
    HandOver(HandOverArgs),
    /// Answers one request of an agent that is not root, on the connection that is standard input.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    RootPart,
}

/// Arguments of `agent hand-over`.
#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
pub struct HandOverArgs {
    /// Name of the account, as in /etc/passwd.
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: crate::dry_run::DryRun,
}

/// Arguments of `agent run`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// How the relay is reached.
    #[command(flatten)]
    pub run: RunArgs,
    /// Serve the operator's page too, on this loopback address; `remote-support console --of-agent` says where it is, with a
    /// code for it [with the option alone: a free port of 127.0.0.1].
    #[arg(
        long, value_name = "ADDRESS:PORT", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:0",
        env = "REMOTE_SUPPORT_CONSOLE"
    )]
    pub console: Option<SocketAddr>,
    /// Socket of the part that runs as root, for an agent that does not (Linux); systemd's unit for it listens there.
    #[arg(long, value_name = "PATH", env = "REMOTE_SUPPORT_ROOT_PART_SOCKET")]
    pub root_part_socket: Option<PathBuf>,
}

/// Arguments of `agent doctor`, and the way to the relay of `agent run` and `console`.
#[derive(Debug, Clone, Default, Args)]
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
        #[cfg(windows)]
        AgentCommand::Service(command) => windows_service::run(command, context),
        AgentCommand::Status => status(context),
        AgentCommand::Version => version(context),
        AgentCommand::Doctor(args) => doctor::run(args, context),
        #[cfg(target_os = "linux")]
        AgentCommand::HandOver(args) => crate::root_part::hand_over(args, context),
        #[cfg(target_os = "linux")]
        AgentCommand::RootPart => crate::root_part::serve(context),
    }
}

fn serve(args: &ServeArgs, context: &mut Context) -> Result<Outcome, Failure> {
    logging::to_stderr();
    #[cfg(target_os = "linux")]
    if let Some(socket) = &args.root_part_socket {
        crate::root_part::asked_at(socket);
    }
    invariant::when_broken(|broken| last_resort::end_own_access(broken));
    let settings = AgentSettings {
        state: context.state.clone(),
        storage: context.storage.clone(),
        relay: args.run.relay(context)?,
        worker: operation_worker::program()?,
        root_part: args.root_part_socket.clone(),
        clock: Arc::clone(&context.clock),
    };
    Context::block_on(async {
        // From here on an order to stop is carried out in good order, also one that comes during the start.
        let mut stops = signals::Stops::listen();
        // An address that cannot be had is said before anybody can connect.
        let page = match args.console {
            Some(listen) => Some(Page::bind(listen, page_settings(args, context)).await?),
            None => None,
        };
        let (agent, found) = tokio::select! {
            started = Agent::start(settings) => started?,
            // Nobody can be in yet.
            () = stops.next() => {
                context.note("Stopped before it was ready.");
                return Ok(Outcome::Done);
            }
        };
        if let Some(page) = page {
            agent.offer_page(&page);
            context.note(format!(
                "The page of this node: {}\nGet a code to sign in with `remote-support console --of-agent`.",
                page.address()
            ));
            tokio::spawn(page.serve());
        }
        greet(&found, context);
        service::ready("The agent of this node runs.");
        tokio::select! {
            () = stops.next() => {}
            // What a call on the control socket would get, it gets.
            () = service::watchdog(|| drop(agent.status())) => {}
        }
        service::stopping();
        context.note("Stopping: the gate is shut, sessions are being ended.");
        tokio::select! {
            ended = agent.stop() => context.note(format!("Stopped; {ended} session(s) ended.")),
            () = stops.next() => context.note("Stopped at once."),
        }
        Ok(Outcome::Done)
    })
}

/// Codes for the agent's page are asked for over the control socket, so that none is in a log.
fn page_settings(args: &ServeArgs, context: &Context) -> PageSettings {
    PageSettings {
        state: context.state.clone(),
        storage: context.storage.clone(),
        clock: Arc::clone(&context.clock),
        run: args.run.clone(),
        tell_code: None,
        // An agent asks nobody; `console` does, in the identity of who runs it.
        board: None,
    }
}

fn greet(found: &Found, context: &mut Context) {
    if found.leftovers > 0 {
        context.note(format!(
            "{} operation(s) that an earlier agent had left behind were ended.",
            found.leftovers
        ));
    }
    if found.interrupted > 0 {
        context.note(format!(
            "{} session(s) had been cut off; their records have an end with cause `interrupted` now.",
            found.interrupted
        ));
    }
    for damaged in &found.damaged {
        context.note(format!("ALARM: the record of a session is damaged and was left as it is: {damaged}"));
    }
    if let Some(trouble) = &found.log_trouble {
        context.note(format!(
            "ALARM: {trouble}. No session can begin: see `remote-support session verify` and `node-log restart`."
        ));
    }
    if let Some(trouble) = &found.storage_trouble {
        context.note(format!(
            "ALARM: {trouble}\nNo session can begin before that is done and the agent started anew."
        ));
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

fn version(context: &mut Context) -> Result<Outcome, Failure> {
    let version = node::agent(context).version()?;
    let record = Record::new()
        .field("Api", version.api)
        .field("Program", version.program)
        .field("Catalog", version.catalog)
        .field("Requests", version.requests);
    context.print_one(&record)?;
    Ok(Outcome::Done)
}
