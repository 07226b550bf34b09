//! Disks that are full or read-only. They are small file systems in memory, which only root can mount; anybody else
//! skips these tests with a word.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rs_consent::EndCause;

use rs_cli::state::Role;

use crate::daemon::until_true;
use crate::machine::chmod;
use crate::records;
use crate::site::Site;

/// A small file system for some of the state of a machine.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).expect("own directory");
        chmod(path.parent().expect("not the root"), 0o700);
        let disk = Self(path);
        let mounted = disk.command("mount", &["-t", "tmpfs", "-o", "size=1M,mode=0700", "tmpfs"]);
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then_some(disk)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.0).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn fill(&self) {
        let mut file =
            OpenOptions::new().create(true).append(true).open(self.0.join("filler")).expect("own file");
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("own file");
    }

    fn writable(&self, yes: bool) {
        let how = if yes { "remount,rw" } else { "remount,ro" };
        assert!(self.command("mount", &["-o", how]), "{how}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still runs on it goes with its last process.
        self.command("umount", &["--lazy"]);
    }
}

#[test]
fn sec11_sec45_a_full_disk_ends_sessions_and_keeps_nobody_from_revoking() {
    let mut site = Site::empty();
    let Some(disk) = SmallDisk::mount(site.role(Role::Node)) else { return };
    site.start_relay();
    site.papers();
    site.machine.enable("Diagnostics");
    site.start_agent();
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    disk.fill();
    // The end record is not durable, so it is not shown: to the engineer the session is cut.
    assert_eq!(engineer.exit_code(), 5, "what cannot be recorded is not done: {}", engineer.stderr());
    assert!(site.workers().is_empty(), "sec24");
    until_true("the session is down", || site.status().sessions.is_empty());
    site.agent().says("cause=record-fault recorded=false");
    disk.fill();
    let refused = site.connect("");
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("(gate-shut)"), "{}", refused.stderr);
    // Reading still works.
    let access = site.machine.run("access");
    assert_eq!(access.code, 0, "{}", access.stderr);
    let disabled = site.machine.run("disable");
    assert_eq!(disabled.code, 1, "{}", disabled.stderr);
    assert!(disabled.stderr.contains("the disk is full"), "{}", disabled.stderr);
    disk.free();
    let disabled = site.machine.run("disable");
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
    // Consent given anew lets in again, and a restart brings the cut record to its end.
    site.machine.enable("Diagnostics");
    site.connected();
    assert_eq!(site.connect("").code, 0);
    site.agent().kill9();
    site.start_agent();
    assert_eq!(records::ends(&site.record(session)).len(), 1, "sec12: one end");
    let verified = site.machine.run(&format!("session verify {session}"));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}

#[test]
fn sec11_a_store_that_cannot_be_written_keeps_nobody_from_revoking() {
    let mut site = Site::empty();
    let Some(disk) = SmallDisk::mount(site.role(Role::Node)) else { return };
    site.start_relay();
    site.papers();
    site.machine.enable("Diagnostics");
    site.start_agent();
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    disk.fill();
    let disabled = site.machine.run("disable");
    assert!(site.workers().is_empty(), "access has ended when it returns");
    assert_eq!(disabled.code, 1, "{}", disabled.stderr);
    assert!(disabled.stderr.contains("the agent has shut its gate and ended"), "{}", disabled.stderr);
    assert!(disabled.stderr.contains("run this again before the agent is restarted"), "{}", disabled.stderr);
    until_true("the session is down", || site.status().sessions.is_empty());
    assert_ne!(engineer.exit_code(), 0);
    assert_ne!(site.connect("").code, 0, "nobody gets in again");
    disk.free();
    assert_eq!(site.machine.run("disable").code, 0);
    let ends = records::ends(&site.record(session));
    assert!(ends.is_empty() || ends == [EndCause::Revoked] || ends == [EndCause::RecordFault], "{ends:?}");
}

#[test]
fn sec45_a_read_only_state_directory_is_said() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(site.role(Role::Node)) else { return };
    site.papers();
    site.machine.enable("Diagnostics");
    disk.writable(false);
    for line in [
        "enable --agree-to-remote-support-consent --access-level Diagnostics",
        "disable",
        "agent run",
        "request submit --reason slow-disk --file request-2.json",
    ] {
        let run = site.machine.run(line);
        assert_eq!(run.code, 1, "{line}: {}", run.stderr);
        assert!(run.stderr.to_lowercase().contains("read-only"), "{line}: {}", run.stderr);
    }
    disk.writable(true);
    assert_eq!(site.machine.run("disable").code, 0);
}

#[test]
fn an_engineer_whose_copy_cannot_be_written_gets_no_session_and_is_told_why() {
    let site = Site::ready();
    let received = site.role(Role::Engineer).join("received");
    let Some(disk) = SmallDisk::mount(received.clone()) else { return };
    disk.fill();
    let run = site.connect("");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("your copy of the record cannot be written"), "{}", run.stderr);
    assert!(run.stderr.contains("--state-dir"), "{}", run.stderr);
    assert_eq!(run.stdout, "", "nothing is shown that is not in the copy");
    until_true("the session is down", || site.status().sessions.is_empty());
    assert_eq!(crate::site::files(&received).len(), 1, "only what fills the disk");
    disk.free();
    assert_eq!(site.connect("").code, 0);
}
