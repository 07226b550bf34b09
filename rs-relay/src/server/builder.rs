//! Settings of a server, and their check.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::door::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, Door};
use super::issuers::IssuerError;
use super::metrics::Metrics;
use super::namespace::Namespace;
use super::turns::{Turns, default_at_once};
use super::{RelayServer, Shared};
use crate::net::Clock;
use crate::proto::registry::Limits;
use crate::proto::{Authority, EntityPath, EntitySettings, IssuerSettings, NamespaceSettings, Rules};

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

/// A server could not be set up, or its new settings cannot be used; the old ones stay then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No name was given.
    #[error("a namespace has no host name; give the names under which clients reach it")]
    NoHost,
    /// Two namespaces have the same name, so that nobody could tell them apart.
    #[error("the host name {host} belongs to two namespaces; each needs names of its own")]
    HostTwice {
        /// The name.
        host: String,
    },
    /// An entity was declared twice.
    #[error(
        "the hybrid connection {entity} is declared twice in the namespace {namespace} (names do not differ by case)"
    )]
    EntityTwice {
        /// First name of the namespace.
        namespace: String,
        /// The entity.
        entity: EntityPath,
    },
    /// More entities were declared than fit.
    #[error("too many hybrid connections are declared")]
    TooManyEntities,
    /// Keys of an issuer cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
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
/// that leaves three in a row unanswered is dropped; a half-closed peer may be silent for 10 s; at most 16,384 connections,
/// 4,096 of one address; as many TLS handshakes at work at the same time as the machine has cores, and two at least.
#[derive(Debug)]
pub struct RelayServerBuilder {
    pub(super) first: NamespaceSettings,
    pub(super) others: Vec<NamespaceSettings>,
    pub(super) times: Times,
    pub(super) connections_max: usize,
    pub(super) connections_per_address_max: usize,
    pub(super) handshakes_at_once: NonZeroUsize,
    pub(super) bounded: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl RelayServerBuilder {
    pub(super) fn new(first: NamespaceSettings, clock: Arc<dyn Clock>) -> Self {
        let times = Times {
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            half_close: Duration::from_secs(10),
            refusal: Duration::from_secs(1),
        };
        let others = Vec::new();
        let (connections_max, connections_per_address_max) = (CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
        Self {
            first,
            others,
            times,
            connections_max,
            connections_per_address_max,
            handshakes_at_once: default_at_once(),
            bounded: true,
            clock,
        }
    }

    /// Changes the first namespace.
    fn first(mut self, change: impl FnOnce(NamespaceSettings) -> NamespaceSettings) -> Self {
        self.first = change(self.first);
        self
    }

    /// Rules that hold in the whole namespace. Without any, and without rules on an entity, nobody gets in.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        self.first(|first| first.rules(rules))
    }

    /// Takes the JSON Web Tokens of an issuer.
    #[must_use]
    pub fn issuer(self, issuer: IssuerSettings) -> Self {
        self.first(|first| first.issuer(issuer))
    }

    /// Makes a hybrid connection that exists whether somebody listens or not.
    #[must_use]
    pub fn entity(self, path: EntityPath, settings: EntitySettings) -> Self {
        self.first(|first| first.entity(path, settings))
    }

    /// Refuses listeners on entities that were not declared, with 404.
    #[must_use]
    pub fn declared_entities_only(self) -> Self {
        self.first(NamespaceSettings::declared_entities_only)
    }

    /// Host and port to put into rendezvous addresses. By default what each listener has put into its `Host` header.
    #[must_use]
    pub fn public_authority(self, authority: Authority) -> Self {
        self.first(|first| first.public_authority(authority))
    }

    /// Bounds of the namespace.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        self.first(|first| first.limits(limits))
    }

    /// Adds a further namespace, which is told from the first by the `Host` header. With several of them a client that names
    /// none is refused; with one, any `Host` will do.
    #[must_use]
    pub fn namespace(mut self, settings: NamespaceSettings) -> Self {
        self.others.push(settings);
        self
    }

    /// From the first byte of a connection to the end of the request's head, and how long a connection of an HTTP sender may
    /// be idle. Default 10 s.
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

    /// Connections in all, and of one address (an IPv6 network of 64 bits counts as one); one more is closed at once, before
    /// its TLS handshake. Defaults 16,384 and 4,096.
    #[must_use]
    pub fn connections(self, in_all: usize, of_one_address: usize) -> Self {
        Self { connections_max: in_all, connections_per_address_max: of_one_address, ..self }
    }

    /// TLS handshakes that are at work at the same time; others wait for their turn, source by source (an IPv6 network of 64
    /// bits is one source), so that a source with many of them does not delay those with few. One that only waits for its
    /// peer's bytes is not counted. Default: the number of cores, and two at least.
    ///
    /// At most 1,024 of one source wait, and 3,072 in all; further ones are closed, beginning with those of the source that
    /// has most. More turns than cores make the order of turns matter less.
    #[must_use]
    pub fn handshakes_at_once(self, turns: NonZeroUsize) -> Self {
        Self { handshakes_at_once: turns, ..self }
    }

    /// Takes away the bounds on what strangers cost: the control of tests that flood a relay.
    #[doc(hidden)]
    #[must_use]
    pub fn dangerous_without_bounds(self) -> Self {
        Self { bounded: false, ..self }
    }

    /// Where wall time comes from. Default [`SystemClock`](crate::SystemClock).
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: no host name or one that two namespaces have, a time of zero or more than a day, too many declared
    /// entities or two of one name, keys of an issuer that cannot be used.
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
        let settings: Vec<_> = std::iter::once(self.first).chain(self.others).collect();
        check_names(&settings)?;
        let metrics = Metrics::new();
        let namespaces = settings
            .into_iter()
            .map(|settings| Namespace::new(settings, Arc::clone(&self.clock), &metrics).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let door = Door::new(self.connections_max, self.connections_per_address_max, metrics.clone());
        let turns = Turns::new(self.handshakes_at_once, metrics.clone());
        let gates = (door, turns, self.bounded);
        Ok(RelayServer::new(Shared::new(namespaces, self.times, self.clock, gates, metrics)))
    }
}

/// No name may belong to two namespaces.
pub(super) fn check_names(namespaces: &[NamespaceSettings]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for namespace in namespaces {
        let names = namespace.names();
        if namespace.hosts.is_empty() {
            return Err(ConfigError::NoHost);
        }
        for host in names {
            if let Some(host) = seen.replace(host) {
                return Err(ConfigError::HostTwice { host: host.into() });
            }
        }
    }
    Ok(())
}
