//! Dates as people and PowerShell write them.
//!
//! A date without an offset is local time, a date without a time of day is local midnight, and a date that could
//! only be read by guessing (`31/07/2025`) is refused: an audit question must not be answered for another day.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

/// Years that are accepted; others are slips such as a year of two digits.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 64;

const WITH_OFFSET: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f %#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%m/%d/%Y %I:%M:%S %p %#z",
    "%m/%d/%Y %I:%M %p %#z",
    "%m/%d/%Y %H:%M:%S %#z",
];

const WITHOUT_OFFSET: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%A, %B %d, %Y %I:%M:%S %p",
    "%A, %B %d, %Y %I:%M %p",
    "%B %d, %Y %I:%M:%S %p",
];

const DAY_ONLY: &[&str] = &["%Y-%m-%d", "%m/%d/%Y", "%A, %B %d, %Y", "%B %d, %Y", "%d %B %Y"];

/// The text is not a date in one of the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a date in a form that has one meaning; write 2025-07-31, 2025-07-31T10:05:52Z, 7/31/2025 10:05:52 PM \
     (month first), or -7d for seven days ago"
)]
#[non_exhaustive]
pub struct DateError;

/// Reads a date. `now` is for relative forms (`-7d`, `-12h`, `-30m`), `zone` for dates without an offset.
///
/// Where a local time occurs twice (clocks set back) the earlier one is meant, and where it does not exist (clocks set
/// forward) the hour before it: a search that begins too early shows more, one that begins too late hides something.
///
/// # Errors
///
/// [`DateError`] for every text that is not in one of the forms, has no such day (`2025-02-30`), or a year outside
/// 1970 to 9999.
///
/// # Examples
///
/// ```
/// use chrono::{DateTime, Utc};
///
/// let now: DateTime<Utc> = "2025-08-01T12:00:00Z".parse()?;
/// let date = rs_cli::dates::parse("7/31/2025 10:05:52 PM", now, &Utc)?;
/// assert_eq!(date.to_rfc3339(), "2025-07-31T22:05:52+00:00");
/// assert!(rs_cli::dates::parse("31/07/2025", now, &Utc).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>, DateError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(DateError);
    }
    // Newer versions of .NET put a narrow no-break space before AM and PM.
    let blanks = text.replace(['\u{202f}', '\u{a0}'], " ");
    let text = blanks.trim();
    relative(text, now)
        .or_else(|| with_offset(text))
        .or_else(|| local(without_offset(text)?, zone))
        .filter(|date| YEARS.contains(&date.year()))
        .ok_or(DateError)
}

fn relative(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let body = text.strip_prefix('-')?;
    let unit = body.chars().last()?;
    let count: i64 = body.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
    let span = match unit {
        'd' => Duration::try_days(count),
        'h' => Duration::try_hours(count),
        'm' => Duration::try_minutes(count),
        _ => None,
    }?;
    now.checked_sub_signed(span)
}

fn with_offset(text: &str) -> Option<DateTime<Utc>> {
    WITH_OFFSET.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()).map(|date| date.to_utc())
}

fn without_offset(text: &str) -> Option<NaiveDateTime> {
    let timed = WITHOUT_OFFSET.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    timed.or_else(|| {
        let day = DAY_ONLY.iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok())?;
        Some(day.and_time(NaiveTime::MIN))
    })
}

fn local<Z: TimeZone>(naive: NaiveDateTime, zone: &Z) -> Option<DateTime<Utc>> {
    let hour_before = || zone.from_local_datetime(&naive.checked_sub_signed(Duration::hours(1))?).earliest();
    zone.from_local_datetime(&naive).earliest().or_else(hour_before).map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        let now = "2025-08-01T12:00:00Z".parse().expect("a date");
        let berlin = FixedOffset::east_opt(2 * 3600).expect("an offset");
        parse(text, now, &berlin).ok().map(|date| date.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
    }

    #[test]
    fn every_form_has_one_meaning() {
        for (text, expected) in [
            ("2025-07-31", "2025-07-30T22:00:00Z"),
            ("7/31/2025", "2025-07-30T22:00:00Z"),
            ("07/31/2025", "2025-07-30T22:00:00Z"),
            ("Thursday, July 31, 2025", "2025-07-30T22:00:00Z"),
            ("July 31, 2025", "2025-07-30T22:00:00Z"),
            ("31 July 2025", "2025-07-30T22:00:00Z"),
            ("2025-07-31T10:05:52Z", "2025-07-31T10:05:52Z"),
            ("2025-07-31T10:05:52+02:00", "2025-07-31T08:05:52Z"),
            ("2025-07-31 10:05:52 +0200", "2025-07-31T08:05:52Z"),
            ("2025-07-31T10:05:52.1234567Z", "2025-07-31T10:05:52.123456700Z"),
            ("2025-07-31T10:05:52", "2025-07-31T08:05:52Z"),
            ("2025-07-31 10:05", "2025-07-31T08:05:00Z"),
            ("7/31/2025 10:05:52 PM +00:00", "2025-07-31T22:05:52Z"),
            ("7/31/2025 10:05:52 PM", "2025-07-31T20:05:52Z"),
            ("7/31/2025 12:00:00 AM", "2025-07-30T22:00:00Z"),
            ("7/31/2025 12:00:00 PM", "2025-07-31T10:00:00Z"),
            ("7/31/2025 10:05:52\u{202f}PM", "2025-07-31T20:05:52Z"),
            ("7/31/2025 1:05 am", "2025-07-30T23:05:00Z"),
            ("Thursday, July 31, 2025 10:05:52 PM", "2025-07-31T20:05:52Z"),
            ("-7d", "2025-07-25T12:00:00Z"),
            ("-12h", "2025-08-01T00:00:00Z"),
            ("  -30m ", "2025-08-01T11:30:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_needs_guessing_is_refused() {
        for text in [
            "31/07/2025",
            "31.07.2025",
            "2025-02-30",
            "13/13/2025",
            "07/31/25",
            "today",
            "",
            "7",
            "-d",
            "--7d",
            "+7d",
            "-7w",
            "-99999999999999999999d",
            "-9223372036854775807d",
            "25:00",
            "2025-07-31T25:00:00Z",
            "Friday, July 31, 2025",
            "1969-12-31",
            "7/31/2025 13:05:52 PM",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"1".repeat(TEXT_BYTES_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            let _ = read(&text);
        }

        #[test]
        fn c11_compat_form_reads_back(seconds in 0_i64..4_000_000_000) {
            let date = DateTime::from_timestamp(seconds, 0).expect("in range");
            let text = date.format("%-m/%-d/%Y %-I:%M:%S %p +00:00").to_string();
            prop_assert_eq!(parse(&text, DateTime::UNIX_EPOCH, &Utc), Ok(date));
            prop_assert_eq!(parse(&date.to_rfc3339(), DateTime::UNIX_EPOCH, &Utc), Ok(date));
        }
    }
}
