//! Access ends although something is broken: the command dies in the middle, the agent hangs, the store is exchanged.

use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rs_consent::party::{Grantor, Method};
use rs_session::host::end_statement;
use rs_session::record::Digest;
use rustix::process::Signal;
use uuid::Uuid;

use crate::daemon::until_true;
use crate::processes;
use crate::records;
use crate::site::Site;
use rs_cli::control::{PROBE_AFTER, PROBE_WAIT};
use rs_cli::last_resort::{GONE_WAIT, LIFELINE_WAIT};
use rs_cli::state::Role;
use rs_consent::Clock as _;

/// A change of the store by a process that did not call has ended sessions after this: well below the agent's heartbeat,
/// so it was told and did not happen to look. An idle machine needs about a tenth of a second.
const SEEN_MAX: Duration = Duration::from_secs(2);

fn owner() -> Grantor {
    Grantor {
        user: "operator".parse().expect("a name"),
        host: "node-01".parse().expect("a name"),
        method: Method::CommandLine,
    }
}

/// An agent that dies while it ends an operation leaves the supervisor stopped, and what is below it alive.
#[test]
fn sec08_what_an_agent_left_stopped_is_ended_by_the_next_one_and_nothing_else_is() {
    let mut site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    let supervisor = site.supervisor();
    // As the agent's own first step in ending a tree.
    signal(supervisor, Signal::STOP);
    stopped(supervisor);
    site.agent().kill9();
    engineer.exit_code();
    // Looks like it in all but one thing each: another node's, and none of an operation.
    let state = site.role(Role::Node);
    let stranger = |environment: &[(&str, &std::ffi::OsStr)]| {
        let mut command = std::process::Command::new("sleep");
        command.arg("600").envs(environment.iter().copied());
        let stranger = site.start("stranger", command);
        stranger.signal(Signal::STOP);
        stopped(stranger.pid());
        stranger
    };
    let elsewhere = site.machine.work();
    let strangers = [
        stranger(&[
            ("REMOTE_SUPPORT_OPERATION", "mark".as_ref()),
            ("STATE_DIRECTORY", elsewhere.as_os_str()),
        ]),
        stranger(&[("STATE_DIRECTORY", state.as_os_str())]),
    ];
    assert_eq!(processes::state(supervisor), Some('T'), "the control: by itself it stays");

    site.start_agent();
    assert!(processes::state(supervisor).is_none(), "gone before the agent answers");
    site.agent().says("1 operation(s) that an earlier agent had left behind were ended");
    let marked_only = |pid: &u32| !strangers.iter().any(|stranger| stranger.pid() == *pid);
    assert!(!site.workers().iter().any(marked_only), "and all that was below it");
    for stranger in &strangers {
        assert_eq!(processes::state(stranger.pid()), Some('T'), "a stranger is left as it is");
    }
    stated(&site, session, EndCause::Interrupted);
}

/// The same without a next agent: the operator revokes.
#[test]
fn sec08_what_an_agent_left_stopped_is_ended_by_a_revoke_too() {
    let mut site = Site::ready();
    let (mut engineer, _) = site.busy_engineer();
    let supervisor = site.supervisor();
    signal(supervisor, Signal::STOP);
    stopped(supervisor);
    site.agent().kill9();
    engineer.exit_code();
    assert_eq!(processes::state(supervisor), Some('T'), "the control: by itself it stays");
    let revoked = site.machine.json("disable");
    assert_eq!((&revoked["changed"], &revoked["leftoversEnded"]), (&true.into(), &1.into()));
    assert!(processes::state(supervisor).is_none(), "gone when the command returns");
    assert_eq!(site.workers(), Vec::<u32>::new());
}

/// Waits until a process that was told to stop has come to it.
#[track_caller]
fn stopped(pid: u32) {
    until_true("the process stands still", || processes::state(pid) == Some('T'));
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, signal).expect("own process");
}

/// The statement of a session's end, checked against node and record.
fn stated(site: &Site, session: Uuid, cause: EndCause) -> rs_session::ending::EndOfAccess {
    let record = site.record(session);
    let end =
        end_statement(&record, &site.key(Role::Node).public()).expect("read").expect("stated and signed");
    let frames = records::frames(&record);
    let last = frames.last().expect("records");
    assert_eq!((end.session_id, end.cause, end.records), (session, cause, frames.len() as u64));
    assert_eq!(end.head, last.link(), "it names the end record");
    end
}

