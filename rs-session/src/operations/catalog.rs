//! What may run: the published command lists, as data, with what this engine knows about each command.
//!
//! The lists are embedded and pinned by their SHA-256. A level's rights are a union: DiagnosticsRepair is Diagnostics
//! and what the lists add, never a second copy. Every published name is known with its effects; those that this engine
//! can run also have a [`Definition`] with their parameters.
//!
//! ```
//! use rs_session::operations::{Catalog, Policy};
//! use rs_consent::AccessLevel;
//!
//! let catalog = Catalog::azure_local();
//! let policy = Policy::default();
//! assert!(catalog.resolve("gEt-pRoCeSs").is_some());
//! assert_eq!(catalog.permitted(AccessLevel::Diagnostics, policy).count(), 285);
//! assert_eq!(catalog.permitted(AccessLevel::DiagnosticsRepair, policy).count(), 287);
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::LazyLock;

use rs_consent::AccessLevel;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::definitions::{Definition, Form, Kind, Parameter, Role, Systems};

mod definitions;
mod modules;

/// The published lists, byte by byte.
const PUBLISHED: &str = include_str!("../../data/operations.json");

/// SHA-256 of the published lists that this version was made and tested with.
pub const PUBLISHED_SHA256: &str = "9fb6c12b195c3f127c8aae0363da2ff691e647fbeeaa56dc71e99d52b5d256c3";

/// Product whose lists are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Variant {
    /// Azure Local, the newest lists; the default.
    #[default]
    AzureLocal,
    /// Azure Stack HCI 22H2 and 21H2.
    #[serde(rename = "azure-stack-hci-22h2")]
    AzureStackHci22h2,
    /// Azure Stack HCI 21H2 and 20H2, preview.
    #[serde(rename = "azure-stack-hci-21h2-preview")]
    AzureStackHci21h2Preview,
    /// Azure Stack Hub 2206.
    #[serde(rename = "azure-stack-hub-2206")]
    AzureStackHub2206,
    /// Azure Stack Hub 2108, preview.
    #[serde(rename = "azure-stack-hub-2108-preview")]
    AzureStackHub2108Preview,
    /// Azure Stack Edge 2110.
    #[serde(rename = "azure-stack-edge-2110")]
    AzureStackEdge2110,
}

impl Variant {
    /// Every variant, the default first.
    pub const ALL: &'static [Self] = &[
        Self::AzureLocal,
        Self::AzureStackHci22h2,
        Self::AzureStackHci21h2Preview,
        Self::AzureStackHub2206,
        Self::AzureStackHub2108Preview,
        Self::AzureStackEdge2110,
    ];

    /// The name in settings and on record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AzureLocal => "azure-local",
            Self::AzureStackHci22h2 => "azure-stack-hci-22h2",
            Self::AzureStackHci21h2Preview => "azure-stack-hci-21h2-preview",
            Self::AzureStackHub2206 => "azure-stack-hub-2206",
            Self::AzureStackHub2108Preview => "azure-stack-hub-2108-preview",
            Self::AzureStackEdge2110 => "azure-stack-edge-2110",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operation does beyond giving an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Effect {
    /// Reads the state of the machine.
    Reads,
    /// Changes state: settings, files, updates.
    Changes,
    /// Starts or stops services.
    Services,
    /// Opens network connections of its own.
    Network,
    /// Sends data away from the owner's site.
    DataLeaving,
}

impl Effect {
    /// Every effect, mildest first.
    pub const ALL: [Self; 5] = [Self::Reads, Self::Changes, Self::Services, Self::Network, Self::DataLeaving];

    /// The name in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Changes => "changes",
            Self::Services => "services",
            Self::Network => "network",
            Self::DataLeaving => "data-leaving",
        }
    }
}

/// A set of [`Effect`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Effect>", into = "Vec<Effect>")]
pub struct Effects(u8);

