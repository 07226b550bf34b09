//! What a consent may still wait for before it permits anything: its hour, and a second person.
//!
//! Both are optional. Time spent waiting for a second person is taken from the time consented to; time before the start is
//! not, since the period counts from the start.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::grant::GrantError;
use crate::party::Grantor;

/// How far ahead a start can lie: 30 days, inclusive.
pub const START_AHEAD_MAX: TimeDelta = TimeDelta::days(30);

/// What has to come about before a consent permits anything; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The start, which lies ahead by at most [`START_AHEAD_MAX`]; `None` for at once. The period counts from it.
    pub not_before: Option<DateTime<Utc>>,
    /// Whether somebody else has to approve of the consent.
    pub second_person: bool,
}

impl Conditions {
    /// Whether a consent with them would have to wait.
    #[must_use]
    pub const fn wait(&self) -> bool {
        self.not_before.is_some() || self.second_person
    }

    /// Checks that they can be met, at `now`.
    ///
    /// # Errors
    /// [`GrantError::StartOver`] for a start that does not lie ahead, [`GrantError::StartTooFar`] for one that lies ahead by
    /// more than [`START_AHEAD_MAX`].
    ///
    /// ```
    /// use rs_consent::conditions::START_AHEAD_MAX;
    /// use rs_consent::{Clock, Conditions, ManualClock};
    ///
    /// let now = ManualClock::new("2026-01-02T03:04:05Z".parse()?).now();
    /// let at = |ahead| Conditions { not_before: Some(now.wall + ahead), second_person: false };
    /// assert!(at(START_AHEAD_MAX).check(&now).is_ok());
    /// assert!(at(START_AHEAD_MAX * 2).check(&now).is_err());
    /// # Ok::<(), chrono::ParseError>(())
    /// ```
    pub fn check(&self, now: &Now) -> Result<(), GrantError> {
        match self.not_before.map(|start| start.signed_duration_since(now.wall)) {
            Some(ahead) if ahead <= TimeDelta::zero() => Err(GrantError::StartOver),
            Some(ahead) if ahead > START_AHEAD_MAX => Err(GrantError::StartTooFar),
            _ => Ok(()),
        }
    }
}

/// Where a grant stands that needs a second person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum SecondPerson {
    /// Nobody has approved yet.
    Awaited,
    /// Somebody has.
    Approved {
        /// Who.
        by: Grantor,
        /// When.
        at: DateTime<Utc>,
    },
}

/// What a pending grant waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A second person; if there is a start, that is waited for as well.
    SecondPerson,
    /// Its start.
    Start(DateTime<Utc>),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondPerson => f.write_str("the approval of a second person"),
            Self::Start(at) => write!(f, "its start at {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
        }
    }
}
