//! The lists, their counts, and what is known of each command.

use super::*;

fn counts(catalog: &Catalog) -> Vec<(AccessLevel, String, usize)> {
    catalog.groups().iter().map(|group| (group.level, group.name.clone(), group.commands.len())).collect()
}

#[test]
fn a01_lists_are_the_published_ones() {
    assert_eq!(Catalog::sha256(), PUBLISHED_SHA256);
    let catalog = Catalog::azure_local();
    let of = |level| counts(catalog).into_iter().filter(move |(own, ..)| *own == level);
    assert_eq!(of(AccessLevel::Diagnostics).map(|(.., count)| count).sum::<usize>(), 286);
    assert_eq!(of(AccessLevel::Diagnostics).count(), 10);
    assert_eq!(of(AccessLevel::DiagnosticsRepair).map(|(.., count)| count).sum::<usize>(), 2);
}

#[test]
fn a16_each_variant_has_the_counts_of_the_file() {
    let file: serde_json::Value = serde_json::from_str(PUBLISHED).unwrap();
    for variant in Variant::ALL {
        let levels = match variant {
            Variant::AzureLocal => &file["levels"],
            other => &file["variants"][other.as_str()]["levels"],
        };
        let mut expected = Vec::new();
        for (level, key) in
            [(AccessLevel::Diagnostics, "Diagnostics"), (AccessLevel::DiagnosticsRepair, "DiagnosticsRepair")]
        {
            for (group, names) in levels[key].as_object().unwrap() {
                expected.push((level, group.clone(), names.as_array().unwrap().len()));
            }
        }
        assert_eq!(counts(Catalog::of(*variant)), expected, "{variant}");
        assert_eq!(serde_json::to_value(variant).unwrap(), variant.as_str());
    }
    assert_eq!(Catalog::of(Variant::AzureStackHci21h2Preview).entries().len(), 373);
}

#[test]
fn a02_repair_is_diagnostics_and_more() {
    for variant in Variant::ALL {
        for policy in [Policy::default(), Policy::strict_read_only()] {
            let catalog = Catalog::of(*variant);
            let names =
                |level| -> Vec<_> { catalog.permitted(level, policy).map(|entry| &entry.name).collect() };
            let repair = names(AccessLevel::DiagnosticsRepair);
            assert!(names(AccessLevel::Diagnostics).iter().all(|name| repair.contains(name)));
        }
    }
}

#[test]
fn a10_strict_read_only_drops_what_changes_state() {
    let catalog = Catalog::azure_local();
    let has = |policy, name: &str| {
        catalog.permitted(AccessLevel::Diagnostics, policy).any(|entry| entry.name == name)
    };
    for name in ["Start-SolutionUpdate", "Add-SolutionUpdate", "Set-UpdateConfiguration", "Export-CauReport"]
    {
        assert!(has(Policy::default(), name), "{name}");
        assert!(!has(Policy::strict_read_only(), name), "{name}");
    }
    assert!(has(Policy::strict_read_only(), "Get-Process"));
    let mut strict = catalog.permitted(AccessLevel::Diagnostics, Policy::strict_read_only());
    assert!(strict.all(|entry| !entry.effects.changes_state()));
}

#[test]
fn a19_names_aliases_and_modules_resolve_without_case() {
    let catalog = Catalog::azure_local();
    let name = |text: &str| catalog.resolve(text).map(|entry| entry.name.as_str());
    assert_eq!(name("gEt-vM"), Some("Get-VM"));
    assert_eq!(name("hyper-v\\get-vm"), Some("Get-VM"));
    assert_eq!(name("Storage\\Get-VM"), None);
    assert_eq!(name("GPS"), Some("Get-Process"));
    assert_eq!(name("?"), Some("Where-Object"));
    assert_eq!(name("exit"), Some("Exit-PSSession"));
    assert_eq!(name("Invoke-Expression"), None);
}

#[test]
fn sec20_definitions_are_sound() {
    let published: Vec<_> = Variant::ALL
        .iter()
        .flat_map(|variant| Catalog::of(*variant).entries())
        .map(|entry| &entry.name)
        .collect();
    for definition in definitions::all() {
        assert!(
            published.iter().any(|name| *name == definition.name),
            "{} is not published",
            definition.name
        );
        definition.check();
    }
    for (alias, target) in aliases() {
        assert!(definitions::find(target).is_some(), "{alias} leads nowhere");
    }
}

#[test]
fn sec21_no_diagnostics_definition_changes_state() {
    for entry in Catalog::azure_local().permitted(AccessLevel::Diagnostics, Policy::default()) {
        assert!(
            entry.definition.is_none_or(|definition| !definition.effects.changes_state()),
            "{}",
            entry.name
        );
    }
}

/// Whatever the lists say, a verb that changes is marked as changing, in the lists of every product, and strict
/// read-only leaves nothing that is marked so.
#[test]
fn sec21_what_changes_state_is_marked_and_strict_read_only_leaves_none_of_it() {
    const CHANGING: [&str; 17] = [
        "Add", "Clear-A", "Copy", "Disable", "Enable", "Export", "Install", "Invoke", "Move", "New",
        "Remove", "Restart", "Save", "Set", "Start", "Stop", "Update",
    ];
    for variant in Variant::ALL {
        let catalog = Catalog::of(*variant);
        for entry in catalog.entries() {
            let verb = CHANGING.iter().any(|verb| entry.name.starts_with(verb));
            assert!(!verb || entry.effects.changes_state(), "{variant}: {}", entry.name);
            assert!(entry.effects.has(Effect::Reads), "{variant}: {} declares nothing", entry.name);
        }
        let strict: Vec<_> =
            catalog.permitted(AccessLevel::Diagnostics, Policy::strict_read_only()).collect();
        assert!(strict.iter().all(|entry| !entry.effects.changes_state()), "{variant}");
        // Control: without the policy there is something to take out.
        let published = catalog.permitted(AccessLevel::Diagnostics, Policy::default()).count();
        let marked = catalog.entries().iter().filter(|own| own.effects.changes_state());
        let marked = marked.filter(|own| own.permitted_at(AccessLevel::Diagnostics)).count();
        assert_eq!(published - strict.len(), marked, "{variant}");
    }
}

#[test]
fn rights_hash_follows_the_rights() {
    let catalog = Catalog::azure_local();
    let hash = |level, policy| catalog.rights_sha256(level, policy);
    let plain = hash(AccessLevel::Diagnostics, Policy::default());
    assert_eq!(plain, hash(AccessLevel::Diagnostics, Policy::default()));
    assert_ne!(plain, hash(AccessLevel::DiagnosticsRepair, Policy::default()));
    assert_ne!(plain, hash(AccessLevel::Diagnostics, Policy::strict_read_only()));
}
