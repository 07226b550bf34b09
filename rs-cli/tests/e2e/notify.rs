//! U10: programs and people are told what happens, and nobody waits for them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::until_true;
use crate::machine::chmod;
use crate::processes;
use crate::site::Site;

/// A program of the owner's, outside of what others can write.
fn hook(site: &Site, script: &str) -> PathBuf {
    let path = site.machine.file("hook");
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).expect("own directory");
    chmod(&path, 0o755);
    path
}

fn add(site: &Site, program: &Path) {
    let added = site.machine.run(&format!("notify add hook --to program://{}", program.display()));
    assert_eq!(added.code, 0, "{}", added.stderr);
}

fn told(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

fn kinds(path: &Path) -> Vec<String> {
    told(path).iter().filter_map(|event| event["kind"].as_str().map(str::to_owned)).collect()
}

/// What the program below hangs in.
fn is_sleep(arguments: &[u8]) -> bool {
    arguments.split(|byte| *byte == 0).any(|one| one == b"98765")
}

#[test]
fn u10_the_owners_program_is_told_what_matters_and_gets_nothing_else() {
    let mut site = Site::started();
    let folder = site.machine.work();
    let script = format!(
        "env > {0}/environment\npwd > {0}/where\necho \"$#\" > {0}/arguments\nls -l /proc/$$/fd > {0}/files\ncat >> {0}/told\n",
        folder.display()
    );
    let program = hook(&site, &script);
    add(&site, &program);
    site.papers();
    site.machine.enable("DiagnosticsRepair");
    site.connected();
    let run = site.machine.run_args(["connect", "--command", "Get-Nothing", "--command", "Get-Date"]);
    assert_ne!(run.code, 5, "{}", run.stderr);
    assert_eq!(site.machine.run("disable").code, 0);
    let file = folder.join("told");
    until_true("the revoke is told", || kinds(&file).contains(&"consent-revoked".to_owned()));
    until_true("the end is told", || kinds(&file).contains(&"session-ended".to_owned()));
    let mut found = kinds(&file);
    found.sort_unstable();
    assert_eq!(
        found,
        ["command-refused", "consent-granted", "consent-revoked", "session-ended", "session-started"],
        "each once, and no everyday business"
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("written");
    let environment = read("environment");
    let mut names: Vec<_> =
        environment.lines().filter_map(|line| line.split_once('=')).map(|one| one.0).collect();
    names.sort_unstable();
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    assert_eq!(names, ["LANG", "PATH"], "{environment}");
    assert_eq!((read("where").trim(), read("arguments").trim()), ("/", "0"));
    assert!(
        !read("files").contains(&site.machine.state().display().to_string()),
        "none of the agent's files"
    );
    let agent = site.agent().stderr();
    assert!(agent.contains("the program has taken the events"), "the result is in the log: {agent}");
}

#[test]
fn u10_a_program_that_fails_or_hangs_holds_up_no_session_and_loses_nothing() {
    let mut site = Site::ready();
    let folder = site.machine.work();
    let script = format!(
        "cd {}\nif [ -e hang ]; then sleep 98765 & sleep 98765; fi\n[ -e good ] || {{ echo 'the pager is\x1b[2J down' >&2; exit 7; }}\ncat >> told\n",
        folder.display()
    );
    let program = hook(&site, &script);
    std::fs::write(folder.join("hang"), "").expect("own directory");
    add(&site, &program);
    // It hangs from its first event on; the session and the revoke go their way.
    let connected = site.machine.run_args(["connect", "--command", "Get-Nothing"]);
    assert_ne!(connected.code, 5, "{}", connected.stderr);
    let hanging = || processes::all().filter(|pid| is_sleep(&processes::arguments(*pid))).count();
    until_true("it hangs", || hanging() >= 2);
    assert_eq!(site.machine.run("disable").code, 0);
    // An agent that stops takes the program and its group with it.
    site.agent().signal(rustix::process::Signal::TERM);
    site.agent().exit_code();
    until_true("nothing is left of it", || hanging() == 0);

    std::fs::remove_file(folder.join("hang")).expect("own file");
    site.start_agent();
    let trouble = || site.machine.json("notify list")[0]["trouble"].as_str().unwrap_or_default().to_owned();
    until_true("it is said", || trouble().contains("exit status: 7"));
    let said = trouble();
    assert!(said.contains("the pager is") && !said.contains('\x1b'), "{said:?}");
    std::fs::write(folder.join("good"), "").expect("own directory");
    let file = folder.join("told");
    until_true("nothing is lost", || {
        let kinds = kinds(&file);
        ["session-started", "command-refused", "session-ended", "consent-revoked"]
            .iter()
            .all(|kind| kinds.iter().any(|one| one == kind))
    });
    let ids: std::collections::BTreeSet<_> =
        told(&file).iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), told(&file).len(), "each once");
}

