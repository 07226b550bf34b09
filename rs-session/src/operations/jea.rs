//! A level's rights as PowerShell files, for those who do use a constrained endpoint (Just Enough Administration).
//!
//! Each role stands alone: the repair role is written as the whole union, because PowerShell merges roles by widening,
//! and a command without limits in one role would void its limits in another. Patterns are anchored at both ends, as
//! and a command without limits in one role would void its limits in another. Patterns are anchored at both ends, as
//! PowerShell searches anywhere in a value. No command stands there with its name only, which would open all of its
//! parameters: one that this program has no definition of gets none but `ErrorAction`, and [`RoleCapability::bare`] names it
//! for the one who installs the file.
//!
//! ```
//! use rs_session::operations::{jea::RoleCapability, Catalog, Policy};
//! use rs_consent::AccessLevel;
//!
//! let role = RoleCapability::new(Catalog::azure_local(), AccessLevel::Diagnostics, Policy::strict_read_only());
//! assert!(role.text.contains("\\Where-Object'") && !role.text.contains("FilterScript"));
//! assert!(!role.text.contains("Stop-Service"));
//! ```

use rs_consent::AccessLevel;

use super::catalog::{Catalog, Entry, Policy};

mod constraint;
mod files;
mod literal;
mod roles;

pub use self::constraint::Constraint;
pub use self::files::{Groups, JeaFile, jea_files};
pub use self::literal::literal;
pub(crate) use self::literal::literals;
pub use self::roles::{Limit, Role, Visible, Widening};

/// A role capability file (`.psrc`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleCapability {
    /// The file's text, ASCII, lines ended by line feeds.
    pub text: String,
    /// Commands that this program has no definition of: the lists permit them, and the file opens no parameter of theirs.
    pub bare: Vec<String>,
}

impl RoleCapability {
    /// The rights of a level under a policy.
    #[must_use]
    pub fn new(catalog: &Catalog, level: AccessLevel, policy: Policy) -> Self {
        let permitted: Vec<_> = catalog.permitted(level, policy).collect();
        let lines: Vec<_> = permitted.iter().map(|entry| limited(entry)).collect();
        let bare =
            permitted.iter().filter(|entry| entry.definition.is_none()).map(|entry| entry.name.clone());
        let list = lines.join(",\n        ");
        let hash = catalog.rights_sha256(level, policy);
        // Whether a command is a cmdlet or a function differs between versions of Windows; the other list has no effect.
        let text = format!(
            "# Remote support, level {level}, lists of {}\n# Rights {hash}\n@{{\n    GUID = '{}'\n    \
             Description = 'Remote support: {level}'\n    VisibleCmdlets = @(\n        {list}\n    )\n    \
             VisibleFunctions = @(\n        {list}\n    )\n    VisibleExternalCommands = @()\n    \
             VisibleProviders = @()\n}}\n",
            catalog.variant(),
            guid(&hash),
        );
        Self { text, bare: bare.collect() }
    }
}

/// A session configuration file (`.pssc`) that gives members of `group` the role of a level, and nobody anything else.
///
/// `role` is the role capability file's name without its ending.
#[must_use]
pub fn session_configuration(
    catalog: &Catalog,
    level: AccessLevel,
    policy: Policy,
    group: &str,
    role: &str,
) -> String {
    let hash = catalog.rights_sha256(level, policy);
    let reversed: String = hash.chars().rev().collect();
    format!(
        "# Remote support, level {level}\n@{{\n    SchemaVersion = '2.0.0.0'\n    GUID = '{}'\n    \
         SessionType = 'RestrictedRemoteServer'\n    LanguageMode = 'NoLanguage'\n    RunAsVirtualAccount = $true\n    \
         TranscriptDirectory = 'C:\\ProgramData\\RemoteSupport\\Transcripts'\n    RoleDefinitions = @{{\n        \
         {} = @{{ RoleCapabilities = {} }}\n    }}\n}}\n",
        guid(&reversed),
        literal(group),
        literal(role),
    )
}

fn qualified(entry: &Entry) -> String {
    match entry.module {
        Some(module) => format!("{module}\\{}", entry.name),
        None => entry.name.clone(),
    }
}

