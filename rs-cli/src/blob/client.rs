//! Requests to the storage, one connection each, through the node's proxy.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use rs_proxy::net::{Deadlines, Dialer, Trust};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::url::Container;
use crate::network::{self, Way};

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 4 << 20;
/// How often one request is tried.
pub const ATTEMPTS_MAX: u32 = 4;
/// Pause before the second try; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest attempt to connect.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// Longest request, its answer included.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Version of the service that is spoken.
const VERSION: &str = "2021-12-02";

/// Why something did not arrive; holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The storage was not reached, or the connection broke.
    #[error("the storage was not reached after {attempts} attempts: {cause}")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// The last trouble.
        cause: String,
    },
    /// The storage said no.
    #[error("the storage refused it with status {status} ({code}); {hint}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's code.
        code: String,
        /// What to do.
        hint: &'static str,
    },
}

/// How one attempt went wrong.
enum Trouble {
    /// Another attempt may help.
    Passing(String),
    /// None would.
    Lasting(UploadError),
}

/// Uploads blobs into one container.
#[derive(Debug)]
pub(super) struct Client<'a> {
    container: &'a Container,
    way: &'a Way,
}

/// What is sent in one request.
struct Sent {
    target: secrecy::SecretString,
    headers: HeaderMap,
    body: Bytes,
}

impl<'a> Client<'a> {
    pub(super) const fn new(container: &'a Container, way: &'a Way) -> Self {
        Self { container, way }
    }

    /// Uploads a blob whole; it appears when everything is there. `progress` gets a line after each block.
    pub(super) async fn upload(
        &self,
        blob: &str,
        bytes: &[u8],
        metadata: &[(&'static str, String)],
        progress: Option<&mpsc::Sender<String>>,
    ) -> Result<(), UploadError> {
        let mut ids = Vec::new();
        let mut sent = 0;
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let id = STANDARD.encode(format!("{number:08}"));
            let query = format!("comp=block&blockid={}", id.replace('=', "%3D"));
            let headers = headers([("content-md5", md5(block))]);
            let target = self.container.target(blob, &query);
            self.put(Sent { target, headers, body: Bytes::copy_from_slice(block) }).await?;
            ids.push(id);
            sent += block.len();
            if let Some(progress) = progress {
                // A session that has ended hears nothing; this future is dropped with it.
                let _ = progress.send(format!("{sent} of {} bytes have arrived", bytes.len())).await;
            }
        }
        let list: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
        let own = metadata.iter().map(|(name, value)| (*name, value.clone()));
        let mut headers = headers([("x-ms-blob-content-md5", md5(bytes))].into_iter().chain(own));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let target = self.container.target(blob, "comp=blocklist");
        self.put(Sent { target, headers, body: Bytes::from(list) }).await
    }

    /// One request, tried again as long as that may help. Each is idempotent.
    async fn put(&self, sent: Sent) -> Result<(), UploadError> {
        let mut pause = PAUSE;
        let mut attempts = 1;
        loop {
            let attempt = tokio::time::timeout(REQUEST_MAX, self.attempt(&sent)).await;
            let cause = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Trouble::Lasting(error))) => return Err(error),
                Ok(Err(Trouble::Passing(cause))) => cause,
                Err(_) => format!("no answer within {} s", REQUEST_MAX.as_secs()),
            };
            if attempts >= ATTEMPTS_MAX {
                return Err(UploadError::Unreachable { attempts, cause });
            }
            // Storage that is busy is left alone for longer and longer.
            tokio::time::sleep(pause).await;
            (pause, attempts) = (pause * 2, attempts + 1);
        }
    }

    async fn attempt(&self, sent: &Sent) -> Result<(), Trouble> {
        let settings = self.way.settings().map_err(|failure| Trouble::Passing(failure.to_string()))?;
        let trust = network::trust(None).map_err(|failure| Trouble::Passing(failure.to_string()))?;
        let dialer = Dialer::new(settings, trust.clone()).with_deadlines(Deadlines::within(CONNECT_MAX));
        let stream = dialer.connect(self.container.host(), self.container.port()).await;
        let stream = stream.map_err(|failure| Trouble::Passing(failure.to_string()))?;
        if self.container.tls() {
            self.exchange(secure(self.container.host(), stream, &trust).await?, sent).await
        } else {
            self.exchange(stream, sent).await
        }
    }

    async fn exchange<S>(&self, stream: S, sent: &Sent) -> Result<(), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // An error of the connection names what happened and not what was sent.
        let broken = |error: hyper::Error| Trouble::Passing(format!("the connection broke: {error}"));
        let (mut sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = Aborting(tokio::spawn(connection));
        let response = sender.send_request(self.request(sent)?).await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        drop(connection);
        if status.is_success() {
            return Ok(());
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refused(status, &headers, &body))
    }

    fn request(&self, sent: &Sent) -> Result<Request<Full<Bytes>>, Trouble> {
        let unusable = || {
            Trouble::Lasting(UploadError::Refused {
                status: 0,
                code: "InvalidUri".into(),
                hint: "the storage URL cannot be sent; set another one",
            })
        };
        let mut request = Request::new(Full::new(sent.body.clone()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = sent.target.expose_secret().parse().map_err(|_| unusable())?;
        let headers = request.headers_mut();
        headers.extend(sent.headers.clone());
        headers.insert(HOST, HeaderValue::from_str(&self.container.authority()).map_err(|_| unusable())?);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(sent.body.len()));
        headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
        Ok(request)
    }
}

