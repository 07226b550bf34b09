//! What a level permits, in short, for somebody who is about to agree to it (U11).
//!
//! Every number and every name comes from the catalog that sessions run by, so that nobody agrees to something else.

use std::cmp::Reverse;

use clap::Args;
use rs_consent::{AccessLevel, Scope, Sha256};
use rs_session::operations::catalog::Entry;
use rs_session::operations::{Catalog, CommandRules, Effect, Effects, Policy, Variant};

use crate::context::Context;
use crate::outcome::Failure;
use crate::owner_policy::OwnerPolicy;
use crate::state::Role;

/// Options that narrow a consent besides its level.
#[derive(Debug, Clone, Default, Args)]
pub struct ScopeArgs {
    /// Keep Diagnostics read-only: the published commands that change state are taken out of it. With `=false` the
    /// published list stands as it is [default: true].
    #[arg(
        long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(), env = "REMOTE_SUPPORT_STRICT_READ_ONLY"
    )]
    pub strict_read_only: Option<bool>,
    /// Product whose published lists count [default: azure-local].
    #[arg(long, value_name = "PRODUCT", env = "REMOTE_SUPPORT_PRODUCT")]
    pub product: Option<Variant>,
}

impl ScopeArgs {
    /// What was chosen; `otherwise` for what was left open.
    #[must_use]
    pub fn scope(&self, otherwise: Scope) -> Scope {
        let product = self.product.and_then(|variant| variant.as_str().parse().ok());
        Scope {
            product: product.unwrap_or(otherwise.product),
            strict_read_only: self.strict_read_only.unwrap_or(otherwise.strict_read_only),
        }
    }
}

/// The lists that a scope names; `None` where this program does not have them.
#[must_use]
pub fn lists(scope: &Scope) -> Option<&'static Catalog> {
    Some(Catalog::of(scope.product.as_str().parse().ok()?))
}

/// What an engineer may run at `level` within `scope`, sorted by name: as sessions of this program have it.
pub fn permitted(level: AccessLevel, scope: &Scope) -> impl Iterator<Item = &'static Entry> + use<> {
    let policy = Policy::from(scope);
    lists(scope).into_iter().flat_map(move |lists| lists.permitted(level, policy))
}

/// A number of commands, as every place says it that speaks of what a level permits.
#[must_use]
pub fn so_many(commands: usize) -> String {
    format!("{commands} listed commands")
}

/// What `scope` leaves of a level's published list, in words: at DiagnosticsRepair everything.
#[must_use]
pub fn kept(level: AccessLevel, scope: &Scope) -> &'static str {
    if scope.strict_read_only && level == AccessLevel::Diagnostics {
        "kept read-only (strict-read-only)"
    } else {
        "as published"
    }
}

/// Which lists are in force for these levels, and what is left of them.
#[must_use]
pub fn in_force(levels: &[AccessLevel], scope: &Scope, sha256: &str) -> String {
    let kept: Vec<_> = levels.iter().map(|level| format!("{level} {}", kept(*level, scope))).collect();
    format!("Lists of {}: {}; sha256 {sha256}.", scope.product, kept.join(", "))
}

/// What the product publishes for `level`, and `scope` takes out.
pub fn taken_out(level: AccessLevel, scope: &Scope) -> impl Iterator<Item = &'static Entry> + use<> {
    let policy = Policy::from(scope);
    let published = lists(scope).into_iter().flat_map(move |lists| lists.permitted(level, Policy::default()));
    published.filter(move |entry| !policy.keeps(entry, level))
}

/// A few lines that say what an engineer may do at `level` within `scope`; shown before the question is put.
#[must_use]
pub fn level(level: AccessLevel, scope: &Scope) -> String {
    let commands = so_many(permitted(level, scope).count());
    let product = if *scope.product.as_str() == *Variant::default().as_str() {
        String::new()
    } else {
        format!(" --product {}", scope.product)
    };
    let option = if scope.strict_read_only { "" } else { " --strict-read-only=false" };
    let mut lines = vec![
        format!(
            "Access level '{level}' permits an engineer to run {commands} on this node, and nothing else."
        ),
        format!("By group: {}.", groups(level, scope)),
        format!("By effect: {}.", effects(level, scope)),
    ];
    lines.extend(changes(level, scope));
    lines.extend(beyond(level, scope));
    lines.push(format!("The list: remote-support operations --access-level {level}{product}{option}"));
    lines.join("\n")
}

/// As [`level()`], with what the owner of this node takes out of it.
///
/// # Errors
///
/// As [`OwnerPolicy::read`].
pub fn level_here(level: AccessLevel, scope: &Scope, context: &Context) -> Result<String, Failure> {
    let commands = OwnerPolicy::read(&context.state.role(Role::Node))?.commands;
    let text = self::level(level, scope);
    Ok(match owners(level, scope, &commands) {
        Some(line) => format!("{text}\n{line}"),
        None => text,
    })
}

/// What the owner takes out of a level, in words.
#[must_use]
pub fn owners(level: AccessLevel, scope: &Scope, commands: &CommandRules) -> Option<String> {
    let out = names(permitted(level, scope).filter(|entry| commands.take_out(&entry.name)))?;
    Some(format!("The owner of this node takes out of {level}: {out}."))
}

