//! Writes the required entries for each product, in its own dialect, ready to paste.
//!
//! The same text means different things to different products: `*.S` is nothing to squid, `.S` is nothing to Azure
//! Firewall. So each product gets its own spelling, and [`entry`] is also the line that an allowlist report tells the
//! reader to add.

use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use crate::endpoint::{Endpoint, Profile};
use crate::name::{HostPattern, PORT_DEFAULT};

/// What to write the endpoints for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One entry a line, `*.S` for wildcards.
    #[default]
    Plain,
    /// An ACL file for squid's `dstdomain`.
    Squid,
    /// A filter file for tinyproxy.
    Tinyproxy,
    /// A WinHTTP bypass list, for nodes that go direct past their proxy.
    Netsh,
    /// FortiGate address objects and a group.
    Fortigate,
    /// A Palo Alto external dynamic list of type URL.
    Paloalto,
    /// A Zscaler URL category.
    Zscaler,
    /// An Azure Firewall rule collection group.
    AzureFirewall,
    /// The data itself.
    Json,
}

/// All formats, in the order in which help texts list them.
pub const FORMATS: [Format; 9] = [
    Format::Plain,
    Format::Squid,
    Format::Tinyproxy,
    Format::Netsh,
    Format::Fortigate,
    Format::Paloalto,
    Format::Zscaler,
    Format::AzureFirewall,
    Format::Json,
];

impl Format {
    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Squid => "squid",
            Self::Tinyproxy => "tinyproxy",
            Self::Netsh => "netsh",
            Self::Fortigate => "fortigate",
            Self::Paloalto => "paloalto",
            Self::Zscaler => "zscaler",
            Self::AzureFirewall => "azure-firewall",
            Self::Json => "json",
        }
    }
}

/// An output format that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{text}' is no format; use plain, squid, tinyproxy, netsh, fortigate, paloalto, zscaler, azure-firewall or json"
)]
pub struct FormatError {
    text: String,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let found = FORMATS.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| FormatError { text: crate::name::shown(text) })
    }
}

/// The endpoints of a profile in a product's dialect. Ends with a newline.
///
/// # Examples
///
/// ```
/// use rs_proxy::{Cloud, Format, Profile, render};
///
/// let squid = render::render(&Profile::of(Cloud::Public), Format::Squid);
/// assert!(squid.lines().any(|line| line == ".servicebus.windows.net"));
/// assert!(!squid.contains('*'));
/// ```
#[must_use]
pub fn render(profile: &Profile, format: Format) -> String {
    match format {
        Format::Plain | Format::Paloalto => lines(profile, format),
        Format::Squid => squid(profile),
        Format::Tinyproxy => tinyproxy(profile),
        Format::Netsh => netsh(profile),
        Format::Fortigate => fortigate(profile),
        Format::Zscaler => pretty(&zscaler(profile)),
        Format::AzureFirewall => pretty(&azure_firewall(profile)),
        Format::Json => pretty(&serde_json::to_value(profile).unwrap_or_default()),
    }
}

/// The line, or lines, that let one entry through in a product's dialect.
///
/// # Examples
///
/// ```
/// use rs_proxy::{Format, render};
///
/// let pattern = "*.core.windows.net".parse()?;
/// assert_eq!(render::entry(Format::Squid, &pattern), ".core.windows.net");
/// assert_eq!(render::entry(Format::Paloalto, &pattern), "*.core.windows.net/");
/// assert_eq!(render::entry(Format::Tinyproxy, &pattern), r"\.core\.windows\.net$");
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
#[must_use]
pub fn entry(format: Format, pattern: &HostPattern) -> String {
    let name = pattern.name();
    let star = if pattern.is_wildcard() { "*." } else { "" };
    match format {
        Format::Squid | Format::Zscaler => format!("{}{name}", if pattern.is_wildcard() { "." } else { "" }),
        Format::Tinyproxy => {
            let head = if pattern.is_wildcard() { r"\." } else { "^" };
            format!("{head}{}$", name.as_str().replace('.', r"\."))
        }
        Format::Paloalto => format!("{star}{name}/"),
        Format::Plain => pattern.to_string(),
        Format::Netsh | Format::Fortigate | Format::AzureFirewall | Format::Json => format!("{star}{name}"),
    }
}

/// One entry a line, nothing else: for lists that allow no comments.
fn lines(profile: &Profile, format: Format) -> String {
    profile.endpoints().iter().map(|e| entry(format, &e.pattern) + "\n").collect()
}

/// Ports other than 443, for products whose host entries have no port.
fn other_ports(profile: &Profile) -> String {
    let mut ports: Vec<u16> = profile.endpoints().iter().map(|e| e.pattern.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|&port| port != PORT_DEFAULT);
    ports.iter().map(|port| format!(" {port}")).collect()
}

fn squid(profile: &Profile) -> String {
    let mut out = String::from(
        "# Remote support endpoints, TCP 443, by CONNECT. Save as /etc/squid/remote-support.txt and put into\n\
         # squid.conf, above the line \"http_access deny all\":\n\
         #   acl remote_support dstdomain \"/etc/squid/remote-support.txt\"\n\
         #   http_access allow CONNECT SSL_ports remote_support\n\
         # No TLS inspection for these names: with ssl_bump, splice them first.\n",
    );
    let ports = other_ports(profile);
    if !ports.is_empty() {
        let _ = writeln!(out, "# Other ports are used too:\n#   acl SSL_ports port{ports}");
    }
    out + &lines(profile, Format::Squid)
}

