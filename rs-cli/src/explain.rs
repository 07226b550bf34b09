//! What a level permits, in short, for somebody who is about to agree to it (U11).
//!
//! Every number and every name comes from the catalog that sessions run by, so that nobody agrees to something else.

use std::cmp::Reverse;

use rs_consent::{AccessLevel, Sha256};
use rs_session::operations::catalog::Entry;
use rs_session::operations::{Catalog, Effect, Effects, Policy};

/// What an engineer may run at `level`, sorted by name: as sessions of this program have it.
pub fn permitted(level: AccessLevel) -> impl Iterator<Item = &'static Entry> {
    Catalog::azure_local().permitted(level, Policy::default())
}

/// A few lines that say what an engineer may do at `level`; shown before the question is put.
#[must_use]
pub fn level(level: AccessLevel) -> String {
    let commands = permitted(level).count();
    format!(
        "Access level '{level}' permits an engineer to run {commands} listed commands on this node, and nothing else.\n\
         By group: {}.\n\
         By effect: {}.\n\
         {}\n\
         The list: remote-support operations --access-level {level}",
        groups(level),
        effects(level),
        changes(level),
    )
}

/// How many commands stand under each heading, the longest list first; a command can stand under several.
fn groups(level: AccessLevel) -> String {
    let of = |own: AccessLevel| {
        let mut groups: Vec<_> =
            Catalog::azure_local().groups().iter().filter(|group| group.level == own).collect();
        groups.sort_by_key(|group| (Reverse(group.commands.len()), &group.name));
        groups
            .iter()
            .map(|group| format!("{} {}", group.name, group.commands.len()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let levels = AccessLevel::ALL.into_iter().filter(|own| *own <= level);
    levels.map(|own| format!("{own}: {}", of(own))).collect::<Vec<_>>().join("; ")
}

/// How many commands have each effect; a command can have several.
#[must_use]
pub fn effects(level: AccessLevel) -> String {
    let count = |fits: &dyn Fn(Effects) -> bool| permitted(level).filter(|entry| fits(entry.effects)).count();
    let only_reads = Effects::of(&[Effect::Reads]);
    let counts = [
        ("reading only", count(&|effects| effects == only_reads)),
        ("changing settings or files", count(&|effects| effects.has(Effect::Changes))),
        ("starting or stopping services", count(&|effects| effects.has(Effect::Services))),
        ("opening network connections", count(&|effects| effects.has(Effect::Network))),
        ("sending data away from this site", count(&|effects| effects.has(Effect::DataLeaving))),
    ];
    let shown = counts.iter().filter(|(_, count)| *count > 0);
    shown.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

/// Plainly whether the level is read-only, and what in it is not (A10).
fn changes(level: AccessLevel) -> String {
    let names: Vec<&str> = permitted(level)
        .filter(|entry| entry.effects.changes_state())
        .map(|entry| entry.name.as_str())
        .collect();
    match names.as_slice() {
        [] => format!("{level} is read-only: no command in it changes the state of this node."),
        names => format!("{level} is not read-only. These commands change state: {}.", names.join(", ")),
    }
}

/// The catalog of operations that stands behind [`level()`], for the grant to name.
#[must_use]
pub fn catalog() -> Option<Sha256> {
    Catalog::sha256().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_u11_diagnostics_is_said_not_to_be_read_only() {
        let text = level(AccessLevel::Diagnostics);
        assert!(text.contains("permits an engineer to run 285 listed commands"), "{text}");
        assert!(
            text.contains("Diagnostics is not read-only") && text.contains("Start-SolutionUpdate"),
            "{text}"
        );
        assert!(!text.contains("Stop-Service"), "{text}");
        let text = level(AccessLevel::DiagnosticsRepair);
        assert!(text.contains("287 listed commands") && text.contains("Stop-Service"), "{text}");
    }

    #[test]
    fn a10_what_changes_state_is_named_and_nothing_else() {
        for own in AccessLevel::ALL {
            let text = level(own);
            let line = text.lines().find(|line| line.contains("change state:")).expect("not read-only");
            for entry in permitted(own) {
                let named = line.split([' ', ',', '.']).any(|word| word == entry.name);
                assert_eq!(named, entry.effects.changes_state(), "{own}: {}", entry.name);
            }
        }
    }

    #[test]
    fn the_grant_names_the_catalog_that_sessions_name() {
        assert_eq!(catalog().expect("a digest").to_string(), Catalog::sha256());
    }
}
