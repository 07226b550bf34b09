//! The job itself. What it does to operations is in `tests/operations_job.rs`.

use std::process::{Child, Command, Stdio};

use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_BREAKAWAY_OK, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK,
};

use super::*;

const BOUNDS: Bounds = Bounds { memory_bytes: 64 << 20, processes: 3, cpu_seconds: Some(7) };
/// Set by `scripts/test-windows`: what wine takes and does not carry out cannot be tested there.
const UNDER_WINE: &str = "TEST_UNDER_WINE";

/// Not a test of its own: a process that ends at once.
#[test]
#[ignore = "started by the tests below"]
fn nothing() {}

fn suspended() -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "operations::process_tree::windows::tests::nothing"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    hold_back(&mut command, Console::None);
    command.spawn().unwrap()
}

#[test]
fn sec22_a_process_waits_until_it_is_held_and_runs_then() {
    let mut child = suspended();
    let tree = Tree::take(child.id(), "", &BOUNDS).unwrap();
    // It ends by itself, so it was resumed.
    assert!(child.wait().unwrap().success());
    assert!(tree.tidy());
}

#[test]
fn sec22_control_a_process_that_nobody_takes_does_not_run() {
    let mut child = suspended();
    let waited = Instant::now();
    while waited.elapsed() < Duration::from_millis(300) {
        assert_eq!(child.try_wait().unwrap(), None, "it ran although nobody has taken it");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn sec23_what_cannot_be_held_is_an_error() {
    let mut child = suspended();
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = Tree::take(child.id(), "", &BOUNDS);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn sec07_dropping_the_job_ends_what_is_in_it() {
    let mut child = suspended();
    let job = Job::new(&BOUNDS).unwrap();
    job.hold(child.id()).unwrap();
    assert_eq!(job.processes().unwrap(), 1);
    drop(job);
    // It was never resumed: only the end of the job can have ended it.
    child.wait().unwrap();
}

#[test]
fn sec22_windows_says_the_limits_back() {
    let limits = Job::new(&BOUNDS).unwrap().limits().unwrap();
    if std::env::var_os(UNDER_WINE).is_some() {
        println!("not tested: wine takes limits and says none back");
        return;
    }
    let flags = limits.BasicLimitInformation.LimitFlags;
    assert_ne!(flags & JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, 0);
    assert_eq!(flags & (JOB_OBJECT_LIMIT_BREAKAWAY_OK | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK), 0);
    assert_eq!(limits.JobMemoryLimit, 64 << 20);
    assert_eq!(limits.BasicLimitInformation.ActiveProcessLimit, 3);
    assert_eq!(limits.BasicLimitInformation.PerJobUserTimeLimit, 70_000_000);
}
