//! What may run: the published command lists, as data, with what this engine knows about each command.
//!
//! The lists are embedded and pinned by their SHA-256. A level's rights are a union: DiagnosticsRepair is Diagnostics
//! and what the lists add, never a second copy. Every published name is known with its effects, and has a [`Definition`]
//! with its parameters, also where only Windows answers it, or says why it has none ([`Closed`]).
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

use rs_consent::{AccessLevel, Scope};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::definitions::{Definition, Form, Kind, Parameter, Role, Systems};
pub use self::effects::{Effect, Effects};
pub use self::needs::{Needs, Network};
pub use self::variant::{UnknownVariant, Variant};

pub(in crate::operations) use self::definitions::REQUEST_ACCESS_LEVEL;

mod definitions;
mod effects;
mod modules;
mod needs;
mod variant;

/// The published lists, byte by byte.
const PUBLISHED: &str = include_str!("../../data/operations.json");

/// SHA-256 of the published lists that this version was made and tested with.
pub const PUBLISHED_SHA256: &str = "9fb6c12b195c3f127c8aae0363da2ff691e647fbeeaa56dc71e99d52b5d256c3";

/// What the owner of the node takes away from the published lists. It can only narrow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Policy {
    /// Drops every command at the Diagnostics level that changes state. Default here: `false`, the published lists; a
    /// consent has it on unless its owner says otherwise ([`Scope`]).
    #[serde(default)]
    pub strict_read_only: bool,
}

impl Policy {
    /// The policy that keeps Diagnostics read-only.
    #[must_use]
    pub const fn strict_read_only() -> Self {
        Self { strict_read_only: true }
    }

    /// True if this policy leaves the command to the level: always at DiagnosticsRepair, where the owner agreed to changes.
    #[must_use]
    pub fn keeps(self, entry: &Entry, level: AccessLevel) -> bool {
        !(self.strict_read_only && level == AccessLevel::Diagnostics && entry.effects.changes_state())
    }
}

impl From<&Scope> for Policy {
    fn from(scope: &Scope) -> Self {
        Self { strict_read_only: scope.strict_read_only }
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

/// Why a published command is refused wherever it could be answered: this engine has no definition of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Closed {
    /// It changes state, and nothing here could hold it to what was agreed.
    ChangesState,
    /// It sends data away.
    DataLeaves,
    /// Its answer can be a key or a secret as a whole.
    Secrets,
    /// It cannot be called without this parameter, which is closed.
    Needs(&'static str),
    /// No public documentation of its parameters was found to check a definition against.
    Unchecked,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangesState => f.write_str("it changes state by means that this program cannot hold in"),
            Self::DataLeaves => f.write_str("it sends data away by means that this program cannot hold in"),
            Self::Secrets => f.write_str("its answer can be a key or a secret"),
            Self::Needs(parameter) => write!(f, "it needs -{parameter}, which is closed"),
            Self::Unchecked => {
                f.write_str("its parameters could not be checked against a public document, so none are open")
            }
        }
    }
}

impl Entry {
    /// True if the level is high enough.
    #[must_use]
    pub fn permitted_at(&self, level: AccessLevel) -> bool {
        self.level <= level
    }

    /// Why it has no definition; `None` if it has one.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        let why = || definitions::closed(&self.name, self.effects, self.may_return_secrets);
        self.definition.is_none().then(why)
    }

    /// Its open parameters, each with type, length and constraint.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> + use<> {
        self.definition.map_or(&[][..], |definition| definition.parameters).iter()
    }

    /// Who answers the command on this machine.
    #[must_use]
    pub fn availability(&self, machine: Machine) -> Availability {
        match self.definition {
            Some(own) if own.systems.overlaps(machine.native) => Availability::Native,
            Some(_) if machine.power_shell => Availability::PowerShell,
            Some(own) if own.systems != Systems::NONE => {
                none("this node's operating system has no source for it")
            }
            None if machine.power_shell => {
                none(self.closed().map(|why| why.to_string()).as_deref().unwrap_or_default())
            }
            _ => none(match self.module {
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
            module: definition
                .map_or_else(|| modules::module_of(name), |definition| Some(definition.module))
                .filter(|module| !module.is_empty()),
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
mod tests;
