//! HTTP requests that come through the relay, answered by a service.
//!
//! A small request comes whole on the control channel, a large one is fetched at a rendezvous. The answer goes back the
//! same way, or over a rendezvous of its own when it is large or takes long. Neither side is ever collected beyond what
//! fits into one control message.

mod body;
mod convert;
mod exchange;
mod wire;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use tower_service::Service;

use crate::proto::RemoteEndpoint;

pub use body::RequestBody;
pub(super) use exchange::{Answer, Exchange};

/// Body that goes over a control channel, in bytes; a larger one goes over a rendezvous.
pub const CONTROL_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long an answer of unknown length is waited for before it is sent as it comes, over a rendezvous.
pub const STREAM_AFTER: Duration = Duration::from_millis(250);

/// Requests that a listener has in work at once by default; more are answered with 503.
pub const REQUESTS_MAX: usize = 1024;

/// What a service finds in the extensions of a request.
///
/// ```
/// use rs_relay::client::RequestInfo;
///
/// fn who(request: &http::Request<()>) -> Option<&str> {
///     request.extensions().get::<RequestInfo>().map(|info| info.remote_endpoint.address.as_str())
/// }
/// assert_eq!(who(&http::Request::new(())), None);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestInfo {
    /// Tracking id of the request, as it stands in the relay's log.
    pub id: String,
    /// Address and port of the sender, as the relay says.
    pub remote_endpoint: RemoteEndpoint,
}

/// Any error.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response whose body is of any kind.
pub(super) type AnyResponse = Response<UnsyncBoxBody<Bytes, BoxError>>;

type Answering = Pin<Box<dyn Future<Output = AnyResponse> + Send>>;

/// A service of any type.
#[derive(Clone)]
pub(super) struct Handler(Arc<dyn Handle>);

impl Handler {
    pub(super) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Tower(Mutex::new(service))))
    }

    /// Calls the service. One that fails or panics answers 500.
    pub(super) async fn call(&self, request: Request<RequestBody>) -> AnyResponse {
        let answering = AssertUnwindSafe(async { self.0.handle(request).await });
        match answering.catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!("the service panicked on a request");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "The service failed.")
            }
        }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

trait Handle: Send + Sync {
    fn handle(&self, request: Request<RequestBody>) -> Answering;
}

/// A service is called on clones of its own, so that one request does not wait for another.
struct Tower<S>(Mutex<S>);

impl<S, B> Handle for Tower<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn handle(&self, request: Request<RequestBody>) -> Answering {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let answered = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            match answered.await {
                Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
                Err(error) => {
                    tracing::error!(error = %error.into(), "the service failed on a request");
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "The service failed.")
                }
            }
        })
    }
}

/// A response with a short text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> AnyResponse {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
