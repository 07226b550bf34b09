//! Access levels: what a grant permits, under every public spelling.
//!
//! There are two levels and many names for them: the cmdlets, ARM, the portal and Azure Stack Edge each spell the
//! repair level in their own way. All spellings are read, without regard to case; inside there is one enum; each
//! surface gets its own spelling back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an engineer may do, the lower level first: `Diagnostics < DiagnosticsRepair`.
///
/// There is no default: a level is always said (the parameter is mandatory in all public commands).
/// In JSON a level is written as the cmdlets write it, and only that form is read back there.
///
/// ```
/// use rs_consent::AccessLevel;
///
/// let asked: AccessLevel = "diagnosticsandrepair".parse()?;
/// assert_eq!(asked, AccessLevel::DiagnosticsRepair);
/// assert_eq!(asked.to_string(), "DiagnosticsRepair");
/// assert_eq!(asked.min(AccessLevel::Diagnostics), AccessLevel::Diagnostics);
/// # Ok::<(), rs_consent::level::LevelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessLevel {
    /// Look, collect and read; change nothing.
    Diagnostics,
    /// All of `Diagnostics`, and the listed repair operations.
    DiagnosticsRepair,
}

/// A place where levels are written, each with a spelling of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// The cmdlets: `Diagnostics`, `DiagnosticsRepair`.
    PowerShell,
    /// Azure Resource Manager: `Diagnostics`, `DiagnosticsAndRepair`.
    Arm,
    /// The Azure portal: `Diagnostics`, `Diagnostics and Repair`.
    Portal,
    /// Session records of Azure Stack Edge: `ReadOnly`, `ReadWrite`.
    Edge,
    /// Endpoint names of Azure Stack Edge: `RemoteDiagnostics`, `RemoteRepair`.
    EdgeEndpoint,
}

impl Surface {
    /// All surfaces.
    pub const ALL: [Self; 5] = [Self::PowerShell, Self::Arm, Self::Portal, Self::Edge, Self::EdgeEndpoint];
}

impl AccessLevel {
    /// Both levels, the lower first.
    pub const ALL: [Self; 2] = [Self::Diagnostics, Self::DiagnosticsRepair];

    /// The spelling of this level on `surface`.
    ///
    /// ```
    /// use rs_consent::level::{AccessLevel, Surface};
    ///
    /// assert_eq!(AccessLevel::DiagnosticsRepair.on(Surface::Arm), "DiagnosticsAndRepair");
    /// ```
    #[must_use]
    pub const fn on(self, surface: Surface) -> &'static str {
        match (self, surface) {
            (Self::Diagnostics, Surface::PowerShell | Surface::Arm | Surface::Portal) => "Diagnostics",
            (Self::Diagnostics, Surface::Edge) => "ReadOnly",
            (Self::Diagnostics, Surface::EdgeEndpoint) => "RemoteDiagnostics",
            (Self::DiagnosticsRepair, Surface::PowerShell) => "DiagnosticsRepair",
            (Self::DiagnosticsRepair, Surface::Arm) => "DiagnosticsAndRepair",
            (Self::DiagnosticsRepair, Surface::Portal) => "Diagnostics and Repair",
            (Self::DiagnosticsRepair, Surface::Edge) => "ReadWrite",
            (Self::DiagnosticsRepair, Surface::EdgeEndpoint) => "RemoteRepair",
        }
    }

    /// The name in the product's own commands and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.on(Surface::PowerShell)
    }
}

impl fmt::Display for AccessLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no access level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an access level: give Diagnostics or DiagnosticsRepair")]
pub struct LevelError;

impl FromStr for AccessLevel {
    type Err = LevelError;

    /// Reads every public spelling without regard to ASCII case.
    ///
    /// # Errors
    /// Anything else, also `None` (jobs know it; it grants nothing), an empty text and surrounding blanks.
    fn from_str(text: &str) -> Result<Self, LevelError> {
        let named = |level: &Self| Surface::ALL.iter().any(|&s| level.on(s).eq_ignore_ascii_case(text));
        Self::ALL.into_iter().find(named).ok_or(LevelError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c01_every_public_spelling_is_read_and_each_surface_gets_its_own() {
        let table = [
            ("Diagnostics", AccessLevel::Diagnostics),
            ("diagnostics", AccessLevel::Diagnostics),
            ("ReadOnly", AccessLevel::Diagnostics),
            ("REMOTEDIAGNOSTICS", AccessLevel::Diagnostics),
            ("DiagnosticsRepair", AccessLevel::DiagnosticsRepair),
            ("diagnosticsRepair", AccessLevel::DiagnosticsRepair),
            ("DiagnosticsAndRepair", AccessLevel::DiagnosticsRepair),
            ("Diagnostics and Repair", AccessLevel::DiagnosticsRepair),
            ("Diagnostics and repair", AccessLevel::DiagnosticsRepair),
            ("ReadWrite", AccessLevel::DiagnosticsRepair),
            ("RemoteRepair", AccessLevel::DiagnosticsRepair),
        ];
        for (text, level) in table {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        for level in AccessLevel::ALL {
            for surface in Surface::ALL {
                assert_eq!(level.on(surface).parse(), Ok(level));
            }
        }
    }

    #[test]
    fn c02_unknown_levels_are_refused_and_both_values_named() {
        for text in
            ["", "None", "Repair", "Diagnostic", "Diagnostics ", " Diagnostics", "Diagnosticſ", "Admin"]
        {
            let refused = text.parse::<AccessLevel>().unwrap_err().to_string();
            assert!(refused.contains("Diagnostics or DiagnosticsRepair"), "{text}: {refused}");
        }
    }

    #[test]
    fn json_knows_one_spelling_only() {
        let text = serde_json::to_string(&AccessLevel::DiagnosticsRepair).unwrap();
        assert_eq!(text, r#""DiagnosticsRepair""#);
        assert!(serde_json::from_str::<AccessLevel>(r#""DiagnosticsAndRepair""#).is_err());
    }

    proptest! {
        #[test]
        fn c01_what_is_no_spelling_is_no_level(text in "\\PC{0,30}") {
            let listed = AccessLevel::ALL.iter()
                .any(|l| Surface::ALL.iter().any(|&s| l.on(s).eq_ignore_ascii_case(&text)));
            prop_assert_eq!(text.parse::<AccessLevel>().is_ok(), listed);
        }
    }
}
