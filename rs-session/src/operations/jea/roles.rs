//! What several roles of one user come to: PowerShell joins them, and joining can only widen (A05).
//!
//! The rules: the visible commands are those of any role. A command that one role leaves open is open. A parameter that
//! one role leaves open is open. Sets are joined. Patterns are alternatives. If any role has a pattern for a parameter,
//! the sets on it are dropped.
//!
//! ```
//! use rs_session::operations::jea::{Constraint, Role, Visible};
//! let set = |words: &[&str]| Constraint::Set(words.iter().map(|word| word.to_string()).collect());
//! let ours = Role::default().with("Restart-Service", Visible::only([("Name", set(&["Dns"]))]));
//! let theirs = Role::default().with("Restart-Service", Visible::Open);
//! let widened = ours.widened_by(&[theirs]);
//! assert_eq!(widened[0].to_string(), "Restart-Service: every parameter is open");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rs_consent::AccessLevel;

use super::Constraint;
use crate::operations::catalog::{Catalog, Policy};

/// How visible a command is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// With every parameter.
    Open,
    /// With these parameters, by name in lower case; `None` leaves the parameter open.
    Only(BTreeMap<String, Limit>),
}

/// What may stand for a parameter after joining: nothing given means anything may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Words, if it is a set.
    pub words: BTreeSet<String>,
    /// Patterns; one of them has to fit.
    pub patterns: BTreeSet<String>,
}

impl Limit {
    /// True if anything may stand there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.words.is_empty() && self.patterns.is_empty()
    }

    fn join(&self, other: &Self) -> Self {
        if self.is_open() || other.is_open() {
            return Self::default();
        }
        let patterns: BTreeSet<_> = self.patterns.union(&other.patterns).cloned().collect();
        let words = if patterns.is_empty() {
            self.words.union(&other.words).cloned().collect()
        } else {
            BTreeSet::new()
        };
        Self { words, patterns }
    }
}

impl From<Constraint> for Limit {
    fn from(constraint: Constraint) -> Self {
        match constraint {
            Constraint::Switch => Self::default(),
            Constraint::Set(words) => Self { words: words.into_iter().collect(), ..Self::default() },
            Constraint::Pattern(pattern) => Self { patterns: BTreeSet::from([pattern]), ..Self::default() },
        }
    }
}

impl Visible {
    /// A command with these parameters only.
    pub fn only<'a>(parameters: impl IntoIterator<Item = (&'a str, Constraint)>) -> Self {
        Self::Only(parameters.into_iter().map(|(name, own)| (name.to_lowercase(), own.into())).collect())
    }

    fn join(&self, other: &Self) -> Self {
        let (Self::Only(own), Self::Only(other)) = (self, other) else { return Self::Open };
        let mut joined = own.clone();
        for (name, limit) in other {
            joined
                .entry(name.clone())
                .and_modify(|own| *own = own.join(limit))
                .or_insert_with(|| limit.clone());
        }
        Self::Only(joined)
    }
}

/// The visible commands of a role, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role(BTreeMap<String, Visible>);

/// Something that a user may do with several roles and may not do with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// The command.
    pub command: String,
    /// What is wider.
    pub what: String,
}

impl fmt::Display for Widening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.what)
    }
}

impl Role {
    /// The rights of a level under a policy, as [`RoleCapability`](super::RoleCapability) writes them.
    #[must_use]
    pub fn of(catalog: &Catalog, level: AccessLevel, policy: Policy) -> Self {
        catalog
            .permitted(level, policy)
            .fold(Self::default(), |role, entry| role.with(&entry.name, Visible::only(super::open(entry))))
    }

    /// The same role and one more command.
    #[must_use]
    pub fn with(mut self, command: &str, visible: Visible) -> Self {
        self.0.insert(command.to_owned(), visible);
        self
    }

