//! The self-hosted relay.
//!
//! [`RelayServer`] holds one namespace: who may do what, who listens, who waits. [`RelayServer::serve`] serves it on a
//! [`Transport`]: TCP with TLS by [`TlsTransport`], or anything else that yields byte streams. Several transports may serve
//! one namespace at the same time.

mod control;
mod dev_certificate;
mod handler;
mod join;
mod lobby;
mod namespace;
mod transport;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{Clock, SystemClock};
use crate::proto::limits::HEAD_BYTES_MAX;
use crate::proto::registry::Limits;
use crate::proto::{Authority, EntityPath, Refusal, Rules};

pub use dev_certificate::{DevAuthority, DevCertificate, DevCertificateError, dev_certificate};
use lobby::{Lobby, Place};
use namespace::Namespace;
pub use transport::{PlainTransport, TlsTransport, TlsTransportError, Transport};

/// How a hybrid connection is set up.
///
/// # Defaults
///
/// No rules of its own (those of the namespace hold); senders need a token.
#[derive(Debug, Clone, Default)]
pub struct EntitySettings {
    rules: Rules,
    anonymous_senders: bool,
}

impl EntitySettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rules that hold for this entity only, looked at before those of the namespace.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Lets senders connect without a token. Listeners always need one.
    #[must_use]
    pub fn dangerous_anonymous_senders(self) -> Self {
        Self { anonymous_senders: true, ..self }
    }
}

/// Times of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// From the first byte to the end of the request's head.
    pub(crate) handshake: Duration,
    /// Between two Pings of ours.
    pub(crate) ping: Duration,
    /// How long a half-closed peer may be silent.
    pub(crate) half_close: Duration,
    /// How long the second and later refusals of listeners of one address are held back.
    pub(crate) refusal: Duration,
}

/// A server could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No name was given.
    #[error("the relay has no host name; give the names under which clients reach it")]
    NoHost,
    /// More entities were declared than fit.
    #[error("too many hybrid connections are declared")]
    TooManyEntities,
    /// A time is zero or longer than a day.
    #[error("{what} must be longer than zero and at most a day")]
    Time {
        /// Which time.
        what: &'static str,
    },
}

/// Settings of a [`RelayServer`].
///
/// # Defaults
///
/// Entities come into being when somebody listens; limits as Azure's; handshake within 10 s; a Ping every 30 s, and a peer
/// that leaves three in a row unanswered is dropped; a half-closed peer may be silent for 10 s.
#[derive(Debug)]
pub struct RelayServerBuilder {
    hosts: Vec<Authority>,
    public: Option<Authority>,
    rules: Rules,
    declared: Vec<(EntityPath, EntitySettings)>,
    create_on_listen: bool,
    limits: Limits,
    times: Times,
    clock: Arc<dyn Clock>,
}

impl RelayServerBuilder {
    /// Rules that hold in the whole namespace. Without any, and without rules on an entity, nobody gets in.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Makes a hybrid connection that exists whether somebody listens or not.
    #[must_use]
    pub fn entity(mut self, path: EntityPath, settings: EntitySettings) -> Self {
        self.declared.push((path, settings));
        self
    }

    /// Refuses listeners on entities that were not declared, with 404.
    #[must_use]
    pub fn declared_entities_only(self) -> Self {
        Self { create_on_listen: false, ..self }
    }

    /// Host and port to put into rendezvous addresses. By default what each listener has put into its `Host` header.
    #[must_use]
    pub fn public_authority(self, authority: Authority) -> Self {
        Self { public: Some(authority), ..self }
    }

    /// Bounds of the namespace.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// From the first byte of a connection to the end of the request's head. Default 10 s.
    #[must_use]
    pub fn handshake_wait(mut self, wait: Duration) -> Self {
        self.times.handshake = wait;
        self
    }

    /// Time between two Pings on each WebSocket. Default 30 s.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.times.ping = interval;
        self
    }

    /// How long a peer may be silent after the other side has closed. Default 10 s.
    #[must_use]
    pub fn half_close_wait(mut self, wait: Duration) -> Self {
        self.times.half_close = wait;
        self
    }

    /// How long the refusal of a listener is held back when another one from the same address was refused within 10 s.
    /// Default 1 s; zero for never. Some clients come back without any pause.
    #[must_use]
    pub fn refusal_delay(mut self, delay: Duration) -> Self {
        self.times.refusal = delay;
        self
    }

    /// Where wall time comes from. Default [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: no host name, a time of zero or more than a day, too many declared entities.
    pub fn build(self) -> Result<RelayServer, ConfigError> {
        let day = Duration::from_secs(86_400);
        let times = [
            ("the handshake wait", self.times.handshake),
            ("the ping interval", self.times.ping),
            ("the half-close wait", self.times.half_close),
            ("the refusal delay", self.times.refusal + Duration::from_nanos(1)),
        ];
        if let Some((what, _)) = times.into_iter().find(|(_, time)| time.is_zero() || *time > day) {
            return Err(ConfigError::Time { what });
        }
        let hosts: Vec<Box<str>> = self.hosts.iter().chain(&self.public).map(|a| a.host().into()).collect();
        if hosts.is_empty() {
            return Err(ConfigError::NoHost);
        }
        let namespace = Namespace::new(namespace::Settings {
            hosts,
            public: self.public,
            rules: self.rules,
            declared: self.declared,
            create_on_listen: self.create_on_listen,
            limits: self.limits,
            times: self.times,
            clock: self.clock,
        });
        let namespace = namespace.map_err(|_: Refusal| ConfigError::TooManyEntities)?;
        Ok(RelayServer {
            namespace: Arc::new(namespace),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            lobby: Arc::default(),
        })
    }
}

