//! Workers and everything they start are ended for certain, and in time (SEC7, SEC8, SEC22, SEC23, SEC46).
//!
//! This program is its own worker: started with `worker` it runs one operation whose provider is hostile in a chosen
//! way. The hostile parts are shells that double-fork, call `setsid`, ignore signals and clear their environment. They
//! only wait; a test looks for them by a marker in their command lines.
//!
//! `cargo test -p rs-session --test operations_kill` prints the measured times; `-- try LINE` runs one line.

#![expect(clippy::unwrap_used, reason = "a test program without the test harness")]

#[path = "common/own_main.rs"]
mod own_main;

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::executor::{Executor as _, Running, Status, WorkerExecutor};
use rs_session::operations::pipeline::Sink;
use rs_session::operations::plan::Plan;
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::sandbox::Confinement;
use rs_session::operations::{Context, Object, OutputForm, worker};

use crate::own_main::{Test, run_tests};

/// Longest time a kill may take.
const KILL_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("worker") => {
            let hostile = Registry::default().with("Get-Date", hostile).with("Get-Service", loud);
            worker::run_confined(&hostile, |plan| Confinement::of(plan).keeping(has_no_namespace))
        }
        Some("namespace-worker") => {
            let hostile = Registry::default().with("Get-Date", hostile);
            let keeps = |measure: &str| has_no_namespace(measure) || measure == "pid-namespace";
            worker::run_confined(&hostile, |plan| Confinement::of(plan).keeping(keeps))
        }
        Some("plain-worker") => worker::run(),
        Some("starter") => starter(&arguments),
        Some("try") => try_line(&arguments[1..].join(" ")),
        _ => run_tests(TESTS, &arguments),
    }
}

/// What every agent can do, also one that is not root: the hostile parts can then start what they like, and it has to be
/// hunted.
fn has_no_namespace(measure: &str) -> bool {
    let limits = ["limit-core", "limit-cpu", "limit-files", "limit-file-size", "limit-memory"];
    ["clean-environment", "no-new-privileges", "dies-with-supervisor"].contains(&measure)
        || limits.contains(&measure)
}

const TESTS: &[Test] = &[
    ("worker_answers_like_the_operation_itself", worker_answers),
    ("sec07_kill_ends_every_kind_of_descendant", kill_ends_every_kind),
    ("sec07_control_killing_the_first_process_leaves_survivors", control_first_process_only),
    ("sec07_interrupt_has_its_own_status", interrupt_has_its_own_status),
    ("sec07_dropping_the_handle_ends_the_operation", drop_ends_it),
    ("sec07_worker_dies_with_the_process_that_started_it", dies_with_its_starter),
    ("sec07_losing_the_supervisor_does_not_lose_the_tree", losing_the_supervisor),
    ("sec22_nothing_outlives_an_operation_that_ends_by_itself", nothing_outlives_a_normal_end),
    ("sec22_worker_has_a_clean_environment_and_no_privileges", worker_is_contained),
    ("sec23_an_uninvited_variable_stops_the_worker", uninvited_variable),
    ("sec46_output_is_cut_at_its_limit", output_is_cut),
    ("sec46_time_limit_ends_it", time_limit_ends_it),
    ("sec46_processor_time_is_limited", processor_time_is_limited),
    ("sec46_an_unread_operation_stands_still_and_can_be_killed", unread_operation_stands_still),
    ("sec44_a_panic_in_a_worker_is_a_fault_of_its_own", panic_is_contained),
];

// ---- what the hostile worker does ----

/// Ways in which a process tries to get away. `$0` is the marker, which is also the time that each of them waits, so
/// that every process of a test, down to the last `sleep`, carries it in its command line.
const ESCAPES: &[(&str, &str)] = &[
    ("plain child", "sleep \"$0\" & wait"),
    ("ignores signals", "trap '' TERM INT HUP QUIT; sleep \"$0\" & sleep \"$0\" & wait; wait; sleep \"$0\""),
    ("setsid", "setsid sh -c 'trap \"\" TERM; sleep \"$0\"; :' \"$0\" & wait"),
    ("double fork", "(setsid sh -c '(sh -c \"sleep $0; :\" \"$0\") &' \"$0\" &) ; exit 0"),
    ("nohup", "nohup sh -c 'sleep \"$0\"; :' \"$0\" >/dev/null 2>&1 & exit 0"),
    ("clean environment", "env -i /usr/bin/setsid /bin/sh -c '/bin/sleep \"$0\"; :' \"$0\" & exit 0"),
    (
        "deep chain",
        "sh -c 'sh -c \"setsid sh -c \\\"sleep $0; :\\\" & sleep $0; :\" \"$0\" & sleep \"$0\"; :' \"$0\" & wait",
    ),
    ("respawns", "while :; do sh -c 'sleep 0.05; :' \"$0\"; done"),
    ("runs away", "f() { echo >> \"/tmp/$0\"; f & }; f & exit 0"),
    (
        "runs away in new sessions",
        "export R='echo >> \"/tmp/$0\"; setsid sh -c \"$R\" \"$0\" & exit 0'; eval \"$R\"",
    ),
    ("many", "i=0; while [ $i -lt 100 ]; do sleep \"$0\" & i=$((i+1)); done; wait"),
];

