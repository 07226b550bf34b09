//! Reads a customer's allowlist by the rules of the product it is for, and says what it does for each endpoint.
//!
//! The same text means different things: pasted as it stands into squid's `dstdomain`, the published list lets one of
//! nine endpoints through, and squid says nothing. So each dialect has a module that turns text into ordered rules,
//! and one judge for all of them. No network is needed.
//!
//! # Examples
//!
//! ```
//! use rs_proxy::allowlist::{self, ListFormat, Status};
//! use rs_proxy::{Cloud, Profile};
//!
//! let list = "*.servicebus.windows.net\nlogin.microsoftonline.com\n";
//! let report = allowlist::check(list, Some(ListFormat::Squid), &Profile::of(Cloud::Public));
//! assert_eq!(report.covered(), 1); // login only: squid has no stars
//! assert_eq!(report.endpoints[0].status, Status::NeverMatches);
//! assert_eq!(report.endpoints[0].fix, [".servicebus.windows.net"]);
//! ```

mod azure_firewall;
mod fortigate;
mod json;
mod lists;
mod paloalto;
mod policy;
mod posix;
mod report;
mod squid;
mod tinyproxy;
mod windows;
mod zscaler;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use report::{Finding, Report, Status, Verdict};

use crate::endpoint::Profile;
use crate::name::{HostPattern, Target};
use crate::render::{self, Format};
use crate::severity::Severity;
use policy::Policy;
pub(crate) use policy::glob_matches;

/// Longest list that is read, in bytes.
pub const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The dialects that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListFormat {
    /// A `dstdomain` file of squid: one entry a line.
    Squid,
    /// A squid configuration with `acl` and `http_access`.
    SquidConf,
    /// A filter file of tinyproxy with `FilterDefaultDeny Yes`.
    Tinyproxy,
    /// A Windows bypass list, or the output of `netsh winhttp show proxy`.
    WindowsBypass,
    /// Azure Firewall rules in JSON.
    AzureFirewall,
    /// A FortiGate configuration.
    Fortigate,
    /// A Palo Alto external dynamic list of type URL, or a custom URL category.
    Paloalto,
    /// A Zscaler URL category.
    Zscaler,
    /// A Markdown table or list.
    Markdown,
    /// One name a line, or several.
    Plain,
    /// Comma-separated values.
    Csv,
    /// JSON of no particular product.
    Json,
}

/// All dialects, in the order in which help texts list them.
pub const LIST_FORMATS: [ListFormat; 12] = [
    ListFormat::Squid,
    ListFormat::SquidConf,
    ListFormat::Tinyproxy,
    ListFormat::WindowsBypass,
    ListFormat::AzureFirewall,
    ListFormat::Fortigate,
    ListFormat::Paloalto,
    ListFormat::Zscaler,
    ListFormat::Markdown,
    ListFormat::Plain,
    ListFormat::Csv,
    ListFormat::Json,
];

impl ListFormat {
    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Squid => "squid",
            Self::SquidConf => "squid-conf",
            Self::Tinyproxy => "tinyproxy",
            Self::WindowsBypass => "windows-bypass",
            Self::AzureFirewall => "azure-firewall",
            Self::Fortigate => "fortigate",
            Self::Paloalto => "paloalto",
            Self::Zscaler => "zscaler",
            Self::Markdown => "markdown",
            Self::Plain => "plain",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// The dialect in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Squid => "a squid dstdomain file",
            Self::SquidConf => "a squid configuration",
            Self::Tinyproxy => "a tinyproxy filter file",
            Self::WindowsBypass => "a Windows proxy bypass list",
            Self::AzureFirewall => "Azure Firewall rules",
            Self::Fortigate => "a FortiGate configuration",
            Self::Paloalto => "a Palo Alto URL list",
            Self::Zscaler => "a Zscaler URL category",
            Self::Markdown => "Markdown",
            Self::Plain => "a plain list",
            Self::Csv => "comma-separated values",
            Self::Json => "JSON",
        }
    }

    /// The line that lets an entry through in this dialect.
    #[must_use]
    pub fn line(self, pattern: &HostPattern) -> String {
        self.dialect().line(pattern)
    }

    /// The line that must stand behind the added ones: for a squid configuration the `http_access` line, which belongs above
    /// the line that denies the rest.
    #[must_use]
    pub fn last_line(self) -> Option<&'static str> {
        self.dialect().last_line()
    }

    /// squid's two kinds of file share a name in common speech: the text tells them apart.
    fn for_text(self, text: &str) -> Self {
        match self {
            Self::Squid | Self::SquidConf if squid::Configuration.looks_like(text).is_some() => {
                Self::SquidConf
            }
            Self::Squid | Self::SquidConf => Self::Squid,
            other => other,
        }
    }

    /// The dialect that a file's name speaks of.
    fn named_by(file_name: &str) -> Option<Self> {
        const NAMES: [(&str, ListFormat); 14] = [
            ("squid", ListFormat::Squid),
            (".acl", ListFormat::Squid),
            ("dstdomain", ListFormat::Squid),
            ("tinyproxy", ListFormat::Tinyproxy),
            ("forti", ListFormat::Fortigate),
            ("palo", ListFormat::Paloalto),
            ("panos", ListFormat::Paloalto),
            ("pan-os", ListFormat::Paloalto),
            ("edl", ListFormat::Paloalto),
            ("zscaler", ListFormat::Zscaler),
            ("winhttp", ListFormat::WindowsBypass),
            ("wininet", ListFormat::WindowsBypass),
            ("netsh", ListFormat::WindowsBypass),
            ("bypass", ListFormat::WindowsBypass),
        ];
        let name = file_name.to_ascii_lowercase();
        NAMES.into_iter().find(|(part, _)| name.contains(part)).map(|(_, format)| format)
    }

    /// The dialect's reader.
    fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Squid => &squid::AclFile,
            Self::SquidConf => &squid::Configuration,
            Self::Tinyproxy => &tinyproxy::Filter,
            Self::WindowsBypass => &windows::Bypass,
            Self::AzureFirewall => &azure_firewall::AzureFirewall,
            Self::Fortigate => &fortigate::Fortigate,
            Self::Paloalto => &paloalto::Paloalto,
            Self::Zscaler => &zscaler::Zscaler,
            Self::Markdown => &lists::Markdown,
            Self::Plain => &lists::Plain,
            Self::Csv => &lists::Csv,
            Self::Json => &json::Json,
        }
    }
}

