//! Windows: the job object that holds an operation (SEC7, SEC22, SEC23, SEC46). Elsewhere this program does nothing.
//!
//! This program is its own worker: its hostile provider starts a chain of processes that only wait. Each of them holds a
//! lock on a file of its own as long as it lives, so a test sees who is left.
//!
//! Under wine (`TEST_UNDER_WINE` is set) what wine does not carry out is said and not tested: limits of memory, processes
//! and processor time.

#![cfg_attr(windows, expect(clippy::unwrap_used, reason = "a test program without the test harness"))]

use std::process::ExitCode;

#[cfg(windows)]
#[path = "common/own_main.rs"]
mod own_main;
#[cfg(windows)]
#[path = "job/windows.rs"]
mod windows;

fn main() -> ExitCode {
    #[cfg(windows)]
    return windows::main();
    #[cfg(not(windows))]
    ExitCode::SUCCESS
}
