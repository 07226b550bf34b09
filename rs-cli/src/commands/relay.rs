//! `relay serve|connection-string|token`: a self-hosted relay and its credentials.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rs_relay::proto::{
    Authority, AuthorizationRule, ConnectionString, Credential, Right, Rules, SasToken, SharedKey,
};
use rs_relay::server::{DevAuthority, RelayServer, TlsTransport};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::relay_access::AUTHORITY_NAME;
use crate::state::{Role, RoleDir, StateDir};
use crate::{files, logging, node, signals};

/// Longest PEM file that is read, in bytes.
const PEM_BYTES_MAX: usize = 256 * 1024;

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
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE", hide_env_values = true)]
    pub relay_credential_file: Option<PathBuf>,
    /// Minutes for which the token is good, 1 to 1440.
    #[arg(
        long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440),
        env = "REMOTE_SUPPORT_GOOD_FOR_MINUTES"
    )]
    pub good_for_minutes: u32,
}

impl Side {
    /// Name of the connection string's file in the relay's folder; also that of the authorization rule.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Listen => "listen.connection-string",
            Self::Send => "send.connection-string",
        }
    }
}

/// Runs a relay command.
///
/// # Errors
///
/// [`ErrorCode::Unreachable`] where the address cannot be listened on; [`ErrorCode::NotFound`] where no relay was set up
/// here; errors of the files.
pub fn run(command: &RelayCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        RelayCommand::Serve(args) => serve(args, context),
        RelayCommand::ConnectionString(args) => connection_string(args, context),
        RelayCommand::Token(args) => token(args, context),
    }
}

fn serve(args: &ServeArgs, context: &mut Context) -> Result<Outcome, Failure> {
    logging::to_stderr();
    let state = context.state.clone();
    Context::block_on(async {
        let relay = RunningRelay::start(&state, args.listen, &args.name).await?;
        context.note(relay.greeting());
        context.note("Stop it with Ctrl-C.");
        signals::stop().await;
        context.note("Stopping: no new connections; those that are open get 10 seconds.");
        tokio::select! {
            () = relay.stop(Duration::from_secs(10)) => {}
            () = signals::stop() => {}
        }
        Ok(Outcome::Done)
    })
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

/// A relay that runs in this process, with all that it needs in the state directory.
pub(crate) struct RunningRelay {
    server: RelayServer,
    served: JoinHandle<std::io::Result<()>>,
    authority: Authority,
    folder: PathBuf,
    created: bool,
}

impl RunningRelay {
    /// Starts on `listen`. What is missing of authority, certificate and keys is made; the connection strings are written
    /// anew, since the port may be another one than last time.
    pub(crate) async fn start(
        state: &StateDir,
        listen: SocketAddr,
        names: &[String],
    ) -> Result<Self, Failure> {
        let folder = state.role(Role::Relay);
        folder.ensure()?;
        let created = !folder.file(AUTHORITY_NAME).exists();
        let names = if names.is_empty() {
            vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
        } else {
            names.to_vec()
        };
        let certificate = certificate(&folder, &names)?;
        let keys = relay_keys(&folder)?;
        let transport = TlsTransport::bind(listen, &certificate.0, &certificate.1).await.map_err(|error| {
            Failure::new(ErrorCode::Unreachable, "the relay cannot listen").about(listen.to_string()).because(error)
                .next_step("choose another address with --listen, for example --listen 127.0.0.1:0 for a free port")
        })?;
        let port = transport.local_addr()?.port();
        let authorities: Vec<Authority> = names
            .iter()
            .map(|name| Authority::new(name, port).map_err(|error| bad_name(name, &error)))
            .collect::<Result<_, _>>()?;
        let first =
            authorities.first().cloned().ok_or_else(|| Failure::new(ErrorCode::Internal, "no name"))?;
        keys.write_connection_strings(&folder, &first)?;
        let server = RelayServer::builder(authorities).rules(keys.rules()?).build().map_err(|error| {
            Failure::new(ErrorCode::Internal, "the relay cannot be set up").because(error)
        })?;
        let serving = server.clone();
        let served = tokio::spawn(async move { serving.serve(transport).await });
        Ok(Self { server, served, authority: first, folder: folder.path().to_owned(), created })
    }

    /// What to do next, for the person who started it.
    pub(crate) fn greeting(&self) -> String {
        let folder = self.folder.display();
        let made = if self.created {
            "Made its authority, certificate and keys"
        } else {
            "Found its authority, certificate and keys"
        };
        format!(
            "Relay listening on {}. {made} in {folder}.\n\
             The node needs {folder}/listen.connection-string (a secret) and {folder}/{AUTHORITY_NAME}; the engineer needs \
             {folder}/send.connection-string (a secret) and {folder}/{AUTHORITY_NAME}.\n\
             With the same state directory both find them by themselves. Next, in another terminal: remote-support agent run",
            self.authority
        )
    }

    /// Ends in order.
    pub(crate) async fn stop(self, grace: Duration) {
        self.server.shutdown(grace).await;
        let _served = self.served.await;
    }
}

fn bad_name(name: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(ErrorCode::InvalidValue, "this is no host name").about(name).because(error.to_string())
}

/// The server's chain and key in PEM; made where they are missing or are for other names.
fn certificate(folder: &RoleDir, names: &[String]) -> Result<(String, SecretString), Failure> {
    let (chain, key) = (folder.file("server.pem"), folder.file("server.key"));
    let names_file = folder.file("server.names");
    let wanted = names.join("\n");
    let current = files::read(&names_file, PEM_BYTES_MAX).is_ok_and(|found| found == wanted.as_bytes());
    if current && chain.exists() && key.exists() {
        return Ok((text(&chain)?, files::read_secret(&key)?));
    }
    let made = authority(folder)?.issue(names.iter().map(String::as_str)).map_err(|error| {
        Failure::new(ErrorCode::InvalidValue, "no certificate can be made for these names")
            .about(names.join(", "))
            .because(error)
    })?;
    files::replace_secret(&key, made.key_pem().expose_secret().as_bytes())?;
    files::write(&chain, made.server_pem().as_bytes())?;
    files::write(&names_file, wanted.as_bytes())?;
    Ok((made.server_pem(), made.key_pem().clone()))
}

/// The relay's own authority; made at the first start.
fn authority(folder: &RoleDir) -> Result<DevAuthority, Failure> {
    let (certificate, key) = (folder.file(AUTHORITY_NAME), folder.file("ca.key"));
    if certificate.exists() && key.exists() {
        return Ok(DevAuthority::from_pem(text(&certificate)?, files::read_secret(&key)?));
    }
    let made = DevAuthority::create()
        .map_err(|error| Failure::new(ErrorCode::Internal, "no authority can be made").because(error))?;
    files::replace_secret(&key, made.key_pem().expose_secret().as_bytes())?;
    files::write(&certificate, made.certificate_pem().as_bytes())?;
    Ok(made)
}

fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(files::read(path, PEM_BYTES_MAX)?).map_err(|error| {
        Failure::new(ErrorCode::InvalidFile, "the file is no PEM text")
            .about(path.display().to_string())
            .because(error)
    })
}

