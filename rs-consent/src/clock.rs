//! Time as two clocks: the wall clock that people read, and the boot clock that nobody can set.
//!
//! Pure code takes a [`Now`]; drivers hold a [`Clock`]. The wall clock can be wrong and can go back. The boot clock
//! counts from the start of the machine, also while it is suspended, and only compares within one boot, which the
//! [`BootId`] names.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far the wall clock may step back without a grant being held: 1 second, inclusive.
///
/// Time services correct by small steps, and two threads may read the clock in one order and use it in the other.
/// The highest wall time ever seen is what is compared with, so that small steps do not add up.
pub const CLOCK_BACK_ALLOWANCE: TimeDelta = TimeDelta::seconds(1);

/// Which start of the machine a boot time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(Uuid);

impl BootId {
    /// Takes the identity that the operating system gave to this boot.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Now {
    /// The wall clock, UTC.
    pub wall: DateTime<Utc>,
    /// Time since the machine was started, suspension included.
    pub boot: Duration,
    /// The start that `boot` counts from.
    pub boot_id: BootId,
}

impl Now {
    /// Whether a clock went back between `earlier` and this reading by more than [`CLOCK_BACK_ALLOWANCE`].
    ///
    /// Within one boot the two clocks are held against each other: a reading that is older on both is only older, taken
    /// before and used after. A clock went back if it went back further than the other. Across boots the wall clock
    /// alone speaks.
    #[must_use]
    pub fn went_back_since(&self, earlier: &Self) -> bool {
        let wall = earlier.wall.signed_duration_since(self.wall);
        if self.boot_id != earlier.boot_id {
            return wall > CLOCK_BACK_ALLOWANCE;
        }
        let boot = difference(earlier.boot, self.boot);
        let further =
            |one: TimeDelta, other: TimeDelta| one - other.max(TimeDelta::zero()) > CLOCK_BACK_ALLOWANCE;
        further(wall, boot) || further(boot, wall)
    }

    /// This reading, with whatever was later in an earlier one: what later readings are compared with.
    pub(crate) fn or_later(&self, earlier: &Self) -> Self {
        let boot = if self.boot_id == earlier.boot_id { self.boot.max(earlier.boot) } else { self.boot };
        Self { wall: self.wall.max(earlier.wall), boot, boot_id: self.boot_id }
    }
}

/// `one - other`, at most a hundred years either way.
fn difference(one: Duration, other: Duration) -> TimeDelta {
    let bounded = |span: Duration| TimeDelta::from_std(span).map_or(CENTURY, |span| span.min(CENTURY));
    if one >= other { bounded(one - other) } else { -bounded(other - one) }
}

const CENTURY: TimeDelta = TimeDelta::days(36_525);

/// An end on both clocks; the earlier of the two counts (SEC9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deadline {
    /// The first instant of the wall clock at which it has passed.
    pub wall: DateTime<Utc>,
    /// The first moment of the boot clock at which it has passed; counts only within the boot `boot_id`.
    pub boot: Duration,
    /// The boot that `boot` belongs to. After a restart of the machine only `wall` counts.
    pub boot_id: BootId,
}

impl Deadline {
    /// The deadline `span` after `start`, or `None` beyond the end of time.
    #[must_use]
    pub fn after(start: &Now, span: Duration) -> Option<Self> {
        let wall = start.wall.checked_add_signed(TimeDelta::from_std(span).ok()?)?;
        Some(Self { wall, boot: start.boot.checked_add(span)?, boot_id: start.boot_id })
    }

    /// The deadline at the instant `wall`, as a boot time too, taking the wall clock of `now` as right.
    ///
    /// If `wall` has passed, so has the deadline.
    #[must_use]
    pub fn at(wall: DateTime<Utc>, now: &Now) -> Self {
        let ahead = wall.signed_duration_since(now.wall).to_std().unwrap_or_default();
        Self { wall, boot: now.boot.saturating_add(ahead), boot_id: now.boot_id }
    }

    /// Whether it has passed: on either clock.
    #[must_use]
    pub fn has_passed(&self, now: &Now) -> bool {
        now.wall >= self.wall || (now.boot_id == self.boot_id && now.boot >= self.boot)
    }

    /// Whether it has passed on both clocks: of a start rather than of an end. After a restart of the machine the wall clock
    /// alone speaks.
    #[must_use]
    pub fn has_passed_on_both(&self, now: &Now) -> bool {
        now.wall >= self.wall && (now.boot_id != self.boot_id || now.boot >= self.boot)
    }

    /// The deadline `span` after this one, or `None` beyond the end of time.
    pub(crate) fn later(self, span: Duration) -> Option<Self> {
        Self::after(&Now { wall: self.wall, boot: self.boot, boot_id: self.boot_id }, span)
    }

