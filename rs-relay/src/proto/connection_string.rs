//! Connection strings: `Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…`.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use super::address::{Authority, AuthorityError};
use super::limits::CONNECTION_STRING_BYTES_MAX;
use super::path::{EntityPath, EntityPathError};
use super::token::{KeyName, KeyNameError, SharedKey, SharedKeyError};

/// What a connection string says about the right to connect. `Debug` shows no secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A rule's name and key: tokens are minted from them and renewed as needed.
    Key {
        /// Name of the rule.
        name: KeyName,
        /// Its key.
        key: SharedKey,
    },
    /// A token that somebody else made. It cannot be renewed.
    Token(SecretString),
    /// None: for entities that take anonymous senders.
    Anonymous,
}

/// A connection string, taken apart.
///
/// Names are compared without regard to case and may come in any order; each pair is split at its first `=`; empty pairs
/// are ignored. Known names: `Endpoint` (required), `EntityPath`, `SharedAccessKeyName` and `SharedAccessKey` (both or
/// none), `SharedAccessSignature` (instead of the two), `OperationTimeout` (checked by its form only, not used).
///
/// ```
/// use rs_relay::proto::ConnectionString;
///
/// let text = "Endpoint=sb://relay.example.test:8443/;SharedAccessKeyName=send;SharedAccessKey=a2V5PQ==;EntityPath=node-01";
/// let parsed: ConnectionString = text.parse()?;
/// assert_eq!(parsed.authority().port(), 8443);
/// assert_eq!(parsed.entity().unwrap().as_str(), "node-01");
/// assert_eq!(*parsed.expose(), text);
/// assert!(!format!("{parsed:?}").contains("a2V5"));
/// # Ok::<(), rs_relay::proto::ConnectionStringError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConnectionString {
    authority: Authority,
    entity: Option<EntityPath>,
    credential: Credential,
}

impl ConnectionString {
    /// Puts a connection string together.
    #[must_use]
    pub fn new(authority: Authority, entity: Option<EntityPath>, credential: Credential) -> Self {
        Self { authority, entity, credential }
    }

    /// Host and port of the namespace.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The entity; a string for a whole namespace has none.
    #[must_use]
    pub fn entity(&self) -> Option<&EntityPath> {
        self.entity.as_ref()
    }

    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The same string for an entity.
    #[must_use]
    pub fn with_entity(self, entity: EntityPath) -> Self {
        Self { entity: Some(entity), ..self }
    }

    /// The text form, **credential included**: for a file that only its owner can read.
    #[must_use]
    pub fn expose(&self) -> zeroize::Zeroizing<String> {
        let mut text = format!("Endpoint=sb://{}/", self.authority);
        match &self.credential {
            Credential::Key { name, key } => {
                text = format!("{text};SharedAccessKeyName={name};SharedAccessKey={}", key.expose());
            }
            Credential::Token(token) => {
                text = format!("{text};SharedAccessSignature={}", token.expose_secret())
            }
            Credential::Anonymous => {}
        }
        if let Some(entity) = &self.entity {
            text = format!("{text};EntityPath={entity}");
        }
        zeroize::Zeroizing::new(text)
    }
}

#[derive(Default)]
struct Parts<'a> {
    endpoint: Option<&'a str>,
    entity: Option<&'a str>,
    key_name: Option<&'a str>,
    key: Option<&'a str>,
    token: Option<&'a str>,
    timeout: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self::default();
        for pair in text.trim().split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(ConnectionStringError::NoValue)?;
            let slot = match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => &mut parts.endpoint,
                "entitypath" => &mut parts.entity,
                "sharedaccesskeyname" => &mut parts.key_name,
                "sharedaccesskey" => &mut parts.key,
                "sharedaccesssignature" => &mut parts.token,
                "operationtimeout" => &mut parts.timeout,
                "authentication" => return Err(ConnectionStringError::Authentication),
                _ => return Err(ConnectionStringError::UnknownName),
            };
            if slot.replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Double);
            }
        }
        Ok(parts)
    }

    fn credential(&self) -> Result<Credential, ConnectionStringError> {
        match (self.key_name, self.key, self.token) {
            (Some(name), Some(key), None) => Ok(Credential::Key { name: name.parse()?, key: key.parse()? }),
            (None, None, Some(token)) if !token.is_empty() => Ok(Credential::Token(token.to_owned().into())),
            (None, None, None) => Ok(Credential::Anonymous),
            _ => Err(ConnectionStringError::Credential),
        }
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > CONNECTION_STRING_BYTES_MAX {
            return Err(ConnectionStringError::TooLong);
        }
        let parts = Parts::split(text)?;
        let endpoint = parts.endpoint.ok_or(ConnectionStringError::NoEndpoint)?;
        let (_, rest) = endpoint.split_once("://").ok_or(ConnectionStringError::Endpoint(AuthorityError))?;
        let authority = rest.split('/').next().unwrap_or_default().parse()?;
        let entity = parts.entity.filter(|entity| !entity.is_empty()).map(str::parse).transpose()?;
        Ok(Self { authority, entity, credential: parts.credential()? })
    }
}

impl TryFrom<&SecretString> for ConnectionString {
    type Error = ConnectionStringError;

    fn try_from(text: &SecretString) -> Result<Self, Self::Error> {
        text.expose_secret().parse()
    }
}

/// Shows the address only.
impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sb://{}/", self.authority)?;
        self.entity.as_ref().map_or(Ok(()), |entity| write!(f, "{entity}"))
    }
}

