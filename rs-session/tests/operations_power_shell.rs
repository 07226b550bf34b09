//! The PowerShell provider against a stand-in endpoint: a real process that speaks the protocol, honestly or not (A17,
//! SEC7, SEC20, SEC46).
//!
//! This program is its own stand-in: started with `endpoint WAY SCRIPT` it answers calls on its standard input. The way
//! says how it misbehaves.

#![expect(clippy::unwrap_used, reason = "a test program without the test harness")]

#[path = "common/own_main.rs"]
mod own_main;

use std::io::{Read, Write};
use std::path::PathBuf;
#[cfg(unix)]
use std::process::Command;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::executor::{Executor as _, Finish, InProcessExecutor, PowerShell, Status};
use rs_session::operations::plan::Bound;
use rs_session::operations::powershell::{
    ANSWER_BYTES_MAX, CallMessage, EndpointProgram, FinishMessage, HEADER_BYTES, Hello, Kind,
    OBJECT_BYTES_MAX, ObjectMessage, PROTOCOL, Text, TextMessage, WireObject, WireValue, endpoint_script,
    header, read_header,
};
use rs_session::operations::{Catalog, Context, Machine, OutputForm, Plan};
use uuid::Uuid;

use crate::own_main::{Test, run_tests};

/// Longest time a kill may take.
const KILL_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("endpoint") => endpoint(&arguments[1]),
        _ => run_tests(TESTS, &arguments),
    }
}

const TESTS: &[Test] = &[
    ("a17_objects_come_back_through_the_pipeline", objects_come_back),
    ("sec20_values_arrive_unchanged", values_arrive_unchanged),
    ("one_process_serves_a_session_and_another_the_next", one_process_per_session),
    #[cfg(unix)]
    ("sec07_a_session_ends_its_endpoint_as_a_tree", session_ends_its_tree),
    #[cfg(unix)]
    ("sec07_control_killing_the_first_process_leaves_survivors", control_first_process_only),
    ("sec07_an_interrupted_call_ends_its_endpoint_and_the_next_works", interrupt_replaces),
    ("sec07_an_interrupt_at_any_moment_ends_the_call", interrupts_at_any_moment),
    ("sec46_a_hanging_call_ends_at_its_time", hanging_call_ends),
    ("sec46_an_endpoint_that_does_not_greet_is_ended", no_hello_is_ended),
    ("sec46_endless_answers_are_cut", endless_is_cut),
    ("sec46_an_unread_call_stands_still_and_can_be_killed", unread_stands_still),
    ("sec44_whatever_an_endpoint_sends_is_a_failure_of_that_call_only", broken_endpoints),
    ("sec44_an_endpoint_that_dies_in_an_answer_is_replaced", death_in_an_answer),
    ("sec20_an_endpoint_with_other_rights_is_not_used", other_rights),
    ("enough_objects_leave_the_endpoint_usable", enough_keeps_it),
    ("a11_secrets_are_withheld", secrets_are_withheld),
    ("sec22_the_endpoint_has_a_clean_environment", clean_environment),
    ("programs_and_scripts_are_absolute", absolute_only),
    ("levels_have_endpoints_of_their_own", level_changes),
    ("failures_of_a_call_are_told", failures_are_told),
    ("a17_only_what_power_shell_answers_goes_there", routing),
];

// ---- the stand-in ----

fn send(kind: Kind, message: &impl serde::Serialize) {
    send_bytes(kind, &serde_json::to_vec(message).unwrap());
}

