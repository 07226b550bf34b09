//! Evidence that leaves the node: the bundle, its verification by somebody else, and the renderings.

use std::path::{Path, PathBuf};
use std::process::Command;

use rs_cli::state::Role;
use serde_json::Value;

use crate::daemon::{until, until_true};
use crate::machine::Machine;
use crate::site::Site;

/// A node on which one session ran, and its id.
fn exported() -> (Site, String, PathBuf) {
    let site = Site::ready();
    let run =
        site.machine.run_args(["connect", "--command", "Get-Date", "--command", "Stop-Service -Name ssh"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let statement = site.role(Role::Node).join("sessions").join(format!("{session}.end.json"));
    until_true("the end-of-access statement is there", || statement.exists());
    let bundle = site.machine.file("bundle");
    let export = site.machine.run(&format!("session export {session} {}", bundle.display()));
    assert_eq!(export.code, 0, "{}{}", export.stdout, export.stderr);
    (site, session, bundle)
}

fn names(bundle: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(bundle)
        .expect("a bundle")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// Whoever exports is told what else the bundle discloses, and can leave the node's log out.
#[test]
fn s19_sec33_a_bundle_says_what_it_discloses_and_can_go_without_the_log() {
    let site = Site::ready();
    let other = session_with(&site);
    let session = session_with(&site);
    let key = site.role(Role::Node).join("node.pub");
    let export = |name: &str, more: &str| {
        let to = site.machine.file(name);
        let run = site.machine.run(&format!("session export {session} {} {more}", to.display()));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let verified =
            site.machine.run(&format!("session verify {} --node-key {}", to.display(), key.display()));
        assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
        (to, run.stderr, verified.stdout)
    };
    let names_other = |path: &Path| {
        let bytes = std::fs::read(path).expect("a file");
        bytes.windows(other.len()).any(|part| part == other.as_bytes())
    };

    let (whole, told, verified) = export("whole", "");
    assert!(told.contains("node.log names every session"), "{told}");
    assert!(names_other(&whole.join("node.log")), "the control: it does");
    assert!(verified.contains("goes through every place that the log names"), "{verified}");

    let (bare, told, verified) = export("bare", "--node-log none");
    assert!(told.contains("The node's log is not in it"), "{told}");
    assert!(verified.contains("exported without the log"), "{verified}");
    for name in names(&bare) {
        // The report is of the request, and both sessions were for it.
        assert!(
            name.starts_with("report.") || !names_other(&bare.join(&name)),
            "{name} names another session"
        );
    }
    // A log that is put in, or taken out, after the export is found.
    std::fs::copy(whole.join("node.log"), bare.join("node.log")).expect("own directory");
    std::fs::remove_file(whole.join("node.log")).expect("own directory");
    for bundle in [&bare, &whole] {
        assert_eq!(site.machine.run(&format!("session verify {}", bundle.display())).code, 6);
    }
}

fn session_with(site: &Site) -> String {
    let run = site.connect("");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told = run.stderr.split_once(" Session ").expect("let in").1;
    told.split_once('.').expect("its id").0.to_owned()
}

#[test]
fn s19_q09_a_bundle_is_whole_and_anybody_verifies_it() {
    let (site, session, bundle) = exported();
    let expected = [
        "README.txt",
        "assignment.json",
        "grant.json",
        "keys.json",
        "manifest.json",
        "node.log",
        "opening.json",
        "report.json",
        "report.txt",
        "request-on-node.json",
        "request.json",
        "session.end.json",
        "session.record",
        "terms.txt",
        "transcript.txt",
    ];
    // The desk is on this machine, so its opening lies in its own folder.
    let found = names(&bundle);
    for name in expected.iter().filter(|name| **name != "opening.json") {
        assert!(found.iter().any(|found| found == name), "{name} is missing: {found:?}");
    }

    let stranger = Machine::new();
    let key = stranger.file("node.pub");
    std::fs::copy(site.role(Role::Node).join("node.pub"), &key).expect("copied");
    let given = format!("--node-key {}", key.display());
    let verify = |more: &str| {
        let run = stranger.run(&format!("session verify {} {more} --output json", bundle.display()));
        let told: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
        (run.code, told)
    };
    let (code, told) = verify(&given);
    assert_eq!((code, &told["intact"]), (0, &true.into()), "{told}");
    assert_eq!(told["manifest"]["session"], session.as_str());
    assert!(told["record"]["heads"].as_u64() >= Some(2), "the log names start and end: {told}");
    assert!(!stranger.state().exists(), "verifying makes nothing");
    let run = stranger.run(&format!("session verify {} {given}", bundle.display()));
    assert!(run.stdout.starts_with("INTACT") && run.stdout.contains("Not checked:"), "{}", run.stdout);

    for name in names(&bundle) {
        let path = bundle.join(&name);
        let bytes = std::fs::read(&path).expect("a file");
        for at in [0, bytes.len() / 3, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).expect("own directory");
            let (code, told) = verify(&given);
            assert_eq!(code, 6, "byte {at} of {name} was changed");
            assert!(told["findings"].to_string().contains(&name), "{name} is not named: {told}");
        }
        std::fs::remove_file(&path).expect("own directory");
        assert_eq!(verify(&given).0, 6, "{name} removed");
        std::fs::write(&path, bytes).expect("own directory");
    }
    std::fs::write(bundle.join("more.txt"), "x").expect("own directory");
    assert_eq!(verify(&given).0, 6, "a file was added");
    std::fs::remove_file(bundle.join("more.txt")).expect("own directory");
    assert_eq!(verify(&given).0, 0, "the control: all is back");
    std::fs::copy(site.role(Role::Engineer).join("engineer.pub"), &key).expect("copied");
    let (code, told) = verify(&given);
    assert_eq!(code, 6, "another key");
    assert!(told["findings"][0]["file"] == "manifest.json", "the true reason first: {told}");
    assert_eq!(verify("").0, 0, "without a key it is of one piece");
}

/// A statement that is changed, of another session, or beside a record that was cut, is found; the clean ones hold.
#[test]
fn sec12_the_end_of_access_statement_is_held_against_its_record() {
    let (site, first, _) = exported();
    let run = site.machine.run_args(["connect", "--command", "Get-Date"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let sessions = site.role(Role::Node).join("sessions");
    let statement = sessions.join(format!("{first}.end.json"));
    let other = until("the second session's statement", || {
        let entries = std::fs::read_dir(&sessions).expect("a folder");
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.to_string_lossy().ends_with(".end.json") && *path != statement)
    });
    let verify = |what: &str| site.machine.run(&format!("session verify {what}"));
    assert_eq!(verify("").code, 0, "clean");
    assert_eq!(verify(&first).code, 0, "clean");

    let clean = std::fs::read(&statement).expect("own file");
    let mut changed = clean.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for (what, bytes) in [("changed", changed), ("foreign", std::fs::read(other).expect("own file"))] {
        std::fs::write(&statement, bytes).expect("own file");
        for target in ["", first.as_str()] {
            let found = verify(target);
            assert_eq!(found.code, 6, "{what}: {}{}", found.stdout, found.stderr);
            assert!(found.stdout.contains("end-of-access statement"), "{what}: {}", found.stdout);
        }
    }
    std::fs::write(&statement, clean).expect("own file");
    assert_eq!(verify("").code, 0, "clean again");
}

#[test]
fn s19_an_export_is_in_the_log_and_overwrites_nothing() {
    let (site, session, bundle) = exported();
    let again = site.machine.run(&format!("session export {session} {}", bundle.display()));
    assert_eq!(again.code, 1, "{}", again.stderr);
    let log = site.machine.run("node-log show --output json").stdout;
    assert_eq!(log.matches("\"event\":\"exported\"").count(), 1, "{log}");
    assert_eq!(site.machine.run("session verify").code, 0);
    let unknown = site.machine.run("session export 00000000-0000-0000-0000-000000000009 x");
    assert_eq!(unknown.code, 4);
}

#[test]
fn s09_q04_renderings_are_what_other_programs_read() {
    let (site, session, _) = exported();
    let render = |form: &str| {
        let run = site.machine.run(&format!("session export {session} - --format {form}"));
        assert_eq!(run.code, 0, "{form}: {}", run.stderr);
        run.stdout
    };
    let text = rs_session::transcript::text::parse(&render("text")).expect("our own shape");
    assert_eq!(text.field("Session"), Some(session.as_str()));
    assert!(text.field("Terms").expect("terms").contains("sha256"), "q04");
    let commands: Vec<String> = text.commands().into_iter().map(|called| called.command).collect();
    assert_eq!(commands, ["Get-Date"], "the refused line was not run");
    for line in render("json").lines() {
        let _: Value = serde_json::from_str(line).expect("a line of JSON");
    }
    assert!(render("csv").lines().count() > 4);

    let cast = site.machine.file("session.cast");
    let run = site.machine.run(&format!("session export {session} {} --format asciicast", cast.display()));
    assert_eq!(run.code, 0, "{}", run.stderr);
    if Command::new("asciinema").arg("--version").output().is_err() {
        assert!(std::env::var_os("REQUIRE_PROXIES").is_none(), "asciinema is not installed");
        return;
    }
    // The player insists on a terminal.
    for how in ["cat", "play --speed 1000"] {
        let line = format!("asciinema {how} {}", cast.display());
        let played = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("LC_ALL", "C.UTF-8")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script is there");

        let shown = String::from_utf8_lossy(&played.stdout);
        assert!(played.status.success(), "{how}: {shown}");
        assert!(shown.contains("PS> Get-Date") && shown.contains("refused (needs-repair)"), "{how}: {shown}");
    }
}

#[test]
fn q08_one_document_tells_the_whole_request() {
    let (site, session, _) = exported();
    let number = site.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    let report = site.machine.json(&format!("request report {number}"));
    assert_eq!(report["sessions"][0]["id"], session.as_str());
    assert_eq!(report["grants"][0]["accessLevel"], "Diagnostics");
    let commands = report["sessions"][0]["commands"].as_array().expect("commands");
    let told: Vec<(&str, &str)> = commands
        .iter()
        .map(|command| (command["line"].as_str().expect("text"), command["outcome"].as_str().expect("text")))
        .collect();
    assert_eq!(told, [("Get-Date", "done"), ("Stop-Service -Name ssh", "refused")]);
    let text = site.machine.run(&format!("request report {number}")).stdout;
    for line in ["Support request", "Consent:", "Session:", "Get-Date", "outcome: done", "Terms:"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(site.machine.run("request report 2611250000000099").code, 4);
}

/// Each record leads to who, what, when and under what; over all records of a real session.
#[test]
fn sec32_each_record_of_a_real_session_leads_to_who_what_when_and_under_what() {
    let (site, ..) = exported();
    let engineer = site.machine.run_args([
        "connect",
        "--command",
        "Get-Process | Select-Object Id",
        "--command",
        "nonsense",
    ]);
    assert_ne!(engineer.code, 0);
    let mut checked = 0;
    for record in site.records() {
        let frames = crate::records::frames(&record);
        let identity = frames[0].skeleton().session.clone().expect("record 0 says what the session is");
        assert_eq!(identity.engineer.id.to_string(), "engineer@support.example");
        let grant = site
            .store()
            .grant(rs_consent::GrantId::new(identity.grant_id))
            .expect("a store")
            .expect("the consent");
        assert_eq!(grant.terms.sha256, identity.terms.sha256);
        assert!(site.store().request(identity.support_request).expect("a store").is_some());
        assert!(identity.node_log.is_some(), "and to the node's log");
        let mut boot = 0;
        for (number, frame) in frames.iter().enumerate() {
            let skeleton = frame.skeleton();
            assert_eq!(skeleton.sequence, number as u64);
            assert!(skeleton.boot_time_ns > boot && skeleton.wall_time.timestamp() > 1_700_000_000);
            boot = skeleton.boot_time_ns;
            match crate::records::content(frame).expect("its content") {
                rs_session::record::Content::Request(request) => {
                    let command = request.plan["call"]["command"].as_str();
                    assert!(command.is_some_and(|command| request.line.starts_with(command)), "{request:?}");
                    assert!(request.invocation > 0);
                }
                rs_session::record::Content::Start(start) => {
                    assert!(start.assignment.is_some() && !start.reason.is_empty());
                }
                rs_session::record::Content::Refusal(refusal) => assert!(!refusal.code.is_empty()),
                _ => {}
            }
            checked += 1;
        }
        assert_ne!(
            identity.catalog_sha256,
            rs_session::record::Digest::of(b""),
            "the version of the operations"
        );
    }
    assert!(checked > 10, "{checked} records");
}
