//! The engineer's console at a real terminal: prompt, interrupt, pager, completion, history, and every way out of it
//! (E04, E12, U08, SEC33, SEC37).

use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rustix::process::Signal;

use crate::daemon::until;
use crate::records;
use crate::site::{ENDLESS, Site};
use crate::terminal::Terminal;

/// What a node has to stop work before a second Ctrl-C gives up the session.
const INTERRUPT_WAIT: Duration = Duration::from_secs(3);

fn console(site: &Site, columns: u16, rows: u16) -> Terminal {
    Terminal::start(&site.machine.command(["connect"]), columns, rows)
}

/// Waits for a prompt below everything else, and gives the screen.
#[track_caller]
fn prompt(console: &Terminal) -> String {
    console.until("a prompt", |screen| {
        screen.contents().trim_end().lines().next_back().is_some_and(|line| line.trim_end().ends_with("PS>"))
    })
}

/// Types a line and waits for a text and a prompt after it.
#[track_caller]
fn run(console: &mut Terminal, line: &str, shown: &str) -> String {
    prompt(console);
    console.types(&format!("{line}\r"));
    console.until(&format!("{shown} and a prompt after {line}"), |screen| {
        let screen = screen.contents();
        let after = screen.rfind(line).and_then(|at| screen.get(at + line.len()..)).unwrap_or_default();
        after.contains(shown) && after.trim_end().ends_with("PS>")
    })
}

#[test]
fn e12_u08_the_prompt_says_where_at_which_level_how_long_and_how_far() {
    let site = Site::ready();
    let mut console = console(&site, 100, 30);
    let screen = prompt(&console);
    let shown = screen.lines().rev().find(|line| line.contains("PS>")).expect("a prompt");
    let inner =
        shown.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] PS>")).expect("its form").0;
    let (words, latency) = inner.rsplit_once(", ").expect("two parts");
    assert!(words.contains(" Diagnostics 7 h 59 min"), "{shown}");
    let millis: u64 = latency.strip_suffix(" ms").expect("milliseconds").parse().expect("a number");
    assert!(millis < 2000, "{shown}");
    run(&mut console, "Get-Date", ":");
    // What is typed while a line runs is the next line.
    console.types("Get-Date\rGet-Command -Name Get-Disk\r");
    console.shows("PS> Get-Command -Name Get-Disk");
    prompt(&console);
    console.types("exit\r");
    assert_eq!(console.end(), 0);
    assert!(console.is_as_before());
}

#[test]
fn ctrl_c_interrupts_the_operation_and_not_the_session() {
    let site = Site::ready();
    let mut console = console(&site, 100, 30);
    prompt(&console);
    // At the prompt it takes the line away and nothing else.
    console.types("Get-Nothing\u{3}");
    console.until("a new prompt", |screen| screen.contents().matches("PS>").count() == 2);
    console.types(&format!("{ENDLESS}\r"));
    console.shows("OK");
    // In a hurry: two are one.
    console.types("\u{3}\u{3}");
    console.shows("interrupted after");
    run(&mut console, "Get-Date", "2");
    // And again, so that it was no luck.
    console.types(&format!("{ENDLESS}\r"));
    console.until("it runs again", |screen| {
        // Its own output, not that of the first time.
        let shown = screen.contents();
        shown.matches(ENDLESS).count() == 2 && shown.rfind("OK") > shown.rfind(ENDLESS)
    });
    console.types("\u{3}");
    console.until("it is interrupted again", |screen| {
        screen.contents().matches("interrupted after").count() == 2
    });
    prompt(&console);
    console.types("\u{4}");
    assert_eq!(console.end(), 0, "Ctrl-D leaves");
    assert!(console.is_as_before());
    let sessions = site.records();
    assert_eq!(sessions.len(), 1, "all of it was one session");
    assert_eq!(records::ends(&sessions[0]), [EndCause::Exit]);
}

#[test]
fn a_node_that_answers_no_interrupt_does_not_hold_the_engineer() {
    let mut site = Site::ready();
    let (mut engineer, _session) = site.busy_engineer();
    site.agent().signal(Signal::STOP);
    let pressed = Instant::now();
    engineer.signal(Signal::INT);
    until("another press in a hurry is answered", || {
        engineer.signal(Signal::INT);
        engineer.stderr().contains("The node was told to stop it.").then_some(())
    });
    // What counts is the time that the node was given.
    std::thread::sleep(INTERRUPT_WAIT.saturating_sub(pressed.elapsed()));
    until("the session is given up", || {
        engineer.signal_if_there(Signal::INT);
        engineer.stderr().contains("the node does not answer; the session is given up").then_some(())
    });
    assert!(pressed.elapsed() >= INTERRUPT_WAIT, "two presses in a hurry are one");
    assert_eq!(engineer.exit_code(), 5);
}

