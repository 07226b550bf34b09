//! The self-hosted relay.
//!
//! [`RelayServer`] holds namespaces: who may do what, who listens, who waits. [`RelayServer::serve`] serves them on a
//! [`Transport`]: TCP with TLS by [`TlsTransport`], or anything else that yields byte streams. Several transports may serve
//! one server at the same time. WebSockets and HTTP requests come in on the same port.
//!
//! | | |
//! | --- | --- |
//! | [`RelayServer::builder`] | hosts, keys, issuers, entities, limits |
//! | [`RelayServer::reconfigure`] | the same, while it runs |
//! | [`RelayServer::shutdown`] | the end, in order |
//! | [`RelayServer::serve_admin`] | health and numbers for operators |
//!
//! Memory is bounded by constants, whatever the peers do:
//!
//! | | at most |
//! | --- | --- |
//! | a connection that has not sent its first bytes | 4 KiB of them; 4,096 such connections |
//! | a connection before its handshake | 16 KiB of head, and what TLS takes; 1,024 such connections |
//! | unfinished messages of listeners | 4 KiB each, and 8 MiB more in all |
//! | a listener | 128 KiB to be written and one message with its body (128 KiB) on top; 192 KiB of what it sends |
//! | a sender that waits | its head, 16 KiB, and the body of an HTTP request up to 64 KiB |
//! | a joined connection | two buffers of 64 KiB |
//! | the rendezvous of an HTTP request | 256 KiB in each direction |
//!
//! Before anybody has shown a token, work is shared out by source, an IPv4 address or an IPv6 network of 64 bits:
//! connections are counted, and the steps of TLS handshakes are taken in turns
//! ([`RelayServerBuilder::handshakes_at_once`]), so that one source which floods the relay does not delay the others. Sources
//! from which tokens were shown within ten minutes come before strangers. While several sources wait, each has 32 connections
//! that have not shown a token yet, those just named 128, and one whose connections come to nothing gets only a few a second for
//! a while. Load balancers that hide addresses are sources like others: where there are several, all behind one share its bounds.
//!
//! Two customers on one server, who cannot see each other:
//!
//! ```
//! use rs_relay::proto::{AuthorizationRule, NamespaceSettings, Right, Rules, SharedKey};
//! use rs_relay::server::RelayServer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let customer = |host: &str| -> Result<NamespaceSettings, Box<dyn std::error::Error>> {
//!     let root = AuthorizationRule::new("root".parse()?, [Right::Manage], SharedKey::generate()?);
//!     Ok(NamespaceSettings::new([host.parse()?]).rules(Rules::new([root])?))
//! };
//! let (one, other) = (customer("one.relay.example.test")?, customer("other.relay.example.test")?);
//! let server = RelayServer::with_namespace(one).namespace(other.clone()).build()?;
//!
//! // Later: new settings, without an interruption for those whose keys are still good.
//! let done = server.reconfigure(vec![other])?;
//! assert_eq!(done.listeners_closed, 0);
//! // Two namespaces of one name are noticed, and nothing is changed.
//! assert!(server.reconfigure(vec![customer("a.example.test")?, customer("A.example.test.")?]).is_err());
//! # Ok(())
//! # }
//! ```

mod admin;
mod builder;
mod certificates;
mod control;
mod dev_certificate;
mod door;
mod exchange;
mod handler;
mod http;
mod issuers;
mod join;
mod lobby;
mod metrics;
mod namespace;
mod probation;
mod standing;
mod transport;
mod turns;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{Budget, Clock, SystemClock};
use crate::proto::limits::UNFINISHED_BYTES_MAX;
use crate::proto::{Authority, EntityPath, NamespaceSettings, host_name};

pub use crate::proto::{EntitySettings, Kinds};
pub(crate) use builder::Times;
pub use builder::{ConfigError, RelayServerBuilder};
pub use certificates::Certificate;
pub use dev_certificate::{DevAuthority, DevCertificate, DevCertificateError, dev_certificate};
use door::{Door, Stranger};
pub use issuers::IssuerError;
use lobby::Lobby;
use metrics::Metrics;
use namespace::Namespace;
pub use namespace::Reloaded;
use probation::Probation;
pub use transport::{Arriving, PlainTransport, TlsTransport, TlsTransportError, Transport};
use turns::Turns;

/// A relay. Clones are handles to the same one.
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
pub struct RelayServer(pub(crate) Arc<Shared>);

/// What all handles share.
pub(crate) struct Shared {
    namespaces: RwLock<Arc<[Arc<Namespace>]>>,
    pub(crate) times: Times,
    clock: Arc<dyn Clock>,
    /// No new work.
    pub(crate) stop: CancellationToken,
    /// No work at all.
    pub(crate) cut: CancellationToken,
    /// Nothing is left.
    ended: CancellationToken,
    serves: AtomicBool,
    pub(crate) tasks: TaskTracker,
    pub(crate) lobby: Lobby,
    door: Arc<Door>,
    turns: Arc<Turns>,
    probation: Arc<Probation>,
    /// Memory for unfinished messages.
    pub(crate) unfinished: Arc<Budget>,
    /// Strangers are bounded.
    bounded: bool,
    metrics: Metrics,
}

impl Shared {
    fn new(
        namespaces: Vec<Arc<Namespace>>,
        times: Times,
        clock: Arc<dyn Clock>,
        (door, turns, bounded): (Door, Turns, bool),
        metrics: Metrics,
    ) -> Self {
        let turns = Arc::new(turns);
        Self {
            namespaces: RwLock::new(namespaces.into()),
            times,
            clock,
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            ended: CancellationToken::new(),
            serves: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            lobby: if bounded { Lobby::default() } else { Lobby::new(usize::MAX, usize::MAX) },
            door: Arc::new(door),
            probation: Probation::new(Arc::clone(&turns), bounded),
            turns,
            unfinished: Budget::new(if bounded { UNFINISHED_BYTES_MAX } else { usize::MAX }),
            bounded,
            metrics,
        }
    }
}

