//! The request targets of clients: what they want, and what of it is the application's.

use percent_encoding::{percent_decode_str, utf8_percent_encode};
use secrecy::SecretString;

use super::VALUE;
use crate::proto::limits::{TARGET_BYTES_MAX, TOKEN_BYTES_MAX, TRACKING_ID_BYTES_MAX};
use crate::proto::path::{EntityPath, RequestPath, RequestPathError};
use crate::proto::registry::RendezvousId;

/// What a client wants on a `/$hc/` address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Open a control channel.
    Listen,
    /// Reach a listener. The meaning of an address without an action, too.
    Connect,
    /// Meet a sender that waits, or reject it.
    Accept,
    /// Meet a sender of an HTTP request.
    Request,
}

impl Action {
    /// The value of `sb-hc-action`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Request => "request",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Listen, Self::Connect, Self::Accept, Self::Request]
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(text))
    }
}

/// A listener's answer to a sender that it does not want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    status: u16,
    text: String,
}

impl Rejection {
    /// The status used for one outside 300 to 599, and its text.
    pub const DEFAULT: (u16, &'static str) = (400, "Rejected by the listener");

    /// A status for the sender and a reason phrase.
    ///
    /// A status outside 300 to 599 becomes 400. The text is cut and cleaned as [`clean_reason`] says.
    ///
    /// ```
    /// use rs_relay::proto::Rejection;
    ///
    /// let no = Rejection::new(403, "no consent\r\nX-Evil: 1");
    /// assert_eq!((no.status(), no.text()), (403, "no consent X-Evil: 1"));
    /// assert_eq!(Rejection::new(200, "fine").status(), 400);
    /// ```
    ///
    /// [`clean_reason`]: crate::proto::clean_reason
    #[must_use]
    pub fn new(status: u16, text: &str) -> Self {
        let status = if (300..=599).contains(&status) { status } else { Self::DEFAULT.0 };
        let text = crate::proto::refusal::clean_reason(text);
        let text = if text.is_empty() { Self::DEFAULT.1.to_owned() } else { text };
        Self { status, text }
    }

    /// The HTTP status for the sender, 300 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase for the sender.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The target of a WebSocket request, taken apart: `/$hc/{path}?{query}`.
///
/// Parameters named `sb-hc-…` (in any case) belong to the protocol and are taken out, all else belongs to the
/// application and is kept byte for byte.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Target {
    /// Entity and suffix.
    pub path: RequestPath,
    /// What is left of the query, without its `?`.
    pub application_query: Option<String>,
    /// What the client wants.
    pub action: Action,
    /// The client's own tracking id, if it is printable ASCII of at most [`TRACKING_ID_BYTES_MAX`] bytes.
    pub tracking_id: Option<String>,
    /// The token in the query.
    pub token: Option<SecretString>,
    /// The one-time secret of a rendezvous address.
    pub rendezvous: Option<RendezvousId>,
    /// Present on an accept address that rejects.
    pub rejection: Option<Rejection>,
}

impl Target {
    /// Whether a path belongs to WebSockets: it begins with `/$hc/`. All others are those of HTTP senders.
    #[must_use]
    pub fn has_marker(path: &str) -> bool {
        strip_marker(path).is_some()
    }

