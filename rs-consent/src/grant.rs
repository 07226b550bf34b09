//! Grants: one act of consent, from its beginning to its end, with every change in between.
//!
//! ```text
//!                      enable again (in place)
//!                          ┌────┐
//!                          ▼    │            ┌─► Expired     the time is over, on the earlier of two clocks
//! enable ───┬───────────► Active ────────────┼─► Revoked     the owner took it back
//!           │               ▲                └─► Superseded  it was held, and the owner gave a fresh consent
//!           └─► Pending ────┘ its start has come, on the later of two clocks, and a second person approved, if it
//!                 │           needs one
//!                 └─► the ends of an active one
//! ```
//!
//! There is no way back from an end: a later consent is another grant with another id. Nor is there one from `Active` to
//! `Pending`: what permits now is not made to wait by a change in place.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::approval::ApprovalRule;
use crate::clock::{Deadline, Now};
use crate::code::EndCause;
use crate::conditions::{Conditions, START_AHEAD_MAX, SecondPerson, Wait};
use crate::digest::Sha256;
use crate::level::AccessLevel;
use crate::minutes::{Minutes, MinutesError};
use crate::party::Grantor;
use crate::request::RequestNumber;
use crate::scope::Scope;
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
    /// For how long, from `requested`, or from the start that `conditions` names.
    pub minutes: Minutes,
    /// The text that was shown and agreed to.
    pub terms: Terms,
    /// The support request that it is for; `None` for any that is open on this node.
    pub request: Option<RequestNumber>,
    /// Who consents, from where and how.
    pub grantor: Grantor,
    /// Which catalog of operations was shown.
    pub catalog: Option<Sha256>,
    /// What is narrowed besides the level.
    pub scope: Scope,
    /// Which calls wait for the owner's answer.
    pub approval: ApprovalRule,
    /// What has to come about before it permits anything.
    pub conditions: Conditions,
    /// When consent was asked for. The time counts from here, not from the answer: thinking adds nothing.
    pub requested: Now,
}

impl Consent {
    /// The same consent with an end that is given as an instant. Its minutes are those from `requested` to there, a begun one
    /// as a whole one, and are counted back from the end, so that it is met to the second.
    ///
    /// # Errors
    /// [`MinutesError::OutOfRange`] as [`Minutes::between`].
    pub fn until(self, end: DateTime<Utc>) -> Result<Self, MinutesError> {
        let Now { wall, boot, boot_id } = self.requested;
        let minutes = Minutes::between(wall, end)?;
        let start = end.checked_sub_signed(minutes.delta()).ok_or(MinutesError::OutOfRange)?;
        let earlier = wall.signed_duration_since(start).to_std().unwrap_or_default();
        let requested = Now { wall: start, boot: boot.saturating_sub(earlier), boot_id };
        Ok(Self { minutes, requested, ..self })
    }
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantState {
    /// It permits.
    Active,
    /// It waits for its start or for a second person, and permits nothing yet.
    Pending,
    /// Its time is over.
    Expired,
    /// The owner took it back.
    Revoked,
    /// It was held, and the owner gave a fresh consent instead.
    Superseded,
}

impl GrantState {
    /// Whether it has not ended.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Active | Self::Pending)
    }
}

