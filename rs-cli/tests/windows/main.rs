//! The program as a service of Windows: installed, started, used, stopped and removed through the real service manager, or wine's.
//!
//! It changes the machine: away from wine it runs only with `TEST_SERVICE` set, as an administrator, where no agent is installed.
#![cfg(windows)]

#[path = "../it/machine.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod machine;
mod texts;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use machine::Machine;
use serde_json::Value;
use windows_service::service::{ServiceAccess, ServiceExitCode, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

const SERVICE: &str = "RemoteSupportAgent";
/// Longest wait for anything that a test expects.
const WAIT: Duration = Duration::from_secs(60);

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < WAIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that is killed at the end of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
    }
}

/// The service is gone when the test ends, however it ends.
struct Installed<'a>(&'a Machine);

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        let _removed = self.0.run("agent service remove");
    }
}

fn start(machine: &Machine, args: &[&str], name: &str) -> Running {
    let file = |end: &str| {
        Stdio::from(fs::File::create_new(machine.file(&format!("{name}.{end}"))).expect("own directory"))
    };
    let child =
        machine.command(args).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts");
    Running(child)
}

fn read(machine: &Machine, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(machine.file(name)).unwrap_or_default()).into_owned()
}

#[test]
fn l01_the_service_is_installed_carries_a_session_stops_in_good_order_and_goes() {
    if std::env::var_os("TEST_UNDER_WINE").is_none() && std::env::var_os("TEST_SERVICE").is_none() {
        println!("not tested: it would install a service on this machine; TEST_SERVICE permits it");
        return;
    }
    let machine = Machine::new();
    let gone = machine.run("agent service remove");
    assert_eq!(gone.code, 4, "nothing is installed yet: {}", gone.stderr);

    // Whoever starts it by hand is told so.
    let by_hand = machine.run("agent service run");
    assert_eq!(by_hand.code, 2, "{}", by_hand.stderr);
    assert!(by_hand.stderr.contains("only the service manager"), "{}", by_hand.stderr);

    let _relay = start(&machine, &["relay", "serve", "--listen", "127.0.0.1:0"], "relay");
    until("the relay listens", || read(&machine, "relay.err").contains("Relay listening on").then_some(()));
    // Wine cannot add authorities to those of the system, so this one is named.
    let authority = machine.state().join("relay").join("ca.pem").display().to_string();
    let installed = machine.json(&format!("agent service install --relay-ca {authority}"));
    let _removed_at_the_end = Installed(&machine);
    let command = installed["command"].as_str().expect("a command line");
    assert!(command.contains("remote-support.exe"), "{command}");
    assert!(command.contains(" agent service run --state-dir "), "{command}");
    let twice = machine.run("agent service install");
    assert_eq!(twice.code, 2, "l08: {}", twice.stderr);
    assert!(twice.stderr.contains("installed already"), "{}", twice.stderr);

    let manager =
        ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).expect("a manager");
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::START;
    let service = manager.open_service(SERVICE, access).expect("installed");
    let state = |wanted| {
        until("the service's state", || {
            let status = service.query_status().expect("status");
            let log = fs::read_to_string(machine.state().join("node").join("agent.log")).unwrap_or_default();
            assert!(
                wanted == ServiceState::Stopped || status.current_state != ServiceState::Stopped,
                "{status:?}\n{log}"
            );
            (status.current_state == wanted).then_some(status)
        })
    };
    let running = state(ServiceState::Running);
    let status = machine.json("agent status");
    assert_eq!(status["pid"].as_u64(), running.process_id.map(u64::from), "the service is the agent");
    assert_eq!(status["connectionStatus"], "NotConnected", "without a consent it is connected to nothing");

    // A whole session through it.
    machine.submit();
    for line in ["desk init", "desk open", "engineer init", "desk assign --engineer engineer@support.example"]
    {
        machine.json(line);
    }
    machine.enable("Diagnostics");
    until("the node is connected", || {
        (machine.json("agent status")["connectionStatus"] == "Connected").then_some(())
    });
    let done = machine.run(&format!("connect --relay-ca {authority} --command Get-Date"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let line = ["connect", "--relay-ca", &authority, "--command", "Test-Observability -Seconds 600"];
    let mut engineer = start(&machine, &line, "engineer");
    until("the operation prints", || {
        let (out, err) = (read(&machine, "engineer.out"), read(&machine, "engineer.err"));
        assert_eq!(engineer.0.try_wait().expect("own process"), None, "{out}\n{err}");
        out.contains("OK").then_some(())
    });

    // The event log is told, by the collector that the installation added.
    until("the event log is told", || {
        let list = machine.json("forward list");
        let told = list.as_array().expect("collectors").iter().find(|one| one["name"] == "event-log");
        let told = told.expect("the collector of the event log");
        assert_eq!(told["trouble"], Value::Null, "{told}");
        (told["delivered"].as_u64() >= Some(5)).then_some(())
    });

    // The order to stop ends it as SIGTERM does elsewhere.
    service.stop().expect("it takes orders");
    let stopped = state(ServiceState::Stopped);
    assert_eq!(stopped.exit_code, ServiceExitCode::NO_ERROR);
    let ended = until("the engineer is told", || engineer.0.try_wait().expect("own process"));
    assert!(!ended.success());
    let history = machine.json("history");
    let causes: Vec<&Value> =
        history.as_array().expect("sessions").iter().map(|session| &session["endCause"]).collect();
    assert!(causes.contains(&&Value::from("agent-stopped")), "{history}");
    let log = fs::read_to_string(machine.state().join("node").join("agent.log")).expect("a log");
    assert!(log.contains("1 session(s) ended"), "{log}");

    // It can be started again, and its removal stops it.
    service.start::<&str>(&[]).expect("it starts");
    state(ServiceState::Running);
    drop(service);
    let removed = machine.run("agent service remove");
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert_eq!(machine.run("agent service remove").code, 4);
    assert!(machine.state().join("node").join("node.key").exists(), "consents and records stay");
    assert_eq!(machine.run("history").code, 0);
}
