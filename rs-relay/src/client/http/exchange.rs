//! One request from its message to the last byte of its response.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body as _;
use hyper::ext::ReasonPhrase;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::incoming::AcceptError;
use super::super::keep_alive::Pulse;
use super::super::rendezvous::{HANDSHAKE_WAIT, Rendezvous};
use super::convert;
use super::wire::{Gone, Wire};
use super::{AnyResponse, BoxError, CONTROL_BODY_BYTES_MAX, Handler, RequestBody, STREAM_AFTER, plain};
use crate::net::socket::Socket;
use crate::proto::frame::{CloseReason, Role};
use crate::proto::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::proto::{EntityPath, ListenerMessage, RendezvousAddress, Request, ServerMessage};

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A response for the control channel: text message and body, written as one unit.
#[derive(Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) text: String,
    pub(in super::super) body: Option<Bytes>,
}

/// One request: where it came from, who answers it.
pub(in super::super) struct Exchange {
    pub(in super::super) handler: Option<Handler>,
    pub(in super::super) rendezvous: Rendezvous,
    /// The way back over the control channel that the request came on.
    pub(in super::super) answers: mpsc::Sender<Answer>,
    /// The entity, if its name is to be taken from the front of paths.
    pub(in super::super) below: Option<EntityPath>,
}

/// Why a request got no answer from here.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the rendezvous was lost: {0}")]
    Wire(String),
    #[error("the rendezvous could not be reached: {0}")]
    Rendezvous(#[from] AcceptError),
    #[error("the relay sent what is no request")]
    NoRequest,
    #[error("the service broke its response off")]
    Service,
}

impl From<Gone> for Lost {
    fn from(Gone(why): Gone) -> Self {
        Self::Wire(why)
    }
}

/// What the sender's request lets a response have.
#[derive(Debug, Clone)]
struct About {
    id: String,
    head_only: bool,
}

impl About {
    fn of(request: &Request) -> Self {
        let head_only = request.method.as_deref() == Some(Method::HEAD.as_str());
        Self { id: request.id.clone(), head_only }
    }

    fn has_body(&self, status: StatusCode) -> bool {
        let never = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        !self.head_only && !never
    }
}

impl Exchange {
    /// Answers a request that came whole.
    pub(in super::super) async fn complete(self, request: Request, body: Bytes) {
        let about = About::of(&request);
        let address = RendezvousAddress::parse(&request.address).ok();
        let response = self.call(request, RequestBody::whole(body)).await;
        if let Err(why) = self.answer(&about, address, response).await {
            tracing::info!(id = about.id, %why, "a request is not answered");
        }
    }

    /// Answers a request that is to be fetched at its address.
    pub(in super::super) async fn announced(self, request: Request) {
        let id = request.id.clone();
        if let Err(why) = self.fetch(request).await {
            tracing::info!(id, %why, "a request is not answered");
        }
    }

    async fn fetch(self, announcement: Request) -> Result<(), Lost> {
        let address = RendezvousAddress::parse(&announcement.address).map_err(|_| Lost::NoRequest)?;
        let mut wire = self.open(&address).await?;
        let text = tokio::time::timeout(HANDSHAKE_WAIT, wire.text()).await.map_err(|_| Lost::NoRequest)??;
        let Ok(ServerMessage::Request(mut request)) = ServerMessage::parse(&text) else {
            return Err(Lost::NoRequest);
        };
        if request.is_announcement() {
            return Err(Lost::NoRequest);
        }
        if request.id.is_empty() {
            request.id = announcement.id;
        }
        let about = About::of(&request);
        let body = match request.body {
            Some(true) => RequestBody::pieces(wire.expect_body()),
            _ => RequestBody::whole(Bytes::new()),
        };
        let response = wire.until(self.call(request, body)).await?;
        let (parts, body) = response.into_parts();
        stream(wire, &about, &parts, Bytes::new(), body).await
    }

    async fn call(&self, request: Request, body: RequestBody) -> AnyResponse {
        let Some(handler) = &self.handler else {
            return plain(StatusCode::NOT_IMPLEMENTED, "This listener serves no HTTP requests.");
        };
        match convert::request(request, body, self.below.as_ref()) {
            Ok(request) => handler.call(request).await,
            Err(error) => {
                tracing::warn!(%error, "a request cannot be handed to the service");
                plain(StatusCode::BAD_REQUEST, "The request cannot be understood.")
            }
        }
    }

