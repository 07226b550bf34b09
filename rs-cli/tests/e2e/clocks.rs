//! Clocks that are set, stand still or run away, under the real program (SEC9, SEC10).
//!
//! The agent's wall clock is set with libfaketime, its boot clock moved with a time namespace. Both leave every other
//! process as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rs_consent::EndCause;
use rs_session::record::Content;
use rustix::process::Signal;

use crate::daemon::{promised, until_true};
use crate::expiry::{enable_ending_in, now};
use crate::records;
use crate::site::Site;

/// An end by a clock that was set comes within this.
const NOTICED_MAX: Duration = Duration::from_secs(1);

/// libfaketime, if it is installed. The tests that run everything install it.
fn faketime() -> Option<PathBuf> {
    let found = ["x86_64", "aarch64"].iter().find_map(|machine| {
        let path = format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1");
        Some(PathBuf::from(path)).filter(|path| path.exists())
    });
    assert!(
        found.is_some() || std::env::var_os("REQUIRE_PROXIES").is_none(),
        "the package faketime is missing"
    );
    found
}

/// A machine whose agent has a wall clock that the test sets.
struct SetClock {
    site: Site,
    offset: PathBuf,
    preload: PathBuf,
}

impl SetClock {
    fn ready() -> Option<Self> {
        let preload = faketime()?;
        let mut site = Site::empty();
        site.start_relay();
        site.papers();
        site.machine.enable("Diagnostics --expire-in-minutes 60");
        let offset = site.machine.file("offset");
        set(&offset, 0);
        let mut ready = Self { site, offset, preload };
        ready.start_agent();
        ready.site.connected();
        Some(ready)
    }

    fn start_agent(&mut self) {
        let (preload, offset) = (&self.preload, &self.offset);
        self.site.start_agent_with(|command| {
            command.env("LD_PRELOAD", preload).env("FAKETIME_TIMESTAMP_FILE", offset);
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        });
    }
}

fn set(file: &Path, seconds: i64) {
    // In one step: a reader sees the old or the new one.
    let draft = file.with_extension("new");
    std::fs::write(&draft, format!("{seconds:+}s\n")).expect("own file");
    std::fs::rename(&draft, file).expect("own file");
}

fn outputs(site: &Site, session: uuid::Uuid) -> usize {
    let frames = records::frames(&site.record(session));
    frames.iter().filter(|frame| matches!(records::content(frame), Some(Content::Output(_)))).count()
}

/// The agent tells that the end is near, at its time and once, also where it was not there at that time.
#[test]
fn u10_that_the_consent_ends_soon_is_told_once_through_restarts() {
    let Some(mut clock) = SetClock::ready() else { return };
    let told = clock.site.machine.file("told.jsonl");
    let add =
        format!("notify add file --only consent-expiring,consent-expired --to file://{}", told.display());
    assert_eq!(clock.site.machine.run(&add).code, 0);
    let kinds = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let kind = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).expect("an event");
            event["kind"].as_str().map(str::to_owned)
        };
        text.lines().filter_map(kind).collect::<Vec<_>>()
    };
    for restart in [false, true] {
        if restart {
            clock.site.agent().signal(Signal::TERM);
            clock.site.agent().exit_code();
            clock.start_agent();
            clock.site.connected();
        }
        set(&clock.offset, 50 * 60);
        until_true("it is told", || kinds() == ["consent-expiring"]);
    }
    set(&clock.offset, 60 * 60);
    until_true("the end is told", || kinds() == ["consent-expiring", "consent-expired"]);
}

