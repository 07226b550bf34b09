//! An HTTP sender: its request on the way to a listener, and the response back.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::ext::ReasonPhrase;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::RelayServer;
use super::door::Ticket;
use super::handler::ACCESS;
use super::namespace::{Message, Namespace};
use crate::net::handshake::TOKEN_HEADER;
use crate::proto::http::{BodyPlan, HttpTarget, ResponseHead, find_token, request_headers};
use crate::proto::limits::INLINE_BODY_BYTES_MAX;
use crate::proto::{
    Authority, EntityPath, Headers, Refusal, RemoteEndpoint, RendezvousAddress, RendezvousId, Right,
    ServerMessage,
};

/// How long a body of unknown length is read before its request is announced.
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// How long a body that goes over the control channel may pause.
const BODY_WAIT: Duration = Duration::from_secs(15);

/// The body of an answer: known, or coming piece by piece.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Whole(Bytes),
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// What an HTTP sender is told.
pub(crate) enum Reply {
    Refuse(Refusal),
    Response { message: crate::proto::Response, body: AnswerBody },
}

/// The part of a body that was read already, and the rest.
pub(crate) struct Upload {
    pub(crate) begun: Bytes,
    pub(crate) rest: Incoming,
}

/// How the body of a request reaches the listener.
pub(crate) enum RequestBody {
    None,
    Inline(Bytes),
    /// The listener fetches request and body.
    Fetch(Upload),
}

/// An HTTP sender that waits.
pub(crate) struct HttpCaller {
    reply: oneshot::Sender<Reply>,
    request: WaitingRequest,
}

/// What its listener is told.
pub(crate) struct WaitingRequest {
    entity: EntityPath,
    id: String,
    method: String,
    target: String,
    headers: Headers,
    remote: RemoteEndpoint,
    pub(crate) body: RequestBody,
}

impl HttpCaller {
    pub(crate) fn id(&self) -> &str {
        &self.request.id
    }

    pub(crate) fn refuse(self, refusal: Refusal) {
        let _ = self.reply.send(Reply::Refuse(refusal));
    }

    /// The listener has answered, with the whole body.
    pub(crate) fn respond(self, message: crate::proto::Response, body: Vec<u8>) {
        let _ = self.reply.send(Reply::Response { message, body: AnswerBody::Whole(body.into()) });
    }

    /// For the rendezvous, which answers in parts.
    pub(crate) fn into_parts(self) -> (oneshot::Sender<Reply>, WaitingRequest) {
        (self.reply, self.request)
    }

    /// What to send on the control channel: the request, or its announcement.
    pub(crate) fn message(&self, authority: &Authority, id: &RendezvousId) -> Result<Message, Refusal> {
        let request = &self.request;
        let address = RendezvousAddress::for_request(authority.clone(), &request.entity, &request.id, id);
        let announcement = crate::proto::Request::announcement(&address, &request.id);
        let (message, body) = match &request.body {
            RequestBody::Fetch(_) => (announcement, None),
            RequestBody::None => (request.complete(announcement, false), None),
            RequestBody::Inline(body) => (request.complete(announcement, true), Some(body.clone())),
        };
        let text = ServerMessage::Request(message).to_text().map_err(|_| Refusal::HeadersTooLarge)?;
        Ok(Message { text, body })
    }
}

impl WaitingRequest {
    /// The id that the response has to name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn complete(&self, announcement: crate::proto::Request, body: bool) -> crate::proto::Request {
        crate::proto::Request {
            request_target: Some(self.target.clone()),
            method: Some(self.method.clone()),
            remote_endpoint: Some(self.remote.clone()),
            request_headers: Some(self.headers.clone()),
            body: Some(body),
            ..announcement
        }
    }

    /// The complete request for a listener that fetches it. The address is used up and only there because clients ask for
    /// one.
    pub(crate) fn fetched(&self, authority: Authority, spent: &RendezvousId) -> Result<String, Refusal> {
        let address = RendezvousAddress::for_request(authority, &self.entity, &self.id, spent);
        let request = self.complete(crate::proto::Request::announcement(&address, &self.id), true);
        ServerMessage::Request(request).to_text().map_err(|_| Refusal::HeadersTooLarge)
    }
}

