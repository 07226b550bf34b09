//! Getting to a relay: dialing, TLS, the opening handshake.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, VIA,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::HybridConnection;
use super::dialer::{Dialer, TcpDialer};
use super::http::BoxError;
use super::tokens::{Token, TokenProviderError};
use crate::net::handshake::{TOKEN_HEADER, accept_key, has_token, new_key};
use crate::net::{BoxedStream, ReadAhead, TLS_BUFFER_BYTES, Upgraded};
use crate::proto::limits::HEAD_BYTES_MAX;
use crate::proto::{Authority, clean_reason};
use secrecy::ExposeSecret;

/// A connection to a relay behind its TLS handshake.
pub(crate) type ClientStream = TlsStream<ReadAhead<BoxedStream>>;

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

/// Longest head of a response. Through the relay come 32 KiB of headers.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// How a relay that does not answer is dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Once.
    Once,
    /// It is known to be away: again and again, so that its return is noticed at once.
    Watching,
}

/// When a dial gets a fresh one beside it, while the relay is away.
const FRESH_DIAL_AFTER: Duration = Duration::from_millis(1500);

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
        self.open_with(request, wait, Persistence::Once).await
    }

    pub(crate) async fn open_with(
        &self,
        request: OpenRequest<'_>,
        wait: Duration,
        persistence: Persistence,
    ) -> Result<Opened, ConnectError> {
        let stream = self.secure(request.authority, persistence).await?;
        open_on(stream, request, wait).await
    }

    /// Dials and speaks TLS, in the time for both.
    pub(crate) async fn secure(
        &self,
        authority: &Authority,
        persistence: Persistence,
    ) -> Result<ClientStream, ConnectError> {
        let wait = self.dial_wait;
        let deadline = Instant::now() + wait;
        let dialed = tokio::time::timeout_at(deadline, self.dial(authority, persistence)).await;
        let Ok(dialed) = dialed else {
            let source =
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", wait.as_secs()));
            return Err(ConnectError::Unreachable { authority: authority.clone(), source });
        };
        let stream =
            dialed.map_err(|source| ConnectError::Unreachable { authority: authority.clone(), source })?;
        let secured = tokio::time::timeout_at(deadline, self.encrypt(authority, stream)).await;
        secured.map_err(|_| ConnectError::TimedOut { authority: authority.clone(), wait })?
    }

    async fn dial(&self, authority: &Authority, persistence: Persistence) -> io::Result<BoxedStream> {
        let patient = self.dialer.dial(authority);
        if persistence == Persistence::Once {
            return patient.await;
        }
        // A packet that was lost while the relay was away is sent again ever more rarely. Who waits for that learns of
        // the relay's return seconds late; who gives up early never gets through where the way is long. So both are done.
        let mut patient = std::pin::pin!(patient);
        if let Ok(dialed) = tokio::time::timeout(FRESH_DIAL_AFTER, &mut patient).await {
            return dialed;
        }
        loop {
            let fresh = tokio::time::timeout(FRESH_DIAL_AFTER, self.dialer.dial(authority));
            tokio::select! {
                dialed = &mut patient => return dialed,
                dialed = fresh => if let Ok(dialed) = dialed {
                    return dialed;
                },
            }
        }
    }

    async fn encrypt(
        &self,
        authority: &Authority,
        stream: BoxedStream,
    ) -> Result<ClientStream, ConnectError> {
        let name = ServerName::try_from(authority.bare_host().to_owned()).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, error);
            ConnectError::Unreachable { authority: authority.clone(), source }
        })?;
        let limit = |session: &mut ClientConnection| session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        self.tls.connect_with(name, ReadAhead::new(stream), limit).await.map_err(|source| {
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

/// Opens a WebSocket on a connection that stands.
pub(crate) async fn open_on(
    stream: ClientStream,
    request: OpenRequest<'_>,
    wait: Duration,
) -> Result<Opened, ConnectError> {
    let opened = tokio::time::timeout(wait, handshake(stream, &request)).await;
    opened.map_err(|_| ConnectError::TimedOut { authority: request.authority.clone(), wait })?
}

async fn handshake(stream: ClientStream, request: &OpenRequest<'_>) -> Result<Opened, ConnectError> {
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
    check_subprotocol(response.headers(), &request.headers)?;
    let subprotocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|name| name.to_str().ok());
    let subprotocol = subprotocol.map(Into::into);
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    drop(driver);
    let parts = upgraded
        .downcast::<TokioIo<ClientStream>>()
        .map_err(|_| ConnectError::NoWebSocket("the connection could not be taken over"))?;
    Ok(Opened {
        upgraded: Upgraded { io: Box::new(parts.io.into_inner()), early: parts.read_buf },
        subprotocol,
    })
}

/// Ends the task that drives a connection when nobody wants it any more.
#[derive(Debug)]
pub(crate) struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends an HTTP request and waits for the head of its response.
pub(crate) async fn exchange<B>(
    authority: &Authority,
    stream: ClientStream,
    request: Request<B>,
) -> Result<(Response<Incoming>, Aborting<()>), ConnectError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let broken = |error: hyper::Error| ConnectError::Unreachable {
        authority: authority.clone(),
        source: io::Error::other(error),
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(RESPONSE_HEAD_BYTES_MAX).title_case_headers(true);
    let body = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = Aborting(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(body).await.map_err(broken)?;
    let by_relay = !response.headers().contains_key(VIA) && response.status().as_u16() >= 400;
    if by_relay { Err(refused(&response)) } else { Ok((response, driver)) }
}

/// The request with its path below the entity, and with what the relay needs to see.
pub(crate) fn below<B>(
    mut request: Request<B>,
    relay: &HybridConnection,
    token: Option<&Token>,
) -> Result<Request<B>, ConnectError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix("/").filter(|rest| rest.is_empty() || rest.starts_with('?')).unwrap_or(path);
    let target = format!("/{}{path}", relay.entity());
    *request.uri_mut() =
        target.parse().map_err(|_| ConnectError::NoWebSocket("the address cannot be sent"))?;
    let host = sendable(&relay.authority().to_string())?;
    request.headers_mut().insert(HOST, host);
    if let Some(token) = token {
        request.headers_mut().insert(TOKEN_HEADER, secret(token)?);
    }
    Ok(request)
}

fn sendable(text: &str) -> Result<HeaderValue, ConnectError> {
    HeaderValue::from_str(text)
        .map_err(|_| ConnectError::NoWebSocket("the address or a header cannot be sent"))
}

fn secret(token: &Token) -> Result<HeaderValue, ConnectError> {
    let mut value = sendable(token.text.expose_secret())?;
    value.set_sensitive(true);
    Ok(value)
}

fn head(request: &OpenRequest<'_>, key: &str) -> Result<Request<Empty<Bytes>>, ConnectError> {
    let unusable = |_| ConnectError::NoWebSocket("the address or a header cannot be sent");
    let mut head = Request::new(Empty::new());
    *head.uri_mut() = request.target.parse().map_err(unusable)?;
    let headers = head.headers_mut();
    headers.insert(HOST, sendable(&request.authority.to_string())?);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, sendable(key)?);
    if let Some(token) = request.token {
        headers.insert(TOKEN_HEADER, secret(token)?);
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

/// The subprotocol must be one that was offered; none is fine when none was.
fn check_subprotocol(answer: &HeaderMap, request: &HeaderMap) -> Result<(), ConnectError> {
    let words = |headers: &HeaderMap| -> Vec<String> {
        let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
    };
    let offered = words(request);
    match words(answer).as_slice() {
        [] if offered.is_empty() => Ok(()),
        [] => Err(ConnectError::NoWebSocket("the other side takes none of the subprotocols")),
        [chosen] if offered.contains(chosen) => Ok(()),
        _ => Err(ConnectError::NoWebSocket("the other side chose a subprotocol that was not offered")),
    }
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

    /// The tracking id of a refusal, as it stands in the relay's log; listeners that reject give none.
    ///
    /// ```
    /// use rs_relay::client::ConnectError;
    ///
    /// let reason = "There are no listeners connected for the endpoint. TrackingId:6f_G11, SystemTracker:sb://ns/hyco".into();
    /// assert_eq!(ConnectError::Refused { status: 404, reason }.tracking_id(), Some("6f_G11"));
    /// ```
    #[must_use]
    pub fn tracking_id(&self) -> Option<&str> {
        let Self::Refused { reason, .. } = self else { return None };
        let (_, rest) = reason.split_once("TrackingId:")?;
        rest.split([',', ' ']).next().filter(|id| !id.is_empty())
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
