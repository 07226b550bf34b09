//! The tests and their workers.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::catalog::{Availability, Needs, Network, Role};
use rs_session::operations::executor::{Executor as _, Finish, Status, WorkerExecutor};
use rs_session::operations::pipeline::Sink;
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::sandbox::{self, Confinement};
use rs_session::operations::{Catalog, Context, Machine, OutputForm, Plan, Policy, worker};
use serde_json::Value;

use crate::attempts::{ALL, Scene, unexpected};

#[path = "nobody.rs"]
mod nobody;

/// Attempts that have to get through with enforcement off, of a hundred: fewer would show little.
const CONTROL_PERCENT: usize = 90;
/// Attempts that run at the same time: each waits for the kernel most of its time.
const AT_ONCE: usize = 4;
/// Fewest attempts at each level.
const ATTEMPTS_MIN: usize = 60;

/// Commands under whose declarations the attempts run: what reads the kernel, what may ask about the network, what runs as
/// root and starts a program; and at the higher level what also gives orders to services.
const COMMANDS: &[(AccessLevel, &str)] = &[
    (AccessLevel::Diagnostics, "Get-Process"),
    (AccessLevel::Diagnostics, "Get-NetTCPConnection"),
    (AccessLevel::Diagnostics, "Get-Service"),
    (AccessLevel::DiagnosticsRepair, "Stop-Service x"),
];

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().map_or("", String::as_str);
    match mode {
        "held" => worker::run_with(&hostile()),
        "open" => worker::run_confined(&hostile(), open),
        "all-sockets" => worker::run_confined(&hostile(), |plan| {
            Confinement::of(plan).keeping(|measure| measure != "mount-namespace")
        }),
        "calls-only" => worker::run_confined(&hostile(), |plan| {
            Confinement::of(plan).keeping(|measure| measure == "system-calls")
        }),
        // Nothing but the limit of processes keeps it from starting some.
        "crowd" => worker::run_confined(&hostile(), |plan| {
            Confinement::of(plan).keeping(|measure| measure == "limit-processes")
        }),
        "plain-worker" => worker::run(),
        "open-worker" => worker::run_confined(&Registry::default(), open),
        "--list" => ExitCode::SUCCESS,
        nobody::ASKS => nobody::ask(&arguments[1..]),
        _ => match mode.strip_prefix("fails-at=") {
            Some(measure) => {
                let measure = sandbox::measures().find(|own| *own == measure).unwrap();
                worker::run_confined(&hostile(), |plan| confinement_with_all(plan).failing_at(measure))
            }
            None => run_tests(arguments.iter().find(|argument| !argument.starts_with('-'))),
        },
    }
}

fn open(plan: &Plan) -> Confinement {
    Confinement::of(plan).keeping(|_| false)
}

/// Needs that call for every measure.
fn confinement_with_all(plan: &Plan) -> Confinement {
    Confinement::of(plan).with_needs(Needs::KERNEL.network(Network::None).talking_to(&["/run/none"]))
}

