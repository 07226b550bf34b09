//! Going to where a sender waits.

use std::time::Duration;

use hyper::HeaderMap;

use super::connector::{self, ClientStream, Connector, OpenRequest, Opened, Persistence};
use super::incoming::AcceptError;
use super::keep_alive::KeepAlive;
use crate::proto::{Authority, RendezvousAddress};

/// Time for the handshake of a control channel or a rendezvous, behind TLS.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(20);

/// How the rendezvous of one relay are reached.
#[derive(Debug, Clone)]
pub(super) struct Rendezvous {
    connector: Connector,
    keep_alive: KeepAlive,
    relay: Authority,
    any_host: bool,
}

impl Rendezvous {
    pub(super) fn new(connector: Connector, keep_alive: KeepAlive, relay: Authority, any_host: bool) -> Self {
        Self { connector, keep_alive, relay, any_host }
    }

    /// Host and port of the relay that names them.
    pub(super) fn relay(&self) -> &Authority {
        &self.relay
    }

    pub(super) fn keep_alive(&self) -> KeepAlive {
        self.keep_alive
    }

    pub(super) async fn open(
        &self,
        address: &RendezvousAddress,
        headers: HeaderMap,
    ) -> Result<Opened, AcceptError> {
        let stream = self.secure(address).await?;
        self.open_on(stream, address, headers).await
    }

    /// The way there, without saying yet who comes.
    pub(super) async fn secure(&self, address: &RendezvousAddress) -> Result<ClientStream, AcceptError> {
        let authority = address.authority();
        if !self.any_host && !self.relay.is_same_domain(authority) {
            return Err(AcceptError::ForeignHost { authority: authority.clone() });
        }
        Ok(self.connector.secure(authority, Persistence::Once).await?)
    }

    pub(super) async fn open_on(
        &self,
        stream: ClientStream,
        address: &RendezvousAddress,
        headers: HeaderMap,
    ) -> Result<Opened, AcceptError> {
        let (authority, target) = (address.authority(), address.expose_target());
        let request = OpenRequest { authority, target, token: None, headers };
        Ok(connector::open_on(stream, request, HANDSHAKE_WAIT).await?)
    }
}