    /// Takes the path and query of a request line apart.
    ///
    /// # Errors
    ///
    /// [`TargetError`]: not below `/$hc/`, a path that is no path, an unknown action, wrong escapes, too long.
    ///
    /// ```
    /// use rs_relay::proto::{Action, Target};
    ///
    /// let target = Target::parse("/$hc/azlocal/node-01/shell?cols=80&sb-hc-action=connect&sb-hc-id=7")?;
    /// assert_eq!(target.action, Action::Connect);
    /// assert_eq!(target.path.raw(), "azlocal/node-01/shell");
    /// assert_eq!(target.application_query.as_deref(), Some("cols=80"));
    /// # Ok::<(), rs_relay::proto::TargetError>(())
    /// ```
    pub fn parse(path_and_query: &str) -> Result<Self, TargetError> {
        if path_and_query.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let rest = strip_marker(path).ok_or(TargetError::NotWebSocket)?;
        let parameters = Parameters::parse(query.unwrap_or_default())?;
        Ok(Self {
            path: RequestPath::parse(rest)?,
            application_query: query.and_then(strip_protocol_parameters),
            action: parameters.action.unwrap_or(Action::Connect),
            tracking_id: parameters.tracking_id,
            token: parameters.token,
            rendezvous: parameters.rendezvous,
            rejection: parameters.status.map(|status| {
                Rejection::new(status.parse().unwrap_or(0), &parameters.description.unwrap_or_default())
            }),
        })
    }
}

fn strip_marker(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let (marker, rest) = path.split_once('/')?;
    (marker == "$hc" || marker.eq_ignore_ascii_case("%24hc")).then_some(rest)
}

/// The query without the parameters of the protocol; `None` when nothing is left.
///
/// A parameter counts as one of the protocol when it has the form `name=value` and its decoded name begins with
/// `sb-hc-` in any case. Everything else, empty parameters included, stays as it is.
///
/// ```
/// use rs_relay::proto::strip_protocol_parameters;
///
/// assert_eq!(strip_protocol_parameters("custom=value&sb-hc-id=1").as_deref(), Some("custom=value"));
/// assert_eq!(strip_protocol_parameters("sb-hc-undefined").as_deref(), Some("sb-hc-undefined"));
/// assert_eq!(strip_protocol_parameters("sb-hc-id=1"), None);
/// ```
#[must_use]
pub fn strip_protocol_parameters(query: &str) -> Option<String> {
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_protocol_parameter(pair)).collect();
    let nothing = kept.is_empty() || query.is_empty();
    (!nothing).then(|| kept.join("&"))
}

fn is_protocol_parameter(pair: &str) -> bool {
    pair.split_once('=').is_some_and(|(name, _)| {
        let name = percent_decode_str(name).decode_utf8_lossy();
        name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("sb-hc-"))
    })
}

#[derive(Default)]
struct Parameters {
    action: Option<Action>,
    tracking_id: Option<String>,
    token: Option<SecretString>,
    rendezvous: Option<RendezvousId>,
    status: Option<String>,
    description: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, TargetError> {
        let mut found = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
            found.take(&name, value)?;
        }
        Ok(found)
    }

    /// The first parameter of a name counts.
    fn take(&mut self, name: &str, value: &str) -> Result<(), TargetError> {
        // The short spellings are the application's, unless they were appended behind the server's own parameters.
        let rejecting = name.starts_with("sb-hc-") || self.rendezvous.is_some();
        match name {
            "sb-hc-action" if self.action.is_none() => {
                self.action = Some(Action::parse(&decode(value)?).ok_or(TargetError::UnknownAction)?);
            }
            "sb-hc-id" if self.tracking_id.is_none() => self.tracking_id = tracking_id(&decode(value)?),
            "sb-hc-token" if self.token.is_none() => {
                if value.len() > 3 * TOKEN_BYTES_MAX {
                    return Err(TargetError::TooLong);
                }
                self.token = Some(decode_form(value)?.into());
            }
            "sb-hc-rdv" if self.rendezvous.is_none() => self.rendezvous = value.parse().ok(),
            "sb-hc-statuscode" | "statuscode" if rejecting && self.status.is_none() => {
                self.status = Some(decode(value)?);
            }
            "sb-hc-statusdescription" | "statusdescription" if rejecting && self.description.is_none() => {
                self.description = Some(decode_form(value)?);
            }
            _ => {}
        }
        Ok(())
    }
}

pub(in crate::proto) fn decode(value: &str) -> Result<String, TargetError> {
    percent_decode_str(value)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| TargetError::Encoding)
}

/// As [`decode`], with `+` for a space as .NET and Java write it.
pub(in crate::proto) fn decode_form(value: &str) -> Result<String, TargetError> {
    decode(&value.replace('+', "%20"))
}

/// A tracking id is for logs and for the other side's traces: printable, short, or not there.
pub(in crate::proto) fn tracking_id(text: &str) -> Option<String> {
    let fine = !text.is_empty()
        && text.len() <= TRACKING_ID_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    fine.then(|| text.to_owned())
}