impl fmt::Display for GrantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "Active",
            Self::Pending => "Pending",
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
/// use rs_consent::{AccessLevel, Clock, Consent, Grant, GrantId, GrantState, ManualClock, Minutes, Scope, Terms};
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
///     scope: Scope::default(),
///     approval: rs_consent::ApprovalRule::default(),
///     conditions: rs_consent::Conditions::default(),
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
    /// What is narrowed besides the level; grants from before there was a choice narrow nothing.
    #[serde(default = "Scope::as_published", skip_serializing_if = "Scope::is_as_published")]
    pub scope: Scope,
    /// Which calls wait for the owner's answer.
    #[serde(default, skip_serializing_if = "ApprovalRule::is_default")]
    pub approval: ApprovalRule,
    /// The first instant, on both clocks, at which it can permit; at once if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Deadline>,
    /// The second person, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_person: Option<SecondPerson>,
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
    /// What was narrowed besides the level.
    #[serde(default = "Scope::as_published", skip_serializing_if = "Scope::is_as_published")]
    pub scope: Scope,
    /// Which calls wait for the owner's answer.
    #[serde(default, skip_serializing_if = "ApprovalRule::is_default")]
    pub approval: ApprovalRule,
    /// The start, if it was not to begin at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// Whether a second person was needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_person: bool,
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
    /// The start does not lie ahead.
    #[error("the start does not lie ahead: leave it out to begin at once")]
    StartOver,
    /// The start lies too far ahead.
    #[error("the start lies more than {} days ahead: choose an earlier one", START_AHEAD_MAX.num_days())]
    StartTooFar,
    /// What is in force would have to wait.
    #[error(
        "a consent is in force, and one that has to wait for its start or for a second person cannot take its place: \
         disable remote support first"
    )]
    InForce,
    /// Nothing waits for a second person.
    #[error("no consent waits for a second person")]
    NotAwaited,
    /// The consent was changed since it was looked at.
    #[error("the consent was changed since you looked at it: look again")]
    Changed,
    /// Somebody would approve of their own consent.
    #[error("the one who gave the consent cannot be its second person: somebody else has to approve")]
    SamePerson,
    /// The grant has ended; it cannot be changed.
    #[error("this grant has ended: a fresh consent makes a new one")]
    Ended,
}

impl Grant {
    /// A new grant: active, or pending if its consent has conditions.
    ///
    /// # Errors
    /// [`GrantError::ClockWentBack`], [`GrantError::Over`] or [`GrantError::BeyondTime`], if no end can be computed
    /// that lies ahead; [`GrantError::StartOver`] or [`GrantError::StartTooFar`] for a start that does not lie ahead, or by
    /// more than [`START_AHEAD_MAX`].
    pub fn new(id: GrantId, consent: &Consent, now: &Now) -> Result<Self, GrantError> {
        let begins = start_of(consent, now)?;
        let deadline = end_of(consent, begins, now)?;
        let second_person = consent.conditions.second_person.then_some(SecondPerson::Awaited);
        let change = Change::of(consent, deadline.wall, now.wall);
        let waits = begins.is_some() || second_person.is_some();
        Ok(Self {
            id,
            state: if waits { GrantState::Pending } else { GrantState::Active },
            level: consent.level,
            minutes: consent.minutes,
            created_at: now.wall,
            updated_at: now.wall,
            deadline,
            terms: change.terms.clone(),
            request: consent.request,
            grantor: consent.grantor.clone(),
            catalog: consent.catalog,
            scope: consent.scope.clone(),
            approval: consent.approval,
            begins,
            second_person,
            revision: 1,
            ended: None,
            changes: vec![change],
        })
    }

    /// The grant after a further consent: same id and beginning; level, time, terms, request and grantor are those of
    /// `consent`, and the end is counted anew. It may be shorter, longer, lower or higher than before.
    ///
    /// # Errors
    /// [`GrantError::Ended`] if the grant has ended at `now`; [`GrantError::InForce`] if it is active and `consent` has
    /// conditions; else as [`Grant::new`].
    pub fn renewed(&self, consent: &Consent, now: &Now) -> Result<Self, GrantError> {
        let before = self.state_at(now);
        if !before.is_open() {
            return Err(GrantError::Ended);
        }
        let new = Self::new(self.id, consent, now)?;
        if before == GrantState::Active && new.state == GrantState::Pending {
            return Err(GrantError::InForce);
        }
        let mut changes = self.changes.clone();
        if changes.len() >= CHANGES_MAX {
            changes.remove(1);
        }
        changes.extend(new.changes);
        Ok(Self { created_at: self.created_at, revision: self.revision.saturating_add(1), changes, ..new })
    }

    /// The grant after a fresh consent that changes what is permitted and not for how long: as [`Grant::renewed`], but the
    /// end, the time consented to and the support request stay.
    ///
    /// # Errors
    /// [`GrantError::Ended`] if the grant is not active at `now`, [`GrantError::InForce`] if a second person approved of it,
    /// who has not seen the raise; else as [`Grant::renewed`].
    pub fn raised(&self, consent: &Consent, now: &Now) -> Result<Self, GrantError> {
        if self.state_at(now) != GrantState::Active {
            return Err(GrantError::Ended);
        }
        if self.second_person.is_some() {
            return Err(GrantError::InForce);
        }
        let mut grant = self.renewed(consent, now)?;
        (grant.minutes, grant.deadline, grant.request) = (self.minutes, self.deadline, self.request);
        if let Some(change) = grant.changes.last_mut() {
            (change.minutes, change.expires_at, change.request) =
                (grant.minutes, grant.deadline.wall, grant.request);
        }
        Ok(grant)
    }

