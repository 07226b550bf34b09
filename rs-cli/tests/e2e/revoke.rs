//! Revoking: when `disable` returns, everything is down.

use std::time::{Duration, Instant};

use rs_cli::state::Role;
use rs_consent::EndCause;
use rs_relay::client::Sender;
use rs_session::client::Client;
use rs_session::protocol::Form;
use rustix::process::Signal;
use uuid::Uuid;

use crate::daemon::{promised, until_true};
use crate::records;
use crate::site::Site;
use crate::tap::{credentials, reach};

/// How often a running operation is revoked for the measurement.
const ROUNDS: usize = 20;
/// A process tree is dead at the latest after this (SEC8).
const DEAD_MAX: Duration = Duration::from_secs(1);
/// `disable` has returned at the latest after this, whatever the relay and the engineer do (SEC8).
const RETURN_MAX: Duration = Duration::from_secs(1);

/// One revoke as the owner sees it.
struct Revoked {
    /// What the program says, in milliseconds.
    said: u64,
    /// From the start of the program to its end.
    took: Duration,
    /// From the wake-up of the session to the death of its work, as it stands on record.
    dead_after: Duration,
}

/// Runs `disable` and checks that it tells the truth the moment it returns.
fn disable(site: &Site, session: Uuid) -> Revoked {
    assert!(site.workers().len() >= 2, "a supervisor and its child run");
    let since = Instant::now();
    let said = site.machine.json("disable");
    let took = since.elapsed();
    assert_eq!(site.workers(), Vec::<u32>::new(), "sec08: work survives the revoke");
    assert!(site.status().sessions.is_empty());
    assert_eq!((&said["changed"], &said["sessionsStillEnding"]), (&true.into(), &0.into()));
    assert_eq!(said["sessionsEnded"], 1, "{said}");
    let (frame, end) = records::end(&site.record(session));
    assert_eq!(frame.skeleton().end, Some(EndCause::Revoked));
    assert!(took < promised(RETURN_MAX), "{took:?}");
    let dead_after = Duration::from_micros(end.killed_after_us.expect("work was killed"));
    assert!(dead_after < promised(DEAD_MAX), "{dead_after:?}");
    Revoked { said: said["elapsedMilliseconds"].as_u64().expect("a number"), took, dead_after }
}

/// Median and greatest.
fn spread<T: Ord + Copy + std::fmt::Debug>(mut values: Vec<T>) -> String {
    values.sort_unstable();
    format!("median {:?}, greatest {:?}", values[values.len() / 2], values[values.len() - 1])
}

#[test]
fn sec08_revoke_ends_running_work_and_the_channel_before_it_returns() {
    let site = Site::ready();
    let mut rounds = Vec::new();
    let mut engineers_know = Vec::new();
    for _ in 0..ROUNDS {
        site.machine.enable("Diagnostics");
        site.connected();
        let (mut engineer, session) = site.busy_engineer();
        rounds.push(disable(&site, session));
        engineers_know.push(until_true("the engineer's client ends", || engineer.has_ended()));
        assert_eq!(engineer.exit_code(), 3);
        assert!(engineer.stderr().contains("Session ended (revoked)"), "{}", engineer.stderr());
    }
    println!("{ROUNDS} revokes: disable says, in ms: {}", spread(rounds.iter().map(|r| r.said).collect()));
    println!("from start to end of `disable`: {}", spread(rounds.iter().map(|r| r.took).collect()));
    println!("work dead after: {}", spread(rounds.iter().map(|r| r.dead_after).collect()));
    println!("engineer's client ended after the return: {}", spread(engineers_know));
}

#[test]
fn sec08_an_engineer_who_reads_nothing_delays_no_revoke() {
    let site = Site::ready();
    let (engineer, session) = site.busy_engineer();
    engineer.signal(Signal::STOP);
    let revoked = disable(&site, session);
    println!("engineer stopped: disable says {} ms, took {:?}", revoked.said, revoked.took);
}

