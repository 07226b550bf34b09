//! `relay serve`: runs a relay, with keys of its own or by a configuration file.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rs_relay::config::{self, FILE_BYTES_MAX, KEY_FILE_BYTES_MAX};
use rs_relay::proto::{Authority, AuthorizationRule, NamespaceSettings, Right, Rules, SharedKey};
use rs_relay::server::{Certificate, DevAuthority, RelayServer, Reloaded, TlsTransport};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::relay_access::{AUTHORITY_NAME, Side};
use crate::state::{Role, RoleDir, StateDir};
use crate::{files, logging, node, platform, signals};

/// Longest PEM file that is read, in bytes.
const PEM_BYTES_MAX: usize = 256 * 1024;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Arguments of `relay serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443", env = "REMOTE_SUPPORT_LISTEN")]
    pub listen: SocketAddr,
    /// Name under which the relay is reached, for its certificate; can be given several times [default: localhost].
    #[arg(long, value_name = "HOST", env = "REMOTE_SUPPORT_NAME", conflicts_with = "namespaces")]
    pub name: Vec<String>,
    /// Namespaces, keys, issuers and hybrid connections (TOML) instead of keys of its own; read again on SIGHUP.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_NAMESPACES")]
    pub namespaces: Option<PathBuf>,
    /// Certificate chain (PEM) instead of one by an authority of its own; read again on SIGHUP.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_CERTIFICATE", requires = "certificate_key")]
    pub certificate: Option<PathBuf>,
    /// Key of the certificate (PEM), which only its owner may read.
    #[arg(
        long,
        value_name = "FILE",
        env = "REMOTE_SUPPORT_CERTIFICATE_KEY",
        requires = "certificate",
        hide_env_values = true
    )]
    pub certificate_key: Option<PathBuf>,
    /// Address and port for /healthz, /readyz and /metrics by plain HTTP; for this machine or a network of operators only.
    #[arg(long, value_name = "ADDR", env = "REMOTE_SUPPORT_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// Seconds that open connections get when the relay is told to stop, 0 to 3600.
    #[arg(
        long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=3600),
        env = "REMOTE_SUPPORT_DRAIN_SECONDS"
    )]
    pub drain_seconds: u32,
    /// TLS handshakes at work at the same time; others wait for their turn, source by source [default: one for each core, two
    /// at least].
    #[arg(long, value_name = "NUMBER", env = "REMOTE_SUPPORT_HANDSHAKES_AT_ONCE")]
    pub handshakes_at_once: Option<NonZeroUsize>,
    /// Takes away the bounds on what strangers cost, as the control of tests.
    #[arg(long, hide = true)]
    pub without_bounds: bool,
    /// How events are written to standard error.
    #[arg(long, value_enum, ignore_case = true, default_value = "text", env = "REMOTE_SUPPORT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Runs a relay until it is told to stop.
///
/// # Errors
///
/// [`ErrorCode::Unreachable`] where the address cannot be listened on; [`ErrorCode::InvalidFile`] for a configuration that
/// cannot be used; errors of the files.
pub fn serve(args: &ServeArgs, context: &mut Context) -> Result<Outcome, Failure> {
    match args.log_format {
        LogFormat::Text => logging::to_stderr(),
        LogFormat::Json => logging::json_to_stderr(),
    }
    let state = context.state.clone();
    Context::block_on(async {
        let mut reloads = signals::Reloads::new();
        let mut stops = signals::Stops::listen();
        let relay = RunningRelay::start_with(&state, args).await?;
        context.note(relay.greeting());
        context.note("Stop it with Ctrl-C.");
        loop {
            tokio::select! {
                () = stops.next() => break,
                () = reloads.next() => match relay.reload() {
                    Ok(done) => context.note(format!(
                        "Settings read again: {} listeners stay, {} were closed.",
                        done.listeners_kept, done.listeners_closed
                    )),
                    Err(failure) => {
                        context.note(format!("The new settings cannot be used, the old ones stay: {}",
                            failure.in_a_line()));
                    }
                },
            }
        }
        let grace = Duration::from_secs(args.drain_seconds.into());
        context.note(format!(
            "Stopping: no new connections; those that are open get {} seconds.",
            args.drain_seconds
        ));
        tokio::select! {
            () = relay.stop(grace) => {}
            () = stops.next() => {}
        }
        Ok(Outcome::Done)
    })
}

/// Where the settings come from.
enum Source {
    /// Keys and names of its own, in the relay's folder.
    Own { names: Vec<Authority> },
    /// A configuration file.
    File(PathBuf),
}

impl Source {
    fn settings(&self, folder: &RoleDir) -> Result<Vec<NamespaceSettings>, Failure> {
        match self {
            Self::Own { names } => {
                let keys = relay_keys(folder)?;
                if let Some(first) = names.first() {
                    keys.write_connection_strings(folder, first)?;
                }
                Ok(vec![NamespaceSettings::new(names.clone()).rules(keys.rules()?)])
            }
            Self::File(path) => configuration(path),
        }
    }
}

/// Where the certificate comes from.
enum CertificateSource {
    /// Issued by the relay's own authority for these names.
    Own(Vec<String>),
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
}

impl CertificateSource {
    fn read(&self, folder: &RoleDir) -> Result<(String, SecretString), Failure> {
        match self {
            Self::Own(names) => certificate(folder, names),
            Self::Files { chain, key } => Ok((text(chain)?, files::read_secret(key)?)),
        }
    }
}

/// Reads the configuration file and those that it names, which are relative to it.
fn configuration(path: &Path) -> Result<Vec<NamespaceSettings>, Failure> {
    let invalid = |cause: String| {
        Failure::new(ErrorCode::InvalidFile, "the relay's configuration cannot be used")
            .about(path.display().to_string())
            .because(cause)
    };
    let content = Zeroizing::new(files::read(path, FILE_BYTES_MAX)?);
    let content = std::str::from_utf8(&content).map_err(|_| invalid("it is no text".to_owned()))?;
    if config::has_keys(content) {
        platform::open_private(path)?;
    }
    let base = path.parent().unwrap_or_else(|| Path::new("."));
    let read = |file: &Path| {
        let file = base.join(file);
        let io = |failure: Failure| std::io::Error::other(failure.in_a_line());
        // Public keys may be readable for everybody; shared keys may not.
        let public = file.extension().is_some_and(|extension| extension == "json" || extension == "pem");
        if !public {
            return files::read_secret(&file).map(|text| text.expose_secret().to_owned()).map_err(io);
        }
        let bytes = files::read(&file, KEY_FILE_BYTES_MAX).map_err(io)?;
        String::from_utf8(bytes).map_err(std::io::Error::other)
    };
    config::parse(content, read).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        invalid(format!("{error}{cause}"))
    })
}

/// A relay that runs in this process, with all that it needs in the state directory.
pub(crate) struct RunningRelay {
    server: RelayServer,
    served: JoinHandle<std::io::Result<()>>,
    authority: Authority,
    folder: RoleDir,
    created: bool,
    source: Source,
    certificate_source: CertificateSource,
    certificate: Option<Certificate>,
}

impl RunningRelay {
    /// Starts on `listen` with keys and a certificate of its own. What is missing is made; the connection strings are
    /// written anew, since the port may be another one than last time.
    pub(crate) async fn start(
        state: &StateDir,
        listen: SocketAddr,
        names: &[String],
    ) -> Result<Self, Failure> {
        let args = ServeArgs {
            listen,
            name: names.to_vec(),
            namespaces: None,
            certificate: None,
            certificate_key: None,
            admin_listen: None,
            drain_seconds: 10,
            handshakes_at_once: None,
            without_bounds: false,
            log_format: LogFormat::Text,
        };
        Self::start_with(state, &args).await
    }

    async fn start_with(state: &StateDir, args: &ServeArgs) -> Result<Self, Failure> {
        let folder = state.role(Role::Relay);
        folder.ensure()?;
        let created = !folder.file(AUTHORITY_NAME).exists();
        let configured = args.namespaces.as_deref().map(configuration).transpose()?;
        let names = match &configured {
            Some(namespaces) => {
                let hosts = namespaces.iter().flat_map(NamespaceSettings::hosts);
                hosts.map(|host| host.bare_host().to_owned()).collect()
            }
            None if args.name.is_empty() => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            None => args.name.clone(),
        };
        let certificate_source = match (&args.certificate, &args.certificate_key) {
            (Some(chain), Some(key)) => CertificateSource::Files { chain: chain.clone(), key: key.clone() },
            _ => CertificateSource::Own(names.clone()),
        };
        let (chain, key) = certificate_source.read(&folder)?;
        let transport = TlsTransport::bind(args.listen, &chain, &key).await.map_err(|error| {
            Failure::new(ErrorCode::Unreachable, "the relay cannot listen")
                .about(args.listen.to_string())
                .because(error)
                .next_step(
                    "choose another address with --listen, for example --listen 127.0.0.1:0 for a free port",
                )
        })?;
        let port = transport.local_addr()?.port();
        let authorities: Vec<Authority> = names
            .iter()
            .map(|name| Authority::new(name, port).map_err(|error| bad_name(name, &error)))
            .collect::<Result<_, _>>()?;
        let first =
            authorities.first().cloned().ok_or_else(|| Failure::new(ErrorCode::Internal, "no name"))?;
        let source = match &args.namespaces {
            Some(path) => Source::File(path.clone()),
            None => Source::Own { names: authorities },
        };
        let settings = match configured {
            Some(settings) => settings,
            None => source.settings(&folder)?,
        };
        let server = server(settings, args)?;
        if let Some(address) = args.admin_listen {
            let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
                Failure::new(ErrorCode::Unreachable, "the relay cannot listen for its operators")
                    .about(address.to_string())
                    .because(error)
            })?;
            tracing::info!(address = %listener.local_addr()?, "health and metrics");
            let answering = server.clone();
            tokio::spawn(async move { answering.serve_admin(listener).await });
        }
        let certificate = transport.certificate();
        let serving = server.clone();
        let served = tokio::spawn(async move { serving.serve(transport).await });
        Ok(Self {
            server,
            served,
            authority: first,
            folder,
            created,
            source,
            certificate_source,
            certificate,
        })
    }

    /// Reads settings and certificate again. What cannot be used changes nothing.
    fn reload(&self) -> Result<Reloaded, Failure> {
        let (chain, key) = self.certificate_source.read(&self.folder)?;
        let settings = self.source.settings(&self.folder)?;
        let done = self.server.reconfigure(settings).map_err(unusable)?;
        if let Some(certificate) = &self.certificate {
            certificate.replace(&chain, &key).map_err(unusable)?;
        }
        Ok(done)
    }

    /// What to do next, for the person who started it.
    pub(crate) fn greeting(&self) -> String {
        if let Source::File(path) = &self.source {
            return format!(
                "Relay listening on port {} with the settings of {}. SIGHUP reads them again.",
                self.authority.port(),
                path.display()
            );
        }
        let folder = self.folder.path().display();
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

fn server(settings: Vec<NamespaceSettings>, args: &ServeArgs) -> Result<RelayServer, Failure> {
    let mut settings = settings.into_iter();
    let first = settings.next().ok_or_else(|| Failure::new(ErrorCode::Internal, "no namespace"))?;
    let mut builder = RelayServer::with_namespace(first);
    if let Some(turns) = args.handshakes_at_once {
        builder = builder.handshakes_at_once(turns);
    }
    if args.without_bounds {
        builder = builder.dangerous_without_bounds();
    }
    settings.fold(builder, rs_relay::server::RelayServerBuilder::namespace).build().map_err(unusable)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(ErrorCode::InvalidFile, "the relay's settings cannot be used").because(error)
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
