//! Providers that answer from the operating system itself: no shell, no text put together, no program except the
//! service manager by its absolute path.
//!
//! What differs between operating systems sits in [`platform`].

use super::providers::Provider;

mod date;
mod platform;
mod processes;

/// Published names and the functions that answer them.
pub(super) const PROVIDERS: &[(&str, Provider)] =
    &[("Get-Date", date::get_date), ("Get-Process", processes::get_process)];
