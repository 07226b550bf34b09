//! A level's rights as PowerShell files, for those who do use a constrained endpoint (Just Enough Administration).
//!
//! Each role stands alone: the repair role is written as the whole union, because PowerShell merges roles by widening,
//! and a command without limits in one role would void its limits in another. Patterns are anchored at both ends, as
//! PowerShell searches anywhere in a value. Commands that this program has no definition of are listed with a name
//! only, which leaves their parameters open; [`RoleCapability::unlimited`] names them for the one who installs the file.
//!
//! ```
//! use rs_session::operations::{jea::RoleCapability, Catalog, Policy};
//! use rs_consent::AccessLevel;
//!
//! let role = RoleCapability::new(Catalog::azure_local(), AccessLevel::Diagnostics, Policy::strict_read_only());
//! assert!(role.text.contains("Name = 'Where-Object'") && !role.text.contains("FilterScript"));
//! assert!(!role.text.contains("Stop-Service"));
//! ```

use std::fmt::Write as _;

use rs_consent::AccessLevel;

use super::catalog::{Catalog, Definition, Entry, Form, Kind, Parameter, Policy};

/// A role capability file (`.psrc`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleCapability {
    /// The file's text, ASCII, lines ended by line feeds.
    pub text: String,
    /// Commands whose parameters the file leaves open.
    pub unlimited: Vec<String>,
}

impl RoleCapability {
    /// The rights of a level under a policy.
    #[must_use]
    pub fn new(catalog: &Catalog, level: AccessLevel, policy: Policy) -> Self {
        let mut lines = Vec::new();
        let mut unlimited = Vec::new();
        for entry in catalog.permitted(level, policy) {
            match entry.definition {
                Some(definition) => lines.push(limited(definition)),
                None => {
                    unlimited.push(entry.name.clone());
                    lines.push(quoted(&qualified(entry)));
                }
            }
        }
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
        Self { text, unlimited }
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
        quoted(group),
        quoted(role),
    )
}

/// Text as a PowerShell literal: control characters left out, quotes doubled, typographic ones too.
fn quoted(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars().filter(|c| !super::objects::is_harmful(*c) && !matches!(c, '\n' | '\t')) {
        literal.push(c);
        if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
            literal.push(c);
        }
    }
    literal.push('\'');
    literal
}

fn qualified(entry: &Entry) -> String {
    match entry.module {
        Some(module) => format!("{module}\\{}", entry.name),
        None => entry.name.clone(),
    }
}

/// A command with its open parameters.
fn limited(definition: &Definition) -> String {
    let mut text = format!("@{{ Name = {}", quoted(definition.name));
    let parameters: Vec<_> = definition.parameters.iter().map(parameter).collect();
    if !parameters.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "; Parameters = {}", parameters.join(", "));
    }
    text.push_str(" }");
    text
}

fn parameter(parameter: &Parameter) -> String {
    let name = quoted(parameter.name);
    match parameter.kind {
        Kind::Switch => format!("@{{ Name = {name} }}"),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            format!("@{{ Name = {name}; ValidateSet = {} }}", words.join(", "))
        }
        kind => format!("@{{ Name = {name}; ValidatePattern = {} }}", quoted(&pattern(kind))),
    }
}

/// A regular expression for a whole value. `\z` and not `$`, which would let a line break follow.
fn pattern(kind: Kind) -> String {
    let (class, chars) = match kind {
        Kind::Text(form, chars) => (class(form), chars),
        Kind::Integer(..) => ("[0-9]", 10),
        Kind::Literal | Kind::Switch | Kind::Choice(_) => (r"[^\p{C}{}$`;|&<>()]", 1024),
    };
    format!("\\A{class}{{1,{chars}}}\\z")
}

const fn class(form: Form) -> &'static str {
    match form {
        Form::Exact => r"[\p{L}\p{Nd}_.@: -]",
        Form::Property => r"[\p{L}\p{Nd}_]",
        Form::PropertyPattern => r"[\p{L}\p{Nd}_*?]",
        Form::Identifier => r"[\p{L}\p{Nd}_.:\\*?-]",
        Form::Address => "[0-9A-Fa-f.:%*?]",
        Form::Prefix => "[0-9A-Fa-f.:/*?]",
        Form::Pattern => r"[^\p{C}{}$`;|&<>()]",
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

    fn role(level: AccessLevel) -> RoleCapability {
        RoleCapability::new(Catalog::azure_local(), level, Policy::default())
    }

    #[test]
    fn a20_every_permitted_command_is_in_the_role_of_its_level() {
        for level in [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair] {
            let role = role(level);
            for entry in Catalog::azure_local().entries() {
                let named = role.text.contains(&format!("Name = '{}'", entry.name))
                    || role.text.contains(&format!("{}'", qualified(entry)));
                assert_eq!(named, entry.permitted_at(level), "{}", entry.name);
            }
        }
    }

    #[test]
    fn a05_no_command_that_takes_code_is_left_open() {
        let role = role(AccessLevel::DiagnosticsRepair);
        for name in [
            "Where-Object",
            "Sort-Object",
            "Select-Object",
            "Measure-Object",
            "Format-List",
            "Format-Table",
            "Stop-Service",
        ] {
            assert!(!role.unlimited.iter().any(|own| own == name), "{name}");
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
