//! Trials of revoke (SEC7, SEC8): stubborn work and a typing engineer, ended by the real `disable`, again and again.
//!
//! Relay, desk, engineers and `disable` are the real program; the agent is the program's own, started here so that its
//! operations are stubborn ones. Everything that starts and everything on record carries the time of one clock, and so
//! does the return of `disable`.
//!
//! * without arguments: a few trials of each kind and the controls, as part of the tests;
//! * `trials COUNT`: so many, a line of JSON each; `scripts/trials-revoke` keeps the ledger and prints the table;
//! * `agent`, `worker`: what this program starts itself as.
#![cfg(target_os = "linux")]

#[path = "e2e/daemon.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod daemon;
#[path = "it/machine.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod machine;
#[path = "e2e/processes.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod processes;
#[path = "e2e/records.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod records;
#[path = "e2e/site.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod site;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rs_cli::agent::{Agent, AgentSettings};

use rs_cli::last_resort;
use rs_cli::network::Way;
use rs_cli::relay_access::{RelayAccess, Side};
use rs_cli::state::{Role, StateDir};
use rs_consent::{Clock as _, EndCause, SystemClock};
use rs_session::host::end_statement;
use rs_session::invariant::{self, Invariant};
use rs_session::operations::worker;
use serde_json::json;

use crate::daemon::{until, until_true};
use crate::site::{ENDLESS, Site, session_of};

/// Ways in which the children of an operation try to stay. `$0` is a time to wait that no other process has in its
/// command line, so that each of them is found.
const KINDS: &[(&str, &str)] = &[
    ("ignores-term", "trap '' TERM INT HUP QUIT; sleep \"$0\" & sleep \"$0\" & wait; wait; sleep \"$0\""),
    ("setsid", "setsid sh -c 'trap \"\" TERM HUP; sleep \"$0\"; :' \"$0\" & wait"),
    (
        "double-fork",
        "(setsid sh -c '(sh -c \"trap \\\"\\\" TERM HUP; sleep $0; :\" \"$0\") &' \"$0\" &) ; exit 0",
    ),
    (
        "holds-terminal",
        "script -qec \"sh -c 'trap \\\"\\\" TERM HUP INT; sleep $0 </dev/tty; :'\" /dev/null & wait",
    ),
];

/// Environment variable with the trial's folder, for agent and workers. A worker's environment is made anew, so it takes
/// the folder from the state directory that it is given.
const KIND_FILE: &str = "trial.kind";
const STARTS_FILE: &str = "trial.starts";
const TRIP_FILE: &str = "trial.trip";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agent"] => agent(),
        ["worker", ..] => {
            if std::env::var_os("REMOTE_SUPPORT_SUPERVISOR").is_some() {
                stubborn();
            } else if arguments.len() > 1 {
                // The control: children of the supervisor that no hunt can find.
                escaped();
            }
            worker::run()
        }
        ["trials", count] => trials(count.parse().expect("a number")),
        ["--list", ..] => ExitCode::SUCCESS,
        _ => tests(),
    }
}

// ---- agent and worker ----

/// The program's own agent, whose operations are run by this program.
fn agent() -> ExitCode {
    let state =
        StateDir::new(std::env::var_os("REMOTE_SUPPORT_STATE_DIR").map(PathBuf::from)).expect("a path");
    let loose = std::env::var_os("TRIAL_ESCAPES").map(|_| "escapes".into());
    invariant::when_broken(|broken| last_resort::end_own_access(broken));
    trip_when_told(&state);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = AgentSettings {
            storage: rs_cli::storage::StorageOptions {
                key_file: state.root().parent().map(|parent| parent.join("storage.key")),
                ..Default::default()
            },
            relay: RelayAccess::new(&state, Side::Listen, None, None, Way::direct()),
            root_part: None,
            state,
            worker: (
                std::env::current_exe().expect("this program"),
                std::iter::once("worker".into()).chain(loose).collect(),
            ),
            clock: Arc::new(SystemClock::new()),
        };
        let (agent, _) = Agent::start(settings).await.expect("the agent starts");
        eprintln!("The agent of this node runs.");
        std::future::pending::<()>().await;
        drop(agent);
    });
    ExitCode::SUCCESS
}

/// Breaks the invariant whose number a test writes into a file.
fn trip_when_told(state: &StateDir) {
    let file = state.role(Role::Node).file(TRIP_FILE);
    std::thread::spawn(move || {
        let number = until_told(&file);
        invariant::trip(Invariant::ALL[number]);
        std::fs::rename(&file, file.with_extension("tripped")).expect("own file");
    });
}

