//! The tests, and the processes that they need.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::executor::{Executor as _, Running, Status, WorkerExecutor};
use rs_session::operations::pipeline::Sink;
use rs_session::operations::plan::Plan;
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::wire::{Finish, FrameKind, read_frame, write_frame};
use rs_session::operations::{Context, Machine, worker};

use crate::own_main::{Test, run_tests};

/// Longest time a kill may take.
const KILL_MAX: Duration = Duration::from_secs(1);
/// Longest wait for what must happen; none is waited for by time alone.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A command that declares programs, so that its operation may start some, and one that declares none.
const WITH_PROGRAMS: &str = "Get-Service";
const WITHOUT_PROGRAMS: &str = "Get-Date";
/// Processes of a chain, the worker apart.
const CHAIN: usize = 3;

/// Creation flags (CreateProcessW).
const DETACHED_PROCESS: u32 = 0x8;
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
const CREATE_BREAKAWAY_FROM_JOB: u32 = 0x0100_0000;

pub(super) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("worker") => {
            let hostile = Registry::default().with(WITH_PROGRAMS, hostile).with(WITHOUT_PROGRAMS, hostile);
            worker::run_with(&hostile)
        }
        Some("plain-worker") => worker::run(),
        Some("link") => link(Path::new(&arguments[1]), arguments[2].parse().unwrap()),
        Some("agent") => agent(&arguments[1]),
        _ => run_tests(TESTS, &arguments),
    }
}

const TESTS: &[Test] = &[
    ("sec22_a_worker_answers_in_its_job_object", worker_answers),
    ("sec07_kill_ends_every_descendant", || ended_with("chain", Status::Killed)),
    ("sec46_the_time_limit_ends_every_descendant", || ended_with("chain", Status::TimeLimit)),
    ("sec07_the_death_of_the_agent_ends_every_descendant", dies_with_its_agent),
    ("sec07_dropping_the_handle_ends_every_descendant", drop_ends_it),
    ("sec07_control_without_a_job_killing_the_first_process_leaves_survivors", control_without_job),
    ("sec22_nothing_outlives_an_operation_that_ends_by_itself", nothing_outlives_a_normal_end),
    ("sec22_nothing_breaks_away", nothing_breaks_away),
    ("sec22_an_operation_without_programs_starts_none", no_second_process),
    ("sec23_a_worker_that_nobody_holds_does_not_run", unheld_worker),
    ("sec46_memory_is_limited", memory_is_limited),
    ("sec46_processor_time_is_limited", processor_time_is_limited),
    ("sec44_a_panic_in_a_worker_is_a_fault_of_its_own", panic_is_contained),
];

/// True, and said, where the kernel is wine's, which takes these limits and does not carry them out.
fn wine_does_not(what: &str) -> bool {
    let under_wine = std::env::var_os("TEST_UNDER_WINE").is_some();
    if under_wine {
        println!("  not tested: wine does not limit {what}");
    }
    under_wine
}

// ---- the processes of the tests ----

/// One process of a chain: takes its lock, starts the next, waits for ever.
fn link(folder: &Path, left: usize) -> ExitCode {
    let _lock = lock_of_this_process(folder);
    if left > 1 {
        start_link(folder, left - 1, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP).unwrap();
    }
    loop {
        std::thread::park();
    }
}

fn lock_of_this_process(folder: &Path) -> File {
    let file = File::create_new(folder.join(std::process::id().to_string())).unwrap();
    file.lock().unwrap();
    file
}

