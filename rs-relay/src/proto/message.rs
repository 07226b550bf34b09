//! Control messages: what server and listener say to each other on a control channel.
//!
//! Each is a JSON object with one member. Reading is tolerant where clients in the field need it (numbers as header
//! values, a status code as a string, absent or `null` headers); writing is strict.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::RendezvousAddress;
use super::limits::{CONTROL_MESSAGE_BYTES_MAX, HEADER_METADATA_BYTES_MAX, HEADERS_MAX, JSON_DEPTH_MAX};

/// HTTP headers as control messages carry them: names with one text each, in order.
///
/// ```
/// use rs_relay::proto::Headers;
///
/// let mut headers = Headers::default();
/// headers.append("X-App", "1");
/// headers.append("x-app", "2");
/// assert_eq!(headers.get("X-APP"), Some("1, 2"));
/// assert_eq!(serde_json::to_string(&headers).unwrap(), r#"{"X-App":"1, 2"}"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The text of a header, case aside.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Adds a header; a second one of the same name is joined to the first with `, ` (`; ` for Cookie).
    pub fn append(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(found, _)| found.eq_ignore_ascii_case(name)) {
            Some((found, joined)) => {
                joined.push_str(if found.eq_ignore_ascii_case("cookie") { "; " } else { ", " });
                joined.push_str(value);
            }
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Names and texts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Bytes of all names and texts.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header names and texts")
            }

            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if headers.0.len() == HEADERS_MAX {
                        return Err(serde::de::Error::custom("too many headers"));
                    }
                    match value {
                        Value::String(text) => headers.append(&name, &text),
                        Value::Number(number) => headers.append(&name, &number.to_string()),
                        Value::Bool(truth) => headers.append(&name, &truth.to_string()),
                        _ => {}
                    }
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_any(HeadersVisitor)
    }
}

/// Where a sender comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteEndpoint {
    /// IP address.
    #[serde(default)]
    pub address: String,
    /// TCP port.
    #[serde(default)]
    pub port: u16,
}

impl From<std::net::SocketAddr> for RemoteEndpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { address: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

/// Server to listener: a sender waits at `address`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accept {
    /// Where to meet the sender. A credential.
    pub address: String,
    /// Tracking id of the connection.
    #[serde(default)]
    pub id: String,
    /// Headers of the sender's handshake, without the token.
    #[serde(default)]
    pub connect_headers: Headers,
    /// Where the sender comes from. Azure sends it, the guide does not have it.
    #[serde(default)]
    pub remote_endpoint: RemoteEndpoint,
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept")
            .field("id", &self.id)
            .field("remote_endpoint", &self.remote_endpoint)
            .finish_non_exhaustive()
    }
}

/// Server to listener: an HTTP request, or the announcement of one that is to be fetched at `address`.
///
/// An announcement has neither `method` nor `body`; the official clients tell the two apart by that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Where to fetch the request or bring the response. A credential.
    pub address: String,
    /// To be returned as `requestId`.
    #[serde(default)]
    pub id: String,
    /// Path and query as the sender wrote them, without the protocol's own parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_target: Option<String>,
    /// HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Where the sender comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_endpoint: Option<RemoteEndpoint>,
    /// The request's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Headers>,
    /// Whether a binary message with the body follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<bool>,
}

impl Request {
    /// An announcement: the request is to be fetched at the address.
    #[must_use]
    pub fn announcement(address: &RendezvousAddress, id: &str) -> Self {
        Self {
            address: address.expose_url(),
            id: id.to_owned(),
            request_target: None,
            method: None,
            remote_endpoint: None,
            request_headers: None,
            body: None,
        }
    }

    /// Whether this only says that a request is to be fetched at the address.
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.method.is_none() && self.body.is_none()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).field("method", &self.method).finish_non_exhaustive()
    }
}

/// Listener to server: the answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// `id` of the request.
    pub request_id: String,
    /// HTTP status; some listeners write it as a string.
    #[serde(deserialize_with = "status_code")]
    pub status_code: u16,
    /// Reason phrase; the standard one when absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_description: Option<String>,
    /// The response's headers.
    #[serde(default)]
    pub response_headers: Headers,
    /// Whether a binary message with the body follows.
    #[serde(default)]
    pub body: bool,
}

fn status_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|status| (100..=999).contains(status))
        .ok_or_else(|| serde::de::Error::custom("statusCode is no number from 100 to 999"))
}

/// Listener to server: a fresh token for this control channel.
#[derive(Debug, Clone, Deserialize)]
pub struct RenewToken {
    /// The token's text.
    pub token: SecretString,
}

impl Serialize for RenewToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("token", self.token.expose_secret())?;
        map.end()
    }
}

/// What a server sends on a control channel.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ServerMessage {
    /// A WebSocket sender waits.
    Accept(Accept),
    /// An HTTP request.
    Request(Request),
    /// Something that this version does not know, to be ignored.
    #[serde(skip)]
    Unknown,
}