/// The relay's authorization rules, as `rules.json` holds them: the root key and one rule per side.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RelayKeys {
    /// The hybrid connection that the connection strings are for.
    entity: String,
    /// Key of `RootManageSharedAccessKey`, which can do everything.
    root_key: String,
    /// Key of the rule `listen`.
    listen_key: String,
    /// Key of the rule `send`.
    send_key: String,
}

fn relay_keys(folder: &RoleDir) -> Result<RelayKeys, Failure> {
    let path = folder.file("rules.json");
    if !path.exists() {
        let made = RelayKeys::generate()?;
        let json = serde_json::to_vec_pretty(&made)
            .map_err(|error| Failure::new(ErrorCode::Internal, "no rules").because(error))?;
        files::write_secret_once(&path, &json)?;
    }
    let kept = files::read_secret(&path)?;
    serde_json::from_str(kept.expose_secret()).map_err(|error| {
        // The text of a JSON error can quote the file, and the file holds keys.
        let place = format!("line {}, column {}", error.line(), error.column());
        Failure::new(ErrorCode::InvalidFile, "the relay's rules cannot be read")
            .about(path.display().to_string())
            .because(place)
    })
}

impl RelayKeys {
    fn generate() -> Result<Self, Failure> {
        let key = || {
            SharedKey::generate()
                .map(|key| key.expose().to_owned())
                .map_err(|error| Failure::new(ErrorCode::Internal, "no key could be made").because(error))
        };
        let entity = node::name().as_str().to_lowercase();
        Ok(Self { entity, root_key: key()?, listen_key: key()?, send_key: key()? })
    }

    fn rule(name: &str, right: Right, key: &str) -> Result<AuthorizationRule, Failure> {
        let invalid = |error: String| {
            Failure::new(ErrorCode::InvalidFile, "a rule of the relay cannot be used")
                .about(name)
                .because(error)
        };
        let name = name.parse().map_err(|error: rs_relay::proto::KeyNameError| invalid(error.to_string()))?;
        let key = key.parse().map_err(|error: rs_relay::proto::SharedKeyError| invalid(error.to_string()))?;
        Ok(AuthorizationRule::new(name, [right], key))
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let rules = [
            Self::rule("RootManageSharedAccessKey", Right::Manage, &self.root_key)?,
            Self::rule("listen", Right::Listen, &self.listen_key)?,
            Self::rule("send", Right::Send, &self.send_key)?,
        ];
        Rules::new(rules).map_err(|error| {
            Failure::new(ErrorCode::InvalidFile, "the relay's rules cannot be used").because(error)
        })
    }

    fn write_connection_strings(&self, folder: &RoleDir, authority: &Authority) -> Result<(), Failure> {
        for (side, name, key) in
            [(Side::Listen, "listen", &self.listen_key), (Side::Send, "send", &self.send_key)]
        {
            let text = Zeroizing::new(format!(
                "Endpoint=sb://{authority}/;SharedAccessKeyName={name};SharedAccessKey={key};EntityPath={}\n",
                self.entity
            ));
            files::replace_secret(&folder.file(side.file_name()), text.as_bytes())?;
        }
        Ok(())
    }
}
