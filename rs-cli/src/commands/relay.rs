//! `relay serve|connection-string|token`: a self-hosted relay and its credentials.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// What to do with a relay.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Run a relay; the first start makes its authority, certificate and keys and prints the next step.
    Serve(ServeArgs),
    /// Print the connection string of this relay, which is a secret, or write it to a file of mode 0600.
    ConnectionString(ConnectionStringArgs),
    /// Make a token of limited time from a connection string and print it.
    Token(TokenArgs),
}

/// Arguments of `relay serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443", env = "REMOTE_SUPPORT_LISTEN")]
    pub listen: SocketAddr,
    /// Name under which the relay is reached, for its certificate; can be given several times [default: localhost].
    #[arg(long, value_name = "HOST", env = "REMOTE_SUPPORT_NAME")]
    pub name: Vec<String>,
}

/// Which side of the relay a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// The node's agent.
    Listen,
    /// The engineer.
    Send,
}

/// Arguments of `relay connection-string`.
#[derive(Debug, Args)]
pub struct ConnectionStringArgs {
    /// Who will use it: `listen` for the node, `send` for the engineer.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "SIDE",
        default_value = "listen",
        env = "REMOTE_SUPPORT_SIDE"
    )]
    pub side: Side,
    /// Write it to this new file, mode 0600, instead of printing it.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `relay token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// File with the connection string [default: the sending one of this state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE")]
    pub relay_credential_file: Option<PathBuf>,
    /// Minutes for which the token is good, 1 to 1440.
    #[arg(
        long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440),
        env = "REMOTE_SUPPORT_GOOD_FOR_MINUTES"
    )]
    pub good_for_minutes: u32,
}

/// Runs a relay command.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_command: &RelayCommand, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("relay"))
}
