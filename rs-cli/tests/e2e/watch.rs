//! The owner watches: live, from outside, and with the means to end what they see.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rexpect::session::spawn_command;
use rs_consent::EndCause;

use crate::daemon::{promised, until, until_true};
use crate::records;
use crate::site::{ENDLESS, Site, session_of};
use crate::terminal::Terminal;

/// From an event to the screen (S17).
const SEEN_MAX: Duration = Duration::from_secs(1);

#[test]
fn s17_a_watcher_sees_each_event_within_a_second() {
    let site = Site::ready();
    let watch = site.start("watch", site.machine.command(["session", "watch", "--output", "json"]));
    let (_engineer, session) = site.busy_engineer();
    until_true("the session is on the screen", || watch.stdout().contains(&session.to_string()));
    let mut late = Vec::new();
    for seen in 2..6 {
        // The work prints once a second; each print is a record, and the watcher's file grows.
        let outputs = || watch.stdout().matches("\"kind\":\"output\"").count();
        let on_record = || {
            let frames = records::frames(&site.record(session));
            frames
                .iter()
                .filter(|frame| {
                    matches!(records::content(frame), Some(rs_session::record::Content::Output(_)))
                })
                .count()
        };
        until_true("it is on record", || on_record() >= seen);
        let since = Instant::now();
        until_true("it is on the screen", || outputs() >= seen);
        late.push(since.elapsed());
    }
    println!("seen after it was on record: {late:?}");
    assert!(late.iter().all(|late| *late < promised(SEEN_MAX)), "{late:?}");
    site.machine.json("disable");
    until_true("the end is on the screen", || watch.stdout().contains("\"revoked\""));
}

#[test]
fn s17_s18_a_session_is_ended_from_the_watch_and_the_consent_stands() {
    let site = Site::ready();
    let (mut engineer, session) = site.busy_engineer();
    let other = site.engineer([ENDLESS]);
    let stays = session_of(&other);
    let mut command = site.machine.command(["session", "watch", &session.to_string(), "--plain"]);
    command.stdin(Stdio::inherit());
    let mut watch = spawn_command(command, Some(30_000)).expect("a terminal");
    watch.exp_string("Keys: q leaves").expect("a terminal is noticed");
    watch.send("e").and_then(|_| watch.flush()).expect("typed");
    watch.exp_string("y ends it").expect("asked");
    watch.send("n").and_then(|_| watch.flush()).expect("typed");
    watch.exp_string("No session was ended").expect("not without a yes");
    watch.send("e").and_then(|_| watch.flush()).expect("typed");
    watch.exp_string("y ends it").expect("asked");
    watch.send("y").and_then(|_| watch.flush()).expect("typed");
    watch.exp_string("end-of-access statement").expect("told how it went");
    assert_eq!(engineer.exit_code(), 3);
    assert_eq!(records::ends(&site.record(session)), [EndCause::Operator]);
    assert_eq!(site.machine.json("access")[0]["state"], "Active");
    let open = until("the other lives on", || site.status().sessions.first().map(|one| one.session_id));
    assert_eq!(open, stays);
}

#[test]
fn s17_s18_the_view_shows_what_happens_and_a_key_ends_a_session() {
    let site = Site::ready();
    let mut watch = Terminal::start(&site.machine.command(["session", "watch"]), 80, 24);
    watch.shows("No session is open. The next one is shown as soon as it begins.");
    let (mut engineer, session) = site.busy_engineer();
    let screen = watch.shows("OK");
    assert!(screen.contains("WATCH  engineer@support.example  Diagnostics  7 h 59 min left"), "{screen}");
    assert!(screen.contains(ENDLESS) && screen.contains("since "), "{screen}");
    // It goes on by itself, and stands still for somebody who reads what was before.
    watch.types("\u{1b}[5~");
    watch.shows("SCROLLED BACK");
    watch.types("\u{1b}[F");
    watch.until("it follows", |screen| !screen.contents().contains("SCROLLED BACK"));
    watch.resize(40, 20);
    watch.until("the new size is used", |screen| {
        screen.contents().lines().next().map(str::trim_end) == Some("WATCH  engineer@support.example")
    });
    watch.types("e");
    let asked = watch.shows("The consent stands. y ends it, any other key does not.");
    assert!(asked.lines().all(|line| line.chars().count() <= 40), "{asked}");
    watch.types("n");
    watch.shows("No session was ended.");
    assert_eq!(site.status().sessions.len(), 1);
    let other = site.engineer([ENDLESS]);
    let stays = session_of(&other);
    watch.shows("2 sessions");
    watch.types("e");
    let asked = watch.shows("Which session?");
    let short = session.simple().to_string().chars().take(8).collect::<String>();
    // The head lists it too, without a number.
    let number = asked.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [number @ ("1" | "2"), id, ..] if id == short => Some(number.to_owned()),
        _ => None,
    });
    watch.types(&number.expect("its line"));
    watch.shows("y ends it");
    watch.types("y");
    watch.shows("ended (operator)");
    assert_eq!(engineer.exit_code(), 3);
    assert_eq!(records::ends(&site.record(session)), [EndCause::Operator]);
    assert_eq!(site.machine.json("access")[0]["state"], "Active");
    let open = until("the other lives on", || site.status().sessions.first().map(|one| one.session_id));
    assert_eq!(open, stays);
    site.machine.json("disable");
    watch.shows("No session is open.");
    watch.types("q");
    assert_eq!(watch.end(), 0);
    assert!(watch.is_as_before());
    watch.shows("Signed end-of-access statement:");
}

#[test]
fn s17_the_agent_may_die_while_one_watches() {
    let mut site = Site::ready();
    let (_engineer, session) = site.busy_engineer();
    let watch = site.start("watch", site.machine.command(["session", "watch", &session.to_string()]));
    until_true("the output is on the screen", || watch.stdout().contains("OK"));
    site.agent().kill9();
    watch.says("the agent is down");
    site.start_agent();
    until_true("the end of recovery is on the screen", || watch.stdout().contains("Cause: interrupted"));
}
