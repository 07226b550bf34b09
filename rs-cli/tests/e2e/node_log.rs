//! The node's log on the real program: who had access when, what is missing, and what was put back.

use std::path::{Path, PathBuf};

use rs_cli::state::Role;
use serde_json::Value;

use crate::daemon::until_true;
use crate::site::Site;

impl Site {
    /// A session that runs one line and ends.
    fn one_session(&self) {
        let run = self.machine.run_args(["connect", "--command", "Get-Date"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        // The last entry about a session comes after its engineer was let go.
        until_true("the session's end is stated in the log", || {
            let log = std::fs::read_to_string(self.node_file("node.log")).expect("a log");
            log.matches(r#""event":"session-started""#).count()
                == log.matches(r#""event":"end-stated""#).count()
        });
    }

    fn prove(&self, more: &str) -> (i32, Value) {
        let run = self.machine.run(&format!("node-log prove {more} --output json"));
        (run.code, serde_json::from_str(&run.stdout).unwrap_or(Value::Null))
    }

    fn verify_all(&self, more: &str) -> (i32, Value) {
        let run = self.machine.run(&format!("session verify {more} --output json"));
        (run.code, serde_json::from_str(&run.stdout).expect("a verdict"))
    }

    fn events(&self) -> Vec<String> {
        let run = self.machine.run("node-log show --output json");
        let event = |line: &str| {
            serde_json::from_str::<Value>(line).ok()?["event"]["event"].as_str().map(str::to_owned)
        };
        run.stdout.lines().filter_map(event).collect()
    }

    fn node_file(&self, name: &str) -> PathBuf {
        self.role(Role::Node).join(name)
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("own directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy_all(&entry.path(), &target),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), target).expect("copied")),
            _ => {}
        }
    }
}

#[test]
fn sec31_the_log_says_who_had_access_and_finds_what_is_taken_out() {
    let mut site = Site::ready();
    let (code, proof) = site.prove("");
    assert_eq!(
        (code, proof["verdict"].as_str()),
        (6, Some("cannot-be-said")),
        "the agent starts later: {proof}"
    );
    site.one_session();
    let events = site.events();
    let at = |name: &str| {
        events.iter().position(|event| event == name).unwrap_or_else(|| panic!("{name}: {events:?}"))
    };
    assert!(at("begun") < at("agent-started") && at("session-started") < at("session-ended"), "{events:?}");
    assert!(
        events.iter().filter(|event| *event == "consent").count() >= 3,
        "request, desk, consent: {events:?}"
    );

    let entries: Vec<Value> = site
        .machine
        .run("node-log show --output json")
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect();
    let time = |name: &str| {
        let entry = entries.iter().find(|entry| entry["event"]["event"] == name).expect("there");
        entry["wallTime"].as_str().expect("a time").to_owned()
    };
    let (before, after) = (time("agent-started"), time("session-started"));
    let (code, proof) = site.prove(&format!("--from {before} --to {after}"));
    assert_eq!((code, proof["verdict"].as_str()), (0, Some("these-sessions")), "{proof}");
    assert_eq!(proof["sessions"][0]["engineer"], "engineer@support.example");
    // The last moment at which nobody was on: the heads that the session itself names.
    let (code, proof) = site.prove(&format!("--from {before} --to {before}"));
    assert_eq!((code, proof["verdict"].as_str()), (0, Some("no-access")), "{proof}");

    let (code, all) = site.verify_all("");
    assert_eq!((code, all["verdict"].as_str()), (0, Some("intact")), "{all}");
    let session = all["records"][0]["session"]["sessionId"].as_str().expect("an id").to_owned();
    let one = site.machine.json(&format!("session verify {session}"));
    assert_eq!(one["inNodeLog"], true);

    // Cut at the border of a record: by itself the record only lacks its end; the log knows what stood there.
    let record = site.records().remove(0);
    let bytes = std::fs::read(&record).expect("a record");
    let frames = crate::records::stored(&record);
    let last = frames.last().expect("an end").encode().len();
    std::fs::write(&record, &bytes[..bytes.len() - last]).expect("own directory");
    let (code, all) = site.verify_all("");
    assert_eq!(code, 6);
    let found = all["records"][0]["findings"].to_string();
    assert!(found.contains("are missing: a head of record"), "{found}");

    std::fs::remove_file(&record).expect("there");
    let (code, all) = site.verify_all("");
    assert_eq!((code, all["missing"][0]["session"].as_str()), (6, Some(session.as_str())), "{all}");
    assert_eq!(site.machine.run("session verify").code, 6);
    site.agent().signal(rustix::process::Signal::TERM);
    site.agent().exit_code();
    assert_eq!(site.events().last().map(String::as_str), Some("agent-stopped"));
}

/// Cut at a record's border and the agent started again: it does not take that for a crash.
#[test]
fn sec28_a_record_that_was_cut_is_not_blessed_by_a_restart() {
    let mut site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    site.agent().kill9();
    let record = site.record(session);
    let whole = std::fs::read(&record).expect("a record");
    let frames = crate::records::stored(&record);
    assert!(frames.len() > 2, "start, request, output");
    // The log names record 0 only, so the attacker keeps that: what is left looks like a crash right after the start. The
    // engineer's copy tells.
    let keep = 16 + frames[0].encode().len();
    std::fs::write(&record, &whole[..keep]).expect("own directory");
    site.start_agent();
    let (code, _) = site.verify_all(&session.to_string());
    assert_eq!(code, 0, "the control: without a witness this is what a crash leaves");
    let copy = site.received(session);
    let (code, all) = site.verify_all(&format!("--witness {}", copy.display()));
    assert_eq!(code, 6, "{all}");
    let found = all["records"][0]["findings"].to_string();
    assert!(found.contains("another record stood here") || found.contains("are missing"), "{found}");
}

#[test]
fn sec31_an_older_copy_put_back_is_found_by_a_witness_and_by_the_engineers_copy() {
    let mut site = Site::ready();
    site.one_session();
    site.agent().signal(rustix::process::Signal::TERM);
    site.agent().exit_code();
    let older = site.machine.file("older");
    copy_all(&site.role(Role::Node), &older);
    site.start_agent();
    site.connected();
    site.one_session();
    let witness = site.machine.file("w.json");
    assert_eq!(site.machine.run(&format!("node-log witness {}", witness.display())).code, 0);
    let given = format!("--witness {}", witness.display());
    let (code, all) = site.verify_all(&given);
    assert_eq!((code, all["log"]["witnesses"].as_u64()), (0, Some(1)), "{all}");
    let copies = crate::site::files(&site.role(Role::Engineer).join("received"));
    assert_eq!(copies.len(), 2);
    site.agent().signal(rustix::process::Signal::TERM);
    site.agent().exit_code();

    std::fs::remove_dir_all(site.role(Role::Node)).expect("own directory");
    copy_all(&older, &site.role(Role::Node));
    for (path, mode) in [(site.role(Role::Node), 0o700), (site.node_file("sessions"), 0o700)] {
        crate::machine::chmod(&path, mode);
    }
    assert_eq!(site.verify_all("").0, 0, "the control: by itself the older copy holds");
    assert_eq!(site.verify_all(&given).0, 6);
    let copies: Vec<String> = copies.iter().map(|copy| format!("--witness {}", copy.display())).collect();
    assert_eq!(site.verify_all(&copies.join(" ")).0, 6);
    let run = site.machine.run(&format!("session verify {given}"));
    assert!(
        run.stdout.starts_with("BROKEN") && run.stdout.contains("put back to an older copy"),
        "{}",
        run.stdout
    );
}

#[test]
fn sec31_a_log_that_was_cut_keeps_engineers_out_until_the_owner_begins_a_new_one() {
    let site = Site::ready();
    site.one_session();
    let log = site.node_file("node.log");
    let bytes = std::fs::read(&log).expect("a log");
    let border = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    std::fs::write(&log, &bytes[..border]).expect("own directory");
    let (code, all) = site.verify_all("");
    assert_eq!(code, 6);
    assert!(all["log"]["findings"].to_string().contains("cut off"), "{all}");
    let run = site.machine.run_args(["connect", "--command", "Get-Date"]);
    assert_eq!(run.code, 3, "nobody is let in off the log: {}", run.stderr);
    assert_eq!(site.machine.run("disable").code, 0, "the owner's revoke works all the same");
    assert_eq!(site.machine.run("node-log restart").code, 0);
    site.machine.enable("Diagnostics");
    site.connected();
    site.one_session();
}
