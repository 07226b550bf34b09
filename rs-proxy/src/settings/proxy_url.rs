//! The address of a proxy, and the credentials for it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use thiserror::Error;
use url::Url;

/// Longest proxy setting that is read, in bytes.
pub const PROXY_BYTES_MAX: usize = 2048;
/// Longest credentials file or text, in bytes.
pub const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Why a text is no proxy address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// Nothing there.
    #[error("the proxy setting is empty; write http://host:port")]
    Empty,
    /// Longer than [`PROXY_BYTES_MAX`].
    #[error("the proxy setting has {found} bytes, more than {PROXY_BYTES_MAX}; write http://host:port")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// A scheme other than http and https.
    #[error("a proxy of kind '{scheme}' is not supported; Azure Local wants http://host:port")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A PAC file where an address is wanted.
    #[error("'{text}' is a PAC file; Azure Local does not support PAC, write http://host:port")]
    Pac {
        /// The setting.
        text: String,
    },
    /// Not an address at all.
    #[error("'{text}' is no proxy address; write http://host:port")]
    Invalid {
        /// The setting, credentials masked.
        text: String,
    },
}

/// Name and password for a proxy. Never shown.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: SecretString,
}

impl Credentials {
    /// Reads `user:password`, without a line end.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] without a colon, with control characters, or over [`CREDENTIALS_BYTES_MAX`] bytes. The
    /// text is never part of the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use rs_proxy::settings::Credentials;
    ///
    /// let credentials: Credentials = "node:secret\n".parse()?;
    /// assert_eq!(format!("{credentials:?}"), "Credentials { .. }");
    /// assert!("no colon".parse::<Credentials>().is_err());
    /// # Ok::<(), rs_proxy::settings::CredentialsError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() > CREDENTIALS_BYTES_MAX {
            return Err(CredentialsError::TooLong { found: text.len() });
        }
        let (user, password) = text.split_once(':').ok_or(CredentialsError::NoColon)?;
        if text.chars().any(char::is_control) {
            return Err(CredentialsError::Control);
        }
        Ok(Self { user: user.to_owned(), password: password.to_owned().into() })
    }

    /// The value of a `Proxy-Authorization` header. A secret.
    pub(crate) fn basic(&self) -> SecretString {
        use base64::Engine as _;
        let plain = format!("{}:{}", self.user, self.password.expose_secret());
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain)).into()
    }
}

impl FromStr for Credentials {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        Self::parse(text)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Why a text holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// No `:`.
    #[error("the credentials have no colon; write user:password on one line")]
    NoColon,
    /// A control character.
    #[error("the credentials have a control character; write user:password on one line")]
    Control,
    /// Over [`CREDENTIALS_BYTES_MAX`].
    #[error(
        "the credentials have {found} bytes, more than {CREDENTIALS_BYTES_MAX}; write user:password on one line"
    )]
    TooLong {
        /// Bytes found.
        found: usize,
    },
}

/// The address of a proxy: `[http://|https://][user:password@]host[:port]`.
///
/// Without a scheme, http is meant; without a port, 80, or 443 for https. `Display` and JSON leave credentials out.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::ProxyUrl;
///
/// let proxy: ProxyUrl = "user:secret@proxy.example:3128".parse()?;
/// assert_eq!(proxy.to_string(), "http://proxy.example:3128");
/// assert!(proxy.credentials().is_some());
/// assert!("socks5://proxy.example".parse::<ProxyUrl>().is_err());
/// # Ok::<(), rs_proxy::settings::ProxyUrlError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ProxyUrl {
    tls: bool,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

impl ProxyUrl {
    /// Whether the connection to the proxy itself is TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address of the proxy, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The credentials that came with the address or by [`Self::with_credentials`].
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The same proxy with credentials from a file.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Whether two settings mean the same proxy; credentials do not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.tls == other.tls && self.port == other.port && self.host == other.host
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        let invalid = || ProxyUrlError::Invalid { text: crate::name::shown(text) };
        if text.is_empty() {
            return Err(ProxyUrlError::Empty);
        }
        if text.len() > PROXY_BYTES_MAX {
            return Err(ProxyUrlError::TooLong { found: text.len() });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(ProxyUrlError::Scheme { scheme: crate::name::shown(scheme) }),
        };
        if rest.split(['?', '#']).next().is_some_and(|path| path.to_ascii_lowercase().ends_with(".pac")) {
            return Err(ProxyUrlError::Pac { text: crate::name::shown(text) });
        }
        let url = Url::parse(&format!("http://{rest}")).map_err(|_| invalid())?;
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(invalid()),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || host.is_empty() || host.contains('*') {
            return Err(invalid());
        }
        let given = has_port(rest);
        let port = if given {
            url.port().unwrap_or(80)
        } else if tls {
            443
        } else {
            80
        };
        if port == 0 {
            return Err(invalid());
        }
        Ok(Self { tls, host, port, credentials: credentials(&url) })
    }
}

/// Whether the authority names a port.
fn has_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    host.split_once(':').is_some_and(|(_, port)| !port.is_empty())
}

/// The decoded user and password of a URL.
fn credentials(url: &Url) -> Option<Credentials> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().map(decode);
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    Some(Credentials { user: decode(url.username()), password: password.unwrap_or_default().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_proxy_address() {
        for (text, expected) in [
            ("proxy:3128", "http://proxy:3128"),
            ("http://proxy:8080/", "http://proxy:8080"),
            ("http://proxy", "http://proxy:80"),
            ("http://proxy:80", "http://proxy:80"),
            ("https://proxy", "https://proxy:443"),
            ("https://proxy:80", "https://proxy:80"),
            ("HTTP://PROXY.Example:1", "http://proxy.example:1"),
            ("[::1]:3128", "http://[::1]:3128"),
            ("192.168.1.250:8080", "http://192.168.1.250:8080"),
        ] {
            assert_eq!(text.parse::<ProxyUrl>().unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "socks5://p:1",
            "http://p:0",
            "http://p:99999",
            "http://p/x.pac",
            "p q",
            "http://p/path",
            "*:1",
        ] {
            assert!(text.parse::<ProxyUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn sec_secrets_never_show() {
        let proxy: ProxyUrl = "http://user:s3%40cret@proxy:3128".parse().unwrap();
        for text in [format!("{proxy:?}"), proxy.to_string(), serde_json::to_string(&proxy).unwrap()] {
            assert!(!text.contains("cret") && !text.contains("user"), "{text}");
        }
        assert_eq!(proxy.credentials().unwrap().basic().expose_secret(), "Basic dXNlcjpzM0BjcmV0");
        let error = "http://user:s3cret@pro xy:1".parse::<ProxyUrl>().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn credentials_have_a_bound() {
        let text = |bytes: usize| format!("u:{}", "x".repeat(bytes - 2));
        assert!(Credentials::parse(&text(CREDENTIALS_BYTES_MAX)).is_ok());
        assert!(Credentials::parse(&text(CREDENTIALS_BYTES_MAX + 1)).is_err());
        assert!(Credentials::parse("u:p\nv:q").is_err());
    }
}
