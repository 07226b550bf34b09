//! Hosts, request targets and rendezvous addresses: everything that stands in a URL of the protocol.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::limits::{TARGET_BYTES_MAX, TOKEN_BYTES_MAX, TRACKING_ID_BYTES_MAX};
use super::path::{EntityPath, RequestPath, RequestPathError};
use super::registry::RendezvousId;

/// The port of a hybrid connection when none is given.
pub const DEFAULT_PORT: u16 = 443;

/// What a query value may show as it is; all else is percent-encoded.
pub(crate) const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A host name or IP address with a port, as in `relay.example.test:8443`.
///
/// The host is kept in lower case, an IPv6 address in brackets. [`DEFAULT_PORT`] is not printed.
///
/// ```
/// use rs_relay::proto::Authority;
///
/// let authority: Authority = "Relay.Example.Test".parse()?;
/// assert_eq!(authority.host(), "relay.example.test");
/// assert_eq!(authority.port(), 443);
/// assert_eq!("[::1]:8443".parse::<Authority>()?.to_string(), "[::1]:8443");
/// # Ok::<(), rs_relay::proto::AuthorityError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    host: Box<str>,
    port: u16,
}

impl Authority {
    /// Puts a host and a port together.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] when the host is no host name and no IP address.
    pub fn new(host: &str, port: u16) -> Result<Self, AuthorityError> {
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        let text = if bare_v6 { format!("[{host}]") } else { host.to_owned() };
        let parsed: Self = text.parse()?;
        if parsed.port != DEFAULT_PORT || text.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            return Err(AuthorityError);
        }
        Ok(Self { port, ..parsed })
    }

    /// The host, in lower case; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as TLS and sockets want it: an IPv6 address without its brackets.
    #[must_use]
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, [`DEFAULT_PORT`] if none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this is a host of Azure's own service.
    #[must_use]
    pub fn is_azure(&self) -> bool {
        const SUFFIXES: [&str; 4] = [
            ".servicebus.windows.net",
            ".servicebus.chinacloudapi.cn",
            ".servicebus.usgovcloudapi.net",
            ".servicebus.cloudapi.de",
        ];
        SUFFIXES.iter().any(|suffix| self.host.ends_with(suffix))
    }

    /// Whether `other` is this host or a sibling under the same parent domain of at least two labels.
    ///
    /// Relay nodes name themselves in rendezvous addresses. A listener follows them inside the relay's own domain only,
    /// so that a hostile relay cannot send it around in the listener's network.
    ///
    /// ```
    /// use rs_relay::proto::Authority;
    ///
    /// let relay: Authority = "contoso.servicebus.windows.net".parse()?;
    /// assert!(relay.is_same_domain(&"g12-prod.servicebus.windows.net".parse()?));
    /// assert!(!relay.is_same_domain(&"db.contoso.internal".parse()?));
    /// # Ok::<(), rs_relay::proto::AuthorityError>(())
    /// ```
    #[must_use]
    pub fn is_same_domain(&self, other: &Self) -> bool {
        if self.host == other.host {
            return true;
        }
        if self.is_ip() || other.is_ip() {
            return false;
        }
        match (self.host.split_once('.'), other.host.split_once('.')) {
            (Some((_, ours)), Some((_, theirs))) => ours == theirs && ours.contains('.'),
            _ => false,
        }
    }

    fn is_ip(&self) -> bool {
        self.bare_host().parse::<std::net::IpAddr>().is_ok()
    }
}

/// A text is no `host` or `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no host name or IP address with an optional port; write for example relay.example.test:8443"
)]
pub struct AuthorityError;

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 270 || text.contains(['/', '?', '#', '@', '\\', '%', ' ']) {
            return Err(AuthorityError);
        }
        if text.ends_with(':') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AuthorityError);
        }
        let url = url::Url::parse(&format!("https://{text}/")).map_err(|_| AuthorityError)?;
        let host = url.host_str().ok_or(AuthorityError)?;
        Ok(Self { host: host.into(), port: url.port().unwrap_or(DEFAULT_PORT) })
    }
}

