//! What holds for every command, found by walking the tree: results and failures as JSON (U03, I14), and a dry run for what
//! changes something (U09). A new command fails here until it is in its list.

use clap::CommandFactory as _;
use rs_cli::cli::Cli;
use serde_json::Value;

use crate::machine::{Machine, Run};
use crate::replay::{ID, hostile, keep};

/// Every command that can be run, by its words.
fn commands() -> Vec<String> {
    fn walk(command: &clap::Command, before: &str, found: &mut Vec<String>) {
        for inner in
            command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        {
            let words = format!("{before} {}", inner.get_name()).trim().to_owned();
            // Those of Windows make a service of the machine; they have tests of their own there.
            if !inner.is_subcommand_required_set() && !words.starts_with("agent service") {
                found.push(words.clone());
            }
            walk(inner, &words, found);
        }
    }
    let mut found = Vec::new();
    walk(&Cli::command(), "", &mut found);
    found
}

/// The command that these words name.
fn has_dry_run(words: &str) -> bool {
    let tree = Cli::command();
    let found = words.split(' ').fold(&tree, |command, word| command.find_subcommand(word).expect(word));
    found.get_arguments().any(|arg| arg.get_long() == Some("dry-run"))
}

/// Commands that change what a role keeps, or what runs: each has a dry run.
const CHANGE: &[&str] = &[
    "enable",
    "approve",
    "disable",
    "session end",
    "session approve",
    "session decline",
    "session hold",
    "session release",
    "session redact",
    "session expire",
    "node-log restart",
    "agent hand-over",
    "diagnostic-data remove",
    "diagnostic-data destination set",
    "diagnostic-data destination clear",
    "request submit",
    "request confirm",
    "request close",
    "desk init",
    "desk open",
    "desk assign",
    "desk close",
    "engineer init",
    "forward add",
    "forward remove",
];

/// Commands that look, deliver, or write the file that they are told to write.
const LOOK: &[&str] = &[
    "access",
    "history",
    "session watch",
    "session replay",
    "session verify",
    "session export",
    "session approvals",
    "node-log prove",
    "node-log witness",
    "node-log show",
    "diagnostic-data list",
    "diagnostic-data show",
    "diagnostic-data verify",
    "diagnostic-data destination show",
    "request list",
    "request report",
    "operations",
    "operations export-jea",
    "agent status",
    "agent version",
    "agent doctor",
    "connect",
    "proxy endpoints",
    "proxy allowlist",
    "proxy settings",
    "proxy check",
    "forward list",
    "forward run",
    "forward test",
    "explain",
    "relay connection-string",
    "relay token",
    "completions",
    "man-pages",
];

/// Commands that serve until they are stopped.
const SERVE: &[&str] = &["agent run", "console", "relay serve", "demo"];

#[test]
fn u09_every_command_that_changes_something_has_a_dry_run() {
    for words in commands() {
        let lists = [CHANGE, LOOK, SERVE].map(|list| list.contains(&words.as_str()));
        assert_eq!(
            lists.iter().filter(|is_in| **is_in).count(),
            1,
            "'{words}' belongs into one of the lists"
        );
        assert_eq!(has_dry_run(&words), lists[0], "{words}");
    }
}

/// A node with a grant, a request, a desk, an engineer, a session on record and a collector.
fn lived_in() -> Machine {
    let machine = Machine::new();
    keep(&machine, &hostile());
    for line in ["desk init", "desk open", "engineer init", "desk assign --engineer e@support.example"] {
        let _printed = machine.json(line);
    }
    machine.enable("Diagnostics");
    let to = url::Url::from_file_path(machine.file("events.json")).expect("named from the root");
    let _printed = machine.json(&format!("forward add siem --to {to}"));
    machine
}

/// The state, but for files that only a look leaves behind: SQLite's own beside the store.
fn state(machine: &Machine) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = machine.state_files();
    files.retain(|(path, _)| !path.to_string_lossy().contains("store.sqlite-"));
    files.sort();
    files
}

