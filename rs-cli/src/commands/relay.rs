//! `relay serve|connection-string|token`: a self-hosted relay and its credentials.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rs_relay::proto::{ConnectionString, Credential, SasToken};
use secrecy::ExposeSecret as _;

use super::relay_serve;
use crate::context::Context;
use crate::files;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::relay_access::Side;
use crate::state::Role;

/// What to do with a relay.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Run a relay; the first start makes its authority, certificate and keys and prints the next step.
    Serve(relay_serve::ServeArgs),
    /// Print the connection string of this relay, which is a secret, or write it to a file of mode 0600.
    ConnectionString(ConnectionStringArgs),
    /// Make a token of limited time from a connection string and print it.
    Token(TokenArgs),
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
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE", hide_env_values = true)]
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
/// [`ErrorCode::Unreachable`] where the address cannot be listened on; [`ErrorCode::NotFound`] where no relay was set up
/// here; errors of the files.
pub fn run(command: &RelayCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        RelayCommand::Serve(args) => relay_serve::serve(args, context),
        RelayCommand::ConnectionString(args) => connection_string(args, context),
        RelayCommand::Token(args) => token(args, context),
    }
}

fn connection_string(args: &ConnectionStringArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let path = context.state.role(Role::Relay).file(args.side.file_name());
    if !path.exists() {
        return Err(Failure::new(ErrorCode::NotFound, "no relay has been set up in this state directory")
            .about(context.state.root().display().to_string())
            .next_step("start one with `remote-support relay serve`"));
    }
    let text = files::read_secret(&path)?;
    match &args.file {
        Some(file) => {
            files::write_secret(file, format!("{}\n", text.expose_secret().trim()).as_bytes())?;
            context
                .note(format!("Written to {}. It is a secret: hand it over on a safe way.", file.display()));
        }
        None => writeln!(context.console.out, "{}", text.expose_secret().trim())?,
    }
    Ok(Outcome::Done)
}

fn token(args: &TokenArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let default = context.state.role(Role::Relay).file(Side::Send.file_name());
    let path = args.relay_credential_file.clone().unwrap_or(default);
    let text = files::read_secret(&path)?;
    let invalid = |cause: String| {
        Failure::new(ErrorCode::InvalidFile, "no token can be made from this file")
            .about(path.display().to_string())
            .because(cause)
    };
    let text: ConnectionString = text
        .expose_secret()
        .trim()
        .parse()
        .map_err(|error: rs_relay::proto::ConnectionStringError| invalid(error.to_string()))?;
    let Credential::Key { name, key } = text.credential() else {
        return Err(invalid("it holds no key".to_owned()));
    };
    let expires_at = context.clock.now().wall + chrono::TimeDelta::minutes(args.good_for_minutes.into());
    let resource = rs_relay::proto::resource(text.authority(), text.entity());
    let token = SasToken::mint(&resource, name, key, expires_at);
    writeln!(context.console.out, "{}", token.expose())?;
    Ok(Outcome::Done)
}