fn send_bytes(kind: Kind, payload: &[u8]) {
    let mut out = std::io::stdout().lock();
    let sent = out.write_all(&header(kind, payload.len())).and_then(|()| out.write_all(payload));
    if sent.and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// The marker and the rights in the path of the script that the stand-in was started with.
fn own_script() -> (String, String) {
    let path = PathBuf::from(std::env::args().next_back().unwrap());
    let marker = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    (marker.to_owned(), path.file_stem().unwrap().to_str().unwrap().to_owned())
}

fn text(text: impl Into<String>) -> WireValue {
    WireValue::Text(Text(text.into()))
}

fn object(properties: Vec<(&str, WireValue)>) -> WireValue {
    let properties = properties.into_iter().map(|(name, value)| (Text(name.to_owned()), value)).collect();
    WireValue::Object(WireObject { type_name: Text(String::from("Service")), properties })
}

fn give(number: u64, value: WireValue) {
    send(Kind::Object, &ObjectMessage { number, value });
}

fn finish(number: u64, failure: &str) {
    send(Kind::Finish, &FinishMessage { number, failure: Text(failure.to_owned()) });
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// The stand-in's life: a hello, then answers, in its way.
fn endpoint(way: &str) -> ExitCode {
    let hello = Hello { protocol: PROTOCOL, rights: own_script().1, host: Text(String::from("stand-in")) };
    match way {
        "silent" => hang(),
        "other-rights" => send(Kind::Hello, &Hello { rights: "0".repeat(64), ..hello }),
        "other-protocol" => send(Kind::Hello, &Hello { protocol: PROTOCOL + 1, ..hello }),
        "no-hello" => finish(1, ""),
        "words" => {
            eprintln!("cannot load \u{1b}[2J module");
            return ExitCode::FAILURE;
        }
        _ => send(Kind::Hello, &hello),
    }
    loop {
        let mut head = [0; HEADER_BYTES];
        if std::io::stdin().read_exact(&mut head).is_err() {
            return ExitCode::SUCCESS;
        }
        let (kind, length) = read_header(head).unwrap();
        assert_eq!(kind, Kind::Call);
        let mut payload = vec![0; length];
        std::io::stdin().read_exact(&mut payload).unwrap();
        let message: CallMessage = serde_json::from_slice(&payload).unwrap();
        answer(way, &message);
    }
}

fn answer(way: &str, message: &CallMessage) {
    let number = message.number;
    let call = message.call();
    let name = call.text("Name").unwrap_or_default();
    let raw = |bytes: &[u8]| {
        std::io::stdout().write_all(bytes).unwrap();
        std::io::stdout().flush().unwrap();
    };
    match (way, name) {
        ("honest", "hang") | ("tree", _) | ("hang", _) => {
            #[cfg(unix)]
            if way == "tree" {
                spawn_tree();
            }
            give(
                number,
                object(vec![
                    ("Name", text("started")),
                    ("Id", WireValue::Integer(std::process::id().into())),
                ]),
            );
            hang()
        }
        ("endless", _) => loop {
            give(number, object(vec![("Name", text("x".repeat(60_000)))]));
        },
        ("kind", _) => raw(b"x\0\0\0\0"),
        ("huge", _) => raw(&header(Kind::Object, OBJECT_BYTES_MAX + 1)),
        ("huge-length", _) => raw(&[b'o', 0xff, 0xff, 0xff, 0xff]),
        ("no-json", _) => send_bytes(Kind::Object, b"{\"number\":1,"),
        ("no-utf8", _) => send_bytes(Kind::Object, b"\xff\xfe"),
        ("no-base64", _) => send_bytes(Kind::Finish, b"{\"number\":1,\"failure\":\"*\"}"),
        ("deep", _) => {
            let deep = (0..20).fold(WireValue::Null, |value, _| WireValue::List(vec![value]));
            give(number, deep);
        }
        ("deeper", _) => {
            let open = r#"{"k":"list","v":["#.repeat(5000);
            send_bytes(Kind::Object, format!("{{\"number\":1,\"value\":{open}").as_bytes());
        }
        ("other-number", _) => give(number + 1, WireValue::Null),
        ("call-back", _) => send(Kind::Call, message),
        ("hello-again", _) => send_bytes(Kind::Hello, b"{}"),
        ("exits", _) => std::process::exit(3),
        ("dies", "die") => {
            give(number, object(vec![("Name", text("first"))]));
            raw(&header(Kind::Object, 1000));
            raw(b"{\"number\"");
            std::process::exit(7);
        }
        ("many", _) => {
            for at in 0..5000 {
                give(number, object(vec![("Name", text(format!("s{at}"))), ("Id", WireValue::Integer(at))]));
            }
            finish(number, "");
        }
        ("secrets", _) => {
            give(number, object(vec![("Name", text("vm")), ("AdminPassword", text("s3cr3t-seed"))]));
            finish(number, "");
        }
        ("environment", _) => {
            let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
            give(number, object(vec![("Name", text(names.join(" ")))]));
            finish(number, "");
        }
        ("fails", _) => {
            send(Kind::Text, &TextMessage { number, text: Text(String::from("first \u{1b}[31mproblem")) });
            finish(number, "access is denied");
        }
        _ => honest(number, &call),
    }
}

/// Gives the process and the arguments of the call back.
fn honest(number: u64, call: &rs_session::operations::plan::Call) {
    let mut properties =
        vec![("Status", text("Running")), ("Pid", WireValue::Integer(std::process::id().into()))];
    for (name, bound) in &call.arguments {
        let value = match bound {
            Bound::Texts(texts) => WireValue::List(texts.iter().map(text).collect()),
            Bound::Integers(values) => {
                WireValue::List(values.iter().map(|value| WireValue::Integer(*value)).collect())
            }
            Bound::Switch(value) => WireValue::Bool(*value),
            Bound::Literals(_) => WireValue::Null,
        };
        properties.push((name, value));
    }
    give(number, object(properties));
    finish(number, "");
}

/// Children that stay, one of them loose from the tree, all with the marker in their command lines.
#[cfg(unix)]
fn spawn_tree() {
    let marker = own_script().0;
    let script = "trap '' TERM; sleep \"$0\" & (setsid sh -c 'sleep \"$0\"; :' \"$0\" &) ; (setsid sh -c '(sh -c \"sleep $0; :\" \"$0\") &' \"$0\" &); wait";
    let mut shell = Command::new("/bin/sh");
    let mut shell = shell.args(["-c", script, &marker]).env("PATH", "/usr/bin:/bin").spawn().unwrap();
    std::thread::spawn(move || shell.wait());
    while count(&marker) < 5 {
        std::thread::yield_now();
    }
}

/// Processes with a marker in their command lines, the stand-in itself left out.
#[cfg(unix)]
fn pids(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = entries.filter(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|part| part == marker.as_bytes()))
    });
    named.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(unix)]