#[test]
fn a_long_result_comes_a_screenful_at_a_time() {
    let site = Site::ready();
    let mut console = console(&site, 100, 10);
    prompt(&console);
    console.types("Get-Command\r");
    let first = console.shows("-- more -- Space page");
    console.types(" ");
    console.until("the next page", |screen| {
        let shown = screen.contents();
        shown != first && shown.contains("-- more --")
    });
    console.types("q");
    console.shows("lines were not shown; all of it is in your copy of the record.");
    assert!(console.screen().lines().count() <= 10);
    // What is looked for is passed on to.
    prompt(&console);
    console.types("Get-Command\r");
    console.shows("-- more -- Space page");
    console.types("/get-volume\r");
    console.shows("Get-Volume");
    console.types("q");
    // A short one has no pause.
    let screen = run(&mut console, "Get-Date", "2");
    assert!(!screen.contains("-- more"), "{screen}");
    // Ctrl-C at a pause interrupts, and the session lives.
    console.types("Get-Command\r");
    console.shows("-- more -- Space page");
    console.types("\u{3}");
    run(&mut console, "Get-Date", "2");
    console.types("exit\r");
    assert_eq!(console.end(), 0);
    assert!(console.is_as_before());

    // Control: without the pager there is no pause.
    let mut command = site.machine.command(["connect", "--no-pager"]);
    command.env("TERM", "xterm");
    let mut console = Terminal::start(&command, 100, 10);
    prompt(&console);
    console.types("Get-Command\r");
    console.until("the last command and a prompt", |screen| {
        let shown = screen.contents();
        assert!(!shown.contains("-- more"), "{shown}");
        shown.contains("Where-Object") && shown.trim_end().ends_with("PS>")
    });
}

#[test]
fn work_that_prints_nothing_is_said_to_run() {
    let site = Site::ready();
    let mut console = console(&site, 100, 30);
    prompt(&console);
    // It waits for the operator.
    console.types("Request-AccessLevel DiagnosticsRepair -Reason wish\r");
    console.shows("... runs for");
    console.types("\u{3}");
    console.until("a prompt, and nothing of that line", |screen| {
        let shown = screen.contents();
        !shown.contains("... runs for") && shown.matches("PS>").count() == 2
    });
    console.types("exit\r");
    assert_eq!(console.end(), 0);
}

#[test]
fn a_revoke_is_seen_at_once_also_in_front_of_a_pager() {
    let site = Site::ready();
    for at_pause in [true, false] {
        let mut console = console(&site, 100, 10);
        prompt(&console);
        if at_pause {
            console.types("Get-Command\r");
            console.shows("-- more -- Space page");
        }
        site.machine.json("disable");
        console.shows("Session ended (revoked)");
        assert_eq!(console.end(), 3);
        assert!(console.is_as_before(), "{}", console.screen());
        site.machine.enable("Diagnostics");
        site.connected();
    }
}

#[test]
fn e04_tab_completes_and_the_history_lasts_without_secrets() {
    let site = Site::ready();
    let mut console = console(&site, 100, 30);
    prompt(&console);
    console.types("Get-Dat\t");
    console.shows("PS> Get-Date");
    console.types("\r");
    console.until("a new prompt", |screen| screen.contents().matches("PS>").count() == 2);
    run(&mut console, "Get-Thing -Password hunter2hunter2", "refused");
    console.types("exit\r");
    assert_eq!(console.end(), 0);
    let history =
        std::fs::read_to_string(site.role(rs_cli::state::Role::Engineer).join("history")).expect("kept");
    assert!(history.contains("Get-Date") && !history.contains("hunter2"), "{history}");

    // The next console has it, with the newest first.
    let mut console = self::console(&site, 100, 30);
    prompt(&console);
    console.types("\u{1b}[A\u{1b}[A");
    console.shows("PS> Get-Date");
}

#[test]
fn the_console_gives_the_terminal_back_when_it_is_told_to_stop() {
    let site = Site::ready();
    for at_prompt in [true, false] {
        let mut console = console(&site, 100, 10);
        prompt(&console);
        if !at_prompt {
            console.types("Get-Command\r");
            console.shows("-- more -- Space page");
        }
        assert!(!console.is_as_before(), "control: keys are read");
        console.signal(Signal::TERM);
        assert_eq!(console.end(), 0);
        assert!(console.is_as_before(), "{}", console.screen());
    }
    let ends = || site.records().iter().flat_map(|path| records::ends(path)).collect::<Vec<_>>();
    until("both sessions were left in order", || (ends() == [EndCause::Exit, EndCause::Exit]).then_some(()));
}
