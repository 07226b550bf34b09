//! The side that is reached: keeps a control channel and yields connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::HybridConnection;
use super::connector::{ConnectError, Connector, OpenRequest, Opened};
use super::keep_alive::{KeepAlive, SILENT_INTERVALS_MAX};
use super::stream::RelayStream;
use super::tokens::Token;
use crate::net::socket::{Event, Socket};
use crate::net::{Clock, SystemClock, random};
use crate::proto::frame::{CloseReason, Role};
use crate::proto::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::proto::{
    Accept, Authority, Headers, ListenerMessage, Rejection, RemoteEndpoint, RendezvousAddress, RenewToken,
    ServerMessage, Target, listen_target,
};

/// Time for the handshake of a control channel or a rendezvous, behind TLS.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(20);

/// Longest pause between two attempts while the relay cannot be reached. Short, so that a listener is back soon after the
/// relay is; the jitter spreads many listeners.
const UNREACHABLE_PAUSE_MAX: Duration = Duration::from_millis(1800);

/// Longest pause while the relay refuses us.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(60);

/// First bound of the pauses; it doubles with each failure in a row.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// A control channel that held this long was a good one.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Pause after a renewal that failed.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);

/// What a listener is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// On its way to the relay.
    Connecting,
    /// The relay sends connections here.
    Online,
    /// Not reachable; the next attempt follows after the pause.
    Offline {
        /// Why.
        cause: Arc<OfflineCause>,
        /// Until the next attempt.
        pause: Duration,
    },
    /// Closed by its owner.
    Stopped,
}

