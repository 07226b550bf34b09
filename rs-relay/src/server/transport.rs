//! Where connections come from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificate;
use crate::net::{ReadAhead, Stream, TLS_BUFFER_BYTES};

/// A source of connections for [`RelayServer::serve`](super::RelayServer::serve).
///
/// Accepting and securing are steps of their own, so that a slow TLS handshake holds nobody else up.
pub trait Transport: Send + Sync + 'static {
    /// A connection before its TLS handshake.
    type Raw: Send + 'static;
    /// A connection after it.
    type Stream: Stream + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, SocketAddr)>> + Send;

    /// Waits for the bytes without which it is not worth while to begin with [`Transport::secure`]. This is not counted as
    /// work, so it should take next to no memory. By default it is done at once.
    fn arrive(&self, raw: Self::Raw) -> impl Future<Output = io::Result<Self::Raw>> + Send {
        std::future::ready(Ok(raw))
    }

    /// Makes a connection ready for use.
    fn secure(&self, raw: Self::Raw) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// TCP with TLS 1.2 or 1.3, the default.
pub struct TlsTransport {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: Option<Certificate>,
}

/// A [`TlsTransport`] could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsTransportError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate chain.
    #[error("the certificate file holds no PEM certificate")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// No private key.
    #[error("the key file holds no PEM private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Certificate and key do not fit together, or are of an unknown kind.
    #[error("certificate and key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
}

impl TlsTransport {
    /// Listens on an address with a certificate chain and its key, both in PEM. Port 0 takes a free port.
    ///
    /// # Errors
    ///
    /// [`TlsTransportError`].
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Debug,
        certificate_pem: &str,
        key_pem: &SecretString,
    ) -> Result<Self, TlsTransportError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = Certificate::new(certificate_pem, key_pem, &provider)?;
        let config = server_config(&certificate, provider)?;
        let shown = format!("{address:?}");
        let listener = listen(address).await;
        let listener = listener.map_err(|source| TlsTransportError::Bind { address: shown, source })?;
        Ok(Self { certificate: Some(certificate), ..Self::new(listener, Arc::new(config)) })
    }

    /// The certificate, to be replaced while the server runs. `None` when the TLS settings are your own.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.certificate.clone()
    }

    /// From parts of your own.
    #[must_use]
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { listener, acceptor: config.into(), certificate: None }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Connections that the system holds until they are accepted. When there are more it drops their first packets, which are
/// sent again after a second; the usual 1,024 are not enough for a flood. Linux allows 4,096 unless told otherwise.
const BACKLOG: u32 = 4096;

/// As [`TcpListener::bind`], with a larger backlog.
async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows this would let others take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn server_config(
    certificate: &Certificate,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<ServerConfig, TlsTransportError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate.resolver());
    // The keys of tickets are changed every six hours; no session takes memory here.
    // Each resumed session gives one back, which is enough for the next.
    config.send_tls13_tickets = 1;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // WebSocket over HTTP/2 is spoken by none of the clients.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A TCP connection, with what it has sent before TLS began.
#[derive(Debug)]
pub struct Arriving {
    io: TcpStream,
    early: Vec<u8>,
}

/// Length of the head of a TLS record.
const RECORD_HEAD_BYTES: usize = 5;

/// First record that is waited for as a whole, in bytes. Those of all usual clients are shorter; what is longer is left to
/// rustls as it comes.
const FIRST_RECORD_BYTES_MAX: usize = 4 * 1024;

impl Arriving {
    /// Whether the first record is there; or too much of it, or something else than TLS.
    fn is_whole(&self) -> bool {
        match self.early[..] {
            [] => false,
            [kind, _, _, high, low, ..] if kind == HANDSHAKE => {
                let length = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
                self.early.len() >= length.min(FIRST_RECORD_BYTES_MAX)
            }
            [kind, ..] => kind != HANDSHAKE,
        }
    }

    /// Takes what is there, by way of the stack: who waits holds no buffer.
    fn take(&mut self) -> io::Result<()> {
        let mut piece = [0; FIRST_RECORD_BYTES_MAX];
        match self.io.try_read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.early.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The kind of a record that carries a handshake.
const HANDSHAKE: u8 = 22;

impl Transport for TlsTransport {
    type Raw = Arriving;
    type Stream = tokio_rustls::server::TlsStream<ReadAhead<TcpStream>>;

    async fn accept(&self) -> io::Result<(Arriving, SocketAddr)> {
        let (io, peer) = self.listener.accept().await?;
        Ok((Arriving { io, early: Vec::new() }, peer))
    }

    /// A session of rustls takes thousands of bytes from the beginning, and most slow clients never get to one.
    async fn arrive(&self, mut raw: Arriving) -> io::Result<Arriving> {
        while !raw.is_whole() {
            raw.io.readable().await?;
            raw.take()?;
        }
        Ok(raw)
    }

    async fn secure(&self, raw: Arriving) -> io::Result<Self::Stream> {
        raw.io.set_nodelay(true)?;
        let limit = |session: &mut ServerConnection| session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        self.acceptor.accept_with(ReadAhead::behind(raw.early, raw.io), limit).await
    }
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// TCP without TLS: behind a proxy on the same machine that ends TLS, or in tests.
#[derive(Debug)]
pub struct PlainTransport(TcpListener);

impl PlainTransport {
    /// Tokens and rendezvous secrets travel in the clear on these connections.
    #[must_use]
    pub fn dangerous_without_tls(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl Transport for PlainTransport {
    type Raw = TcpStream;
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    async fn secure(&self, raw: TcpStream) -> io::Result<TcpStream> {
        raw.set_nodelay(true)?;
        Ok(raw)
    }
}
