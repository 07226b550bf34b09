//! One request: the checks in their order, the answer, and what goes on behind a 101.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::door::Ticket;
use super::http::{self, AnswerBody, Served};
use super::lobby::REMEMBERED;
use super::namespace::{Namespace, Offer, Verdict};
use super::{RelayServer, control, exchange, join};
use crate::net::handshake::{TOKEN_HEADER, accept_key, client_key};
use crate::net::socket::Socket;
use crate::net::{Stream, Upgraded};
use crate::proto::frame::Role;
use crate::proto::http::{Responses, header_case};
use crate::proto::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::proto::registry::Meeting;
use crate::proto::{Action, Authority, Headers, Refusal, Right, Target, TokenError};

type Answer = Response<AnswerBody>;

/// Target of the access log's events: one each for who listens, is joined, is answered, is refused, and who has left. They
/// have paths, names, addresses and tracking ids; never a token, a header or a query.
pub(crate) const ACCESS: &str = "relay::access";

/// Answers one request of a connection.
pub(crate) async fn handle<S: Stream + 'static>(
    server: RelayServer,
    peer: SocketAddr,
    ticket: Arc<Ticket>,
    mut request: Request<Incoming>,
) -> Served {
    let upgrade = hyper::upgrade::on(&mut request);
    let path = request.uri().path().to_owned();
    let websocket = Target::has_marker(&path);
    let host = host(request.headers());
    let Some(namespace) = server.namespace_of(host.as_ref()) else {
        let reason = Refusal::NoEntity.to_string();
        tracing::info!(target: ACCESS, event = "refused", %peer, path, status = 404, "unknown host");
        return Ok(refuse(Refusal::NoEntity.status(), &reason, websocket, None));
    };
    let tracking = namespace.tracking_id(None);
    let (answer, listens) = if websocket {
        let listens = is_listen(&request);
        let (server, namespace, tracking) = (server.clone(), Arc::clone(&namespace), tracking.clone());
        let exchange = Exchange { server, namespace, peer, ticket, tracking, upgrade };
        (exchange.run::<S>(&request).await, listens)
    } else {
        (http::relay(&server, &namespace, (peer, &ticket), request).await, false)
    };
    let held = answer.is_err() && listens && hold_back(&server, peer).await;
    Ok(answer.unwrap_or_else(|refusal| {
        let status = refusal.status();
        namespace.metrics.refused(status);
        let tracker = format!("sb://{}{}", namespace.host(), path.strip_prefix("/$hc").unwrap_or(&path));
        let reason = refusal.reason(&tracking, &tracker, namespace.now().wall);
        let name = namespace.host();
        tracing::info!(target: ACCESS, event = "refused", namespace = name, %peer, path, status, %refusal, tracking);
        let retry_after = refusal.retry_after().or_else(|| held.then_some(REMEMBERED));
        refuse(status, &reason, websocket, retry_after)
    }))
}

fn target_of<B>(request: &Request<B>) -> &str {
    request.uri().path_and_query().map_or("/", |target| target.as_str())
}

fn is_listen<B>(request: &Request<B>) -> bool {
    Target::parse(target_of(request)).is_ok_and(|target| target.action == Action::Listen)
}

/// Slows listeners down that are refused again and again. Whether this was one.
async fn hold_back(server: &RelayServer, peer: SocketAddr) -> bool {
    let delay = server.0.times.refusal;
    let hold = !delay.is_zero() && server.0.lobby.hold(peer.ip(), Instant::now());
    if hold {
        let _released = Released(server);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = server.0.stop.cancelled() => {}
        }
    }
    hold
}

/// Gives the place of a refusal that was held back free, also when the client leaves before.
struct Released<'a>(&'a RelayServer);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.0.lobby.release();
    }
}

struct Exchange {
    server: RelayServer,
    namespace: Arc<Namespace>,
    peer: SocketAddr,
    ticket: Arc<Ticket>,
    tracking: String,
    upgrade: OnUpgrade,
}

