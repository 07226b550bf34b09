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
    /// Whether time went back between `earlier` and this reading: the wall clock by more than
    /// [`CLOCK_BACK_ALLOWANCE`], or the boot clock of the same boot by as much.
    #[must_use]
    pub fn went_back_since(&self, earlier: &Self) -> bool {
        let allowance = CLOCK_BACK_ALLOWANCE.to_std().unwrap_or_default();
        let wall = earlier.wall.signed_duration_since(self.wall) > CLOCK_BACK_ALLOWANCE;
        let boot = self.boot_id == earlier.boot_id && earlier.boot.saturating_sub(self.boot) > allowance;
        wall || boot
    }
}

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
