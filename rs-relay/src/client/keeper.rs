//! The task behind a listener: one control channel to one relay, opened again and again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::HybridConnection;
use super::backoff::{Backoff, Trouble};
use super::connector::{ConnectError, Connector, OpenRequest, Persistence};
use super::http::{Answer, CONTROL_BODY_BYTES_MAX, Exchange, Handler};
use super::incoming::{Incoming, Waiting};
use super::keep_alive::{KeepAlive, Pulse};
use super::rendezvous::{HANDSHAKE_WAIT, Rendezvous};
use super::status::{Board, OfflineCause, Status};
use super::tokens::Token;
use crate::net::socket::{Event, Socket, SocketError};
use crate::net::{Clock, random};
use crate::proto::frame::{CloseReason, Role};
use crate::proto::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::proto::{
    Accept, EntityPath, ListenerMessage, RendezvousAddress, RenewToken, Request, Response, ServerMessage,
    listen_target,
};

/// A control channel that held this long was a good one.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// When a token is renewed, as a part of what is left of its life.
const RENEW_AT: f64 = 0.75;

/// Shortest wait before a renewal.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Wait after a provider that failed.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);

/// Answers that may wait for a control channel, and bytes of them that may wait for its socket.
const ANSWERS_WAITING_MAX: usize = 16;
const BACKLOG_BYTES_MAX: usize = 128 * 1024;

/// What all relays of a listener have in common.
pub(super) struct Common {
    pub(super) connector: Connector,
    pub(super) any_host: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) incoming: Option<mpsc::Sender<Incoming>>,
    pub(super) handler: Option<Handler>,
    pub(super) strip_entity: bool,
    /// Requests that may be in work.
    pub(super) places: Arc<Semaphore>,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
}

/// See the module's text.
pub(super) struct Keeper {
    pub(super) common: Arc<Common>,
    /// Which of the listener's relays.
    pub(super) index: usize,
    pub(super) connection: HybridConnection,
    pub(super) keep_alive: KeepAlive,
    pub(super) tracking: String,
}

/// A control channel.
struct Channel {
    socket: Socket,
    answers: mpsc::Sender<Answer>,
    rendezvous: Rendezvous,
    /// A request whose body is on its way.
    pending: Option<(Request, Vec<u8>)>,
}

impl Keeper {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let stop = self.common.stop.clone();
        while !stop.is_cancelled() {
            self.put(Status::Connecting);
            let opened = tokio::select! {
                opened = self.open(backoff.is_failing()) => opened,
                () = stop.cancelled() => break,
            };
            let cause = match opened {
                Ok((socket, token)) => {
                    self.put(Status::Online);
                    let since = Instant::now();
                    let Some(cause) = self.serve(socket, token).await else { break };
                    // A relay that closes again at once gets growing pauses, too.
                    if since.elapsed() > STABLE_AFTER {
                        backoff.reset();
                    }
                    cause
                }
                Err(error) => error.into(),
            };
            self.token_was_refused(&cause);
            let pause = random::span(backoff.bound(Trouble::of(&cause)));
            tracing::info!(relay = %self.connection.authority(), %cause, ?pause, "listener offline");
            self.put(Status::Offline { cause: Arc::new(cause), pause });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        self.put(Status::Stopped);
    }

    fn put(&self, status: Status) {
        self.common.board.put(self.index, status);
    }

    fn token_was_refused(&self, cause: &OfflineCause) {
        let refused = match cause {
            OfflineCause::Connect(error) => error.status() == Some(401),
            OfflineCause::Closed { code, .. } => *code == CloseReason::POLICY,
            _ => false,
        };
        if refused {
            self.connection.token_was_refused();
        }
    }

