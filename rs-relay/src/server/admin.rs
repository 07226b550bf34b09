//! What an operator asks: is it up, does it take work, how much is going on. On a port of its own, for the machine itself or
//! for a network that strangers do not reach: no TLS, no tokens, and nothing secret in the answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::RelayServer;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 32;

/// For a request's head, and how long a connection may be idle.
const WAIT: Duration = Duration::from_secs(10);

impl RelayServer {
    /// Serves `/healthz`, `/readyz` and `/metrics` by plain HTTP, also while the server shuts down, until it has ended.
    ///
    /// * `/healthz`: 200 as long as the process can answer.
    /// * `/readyz`: 200 while new listeners and senders are taken, 503 before [`RelayServer::serve`] and during a shutdown.
    /// * `/metrics`: OpenMetrics text. Labels are names of namespaces and fixed words.
    ///
    /// Listen on the loopback or on a network that only operators reach.
    ///
    /// # Errors
    ///
    /// When no connections can be accepted for good.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped no more connections are accepted.
    pub async fn serve_admin(&self, listener: TcpListener) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.0.ended.cancelled() => return Ok(()),
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if super::is_passing(&error) => {
                    tokio::time::sleep(super::ACCEPT_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
            let server = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let ended = server.0.ended.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = server.admin_answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(WAIT)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    served = serving => drop(served),
                    () = ended.cancelled() => {}
                }
            });
        }
    }

    fn admin_answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, text) = match path {
            "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/readyz" if self.is_ready() => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
            "/metrics" => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                (StatusCode::OK, kind, self.metrics_text())
            }
            _ => (StatusCode::NOT_FOUND, "text/plain", "try /healthz, /readyz or /metrics\n".to_owned()),
        };
        let mut answer = Response::new(Full::from(text));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }
}
