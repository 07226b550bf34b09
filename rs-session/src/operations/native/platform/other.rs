//! Systems without sources of their own yet: the common providers answer alone.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::operations::providers::Provider;

/// None.
pub(in crate::operations::native) const PROVIDERS: &[(&str, Provider)] = &[];

/// Nothing is known to be absent here.
pub(in crate::operations::native) fn absent(_command: &str) -> Option<&'static str> {
    None
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A steady clock; its zero is the first call.
pub(in crate::operations::native) fn time_since_boot() -> Duration {
    START.elapsed()
}

/// Not known here.
pub(in crate::operations::native) fn interface_index(_name: &str) -> Option<i64> {
    None
}

/// Number of processes.
pub(in crate::operations::native) fn process_count() -> Option<i64> {
    let mut system = sysinfo::System::new().ok()?;
    let count = system.refresh_processes(sysinfo::ProcessesToUpdate::All, true);
    i64::try_from(count).ok()
}