/// What a listener sends on a control channel.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ListenerMessage {
    /// A fresh token.
    RenewToken(RenewToken),
    /// The answer to an HTTP request.
    Response(Response),
    /// Something that this version does not know, to be ignored.
    #[serde(skip)]
    Unknown,
}

impl ServerMessage {
    /// Reads a text message.
    ///
    /// # Errors
    ///
    /// [`MessageError`]: too long, too deep, no JSON object, or a known message with wrong members.
    ///
    /// ```
    /// use rs_relay::proto::ServerMessage;
    ///
    /// let text = r#"{"accept":{"address":"wss:\/\/h\/$hc\/a?x","id":"1","connectHeaders":{"N":7}}}"#;
    /// let ServerMessage::Accept(accept) = ServerMessage::parse(text)? else { panic!() };
    /// assert_eq!(accept.address, "wss://h/$hc/a?x");
    /// assert_eq!(accept.connect_headers.get("n"), Some("7"));
    /// assert!(matches!(ServerMessage::parse(r#"{"news":{}}"#)?, ServerMessage::Unknown));
    /// # Ok::<(), rs_relay::proto::MessageError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let (name, value) = read(text)?;
        match name.as_str() {
            "accept" => member(value, "accept").map(Self::Accept),
            "request" => member(value, "request").map(Self::Request),
            _ => Ok(Self::Unknown),
        }
    }

    /// The text form.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooLong`] or [`MessageError::Headers`] when a sender's headers do not fit into a message.
    pub fn to_text(&self) -> Result<String, MessageError> {
        let headers = match self {
            Self::Accept(accept) => accept.connect_headers.len_bytes(),
            Self::Request(request) => request.request_headers.as_ref().map_or(0, Headers::len_bytes),
            Self::Unknown => 0,
        };
        if headers > HEADER_METADATA_BYTES_MAX {
            return Err(MessageError::Headers { found: headers });
        }
        write(self)
    }
}

impl ListenerMessage {
    /// Reads a text message.
    ///
    /// # Errors
    ///
    /// As [`ServerMessage::parse`].
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let (name, value) = read(text)?;
        match name.as_str() {
            "renewToken" => member(value, "renewToken").map(Self::RenewToken),
            "response" => member(value, "response").map(Self::Response),
            _ => Ok(Self::Unknown),
        }
    }

    /// The text form. A renewal carries a credential.
    ///
    /// # Errors
    ///
    /// As [`ServerMessage::to_text`].
    pub fn to_text(&self) -> Result<String, MessageError> {
        write(self)
    }
}

/// The first member of the object, which should be the only one.
fn read(text: &str) -> Result<(String, Value), MessageError> {
    if text.len() > CONTROL_MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLong { found: text.len() });
    }
    if depth(text) > JSON_DEPTH_MAX {
        return Err(MessageError::TooDeep);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => map.into_iter().next().ok_or(MessageError::NotOneMember),
        Ok(_) => Err(MessageError::NotOneMember),
        Err(_) => Err(MessageError::Json),
    }
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn member<T: serde::de::DeserializeOwned>(value: Value, name: &'static str) -> Result<T, MessageError> {
    serde_json::from_value(value).map_err(|_| MessageError::Member { name })
}

fn write(message: &impl Serialize) -> Result<String, MessageError> {
    let text = serde_json::to_string(message).map_err(|_| MessageError::Json)?;
    match text.len() {
        0..=CONTROL_MESSAGE_BYTES_MAX => Ok(text),
        found => Err(MessageError::TooLong { found }),
    }
}

