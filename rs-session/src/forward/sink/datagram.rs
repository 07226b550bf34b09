//! Syslog over UDP: one event, one datagram.

use std::io;

use async_trait::async_trait;
use tokio::net::UdpSocket;

use super::{Encoded, Mark, Sink, SinkError};

/// Sends datagrams.
#[derive(Debug)]
pub struct DatagramSink {
    host: String,
    port: u16,
}

impl DatagramSink {
    /// Datagrams go to `host` and `port`.
    #[must_use]
    pub const fn new(host: String, port: u16) -> Self {
        Self { host, port }
    }
}

#[async_trait]
impl Sink for DatagramSink {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let socket = connected(&self.host, self.port).await?;
        for event in batch {
            socket.send(&event.bytes).await?;
        }
        Ok(None)
    }
}

/// A socket of the family that the receiver's first reachable address has.
async fn connected(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
