//! Who goes past the proxy: `NO_PROXY` as each client reads it, and the bypass lists of Windows.
//!
//! There is no standard. The same list sends a name direct in one client and to the proxy in another, so every reader
//! has its own rules here.

use std::net::IpAddr;

use serde::Serialize;

/// A client that reads `NO_PROXY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// curl 7.88.
    Curl,
    /// Python's urllib.
    Urllib,
    /// Python's requests.
    Requests,
    /// Go's `httpproxy`, so the Arc agent too.
    Go,
    /// Rust's hyper-util and reqwest.
    HyperUtil,
    /// .NET before CIDR came (2026-07).
    Dotnet,
}

/// All clients.
pub const CLIENTS: [Client; 6] =
    [Client::Curl, Client::Urllib, Client::Requests, Client::Go, Client::HyperUtil, Client::Dotnet];

impl Client {
    /// Name for sentences.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Urllib => "Python urllib",
            Self::Requests => "Python requests",
            Self::Go => "Go (Arc agent)",
            Self::HyperUtil => "Rust hyper-util",
            Self::Dotnet => ".NET",
        }
    }
}

/// Whether a client goes direct. `host` is a name or an address, IPv6 without brackets; `port` is the port of the
/// target, which a client sees only where the URL has one, so 443 counts as not written.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::{Client, no_proxy_bypasses};
///
/// // A name covers what is below it, except in .NET; a leading dot leaves the name itself out in Go only.
/// assert!(no_proxy_bypasses(Client::Curl, "contoso.com", "www.contoso.com", 443));
/// assert!(!no_proxy_bypasses(Client::Dotnet, "contoso.com", "www.contoso.com", 443));
/// assert!(!no_proxy_bypasses(Client::Go, ".contoso.com", "contoso.com", 443));
/// ```
#[must_use]
pub fn no_proxy_bypasses(client: Client, list: &str, host: &str, port: u16) -> bool {
    let asked = Asked { host: host.to_ascii_lowercase(), address: host.parse().ok(), port };
    let list = list.trim();
    match client {
        Client::Curl => list == "*" || list.split([',', ' ', '\t']).any(|entry| asked.curl(entry)),
        Client::Urllib => list == "*" || list.split(',').any(|entry| asked.urllib(entry.trim())),
        Client::Requests => {
            list == "*" || list.replace(' ', "").split(',').any(|entry| asked.requests(entry))
        }
        Client::Go => asked.is_local() || list.split(',').any(|entry| asked.go(entry.trim())),
        Client::HyperUtil => list.split([',', ' ']).any(|entry| asked.hyper_util(entry.trim())),
        Client::Dotnet => list.split(',').any(|entry| asked.dotnet(entry.trim())),
    }
}

/// The target of a question.
struct Asked {
    host: String,
    address: Option<IpAddr>,
    port: u16,
}

impl Asked {
    /// Equal to the name or below it, a dot in front of the name not counting.
    fn at_or_below(&self, name: &str) -> bool {
        let name = name.trim_start_matches('.').to_ascii_lowercase();
        !name.is_empty() && crate::name::labels_below(&self.host, &name).is_some()
    }

    fn is_local(&self) -> bool {
        self.host == "localhost" || self.address.is_some_and(|address| address.is_loopback())
    }

    fn in_network(&self, entry: &str) -> bool {
        self.address.is_some_and(|address| in_network(address, entry))
    }

    fn curl(&self, entry: &str) -> bool {
        let entry = entry.strip_suffix('.').unwrap_or(entry);
        match self.address {
            Some(_) => self.in_network(entry),
            None => self.at_or_below(entry),
        }
    }

    fn urllib(&self, entry: &str) -> bool {
        let shown = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let with_port = if self.port == 443 { shown.clone() } else { format!("{shown}:{}", self.port) };
        let name = entry.trim_start_matches('.').to_ascii_lowercase();
        let ends = |text: &str| text == name || text.ends_with(&format!(".{name}"));
        !name.is_empty() && (ends(&shown) || ends(&with_port))
    }

    fn requests(&self, entry: &str) -> bool {
        if self.address.is_some() {
            return self.in_network(entry);
        }
        let with_port =
            entry.rsplit_once(':').filter(|(_, port)| port.parse() == Ok(self.port) && self.port != 443);
        self.at_or_below(with_port.map_or(entry, |(name, _)| name))
    }

