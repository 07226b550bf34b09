//! Which proxy the node uses, out of all the places that can say so; and where they disagree.
//!
//! Azure Local wants three settings, WinINET, WinHTTP and the environment, with *different* bypass syntax; the Arc agent
//! has a fourth. Which of them the remote support agent of the product reads is not documented, so all are read and
//! compared. Everything here works on texts; [`Sources::from_environment`] and the caller's files supply them.

mod bypass;
mod proxy_url;
pub mod winhttp;

use serde::Serialize;

pub use bypass::{
    CLIENTS, Client, Lint, WindowsBypass, lint_no_proxy, lint_windows, no_proxy_bypasses, windows_bypass,
};
pub use proxy_url::{
    CREDENTIALS_BYTES_MAX, Credentials, CredentialsError, PROXY_BYTES_MAX, ProxyUrl, ProxyUrlError,
};

use crate::allowlist::Finding;
use crate::endpoint::{ArcGateway, Endpoint, Profile};
use crate::name::Target;
use crate::severity::Severity;

/// A place that can name a proxy. The order is the order in which one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A flag on the command line.
    Flag,
    /// `HTTPS_PROXY` and `NO_PROXY` of this process.
    Environment,
    /// `Environment=` lines of a systemd unit.
    Systemd,
    /// `azcmagent config`.
    Arc,
    /// WinHTTP.
    WinHttp,
    /// WinINET.
    WinInet,
}

impl Source {
    /// Name for sentences.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Flag => "the --proxy flag",
            Self::Environment => "the environment (HTTPS_PROXY)",
            Self::Systemd => "the systemd unit",
            Self::Arc => "the Arc agent (proxy.url)",
            Self::WinHttp => "WinHTTP",
            Self::WinInet => "WinINET",
        }
    }
}

/// The texts to read. Whatever is `None` or empty says nothing.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::{Settings, Sources};
///
/// let sources = Sources {
///     environment: vec![("HTTPS_PROXY".into(), "http://a:3128".into()), ("NO_PROXY".into(), ".internal".into())],
///     winhttp: Some("WinHTTP\n    Proxy Server(s) :  http://b:8080\n".into()),
///     ..Sources::default()
/// };
/// let settings = Settings::read(&sources);
/// assert_eq!(settings.proxy().unwrap().to_string(), "http://a:3128");
/// assert!(settings.findings.iter().any(|finding| finding.text.contains("disagree")));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The flag: an address, or `direct` for no proxy.
    pub flag: Option<String>,
    /// Environment variables; others than the proxy's are ignored.
    pub environment: Vec<(String, String)>,
    /// Text of a systemd unit or drop-in, or of `systemctl show -p Environment`.
    pub systemd: Option<String>,
    /// Output of `azcmagent config list`.
    pub arc: Option<String>,
    /// Output of `netsh winhttp show proxy` or `Get-WinhttpProxy`.
    pub winhttp: Option<String>,
    /// Output of `reg query` of the `Internet Settings` key.
    pub wininet: Option<String>,
}

impl Sources {
    /// The environment of this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let environment =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { environment: environment.collect(), ..Self::default() }
    }
}

/// How a setting says who goes past the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "list")]
pub enum Bypass {
    /// Nobody.
    None,
    /// A `NO_PROXY` list.
    NoProxy(String),
    /// A Windows list.
    Windows(String),
    /// Services by name, as `azcmagent` has them: `AAD`, `ARM` and so on.
    Services(Vec<String>),
}

/// One place's setting.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The place.
    pub source: Source,
    /// Its proxy; none means direct.
    pub proxy: Option<ProxyUrl>,
    /// Who goes past it.
    pub bypass: Bypass,
    /// Why the setting cannot be used, if so.
    pub problem: Option<String>,
}

/// How to reach a target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Route {
    /// Without a proxy.
    Direct,
    /// Through a proxy.
    Proxy(ProxyUrl),
    /// Not at all, for the setting cannot be used: the reason.
    Unusable(String),
}

/// All settings, the one that wins first.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The settings that were found, in the order in which they win.
    pub settings: Vec<Setting>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// Whether the Arc agent goes through the Arc gateway.
    pub arc_gateway: bool,
}

