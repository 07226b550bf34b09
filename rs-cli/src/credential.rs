//! The relay credential that support hands out, checked before a consent is asked for (C21).
//!
//! A credential that could never connect should not cost the owner a consent, and one that runs out before the consent
//! should not surprise them. Nothing here ever prints a part of it.

use chrono::{DateTime, Utc};
use rs_relay::client::HybridConnection;
use rs_relay::proto::{ConnectionString, Credential, SasToken};
use secrecy::{ExposeSecret as _, SecretString};

use crate::outcome::{ErrorCode, Failure};

/// Checks that the text is a connection string for one hybrid connection with a key, or with a token that is still
/// good at `now`. Gives the end of a token; a key has none.
///
/// # Errors
///
/// [`ErrorCode::InvalidFile`], with the form that is expected.
///
/// # Examples
///
/// ```
/// let now = chrono::DateTime::UNIX_EPOCH;
/// let text = "Endpoint=sb://relay.example/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=node-01";
/// assert_eq!(rs_cli::credential::check(&text.into(), now)?, None);
/// assert!(rs_cli::credential::check(&"Endpoint=sb://relay.example/".into(), now).is_err());
/// # Ok::<(), rs_cli::outcome::Failure>(())
/// ```
pub fn check(text: &SecretString, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
    connection(text)?;
    match parse(text)?.credential() {
        Credential::Key { .. } => Ok(None),
        Credential::Token(token) => {
            let end = SasToken::parse(token.expose_secret()).map_err(unusable)?.expires_at();
            if end > now { Ok(Some(end)) } else { Err(unusable("its token has expired; ask for a new one")) }
        }
        _ => Err(unusable("it holds neither a key nor a token")),
    }
}

/// The hybrid connection that a credential leads to.
///
/// # Errors
///
/// [`ErrorCode::InvalidFile`], with the form that is expected.
pub fn connection(text: &SecretString) -> Result<HybridConnection, Failure> {
    HybridConnection::from_connection_string(&parse(text)?).map_err(unusable)
}

fn parse(text: &SecretString) -> Result<ConnectionString, Failure> {
    text.expose_secret().trim().parse().map_err(unusable)
}

fn unusable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new(ErrorCode::InvalidFile, "the relay credential cannot be used").because(cause).next_step(
        "it is one line: Endpoint=sb://HOST/;SharedAccessKeyName=NAME;SharedAccessKey=KEY;EntityPath=PATH, or \
         SharedAccessSignature=TOKEN in place of the key",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(end: i64) -> SecretString {
        let expires_at = DateTime::from_timestamp(end, 0).expect("in range");
        let key = "c2VjcmV0LWNhbmFyeQ==".parse().expect("a key");
        let token = SasToken::mint(
            "http://relay.example/node-01/",
            &"listen".parse().expect("a name"),
            &key,
            expires_at,
        );
        format!("Endpoint=sb://relay.example/;SharedAccessSignature={};EntityPath=node-01", token.expose())
            .into()
    }

    #[test]
    fn c21_a_token_is_good_until_it_expires() {
        let now = DateTime::from_timestamp(1_000_000, 0).expect("in range");
        assert_eq!(
            check(&with_token(1_000_001), now).expect("good").map(|end| end.timestamp()),
            Some(1_000_001)
        );
        for end in [1_000_000, 999_999] {
            let failure = check(&with_token(end), now).expect_err("expired").to_string();
            assert!(failure.contains("has expired"), "{failure}");
        }
    }

    #[test]
    fn c21_sec33_what_cannot_connect_is_refused_without_a_word_of_it() {
        for text in [
            "canary",
            "",
            "Endpoint=sb://relay.example/;EntityPath=canary",
            "Endpoint=sb://relay.example/;SharedAccessKeyName=listen;SharedAccessKey=canary",
            "Endpoint=sb://relay.example/;EntityPath=node-01;SharedAccessKey=canary",
            "Endpoint=sb://relay.example/;EntityPath=node-01;SharedAccessSignature=canary",
            "SharedAccessKeyName=listen;SharedAccessKey=canary;EntityPath=node-01",
            "Endpoint=sb://relay.example/;Canary=canary",
        ] {
            let failure = check(&text.into(), DateTime::UNIX_EPOCH).expect_err(text);
            assert_eq!(failure.code(), ErrorCode::InvalidFile);
            assert!(!failure.to_string().contains("canary"), "{text}: {failure}");
        }
    }
}