    fn go(&self, entry: &str) -> bool {
        if entry == "*" || self.in_network(entry) {
            return true;
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse::<u16>().ok())
            }
            _ => (entry, None),
        };
        if port.is_some_and(|port| port != self.port) {
            return false;
        }
        let name = name.trim_matches(['[', ']']);
        if self.address.is_some() {
            return self.in_network(name);
        }
        let ascii =
            idna::domain_to_ascii(name.trim_start_matches('*')).unwrap_or_else(|_| name.to_ascii_lowercase());
        match ascii.strip_prefix('.') {
            Some(name) => crate::name::labels_below(&self.host, name).is_some_and(|labels| labels > 0),
            None => self.at_or_below(&ascii),
        }
    }

    fn hyper_util(&self, entry: &str) -> bool {
        match self.address {
            Some(_) => self.in_network(entry),
            None => entry == "*" || self.at_or_below(entry),
        }
    }

    fn dotnet(&self, entry: &str) -> bool {
        let entry = entry.to_ascii_lowercase();
        if entry.starts_with('.') {
            self.at_or_below(&entry)
        } else {
            !entry.is_empty() && entry == self.host
        }
    }
}

/// Whether an address is the entry, or in its network `a.b.c.d/n`.
pub(crate) fn in_network(address: IpAddr, entry: &str) -> bool {
    let (network, bits) =
        entry.split_once('/').map_or((entry, None), |(network, bits)| (network, Some(bits)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let (a, n, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let bits: u32 = match bits.map(str::parse) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return false,
    };
    bits == 0 || (a >> (width - bits)) == (n >> (width - bits))
}

/// What Windows does with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowsBypass {
    /// It goes to the proxy.
    Proxy,
    /// It goes direct.
    Direct,
    /// The list has an entry with a slash, which spoils it: WinINET then sends everything direct.
    ListInvalid,
}

/// What a Windows bypass list does with a host: separators `;`, `,` and blanks, stars for any characters.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::{WindowsBypass, windows_bypass};
///
/// assert_eq!(windows_bypass("*.contoso.com;<local>", "www.contoso.com"), WindowsBypass::Direct);
/// assert_eq!(windows_bypass(".contoso.com", "www.contoso.com"), WindowsBypass::Proxy);
/// assert_eq!(windows_bypass("10.0.0.0/8", "www.contoso.com"), WindowsBypass::ListInvalid);
/// ```
#[must_use]
pub fn windows_bypass(list: &str, host: &str) -> WindowsBypass {
    let host = host.to_ascii_lowercase();
    let entries = || windows_entries(list);
    if entries().any(|entry| entry.split_once("://").map_or(entry, |(_, rest)| rest).contains('/')) {
        return WindowsBypass::ListInvalid;
    }
    let matches = |entry: &str| {
        let entry = entry.to_ascii_lowercase();
        let entry = entry.split_once("://").map_or(entry.as_str(), |(_, rest)| rest);
        match entry {
            "<local>" => !host.contains(['.', ':']),
            "<-loopback>" => false,
            _ if entry.starts_with('.') => false,
            _ => crate::allowlist::glob_matches(entry.as_bytes(), host.as_bytes()),
        }
    };
    if entries().any(matches) { WindowsBypass::Direct } else { WindowsBypass::Proxy }
}

/// The entries of a Windows list.
pub(crate) fn windows_entries(list: &str) -> impl Iterator<Item = &str> {
    list.split([';', ',', ' ', '\t', '\r', '\n']).filter(|entry| !entry.is_empty())
}

/// Something in a list that its reader does not take as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lint {
    /// The entry.
    pub entry: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead, if anything.
    pub instead: Option<String>,
}