#[test]
fn u10_what_others_could_change_is_not_run() {
    let site = Site::empty();
    let program = hook(&site, "true\n");
    chmod(&program, 0o777);
    let line = format!("notify add hook --to program://{}", program.display());
    let refused = site.machine.run(&line);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("other users can change") && refused.stderr.contains("chmod go-w"),
        "{}",
        refused.stderr
    );
    chmod(&program, 0o755);
    assert_eq!(site.machine.run(&line).code, 0);
    // Nor is it run where it became so later.
    assert_eq!(site.machine.run("notify test").code, 0);
    chmod(&program, 0o777);
    let tried = site.machine.run("notify test");
    assert_eq!(tried.code, 5, "{} {}", tried.stdout, tried.stderr);
    assert!(tried.stdout.contains("other users can change"), "{}", tried.stdout);
}

#[test]
fn u10_a_test_event_arrives_everywhere_and_what_does_not_take_it_is_named() {
    let site = Site::started();
    let file = site.machine.file("events.jsonl");
    let add = |name: &str, more: &str| {
        let added = site.machine.run(&format!("forward add {name} {more}"));
        assert_eq!(added.code, 0, "{}", added.stderr);
    };
    assert_eq!(site.machine.run("notify test").code, 4, "nobody is told anything");
    add("file", &format!("--to file://{} --only consent-expired", file.display()));
    let tried = site.machine.json("notify test");
    assert_eq!((&tried[0]["name"], &tried[0]["arrived"]), (&Value::from("file"), &Value::from(true)));
    assert_eq!(kinds(&file), ["test"]);
    assert!(told(&file)[0]["operator"].as_str().is_some_and(|by| by.contains('@')));
    // Nobody listens on port 1.
    add("dead", "--to syslog+tcp://127.0.0.1:1");
    let tried = site.machine.run("notify test --output json");
    assert_eq!(tried.code, 7, "{} {}", tried.stdout, tried.stderr);
    let tried: Value = serde_json::from_str(&tried.stdout).expect("JSON");
    assert_eq!(tried[0]["arrived"], false);
    assert!(tried[0]["trouble"].as_str().is_some_and(|why| why.contains("reached")), "{tried}");
    assert_eq!(kinds(&file), ["test", "test"]);
    let doctor = site.machine.run("agent doctor");
    assert!(doctor.stdout.contains("dead is not told at present"), "{}", doctor.stdout);
    let log = site.machine.run("node-log show");
    assert_eq!(log.stdout.matches("tested").count(), 2, "who tried it is on record: {}", log.stdout);
}