/// A list format that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is no list format; use one of {}", LIST_FORMATS.map(ListFormat::as_str).join(", "))]
pub struct ListFormatError {
    text: String,
}

impl FromStr for ListFormat {
    type Err = ListFormatError;

    fn from_str(text: &str) -> Result<Self, ListFormatError> {
        const ALIASES: [(&str, ListFormat); 9] = [
            ("squid.conf", ListFormat::SquidConf),
            ("netsh", ListFormat::WindowsBypass),
            ("winhttp", ListFormat::WindowsBypass),
            ("windows", ListFormat::WindowsBypass),
            ("azure", ListFormat::AzureFirewall),
            ("palo-alto", ListFormat::Paloalto),
            ("pan-os", ListFormat::Paloalto),
            ("md", ListFormat::Markdown),
            ("text", ListFormat::Plain),
        ];
        let found = LIST_FORMATS.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(text));
        let alias = || {
            ALIASES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, format)| format)
        };
        found.or_else(alias).ok_or_else(|| ListFormatError { text: crate::name::shown(text) })
    }
}

/// One product's way to write an allowlist.
trait Dialect: Sync {
    /// Why the text looks like this dialect, if it does. The first dialect with a reason is taken.
    fn looks_like(&self, text: &str) -> Option<String>;

    /// The rules of the text, with this dialect's semantics.
    fn read(&self, text: &str) -> Policy;

    /// The line that lets an entry through.
    fn line(&self, pattern: &HostPattern) -> String;

    /// The line that must stand behind the added ones, where the dialect needs one.
    fn last_line(&self) -> Option<&'static str> {
        None
    }
}

/// Why a file cannot be read as a list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More than [`LIST_BYTES_MAX`].
    #[error(
        "the list has {found} bytes, more than the {LIST_BYTES_MAX} that are read; cut it to the proxy's rules"
    )]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Neither UTF-8 nor UTF-16 with a mark.
    #[error("the list is not text (UTF-8, or UTF-16 with a byte order mark); export it as text, CSV or JSON")]
    NotText,
}

/// The text of a file: UTF-8 with or without a mark, or UTF-16 with one, as Windows redirections write it.
///
/// # Errors
///
/// [`DecodeError::TooLong`] over [`LIST_BYTES_MAX`], [`DecodeError::NotText`] for anything else, such as a workbook.
///
/// # Examples
///
/// ```
/// assert_eq!(rs_proxy::allowlist::decode(b"\xff\xfea\0.\0b\0")?, "a.b");
/// assert!(rs_proxy::allowlist::decode(b"PK\x03\x04\0\0").is_err());
/// # Ok::<(), rs_proxy::allowlist::DecodeError>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    if bytes.len() > LIST_BYTES_MAX {
        return Err(DecodeError::TooLong { found: bytes.len() });
    }
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| DecodeError::NotText)
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            str::from_utf8(rest).map_err(|_| DecodeError::NotText)?.to_owned()
        }
    };
    if text.contains('\0') { Err(DecodeError::NotText) } else { Ok(text) }
}

