//! Host names, targets and host patterns: what a required entry stands for.
//!
//! Everything else in this crate compares names only after they went through here. The rules, both for a pattern
//! and for a target:
//!
//! * blanks around the text do not count; the host of a URL is the one a browser would connect to;
//! * names are compared as IDNA A-labels in lower case, without the one trailing dot of the root;
//! * no empty label, no label over [`LABEL_BYTES_MAX`], no name over [`NAME_BYTES_MAX`] bytes; `_` is accepted;
//! * IP addresses match no name; a percent escape makes a bare name invalid;
//! * the port is 443 when nothing else is said; `https`, `wss` and `sb` mean 443, `http` and `ws` mean 80;
//! * `*.S` stands for every name that ends in `.S` with at least one label before it. It is not `S` itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

/// Longest label of a name, in bytes of its A-label form (RFC 1035).
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest name, in bytes of its A-label form without the trailing dot (RFC 1035).
pub const NAME_BYTES_MAX: usize = 253;
/// Longest text that is parsed as a target or pattern, in bytes. Longer texts are refused unread.
pub const TEXT_BYTES_MAX: usize = 4096;
/// The port that is meant when none is given.
pub const PORT_DEFAULT: u16 = 443;

/// Why a text is no host name, target or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing is left after trimming.
    #[error("the name is empty; write a host name such as login.microsoftonline.com")]
    Empty,
    /// The text is longer than [`TEXT_BYTES_MAX`].
    #[error("the text has {found} bytes, more than the {TEXT_BYTES_MAX} that are read; it is no host name")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// A blank or control character inside the name.
    #[error("'{text}' has a blank or control character inside; write one name per entry")]
    InnerBlank {
        /// The offending text.
        text: String,
    },
    /// A percent escape in a bare name.
    #[error("'{text}' has a percent escape; a host name has none, write the characters themselves")]
    Escape {
        /// The offending text.
        text: String,
    },
    /// `user@host` without a scheme.
    #[error("'{text}' has an '@'; give the host name alone")]
    UserInfo {
        /// The offending text, with anything that looks like a password left out.
        text: String,
    },
    /// A scheme that is none of http, https, ws, wss, sb.
    #[error("scheme '{scheme}' is not known here; use https, wss, sb, http or ws, or the bare name")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// An IP address where a name is wanted.
    #[error("'{text}' is an address; allow these endpoints by name, their addresses change")]
    Address {
        /// The address as given.
        text: String,
    },
    /// A label is empty: two dots in a row, or a dot in front.
    #[error("'{text}' has an empty label (two dots in a row, or a dot in front)")]
    EmptyLabel {
        /// The offending text.
        text: String,
    },
    /// A label over [`LABEL_BYTES_MAX`], or a name over [`NAME_BYTES_MAX`].
    #[error("'{text}' is longer than DNS allows ({LABEL_BYTES_MAX} bytes a label, {NAME_BYTES_MAX} a name)")]
    Length {
        /// The offending text.
        text: String,
    },
    /// Port 0, over 65535, or not a number.
    #[error("'{text}' has no valid port; ports are 1 to 65535")]
    Port {
        /// The offending text.
        text: String,
    },
    /// A star where none is possible.
    #[error("'{text}': a star can only be the whole first label, as in *.servicebus.windows.net")]
    Star {
        /// The offending text.
        text: String,
    },
    /// Characters that no host name can have.
    #[error("'{text}' is not a host name")]
    Invalid {
        /// The offending text.
        text: String,
    },
}