/// What is open of a command. One without parameters gets `ErrorAction`, which every command has anyway: a table without
/// parameters would leave all of them open.
fn open(entry: &Entry) -> Vec<(&'static str, Constraint)> {
    let mut open: Vec<_> = entry.parameters().map(|own| (own.name, Constraint::of(own))).collect();
    if open.is_empty() {
        open.push(("ErrorAction", Constraint::Switch));
    }
    open
}

fn limited(entry: &Entry) -> String {
    let parameters: Vec<_> = open(entry).into_iter().map(parameter).collect();
    format!("@{{ Name = {}; Parameters = {} }}", literal(&qualified(entry)), parameters.join(", "))
}

fn parameter((name, constraint): (&str, Constraint)) -> String {
    let name = literal(name);
    match constraint {
        Constraint::Switch => format!("@{{ Name = {name} }}"),
        Constraint::Set(words) => {
            format!("@{{ Name = {name}; ValidateSet = {} }}", literals(words.iter().map(String::as_str)))
        }
        Constraint::Pattern(pattern) => {
            format!("@{{ Name = {name}; ValidatePattern = {} }}", literal(&pattern))
        }
    }
}

/// A stable identifier from a hash: version 8, as its bits are our own.
fn guid(hash: &str) -> String {
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or("0");
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::catalog::Variant;

    fn role(level: AccessLevel) -> RoleCapability {
        RoleCapability::new(Catalog::azure_local(), level, Policy::default())
    }

    #[test]
    fn a20_every_permitted_command_is_in_the_role_of_its_level() {
        for level in [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair] {
            let role = role(level);
            for entry in Catalog::azure_local().entries() {
                let named = role.text.contains(&literal(&qualified(entry)));
                assert_eq!(named, entry.permitted_at(level), "{}", entry.name);
            }
        }
    }

    #[test]
    fn a05_no_command_that_takes_code_is_left_open() {
        let role = role(AccessLevel::DiagnosticsRepair);
        // No command of any list stands with its name only, and none that has no definition has more than one parameter.
        for variant in Variant::ALL {
            let role =
                RoleCapability::new(Catalog::of(*variant), AccessLevel::DiagnosticsRepair, Policy::default());
            for entry in Catalog::of(*variant).entries() {
                let limits = format!("@{{ Name = {}; Parameters = @{{ Name = ", literal(&qualified(entry)));
                assert!(role.text.contains(&limits), "{}", entry.name);
                let bare = format!("{limits}'ErrorAction' }} }}");
                assert!(entry.definition.is_some() || role.text.contains(&bare), "{}", entry.name);
            }
        }
        assert!(!role.text.contains("FilterScript") && !role.text.contains("ComputerName"));
    }

    #[test]
    fn brackets_and_quotes_are_balanced_and_text_is_plain() {
        let catalog = Catalog::azure_local();
        let session = session_configuration(
            catalog,
            AccessLevel::Diagnostics,
            Policy::default(),
            "SITE\\O'Brien",
            "Diag",
        );
        for text in [role(AccessLevel::DiagnosticsRepair).text, session.clone()] {
            assert!(text.is_ascii());
            let (mut depth, mut inside) = (0_i32, false);
            for c in text.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars) {
                match c {
                    '\'' => inside = !inside,
                    '{' | '(' if !inside => depth += 1,
                    '}' | ')' if !inside => depth -= 1,
                    _ => {}
                }
                assert!(depth >= 0);
            }
            assert!(depth == 0 && !inside);
        }
        assert!(session.contains("'SITE\\O''Brien' = @{ RoleCapabilities = 'Diag' }"));
        assert!(session.contains("LanguageMode = 'NoLanguage'"));
    }

    #[test]
    fn identifiers_follow_the_rights_and_have_the_form_of_a_guid() {
        let line = |level| role(level).text.lines().find(|line| line.contains("GUID")).unwrap().to_owned();
        assert_ne!(line(AccessLevel::Diagnostics), line(AccessLevel::DiagnosticsRepair));
        let text = line(AccessLevel::Diagnostics);
        let guid = text.split('\'').nth(1).unwrap();
        assert_eq!(guid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