    /// What a user with this role and `others` may do.
    #[must_use]
    pub fn joined(&self, others: &[Self]) -> Self {
        let mut joined = self.clone();
        for (command, visible) in others.iter().flat_map(|other| &other.0) {
            let at = joined.0.entry(command.clone());
            at.and_modify(|own| *own = own.join(visible)).or_insert_with(|| visible.clone());
        }
        joined
    }

    /// Commands of this role that mean more for a user who has `others` too. New commands do not count: they are what
    /// another role is for. Limits that vanish are what nobody expects.
    #[must_use]
    pub fn widened_by(&self, others: &[Self]) -> Vec<Widening> {
        let joined = self.joined(others);
        let mut found = Vec::new();
        for (command, own) in &self.0 {
            let mut note = |what: String| found.push(Widening { command: command.clone(), what });
            match (own, joined.0.get(command)) {
                (Visible::Only(_), Some(Visible::Open)) => note(String::from("every parameter is open")),
                (Visible::Only(own), Some(Visible::Only(joined))) => {
                    for (name, limit) in joined {
                        match own.get(name) {
                            None => note(format!("-{name} is open too")),
                            Some(own) if own != limit && limit.is_open() => {
                                note(format!("-{name} takes anything"))
                            }
                            Some(own) if own != limit => note(format!("-{name} takes more")),
                            Some(_) => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> Constraint {
        Constraint::Set(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn pattern(text: &str) -> Constraint {
        Constraint::Pattern(text.to_owned())
    }

    fn role(visible: Visible) -> Role {
        Role::default().with("Restart-Service", visible)
    }

    fn name(role: &Role) -> Option<Limit> {
        match role.0.get("Restart-Service") {
            Some(Visible::Only(parameters)) => parameters.get("name").cloned(),
            _ => None,
        }
    }

    #[test]
    fn a05_six_rules_of_joining() {
        let only = |constraint| role(Visible::only([("Name", constraint)]));
        // Commands are those of any role.
        let joined = only(set(&["a"])).joined(&[Role::default().with("Get-Date", Visible::Open)]);
        assert_eq!(joined.0.len(), 2);
        // A command without limits voids the limits of another role.
        assert_eq!(only(set(&["a"])).joined(&[role(Visible::Open)]), role(Visible::Open));
        // A parameter without limits voids them too.
        assert!(name(&only(set(&["a"])).joined(&[only(Constraint::Switch)])).unwrap().is_open());
        // Sets are joined.
        assert_eq!(name(&only(set(&["a"])).joined(&[only(set(&["b"]))])), Some(set(&["a", "b"]).into()));
        // Patterns are alternatives.
        let patterns = name(&only(pattern("x")).joined(&[only(pattern("y"))])).unwrap().patterns;
        assert_eq!(patterns.into_iter().collect::<Vec<_>>(), ["x", "y"]);
        // A pattern drops the sets.
        assert_eq!(name(&only(set(&["a"])).joined(&[only(pattern("y"))])), Some(pattern("y").into()));
    }

    #[test]
    fn a05_our_levels_joined_are_the_repair_level() {
        let of = |level| Role::of(Catalog::azure_local(), level, Policy::default());
        let (low, high) = (of(AccessLevel::Diagnostics), of(AccessLevel::DiagnosticsRepair));
        assert_eq!(low.joined(std::slice::from_ref(&high)), high);
        assert_eq!(low.widened_by(std::slice::from_ref(&high)), []);
        assert_eq!(high.widened_by(&[low]), []);
    }

    #[test]
    fn a05_what_another_role_widens_is_named() {
        let ours = Role::of(Catalog::azure_local(), AccessLevel::DiagnosticsRepair, Policy::default());
        let theirs = Role::default()
            .with(
                "Stop-Service",
                Visible::only([("Name", Constraint::Switch), ("Force", Constraint::Switch)]),
            )
            .with("Restart-Computer", Visible::Open);
        let found: Vec<_> = ours.widened_by(&[theirs]).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["Stop-Service: -force is open too", "Stop-Service: -name takes anything"]);
    }
}
