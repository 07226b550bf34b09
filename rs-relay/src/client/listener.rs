//! The side that is reached: keeps control channels and yields connections.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::HybridConnection;
use super::connector::Connector;
use super::http::{BoxError, Handler, REQUESTS_MAX, RequestBody};
use super::incoming::Incoming;
use super::keep_alive::KeepAlive;
use super::keeper::{Common, Keeper};
use super::status::{Board, StatusWatch};
use crate::net::{Clock, SystemClock};
use crate::proto::Authority;

/// Connections that may wait for [`Listener::accept`] by default.
const BACKLOG: usize = 64;

/// Settings of a [`Listener`].
///
/// # Defaults
///
/// One relay; [`KeepAlive::for_relay`]; no HTTP; 64 connections may wait for [`Listener::accept`]; rendezvous only inside
/// the relay's domain.
#[derive(Debug)]
pub struct ListenerBuilder {
    connections: Vec<HybridConnection>,
    connector: Connector,
    keep_alive: Option<KeepAlive>,
    backlog: usize,
    handler: Option<Handler>,
    requests_max: usize,
    strip_entity: bool,
    http_only: bool,
    any_host: bool,
    clock: Arc<dyn Clock>,
}

impl ListenerBuilder {
    /// Listens at one more relay, at the same time. Senders may come over any of them; while one is away the others go on.
    #[must_use]
    pub fn also_at(mut self, connection: HybridConnection) -> Self {
        self.connections.push(connection);
        self
    }

    /// What is sent on quiet connections. Default [`KeepAlive::for_relay`] of each relay.
    #[must_use]
    pub fn keep_alive(self, keep_alive: KeepAlive) -> Self {
        Self { keep_alive: Some(keep_alive), ..self }
    }

    /// Connections that may wait for [`Listener::accept`], at least 1; more are rejected with 503. Default 64.
    #[must_use]
    pub fn backlog(self, connections: usize) -> Self {
        Self { backlog: connections.max(1), ..self }
    }

    /// Answers HTTP requests with a service: an axum `Router`, or any other [`tower_service::Service`].
    ///
    /// * The service is cloned for each request. One that fails or panics answers 500.
    /// * A request arrives with its path as sent, entity included; see [`ListenerBuilder::strip_entity`]. Its extensions hold
    ///   [`RequestInfo`](super::RequestInfo).
    /// * Bodies are streamed both ways, with back-pressure. Up to 64 KiB go over the control channel, more over a
    ///   connection of their own; a response that is not complete after 250 ms is sent as it comes.
    /// * The relay waits 60 s for a response to begin, and 60 s for each of its parts.
    /// * Of several `Set-Cookie` lines only the first gets through: the protocol has one text for each header.
    #[must_use]
    pub fn http<S, B>(self, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { handler: Some(Handler::new(service)), ..self }
    }

    /// Takes the entity from the front of each request's path, so that the service sees `/` where senders say `/ENTITY/`.
    #[must_use]
    pub fn strip_entity(self) -> Self {
        Self { strip_entity: true, ..self }
    }

    /// HTTP requests in work at once, at least 1; more are answered with 503. Each holds at most 64 KiB of its body and of
    /// its response at a time. Default 1024.
    #[must_use]
    pub fn http_requests_max(self, requests: usize) -> Self {
        Self { requests_max: requests.clamp(1, Semaphore::MAX_PERMITS), ..self }
    }

    /// Rejects WebSocket senders with 405. For listeners that serve HTTP and never call [`Listener::accept`]: without it,
    /// such senders wait in vain.
    #[must_use]
    pub fn http_only(self) -> Self {
        Self { http_only: true, ..self }
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
        let (board, watches, all) = Board::new(self.connections.len());
        let stop = CancellationToken::new();
        let common = Arc::new(Common {
            connector: self.connector,
            any_host: self.any_host,
            clock: self.clock,
            incoming: (!self.http_only).then_some(incoming),
            handler: self.handler,
            strip_entity: self.strip_entity,
            places: Arc::new(Semaphore::new(self.requests_max)),
            board,
            stop: stop.clone(),
        });
        let authorities = self.connections.iter().map(|connection| connection.authority().clone());
        let relays = authorities.zip(watches).collect();
        let tasks = TaskTracker::new();
        for (index, connection) in self.connections.into_iter().enumerate() {
            let keep_alive = self.keep_alive.unwrap_or_else(|| KeepAlive::for_relay(connection.authority()));
            let tracking = uuid::Uuid::new_v4().to_string();
            let keeper = Keeper { common: Arc::clone(&common), index, connection, keep_alive, tracking };
            tasks.spawn(keeper.run());
        }
        tasks.close();
        Listener { incoming: receiver, status: all, relays, stop, tasks }
    }
}

