//! Shared access signatures: minting them, taking them apart, and checking them.
//!
//! A signature covers the `sr` field exactly as it stands in the token, still percent-encoded. Encoders differ, so
//! nothing here ever decodes `sr` and encodes it again before the signature was checked.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::address::{Authority, VALUE};
use super::limits::{KEY_BYTES_MAX, KEY_NAME_BYTES_MAX, TOKEN_BYTES_MAX};
use super::path::{EntityPath, RequestPath, decode_segment, is_prefix};

const SCHEME: &str = "SharedAccessSignature";

/// The name of an authorization rule: 1 to [`KEY_NAME_BYTES_MAX`] ASCII letters, digits, `.`, `-`, `_`.
///
/// The Node packages put the name into tokens without encoding it, hence the narrow alphabet.
///
/// ```
/// use rs_relay::proto::KeyName;
///
/// assert_eq!("RootManageSharedAccessKey".parse::<KeyName>()?.as_str(), "RootManageSharedAccessKey");
/// assert!("a&b".parse::<KeyName>().is_err());
/// # Ok::<(), rs_relay::proto::KeyNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(Box<str>);

impl KeyName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no name of an authorization rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key name has 1 to {KEY_NAME_BYTES_MAX} letters, digits, `.`, `-` or `_`")]
pub struct KeyNameError;

impl TryFrom<String> for KeyName {
    type Error = KeyNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fine = (1..=KEY_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        fine.then(|| Self(text.into_boxed_str())).ok_or(KeyNameError)
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key text of an authorization rule: 1 to [`KEY_BYTES_MAX`] bytes, used as text even when it looks like base64.
///
/// `Debug` shows nothing of it; it is wiped from memory on drop.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct SharedKey(SecretString);

impl SharedKey {
    /// The key text. Call this only where it leaves for a protected file or a connection string.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A fresh key of 256 random bits, as base64.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random numbers.
    #[cfg(feature = "net")]
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut()).map_err(std::io::Error::other)?;
        Ok(Self(STANDARD.encode(bytes.as_ref()).into()))
    }

    fn sign(&self, resource: &str, expiry: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.expose().as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(resource.as_bytes());
        mac.update(b"\n");
        mac.update(expiry.as_bytes());
        mac
    }
}

/// A text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shared key has 1 to {KEY_BYTES_MAX} bytes, none of them a control character")]
pub struct SharedKeyError;

impl TryFrom<String> for SharedKey {
    type Error = SharedKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fine = (1..=KEY_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        let secret = SecretString::from(text);
        fine.then_some(Self(secret)).ok_or(SharedKeyError)
    }
}

impl FromStr for SharedKey {
    type Err = SharedKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

/// The resource of a token in its safest spelling: `http://{host}/{entity}/`.
///
/// Without an entity the token is good for the whole namespace.
///
/// ```
/// use rs_relay::proto::resource;
///
/// let host = "contoso.servicebus.windows.net:443".parse().unwrap();
/// let entity = "azlocal/node-01".parse().unwrap();
/// assert_eq!(resource(&host, Some(&entity)), "http://contoso.servicebus.windows.net/azlocal/node-01/");
/// ```
#[must_use]
pub fn resource(authority: &Authority, entity: Option<&EntityPath>) -> String {
    match entity {
        Some(entity) => format!("http://{}/{entity}/", authority.host()),
        None => format!("http://{}/", authority.host()),
    }
}

/// A shared access signature token: text form, expiry, and the check of its signature.
///
/// ```
/// use rs_relay::proto::{SasToken, SharedKey};
///
/// let key: SharedKey = "6f0ZB8xk0mQ0v1sVn7Jr3yqgE2cP5tHwLd9uXaK4iRs=".parse().unwrap();
/// let until = "2030-01-01T00:00:00Z".parse().unwrap();
/// let token = SasToken::mint("http://relay.example.test/node-01/", &"send".parse().unwrap(), &key, until);
/// let read = SasToken::parse(token.expose())?;
/// assert!(read.is_signed_with(&key));
/// assert_eq!(read.expires_at(), until);
/// # Ok::<(), rs_relay::proto::TokenError>(())
/// ```
#[derive(Clone)]
pub struct SasToken {
    text: SecretString,
    resource: String,
    expiry: String,
    expires_at: DateTime<Utc>,
    key_name: String,
    signature: Vec<u8>,
}

impl SasToken {
    /// Signs a resource (see [`resource`]) with a key. `expires_at` is cut to whole seconds.
    #[must_use]
    pub fn mint(resource: &str, name: &KeyName, key: &SharedKey, expires_at: DateTime<Utc>) -> Self {
        let resource = utf8_percent_encode(resource, VALUE).to_string();
        let seconds = expires_at.timestamp().max(0);
        let expiry = seconds.to_string();
        let signature = key.sign(&resource, &expiry).finalize().into_bytes().to_vec();
        let sig = STANDARD.encode(&signature);
        let sig = utf8_percent_encode(&sig, VALUE);
        let text = format!("{SCHEME} sr={resource}&sig={sig}&se={expiry}&skn={name}");
        Self {
            text: text.into(),
            resource,
            expiry,
            expires_at: DateTime::from_timestamp(seconds, 0).unwrap_or(expires_at),
            key_name: name.to_string(),
            signature,
        }
    }