impl TryFrom<String> for Authority {
    type Error = AuthorityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> Self {
        authority.to_string()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            DEFAULT_PORT => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

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
    /// [`clean_reason`]: super::clean_reason
    #[must_use]
    pub fn new(status: u16, text: &str) -> Self {
        let status = if (300..=599).contains(&status) { status } else { Self::DEFAULT.0 };
        let text = super::refusal::clean_reason(text);
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

pub(super) fn decode(value: &str) -> Result<String, TargetError> {
    percent_decode_str(value)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| TargetError::Encoding)
}

/// As [`decode`], with `+` for a space as .NET and Java write it.
pub(super) fn decode_form(value: &str) -> Result<String, TargetError> {
    decode(&value.replace('+', "%20"))
}

/// A tracking id is for logs and for the other side's traces: printable, short, or not there.
pub(super) fn tracking_id(text: &str) -> Option<String> {
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

/// The one-time address at which a listener meets a sender. It is a secret: whoever has it may take the sender.
///
/// `Debug` and `Display` leave the query out.
#[derive(Clone, PartialEq, Eq)]
pub struct RendezvousAddress {
    authority: Authority,
    target: String,
}

impl RendezvousAddress {
    /// Makes the address for a sender: its own path and query, then the parameters of the protocol.
    #[must_use]
    pub fn new(authority: Authority, sender: &Target, tracking_id: &str, id: &RendezvousId) -> Self {
        let path = sender.path.raw();
        let query = sender.application_query.as_deref().map(|q| format!("{q}&")).unwrap_or_default();
        let tracking_id = utf8_percent_encode(tracking_id, VALUE);
        let secret = id.expose();
        let target =
            format!("/$hc/{path}?{query}sb-hc-action=accept&sb-hc-id={tracking_id}&sb-hc-rdv={secret}");
        Self { authority, target }
    }

    /// Makes the address for an HTTP request.
    #[must_use]
    pub fn for_request(
        authority: Authority,
        entity: &EntityPath,
        tracking_id: &str,
        id: &RendezvousId,
    ) -> Self {
        let tracking_id = utf8_percent_encode(tracking_id, VALUE);
        let secret = id.expose();
        let target = format!("/$hc/{entity}?sb-hc-action=request&sb-hc-id={tracking_id}&sb-hc-rdv={secret}");
        Self { authority, target }
    }

    /// Reads the `address` of an accept or request message.
    ///
    /// # Errors
    ///
    /// [`RendezvousAddressError`] when it is no absolute `wss:` URL with a query.
    pub fn parse(text: &str) -> Result<Self, RendezvousAddressError> {
        let scheme = text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("wss://"));
        let rest = scheme.map(|_| &text[6..]).ok_or(RendezvousAddressError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).ok_or(RendezvousAddressError::Target)?;
        let authority = rest[..end].parse().map_err(|_| RendezvousAddressError::Host)?;
        let target = &rest[end..];
        let sane = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !sane || !target.starts_with('/') || !target.contains('?') || target.len() > TARGET_BYTES_MAX {
            return Err(RendezvousAddressError::Target);
        }
        Ok(Self { authority, target: target.to_owned() })
    }

    /// Host and port to dial.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Path and query for the request line, secret included.
    #[must_use]
    pub fn expose_target(&self) -> &str {
        &self.target
    }

    /// The whole address, secret included.
    #[must_use]
    pub fn expose_url(&self) -> String {
        format!("wss://{}{}", self.authority, self.target)
    }

    /// The address that rejects the sender.
    #[must_use]
    pub fn rejecting(&self, rejection: &Rejection) -> Self {
        let text = utf8_percent_encode(rejection.text(), VALUE);
        let status = rejection.status();
        let target = format!("{}&sb-hc-statusCode={status}&sb-hc-statusDescription={text}", self.target);
        Self { authority: self.authority.clone(), target }
    }
}

impl fmt::Display for RendezvousAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "wss://{}{path}?…", self.authority)
    }
}

impl fmt::Debug for RendezvousAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RendezvousAddress({self})")
    }
}

