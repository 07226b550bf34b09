//! How long a grant lasts: a number of minutes that cannot lie outside the permitted range.
//!
//! The range is part of the type, so that no surface can skip it. A value outside is refused, never clamped.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Longest text that is read as a duration, in bytes.
pub const MINUTES_TEXT_BYTES_MAX: usize = 32;

/// A whole number of minutes from 60 to 20160 (1 hour to 14 days), both included; 480 (8 hours) by default.
///
/// Source of the numbers: the public article on remote support for Azure Local.
///
/// ```
/// use rs_consent::Minutes;
///
/// assert_eq!(Minutes::default().get(), 480);
/// assert_eq!("1d".parse::<Minutes>()?, Minutes::new(1440)?);
/// assert_eq!("PT8H".parse::<Minutes>()?, Minutes::DEFAULT);
/// assert!("59".parse::<Minutes>().is_err());
/// assert!(Minutes::new(20161).is_err());
/// # Ok::<(), rs_consent::minutes::MinutesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Minutes(u16);

/// A duration that no grant can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MinutesError {
    /// A duration was read, but it is too short or too long.
    #[error(
        "this duration is outside the permitted range: give {} to {} minutes (1 hour to 14 days)",
        Minutes::MIN,
        Minutes::MAX
    )]
    OutOfRange,
    /// The text is no duration.
    #[error(
        "this is not a duration: give {} to {} minutes as a whole number without sign, or as 8h, 1d or PT8H",
        Minutes::MIN,
        Minutes::MAX
    )]
    NotADuration,
}

impl Minutes {
    /// 60 minutes, the shortest grant.
    pub const MIN: Self = Self(60);
    /// 20160 minutes (14 days), the longest grant.
    pub const MAX: Self = Self(20160);
    /// 480 minutes (8 hours), used where no duration is given.
    pub const DEFAULT: Self = Self(480);

    /// Takes a number of minutes.
    ///
    /// # Errors
    /// [`MinutesError::OutOfRange`] below 60 and above 20160.
    pub fn new(minutes: i64) -> Result<Self, MinutesError> {
        u16::try_from(minutes)
            .ok()
            .filter(|m| (Self::MIN.0..=Self::MAX.0).contains(m))
            .map(Self)
            .ok_or(MinutesError::OutOfRange)
    }

    /// The minutes from `start` to `end`; one that has begun counts as a whole one.
    ///
    /// # Errors
    /// [`MinutesError::OutOfRange`] for 59 minutes or less, and for more than 20160.
    pub fn between(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, MinutesError> {
        let span = end.signed_duration_since(start);
        let begun = span > TimeDelta::minutes(span.num_minutes());
        Self::new(span.num_minutes().saturating_add(begun.into()))
    }

    /// The number of minutes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The same span as a [`Duration`], for clocks that only go forward.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64 * 60)
    }

    /// The same span as a [`TimeDelta`], for instants.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.0))
    }
}

impl Default for Minutes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<i64> for Minutes {
    type Error = MinutesError;

    fn try_from(minutes: i64) -> Result<Self, MinutesError> {
        Self::new(minutes)
    }
}

impl From<Minutes> for i64 {
    fn from(minutes: Minutes) -> Self {
        Self::from(minutes.0)
    }
}

impl FromStr for Minutes {
    type Err = MinutesError;

    /// Reads `480` (minutes), `480m`, `480min`, `8h`, `1d`, or an ISO 8601 duration of weeks, days, hours and
    /// minutes such as `PT8H`, `P1D`, `P1DT12H` or `P2W`; letters in either case.
    ///
    /// # Errors
    /// [`MinutesError::NotADuration`] for everything else: signs, blanks, fractions, exponents, an empty text, more
    /// than [`MINUTES_TEXT_BYTES_MAX`] bytes. [`MinutesError::OutOfRange`] for a duration outside the range, however
    /// large.
    fn from_str(text: &str) -> Result<Self, MinutesError> {
        if text.len() > MINUTES_TEXT_BYTES_MAX {
            return Err(MinutesError::NotADuration);
        }
        let lower = text.to_ascii_lowercase();
        let minutes = match lower.strip_prefix('p') {
            Some(rest) => iso(rest)?,
            None => plain(&lower)?,
        };
        Self::new(i64::try_from(minutes).unwrap_or(i64::MAX))
    }
}

