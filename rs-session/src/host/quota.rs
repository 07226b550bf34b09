//! How much one session, and all sessions of a day, may ask of the node.
//!
//! Limits of a single operation (time, memory, output, …) are [`Limits`](crate::operations::Limits). Reaching a limit is
//! told to the engineer and stands on record: as a refused line, or as the end of the operation that reached it.
//!
//! ```
//! use rs_session::host::SessionLimits;
//!
//! let limits: SessionLimits = serde_json::from_str(r#"{ "linesPerMinute": 10 }"#).unwrap();
//! assert_eq!((limits.lines_per_minute, limits.lines), (10, 10_000));
//! assert_eq!(limits.fault(), None);
//! ```

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::protocol::Refused;

/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// A session that goes on to send lines which are refused for their number is ended after so many times the limit.
const FLOOD_FACTOR: usize = 2;
/// Code of a line that a limit refused.
pub const LIMIT_CODE: &str = "limit-reached";

/// What one session, and all sessions of a day, may ask for. How many may run at the same time is the gate's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionLimits {
    /// Lines of a session in a minute. Default 600, 1 to 60 000.
    pub lines_per_minute: u32,
    /// Lines of a session. Default 10 000, 1 to 1 000 000.
    pub lines: u32,
    /// Bytes that the operations of a session may print. Default 256 MiB, 64 KiB to 1 TiB.
    pub output_bytes: u64,
    /// Bytes of record that the sessions of a node may fill in a day (UTC). Default 1 GiB, 1 MiB to 1 TiB.
    pub record_bytes_per_day: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { lines_per_minute: 600, lines: 10_000, output_bytes: 256 << 20, record_bytes_per_day: 1 << 30 }
    }
}

impl SessionLimits {
    /// What is out of its range, in words; `None` if all is well.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let ranges = [
            ("linesPerMinute", u64::from(self.lines_per_minute), 1, 60_000),
            ("lines", u64::from(self.lines), 1, 1_000_000),
            ("outputBytes", self.output_bytes, 64 << 10, 1 << 40),
            ("recordBytesPerDay", self.record_bytes_per_day, 1 << 20, 1 << 40),
        ];
        let outside = ranges.into_iter().find(|(_, value, low, high)| value < low || value > high);
        outside.map(|(name, value, low, high)| format!("{name} is {value}, and goes from {low} to {high}"))
    }
}

/// What one session has used.
#[derive(Debug)]
pub(super) struct Quota {
    limits: SessionLimits,
    /// When the lines of the last minute came, refused ones too.
    recent: VecDeque<Duration>,
    lines: u32,
    output_bytes: u64,
}

impl Quota {
    pub(super) const fn new(limits: SessionLimits) -> Self {
        Self { limits, recent: VecDeque::new(), lines: 0, output_bytes: 0 }
    }