type Test = (&'static str, fn());
/// Runs a plan with a state directory, as some user.
type Run<'a> = &'a (dyn Fn(&Path, Plan) -> (String, Finish) + Sync);

const TESTS: &[Test] = &[
    ("sec22_no_attempt_gets_beyond_what_was_declared", attempts_are_held),
    ("sec22_control_without_enforcement_most_attempts_get_through", attempts_get_through_without),
    ("sec22_files_are_not_emptied_where_the_kernel_has_no_rule_for_it", nothing_is_emptied),
    ("sec23_nothing_runs_if_a_measure_fails", nothing_runs_if_a_measure_fails),
    ("a13_an_operation_runs_as_a_user_who_owns_nothing", identity),
    ("sec22_native_operations_answer_inside_as_outside", native_operations_answer),
    ("sec22_an_agent_without_rights_holds_its_operations_in_too", nobody::attempts_are_held),
    (
        "sec22_control_without_enforcement_attempts_get_through_to_what_such_an_agent_may",
        nobody::through_without,
    ),
    ("sec22_control_without_its_own_view_such_an_agent_reaches_sockets", nobody::sockets_without),
    ("sec22_an_agent_without_rights_claims_no_more_than_is_in_force", nobody::claims),
    ("a13_an_agent_without_rights_leaves_no_process_behind", nobody::nothing_stays),
    ("sec46_an_operation_that_starts_processes_without_end_is_ended", nobody::no_crowd),
    ("sec22_start_costs", start_costs),
];

fn run_tests(filter: Option<&String>) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "root is required here");
        eprintln!("skipped: most measures need root");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in
        TESTS.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())))
    {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- the worker ----

fn hostile() -> Registry {
    let names = ["Get-Process", "Get-NetTCPConnection", "Get-Service", "Stop-Service"];
    names.into_iter().fold(Registry::default(), |registry, name| registry.with(name, attempt))
}

/// Makes the attempt that the state directory names, and says how it went.
fn attempt(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let state = PathBuf::from(std::env::var_os("STATE_DIRECTORY").unwrap());
    let order = state.file_name().and_then(|name| name.to_str()).unwrap();
    let mut parts = order.split(',').map(|part| part.parse::<usize>().unwrap());
    let [number, port, victim] = [(); 3].map(|()| parts.next().unwrap());
    let scene = Scene {
        directory: state.parent().unwrap().to_owned(),
        port: u16::try_from(port).unwrap(),
        victim: i32::try_from(victim).unwrap(),
    };
    let said = match ALL.get(number) {
        Some((_, attempt)) => match attempt(&scene) {
            Ok(()) => String::from("through"),
            Err(error) => format!("held: {error}"),
        },
        None if number == nobody::STAY_BEHIND => nobody::stay_behind(),
        None if number == nobody::RUNAWAY => nobody::run_away(),
        None => about_itself(),
    };
    sink.emit(said.into())?;
    Ok(())
}

fn about_itself() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = [
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
    ];
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(";")
}

// ---- what the attempts find ----

/// A scene and what belongs to it, made anew for each attempt, as some change it.
struct Stage {
    directory: tempfile::TempDir,
    port: u16,
    _listeners: (TcpListener, UdpSocket, [UnixListener; 3]),
    victim: Child,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(path, 0o755);
        for (name, bits) in [("open", 0o777), ("open/empty", 0o777), ("keys", 0o700)] {
            std::fs::create_dir(path.join(name)).unwrap();
            mode(&path.join(name), bits);
        }
        for (name, text, bits) in [
            ("open/file", "x", 0o666),
            ("open/readable", "x", 0o644),
            ("keys/node.key", "secret", 0o600),
            ("script", "#!/bin/sh\nexit 0\n", 0o755),
        ] {
            std::fs::write(path.join(name), text).unwrap();
            mode(&path.join(name), bits);
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        std::fs::create_dir(unexpected(port)).unwrap();
        mode(&unexpected(port), 0o755);
        let with_path = |directory: &Path| {
            let listener = UnixListener::bind(directory.join("socket")).unwrap();
            mode(&directory.join("socket"), 0o777);
            listener
        };
        let (here, there) = (with_path(path), with_path(&unexpected(port)));
        let name = SocketAddr::from_abstract_name(format!("rs-containment-{port}")).unwrap();
        let listeners = (tcp, udp, [here, there, UnixListener::bind_addr(&name).unwrap()]);
        let victim =
            Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { directory, port, _listeners: listeners, victim }
    }

    fn order(&self, attempt: usize) -> PathBuf {
        self.directory.path().join(format!("{attempt},{},{}", self.port, self.victim.id()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = std::fs::remove_dir_all(unexpected(self.port));
    }
}

fn run(mode: &str, state: &Path, plan: Plan) -> (String, Finish) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let program = std::env::current_exe().unwrap();
        let executor = WorkerExecutor::new(program, [mode]).unwrap().with_state_directory(state);
        let mut running = executor.start(plan).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = running.next().await {
            text += &chunk.text;
        }
        (text, running.finish().await)
    })
}

fn plan(level: AccessLevel, line: &str) -> Plan {
    Context::new(level).plan_line(line).unwrap()
}

