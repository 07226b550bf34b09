//! Getting to a relay: dialing, TLS, the opening handshake.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tokens::{Token, TokenProviderError};
use crate::net::handshake::{TOKEN_HEADER, accept_key, has_token, new_key};
use crate::net::{BoxedStream, Upgraded};
use crate::proto::limits::HEAD_BYTES_MAX;
use crate::proto::{Authority, clean_reason};
use secrecy::ExposeSecret;

/// Opens byte streams to hosts: directly, or through a proxy of your own.
#[async_trait]
pub trait Dialer: fmt::Debug + Send + Sync {
    /// A stream to the host's port, without TLS.
    ///
    /// # Errors
    ///
    /// When the host cannot be reached. The text is shown to users.
    async fn dial(&self, authority: &Authority) -> io::Result<BoxedStream>;
}

/// Dials TCP directly.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, authority: &Authority) -> io::Result<BoxedStream> {
        let stream = TcpStream::connect((authority.bare_host(), authority.port())).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Trust {
    /// What the operating system trusts. The default.
    #[default]
    Platform,
    /// These authorities only, in PEM: for a relay with a certificate of its own.
    Only(Vec<u8>),
    /// What the operating system trusts and these authorities, in PEM.
    PlatformAnd(Vec<u8>),
}

/// A [`Connector`] could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// The PEM text has no certificate that can be used.
    #[error("the authority file holds no usable PEM certificate")]
    Authorities,
    /// The operating system's certificates cannot be used.
    #[error("TLS cannot be set up with the certificates of this system")]
    Tls(#[from] rustls::Error),
}

/// Settings of a [`Connector`].
///
/// # Defaults
///
/// The platform's certificates, direct TCP, 20 s for dialing and TLS.
#[derive(Debug)]
pub struct ConnectorBuilder {
    trust: Trust,
    dialer: Arc<dyn Dialer>,
    dial_wait: Duration,
}

impl ConnectorBuilder {
    /// Whose certificates are trusted.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// How hosts are reached.
    #[must_use]
    pub fn dialer(self, dialer: Arc<dyn Dialer>) -> Self {
        Self { dialer, ..self }
    }

    /// Time for dialing and TLS together. Default 20 s.
    #[must_use]
    pub fn dial_wait(self, wait: Duration) -> Self {
        Self { dial_wait: wait, ..self }
    }

    /// Sets TLS up.
    ///
    /// # Errors
    ///
    /// [`ConnectorError`].
    pub fn build(self) -> Result<Connector, ConnectorError> {
        let tls = TlsConnector::from(Arc::new(client_config(&self.trust)?));
        Ok(Connector { tls, dialer: self.dialer, dial_wait: self.dial_wait })
    }
}

/// Opens connections to relays. Cheap to clone; clones share TLS session tickets.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    dialer: Arc<dyn Dialer>,
    dial_wait: Duration,
}

impl Connector {
    /// Settings.
    #[must_use]
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder {
            trust: Trust::Platform,
            dialer: Arc::new(TcpDialer),
            dial_wait: Duration::from_secs(20),
        }
    }

    /// Opens a WebSocket: dials, speaks TLS, and sends the opening handshake.
    pub(crate) async fn open(
        &self,
        request: OpenRequest<'_>,
        wait: Duration,
    ) -> Result<Opened, ConnectError> {
        let late = |wait| ConnectError::TimedOut { authority: request.authority.clone(), wait };
        let dial = tokio::time::timeout(self.dial_wait, self.secure(request.authority));
        let stream = dial.await.map_err(|_| late(self.dial_wait))??;
        let opened = tokio::time::timeout(wait, handshake(stream, &request));
        opened.await.map_err(|_| late(wait))?
    }

    async fn secure(&self, authority: &Authority) -> Result<TlsStream<BoxedStream>, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { authority: authority.clone(), source };
        let name = ServerName::try_from(authority.bare_host().to_owned())
            .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = self.dialer.dial(authority).await.map_err(unreachable)?;
        self.tls.connect(name, stream).await.map_err(|source| {
            let by_tls = source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            let authority = authority.clone();
            if by_tls {
                ConnectError::Tls { authority, source }
            } else {
                ConnectError::Unreachable { authority, source }
            }
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("dialer", &self.dialer).finish_non_exhaustive()
    }
}