impl Status {
    /// Whether senders can get through.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Online => f.write_str("online"),
            Self::Offline { cause, .. } => write!(f, "offline: {cause}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// Why a listener is offline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineCause {
    /// The control channel could not be opened.
    #[error("{}", chain(.0))]
    Connect(#[from] ConnectError),
    /// The control channel was lost.
    #[error("the control channel failed: {0}")]
    Lost(String),
    /// The relay closed the control channel.
    #[error("the relay closed the control channel with code {code}: {reason}")]
    Closed {
        /// Close code; 1005 for none.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// The relay did not answer.
    #[error("the relay did not answer for too long")]
    Silent,
}

impl OfflineCause {
    /// Whether waiting longer between attempts is polite: the relay is there and does not want us.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Refused { status, .. }) => *status < 500,
            Self::Connect(ConnectError::Token(_)) => true,
            _ => false,
        }
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Watches the status of a [`Listener`]. Clones watch on their own.
#[derive(Debug, Clone)]
pub struct StatusWatch(watch::Receiver<Status>);

impl StatusWatch {
    /// The status now.
    #[must_use]
    pub fn now(&self) -> Status {
        self.0.borrow().clone()
    }

    /// Waits for another status; `None` when the listener is gone. Short-lived ones in between may be missed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<Status> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the listener is online; `false` when it is gone before.
    pub async fn online(&mut self) -> bool {
        self.0.wait_for(Status::is_online).await.is_ok()
    }
}

/// Settings of a [`Listener`].
///
/// # Defaults
///
/// [`KeepAlive::for_relay`]; 64 connections may wait for [`Listener::accept`]; rendezvous only inside the relay's domain.
#[derive(Debug)]
pub struct ListenerBuilder {
    connection: HybridConnection,
    connector: Connector,
    keep_alive: KeepAlive,
    backlog: usize,
    any_host: bool,
    clock: Arc<dyn Clock>,
}

impl ListenerBuilder {
    /// What is sent on quiet connections.
    #[must_use]
    pub fn keep_alive(self, keep_alive: KeepAlive) -> Self {
        Self { keep_alive, ..self }
    }

    /// Connections that may wait for [`Listener::accept`], at least 1; more are rejected with 503. Default 64.
    #[must_use]
    pub fn backlog(self, connections: usize) -> Self {
        Self { backlog: connections.max(1), ..self }
    }

    /// Follows rendezvous addresses to any host. By default only to the relay's own host and its siblings under the same
    /// parent domain, so that a hostile relay cannot send this machine around in its network.
    #[must_use]
    pub fn dangerous_any_rendezvous_host(self) -> Self {
        Self { any_host: true, ..self }
    }

    /// Where wall time comes from. Default [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts listening. Must be called inside a runtime; returns at once, see [`Listener::status`].
    #[must_use]
    pub fn start(self) -> Listener {
        let (incoming, receiver) = mpsc::channel(self.backlog);
        let (status, watch) = watch::channel(Status::Connecting);
        let stop = CancellationToken::new();
        let keeper = Keeper {
            tracking: uuid::Uuid::new_v4().to_string(),
            connection: self.connection,
            connector: self.connector,
            keep_alive: self.keep_alive,
            any_host: self.any_host,
            clock: self.clock,
            incoming,
            status,
            stop: stop.clone(),
        };
        Listener {
            incoming: receiver,
            status: StatusWatch(watch),
            stop,
            task: Some(tokio::spawn(keeper.run())),
        }
    }
}

/// Listens on a hybrid connection until it is closed or dropped, whatever happens to the relay in between.
///
/// * A lost control channel is opened again: at first at once, then with growing pauses of full jitter, up to 1.8 s while
///   the relay cannot be reached and up to 60 s while it refuses us.
/// * The token is renewed at 75 % of its life.
/// * Connections that were accepted do not depend on the control channel.
///
/// ```no_run
/// use rs_relay::client::{Connector, HybridConnection, Listener};
/// use rs_relay::proto::ConnectionString;
///
/// # async fn example(text: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let connection = HybridConnection::from_connection_string(&text.parse::<ConnectionString>()?)?;
/// let mut listener = Listener::builder(connection, Connector::builder().build()?).start();
/// while let Some(incoming) = listener.accept().await {
///     tokio::spawn(async move {
///         let stream = incoming.accept().await?;
///         let (mut reader, mut writer) = tokio::io::split(stream);
///         tokio::io::copy(&mut reader, &mut writer).await?;
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    incoming: mpsc::Receiver<Incoming>,
    status: StatusWatch,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Listener {
    /// Settings for listening on a hybrid connection.
    #[must_use]
    pub fn builder(connection: HybridConnection, connector: Connector) -> ListenerBuilder {
        let keep_alive = KeepAlive::for_relay(connection.authority());
        ListenerBuilder {
            connection,
            connector,
            keep_alive,
            backlog: 64,
            any_host: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Waits for a sender. `None` after [`Listener::close`] only.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// The status and its changes.
    #[must_use]
    pub fn status(&self) -> StatusWatch {
        self.status.clone()
    }

    /// Tells the relay that no more connections are wanted and waits until the control channel is closed, at most some
    /// seconds. Connections that were accepted go on.
    pub async fn close(mut self) {
        self.stop.cancel();
        self.incoming.close();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task behind a [`Listener`].
struct Keeper {
    connection: HybridConnection,
    connector: Connector,
    keep_alive: KeepAlive,
    any_host: bool,
    clock: Arc<dyn Clock>,
    tracking: String,
    incoming: mpsc::Sender<Incoming>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self) {
        let mut failures = 0;
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            self.status.send_if_modified(|status| {
                let other = !matches!(status, Status::Connecting);
                *status = Status::Connecting;
                other
            });
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = stop.cancelled() => break,
            };
            let cause = match opened {
                Ok((socket, token)) => {
                    self.status.send_replace(Status::Online);
                    let since = Instant::now();
                    let Some(cause) = self.serve(socket, token).await else { break };
                    // A relay that closes again at once gets growing pauses, too.
                    if since.elapsed() > STABLE_AFTER {
                        failures = 0;
                    }
                    cause
                }
                Err(error) => error.into(),
            };
            let pause = pause(failures, &cause);
            failures += 1;
            tracing::info!(relay = %self.connection.authority(), %cause, ?pause, "listener offline");
            self.status.send_replace(Status::Offline { cause: Arc::new(cause), pause });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        self.status.send_replace(Status::Stopped);
    }

    async fn open(&self) -> Result<(Socket, Option<Token>), ConnectError> {
        let token = self.connection.token().await?;
        let request = OpenRequest {
            authority: self.connection.authority(),
            target: &listen_target(self.connection.entity(), &self.tracking),
            token: token.as_ref(),
            headers: HeaderMap::new(),
        };
        let opened = self.connector.open(request, HANDSHAKE_WAIT).await?;
        Ok((Socket::new(opened.upgraded, Role::Client, CONTROL_MESSAGE_BYTES_MAX), token))
    }

    /// Serves a control channel; `None` when the owner has closed the listener.
    async fn serve(&self, mut socket: Socket, token: Option<Token>) -> Option<OfflineCause> {
        let mut expires_at = token.and_then(|token| token.expires_at);
        let mut renew_at = expires_at.map(|end| self.renewal(end));
        let mut silent = 0;
        let interval = self.keep_alive.interval();
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let renewal = async {
                match renew_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (backlog, stalled_at) = (socket.backlog(), socket.stalled_at());
            tokio::select! {
                event = socket.next() => match event {
                    Ok(Event::Text(text)) => self.message(&text),
                    Ok(Event::Close(reason)) => {
                        let CloseReason { code, text } = reason.unwrap_or(CloseReason { code: 1005, text: String::new() });
                        tokio::spawn(socket.close(None));
                        return Some(OfflineCause::Closed { code, reason: text });
                    }
                    Ok(Event::Binary | Event::Ping | Event::Pong) => {}
                    Err(error) => {
                        let reason = error.close_reason();
                        tokio::spawn(async move { socket.close(reason.as_ref()).await });
                        return Some(OfflineCause::Lost(error.to_string()));
                    }
                },
                () = renewal => match self.connection.token().await {
                    Ok(Some(token)) if token.expires_at > expires_at => {
                        expires_at = token.expires_at;
                        renew_at = expires_at.map(|end| self.renewal(end));
                        if let Ok(text) = ListenerMessage::RenewToken(RenewToken { token: token.text }).to_text() {
                            socket.queue_text(&text);
                        }
                    }
                    // The provider has no later token: nothing to renew with.
                    Ok(_) => renew_at = None,
                    Err(error) => {
                        tracing::warn!(%error, "cannot renew the listener's token");
                        renew_at = Some(Instant::now() + RENEWAL_RETRY);
                    }
                },
                _ = ticks.tick() => {
                    silent = if socket.take_heard() { 0 } else { silent + 1 };
                    if self.keep_alive.expects_answers() {
                        if silent >= SILENT_INTERVALS_MAX {
                            return Some(OfflineCause::Silent);
                        }
                        socket.queue_ping();
                    } else {
                        socket.queue_pong();
                    }
                }
                () = sleep_until(stalled_at), if backlog > 0 => {
                    if socket.backlog() > 0 && socket.stalled_at() <= Instant::now() {
                        return Some(OfflineCause::Silent);
                    }
                }
                () = self.stop.cancelled() => {
                    socket.close(Some(&CloseReason::new(CloseReason::NORMAL, "Normal Closure"))).await;
                    return None;
                }
            }
        }
    }

    /// When to renew a token: at 75 % of what is left of its life.
    fn renewal(&self, expires_at: chrono::DateTime<chrono::Utc>) -> Instant {
        let left = expires_at.signed_duration_since(self.clock.now()).to_std().unwrap_or_default();
        Instant::now() + left.mul_f64(0.75).max(Duration::from_secs(1))
    }

    fn message(&self, text: &str) {
        match ServerMessage::parse(text) {
            Ok(ServerMessage::Accept(accept)) => self.offer(accept),
            Ok(ServerMessage::Request(_)) => {
                tracing::debug!("an HTTP request came, which this listener does not serve")
            }
            Ok(ServerMessage::Unknown) => tracing::debug!("an unknown control message came"),
            Err(error) => tracing::warn!(%error, "a control message could not be read"),
        }
    }

    fn offer(&self, accept: Accept) {
        let address = match RendezvousAddress::parse(&accept.address) {
            Ok(address) => address,
            Err(error) => return tracing::warn!(%error, "an accept message could not be used"),
        };
        let waiting = Waiting {
            address,
            id: accept.id,
            headers: accept.connect_headers,
            remote: accept.remote_endpoint,
            connector: self.connector.clone(),
            keep_alive: self.keep_alive,
            relay: self.connection.authority().clone(),
            any_host: self.any_host,
        };
        if let Err(error) = self.incoming.try_send(Incoming(Some(waiting))) {
            tracing::info!(%error, "a sender is sent away: too many wait to be accepted");
        }
    }
}

/// A random pause from zero to a bound that doubles with each failure.
fn pause(failures: u32, cause: &OfflineCause) -> Duration {
    let max = if cause.is_refusal() { REFUSED_PAUSE_MAX } else { UNREACHABLE_PAUSE_MAX };
    let bound = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(max);
    random::span(bound)
}

/// A sender that waits, for about 30 s. Accept or reject it; one that is dropped is rejected with 503.
#[derive(Debug)]
pub struct Incoming(Option<Waiting>);

impl Incoming {
    /// Tracking id of the connection.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.as_ref().map_or("", |waiting| &waiting.id)
    }

    /// A header of the sender's handshake, case aside. The sender chose it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.as_ref().and_then(|waiting| waiting.headers.get(name))
    }

    /// Names and texts of all headers of the sender's handshake. The sender chose them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|waiting| waiting.headers.iter())
    }

    /// Address and port of the sender, as the relay says.
    #[must_use]
    pub fn remote_endpoint(&self) -> RemoteEndpoint {
        self.0.as_ref().map(|waiting| waiting.remote.clone()).unwrap_or_default()
    }

    /// The path that the sender asked for: the entity, perhaps with a suffix. Percent-encoded as sent.
    #[must_use]
    pub fn path(&self) -> String {
        self.target().map(|target| target.path.raw().to_owned()).unwrap_or_default()
    }

    /// The application's own query, without its `?`. Percent-encoded as sent.
    #[must_use]
    pub fn query(&self) -> Option<String> {
        self.target()?.application_query
    }

    fn target(&self) -> Option<Target> {
        Target::parse(self.0.as_ref()?.address.expose_target()).ok()
    }

    /// Meets the sender. When it asked for subprotocols the first one is chosen.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]; 403 as [`ConnectError::Refused`] when the sender has left or the address is too old.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the sender is left to the relay's time-out, or sees an abort.
    pub async fn accept(mut self) -> Result<RelayStream, AcceptError> {
        match self.0.take() {
            Some(waiting) => waiting.accept().await,
            None => Err(AcceptError::Taken),
        }
    }

    /// Sends the sender away with a status from 300 to 599 and a text. Another status becomes 400.
    ///
    /// # Errors
    ///
    /// [`AcceptError`] when the relay could not be told; the sender then sees the relay's time-out.
    pub async fn reject(mut self, status: u16, text: &str) -> Result<(), AcceptError> {
        match self.0.take() {
            Some(waiting) => waiting.reject(&Rejection::new(status, text)).await,
            None => Err(AcceptError::Taken),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some(waiting), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = waiting.reject(&Rejection::new(503, "The listener is busy.")).await;
            });
        }
    }
}