/// Relays one request.
///
/// # Cancel safety
///
/// When the future is dropped, the sender counts as gone.
pub(crate) async fn relay(
    server: &RelayServer,
    namespace: &Arc<Namespace>,
    (peer, ticket): (SocketAddr, &Ticket),
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Refusal> {
    let target = HttpTarget::parse(request.uri().path_and_query().map_or("/", |target| target.as_str()))?;
    let is_management = request.headers().contains_key("x-process-at");
    let entity = namespace.find_entity(&target.path).filter(|_| !is_management).ok_or(Refusal::NoEntity)?;
    let authorization_was_token = authorize(namespace, &target, request.headers(), &entity)?;
    if namespace.admits_anonymous_senders(&entity) {
        ticket.admitted()
    } else {
        ticket.proven()
    }
    namespace.kinds(&entity).take_http()?;
    if request.method() == Method::CONNECT {
        return Err(Refusal::WrongKind("methods other than CONNECT"));
    }
    if server.0.stop.is_cancelled() {
        return Err(Refusal::Busy);
    }
    let received = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = request_headers(received, authorization_was_token, namespace.host());
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    let (reply, replied) = oneshot::channel();
    let caller = HttpCaller {
        reply,
        request: WaitingRequest {
            id: namespace.tracking_id(target.tracking_id.as_deref()),
            entity: entity.clone(),
            method: method.clone(),
            target: target.request_target,
            headers,
            remote: peer.into(),
            body: read_body(&parts.headers, body).await?,
        },
    };
    let id = caller.id().to_owned();
    let waiting = namespace.request(&entity, caller)?;
    let replied = replied.await;
    drop(waiting);
    match replied {
        Ok(Reply::Response { message, body }) => {
            let head = ResponseHead::new(&message, &method, namespace.host())?;
            namespace.metrics.responded(head.status);
            let (name, status) = (namespace.host(), head.status);
            tracing::info!(target: ACCESS, event = "answered", namespace = name, %entity, %peer, method, status, tracking = id);
            Ok(answer(head, body))
        }
        Ok(Reply::Refuse(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::ListenerLost),
    }
}

/// Whether the token, if one was needed, stood in `Authorization`.
fn authorize(
    namespace: &Namespace,
    target: &HttpTarget,
    headers: &HeaderMap,
    entity: &EntityPath,
) -> Result<bool, Refusal> {
    if namespace.admits_anonymous_senders(entity) {
        return Ok(false);
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let found = find_token(target.token.as_ref(), text(TOKEN_HEADER), text(AUTHORIZATION));
    let token = found.as_ref().map(|found| &found.token);
    namespace.authorize(token, Right::Send, &target.path, entity)?;
    Ok(found.is_some_and(|found| found.is_authorization))
}

/// Reads what can go over the control channel.
async fn read_body(headers: &HeaderMap, body: Incoming) -> Result<RequestBody, Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let wait = match BodyPlan::of(length, !body.is_end_stream()) {
        BodyPlan::None => return Ok(RequestBody::None),
        BodyPlan::Rendezvous => {
            return Ok(RequestBody::Fetch(Upload { begun: Bytes::new(), rest: body }));
        }
        BodyPlan::Inline => BODY_WAIT,
        BodyPlan::Probe => PROBE_WAIT,
    };
    let mut rest = body;
    let mut begun =
        Vec::with_capacity(length.map_or(0, |length: u64| length as usize).min(INLINE_BODY_BYTES_MAX));
    let mut until = Instant::now() + wait;
    while begun.len() <= INLINE_BODY_BYTES_MAX {
        match timeout_at(until, rest.frame()).await {
            Ok(None) => return Ok(RequestBody::Inline(begun.into())),
            Ok(Some(frame)) => {
                let frame = frame.map_err(|_| Refusal::BadBody)?;
                if let Some(data) = frame.data_ref() {
                    begun.extend_from_slice(data);
                }
                if length.is_some() {
                    until = Instant::now() + wait;
                }
            }
            Err(_) if length.is_some() => return Err(Refusal::BodyTimeout),
            Err(_) => break,
        }
    }
    Ok(RequestBody::Fetch(Upload { begun: begun.into(), rest }))
}

fn answer(head: ResponseHead, body: AnswerBody) -> Response<AnswerBody> {
    let body = if head.may_have_body { body } else { AnswerBody::Whole(Bytes::new()) };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    // Without a standard phrase an empty one is better than an invented one.
    let unknown = answer.status().canonical_reason().is_none().then(String::new);
    if let Some(reason) = head.reason.or(unknown)
        && let Ok(reason) = ReasonPhrase::try_from(reason.into_bytes())
    {
        answer.extensions_mut().insert(reason);
    }
    for (name, value) in head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

/// The error type of the service: there is none, refusals are answers.
pub(crate) type Served = Result<Response<AnswerBody>, Infallible>;