/// What a text looks like, and why.
///
/// # Examples
///
/// ```
/// use rs_proxy::allowlist::{ListFormat, detect};
///
/// assert_eq!(detect("http_access allow all\n").0, ListFormat::SquidConf);
/// assert_eq!(detect("a.example\n").0, ListFormat::Plain);
/// ```
#[must_use]
pub fn detect(text: &str) -> (ListFormat, String) {
    const ORDER: [ListFormat; 11] = [
        ListFormat::AzureFirewall,
        ListFormat::Zscaler,
        ListFormat::Json,
        ListFormat::SquidConf,
        ListFormat::Fortigate,
        ListFormat::WindowsBypass,
        ListFormat::Markdown,
        ListFormat::Csv,
        ListFormat::Tinyproxy,
        ListFormat::Paloalto,
        ListFormat::Squid,
    ];
    let text = text.trim_start_matches('\u{feff}');
    let found = ORDER.into_iter().find_map(|format| Some((format, format.dialect().looks_like(text)?)));
    found.unwrap_or_else(|| (ListFormat::Plain, "no sign of a particular product".to_owned()))
}

/// Checks a file: decodes it, and lets its name speak where its contents could be of several products.
///
/// # Errors
///
/// [`DecodeError`] when the file is no text.
///
/// # Examples
///
/// ```
/// use rs_proxy::allowlist::{self, ListFormat};
/// use rs_proxy::{Cloud, Profile};
///
/// let report = allowlist::check_file("squid-allow.txt", b"login.example\n", None, &Profile::of(Cloud::Public))?;
/// assert_eq!(report.format, ListFormat::Squid);
/// # Ok::<(), allowlist::DecodeError>(())
/// ```
pub fn check_file(
    file_name: &str,
    bytes: &[u8],
    format: Option<ListFormat>,
    profile: &Profile,
) -> Result<Report, DecodeError> {
    use ListFormat::{Csv, Paloalto, Plain, Squid, Tinyproxy};
    let text = decode(bytes)?;
    let by_name = ListFormat::named_by(file_name).filter(|_| format.is_none());
    let open = |found| matches!(found, Plain | Squid | Csv | Tinyproxy | Paloalto);
    match by_name.filter(|_| open(detect(&text).0)) {
        Some(named) => {
            let mut report = check(&text, Some(named), profile);
            report.detected_by = Some("the file's name speaks of it".to_owned());
            Ok(report)
        }
        None => Ok(check(&text, format, profile)),
    }
}

/// Checks a list. Without a format, [`detect`] decides, and the report says so.
#[must_use]
pub fn check(text: &str, format: Option<ListFormat>, profile: &Profile) -> Report {
    let text = text.trim_start_matches('\u{feff}');
    let (format, detected_by) = match format {
        Some(format) => (format.for_text(text), None),
        None => {
            let (format, why) = detect(text);
            (format, Some(why))
        }
    };
    let policy = format.dialect().read(text);
    let (endpoints, mut findings) = report::judge(&policy, format, profile);
    if format == ListFormat::Plain && detected_by.is_some() {
        findings.push(Finding::new(
            Severity::Note,
            None,
            "which product is the list for? The same text means different things: *.S is nothing to squid and Zscaler, \
             .S is nothing to Azure Firewall and Palo Alto. Say --format",
        ));
    }
    let severity = endpoints.iter().map(|v| v.severity).chain(findings.iter().map(|f| f.severity)).max();
    Report {
        format,
        detected_by,
        cloud: profile.cloud(),
        endpoints,
        findings,
        severity: severity.unwrap_or_default(),
    }
}

/// Whether a product with this list lets one target through, as its rules stand. Conditions that the text does not tell,
/// such as who asks, are taken to be met.
///
/// # Examples
///
/// ```
/// use rs_proxy::allowlist::{ListFormat, lets_through};
///
/// let target = "ns.servicebus.windows.net".parse()?;
/// assert!(lets_through(".servicebus.windows.net", ListFormat::Squid, &target));
/// assert!(!lets_through("*.servicebus.windows.net", ListFormat::Squid, &target));
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
#[must_use]
pub fn lets_through(text: &str, format: ListFormat, target: &Target) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let policy = format.for_text(text).dialect().read(text);
    let decision = policy.decide(target.host().as_str(), target.port());
    policy.fatal.is_none() && decision.action == policy::Action::Allow
}

/// The lines of a text with their numbers from 1, trimmed, without empty ones and without those that begin with `#`.
fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..)
        .zip(text.lines())
        .map(|(n, line)| (n, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The words of a list of names, with their lines: separated by commas, semicolons and blanks.
fn words(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let split = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"');
    numbered(text)
        .flat_map(move |(line, text)| text.split(split).map(move |word| (line, word)))
        .filter(|(_, w)| !w.is_empty())
}

/// The line that [`render::entry`] has for a product.
fn rendered(format: Format, pattern: &HostPattern) -> String {
    render::entry(format, pattern)
}
