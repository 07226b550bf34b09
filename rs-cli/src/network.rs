//! The way to the network: which proxy, with which credentials; and in a line what keeps a relay from being reached.
//!
//! The node's agent and the engineer's client dial through [`Way`]. An attempt that fails says at which hop, why, and
//! what to do; where it cannot know that ([`trouble`]), the probe of rs-proxy is asked ([`Question`]).

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use rs_proxy::hop::Failure as HopFailure;
use rs_proxy::net::probe::{self, Plan, Quiet, Report};
use rs_proxy::net::{Deadlines, Trust, credentials_from_file, system_sources};
use rs_proxy::settings::{Route, Settings, Sources, is_loopback};
use rs_proxy::{Cloud, Hop, Profile, Target};
use rs_relay::BoxedStream;
use rs_relay::client::Dialer;
use rs_relay::proto::Authority;
use tokio::time::Instant;

use crate::outcome::{ErrorCode, Failure};

/// Longest attempt to open a stream to the relay, TLS with the relay apart. Shorter than the relay client's own limit,
/// so that the hop that is at fault is known before that.
const DIAL_MAX: Duration = Duration::from_secs(15);

/// How long a proxy that refused the credentials is left alone. An agent tries every two seconds, and a directory locks
/// an account after some wrong passwords.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// How the network is reached.
#[derive(Debug, Clone, Default, Args)]
pub struct ProxyArgs {
    /// Proxy to go through, as http://HOST:PORT or https://HOST:PORT, or `direct` for none [default: what the environment
    /// (HTTPS_PROXY, NO_PROXY) or the system says; this machine itself is then reached without a proxy].
    #[arg(long, value_name = "URL|direct", env = "REMOTE_SUPPORT_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// File with user:password for the proxy, mode 0600; sent as Basic authentication.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_PROXY_CREDENTIALS_FILE", hide_env_values = true)]
    pub proxy_credentials_file: Option<PathBuf>,
}

impl ProxyArgs {
    /// What the environment sets for all commands of this program, for commands without these options.
    #[must_use]
    pub fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            proxy: set("REMOTE_SUPPORT_PROXY").and_then(|value| value.into_string().ok()),
            proxy_credentials_file: set("REMOTE_SUPPORT_PROXY_CREDENTIALS_FILE").map(PathBuf::from),
        }
    }

    /// The settings of this machine, the flag first.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] for a flag that is no proxy address, or that holds a password.
    pub fn way(&self) -> Result<Way, Failure> {
        let sources = Sources { flag: flag(self.proxy.as_deref())?, ..system_sources() };
        Ok(Way { settings: Settings::read(&sources), credentials: self.proxy_credentials_file.clone() })
    }
}

/// The flag as the settings take it; an empty one says nothing.
pub(crate) fn flag(text: Option<&str>) -> Result<Option<String>, Failure> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = text.filter(|text| !text.eq_ignore_ascii_case("direct")) {
        check(text)?;
    }
    Ok(text.map(str::to_owned))
}

/// A flag that cannot be used is refused without repeating it: it may hold a password.
fn check(text: &str) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(ErrorCode::InvalidValue, what.to_owned()).about("--proxy");
    let proxy = text.parse::<rs_proxy::settings::ProxyUrl>().map_err(|error| {
        refused("the proxy cannot be used")
            .because(error)
            .next_step("write http://HOST:PORT, or `direct` for no proxy")
    })?;
    if proxy.credentials().is_some() {
        return Err(refused("a password does not belong on the command line, where other users can read it")
            .next_step(
                "write user:password into a file of mode 0600 and name it with --proxy-credentials-file",
            ));
    }
    Ok(())
}

/// How the network is reached: direct, or through a proxy.
#[derive(Debug, Clone)]
pub struct Way {
    settings: Settings,
    credentials: Option<PathBuf>,
}

impl Way {
    /// Without a proxy, whatever the system says.
    #[must_use]
    pub fn direct() -> Self {
        Self { settings: Settings::direct(), credentials: None }
    }

    /// The file with the proxy's credentials.
    #[must_use]
    pub fn credentials_file(&self) -> Option<&PathBuf> {
        self.credentials.as_ref()
    }