    /// How long ago it passed, on the clock on which that is longer ago; zero if it has not passed.
    #[must_use]
    pub fn overdue(&self, now: &Now) -> Duration {
        let wall = now.wall.signed_duration_since(self.wall).to_std().unwrap_or_default();
        if now.boot_id == self.boot_id { wall.max(now.boot.saturating_sub(self.boot)) } else { wall }
    }

    /// How long until it passes if no clock is set; zero if it has passed.
    #[must_use]
    pub fn remaining(&self, now: &Now) -> Duration {
        let wall = self.wall.signed_duration_since(now.wall).to_std().unwrap_or_default();
        if now.boot_id == self.boot_id { wall.min(self.boot.saturating_sub(now.boot)) } else { wall }
    }
}

/// Where drivers read the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Both clocks, now.
    fn now(&self) -> Now;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// The clocks of this machine.
///
/// On Linux the boot clock is `CLOCK_BOOTTIME` and the boot identity is the kernel's, so readings of different
/// processes compare. Elsewhere, and on a Linux without `/proc`, the boot clock counts from the making of this value
/// and the identity is random: deadlines by boot time then hold within one process, and across processes the wall clock
/// alone decides.
#[cfg(feature = "clock")]
#[derive(Clone, Debug)]
pub struct SystemClock(crate::platform::BootClock);

#[cfg(feature = "clock")]
impl SystemClock {
    /// Finds the clocks of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self(crate::platform::BootClock::new())
    }
}

#[cfg(feature = "clock")]
impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "clock")]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Now {
        let (boot, boot_id) = self.0.read();
        Now { wall: Utc::now(), boot, boot_id }
    }
}

/// A clock for tests: it stands still until it is moved. Clones show the same time.
///
/// ```
/// use rs_consent::clock::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new("2026-01-02T03:04:05Z".parse()?);
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().boot - before.boot, Duration::from_secs(60));
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Now>>);

impl ManualClock {
    /// A clock that shows `wall`, one hour after the start of the machine.
    #[must_use]
    pub fn new(wall: DateTime<Utc>) -> Self {
        let now = Now { wall, boot: Duration::from_secs(3600), boot_id: BootId::new(Uuid::from_u128(1)) };
        Self(Arc::new(Mutex::new(now)))
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.change(|now| {
            now.boot += by;
            now.wall += by;
        });
    }

    /// Sets the wall clock forward or back; the boot clock stays.
    pub fn step_wall(&self, by: TimeDelta) {
        self.change(|now| now.wall += by);
    }

    /// Starts the machine anew: the boot clock at zero, under another identity; the wall clock stays.
    pub fn reboot(&self) {
        self.change(|now| {
            now.boot = Duration::ZERO;
            now.boot_id = BootId::new(Uuid::from_u128(now.boot_id.0.as_u128() + 1));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> ManualClock {
        ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
    }

    #[test]
    fn sec10_a_step_back_is_noticed_past_the_allowance_only() {
        let clock = clock();
        let before = clock.now();
        clock.step_wall(-CLOCK_BACK_ALLOWANCE);
        assert!(!clock.now().went_back_since(&before));
        clock.step_wall(-TimeDelta::nanoseconds(1));
        assert!(clock.now().went_back_since(&before));
    }

    #[test]
    fn sec10_an_older_reading_is_no_step_back_but_a_clock_alone_is() {
        let clock = clock();
        let older = clock.now();
        clock.advance(Duration::from_secs(9));
        assert!(!older.went_back_since(&clock.now()));
        let wall_alone = Now { boot: clock.now().boot, ..older };
        assert!(wall_alone.went_back_since(&clock.now()));
        let boot_alone = Now { wall: clock.now().wall, ..older };
        assert!(boot_alone.went_back_since(&clock.now()));
    }

    #[test]
    fn extreme_readings_do_not_panic() {
        let id = clock().now().boot_id;
        let walls = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
        let boots = [Duration::ZERO, Duration::MAX];
        let all: Vec<Now> =
            walls.iter().flat_map(|&wall| boots.map(|boot| Now { wall, boot, boot_id: id })).collect();
        for one in &all {
            for other in &all {
                let _ = one.went_back_since(other);
                let deadline = Deadline::at(other.wall, one);
                let _ = (deadline.has_passed(other), deadline.remaining(other));
                let _ = Deadline::after(one, Duration::MAX);
            }
        }
    }

    #[test]
    fn a_reboot_is_no_step_back() {
        let clock = clock();
        let before = clock.now();
        clock.reboot();
        assert_ne!(clock.now().boot_id, before.boot_id);
        assert!(!clock.now().went_back_since(&before));
    }

    #[cfg(feature = "clock")]
    #[test]
    fn the_system_clock_goes_forward() {
        let clock = SystemClock::new();
        let (one, two) = (clock.now(), clock.now());
        assert_eq!(one.boot_id, two.boot_id);
        assert!(two.boot >= one.boot);
        #[cfg(target_os = "linux")]
        assert_eq!(SystemClock::new().now().boot_id, one.boot_id, "one boot, one identity");
    }
}
