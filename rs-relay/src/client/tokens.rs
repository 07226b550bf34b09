//! Where tokens come from.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use crate::net::{Clock, SystemClock};
use crate::proto::{Authority, EntityPath, KeyName, SasToken, SharedKey, resource};

/// What a token is for.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    /// Host and port of the relay.
    pub authority: &'a Authority,
    /// The hybrid connection.
    pub entity: &'a EntityPath,
}

/// A token and its end.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its text.
    pub text: SecretString,
    /// The first instant at which it is no longer valid; unknown for foreign kinds.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Getting a token failed.
#[derive(Debug, thiserror::Error)]
#[error("no token could be had: {0}")]
pub struct TokenProviderError(pub String);

/// Gives tokens. Asked at each connect and, for listeners, again at 75 % of a token's life.
#[async_trait]
pub trait TokenProvider: Debug + Send + Sync {
    /// A token for the audience that is valid from now on.
    ///
    /// # Errors
    ///
    /// [`TokenProviderError`] with a text that shows no secret.
    async fn token(&self, audience: &Audience<'_>) -> Result<Token, TokenProviderError>;

    /// A relay refused the last token, with 401 or by closing a control channel with 1008. A provider that keeps tokens
    /// forgets it, so that the next attempt brings a fresh one. Does nothing by default.
    fn refused(&self) {}
}

/// Mints shared access signatures from the key of a rule.
///
/// # Defaults
///
/// Tokens live for one hour.
#[derive(Debug, Clone)]
pub struct SasKeyProvider {
    name: KeyName,
    key: SharedKey,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

impl SasKeyProvider {
    /// From a rule's name and key.
    #[must_use]
    pub fn new(name: KeyName, key: SharedKey) -> Self {
        Self { name, key, lifetime: Duration::from_secs(3600), clock: Arc::new(SystemClock) }
    }

    /// How long tokens live, in whole seconds. Default one hour.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Where wall time comes from. Default [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }
}

#[async_trait]
impl TokenProvider for SasKeyProvider {
    async fn token(&self, audience: &Audience<'_>) -> Result<Token, TokenProviderError> {
        let until = self.clock.now() + self.lifetime;
        let resource = resource(audience.authority, Some(audience.entity));
        let token = SasToken::mint(&resource, &self.name, &self.key, until);
        Ok(Token { text: token.expose().to_owned().into(), expires_at: Some(token.expires_at()) })
    }
}

/// One token that somebody else made. It cannot be renewed: a listener ends with it.
#[derive(Debug, Clone)]
pub struct ReadyToken(SecretString);

impl ReadyToken {
    /// From its text.
    #[must_use]
    pub fn new(text: SecretString) -> Self {
        Self(text)
    }
}

#[async_trait]
impl TokenProvider for ReadyToken {
    async fn token(&self, _: &Audience<'_>) -> Result<Token, TokenProviderError> {
        let expires_at = SasToken::parse(self.0.expose_secret()).ok().map(|token| token.expires_at());
        Ok(Token { text: self.0.clone(), expires_at })
    }
}
