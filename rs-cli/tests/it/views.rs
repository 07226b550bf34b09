//! `session watch` and `session replay` as full-screen views: what stands on the screen, what keys do, and that the terminal
//! is given back on every way out (S17, S18, SEC37, U13).

use std::process::Command;

use rs_consent::EndCause;
use rustix::process::Signal;

use crate::machine::Machine;
use crate::replay::{HOSTILE, ID, hostile, keep, obeyed};
use crate::story::Story;
use crate::terminal::Terminal;

/// Twenty lines, each with its output, a second apart from each other.
/// Times that a size and keys come together: with a source of events that loses keys then, a run loses some.
const ROUNDS_OF_SIZES: usize = 300;

fn long() -> Story {
    let mut story = Story::begin();
    for line in 0..20 {
        story.request(line, &format!("Get-Thing {line}"));
        story.output(line, &format!("first {line}\nsecond {line}\n日本語 {line}\n"));
    }
    story.end(EndCause::Exit);
    story
}

fn machine(story: &Story) -> Machine {
    let machine = Machine::new();
    keep(&machine, story);
    machine
}

fn view(machine: &Machine, line: &str, columns: u16, rows: u16) -> Terminal {
    Terminal::start(&machine.command(line.split_whitespace()), columns, rows)
}

fn leave(mut terminal: Terminal) {
    terminal.types("q");
    assert_eq!(terminal.end(), 0);
    assert!(terminal.is_as_before(), "{}", terminal.screen());
}

/// The rows of the screen, none wider than it.
fn fits(screen: &str, columns: usize) {
    let wide = |line: &str| line.chars().map(|c| if u32::from(c) > 0x2e80 { 2 } else { 1 }).sum::<usize>();
    assert!(screen.lines().all(|line| wide(line) <= columns), "{screen}");
}

#[test]
fn s17_a_replay_is_stopped_stepped_sped_up_and_gone_through() {
    let machine = machine(&long());
    let mut replay = view(&machine, &format!("session replay {ID} --speed 0.01"), 80, 24);
    let screen = replay.shows("PLAYING");
    for fact in [
        "REPLAY",
        "engineer@support.example",
        "Diagnostics",
        "request 2611250000000001",
        "on node-01",
        "0.01 times as fast",
    ] {
        assert!(screen.contains(fact), "{fact}: {screen}");
    }
    assert!(replay.is_taken());
    replay.types(" ");
    replay.shows("STOPPED");
    replay.types(".");
    replay.shows("PS> Get-Thing 0");
    replay.types(".");
    let screen = replay.shows("second 0");
    assert!(!screen.contains("Get-Thing 1"), "one record a step: {screen}");
    replay.types(",");
    replay.until("a step back", |screen| !screen.contents().contains("second 0"));
    replay.types("++");
    replay.shows("0.04 times as fast");
    replay.types("5");
    replay.until("half of it", |screen| screen.contents().contains("PS> Get-Thing 9"));
    replay.types("f");
    replay.shows("PS> Get-Thing 14");
    replay.types("9");
    replay.shows("PS> Get-Thing 17");
    // What came long ago is scrolled to.
    replay.types("\u{1b}[H");
    let screen = replay.shows("SCROLLED BACK");
    assert!(screen.contains("Remote support transcript start"), "{screen}");
    replay.types("\u{1b}[F");
    replay.until("it follows", |screen| !screen.contents().contains("SCROLLED BACK"));
    // What is looked for is found in front of and behind the place that was reached.
    replay.types("0");
    replay.until("the beginning", |screen| !screen.contents().contains("Get-Thing"));
    replay.types("/SECOND 13\r");
    let screen = replay.shows("is in the marked line");
    assert!(screen.contains("second 13") && !screen.contains("Get-Thing 14"), "{screen}");
    replay.types("n");
    replay.shows("is not found further");
    replay.types("/nothing like it\r");
    replay.shows("\"nothing like it\" is not found");
    leave(replay);
}

#[test]
fn s17_a_replay_plays_by_itself_to_its_end_and_stays_there() {
    let machine = machine(&long());
    let replay = view(&machine, &format!("session replay {ID} --speed 1000"), 80, 24);
    let screen = replay.shows("AT THE END");
    assert!(screen.contains("Remote support transcript end"), "{screen}");
    leave(replay);
}

