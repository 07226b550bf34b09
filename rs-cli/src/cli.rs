//! The command tree: every command, option, default and range, as `--help` shows it.
//!
//! The arguments of a command stand in its own module. The product's cmdlet names are aliases here;
//! [`argv`](crate::argv) finds them without regard to case.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    access, agent, approve, completions, connect, console, demo, desk, diagnostic_data, disable, enable,
    engineer, explain, forward, history, man_pages, node_log, operation_worker, operations, proxy, relay,
    request, session,
};
use crate::output::OutputMode;

/// Where to begin, below the list of commands.
const FIRST_STEPS: &str = "\
First steps:
  see all of it on this machine    remote-support demo
  owner of a node                  remote-support agent run
                                   remote-support request submit --reason TEXT
                                   remote-support enable --access-level Diagnostics
                                   remote-support session watch
                                   remote-support disable
  support desk                     remote-support desk init, then desk open and desk assign
  engineer                         remote-support engineer init, then connect
  relay of your own                remote-support relay serve
Each command says what comes next.";

/// Remote support for Azure Local: consent, sessions on record, and a relay that can be self-hosted.
///
/// Commands and options can be written as in PowerShell, without regard to case:
/// `remote-support Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440`.
///
/// Exit codes: 0 done; 1 failed; 2 usage or invalid value; 3 declined or refused by consent; 4 not found;
/// 5 network, relay or agent unreachable; 6 integrity check failed; 7 done in part, such as on some nodes only.
#[derive(Debug, Parser)]
#[command(
    name = "remote-support",
    version,
    propagate_version = true,
    max_term_width = 120,
    after_help = FIRST_STEPS
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Global {
    /// Directory for keys, consents and records [default: that of the user, for root /var/lib/remote-support].
    #[arg(long, global = true, value_name = "DIR", env = "REMOTE_SUPPORT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// File with the key that closes the contents of records; made at first need, never in the state directory
    /// [default: storage.key in the user's ~/.config/remote-support, for root in /etc/remote-support].
    #[arg(long, global = true, value_name = "FILE", env = "REMOTE_SUPPORT_STORAGE_KEY_FILE")]
    pub storage_key_file: Option<PathBuf>,
    /// File with the passphrase that closes the contents of records, `-` for standard input; where the policy of the node
    /// wants one.
    #[arg(long, global = true, value_name = "FILE", env = "REMOTE_SUPPORT_STORAGE_PASSPHRASE_FILE")]
    pub storage_passphrase_file: Option<PathBuf>,
    /// Form of the results.
    #[arg(
        long,
        global = true,
        value_enum,
        ignore_case = true,
        value_name = "FORM",
        default_value_t,
        env = "REMOTE_SUPPORT_OUTPUT"
    )]
    pub output: OutputMode,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give consent: show the terms and what the level permits, ask, and grant access for a limited time.
    #[command(visible_alias = "Enable-RemoteSupport", alias = "Enable-AzStackHCIRemoteSupport")]
    Enable(enable::EnableArgs),
    /// Revoke consent and end all sessions; returns when they are down.
    #[command(visible_alias = "Disable-RemoteSupport", alias = "Disable-AzStackHCIRemoteSupport")]
    Disable(disable::DisableArgs),
    /// Approve of a consent that waits for a second person, as that person.
    #[command(visible_alias = "Approve-RemoteSupport")]
    Approve(approve::ApproveArgs),
    /// List consents that are in force.
    #[command(visible_alias = "Get-RemoteSupportAccess", alias = "Get-AzStackHCIRemoteSupportAccess")]
    Access(access::AccessArgs),
    /// List sessions and show transcripts.
    #[command(
        visible_alias = "Get-RemoteSupportSessionHistory",
        alias = "Get-AzStackHCIRemoteSupportSessionHistory"
    )]
    History(history::HistoryArgs),
    /// Watch, replay, verify or end sessions.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// The node's log: who had access when, and a head of it for somebody else to keep.
    #[command(subcommand)]
    NodeLog(node_log::NodeLogCommand),
    /// Collected logs: what is there, what left, and where it may go.
    #[command(subcommand)]
    DiagnosticData(diagnostic_data::DiagnosticDataCommand),
    /// Ask for support, and confirm the desk that answers.
    #[command(subcommand)]
    Request(request::RequestCommand),
    /// List what a level permits.
    Operations(operations::OperationsArgs),
    /// The service of the node.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// The support organisation's side: open requests and assign engineers.
    #[command(subcommand)]
    Desk(desk::DeskCommand),
    /// The engineer's own key.
    #[command(subcommand)]
    Engineer(engineer::EngineerCommand),
    /// Connect to a node as the assigned engineer.
    Connect(connect::ConnectArgs),
    /// Serve the operator's page on this machine: status, grant, revoke, sessions, approvals, requests, proxy and health.
    Console(console::ConsoleArgs),
    /// What must be reachable, and whether a proxy's list and the network let it through.
    #[command(subcommand)]
    Proxy(proxy::ProxyCommand),
    /// Tell collectors (SIEM), programs and people what happens on this node.
    #[command(subcommand, visible_alias = "notify")]
    Forward(forward::ForwardCommand),
    /// A self-hosted relay and its credentials.
    #[command(subcommand)]
    Relay(relay::RelayCommand),
    /// Show the whole path on this machine: relay, node, desk, engineer, revoke and verification.
    Demo(demo::DemoArgs),
    /// Say what a code or a message means, and what can be done.
    Explain(explain::ExplainArgs),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
    /// Write a manual page for each command.
    ManPages(man_pages::ManPagesArgs),
    /// Runs one operation for the agent, in a process of its own.
    #[command(hide = true)]
    OperationWorker(operation_worker::OperationWorkerArgs),
}

impl Command {
    /// Whether it works with the files of this node, and so with the rights of the account that they belong to.
    pub(crate) fn works_in_state(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Agent(agent::AgentCommand::HandOver(_) | agent::AgentCommand::RootPart) => false,
            Self::Operations(_)
            | Self::Proxy(_)
            | Self::Demo(_)
            | Self::Completions(_)
            | Self::ManPages(_)
            | Self::OperationWorker(_) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::fleet;

    fn walk(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        command.get_subcommands().for_each(|inner| walk(inner, visit));
    }

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help_and_a_variable_of_its_own_name() {
        walk(&Cli::command(), &mut |command| {
            // What is hidden is for tests: no setting.
            let options =
                command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set());
            for arg in options {
                let name = arg.get_long().unwrap_or_default();
                assert!(arg.get_help().is_some(), "{} --{name} has no help", command.get_name());
                if enable::CONSENT_OPTIONS.contains(&name) || fleet::NODE_OPTIONS.contains(&name) {
                    assert_eq!(arg.get_env(), None, "{name}: an act or its place, not a setting");
                    continue;
                }
                let variable = format!("REMOTE_SUPPORT_{}", name.replace('-', "_").to_uppercase());
                assert_eq!(arg.get_env(), Some(variable.as_ref()), "{} --{name}", command.get_name());
            }
        });
    }

    #[test]
    fn sec33_no_option_takes_a_secret() {
        walk(&Cli::command(), &mut |command| {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                let secret = ["credential", "secret", "password", "token", "sas"]
                    .iter()
                    .any(|word| name.contains(word));
                assert!(!secret || name.ends_with("-file"), "{} --{name}", command.get_name());
                assert!(!secret || arg.is_hide_env_values_set(), "{} --{name}", command.get_name());
            }
        });
    }
}