/// `480`, `480m`, `480min`, `8h`, `1d`: one number with at most one unit; the result saturates.
fn plain(text: &str) -> Result<u64, MinutesError> {
    let (number, unit) = number(text)?;
    let minutes = match unit {
        "" | "m" | "min" => 1,
        "h" => MINUTES_PER_HOUR,
        "d" => MINUTES_PER_DAY,
        _ => return Err(MinutesError::NotADuration),
    };
    Ok(number.saturating_mul(minutes))
}

const MINUTES_PER_HOUR: u64 = 60;
const MINUTES_PER_DAY: u64 = 24 * MINUTES_PER_HOUR;

/// What follows the `P` of an ISO 8601 duration; each unit at most once, the larger first.
fn iso(text: &str) -> Result<u64, MinutesError> {
    let (date, time) = match text.split_once('t') {
        Some((_, "")) => return Err(MinutesError::NotADuration),
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return Err(MinutesError::NotADuration);
    }
    let date = units(date, &[('w', 7 * MINUTES_PER_DAY), ('d', MINUTES_PER_DAY)])?;
    let time = units(time, &[('h', MINUTES_PER_HOUR), ('m', 1)])?;
    Ok(date.saturating_add(time))
}

/// Numbers, each with one of `units`, in the order of `units`.
fn units(mut text: &str, units: &[(char, u64)]) -> Result<u64, MinutesError> {
    let mut total = 0_u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let (number, rest) = number(text)?;
        let (letter, minutes) =
            units.find(|(letter, _)| rest.starts_with(*letter)).ok_or(MinutesError::NotADuration)?;
        total = total.saturating_add(number.saturating_mul(*minutes));
        text = &rest[letter.len_utf8()..];
    }
    Ok(total)
}

