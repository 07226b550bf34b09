//! What differs between Windows and Unix: default paths, who may read a file, names of user and machine, and the
//! local socket between the program's commands and the agent. The rest of the program is the same on both.

#[cfg(any(windows, test))]
mod access;
mod programs;
#[cfg(unix)]
mod unix;
pub(crate) use programs::{ProcessGroup, check_program, detach, is_root};
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

#[cfg(target_os = "linux")]
pub(crate) mod identity;
#[cfg(target_os = "linux")]
pub(crate) use identity::{on_behalf, work_as_owner_of, works_as};

/// Elsewhere the owner's commands and the agent have one account.
#[cfg(not(target_os = "linux"))]
pub(crate) fn work_as_owner_of(_root: &std::path::Path) -> std::io::Result<()> {
    Ok(())
}

/// See [`work_as_owner_of`].
#[cfg(not(target_os = "linux"))]
pub(crate) fn works_as() -> Option<u32> {
    None
}

/// See [`work_as_owner_of`].
#[cfg(not(target_os = "linux"))]
pub(crate) fn on_behalf<T>(_path: &std::path::Path, work: impl FnOnce() -> T) -> T {
    work()
}
