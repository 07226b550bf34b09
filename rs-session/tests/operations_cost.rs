//! Endless output does not grow a worker (SEC46). What a pipeline costs beside a plain listing is measured in
//! `benches/operations_pipeline.rs`.

#![cfg(target_os = "linux")]

use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::pipeline::{Output, Sink, Stop};
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Context, Machine, Object, Plan};

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

/// Memory of this process in bytes, as the kernel counts it.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

#[test]
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
