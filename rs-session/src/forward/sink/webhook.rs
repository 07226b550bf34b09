//! Batches to a web address.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rs_consent::digest::Sha256;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Connect, Duplex, Encoded, Mark, Sink, SinkError};

/// Longest time from the request to its whole answer, connection included.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes; what it says is not used.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// Name or address of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

/// Posts batches as a JSON array (formats that are JSON) or as lines (those that are not).
pub struct WebhookSink {
    target: WebhookTarget,
    json: bool,
    bearer: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    connect: Arc<dyn Connect>,
}

impl std::fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSink").field("target", &self.target).finish_non_exhaustive()
    }
}

impl WebhookSink {
    /// Batches go to `target`, in the clear unless there is `tls`; `json` says whether the events are JSON.
    #[must_use]
    pub fn new(
        target: WebhookTarget,
        json: bool,
        tls: Option<Arc<ClientConfig>>,
        connect: Arc<dyn Connect>,
    ) -> Self {
        Self { target, json, bearer: None, tls, connect }
    }

    /// Sends `token` as bearer token.
    ///
    /// # Errors
    /// When the token has characters that no header can hold.
    pub fn with_bearer(mut self, token: &str) -> Result<Self, SinkError> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            SinkError::Io(io::Error::other("the token has characters that no header can hold"))
        })?;
        value.set_sensitive(true);
        self.bearer = Some(value);
        Ok(self)
    }

    fn request(&self, batch: &[Encoded]) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let (kind, body) = if self.json {
            ("application/json", array(batch))
        } else {
            ("text/plain; charset=utf-8", lines(batch))
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.target.path)
            .header(HOST, host_header(&self.target, self.tls.is_some()))
            .header(USER_AGENT, concat!("remote-support/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, kind)
            .header("Idempotency-Key", key(batch));
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        request.body(Full::new(Bytes::from(body)))
    }

    async fn post(&self, batch: &[Encoded]) -> Result<(), SinkError> {
        let mut stream: Box<dyn Duplex> = self.connect.connect(&self.target.host, self.target.port).await?;
        if let Some(tls) = &self.tls {
            let name = ServerName::try_from(self.target.host.clone()).map_err(io::Error::other)?;
            stream = Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?);
        }
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = self.request(batch).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other);
        let status = match answer {
            Ok(answer) => {
                let status = answer.status();
                // Read to its end, so that the receiver is not cut off in the middle; the text is of no use.
                let _text = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
                Ok(status)
            }
            Err(error) => Err(error),
        };
        connection.abort();
        let status = status?;
        if status.is_success() { Ok(()) } else { Err(SinkError::Refused(status.to_string())) }
    }
}

#[async_trait]
impl Sink for WebhookSink {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        timeout(ANSWER_WAIT, self.post(batch)).await.map_err(|_| SinkError::Slow("answer"))?.map(|()| None)
    }
}

fn host_header(target: &WebhookTarget, tls: bool) -> String {
    let usual = if tls { 443 } else { 80 };
    if target.port == usual { target.host.clone() } else { format!("{}:{}", target.host, target.port) }
}

/// The same for the same events.
fn key(batch: &[Encoded]) -> String {
    let ids: Vec<_> = batch.iter().map(|event| event.event.id.as_bytes()).collect();
    Sha256::of(&ids.join(&b'\n')).to_string()
}

fn array(batch: &[Encoded]) -> Vec<u8> {
    let events: Vec<_> = batch.iter().map(|event| event.bytes.as_slice()).collect();
    [b"[".as_slice(), &events.join(&b",\n"[..]), b"]"].concat()
}

fn lines(batch: &[Encoded]) -> Vec<u8> {
    batch.iter().flat_map(|event| event.bytes.iter().chain(b"\n")).copied().collect()
}