    /// Takes a token apart. Fields may come in any order; each counts once.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] for a missing or doubled field, an expiry that is no number of seconds, a signature that
    /// is no base64; [`TokenError::Unsupported`] for another scheme.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed("it is too long"));
        }
        let (scheme, fields) = text.trim().split_once(' ').ok_or(TokenError::Unsupported)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(TokenError::Unsupported);
        }
        let fields = Fields::split(fields)?;
        let expiry = fields.expiry.ok_or(TokenError::Malformed("it has no se"))?;
        let signature = fields.signature.ok_or(TokenError::Malformed("it has no sig"))?;
        Ok(Self {
            text: text.trim().to_owned().into(),
            resource: fields.resource.ok_or(TokenError::Malformed("it has no sr"))?.to_owned(),
            expires_at: parse_expiry(expiry)?,
            expiry: expiry.to_owned(),
            key_name: fields.key_name.ok_or(TokenError::Malformed("it has no skn"))?.to_owned(),
            signature: decode_signature(signature)?,
        })
    }

    /// The token's text. It is a credential.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The first instant at which the token is no longer valid.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// Whether the token names this rule, percent-encoded or not.
    #[must_use]
    pub fn names(&self, name: &KeyName) -> bool {
        let decoded = percent_decode_str(&self.key_name).decode_utf8_lossy();
        decoded == name.as_str() || self.key_name == name.as_str()
    }

    /// Whether the signature was made with this key. Takes the same time for any wrong signature.
    #[must_use]
    pub fn is_signed_with(&self, key: &SharedKey) -> bool {
        key.sign(&self.resource, &self.expiry).verify_slice(&self.signature).is_ok()
    }

    /// What the token is good for.
    ///
    /// # Errors
    ///
    /// [`TokenError::WrongResource`] when `sr` is no URI with a host, or has `.`, `..` or an encoded slash in its path.
    pub fn scope(&self) -> Result<Scope, TokenError> {
        let uri = percent_decode_str(&self.resource).decode_utf8().map_err(|_| TokenError::WrongResource)?;
        Scope::parse(&uri).ok_or(TokenError::WrongResource)
    }
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("expires_at", &self.expires_at)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Fields<'a> {
    resource: Option<&'a str>,
    signature: Option<&'a str>,
    expiry: Option<&'a str>,
    key_name: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn split(text: &'a str) -> Result<Self, TokenError> {
        let mut fields = Self::default();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            let slot = match name.trim() {
                "sr" => &mut fields.resource,
                "sig" => &mut fields.signature,
                "se" => &mut fields.expiry,
                "skn" => &mut fields.key_name,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(TokenError::Malformed("it has a field twice"));
            }
        }
        Ok(fields)
    }
}

fn parse_expiry(text: &str) -> Result<DateTime<Utc>, TokenError> {
    let plain = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = plain.then(|| text.parse().ok()).flatten();
    seconds
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or(TokenError::Malformed("its se is no number of seconds"))
}

fn decode_signature(text: &str) -> Result<Vec<u8>, TokenError> {
    let wrong = TokenError::Malformed("its sig is no base64");
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| wrong.clone())?;
    STANDARD.decode(decoded.as_bytes()).map_err(|_| wrong)
}

/// What a token is good for: a host and the path under which it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    host: String,
    segments: Vec<String>,
}

