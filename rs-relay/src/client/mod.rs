//! Listener and sender.
//!
//! [`Listener`] holds a control channel for ever and yields connections; [`Sender`] reaches a listener. Both give a
//! [`RelayStream`], an ordinary byte stream. They speak to [`crate::server`] and to Azure's own service alike.

pub mod backoff;
mod connector;
mod dialer;
#[cfg(feature = "azure")]
mod entra;
mod http;
mod incoming;
mod keep_alive;
mod keeper;
mod listener;
mod messages;
mod rendezvous;
mod sender;
mod status;
mod stream;
mod tokens;

use std::sync::Arc;

use crate::proto::{Authority, ConnectionString, Credential, EntityPath, SasToken};

pub use connector::{ConnectError, Connector, ConnectorBuilder, ConnectorError, Trust};
pub use dialer::{Dialer, TcpDialer};
#[cfg(feature = "azure")]
pub use entra::{EntraTokens, RELAY_SCOPE};
pub use http::{CONTROL_BODY_BYTES_MAX, REQUESTS_MAX, RequestBody, RequestInfo, STREAM_AFTER};
pub use incoming::{AcceptError, Incoming};
pub use keep_alive::KeepAlive;
pub use listener::{Listener, ListenerBuilder};
pub use messages::{Message, MessageReceiver, MessageSender, MessageStream};
pub use sender::{ConnectOptions, ResponseBody, Sender};
pub use status::{OfflineCause, Status, StatusWatch};
pub use stream::RelayStream;
pub use tokens::{Audience, ReadyToken, SasKeyProvider, Token, TokenProvider, TokenProviderError};

/// Where a hybrid connection is, and what proves the right to use it.
///
/// ```
/// use rs_relay::client::HybridConnection;
/// use rs_relay::proto::ConnectionString;
///
/// let text = "Endpoint=sb://relay.example.test/;SharedAccessKeyName=send;SharedAccessKey=a2V5;EntityPath=node-01";
/// let connection = HybridConnection::from_connection_string(&text.parse::<ConnectionString>()?)?;
/// assert_eq!(connection.entity().as_str(), "node-01");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HybridConnection {
    authority: Authority,
    entity: EntityPath,
    tokens: Option<Arc<dyn TokenProvider>>,
}

/// A connection string names a namespace but no hybrid connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection string has no EntityPath; add ;EntityPath=NAME to say which hybrid connection is meant"
)]
pub struct NoEntityPath;

impl HybridConnection {
    /// A hybrid connection without a token: for entities that take anonymous senders.
    #[must_use]
    pub fn new(authority: Authority, entity: EntityPath) -> Self {
        Self { authority, entity, tokens: None }
    }

    /// The same with tokens from a provider.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<dyn TokenProvider>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// From a connection string with an `EntityPath`.
    ///
    /// # Errors
    ///
    /// [`NoEntityPath`] when it has none.
    pub fn from_connection_string(text: &ConnectionString) -> Result<Self, NoEntityPath> {
        let entity = text.entity().ok_or(NoEntityPath)?.clone();
        let tokens: Option<Arc<dyn TokenProvider>> = match text.credential() {
            Credential::Key { name, key } => Some(Arc::new(SasKeyProvider::new(name.clone(), key.clone()))),
            Credential::Token(token) => Some(Arc::new(ReadyToken::new(token.clone()))),
            Credential::Anonymous => None,
        };
        Ok(Self { authority: text.authority().clone(), entity, tokens })
    }

    /// From a signature that somebody else made.
    #[must_use]
    pub fn from_token(authority: Authority, entity: EntityPath, token: &SasToken) -> Self {
        let token = ReadyToken::new(token.expose().to_owned().into());
        Self::new(authority, entity).with_tokens(Arc::new(token))
    }

    /// Host and port of the relay.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Name of the hybrid connection.
    #[must_use]
    pub fn entity(&self) -> &EntityPath {
        &self.entity
    }

    async fn token(&self) -> Result<Option<Token>, TokenProviderError> {
        let audience = Audience { authority: &self.authority, entity: &self.entity };
        match &self.tokens {
            Some(tokens) => tokens.token(&audience).await.map(Some),
            None => Ok(None),
        }
    }

    /// The relay took no notice of the last token.
    fn token_was_refused(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.refused();
        }
    }
}