impl Exchange {
    async fn run<S: Stream + 'static>(self, request: &Request<Incoming>) -> Result<Answer, Refusal> {
        let target = Target::parse(target_of(request))?;
        let websocket = request.method() == Method::GET && request.version() == Version::HTTP_11;
        let key = client_key(request.headers()).filter(|_| websocket).ok_or(Refusal::NotWebSocket)?;
        let accept = accept_key(key);
        let new_work = matches!(target.action, Action::Listen | Action::Connect);
        if new_work && self.server.0.stop.is_cancelled() {
            return Err(Refusal::Busy);
        }
        match target.action {
            Action::Listen => self.listen::<S>(&target, request.headers(), &accept),
            Action::Connect => self.connect::<S>(target, request.headers(), &accept).await,
            Action::Accept => self.accept::<S>(target, request.headers(), &accept),
            Action::Request => self.meet::<S>(&target, request.headers(), &accept),
        }
    }

    fn listen<S: Stream + 'static>(
        self,
        target: &Target,
        headers: &HeaderMap,
        accept: &str,
    ) -> Result<Answer, Refusal> {
        let entity = self.namespace.listen_entity(&target.path)?;
        let token = token(target, headers)?;
        let host = host(headers).ok_or(Refusal::NotWebSocket)?;
        let (id, commands) = self.namespace.listen(&entity, &target.path, host, token.as_ref())?;
        self.ticket.proven();
        self.namespace.metrics.listens.inc();
        let channel = control::Channel {
            server: self.server.clone(),
            namespace: self.namespace,
            ticket: self.ticket,
            entity,
            path: target.path.clone(),
            id,
            peer: self.peer,
            tracking: target.tracking_id.clone().unwrap_or(self.tracking),
            commands,
            responses: Responses::default(),
        };
        let upgrade = self.upgrade;
        self.server.0.tasks.spawn(async move {
            match take::<S>(upgrade).await {
                Some(stream) => {
                    let socket = socket(&channel.server, stream);
                    channel.run(socket).await;
                }
                None => drop(channel),
            }
        });
        Ok(switch(accept, None))
    }

    async fn connect<S: Stream + 'static>(
        self,
        target: Target,
        headers: &HeaderMap,
        accept: &str,
    ) -> Result<Answer, Refusal> {
        let namespace = &self.namespace;
        let entity = namespace.find_entity(&target.path).ok_or(Refusal::NoEntity)?;
        let anonymous = namespace.admits_anonymous_senders(&entity);
        if !anonymous {
            let token = token(&target, headers)?;
            namespace.authorize(token.as_ref(), Right::Send, &target.path, &entity)?;
        }
        namespace.kinds(&entity).take_websocket()?;
        let tracking_id = match target.tracking_id.as_deref() {
            Some(id) => namespace.tracking_id(Some(id)),
            None => self.tracking,
        };
        let offer = Offer {
            tracking_id: tracking_id.clone(),
            headers: connect_headers(headers),
            remote: self.peer.into(),
            target,
        };
        let (waiting, verdict) = namespace.connect(&entity, offer)?;
        if anonymous {
            self.ticket.admitted()
        } else {
            self.ticket.proven()
        }
        let verdict = tokio::select! {
            verdict = verdict => verdict,
            () = self.server.0.stop.cancelled() => Ok(Verdict::Refuse(Refusal::Busy)),
        };
        drop(waiting);
        match verdict {
            Ok(Verdict::Meet { protocol, stream }) => {
                let (server, upgrade, ticket) = (self.server.clone(), self.upgrade, self.ticket);
                let metrics = namespace.metrics.clone();
                let (peer, name) = (self.peer, namespace.host());
                tracing::info!(target: ACCESS, event = "joined", namespace = name, %entity, %peer, tracking = tracking_id);
                metrics.joins.inc();
                metrics.joined.inc();
                self.server.0.tasks.spawn(async move {
                    let _ticket = ticket;
                    let (sender, listener) = tokio::join!(take::<S>(upgrade), stream);
                    let (listener, _its_ticket) = listener.ok().unzip();
                    let moved = join::join(&server, sender, listener, &tracking_id).await;
                    metrics.joined.dec();
                    metrics.from_senders.inc_by(moved.from_sender);
                    metrics.from_listeners.inc_by(moved.from_listener);
                });
                // No client bears a subprotocol that it did not offer.
                Ok(switch(accept, protocol.filter(|name| offers(headers, name))))
            }
            Ok(Verdict::Refuse(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Internal),
        }
    }

    fn accept<S: Stream + 'static>(
        self,
        target: Target,
        headers: &HeaderMap,
        accept: &str,
    ) -> Result<Answer, Refusal> {
        let id = target.rendezvous.ok_or(Refusal::NoRendezvous)?;
        let sender = self.namespace.accept(&id).ok_or(Refusal::NoRendezvous)?;
        self.ticket.proven();
        if let Some(rejection) = target.rejection {
            let _ = sender.send(Verdict::Refuse(Refusal::Rejected(rejection)));
            return Err(Refusal::RejectionDone);
        }
        let (meet, stream) = oneshot::channel();
        let protocol = first_protocol(headers);
        let verdict = Verdict::Meet { protocol: protocol.clone(), stream };
        sender.send(verdict).map_err(|_| Refusal::NoRendezvous)?;
        let (upgrade, ticket) = (self.upgrade, self.ticket);
        self.server.0.tasks.spawn(async move {
            if let Some(stream) = take::<S>(upgrade).await {
                let _ = meet.send((stream, ticket));
            }
        });
        Ok(switch(accept, protocol))
    }
}

