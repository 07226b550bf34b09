//! Numbers for Prometheus. Labels are names of namespaces and fixed words: no entity, no address, no token.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InNamespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    namespace: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    namespace: String,
    direction: &'static str,
}

type PerNamespace = Family<InNamespace, Counter>;

/// All numbers of a server. Clones are handles to the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Family<Cause, Counter>,
    pub(crate) handshakes_waiting: Gauge,
    pub(crate) handshakes_refused: Family<Cause, Counter>,
    listeners: Family<InNamespace, Gauge>,
    waiting: Family<InNamespace, Gauge>,
    joined: Family<InNamespace, Gauge>,
    joins: PerNamespace,
    listens: PerNamespace,
    bytes: Family<Direction, Counter>,
    responses: Family<Status, Counter>,
    refusals: Family<Status, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Cause {
    pub(crate) cause: &'static str,
}

/// The numbers of one namespace.
#[derive(Debug, Clone)]
pub(crate) struct NamespaceMetrics {
    all: Metrics,
    label: InNamespace,
    pub(crate) joined: Gauge,
    pub(crate) joins: Counter,
    pub(crate) listens: Counter,
    /// Bytes that came from senders, frames included.
    pub(crate) from_senders: Counter,
    /// Bytes that came from listeners, frames included.
    pub(crate) from_listeners: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("relay");
        let connections = Gauge::default();
        registry.register("connections", "Connections right now", connections.clone());
        let connections_refused = Family::<Cause, Counter>::default();
        registry.register(
            "connections_refused",
            "Connections that were closed before anything was read",
            connections_refused.clone(),
        );
        let handshakes_waiting = Gauge::default();
        registry.register(
            "handshakes_waiting",
            "TLS handshakes that wait for their turn right now",
            handshakes_waiting.clone(),
        );
        let handshakes_refused = Family::<Cause, Counter>::default();
        registry.register(
            "handshakes_refused",
            "Connections that were closed because too many TLS handshakes wait",
            handshakes_refused.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let family = Family::<InNamespace, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let listeners = gauge("listeners", "Listeners right now");
        let waiting = gauge("waiting_senders", "Senders that wait for a listener right now");
        let joined = gauge("joined_connections", "WebSocket connections that are joined right now");
        let mut counter = |name: &str, help: &str| {
            let family = PerNamespace::default();
            registry.register(name, help, family.clone());
            family
        };
        let joins = counter("joins", "WebSocket connections that were joined");
        let listens = counter("listens", "Listeners that were let in");
        let bytes = Family::<Direction, Counter>::default();
        registry.register(
            "bytes",
            "Bytes of joined connections, by the side that they came from",
            bytes.clone(),
        );
        let mut by_status = |name: &str, help: &str| {
            let family = Family::<Status, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let responses = by_status("http_responses", "Responses of listeners to HTTP senders, by status");
        let refusals = by_status("refusals", "Requests and handshakes that the relay refused, by status");
        Self {
            registry: Arc::new(registry),
            connections,
            connections_refused,
            handshakes_waiting,
            handshakes_refused,
            listeners,
            waiting,
            joined,
            joins,
            listens,
            bytes,
            responses,
            refusals,
        }
    }

    pub(crate) fn of(&self, namespace: &str) -> NamespaceMetrics {
        let namespace = namespace.to_owned();
        let label = InNamespace { namespace: namespace.clone() };
        let bytes = |direction| {
            self.bytes.get_or_create(&Direction { namespace: namespace.clone(), direction }).clone()
        };
        NamespaceMetrics {
            joined: self.joined.get_or_create(&label).clone(),
            joins: self.joins.get_or_create(&label).clone(),
            listens: self.listens.get_or_create(&label).clone(),
            from_senders: bytes("from_senders"),
            from_listeners: bytes("from_listeners"),
            all: self.clone(),
            label,
        }
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

impl NamespaceMetrics {
    pub(crate) fn refused(&self, status: u16) {
        let namespace = self.label.namespace.clone();
        self.all.refusals.get_or_create(&Status { namespace, status }).inc();
    }

    /// Unusual statuses of listeners count as their hundreds, so that listeners cannot make up labels.
    pub(crate) fn responded(&self, status: u16) {
        let status = if status < 600 { status } else { status / 100 * 100 };
        let namespace = self.label.namespace.clone();
        self.all.responses.get_or_create(&Status { namespace, status }).inc();
    }

    pub(crate) fn set_counts(&self, (listeners, waiting): (usize, usize)) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.all.listeners.get_or_create(&self.label).set(number(listeners));
        self.all.waiting.get_or_create(&self.label).set(number(waiting));
    }
}
