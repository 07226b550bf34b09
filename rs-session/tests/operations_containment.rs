//! Operations that try to go beyond what they declared are held in from outside (SEC22), and none runs where that cannot
//! be set up (SEC23). Native operations answer the same inside as outside.
//!
//! This program is its own worker. Each attempt runs in a real worker process, under what the catalog declares for a
//! command; the control runs the same attempts without any measure and shows that they would have got through.
//!
//! `cargo test -p rs-session --test operations_containment` prints what got through with enforcement off.

#![expect(clippy::unwrap_used, reason = "a test program without the test harness")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "containment/attempts.rs"]
mod attempts;
#[cfg(target_os = "linux")]
#[path = "containment/linux.rs"]
mod linux;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return linux::main();
    #[cfg(not(target_os = "linux"))]
    ExitCode::SUCCESS
}