fn count(marker: &str) -> usize {
    pids(marker).len()
}

// ---- the tests ----

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A folder for scripts whose name is the marker.
fn folder(marker: &str) -> PathBuf {
    let target = std::path::absolute(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = target.join("power-shell").join(marker);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn power_shell_with(way: &str, marker: &str) -> PowerShell {
    let program = EndpointProgram::new(std::env::current_exe().unwrap(), ["endpoint", way]).unwrap();
    PowerShell::new(program.with_scripts_in(folder(marker)).unwrap())
}

fn power_shell(way: &str) -> PowerShell {
    power_shell_with(way, "0")
}

fn context(level: AccessLevel) -> Context {
    // As on Windows: what is not native there goes to PowerShell.
    let machine = Machine { native: Systems::WINDOWS, power_shell: true };
    Context { form: OutputForm::Objects, machine, ..Context::new(level) }
}

fn plan(line: &str) -> Plan {
    context(AccessLevel::Diagnostics).plan_line(line).unwrap()
}

struct Got {
    text: String,
    finish: Finish,
}

impl Got {
    fn objects(&self) -> Vec<serde_json::Value> {
        self.text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn pid(&self) -> i64 {
        self.objects()[0]["Pid"].as_i64().unwrap()
    }
}

async fn call(power_shell: &PowerShell, session: Uuid, plan: Plan) -> Got {
    let mut running = power_shell.start(session, plan).unwrap();
    let mut text = String::new();
    while let Some(chunk) = running.next().await {
        text += &chunk.text;
    }
    Got { text, finish: running.finish().await }
}

fn session() -> Uuid {
    Uuid::new_v4()
}

fn objects_come_back() {
    runtime().block_on(async {
        let power_shell = power_shell("many");
        let own = session();
        let got = call(
            &power_shell,
            own,
            plan("Get-Service | ? Id -ge 10 | sort Id -Desc | select -First 2 Name, Id"),
        )
        .await;
        assert_eq!(got.finish.status, Status::Done, "{:?}", got.finish);
        assert_eq!(got.text, "{\"Name\":\"s4999\",\"Id\":4999}\n{\"Name\":\"s4998\",\"Id\":4998}\n");
        let mut table = plan("Get-Service | select -First 1 Name, Id");
        table.form = OutputForm::default();
        assert_eq!(call(&power_shell, own, table).await.text, "\nName Id\n---- --\ns0    0\n\n");
        assert!(power_shell.end(own).await.complete);
    });
}

fn values_arrive_unchanged() {
    let signs = proptest::sample::select(vec![
        '\'', '"', '`', '$', '(', ')', '{', '}', ';', '|', '&', '#', '@', '\\', '/', '%', '\u{2018}',
        '\u{2019}', '\u{201c}', 'é', '漢', '😀', 'a', 'Z', '0', ' ', '-', ',', '<', '>', '[', ']', '~', '!',
        '=', '+', '^', ':', '.',
    ]);
    let values =
        proptest::collection::vec(proptest::collection::vec(signs, 1..20).prop_map(String::from_iter), 1..5);
    let runtime = runtime();
    let (power_shell, own) = (power_shell("honest"), session());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(256) });
    let result = runner.run(&values, |values| {
        // A plan from its own data: it passes the same check as one from a line.
        let mut plan = plan("Get-Service -Name x");
        plan.call.arguments.insert(String::from("Name"), Bound::Texts(values.clone()));
        let got = runtime.block_on(call(&power_shell, own, plan));
        prop_assert_eq!(got.finish.status, Status::Done);
        let objects = got.objects();
        prop_assert_eq!(objects.len(), 1);
        prop_assert_eq!(&objects[0]["Name"], &serde_json::json!(values));
        prop_assert_eq!(objects[0].as_object().unwrap().len(), 3);
        Ok(())
    });
    runtime.block_on(power_shell.end(own));
    result.unwrap();
    // Through a line too: what PowerShell would expand stays as it was written.
    runtime.block_on(async {
        let got =
            call(&power_shell, own, plan("Get-Service 'a''b$(Stop-Computer);#','2024-05-01T10:00:00Z'"))
                .await;
        assert_eq!(
            got.objects()[0]["Name"],
            serde_json::json!(["a'b$(Stop-Computer);#", "2024-05-01T10:00:00Z"])
        );
        power_shell.end(own).await;
    });
}

fn one_process_per_session() {
    runtime().block_on(async {
        let (power_shell, first, second) = (power_shell("honest"), session(), session());
        let pid = call(&power_shell, first, plan("Get-Service a")).await.pid();
        assert_eq!(call(&power_shell, first, plan("Get-Service b")).await.pid(), pid);
        assert_ne!(call(&power_shell, second, plan("Get-Service a")).await.pid(), pid);
        let killed = power_shell.end(first).await;
        assert!(killed.complete && killed.processes >= 1);
        assert!(!alive(pid));
        assert!(power_shell.end(first).await.processes == 0);
        power_shell.end(second).await;
    });
}

fn alive(pid: i64) -> bool {
    let pid = sysinfo::Pid::from_u32(u32::try_from(pid).unwrap());
    let mut system = sysinfo::System::new().unwrap();
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), true);
    // One that was ended and not yet waited for does nothing any more.
    system.process(pid).is_some_and(|process| process.status() != sysinfo::ProcessStatus::Zombie)
}