    /// The grant after `by` approved of it as its second person, as they saw it at `revision`.
    ///
    /// A person is the name of an account: two names are two persons.
    ///
    /// # Errors
    /// [`GrantError::Ended`], [`GrantError::NotAwaited`], [`GrantError::Changed`] if it is at another revision, and
    /// [`GrantError::SamePerson`] if `by` gave the consent.
    pub fn approved(&self, revision: u32, by: &Grantor, now: &Now) -> Result<Self, GrantError> {
        if !self.state_at(now).is_open() {
            return Err(GrantError::Ended);
        }
        if self.second_person != Some(SecondPerson::Awaited) {
            return Err(GrantError::NotAwaited);
        }
        if self.revision != revision {
            return Err(GrantError::Changed);
        }
        if by.user == self.grantor.user {
            return Err(GrantError::SamePerson);
        }
        let second_person = Some(SecondPerson::Approved { by: by.clone(), at: now.wall });
        Ok(Self { second_person, ..self.clone() }.as_of(now))
    }

    /// What it still waits for at `now`; `None` if it permits or has ended.
    #[must_use]
    pub fn waits_for(&self, now: &Now) -> Option<Wait> {
        if self.state != GrantState::Pending || self.deadline.has_passed(now) {
            return None;
        }
        if self.second_person == Some(SecondPerson::Awaited) {
            return Some(Wait::SecondPerson);
        }
        self.begins.filter(|begins| !begins.has_passed_on_both(now)).map(|begins| Wait::Start(begins.wall))
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
            state if state.is_open() && self.deadline.has_passed(now) => GrantState::Expired,
            GrantState::Pending if self.waits_for(now).is_none() => GrantState::Active,
            state => state,
        }
    }

    /// The grant as it stands at `now`: if its time is over, it has ended by that; if what it waited for has come, it is
    /// active, and stays so.
    #[must_use]
    pub fn as_of(&self, now: &Now) -> Self {
        let mut grant = self.clone();
        match self.state_at(now) {
            GrantState::Expired => {
                grant.end(GrantState::Expired, EndCause::Expired, self.deadline.wall.min(now.wall));
            }
            state => grant.state = state,
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
            grant.begins = self.begins.map(|begins| Deadline::at(begins.wall, now));
        }
        grant
    }

    /// How long until its end if no clock is set; zero if it has ended.
    #[must_use]
    pub fn remaining(&self, now: &Now) -> Duration {
        match self.state {
            state if state.is_open() => self.deadline.remaining(now),
            _ => Duration::ZERO,
        }
    }

    fn end(&mut self, state: GrantState, cause: EndCause, at: DateTime<Utc>) {
        if self.state.is_open() {
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
            scope: consent.scope.clone(),
            approval: consent.approval,
            not_before: consent.conditions.not_before,
            second_person: consent.conditions.second_person,
        }
    }
}

/// The start of what is consented to, if it does not begin at once.
fn start_of(consent: &Consent, now: &Now) -> Result<Option<Deadline>, GrantError> {
    consent.conditions.check(now)?;
    Ok(consent.conditions.not_before.map(|wall| Deadline::at(wall, now)))
}

/// The end of what is consented to, which must lie ahead.
fn end_of(consent: &Consent, begins: Option<Deadline>, now: &Now) -> Result<Deadline, GrantError> {
    if now.went_back_since(&consent.requested) {
        return Err(GrantError::ClockWentBack);
    }
    let span = consent.minutes.duration();
    let end = begins.map_or_else(|| Deadline::after(&consent.requested, span), |begins| begins.later(span));
    let end = end.ok_or(GrantError::BeyondTime)?;
    if end.has_passed(now) { Err(GrantError::Over) } else { Ok(end) }
}

