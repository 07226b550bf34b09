//! What the owner wants to be asked about while a session runs.
//!
//! A consent permits a level as a whole. With an [`ApprovalRule`] the owner keeps the last word on single calls: the call
//! waits, the owner sees what it would do, and answers. Nothing is asked about reading.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which calls of a session wait for the owner's answer; each rule asks for more than the one before.
///
/// ```
/// use rs_consent::ApprovalRule;
///
/// let rule: ApprovalRule = "changes".parse()?;
/// assert!(rule.asks_before_changes() && rule.asks_before_releases());
/// assert!(!ApprovalRule::default().asks_before_changes(), "asked only before data leaves, if nothing is said");
/// # Ok::<(), rs_consent::approval::ApprovalRuleError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalRule {
    /// Nothing waits: the consent covers all that its level permits, also that collected logs leave.
    Never,
    /// Data that would leave the owner's site waits; the default.
    #[default]
    Releases,
    /// What changes the state of the node waits too.
    Changes,
}

impl ApprovalRule {
    /// All rules, the one that asks least first.
    pub const ALL: [Self; 3] = [Self::Never, Self::Releases, Self::Changes];

    /// Whether the owner is asked before data leaves.
    #[must_use]
    pub const fn asks_before_releases(self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Whether the owner is asked before the state of the node is changed.
    #[must_use]
    pub const fn asks_before_changes(self) -> bool {
        matches!(self, Self::Changes)
    }

    /// Whether it is the default one, which grants need not name.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The word for it, in settings and on record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Releases => "releases",
            Self::Changes => "changes",
        }
    }
}

impl fmt::Display for ApprovalRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("say which calls wait for the operator's answer: never, releases or changes")]
pub struct ApprovalRuleError;

impl FromStr for ApprovalRule {
    type Err = ApprovalRuleError;

    fn from_str(text: &str) -> Result<Self, ApprovalRuleError> {
        let named = |rule: &Self| rule.as_str().eq_ignore_ascii_case(text.trim());
        Self::ALL.into_iter().find(named).ok_or(ApprovalRuleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_asks_for_more_than_the_one_before_and_has_one_word() {
        for pair in ApprovalRule::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].asks_before_releases() <= pair[1].asks_before_releases());
            assert!(pair[0].asks_before_changes() <= pair[1].asks_before_changes());
        }
        for rule in ApprovalRule::ALL {
            assert_eq!(rule.to_string().to_uppercase().parse(), Ok(rule));
            assert_eq!(serde_json::to_string(&rule).unwrap(), format!("\"{rule}\""));
        }
        assert_eq!("yes".parse::<ApprovalRule>(), Err(ApprovalRuleError));
    }
}
