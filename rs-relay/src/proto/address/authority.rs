//! Hosts and ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port of a hybrid connection when none is given.
pub const DEFAULT_PORT: u16 = 443;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn authority_prints_back(host in "[a-z][a-z0-9-]{0,10}[a-z0-9](\\.[a-z]{2,5}){0,2}", port in 1u16..) {
            let authority = Authority::new(&host, port).unwrap();
            prop_assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
        }
    }
}
