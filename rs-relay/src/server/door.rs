//! The door: how many connections there may be, and each connection up to its handshake.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::lobby::Place;
use super::metrics::{Cause, Metrics};
use super::probation::Trial;
use super::{RelayServer, Transport, handler};
use crate::net::Stream;
use crate::proto::limits::HEAD_BYTES_MAX;

/// Connections in all, unless set.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;

/// Connections of one address, unless set.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 4_096;

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Door {
    connections_max: usize,
    per_address_max: usize,
    count: Mutex<Count>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Door {
    pub(crate) fn new(connections_max: usize, per_address_max: usize, metrics: Metrics) -> Self {
        Self { connections_max, per_address_max, count: Mutex::default(), metrics }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if there is room for it.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Ticket> {
        let address = source(address);
        let mut count = self.count();
        let cause = if count.all >= self.connections_max {
            "too_many"
        } else if count.of.get(&address).is_some_and(|of| *of >= self.per_address_max) {
            "too_many_of_address"
        } else {
            count.all += 1;
            *count.of.entry(address).or_default() += 1;
            self.metrics.connections.inc();
            return Some(Ticket { door: Arc::clone(self), source: address, trial: Mutex::default() });
        };
        self.metrics.connections_refused.get_or_create(&Cause { cause }).inc();
        None
    }
}

/// Who counts as one source: an IPv4 address, an IPv6 network of 64 bits.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

/// A connection that counts as long as this lives.
#[derive(Debug)]
pub(crate) struct Ticket {
    door: Arc<Door>,
    source: IpAddr,
    /// Until the client has shown that it may be here.
    trial: Mutex<Option<Trial>>,
}

impl Ticket {
    fn trial(&self) -> MutexGuard<'_, Option<Trial>> {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client may be here: it has shown a token or an address that only others with a token get.
    pub(crate) fn proven(&self) {
        let trial = self.trial().take();
        trial.into_iter().for_each(Trial::proven);
    }

    /// The client may be here, and so may anybody: that speaks for nobody.
    pub(crate) fn admitted(&self) {
        let trial = self.trial().take();
        trial.into_iter().for_each(Trial::admitted);
    }

    /// Who counts as one source: an IPv4 address, an IPv6 network of 64 bits.
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut count = self.door.count();
        count.all -= 1;
        if let Some(of) = count.of.get_mut(&self.source) {
            *of -= 1;
            if *of == 0 {
                count.of.remove(&self.source);
            }
        }
        self.door.metrics.connections.dec();
    }
}

/// One connection up to its opening handshake.
pub(crate) struct Stranger {
    pub(crate) server: RelayServer,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Place,
    pub(crate) begun: Instant,
    pub(crate) ticket: Arc<Ticket>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.server.0.lobby.leave(self.place);
    }
}

impl Stranger {
    /// Serves the connection: one WebSocket, or HTTP requests one after another.
    ///
    /// Each stage is a box of its own: those that never get to a later one take no memory for it.
    pub(crate) async fn run<T: Transport>(self, transport: Arc<T>, raw: T::Raw) {
        let deadline = self.begun + self.server.0.times.handshake;
        let securing = Box::pin(self.secure(transport, raw));
        let secured = tokio::select! {
            secured = tokio::time::timeout_at(deadline, securing) => secured,
            () = self.server.0.cut.cancelled() => return,
        };
        match secured {
            Ok(Ok(stream)) => Box::pin(self.serve(stream, deadline)).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(peer = %self.peer, "no TLS handshake in time"),
        }
    }

    /// The first bytes at leisure, the rest of the handshake in turns.
    async fn secure<T: Transport>(&self, transport: Arc<T>, raw: T::Raw) -> io::Result<T::Stream> {
        let raw = if self.server.0.bounded { transport.arrive(raw).await? } else { raw };
        *self.ticket.trial() = Some(self.server.0.probation.enter(self.ticket.source).await);
        let (server, place) = (self.server.clone(), self.place);
        let securing = async move {
            // Who waits for the first turn costs next to nothing yet.
            server.0.lobby.work(place);
            Box::pin(transport.secure(raw)).await
        };
        let good = self.server.0.probation.stands_good(self.ticket.source);
        self.server.0.turns.drive(self.ticket.source, good, securing).await.map_err(io::Error::other)?
    }

    async fn serve<S: Stream + 'static>(&self, stream: S, deadline: Instant) {
        let (server, place, peer, ticket) =
            (self.server.clone(), self.place, self.peer, Arc::clone(&self.ticket));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            )
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    server.0.lobby.leave(place);
                    handler::handle::<S>(server.clone(), peer, Arc::clone(&ticket), request)
                }),
            )
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        // Who comes while the server shuts down is heard, too: it may be a listener on its way to a rendezvous.
        let came_late = self.server.0.stop.is_cancelled();
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.server.0.cut.cancelled() => return,
            () = self.server.0.stop.cancelled(), if !came_late => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = &mut serving => served,
                    () = self.server.0.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(peer = %self.peer, %error, "connection ended before its handshake");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec42_connections_at_and_past_the_bounds() {
        let door = Arc::new(Door::new(5, 3, Metrics::new()));
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut of_a: Vec<_> = (0..3).map(|_| door.enter(a).unwrap()).collect();
        assert!(door.enter(a).is_none(), "a fourth of one address");
        let _of_b: Vec<_> = (0..2).map(|_| door.enter(b).unwrap()).collect();
        assert!(door.enter(c).is_none(), "a sixth in all");
        of_a.pop();
        assert!(door.enter(c).is_some());
        drop(of_a);
        assert!(door.enter(a).is_some());
        assert_eq!(door.count().of.len(), 1, "nobody is remembered who is gone");
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| source(text.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], source("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