    /// The settings with the credentials, read anew each time.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NotFound`], [`ErrorCode::Io`], [`ErrorCode::UnsafePermissions`] and [`ErrorCode::InvalidFile`] of the
    /// credentials' file.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let Some(path) = &self.credentials else { return Ok(self.settings.clone()) };
        // First our own reading: it tells a missing file from an unsafe one, and takes no links.
        crate::files::read_secret(path)?;
        let credentials = credentials_from_file(path).map_err(|error| {
            Failure::new(ErrorCode::InvalidFile, "the proxy's credentials cannot be used").because(error)
        })?;
        Ok(self.settings.clone().with_credentials(credentials))
    }

    /// Opens streams this way.
    ///
    /// # Errors
    ///
    /// As [`Way::settings`].
    pub fn dialer(&self) -> Result<Arc<dyn Dialer>, Failure> {
        Ok(Arc::new(ProxyDialer { dialer: self.plain_dialer()?, refused: Mutex::default() }))
    }

    /// Opens streams this way to any host.
    ///
    /// # Errors
    ///
    /// As [`Way::settings`].
    pub fn plain_dialer(&self) -> Result<rs_proxy::net::Dialer, Failure> {
        let dialer = rs_proxy::net::Dialer::new(self.settings()?, trust(None)?);
        Ok(dialer.with_deadlines(Deadlines::within(DIAL_MAX)))
    }

    /// How a relay is reached, in words.
    #[must_use]
    pub fn describe(&self, relay: &Authority) -> String {
        match self.settings.route(relay.bare_host(), relay.port()) {
            Route::Direct => "without a proxy".to_owned(),
            Route::Proxy(proxy) => format!("through {proxy}"),
            Route::Unusable(problem) => format!("by a setting that cannot be used ({problem})"),
        }
    }
}

/// The system's certificates, and those of a PEM text.
pub(crate) fn trust(more: Option<&[u8]>) -> Result<Trust, Failure> {
    let unusable = |error| {
        Failure::new(ErrorCode::InvalidFile, "the certificates of an authority cannot be used").because(error)
    };
    let system = Trust::system().map_err(unusable)?;
    more.map_or(Ok(system.clone()), |pem| system.with_ca_pem(pem)).map_err(unusable)
}

/// Dials the relay through the node's proxy.
#[derive(Debug)]
struct ProxyDialer {
    dialer: rs_proxy::net::Dialer,
    refused: Mutex<Option<(Instant, HopFailure)>>,
}

impl ProxyDialer {
    fn refused(&self) -> Option<HopFailure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, failure) = refused.as_ref()?;
        (since.elapsed() < REFUSED_PAUSE).then(|| failure.clone())
    }
}

#[async_trait]
impl Dialer for ProxyDialer {
    async fn dial(&self, authority: &Authority) -> io::Result<BoxedStream> {
        if let Some(failure) = self.refused() {
            return Err(io::Error::other(failure));
        }
        let failure = match self.dialer.connect(authority.bare_host(), authority.port()).await {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(failure) => failure,
        };
        if failure.hop == Hop::ProxyAuth {
            let refused = Some((Instant::now(), failure.clone()));
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        }
        Err(io::Error::other(failure))
    }
}

/// What an attempt to reach the relay knows itself of the hop that failed, in a line: hop, cause, what to do.
///
/// # Examples
///
/// ```
/// let refused = std::io::Error::other("refused with status 401");
/// assert_eq!(rs_cli::network::trouble(&refused), None);
/// ```
#[must_use]
pub fn trouble(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(failure) = inner.and_then(|inner| inner.downcast_ref::<HopFailure>()) {
            return Some(line(failure.hop, &failure.explanation, &failure.fix));
        }
        next = error.source();
    }
    None
}

fn line(hop: Hop, explanation: &str, fix: &str) -> String {
    let fix = fix.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let text = format!("{hop}: {explanation}. {fix}");
    crate::output::safe(text.trim_end_matches([' ', '.', ':']))
}

/// What stops the connection, in a line, by a report of the probe; nothing where all is well.
pub(crate) fn verdict(report: &Report) -> Option<String> {
    let failed = report.endpoints.iter().find_map(|endpoint| Some((endpoint.hop?, endpoint)));
    failed.map(|(hop, endpoint)| line(hop, &endpoint.explanation, &endpoint.fix))
}

/// The question why one relay is not reached.
#[derive(Debug)]
pub struct Question(Plan);

