//! Which nodes: names that can be nothing else for a remote shell, and lists of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
pub const HOST_BYTES_MAX: usize = 255;
/// Most nodes of one call.
pub const NODES_MAX: usize = 256;
/// Largest list, in bytes.
pub const LIST_BYTES_MAX: usize = 64 * 1024;

/// A node as the remote shell knows it: `HOST` or `USER@HOST`, of `A-Z a-z 0-9 . _ -` each, and
/// `:` in the address of a host. Neither part begins with a
/// dash, so that it is no option, and nothing in it has a meaning for a shell.
///
/// ```
/// use rs_cli::fleet::target::Host;
///
/// assert!("admin@node-01.example".parse::<Host>().is_ok());
/// assert!("-oProxyCommand=x".parse::<Host>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

/// This is no name of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no node: write HOST or USER@HOST, each of letters, digits, dots, dashes, underscores and colons, none with \
     a dash in front, at most {HOST_BYTES_MAX} in all"
)]
pub struct HostError;

/// A list of nodes that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A line is no node.
    #[error("line {0}: {HostError}")]
    Line(usize),
    /// It names no node.
    #[error("it names no node")]
    Empty,
    /// It names too many.
    #[error("{0} nodes are named, and {NODES_MAX} is the most")]
    TooMany(usize),
}

impl Host {
    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host goes by this name, or by it with a domain behind it.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let host = self.0.rsplit_once('@').map_or(self.as_str(), |(_, host)| host);
        let first = host.split_once('.').map_or(host, |(first, _)| first);
        host.eq_ignore_ascii_case(name) || first.eq_ignore_ascii_case(name)
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let (user, host) = text.split_once('@').map_or((None, text), |(user, host)| (Some(user), host));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        let fits = |part: &str| !part.is_empty() && !part.starts_with('-') && part.bytes().all(plain);
        // A name with a colon would look as if a password could stand there.
        let fits_user = |user: &str| fits(user) && !user.contains(':');
        if text.len() <= HOST_BYTES_MAX && fits(host) && user.is_none_or(fits_user) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HostError)
        }
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The nodes of a list: one a line, `#` and what follows it left out.
///
/// # Errors
///
/// [`ListError`]: a line that is left out silently would leave out a node.
pub fn parse_list(bytes: &[u8]) -> Result<Vec<Host>, ListError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ListError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(at, line)| {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        (at + 1, line.trim())
    });
    let named = lines.filter(|(_, line)| !line.is_empty());
    let hosts: Vec<Host> =
        named.map(|(at, line)| line.parse().map_err(|_| ListError::Line(at))).collect::<Result<_, _>>()?;
    if hosts.is_empty() { Err(ListError::Empty) } else { Ok(hosts) }
}

/// Each node once, where it is named first; upper and lower case are the same.
///
/// # Errors
///
/// [`ListError::TooMany`] for more than [`NODES_MAX`].
pub fn distinct(hosts: Vec<Host>) -> Result<Vec<Host>, ListError> {
    let mut seen = std::collections::HashSet::new();
    let mut hosts = hosts;
    hosts.retain(|host| seen.insert(host.0.to_ascii_lowercase()));
    if hosts.len() > NODES_MAX { Err(ListError::TooMany(hosts.len())) } else { Ok(hosts) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f01_a_name_can_be_nothing_but_a_name() {
        for good in ["n1", "node-01.example", "admin@n1", "10.0.0.1", "::1", "root@fe80::1", "a_b", "9"] {
            assert_eq!(good.parse::<Host>().expect(good).as_str(), good);
        }
        for bad in [
            "",
            "-n1",
            "-oProxyCommand=touch x",
            "a@-b",
            "-a@b",
            "@b",
            "a@",
            "a@b@c",
            "a b",
            "a\tb",
            "a;b",
            "$(x)",
            "`x`",
            "a/b",
            "ssh://a",
            "a%h",
            "ä",
            "a\nb",
            "a\0b",
            "a'b",
            "a\"b",
            "a\\b",
            "a,b",
            "user:secret@n1",
            "[::1]",
        ] {
            assert_eq!(bad.parse::<Host>(), Err(HostError), "{bad:?}");
        }
        assert!("a".repeat(HOST_BYTES_MAX).parse::<Host>().is_ok());
        assert!("a".repeat(HOST_BYTES_MAX + 1).parse::<Host>().is_err());
    }

    #[test]
    fn f01_a_node_is_found_by_its_name_alone() {
        let host = |text: &str| text.parse::<Host>().expect("a name");
        for same in ["node-01", "NODE-01", "admin@node-01", "root@Node-01.example.com"] {
            assert!(host(same).is_called("node-01"), "{same}");
        }
        for other in ["node-011", "node-01@node-02", "x.node-01", "10.0.0.1"] {
            assert!(!host(other).is_called("node-01"), "{other}");
        }
    }

    #[test]
    fn f01_a_list_has_one_node_a_line_and_comments() {
        let hosts =
            parse_list("\u{feff}# the cluster\nn1\r\n  n2 # rack 2\n\n#n3\nN1\n".as_bytes()).expect("a list");
        assert_eq!(hosts.iter().map(Host::as_str).collect::<Vec<_>>(), ["n1", "n2", "N1"]);
        assert_eq!(distinct(hosts).expect("few").len(), 2, "a node that is named twice is asked once");
        for (bad, error) in [
            (&b""[..], ListError::Empty),
            (b"# nothing\n\n", ListError::Empty),
            (b"n1\nn2 n3\n", ListError::Line(2)),
            (b"n1\n\n-oX\n", ListError::Line(3)),
            (b"\xff\n", ListError::NotText),
        ] {
            assert_eq!(parse_list(bad), Err(error));
        }
    }

    #[test]
    fn f01_so_many_nodes_and_not_one_more() {
        let hosts = |count: usize| (0..count).map(|at| format!("n{at}").parse().expect("a name")).collect();
        assert_eq!(distinct(hosts(NODES_MAX)).map(|hosts| hosts.len()), Ok(NODES_MAX));
        assert_eq!(distinct(hosts(NODES_MAX + 1)), Err(ListError::TooMany(NODES_MAX + 1)));
    }

    proptest! {
        #[test]
        fn f01_what_is_taken_has_no_meaning_for_a_shell(text in "\\PC{0,20}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert!(!host.as_str().starts_with('-'));
                let quoted = super::super::shell::quote(host.as_str());
                prop_assert_eq!(quoted.as_ref(), host.as_str(), "nothing is to be quoted");
            }
            let _any_bytes = parse_list(text.as_bytes());
        }
    }
}
