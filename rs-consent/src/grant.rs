//! Grants: one act of consent, from its beginning to its end, with every change in between.
//!
//! ```text
//!             enable again (in place)
//!                 ┌────┐
//!                 ▼    │            ┌─► Expired     the time is over, on the earlier of two clocks
//! enable ──────► Active ────────────┼─► Revoked     the owner took it back
//!                                   └─► Superseded  it was held, and the owner gave a fresh consent
//! ```
//!
//! There is no way back from an end: a later consent is another grant with another id.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Deadline, Now};
use crate::code::EndCause;
use crate::digest::Sha256;
use crate::level::AccessLevel;
use crate::minutes::Minutes;
use crate::party::Grantor;
use crate::request::RequestNumber;
use crate::terms::{AgreedTerms, Terms};

/// How long an ended grant stays in listings by default: 30 days, inclusive.
pub const ENDED_LISTED: TimeDelta = TimeDelta::days(30);

/// How many changes a grant keeps, the first always among them; the node log keeps all.
pub const CHANGES_MAX: usize = 256;

/// Names a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(Uuid);

impl GrantId {
    /// Takes an id.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The id.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for GrantId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// What an owner consents to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The highest level that is permitted.
    pub level: AccessLevel,
    /// For how long, from `requested`.
    pub minutes: Minutes,
    /// The text that was shown and agreed to.
    pub terms: Terms,
    /// The support request that it is for; `None` for any that is open on this node.
    pub request: Option<RequestNumber>,
    /// Who consents, from where and how.
    pub grantor: Grantor,
    /// Which catalog of operations was shown.
    pub catalog: Option<Sha256>,
    /// When consent was asked for. The time counts from here, not from the answer: thinking adds nothing.
    pub requested: Now,
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantState {
    /// It permits.
    Active,
    /// Its time is over.
    Expired,
    /// The owner took it back.
    Revoked,
    /// It was held, and the owner gave a fresh consent instead.
    Superseded,
}

impl fmt::Display for GrantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "Active",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::Superseded => "Superseded",
        })
    }
}

/// One act of consent.
///
/// ```
/// use rs_consent::party::{Grantor, Method};
/// use rs_consent::{AccessLevel, Clock, Consent, Grant, GrantId, GrantState, ManualClock, Minutes, Terms};
/// use std::time::Duration;
///
/// let clock = ManualClock::new("2026-01-02T03:04:05Z".parse()?);
/// let consent = Consent {
///     level: AccessLevel::Diagnostics,
///     minutes: Minutes::MIN,
///     terms: Terms::azure_local(),
///     request: None,
///     grantor: Grantor { user: "admin".parse()?, host: "node-01".parse()?, method: Method::Prompt },
///     catalog: None,
///     requested: clock.now(),
/// };
/// let grant = Grant::new(GrantId::new(uuid::Uuid::from_u128(1)), &consent, &clock.now())?;
/// clock.advance(Duration::from_secs(3599));
/// assert_eq!(grant.state_at(&clock.now()), GrantState::Active);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(grant.state_at(&clock.now()), GrantState::Expired);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Grant {
    /// Its id; kept when it is changed in place.
    pub id: GrantId,
    /// Where it stood when it was last written. [`Grant::as_of`] tells where it stands.
    pub state: GrantState,
    /// The highest level that is permitted.
    pub level: AccessLevel,
    /// The time that was last consented to.
    pub minutes: Minutes,
    /// When it was first written.
    pub created_at: DateTime<Utc>,
    /// When it was last changed by a consent.
    pub updated_at: DateTime<Utc>,
    /// The first instant at which it no longer permits, on both clocks.
    pub deadline: Deadline,
    /// The terms that were last agreed to.
    pub terms: AgreedTerms,
    /// The support request that it is for.
    pub request: Option<RequestNumber>,
    /// Who consented last.
    pub grantor: Grantor,
    /// The catalog of operations that was shown last.
    pub catalog: Option<Sha256>,
    /// How often consent was given for it: 1, and one more for each change in place.
    pub revision: u32,
    /// When and why it ended, if it did.
    pub ended: Option<Ended>,
    /// Every consent that made it what it is, the first one first; at most [`CHANGES_MAX`].
    pub changes: Vec<Change>,
}

/// The end of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    pub cause: EndCause,
}

/// One consent in the history of a grant, with the values that it set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The level.
    pub level: AccessLevel,
    /// The time.
    pub minutes: Minutes,
    /// The end by the wall clock.
    pub expires_at: DateTime<Utc>,
    /// The terms.
    pub terms: AgreedTerms,
    /// The support request.
    pub request: Option<RequestNumber>,
    /// Who consented.
    pub grantor: Grantor,
    /// The catalog of operations.
    pub catalog: Option<Sha256>,
}