fn until_told(file: &Path) -> usize {
    loop {
        if let Some(number) = std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok()) {
            return number;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn node_folder() -> Option<PathBuf> {
    std::env::var_os("STATE_DIRECTORY").map(PathBuf::from)
}

/// Stamps the start of an operation; the first one after [`KIND_FILE`] was written starts stubborn children too.
fn stubborn() {
    let Some(folder) = node_folder() else { return };
    let mut starts =
        OpenOptions::new().append(true).create(true).open(folder.join(STARTS_FILE)).expect("own file");
    writeln!(starts, "{}", now().as_nanos()).expect("own file");
    let taken = folder.join("trial.taken");
    if std::fs::rename(folder.join(KIND_FILE), &taken).is_ok() {
        let text = std::fs::read_to_string(&taken).expect("own file");
        let (kind, marker) = text.split_once(' ').expect("kind and marker");
        let (_, script) = KINDS.iter().find(|(name, _)| *name == kind).expect("a kind");
        shell(script, marker);
    }
}

/// A process that cuts itself off from its supervisor before that becomes the reaper of what is below it.
fn escaped() {
    let Some(folder) = node_folder() else { return };
    if let Ok(text) = std::fs::read_to_string(folder.join(KIND_FILE)) {
        let marker = text.split_once(' ').expect("kind and marker").1;
        let mut command = Command::new("/usr/bin/setsid");
        command.args(["-f", "/bin/sleep", marker]).env_clear();
        let _started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[expect(clippy::zombie_processes, reason = "that nobody waits for them is the trial")]
fn shell(script: &str, marker: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, marker]).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell");
}

/// The clock of all stamps: the one that the records carry too.
fn now() -> Duration {
    SystemClock::new().now().boot
}

// ---- trials ----

/// What one trial found.
#[derive(Debug)]
struct Trial {
    kind: &'static str,
    /// Operations that started, and records of something that was acted on, after `disable` had returned.
    starts_after: usize,
    bytes_after: usize,
    /// Processes of the stubborn work that lived when `disable` returned.
    survivors: usize,
    /// Engineers' programs that had not ended 500 ms after that.
    open_streams: usize,
    disable_ms: f64,
    /// As stated and signed by the node, in microseconds: the greater of both sessions.
    gate_us: u64,
    work_us: u64,
    closed_us: u64,
    listener_us: Option<u64>,
}

impl Trial {
    fn faults(&self) -> usize {
        self.starts_after + self.bytes_after + self.survivors + self.open_streams
    }

    fn line(&self) -> String {
        json!({
            "kind": self.kind, "startsAfter": self.starts_after, "bytesAfter": self.bytes_after,
            "survivors": self.survivors, "openStreams": self.open_streams, "disableMs": self.disable_ms,
            "gateUs": self.gate_us, "workUs": self.work_us, "closedUs": self.closed_us,
            "listenerUs": self.listener_us,
        })
        .to_string()
    }
}

/// How the access is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Disable,
    /// The control: nothing is revoked at all.
    Nothing,
}

fn site(escapes: bool) -> Site {
    let mut site = Site::empty();
    site.start_relay();
    site.papers();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("agent").env("REMOTE_SUPPORT_STATE_DIR", site.machine.state()).stdin(Stdio::null());
    if escapes {
        command.env("TRIAL_ESCAPES", "1");
    }
    let agent = site.start("agent", command);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    site
}

fn trial(site: &Site, number: usize, end: End) -> Trial {
    let (kind, _) = KINDS[number % KINDS.len()];
    let marker = format!("600.0{:07}{number:04}7", std::process::id());
    let folder = site.role(Role::Node);
    std::fs::write(folder.join(KIND_FILE), format!("{kind} {marker}")).expect("own file");
    let _none_yet = std::fs::remove_file(folder.join(STARTS_FILE));
    site.machine.enable("Diagnostics");
    site.connected();
    let mut stubborn = site.engineer([ENDLESS]);
    let first = session_of(&stubborn);
    until_true("the stubborn work runs", || stubborn.stdout().contains("OK") && !marked(&marker).is_empty());
    let _taken = std::fs::remove_file(folder.join(KIND_FILE));
    let lines = (0..2000).map(|n| if n % 4 == 0 { "Get-Date".to_owned() } else { format!("Get-Nothing{n}") });
    let mut typing = site.engineer(lines);
    let second = session_of(&typing);
    let record = site.record(second);
    until_true("lines are acted on", || record.metadata().is_ok_and(|about| about.len() > 16 * 1024));

    let since = Instant::now();
    if end == End::Disable {
        let said = site.machine.json("disable");
        assert_eq!((&said["sessionsEnded"], &said["sessionsStillEnding"]), (&2.into(), &0.into()), "{said}");
    }
    let (returned, took) = (now(), since.elapsed());
    let survivors = marked(&marker).len();
    // Time in which something would have to happen if it could.
    let both_gone =
        |one: &mut daemon::Daemon, other: &mut daemon::Daemon| one.has_ended() && other.has_ended();
    let watch = Instant::now();
    while watch.elapsed() < Duration::from_millis(500) && !both_gone(&mut stubborn, &mut typing) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let open_streams =
        [&mut stubborn, &mut typing].into_iter().map(|engineer| usize::from(!engineer.has_ended())).sum();
    let starts = std::fs::read_to_string(folder.join(STARTS_FILE)).unwrap_or_default();
    let starts_after =
        starts.lines().filter(|stamp| stamp.parse::<u128>().is_ok_and(|at| at > returned.as_nanos())).count();
    let acted = |session| {
        let frames = records::frames(&site.record(session));
        frames.iter().filter(|frame| u128::from(frame.skeleton().boot_time_ns) > returned.as_nanos()).count()
    };
    let bytes_after = acted(first) + acted(second);
    let mut delays = rs_session::ending::Delays::default();
    if end == End::Disable {
        let node = site.key(Role::Node).public();
        for session in [first, second] {
            assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
            let stated = end_statement(&site.record(session), &node).expect("read").expect("stated");
            let one = stated.delays.expect("measured");
            delays.gate_us = delays.gate_us.max(one.gate_us);
            delays.work_us = delays.work_us.max(one.work_us);
            delays.closed_us = delays.closed_us.max(one.closed_us);
            delays.listener_us = delays.listener_us.max(one.listener_us);
        }
    }
    for pid in marked(&marker) {
        kill(pid);
    }
    Trial {
        kind,
        starts_after,
        bytes_after,
        survivors,
        open_streams,
        disable_ms: took.as_secs_f64() * 1000.0,
        gate_us: delays.gate_us,
        work_us: delays.work_us.unwrap_or(0),
        closed_us: delays.closed_us,
        listener_us: delays.listener_us,
    }
}

/// Living processes of the stubborn work.
fn marked(marker: &str) -> Vec<u32> {
    let alive = |pid: &u32| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    let named = |pid: &u32| {
        let arguments = processes::arguments(*pid);
        arguments.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    processes::all().filter(named).filter(alive).collect()
}

fn kill(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn trials(count: usize) -> ExitCode {
    let site = site(false);
    let mut faults = 0;
    for number in 0..count {
        let trial = trial(&site, number, End::Disable);
        faults += trial.faults();
        println!("{}", trial.line());
    }
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- as part of the tests ----

fn tests() -> ExitCode {
    let tests: &[(&str, fn())] = &[
        ("sec07_sec08_nothing_starts_and_nothing_lives_after_disable_returned", each_kind_once),
        ("sec08_control_a_process_that_no_kill_reached_is_found", control_escape),
        ("sec07_control_a_gate_that_stays_open_is_found", control_open_gate),
        ("sec55_a_broken_invariant_ends_access_then_the_agent", broken_invariant),
    ];
    let mut failed = 0;
    for (name, test) in tests {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
        if failed == 0 { "ok" } else { "FAILED" },
        tests.len() - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn each_kind_once() {
    let site = site(false);
    for number in 0..KINDS.len() {
        let trial = trial(&site, number, End::Disable);
        println!("{}", trial.line());
        assert_eq!(trial.faults(), 0, "{trial:?}");
    }
}

/// Each invariant is broken in a session with stubborn work: nothing of it is left when the agent has ended, and its next
/// start brings the record to its one end.
fn broken_invariant() {
    for (number, broken) in Invariant::ALL.iter().enumerate() {
        let mut site = site(false);
        let marker = format!("600.0{:07}{number:04}8", std::process::id());
        let folder = site.role(Role::Node);
        std::fs::write(folder.join(KIND_FILE), format!("{} {marker}", KINDS[number].0)).expect("own file");
        site.machine.enable("Diagnostics");
        site.connected();
        // A line that ends and one that goes on, so that each invariant is met.
        let mut engineer = site.engineer(["Get-Date", ENDLESS]);
        let session = session_of(&engineer);
        until_true("the stubborn work runs", || engineer.stdout().contains("OK"));
        std::fs::write(folder.join(TRIP_FILE), number.to_string()).expect("own file");
        until_true("it is broken", || folder.join(TRIP_FILE).with_extension("tripped").exists());
        // The next output meets the order of what is shown by itself; the others need an occasion.
        let _cut_off = match broken {
            Invariant::OneEnd => Some(site.machine.run(&format!("session end {session}"))),
            Invariant::OneLineAtATime => Some(site.machine.run("connect --command Get-Date")),
            _ => None,
        };
        assert_eq!(site.agent().exit_code(), i32::from(last_resort::BROKEN_EXIT), "{broken:?}");
        until_true("nothing of the work is left", || site.workers().is_empty() && marked(&marker).is_empty());
        assert!(site.agent().stderr().contains(broken.as_str()), "{broken:?}");
        assert_ne!(engineer.exit_code(), 0);
        site.start_agent();
        assert_eq!(records::ends(&site.record(session)).len(), 1, "{broken:?}");
    }
}

fn control_escape() {
    let site = site(true);
    let trial = trial(&site, 0, End::Disable);
    assert!(trial.survivors > 0, "{trial:?}");
}

fn control_open_gate() {
    let site = site(false);
    let trial = trial(&site, 0, End::Nothing);
    assert!(trial.starts_after > 0 && trial.bytes_after > 0 && trial.survivors > 0, "{trial:?}");
    until("the sessions are down", || (site.machine.run("disable").code == 0).then_some(()));
}