/// Why a text is no rendezvous address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousAddressError {
    /// Not `wss:`.
    #[error("the rendezvous address is no wss: address")]
    Scheme,
    /// No usable host.
    #[error("the rendezvous address has no usable host")]
    Host,
    /// No usable path and query.
    #[error("the rendezvous address has no path with a query, or it is too long")]
    Target,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    #[test]
    fn authority_table() {
        let table = [
            ("localhost", Some(("localhost", 443))),
            ("LOCALHOST:8443", Some(("localhost", 8443))),
            ("127.0.0.1:1", Some(("127.0.0.1", 1))),
            ("[::1]", Some(("[::1]", 443))),
            ("[::1]:9", Some(("[::1]", 9))),
            ("", None),
            ("a b", None),
            ("a/b", None),
            ("user@host", None),
            ("host:", None),
            ("host:99999", None),
            ("host:-1", None),
            ("::1", None),
        ];
        for (text, expected) in table {
            let found = text.parse::<Authority>().ok();
            assert_eq!(found.as_ref().map(|a| (a.host(), a.port())), expected, "{text:?}");
        }
        assert_eq!(Authority::new("::1", 8443).unwrap().to_string(), "[::1]:8443");
        assert_eq!(Authority::new("::1", 8443).unwrap().bare_host(), "::1");
        assert!(Authority::new("host:1", 2).is_err());
    }

    #[test]
    fn rendezvous_hosts_stay_in_the_relays_domain() {
        let relay = |text: &str| text.parse::<Authority>().unwrap();
        assert!(relay("a.example.test").is_same_domain(&relay("a.example.test:8443")));
        assert!(relay("a.example.test").is_same_domain(&relay("b.example.test")));
        assert!(!relay("a.example.test").is_same_domain(&relay("b.a.example.test")));
        assert!(!relay("relay.test").is_same_domain(&relay("other.test")), "a whole top-level domain");
        assert!(!relay("localhost").is_same_domain(&relay("127.0.0.1")));
        assert!(!relay("10.0.0.1").is_same_domain(&relay("9.0.0.1")));
    }

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

    #[test]
    fn r11_reject_address_and_back() {
        let sender = Target::parse("/$hc/hyco/x?statusCode=7&a=b").unwrap();
        assert_eq!(sender.rejection, None, "a parameter of the application");
        let id = RendezvousId::from_bytes([7; 24]);
        let address = RendezvousAddress::new("r.example.test:9".parse().unwrap(), &sender, "x_G0", &id);
        let met = Target::parse(address.expose_target()).unwrap();
        assert_eq!((met.action, met.rendezvous.as_ref()), (Action::Accept, Some(&id)));
        assert_eq!(met.rejection, None);
        assert_eq!(met.application_query.as_deref(), Some("statusCode=7&a=b"));
        let no = Rejection::new(403, "no consent & no way");
        let rejected = Target::parse(address.rejecting(&no).expose_target()).unwrap();
        assert_eq!(rejected.rejection, Some(no.clone()));
        let short =
            format!("{}&statusCode=403&statusDescription=no+consent+%26+no+way", address.expose_target());
        assert_eq!(Target::parse(&short).unwrap().rejection, Some(no));
        assert_eq!(RendezvousAddress::parse(&address.expose_url()).unwrap(), address);
    }

    #[test]
    fn rendezvous_address_table() {
        let table = [
            ("https://h/?x", RendezvousAddressError::Scheme),
            ("ws://h/?x", RendezvousAddressError::Scheme),
            ("wss://h", RendezvousAddressError::Target),
            ("wss://h/x", RendezvousAddressError::Target),
            ("wss://h?x", RendezvousAddressError::Target),
            ("wss://h/x y?x", RendezvousAddressError::Target),
            ("wss://u@h/x?x", RendezvousAddressError::Host),
            ("wss:///x?x", RendezvousAddressError::Host),
        ];
        for (text, error) in table {
            assert_eq!(RendezvousAddress::parse(text), Err(error), "{text}");
        }
        let good = RendezvousAddress::parse("WSS://H:1/$hc/a?secret=1#x").unwrap();
        assert_eq!(good.expose_url(), "wss://h:1/$hc/a?secret=1");
        assert!(!format!("{good:?} {good}").contains("secret"), "sec33: the query is a secret");
    }

    proptest! {
        #[test]
        fn sec44_no_target_panics(text in "(/\\$hc/)?[ -~äö%&=?+/]{0,80}") {
            let _ = Target::parse(&text);
            let _ = RendezvousAddress::parse(&text);
            let _ = text.parse::<Authority>();
        }

        #[test]
        fn authority_prints_back(host in "[a-z][a-z0-9-]{0,10}[a-z0-9](\\.[a-z]{2,5}){0,2}", port in 1u16..) {
            let authority = Authority::new(&host, port).unwrap();
            prop_assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
        }

        #[test]
        fn rendezvous_address_carries_what_the_sender_sent(
            suffix in "[a-z0-9%]{0,0}[a-z0-9]{1,9}", query in proptest::option::of("[a-zA-Z0-9=&+]{1,30}"), bytes: [u8; 24],
        ) {
            let text = format!("/$hc/hyco/{suffix}{}", query.as_ref().map(|q| format!("?{q}")).unwrap_or_default());
            let sender = Target::parse(&text).unwrap();
            let id = RendezvousId::from_bytes(bytes);
            let address = RendezvousAddress::new("h".parse().unwrap(), &sender, "t", &id);
            let met = Target::parse(address.expose_target()).unwrap();
            prop_assert_eq!(met.path, sender.path);
            prop_assert_eq!(met.application_query, sender.application_query);
            prop_assert_eq!(met.rendezvous, Some(id));
            prop_assert!(met.rejection.is_none());
        }
    }
}