    /// Sends a response over the control channel if it fits and is there soon, else over a rendezvous.
    async fn answer(
        &self,
        about: &About,
        address: Option<RendezvousAddress>,
        response: AnyResponse,
    ) -> Result<(), Lost> {
        let (mut parts, mut body) = response.into_parts();
        let begun = match about.has_body(parts.status) {
            true => begin(&mut body).await,
            false => Ok(Begun::Whole(Bytes::new())),
        };
        let (bytes, rest) = match begun {
            Ok(Begun::Whole(bytes)) => (bytes, None),
            Ok(Begun::Part(bytes)) => (bytes, Some(body)),
            // Nothing was said yet, so the truth can be.
            Err(error) => {
                tracing::error!(%error, "the service broke its response off");
                parts = plain(StatusCode::INTERNAL_SERVER_ERROR, "").into_parts().0;
                (Bytes::new(), None)
            }
        };
        if rest.is_none() {
            let text = head(about, &parts, !bytes.is_empty());
            let body = Some(bytes.clone()).filter(|bytes| !bytes.is_empty());
            if self.answers.send(Answer { text, body }).await.is_ok() {
                return Ok(());
            }
            // The control channel was lost; the rendezvous of the request may still be good.
        }
        let wire = self.open(&address.ok_or(Lost::NoRequest)?).await?;
        let rest = rest
            .unwrap_or_else(|| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
        stream(wire, about, &parts, bytes, rest).await
    }

    async fn open(&self, address: &RendezvousAddress) -> Result<Wire, Lost> {
        let opened = self.rendezvous.open(address, HeaderMap::new()).await?;
        let socket = Socket::new(opened.upgraded, Role::Client, CONTROL_MESSAGE_BYTES_MAX);
        Ok(Wire::new(socket, Pulse::new(self.rendezvous.keep_alive())))
    }
}

/// The front of a body.
enum Begun {
    Whole(Bytes),
    Part(Bytes),
}

/// Reads a body until its end, or until it is longer, or takes longer, than a control channel may be given.
async fn begin(body: &mut AnyBody) -> Result<Begun, BoxError> {
    let hint = body.size_hint();
    if hint.lower() > CONTROL_BODY_BYTES_MAX as u64 {
        return Ok(Begun::Part(Bytes::new()));
    }
    let deadline = Instant::now() + STREAM_AFTER;
    let mut front = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => return Ok(Begun::Part(front.freeze())),
            Ok(None) => return Ok(Begun::Whole(front.freeze())),
            Ok(Some(frame)) => frame?,
        };
        if let Ok(data) = frame.into_data() {
            front.extend_from_slice(&data);
        }
        if front.len() > CONTROL_BODY_BYTES_MAX {
            return Ok(Begun::Part(front.freeze()));
        }
    }
}

/// Sends a response over its rendezvous, as the service yields it.
async fn stream(
    mut wire: Wire,
    about: &About,
    parts: &Parts,
    front: Bytes,
    mut rest: AnyBody,
) -> Result<(), Lost> {
    let has_body = about.has_body(parts.status) && !(front.is_empty() && rest.is_end_stream());
    wire.queue_text(&head(about, parts, has_body));
    let mut first = true;
    if has_body {
        if !front.is_empty() {
            wire.send(&front, true, false).await?;
            first = false;
        }
        loop {
            let data = match wire.until(rest.frame()).await? {
                None => break,
                Some(Err(_)) => {
                    // Without an end of the body: the sender must not take it for complete.
                    wire.close(CloseReason::INTERNAL, "the response broke off").await;
                    return Err(Lost::Service);
                }
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if !data.is_empty() {
                wire.send(&data, first, false).await?;
                first = false;
            }
        }
        wire.send(b"", first, true).await?;
    }
    wire.close(CloseReason::NORMAL, "").await;
    Ok(())
}

/// The response message. One whose headers do not fit becomes 500.
fn head(about: &About, parts: &Parts, body: bool) -> String {
    let reason = parts.extensions.get::<ReasonPhrase>();
    let response = convert::response(&about.id, parts.status, reason, &parts.headers, body);
    ListenerMessage::Response(response).to_text().unwrap_or_else(|error| {
        tracing::error!(%error, "the headers of a response do not fit");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let response = convert::response(&about.id, status, None, &HeaderMap::new(), body);
        ListenerMessage::Response(response).to_text().unwrap_or_default()
    })
}