impl Settings {
    /// Reads all sources.
    #[must_use]
    pub fn read(sources: &Sources) -> Self {
        let mut settings: Vec<Setting> = Vec::new();
        let mut findings = Vec::new();
        settings.extend(sources.flag.as_deref().filter(|flag| !flag.trim().is_empty()).map(flag));
        settings.extend(environment(Source::Environment, &sources.environment, &mut findings));
        settings.extend(
            sources
                .systemd
                .as_deref()
                .and_then(|text| environment(Source::Systemd, &systemd_variables(text), &mut findings)),
        );
        settings.extend(sources.arc.as_deref().and_then(arc));
        for (source, text) in [(Source::WinHttp, &sources.winhttp), (Source::WinInet, &sources.wininet)] {
            settings.extend(text.as_deref().and_then(|text| windows(source, text, &mut findings)));
        }
        findings.extend(settings.iter().flat_map(lints));
        findings.extend(disagreement(&settings));
        let arc_gateway = sources.arc.as_deref().is_some_and(uses_gateway);
        Self { settings, findings, arc_gateway }
    }

    /// No proxy at all.
    #[must_use]
    pub fn direct() -> Self {
        Self::default()
    }

    /// One proxy for everything.
    #[must_use]
    pub fn through(proxy: ProxyUrl) -> Self {
        let setting =
            Setting { source: Source::Flag, proxy: Some(proxy), bypass: Bypass::None, problem: None };
        Self { settings: vec![setting], ..Self::default() }
    }

    /// The setting that wins.
    #[must_use]
    pub fn winner(&self) -> Option<&Setting> {
        self.settings.first()
    }

    /// The proxy that wins.
    #[must_use]
    pub fn proxy(&self) -> Option<&ProxyUrl> {
        self.winner()?.proxy.as_ref()
    }

    /// Gives the winning proxy credentials from a protected file.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        if let Some(setting) = self.settings.first_mut() {
            setting.proxy = setting.proxy.take().map(|proxy| proxy.with_credentials(credentials));
        }
        self
    }

    /// How this crate reaches a target, by the setting that wins. A name in `NO_PROXY` covers itself and what is below,
    /// with or without a dot in front; addresses and networks count for addresses. This machine itself is reached
    /// without a proxy, unless the proxy was named by a flag.
    ///
    /// # Examples
    ///
    /// ```
    /// use rs_proxy::settings::{Route, Settings, Sources};
    ///
    /// let environment = vec![("HTTPS_PROXY".into(), "http://proxy.example:3128".into())];
    /// let settings = Settings::read(&Sources { environment, ..Sources::default() });
    /// assert!(matches!(settings.route("relay.example", 443), Route::Proxy(_)));
    /// assert!(matches!(settings.route("localhost", 8443), Route::Direct));
    /// ```
    #[must_use]
    pub fn route(&self, host: &str, port: u16) -> Route {
        let Some(setting) = self.winner() else { return Route::Direct };
        if let Some(problem) = &setting.problem {
            return Route::Unusable(problem.clone());
        }
        match &setting.proxy {
            Some(proxy) if !bypasses(setting, host, port) => Route::Proxy(proxy.clone()),
            _ => Route::Direct,
        }
    }

    /// What the settings mean for the endpoints of a profile: names that go past the proxy, readers that disagree.
    #[must_use]
    pub fn findings_for(&self, profile: &Profile) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.gateway_finding(profile).into_iter().collect();
        for setting in self.settings.iter().filter(|setting| setting.proxy.is_some()) {
            findings.extend(
                profile.endpoints().iter().filter_map(|endpoint| endpoint_finding(setting, endpoint)),
            );
        }
        findings
    }
}

impl Settings {
    /// What the Arc gateway does not carry.
    fn gateway_finding(&self, profile: &Profile) -> Option<Finding> {
        let missing = profile.endpoints().iter().filter(|e| e.arc_gateway != ArcGateway::Carried);
        let missing: Vec<&str> = missing.map(|e| e.id.as_str()).collect();
        (self.arc_gateway && !missing.is_empty()).then(|| {
            let text = format!(
                "the node uses the Arc gateway, which does not carry {} (or not all of it): these still need the enterprise proxy",
                missing.join(", ")
            );
            Finding::new(Severity::Note, None, text)
        })
    }
}

/// Whether `azcmagent config list` says that the gateway is used.
fn uses_gateway(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.lines().any(|line| line.trim_start().starts_with("connection.type") && line.contains("gateway"))
}

/// Whether a setting sends a host past its proxy.
fn bypasses(setting: &Setting, host: &str, port: u16) -> bool {
    if setting.source != Source::Flag && is_loopback(host) {
        return true;
    }
    match &setting.bypass {
        Bypass::None => false,
        Bypass::NoProxy(list) => no_proxy_bypasses(Client::Curl, list, host, port),
        Bypass::Windows(list) => windows_bypass(list, host) == WindowsBypass::Direct,
        Bypass::Services(services) => {
            host.starts_with("login.microsoftonline.")
                && services.iter().any(|s| s.eq_ignore_ascii_case("AAD"))
        }
    }
}

