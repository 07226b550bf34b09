//! Published commands that only Windows answers, through PowerShell, with what is open of their parameters.
//!
//! A command stands here if its public documentation was read and says that it does nothing but read, and that what is
//! open here is enough to call it. Each row names the parameters that select and filter, with name, type, place and
//! number of values as documented; `docs/definitions.md` in the repository says which document that was for which
//! command. Absent on purpose: parameters that name other computers, clusters, accounts, sessions, jobs, files, policy
//! stores, devices by their path, or code; those whose words were not read; everything that changes how much is done.
//!
//! A published command that is in neither list has no definition, and [`Closed`] says why: it stays refused.

use std::sync::LazyLock;

use super::{Definition, Needs, Parameter, Systems, modules};
use crate::operations::catalog::{Closed, Effect, Effects};

mod cluster;
mod hyper_v;
mod network;
mod others;

/// Commands that take the same parameters.
struct Row {
    open: &'static [Parameter],
    about: &'static str,
    names: &'static [&'static str],
}

const fn row(about: &'static str, open: &'static [Parameter], names: &'static [&'static str]) -> Row {
    Row { open, about, names }
}

static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let rows = [hyper_v::ROWS, cluster::ROWS, network::ROWS, others::ROWS].into_iter().flatten();
    rows.flat_map(|row| row.names.iter().map(|name| define(name, row))).collect()
});

/// The definitions of the tables.
pub(super) fn all() -> impl Iterator<Item = &'static Definition> {
    ALL.iter()
}

fn define(name: &'static str, row: &Row) -> Definition {
    let module = modules::module_of(name).unwrap_or_default();
    let mut definition = Definition::source(name, module, row.about).needs(Needs::NOTHING).takes(row.open);
    definition.effects = modules::effects_of(name, false);
    definition.systems = Systems::NONE;
    definition
}

/// Commands that cannot be called without what stays closed.
const NEEDS_CLOSED: &[(&str, &str)] = &[
    ("Find-NetRoute", "RemoteIPAddress"),
    ("Get-PhysicalExtent", "VirtualDisk"),
    ("Get-PhysicalExtentAssociation", "InputObject"),
    ("Get-SmbDelegation", "SmbServer"),
    ("Get-StorageAdvancedProperty", "PhysicalDisk"),
    ("Get-StorageExtendedStatus", "StorageJob"),
    ("Get-StorageHealthReport", "InputObject"),
    ("Get-StorageHealthSetting", "InputObject"),
    ("Get-VMHostCluster", "ClusterName"),
];

/// Why a command without definition has none.
pub(in crate::operations::catalog) fn closed(
    name: &str,
    effects: Effects,
    may_return_secrets: bool,
) -> Closed {
    if effects.changes_state() {
        Closed::ChangesState
    } else if effects.has(Effect::DataLeaving) {
        Closed::DataLeaves
    } else if may_return_secrets {
        Closed::Secrets
    } else if let Some((_, parameter)) = NEEDS_CLOSED.iter().find(|(own, _)| *own == name) {
        Closed::Needs(parameter)
    } else {
        Closed::Unchecked
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Kind, pattern};
    use super::*;
    use crate::operations::catalog::{Catalog, Variant};

    /// What a parameter's name never holds here, in any place.
    const NEVER: [&str; 19] = [
        "computer",
        "clustername",
        "credential",
        "session",
        "job",
        "path",
        "file",
        "scriptblock",
        "expression",
        "user",
        "password",
        "object",
        "server",
        "throttle",
        "force",
        "variable",
        "passthru",
        "store",
        "uri",
    ];

    fn fault(parameter: &Parameter) -> Option<&'static str> {
        let names = || std::iter::once(parameter.name).chain(parameter.aliases.iter().copied());
        // A kind of file system names no file.
        let names = || names().filter(|name| *name != "FileSystem");
        NEVER.into_iter().find(|word| names().any(|name| name.to_lowercase().contains(word)))
    }

    #[test]
    fn sec20_nothing_open_reaches_other_machines_accounts_files_or_code() {
        for definition in all() {
            let reads = Effects::of(&[Effect::Reads, Effect::Network]);
            assert_eq!(definition.effects.union(reads), reads, "{} does more than reading", definition.name);
            for parameter in definition.parameters {
                assert_eq!(fault(parameter), None, "{} -{}", definition.name, parameter.name);
                let typed = match parameter.kind {
                    Kind::Text(form, _) => {
                        matches!(form, Form::Name | Form::Exact | Form::Property | Form::Prefix)
                    }
                    Kind::Literal => false,
                    Kind::Switch | Kind::Integer(..) | Kind::Choice(_) => true,
                };
                assert!(typed, "{} -{} can hold a path", definition.name, parameter.name);
            }
        }
        // Control: such a name is found, as an alias too.
        for bad in
            [pattern("ComputerName", ""), pattern("Name", "").also(&["VhdPath"]), pattern("CimSession", "")]
        {
            assert!(fault(&bad).is_some(), "{}", bad.name);
        }
    }

    /// A command that asks the network, and to which an engineer gives words, could carry them out of the site in what it
    /// asks for (as the name of a DNS question). So those words are chosen from a list, and there are no others.
    #[test]
    fn sec21_no_word_of_an_engineer_leaves_with_a_question_to_the_network() {
        let carries = |definition: &Definition| {
            let free = |own: &Parameter| !matches!(own.kind, Kind::Switch | Kind::Choice(_));
            definition.effects.has(Effect::Network) && definition.parameters.iter().any(free)
        };
        let asking: Vec<_> =
            all().filter(|own| own.effects.has(Effect::Network)).map(|own| own.name).collect();
        assert!(asking.contains(&"Resolve-DnsName"), "{asking:?}");
        assert_eq!(all().filter(|own| carries(own)).map(|own| own.name).collect::<Vec<_>>(), [""; 0]);
        // Control: one that took any name would be found.
        let mut open = define("Resolve-DnsName", &others::ROWS[0]);
        open.parameters = const { &[pattern("Name", "any name")] };
        assert!(carries(&open));
    }

    #[test]
    fn a01_every_published_command_has_a_definition_or_a_reason() {
        let mut found = std::collections::BTreeMap::new();
        for variant in Variant::ALL {
            for own in Catalog::of(*variant).entries() {
                if own.definition.is_some_and(|own| own.systems == Systems::NONE) {
                    assert!(
                        !own.effects.changes_state() && !own.may_return_secrets,
                        "{variant}: {}",
                        own.name
                    );
                }
                let key = own.closed().map_or_else(|| String::from("open"), |why| why.to_string());
                *found.entry((*variant, key)).or_insert(0) += 1;
            }
        }
        for ((variant, why), count) in &found {
            println!("{variant}: {count} {why}");
        }
        for (name, parameter) in NEEDS_CLOSED {
            let known = Variant::ALL.iter().filter_map(|variant| Catalog::of(*variant).resolve(name)).next();
            assert_eq!(known.and_then(|own| own.closed()), Some(Closed::Needs(parameter)), "{name}");
        }
    }
}
