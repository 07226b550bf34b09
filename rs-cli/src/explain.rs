//! What a level permits, in short, for somebody who is about to agree to it (U11).
//!
//! Every number and every name comes from the catalog that sessions run by, so that nobody agrees to something else.

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

/// How many commands stand under each heading; a command can stand under several.
fn groups(level: AccessLevel) -> String {
    let of = |own: AccessLevel| {
        let groups = Catalog::azure_local().groups().iter().filter(move |group| group.level == own);
        groups.map(|group| format!("{} {}", group.name, group.commands.len())).collect::<Vec<_>>().join(", ")
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
        (count(&|effects| effects == only_reads), "only read"),
        (count(&|effects| effects.has(Effect::Changes)), "change settings, files or updates"),
        (count(&|effects| effects.has(Effect::Services)), "start or stop services"),
        (count(&|effects| effects.has(Effect::Network)), "open network connections of their own"),
        (count(&|effects| effects.has(Effect::DataLeaving)), "send data away from this site"),
    ];
    let shown = counts.iter().filter(|(count, _)| *count > 0);
    shown.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
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