#[derive(Debug)]
struct Waiting {
    address: RendezvousAddress,
    id: String,
    headers: Headers,
    remote: RemoteEndpoint,
    connector: Connector,
    keep_alive: KeepAlive,
    relay: Authority,
    any_host: bool,
}

impl Waiting {
    async fn accept(self) -> Result<RelayStream, AcceptError> {
        let mut headers = HeaderMap::new();
        let offered =
            self.headers.get(SEC_WEBSOCKET_PROTOCOL.as_str()).and_then(|names| names.split(',').next());
        if let Some(Ok(first)) = offered.map(|name| HeaderValue::from_str(name.trim())) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, first);
        }
        let opened = self.open(&self.address, headers).await?;
        Ok(RelayStream::new(opened, self.keep_alive, self.relay.is_azure(), &self.id))
    }

    async fn reject(self, rejection: &Rejection) -> Result<(), AcceptError> {
        match self.open(&self.address.rejecting(rejection), HeaderMap::new()).await {
            Err(AcceptError::Connect(ConnectError::Refused { status: 410, .. })) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ConnectError::NoWebSocket("a rejection was taken for an acceptance").into()),
        }
    }

    async fn open(&self, address: &RendezvousAddress, headers: HeaderMap) -> Result<Opened, AcceptError> {
        let authority = address.authority();
        if !self.any_host && !self.relay.is_same_domain(authority) {
            return Err(AcceptError::ForeignHost { authority: authority.clone() });
        }
        let request = OpenRequest { authority, target: address.expose_target(), token: None, headers };
        Ok(self.connector.open(request, HANDSHAKE_WAIT).await?)
    }
}

/// Why a sender could not be accepted or rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The rendezvous could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The relay named a host outside its own domain.
    #[error("the relay named {authority} as the place to meet, which is outside its own domain")]
    ForeignHost {
        /// Host and port.
        authority: Authority,
    },
    /// It was accepted or rejected before.
    #[error("the sender was accepted or rejected before")]
    Taken,
}
