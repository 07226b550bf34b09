//! What a level permits, in short, for somebody who is about to agree to it (U11).
//!
//! The numbers come from the catalog that is enforced, so the text cannot promise less than an engineer may do. The
//! published Diagnostics list is not read-only, and that is said here.

use std::fmt::Write as _;

use rs_consent::{AccessLevel, Sha256};
use rs_session::operations::catalog::Entry;
use rs_session::operations::{Catalog, Effect, Policy};

/// A few lines that say what an engineer may do at `level`: how many operations of which groups, and with which
/// effects.
///
/// # Examples
///
/// ```
/// use rs_consent::AccessLevel;
///
/// let text = rs_cli::explain::level(AccessLevel::Diagnostics);
/// assert!(text.starts_with("Access level 'Diagnostics' permits 285 listed operations and nothing else."));
/// assert!(text.contains("change state"));
/// ```
pub fn level(level: AccessLevel) -> String {
    let permitted: Vec<&Entry> = Catalog::azure_local().permitted(level, Policy::default()).collect();
    let mut text = format!(
        "Access level '{level}' permits {} listed operations and nothing else.\nEffects:",
        permitted.len()
    );
    for effect in Effect::ALL {
        let count = permitted.iter().filter(|entry| entry.effects.has(effect)).count();
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {count:4}  {}", meaning(effect));
        }
    }
    let secrets = permitted.iter().filter(|entry| entry.may_return_secrets).count();
    if secrets > 0 {
        let _ = write!(text, "\n  {secrets:4}  can return keys or secrets");
    }
    let groups: Vec<String> = groups(&permitted).map(|(name, count)| format!("{name} ({count})")).collect();
    let _ = write!(
        text,
        "\nGroups: {}.\nThe list: remote-support operations --access-level {level}",
        groups.join(", ")
    );
    text
}

fn meaning(effect: Effect) -> &'static str {
    match effect {
        Effect::Reads => "read the state of the machine",
        Effect::Changes => "change state: settings, files or updates",
        Effect::Services => "start or stop services",
        Effect::Network => "open network connections",
        Effect::DataLeaving => "can send data away from this site",
        _ => "have another effect",
    }
}

/// The headings of the published lists, and how many of the operations stand under each.
fn groups<'a>(permitted: &'a [&Entry]) -> impl Iterator<Item = (&'a str, usize)> {
    let mut seen = std::collections::BTreeSet::new();
    Catalog::azure_local().groups().iter().filter_map(move |group| {
        let count = permitted.iter().filter(|entry| entry.groups.contains(&group.name)).count();
        (count > 0 && seen.insert(&group.name)).then_some((group.name.as_str(), count))
    })
}

/// The catalog of operations that stands behind [`level`], for the grant to name.
pub fn catalog() -> Option<Sha256> {
    Catalog::sha256().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u11_each_level_says_what_it_adds_and_what_it_changes() {
        let (diagnostics, repair) = (level(AccessLevel::Diagnostics), level(AccessLevel::DiagnosticsRepair));
        assert!(
            repair.starts_with("Access level 'DiagnosticsRepair' permits 287 listed operations"),
            "{repair}"
        );
        for text in [&diagnostics, &repair] {
            assert!(text.contains("read the state") && text.contains("change state"), "{text}");
            assert!(text.contains("Groups: "), "{text}");
        }
        assert!(repair.contains("start or stop services"), "{repair}");
    }

    #[test]
    fn a_grant_names_the_catalog_that_was_shown() {
        assert!(catalog().is_some());
    }
}
