//! The drivers: connecting through a proxy, and probing every hop. Needs tokio; feature `probe`.
//!
//! [`Dialer`] is for real connections: it opens a stream to a target by the node's settings, and the caller puts its
//! own TLS on it. [`probe::run`] tells for each endpoint whether it is usable and, if not, which hop is at fault.
//!
//! Name resolution is the operating system's and runs on a blocking thread; a runtime that is dropped waits for it, so
//! shut it down with a time-out where the program must end at once.

mod platform;
pub mod probe;
mod stream;
mod trust;
mod tunnel;

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

pub use platform::system_sources;
pub use stream::{FIRST_BYTES_MAX, Stream};
pub use trust::{CA_CERTIFICATES_MAX, Trust, TrustError};

use crate::hop::Failure;
use crate::name::{HostName, HostPattern, Target};
use crate::settings::{CREDENTIALS_BYTES_MAX, Credentials, CredentialsError, Settings};

/// Longest time that sent bytes may go unacknowledged before the system ends the connection with an error (Linux; Windows
/// gives up after about as long by itself). So a way that died without a word is found by whoever sends on it.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// How long each step may take.
///
/// # Defaults
///
/// Name 5 s, TCP 5 s, answer to CONNECT 10 s, TLS 10 s, first byte 10 s, the whole of one endpoint 30 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Name resolution.
    pub dns: Duration,
    /// TCP connection, all addresses of a name together.
    pub tcp: Duration,
    /// The proxy's answer to CONNECT.
    pub connect_answer: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The first byte of the HTTP answer.
    pub http: Duration,
    /// One endpoint altogether.
    pub whole: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            dns: seconds(5),
            tcp: seconds(5),
            connect_answer: seconds(10),
            tls: seconds(10),
            http: seconds(10),
            whole: seconds(30),
        }
    }
}

impl Deadlines {
    /// The defaults with another limit for the whole of an endpoint. A longer limit lengthens the steps in proportion.
    #[must_use]
    pub fn within(whole: Duration) -> Self {
        let default = Self::default();
        let factor = (whole.as_secs_f64() / default.whole.as_secs_f64()).max(1.0);
        Self {
            dns: default.dns.mul_f64(factor),
            tcp: default.tcp.mul_f64(factor),
            connect_answer: default.connect_answer.mul_f64(factor),
            tls: default.tls.mul_f64(factor),
            http: default.http.mul_f64(factor),
            whole,
        }
    }
}

/// Addresses given by hand instead of DNS.
///
/// # Examples
///
/// ```
/// use rs_proxy::net::Resolve;
///
/// let mut resolve = Resolve::default();
/// resolve.add("proxy.example:3128:127.0.0.1".parse()?);
/// assert!("proxy.example:3128".parse::<rs_proxy::net::ResolveEntry>().is_err());
/// # Ok::<(), rs_proxy::net::ResolveError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Resolve(Vec<ResolveEntry>);

/// One `HOST:PORT:ADDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveEntry {
    host: String,
    port: u16,
    address: IpAddr,
}

/// A text that is no `HOST:PORT:ADDR`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is not HOST:PORT:ADDR, for example proxy.example:3128:10.0.0.1")]
pub struct ResolveError {
    text: String,
}

impl Resolve {
    /// Adds an entry; of two for the same host and port the first counts.
    pub fn add(&mut self, entry: ResolveEntry) {
        self.0.push(entry);
    }

    fn find(&self, host: &str, port: u16) -> Option<IpAddr> {
        let found = self.0.iter().find(|entry| entry.port == port && entry.host.eq_ignore_ascii_case(host));
        found.map(|entry| entry.address)
    }
}

impl FromStr for ResolveEntry {
    type Err = ResolveError;

    fn from_str(text: &str) -> Result<Self, ResolveError> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, address) = rest.split_once(':')?;
            let address = address.trim_matches(['[', ']']).parse().ok()?;
            let host: HostName = host.parse().ok()?;
            Some(Self { host: host.to_string(), port: port.parse().ok().filter(|&port| port > 0)?, address })
        };
        parse().ok_or_else(|| ResolveError { text: crate::name::shown(text) })
    }
}

/// Why credentials cannot be read from a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CredentialsFileError {
    /// The file cannot be read.
    #[error("the credentials file {path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("the credentials file {path} can be read by others (mode {mode:o}); make it 0600")]
    Mode {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The contents are no credentials.
    #[error("the credentials file {path} cannot be used")]
    Contents {
        /// The file.
        path: String,
        /// The reason; never the text itself.
        #[source]
        source: CredentialsError,
    },
}