/// Why a consent made no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The clock went back between request and answer.
    #[error("the clock went back while consent was given, so the end cannot be computed: try again")]
    ClockWentBack,
    /// The answer took longer than the time that was asked for.
    #[error("the time asked for was over before consent was given: try again")]
    Over,
    /// The clock shows an impossible time.
    #[error("the end lies beyond what the clock can show: set the clock and try again")]
    BeyondTime,
    /// The grant has ended; it cannot be changed.
    #[error("this grant has ended: a fresh consent makes a new one")]
    Ended,
}

impl Grant {
    /// A new grant.
    ///
    /// # Errors
    /// [`GrantError::ClockWentBack`], [`GrantError::Over`] or [`GrantError::BeyondTime`], if no end can be computed
    /// that lies ahead.
    pub fn new(id: GrantId, consent: &Consent, now: &Now) -> Result<Self, GrantError> {
        let deadline = end_of(consent, now)?;
        let change = Change::of(consent, deadline.wall, now.wall);
        Ok(Self {
            id,
            state: GrantState::Active,
            level: consent.level,
            minutes: consent.minutes,
            created_at: now.wall,
            updated_at: now.wall,
            deadline,
            terms: change.terms.clone(),
            request: consent.request,
            grantor: consent.grantor.clone(),
            catalog: consent.catalog,
            revision: 1,
            ended: None,
            changes: vec![change],
        })
    }

    /// The grant after a further consent: same id and beginning; level, time, terms, request and grantor are those of
    /// `consent`, and the end is counted anew. It may be shorter, longer, lower or higher than before.
    ///
    /// # Errors
    /// [`GrantError::Ended`] if the grant is not active at `now`, else as [`Grant::new`].
    pub fn renewed(&self, consent: &Consent, now: &Now) -> Result<Self, GrantError> {
        if self.state_at(now) != GrantState::Active {
            return Err(GrantError::Ended);
        }
        let new = Self::new(self.id, consent, now)?;
        let mut changes = self.changes.clone();
        if changes.len() >= CHANGES_MAX {
            changes.remove(1);
        }
        changes.extend(new.changes);
        Ok(Self { created_at: self.created_at, revision: self.revision.saturating_add(1), changes, ..new })
    }

    /// The first instant of the wall clock at which it no longer permits.
    #[must_use]
    pub const fn expires_at(&self) -> DateTime<Utc> {
        self.deadline.wall
    }

    /// Where the grant stands at `now`.
    #[must_use]
    pub fn state_at(&self, now: &Now) -> GrantState {
        match self.state {
            GrantState::Active if self.deadline.has_passed(now) => GrantState::Expired,
            state => state,
        }
    }

    /// The grant as it stands at `now`: if its time is over, it has ended by that.
    #[must_use]
    pub fn as_of(&self, now: &Now) -> Self {
        let mut grant = self.clone();
        if self.state == GrantState::Active && self.deadline.has_passed(now) {
            grant.end(GrantState::Expired, EndCause::Expired, self.deadline.wall.min(now.wall));
        }
        grant
    }

    /// The grant after the owner took it back; an ended grant stays as it is.
    #[must_use]
    pub fn revoked(&self, now: &Now) -> Self {
        let mut grant = self.as_of(now);
        grant.end(GrantState::Revoked, EndCause::Revoked, now.wall);
        grant
    }

    /// The grant after a fresh consent took its place while it was held; an ended grant stays as it is.
    #[must_use]
    pub fn superseded(&self, now: &Now) -> Self {
        let mut grant = self.clone();
        grant.end(GrantState::Superseded, EndCause::ClockHeld, now.wall);
        grant
    }

    /// The same grant, with its end as a time of the present boot.
    ///
    /// Boot times of another boot say nothing. After a restart the wall clock is taken as right, once, and from then on
    /// the boot clock counts again. A caller makes sure that the wall clock did not go back (SEC10).
    #[must_use]
    pub fn rebased(&self, now: &Now) -> Self {
        let mut grant = self.clone();
        if self.deadline.boot_id != now.boot_id {
            grant.deadline = Deadline::at(self.deadline.wall, now);
        }
        grant
    }

    /// How long it still permits if no clock is set; zero if it does not.
    #[must_use]
    pub fn remaining(&self, now: &Now) -> Duration {
        match self.state {
            GrantState::Active => self.deadline.remaining(now),
            _ => Duration::ZERO,
        }
    }