    async fn open(&self, again: bool) -> Result<(Socket, Option<Token>), ConnectError> {
        let token = self.connection.token().await?;
        let request = OpenRequest {
            authority: self.connection.authority(),
            target: &listen_target(self.connection.entity(), &self.tracking),
            token: token.as_ref(),
            headers: HeaderMap::new(),
        };
        let persistence = if again { Persistence::Watching } else { Persistence::Once };
        let opened = self.common.connector.open_with(request, HANDSHAKE_WAIT, persistence).await?;
        Ok((Socket::new(opened.upgraded, Role::Client, CONTROL_MESSAGE_BYTES_MAX), token))
    }

    /// Serves a control channel; `None` when the owner has closed the listener.
    async fn serve(&self, socket: Socket, token: Option<Token>) -> Option<OfflineCause> {
        let relay = self.connection.authority().clone();
        let rendezvous =
            Rendezvous::new(self.common.connector.clone(), self.keep_alive, relay, self.common.any_host);
        let (answers, mut answered) = mpsc::channel(ANSWERS_WAITING_MAX);
        let mut channel = Channel { socket, answers, rendezvous, pending: None };
        let mut expires_at = token.and_then(|token| token.expires_at);
        let mut renew_at = expires_at.and_then(|end| self.renewal(end));
        let mut pulse = Pulse::new(self.keep_alive);
        loop {
            let renewal = async {
                match renew_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let socket = &mut channel.socket;
            let (backlog, stalled_at) = (socket.backlog(), socket.stalled_at());
            tokio::select! {
                event = socket.next_or_room(BACKLOG_BYTES_MAX) => match event {
                    Ok(None) => {}
                    Ok(Some(Event::Close(reason))) => {
                        let CloseReason { code, text } = reason.unwrap_or(CloseReason { code: 1005, text: String::new() });
                        tokio::spawn(channel.socket.close(None));
                        return Some(OfflineCause::Closed { code, reason: text });
                    }
                    Ok(Some(event)) => if let Err(broken) = self.event(&mut channel, event) {
                        let reason = CloseReason::new(CloseReason::PROTOCOL, broken);
                        tokio::spawn(async move { channel.socket.close(Some(&reason)).await });
                        return Some(OfflineCause::Lost(broken.to_owned()));
                    }
                    // The system's word for bytes that nobody acknowledged.
                    Err(SocketError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                        return Some(OfflineCause::Silent);
                    }
                    Err(error) => {
                        let reason = error.close_reason();
                        tokio::spawn(async move { channel.socket.close(reason.as_ref()).await });
                        return Some(OfflineCause::Lost(error.to_string()));
                    }
                },
                Some(Answer { text, body }) = answered.recv(), if backlog <= BACKLOG_BYTES_MAX => {
                    // Message and body as one unit: nothing comes in between.
                    socket.queue_text(&text);
                    if let Some(body) = body {
                        socket.queue_data(&body, true, true);
                    }
                }
                () = renewal => match self.connection.token().await {
                    Ok(Some(token)) if token.expires_at > expires_at => {
                        expires_at = token.expires_at;
                        renew_at = expires_at.and_then(|end| self.renewal(end));
                        if let Ok(text) = ListenerMessage::RenewToken(RenewToken { token: token.text }).to_text() {
                            socket.queue_text(&text);
                        }
                    }
                    // The provider has no later token yet.
                    Ok(_) => renew_at = expires_at.and_then(|end| self.renewal(end)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot renew the listener's token");
                        renew_at = Some(Instant::now() + RENEWAL_RETRY);
                    }
                },
                () = pulse.wait() => {
                    if pulse.beat(socket, true).is_err() {
                        return Some(OfflineCause::Silent);
                    }
                }
                () = sleep_until(stalled_at), if backlog > 0 => {
                    if socket.backlog() > 0 && socket.stalled_at() <= Instant::now() {
                        return Some(OfflineCause::Silent);
                    }
                }
                () = self.common.stop.cancelled() => {
                    channel.socket.close(Some(&CloseReason::new(CloseReason::NORMAL, "Normal Closure"))).await;
                    return None;
                }
            }
        }
    }

    /// When to renew a token: at 75 % of what is left of its life; not when it is over.
    fn renewal(&self, expires_at: chrono::DateTime<chrono::Utc>) -> Option<Instant> {
        let left = expires_at.signed_duration_since(self.common.clock.now()).to_std().ok()?;
        (!left.is_zero()).then(|| Instant::now() + left.mul_f64(RENEW_AT).max(RENEWAL_PAUSE_MIN))
    }

    /// What came on the control channel; an error when it breaks the protocol.
    fn event(&self, channel: &mut Channel, event: Event) -> Result<(), &'static str> {
        match event {
            Event::Text(_) if channel.pending.is_some() => Err("a message came in the place of a body"),
            Event::Text(text) => {
                self.message(channel, &text);
                Ok(())
            }
            Event::Data { bytes, last, .. } => {
                // A binary message that nothing announced is ignored.
                let Some((_, body)) = &mut channel.pending else { return Ok(()) };
                if body.len() + bytes.len() > CONTROL_BODY_BYTES_MAX {
                    return Err("a body on the control channel was longer than 64 KiB");
                }
                body.extend_from_slice(&bytes);
                if last && let Some((request, body)) = channel.pending.take() {
                    self.request(channel, request, body.into());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn message(&self, channel: &mut Channel, text: &str) {
        match ServerMessage::parse(text) {
            Ok(ServerMessage::Accept(accept)) => self.offer(channel, accept),
            Ok(ServerMessage::Request(request)) if request.body == Some(true) => {
                channel.pending = Some((request, Vec::new()));
            }
            Ok(ServerMessage::Request(request)) => self.request(channel, request, Bytes::new()),
            Ok(ServerMessage::Unknown) => tracing::debug!("an unknown control message came"),
            Err(error) => tracing::warn!(%error, "a control message could not be read"),
        }
    }

    fn offer(&self, channel: &Channel, accept: Accept) {
        let address = match RendezvousAddress::parse(&accept.address) {
            Ok(address) => address,
            Err(error) => return tracing::warn!(%error, "an accept message could not be used"),
        };
        let incoming = Incoming::new(Waiting {
            address,
            id: accept.id,
            headers: accept.connect_headers,
            remote: accept.remote_endpoint,
            rendezvous: channel.rendezvous.clone(),
            prepared: None,
        });
        match &self.common.incoming {
            Some(offers) => {
                if let Err(error) = offers.try_send(incoming) {
                    tracing::info!(%error, "a sender is sent away: too many wait to be accepted");
                }
            }
            None => {
                tokio::spawn(incoming.reject(405, "This listener serves HTTP requests only."));
            }
        }
    }

    fn request(&self, channel: &mut Channel, request: Request, body: Bytes) {
        let Ok(place) = Arc::clone(&self.common.places).try_acquire_owned() else {
            tracing::warn!("a request is refused: too many are in work");
            return busy(&mut channel.socket, request.id);
        };
        let exchange = Exchange {
            handler: self.common.handler.clone(),
            rendezvous: channel.rendezvous.clone(),
            answers: channel.answers.clone(),
            below: self.below(),
        };
        tokio::spawn(async move {
            if request.is_announcement() {
                exchange.announced(request).await;
            } else {
                exchange.complete(request, body).await;
            }
            drop(place);
        });
    }

    fn below(&self) -> Option<EntityPath> {
        self.common.strip_entity.then(|| self.connection.entity().clone())
    }
}

/// Answers 503 at once.
fn busy(socket: &mut Socket, request_id: String) {
    let response = Response {
        request_id,
        status_code: 503,
        status_description: Some("The listener is busy.".into()),
        response_headers: Default::default(),
        body: false,
    };
    if let Ok(text) = ListenerMessage::Response(response).to_text() {
        socket.queue_text(&text);
    }
}