fn start_link(folder: &Path, left: usize, flags: u32) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("link").arg(folder).arg(left.to_string()).creation_flags(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The hostile provider: the state directory carries folder and way, as `FOLDER?WAY`.
fn hostile(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let told = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let (folder, way) = told.split_once('?').unwrap_or((&told, ""));
    let folder = Path::new(folder);
    let chain = |flags| start_link(folder, CHAIN, flags);
    let said = match way {
        "chain" | "end" => chain(DETACHED_PROCESS).map(|_| "started".to_owned()),
        "break-away" => {
            Ok(chain(CREATE_BREAKAWAY_FROM_JOB).map_or_else(|_| "refused".to_owned(), |_| "away".to_owned()))
        }
        "second" => Ok(chain(0).map_or_else(|_| "refused".to_owned(), |_| "away".to_owned())),
        "memory" => Ok(fill_memory().to_string()),
        "burn" => burn(),
        "panic" => panic!("an operation that breaks"),
        _ => Ok(String::new()),
    };
    let said = said.map_err(|error| ProviderError::failed(error.to_string()))?;
    if ["chain", "end"].contains(&way) {
        // The whole chain, before the test goes on.
        wait_until("the chain", || living(folder) == CHAIN);
    }
    sink.emit(said.into())?;
    sink.flush()?;
    while way == "chain" {
        std::thread::park();
    }
    Ok(())
}

/// MiB that could be had, up to 256.
fn fill_memory() -> usize {
    let mut pieces: Vec<Vec<u8>> = Vec::with_capacity(256);
    while pieces.len() < 256 {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        piece.resize(1 << 20, 1);
        pieces.push(piece);
    }
    pieces.len()
}

fn burn() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(31).wrapping_add(7));
    }
}

/// A program that runs an operation and is killed from outside.
fn agent(state: &str) -> ExitCode {
    block_on(async {
        let program = std::env::current_exe().unwrap();
        let executor =
            WorkerExecutor::new(program, ["worker"]).unwrap().with_state_directory(Path::new(state));
        let mut running = executor.start(plan(WITH_PROGRAMS)).await.unwrap();
        running.next().await.unwrap();
        println!("started");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

// ---- helpers ----

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn plan(line: &str) -> Plan {
    let machine = Machine { power_shell: true, ..Machine::current() };
    Context { machine, ..Context::new(AccessLevel::Diagnostics) }.plan_line(line).unwrap()
}

fn state(folder: &Path, way: &str) -> PathBuf {
    format!("{}?{way}", folder.display()).into()
}

fn executor(folder: &Path, way: &str) -> WorkerExecutor {
    let program = std::env::current_exe().unwrap();
    WorkerExecutor::new(program, ["worker"]).unwrap().with_state_directory(&state(folder, way))
}

/// Processes whose lock is held.
fn living(folder: &Path) -> usize {
    let held = |path: PathBuf| {
        matches!(
            File::options().write(true).open(path).map(|file| file.try_lock()),
            Ok(Err(TryLockError::WouldBlock))
        )
    };
    std::fs::read_dir(folder).unwrap().flatten().filter(|entry| held(entry.path())).count()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WAIT_MAX, "{what} did not happen");
        std::thread::yield_now();
    }
}

async fn text_of(running: &mut Running) -> String {
    let mut text = String::new();
    while let Some(chunk) = running.next().await {
        text += &chunk.text;
    }
    text
}

// ---- tests ----

fn worker_answers() {
    block_on(async {
        let executor = WorkerExecutor::new(std::env::current_exe().unwrap(), ["plain-worker"]).unwrap();
        let mut running = executor.start(plan("gcm Get-Date | select -exp Name")).await.unwrap();
        let text = text_of(&mut running).await;
        let finish = running.finish().await;
        assert_eq!((finish.status, text.trim()), (Status::Done, "Get-Date"), "{finish:?}");
        assert_eq!(finish.measures, ["clean-environment", "job-object"], "what the record says was in force");
    });
}

fn ended_with(way: &str, status: Status) {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut plan = plan(WITH_PROGRAMS);
        if status == Status::TimeLimit {
            plan.limits.seconds = 5;
        }
        let mut running = executor(folder.path(), way).start(plan).await.unwrap();
        assert!(running.next().await.is_some());
        assert_eq!(living(folder.path()), CHAIN);
        if status == Status::Killed {
            let start = Instant::now();
            let killed = running.kill().await;
            let took = start.elapsed();
            assert!(killed.complete && took < KILL_MAX, "{killed:?} {took:?}");
            assert_eq!(killed.processes as usize, CHAIN + 1, "the chain and the worker");
            println!("  {} processes ended in {took:?}", killed.processes);
        }
        let finish = running.finish().await;
        assert_eq!(finish.status, status, "{finish:?}");
    });
    assert_eq!(living(folder.path()), 0);
}