#[test]
fn u10_only_what_is_asked_for_is_told_and_mistakes_are_said() {
    let site = Site::empty();
    for (more, said) in [
        ("--to file:///x --only sessions", "no kind of event"),
        ("--to program:hook", "named from the root"),
        ("--to program:///nowhere/hook", "find the program"),
        ("--to journal: --format json", "format of its own"),
        ("--to smtp://h --mail-to a@example.com", "--mail-from"),
        ("--to smtp://h --mail-from a@example.com", "recipients"),
        ("--to smtp://h --mail-from a@example.com --mail-to b", "no mail address"),
        ("--to smtp://h/x --mail-from a@example.com --mail-to b@example.com", "has no path"),
        (
            "--to smtp+clear://h --mail-from a@example.com --mail-to b@example.com --mail-credentials-file f",
            "over TLS only",
        ),
        ("--to file:///x --mail-to b@example.com", "only mail"),
    ] {
        let run = site.machine.run(&format!("notify add one {more}"));
        assert!(matches!(run.code, 2 | 4), "{more}: {} {}", run.code, run.stderr);
        assert!(run.stderr.contains(said), "{more}: {}", run.stderr);
    }
    let file = site.machine.file("events.jsonl");
    let add = format!(
        "notify add file --to file://{} --only consent-granted,consent-revoked --from-start",
        file.display()
    );
    assert_eq!(site.machine.run(&add).code, 0);
    site.machine.submit();
    site.machine.enable("Diagnostics");
    assert_eq!(site.machine.run("disable").code, 0);
    assert_eq!(site.machine.run("notify run").code, 0);
    assert_eq!(kinds(&file), ["consent-granted", "consent-revoked"]);
}

#[test]
fn u10_a_repair_operation_and_the_call_that_waits_are_told_and_reading_is_not() {
    let site = Site::started();
    site.papers();
    let folder = site.machine.work();
    let program = hook(&site, &format!("cat >> {}/told\n", folder.display()));
    add(&site, &program);
    site.machine.enable("DiagnosticsRepair --require-approval changes");
    site.connected();
    let mut engineer = site.engineer(["Get-Date", "Stop-Service -Name notify-test-nosuch"]);
    let file = folder.join("told");
    // The operator is told while there is still time to answer.
    until_true("the call that waits is told", || kinds(&file).contains(&"approval-asked".to_owned()));
    let asked = told(&file).into_iter().find(|event| event["kind"] == "approval-asked").expect("there");
    assert!(asked["message"].as_str().is_some_and(|text| text.contains("notify-test-nosuch")), "{asked}");
    let waiting = site.machine.json("session approvals");
    let id = waiting[0]["approvalId"].as_str().expect("an id");
    assert_eq!(site.machine.run(&format!("session approve {id}")).code, 0);
    let _code = engineer.exit_code();
    until_true("the end is told", || kinds(&file).contains(&"session-ended".to_owned()));
    let kinds = kinds(&file);
    assert_eq!(kinds.iter().filter(|kind| *kind == "repair-permitted").count(), 1, "{kinds:?}");
    assert!(!kinds.contains(&"command-permitted".to_owned()), "{kinds:?}");
    let repair = told(&file).into_iter().find(|event| event["kind"] == "repair-permitted").expect("there");
    assert_eq!(
        (&repair["eventId"], &repair["line"]),
        (&18246.into(), &"Stop-Service -Name notify-test-nosuch".into())
    );
}

/// What is kept of collectors belongs to the agent's account: whoever has taken that over must not have root run programs and
/// send secrets for it.
#[test]
fn u10_sec02_root_delivers_nothing_for_the_agent_of_another_account() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let site = Site::empty();
    let file = site.machine.file("told");
    let program = hook(&site, &format!("cat >> {}\n", file.display()));
    add(&site, &program);
    assert_eq!(site.machine.run("notify test").code, 0, "the control: root's own");
    assert_eq!(kinds(&file), ["test"]);
    chmod(site.machine.work().parent().expect("a directory"), 0o711);
    let handed = site.machine.run("agent hand-over nobody");
    assert_eq!(handed.code, 0, "{}", handed.stderr);
    let run = site.machine.run("notify run");
    assert_eq!(run.code, 3, "{} {}", run.stdout, run.stderr);
    let tried = site.machine.run("notify test");
    assert_eq!(tried.code, 5, "{} {}", tried.stdout, tried.stderr);
    assert_eq!(kinds(&file), ["test"], "it was not run again");
}