impl Exchange {
    /// A listener at the rendezvous of an HTTP request.
    fn meet<S: Stream + 'static>(
        self,
        target: &Target,
        headers: &HeaderMap,
        accept: &str,
    ) -> Result<Answer, Refusal> {
        let id = target.rendezvous.clone().ok_or(Refusal::NoRendezvous)?;
        let authority = host(headers).ok_or(Refusal::NotWebSocket)?;
        let meeting = self.namespace.meet(&id).ok_or(Refusal::NoRendezvous)?;
        self.ticket.proven();
        let (server, upgrade, ticket) = (self.server.clone(), self.upgrade, self.ticket);
        self.server.0.tasks.spawn(async move {
            let _ticket = ticket;
            let stream = take::<S>(upgrade).await;
            let socket = stream.map(|stream| socket(&server, stream));
            match (meeting, socket) {
                (Meeting::Sender(caller), Some(socket)) => {
                    exchange::run(&server, *caller, (authority, id), socket).await;
                }
                (Meeting::Sender(caller), None) => caller.refuse(Refusal::ListenerLost),
                (Meeting::Late, Some(socket)) => exchange::discard(&server, socket).await,
                (Meeting::Late, None) => {}
            }
        });
        Ok(switch(accept, None))
    }
}

fn socket(server: &RelayServer, stream: Upgraded) -> Socket {
    Socket::new(stream, Role::Server, CONTROL_MESSAGE_BYTES_MAX).within(&server.0.unfinished)
}

/// The stream behind a 101, with the bytes that came along with the handshake.
async fn take<S: Stream + 'static>(upgrade: OnUpgrade) -> Option<Upgraded> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<S>>().ok()?;
    Some(Upgraded { io: Box::new(parts.io.into_inner()), early: parts.read_buf })
}

/// The names in a client's `Sec-WebSocket-Protocol`.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// The one that a listener has chosen; the first of several.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    HeaderValue::from_str(protocols(headers).next()?).ok()
}

fn offers(headers: &HeaderMap, name: &HeaderValue) -> bool {
    protocols(headers).any(|offered| offered.as_bytes() == name.as_bytes())
}

fn token(target: &Target, headers: &HeaderMap) -> Result<Option<SecretString>, Refusal> {
    if target.token.is_some() {
        return Ok(target.token.clone());
    }
    let Some(value) = headers.get(TOKEN_HEADER) else { return Ok(None) };
    let text = value.to_str().map_err(|_| TokenError::Malformed("it is no ASCII text"))?;
    Ok(Some(text.to_owned().into()))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(HOST)?.to_str().ok()?.parse().ok()
}

/// The sender's headers for the listener, without the token.
fn connect_headers(headers: &HeaderMap) -> Headers {
    let mut kept = Headers::default();
    for (name, value) in headers {
        if name != TOKEN_HEADER {
            kept.append(&header_case(name.as_str()), &String::from_utf8_lossy(value.as_bytes()));
        }
    }
    kept
}

fn switch(accept: &str, protocol: Option<HeaderValue>) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer
}

/// An HTTP sender may keep its connection for the next request.
fn refuse(status: u16, reason: &str, close: bool, retry_after: Option<Duration>) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole(format!("{reason}\n").into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes()) {
        answer.extensions_mut().insert(reason);
    }
    if close {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(wait) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=us-ascii"));
    answer
}