/// A number of seconds that no other process sleeps for.
#[cfg(unix)]
fn marker() -> String {
    format!("{}", 1_000_000_000_u64 + u64::from(Uuid::new_v4().as_fields().0))
}

#[cfg(unix)]
async fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline, "it does not happen");
        tokio::task::yield_now().await;
    }
}

#[cfg(unix)]
fn session_ends_its_tree() {
    runtime().block_on(async {
        let (marker, own) = (marker(), session());
        let power_shell = power_shell_with("tree", &marker);
        let _running = power_shell.start(own, plan("Get-Service")).unwrap();
        until(|| count(&marker) >= 5).await;
        let start = Instant::now();
        let killed = power_shell.end(own).await;
        println!("    ended {} processes in {:?}", killed.processes, start.elapsed());
        assert!(killed.complete && start.elapsed() < KILL_MAX, "{killed:?} {:?}", start.elapsed());
        assert_eq!(count(&marker), 0);
    });
}

#[cfg(unix)]
fn control_first_process_only() {
    let marker = marker();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["endpoint", "tree"]).arg(folder(&marker).join("rights.ps1"));
    let mut child =
        child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let message = CallMessage::new(1, &plan("Get-Service").call, None).unwrap();
    child.stdin.as_mut().unwrap().write_all(&message.frame().unwrap()).unwrap();
    while count(&marker) < 5 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(count(&marker) > 0);
    // One of them may be about to start another.
    while count(&marker) > 0 {
        for pid in pids(&marker) {
            assert!(Command::new("kill").args(["-KILL", &pid]).status().is_ok());
        }
    }
}