impl Effects {
    /// A set of these effects.
    #[must_use]
    pub const fn of(effects: &[Effect]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < effects.len() {
            bits |= 1 << effects[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// True if the effect is in the set.
    #[must_use]
    pub const fn has(self, effect: Effect) -> bool {
        self.0 & (1 << effect as u8) != 0
    }

    /// True if something other than reading is in the set that alters the machine.
    #[must_use]
    pub const fn changes_state(self) -> bool {
        self.has(Effect::Changes) || self.has(Effect::Services)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The effects, mildest first.
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL.into_iter().filter(move |effect| self.has(*effect))
    }
}

impl From<Vec<Effect>> for Effects {
    fn from(effects: Vec<Effect>) -> Self {
        Self::of(&effects)
    }
}

impl From<Effects> for Vec<Effect> {
    fn from(effects: Effects) -> Self {
        effects.iter().collect()
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, effect) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(effect.as_str())?;
        }
        Ok(())
    }
}

/// What the owner of the node takes away from the published lists. It can only narrow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Policy {
    /// Drops every command at the Diagnostics level that changes state. Default: `false`, the published lists.
    #[serde(default)]
    pub strict_read_only: bool,
}

impl Policy {
    /// The policy that keeps Diagnostics read-only.
    #[must_use]
    pub const fn strict_read_only() -> Self {
        Self { strict_read_only: true }
    }

    /// True if this policy leaves the command to the level.
    #[must_use]
    pub fn keeps(self, entry: &Entry, level: AccessLevel) -> bool {
        !(self.strict_read_only && level == AccessLevel::Diagnostics && entry.effects.changes_state())
    }
}

/// What runs operations on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Systems on which native operations are at hand; `Systems::NONE` without the native providers.
    pub native: Systems,
    /// True if a constrained PowerShell endpoint can be used.
    pub power_shell: bool,
}

impl Machine {
    /// The machine this program runs on, with the providers compiled into it.
    #[must_use]
    pub const fn current() -> Self {
        let native = if !cfg!(feature = "native") {
            Systems::NONE
        } else if cfg!(target_os = "linux") {
            Systems::LINUX
        } else if cfg!(target_os = "windows") {
            Systems::WINDOWS
        } else if cfg!(target_os = "macos") {
            Systems::MACOS
        } else {
            Systems::NONE
        };
        Self { native, power_shell: false }
    }
}

/// Who answers a command on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "provider")]
#[non_exhaustive]
pub enum Availability {
    /// This program itself, from the operating system.
    Native,
    /// A constrained PowerShell endpoint.
    PowerShell,
    /// Nobody.
    None {
        /// Why, for people.
        why: String,
    },
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::PowerShell => f.write_str("PowerShell"),
            Self::None { why } => write!(f, "none: {why}"),
        }
    }
}

/// One published command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Name as published.
    pub name: String,
    /// Lowest level that permits it.
    pub level: AccessLevel,
    /// Headings under which the lists print it; at least one.
    pub groups: Vec<String>,
    /// Module that the command belongs to, where it is known.
    pub module: Option<&'static str>,
    /// What it does.
    pub effects: Effects,
    /// True if its answer can hold keys or secrets.
    pub may_return_secrets: bool,
    /// Parameters and role, if this engine can run it.
    pub definition: Option<&'static Definition>,
}

impl Entry {
    /// True if the level is high enough.
    #[must_use]
    pub fn permitted_at(&self, level: AccessLevel) -> bool {
        self.level <= level
    }

    /// Who answers the command on this machine.
    #[must_use]
    pub fn availability(&self, machine: Machine) -> Availability {
        match self.definition {
            Some(definition) if definition.systems.overlaps(machine.native) => Availability::Native,
            _ if machine.power_shell => Availability::PowerShell,
            Some(_) => none("this node's operating system has no source for it"),
            None => none(match self.module {
                Some("Hyper-V") => "Hyper-V is not on this node",
                Some("FailoverClusters" | "ClusterAwareUpdating") => "this node is in no failover cluster",
                _ => "it needs Windows PowerShell, which this node does not have",
            }),
        }
    }
}