/// A checked host name: A-labels, lower case, no trailing dot, never an address.
///
/// # Examples
///
/// ```
/// use rs_proxy::HostName;
///
/// let name: HostName = "Bücher.Example.".parse()?;
/// assert_eq!(name.as_str(), "xn--bcher-kva.example");
/// assert!("127.0.0.1".parse::<HostName>().is_err());
/// assert!("a..b".parse::<HostName>().is_err());
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The name in the form in which names are compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Number of labels that `self` has before `.suffix`; `Some(0)` for the suffix itself, `None` when the name is
    /// not at or below it. Label boundaries count: `evilcontoso.com` is not below `contoso.com`.
    #[must_use]
    pub fn labels_below(&self, suffix: &Self) -> Option<usize> {
        labels_below(&self.0, &suffix.0)
    }

    /// The name as people write it, with U-labels.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }

    /// Takes a host as the URL parser left it and applies the rules of DNS.
    fn from_ascii(host: &str, given: &str) -> Result<Self, NameError> {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let given = || shown(given);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.split('.').any(str::is_empty) {
            return Err(NameError::EmptyLabel { text: given() });
        }
        if name.contains('*') {
            return Err(NameError::Star { text: given() });
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
            return Err(NameError::Invalid { text: given() });
        }
        if name.len() > NAME_BYTES_MAX || name.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
            return Err(NameError::Length { text: given() });
        }
        Ok(Self(name))
    }
}

/// Labels of `name` before `.suffix`, both already normalised.
pub(crate) fn labels_below(name: &str, suffix: &str) -> Option<usize> {
    let head = name.strip_suffix(suffix)?;
    if head.is_empty() {
        return Some(0);
    }
    let head = head.strip_suffix('.')?;
    Some(head.bytes().filter(|&b| b == b'.').count() + 1)
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.contains(['/', ':', '\\', '?', '#']) {
            return Err(if is_address(text) {
                NameError::Address { text: shown(text) }
            } else {
                NameError::Invalid { text: shown(text) }
            });
        }
        Target::from_str(text).map(|target| target.host)
    }
}

impl TryFrom<String> for HostName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

/// A concrete thing to connect to: one host name and one port. Never a pattern, never an address.
///
/// # Examples
///
/// ```
/// use rs_proxy::Target;
///
/// let target: Target = "wss://rslab.servicebus.windows.net/$hc/node".parse()?;
/// assert_eq!(target.to_string(), "rslab.servicebus.windows.net:443");
/// assert!("*.servicebus.windows.net".parse::<Target>().is_err());
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    host: HostName,
    port: u16,
    userinfo: bool,
}

impl Target {
    /// A target from its checked parts. Port 0 is taken as [`PORT_DEFAULT`].
    #[must_use]
    pub fn new(host: HostName, port: u16) -> Self {
        Self { host, port: if port == 0 { PORT_DEFAULT } else { port }, userinfo: false }
    }

    /// The host name.
    #[must_use]
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the text had `user@` in front of the host. The name decides all the same, but a person who reads such a
    /// URL can take the wrong part for the host, so it deserves a word.
    #[must_use]
    pub fn has_userinfo(&self) -> bool {
        self.userinfo
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Target {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = checked_text(text)?;
        let (url, port) = match split_scheme(text)? {
            Some((rest, port)) => (format!("https://{rest}"), port),
            None => (bare_url(text)?, PORT_DEFAULT),
        };
        let url = Url::parse(&url).map_err(|error| from_url_error(error, text))?;
        let host = match url.host() {
            Some(url::Host::Domain(host)) => HostName::from_ascii(host, text)?,
            Some(_) => return Err(NameError::Address { text: shown(text) }),
            None => return Err(NameError::Empty),
        };
        let port = if has_port(text) { url.port().unwrap_or(PORT_DEFAULT) } else { port };
        if port == 0 {
            return Err(NameError::Port { text: shown(text) });
        }
        let userinfo = !url.username().is_empty() || url.password().is_some();
        Ok(Self { host, port, userinfo })
    }
}

impl TryFrom<String> for Target {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// A required entry: a name, or every name below one.
///
/// # Examples
///
/// ```
/// use rs_proxy::HostPattern;
///
/// let pattern: HostPattern = "*.servicebus.windows.net".parse()?;
/// assert!(pattern.matches_text("a.b.ServiceBus.Windows.NET."));
/// assert!(!pattern.matches_text("servicebus.windows.net"));
/// assert!(!pattern.matches_text("evilservicebus.windows.net"));
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    name: HostName,
    port: u16,
    wildcard: bool,
}

impl HostPattern {
    /// The pattern that stands for one name on one port.
    #[must_use]
    pub fn exact(target: Target) -> Self {
        Self { name: target.host, port: target.port, wildcard: false }
    }

