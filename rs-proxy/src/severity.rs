//! How bad a finding is, for reports and exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is. Ordered; a report is as bad as its worst finding.
///
/// # Examples
///
/// ```
/// use rs_proxy::Severity;
///
/// assert!(Severity::Failed > Severity::Warning);
/// assert_eq!(Severity::Warning.to_string(), "warning");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Worth knowing.
    Note,
    /// Works, but deserves a look.
    Warning,
    /// Remote support will not work, or not everywhere.
    Failed,
    /// The check itself could not be made: unreadable file, invalid proxy setting.
    CouldNotRun,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::CouldNotRun => "could not run",
        })
    }
}