fn interrupt_replaces() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("honest"), session());
        let pid = call(&power_shell, own, plan("Get-Service a")).await.pid();
        let mut running = power_shell.start(own, plan("Get-Service hang")).unwrap();
        running.interrupt();
        let finish = running.finish().await;
        assert_eq!(finish.status, Status::Interrupted);
        assert!(finish.killed.unwrap().complete && !alive(pid));
        let next = call(&power_shell, own, plan("Get-Service a")).await;
        assert_eq!(next.finish.status, Status::Done);
        assert_ne!(next.pid(), pid);
        power_shell.end(own).await;
    });
}

/// The call is ended while its endpoint is not started yet, starts, greets, or hangs.
fn interrupts_at_any_moment() {
    runtime().block_on(async {
        for moment in 0..24_u64 {
            let (power_shell, own) = (power_shell("honest"), session());
            let mut running = power_shell.start(own, plan("Get-Service hang")).unwrap();
            tokio::time::sleep(Duration::from_micros(moment * moment * 100)).await;
            running.interrupt();
            let end = tokio::time::timeout(Duration::from_secs(30), running.finish()).await;
            assert_eq!(end.expect("it ends").status, Status::Interrupted, "{moment}");
            power_shell.end(own).await;
        }
    });
}

fn hanging_call_ends() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("hang"), session());
        let mut limited = plan("Get-Service");
        limited.limits.seconds = 1;
        let start = Instant::now();
        let got = call(&power_shell, own, limited).await;
        assert_eq!(got.finish.status, Status::TimeLimit, "{:?}", got.finish);
        assert!(got.finish.killed.unwrap().complete);
        assert!(start.elapsed() < Duration::from_secs(10));
        power_shell.end(own).await;
    });
}

fn no_hello_is_ended() {
    runtime().block_on(async {
        let (power_shell, own) =
            (power_shell("silent").with_hello_time(Duration::from_millis(200)), session());
        let got = call(&power_shell, own, plan("Get-Service")).await;
        assert_eq!(got.finish.status, Status::TimeLimit);
        assert!(got.finish.message.contains("did not get ready"), "{:?}", got.finish);
        power_shell.end(own).await;
    });
}