fn client_config(trust: &Trust) -> Result<ClientConfig, ConnectorError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Platform => builder.with_platform_verifier()?.with_no_client_auth(),
        Trust::Only(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in authorities(pem)? {
                roots.add(certificate).map_err(|_| ConnectorError::Authorities)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::PlatformAnd(pem) => {
            let verifier =
                rustls_platform_verifier::Verifier::new_with_extra_roots(authorities(pem)?, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(ConnectorError::Authorities)
}

/// An opening handshake to send.
pub(crate) struct OpenRequest<'a> {
    pub(crate) authority: &'a Authority,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) token: Option<&'a Token>,
    pub(crate) headers: HeaderMap,
}

/// A WebSocket behind its opening handshake.
pub(crate) struct Opened {
    pub(crate) upgraded: Upgraded,
    pub(crate) subprotocol: Option<Box<str>>,
}

async fn handshake(
    stream: TlsStream<BoxedStream>,
    request: &OpenRequest<'_>,
) -> Result<Opened, ConnectError> {
    let authority = request.authority;
    let broken = |error: hyper::Error| ConnectError::Unreachable {
        authority: authority.clone(),
        source: io::Error::other(error),
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).title_case_headers(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = Aborting(tokio::spawn(connection.with_upgrades()));
    let key = new_key();
    let response = sender.send_request(head(request, &key)?).await.map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(&response));
    }
    check(response.headers(), &key)?;
    let subprotocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|name| name.to_str().ok());
    let subprotocol = subprotocol.map(Into::into);
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    drop(driver);
    let parts = upgraded
        .downcast::<TokioIo<TlsStream<BoxedStream>>>()
        .map_err(|_| ConnectError::NoWebSocket("the connection could not be taken over"))?;
    Ok(Opened {
        upgraded: Upgraded { io: Box::new(parts.io.into_inner()), early: parts.read_buf },
        subprotocol,
    })
}

/// Ends the task that drives a handshake when the handshake is given up.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn head(request: &OpenRequest<'_>, key: &str) -> Result<Request<Empty<Bytes>>, ConnectError> {
    let unusable = |_| ConnectError::NoWebSocket("the address or a header cannot be sent");
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| unusable(()));
    let mut head = Request::new(Empty::new());
    *head.uri_mut() = request.target.parse().map_err(|_| unusable(()))?;
    let headers = head.headers_mut();
    headers.insert(HOST, value(&request.authority.to_string())?);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, value(key)?);
    if let Some(token) = request.token {
        let mut token = value(token.text.expose_secret())?;
        token.set_sensitive(true);
        headers.insert(TOKEN_HEADER, token);
    }
    headers.extend(request.headers.clone());
    Ok(head)
}

fn refused<B>(response: &Response<B>) -> ConnectError {
    let status = response.status();
    let reason =
        response.extensions().get::<ReasonPhrase>().map(|reason| String::from_utf8_lossy(reason.as_bytes()));
    let reason =
        reason.map_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned(), Into::into);
    ConnectError::Refused { status: status.as_u16(), reason: clean_reason(&reason) }
}

fn check(headers: &HeaderMap, key: &str) -> Result<(), ConnectError> {
    let accept = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.map(str::trim) != Some(accept_key(key).as_str()) || !has_token(headers, &UPGRADE, "websocket") {
        return Err(ConnectError::NoWebSocket("the answer does not fit the request"));
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ConnectError::NoWebSocket("the answer has an extension that was not asked for"));
    }
    Ok(())
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenProviderError),
    /// The host cannot be reached, or the connection broke off.
    #[error("cannot reach {authority}")]
    Unreachable {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host is not who it should be, or speaks no TLS.
    #[error("no trusted TLS connection to {authority}")]
    Tls {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{authority} did not answer within {} s", wait.as_secs())]
    TimedOut {
        /// Host and port.
        authority: Authority,
        /// How long was waited.
        wait: Duration,
    },
    /// The relay, or the listener behind it, said no.
    #[error("refused with status {status}: {reason}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The other side speaks no WebSocket.
    #[error("this is no relay: {0}")]
    NoWebSocket(&'static str),
}

impl ConnectError {
    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether a sender was told that nobody listens: 404, 502 or 503, which relays use alike.
    #[must_use]
    pub fn is_nobody_there(&self) -> bool {
        matches!(self.status(), Some(404 | 502 | 503))
    }

    /// Whether the network or the relay itself is the trouble, and not what was asked for.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Tls { .. } | Self::TimedOut { .. } | Self::NoWebSocket(_)
        )
    }
}