fn none(why: &str) -> Availability {
    Availability::None { why: why.to_owned() }
}

/// A heading of the published lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Level under which the heading stands.
    pub level: AccessLevel,
    /// The heading.
    pub name: String,
    /// Names as published, in their order.
    pub commands: Vec<String>,
}

/// The published lists of one product, by name.
#[derive(Clone, Debug)]
pub struct Catalog {
    variant: Variant,
    groups: Vec<Group>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct PublishedFile {
    levels: Levels,
    variants: BTreeMap<String, PublishedVariant>,
    implementer_annotations: Annotations,
}

#[derive(Deserialize)]
struct PublishedVariant {
    levels: Levels,
}

#[derive(Deserialize)]
struct Levels {
    #[serde(rename = "Diagnostics")]
    diagnostics: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "DiagnosticsRepair")]
    repair: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "changes_state_or_sends_data_although_in_Diagnostics")]
    changes: Vec<String>,
    #[serde(rename = "may_return_secrets_or_key_material")]
    secrets: Vec<String>,
}

static CATALOGS: LazyLock<Vec<Catalog>> = LazyLock::new(|| {
    let Ok(file) = serde_json::from_str::<PublishedFile>(PUBLISHED) else {
        // The embedded file is checked by a test; without it nothing is permitted.
        return Vec::new();
    };
    Variant::ALL.iter().map(|variant| Catalog::from_file(*variant, &file)).collect()
});

static NOTHING: LazyLock<Catalog> = LazyLock::new(|| Catalog {
    variant: Variant::AzureLocal,
    groups: Vec::new(),
    entries: Vec::new(),
    by_name: HashMap::new(),
});

static SHA256: LazyLock<String> = LazyLock::new(|| hex::encode(Sha256::digest(PUBLISHED.as_bytes())));