/// The agent's own run, not only `session expire`, enters what it removes; so nobody is alarmed by it afterwards.
#[test]
fn sec51_the_agent_enters_what_it_removes_and_the_check_of_the_node_stays_clean() {
    let Some(mut clock) = SetClock::ready() else { return };
    let run = clock.site.machine.run_args(["connect", "--command", "Get-Date"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let removed = |clock: &SetClock| {
        clock.site.machine.json("history --from-date 2020-01-01")[0]["contentsRemoved"].as_u64()
    };
    for (days, gone) in [(89, false), (91, true)] {
        clock.site.agent().signal(Signal::TERM);
        clock.site.agent().exit_code();
        set(&clock.offset, days * 24 * 60 * 60);
        clock.start_agent();
        if gone {
            until_true("the contents are removed", || removed(&clock) > Some(0));
        } else {
            assert_eq!(removed(&clock), Some(0), "control: not before their time");
        }
    }
    let log = clock.site.machine.run("node-log show").stdout;
    assert_eq!(log.matches("contents-removed").count(), 1, "{log}");
    let checked = clock.site.machine.run("session verify");
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("were removed when their time was over"), "{}", checked.stdout);
}

#[test]
fn sec09_a_clock_set_forward_ends_access_at_the_instant_and_not_before() {
    // libfaketime reads its file anew in one thread while others ask it for the time, and can show those the true time: for the
    // agent a clock that goes back, which holds the consent. That is looked at below; here the clock only goes forward.
    let mut causes = (0..3).filter_map(|_| ended_by_a_clock_set_forward());
    let ended = causes.find(|cause| *cause != EndCause::ClockHeld);
    assert!(ended == Some(EndCause::Expired) || faketime().is_none(), "{ended:?}");
}

fn ended_by_a_clock_set_forward() -> Option<EndCause> {
    let SetClock { site, offset, .. } = SetClock::ready()?;
    let (mut engineer, session) = site.busy_engineer();
    // Five minutes are left.
    set(&offset, 55 * 60);
    let before = outputs(&site, session);
    until_true("the work goes on", || outputs(&site, session) >= before + 2);
    assert_eq!(records::ends(&site.record(session)), [], "not before the end");
    set(&offset, 60 * 60 + 1);
    let since = Instant::now();
    until_true("the work is dead", || site.workers().is_empty());
    let took = since.elapsed();
    assert_eq!(engineer.exit_code(), 3);
    let ends = records::ends(&site.record(session));
    assert_eq!(ends.len(), 1, "{ends:?}");
    if ends[0] == EndCause::Expired {
        println!("ended {took:?} after the clock was set past the end");
        assert!(took < promised(NOTICED_MAX), "{took:?}");
    }
    Some(ends[0])
}

#[test]
fn sec10_c24_a_clock_set_back_holds_the_consent() {
    let Some(SetClock { site, offset, .. }) = SetClock::ready() else { return };
    let (mut engineer, session) = site.busy_engineer();
    set(&offset, -24 * 60 * 60);
    let since = Instant::now();
    until_true("the work is dead", || site.workers().is_empty());
    let took = since.elapsed();
    assert_eq!(engineer.exit_code(), 3);
    assert_eq!(records::ends(&site.record(session)), [EndCause::ClockHeld]);
    println!("held {took:?} after the clock was set back by a day");
    assert!(took < promised(NOTICED_MAX), "{took:?}");
    // The clock is right again, and the consent stays held.
    set(&offset, 0);
    assert!([3, 5].contains(&site.connect("").code), "refused, or nobody listens");
    until_true("it is held for good", || site.machine.run("access").stderr.contains("nobody is let in"));
    site.machine.enable("Diagnostics");
    site.connected();
    assert_eq!(site.connect("").code, 0);
}

#[test]
fn sec09_an_agent_that_stood_still_across_the_end_shows_nothing_when_it_goes_on() {
    let mut site = Site::empty();
    site.start_relay();
    let ends_at = enable_ending_in(&site, 20);
    let number = site.papers();
    let opening = site.role(rs_cli::state::Role::Desk).join(format!("requests/{number}.opening.json"));
    assert_eq!(site.machine.run(&format!("request confirm {}", opening.display())).code, 0);
    site.start_agent();
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    site.agent().signal(Signal::STOP);
    assert!(now() < ends_at, "it was stopped before the end");
    until_true("the end has passed", || now() > ends_at + TimeDelta::seconds(1));
    site.agent().signal(Signal::CONT);
    let since = Instant::now();
    until_true("the work is dead", || site.workers().is_empty());
    let took = since.elapsed();
    assert_eq!(engineer.exit_code(), 3, "{}", engineer.stderr());
    assert_eq!(records::ends(&site.record(session)), [EndCause::Expired]);
    println!("ended {took:?} after the agent went on");
    assert!(took < promised(NOTICED_MAX), "{took:?}");
    let shown = records::frames(&site.received(session));
    let late = shown.iter().filter(|frame| {
        frame.skeleton().wall_time >= ends_at && matches!(records::content(frame), Some(Content::Output(_)))
    });
    assert_eq!(late.count(), 0, "nothing that came after the end was shown");
}

#[test]
fn sec09_time_in_which_the_machine_slept_counts() {
    // The wall clock stands where it stood; the boot clock has gone on by two hours, as over a sleep with a clock that
    // lost it. Only root may make such a namespace.
    let namespace = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--time", "--boottime", "7200", "--fork", "--kill-child"]).args(command);
        unshare
    };
    if !namespace(&["true"]).output().is_ok_and(|output| output.status.success()) {
        println!("no time namespaces here");
        return;
    }
    let mut site = Site::empty();
    site.start_relay();
    site.papers();
    site.machine.enable("Diagnostics --expire-in-minutes 60");
    site.start_agent();
    site.connected();
    assert_eq!(site.connect("").code, 0, "control: without the sleep it is in force");
    site.agent().signal(Signal::TERM);
    site.agent().exit_code();
    let program = site.machine.command(["agent", "run"]);
    let mut command = namespace(&[]);
    command.arg(program.get_program()).args(program.get_args()).current_dir(site.machine.work());
    command.env("REMOTE_SUPPORT_STATE_DIR", site.machine.state());
    let agent = site.start("agent", command);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    assert_eq!(site.connect("").code, 5, "nobody listens: the minutes are over");
    let listed = site.machine.json("access --include-expired");
    assert_eq!(listed[0]["state"], "Expired", "{listed}");
}