#[test]
fn u13_views_fit_a_narrow_terminal_and_follow_its_size() {
    let machine = machine(&long());
    let mut replay = view(&machine, &format!("session replay {ID} --speed 1000"), 40, 12);
    let screen = replay.shows("AT THE END");
    fits(&screen, 40);
    assert!(screen.contains("q leaves"), "{screen}");
    replay.resize(120, 30);
    let screen = replay.until("the new size is used", |screen| {
        screen.contents().lines().next().is_some_and(|line| line.contains("1000 times as fast"))
    });
    fits(&screen, 120);
    assert_eq!(screen.lines().count(), 30);
    // Too small for anything is no reason to fail.
    replay.resize(3, 2);
    replay.until("it is drawn", |screen| screen.contents().lines().count() <= 2);
    replay.resize(80, 24);
    replay.shows("1000 times as fast");
    replay.types("/日本語 7\r");
    let screen = replay.shows("is in the marked line");
    assert!(screen.contains("日本語 7"), "{screen}");
    leave(replay);
}

#[test]
fn keys_that_come_together_with_a_new_size_are_heard() {
    let machine = machine(&long());
    let mut replay = view(&machine, &format!("session replay {ID} --speed 1000"), 80, 24);
    replay.shows("AT THE END");
    for round in 0..ROUNDS_OF_SIZES {
        let number = round % 10;
        replay.resize(if round % 2 == 0 { 100 } else { 80 }, 24);
        replay.types(&format!("/second {number}\r"));
        let screen = replay.shows("is in the marked line");
        assert!(screen.contains(&format!("second {number}")), "{screen}");
        replay.types("9");
        replay.until("it goes on", |screen| !screen.contents().contains("marked line"));
    }
    leave(replay);
}

#[test]
fn sec37_nothing_in_a_record_steers_a_view() {
    let machine = machine(&hostile());
    for line in [format!("session replay {ID} --speed 10000"), format!("session watch {ID}")] {
        let view = view(&machine, &line, 80, 30);
        view.shows("owned");
        let written = view.written();
        // What we write ourselves: positions, attributes, modes.
        let mut rest = String::new();
        let mut parts = written.split("\u{1b}[");
        rest.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
            assert!(part[..end].chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | '?')), "{part:?}");
            rest.push_str(&part[end + 1..]);
        }
        assert_eq!(obeyed(&rest.replace('\r', "")), None, "{rest:?}");
        assert!(!written.contains("\u{1b}[31m") && !written.contains("\u{1b}]"), "{written:?}");
        // Control: the record holds them.
        assert!(HOSTILE.contains("\u{1b}[31m") && HOSTILE.contains("\u{1b}]"));
        leave(view);
    }
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let machine = machine(&long());
    let line = format!("session replay {ID} --speed 0.01");
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::INT] {
        let mut replay = view(&machine, &line, 80, 24);
        replay.shows("PLAYING");
        assert!(!replay.is_as_before(), "control: it is taken");
        replay.signal(signal);
        assert_eq!(replay.end(), 0, "{signal:?}");
        assert!(replay.is_as_before(), "{signal:?}: {}", replay.screen());
    }
    let mut replay = view(&machine, &line, 80, 24);
    replay.shows("PLAYING");
    replay.types("\u{3}");
    assert_eq!(replay.end(), 0, "Ctrl-C");
    assert!(replay.is_as_before());
    // Without a shell that could wake it, it does not go to sleep.
    let mut replay = view(&machine, &line, 80, 24);
    replay.shows("PLAYING");
    replay.types("\u{1a} ");
    replay.shows("STOPPED");
    leave(replay);
}

#[test]
fn a_view_that_is_suspended_gives_the_terminal_back_and_takes_it_again() {
    let machine = machine(&long());
    let program = machine.command(["session", "replay", ID, "--speed", "0.01"]);
    let mut shell = Command::new("bash");
    shell.args(["--norc", "--noediting", "-i"]).current_dir(machine.work()).env("PS1", "ready> ");
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let mut shell = Terminal::start(&shell, 80, 24);
    shell.shows("ready>");
    // Woken behind the shell's back it wants the terminal, which stops it once more, as it stops every job. The shell takes it for
    // running until then, and its `fg` would not wake it.
    let behind = "kill -CONT %1; while jobs %1 | grep -q Running; do :; done; fg\n";
    for (sleep, wakes) in [("\u{1a}", "fg\n"), ("\u{1a}", behind)] {
        shell.types(&format!("{}\n", line.join(" ")));
        shell.shows("PLAYING");
        shell.types(" ");
        shell.shows("STOPPED");
        shell.types(sleep);
        shell.until("the shell is back", |screen| {
            !screen.alternate_screen() && screen.contents().contains("[1]+")
        });
        assert!(shell.is_as_before(), "{}", shell.screen());
        shell.types(wakes);
        shell.until("the view is back", |screen| {
            screen.alternate_screen() && screen.contents().contains("STOPPED")
        });
        shell.types("q");
        // What is typed before the shell is back would be the view's, which passes it over.
        shell.until("it is left", |screen| {
            !screen.alternate_screen() && screen.contents().trim_end().ends_with("ready>")
        });
        shell.types("clear\n");
        shell.until("a clear screen", |screen| screen.contents().trim() == "ready>");
    }
    shell.types("exit\n");
    shell.end();
}

