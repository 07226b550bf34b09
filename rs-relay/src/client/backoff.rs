//! How long to wait between two attempts.
//!
//! Two wishes pull in opposite directions: to be back as soon as the relay is, and not to storm it. What resolves them is
//! *what* failed. A relay that cannot even be dialled is asked again and again at short notice: that costs one packet a
//! second and finds its return. One that is there and unwell, or says no, is left alone for longer and longer. All pauses
//! have full jitter: they are drawn evenly from zero to a bound, so that many listeners spread by themselves.

use std::time::Duration;

use super::connector::ConnectError;
use super::status::OfflineCause;

/// First bound of a pause; it doubles with each failure in a row up to the bound of what failed.
pub const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Longest pause while the relay cannot be dialled. With the time of a dial it makes less than 2 s from the relay's return
/// to the listener's.
pub const UNREACHABLE_PAUSE_MAX: Duration = Duration::from_millis(1800);

/// Longest pause while something answers and does not do its work: no TLS, no WebSocket, no answer in time, or a status
/// from 500 on.
pub const UNWELL_PAUSE_MAX: Duration = Duration::from_secs(15);

/// Longest pause while the relay refuses, or no token can be had.
pub const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(60);

/// First bound of the pauses after 404: the hybrid connection is not there, and comes only when somebody makes it.
pub const MISSING_PAUSE_FIRST: Duration = Duration::from_secs(5);

/// What failed, as far as it matters for the pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The relay cannot be dialled, or the control channel broke.
    Unreachable,
    /// Something is there, but no relay that works.
    Unwell,
    /// Refused, or without a token.
    Refused,
    /// The hybrid connection does not exist.
    Missing,
}

impl Trouble {
    pub(super) fn of(cause: &OfflineCause) -> Self {
        match cause {
            OfflineCause::Connect(error) => match error {
                ConnectError::Refused { status: 404, .. } => Self::Missing,
                ConnectError::Refused { status, .. } if *status < 500 => Self::Refused,
                ConnectError::Token(_) => Self::Refused,
                ConnectError::Unreachable { .. } => Self::Unreachable,
                _ => Self::Unwell,
            },
            _ => Self::Unreachable,
        }
    }

    fn bounds(self) -> (Duration, Duration) {
        match self {
            Self::Unreachable => (PAUSE_FIRST, UNREACHABLE_PAUSE_MAX),
            Self::Unwell => (PAUSE_FIRST, UNWELL_PAUSE_MAX),
            Self::Refused => (PAUSE_FIRST, REFUSED_PAUSE_MAX),
            Self::Missing => (MISSING_PAUSE_FIRST, REFUSED_PAUSE_MAX),
        }
    }
}

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// An attempt succeeded and held.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The bound of the pause after one more failure.
    pub(super) fn bound(&mut self, trouble: Trouble) -> Duration {
        let (first, longest) = trouble.bounds();
        let bound = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r09_bounds_grow_to_their_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        let mut bounds = |trouble| (0..10).map(|_| backoff.bound(trouble).as_millis()).collect::<Vec<_>>();
        assert_eq!(bounds(Trouble::Unreachable)[..4], [500, 1000, 1800, 1800]);
        let mut backoff = Backoff::default();
        let refused: Vec<_> = (0..9).map(|_| backoff.bound(Trouble::Refused).as_secs_f32()).collect();
        assert_eq!(refused, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        backoff.reset();
        assert_eq!(backoff.bound(Trouble::Missing), MISSING_PAUSE_FIRST, "slowly from the beginning");
        // Nothing overflows, however long it takes.
        (0..10_000).for_each(|_| assert!(backoff.bound(Trouble::Unwell) <= UNWELL_PAUSE_MAX));
    }

    #[test]
    fn what_failed_decides() {
        let refused = |status| ConnectError::Refused { status, reason: String::new() };
        let table = [
            (refused(401).into(), Trouble::Refused),
            (refused(403).into(), Trouble::Refused),
            (refused(404).into(), Trouble::Missing),
            (refused(503).into(), Trouble::Unwell),
            (ConnectError::NoWebSocket("x").into(), Trouble::Unwell),
            (OfflineCause::Silent, Trouble::Unreachable),
            (OfflineCause::Lost("x".into()), Trouble::Unreachable),
            (OfflineCause::Closed { code: 1001, reason: String::new() }, Trouble::Unreachable),
        ];
        for (cause, trouble) in table {
            assert_eq!(Trouble::of(&cause), trouble, "{cause}");
        }
    }

    /// Attempts of a fleet in each tenth of a second, from the moment at which all lost their relay.
    fn attempts(listeners: usize, seconds: usize, jitter: bool) -> Vec<usize> {
        let mut tenths = vec![0; seconds * 10];
        for seed in 0..listeners as u64 {
            let (mut backoff, mut at, mut state) = (Backoff::default(), Duration::ZERO, seed + 1);
            loop {
                let bound = backoff.bound(Trouble::Unreachable);
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                at += if jitter { bound.mul_f64((state >> 33) as f64 / (1_u64 << 31) as f64) } else { bound };
                let Some(tenth) = tenths.get_mut(at.as_millis() as usize / 100) else { break };
                *tenth += 1;
            }
        }
        tenths
    }

    #[test]
    fn sec47_ten_thousand_listeners_spread() {
        // Each dials every 0.9 s in the mean: 1,111 in a tenth of a second when they are spread evenly.
        let spread = attempts(10_000, 20, true);
        let busiest = spread[30..].iter().max().unwrap();
        assert!(*busiest < 1_500, "{busiest} of 10,000 in one tenth of a second");
        // The control: without jitter all come at once.
        assert_eq!(*attempts(10_000, 20, false)[30..].iter().max().unwrap(), 10_000);
    }

    proptest! {
        #[test]
        fn sec47_whenever_the_relay_returns_the_next_attempt_is_near(failures in 0_u32..100_000) {
            let mut backoff = Backoff { failures };
            prop_assert!(backoff.bound(Trouble::Unreachable) <= Duration::from_millis(1800));
        }
    }
}
