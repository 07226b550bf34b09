//! The same with an agent that is not root: what needs no rights holds there too, and no more is claimed.

use super::*;

/// The user and the group nobody.
const NOBODY: &str = "65534";
/// First argument of this program as such an agent; then what [`run`] takes: mode, state directory, plan.
pub(super) const ASKS: &str = "nobody-asks";
/// Number of an attempt that leaves a process behind and says its number.
pub(super) const STAY_BEHIND: usize = usize::MAX - 1;
/// Number of an attempt that starts more and more processes.
pub(super) const RUNAWAY: usize = usize::MAX - 2;
/// Processes that a runaway starts: far more than the limit, and no more than this machine can take.
const RUNAWAY_PROCESSES: usize = 300;
/// How long a runaway stays.
const RUNAWAY_STAYS: Duration = Duration::from_secs(3);
/// Attempts that have to get through as nobody with enforcement off, of a hundred: the rest is what only root may anyway.
const CONTROL_PERCENT: usize = 50;
/// What only root can set up.
const ONLY_AS_ROOT: &[&str] =
    &["pid-namespace", "limit-processes", "network-namespace", "ipc-namespace", "user"];
/// What gets through without a namespace of processes: a signal to everybody that the kernel lets reach nobody is still no
/// error; that it does not reach one of the same user is seen by "others: signal the supervisor".
const GETS_THROUGH: &[(&str, &str)] = &[("Stop-Service x", "others: signal everybody")];
/// The first of each level.
const COMMANDS: &[(AccessLevel, &str)] = &[super::COMMANDS[0], super::COMMANDS[super::COMMANDS.len() - 1]];

/// This program where nobody can start it.
struct Nobody {
    directory: tempfile::TempDir,
}