/// Listens on a hybrid connection until it is closed or dropped, whatever happens to the relay in between.
///
/// # Coming back
///
/// A lost control channel is opened again, for ever. Pauses are drawn evenly from zero to a bound that doubles with each
/// failure in a row and begins again after a channel that held for more than 5 s:
///
/// | what happened | first bound | last bound |
/// | --- | --- | --- |
/// | the relay cannot be dialled, or the channel broke | 0.5 s | 1.8 s |
/// | something answers but does not work: no TLS, no WebSocket, too late, status 500 and up | 0.5 s | 15 s |
/// | refused (401, 403), or no token can be had | 0.5 s | 60 s |
/// | 404: the hybrid connection does not exist | 5 s | 60 s |
///
/// So a listener is back within 2 s of a relay that was away, for however long, and does not storm one that is unwell.
/// While a relay is away dials do not wait for each other: a fresh one begins every 1.5 s beside a patient one of 20 s. A
/// fresh token is fetched for each attempt.
///
/// # Staying
///
/// * The token is renewed at 75 % of its life.
/// * A relay that falls silent is found within 45 s, see [`KeepAlive`].
/// * Connections that were accepted do not depend on the control channel.
///
/// # Connections
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
///
/// # HTTP
///
/// With an axum `Router` as `app`; here a closure plays it:
///
/// ```no_run
/// # use std::convert::Infallible;
/// # use rs_relay::client::{Connector, HybridConnection, Listener, RequestBody};
/// # use rs_relay::proto::ConnectionString;
/// # #[derive(Clone)] struct App;
/// # impl tower_service::Service<http::Request<RequestBody>> for App {
/// #     type Response = http::Response<String>; type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { Ok(()).into() }
/// #     fn call(&mut self, _: http::Request<RequestBody>) -> Self::Future { std::future::ready(Ok(http::Response::new("hello".into()))) }
/// # }
/// # async fn example(text: &str, app: App) -> Result<(), Box<dyn std::error::Error>> {
/// let connection = HybridConnection::from_connection_string(&text.parse::<ConnectionString>()?)?;
/// let connector = Connector::builder().build()?;
/// let listener = Listener::builder(connection, connector).http(app).strip_entity().http_only().start();
/// tokio::signal::ctrl_c().await?;
/// listener.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    incoming: mpsc::Receiver<Incoming>,
    status: StatusWatch,
    relays: Vec<(Authority, StatusWatch)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Settings for listening on a hybrid connection.
    #[must_use]
    pub fn builder(connection: HybridConnection, connector: Connector) -> ListenerBuilder {
        ListenerBuilder {
            connections: vec![connection],
            connector,
            keep_alive: None,
            backlog: BACKLOG,
            handler: None,
            requests_max: REQUESTS_MAX,
            strip_entity: false,
            http_only: false,
            any_host: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Waits for a sender. `None` after [`Listener::close`] only, or at once with [`ListenerBuilder::http_only`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// The status and its changes. With several relays that of the best one: online when any is.
    #[must_use]
    pub fn status(&self) -> StatusWatch {
        self.status.clone()
    }

    /// The relays in the order in which they were given, each with its own status.
    pub fn relays(&self) -> impl Iterator<Item = (&Authority, StatusWatch)> {
        self.relays.iter().map(|(authority, watch)| (authority, watch.clone()))
    }

    /// Tells the relays that no more connections are wanted and waits until the control channels are closed, at most some
    /// seconds. Connections that were accepted, and requests in work that need no control channel, go on.
    pub async fn close(mut self) {
        self.stop.cancel();
        self.incoming.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