/// The grants that a listing shows at `now`, each as it stands: the newest first, then by id.
///
/// Without `include_ended` only what has not ended. With it also what ended, for whatever cause, at most `window` ago, the
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
            scope: Scope::default(),
            approval: ApprovalRule::default(),
            conditions: Conditions::default(),
            requested,
        }
    }

    #[test]
    fn f12_an_end_that_is_an_instant_is_met_on_both_clocks() {
        let clock = clock();
        clock.advance(Duration::from_secs(600));
        let now = clock.now();
        for seconds in [59 * 60 + 1, 60 * 60, 7_261, 20160 * 60] {
            let end = now.wall + TimeDelta::seconds(seconds);
            let consent = consent(AccessLevel::Diagnostics, 480, now).until(end).unwrap();
            let grant = Grant::new(id(1), &consent, &now).unwrap();
            assert_eq!(grant.deadline.wall, end, "{seconds}");
            assert_eq!(grant.remaining(&now).as_secs(), u64::try_from(seconds).unwrap());
            assert_eq!(grant.deadline.boot - now.boot, grant.remaining(&now), "the boot clock too");
        }
        for past in [59 * 60, 20160 * 60 + 1] {
            let end = now.wall + TimeDelta::seconds(past);
            assert!(consent(AccessLevel::Diagnostics, 480, now).until(end).is_err(), "{past}");
        }
    }

    fn id(n: u128) -> GrantId {
        GrantId::new(Uuid::from_u128(n))
    }

    fn granted(clock: &ManualClock, minutes: i64) -> Grant {
        Grant::new(id(1), &consent(AccessLevel::Diagnostics, minutes, clock.now()), &clock.now()).unwrap()
    }

    #[test]
    fn e08_a_raise_changes_the_level_and_not_the_end() {
        let clock = clock();
        let grant = granted(&clock, 60);
        clock.advance(Duration::from_secs(3000));
        let wish = consent(AccessLevel::DiagnosticsRepair, 20160, clock.now());
        let raised = grant.raised(&wish, &clock.now()).unwrap();
        assert_eq!((raised.id, raised.revision, raised.level), (grant.id, 2, AccessLevel::DiagnosticsRepair));
        assert_eq!((raised.deadline, raised.minutes), (grant.deadline, grant.minutes));
        assert_eq!(raised.changes.last().map(|change| change.expires_at), Some(grant.deadline.wall));
        clock.advance(Duration::from_secs(600));
        assert_eq!(raised.state_at(&clock.now()), GrantState::Expired);
        assert_eq!(grant.raised(&wish, &clock.now()), Err(GrantError::Ended));
    }

    #[test]
    fn a_grant_written_before_there_was_a_rule_has_the_default_one() {
        let json = serde_json::to_value(granted(&clock(), 60)).unwrap();
        assert_eq!(json.get("approval"), None, "the default is not written");
        let grant: Grant = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(grant.approval, ApprovalRule::Releases);
        let mut json = json;
        json["approval"] = "changes".into();
        let grant: Grant = serde_json::from_value(json).unwrap();
        assert_eq!(grant.approval, ApprovalRule::Changes);
    }

    fn with(conditions: Conditions, clock: &ManualClock) -> Result<Grant, GrantError> {
        let consent = Consent { conditions, ..consent(AccessLevel::DiagnosticsRepair, 60, clock.now()) };
        Grant::new(id(1), &consent, &clock.now())
    }

    fn from(ahead: TimeDelta, clock: &ManualClock) -> Result<Grant, GrantError> {
        let not_before = Some(clock.now().wall + ahead);
        with(Conditions { not_before, ..Conditions::default() }, clock)
    }

    #[test]
    fn c25_a_start_ahead_is_waited_for_and_the_period_counts_from_it() {
        let clock = clock();
        let grant = from(TimeDelta::hours(2), &clock).unwrap();
        let start = clock.now().wall + TimeDelta::hours(2);
        assert_eq!(grant.waits_for(&clock.now()), Some(Wait::Start(start)));
        assert_eq!(grant.deadline.wall, start + TimeDelta::hours(1));
        clock.advance(Duration::from_secs(7200) - Duration::from_nanos(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Pending);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Active);
        assert_eq!(
            (grant.as_of(&clock.now()).state, grant.waits_for(&clock.now())),
            (GrantState::Active, None)
        );
        clock.advance(Duration::from_secs(3600));
        assert_eq!(grant.as_of(&clock.now()).ended.map(|ended| ended.cause), Some(EndCause::Expired));
    }

    #[test]
    fn c25_sec09_no_clock_alone_begins_it_early() {
        let clock = clock();
        let grant = from(TimeDelta::hours(2), &clock).unwrap();
        clock.step_wall(TimeDelta::minutes(150));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Pending, "the wall clock alone");
        clock.step_wall(-TimeDelta::minutes(150));
        clock.advance(Duration::from_secs(7200));
        clock.step_wall(-TimeDelta::minutes(1));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Pending, "the boot clock alone");
        clock.reboot();
        assert_eq!(grant.rebased(&clock.now()).state_at(&clock.now()), GrantState::Pending);
        clock.advance(Duration::from_secs(60));
        assert_eq!(grant.rebased(&clock.now()).state_at(&clock.now()), GrantState::Active);
    }

    #[test]
    fn c25_the_start_lies_ahead_and_not_too_far() {
        let clock = clock();
        let step = TimeDelta::nanoseconds(1);
        for (ahead, expected) in [
            (TimeDelta::zero(), Err(GrantError::StartOver)),
            (-step, Err(GrantError::StartOver)),
            (step, Ok(GrantState::Pending)),
            (START_AHEAD_MAX, Ok(GrantState::Pending)),
            (START_AHEAD_MAX + step, Err(GrantError::StartTooFar)),
        ] {
            assert_eq!(from(ahead, &clock).map(|grant| grant.state), expected, "{ahead}");
        }
    }

    #[test]
    fn c26_a_second_person_has_to_be_another_and_approve_what_stands() {
        let clock = clock();
        let grant = with(Conditions { second_person: true, ..Conditions::default() }, &clock).unwrap();
        assert_eq!(grant.waits_for(&clock.now()), Some(Wait::SecondPerson));
        let second = Grantor { user: "second".parse().unwrap(), ..grant.grantor.clone() };
        let elsewhere = Grantor { host: "desk-02".parse().unwrap(), ..grant.grantor.clone() };
        let approve = |by: &Grantor, revision| grant.approved(revision, by, &clock.now()).map(|g| g.state);
        assert_eq!(approve(&grant.grantor, 1), Err(GrantError::SamePerson));
        assert_eq!(approve(&elsewhere, 1), Err(GrantError::SamePerson), "the same person at another machine");
        assert_eq!(approve(&second, 2), Err(GrantError::Changed));
        assert_eq!(approve(&second, 1), Ok(GrantState::Active));
        let approved = grant.approved(1, &second, &clock.now()).unwrap();
        assert_eq!(approved.approved(1, &second, &clock.now()), Err(GrantError::NotAwaited));
        assert_eq!(approved.deadline, grant.deadline, "waiting adds nothing");
        let wish = consent(AccessLevel::DiagnosticsRepair, 60, clock.now());
        assert_eq!(approved.raised(&wish, &clock.now()), Err(GrantError::InForce));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(grant.approved(1, &second, &clock.now()), Err(GrantError::Ended));
        assert_eq!(grant.state_at(&clock.now()), GrantState::Expired, "nobody came");
    }

    #[test]
    fn c26_what_waits_cannot_take_the_place_of_what_is_in_force() {
        let clock = clock();
        let active = granted(&clock, 60);
        let waiting = Consent {
            conditions: Conditions { second_person: true, ..Conditions::default() },
            ..consent(AccessLevel::DiagnosticsRepair, 60, clock.now())
        };
        assert_eq!(active.renewed(&waiting, &clock.now()), Err(GrantError::InForce));
        let pending = Grant::new(id(1), &waiting, &clock.now()).unwrap();
        let again = pending.renewed(&waiting, &clock.now()).unwrap();
        assert_eq!((again.state, again.revision), (GrantState::Pending, 2));
        let lower = consent(AccessLevel::Diagnostics, 60, clock.now());
        assert_eq!(pending.renewed(&lower, &clock.now()).unwrap().state, GrantState::Active);
        assert_eq!(pending.revoked(&clock.now()).state, GrantState::Revoked);
    }

    #[test]
    fn a_grant_without_conditions_is_written_as_before_there_were_any() {
        let json = serde_json::to_value(granted(&clock(), 60)).unwrap();
        for name in ["begins", "secondPerson"] {
            assert_eq!((json.get(name), json["changes"][0].get(name)), (None, None));
        }
        let pending = from(TimeDelta::hours(1), &clock()).unwrap();
        let json = serde_json::to_value(&pending).unwrap();
        assert_eq!(serde_json::from_value::<Grant>(json).unwrap(), pending);
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
