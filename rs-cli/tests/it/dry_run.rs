//! `--dry-run` looks and changes nothing (U09), and mistakes are told to programs as they are told to people (I14).

use serde_json::Value;

use crate::machine::Machine;

#[test]
fn u09_a_dry_run_shows_terms_and_grant_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let run = machine.run("enable --access-level Diagnostics --expire-in-minutes 60 --dry-run --output json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let shown: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&shown["dryRun"], &shown["minutes"]), (&true.into(), &60.into()));
    let text = shown["terms"]["text"].as_str().expect("the terms").trim_end();
    assert!(run.stderr.contains(text.lines().next().expect("a line")), "{}", run.stderr);
    let permits = shown["permits"].as_str().expect("what the level permits");
    assert!(permits.contains(&format!("{} listed commands", shown["commands"])), "{permits}");
    assert!(!machine.state().exists(), "a look makes nothing");

    // What was shown can be agreed to by its version.
    let version = shown["terms"]["version"].as_str().expect("a version");
    let grant = machine.json(&format!(
        "enable --access-level Diagnostics --expire-in-minutes 60 --agree-to-terms {version}"
    ));
    assert_eq!(grant["terms"]["version"], version);
    assert_eq!(grant["terms"]["sha256"], shown["terms"]["sha256"]);
}

#[test]
fn u09_a_dry_run_changes_no_grant_and_no_log() {
    let machine = Machine::new();
    machine.enable("Diagnostics --expire-in-minutes 60");
    let before = (machine.json("access"), machine.run("node-log show").stdout);
    let preview = machine.json("enable --access-level DiagnosticsRepair --dry-run");
    assert_eq!(preview["replaces"], before.0[0]["id"]);
    let revoke = machine.json("disable --dry-run");
    assert_eq!(revoke["grantId"], before.0[0]["id"]);
    let after = (machine.json("access"), machine.run("node-log show").stdout);
    for field in ["id", "revision", "accessLevel", "expiresAt", "state"] {
        assert_eq!(before.0[0][field], after.0[0][field], "{field}");
    }
    assert_eq!(before.1, after.1);
}

#[test]
fn u09_a_dry_run_refuses_what_the_command_would_refuse() {
    let machine = Machine::new();
    for (line, code) in [
        ("enable --access-level Diagnostics --dry-run --agree-to-terms 1999", 3),
        ("enable --access-level Diagnostics --dry-run --support-request 2611280000000001", 4),
        ("enable --access-level Diagnostics --dry-run --expire-in-minutes 59", 2),
        ("enable --access-level Diagnostics --dry-run --sas-credential-file missing", 4),
    ] {
        let run = machine.run(line);
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{line}: {}", run.stdout);
    }
    assert!(!machine.state().exists());
}

#[test]
fn i14_mistakes_in_the_arguments_are_json_where_json_was_asked_for() {
    let machine = Machine::new();
    for (line, word) in [
        ("enable --access-level Diagnostics --expire-in-minutes 59 --output json", "60 to 20160"),
        ("enable -AccessLevel Diagnostics -Foo -Output JSON", "'Foo'"),
        ("enable -output:json", "--access-level"),
        ("--output=json no-such-command", "no-such-command"),
    ] {
        let run = machine.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{line}");
        let told: Value =
            serde_json::from_str(&run.stderr).unwrap_or_else(|_| panic!("{line}: {}", run.stderr));
        assert_eq!(told["error"]["code"], "invalid-value", "{line}");
        assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains(word)), "{line}: {told}");
    }
    for line in ["enable --output list -Foo", "enable --output jsn", "enable -Foo -- --output json"] {
        let run = machine.run(line);
        assert_eq!(run.code, 2, "{line}");
        assert!(run.stderr.starts_with("error: "), "{line}: {}", run.stderr);
    }
}
