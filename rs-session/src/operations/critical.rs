//! Services that nobody starts or stops from a session: the list that comes with the program, and the owner's own rules.
//!
//! The list is data ([`PROTECTED_SERVICES`]). A name is judged in every spelling by which a service manager would find the
//! same service: any case, with or without the ending of a unit, and as an instance of a template. Names that a machine
//! adds to a service (aliases, links, the program that runs) are judged by the provider, which sees them.

use serde::{Deserialize, Serialize};

/// Most names in one list of an owner's rules.
pub const RULE_NAMES_MAX: usize = 256;
/// Longest name in an owner's rules, in characters.
pub const RULE_NAME_CHARS_MAX: usize = 256;

/// Services that nobody starts or stops from outside: the way in, the way out, and what the system stands on.
/// A trailing `*` takes every name that begins so.
pub const PROTECTED_SERVICES: &[&str] = &[
    // The agent itself, under the product's names and ours.
    "remote-support*",
    "RemoteSupport*",
    "rs-agent*",
    // The operator's own way in.
    "ssh",
    "sshd",
    "sshd-*",
    "openssh*",
    "dropbear*",
    "WinRM",
    "TermService",
    "getty",
    "serial-getty",
    "console-getty",
    "agetty*",
    // What everything else stands on.
    "systemd-*",
    "init",
    "runsvdir*",
    "dbus*",
    "messagebus",
    "polkit*",
    "user",
    "user-runtime-dir",
    "udev",
    "eudev",
    "cgroup*",
    "mountall*",
    "umount*",
    "sendsigs",
    // The end of everything.
    "halt",
    "reboot",
    "poweroff",
    "shutdown",
    "kexec*",
    "single",
    "rescue",
    "emergency",
    // Network and firewall.
    "NetworkManager*",
    "networking",
    "network",
    "network-manager",
    "wicked*",
    "connman*",
    "dhcpcd*",
    "dhclient*",
    "wpa_supplicant*",
    "netplan*",
    "ifup",
    "ifupdown*",
    "resolvconf*",
    "nftables",
    "iptables*",
    "ip6tables*",
    "netfilter-persistent",
    "firewalld",
    "ufw",
    // What must not be blind: logs and clocks.
    "auditd",
    "rsyslog",
    "rsyslogd",
    "syslog*",
    "syslog-ng",
    "default-syslog",
    "chrony*",
    "ntp*",
    "W32Time",
    // Cluster and virtual machines.
    "libvirtd",
    "corosync",
    "pacemaker*",
    "ClusSvc",
    "vmms",
    "vmcompute",
    "hns",
    // Windows itself.
    "RpcSs",
    "DcomLaunch",
    "RpcEptMapper",
    "LSM",
    "SamSs",
    "EventLog",
    "Netlogon",
    "NTDS",
    "DNS",
    "Dhcp",
    "Dnscache",
    "BFE",
    "MpsSvc",
    "WinDefend",
    "CryptSvc",
    "sppsvc",
    "PlugPlay",
    "Power",
    "ProfSvc",
    "Schedule",
    "Winmgmt",
    "LanmanServer",
    "LanmanWorkstation",
    "StorSvc",
    "VDS",
    // Azure's agents on the node.
    "himds",
    "himdsd",
    "GCArcService",
    "gcad",
    "ExtensionService",
    "extd",
    "walinuxagent",
];

/// Endings of units; a service is found with and without.
const ENDINGS: [&str; 5] = [".service", ".socket", ".target", ".timer", ".mount"];

/// What the owner adds to [`PROTECTED_SERVICES`]; nothing takes a name off that list.
///
/// ```
/// use rs_session::operations::critical::ServiceRules;
///
/// let rules: ServiceRules = serde_json::from_str(r#"{ "deny": ["database*"], "allow": ["web", "database"] }"#)?;
/// assert!(rules.refusal("WEB.service").is_none());
/// assert!(rules.refusal("database").is_some(), "denied goes before allowed");
/// assert!(rules.refusal("cron").is_some(), "not on the list of what is allowed");
/// assert!(ServiceRules::default().refusal("cron").is_none());
/// assert!(ServiceRules::default().refusal("sshd@1").is_some());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceRules {
    /// More names that are protected; a trailing `*` takes every name that begins so. At most [`RULE_NAMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The only names that may be started and stopped at all; `None`, the default, for all that are not protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
}

impl ServiceRules {
    /// True if the owner has added nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_none()
    }

    /// These rules with what others deny; where both say what may be touched, these count.
    ///
    /// ```
    /// use rs_session::operations::critical::ServiceRules;
    ///
    /// let rules = |json| serde_json::from_str::<ServiceRules>(json);
    /// let both = rules(r#"{ "deny": ["database"] }"#)?.with(&rules(r#"{ "deny": ["mail"], "allow": ["mail", "web"] }"#)?);
    /// assert!(both.refusal("database").is_some() && both.refusal("mail").is_some() && both.refusal("cron").is_some());
    /// assert!(both.refusal("web").is_none());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        let new = others.deny.iter().filter(|name| !self.deny.contains(name)).cloned();
        Self {
            deny: self.deny.iter().cloned().chain(new).collect(),
            allow: self.allow.as_ref().or(others.allow.as_ref()).cloned(),
        }
    }

    /// What is wrong with the rules, if anything is: too many names, or one that is empty or too long.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        for list in [Some(&self.deny), self.allow.as_ref()].into_iter().flatten() {
            if list.len() > RULE_NAMES_MAX {
                return Some(format!(
                    "a list of services has {} names, {RULE_NAMES_MAX} are the limit",
                    list.len()
                ));
            }
            let bad = |name: &&String| {
                name.trim_matches(['*', ' ']).is_empty() || name.chars().count() > RULE_NAME_CHARS_MAX
            };
            if let Some(name) = list.iter().find(bad) {
                return Some(format!("{name:?} is no name of a service"));
            }
        }
        None
    }

    /// Why a service of this name is neither started nor stopped; `None` if it may be.
    #[must_use]
    pub fn refusal(&self, name: &str) -> Option<&'static str> {
        if is_protected_service(name) {
            return Some("is protected");
        }
        if self.deny.iter().any(|own| fits(own, name)) {
            return Some("is protected by the owner of the node");
        }
        let outside = self.allow.as_ref().is_some_and(|allow| !allow.iter().any(|own| fits(own, name)));
        outside.then_some("is not among the services that the owner of the node permits")
    }
}

