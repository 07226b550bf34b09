//! The time of a replay: which records have been shown, when the next one is due, and going back and forth. No clock in
//! here: the driver says how much time went by.

use std::time::Duration;

use super::{Pace, SPEEDS};

/// One record in the time of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since the beginning of the session; never less than that of the record before it.
    pub(super) at: Duration,
    /// Whether anything of it is shown. One of which nothing is shown, such as a receipt, is passed over by single steps.
    pub(super) shown: bool,
}

/// A replay under way.
#[derive(Debug)]
pub(super) struct Player {
    moments: Vec<Moment>,
    pace: Pace,
    /// How many records have been shown; at least one where there is one.
    played: usize,
    /// What went by of the pause before the next one, in time of the session.
    waited: Duration,
    paused: bool,
}

impl Player {
    /// Begins with the first record.
    pub(super) fn new(moments: Vec<Moment>, pace: Pace) -> Self {
        let played = usize::from(!moments.is_empty());
        Self { moments, pace, played, waited: Duration::ZERO, paused: false }
    }

    /// How many records have been shown.
    pub(super) const fn played(&self) -> usize {
        self.played
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.played >= self.moments.len()
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) const fn speed(&self) -> f64 {
        self.pace.speed
    }

    /// The time of the session that has been reached, and its whole length.
    pub(super) fn clock(&self) -> (Duration, Duration) {
        let whole = self.moments.last().map_or(Duration::ZERO, |last| last.at);
        ((self.time() + self.waited).min(whole), whole)
    }

    fn time(&self) -> Duration {
        self.played.checked_sub(1).and_then(|at| self.moments.get(at)).map_or(Duration::ZERO, |last| last.at)
    }

    /// The pause before the next record, in time of the session, as far as it is waited for.
    fn pause(&self) -> Option<Duration> {
        let next = self.moments.get(self.played)?;
        Some(next.at.saturating_sub(self.time()).min(self.pace.limit))
    }

