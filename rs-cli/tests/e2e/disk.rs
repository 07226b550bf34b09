//! Disks that are full, without inodes or read-only. They are small file systems in memory, which only root can mount;
//! anybody else skips these tests with a word. A disk that becomes read-only below a running agent is played by the shim
//! of [`crate::power_cut`], since nobody can remount what is being written to.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rs_cli::state::Role;
use rs_consent::EndCause;
use uuid::Uuid;

use crate::daemon::{Daemon, promised, until_true};
use crate::kill9::short_lines;
use crate::machine::{Run, chmod};
use crate::power_cut::Powered;
use crate::records;
use crate::site::{Site, session_of};

/// The bound on everything that must be back by itself.
const BACK: Duration = Duration::from_secs(10);

/// A small file system for some of the state of a machine.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        Self::mount_with(path, "size=2M,mode=0700")
    }

    fn mount_with(path: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).expect("own directory");
        chmod(path.parent().expect("not the root"), 0o700);
        let disk = Self(path);
        let mounted = disk.command("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
        if !mounted {
            assert!(std::env::var_os("REQUIRE_MOUNTS").is_none(), "a file system must be mountable here");
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

    fn use_up_inodes(&self) {
        let folder = self.0.join("filler");
        std::fs::create_dir(&folder).expect("own directory");
        for number in 0.. {
            if OpenOptions::new().write(true).create_new(true).open(folder.join(format!("{number}"))).is_err()
            {
                break;
            }
        }
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

/// Everything runs, the node's files on `disk`.
fn site_on(disk: impl FnOnce(PathBuf) -> Option<SmallDisk>) -> Option<(Site, SmallDisk)> {
    let mut site = Site::empty();
    let disk = disk(site.role(Role::Node))?;
    site.start_relay();
    site.papers();
    site.machine.enable("Diagnostics");
    site.start_agent();
    site.connected();
    Some((site, disk))
}

/// An engineer who types as fast as the node answers.
fn typing_engineer(site: &Site) -> (Daemon, Uuid) {
    let engineer = site.engineer(short_lines().chain(std::iter::repeat_n("Get-Date".to_owned(), 2000)));
    let session = session_of(&engineer);
    until_true("records come", || site.record(session).metadata().is_ok_and(|about| about.len() > 8000));
    (engineer, session)
}

/// From the last record that the disk took to the end record.
fn ended_within(site: &Site, session: Uuid) -> Duration {
    let frames = records::frames(&site.record(session));
    let [.., last, end] = &frames[..] else { panic!("a record with an end") };
    (end.skeleton().wall_time - last.skeleton().wall_time).to_std().unwrap_or_default()
}

/// One line for the person who reads it, and the exit code of a refusal.
fn is_refused(run: &Run) {
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("(gate-shut)"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().filter(|line| line.contains("(gate-shut)")).count(), 1, "{}", run.stderr);
}

/// What the node log says of the end of a session.
fn logged_end(site: &Site, session: Uuid) -> Option<String> {
    let log = std::fs::read_to_string(site.role(Role::Node).join("node.log")).expect("a node log");
    let id = session.to_string();
    log.lines().find(|line| line.contains("\"session-ended\"") && line.contains(&id)).map(str::to_owned)
}

/// Reading and revoking work whatever the disk says.
fn owner_is_served(site: &Site) {
    for line in ["access", "access --output json", "history", "request list"] {
        let run = site.machine.run(line);
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
    }
    let disabled = site.machine.run("disable");
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
}

/// Consent given anew lets in again, without a restart of the agent.
fn is_back(site: &Site, since: Instant) {
    site.machine.enable("Diagnostics");
    until_true("engineers get in again", || site.connect("").code == 0);
    assert!(since.elapsed() <= BACK, "sec45: {:?}", since.elapsed());
}

#[test]
fn sec11_sec26_sec45_a_full_disk_ends_sessions_on_record_and_keeps_nobody_from_revoking() {
    let Some((mut site, disk)) = site_on(SmallDisk::mount) else { return };
    let (mut engineer, session) = typing_engineer(&site);
    disk.fill();
    assert_ne!(engineer.exit_code(), 0, "what cannot be recorded is not done: {}", engineer.stderr());
    assert!(site.workers().is_empty(), "sec24");
    until_true("the session is down", || site.status().sessions.is_empty());
    site.agent().says("cause=record-fault recorded=true");
    assert_eq!(
        records::ends(&site.record(session)),
        [EndCause::RecordFault],
        "sec12, sec45: from reserved room"
    );
    assert!(
        logged_end(&site, session).is_some_and(|end| end.contains("record-fault")),
        "sec45: the node log too"
    );
    let within = ended_within(&site, session);
    assert!(within <= promised(Duration::from_secs(1)), "sec26: {within:?}");
    let verified = site.machine.run(&format!("session verify {session}"));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    disk.fill();
    let before = site.records().len();
    is_refused(&site.connect(""));
    assert_eq!(site.records().len(), before, "no record without a session");
    disk.fill();
    owner_is_served(&site);
    let since = Instant::now();
    disk.free();
    is_back(&site, since);
}

#[test]
fn sec11_sec45_a_revoke_on_a_full_disk_ends_sessions_on_record() {
    let Some((mut site, disk)) = site_on(SmallDisk::mount) else { return };
    let (mut engineer, session) = site.busy_engineer();
    disk.fill();
    owner_is_served(&site);
    assert!(site.workers().is_empty(), "access has ended when it returns");
    assert!(site.status().sessions.is_empty());
    assert_ne!(engineer.exit_code(), 0);
    assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
    assert!(logged_end(&site, session).is_some_and(|end| end.contains("revoked")), "sec45: the node log too");
    assert_ne!(site.connect("").code, 0, "nobody gets in again");
    // It is durable: a restart on the full disk lets nobody in either.
    disk.fill();
    site.agent().kill9();
    site.start_agent();
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
    assert_ne!(site.connect("").code, 0);
}

#[test]
fn sec45_without_inodes_new_sessions_are_refused_and_the_rest_works() {
    let few = |path| SmallDisk::mount_with(path, "size=4M,mode=0700,nr_inodes=64");
    let Some((site, disk)) = site_on(few) else { return };
    let (mut engineer, session) = site.busy_engineer();
    disk.use_up_inodes();
    is_refused(&site.connect(""));
    assert!(!engineer.has_ended(), "what needs no inode goes on");
    owner_is_served(&site);
    assert_ne!(engineer.exit_code(), 0);
    assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
    let since = Instant::now();
    std::fs::remove_dir_all(disk.0.join("filler")).expect("own directory");
    is_back(&site, since);
}

#[test]
fn sec11_sec45_a_disk_that_becomes_read_only_ends_access_and_takes_the_revocation_later() {
    const EROFS: &str = "30";
    let mut site = Site::ready_without_agent();
    let fault = site.machine.file("fault");
    let powered = Powered::new(site.role(Role::Node), site.machine.file("shadow"), false);
    powered.arm();
    let on = |command: &mut Command| {
        powered.on(command);
        command.env("POWER_CUT_FAULT", &fault);
    };
    let run = |site: &Site, line: &str| {
        let mut command = site.machine.command(line.split_whitespace());
        on(&mut command);
        Run::from(command.output().expect("the program starts"))
    };
    site.start_agent_with(on);
    site.connected();
    let (mut engineer, session) = typing_engineer(&site);
    std::fs::write(&fault, EROFS).expect("own file");
    assert_ne!(engineer.exit_code(), 0);
    site.agent().says("cause=record-fault recorded=false");
    assert!(site.workers().is_empty());
    is_refused(&site.connect(""));
    for line in ["access", "history"] {
        let read = run(&site, line);
        assert_eq!(read.code, 0, "{line}: {}", read.stderr);
    }
    let disabled = run(&site, "disable");
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    assert!(disabled.stderr.contains("Access has ended all the same"), "{}", disabled.stderr);
    assert!(disabled.stderr.contains("read-only"), "{}", disabled.stderr);
    assert_ne!(site.connect("").code, 0, "nobody gets in again");
    assert!(records::ends(&site.record(session)).is_empty());

    let since = Instant::now();
    std::fs::remove_file(&fault).expect("own file");
    until_true("the revocation is durable", || site.machine.json("access") == serde_json::json!([]));
    until_true("the record has its end", || !records::ends(&site.record(session)).is_empty());
    assert_eq!(records::ends(&site.record(session)), [EndCause::Interrupted], "sec12");
    let verified = site.machine.run(&format!("session verify {session}"));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    let why = |end: String| end.contains("\"record-fault\"");
    until_true("the log has the true cause", || logged_end(&site, session).is_some_and(why));
    let verified = site.machine.run("session verify");
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("this session ended as `record-fault`"), "{}", verified.stdout);
    assert_ne!(site.connect("").code, 0);
    is_back(&site, since);
}

#[test]
fn sec45_a_read_only_state_directory_is_said_and_can_be_read() {
    let site = Site::empty();
    let Some(disk) = SmallDisk::mount(site.role(Role::Node)) else { return };
    site.papers();
    site.machine.enable("Diagnostics");
    disk.writable(false);
    for line in ["access", "history", "request list"] {
        let run = site.machine.run(line);
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
    }
    assert_eq!(site.machine.json("access")[0]["accessLevel"], "Diagnostics");
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