/// Why a control message cannot be read or written. Shows nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than a control message may be.
    #[error("the control message has {found} bytes; at most {CONTROL_MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The headers in it are too long.
    #[error("the headers have {found} bytes; at most {HEADER_METADATA_BYTES_MAX} are allowed")]
    Headers {
        /// Their length in bytes.
        found: usize,
    },
    /// Nested too deep.
    #[error("the control message is nested deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep,
    /// No JSON.
    #[error("the control message is no JSON text")]
    Json,
    /// No object with a member.
    #[error("the control message is no JSON object with one member")]
    NotOneMember,
    /// A known message without what it needs.
    #[error("the control message `{name}` lacks a member or has one of the wrong type")]
    Member {
        /// Which message.
        name: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn announcement_has_neither_method_nor_body() {
        let request = |method: Option<&str>, body| Request {
            address: "wss://h/?x".into(),
            id: "1".into(),
            request_target: None,
            method: method.map(str::to_owned),
            remote_endpoint: None,
            request_headers: None,
            body,
        };
        let text = ServerMessage::Request(request(None, None)).to_text().unwrap();
        assert_eq!(text, r#"{"request":{"address":"wss://h/?x","id":"1"}}"#);
        assert!(request(None, None).is_announcement());
        assert!(!request(Some("GET"), Some(false)).is_announcement());
    }

    #[test]
    fn responses_of_all_listeners_in_the_field() {
        let texts = [
            r#"{"response":{"requestId":"1","statusCode":200,"body":false}}"#,
            r#"{"response":{"requestId":"1","statusCode":"200","statusDescription":"","responseHeaders":null}}"#,
            r#"{"response":{"requestId":"1","statusCode":200,"responseHeaders":{"X":42},"body":true,"more":1}}"#,
        ];
        for text in texts {
            let ListenerMessage::Response(response) = ListenerMessage::parse(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(response.status_code, 200);
        }
        for status in ["99", "1000", "-1", "\"x\"", "null", "200.5"] {
            let text = format!(r#"{{"response":{{"requestId":"1","statusCode":{status}}}}}"#);
            assert_eq!(ListenerMessage::parse(&text).unwrap_err(), MessageError::Member { name: "response" });
        }
    }

    #[test]
    fn refused_and_ignored_messages() {
        for text in ["", "[]", "7", "{}", "null"] {
            assert!(matches!(
                ListenerMessage::parse(text),
                Err(MessageError::Json | MessageError::NotOneMember)
            ));
        }
        assert!(matches!(
            ListenerMessage::parse(r#"{"injectFault":{"delay":"00:01:00"}}"#),
            Ok(ListenerMessage::Unknown)
        ));
        assert_eq!(
            ServerMessage::parse(r#"{"accept":{}}"#).unwrap_err(),
            MessageError::Member { name: "accept" }
        );
    }

    #[test]
    fn sec43_length_and_depth_at_and_past_the_bound() {
        let padded = |length: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(length - 8));
        assert!(ServerMessage::parse(&padded(CONTROL_MESSAGE_BYTES_MAX)).is_ok());
        assert_eq!(
            ServerMessage::parse(&padded(CONTROL_MESSAGE_BYTES_MAX + 1)).unwrap_err(),
            MessageError::TooLong { found: CONTROL_MESSAGE_BYTES_MAX + 1 }
        );
        let many = |count: usize| {
            let headers: Vec<_> = (0..count).map(|i| format!("\"h{i}\":1")).collect();
            format!(r#"{{"accept":{{"address":"x","connectHeaders":{{{}}}}}}}"#, headers.join(","))
        };
        assert!(ServerMessage::parse(&many(HEADERS_MAX)).is_ok());
        assert_eq!(
            ServerMessage::parse(&many(HEADERS_MAX + 1)).unwrap_err(),
            MessageError::Member { name: "accept" }
        );
        let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(ServerMessage::parse(&nested(JSON_DEPTH_MAX)).is_ok());
        assert_eq!(ServerMessage::parse(&nested(JSON_DEPTH_MAX + 1)).unwrap_err(), MessageError::TooDeep);
        assert_eq!(depth(r#"{"a":"[[[\"[["}"#), 1);
        let accept = |bytes: usize| {
            let mut headers = Headers::default();
            headers.append("X", &"a".repeat(bytes - 1));
            let accept = Accept {
                address: "wss://h/?x".into(),
                id: "1".into(),
                connect_headers: headers,
                remote_endpoint: RemoteEndpoint::default(),
            };
            ServerMessage::Accept(accept).to_text()
        };
        assert!(accept(HEADER_METADATA_BYTES_MAX).is_ok());
        assert_eq!(
            accept(HEADER_METADATA_BYTES_MAX + 1).unwrap_err(),
            MessageError::Headers { found: HEADER_METADATA_BYTES_MAX + 1 }
        );
    }

    #[test]
    fn sec33_debug_hides_addresses_and_tokens() {
        let accept =
            ServerMessage::parse(r#"{"accept":{"address":"canary","connectHeaders":{"Cookie":"canary"}}}"#);
        let renew = ListenerMessage::parse(r#"{"renewToken":{"token":"canary"}}"#);
        assert!(!format!("{accept:?} {renew:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn accept_prints_and_parses_back(address in ".{0,60}", id in ".{0,20}", headers in proptest::collection::btree_map("[A-Z][a-z]{1,9}", ".{0,20}", 0..8), port: u16) {
            let mut connect_headers = Headers::default();
            for (name, value) in &headers { connect_headers.append(name, value); }
            let accept = Accept { address, id, connect_headers, remote_endpoint: RemoteEndpoint { address: "192.0.2.7".into(), port } };
            let text = ServerMessage::Accept(accept.clone()).to_text().unwrap();
            let ServerMessage::Accept(back) = ServerMessage::parse(&text).unwrap() else { panic!() };
            prop_assert_eq!(back.connect_headers.iter().collect::<std::collections::BTreeMap<_, _>>(), accept.connect_headers.iter().collect());
            prop_assert_eq!((back.address, back.id, back.remote_endpoint), (accept.address, accept.id, accept.remote_endpoint));
        }

        #[test]
        fn sec44_no_text_panics(text in "[{}\\[\\]\":,a-zA-Z0-9 \\\\]{0,60}") {
            let _ = ServerMessage::parse(&text);
            let _ = ListenerMessage::parse(&text);
        }
    }
}
