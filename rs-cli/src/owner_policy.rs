//! `node/policy.json`: what the owner of the node adds to the rules that come with the program. It can only narrow.
//!
//! ```json
//! {
//!   "services": { "deny": ["database*"], "allow": ["web", "spooler"] },
//!   "retentionDays": 365,
//!   "limits": { "sessions": 1, "session": { "linesPerMinute": 30 }, "operation": { "seconds": 600 } }
//! }
//! ```
//!
//! Contents of sessions are kept for 90 days, or longer as `retentionDays` says: 90 to 3650. Limits that are not named keep
//! their defaults: [`SessionLimits`] and [`Limits`] have them, with their ranges.
//!
//! `"storage"` says where the key is kept that closes the contents of records: `key-file` (the default), `passphrase`,
//! `credential`, on Windows `dpapi`, or `off` for contents in clear.
//!
//! `expiryNoticeMinutes` says how long before its end a consent is told of as ending soon: 1 to 59, 15 when nothing is said,
//! 0 for never.
//!
//! `"secondPerson": true` lets each consent above `Diagnostics` wait for the approval of a second person; commands and pages
//! read that at each consent.
//!
//! `"commands": { "deny": ["Send-DiagnosticData", "Get-VM*"] }` takes published commands out of every level. Nothing adds one.
//!
//! `"nodes": ["node-02", "admin@node-03"]` names other nodes that the page of `console` shows, over ssh.
//!
//! The agent reads it when it starts. A file that cannot be read or is not in this form keeps the agent from starting: rules
//! that somebody wrote must not be missing silently.

use rs_consent::gate::SESSIONS_MAX_DEFAULT;
use rs_session::host::SessionLimits;
use rs_session::keeping::{CONTENT_DAYS, CONTENT_DAYS_MAX};
use rs_session::operations::critical::ServiceRules;
use rs_session::operations::{CommandRules, Limits};
use serde::Deserialize;

use crate::files;
use crate::fleet::target::{Host, NODES_MAX};
use crate::outcome::{ErrorCode, Failure};
use crate::state::RoleDir;
use crate::storage::Keeping;

/// Name of the file in the node's folder.
pub const POLICY_NAME: &str = "policy.json";
/// Largest file, in bytes.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Most sessions at the same time that the owner can permit.
pub const SESSIONS_MAX: usize = 64;

/// How long before its end a consent is told of as ending soon, in minutes, when nothing is said.
pub const EXPIRY_NOTICE_MINUTES: u8 = 15;
/// The longest such time: shorter than the shortest consent, so that none ends soon when it is given.
pub const EXPIRY_NOTICE_MINUTES_MAX: u8 = 59;

/// What the owner adds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OwnerPolicy {
    /// Services that are neither started nor stopped from a session, beyond the list of the program.
    #[serde(default)]
    pub services: ServiceRules,
    /// Published commands that no level permits on this node.
    #[serde(default)]
    pub commands: CommandRules,
    /// How much a session and an operation may ask for.
    #[serde(default)]
    pub limits: OwnerLimits,
    /// Days after the end of a session at which its contents are removed: 90 to 3650; 90 when nothing is said.
    #[serde(default = "content_days")]
    pub retention_days: i64,
    /// Whether each consent above `Diagnostics` needs a second person.
    #[serde(default)]
    pub second_person: bool,
    /// Where the key is kept that closes the contents of records.
    #[serde(default)]
    pub storage: Keeping,
    /// Minutes before its end at which a consent is told of as ending soon: 0 (never) to [`EXPIRY_NOTICE_MINUTES_MAX`];
    /// [`EXPIRY_NOTICE_MINUTES`] when nothing is said.
    #[serde(default = "expiry_notice_minutes")]
    pub expiry_notice_minutes: u8,
    /// Other nodes that the page of `console` shows; at most [`NODES_MAX`].
    #[serde(default)]
    pub nodes: Vec<Host>,
}

const fn expiry_notice_minutes() -> u8 {
    EXPIRY_NOTICE_MINUTES
}