#[test]
fn u09_a_dry_run_of_every_command_changes_nothing() {
    let machine = lived_in();
    let number = machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    std::fs::write(machine.file("sas"), "https://account.blob.core.windows.net/c?sig=x&sp=cw&sv=1")
        .expect("own file");
    crate::machine::chmod(&machine.file("sas"), 0o600);
    let closing = machine.json("desk close --file closing.json --dry-run");
    assert_eq!(closing["dryRun"], true);
    assert!(!machine.file("closing.json").exists());
    let before = state(&machine);
    let store = |machine: &Machine| {
        let mut grants = machine.json("access");
        // It goes by, whoever looks.
        grants[0]["remainingSeconds"].take();
        (grants, machine.json("request list"), machine.run("node-log show").stdout)
    };
    let rows = store(&machine);
    let to = url::Url::from_file_path(machine.file("other.json")).expect("named from the root");
    for (line, code) in [
        ("enable --access-level DiagnosticsRepair".to_owned(), 0),
        ("approve".to_owned(), 4),
        ("disable".to_owned(), 0),
        (format!("session end {ID}"), 5),
        (format!("session approve {ID}"), 4),
        (format!("session decline {ID}"), 4),
        (format!("session hold {ID} --reason kept"), 0),
        (format!("session hold {ID} --reason {}", "x".repeat(2000)), 2),
        (format!("session release {ID}"), 4),
        (format!("session redact {ID} --pattern owned --reason wish"), 0),
        (format!("session redact {ID} --record 999 --reason wish"), 4),
        ("session expire".to_owned(), 0),
        ("agent hand-over no-such-account".to_owned(), 2),
        ("node-log restart".to_owned(), 0),
        (format!("diagnostic-data remove {ID}"), 4),
        ("diagnostic-data destination set --sas-url-file sas".to_owned(), 0),
        ("diagnostic-data destination clear".to_owned(), 0),
        ("request submit --reason other --file other.json".to_owned(), 0),
        (format!("request confirm {number}"), 0),
        (format!("request close {number}"), 0),
        ("request close 2611250000000009".to_owned(), 4),
        ("desk init --desk-name Other".to_owned(), 0),
        (format!("desk open {number}"), 0),
        ("desk assign --engineer other@support.example --file other.json".to_owned(), 0),
        ("desk close".to_owned(), 0),
        ("engineer init".to_owned(), 0),
        (format!("forward add other --to {to}"), 0),
        (format!("forward add siem --to {to}"), 2),
        ("forward remove siem".to_owned(), 0),
        ("forward remove other".to_owned(), 4),
    ] {
        // Under wine every file is for everybody, and a credential in such a file is refused.
        if line.contains("--sas-url-file") && std::env::var_os("TEST_UNDER_WINE").is_some() {
            continue;
        }
        let run = machine.run(&format!("{line} --dry-run --output json"));
        assert_eq!(run.code, code, "{line}: {}{}", run.stdout, run.stderr);
        if code == 0 && line != "session expire" {
            let shown: Value = serde_json::from_str(&run.stdout).expect(&line);
            assert_eq!(shown["dryRun"], true, "{line}");
        }
        assert!(!machine.file("other.json").exists(), "{line}");
        let after = state(&machine);
        for (old, new) in before.iter().zip(&after) {
            let is_store = old.0.to_string_lossy().ends_with("store.sqlite");
            assert_eq!(old.0, new.0, "{line}");
            assert!(is_store || old.1 == new.1, "{line}: {}", old.0.display());
        }
        assert_eq!(before.len(), after.len(), "{line}");
    }
    assert_eq!(store(&machine), rows);
}

/// Whether this is JSON: one value, or one on each line.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
        || (!text.is_empty() && text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()))
}