/// Whether a name or address means this very machine: `localhost`, names below it, loopback addresses.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::is_loopback;
///
/// assert!(["localhost", "Relay.LocalHost", "127.0.0.2", "::1", "[::1]"].into_iter().all(is_loopback));
/// assert!(!["localhost.example", "10.0.0.1", "::2", ""].into_iter().any(is_loopback));
/// ```
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    last.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A word about one endpoint and one setting.
fn endpoint_finding(setting: &Setting, endpoint: &Endpoint) -> Option<Finding> {
    let target = endpoint.probe_target().unwrap_or_else(|| example(endpoint));
    let (host, port) = (target.host().as_str(), target.port());
    if let Bypass::NoProxy(list) = &setting.bypass {
        let direct: Vec<&str> = CLIENTS
            .into_iter()
            .filter(|c| no_proxy_bypasses(*c, list, host, port))
            .map(Client::as_str)
            .collect();
        if !direct.is_empty() && direct.len() < CLIENTS.len() {
            let text = format!(
                "NO_PROXY sends {host} past the proxy in {} but not in other clients; list the name with and without a dot",
                direct.join(", ")
            );
            return Some(Finding::warning(None, text));
        }
    }
    bypasses(setting, host, port).then(|| {
        let text =
            format!("{} sends {host} past the proxy: the direct path must work", setting.source.describe());
        Finding::warning(None, text)
    })
}

/// A name that a wildcard stands for.
fn example(endpoint: &Endpoint) -> Target {
    let name = format!("rs7f3a.{}", endpoint.pattern.name());
    name.parse().unwrap_or_else(|_| Target::new(endpoint.pattern.name().clone(), endpoint.pattern.port()))
}

fn flag(text: &str) -> Setting {
    let setting = |proxy, problem| Setting { source: Source::Flag, proxy, bypass: Bypass::None, problem };
    if text.trim().eq_ignore_ascii_case("direct") {
        return setting(None, None);
    }
    match text.parse() {
        Ok(proxy) => setting(Some(proxy), None),
        Err(error) => setting(None, Some(ProxyUrlError::to_string(&error))),
    }
}

