//! A sender that waits: who it is, and what becomes of it.

use std::fmt;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::time::Instant;

use super::connector::{ClientStream, ConnectError, Opened};
use super::rendezvous::Rendezvous;
use super::stream::RelayStream;
use crate::proto::{Authority, Headers, Rejection, RemoteEndpoint, RendezvousAddress, Target};

/// How long a connection that was opened ahead of its use is good. Relays give strangers about 10 s.
const PREPARED_FOR: Duration = Duration::from_secs(5);

/// A sender that waits, for about 30 s. Accept or reject it; one that is dropped is rejected with 503.
#[derive(Debug)]
pub struct Incoming(Option<Waiting>);

impl Incoming {
    pub(super) fn new(waiting: Waiting) -> Self {
        Self(Some(waiting))
    }

    /// Tracking id of the connection.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.as_ref().map_or("", |waiting| &waiting.id)
    }

    /// Host and port of the relay where the sender waits.
    #[must_use]
    pub fn relay(&self) -> Option<&Authority> {
        self.0.as_ref().map(|waiting| waiting.rendezvous.relay())
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

    /// The subprotocols that the sender offers, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let names = self.header(SEC_WEBSOCKET_PROTOCOL.as_str()).unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty())
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

    /// Opens the connection over which the sender will be accepted or rejected, ahead of the decision: do this beside what
    /// the decision waits for, and its round trips are not added to those.
    ///
    /// Nothing is said over it yet. It is good for 5 s; later, or when it failed, [`Incoming::accept`] and
    /// [`Incoming::reject`] open another one and tell what is wrong.
    ///
    /// ```no_run
    /// # async fn example(mut incoming: rs_relay::client::Incoming) -> Result<(), Box<dyn std::error::Error>> {
    /// let (target, ()) = tokio::join!(tokio::net::TcpStream::connect("127.0.0.1:22"), incoming.prepare());
    /// match target {
    ///     Ok(target) => drop((target, incoming.accept().await?)),
    ///     Err(_) => incoming.reject(502, "The target cannot be reached.").await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped nothing is prepared.
    pub async fn prepare(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.prepare().await;
        }
    }

    /// Meets the sender. When it offered subprotocols the first one is chosen.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]; 403 as [`ConnectError::Refused`] when the sender has left or the address is too old.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the sender is left to the relay's time-out, or sees an abort.
    pub async fn accept(self) -> Result<RelayStream, AcceptError> {
        let first = self.subprotocols().next().map(str::to_owned);
        self.meet(first).await
    }

    /// Meets the sender with a subprotocol of your choice, or without one. A sender that offered some takes none of its
    /// offers for a failure, as the WebSocket standard has it.
    ///
    /// # Errors
    ///
    /// As [`Incoming::accept`]; [`AcceptError::Subprotocol`] for one that the sender did not offer: the sender is rejected
    /// with 400 then.
    ///
    /// # Cancel safety
    ///
    /// As [`Incoming::accept`].
    pub async fn accept_with(self, subprotocol: Option<&str>) -> Result<RelayStream, AcceptError> {
        match subprotocol {
            Some(name) if !self.subprotocols().any(|offered| offered == name) => {
                self.reject(400, "The listener speaks none of the subprotocols.").await?;
                Err(AcceptError::Subprotocol)
            }
            _ => self.meet(subprotocol.map(str::to_owned)).await,
        }
    }

    async fn meet(mut self, subprotocol: Option<String>) -> Result<RelayStream, AcceptError> {
        match self.0.take() {
            Some(waiting) => waiting.meet(subprotocol.as_deref()).await,
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

/// A connection to where the sender waits.
pub(super) struct Prepared {
    stream: ClientStream,
    since: Instant,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("since", &self.since).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) address: RendezvousAddress,
    pub(super) id: String,
    pub(super) headers: Headers,
    pub(super) remote: RemoteEndpoint,
    pub(super) rendezvous: Rendezvous,
    pub(super) prepared: Option<Prepared>,
}

impl Waiting {
    async fn prepare(&mut self) {
        let stream = self.rendezvous.secure(&self.address).await;
        self.prepared = stream.ok().map(|stream| Prepared { stream, since: Instant::now() });
    }

    async fn meet(mut self, subprotocol: Option<&str>) -> Result<RelayStream, AcceptError> {
        let mut headers = HeaderMap::new();
        if let Some(Ok(name)) = subprotocol.map(HeaderValue::from_str) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        let opened = self.open(None, headers).await?;
        let azure = self.rendezvous.relay().is_azure();
        Ok(RelayStream::new(opened, self.rendezvous.keep_alive(), azure, &self.id))
    }

    async fn reject(mut self, rejection: &Rejection) -> Result<(), AcceptError> {
        match self.open(Some(rejection), HeaderMap::new()).await {
            Err(AcceptError::Connect(ConnectError::Refused { status: 410, .. })) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ConnectError::NoWebSocket("a rejection was taken for an acceptance").into()),
        }
    }

    async fn open(
        &mut self,
        rejection: Option<&Rejection>,
        headers: HeaderMap,
    ) -> Result<Opened, AcceptError> {
        let rejecting = rejection.map(|rejection| self.address.rejecting(rejection));
        let address = rejecting.as_ref().unwrap_or(&self.address);
        match self.prepared.take().filter(|prepared| prepared.since.elapsed() < PREPARED_FOR) {
            Some(Prepared { stream, .. }) => self.rendezvous.open_on(stream, address, headers).await,
            None => self.rendezvous.open(address, headers).await,
        }
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
    /// The sender did not offer the subprotocol.
    #[error("the sender did not offer that subprotocol; see Incoming::subprotocols")]
    Subprotocol,
    /// It was accepted or rejected before.
    #[error("the sender was accepted or rejected before")]
    Taken,
}