/// True if a service stands on [`PROTECTED_SERVICES`], in whatever spelling.
///
/// ```
/// use rs_session::operations::critical::is_protected_service;
/// assert!(is_protected_service("SSHD.service"));
/// assert!(is_protected_service("systemd-journald"));
/// assert!(is_protected_service("getty@tty1"));
/// assert!(!is_protected_service("cron"));
/// ```
#[must_use]
pub fn is_protected_service(name: &str) -> bool {
    PROTECTED_SERVICES.iter().any(|own| fits(own, name))
}

/// The name without the endings of units, in lower case.
///
/// ```
/// assert_eq!(rs_session::operations::critical::bare_name(" Web.Service "), "web");
/// ```
#[must_use]
pub fn bare_name(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let mut bare = lower.as_str();
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| bare.strip_suffix(ending)) {
        bare = shorter;
    }
    bare.to_owned()
}

/// True if a name on a list means the service `name`, itself or as the template that it is an instance of.
fn fits(own: &str, name: &str) -> bool {
    let start = own.trim().strip_suffix('*').map(str::to_lowercase);
    let (own, bare) = (bare_name(own), bare_name(name));
    let template = bare.split_once('@').map(|(template, _)| template);
    std::iter::once(bare.as_str())
        .chain(template)
        .any(|name| start.as_ref().map_or_else(|| name == own, |start| name.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A name in every spelling that means the same service.
    fn spellings(name: &str) -> Vec<String> {
        let swapped: String = name
            .chars()
            .enumerate()
            .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        let mut all = Vec::new();
        for name in [name.to_owned(), name.to_uppercase(), name.to_lowercase(), swapped] {
            for ending in ["", ".service", ".SERVICE", ".socket", ".service.service", ".Timer"] {
                all.push(format!("{name}{ending}"));
                all.push(format!(" {name}{ending} "));
                all.push(format!("{name}@1{ending}"));
                all.push(format!("{name}@x.y{ending}"));
            }
        }
        all
    }

    #[test]
    fn a09_no_spelling_gets_around_the_list() {
        for own in PROTECTED_SERVICES {
            let name = own.strip_suffix('*').map_or_else(|| (*own).to_owned(), |start| format!("{start}x"));
            for spelling in spellings(&name) {
                assert!(is_protected_service(&spelling), "{spelling:?} means {name}");
            }
        }
    }

    #[test]
    fn a09_the_named_ones_are_on_it() {
        for name in [
            "RemoteSupportAgent",
            "remote-support",
            "remote-support-agent",
            "ssh",
            "sshd",
            "WinRM",
            "ClusSvc",
            "systemd-logind",
            "dbus",
            "dbus-broker",
            "NetworkManager",
            "systemd-networkd",
            "nftables",
            "firewalld",
            "ufw",
            "networking",
        ] {
            assert!(is_protected_service(name), "{name}");
        }
        for name in ["cron", "squid", "nginx", "postgresql", "tinyproxy", "sshguard", "spooler"] {
            assert!(!is_protected_service(name), "{name}");
        }
    }

    #[test]
    fn a09_without_the_spellings_the_list_would_be_passed() {
        // The control: a plain look into the list misses what `fits` finds.
        let plain = |name: &str| PROTECTED_SERVICES.contains(&name);
        for name in ["SSHD", "sshd.service", "sshd@1", "systemd-logind"] {
            assert!(!plain(name) && is_protected_service(name), "{name}");
        }
    }

    #[test]
    fn rules_have_their_limits() {
        let rules = |count| ServiceRules { deny: vec![String::from("x"); count], allow: None };
        assert_eq!(rules(RULE_NAMES_MAX).fault(), None);
        assert!(rules(RULE_NAMES_MAX + 1).fault().is_some());
        let named = |name: String| ServiceRules { deny: Vec::new(), allow: Some(vec![name]) };
        assert_eq!(named("x".repeat(RULE_NAME_CHARS_MAX)).fault(), None);
        for bad in ["x".repeat(RULE_NAME_CHARS_MAX + 1), String::new(), " ".into(), "*".into()] {
            assert!(named(bad).fault().is_some());
        }
    }

    proptest! {
        #[test]
        fn a09_an_owners_rules_only_narrow(
            name in "[a-zA-Z@._-]{1,20}",
            deny in prop::collection::vec("[a-z*]{1,8}", 0..4),
            allow in prop::option::of(prop::collection::vec("[a-z*]{1,8}", 0..4)),
        ) {
            let open = ServiceRules::default().refusal(&name);
            let narrowed = ServiceRules { deny, allow }.refusal(&name);
            prop_assert!(open.is_none() || narrowed.is_some());
        }
    }
}