    /// Counts a line that came at `now`, time since boot.
    pub(super) fn line(&mut self, now: Duration) -> Result<(), Refused> {
        while self.recent.front().is_some_and(|first| now.saturating_sub(*first) >= WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let per_minute = self.limits.lines_per_minute;
        if self.recent.len() > as_len(per_minute) {
            return Err(reached(format!(
                "more than {per_minute} lines in a minute; wait a minute and go on"
            )));
        }
        self.lines = self.lines.saturating_add(1);
        let most = self.limits.lines;
        if self.lines > most {
            return Err(reached(format!("this session has had its {most} lines; open another")));
        }
        if self.output_bytes >= self.limits.output_bytes {
            return Err(reached(self.output_message()));
        }
        Ok(())
    }

    /// True if lines keep coming though they are refused for their number.
    pub(super) fn is_flooded(&self) -> bool {
        self.recent.len() > as_len(self.limits.lines_per_minute).saturating_mul(FLOOD_FACTOR)
    }

    /// Counts output; says why it must not go on.
    pub(super) fn output(&mut self, bytes: usize) -> Result<(), String> {
        self.output_bytes = self.output_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.output_bytes > self.limits.output_bytes { Err(self.output_message()) } else { Ok(()) }
    }

    fn output_message(&self) -> String {
        format!("this session has had its {} bytes of output; open another", self.limits.output_bytes)
    }
}

fn as_len(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn reached(message: String) -> Refused {
    Refused { code: LIMIT_CODE.to_owned(), column: None, message }
}

/// The record of a day, of all sessions of a node.
#[derive(Debug)]
pub(crate) struct DayBook {
    limit: u64,
    day: Mutex<(NaiveDate, u64)>,
}

impl DayBook {
    /// A book that knows what the record files of today hold already: whatever was changed today counts in full, so that a
    /// restart gives nobody a second day.
    pub(super) fn of(records: &Path, limit: u64, now: DateTime<Utc>) -> Self {
        let today = now.date_naive();
        let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file);
        let of_today = files.filter(|file| {
            file.modified().is_ok_and(|changed| DateTime::<Utc>::from(changed).date_naive() == today)
        });
        let bytes = of_today.map(|file| file.len()).sum();
        Self { limit, day: Mutex::new((today, bytes)) }
    }

    pub(super) fn add(&self, bytes: usize, now: DateTime<Utc>) {
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went back must not give the day anew.
        if now.date_naive() > day.0 {
            *day = (now.date_naive(), 0);
        }
        day.1 = day.1.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Why nothing more may run today; `Ok` while there is room.
    pub(super) fn room(&self, now: DateTime<Utc>) -> Result<(), String> {
        let day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        if day.1 < self.limit || now.date_naive() > day.0 {
            return Ok(());
        }
        Err(format!(
            "the node's records have had their {} bytes for today; it goes on at midnight UTC",
            self.limit
        ))
    }

    pub(super) fn room_for_line(&self, now: DateTime<Utc>) -> Result<(), Refused> {
        self.room(now).map_err(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a18_lines_of_a_minute_hold_their_limit_and_no_line_more() {
        let mut quota = Quota::new(SessionLimits { lines_per_minute: 3, ..SessionLimits::default() });
        for at in 0..3 {
            assert_eq!(quota.line(seconds(at)), Ok(()));
        }
        let refused = quota.line(seconds(59)).unwrap_err();
        assert!(refused.code == LIMIT_CODE && refused.message.contains("3 lines"), "{refused:?}");
        assert_eq!(quota.line(seconds(62)), Ok(()), "the first lines are a minute ago");
        assert!(!quota.is_flooded());
        for at in 62..69 {
            let _refused = quota.line(seconds(at));
        }
        assert!(quota.is_flooded());
    }

    #[test]
    fn a18_lines_and_output_of_a_session_hold_their_limits() {
        let limits =
            SessionLimits { lines: 2, lines_per_minute: 100, output_bytes: 10, ..SessionLimits::default() };
        let mut quota = Quota::new(limits);
        assert_eq!((quota.line(seconds(0)), quota.line(seconds(0))), (Ok(()), Ok(())));
        assert!(quota.line(seconds(200)).unwrap_err().message.contains("2 lines"));
        let mut quota = Quota::new(limits);
        assert_eq!((quota.output(9), quota.line(seconds(0))), (Ok(()), Ok(())));
        assert_eq!(quota.output(1), Ok(()));
        assert!(quota.output(1).unwrap_err().contains("10 bytes"));
        assert_eq!(quota.line(seconds(0)).unwrap_err().code, LIMIT_CODE);
    }

    #[test]
    fn sec46_records_of_a_day_hold_their_limit_over_a_restart_and_a_clock_that_went_back() {
        let at =
            |day: u32| DateTime::<Utc>::from(std::time::UNIX_EPOCH) + chrono::TimeDelta::days(i64::from(day));
        let directory = tempfile::tempdir().unwrap();
        let book = DayBook::of(directory.path(), 10, at(5));
        book.add(9, at(5));
        assert_eq!(book.room(at(5)), Ok(()));
        book.add(1, at(4));
        assert!(book.room(at(5)).unwrap_err().contains("10 bytes"));
        assert!(book.room(at(4)).is_err());
        assert_eq!(book.room(at(6)), Ok(()));
        book.add(1, at(6));
        assert_eq!(book.room(at(6)), Ok(()));
        let file = directory.path().join("x");
        std::fs::write(&file, [0; 10]).unwrap();
        let written = DateTime::<Utc>::from(file.metadata().unwrap().modified().unwrap());
        assert!(DayBook::of(directory.path(), 10, written).room(written).is_err());
        assert_eq!(DayBook::of(directory.path(), 11, written).room(written), Ok(()));
        assert_eq!(
            DayBook::of(directory.path(), 10, written + chrono::TimeDelta::days(1)).room(written),
            Ok(())
        );
    }

    #[test]
    fn sec46_ranges_are_held() {
        let fine = SessionLimits::default();
        assert_eq!(fine.fault(), None);
        for wrong in [
            SessionLimits { lines_per_minute: 60_001, ..fine },
            SessionLimits { lines: 0, ..fine },
            SessionLimits { output_bytes: (64 << 10) - 1, ..fine },
            SessionLimits { record_bytes_per_day: (1 << 40) + 1, ..fine },
        ] {
            assert!(wrong.fault().is_some(), "{wrong:?}");
        }
        for right in [SessionLimits { lines_per_minute: 60_000, ..fine }, SessionLimits { lines: 1, ..fine }]
        {
            assert_eq!(right.fault(), None);
        }
    }
}
