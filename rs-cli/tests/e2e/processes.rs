//! What runs on this machine, as the kernel tells it.

use std::path::Path;

/// Living operation workers, and their supervisors, of the node with this state directory.
pub(crate) fn workers(state: &Path) -> Vec<u32> {
    let mark = [b"STATE_DIRECTORY=", state.join("node").as_os_str().as_encoded_bytes()].concat();
    all().filter(|pid| environment(*pid).split(|byte| *byte == 0).any(|entry| entry == mark)).collect()
}

/// All process ids.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("a process table").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The environment of a process; empty if it is gone or waits to be reaped.
pub(crate) fn environment(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// The state of a process, as `ps` names it; `None` if it is gone or waits to be reaped.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next().filter(|state| *state != 'Z')
}

/// The arguments of a process.
pub(crate) fn arguments(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}