#[track_caller]
fn answers_in_json(line: &str, run: &Run) {
    let Run { code, stdout, stderr } = run;
    if *code == 0 {
        assert!(is_json(stdout), "{line}: {stdout:?} {stderr}");
        return;
    }
    assert!(stdout.is_empty() || is_json(stdout), "{line}: {stdout:?}");
    let told = stderr.lines().any(|line| {
        serde_json::from_str::<Value>(line).is_ok_and(|value| value["error"]["code"].is_string())
    });
    assert!(told || is_json(stdout), "{line} ({code}): {stderr}");
}

#[test]
fn u03_i14_every_command_answers_in_json() {
    let machine = lived_in();
    let number = machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    let sas = "https://account.blob.core.windows.net/c?sig=x&sp=cw&sv=1";
    std::fs::write(machine.file("sas"), sas).expect("own file");
    std::fs::write(machine.file("list"), "*.servicebus.windows.net\n").expect("own file");
    crate::machine::chmod(&machine.file("sas"), 0o600);
    // By the words of the command; what follows are its arguments. In an order in which most of it works.
    let lines = [
        "access |",
        "history |",
        "session watch | ID",
        "session replay | ID --idle-limit 0",
        "session verify |",
        "session verify | ID",
        "session export | ID bundle",
        "session export | ID -",
        "session approvals |",
        "session approve | ID",
        "session decline | ID",
        "session end | ID",
        "session hold | ID --reason kept",
        "session release | ID",
        "session redact | ID --record 1 --reason wish",
        "session expire |",
        "node-log prove | --from -7d",
        "node-log witness | witness.json",
        "node-log show |",
        "node-log restart |",
        "diagnostic-data list |",
        "diagnostic-data show | ID",
        "diagnostic-data verify | ID",
        "diagnostic-data remove | ID",
        "diagnostic-data destination set | --sas-url-file sas",
        "diagnostic-data destination show |",
        "diagnostic-data destination clear |",
        "request list |",
        "request report | NUMBER",
        "request submit | --reason more --file more.json",
        "request confirm | NUMBER",
        "operations |",
        "operations export-jea | jea",
        "agent status |",
        "agent version |",
        "agent doctor |",
        "agent hand-over | no-such-account",
        "desk init |",
        "desk open |",
        "desk assign | --engineer e@support.example",
        "desk close |",
        "engineer init |",
        "connect | --command Get-Date",
        "proxy endpoints |",
        "proxy allowlist | list",
        "proxy settings |",
        "proxy check | --timeout 1 --endpoint none",
        "forward add | more --to file:///nowhere/events",
        "forward list |",
        "forward run | more",
        "forward test | more",
        "forward remove | more",
        "explain |",
        "relay connection-string | --side listen",
        "relay token |",
        "request close | NUMBER",
        "enable | --access-level Diagnostics --agree-to-remote-support-consent",
        "approve |",
        "disable |",
        "man-pages | pages",
    ];
    // A script for a shell is no result.
    let others = ["completions"];
    let mut tested: Vec<&str> = others.to_vec();
    for line in lines {
        let (words, arguments) = line.split_once('|').expect("a bar");
        tested.push(words.trim());
        let arguments = arguments.replace("ID", ID).replace("NUMBER", &number);
        let line = format!("{} {arguments}", words.trim());
        // A rendering for standard output has the form that it was asked for by `--format`.
        let more = if line.ends_with(" -") { "--format json --output json" } else { "--output json" };
        answers_in_json(&line, &machine.run(&format!("{line} {more}")));
    }
    for words in commands() {
        let is_tested = tested.contains(&words.as_str()) || SERVE.contains(&words.as_str());
        assert!(is_tested, "'{words}' belongs into the lines above");
    }
}

#[test]
fn u13_no_command_prints_a_sequence_for_the_terminal_where_there_is_none() {
    let machine = lived_in();
    for line in [
        "access",
        "history",
        "session verify",
        "agent doctor",
        "operations",
        "request list",
        "enable",
        "no-such",
    ] {
        for output in ["list", "table", "json"] {
            let run = machine.run(&format!("{line} --output {output}"));
            assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{line}: {run:?}");
        }
    }
}