impl Question {
    /// About a relay, reached in a way; `authority` are the certificates of the relay's own authority, PEM. `None` for a
    /// relay without a name, which the probe does not know.
    ///
    /// # Errors
    ///
    /// As [`Way::settings`], and [`ErrorCode::InvalidFile`] for certificates that cannot be used.
    pub fn new(relay: &Authority, way: &Way, authority: Option<&[u8]>) -> Result<Option<Self>, Failure> {
        let Some(profile) = profile(relay) else { return Ok(None) };
        Ok(Some(Self(Plan::new(profile, way.settings()?, trust(authority)?))))
    }

    /// Asks the network; ends within `limit`.
    pub async fn ask(mut self, limit: Duration) -> Report {
        self.0.deadlines = Deadlines::within(limit);
        probe::run(self.0, Arc::new(Quiet)).await
    }
}

/// The one endpoint that a relay is: a namespace of its cloud, or a host of its own.
fn profile(relay: &Authority) -> Option<Profile> {
    let host = relay.bare_host().parse().ok()?;
    let relay = Target::new(host, relay.port());
    let cloud = [Cloud::Public, Cloud::Usgov, Cloud::China].into_iter().map(Profile::of);
    let cloud = cloud.into_iter().find(|profile| profile.endpoint_for(&relay).is_some());
    let profile = cloud.unwrap_or_else(|| Profile::of(Cloud::Custom)).with_relay(relay.clone());
    let id = profile.endpoint_for(&relay)?.id.clone();
    profile.only([id.as_str()]).ok()
}

/// Whether a relay runs on this machine.
#[must_use]
pub fn is_local(relay: &Authority) -> bool {
    is_loopback(relay.bare_host())
}

/// Runs a future to its end on a runtime of its own that is left behind: a name that is still being looked up holds
/// nobody up.
///
/// # Errors
///
/// [`ErrorCode::Internal`] where the runtime cannot be started, and what the future fails with.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(ErrorCode::Internal, "cannot start the runtime").because(error))?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(proxy: &str) -> Result<Way, Failure> {
        ProxyArgs { proxy: Some(proxy.to_owned()), proxy_credentials_file: None }.way()
    }

    #[test]
    fn sec33_a_flag_that_cannot_be_used_is_refused_and_a_password_not_repeated() {
        for text in
            ["socks5://proxy.example", "http://", "http://u:canary@proxy.example", "u:canary@[", "a b"]
        {
            let failure = way(text).expect_err(text);
            assert_eq!(failure.code(), ErrorCode::InvalidValue, "{text}");
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
    }

    #[test]
    fn p11_a_flag_wins_also_for_this_machine() {
        for (flag, expected) in
            [("DIRECT", "without a proxy"), ("proxy.example:3128", "through http://proxy.example:3128")]
        {
            let way = way(flag).expect("good");
            for relay in ["relay.example:443", "localhost:8443"] {
                assert_eq!(way.describe(&relay.parse().expect("an authority")), expected, "{flag} {relay}");
            }
        }
    }

    #[test]
    fn a_relay_is_the_endpoint_of_its_cloud_or_one_of_its_own() {
        for (relay, id) in [
            ("node.servicebus.windows.net", Some("servicebus")),
            ("node.servicebus.windows.net:8443", Some("relay")),
            ("node.servicebus.usgovcloudapi.net", Some("servicebus")),
            ("relay.example:8443", Some("relay")),
            ("localhost:8443", Some("relay")),
            ("127.0.0.1:8443", None),
        ] {
            let profile = profile(&relay.parse().expect("an authority"));
            let ids: Option<Vec<_>> =
                profile.map(|profile| profile.endpoints().iter().map(|one| one.id.to_string()).collect());
            assert_eq!(ids, id.map(|id| vec![id.to_owned()]), "{relay}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_refuses_the_credentials_is_left_alone_for_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let answer = b"HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm=x\r\n\r\n";
                // A client that has left sees nothing of it.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        let dialer = way(&proxy).expect("good").dialer().expect("good");
        let relay = "relay.example".parse().expect("an authority");
        for (waited, expected) in [(0, 1), (1, 1), (58, 1), (2, 2)] {
            tokio::time::advance(Duration::from_secs(waited)).await;
            let Err(error) = dialer.dial(&relay).await else { panic!("refused") };
            let said = trouble(&error).expect("the hop is known");
            assert!(said.starts_with("proxy-auth: ") && said.contains("Basic"), "{said}");
            assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), expected, "after {waited} s more");
        }
    }
}
