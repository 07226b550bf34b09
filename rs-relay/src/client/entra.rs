//! Tokens of Microsoft Entra ID, from any credential of the Azure SDK for Rust.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use chrono::DateTime;

use super::tokens::{Audience, Token, TokenProvider, TokenProviderError};

/// The OAuth scope of Azure Relay. The two slashes are as the official SDKs have them.
pub const RELAY_SCOPE: &str = "https://relay.azure.net//.default";

/// Asks a credential of the Azure SDK for tokens: a managed identity, a workload identity, a secret, a developer's login.
///
/// The identity needs the role *Azure Relay Listener* or *Azure Relay Sender*; a fresh role assignment takes some minutes.
/// The credential keeps tokens by itself and has a later one ready before one ends.
///
/// ```
/// use std::sync::Arc;
/// use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
/// use rs_relay::client::{EntraTokens, HybridConnection};
///
/// # fn example(credential: Arc<dyn TokenCredential>) -> Result<HybridConnection, Box<dyn std::error::Error>> {
/// // let credential = azure_identity::ManagedIdentityCredential::new(None)?;
/// let tokens = EntraTokens::new(credential);
/// let connection = HybridConnection::new("contoso.servicebus.windows.net".parse()?, "node-01".parse()?)
///     .with_tokens(Arc::new(tokens));
/// # Ok(connection)
/// # }
/// ```
#[derive(Clone)]
pub struct EntraTokens {
    credential: Arc<dyn TokenCredential>,
    scope: Box<str>,
}

impl EntraTokens {
    /// Tokens for Azure Relay.
    #[must_use]
    pub fn new(credential: Arc<dyn TokenCredential>) -> Self {
        Self { credential, scope: RELAY_SCOPE.into() }
    }

    /// Tokens for another scope: a relay of your own that takes tokens of your issuer. Default [`RELAY_SCOPE`].
    #[must_use]
    pub fn scope(self, scope: impl Into<Box<str>>) -> Self {
        Self { scope: scope.into(), ..self }
    }
}

impl fmt::Debug for EntraTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraTokens").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenProvider for EntraTokens {
    async fn token(&self, _: &Audience<'_>) -> Result<Token, TokenProviderError> {
        let asked = self.credential.get_token(&[&self.scope], None).await;
        let token = asked.map_err(|error| TokenProviderError(error.to_string()))?;
        let expires_at = DateTime::from_timestamp(token.expires_on.unix_timestamp(), 0);
        Ok(Token { text: token.token.secret().to_owned().into(), expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::credentials::{AccessToken, TokenRequestOptions};
    use azure_core::time::OffsetDateTime;
    use secrecy::ExposeSecret as _;

    #[derive(Debug)]
    struct Fixed;

    #[async_trait]
    impl TokenCredential for Fixed {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let [scope] = scopes else { panic!("one scope: {scopes:?}") };
            let end = OffsetDateTime::from_unix_timestamp(1_893_456_000).unwrap();
            Ok(AccessToken::new(format!("a.b.{scope}"), end))
        }
    }

    #[tokio::test]
    async fn the_credential_is_asked_for_the_scope_of_the_relay() {
        let (authority, entity) = ("ns.servicebus.windows.net".parse().unwrap(), "hyco".parse().unwrap());
        let audience = Audience { authority: &authority, entity: &entity };
        let tokens = EntraTokens::new(Arc::new(Fixed));
        let token = tokens.token(&audience).await.unwrap();
        assert_eq!(token.text.expose_secret(), "a.b.https://relay.azure.net//.default");
        assert_eq!(token.expires_at.unwrap().to_rfc3339(), "2030-01-01T00:00:00+00:00");
        let tokens = tokens.scope("api://relay/.default");
        assert_eq!(tokens.token(&audience).await.unwrap().text.expose_secret(), "a.b.api://relay/.default");
        assert!(!format!("{tokens:?} {token:?}").contains("a.b."));
    }
}