    /// The pattern `*.name` on port 443.
    #[must_use]
    pub fn below(name: HostName) -> Self {
        Self { name, port: PORT_DEFAULT, wildcard: true }
    }

    /// The name after `*.`, or the name itself.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the pattern stands for all names below [`Self::name`].
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The target, if the pattern stands for exactly one.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        (!self.wildcard).then(|| Target::new(self.name.clone(), self.port))
    }

    /// Whether `target` is one of those the pattern stands for.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.port == target.port && self.matches_host(&target.host)
    }

    /// [`Self::matches`] without regard to the port.
    #[must_use]
    pub fn matches_host(&self, host: &HostName) -> bool {
        match host.labels_below(&self.name) {
            Some(0) => !self.wildcard,
            Some(_) => self.wildcard,
            None => false,
        }
    }

    /// [`Self::matches`] for a text; what is no target matches nothing.
    #[must_use]
    pub fn matches_text(&self, text: &str) -> bool {
        text.parse().is_ok_and(|target| self.matches(&target))
    }

    /// How much of `self` the entry `other` lets through, if it is read by the rules of this module.
    #[must_use]
    pub fn coverage_by(&self, other: &Self) -> Coverage {
        if self.port != other.port {
            return Coverage::None;
        }
        match (self.wildcard, other.wildcard) {
            (false, _) if other.matches_host(&self.name) => Coverage::Full,
            (true, true) if self.name.labels_below(&other.name).is_some() => Coverage::Full,
            (true, _) if other.name.labels_below(&self.name).is_some_and(|labels| labels > 0) => {
                Coverage::Partial
            }
            _ => Coverage::None,
        }
    }

    /// Whether `host` is none of the pattern's names but looks like one to a human eye: other scripts, digits for
    /// letters, the name in the middle of a longer one, a missing label boundary.
    ///
    /// # Examples
    ///
    /// ```
    /// use rs_proxy::HostPattern;
    ///
    /// let pattern: HostPattern = "*.servicebus.windows.net".parse()?;
    /// assert!(pattern.is_lookalike(&"rslab.servіcebus.windows.net".parse()?)); // a Cyrillic і
    /// assert!(pattern.is_lookalike(&"x.servicebus.windows.net.evil.example".parse()?));
    /// assert!(!pattern.is_lookalike(&"rslab.servicebus.windows.net".parse()?));
    /// # Ok::<(), rs_proxy::NameError>(())
    /// ```
    #[must_use]
    pub fn is_lookalike(&self, host: &HostName) -> bool {
        if self.matches_host(host) || host == &self.name {
            return false;
        }
        let skeleton = skeleton(&host.to_unicode());
        let wanted = skeleton_of_ascii(self.name.as_str());
        skeleton.contains(&wanted)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.wildcard { "*." } else { "" })?;
        f.write_str(self.name.as_str())?;
        if self.port != PORT_DEFAULT { write!(f, ":{}", self.port) } else { Ok(()) }
    }
}

impl FromStr for HostPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let trimmed = checked_text(text)?;
        let (scheme, rest) = match trimmed.find("://") {
            Some(at) => trimmed.split_at(at + 3),
            None => ("", trimmed),
        };
        let (wildcard, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let target: Target = format!("{scheme}{rest}").parse()?;
        Ok(Self { name: target.host, port: target.port, wildcard })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

/// How much of a required entry something lets through. Ordered from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// No name.
    None,
    /// Some names only.
    Partial,
    /// All names with one label before the suffix, none with more.
    OneLabel,
    /// Every name.
    Full,
}