/// Ends the task that drives a connection when its request is over or given up.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn secure<S>(
    host: &str,
    stream: S,
    trust: &Trust,
) -> Result<tokio_rustls::client::TlsStream<S>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let passing = |error: io::Error| Trouble::Passing(format!("no trusted TLS connection: {error}"));
    let config = trust.client_config().map_err(|error| passing(io::Error::other(error)))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| passing(io::Error::other(error)))?;
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.map_err(passing)
}

fn headers(own: impl IntoIterator<Item = (&'static str, String)>) -> HeaderMap {
    let pairs = own.into_iter().filter_map(|(name, value)| {
        Some((hyper::header::HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    });
    pairs.collect()
}

fn md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// The service's code from its answer. Its message may quote what was signed, so it is not shown.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let header = headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    let code = header.or_else(|| {
        let body = std::str::from_utf8(body).ok()?;
        Some(body.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned())
    });
    let plain = |code: &String| code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric());
    let code = code.filter(plain).unwrap_or_else(|| String::from("no code"));
    if matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
        return Trouble::Passing(format!("status {} ({code})", status.as_u16()));
    }
    let hint = match status.as_u16() {
        401 | 403 => {
            "ask for a new storage URL that may create and write, and set it with `diagnostic-data destination set`"
        }
        404 => "the container of the storage URL does not exist",
        400 if code == "Md5Mismatch" => "what arrived is not what was sent; try again",
        _ => "look the code up in the documentation of Azure Blob storage",
    };
    Trouble::Lasting(UploadError::Refused { status: status.as_u16(), code, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec33_a_refusal_shows_the_code_and_never_the_message() {
        let body = b"<?xml?><Error><Code>AuthenticationFailed</Code><Message>signed was sig=SECRET</Message></Error>";
        let Trouble::Lasting(error) = refused(StatusCode::FORBIDDEN, &HeaderMap::new(), body) else {
            panic!("a wrong signature does not pass")
        };
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("403") && text.contains("AuthenticationFailed") && !text.contains("SECRET"),
            "{text}"
        );
        let odd = b"<Code>sig=SECRET</Code>";
        let Trouble::Lasting(error) = refused(StatusCode::FORBIDDEN, &HeaderMap::new(), odd) else {
            panic!()
        };
        assert!(!format!("{error:?}").contains("SECRET"));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, passes) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (403, false),
            (404, false),
            (409, false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                matches!(refused(status, &HeaderMap::new(), b""), Trouble::Passing(_)),
                passes,
                "{status}"
            );
        }
    }
}
