//! Test-Observability: a look at what remote support itself stands on, once a second.
//!
//! The clock (does the wall clock run evenly with the time since boot), load, memory, the number of processes, and how
//! long the state disk takes to make a small write durable. The write goes to a file of its own that nobody else can
//! open and that is gone at once.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sysinfo::System;

use super::date::now;
use super::{facts, platform};
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Seconds if none are given.
const SECONDS_DEFAULT: i64 = 5;
/// Bytes of the measured write.
const WRITE_BYTES: usize = 4096;
/// Drift of the wall clock above which the state is a warning, in milliseconds.
const DRIFT_WARNING_MS: f64 = 250.0;
/// Time for a durable write above which the state is a warning, in milliseconds.
const SYNC_WARNING_MS: f64 = 500.0;
/// Part of the memory below which the state is a warning.
const MEMORY_WARNING: f64 = 0.05;

pub(super) fn test_observability(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let seconds = plan.call.integers("Seconds").first().copied().unwrap_or(SECONDS_DEFAULT);
    let mut probe = Probe::new()?;
    let start = Instant::now();
    for second in 1..=seconds {
        sink.emit(probe.measure(second).into())?;
        sink.flush()?;
        let due = Duration::from_secs(u64::try_from(second).unwrap_or_default());
        if second < seconds {
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    Ok(())
}

struct Probe {
    wall: DateTime<Utc>,
    boot: Duration,
    file: File,
    system: System,
}

impl Probe {
    fn new() -> Result<Self, ProviderError> {
        let failed = |why: String| ProviderError::failed(format!("Test-Observability : {why}"));
        let file = facts::scratch_file()
            .map_or_else(new_scratch_file, Ok)
            .map_err(|error| failed(format!("no file to measure writes with: {error}")))?;
        let system = System::new().map_err(|error| failed(error.to_string()))?;
        Ok(Self { wall: now(), boot: platform::time_since_boot(), file, system })
    }

    fn measure(&mut self, second: i64) -> Object {
        let wall = now();
        let drift = drift_ms(self.wall, self.boot, wall, platform::time_since_boot());
        let sync = self.sync_ms();
        self.system.refresh_memory();
        let available = self.system.available_memory();
        let status = status(drift, sync, available, self.system.total_memory());
        Object::new("Observability")
            .with("Second", second)
            .with("Time", wall)
            .with("ClockDriftMs", drift)
            .with("LoadAverage", System::load_average().ok().map(|load| load.one))
            .with("MemoryAvailable", Value::Size(available))
            .with("SyncLatencyMs", sync)
            .with("Processes", platform::process_count())
            .with("Status", status)
    }

    /// Milliseconds until a small write is durable.
    fn sync_ms(&mut self) -> Option<f64> {
        let start = Instant::now();
        let written = self.file.write_all(&[0; WRITE_BYTES]).and_then(|()| self.file.sync_all());
        written.ok().map(|()| start.elapsed().as_secs_f64() * 1000.0)
    }
}

/// By how many milliseconds the wall clock ran ahead of the time since boot.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of an hour are far below 2^53")]
fn drift_ms(
    wall_then: DateTime<Utc>,
    boot_then: Duration,
    wall_now: DateTime<Utc>,
    boot_now: Duration,
) -> f64 {
    let wall = (wall_now - wall_then).num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0;
    wall - boot_now.saturating_sub(boot_then).as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a part of the memory needs no exact bytes")]
fn status(drift: f64, sync: Option<f64>, available: u64, total: u64) -> &'static str {
    match sync {
        _ if drift.abs() > DRIFT_WARNING_MS => "Warning: clock",
        None => "Warning: disk does not sync",
        Some(sync) if sync > SYNC_WARNING_MS => "Warning: disk is slow",
        Some(_) if (available as f64) < total as f64 * MEMORY_WARNING => "Warning: memory",
        Some(_) => "OK",
    }
}

/// A new file on the state disk without a name that anybody could open.
pub(super) fn new_scratch_file() -> std::io::Result<File> {
    let directory = std::env::var_os("STATE_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    let nanos = Instant::now().elapsed().as_nanos() ^ u128::from(std::process::id());
    let path = directory.join(format!(".observability-{}-{nanos}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    // On systems that keep open files by name it stays until the worker's end.
    let _ = std::fs::remove_file(&path);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_what_the_clocks_disagree_on() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let boot = Duration::from_secs;
        assert_eq!(drift_ms(at(100), boot(5), at(110), boot(15)), 0.0);
        assert_eq!(drift_ms(at(100), boot(5), at(112), boot(15)), 2000.0);
        assert_eq!(drift_ms(at(100), boot(5), at(90), boot(6)), -11_000.0);
    }

    #[test]
    fn status_names_the_first_thing_that_is_wrong() {
        assert_eq!(status(0.0, Some(1.0), 50, 100), "OK");
        assert_eq!(status(-251.0, Some(1.0), 50, 100), "Warning: clock");
        assert_eq!(status(0.0, Some(501.0), 50, 100), "Warning: disk is slow");
        assert_eq!(status(0.0, None, 50, 100), "Warning: disk does not sync");
        assert_eq!(status(0.0, Some(1.0), 4, 100), "Warning: memory");
    }
}