const fn content_days() -> i64 {
    CONTENT_DAYS
}

impl Default for OwnerPolicy {
    fn default() -> Self {
        Self {
            services: ServiceRules::default(),
            commands: CommandRules::default(),
            retention_days: CONTENT_DAYS,
            second_person: false,
            storage: Keeping::default(),
            limits: OwnerLimits::default(),
            expiry_notice_minutes: EXPIRY_NOTICE_MINUTES,
            nodes: Vec::new(),
        }
    }
}

/// The owner's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnerLimits {
    /// Sessions at the same time; default [`SESSIONS_MAX_DEFAULT`], 1 to [`SESSIONS_MAX`].
    pub sessions: Option<u16>,
    /// For each session, and for the records of a day.
    pub session: SessionLimits,
    /// For each operation.
    pub operation: Limits,
}

impl OwnerLimits {
    /// Sessions at the same time.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.map_or(SESSIONS_MAX_DEFAULT, usize::from)
    }

    fn fault(&self) -> Option<String> {
        let sessions = self.sessions();
        if !(1..=SESSIONS_MAX).contains(&sessions) {
            return Some(format!("limits.sessions is {sessions}, and goes from 1 to {SESSIONS_MAX}"));
        }
        let named = |name: &str, fault: Option<String>| fault.map(|fault| format!("limits.{name}: {fault}"));
        named("session", self.session.fault()).or_else(|| named("operation", self.operation.fault()))
    }
}