/// The digits at the start of `text` as a number that saturates, and what follows them.
fn number(text: &str) -> Result<(u64, &str), MinutesError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(MinutesError::NotADuration);
    }
    Ok((digits.parse().unwrap_or(u64::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c04_sec05_the_range_is_exact_at_its_borders() {
        for good in [60, 61, 480, 20159, 20160] {
            assert_eq!(Minutes::new(good).map(i64::from), Ok(good));
            assert_eq!(good.to_string().parse::<Minutes>().map(i64::from), Ok(good));
        }
        for bad in [59, 20161, 0, -1, -5, -480, 65596, i64::MIN, i64::MAX] {
            assert_eq!(Minutes::new(bad), Err(MinutesError::OutOfRange), "{bad}");
        }
    }

    #[test]
    fn c05_the_default_is_eight_hours() {
        assert_eq!(Minutes::default().duration(), Duration::from_secs(8 * 3600));
        assert_eq!(Minutes::DEFAULT.delta(), TimeDelta::hours(8));
    }

    #[test]
    fn c03_other_forms_are_read() {
        let table = [
            ("60", 60),
            ("0480", 480),
            ("90m", 90),
            ("90min", 90),
            ("8h", 480),
            ("1H", 60),
            ("1d", 1440),
            ("14d", 20160),
            ("PT8H", 480),
            ("pt8h", 480),
            ("PT480M", 480),
            ("P1D", 1440),
            ("P1DT12H30M", 2190),
            ("P2W", 20160),
            ("P1W7D", 20160),
        ];
        for (text, minutes) in table {
            assert_eq!(text.parse::<Minutes>(), Minutes::new(minutes), "{text}");
        }
    }

    #[test]
    fn c03_c04_everything_else_is_refused_with_the_range() {
        let out = ["59", "20161", "0", "15d", "337h", "P15D", "PT59M", "P3W", "99999999999999999999"];
        for text in out {
            assert_eq!(text.parse::<Minutes>(), Err(MinutesError::OutOfRange), "{text}");
        }
        let not = [
            "",
            " ",
            "-5",
            "+480",
            "1e3",
            "480.0",
            "480,5",
            "0x1e0",
            " 480",
            "480 ",
            "8 h",
            "h",
            "8hh",
            "8h30m",
            "1w",
            "1y",
            "PT",
            "P",
            "PT8",
            "P8",
            "P1H",
            "PT1D",
            "PT30M8H",
            "PT8H8H",
            "P1DT",
            "PT8H ",
            "PT3600S",
            "PT1.5H",
            "P1M",
            "-PT8H",
            "٤٨٠",
            "４８０",
            "∞",
            "NaN",
            "null",
        ];
        for text in not {
            assert_eq!(text.parse::<Minutes>(), Err(MinutesError::NotADuration), "{text:?}");
        }
        for error in [MinutesError::OutOfRange, MinutesError::NotADuration] {
            assert!(error.to_string().contains("60 to 20160"), "{error}");
        }
    }

    #[test]
    fn c03_the_text_length_is_bounded() {
        let at = format!("{:0>1$}", 480, MINUTES_TEXT_BYTES_MAX);
        assert_eq!(at.parse::<Minutes>(), Ok(Minutes::DEFAULT));
        assert_eq!(format!("0{at}").parse::<Minutes>(), Err(MinutesError::NotADuration));
    }

    #[test]
    fn sec05_json_cannot_go_round_the_check() {
        assert_eq!(serde_json::from_str::<Minutes>("60").unwrap(), Minutes::MIN);
        for bad in ["59", "20161", "-1", "480.5", "\"480\"", "null", "1e3"] {
            assert!(serde_json::from_str::<Minutes>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn c04_exactly_the_range_is_accepted(n in prop_oneof![any::<i64>(), -100_i64..21_000]) {
            prop_assert_eq!(Minutes::new(n).is_ok(), (60..=20160).contains(&n));
        }

        #[test]
        fn c03_no_text_panics_and_what_is_read_prints_back(text in "\\PC{0,40}") {
            if let Ok(minutes) = text.parse::<Minutes>() {
                prop_assert_eq!(minutes.to_string().parse(), Ok(minutes));
            }
        }

        #[test]
        fn c03_durations_of_mixed_units_add_up(d in 0_i64..20, h in 0_i64..100, m in 0_i64..200) {
            let text = format!("P{d}DT{h}H{m}M");
            prop_assert_eq!(text.parse::<Minutes>(), Minutes::new(d * 1440 + h * 60 + m));
        }
    }

    #[test]
    fn f12_the_minutes_to_an_instant_have_the_same_bounds() {
        let start: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
        let to = |seconds: i64| Minutes::between(start, start + TimeDelta::seconds(seconds));
        for (seconds, minutes) in [
            (59 * 60 + 1, 60),
            (60 * 60, 60),
            (60 * 60 + 1, 61),
            (20159 * 60 + 1, 20160),
            (20160 * 60, 20160),
        ] {
            assert_eq!(to(seconds), Minutes::new(minutes), "{seconds}");
        }
        for past in [i64::from(i32::MIN), -60, 0, 59 * 60, 20160 * 60 + 1, i64::from(i32::MAX)] {
            assert_eq!(to(past), Err(MinutesError::OutOfRange), "{past}");
        }
        let just = start + TimeDelta::minutes(20160) + TimeDelta::nanoseconds(1);
        assert_eq!(Minutes::between(start, just), Err(MinutesError::OutOfRange));
        assert!(Minutes::between(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC).is_err());
    }
}