/// Names of the attempts that got through, and how many there were.
fn through(run: Run<'_>, level: AccessLevel, line: &str) -> Vec<(&'static str, String)> {
    let numbers: Vec<usize> = (0..ALL.len()).collect();
    let each = numbers.chunks(ALL.len().div_ceil(AT_ONCE));
    std::thread::scope(|scope| {
        let threads: Vec<_> = each
            .map(|numbers| {
                scope.spawn(move || {
                    numbers.iter().filter_map(|number| one(run, level, line, *number)).collect()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| -> Vec<_> { thread.join().unwrap() }).collect()
    })
}

/// The attempt's name if it got through, or if it did not say that it was held.
fn one(run: Run<'_>, level: AccessLevel, line: &str, number: usize) -> Option<(&'static str, String)> {
    let name = ALL[number].0;
    let stage = Stage::new();
    let (text, finish) = run(&stage.order(number), plan(level, line));
    if text.trim() == "through" {
        return Some((name, String::new()));
    }
    (!text.starts_with("held: ")).then(|| (name, format!("{text:?} {finish:?}")))
}

// ---- tests ----

fn attempts_are_held() {
    assert!(ALL.len() >= ATTEMPTS_MIN);
    none_gets_through(&|state, plan| run("held", state, plan), COMMANDS, &[]);
}

/// `except` are lines with attempts that are known to get through.
fn none_gets_through(run: Run<'_>, commands: &[(AccessLevel, &str)], except: &[(&str, &str)]) {
    let mut all = Vec::new();
    for (level, line) in commands {
        let through = through(run, *level, line);
        println!("  {level}, {line}: {} attempts, {} got through", ALL.len(), through.len());
        let unknown = through.into_iter().filter(|(name, _)| !except.contains(&(*line, *name)));
        all.extend(unknown.map(|(name, how)| format!("{line}: {name} {how}")));
    }
    assert!(all.is_empty(), "got through:\n{}", all.join("\n"));
}

fn attempts_get_through_without() {
    for (level, line) in [COMMANDS[0], COMMANDS[COMMANDS.len() - 1]] {
        let through = through(&|state, plan| run("open", state, plan), level, line);
        println!("  {level}, {line}, enforcement off: {} of {} got through", through.len(), ALL.len());
        for (name, _) in ALL.iter().filter(|(name, _)| !through.iter().any(|(own, _)| own == name)) {
            println!("    held anyway: {name}");
        }
        assert!(through.len() * 100 >= ALL.len() * CONTROL_PERCENT, "the control shows too little");
    }
}

/// Landlock knows of truncation from its third version on. Here it is off, so that the filter of system calls stands alone.
fn nothing_is_emptied() {
    let (level, line) = COMMANDS[0];
    let mut tried = 0;
    for (number, (name, _)) in ALL.iter().enumerate().filter(|(_, (name, _))| name.contains("truncate")) {
        let through = |mode: &str| one(&|state, plan| run(mode, state, plan), level, line, number);
        assert_eq!(through("calls-only"), None, "{name}");
        assert!(through("open").is_some_and(|(_, how)| how.is_empty()), "the control: {name}");
        tried += 1;
    }
    assert_eq!(tried, 3);
}

fn nothing_runs_if_a_measure_fails() {
    let stage = Stage::new();
    let mut tried = 0;
    for measure in sandbox::measures() {
        let mode = format!("fails-at={measure}");
        let (text, finish) =
            run(&mode, &stage.order(usize::MAX), plan(AccessLevel::Diagnostics, "Get-Process"));
        assert_eq!((finish.status, text.as_str()), (Status::Sandbox, ""), "{measure}: {finish:?}");
        assert!(finish.message.contains(measure) && finish.measures.is_empty(), "{measure}: {finish:?}");
        tried += 1;
    }
    assert!(tried >= 15, "{tried}");
    let (text, finish) = run("held", &stage.order(usize::MAX), plan(AccessLevel::Diagnostics, "Get-Process"));
    assert!(finish.status == Status::Done && !text.is_empty(), "the control runs: {finish:?}");
}

fn identity() {
    let stage = Stage::new();
    let none = "CapInh: 0000000000000000;CapPrm: 0000000000000000;CapEff: 0000000000000000;\
                CapBnd: 0000000000000000;CapAmb: 0000000000000000;NoNewPrivs: 1;Seccomp: 2";
    let about = |level, line: &str| run("held", &stage.order(usize::MAX), plan(level, line));
    let (text, finish) = about(AccessLevel::Diagnostics, "Get-Process");
    let user = finish.measures.iter().find_map(|name| name.strip_prefix("user-")).unwrap().to_owned();
    assert!(user.parse::<u32>().is_ok_and(|user| user > 1000), "{finish:?}");
    let expected =
        format!("Uid: {user} {user} {user} {user};Gid: {user} {user} {user} {user};Groups:;{none}");
    assert_eq!(text.trim(), expected);
    let (text, finish) = about(AccessLevel::DiagnosticsRepair, "Stop-Service x");
    assert_eq!(
        text.trim(),
        format!("Uid: 0 0 0 0;Gid: 0 0 0 0;Groups:;{none}"),
        "root, and nothing that makes it one"
    );
    assert!(finish.measures.iter().any(|name| name == "user-root"), "{finish:?}");
}

/// What an operation answers, as objects.
fn answer(mode: &str, state: &Path, name: &str) -> (Vec<Value>, Finish) {
    let mut plan = plan(AccessLevel::Diagnostics, name);
    plan.form = OutputForm::Objects;
    let (text, finish) = run(mode, state, plan);
    (text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(), finish)
}

/// How many objects have a value for each property.
fn filled(objects: &[Value]) -> BTreeMap<String, usize> {
    let mut filled = BTreeMap::new();
    for (name, value) in objects.iter().filter_map(Value::as_object).flatten() {
        *filled.entry(name.clone()).or_default() += usize::from(!value.is_null());
    }
    filled
}

fn native_operations_answer() {
    let state = tempfile::tempdir().unwrap();
    let catalog = Catalog::azure_local();
    let native: Vec<_> = catalog
        .permitted(AccessLevel::Diagnostics, Policy::default())
        .filter(|entry| entry.availability(Machine::current()) == Availability::Native)
        .filter(|entry| entry.definition.is_some_and(|own| own.role == Role::Source))
        .filter(|entry| entry.definition.is_some_and(|own| own.parameters.iter().all(|one| !one.mandatory)))
        .map(|entry| entry.name.as_str())
        .collect();
    assert!(native.len() >= 40, "{}", native.len());
    let (mut same, mut alike, mut differ) = (0, 0, Vec::new());
    for name in native {
        let line = if name == "Test-Observability" { "Test-Observability 1" } else { name };
        let (before, outside) = answer("open-worker", state.path(), line);
        let (inside, held) = answer("plain-worker", state.path(), line);
        let (after, _) = answer("open-worker", state.path(), line);
        if (held.status, &held.message) != (outside.status, &outside.message) {
            differ.push(format!("{name}: {held:?} where {outside:?}"));
        } else if before == after {
            same += 1;
            if inside != before {
                differ.push(format!("{name}: {inside:?} where {before:?}"));
            }
        } else {
            // It changes all the time; nothing may be missing.
            alike += 1;
            let (inside, before, after) = (filled(&inside), filled(&before), filled(&after));
            for (property, count) in before {
                let least = count.min(after.get(&property).copied().unwrap_or(0)) * 9 / 10;
                let found = inside.get(&property).copied().unwrap_or(0);
                if found < least {
                    differ.push(format!("{name}: {property} has {found} values where {least} are the least"));
                }
            }
        }
    }
    println!(
        "  {same} operations answer exactly the same inside, {alike} that change all the time have nothing missing"
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// What the measures cost: printed, not judged.
fn start_costs() {
    let state = tempfile::tempdir().unwrap();
    let mut best = BTreeMap::new();
    for _ in 0..20 {
        for mode in ["plain-worker", "open-worker"] {
            let start = Instant::now();
            let (_, finish) = run(mode, state.path(), plan(AccessLevel::Diagnostics, "Get-Date"));
            assert_eq!(finish.status, Status::Done);
            let took = start.elapsed();
            let least: &mut Duration = best.entry(mode).or_insert(took);
            *least = took.min(*least);
        }
    }
    println!("  shortest of 20: {:?} inside, {:?} outside", best["plain-worker"], best["open-worker"]);
}
