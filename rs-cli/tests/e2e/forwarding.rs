//! What happens on a node reaches its collectors: each event once, through kills of the agent and with a dead collector beside.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::daemon::until_true;
use crate::site::{Site, session_of};

/// The events in a collector's file, each of which must be whole.
fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be in the middle of being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("an event on each line")).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["kind"].as_str()).collect()
}

fn add(site: &Site, name: &str, to: &str) {
    let added = site.machine.run(&format!("forward add {name} --to {to} --from-start"));
    assert_eq!(added.code, 0, "{}", added.stderr);
}

#[test]
fn q07_a_whole_session_is_told_from_consent_to_revoke() {
    let site = Site::ready();
    let file = site.machine.file("events.jsonl");
    add(&site, "siem", &format!("file://{}", file.display()));
    let run = site.machine.run_args(["connect", "--command", "Get-Date", "--command", "Get-Nothing"]);
    assert_ne!(run.code, 5, "{}", run.stderr);
    let revoked = site.machine.run("disable");
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    until_true("the revoke is told", || kinds(&events(&file)).contains(&"consent-revoked"));
    until_true("the end is told", || kinds(&events(&file)).contains(&"session-ended"));

    let events = events(&file);
    let kinds = kinds(&events);
    for expected in [
        "request-submitted",
        "request-opened",
        "consent-granted",
        "agent-started",
        "session-started",
        "command-permitted",
        "command-refused",
        "command-finished",
    ] {
        assert!(kinds.contains(&expected), "{expected} is missing: {kinds:?}");
    }
    let permitted = events.iter().find(|event| event["kind"] == "command-permitted").expect("there");
    assert_eq!(permitted["line"], "Get-Date");
    assert_eq!(permitted["engineer"], "engineer@support.example");
    let granted = events.iter().find(|event| event["kind"] == "consent-granted").expect("there");
    assert_eq!(
        (&granted["eventId"], &granted["accessLevel"]),
        (&Value::from(18101), &Value::from("Diagnostics"))
    );
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str()).collect();
    assert_eq!(ids.len(), events.len(), "each once");
}

#[test]
fn each_event_once_through_kills_of_the_agent_with_a_dead_collector_beside() {
    let mut site = Site::ready_without_agent();
    let file = site.machine.file("events.jsonl");
    add(&site, "file", &format!("file://{}", file.display()));
    // Nobody listens on port 1.
    add(&site, "dead", "syslog+tcp://127.0.0.1:1");
    let mut sessions = Vec::new();
    for _ in 0..5 {
        site.start_agent();
        site.connected();
        let mut engineer = site.engineer((0..60).map(|n| format!("Get-Nothing{n}")));
        sessions.push(session_of(&engineer));
        let told = events(&file).len();
        until_true("something is told", || events(&file).len() > told);
        site.agent().kill9();
        engineer.exit_code();
    }
    site.start_agent();
    let end = |events: &[Value]| {
        let ended = |session: Value| {
            events.iter().any(|event| event["kind"] == "session-ended" && event["sessionId"] == session)
        };
        sessions.iter().all(|session| ended(Value::from(session.to_string())))
    };
    until_true("all ends are told", || end(&events(&file)));
    let events = events(&file);
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str()).collect();
    assert_eq!(ids.len(), events.len(), "each once");
    // What is on record was told: every refused line, by its number in the record.
    for session in &sessions {
        let session = session.to_string();
        let history = site.machine.json(&format!("history --session-id {session}"));
        let refusals =
            history["refusals"].as_u64().or_else(|| history[0]["refusals"].as_u64()).expect("a count");
        let told = events
            .iter()
            .filter(|event| event["kind"] == "command-refused" && event["sessionId"] == session.as_str())
            .count();
        assert_eq!(told as u64, refusals, "{session}");
    }

    until_true("the dead one is complained about", || {
        let list = site.machine.json("forward list");
        list.as_array().is_some_and(|list| {
            list.iter().any(|one| {
                one["name"] == "dead" && one["trouble"].as_str().is_some_and(|why| why.contains("reached"))
            })
        })
    });
}

#[test]
fn mistakes_are_said_and_change_nothing() {
    let site = Site::empty();
    for (line, code, said) in [
        ("forward add a/b --to file:///x", 2, "letters, digits"),
        ("forward add siem --to gopher://x", 2, "is no way to a collector"),
        ("forward add siem --to https://user:canary@h/", 2, "--token-file"),
        ("forward add siem --to file:///x --token-file t", 2, "over TLS only"),
        ("forward remove nobody", 4, "no such collector"),
        ("forward run nobody", 4, "no such collector"),
    ] {
        let run = site.machine.run(line);
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{line}: {}", run.stderr);
        assert!(!run.stderr.contains("canary"), "{line}: {}", run.stderr);
    }
    assert_eq!(site.machine.json("forward list"), Value::Array(Vec::new()));
    assert_eq!(site.machine.run("forward add siem --to syslog+tcp://127.0.0.1:1").code, 0);
    let twice = site.machine.run("forward add SIEM --to file:///x");
    assert_eq!(twice.code, 2);
    assert!(twice.stderr.contains("has this name already"), "{}", twice.stderr);
    assert_eq!(site.machine.run("forward remove siem").code, 0);
}