impl Nobody {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    /// As [`super::run`], with agent, supervisor and worker as nobody.
    fn run(&self, mode: &str, state: &Path, plan: &Plan) -> (String, Finish) {
        let output = Command::new("setpriv")
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(self.directory.path().join("program"))
            .args([ASKS, mode])
            .arg(state)
            .arg(serde_json::to_string(plan).unwrap())
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

/// The agent's part.
pub(super) fn ask(arguments: &[String]) -> ExitCode {
    let [mode, state, plan] = arguments else { return ExitCode::FAILURE };
    let answer = run(mode, Path::new(state), serde_json::from_str(plan).unwrap());
    println!("{}", serde_json::to_string(&answer).unwrap());
    ExitCode::SUCCESS
}

/// Starts a process in a session and group of its own, whose parent is gone.
pub(super) fn stay_behind() -> String {
    let started = Command::new("/bin/sh").args(["-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"]).output();
    let number = String::from_utf8(started.unwrap().stdout).unwrap();
    assert!(is_alive(number.trim()), "the control: it lives as long as the operation");
    number
}

/// Starts processes that only wait, and says how many it could have at once.
pub(super) fn run_away() -> String {
    let sleep = || Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut had = Vec::new();
    while had.len() < RUNAWAY_PROCESSES {
        let Ok(child) = sleep() else { break };
        had.push(child);
    }
    std::thread::sleep(RUNAWAY_STAYS);
    had.len().to_string()
}

fn is_alive(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(super) fn attempts_are_held() {
    let nobody = Nobody::new();
    none_gets_through(&|state, plan| nobody.run("held", state, &plan), COMMANDS, GETS_THROUGH);
}

/// Control: it is the view of the file system that keeps the sockets of others away.
pub(super) fn sockets_without() {
    let nobody = Nobody::new();
    let name = "connect: a socket with a path";
    let (level, line) = COMMANDS[1];
    let number = ALL.iter().position(|(own, _)| *own == name).unwrap();
    let reached =
        |mode: &str| one(&|state, plan| nobody.run(mode, state, &plan), level, line, number).is_some();
    assert!(!reached("held") && reached("all-sockets"), "{line}");
}

/// Who starts processes without end is ended: by the kernel where it has a user of its own, by its supervisor elsewhere.
pub(super) fn no_crowd() {
    let (nobody, stage) = (Nobody::new(), Stage::new());
    let state = stage.order(RUNAWAY);
    let (level, line) = super::COMMANDS[super::COMMANDS.len() - 1];
    let as_root: Run<'_> = &|state, plan| run("crowd", state, plan);
    let as_nobody: Run<'_> = &|state, plan| nobody.run("crowd", state, &plan);
    for (who, run) in [("root", as_root), ("nobody", as_nobody)] {
        let (text, finish) = run(&state, plan(level, line));
        assert_eq!((text.as_str(), finish.status), ("", Status::Fault), "{who}: {finish:?}");
        assert!(finish.message.contains("the limit of processes is reached"), "{who}: {finish:?}");
        assert!(finish.killed.is_none_or(|killed| killed.complete), "{who}: {finish:?}");
    }
    // The control: nothing else keeps it from that.
    for (who, mode) in [("root", "open"), ("nobody", "open")] {
        let (text, finish) = match who {
            "root" => run(mode, &state, plan(level, line)),
            _ => nobody.run(mode, &state, &plan(level, line)),
        };
        assert_eq!(text.trim(), RUNAWAY_PROCESSES.to_string(), "{who}: {finish:?}");
    }
}

pub(super) fn through_without() {
    let nobody = Nobody::new();
    let (level, line) = COMMANDS[0];
    let through = through(&|state, plan| nobody.run("open", state, &plan), level, line);
    println!("  {level}, {line}, as nobody, enforcement off: {} of {} got through", through.len(), ALL.len());
    assert!(through.len() * 100 >= ALL.len() * CONTROL_PERCENT, "the control shows too little");
}

pub(super) fn claims() {
    let (nobody, stage) = (Nobody::new(), Stage::new());
    let held = |level, line: &str| nobody.run("held", &stage.order(usize::MAX), &plan(level, line));
    for (level, line) in super::COMMANDS {
        let confinement = Confinement::of(&plan(*level, line));
        let own = |name: &&str| !ONLY_AS_ROOT.contains(name) && confinement.has(name);
        let expected: Vec<_> = sandbox::measures().filter(own).collect();
        let (text, finish) = held(*level, line);
        assert_eq!(finish.status, Status::Done, "{line}: {finish:?}");
        assert_eq!(finish.measures.len(), expected.len(), "{line}: {finish:?}");
        for (claimed, expected) in finish.measures.iter().zip(&expected) {
            assert!(claimed.starts_with(expected), "{line}: {claimed} where {expected} is in force");
        }
        let none = "0000000000000000";
        let user = [NOBODY; 4].join(" ");
        for fact in [
            format!("Uid: {user}"),
            format!("Gid: {user}"),
            format!("CapPrm: {none}"),
            format!("CapEff: {none}"),
            String::from("NoNewPrivs: 1"),
            String::from("Seccomp: 2"),
        ] {
            assert!(text.contains(&fact), "{line}: {fact} is not in {text}");
        }
    }
    let (_, as_root) = run("held", &stage.order(usize::MAX), plan(COMMANDS[0].0, COMMANDS[0].1));
    let named = |name: &str| as_root.measures.iter().any(|own| own.starts_with(name));
    assert!(named("pid-namespace") && named("user-"), "the control: root claims more: {as_root:?}");
}

/// Without a namespace of processes the supervisor's hunt is all there is.
pub(super) fn nothing_stays() {
    let (nobody, stage) = (Nobody::new(), Stage::new());
    let (level, line) = COMMANDS[0];
    let (text, finish) = nobody.run("open", &stage.order(STAY_BEHIND), &plan(level, line));
    assert_eq!(finish.status, Status::Done, "{finish:?}");
    assert!(text.trim().parse::<u32>().is_ok(), "it was started: {text:?}");
    assert!(!is_alive(text.trim()), "process {text} is still there");
}