/// A relay with one namespace. Clones are handles to the same one.
///
/// ```no_run
/// use rs_relay::proto::{AuthorizationRule, Right, Rules, SharedKey};
/// use rs_relay::server::{RelayServer, TlsTransport, dev_certificate};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = dev_certificate(["localhost"])?;
/// let transport = TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem()).await?;
/// let key = SharedKey::generate()?;
/// let root = AuthorizationRule::new("RootManageSharedAccessKey".parse()?, [Right::Manage], key);
/// let server = RelayServer::builder(["localhost".parse()?]).rules(Rules::new([root])?).build()?;
/// println!("relay on port {}", transport.local_addr()?.port());
/// server.serve(transport).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RelayServer {
    namespace: Arc<Namespace>,
    /// No new work.
    stop: CancellationToken,
    /// No work at all.
    cut: CancellationToken,
    tasks: TaskTracker,
    lobby: Arc<Lobby>,
}

impl RelayServer {
    /// Settings for a namespace that clients reach under `hosts`. A token must be made for one of these names; ports do
    /// not matter.
    pub fn builder(hosts: impl IntoIterator<Item = Authority>) -> RelayServerBuilder {
        RelayServerBuilder {
            hosts: hosts.into_iter().collect(),
            public: None,
            rules: Rules::default(),
            declared: Vec::new(),
            create_on_listen: true,
            limits: Limits::default(),
            times: Times {
                handshake: Duration::from_secs(10),
                ping: Duration::from_secs(30),
                half_close: Duration::from_secs(10),
                refusal: Duration::from_secs(1),
            },
            clock: Arc::new(SystemClock),
        }
    }

    /// Serves connections until [`RelayServer::shutdown`].
    ///
    /// # Errors
    ///
    /// When the transport can accept no more connections for good.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped no more connections are accepted on this transport; those that exist go on.
    pub async fn serve<T: Transport>(&self, transport: T) -> io::Result<()> {
        let transport = Arc::new(transport);
        let timers = self.tasks.spawn(Arc::clone(&self.namespace).run_timers(self.stop.clone()));
        let result = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ok(()),
                accepted = transport.accept() => match accepted {
                    Ok((raw, peer)) => {
                        let place = self.lobby.reserve();
                        let stranger = Stranger { server: self.clone(), peer, place, begun: Instant::now() };
                        let task = self.tasks.spawn(stranger.run(Arc::clone(&transport), raw));
                        self.lobby.enter(place, task.abort_handle());
                    }
                    Err(error) if is_passing(&error) => {
                        tracing::warn!(%error, "cannot accept connections right now");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    Err(error) => break Err(error),
                }
            }
        };
        timers.abort();
        result
    }

    /// Ends in order: accepts nothing new, tells listeners to go (Close 1001), lets joined connections go on for `grace`,
    /// then cuts them (Close 1001). Returns when all are gone.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.cut.cancel();
            let _ = tokio::time::timeout(CUT_WAIT, self.tasks.wait()).await;
        }
    }

    /// Replaces the rules of the namespace. Connections that exist are not looked at again, renewals are.
    pub fn replace_rules(&self, rules: Rules) {
        self.namespace.replace_rules(rules);
    }

    /// Listeners of an entity right now.
    #[must_use]
    pub fn listeners(&self, entity: &EntityPath) -> usize {
        self.namespace.listeners(entity)
    }
}

impl fmt::Debug for RelayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayServer").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// How long to wait when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long cut connections get for their last Close.
const CUT_WAIT: Duration = Duration::from_secs(5);

/// Whether accepting may work again later, or only this one connection failed.
fn is_passing(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe
    )
}

/// One connection up to its opening handshake.
struct Stranger {
    server: RelayServer,
    peer: std::net::SocketAddr,
    place: Place,
    begun: Instant,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.server.lobby.leave(self.place);
    }
}

impl Stranger {
    async fn run<T: Transport>(self, transport: Arc<T>, raw: T::Raw) {
        let times = self.server.namespace.times();
        let deadline = self.begun + times.handshake;
        let secured = tokio::select! {
            secured = tokio::time::timeout_at(deadline, transport.secure(raw)) => secured,
            () = self.server.stop.cancelled() => return,
        };
        let stream = match secured {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(peer = %self.peer, %error, "no TLS handshake"),
            Err(_) => return tracing::debug!(peer = %self.peer, "no TLS handshake in time"),
        };
        let (server, place, peer) = (self.server.clone(), self.place, self.peer);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            )
            .max_buf_size(HEAD_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    server.lobby.leave(place);
                    handler::handle::<T::Stream>(server.clone(), peer, request)
                }),
            )
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.server.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = &mut serving => served,
                    () = self.server.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(peer = %self.peer, %error, "connection ended before its handshake");
        }
    }
}