/// The hostile provider: the display hint chooses the way, the state directory carries the marker.
fn hostile(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let marker = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let marker = marker.trim_start_matches('/');
    let (marker, way) = marker.split_once('=').unwrap_or((marker, ""));
    if plan.call.text("Format").is_some() {
        return contained(sink);
    }
    match way {
        "endless" => loop {
            sink.emit(Object::new("x").with("Text", "y".repeat(1000)).into())?;
        },
        "burn" => {
            let mut number = 1_u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(31).wrapping_add(7));
            }
        }
        "panic" => panic!("an operation that breaks"),
        _ => {}
    }
    for (_, script) in ESCAPES.iter().filter(|(name, _)| way == "all" || *name == way || way == "end") {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, marker]).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|error| ProviderError::failed(error.to_string()))?;
    }
    std::thread::sleep(Duration::from_millis(300));
    sink.emit(Object::new("x").with("Text", "started").into())?;
    sink.flush()?;
    if way != "end" {
        std::thread::sleep(Duration::from_secs(600));
    }
    Ok(())
}

/// What a worker finds around itself.
fn contained(sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let privileges =
        status.lines().find(|line| line.starts_with("NoNewPrivs")).unwrap_or_default().to_owned();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let core = limits.lines().find(|line| line.starts_with("Max core")).unwrap_or_default().to_owned();
    let directory = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    sink.emit(format!("{}|{privileges}|{core}|{directory}", names.join(",")).into())?;
    sink.flush()?;
    // A file without an entry in any directory: nothing to tidy up.
    let mut file = tempfile::tempfile().map_err(|error| ProviderError::failed(error.to_string()))?;
    let large = vec![0_u8; 1 << 20];
    for _ in 0..64 {
        std::io::Write::write_all(&mut file, &large)
            .map_err(|error| ProviderError::failed(error.to_string()))?;
    }
    Ok(())
}

/// A provider with endless output in small pieces.
fn loud(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    loop {
        sink.emit(Object::new("x").with("Text", "z").into())?;
    }
}

// ---- helpers ----

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn executor(marker: &str, way: &str) -> WorkerExecutor {
    executor_of("worker", marker, way)
}

fn executor_of(worker: &str, marker: &str, way: &str) -> WorkerExecutor {
    let program = std::env::current_exe().unwrap();
    let state = std::path::PathBuf::from(format!("/{marker}={way}"));
    WorkerExecutor::new(program, [worker]).unwrap().with_state_directory(&state)
}

fn plan(line: &str) -> Plan {
    Context::new(AccessLevel::Diagnostics).plan_line(line).unwrap()
}

/// A marker that no other process has in its command line: a time of about ten minutes with telling digits.
fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("600.0{:07}{:03}7", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Living processes with the marker in their command line, without the workers themselves.
fn survivors(marker: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let alive = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        !zombie && String::from_utf8_lossy(&line).contains(marker)
    };
    pids.filter(alive).collect()
}

/// Looks that are enough to see a process that lives for a fraction of a millisecond and then goes on as another.
const LOOKS: usize = 100;

/// Most processes with the marker that one of several looks saw; enough if that many were seen.
fn most_seen(marker: &str, looks: usize, enough: usize) -> usize {
    let mut most = 0;
    for _ in 0..looks {
        most = most.max(survivors(marker).len());
        if most >= enough {
            break;
        }
    }
    most
}

/// Bytes that runaways have left behind, one for each of their lives.
fn lives(marker: &str) -> u64 {
    std::fs::metadata(format!("/tmp/{marker}")).map_or(0, |file| file.len())
}

/// Removes what runaways have left behind.
fn forget(marker: &str) {
    let _ = std::fs::remove_file(format!("/tmp/{marker}"));
}

/// Waits for a condition; polling is the only way to see other processes.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::yield_now();
    }
}

async fn started(executor: &WorkerExecutor) -> Running {
    let mut running = executor.start(plan("Get-Date")).await.unwrap();
    let chunk = running.next().await;
    assert!(chunk.as_ref().is_some_and(|chunk| chunk.text.contains("started")), "{chunk:?}");
    running
}

// ---- tests ----