/// Checks a `NO_PROXY` list against what all clients understand.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::lint_no_proxy;
///
/// let lints = lint_no_proxy("localhost,*.contoso.com,192.168.1.*");
/// assert_eq!(lints[0].instead.as_deref(), Some(".contoso.com"));
/// assert_eq!(lints[1].instead.as_deref(), Some("192.168.1.0/24"));
/// ```
#[must_use]
pub fn lint_no_proxy(list: &str) -> Vec<Lint> {
    let mut lints = Vec::new();
    if list.contains(';') {
        lints.push(lint(list, "a semicolon does not separate entries here", Some(list.replace(';', ","))));
    }
    for entry in list.split([',', ';']).map(str::trim).filter(|entry| !entry.is_empty()) {
        let problem = if entry.contains(char::is_whitespace) {
            Some((
                "a blank does not separate entries in every client",
                Some(entry.split_whitespace().collect::<Vec<_>>().join(",")),
            ))
        } else if entry.contains("://") {
            Some((
                "an entry has no scheme",
                entry.split_once("://").map(|(_, host)| host.trim_end_matches('/').to_owned()),
            ))
        } else if entry.starts_with('<') {
            Some(("it means something to Windows only", None))
        } else if entry == "*" {
            Some(("not every client takes a lone star, and it switches the proxy off", None))
        } else if let Some(network) = star_network(entry) {
            Some(("a star is not understood; networks are written as CIDR", Some(network)))
        } else if entry.contains('*') {
            Some((
                "a star is not understood; a leading dot stands for everything below",
                Some(entry.replace("*.", ".").replace('*', "")),
            ))
        } else if entry.ends_with('.') {
            Some(("a trailing dot is understood by curl only", Some(entry.trim_end_matches('.').to_owned())))
        } else {
            None
        };
        lints.extend(problem.map(|(problem, instead)| lint(entry, problem, instead)));
    }
    lints
}

/// Checks a Windows bypass list.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::lint_windows;
///
/// let lints = lint_windows("localhost;.contoso.com;192.168.1.0/24");
/// assert_eq!(lints[0].instead.as_deref(), Some("*.contoso.com"));
/// assert_eq!(lints[1].instead.as_deref(), Some("192.168.1.*"));
/// ```
#[must_use]
pub fn lint_windows(list: &str) -> Vec<Lint> {
    windows_entries(list)
        .filter_map(|entry| {
            let host = entry.split_once("://").map_or(entry, |(_, host)| host);
            if host.contains('/') {
                Some(lint(
                    entry,
                    "Windows knows no CIDR, and the slash spoils the whole list",
                    cidr_to_star(host),
                ))
            } else if entry.starts_with('.') {
                Some(lint(entry, "a leading dot is no rule in Windows", Some(format!("*{entry}"))))
            } else if entry == "<local>" {
                Some(lint(entry, "Azure Local does not support <local>; name the hosts", None))
            } else {
                None
            }
        })
        .collect()
}

fn lint(entry: &str, problem: &str, instead: Option<String>) -> Lint {
    Lint { entry: entry.to_owned(), problem: problem.to_owned(), instead }
}

/// A list of either dialect as a Windows list. What Windows cannot say is left out.
pub(crate) fn to_windows(list: &str) -> String {
    let translate = |entry: &str| match entry.strip_prefix('.') {
        _ if entry == "<local>" || entry == ".svc" => None,
        _ if entry.contains('/') => cidr_to_star(entry),
        Some(name) => Some(format!("*.{name}")),
        None => Some(entry.to_owned()),
    };
    windows_entries(list).filter_map(translate).collect::<Vec<_>>().join(";")
}

/// A list of either dialect as `NO_PROXY`, with `.svc`, which Azure Local wants there.
pub(crate) fn to_no_proxy(list: &str) -> String {
    let translate = |entry: &str| match entry.strip_prefix("*.") {
        _ if entry.starts_with('<') || entry == "*" || entry == ".svc" => None,
        Some(name) => Some(format!(".{name}")),
        None if entry.contains('*') => star_network(entry),
        None => Some(entry.to_owned()),
    };
    let entries = windows_entries(list).filter_map(translate);
    entries.chain(std::iter::once(".svc".to_owned())).collect::<Vec<_>>().join(",")
}

/// `192.168.1.*` as `192.168.1.0/24`.
fn star_network(entry: &str) -> Option<String> {
    let head = entry.trim_end_matches(['*', '.']);
    let octets: Vec<&str> = head.split('.').collect();
    let whole =
        entry.ends_with(".*") && octets.len() < 4 && octets.iter().all(|octet| octet.parse::<u8>().is_ok());
    whole.then(|| format!("{head}{}/{}", ".0".repeat(4 - octets.len()), octets.len() * 8))
}

/// `192.168.1.0/24` as `192.168.1.*`, for whole octets.
fn cidr_to_star(entry: &str) -> Option<String> {
    let (network, bits) = entry.split_once('/')?;
    let octets: Vec<&str> = network.split('.').collect();
    let keep = match bits {
        "8" => 1,
        "16" => 2,
        "24" => 3,
        "32" => return Some(network.to_owned()),
        _ => return None,
    };
    Some(format!("{}.*", octets.get(..keep)?.join(".")))
}
