//! Syslog over TCP and TLS, with counted octets (RFC 6587, RFC 5425).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Encoded, Mark, Sink, SinkError};
use crate::platform;

/// Longest time for a connection, TLS included.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longest time for the writing of a batch.
pub const WRITE_WAIT: Duration = Duration::from_secs(30);
/// Longest time until the receiver's kernel has acknowledged a batch, when nothing else is said.
pub const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(30);
/// First and longest pause between two looks for that.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Sends syslog messages over one connection, which is opened anew when it broke.
pub struct StreamSink {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    acknowledge_wait: Duration,
    connection: Option<Connection>,
}

impl std::fmt::Debug for StreamSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSink")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl StreamSink {
    /// Messages go to `host` and `port`, with `tls` inside TLS.
    #[must_use]
    pub const fn new(host: String, port: u16, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { host, port, tls, acknowledge_wait: ACKNOWLEDGE_WAIT, connection: None }
    }

    /// Waits this long for the receiver's acknowledgement; default [`ACKNOWLEDGE_WAIT`].
    #[must_use]
    pub const fn with_acknowledge_wait(mut self, wait: Duration) -> Self {
        self.acknowledge_wait = wait;
        self
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some(tls) = &self.tls else { return Ok(Connection::Plain(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Connection::Tls(Box::new(stream)))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => timeout(CONNECT_WAIT, self.connect())
                .await
                .map_err(|_| SinkError::Slow("take a connection"))??,
        };
        timeout(WRITE_WAIT, connection.write(bytes))
            .await
            .map_err(|_| SinkError::Slow("take the events"))??;
        timeout(self.acknowledge_wait, connection.acknowledged())
            .await
            .map_err(|_| SinkError::Slow("acknowledge the events"))??;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the receiver has not closed its side. Syslog receivers never say anything that would have to be read.
    fn is_open(&self) -> bool {
        !platform::has_hung_up(self.tcp())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Returns when nothing that was written waits for the receiver's acknowledgement any more.
    async fn acknowledged(&self) -> io::Result<()> {
        let mut pause = LOOK.0;
        loop {
            if let Some(error) = self.tcp().take_error()? {
                return Err(error);
            }
            if platform::unacknowledged(self.tcp())? == 0 {
                // A reset empties the queue too; then the connection is no longer there.
                return if self.is_open() {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::ConnectionReset, "the receiver closed the connection"))
                };
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }
}

#[async_trait]
impl Sink for StreamSink {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let mut bytes = Vec::new();
        for event in batch {
            bytes.extend_from_slice(format!("{} ", event.bytes.len()).as_bytes());
            bytes.extend_from_slice(&event.bytes);
        }
        self.send(&bytes).await.map(|()| None)
    }
}
