//! Several commands, sessions and agents at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rs_consent::EndCause;

use crate::daemon::until_true;
use crate::machine::{Machine, Run};
use crate::records;
use crate::site::{ENDLESS, Site, session_of};

/// How many commands run at once.
const AT_ONCE: u32 = 6;
/// `access` answers at the latest after this, whatever the agent writes; with room for a machine that runs other tests.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Runs commands at the same time.
fn at_once(machine: &Machine, lines: impl IntoIterator<Item = String>) -> Vec<Run> {
    let start = |line: String| {
        let mut command = machine.command(line.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let children: Vec<_> = lines.into_iter().map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().expect("ends").into()).collect()
}

#[test]
fn c15_enables_at_once_lose_nothing() {
    let machine = Machine::new();
    // The first of all may come from any of them.
    let line = |n| {
        format!(
            "enable --agree-to-remote-support-consent --access-level Diagnostics --expire-in-minutes {}",
            60 + n
        )
    };
    for run in at_once(&machine, (0..AT_ONCE).map(line)) {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let listed = machine.json("access --include-expired");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "one grant: {listed}");
    assert_eq!(listed[0]["revision"], AT_ONCE);
    let store = rs_consent::store::ConsentStore::open(machine.state().join("node/store.sqlite"));
    let store = store.expect("a store");
    let id = listed[0]["id"].as_str().expect("an id").parse::<uuid::Uuid>().expect("an id");
    let log = store.log(0, 1000).expect("a log");
    let enabled = |minutes: u32| {
        log.iter().any(|entry| match &entry.act {
            rs_consent::store::Act::GrantEnabled { grant, minutes: given, .. } => {
                *grant.as_uuid() == id && given.get() == minutes
            }
            _ => false,
        })
    };
    for n in 0..AT_ONCE {
        assert!(enabled(60 + n), "the consent of {} minutes is in the node log", 60 + n);
    }
}

#[test]
fn sec07_enables_and_disables_at_once_end_in_one_of_both() {
    let site = Site::ready();
    let enable = "enable --agree-to-remote-support-consent --access-level Diagnostics";
    let lines = (0..AT_ONCE).map(|n| if n % 2 == 0 { enable } else { "disable" }.to_owned());
    for run in at_once(&site.machine, lines) {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let active = site.machine.json("access").as_array().map(Vec::len);
    let wanted = if active == Some(0) { "NotConnected" } else { "Connected" };
    until_true("the agent follows", || site.status().connection_status == wanted);
    assert_eq!(site.machine.run("disable").code, 0);
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
}

#[test]
fn c23_access_answers_while_the_agent_writes_heavily() {
    let site = Site::ready();
    let lines = || (0..3000).map(|n| format!("Get-Nothing{n}"));
    let mut engineers = [site.engineer(lines()), site.engineer(lines())];
    let sessions = engineers.each_ref().map(session_of);
    let written = || sessions.map(|session| site.record(session).metadata().expect("a record").len());
    let mut slowest = Duration::ZERO;
    let before = written();
    for round in 0..15 {
        let since = Instant::now();
        let listed = if round % 2 == 0 { site.machine.json("access") } else { site.machine.json("history") };
        assert!(!listed.as_array().expect("a list").is_empty());
        slowest = slowest.max(since.elapsed());
    }
    let after = written();
    assert!(after[0] > before[0] && after[1] > before[1], "the agent wrote meanwhile");
    println!(
        "slowest answer {slowest:?} beside {} bytes of records",
        after[0] + after[1] - before[0] - before[1]
    );
    assert!(slowest < ANSWER_MAX, "{slowest:?}");
    assert!(engineers.iter_mut().all(|engineer| !engineer.has_ended()));
}

#[test]
fn ending_one_of_two_sessions_leaves_the_other_alive() {
    let site = Site::ready();
    let (mut one, ended) = site.busy_engineer();
    let (mut two, alive) = site.busy_engineer();
    let run = site.machine.json(&format!("session end {ended}"));
    assert_eq!((&run["ended"], &run["sessionId"]), (&true.into(), &ended.to_string().into()));
    assert_eq!(records::ends(&site.record(ended)), [EndCause::Operator]);
    assert_eq!(one.exit_code(), 3, "{}", one.stderr());
    assert!(one.stderr().contains("Session ended (operator)"), "{}", one.stderr());
    let open: Vec<_> = site.status().sessions.into_iter().map(|session| session.session_id).collect();
    assert_eq!(open, [alive]);
    let shown = two.stdout().len();
    until_true("the other goes on", || two.stdout().len() > shown);
    assert!(!two.has_ended());
    assert_eq!(site.machine.json("access")[0]["state"], "Active", "the consent stands");
    assert_eq!(site.machine.run(&format!("session end {ended}")).code, 4, "it is not open any more");
    assert_eq!(site.connect("").code, 0, "and somebody can come in");
}

#[test]
fn a_second_agent_refuses_and_the_first_goes_on() {
    let site = Site::ready();
    let pid = site.status().pid;
    let mut engineer = site.engineer([ENDLESS]);
    let session = session_of(&engineer);
    let second = site.machine.run("agent run");
    assert_eq!(second.code, 5, "{}", second.stderr);
    assert!(second.stderr.contains("agent"), "{}", second.stderr);
    assert_eq!(site.status().pid, pid);
    assert_eq!(site.status().sessions.len(), 1);
    assert!(records::ends(&site.record(session)).is_empty(), "its records are not touched");
    assert!(!engineer.has_ended());
}