impl OwnerPolicy {
    /// Reads the file; the default where there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidFile`] for a file in another form or with too many names, [`ErrorCode::Io`] for one that
    /// cannot be read.
    pub fn read(node: &RoleDir) -> Result<Self, Failure> {
        let path = node.file(POLICY_NAME);
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Self::default());
        }
        let bytes = files::read(&path, POLICY_BYTES_MAX)?;
        let invalid = |what: String| {
            Failure::new(ErrorCode::InvalidFile, "the owner's policy cannot be used")
                .about(path.display().to_string())
                .because(std::io::Error::other(what))
                .next_step(
                    r#"write it as { "services": { "deny": ["NAME*"], "allow": ["NAME"] } }, or remove it"#,
                )
        };
        let policy: Self = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if !(CONTENT_DAYS..=CONTENT_DAYS_MAX).contains(&policy.retention_days) {
            return Err(invalid(format!("retentionDays is not within {CONTENT_DAYS} to {CONTENT_DAYS_MAX}")));
        }
        if policy.expiry_notice_minutes > EXPIRY_NOTICE_MINUTES_MAX {
            return Err(invalid(format!(
                "expiryNoticeMinutes is not within 0 to {EXPIRY_NOTICE_MINUTES_MAX}"
            )));
        }
        if policy.nodes.len() > NODES_MAX {
            return Err(invalid(format!("nodes names more than {NODES_MAX}")));
        }
        match policy.services.fault().or_else(|| policy.commands.fault()).or_else(|| policy.limits.fault()) {
            Some(fault) => Err(invalid(fault)),
            None => Ok(policy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Role, StateDir};

    fn read(text: Option<&[u8]>) -> Result<OwnerPolicy, Failure> {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(Some(directory.path().join("s"))).expect("a path");
        let node = state.role(Role::Node);
        node.ensure().expect("a folder");
        if let Some(text) = text {
            std::fs::write(node.file(POLICY_NAME), text).expect("written");
        }
        OwnerPolicy::read(&node)
    }

    #[test]
    fn a18_the_owners_limits_are_read_or_the_agent_does_not_start() {
        let limits = |text: &str| read(Some(text.as_bytes())).map(|policy| policy.limits);
        let set = limits(r#"{ "limits": { "sessions": 64, "operation": { "files": 8 } } }"#).expect("read");
        assert_eq!((set.sessions(), set.session.lines), (64, SessionLimits::default().lines));
        assert_eq!((set.operation.files, set.operation.seconds), (8, Limits::default().seconds));
        for bad in [
            r#"{ "limits": { "sessions": 0 } }"#,
            r#"{ "limits": { "sessions": 65 } }"#,
            r#"{ "limits": { "session": { "lines": 0 } } }"#,
            r#"{ "limits": { "operation": { "files": 7 } } }"#,
            r#"{ "limits": { "operation": { "outputBytes": 1073741825 } } }"#,
            r#"{ "limits": { "session": { "lins": 1 } } }"#,
            r#"{ "limits": { "day": {} } }"#,
        ] {
            assert_eq!(limits(bad).expect_err("refused").code(), ErrorCode::InvalidFile, "{bad}");
        }
    }

    #[test]
    fn f01_the_nodes_of_the_page_are_names_and_have_a_bound() {
        let nodes = |text: &str| read(Some(text.as_bytes())).map(|policy| policy.nodes.len());
        let many = |count: usize| format!(r#"{{ "nodes": [{}] }}"#, vec![r#""n1""#; count].join(","));
        assert_eq!(nodes(r#"{ "nodes": ["n2", "admin@n3"] }"#).expect("read"), 2);
        assert_eq!(nodes(&many(NODES_MAX)).expect("at the bound"), NODES_MAX);
        for bad in
            [r#"{ "nodes": ["-oX"] }"#.to_owned(), r#"{ "nodes": ["a b"] }"#.to_owned(), many(NODES_MAX + 1)]
        {
            assert_eq!(nodes(&bad).expect_err("refused").code(), ErrorCode::InvalidFile, "{bad}");
        }
    }

    #[test]
    fn u10_the_notice_before_the_end_has_its_range() {
        let minutes = |text: &str| read(Some(text.as_bytes())).map(|policy| policy.expiry_notice_minutes);
        assert_eq!(minutes("{}").expect("read"), EXPIRY_NOTICE_MINUTES);
        for at in [0, EXPIRY_NOTICE_MINUTES_MAX] {
            assert_eq!(minutes(&format!(r#"{{ "expiryNoticeMinutes": {at} }}"#)).expect("read"), at);
        }
        for past in ["60", "-1", "300"] {
            assert!(minutes(&format!(r#"{{ "expiryNoticeMinutes": {past} }}"#)).is_err(), "{past}");
        }
    }

    #[test]
    fn a09_the_owners_policy_is_read_or_the_agent_does_not_start() {
        assert_eq!(read(None).expect("none"), OwnerPolicy::default());
        let policy =
            read(Some(br#"{ "services": { "deny": ["db"], "allow": ["web", "db"] } }"#)).expect("read");
        assert!(policy.services.refusal("db.service").is_some() && policy.services.refusal("web").is_none());
        assert_eq!(policy.retention_days, 90);
        for days in [90, 3650] {
            let text = format!(r#"{{ "retentionDays": {days} }}"#);
            assert_eq!(read(Some(text.as_bytes())).expect("at the bound").retention_days, days);
        }
        let many = format!(r#"{{ "services": {{ "deny": [{}"x"] }} }}"#, r#""x","#.repeat(256));
        for bad in [
            &b""[..],
            b"{",
            br#"{ "retentionDays": 89 }"#,
            br#"{ "retentionDays": 3651 }"#,
            br#"{ "service": {} }"#,
            br#"{ "services": { "deny": [""] } }"#,
            br#"{ "commands": { "deny": ["Get-Proces"] } }"#,
            br#"{ "commands": { "allow": ["Invoke-Expression"] } }"#,
            many.as_bytes(),
        ] {
            let failure = read(Some(bad)).expect_err("refused");
            assert_eq!(failure.code(), ErrorCode::InvalidFile, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_file_has_its_limit_and_no_byte_more() {
        let padded = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
        assert!(read(Some(padded(POLICY_BYTES_MAX).as_bytes())).is_ok());
        assert!(read(Some(padded(POLICY_BYTES_MAX + 1).as_bytes())).is_err());
    }
}
