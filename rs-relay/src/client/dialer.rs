//! Opening byte streams to hosts.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use crate::net::BoxedStream;
use crate::proto::Authority;

/// How long one address of a host gets before the next is tried beside it (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Longest time that sent bytes may go unacknowledged before the system gives the connection up (Linux). With the interval
/// of [`KeepAlive`](super::KeepAlive) it bounds how long a dead way goes unnoticed.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Opens byte streams to hosts: directly, or through a proxy of your own.
///
/// ```
/// use std::io;
/// use async_trait::async_trait;
/// use rs_relay::BoxedStream;
/// use rs_relay::client::{Dialer, TcpDialer};
/// use rs_relay::proto::Authority;
///
/// /// Goes to a fixed port of this machine, where a tunnel begins.
/// #[derive(Debug)]
/// struct Tunnel(Authority);
///
/// #[async_trait]
/// impl Dialer for Tunnel {
///     async fn dial(&self, _: &Authority) -> io::Result<BoxedStream> {
///         TcpDialer.dial(&self.0).await
///     }
/// }
/// ```
#[async_trait]
pub trait Dialer: fmt::Debug + Send + Sync {
    /// A stream to the host's port, without TLS.
    ///
    /// While a relay is away a listener may drop the future and dial again, or dial twice at the same time.
    ///
    /// # Errors
    ///
    /// When the host cannot be reached. The text is shown to users.
    async fn dial(&self, authority: &Authority) -> io::Result<BoxedStream>;
}

/// Dials TCP directly: all addresses of the host, each 250 ms after the one before, and takes the first that answers.
///
/// On Linux a connection on which nothing is acknowledged for 20 s is given up.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, authority: &Authority) -> io::Result<BoxedStream> {
        let found = tokio::net::lookup_host((authority.bare_host(), authority.port())).await?;
        let stream = connect_first(interleaved(found.collect())).await?;
        stream.set_nodelay(true)?;
        give_up_dead_ways(&stream)?;
        Ok(Box::new(stream))
    }
}

#[cfg(target_os = "linux")]
fn give_up_dead_ways(stream: &TcpStream) -> io::Result<()> {
    let wait = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, wait)?)
}

#[cfg(not(target_os = "linux"))]
fn give_up_dead_ways(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Both families by turns, the one that the system prefers first.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else { return addresses };
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    loop {
        let turn = [one.next(), other.next()];
        if turn.iter().all(Option::is_none) {
            return mixed;
        }
        mixed.extend(turn.into_iter().flatten());
    }
}

/// Connects to the addresses, each some time after the one before or as soon as that failed; the first to answer wins.
async fn connect_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    running.extend(waiting.next().map(TcpStream::connect));
    while !running.is_empty() {
        tokio::select! {
            Some(connected) = running.next() => match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = error;
                    running.extend(waiting.next().map(TcpStream::connect));
                }
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {
                running.extend(waiting.next().map(TcpStream::connect));
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_by_turns() {
        let parse = |text: &str| text.parse().unwrap();
        let given = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"].map(parse);
        let mixed = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "127.0.0.3:1"].map(parse);
        assert_eq!(interleaved(given.to_vec()), mixed);
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = connect_first(vec![free, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(connect_first(vec![free]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_first(Vec::new()).await.is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sec47_the_system_is_told_to_give_up_dead_ways() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect_first(vec![listener.local_addr().unwrap()]).await.unwrap();
        assert_eq!(
            rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(),
            0,
            "the system waits for minutes"
        );
        give_up_dead_ways(&stream).unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 20_000);
    }
}