/// Why a text is no connection string. Never shows a value, as it might be the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// A part without `=`.
    #[error("a part of the connection string has no `=`; expected Name=Value;Name=Value")]
    NoValue,
    /// A name that is not known.
    #[error(
        "the connection string has an unknown name; known are Endpoint, EntityPath, SharedAccessKeyName, \
         SharedAccessKey, SharedAccessSignature, OperationTimeout"
    )]
    UnknownName,
    /// A name given twice.
    #[error("the connection string has a name twice")]
    Double,
    /// Asks for an identity token.
    #[error(
        "the connection string asks for Authentication by an identity, which is not supported; use a key"
    )]
    Authentication,
    /// No endpoint.
    #[error("the connection string has no Endpoint; expected Endpoint=sb://HOST/")]
    NoEndpoint,
    /// The endpoint is no address.
    #[error("the Endpoint of the connection string is no address; expected sb://HOST/ or sb://HOST:PORT/")]
    Endpoint(#[from] AuthorityError),
    /// The entity path is none.
    #[error("the EntityPath of the connection string cannot be used: {0}")]
    Entity(#[from] EntityPathError),
    /// Not exactly one credential.
    #[error(
        "the connection string needs SharedAccessKeyName together with SharedAccessKey, or SharedAccessSignature alone"
    )]
    Credential,
    /// The key name is none.
    #[error("the SharedAccessKeyName cannot be used: {0}")]
    KeyName(#[from] KeyNameError),
    /// The key is none.
    #[error("the SharedAccessKey cannot be used: {0}")]
    Key(#[from] SharedKeyError),
    /// Too long.
    #[error("the connection string is longer than {CONNECTION_STRING_BYTES_MAX} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> ConnectionStringError {
        text.parse::<ConnectionString>().unwrap_err()
    }

    #[test]
    fn table_of_good_strings() {
        let text = " ;ENTITYPATH=a/b;;sharedaccesskey=a=b==;SharedAccessKeyName=k;Endpoint=sb://H.test ; ";
        let parsed: ConnectionString = text.parse().unwrap();
        assert_eq!(
            *parsed.expose(),
            "Endpoint=sb://h.test/;SharedAccessKeyName=k;SharedAccessKey=a=b==;EntityPath=a/b"
        );
        assert_eq!(parsed.to_string(), "sb://h.test/a/b");
        let token =
            "Endpoint=https://h/;SharedAccessSignature=SharedAccessSignature sr=x&sig=y%3D&se=1&skn=z";
        let parsed: ConnectionString = token.parse().unwrap();
        assert!(
            matches!(parsed.credential(), Credential::Token(text) if text.expose_secret().ends_with("skn=z"))
        );
        let bare: ConnectionString = "Endpoint=sb://h/".parse().unwrap();
        assert!(matches!(bare.credential(), Credential::Anonymous));
        assert!(bare.entity().is_none());
    }

    #[test]
    fn table_of_bad_strings() {
        assert_eq!(error(""), ConnectionStringError::NoEndpoint);
        assert_eq!(error("Endpoint"), ConnectionStringError::NoValue);
        assert_eq!(error("Endpoint=h"), ConnectionStringError::Endpoint(AuthorityError));
        assert_eq!(error("Endpoint=sb://"), ConnectionStringError::Endpoint(AuthorityError));
        assert_eq!(error("Endpoint=sb://h/;What=1"), ConnectionStringError::UnknownName);
        assert_eq!(error("Endpoint=sb://h/;endpoint=sb://h/"), ConnectionStringError::Double);
        assert_eq!(error("Endpoint=sb://h/;SharedAccessKey=k"), ConnectionStringError::Credential);
        assert_eq!(error("Endpoint=sb://h/;SharedAccessKeyName=k"), ConnectionStringError::Credential);
        assert_eq!(
            error("Endpoint=sb://h/;Authentication=Managed Identity"),
            ConnectionStringError::Authentication
        );
        assert_eq!(
            error("Endpoint=sb://h/;EntityPath=a//b"),
            ConnectionStringError::Entity(EntityPathError::EmptySegment)
        );
        let at = |length: usize| {
            format!("Endpoint=sb://h/{}", ";".repeat(length - 16)).parse::<ConnectionString>()
        };
        assert!(at(CONNECTION_STRING_BYTES_MAX).is_ok());
        assert_eq!(at(CONNECTION_STRING_BYTES_MAX + 1).unwrap_err(), ConnectionStringError::TooLong);
    }

    #[test]
    fn sec33_no_secret_in_debug_or_display() {
        let text = "Endpoint=sb://h/;SharedAccessKeyName=k;SharedAccessKey=canary;EntityPath=e";
        let parsed: ConnectionString = text.parse().unwrap();
        assert!(!format!("{parsed:?} {parsed}").contains("canary"));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_same(name in "[A-Za-z0-9._-]{1,30}", key in "[A-Za-z0-9+/]{1,43}={0,2}", port in 1u16.., entity in "[a-z]{1,9}(/[a-z]{1,9}){0,3}") {
            let text = format!("Endpoint=sb://relay.example.test:{port}/;SharedAccessKeyName={name};SharedAccessKey={key};EntityPath={entity}");
            let parsed: ConnectionString = text.parse().unwrap();
            let again: ConnectionString = parsed.expose().parse().unwrap();
            prop_assert_eq!(&*again.expose(), &*parsed.expose());
            prop_assert_eq!(again.authority(), parsed.authority());
        }

        #[test]
        fn sec44_no_text_panics(text in any::<String>()) { let _ = text.parse::<ConnectionString>(); }
    }
}