/// `HTTPS_PROXY` and its family; lower case first, as curl has it.
fn environment(
    source: Source,
    variables: &[(String, String)],
    findings: &mut Vec<Finding>,
) -> Option<Setting> {
    let exact = |name: &str| {
        variables.iter().find(|(key, _)| key == name).map(|(_, v)| v.trim()).filter(|v| !v.is_empty())
    };
    let either = |name: &str| exact(&name.to_ascii_lowercase()).or_else(|| exact(&name.to_ascii_uppercase()));
    if let (Some(lower), Some(upper)) = (exact("https_proxy"), exact("HTTPS_PROXY"))
        && lower != upper
    {
        findings.push(Finding::warning(
            None,
            "https_proxy and HTTPS_PROXY differ: clients disagree which one counts",
        ));
    }
    let Some(text) = either("https_proxy").or_else(|| either("all_proxy")) else {
        if either("http_proxy").is_some() {
            let text = "HTTP_PROXY alone proxies no HTTPS target; set HTTPS_PROXY to the same value";
            findings.push(Finding::warning(None, text));
        }
        return None;
    };
    let bypass = either("no_proxy").map_or(Bypass::None, |list| Bypass::NoProxy(list.to_owned()));
    let (proxy, problem) = match text.parse::<ProxyUrl>() {
        Ok(proxy) => (Some(proxy), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Some(Setting { source, proxy, bypass, problem })
}

/// The variables of `Environment=` lines.
fn systemd_variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Environment="));
    lines
        .flat_map(quoted_words)
        .filter_map(|word| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect()
}

/// Words; quotes hold blanks together.
fn quoted_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (_, c) => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `azcmagent config list`: `proxy.url` and `proxy.bypass`.
fn arc(text: &str) -> Option<Setting> {
    let value = |key: &str| {
        let line = text.lines().map(str::trim).find(|line| line.to_ascii_lowercase().starts_with(key))?;
        let value = line[key.len()..].trim_start_matches([' ', '\t', ':', '=', '|']).trim();
        Some(value.trim_matches(['[', ']', '"']).trim()).filter(|value| !value.is_empty())
    };
    let (proxy, problem) = match value("proxy.url")?.parse::<ProxyUrl>() {
        Ok(proxy) => (Some(proxy), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let services: Vec<String> = value("proxy.bypass")
        .map(|list| list.split([',', ' ']).filter(|s| !s.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default();
    let bypass = if services.is_empty() { Bypass::None } else { Bypass::Services(services) };
    Some(Setting { source: Source::Arc, proxy, bypass, problem })
}

fn windows(source: Source, text: &str, findings: &mut Vec<Finding>) -> Option<Setting> {
    let found = winhttp::parse(text)?;
    if let Some(pac) = &found.pac {
        findings.push(Finding::new(
            Severity::Warning,
            None,
            format!(
                "{} has a PAC file ({}): Azure Local does not support PAC, and it is not evaluated here; set http://host:port",
                source.describe(),
                crate::mask::mask_userinfo(pac)
            ),
        ));
    }
    let proxy = found.https_proxy()?.parse::<ProxyUrl>();
    let bypass = found.bypass.clone().map_or(Bypass::None, Bypass::Windows);
    let (proxy, problem) = match proxy {
        Ok(proxy) => (Some(proxy), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Some(Setting { source, proxy, bypass, problem })
}

/// What is wrong with one setting's form.
fn lints(setting: &Setting) -> Vec<Finding> {
    let place = setting.source.describe();
    let mut findings = Vec::new();
    if let Some(problem) = &setting.problem {
        findings.push(Finding::new(Severity::Failed, None, format!("{place}: {problem}")));
    }
    if setting.proxy.as_ref().is_some_and(|proxy| proxy.credentials().is_some()) {
        let text = format!(
            "{place} has a user and password in it: Azure Local does not support proxies with authentication"
        );
        findings.push(Finding::warning(None, text));
    }
    let lints = match &setting.bypass {
        Bypass::NoProxy(list) => lint_no_proxy(list),
        Bypass::Windows(list) => lint_windows(list),
        Bypass::None | Bypass::Services(_) => Vec::new(),
    };
    findings.extend(lints.into_iter().map(|lint| {
        let instead =
            lint.instead.map_or_else(|| "leave it out".to_owned(), |instead| format!("write {instead}"));
        Finding::warning(None, format!("{place}, bypass entry '{}': {}; {instead}", lint.entry, lint.problem))
    }));
    findings
}

/// Whether two places name different proxies.
fn disagreement(settings: &[Setting]) -> Option<Finding> {
    let winner = settings.first()?;
    let same = |other: &Setting| match (&winner.proxy, &other.proxy) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    let other = settings.iter().skip(1).find(|other| !same(other))?;
    let name = |s: &Setting| s.proxy.as_ref().map_or_else(|| "direct".to_owned(), ToString::to_string);
    let bypass = settings.iter().find_map(|setting| match &setting.bypass {
        Bypass::NoProxy(list) | Bypass::Windows(list) => Some(list.as_str()),
        Bypass::None | Bypass::Services(_) => None,
    });
    let commands = commands(winner.proxy.as_ref().or(other.proxy.as_ref()), bypass).join("\n");
    Some(Finding::warning(
        None,
        format!(
            "the settings disagree: {} says {}, {} says {}; set all to the same:\n{commands}",
            winner.source.describe(),
            name(winner),
            other.source.describe(),
            name(other),
        ),
    ))
}

/// The commands that set one proxy in all three places of a node of Azure Local, each with the bypass list in its own
/// dialect. `bypass` is a list in either dialect; none gives an example.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::commands;
///
/// let proxy = "http://proxy.example:8080".parse()?;
/// let [wininet, winhttp, environment] = commands(Some(&proxy), Some("localhost;*.contoso.com;192.168.1.*"));
/// assert!(wininet.contains("*.contoso.com;192.168.1.*"));
/// assert!(winhttp.starts_with("netsh winhttp set proxy http://proxy.example:8080"));
/// assert!(environment.contains("localhost,.contoso.com,192.168.1.0/24,.svc"));
/// # Ok::<(), rs_proxy::settings::ProxyUrlError>(())
/// ```
#[must_use]
pub fn commands(proxy: Option<&ProxyUrl>, bypass: Option<&str>) -> [String; 3] {
    let proxy = proxy.map_or_else(|| "http://proxy.contoso.example:8080".to_owned(), ToString::to_string);
    let bypass = bypass.unwrap_or("localhost;127.0.0.1;*.contoso.example");
    let windows = bypass::to_windows(bypass);
    let no_proxy = bypass::to_no_proxy(bypass);
    [
        format!("Set-WinInetProxy -ProxySettingsPerUser 0 -ProxyServer {proxy} -ProxyBypass \"{windows}\""),
        format!("netsh winhttp set proxy {proxy} bypass-list=\"{windows}\""),
        format!(
            "foreach ($name in 'HTTP_PROXY','HTTPS_PROXY') {{ [Environment]::SetEnvironmentVariable($name,'{proxy}','Machine') }}; \
             [Environment]::SetEnvironmentVariable('NO_PROXY','{no_proxy}','Machine')"
        ),
    ]
}