#[test]
fn u13_views_have_colour_only_where_it_is_wanted_and_no_meaning_by_it() {
    let machine = machine(&long());
    for (no_color, colour) in [(None, true), (Some("1"), false)] {
        let mut command = machine.command(["session", "replay", ID, "--speed", "1000"]);
        command.env_remove("NO_COLOR");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let mut replay = Terminal::start(&command, 80, 24);
        replay.shows("AT THE END");
        replay.types("/nowhere\r");
        replay.shows("is not found");
        let written = replay.written();
        let has = written.split("\u{1b}[").any(|part| {
            let numbers = part.split('m').next().unwrap_or_default();
            numbers.split(';').any(|number| matches!(number, "31" | "33" | "38" | "48" | "93"))
        });
        assert_eq!(has, colour, "{written:?}");
        leave(replay);
    }
}

#[test]
fn s12_a_watch_says_who_was_there_and_that_the_agent_is_down() {
    let mut story = Story::begin();
    story.request(1, "Get-Date");
    let machine = machine(&story);
    let watch = view(&machine, &format!("session watch {ID}"), 80, 24);
    let screen = watch.shows("CUT OFF: the agent is down");
    assert!(screen.contains("WATCH  engineer@support.example  Diagnostics"), "{screen}");
    assert!(screen.contains("PS> Get-Date") && screen.contains("No agent runs on this node"), "{screen}");
    leave(watch);
}

#[test]
fn a_view_is_shown_only_where_a_screen_can_be_used() {
    let machine = machine(&long());
    let line = format!("session replay {ID} --speed 1000");
    for (more, term) in [("--plain", "xterm"), ("--output json", "xterm"), ("", "dumb")] {
        let mut command = machine.command(format!("{line} {more}").split_whitespace());
        command.env("TERM", term);
        let mut terminal = Terminal::start(&command, 80, 24);
        assert_eq!(terminal.end(), 0);
        let written = terminal.written();
        assert!(written.contains("Get-Thing 19") && !written.contains('\u{1b}'), "{more}: {written:?}");
    }
}

#[test]
fn a_damaged_record_is_shown_up_to_its_fault_and_the_exit_code_says_so() {
    let machine = Machine::new();
    let story = long();
    keep(&machine, &story);
    let path = machine.state().join("node").join("sessions").join(format!("{ID}.record"));
    let mut file = story.file();
    let middle = file.len() / 2;
    file[middle..middle + 3000].fill(0xff);
    std::fs::write(path, file).expect("own file");
    let mut replay = view(&machine, &format!("session replay {ID} --speed 1000"), 80, 24);
    let screen = replay.shows("DAMAGED BEHIND HERE");
    assert!(screen.contains("Get-Thing"), "{screen}");
    replay.types("q");
    assert_eq!(replay.end(), 6);
    assert!(replay.screen().contains("session verify"), "{}", replay.screen());
}

/// Enough records that each look at all of them takes a while.
fn large() -> Story {
    let mut story = Story::begin();
    for line in 0..30_000 {
        story.request(line, "Get-Date");
    }
    story.end(EndCause::Exit);
    story
}

#[test]
fn long_work_says_how_far_it_is_at_a_terminal_and_nowhere_else() {
    let machine = machine(&large());
    let mut verify = view(&machine, &format!("session verify {ID}"), 60, 24);
    verify.end();
    let written = verify.written();
    assert!(written.contains("\rVerifying [#") && written.contains(" %"), "{written:?}");
    assert!(!verify.screen().contains("Verifying ["), "it goes when the work is over: {}", verify.screen());
    assert!(written.contains("SupportRequest"), "{written:?}");
    let mut json = view(&machine, &format!("session verify {ID} --output json"), 60, 24);
    json.end();
    assert!(!json.written().contains("Verifying ["), "not for programs");
    let piped = machine.run(&format!("session verify {ID}"));
    assert!(!piped.stderr.contains("Verifying ["), "not into a pipe: {}", piped.stderr);
}