/// Reads `user:password` from a file that only its owner can read.
///
/// # Errors
///
/// [`CredentialsFileError`] when the file cannot be read, others can read it (Unix), or its contents do not fit.
pub fn credentials_from_file(path: &Path) -> Result<Credentials, CredentialsFileError> {
    let shown = || path.display().to_string();
    let read = |source| CredentialsFileError::Read { path: shown(), source };
    let mut file = std::fs::File::open(path).map_err(read)?;
    if let Some(mode) = open_to_others(&file.metadata().map_err(read)?) {
        return Err(CredentialsFileError::Mode { path: shown(), mode });
    }
    let mut text = String::new();
    let limit = CREDENTIALS_BYTES_MAX as u64 + 3; // a line end, and one more to notice the excess
    std::io::Read::read_to_string(&mut std::io::Read::take(&mut file, limit), &mut text).map_err(read)?;
    text.parse().map_err(|source| CredentialsFileError::Contents { path: shown(), source })
}

/// The permissions, if others than the owner have some.
#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Windows files carry no mode; their access list is the administrator's business.
#[cfg(not(unix))]
fn open_to_others(_metadata: &std::fs::Metadata) -> Option<u32> {
    None
}

/// Opens connections as the node's settings say: direct, or through a proxy by CONNECT.
///
/// A connection on which nothing is acknowledged for [`UNACKNOWLEDGED_MAX`] ends with an error. Behind a proxy that counts
/// for the way to the proxy: what lies behind it is for the protocol above to watch.
///
/// # Examples
///
/// ```no_run
/// use rs_proxy::net::{Dialer, Trust};
/// use rs_proxy::settings::Settings;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::through("http://proxy.example:3128".parse()?);
/// let stream = Dialer::new(settings, Trust::system()?).connect("relay.example", 443).await?;
/// # let _ = stream;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Dialer {
    settings: Settings,
    trust: Trust,
    resolve: Resolve,
    deadlines: Deadlines,
}

impl Dialer {
    /// A dialer with default deadlines. `trust` verifies the proxy's own certificate, for https:// proxies.
    #[must_use]
    pub fn new(settings: Settings, trust: Trust) -> Self {
        Self { settings, trust, resolve: Resolve::default(), deadlines: Deadlines::default() }
    }

    /// Uses addresses given by hand.
    #[must_use]
    pub fn with_resolve(mut self, resolve: Resolve) -> Self {
        self.resolve = resolve;
        self
    }

    /// Uses other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Opens a stream to a host, a name or an address.
    ///
    /// # Errors
    ///
    /// The [`Failure`] of the first hop that failed, with evidence, cause and fix.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened; nothing else is lost.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Stream, Failure> {
        let entry = host.parse().ok().map(|name| HostPattern::exact(Target::new(name, port)));
        let opening = tunnel::Opening {
            host,
            port,
            entry: entry.as_ref(),
            trust: &self.trust,
            resolve: &self.resolve,
            deadlines: &self.deadlines,
            end: Instant::now() + self.deadlines.whole,
        };
        let route = self.settings.route(host, port);
        Ok(opening.open(&route, &mut tunnel::Unwatched).await?.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_entries_parse() {
        let entry: ResolveEntry = "Proxy.Example:3128:[::1]".parse().unwrap();
        let mut resolve = Resolve::default();
        resolve.add(entry);
        assert_eq!(resolve.find("proxy.example", 3128), Some("::1".parse().unwrap()));
        assert_eq!(resolve.find("proxy.example", 1), None);
        for text in ["", "a:1", "a:x:127.0.0.1", "a:0:127.0.0.1", "a:1:host"] {
            assert!(text.parse::<ResolveEntry>().is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn sec_credentials_come_from_a_protected_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "user:secret\n").unwrap();
        let mode =
            |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert!(credentials_from_file(file.path()).is_ok());
        mode(0o640); // control: readable by the group
        let error = credentials_from_file(file.path()).unwrap_err();
        assert!(matches!(error, CredentialsFileError::Mode { mode: 0o640, .. }));
        mode(0o600);
        std::fs::write(file.path(), "secret without a colon").unwrap();
        let error = credentials_from_file(file.path()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    /// The control is the first half: a socket that nobody told waits for many minutes.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sec47_the_system_is_told_to_give_up_dead_ways() {
        use rustix::net::sockopt::tcp_user_timeout;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(tcp_user_timeout(&plain).unwrap(), 0);
        let dialer = Dialer::new(Settings::direct(), Trust::system().unwrap());
        let stream = dialer.connect("127.0.0.1", address.port()).await.unwrap();
        assert_eq!(tcp_user_timeout(stream.socket()).unwrap(), 20_000);
    }

    #[test]
    fn deadlines_grow_in_proportion_and_never_shrink_below_their_default() {
        assert_eq!(Deadlines::within(Duration::from_secs(30)), Deadlines::default());
        assert_eq!(Deadlines::within(Duration::from_secs(60)).tls, Duration::from_secs(20));
        assert_eq!(Deadlines::within(Duration::from_secs(3)).tls, Duration::from_secs(10));
    }
}
