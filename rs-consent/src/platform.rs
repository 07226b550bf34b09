//! What differs between operating systems: the boot clock and its identity, and the modes of files.
//!
//! Only safe interfaces are used. Windows has none for its boot clock, so the clock counts from the start of the
//! process there, under a random identity; what that means is said at [`SystemClock`](crate::clock::SystemClock).

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::BootId;

/// The boot clock of this machine, or of this process where the machine's cannot be had.
#[derive(Clone, Debug)]
pub(crate) enum BootClock {
    /// The machine's own, with the kernel's identity of this boot.
    #[cfg(target_os = "linux")]
    Machine(BootId),
    /// Counts from its making.
    Process(Instant, BootId),
}

impl BootClock {
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Some(id) = linux_boot_id() {
            return Self::Machine(id);
        }
        Self::Process(Instant::now(), BootId::new(Uuid::new_v4()))
    }

    pub(crate) fn read(&self) -> (Duration, BootId) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(id) => (linux_boot_time(), *id),
            Self::Process(start, id) => (start.elapsed(), *id),
        }
    }
}

#[cfg(target_os = "linux")]
fn linux_boot_id() -> Option<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().parse().ok().map(BootId::new)
}

#[cfg(target_os = "linux")]
fn linux_boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}