impl Scope {
    /// Scheme, port, user, query, fragment and a trailing slash carry no meaning here.
    fn parse(uri: &str) -> Option<Self> {
        let (_, rest) = uri.split_once("://")?;
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit('@').next()?;
        let host = host.parse::<Authority>().ok()?.host().to_owned();
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = match path {
            "" => Vec::new(),
            path => path.split('/').map(decode_segment).collect::<Result<_, _>>().ok()?,
        };
        let encoded_slash = segments.iter().any(|segment| segment.contains(['/', '\\']));
        (!encoded_slash).then_some(Self { host, segments })
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the path asked for is the token's or lies below it, by whole segments.
    #[must_use]
    pub fn covers(&self, path: &RequestPath) -> bool {
        is_prefix(self.segments.iter().map(String::as_str), path.segments())
    }

    /// Whether the token reaches no further than this entity.
    #[must_use]
    pub fn is_within(&self, entity: &EntityPath) -> bool {
        is_prefix(entity.segments(), &self.segments)
    }
}

/// The token in an `Authorization` header or in one of the protocol's own: the text without a `Bearer` before it.
///
/// ```
/// assert_eq!(rs_relay::proto::token_of_authorization("bearer e30.e30.AA"), "e30.e30.AA");
/// ```
#[must_use]
pub fn token_of_authorization(text: &str) -> &str {
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => token.trim(),
        _ => text.trim(),
    }
}