    /// How long until the next record is due; none while nothing is.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.paused {
            return None;
        }
        let left = self.pause()?.saturating_sub(self.waited);
        Some(left.div_f64(self.pace.speed))
    }

    /// So much time went by.
    pub(super) fn advance(&mut self, elapsed: Duration) {
        if self.paused {
            return;
        }
        // Bounded, so that a clock that leaps does not overflow.
        let mut left = elapsed.min(Duration::from_secs(86_400)).mul_f64(self.pace.speed);
        while let Some(pause) = self.pause() {
            let missing = pause.saturating_sub(self.waited);
            if left < missing {
                self.waited += left;
                return;
            }
            left -= missing;
            self.played += 1;
            self.waited = Duration::ZERO;
        }
    }

    /// Stops, or goes on; from the end it begins again.
    pub(super) fn toggle(&mut self) {
        if self.is_at_end() {
            self.seek_record(1);
            self.paused = false;
        } else {
            self.paused = !self.paused;
        }
    }

    pub(super) const fn stop(&mut self) {
        self.paused = true;
    }

    /// Twice or half the speed.
    pub(super) fn faster(&mut self, faster: bool) {
        let speed = if faster { self.pace.speed * 2.0 } else { self.pace.speed / 2.0 };
        self.pace.speed = speed.clamp(*SPEEDS.start(), *SPEEDS.end());
    }

    /// To so many records from the beginning.
    pub(super) fn seek_record(&mut self, played: usize) {
        self.played = played.clamp(usize::from(!self.moments.is_empty()), self.moments.len());
        self.waited = Duration::ZERO;
    }

    /// One record that is shown on or back; it stops there.
    pub(super) fn step(&mut self, on: bool) {
        self.paused = true;
        let shown = |at: &usize| self.moments.get(*at).is_some_and(|moment| moment.shown);
        let to = if on {
            (self.played..self.moments.len()).find(shown).map_or(self.moments.len(), |at| at + 1)
        } else {
            (0..self.played.saturating_sub(1)).rev().find(shown).map_or(1, |at| at + 1)
        };
        self.seek_record(to);
    }

    /// To a moment of the session.
    pub(super) fn seek_time(&mut self, time: Duration) {
        let played = self.moments.partition_point(|moment| moment.at <= time);
        self.seek_record(played);
    }

    /// So much on or back in the time of the session.
    pub(super) fn by(&mut self, time: Duration, on: bool) {
        let now = self.clock().0;
        let to = if on { now + time } else { now.saturating_sub(time) };
        let before = self.played;
        self.seek_time(to);
        if on && self.played == before && !self.is_at_end() {
            // Into a pause; what is left of it is waited for.
            self.waited = to.saturating_sub(self.time());
            if self.pause().is_some_and(|pause| self.waited >= pause) {
                self.seek_record(before + 1);
            }
        }
    }

    /// To so many tenths of the session's length.
    pub(super) fn seek_tenth(&mut self, tenths: u32) {
        self.seek_time(self.clock().1 * tenths / 10);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn player(at: &[u64], speed: f64, limit: u64) -> Player {
        let moments = at.iter().map(|at| Moment { at: seconds(*at), shown: true }).collect();
        Player::new(moments, Pace { speed, limit: seconds(limit) })
    }

    #[test]
    fn s17_records_come_in_the_time_of_their_session_by_speed_and_limit() {
        let mut player = player(&[0, 2, 100], 2.0, 10);
        assert_eq!((player.played(), player.due()), (1, Some(seconds(1))));
        player.advance(Duration::from_millis(500));
        assert_eq!(
            (player.played(), player.due(), player.clock().0),
            (1, Some(Duration::from_millis(500)), seconds(1))
        );
        player.advance(Duration::from_millis(500));
        assert_eq!(
            (player.played(), player.due()),
            (2, Some(seconds(5))),
            "ten seconds of 98, twice as fast"
        );
        player.toggle();
        player.advance(seconds(60));
        assert_eq!((player.played(), player.due()), (2, None));
        player.toggle();
        player.advance(seconds(60));
        assert!(player.is_at_end() && player.due().is_none());
        player.toggle();
        assert_eq!(player.played(), 1, "again from the beginning");
    }

    #[test]
    fn one_goes_back_and_forth_by_records_by_seconds_and_by_tenths() {
        let mut player = player(&[0, 1, 2, 50, 100], 1.0, 10);
        player.step(true);
        assert_eq!((player.played(), player.is_paused()), (2, true));
        player.step(false);
        player.step(false);
        assert_eq!(player.played(), 1);
        player.seek_tenth(5);
        assert_eq!(player.played(), 4);
        player.by(seconds(10), false);
        assert_eq!(player.played(), 3);
        player.by(seconds(5), true);
        assert_eq!((player.played(), player.clock().0), (3, seconds(7)));
        player.by(seconds(10), true);
        assert_eq!(player.played(), 4, "no longer a pause than it is waited for");
        player.seek_tenth(9);
        player.by(seconds(100), true);
        assert!(player.is_at_end());
    }

    #[test]
    fn speeds_have_the_bounds_of_the_option() {
        let mut player = player(&[0, 1], 1.0, 10);
        for _ in 0..40 {
            player.faster(true);
        }
        assert!((player.speed() - SPEEDS.end()).abs() < f64::EPSILON);
        for _ in 0..80 {
            player.faster(false);
        }
        assert!((player.speed() - SPEEDS.start()).abs() < f64::EPSILON);
    }

    #[test]
    fn single_steps_pass_over_what_is_not_shown() {
        let moments = [true, false, false, true, false]
            .iter()
            .zip(0..)
            .map(|(shown, at)| Moment { at: seconds(at), shown: *shown })
            .collect();
        let mut player = Player::new(moments, Pace { speed: 1.0, limit: seconds(10) });
        player.step(true);
        assert_eq!(player.played(), 4);
        player.step(true);
        assert!(player.is_at_end());
        player.step(false);
        assert_eq!(player.played(), 4);
        player.step(false);
        assert_eq!(player.played(), 1);
    }

    proptest! {
        #[test]
        fn no_order_of_keys_leads_out_of_the_session(
            gaps in prop::collection::vec(0_u64..1000, 0..12), keys in prop::collection::vec((0_u32..8, 0_u64..500), 0..60),
        ) {
            let mut at = 0;
            let times: Vec<u64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let mut player = player(&times, 1.0, 10);
            for (key, amount) in keys {
                match key {
                    0 => player.toggle(),
                    1 => player.step(true),
                    2 => player.step(false),
                    3 => player.by(seconds(amount), true),
                    4 => player.by(seconds(amount), false),
                    5 => player.seek_tenth(u32::try_from(amount % 11).expect("small")),
                    6 => player.faster(amount % 2 == 0),
                    _ => player.advance(seconds(amount)),
                }
                prop_assert!(player.played() <= times.len());
                prop_assert_eq!(player.played() == 0, times.is_empty());
                let (now, whole) = player.clock();
                prop_assert!(now <= whole);
            }
        }
    }
}
