//! The side that reaches a listener.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::HybridConnection;
use super::connector::{ConnectError, Connector, OpenRequest};
use super::keep_alive::KeepAlive;
use super::stream::RelayStream;
use crate::proto::connect_target;

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

    /// How long to wait for a listener. Default 70 s; relays give up after about 30 s.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Reaches the listeners of a hybrid connection.
#[derive(Debug, Clone)]
pub struct Sender {
    connection: HybridConnection,
    connector: Connector,
    keep_alive: KeepAlive,
}

impl Sender {
    /// A sender. Nothing is sent before [`Sender::connect`].
    #[must_use]
    pub fn new(connection: HybridConnection, connector: Connector) -> Self {
        let keep_alive = KeepAlive::for_relay(connection.authority());
        Self { connection, connector, keep_alive }
    }

    /// What is sent on quiet connections.
    #[must_use]
    pub fn keep_alive(self, keep_alive: KeepAlive) -> Self {
        Self { keep_alive, ..self }
    }

    /// Connects to one of the listeners.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a listener that rejects shows as [`ConnectError::Refused`] with its status and text.
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
        let token = self.connection.token().await?;
        let id = uuid::Uuid::new_v4().to_string();
        let (suffix, query) = (options.suffix.as_deref(), options.query.as_deref());
        let request = OpenRequest {
            authority: self.connection.authority(),
            target: &connect_target(self.connection.entity(), suffix, query, &id),
            token: token.as_ref(),
            headers: options.headers.clone(),
        };
        let opened = self.connector.open(request, options.wait).await?;
        let azure = self.connection.authority().is_azure();
        Ok(RelayStream::new(opened, self.keep_alive, azure, &id))
    }
}