fn endless_is_cut() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("endless"), session());
        let got = call(&power_shell, own, plan("Get-Service")).await;
        assert_eq!(got.finish.status, Status::OutputLimit, "{:?}", got.finish);
        assert_eq!(got.text.len(), 16 << 20);
        // A filter that holds everything gets no more than an answer may have.
        let got = call(&power_shell, own, plan("Get-Service | sort Name | select -Last 1")).await;
        assert_eq!(got.finish.status, Status::Failed, "{:?}", got.finish);
        assert!(got.finish.message.contains(&format!("{} MiB", ANSWER_BYTES_MAX >> 20)), "{:?}", got.finish);
        power_shell.end(own).await;
    });
}

fn unread_stands_still() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("endless"), session());
        let mut running = power_shell.start(own, plan("Get-Service")).unwrap();
        assert!(running.next().await.is_some());
        assert!(running.kill().await.complete);
        assert_eq!(running.finish().await.status, Status::Killed);
        // Dropping the handle ends a call too.
        drop(power_shell.start(own, plan("Get-Service")).unwrap());
        assert!(power_shell.end(own).await.complete);
    });
}

fn broken_endpoints() {
    runtime().block_on(async {
        for way in [
            "kind",
            "huge",
            "huge-length",
            "no-json",
            "no-utf8",
            "no-base64",
            "deep",
            "deeper",
            "other-number",
            "call-back",
            "hello-again",
            "exits",
            "no-hello",
            "words",
            "other-protocol",
        ] {
            let (power_shell, own) = (power_shell(way), session());
            let got = call(&power_shell, own, plan("Get-Service")).await;
            assert_eq!(got.finish.status, Status::Failed, "{way}: {:?}", got.finish);
            assert!(got.finish.message.contains("the PowerShell endpoint"), "{way}: {:?}", got.finish);
            assert!(!got.finish.message.contains('\u{1b}'), "{way}");
            if way == "words" {
                assert!(got.finish.message.contains("cannot load"), "{:?}", got.finish);
            }
            assert_eq!(power_shell.end(own).await.processes, 0, "{way} was left running");
        }
    });
}

fn death_in_an_answer() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("dies"), session());
        let got = call(&power_shell, own, plan("Get-Service die")).await;
        assert_eq!(got.finish.status, Status::Failed);
        assert_eq!(got.text, "{\"Name\":\"first\"}\n", "what had come is shown");
        assert_eq!(call(&power_shell, own, plan("Get-Service a")).await.finish.status, Status::Done);
        power_shell.end(own).await;
    });
}

fn other_rights() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("other-rights"), session());
        let got = call(&power_shell, own, plan("Get-Service")).await;
        assert!(got.finish.message.contains("other rights"), "{:?}", got.finish);
        assert_eq!(got.text, "");
        power_shell.end(own).await;
    });
}

fn enough_keeps_it() {
    runtime().block_on(async {
        let (many, own) = (power_shell("many"), session());
        for _ in 0..3 {
            let got = call(&many, own, plan("Get-Service | select -First 1 Id")).await;
            assert_eq!((got.finish.status, got.text.as_str()), (Status::Done, "{\"Id\":0}\n"));
        }
        many.end(own).await;
        // One that never stops is replaced instead.
        let endless = power_shell("endless");
        let got = call(&endless, own, plan("Get-Service | select -First 1 | measure")).await;
        assert_eq!(got.finish.status, Status::Done, "{:?}", got.finish);
        assert_eq!(endless.end(own).await.processes, 0);
    });
}

fn secrets_are_withheld() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("secrets"), session());
        for line in [
            "Get-Service",
            "Get-Service | ? AdminPassword -like s3* | select Name",
            "Get-Service | select -exp AdminPassword",
        ] {
            let got = call(&power_shell, own, plan(line)).await;
            assert!(!got.text.contains("s3cr3t"), "{line}: {}", got.text);
        }
        let guess =
            call(&power_shell, own, plan("Get-Service | ? AdminPassword -like s3* | select Name")).await;
        assert_eq!(guess.text, "", "a comparison does not find out either");
        power_shell.end(own).await;
    });
}