/// Why a request target cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The path does not begin with `/$hc/`.
    #[error("the path does not begin with /$hc/")]
    NotWebSocket,
    /// The path behind `/$hc/`.
    #[error(transparent)]
    Path(#[from] RequestPathError),
    /// `sb-hc-action` has a value that this protocol does not know.
    #[error("sb-hc-action is none of listen, connect, accept, request")]
    UnknownAction,
    /// A parameter of the protocol is no UTF-8 text.
    #[error("a parameter has escapes that are no UTF-8 text")]
    Encoding,
    /// The target is too long.
    #[error("the address is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
}

/// The request target that opens a control channel.
#[must_use]
pub fn listen_target(entity: &EntityPath, tracking_id: &str) -> String {
    format!("/$hc/{entity}?sb-hc-action=listen&sb-hc-id={}", utf8_percent_encode(tracking_id, VALUE))
}

/// The request target of a sender.
///
/// `suffix` is a path below the entity, without a leading slash; `query` belongs to the application.
#[must_use]
pub fn connect_target(
    entity: &EntityPath,
    suffix: Option<&str>,
    query: Option<&str>,
    tracking_id: &str,
) -> String {
    let slash = if suffix.is_some() { "/" } else { "" };
    let suffix = suffix.unwrap_or_default();
    let and = if query.is_some() { "&" } else { "" };
    let query = query.unwrap_or_default();
    let id = utf8_percent_encode(tracking_id, VALUE);
    format!("/$hc/{entity}{slash}{suffix}?{query}{and}sb-hc-action=connect&sb-hc-id={id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn target_table() {
        let target = Target::parse("/%24HC/a?SB-HC-ACTION=Listen&sb-hc-token=a%2520b+c").unwrap();
        assert_eq!(target.action, Action::Listen);
        assert_eq!(target.token.unwrap().expose_secret(), "a%20b c");
        assert_eq!(target.application_query, None);
        assert_eq!(Target::parse("/$hc/a").unwrap().action, Action::Connect);
        let id = |text: &str| Target::parse(&format!("/$hc/a?sb-hc-id={text}")).unwrap().tracking_id;
        assert_eq!(id("a-1_b.c:d").as_deref(), Some("a-1_b.c:d"));
        assert!(id(&"a".repeat(TRACKING_ID_BYTES_MAX)).is_some());
        assert_eq!(id(&"a".repeat(TRACKING_ID_BYTES_MAX + 1)), None);
        assert_eq!((id(""), id("a%0d%0ab"), id("a%20b")), (None, None, None));
        let errors = [
            ("/a", TargetError::NotWebSocket),
            ("$hc/a", TargetError::NotWebSocket),
            ("/$hc", TargetError::NotWebSocket),
            ("/$hc/", TargetError::Path(RequestPathError::Empty)),
            ("/$hc/a/../b", TargetError::Path(RequestPathError::DotSegment)),
            ("/$hc/a?sb-hc-action=drop", TargetError::UnknownAction),
            ("/$hc/a?sb-hc-token=%ff", TargetError::Encoding),
        ];
        for (text, error) in errors {
            assert_eq!(Target::parse(text).unwrap_err(), error, "{text}");
        }
        let at = |length: usize| Target::parse(&format!("/$hc/{}", "a".repeat(length - 5)));
        assert!(at(TARGET_BYTES_MAX).is_ok());
        assert_eq!(at(TARGET_BYTES_MAX + 1).unwrap_err(), TargetError::TooLong);
    }

    #[test]
    fn queries_keep_what_is_not_ours() {
        let table = [
            ("sb-hc-id=1", None),
            ("", None),
            ("sb-hc-id=1&custom=value", Some("custom=value")),
            ("custom=value&sb-hc-id=1", Some("custom=value")),
            ("sb-hc-whatever=&foo=bar", Some("foo=bar")),
            ("sb%2Dhc-whatever=&foo=bar", Some("foo=bar")),
            ("sb-hc-undefined", Some("sb-hc-undefined")),
            ("&&&", Some("&&&")),
            ("a=1&a=2&", Some("a=1&a=2&")),
            ("&custom&value&", Some("&custom&value&")),
            ("+", Some("+")),
            ("%2f%3a%3d%26", Some("%2f%3a%3d%26")),
        ];
        for (query, expected) in table {
            assert_eq!(strip_protocol_parameters(query).as_deref(), expected, "{query}");
        }
    }
}