/// Why a token is refused. The texts go to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is none.
    #[error("The token is missing: send it in the header ServiceBusAuthorization")]
    Missing,
    /// It cannot be read.
    #[error("The token is malformed: {0}")]
    Malformed(&'static str),
    /// A kind of token that this relay does not take.
    #[error("The token is of a kind that this relay does not accept; send a SharedAccessSignature")]
    Unsupported,
    /// No rule has the name in `skn`.
    #[error("The token names an unknown key")]
    UnknownKey,
    /// Signed with another key, or changed.
    #[error("The token has an invalid signature")]
    InvalidSignature,
    /// Its `nbf` is to come.
    #[error("The token is not valid yet; check the clock")]
    NotYet,
    /// Too old.
    #[error("The token has expired; mint a new one and check the clock")]
    Expired,
    /// Signed for something else.
    #[error("The token was made for another resource")]
    WrongResource,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> SharedKey {
        text.parse().unwrap()
    }

    /// The worked example and the further vectors of the wire reference.
    struct Vector {
        resource: &'static str,
        key: &'static str,
        expiry: i64,
        key_name: &'static str,
        signature: &'static str,
    }

    const VECTORS: [Vector; 4] = [
        Vector {
            resource: "http%3A%2F%2Fcontoso.servicebus.windows.net%2Fazlocal%2Fnode-01%2F",
            key: "6f0ZB8xk0mQ0v1sVn7Jr3yqgE2cP5tHwLd9uXaK4iRs=",
            expiry: 1_893_456_000,
            key_name: "RootManageSharedAccessKey",
            signature: "XKRPNcJhsHaj53LYnT/X8geNrmQ0dJ6HKunyQH9pWXc=",
        },
        Vector {
            resource: "http%3A%2F%2Fcontoso.servicebus.windows.net%3A443%2Fazlocal%2Fnode-01",
            key: "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZjAxMjM=",
            expiry: 1_893_456_000,
            key_name: "listen-only",
            signature: "K9iKYOC/gOBkaB/ahWmydNHJw/NP23yafCGPJetLQKs=",
        },
        Vector {
            resource: "http%3A%2F%2Fcontoso.servicebus.windows.net%2F",
            key: "key/with+odd=chars",
            expiry: 2_000_000_000,
            key_name: "send%20rule%2B1",
            signature: "b4tLhYY84QeTawUCUpdufZXyTduypplc2U4DrQHlmD8=",
        },
        Vector {
            resource: "http%3a%2f%2frelay.example.test%2fhyco",
            key: "secret",
            expiry: 1_700_000_000,
            key_name: "k",
            signature: "VEh6Ep2uhhmhDr8VLZm38gVWTY0nVqoR8TdT8Iurx6Q=",
        },
    ];

    fn encode(text: &str) -> String {
        utf8_percent_encode(text, VALUE).to_string()
    }

    #[test]
    fn vectors_verify() {
        for vector in &VECTORS {
            let sig = encode(vector.signature);
            let text = format!(
                "SharedAccessSignature sr={}&sig={sig}&se={}&skn={}",
                vector.resource, vector.expiry, vector.key_name
            );
            let token = SasToken::parse(&text).unwrap();
            assert!(token.is_signed_with(&key(vector.key)), "{}", vector.key_name);
            assert!(!token.is_signed_with(&key("another")), "control");
            assert_eq!(token.expires_at().timestamp(), vector.expiry);
        }
    }

    #[test]
    fn worked_example_is_minted_byte_by_byte() {
        let vector = &VECTORS[0];
        let until = DateTime::from_timestamp(vector.expiry, 0).unwrap();
        let uri = "http://contoso.servicebus.windows.net/azlocal/node-01/";
        let token = SasToken::mint(uri, &vector.key_name.parse().unwrap(), &key(vector.key), until);
        assert_eq!(
            token.expose(),
            "SharedAccessSignature sr=http%3A%2F%2Fcontoso.servicebus.windows.net%2Fazlocal%2Fnode-01%2F\
             &sig=XKRPNcJhsHaj53LYnT%2FX8geNrmQ0dJ6HKunyQH9pWXc%3D&se=1893456000&skn=RootManageSharedAccessKey"
        );
    }

    #[test]
    fn typical_mistakes_are_wrong_signatures() {
        let vector = &VECTORS[0];
        for wrong in [
            "sTohKVag71AdekjnOmWthGGgjbG5XPzJfi5HweZBpUA=",
            "fnV3NQwCCezrRSgrr4W6x9b4UW6p9o7t0oVxN9nfN4c=",
            "1UHeI4fXB9LuBXblzGRJN2rOznK9AdwRkIUPAQ5joec=",
        ] {
            let text = format!(
                "SharedAccessSignature sr={}&sig={}&se={}&skn=k",
                vector.resource,
                encode(wrong),
                vector.expiry
            );
            assert!(!SasToken::parse(&text).unwrap().is_signed_with(&key(vector.key)), "{wrong}");
        }
    }

    #[test]
    fn lower_case_escapes_sign_themselves() {
        let text = "SharedAccessSignature sr=http%3a%2f%2fcontoso.servicebus.windows.net%2fazlocal%2fnode-01%2f\
                    &sig=1UHeI4fXB9LuBXblzGRJN2rOznK9AdwRkIUPAQ5joec%3d&se=1893456000&skn=k";
        assert!(SasToken::parse(text).unwrap().is_signed_with(&key(VECTORS[0].key)));
    }

    #[test]
    fn sec18_malformed_tokens() {
        let table = [
            ("", TokenError::Unsupported),
            ("SharedAccessSignature", TokenError::Unsupported),
            ("Bearer a.b.c", TokenError::Unsupported),
            ("SharedAccessSignature sig=AA&se=1&skn=k", TokenError::Malformed("it has no sr")),
            ("SharedAccessSignature sr=a&se=1&skn=k", TokenError::Malformed("it has no sig")),
            ("SharedAccessSignature sr=a&sig=AA&skn=k", TokenError::Malformed("it has no se")),
            ("SharedAccessSignature sr=a&sig=AAAA&se=1", TokenError::Malformed("it has no skn")),
            (
                "SharedAccessSignature sr=a&sr=b&sig=AAAA&se=1&skn=k",
                TokenError::Malformed("it has a field twice"),
            ),
            ("SharedAccessSignature sr=a&sig=!&se=1&skn=k", TokenError::Malformed("its sig is no base64")),
        ];
        for (text, error) in table {
            assert_eq!(SasToken::parse(text).unwrap_err(), error, "{text}");
        }
        for se in ["", "-1", "+1", "1.0", "1e9", "0x1", "99999999999999999999", "never"] {
            let text = format!("SharedAccessSignature sr=a&sig=AAAA&se={se}&skn=k");
            assert_eq!(
                SasToken::parse(&text).unwrap_err(),
                TokenError::Malformed("its se is no number of seconds"),
                "{se}"
            );
        }
        assert!(SasToken::parse("sharedaccesssignature skn=k&se=1&sig=AAAA&sr=a").is_ok());
    }

    #[test]
    fn sec43_token_length_at_and_past_the_bound() {
        let at = |length: usize| {
            let (head, tail) = ("SharedAccessSignature sr=", "&sig=AAAA&se=1&skn=k");
            SasToken::parse(&format!("{head}{}{tail}", "a".repeat(length - head.len() - tail.len())))
        };
        assert!(at(TOKEN_BYTES_MAX).is_ok());
        assert_eq!(at(TOKEN_BYTES_MAX + 1).unwrap_err(), TokenError::Malformed("it is too long"));
    }

    #[test]
    fn key_bounds() {
        assert!("k".repeat(KEY_NAME_BYTES_MAX).parse::<KeyName>().is_ok());
        assert!("k".repeat(KEY_NAME_BYTES_MAX + 1).parse::<KeyName>().is_err());
        assert!("k".repeat(KEY_BYTES_MAX).parse::<SharedKey>().is_ok());
        assert!("k".repeat(KEY_BYTES_MAX + 1).parse::<SharedKey>().is_err());
        assert!("".parse::<KeyName>().is_err() && "".parse::<SharedKey>().is_err());
        assert_eq!(format!("{:?}", key("canary")), "SharedKey(…)");
    }

    fn scope(resource: &str) -> Option<Scope> {
        let sr = encode(resource);
        SasToken::parse(&format!("SharedAccessSignature sr={sr}&sig=AAAA&se=1&skn=k")).unwrap().scope().ok()
    }

    #[test]
    fn scopes_of_all_sdks() {
        let path = |text: &str| RequestPath::parse(text).unwrap();
        let same = [
            "http://contoso.servicebus.windows.net:443/HyCo",
            "http://contoso.servicebus.windows.net/hyco/",
            "sb://Contoso.ServiceBus.windows.net/hyco?x#y",
            "https://user@contoso.servicebus.windows.net/hyco",
        ];
        for resource in same {
            let scope = scope(resource).unwrap();
            assert_eq!(scope.host(), "contoso.servicebus.windows.net", "{resource}");
            assert!(scope.covers(&path("hyco")) && scope.covers(&path("hyco/x")), "{resource}");
            assert!(!scope.covers(&path("hycox")) && !scope.covers(&path("hy")), "{resource}");
        }
        assert!(scope("sb://ns.example.test").unwrap().covers(&path("anything")));
        assert!(scope("http://h/hyco/x").unwrap().covers(&path("hyco/x")));
        assert!(!scope("http://h/hyco/x").unwrap().covers(&path("hyco")));
        assert!(scope("http://h/a%20b").unwrap().covers(&path("a%20b")));
        for bad in
            ["hyco", "http:///x", "http://h/a%2Fb", "http://h/a/../b", "http://h/a//b", "http://h/a%5Cb"]
        {
            assert_eq!(scope(bad), None, "{bad}");
        }
        let entity = "hyco".parse().unwrap();
        assert!(scope("http://h/hyco/x").unwrap().is_within(&entity));
        assert!(!scope("http://h/").unwrap().is_within(&entity));
    }

    proptest! {
        #[test]
        fn minted_tokens_parse_and_verify(
            resource in "http://[a-z]{1,9}/[ -~äß€]{0,40}", name in "[A-Za-z0-9._-]{1,40}", text in "[ -~]{1,60}", seconds in 0i64..99_999_999_999,
        ) {
            let (name, key) = (name.parse::<KeyName>().unwrap(), key(&text));
            let until = DateTime::from_timestamp(seconds, 0).unwrap();
            let token = SasToken::mint(&resource, &name, &key, until);
            let read = SasToken::parse(token.expose()).unwrap();
            prop_assert!(read.is_signed_with(&key) && read.names(&name));
            prop_assert_eq!(read.expires_at(), until);
            let longer = SharedKey::try_from([&text, "x"].concat()).unwrap();
            prop_assert!(!read.is_signed_with(&longer));
        }

        #[test]
        fn sec18_a_changed_byte_is_no_token(index in 0usize..200, byte in 0x20u8..0x7f) {
            let key = key("secret");
            let token = SasToken::mint("http://h/hyco/", &"k".parse().unwrap(), &key, DateTime::from_timestamp(1_893_456_000, 0).unwrap());
            let mut bytes = token.expose().as_bytes().to_vec();
            let index = index % bytes.len();
            prop_assume!(bytes[index] != byte);
            bytes[index] = byte;
            if let Ok(read) = SasToken::parse(&String::from_utf8(bytes).unwrap()) {
                let same = read.resource == token.resource && read.expiry == token.expiry && read.signature == token.signature;
                prop_assert!(same || !read.is_signed_with(&key));
            }
        }

        #[test]
        fn sec44_no_text_panics(text in "(SharedAccessSignature )?[ -~ä]{0,100}") {
            if let Ok(token) = SasToken::parse(&text) { let _ = token.scope(); }
        }
    }
}