#[test]
fn sec08_a_revoke_whose_command_died_before_its_call_is_seen_at_once() {
    let site = Site::ready();
    let mut seen = Vec::new();
    for _ in 0..10 {
        let (mut engineer, session) = site.busy_engineer();
        // What `disable` does before it calls, and nothing more.
        let now = rs_consent::SystemClock::new().now();
        site.store().revoke(&owner(), &now).expect("stored");
        let since = Instant::now();
        until_true("the session is down", || site.workers().is_empty() && site.status().sessions.is_empty());
        seen.push(since.elapsed());
        assert_eq!(engineer.exit_code(), 3);
        stated(&site, session, EndCause::Revoked);
        site.machine.enable("Diagnostics");
        site.connected();
    }
    seen.sort();
    println!("sessions down after a silent revoke: median {:?}, greatest {:?}", seen[5], seen[9]);
    assert!(seen[9] < SEEN_MAX, "{seen:?}");
}

#[test]
fn sec08_a_stuck_control_socket_delays_no_revoke() {
    let site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    let socket = site.role(Role::Node).join("control.sock");
    // Callers who say nothing take all places.
    let idle: Vec<_> = (0..rs_cli::control::CALLERS_MAX)
        .map(|_| std::os::unix::net::UnixStream::connect(&socket).expect("a place"))
        .collect();
    let since = Instant::now();
    let now = rs_consent::SystemClock::new().now();
    site.store().revoke(&owner(), &now).expect("stored");
    until_true("the session is down", || site.workers().is_empty());
    let took = since.elapsed();
    assert!(took < SEEN_MAX, "{took:?}");
    until_true("and on record", || records::ends(&site.record(session)) == [EndCause::Revoked]);
    drop(idle);
}

#[test]
fn sec11_disable_ends_an_agent_that_stands_still_with_all_that_it_runs() {
    let mut site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    site.agent().signal(Signal::STOP);
    let since = Instant::now();
    let said = site.machine.json("disable");
    let took = since.elapsed();
    assert_eq!(site.workers(), Vec::<u32>::new(), "no work survives");
    assert_eq!(said["agentEnded"], site.agent().pid());
    assert_eq!((&said["changed"], &said["sessionsEnded"]), (&true.into(), &1.into()));
    assert!(took < PROBE_AFTER + PROBE_WAIT + LIFELINE_WAIT + GONE_WAIT, "{took:?}");
    assert_eq!(site.agent().exit_code(), -1, "killed");
    assert_eq!(engineer.exit_code(), 5);
    println!("agent stopped: disable took {took:?}");
    // The record gets its end when an agent is there again, and the end is stated as found.
    site.start_agent();
    assert_eq!(records::ends(&site.record(session)), [EndCause::Interrupted]);
    let end = stated(&site, session, EndCause::Interrupted);
    assert_eq!((end.recovered, end.delays), (true, None));
    assert_eq!(site.machine.json("access"), serde_json::json!([]), "and nobody gets in again");
}

#[test]
fn sec11_session_end_and_request_close_end_an_agent_that_stands_still_too() {
    for command in ["session end", "request close"] {
        let mut site = Site::ready();
        let (_engineer, session) = site.busy_engineer();
        let what = if command == "session end" { session.to_string() } else { String::new() };
        site.agent().signal(Signal::STOP);
        let run = site.machine.run(&format!("{command} {what}"));
        assert_eq!(run.code, 0, "{command}: {}", run.stderr);
        assert!(run.stderr.contains("did not answer"), "{command}: {}", run.stderr);
        assert!(site.workers().is_empty(), "{command}");
    }
}

#[test]
fn sec12_disable_tells_how_the_end_went_and_where_it_is_stated() {
    let site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    let run = site.machine.run("disable");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let end = stated(&site, session, EndCause::Revoked);
    let delays = end.delays.expect("measured");
    assert!(run.stderr.contains(&format!("Session {session} ended (revoked): {delays}")), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("{session}.end.json")));
    assert!(delays.work_us.is_some() && delays.listener_us.is_some(), "{delays}");
    assert!(delays.gate_us <= delays.closed_us);
    assert_eq!(end.last_executed, Some(1), "record 1 is the line that ran");
    println!("{delays}");
}

#[test]
fn sec12_control_a_changed_statement_is_none() {
    let site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    site.machine.json("disable");
    stated(&site, session, EndCause::Revoked);
    let path = site.record(session).with_extension("end.json");
    let text = std::fs::read_to_string(&path).expect("a statement");
    let mut envelope: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let payload = envelope["payload"].as_str().expect("text").to_owned();
    let middle = payload.len() / 2;
    let other = if payload.as_bytes()[middle] == b'A' { 'B' } else { 'A' };
    envelope["payload"] = format!("{}{other}{}", &payload[..middle], &payload[middle + 1..]).into();
    std::fs::write(&path, envelope.to_string()).expect("own file");
    let node = site.key(Role::Node).public();
    assert_eq!(end_statement(&site.record(session), &node).expect("read"), None);
    assert_ne!(Digest::of(text.as_bytes()), Digest::of(envelope.to_string().as_bytes()));
}

