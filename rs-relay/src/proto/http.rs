//! HTTP over the relay: how a sender's request becomes a control message, and a listener's answer a response.
//!
//! Nothing here reads or writes: the rules of what is stripped, added, passed on, and of which way a body takes.
//!
//! ```
//! use rs_relay::proto::http::{HttpTarget, request_headers};
//!
//! let target = HttpTarget::parse("/hyco/orders?sb-hc-token=secret&page=2")?;
//! assert_eq!(target.request_target, "/hyco/orders?page=2");
//! assert!(target.token.is_some());
//!
//! let received = [("host", &b"relay.example.test"[..]), ("te", b"trailers"), ("x-app", b"1")];
//! let headers = request_headers(received, false, "relay.example.test");
//! assert_eq!(headers.get("X-App"), Some("1"));
//! assert_eq!(headers.get("Via"), Some("1.1 relay.example.test"));
//! assert_eq!(headers.get("TE"), None, "it concerns the connection only");
//! # Ok::<(), rs_relay::proto::TargetError>(())
//! ```

mod responses;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::address::{decode, decode_form, strip_protocol_parameters, tracking_id};
use super::limits::{INLINE_BODY_BYTES_MAX, TARGET_BYTES_MAX, TOKEN_BYTES_MAX};
use super::message::{Headers, Response};
use super::path::RequestPath;
use super::refusal::{Refusal, clean_reason};
use super::{TargetError, token_of_authorization};

pub use responses::{Begun, BodyTooLong, Responses};

/// The token's own header, in lower case.
pub const TOKEN_HEADER: &str = "servicebusauthorization";

/// The target of an HTTP sender's request, taken apart: `/{entity}[/suffix][?query]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpTarget {
    /// Entity and suffix.
    pub path: RequestPath,
    /// Path and query for the listener: as they were sent, without the parameters of the protocol.
    pub request_target: String,
    /// The token in the query.
    pub token: Option<SecretString>,
    /// The sender's own tracking id.
    pub tracking_id: Option<String>,
}

impl HttpTarget {
    /// Takes the path and query of a request line apart.
    ///
    /// # Errors
    ///
    /// [`TargetError`]: a path that is no path, wrong escapes in the token, too long.
    pub fn parse(path_and_query: &str) -> Result<Self, TargetError> {
        if path_and_query.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let parsed = RequestPath::parse(path.strip_prefix('/').unwrap_or(path))?;
        let request_target = match query {
            // An empty query is one, too.
            Some("") => format!("{path}?"),
            Some(query) => match strip_protocol_parameters(query) {
                Some(kept) => format!("{path}?{kept}"),
                None => path.to_owned(),
            },
            None => path.to_owned(),
        };
        let mut target = Self { path: parsed, request_target, token: None, tracking_id: None };
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            target.take(&percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase(), value)?;
        }
        Ok(target)
    }

    /// The first parameter of a name counts.
    fn take(&mut self, name: &str, value: &str) -> Result<(), TargetError> {
        match name {
            "sb-hc-id" if self.tracking_id.is_none() => self.tracking_id = tracking_id(&decode(value)?),
            "sb-hc-token" if self.token.is_none() => {
                if value.len() > 3 * TOKEN_BYTES_MAX {
                    return Err(TargetError::TooLong);
                }
                self.token = Some(decode_form(value)?.into());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where an HTTP sender's token stood.
#[derive(Debug, Clone)]
pub struct FoundToken {
    /// The token's text.
    pub token: SecretString,
    /// Whether it is the `Authorization` header, which is then not the application's.
    pub is_authorization: bool,
}

/// Finds the token of an HTTP sender: in the query, else in `ServiceBusAuthorization`, else in `Authorization`.
///
/// `in_query` is [`HttpTarget::token`]. Ask only where the endpoint requires a token: `Authorization` is the application's
/// otherwise.
#[must_use]
pub fn find_token(
    in_query: Option<&SecretString>,
    service_bus_authorization: Option<&str>,
    authorization: Option<&str>,
) -> Option<FoundToken> {
    let first = in_query.cloned().or_else(|| service_bus_authorization.map(|text| text.to_owned().into()));
    match first {
        Some(token) => Some(FoundToken { token, is_authorization: false }),
        None => authorization.map(|text| FoundToken {
            token: token_of_authorization(text).to_owned().into(),
            is_authorization: true,
        }),
    }
}

/// Headers that concern one connection only and are never passed on, in lower case.
const HOP_BY_HOP: [&str; 10] = [
    "close",
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

/// Whether a `Connection` header names this header.
fn is_named(connection: &[String], name: &str) -> bool {
    connection.iter().any(|word| word.eq_ignore_ascii_case(name))
}

fn words(value: &str) -> impl Iterator<Item = String> + '_ {
    value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty())
}

/// The headers of a request as its listener gets them.
///
/// Without the token, without what concerns the connection only, with `Via`. `Authorization` is left out when it was the
/// token. Lines of one name are joined; names are spelled as usual. Bytes that are no UTF-8 become replacement characters.
#[must_use]
pub fn request_headers<'a>(
    received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    authorization_was_token: bool,
    host: &str,
) -> Headers {
    let received: Vec<_> = received.into_iter().collect();
    let connection: Vec<String> = received
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| words(&String::from_utf8_lossy(value)).collect::<Vec<_>>())
        .collect();
    let mut headers = Headers::default();
    for (name, value) in received {
        let ours = name.eq_ignore_ascii_case(TOKEN_HEADER)
            || name.eq_ignore_ascii_case("expect")
            || (authorization_was_token && name.eq_ignore_ascii_case("authorization"));
        if !ours && !is_hop_by_hop(name) && !is_named(&connection, name) {
            headers.append(&header_case(name), &String::from_utf8_lossy(value));
        }
    }
    headers.append("Via", &format!("1.1 {host}"));
    headers
}

