//! What operations do beyond giving an answer.

use std::fmt;

use serde::{Deserialize, Serialize};

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
