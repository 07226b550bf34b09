//! One request: the checks in their order, the answer, and what goes on behind a 101.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::namespace::{Offer, Verdict};
use super::{RelayServer, control, join};
use crate::net::handshake::{TOKEN_HEADER, accept_key, client_key};
use crate::net::socket::Socket;
use crate::net::{Stream, Upgraded};
use crate::proto::frame::Role;
use crate::proto::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::proto::{Action, Authority, Headers, Refusal, Right, Target, TokenError};

type Answer = Response<Full<Bytes>>;

/// Answers one request of a connection.
pub(crate) async fn handle<S: Stream + 'static>(
    server: RelayServer,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let path = request.uri().path().to_owned();
    let tracking = format!("{}_G0", uuid::Uuid::new_v4());
    let exchange = Exchange { server, peer, tracking, upgrade };
    let host = exchange.server.namespace.host().to_owned();
    let (tracking, clock) = (exchange.tracking.clone(), exchange.server.namespace.now().wall);
    let server = exchange.server.clone();
    let answer = exchange.run::<S>(&request).await;
    if answer.is_err() && is_listen(&request) {
        hold_back(&server, peer).await;
    }
    Ok(answer.unwrap_or_else(|refusal| {
        let tracker = format!("sb://{host}{}", path.strip_prefix("/$hc").unwrap_or(&path));
        let reason = refusal.reason(&tracking, &tracker, clock);
        tracing::info!(%peer, path, status = refusal.status(), %refusal, tracking, "refused");
        refuse(refusal.status(), &reason)
    }))
}

fn is_listen<B>(request: &Request<B>) -> bool {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Target::parse(target).is_ok_and(|target| target.action == Action::Listen)
}

/// Slows listeners down that are refused again and again.
async fn hold_back(server: &RelayServer, peer: SocketAddr) {
    let delay = server.namespace.times().refusal;
    if !delay.is_zero() && server.lobby.hold(peer.ip(), Instant::now()) {
        let _released = Released(server);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = server.stop.cancelled() => {}
        }
    }
}

/// Gives the place of a refusal that was held back free, also when the client leaves before.
struct Released<'a>(&'a RelayServer);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.lobby.release();
    }
}

struct Exchange {
    server: RelayServer,
    peer: SocketAddr,
    tracking: String,
    upgrade: OnUpgrade,
}

impl Exchange {
    async fn run<S: Stream + 'static>(self, request: &Request<Incoming>) -> Result<Answer, Refusal> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let target = Target::parse(target)?;
        let websocket = request.method() == Method::GET && request.version() == Version::HTTP_11;
        let key = client_key(request.headers()).filter(|_| websocket).ok_or(Refusal::NotWebSocket)?;
        let accept = accept_key(key);
        if self.server.stop.is_cancelled() {
            return Err(Refusal::Busy);
        }
        match target.action {
            Action::Listen => self.listen::<S>(&target, request.headers(), &accept),
            Action::Connect => self.connect::<S>(target, request.headers(), &accept).await,
            Action::Accept => self.accept::<S>(target, request.headers(), &accept),
            Action::Request => Err(Refusal::NoRendezvous),
        }
    }

    fn listen<S: Stream + 'static>(
        self,
        target: &Target,
        headers: &HeaderMap,
        accept: &str,
    ) -> Result<Answer, Refusal> {
        let namespace = &self.server.namespace;
        let entity = namespace.listen_entity(&target.path)?;
        let token = token(target, headers)?;
        let authorized = namespace.authorize(token.as_ref(), Right::Listen, &target.path, &entity)?;
        let host = host(headers).ok_or(Refusal::NotWebSocket)?;
        let (id, commands) = namespace.listen(&entity, host, &authorized)?;
        let channel = control::Channel {
            server: self.server.clone(),
            entity,
            path: target.path.clone(),
            id,
            peer: self.peer,
            tracking: target.tracking_id.clone().unwrap_or(self.tracking),
            commands,
        };
        let upgrade = self.upgrade;
        self.server.tasks.spawn(async move {
            match take::<S>(upgrade).await {
                Some(stream) => {
                    channel.run(Socket::new(stream, Role::Server, CONTROL_MESSAGE_BYTES_MAX)).await;
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
        let namespace = &self.server.namespace;
        let entity = namespace.find_entity(&target.path).ok_or(Refusal::NoEntity)?;
        if !namespace.admits_anonymous_senders(&entity) {
            let token = token(&target, headers)?;
            namespace.authorize(token.as_ref(), Right::Send, &target.path, &entity)?;
        }
        let tracking_id = target.tracking_id.as_ref().map_or(self.tracking, |id| format!("{id}_G0"));
        let offer = Offer {
            tracking_id: tracking_id.clone(),
            headers: connect_headers(headers),
            remote: self.peer.into(),
            target,
        };
        let (waiting, verdict) = namespace.connect(&entity, offer)?;
        let verdict = tokio::select! {
            verdict = verdict => verdict,
            () = self.server.stop.cancelled() => Ok(Verdict::Refuse(Refusal::Busy)),
        };
        drop(waiting);
        match verdict {
            Ok(Verdict::Meet { protocol, stream }) => {
                let (server, upgrade) = (self.server.clone(), self.upgrade);
                tracing::info!(peer = %self.peer, %entity, tracking_id, "joined");
                self.server.tasks.spawn(async move {
                    let (sender, listener) = tokio::join!(take::<S>(upgrade), stream);
                    join::join(&server, sender, listener.ok(), &tracking_id).await;
                });
                Ok(switch(accept, protocol))
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
        let sender = self.server.namespace.accept(&id).ok_or(Refusal::NoRendezvous)?;
        if let Some(rejection) = target.rejection {
            let _ = sender.send(Verdict::Refuse(Refusal::Rejected(rejection)));
            return Err(Refusal::RejectionDone);
        }
        let (meet, stream) = oneshot::channel();
        let protocol = headers.get(SEC_WEBSOCKET_PROTOCOL).cloned();
        let verdict = Verdict::Meet { protocol: protocol.clone(), stream };
        sender.send(verdict).map_err(|_| Refusal::NoRendezvous)?;
        let upgrade = self.upgrade;
        self.server.tasks.spawn(async move {
            if let Some(stream) = take::<S>(upgrade).await {
                let _ = meet.send(stream);
            }
        });
        Ok(switch(accept, protocol))
    }
}

/// The stream behind a 101, with the bytes that came along with the handshake.
async fn take<S: Stream + 'static>(upgrade: OnUpgrade) -> Option<Upgraded> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<S>>().ok()?;
    Some(Upgraded { io: Box::new(parts.io.into_inner()), early: parts.read_buf })
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

/// The usual spelling of a header name. HTTP does not care, some applications do.
fn header_case(name: &str) -> String {
    let word = |word: &str| match word {
        "websocket" => "WebSocket".to_owned(),
        "id" => "ID".to_owned(),
        word => {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    name.split('-').map(word).collect::<Vec<String>>().join("-")
}

fn switch(accept: &str, protocol: Option<HeaderValue>) -> Answer {
    let mut answer = Response::new(Full::default());
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

fn refuse(status: u16, reason: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{reason}\n")));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes()) {
        answer.extensions_mut().insert(reason);
    }
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=us-ascii"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_spelled_as_usual() {
        let table = [
            ("sec-websocket-key", "Sec-WebSocket-Key"),
            ("host", "Host"),
            ("x-request-id", "X-Request-ID"),
            ("0", "0"),
            ("--", "--"),
        ];
        for (name, expected) in table {
            assert_eq!(header_case(name), expected);
        }
    }
}