fn clean_environment() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("environment"), session());
        let got = call(&power_shell, own, plan("Get-Service")).await;
        let names = got.objects()[0]["Name"].as_str().unwrap().to_owned();
        let (own_mark, of_system): (Vec<&str>, Vec<&str>) =
            names.split(' ').partition(|name| *name == "REMOTE_SUPPORT_OPERATION");
        assert_eq!(own_mark.len(), 1, "{names}");
        // Windows does not work without some, and those say nothing about who started the agent.
        let told = [
            "SYSTEMROOT",
            "SYSTEMDRIVE",
            "WINDIR",
            "PROGRAMDATA",
            "PROGRAMFILES",
            "PROGRAMFILES(X86)",
            "COMMONPROGRAMFILES",
        ];
        let told = if cfg!(windows) { &told[..] } else { &[] };
        // Wine gives every process some of its own.
        let known = |name: &&str| told.contains(&name.to_uppercase().as_str()) || name.starts_with("WINE");
        let more: Vec<&str> = of_system.into_iter().filter(|name| !(cfg!(windows) && known(name))).collect();
        assert!(more.is_empty(), "{more:?}");
        power_shell.end(own).await;
    });
}

fn absolute_only() {
    assert!(EndpointProgram::new("powershell.exe", ["-File"]).is_err());
    let program = EndpointProgram::new(std::env::current_exe().unwrap(), ["endpoint"]).unwrap();
    assert!(program.with_scripts_in("scripts").is_err());
}

fn level_changes() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("honest"), session());
        let low = call(&power_shell, own, plan("Get-Service a")).await.pid();
        let raised = context(AccessLevel::DiagnosticsRepair).plan_line("Get-Service a").unwrap();
        let high = call(&power_shell, own, raised).await.pid();
        assert_ne!(low, high);
        assert!(!alive(low));
        power_shell.end(own).await;
        // What the endpoint runs is what the catalog says now, for its owner alone.
        for level in [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair] {
            let plan = context(level).plan_line("Get-Service a").unwrap();
            let catalog = Catalog::of(plan.variant);
            let path = folder("0").join(format!("{}.ps1", catalog.rights_sha256(level, plan.policy)));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), endpoint_script(catalog, level, plan.policy));
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
            }
        }
    });
}

fn routing() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("honest"), session());
        let native = std::sync::Arc::new(InProcessExecutor::default());
        let executor = power_shell.in_session(own, native, context(AccessLevel::Diagnostics).machine);
        let mut text = String::new();
        for line in ["Get-Service a | select Status", "Get-Date -Format u"] {
            let mut running = executor.start(plan(line)).await.unwrap();
            while let Some(chunk) = running.next().await {
                text += &chunk.text;
            }
            assert!(running.finish().await.is_done(), "{line}");
        }
        assert!(text.starts_with("{\"Status\":\"Running\"}\n\"2"), "{text}");
        assert!(power_shell.end(own).await.processes >= 1);
    });
}

fn failures_are_told() {
    runtime().block_on(async {
        let (power_shell, own) = (power_shell("fails"), session());
        let got = call(&power_shell, own, plan("Get-Service")).await;
        assert_eq!(got.finish.status, Status::Failed);
        assert_eq!(got.finish.message, "Get-Service : access is denied");
        assert_eq!(got.text, "Get-Service : first \\u{1b}[31mproblem\n");
        power_shell.end(own).await;
        let nowhere = if cfg!(windows) { r"C:\nowhere\powershell.exe" } else { "/nowhere/powershell" };
        let nowhere = PowerShell::new(EndpointProgram::new(nowhere, [""; 0]).unwrap());
        let got = call(&nowhere, own, plan("Get-Service")).await;
        assert_eq!(got.finish.status, Status::Failed);
        assert!(got.finish.message.contains("no folder for its scripts"), "{:?}", got.finish);
    });
}