/// How many commands stand under each heading, the longest list first; a command can stand under several.
fn groups(level: AccessLevel, scope: &Scope) -> String {
    let Some(lists) = lists(scope) else { return String::from("none") };
    let out: Vec<&str> = taken_out(level, scope).map(|entry| entry.name.as_str()).collect();
    let of = |own: AccessLevel| {
        let left = |names: &[String]| names.iter().filter(|name| !out.contains(&name.as_str())).count();
        let mut groups: Vec<_> = lists
            .groups()
            .iter()
            .filter(|group| group.level == own)
            .map(|group| (left(&group.commands), &group.name))
            .filter(|(count, _)| *count > 0)
            .collect();
        groups.sort_by_key(|(count, name)| (Reverse(*count), *name));
        groups.iter().map(|(count, name)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    let levels = AccessLevel::ALL.into_iter().filter(|own| *own <= level);
    levels.map(|own| format!("{own}: {}", of(own))).collect::<Vec<_>>().join("; ")
}

/// How many commands have each effect; a command can have several.
#[must_use]
pub fn effects(level: AccessLevel, scope: &Scope) -> String {
    let count =
        |fits: &dyn Fn(Effects) -> bool| permitted(level, scope).filter(|entry| fits(entry.effects)).count();
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

fn names<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<String> {
    let names: Vec<&str> = entries.map(|entry| entry.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Plainly whether the level is read-only, what in it is not, and what the choice means (A10, U11).
fn changes(level: AccessLevel, scope: &Scope) -> Vec<String> {
    let changing = names(permitted(level, scope).filter(|entry| entry.effects.changes_state()));
    let out = names(taken_out(level, scope));
    match (changing, out) {
        (Some(names), _) => vec![format!("{level} is not read-only. These commands change state: {names}.")],
        (None, None) => {
            vec![format!("{level} is read-only: no command in it changes the state of this node.")]
        }
        (None, Some(names)) => vec![
            format!(
                "{level} is read-only here: no command that is left in it changes the state of this node."
            ),
            format!(
                "Published for it and taken out, since they change state: {names}. \
                 To permit them too, give --strict-read-only=false."
            ),
        ],
    }
}

/// What reaches beyond this node, by name.
fn beyond(level: AccessLevel, scope: &Scope) -> Vec<String> {
    let with = |effect| names(permitted(level, scope).filter(move |entry| entry.effects.has(effect)));
    let line =
        |what: &str, found: Option<String>| found.map(|names| format!("These commands {what}: {names}."));
    [
        line("send data away from this site", with(Effect::DataLeaving)),
        line(
            "can return keys or secrets",
            names(permitted(level, scope).filter(|own| own.may_return_secrets)),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
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
    fn a10_u11_what_the_choice_means_is_said() {
        let text = level(AccessLevel::Diagnostics, &Scope::as_published());
        assert!(text.contains("permits an engineer to run 285 listed commands"), "{text}");
        assert!(
            text.contains("Diagnostics is not read-only") && text.contains("Start-SolutionUpdate"),
            "{text}"
        );
        assert!(!text.contains("Stop-Service"), "{text}");
        let text = level(AccessLevel::Diagnostics, &Scope::default());
        let out = taken_out(AccessLevel::Diagnostics, &Scope::default()).count();
        assert!(text.contains(&format!("run {} listed commands", 285 - out)), "{text}");
        assert!(text.contains("Diagnostics is read-only here"), "{text}");
        assert!(text.contains("taken out, since they change state: Add-SolutionUpdate"), "{text}");
        let text = level(AccessLevel::DiagnosticsRepair, &Scope::default());
        assert!(text.contains("287 listed commands") && text.contains("Stop-Service"), "{text}");
    }

    #[test]
    fn a10_what_changes_state_is_named_and_nothing_else() {
        for (own, scope) in AccessLevel::ALL.map(|own| (own, Scope::as_published())) {
            let text = level(own, &scope);
            let line = text.lines().find(|line| line.contains("change state:")).expect("not read-only");
            for entry in permitted(own, &scope) {
                let named = line.split([' ', ',', '.']).any(|word| word == entry.name);
                assert_eq!(named, entry.effects.changes_state(), "{own}: {}", entry.name);
            }
        }
    }

    #[test]
    fn a16_every_product_is_explained_from_its_own_lists() {
        for variant in Variant::ALL {
            let scope = ScopeArgs { product: Some(*variant), strict_read_only: None }.scope(Scope::default());
            let text = level(AccessLevel::Diagnostics, &scope);
            let count =
                Catalog::of(*variant).permitted(AccessLevel::Diagnostics, Policy::strict_read_only()).count();
            assert!(text.contains(&format!("run {count} listed commands")), "{variant}: {text}");
        }
        let unknown = Scope { product: "azure-mars".parse().expect("a name"), ..Scope::default() };
        assert_eq!(permitted(AccessLevel::DiagnosticsRepair, &unknown).count(), 0);
    }

    #[test]
    fn the_grant_names_the_catalog_that_sessions_name() {
        assert_eq!(catalog().expect("a digest").to_string(), Catalog::sha256());
    }
}