fn dies_with_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .arg("agent")
        .arg(state(folder.path(), "chain"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the chain", || living(folder.path()) == CHAIN);
    agent.kill().unwrap();
    agent.wait().unwrap();
    wait_until("the end of the chain", || living(folder.path()) == 0);
}

fn drop_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut running = executor(folder.path(), "chain").start(plan(WITH_PROGRAMS)).await.unwrap();
        assert!(running.next().await.is_some());
        drop(running);
        let start = Instant::now();
        while living(folder.path()) > 0 {
            assert!(start.elapsed() < WAIT_MAX, "dropping the handle ended nothing");
            tokio::task::yield_now().await;
        }
    });
}

/// The control: what a plain kill of the first process leaves behind.
fn control_without_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = start_link(folder.path(), CHAIN, 0).unwrap();
    wait_until("the chain", || living(folder.path()) == CHAIN);
    first.kill().unwrap();
    first.wait().unwrap();
    let left: Vec<PathBuf> =
        std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(living(folder.path()), CHAIN - 1, "the control shows nothing");
    println!("  survivors of a plain kill: {}", CHAIN - 1);
    for path in left {
        let pid = path.file_name().unwrap().to_str().unwrap();
        let _ = Command::new("taskkill")
            .args(["/F", "/PID", pid])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    wait_until("the end of the control", || living(folder.path()) == 0);
}

fn nothing_outlives_a_normal_end() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut running = executor(folder.path(), "end").start(plan(WITH_PROGRAMS)).await.unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Done, "{finish:?}");
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), CHAIN, "the chain was there");
    assert_eq!(living(folder.path()), 0);
}

/// Wine starts the process inside the job, where Windows refuses to start it; neither lets it away.
fn nothing_breaks_away() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut running = executor(folder.path(), "break-away").start(plan(WITH_PROGRAMS)).await.unwrap();
        let text = text_of(&mut running).await;
        assert!(running.finish().await.is_done());
        assert!(text.contains("refused"), "{text}");
    });
    assert_eq!(living(folder.path()), 0);
}

fn no_second_process() {
    if wine_does_not("processes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut running = executor(folder.path(), "second").start(plan(WITHOUT_PROGRAMS)).await.unwrap();
        assert!(text_of(&mut running).await.contains("refused"));
    });
    assert_eq!(living(folder.path()), 0);
}

/// A worker started by somebody who does not hold it. Whoever runs the tests may be in a job, so it is only certain under
/// wine that the worker is in none.
fn unheld_worker() {
    if std::env::var_os("TEST_UNDER_WINE").is_none() {
        println!("  not tested: these tests themselves may run in a job");
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("plain-worker")
        .env_clear()
        .envs(std::env::var_os("SYSTEMROOT").map(|root| ("SYSTEMROOT", root)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let plan = serde_json::to_vec(&plan(WITHOUT_PROGRAMS)).unwrap();
    write_frame(child.stdin.as_mut().unwrap(), FrameKind::Plan, &plan).unwrap();
    let (kind, payload) = read_frame(child.stdout.as_mut().unwrap()).unwrap();
    let finish: Finish = serde_json::from_slice(&payload).unwrap();
    assert_eq!((kind, finish.status), (FrameKind::Finish, Status::Sandbox), "{finish:?}");
    assert!(finish.message.contains("job-object"), "{finish:?}");
    child.wait().unwrap();
}

fn memory_is_limited() {
    if wine_does_not("memory") {
        return;
    }
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(WITHOUT_PROGRAMS);
        plan.limits.memory_bytes = 64 << 20;
        let mut running = executor(folder.path(), "memory").start(plan).await.unwrap();
        let text = text_of(&mut running).await;
        let had: usize = text.trim().trim_matches('"').parse().unwrap();
        assert!((1..64).contains(&had), "{had} MiB of 64");
    });
}

fn processor_time_is_limited() {
    if wine_does_not("processor time") {
        return;
    }
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(WITHOUT_PROGRAMS);
        plan.limits.cpu_seconds = 1;
        let mut running = executor(folder.path(), "burn").start(plan).await.unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::TimeLimit, "{finish:?}");
    });
}

fn panic_is_contained() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mut running = executor(folder.path(), "panic").start(plan(WITHOUT_PROGRAMS)).await.unwrap();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Fault, "{finish:?}");
        assert!(finish.message.contains("an operation that breaks"), "{finish:?}");
    });
}