#[test]
fn sec08_a_stream_that_is_full_to_the_brim_delays_no_revoke() {
    // More lines than a person types are let through, or their number would end the session before the stream is full.
    let mut site = Site::ready_without_agent();
    let policy = r#"{ "limits": { "session": { "linesPerMinute": 60000 } } }"#;
    std::fs::write(site.role(Role::Node).join("policy.json"), policy).expect("own folder");
    site.start_agent();
    site.connected();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (connection, connector) = reach(&site, "send");
    // An engineer's client that asks and asks and never reads, until everything between both is full.
    let client = runtime.block_on(async {
        let stream = Sender::new(connection, connector).connect().await.expect("the relay joins");
        let connected = Client::connect(stream, credentials(&site), "test/1", None).await;
        let mut client = connected.expect("let in");
        let line = "Get-Nothing ".to_owned() + &"x".repeat(4000);
        let stuck = Duration::from_millis(500);
        while tokio::time::timeout(stuck, client.invoke(&line, Form::Text, None)).await.is_ok() {}
        client
    });
    let session = client.welcome().session;
    let written = site.record(session).metadata().expect("a record").len();
    let since = Instant::now();
    let said = site.machine.json("disable");
    let took = since.elapsed();
    assert_eq!((&said["sessionsEnded"], &said["sessionsStillEnding"]), (&1.into(), &0.into()));
    assert!(site.status().sessions.is_empty());
    assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
    assert!(took < promised(RETURN_MAX), "{took:?}");
    println!(
        "stream full after {written} bytes: disable says {} ms, took {took:?}",
        said["elapsedMilliseconds"]
    );
}

#[test]
fn sec11_a_relay_that_stands_still_delays_no_revoke() {
    let mut site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    site.relay().signal(Signal::STOP);
    let revoked = disable(&site, session);
    println!("relay stopped: disable says {} ms, took {:?}", revoked.said, revoked.took);
    site.agent().signal(Signal::TERM);
    assert_eq!(site.agent().exit_code(), 0, "the agent's end needs no relay either");
}

#[test]
fn sec11_sec17_without_its_relay_a_session_ends_and_disable_still_works() {
    let mut site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    site.relay().kill9();
    assert_eq!(engineer.exit_code(), 5, "cut, not complete: {}", engineer.stderr());
    until_true("the session is down", || site.status().sessions.is_empty());
    assert_eq!(site.workers(), Vec::<u32>::new());
    assert_eq!(records::ends(&site.record(session)), [EndCause::Transport]);
    let since = Instant::now();
    let said = site.machine.json("disable");
    assert_eq!((&said["changed"], &said["sessionsEnded"]), (&true.into(), &0.into()));
    assert!(since.elapsed() < promised(RETURN_MAX));
}

#[test]
fn sec08_revoke_ends_all_sessions_of_the_grant() {
    let site = Site::ready();
    let engineers = [site.busy_engineer(), site.busy_engineer()];
    let said = site.machine.json("disable");
    assert_eq!(said["sessionsEnded"], 2);
    assert!(site.workers().is_empty());
    for (mut engineer, session) in engineers {
        assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
        assert_eq!(engineer.exit_code(), 3);
    }
}

#[test]
fn sec08_closing_the_request_ends_its_sessions_too() {
    let site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    let number = site.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    let run = site.machine.run(&format!("request close {number}"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(site.workers().is_empty());
    assert_eq!(records::ends(&site.record(session)), [EndCause::RequestClosed]);
    assert_eq!(engineer.exit_code(), 3);
}

#[test]
fn sec49_sigterm_of_the_agent_ends_sessions_in_order() {
    let mut site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    site.agent().signal(Signal::TERM);
    assert_eq!(site.agent().exit_code(), 0);
    assert!(site.workers().is_empty());
    assert_eq!(records::ends(&site.record(session)), [EndCause::AgentStopped]);
    assert_eq!(engineer.exit_code(), 5);
    assert!(engineer.stderr().contains("Session ended (agent-stopped)"), "{}", engineer.stderr());
}