/// The node's log names the statement by its hash: one that is taken away is missed, and one that says something else is
/// found, although the node's own key signed it.
#[test]
fn sec12_sec28_a_statement_that_was_taken_away_or_exchanged_is_found() {
    let mut site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    site.machine.json("disable");
    let end = stated(&site, session, EndCause::Revoked);
    let (record, statement) =
        (site.record(session), rs_session::ending::statement_path(&site.record(session)));
    let signed = std::fs::read(&statement).expect("a statement");
    let codes = |site: &Site| {
        let id = format!("session verify {session}");
        let lines = ["session verify", &id, &format!("history --session-id {session}")];
        lines.map(|line| site.machine.run(line).code)
    };
    assert_eq!(codes(&site), [0, 0, 0]);

    let kinder = rs_session::ending::EndOfAccess {
        delays: end.delays.map(|delays| rs_session::ending::Delays { closed_us: 1, ..delays }),
        ..end
    };
    let forged = rs_consent::Envelope::sign(&kinder, &site.key(Role::Node)).expect("signed");
    std::fs::write(&statement, format!("{}\n", forged.to_json())).expect("own file");
    assert_eq!(codes(&site), [6, 6, 6], "exchanged");
    // The control: by record and key alone, without the log, it passes.
    let apart = site.machine.file("apart");
    std::fs::create_dir(&apart).expect("own directory");
    for path in [&record, &statement] {
        std::fs::copy(path, apart.join(path.file_name().expect("a name"))).expect("own file");
    }
    let copy = apart.join(record.file_name().expect("a name"));
    let node_key = site.role(Role::Node).join("node.pub");
    let alone = site.machine.run_args([
        "session",
        "verify",
        copy.to_str().expect("text"),
        "--node-key",
        node_key.to_str().expect("text"),
    ]);
    assert_eq!(alone.code, 0, "{}{}", alone.stdout, alone.stderr);

    std::fs::remove_file(&statement).expect("own file");
    assert_eq!(codes(&site), [6, 6, 6], "taken away");
    let told = site.machine.run("session verify");
    assert!(told.stdout.contains("the end-of-access statement is gone"), "{}", told.stdout);
    // The agent makes a new one at its start, from the record, and that is another one.
    site.agent().signal(Signal::TERM);
    site.agent().exit_code();
    site.start_agent();
    assert!(statement.exists());
    assert_eq!(codes(&site), [6, 6, 6], "made anew");
    std::fs::write(&statement, signed).expect("own file");
    assert_eq!(codes(&site), [0, 0, 0], "put back");
}

/// An end that recovery made and stated is in the log too.
#[test]
fn sec12_sec28_a_recovered_statement_that_was_taken_away_is_found() {
    let mut site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    site.agent().kill9();
    site.start_agent();
    stated(&site, session, EndCause::Interrupted);
    assert_eq!(site.machine.run("session verify").code, 0);
    std::fs::remove_file(rs_session::ending::statement_path(&site.record(session))).expect("own file");
    assert_eq!(site.machine.run("session verify").code, 6);
}

#[test]
fn sec10_a_store_that_is_put_back_under_a_running_agent_opens_nothing() {
    let mut site = Site::ready();
    let store = site.role(Role::Node).join("store.sqlite");
    let copy = site.machine.file("copy.sqlite");
    let _settled = site.store();
    std::fs::copy(&store, &copy).expect("own file");
    let (_engineer, session) = site.busy_engineer();
    site.machine.json("disable");
    assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
    // As a restore does it: the file is put in place under the same name.
    for tail in ["-wal", "-shm"] {
        let _gone = std::fs::remove_file(site.role(Role::Node).join(format!("store.sqlite{tail}")));
    }
    std::fs::rename(&copy, &store).expect("own file");
    until_true("the owner is told", || site.machine.run("access").stderr.contains("was put back or copied"));
    assert_eq!(site.connect("").code, 5, "nobody listens");
    site.agent().signal(Signal::TERM);
    site.agent().exit_code();
    site.start_agent();
    assert_eq!(site.connect("").code, 5, "nor after a restart");
    assert_eq!(site.records().len(), 1);
    site.machine.enable("Diagnostics");
    site.connected();
    assert_eq!(site.connect("").code, 0, "a fresh consent is the owner's word");
}