fn worker_answers() {
    block_on(async {
        let program = std::env::current_exe().unwrap();
        let executor = WorkerExecutor::new(program, ["plain-worker"]).unwrap();
        let start = Instant::now();
        let mut running = executor.start(plan("Get-Process -Id 1 | select Id | fl")).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = running.next().await {
            text += &chunk.text;
        }
        let finish = running.finish().await;
        assert_eq!((finish.status, text.as_str()), (Status::Done, "\nId : 1\n\n"), "{finish:?}");
        assert_eq!(finish.output_bytes, text.len() as u64);
        println!("  one operation in a worker: {:?}", start.elapsed());
        assert!(running.kill().await.complete);
    });
}

fn kill_ends_every_kind() {
    block_on(async {
        let mut worst = Duration::ZERO;
        let ways = || ESCAPES.iter().map(|(way, _)| *way).chain(["all"]);
        let hunted = ways().map(|way| ("worker", way));
        for (worker, way) in hunted.chain(ways().map(|way| ("namespace-worker", way))) {
            let marker = marker();
            let executor = executor_of(worker, &marker, way);
            let mut running = started(&executor).await;
            let runs = way.starts_with("runs");
            let before = survivors(&marker).len();
            // A runaway is hard to see, which is what makes it one; it leaves a byte behind for each of its lives.
            let lives = || lives(&marker);
            assert!(if runs { lives() > 10 } else { before > 0 }, "{way}: nothing was started");
            let start = Instant::now();
            let killed = running.kill().await;
            let took = start.elapsed();
            let last = lives();
            let looks = if runs || way == "all" { LOOKS } else { 1 };
            assert_eq!(most_seen(&marker, looks, usize::MAX), 0, "{way}");
            assert_eq!(lives(), last, "{way} goes on");
            forget(&marker);
            assert!(killed.complete && took < KILL_MAX, "{way}: {killed:?} {took:?}");
            assert_eq!(running.finish().await.status, Status::Killed);
            worst = worst.max(took);
            println!(
                "  {worker}, {way}: {before} seen, {last} lives, {} ended in {took:?}",
                killed.processes
            );
        }
        println!("  longest kill: {worst:?}");
    });
}

/// The control: what a plain kill of the first process would leave behind.
fn control_first_process_only() {
    let marker = marker();
    let script = ESCAPES.iter().find(|(way, _)| *way == "setsid").unwrap().1;
    let mut child = Command::new("/bin/sh")
        .args(["-c", script, &marker])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the escape", || survivors(&marker).len() >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let left = survivors(&marker);
    assert!(!left.is_empty(), "the control shows nothing");
    println!("  survivors of a plain kill: {}", left.len());
    for pid in left {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    wait_until("the end of the control", || survivors(&marker).is_empty());
}

fn interrupt_has_its_own_status() {
    block_on(async {
        let marker = marker();
        let mut running = started(&executor(&marker, "setsid")).await;
        running.interrupt();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Interrupted);
        assert!(finish.killed.is_some_and(|killed| killed.complete));
        assert!(survivors(&marker).is_empty());
    });
}

fn drop_ends_it() {
    block_on(async {
        let marker = marker();
        let running = started(&executor(&marker, "setsid")).await;
        drop(running);
        let start = Instant::now();
        while !survivors(&marker).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    });
}

/// A process that starts an operation and waits, to be killed from outside.
fn starter(arguments: &[String]) -> ExitCode {
    block_on(async {
        let _running = started(&executor(&arguments[1], "all")).await;
        println!("running");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

fn dies_with_its_starter() {
    use std::io::BufRead as _;
    let marker = marker();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["starter", &marker])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "running\n");
    assert!(survivors(&marker).len() > 100);
    let start = Instant::now();
    starter.kill().unwrap();
    starter.wait().unwrap();
    // The supervisor goes last, so nothing may live on from there.
    wait_until("the end of the tree", || survivors(&marker).is_empty() && supervisor(&marker).is_none());
    let took = start.elapsed();
    let last = lives(&marker);
    assert_eq!(most_seen(&marker, LOOKS, usize::MAX), 0);
    assert_eq!(lives(&marker), last, "a runaway goes on");
    forget(&marker);
    println!("  whole tree gone {took:?} after kill -9 of the starter");
}

/// The supervisor of the operation with a marker: started by this process, with the marker in its environment.
fn supervisor(marker: &str) -> Option<rustix::process::Pid> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found = pids.filter(|pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        environment.contains(marker) && !environment.contains("REMOTE_SUPPORT_SUPERVISOR")
    });
    found.next().and_then(rustix::process::Pid::from_raw)
}