    fn end(&mut self, state: GrantState, cause: EndCause, at: DateTime<Utc>) {
        if self.state == GrantState::Active {
            self.state = state;
            self.ended = Some(Ended { at, cause });
        }
    }
}

impl Change {
    fn of(consent: &Consent, expires_at: DateTime<Utc>, at: DateTime<Utc>) -> Self {
        Self {
            at,
            level: consent.level,
            minutes: consent.minutes,
            expires_at,
            terms: consent.terms.agreed(),
            request: consent.request,
            grantor: consent.grantor.clone(),
            catalog: consent.catalog,
        }
    }
}

/// The end of what is consented to, which must lie ahead.
fn end_of(consent: &Consent, now: &Now) -> Result<Deadline, GrantError> {
    if now.went_back_since(&consent.requested) {
        return Err(GrantError::ClockWentBack);
    }
    let end =
        Deadline::after(&consent.requested, consent.minutes.duration()).ok_or(GrantError::BeyondTime)?;
    if end.has_passed(now) { Err(GrantError::Over) } else { Ok(end) }
}

/// The grants that a listing shows at `now`, each as it stands: the newest first, then by id.
///
/// Without `include_ended` only what is active. With it also what ended, for whatever cause, at most `window` ago, the
/// last instant included; [`ENDED_LISTED`] is the usual window.
#[must_use]
pub fn listing(grants: &[Grant], include_ended: bool, window: TimeDelta, now: &Now) -> Vec<Grant> {
    let recent = |ended: Ended| now.wall.signed_duration_since(ended.at) <= window;
    let shown = |grant: &Grant| grant.ended.is_none_or(|ended| include_ended && recent(ended));
    let mut shown: Vec<Grant> = grants.iter().map(|grant| grant.as_of(now)).filter(shown).collect();
    shown.sort_by_key(|grant| (std::cmp::Reverse(grant.created_at), grant.id));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use crate::party::Method;

    fn clock() -> ManualClock {
        ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
    }

    fn consent(level: AccessLevel, minutes: i64, requested: Now) -> Consent {
        Consent {
            level,
            minutes: Minutes::new(minutes).unwrap(),
            terms: Terms::azure_local(),
            request: None,
            grantor: Grantor {
                user: "admin".parse().unwrap(),
                host: "node-01".parse().unwrap(),
                method: Method::Prompt,
            },
            catalog: None,
            requested,
        }
    }

    fn id(n: u128) -> GrantId {
        GrantId::new(Uuid::from_u128(n))
    }

    fn granted(clock: &ManualClock, minutes: i64) -> Grant {
        Grant::new(id(1), &consent(AccessLevel::Diagnostics, minutes, clock.now()), &clock.now()).unwrap()
    }

    #[test]
    fn c12_permitted_while_now_is_before_the_end() {
        let clock = clock();
        let grant = granted(&clock, 60);
        clock.advance(Duration::from_secs(3600) - Duration::from_nanos(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Active);
        assert_eq!(grant.remaining(&clock.now()), Duration::from_nanos(1));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Expired);
        clock.advance(Duration::from_nanos(1));
        let ended = grant.as_of(&clock.now());
        assert_eq!(ended.ended, Some(Ended { at: grant.deadline.wall, cause: EndCause::Expired }));
    }

    #[test]
    fn c05_c12_time_counts_from_the_request_and_thinking_adds_nothing() {
        let clock = clock();
        let requested = clock.now();
        clock.advance(Duration::from_secs(2));
        let grant =
            Grant::new(id(1), &consent(AccessLevel::Diagnostics, 1440, requested), &clock.now()).unwrap();
        assert_eq!(grant.deadline.wall - grant.created_at, TimeDelta::days(1) - TimeDelta::seconds(2));
        clock.advance(Duration::from_secs(3600));
        let late = Grant::new(id(1), &consent(AccessLevel::Diagnostics, 60, requested), &clock.now());
        assert_eq!(late, Err(GrantError::Over));
        clock.step_wall(-TimeDelta::days(1));
        let back = Grant::new(id(1), &consent(AccessLevel::Diagnostics, 1440, requested), &clock.now());
        assert_eq!(back, Err(GrantError::ClockWentBack));
    }

    #[test]
    fn sec09_the_earlier_of_both_clocks_ends_it() {
        let clock = clock();
        let grant = granted(&clock, 60);
        clock.step_wall(TimeDelta::hours(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Expired, "the wall clock alone");
        clock.step_wall(-TimeDelta::hours(2));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Active);
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now().wall < grant.deadline.wall);
        assert_eq!(grant.state_at(&clock.now()), GrantState::Expired, "the boot clock alone");
    }

    #[test]
    fn c23_after_a_restart_of_the_machine_both_clocks_count_again() {
        let clock = clock();
        let grant = granted(&clock, 60);
        clock.advance(Duration::from_secs(1800));
        clock.reboot();
        assert_eq!(grant.remaining(&clock.now()), Duration::from_secs(1800), "by the wall clock alone");
        let rebased = grant.rebased(&clock.now());
        clock.step_wall(-TimeDelta::hours(5));
        clock.advance(Duration::from_secs(1800));
        assert_eq!(
            grant.state_at(&clock.now()),
            GrantState::Active,
            "control: without the new boot deadline"
        );
        assert_eq!(rebased.state_at(&clock.now()), GrantState::Expired);
    }

    /// The sample pair: granted again 34 seconds later.
    #[test]
    fn c14_granted_again_it_is_changed_in_place() {
        let clock = clock();
        let first = granted(&clock, 1440);
        clock.advance(Duration::from_secs(34));
        let second =
            first.renewed(&consent(AccessLevel::DiagnosticsRepair, 60, clock.now()), &clock.now()).unwrap();
        assert_eq!((second.id, second.created_at), (first.id, first.created_at));
        assert_eq!(second.updated_at - first.updated_at, TimeDelta::seconds(34));
        assert_eq!(
            second.deadline.wall,
            clock.now().wall + TimeDelta::hours(1),
            "a shorter time is permitted"
        );
        assert_eq!((second.level, second.revision), (AccessLevel::DiagnosticsRepair, 2));
        let levels: Vec<AccessLevel> = second.changes.iter().map(|change| change.level).collect();
        assert_eq!(levels, [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair]);
    }

    #[test]
    fn no_way_leads_back_from_an_end() {
        let clock = clock();
        let active = granted(&clock, 60);
        let revoked = active.revoked(&clock.now());
        let superseded = active.superseded(&clock.now());
        assert_eq!((revoked.state, superseded.state), (GrantState::Revoked, GrantState::Superseded));
        clock.advance(Duration::from_secs(7200));
        let expired = active.as_of(&clock.now());
        for ended in [revoked, superseded, expired] {
            let again = consent(AccessLevel::Diagnostics, 60, clock.now());
            assert_eq!(ended.renewed(&again, &clock.now()), Err(GrantError::Ended));
            assert_eq!(ended.revoked(&clock.now()), ended);
            assert_eq!(ended.superseded(&clock.now()), ended);
            assert_eq!(ended.as_of(&clock.now()), ended);
            assert_eq!(ended.remaining(&clock.now()), Duration::ZERO);
        }
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_first() {
        let clock = clock();
        let mut grant = granted(&clock, 60);
        let first = grant.changes[0].clone();
        for _ in 1..=CHANGES_MAX {
            clock.advance(Duration::from_secs(1));
            grant = grant.renewed(&consent(AccessLevel::Diagnostics, 60, clock.now()), &clock.now()).unwrap();
        }
        assert_eq!((grant.changes.len(), grant.revision as usize), (CHANGES_MAX, CHANGES_MAX + 1));
        assert_eq!(grant.changes[0], first);
        assert_eq!(grant.changes[1].at, first.at + TimeDelta::seconds(2));
    }

    #[test]
    fn c18_c19_ended_grants_are_listed_for_thirty_days() {
        let clock = clock();
        let make = |n, at: &Now| Grant::new(id(n), &consent(AccessLevel::Diagnostics, 60, *at), at).unwrap();
        let past = make(1, &clock.now()).revoked(&clock.now());
        clock.advance(Duration::from_secs(1));
        let edge = make(2, &clock.now()).revoked(&clock.now());
        clock.advance(Duration::from_secs(3600));
        let recent = make(3, &clock.now());
        clock.advance(Duration::from_secs(30 * 86_400 - 3600));
        let active = make(4, &clock.now());
        let all = [past, active, recent, edge];
        let ids = |include| {
            listing(&all, include, ENDED_LISTED, &clock.now()).iter().map(|g| g.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(false), [id(4)]);
        assert_eq!(ids(true), [id(4), id(3), id(2)], "30 days ago is listed, 30 days and 1 second is not");
        let states: Vec<GrantState> =
            listing(&all, true, ENDED_LISTED, &clock.now()).iter().map(|grant| grant.state).collect();
        assert_eq!(states, [GrantState::Active, GrantState::Expired, GrantState::Revoked]);
    }
}
