//! The side that reaches a listener.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::{HeaderMap, Request, Response};
use tokio::time::Instant;

use super::HybridConnection;
use super::connector::{
    Aborting, ClientStream, ConnectError, Connector, OpenRequest, Persistence, below, exchange,
};
use super::http::BoxError;
use super::keep_alive::KeepAlive;
use super::stream::RelayStream;
use crate::proto::connect_target;

/// How long a relay that could not be reached is tried only after the others.
const UNHEALTHY_FOR: Duration = Duration::from_secs(30);

/// What a sender tells the listener on connecting.
///
/// # Defaults
///
/// No suffix, no query, no headers; 70 s for a listener to answer.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    suffix: Option<String>,
    query: Option<String>,
    headers: HeaderMap,
    wait: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { suffix: None, query: None, headers: HeaderMap::new(), wait: Duration::from_secs(70) }
    }
}

impl ConnectOptions {
    /// A path below the entity, percent-encoded, without a leading slash. The listener sees it.
    #[must_use]
    pub fn suffix(self, suffix: impl Into<String>) -> Self {
        Self { suffix: Some(suffix.into()), ..self }
    }

    /// A query, percent-encoded, without its `?`. The listener sees it.
    #[must_use]
    pub fn query(self, query: impl Into<String>) -> Self {
        Self { query: Some(query.into()), ..self }
    }

    /// A header for the listener. One that is no HTTP header is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            self.headers.append(name, value);
        }
        self
    }

    /// Offers a subprotocol, after those that were offered before. The listener chooses one:
    /// [`RelayStream::subprotocol`]. One that is no HTTP token is left out.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        let known = self.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|names| names.to_str().ok());
        let names = known.map_or_else(|| name.to_owned(), |known| format!("{known}, {name}"));
        let token = !name.is_empty() && name.parse::<HeaderName>().is_ok();
        if let (true, Ok(names)) = (token, HeaderValue::from_str(&names)) {
            self.headers.insert(SEC_WEBSOCKET_PROTOCOL, names);
        }
        self
    }

    /// How long to wait for a listener. Default 70 s; relays give up after about 30 s.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Reaches the listeners of a hybrid connection.
///
/// # Several relays
///
/// With [`Sender::or_at`] relays are tried in their order: the next one when one cannot be reached or nobody listens
/// there. One that could not be reached comes last for 30 s, for all clones of the sender.
#[derive(Debug, Clone)]
pub struct Sender {
    relays: Vec<HybridConnection>,
    connector: Connector,
    keep_alive: Option<KeepAlive>,
    /// When each relay was found to be away.
    unhealthy: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl Sender {
    /// A sender. Nothing is sent before [`Sender::connect`].
    #[must_use]
    pub fn new(connection: HybridConnection, connector: Connector) -> Self {
        Self { relays: vec![connection], connector, keep_alive: None, unhealthy: Arc::default() }
    }

    /// Tries another relay after those before it.
    #[must_use]
    pub fn or_at(mut self, connection: HybridConnection) -> Self {
        self.relays.push(connection);
        Self { unhealthy: Arc::default(), ..self }
    }

    /// What is sent on quiet connections. Default [`KeepAlive::for_relay`] of each relay.
    #[must_use]
    pub fn keep_alive(self, keep_alive: KeepAlive) -> Self {
        Self { keep_alive: Some(keep_alive), ..self }
    }

    /// Connects to one of the listeners.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a listener that rejects shows as [`ConnectError::Refused`] with its status and text. With several
    /// relays the error of the first that could be reached, else of the last one.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the attempt is given up; the relay tells the listener nothing more.
    pub async fn connect(&self) -> Result<RelayStream, ConnectError> {
        self.connect_with(&ConnectOptions::default()).await
    }

    /// Connects and tells the listener something.
    ///
    /// # Errors
    ///
    /// As [`Sender::connect`].
    pub async fn connect_with(&self, options: &ConnectOptions) -> Result<RelayStream, ConnectError> {
        let mut round = Round::new(self);
        while let Some(relay) = round.next() {
            match self.connect_at(relay, options).await {
                Ok(stream) => return Ok(round.reached(stream)),
                Err(error) => round.failed(error)?,
            }
        }
        Err(round.verdict())
    }

    async fn connect_at(
        &self,
        relay: &HybridConnection,
        options: &ConnectOptions,
    ) -> Result<RelayStream, ConnectError> {
        let token = relay.token().await?;
        let id = uuid::Uuid::new_v4().to_string();
        let (suffix, query) = (options.suffix.as_deref(), options.query.as_deref());
        let request = OpenRequest {
            authority: relay.authority(),
            target: &connect_target(relay.entity(), suffix, query, &id),
            token: token.as_ref(),
            headers: options.headers.clone(),
        };
        let opened =
            self.connector.open(request, options.wait).await.inspect_err(|error| told(relay, error))?;
        let keep_alive = self.keep_alive.unwrap_or_else(|| KeepAlive::for_relay(relay.authority()));
        Ok(RelayStream::new(opened, keep_alive, relay.authority().is_azure(), &id))
    }

    /// Sends an HTTP request to one of the listeners, on a connection of its own: through the same dialer, with the same
    /// trust and token as everything else. `wait` is for the head of the response; relays give up after about 60 s.
    ///
    /// Any other HTTP client will do as well: the address is `https://RELAY/ENTITY/…`, and the token goes into the header
    /// `ServiceBusAuthorization`.
    ///
    /// The request's path and query are taken as below the entity: `/` is the entity itself. Its host does not matter.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Full};
    /// use rs_relay::client::Sender;
    ///
    /// # async fn example(sender: Sender) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = http::Request::post("/orders?urgent").body(Full::new(Bytes::from("one tea")))?;
    /// let response = sender.request(request, Duration::from_secs(70)).await?;
    /// println!("{}: {:?}", response.status(), response.into_body().collect().await?.to_bytes());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectError::Refused`] for what the relay itself answers (it adds no `Via`) with a status from 400 on, else as
    /// [`Sender::connect`]. A listener's own status is a response, whatever it says. A request is sent once: another relay
    /// is tried only while no connection could be made.
    pub async fn request<B>(
        &self,
        request: Request<B>,
        wait: Duration,
    ) -> Result<Response<ResponseBody>, ConnectError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (relay, stream) = self.secure().await?;
        let token = relay.token().await?;
        let request = below(request, relay, token.as_ref())?;
        let exchanged = exchange(relay.authority(), stream, request);
        let timed = tokio::time::timeout(wait, exchanged).await;
        let late = |_| ConnectError::TimedOut { authority: relay.authority().clone(), wait };
        let (response, driver) = timed.map_err(late)?.inspect_err(|error| told(relay, error))?;
        Ok(response.map(|incoming| ResponseBody { incoming, _driver: driver }))
    }