fn tinyproxy(profile: &Profile) -> String {
    let mut out = String::from(
        "# Remote support endpoints. In tinyproxy.conf: Filter \"this file\", FilterDefaultDeny Yes, ConnectPort 443,\n\
         # FilterURLs Off. Each line is a regular expression.\n",
    );
    for port in other_ports(profile).split_whitespace() {
        let _ = writeln!(out, "# Other ports are used too: ConnectPort {port}");
    }
    out + &lines(profile, Format::Tinyproxy)
}

fn netsh(profile: &Profile) -> String {
    let list: Vec<String> = profile.endpoints().iter().map(|e| entry(Format::Netsh, &e.pattern)).collect();
    format!(
        "rem This is a bypass list: the node reaches these names directly, not through the proxy. The firewall must\n\
         rem allow them to TCP 443. Put your proxy's address in, and keep the entries your list already has.\n\
         netsh winhttp set proxy proxy-server=\"http://proxy.contoso.example:8080\" bypass-list=\"{}\"\n",
        list.join(";")
    )
}

fn fortigate(profile: &Profile) -> String {
    let mut out = String::from(
        "# Remote support endpoints. A wildcard object learns its addresses from DNS answers that pass through the\n\
         # FortiGate: the nodes' DNS traffic must cross it, unencrypted. Needs FortiOS 6.2.2 or newer.\n\
         config firewall address\n",
    );
    for endpoint in profile.endpoints() {
        let fqdn = entry(Format::Fortigate, &endpoint.pattern);
        let _ = write!(
            out,
            "    edit \"remote-support-{}\"\n        set type fqdn\n        set fqdn \"{fqdn}\"\n    next\n",
            endpoint.id
        );
    }
    let members: String =
        profile.endpoints().iter().map(|e| format!(" \"remote-support-{}\"", e.id)).collect();
    let _ = write!(
        out,
        "end\nconfig firewall addrgrp\n    edit \"remote-support\"\n        set member{members}\n    next\nend\n\
         # Use the group as dstaddr of an accept policy with service HTTPS, above any deny, without deep inspection.\n"
    );
    out
}

fn zscaler(profile: &Profile) -> serde_json::Value {
    let urls: Vec<String> = profile.endpoints().iter().map(|e| entry(Format::Zscaler, &e.pattern)).collect();
    json!({
        "configuredName": "Remote support",
        "description": "Allow this category in the URL filtering rule and exempt it from SSL inspection.",
        "customCategory": true,
        "superCategory": "USER_DEFINED",
        "type": "URL_CATEGORY",
        "urls": urls,
    })
}

fn azure_firewall(profile: &Profile) -> serde_json::Value {
    let rule = |endpoint: &Endpoint| {
        json!({
            "ruleType": "ApplicationRule",
            "name": format!("remote-support-{}", endpoint.id),
            "protocols": [{ "protocolType": "Https", "port": endpoint.pattern.port() }],
            "targetFqdns": [entry(Format::AzureFirewall, &endpoint.pattern)],
            "sourceAddresses": ["*"],
            "terminateTLS": false,
        })
    };
    let rules: Vec<serde_json::Value> = profile.endpoints().iter().map(rule).collect();
    json!({
        "properties": {
            "priority": 200,
            "ruleCollections": [{
                "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
                "name": "remote-support",
                "priority": 200,
                "action": { "type": "Allow" },
                "rules": rules,
            }],
        },
    })
}

/// JSON for people.
fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Cloud;

    #[test]
    fn every_format_names_every_endpoint_once() {
        let profile = Profile::of(Cloud::Public);
        for format in FORMATS {
            let text = render(&profile, format);
            assert!(text.ends_with('\n'));
            for endpoint in profile.endpoints() {
                let entry = entry(format, &endpoint.pattern);
                assert!(text.contains(&entry), "{format:?} lacks {entry}");
            }
            assert_eq!(format.as_str().parse::<Format>().unwrap(), format);
        }
    }

    #[test]
    fn squid_has_no_star_no_scheme_no_port() {
        let text = render(&Profile::of(Cloud::Public), Format::Squid);
        let entries: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(entries.len(), 9);
        assert!(entries.iter().all(|e| !e.contains(['*', ':', '/'])));
        assert_eq!(
            entries[..3],
            [".servicebus.windows.net", ".core.windows.net", "login.microsoftonline.com"]
        );
    }

    #[test]
    fn other_ports_are_said() {
        let profile = Profile::of(Cloud::Custom).with_relay("relay.example:9443".parse().unwrap());
        assert!(render(&profile, Format::Squid).contains("acl SSL_ports port 9443"));
        assert!(render(&profile, Format::Tinyproxy).contains("ConnectPort 9443"));
        assert!(render(&profile, Format::AzureFirewall).contains("9443"));
        assert_eq!(render(&profile, Format::Plain), "relay.example:9443\n");
    }

    #[test]
    fn json_formats_parse() {
        for format in [Format::Json, Format::Zscaler, Format::AzureFirewall] {
            let text = render(&Profile::of(Cloud::Public), format);
            assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_object());
        }
    }

    #[test]
    fn unknown_formats_are_refused_with_the_list() {
        assert!("sqid".parse::<Format>().unwrap_err().to_string().contains("azure-firewall"));
    }
}