/// Trims and refuses what the URL parser would silently remove or decode.
fn checked_text(text: &str) -> Result<&str, NameError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(NameError::TooLong { found: text.len() });
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(NameError::InnerBlank { text: shown(text) });
    }
    Ok(text)
}

/// The rest after a known scheme and the port it means.
fn split_scheme(text: &str) -> Result<Option<(&str, u16)>, NameError> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
    if scheme.contains(['/', '?', '#', '@', '.', '\\', ':']) {
        return Ok(None); // the "://" belongs to a path or query
    }
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" | "sb" => Ok(Some((rest, 443))),
        "http" | "ws" => Ok(Some((rest, 80))),
        _ => Err(NameError::Scheme { scheme: shown(scheme) }),
    }
}

/// A bare name as URL, after the checks that a URL parser does not make.
fn bare_url(text: &str) -> Result<String, NameError> {
    let host = text.split(['/', '?', '#', '\\']).next().unwrap_or(text);
    if host.contains('@') {
        return Err(NameError::UserInfo { text: shown(text) });
    }
    if host.contains('%') {
        return Err(NameError::Escape { text: shown(text) });
    }
    if is_address(text) {
        return Err(NameError::Address { text: shown(text) });
    }
    Ok(format!("https://{text}"))
}

/// Whether the text is an IPv6 address without brackets, or with a prefix length.
fn is_address(text: &str) -> bool {
    let host = text.split_once('/').map_or(text, |(host, _)| host);
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

/// Whether the authority of `text` names a port. The URL parser hides a port that is the scheme's own.
fn has_port(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after_bracket = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_bracket.split_once(':').is_some_and(|(_, port)| !port.is_empty())
}

/// The URL parser's reason in our words.
fn from_url_error(error: url::ParseError, text: &str) -> NameError {
    match error {
        url::ParseError::InvalidPort => NameError::Port { text: shown(text) },
        url::ParseError::EmptyHost => NameError::Empty,
        url::ParseError::InvalidIpv4Address | url::ParseError::InvalidIpv6Address => {
            NameError::Address { text: shown(text) }
        }
        _ => NameError::Invalid { text: shown(text) },
    }
}

/// A text for an error message: short, without control characters, without what could be a password.
pub(crate) fn shown(text: &str) -> String {
    let masked = crate::mask::mask_userinfo(text);
    let mut out: String = masked.chars().filter(|c| !c.is_control()).take(120).collect();
    if masked.chars().count() > 120 {
        out.push('…');
    }
    out
}

/// The skeleton of an ASCII name: what is left when letters that look alike are one.
fn skeleton_of_ascii(name: &str) -> String {
    skeleton(name)
}

/// Maps characters that look like an ASCII letter to that letter. A digit or pair that passes for a letter counts too.
fn skeleton(name: &str) -> String {
    let plain: String = name.chars().map(plain_letter).collect();
    plain.replace("rn", "m").replace("vv", "w")
}

/// The ASCII letter a character can be taken for. Cyrillic and Greek letters, a few Latin ones, digits.
fn plain_letter(c: char) -> char {
    match c.to_lowercase().next().unwrap_or(c) {
        'а' | 'α' | 'ɑ' | 'à' | 'á' | 'â' | 'ä' | 'å' => 'a',
        'ь' => 'b',
        'с' | 'ϲ' | 'ç' => 'c',
        'ԁ' | 'ɗ' => 'd',
        'е' | 'ё' | 'є' | 'è' | 'é' | 'ê' | 'ë' => 'e',
        'һ' => 'h',
        'і' | 'ї' | 'ι' | 'ı' | 'í' | 'ì' | 'î' | 'ï' | '1' | 'l' | 'ӏ' => 'i',
        'ј' => 'j',
        'κ' | 'к' => 'k',
        'м' => 'm',
        'п' | 'η' | 'ñ' => 'n',
        'о' | 'ο' | 'ö' | 'ó' | 'ò' | 'ø' | '0' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' | 'ɾ' => 'r',
        'ѕ' | '5' | 'ś' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ü' | 'ú' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ý' => 'y',
        other => other,
    }
}
