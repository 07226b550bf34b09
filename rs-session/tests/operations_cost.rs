//! What a pipeline costs beside the plain listing, and that endless output does not grow a worker (SEC46).

use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::pipeline::{Output, Sink, Stop};
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Context, Machine, Object, Plan, Value};

/// Objects of one listing.
const OBJECTS: i64 = 1000;
/// A pipeline may cost this many times the plain listing.
const TIMES_MAX: f64 = 3.0;

fn thousand(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    for id in 0..OBJECTS {
        sink.emit(
            Object::new("Process")
                .with("Name", format!("process-{id}"))
                .with("Id", id)
                .with("ProcessName", format!("process-{id}"))
                .with("CPU", Value::Float(f64::from(i32::try_from(id * 37 % 1000).unwrap_or(0)) / 8.0))
                .with("WS", Value::Size(u64::try_from(id * 4096).unwrap_or(0)))
                .with("PM", Value::Size(u64::try_from(id * 2048).unwrap_or(0)))
                .with("SI", 1_i64)
                .into(),
        )?;
    }
    Ok(())
}

/// Counts text and keeps none of it.
#[derive(Default)]
struct Counting {
    bytes: u64,
    limit: u64,
}

impl Output for Counting {
    fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.bytes += text.len() as u64;
        if self.limit > 0 && self.bytes > self.limit { Err(Stop::OutputLimit) } else { Ok(()) }
    }

    fn error(&mut self, _: &str) -> Result<(), Stop> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        Ok(())
    }
}

fn plan(line: &str) -> Plan {
    let machine = Machine { native: Systems::ALL, power_shell: false };
    let context = Context { machine, ..Context::new(AccessLevel::Diagnostics) };
    context.plan_line(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

/// The shortest of several runs: the one least disturbed by others.
fn shortest(line: &str) -> Duration {
    let plan = plan(line);
    let registry = Registry::default().with("Get-Process", thousand);
    let once = || {
        let start = Instant::now();
        let mut output = Counting::default();
        assert!(registry.run(&plan, &mut output).is_ok() && output.bytes > 0);
        start.elapsed()
    };
    (0..9).map(|_| once()).min().unwrap_or_default()
}

#[test]
fn a_pipeline_of_three_costs_at_most_three_listings() {
    let plain = shortest("Get-Process");
    for line in [
        "Get-Process | ? CPU -gt 1 | sort CPU -Desc | select Name, Id, CPU",
        "Get-Process | ? Name -like *ess-* | sort Name | ft Name, Id, WS",
        "Get-Process | select * | sort WS -Unique | measure WS -Sum -Average",
    ] {
        let times = shortest(line).as_secs_f64() / plain.as_secs_f64();
        println!("{line}: {times:.2} times the plain listing of {plain:?}");
        assert!(times <= TIMES_MAX, "{line}: {times:.2}");
    }
}

/// Memory of this process in bytes, as the kernel counts it.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn sec46_endless_output_keeps_memory_flat() {
    fn endless(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
        for id in 0_i64.. {
            sink.emit(Object::new("Row").with("Id", id).with("Text", "x".repeat(200)).into())?;
        }
        Ok(())
    }
    let registry = Registry::default().with("Get-Process", endless);
    for line in ["Get-Process", "Get-Process | ft", "Get-Process | ? Id -ge 0 | select Id, Text | fl"] {
        let before = resident_bytes();
        let mut output = Counting { bytes: 0, limit: 16 << 20 };
        let result = registry.run(&plan(line), &mut output);
        assert!(matches!(result, Err(ProviderError::Stop(Stop::OutputLimit))), "{line}: {result:?}");
        let grown = resident_bytes().saturating_sub(before);
        println!("{line}: {} bytes out, {grown} bytes grown", output.bytes);
        assert!(grown < 8 << 20, "{line} grew by {grown} bytes");
    }
}