/// The usual spelling of a header name. HTTP does not care, some applications do.
#[must_use]
pub fn header_case(name: &str) -> String {
    let word = |word: &str| match word {
        "websocket" => "WebSocket".to_owned(),
        "id" => "ID".to_owned(),
        word => {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    name.split('-').map(word).collect::<Vec<String>>().join("-")
}

/// Which way the body of a request takes to its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// There is none: the request goes over the control channel.
    None,
    /// It is read first and goes along over the control channel.
    Inline,
    /// Its length is not known: it is read for a moment. What has ended by then goes over the control channel.
    Probe,
    /// It is longer than [`INLINE_BODY_BYTES_MAX`]: the listener fetches the request.
    Rendezvous,
}

impl BodyPlan {
    /// By the request's `Content-Length`, and whether it has a body at all.
    ///
    /// ```
    /// use rs_relay::proto::{http::BodyPlan, limits::INLINE_BODY_BYTES_MAX};
    ///
    /// let longest = INLINE_BODY_BYTES_MAX as u64;
    /// assert_eq!(BodyPlan::of(Some(longest), true), BodyPlan::Inline);
    /// assert_eq!(BodyPlan::of(Some(longest + 1), true), BodyPlan::Rendezvous);
    /// assert_eq!(BodyPlan::of(None, true), BodyPlan::Probe);
    /// assert_eq!(BodyPlan::of(None, false), BodyPlan::None);
    /// ```
    #[must_use]
    pub fn of(content_length: Option<u64>, has_body: bool) -> Self {
        match content_length {
            _ if !has_body => Self::None,
            Some(0) => Self::None,
            Some(length) if length <= INLINE_BODY_BYTES_MAX as u64 => Self::Inline,
            Some(_) => Self::Rendezvous,
            None => Self::Probe,
        }
    }
}

/// What a sender gets: the head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// HTTP status, 200 to 999.
    pub status: u16,
    /// Reason phrase; the standard one if none.
    pub reason: Option<String>,
    /// Names and values, fit for a head, with `Via`.
    pub headers: Vec<(String, String)>,
    /// Whether a body may follow: not to HEAD, not with 204 and 304.
    pub may_have_body: bool,
}

impl ResponseHead {
    /// Makes the head for a sender that has asked with `method`, out of a listener's message.
    ///
    /// Status and reason phrase go on unchanged. Headers that concern the connection only are left out, as are those whose
    /// name or value cannot stand in a head. `Content-Length` is the server's to compute; a listener's own is kept where it
    /// speaks of a body that does not follow.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadResponse`] for a status below 200.
    ///
    /// ```
    /// use rs_relay::proto::{ListenerMessage, http::ResponseHead};
    ///
    /// let text = r#"{"response":{"requestId":"1","statusCode":418,"statusDescription":"short and stout",
    ///     "responseHeaders":{"X-Count":42,"Connection":"close"},"body":false}}"#;
    /// let ListenerMessage::Response(response) = ListenerMessage::parse(text)? else { panic!() };
    /// let head = ResponseHead::new(&response, "GET", "relay.example.test").unwrap();
    /// assert_eq!((head.status, head.reason.as_deref()), (418, Some("short and stout")));
    /// let headers = [("X-Count".into(), "42".into()), ("Via".into(), "1.1 relay.example.test".into())];
    /// assert_eq!(head.headers, headers);
    /// # Ok::<(), rs_relay::proto::MessageError>(())
    /// ```
    pub fn new(response: &Response, method: &str, host: &str) -> Result<Self, Refusal> {
        if response.status_code < 200 {
            return Err(Refusal::BadResponse("its status is below 200"));
        }
        let may_have_body =
            !method.eq_ignore_ascii_case("HEAD") && !matches!(response.status_code, 204 | 304);
        let received = &response.response_headers;
        let connection: Vec<String> = received.get("connection").into_iter().flat_map(words).collect();
        let mut headers = Headers::default();
        for (name, value) in received.iter() {
            let length_of_absent = !may_have_body
                && response.status_code != 204
                && name.eq_ignore_ascii_case("content-length")
                && !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_digit());
            let passes = length_of_absent || (!is_hop_by_hop(name) && !is_named(&connection, name));
            if passes && is_header_name(name) && is_header_value(value) {
                headers.append(name, value);
            }
        }
        headers.append("Via", &format!("1.1 {host}"));
        let headers = headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let reason = response.status_description.as_deref().map(clean_reason);
        let reason = reason.filter(|reason| !reason.is_empty());
        Ok(Self { status: response.status_code, reason, headers, may_have_body })
    }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

fn is_header_value(value: &str) -> bool {
    !value.chars().any(|character| character.is_control() && character != '\t')
}

#[cfg(test)]
mod tests;
