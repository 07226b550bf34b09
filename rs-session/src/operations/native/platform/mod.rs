//! What differs between operating systems: the Linux sources, and the few facts that common providers need.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::{PROVIDERS, absent, interface_index, process_count, time_since_boot};

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub(super) use other::{PROVIDERS, absent, interface_index, process_count, time_since_boot};