impl RelayServer {
    fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Settings for a server with one namespace that clients reach under `hosts`. A token must be made for one of these
    /// names; ports do not matter.
    pub fn builder(hosts: impl IntoIterator<Item = Authority>) -> RelayServerBuilder {
        Self::with_namespace(NamespaceSettings::new(hosts))
    }

    /// Settings for a server, with its first namespace.
    #[must_use]
    pub fn with_namespace(first: NamespaceSettings) -> RelayServerBuilder {
        RelayServerBuilder::new(first, Arc::new(SystemClock))
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
        self.0.serves.store(true, Ordering::Relaxed);
        for namespace in self.namespaces().iter() {
            namespace.start_timers(&self.0.cut);
        }
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.0.cut.cancelled() => return Ok(()),
                accepted = transport.accept() => accepted,
            };
            match accepted {
                Ok((raw, peer)) => {
                    let Some(ticket) = self.0.door.enter(peer.ip()) else {
                        tracing::debug!(%peer, "too many connections");
                        continue;
                    };
                    let (drop_it, dropped) = AbortHandle::new_pair();
                    let place = self.0.lobby.enter(ticket.source(), drop_it);
                    let (begun, ticket) = (Instant::now(), Arc::new(ticket));
                    let stranger = Stranger { server: self.clone(), peer, place, begun, ticket };
                    self.0.tasks.spawn(Abortable::new(stranger.run(Arc::clone(&transport), raw), dropped));
                }
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "cannot accept connections right now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends in order: refuses new listeners and senders with 503 (listeners may still come to a rendezvous), tells listeners to go (Close 1001) as soon as they have answered the HTTP
    /// requests that they were given, lets joined connections go on for `grace`, then cuts them (Close 1001). Returns when
    /// all are gone.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let all_gone = tokio::time::timeout(grace, self.0.tasks.wait()).await.is_ok();
        self.0.cut.cancel();
        if !all_gone {
            let _ = tokio::time::timeout(CUT_WAIT, self.0.tasks.wait()).await;
        }
        self.0.ended.cancel();
    }

    /// Replaces all namespaces with their settings. One is the same as before when it has the same first host name.
    ///
    /// * Joined connections, and requests that listeners already have, stay as they are.
    /// * Each listener is judged again by the token that it holds. Where its key, issuer, right or entity is gone it is closed
    ///   with 1008 (1001 for an entity or namespace that is gone). To change a key without losing anybody, make the new one
    ///   primary and the old one secondary, and remove the old one when all tokens of it have run out.
    /// * New settings that cannot be used change nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], as [`RelayServerBuilder::build`].
    pub fn reconfigure(&self, settings: Vec<NamespaceSettings>) -> Result<Reloaded, ConfigError> {
        builder::check_names(&settings)?;
        // Everything is tried out before anything is changed.
        let scratch = Metrics::new();
        for settings in &settings {
            Namespace::new(settings.clone(), Arc::clone(&self.0.clock), &scratch)?;
        }
        let before = self.namespaces();
        let mut reloaded = Reloaded::default();
        let mut after: Vec<Arc<Namespace>> = Vec::with_capacity(settings.len());
        for settings in settings {
            let same =
                before.iter().find(|old| settings.names().first().is_some_and(|name| **name == *old.host()));
            match same {
                Some(namespace) => {
                    let of_one = namespace.reconfigure(settings)?;
                    reloaded.listeners_closed += of_one.listeners_closed;
                    reloaded.listeners_kept += of_one.listeners_kept;
                    after.push(Arc::clone(namespace));
                }
                None => {
                    let made = Namespace::new(settings, Arc::clone(&self.0.clock), &self.0.metrics)?;
                    let made = Arc::new(made);
                    if self.0.serves.load(Ordering::Relaxed) {
                        made.start_timers(&self.0.cut);
                    }
                    after.push(made);
                }
            }
        }
        let stays = |old: &Arc<Namespace>| after.iter().any(|new| Arc::ptr_eq(old, new));
        let gone: Vec<_> = before.iter().filter(|old| !stays(old)).cloned().collect();
        *self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner) = after.into();
        reloaded.listeners_closed += gone.iter().map(|namespace| namespace.close()).sum::<usize>();
        Ok(reloaded)
    }

    /// Listeners of an entity of the first namespace right now.
    #[must_use]
    pub fn listeners(&self, entity: &EntityPath) -> usize {
        self.namespaces().first().map_or(0, |namespace| namespace.listeners(entity))
    }

    /// Whether new listeners and senders are taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed) && !self.0.stop.is_cancelled()
    }

    /// Numbers for Prometheus, as OpenMetrics text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        for namespace in self.namespaces().iter() {
            namespace.metrics.set_counts(namespace.counts());
        }
        self.0.metrics.text()
    }

    fn namespaces(&self) -> Arc<[Arc<Namespace>]> {
        Arc::clone(&self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The namespace that a client means. With one namespace any `Host` will do.
    pub(crate) fn namespace_of(&self, host: Option<&Authority>) -> Option<Arc<Namespace>> {
        let namespaces = self.namespaces();
        if let [only] = &*namespaces {
            return Some(Arc::clone(only));
        }
        let host = host_name(host?);
        namespaces.iter().find(|namespace| namespace.is_named(host)).cloned()
    }
}

impl fmt::Debug for RelayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayServer").field("tasks", &self.0.tasks.len()).finish_non_exhaustive()
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