impl Catalog {
    /// The lists of Azure Local.
    #[must_use]
    pub fn azure_local() -> &'static Self {
        Self::of(Variant::AzureLocal)
    }

    /// The lists of one product.
    #[must_use]
    pub fn of(variant: Variant) -> &'static Self {
        CATALOGS.iter().find(|catalog| catalog.variant == variant).unwrap_or(&NOTHING)
    }

    /// SHA-256 of the published lists in lower-case hexadecimal, the same for all variants.
    ///
    /// ```
    /// use rs_session::operations::{catalog::PUBLISHED_SHA256, Catalog};
    /// assert_eq!(Catalog::sha256(), PUBLISHED_SHA256);
    /// ```
    #[must_use]
    pub fn sha256() -> &'static str {
        &SHA256
    }

    /// Product of these lists.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        self.variant
    }

    /// Headings with their names as published: those of Diagnostics first, each level's by name.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Every published command, sorted by name.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a level permits under a policy, sorted by name.
    pub fn permitted(&self, level: AccessLevel, policy: Policy) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.permitted_at(level) && policy.keeps(entry, level))
    }

    /// The command of a name, an alias, or a name with its module (`Hyper-V\Get-VM`), without regard to case.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<&Entry> {
        match name.split_once('\\') {
            Some((module, name)) => self
                .by_name(name)
                .filter(|entry| entry.module.is_some_and(|own| own.eq_ignore_ascii_case(module))),
            None => self.by_name(name).or_else(|| self.by_name(definitions::alias(name)?)),
        }
    }

    fn by_name(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.by_name.get(&name.to_ascii_lowercase())?)
    }

    /// SHA-256 of what a level permits under a policy: names, effects and open parameters, in hexadecimal. It changes
    /// when the rights do, whatever the reason.
    #[must_use]
    pub fn rights_sha256(&self, level: AccessLevel, policy: Policy) -> String {
        let mut hash = Sha256::new();
        for entry in self.permitted(level, policy) {
            hash.update(format!("{}\t{}", entry.name, entry.effects));
            for parameter in entry.definition.map_or(&[][..], |definition| definition.parameters) {
                hash.update(format!("\t{} {}", parameter.name, parameter.describe()));
            }
            hash.update("\n");
        }
        hex::encode(hash.finalize())
    }

    fn from_file(variant: Variant, file: &PublishedFile) -> Self {
        let mut catalog = Self { variant, groups: Vec::new(), entries: Vec::new(), by_name: HashMap::new() };
        let levels = match variant {
            Variant::AzureLocal => Some(&file.levels),
            other => file.variants.get(other.as_str()).map(|variant| &variant.levels),
        };
        if let Some(levels) = levels {
            catalog.add_level(AccessLevel::Diagnostics, &levels.diagnostics, &file.implementer_annotations);
            catalog.add_level(AccessLevel::DiagnosticsRepair, &levels.repair, &file.implementer_annotations);
        }
        catalog.entries.sort_by_cached_key(|entry| entry.name.to_ascii_lowercase());
        let key = |(index, entry): (usize, &Entry)| (entry.name.to_ascii_lowercase(), index);
        catalog.by_name = catalog.entries.iter().enumerate().map(key).collect();
        catalog
    }

    fn add_level(
        &mut self,
        level: AccessLevel,
        groups: &serde_json::Map<String, serde_json::Value>,
        annotations: &Annotations,
    ) {
        for (group, names) in groups {
            let names: Vec<String> = names
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect();
            for name in &names {
                self.add(level, group, name, annotations);
            }
            self.groups.push(Group { level, name: group.clone(), commands: names });
        }
    }

    /// Adds a name, or only its heading if the name is there already: levels are unions.
    fn add(&mut self, level: AccessLevel, group: &str, name: &str, annotations: &Annotations) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
            entry.groups.push(group.to_owned());
            return;
        }
        let listed = |list: &[String]| list.iter().any(|own| own.eq_ignore_ascii_case(name));
        let definition = definitions::find(name);
        self.entries.push(Entry {
            name: name.to_owned(),
            level,
            groups: vec![group.to_owned()],
            module: definition.map(|definition| definition.module).or_else(|| modules::module_of(name)),
            effects: definition.map_or_else(
                || modules::effects_of(name, listed(&annotations.changes)),
                |definition| definition.effects,
            ),
            may_return_secrets: listed(&annotations.secrets),
            definition,
        });
    }
}

/// Parameters that are closed everywhere, with the reason.
pub(super) fn closed_parameters() -> impl Iterator<Item = (&'static str, &'static str)> {
    definitions::CLOSED.iter().copied()
}

/// States of a TCP connection that can be asked for.
#[cfg(all(test, feature = "native", target_os = "linux"))]
pub(super) fn tcp_states() -> &'static [&'static str] {
    definitions::TCP_STATES
}

/// Every alias with the command it stands for.
pub fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    definitions::ALIASES.iter().copied()
}

#[cfg(test)]
mod tests {
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
            for (level, key) in [
                (AccessLevel::Diagnostics, "Diagnostics"),
                (AccessLevel::DiagnosticsRepair, "DiagnosticsRepair"),
            ] {
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
        for name in
            ["Start-SolutionUpdate", "Add-SolutionUpdate", "Set-UpdateConfiguration", "Export-CauReport"]
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
        for definition in definitions::ALL.iter() {
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

    #[test]
    fn rights_hash_follows_the_rights() {
        let catalog = Catalog::azure_local();
        let hash = |level, policy| catalog.rights_sha256(level, policy);
        let plain = hash(AccessLevel::Diagnostics, Policy::default());
        assert_eq!(plain, hash(AccessLevel::Diagnostics, Policy::default()));
        assert_ne!(plain, hash(AccessLevel::DiagnosticsRepair, Policy::default()));
        assert_ne!(plain, hash(AccessLevel::Diagnostics, Policy::strict_read_only()));
    }
}
