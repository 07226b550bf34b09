//! A session again, and watching one: what reaches the terminal and when (SEC37, S17).

use std::time::{Duration, Instant};

use rs_consent::EndCause;
use serde_json::Value;

use crate::machine::Machine;
use crate::story::Story;

pub(crate) const ID: &str = "00000000-0000-0000-0000-000000000007";
/// Everything that output may try.
pub(crate) const HOSTILE: &str =
    "red\u{1b}[31m\u{9b}2J\u{1b}]0;owned\u{7}\rfake\u{8}\u{202e}cod\u{2066}x\u{200b}\n\ttab";

pub(crate) fn keep(machine: &Machine, story: &Story) {
    machine.submit();
    let sessions = machine.state().join("node").join("sessions");
    std::fs::create_dir_all(&sessions).expect("own directory");
    std::fs::write(sessions.join(format!("{ID}.record")), story.file()).expect("own directory");
}

pub(crate) fn hostile() -> Story {
    let mut story = Story::begin();
    story.request(1, HOSTILE);
    story.output(1, HOSTILE);
    story.end(EndCause::Exit);
    story
}

/// The first character that a terminal would obey instead of showing.
pub(crate) fn obeyed(text: &str) -> Option<char> {
    text.chars().find(|&c| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn sec37_replay_and_watch_print_nothing_that_steers_a_terminal() {
    let machine = Machine::new();
    keep(&machine, &hostile());
    for line in ["replay --speed 10000", "watch", "replay --speed 10000 --output json", "watch --output json"]
    {
        let run = machine.run(&format!("session {line} {ID}"));
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
        assert_eq!(obeyed(&run.stdout), None, "{line}: {:?}", run.stdout);
        assert_eq!(obeyed(&run.stderr), None, "{line}: {:?}", run.stderr);
        assert!(run.stdout.contains("red"), "{line}: it is shown: {}", run.stdout);
        if line.ends_with("json") {
            let events: Vec<Value> =
                run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let output = events.iter().find(|event| event["kind"] == "output").expect("the output");
            assert_eq!(output["content"]["text"], HOSTILE, "sec38: programs get what it was");
        } else {
            assert!(run.stdout.contains("\\u{1b}[31m") && run.stdout.contains("\\u{202e}"), "{}", run.stdout);
        }
    }
}

#[test]
fn sec37_control_raw_is_raw_and_only_when_asked_for() {
    let machine = Machine::new();
    keep(&machine, &hostile());
    let run = machine.run(&format!("session replay {ID} --raw --speed 10000"));
    assert_eq!((run.code, run.stdout.as_str()), (0, HOSTILE));
    assert!(run.stderr.contains("can steer this terminal"), "{}", run.stderr);
}

#[test]
fn s17_a_replay_takes_its_time_and_the_limit_of_a_pause_holds() {
    let machine = Machine::new();
    // Its records are a second apart from each other: three pauses.
    keep(&machine, &hostile());
    let took = |more: &str| {
        let since = Instant::now();
        let run = machine.run(&format!("session replay {ID} {more}"));
        assert_eq!(run.code, 0, "{}", run.stderr);
        since.elapsed()
    };
    assert!(took("--speed 3") >= Duration::from_secs(1), "three seconds at three times the speed");
    assert!(took("--idle-limit 0.5") >= Duration::from_millis(1500), "half a second each");
    let none = took("--idle-limit 0");
    assert!(none < Duration::from_secs(3), "no pause: {none:?}");
}

#[test]
fn sessions_that_are_not_there_and_values_out_of_range_are_told_apart() {
    let machine = Machine::new();
    assert_eq!(machine.run(&format!("session watch {ID}")).code, 4);
    assert_eq!(machine.run("session watch").code, 4);
    keep(&machine, &hostile());
    for (line, code) in [
        (format!("session replay {ID} --speed 0"), 2),
        (format!("session replay {ID} --idle-limit -1"), 2),
        ("session replay nothing.record".to_owned(), 4),
        ("session replay 00000000-0000-0000-0000-000000000008".to_owned(), 4),
        ("session watch 00000000-0000-0000-0000-000000000008".to_owned(), 4),
        (format!("session watch {ID} --before 100001"), 2),
    ] {
        let run = machine.run(&line);
        assert_eq!(run.code, code, "{line}: {}", run.stderr);
    }
}

#[test]
fn s12_a_record_without_an_end_and_without_an_agent_is_told() {
    let machine = Machine::new();
    let mut story = Story::begin();
    story.request(1, "Get-Date");
    keep(&machine, &story);
    let mut command = machine.command(["session", "watch", ID, "--output", "json"]);
    let mut watch = command.stdout(std::process::Stdio::piped()).spawn().expect("starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().expect("piped")));
    let cut_off = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("cut-off")));
    assert!(cut_off.is_some(), "it says so by itself");
    watch.kill().expect("own process");
    watch.wait().expect("own process");
}