/// Even if the operating system itself ends the supervisor: the mark finds what hung below it.
fn losing_the_supervisor() {
    block_on(async {
        let marker = marker();
        let mut running = started(&executor(&marker, "setsid")).await;
        assert!(survivors(&marker).len() >= 3);
        let supervisor = supervisor(&marker).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Fault, "{finish:?}");
        assert_eq!(survivors(&marker), Vec::<u32>::new(), "{finish:?}");
    });
}

fn nothing_outlives_a_normal_end() {
    block_on(async {
        let marker = marker();
        let mut running = started(&executor(&marker, "end")).await;
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Done);
        let last = lives(&marker);
        assert_eq!(most_seen(&marker, LOOKS, usize::MAX), 0);
        assert_eq!(lives(&marker), last, "a runaway goes on");
        forget(&marker);
    });
}

fn worker_is_contained() {
    block_on(async {
        let mut running = executor(&marker(), "").start(plan("Get-Date -Format s")).await.unwrap();
        let text = running.next().await.unwrap().text;
        let parts: Vec<_> = text.trim().split('|').collect();
        let mut names: Vec<_> = parts[0].split(',').collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["LANG", "REMOTE_SUPPORT_OPERATION", "REMOTE_SUPPORT_SUPERVISOR", "STATE_DIRECTORY"]
        );
        assert_eq!(parts[1].split_whitespace().last(), Some("1"), "{text}");
        assert!(parts[2].contains(" 0 "), "{text}");
        assert_eq!(parts[3], "/");
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Fault, "writing a large file ends the worker: {finish:?}");
        assert!(finish.message.contains("signal 25"), "{finish:?}");
    });
}

fn uninvited_variable() {
    // The supervisor passes on invited variables only, so the worker is started as if by a careless one.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .env("REMOTE_SUPPORT_SUPERVISOR", std::process::id().to_string())
        .env("LD_PRELOAD_X", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let payload = serde_json::to_vec(&plan("Get-Date")).unwrap();
    let mut frame = vec![b'p'];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &frame).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"status\":\"sandbox\"") && text.contains("clean-environment"), "{text}");
}

fn output_is_cut() {
    block_on(async {
        for form in [OutputForm::default(), OutputForm::Objects] {
            let mut plan = plan("Get-Date | select Text");
            plan.form = form;
            plan.limits.output_bytes = 300_000;
            let mut running = executor(&marker(), "endless").start(plan).await.unwrap();
            let mut bytes = 0;
            while let Some(chunk) = running.next().await {
                assert!(chunk.text.len() <= 64 << 10);
                bytes += chunk.text.len();
            }
            let finish = running.finish().await;
            assert_eq!((finish.status, bytes), (Status::OutputLimit, 300_000), "{finish:?}");
            assert_eq!(finish.output_bytes, 300_000);
        }
    });
}

fn time_limit_ends_it() {
    block_on(async {
        let mut plan = plan("Get-Date");
        plan.limits.seconds = 1;
        let marker = marker();
        let mut running = executor(&marker, "setsid").start(plan).await.unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::TimeLimit);
        assert!(finish.micros < 3_000_000, "{finish:?}");
        assert!(survivors(&marker).is_empty());
    });
}

fn processor_time_is_limited() {
    block_on(async {
        let mut plan = plan("Get-Date");
        plan.limits.cpu_seconds = 1;
        let mut running = executor(&marker(), "burn").start(plan).await.unwrap();
        let finish = running.finish().await;
        assert!(matches!(finish.status, Status::TimeLimit | Status::Fault), "{finish:?}");
        assert!(finish.micros < 9_000_000, "{finish:?}");
    });
}

fn unread_operation_stands_still() {
    block_on(async {
        let running = executor(&marker(), "").start(plan("Get-Service | select Text")).await.unwrap();
        // Nobody reads: the pipe and the channel fill up, and the kill must not wait for them.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        let killed = running.kill().await;
        assert!(killed.complete && start.elapsed() < KILL_MAX, "{killed:?}");
    });
}

fn panic_is_contained() {
    block_on(async {
        let mut running = executor(&marker(), "panic").start(plan("Get-Date")).await.unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Fault);
        assert!(finish.message.contains("an operation that breaks"), "{finish:?}");
    });
}

/// Runs one line and shows what an engineer would see.
fn try_line(line: &str) -> ExitCode {
    let plan = match Context::new(AccessLevel::DiagnosticsRepair).plan_line(line) {
        Ok(plan) => plan,
        Err(refused) => {
            eprintln!("{refused}");
            return ExitCode::FAILURE;
        }
    };
    block_on(async {
        let executor = WorkerExecutor::new(std::env::current_exe().unwrap(), ["plain-worker"]).unwrap();
        let mut running = executor.start(plan).await.unwrap();
        while let Some(chunk) = running.next().await {
            print!("{}", chunk.text);
        }
        println!("{:?}", running.finish().await);
    });
    ExitCode::SUCCESS
}