    fn unhealthy(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.unhealthy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the first relay that can be reached.
    async fn secure(&self) -> Result<(&HybridConnection, ClientStream), ConnectError> {
        let mut round = Round::new(self);
        while let Some(relay) = round.next() {
            match self.connector.secure(relay.authority(), Persistence::Once).await {
                Ok(stream) => return Ok((relay, round.reached(stream))),
                Err(error) => round.failed(error)?,
            }
        }
        Err(round.verdict())
    }
}

/// The relays of a sender, one after the other, healthy ones first.
struct Round<'a> {
    sender: &'a Sender,
    order: std::vec::IntoIter<usize>,
    /// The one that is being tried.
    current: usize,
    /// What the first relay that could be reached has said, else the trouble of the last one.
    telling: Option<ConnectError>,
}

impl<'a> Round<'a> {
    fn new(sender: &'a Sender) -> Self {
        let mut order: Vec<_> = (0..sender.relays.len()).collect();
        let unhealthy = sender.unhealthy();
        let away = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() < UNHEALTHY_FOR);
        order.sort_by_key(|index| unhealthy.get(*index).is_some_and(away));
        drop(unhealthy);
        Self { sender, order: order.into_iter(), current: 0, telling: None }
    }

    fn next(&mut self) -> Option<&'a HybridConnection> {
        self.current = self.order.next()?;
        self.sender.relays.get(self.current)
    }

    fn reached<T>(&self, what: T) -> T {
        self.note(true);
        what
    }

    /// Whether to go on with the next relay.
    fn failed(&mut self, error: ConnectError) -> Result<(), ConnectError> {
        let away = error.is_unreachable();
        self.note(!away);
        if !away && !error.is_nobody_there() {
            return Err(error);
        }
        if self.telling.as_ref().is_none_or(ConnectError::is_unreachable) {
            self.telling = Some(error);
        }
        Ok(())
    }

    fn note(&self, healthy: bool) {
        let mut unhealthy = self.sender.unhealthy();
        unhealthy.resize(self.sender.relays.len(), None);
        unhealthy[self.current] = (!healthy).then(Instant::now);
    }

    fn verdict(self) -> ConnectError {
        self.telling.unwrap_or(ConnectError::NoWebSocket("no relay was named"))
    }
}

/// A refused token is forgotten.
fn told(relay: &HybridConnection, error: &ConnectError) {
    if error.status() == Some(401) {
        relay.token_was_refused();
    }
}

/// The body of a response that came through the relay. When it is dropped the connection ends.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    _driver: Aborting<()>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
