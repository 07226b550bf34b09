//! `agent doctor`: each fault is put there, found, and explained (L12).

use std::net::TcpListener;

use rs_cli::control::{ControlReply, ControlRequest};
use rs_consent::store::ConsentStore;
use rs_consent::{Clock as _, Consent, Now, SystemClock, Terms};
use serde_json::Value;

use crate::agent::{Agent, well};
use crate::machine::{self, Machine, Run};

/// The exit code, and what was found of one thing.
fn doctor(machine: &Machine, check: &str, variable: (&str, &str)) -> (i32, Vec<Value>) {
    let mut command = machine.command(["agent", "doctor", "--output", "json"]);
    let run: Run = command.env(variable.0, variable.1).output().expect("starts").into();
    let all: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("JSON: {run:?}"));
    let all = all.as_array().expect("findings").clone();
    for finding in &all {
        let fault = finding["result"] == "fault";
        assert!(!fault || finding["remedy"].is_string(), "cause and remedy: {finding}");
    }
    let of_it: Vec<Value> = all.into_iter().filter(|finding| finding["check"] == check).collect();
    assert!(!of_it.is_empty(), "nothing about {check}");
    (run.code, of_it)
}

const NOTHING: (&str, &str) = ("UNUSED", "");

#[track_caller]
fn fault(machine: &Machine, check: &str, variable: (&str, &str), exit: i32, words: &[&str]) {
    let (code, findings) = doctor(machine, check, variable);
    let fault = findings.iter().find(|finding| finding["result"] == "fault");
    let fault = fault.unwrap_or_else(|| panic!("no fault: {findings:?}")).to_string();
    assert!(words.iter().all(|word| fault.contains(word)), "{fault}");
    assert_eq!(code, exit, "{fault}");
}

fn credential(machine: &Machine, text: &str) {
    let file = machine.state().join("node/relay.credential");
    std::fs::write(&file, text).expect("own directory");
    machine::chmod(&file, 0o600);
}

fn store(machine: &Machine) -> ConsentStore {
    ConsentStore::open(machine.state().join("node/store.sqlite")).expect("a store")
}

#[test]
fn l12_a_node_that_is_well_has_no_fault_and_nothing_is_created_by_looking() {
    let machine = Machine::new();
    assert_eq!(doctor(&machine, "store", NOTHING).0, 5, "no agent runs");
    assert!(!machine.state().exists());
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    let run = machine.run("agent doctor --output json");
    assert_eq!(run.code, 0, "{}", run.stdout);
    let findings: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let named = |check: &str| findings.as_array().expect("findings").iter().any(|one| one["check"] == check);
    for check in ["service", "store", "clock", "disk", "sandbox", "proxy", "relay", "catalog"] {
        assert!(named(check), "{check}");
    }
}

#[test]
fn l12_service() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    fault(&machine, "service", NOTHING, 5, &["no agent is running", "agent run"]);
    let agent =
        Agent::start(&machine, |_| ControlReply::Failed { code: "fault".into(), message: "stuck".into() });
    fault(&machine, "service", NOTHING, 5, &["stuck", "agent status"]);
    assert_eq!(agent.asked(), [ControlRequest::Status {}], "it looks and changes nothing");
}

#[test]
fn l12_store() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    std::fs::write(machine.state().join("node/store.sqlite"), "damaged").expect("own file");
    fault(&machine, "store", NOTHING, 6, &["the store of this node cannot be used"]);
}

#[test]
fn l12_clock() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    let now = SystemClock::default().now();
    let later = Now { wall: now.wall + chrono::TimeDelta::hours(1), ..now };
    store(&machine).stamp(&later).expect("stamped");
    fault(&machine, "clock", NOTHING, 1, &["it went back from", "enabling remote support again"]);
}

#[test]
fn l12_disk() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    machine::chmod(&machine.state().join("node"), 0o755);
    fault(&machine, "disk", NOTHING, 1, &["other users can reach this", "chmod 700"]);
}

#[test]
fn l12_proxy() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    fault(
        &machine,
        "proxy",
        ("HTTPS_PROXY", "socks5://u:canary@proxy.example"),
        1,
        &["socks5", "http://HOST:PORT"],
    );
    fault(&machine, "proxy", ("REMOTE_SUPPORT_PROXY_CREDENTIALS_FILE", "none"), 1, &["none", "No such file"]);
    let (code, findings) = doctor(&machine, "proxy", ("https_proxy", "http://u:canary@proxy.example"));
    assert_eq!(code, 0);
    let text = Value::from(findings).to_string();
    assert!(
        text.contains("http://proxy.example:80") && text.contains("advice") && !text.contains("canary"),
        "{text}"
    );
}

#[test]
fn l12_relay() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    drop(taken);
    for relay in ["localhost", "127.0.0.1"] {
        let text = format!(
            "Endpoint=sb://{relay}:{port}/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=node-01"
        );
        credential(&machine, &text);
        fault(&machine, "relay", NOTHING, 5, &["tcp: ", "refused", &format!("{relay}:{port}")]);
    }
    let expired = "Endpoint=sb://localhost/;SharedAccessSignature=SharedAccessSignature \
                   sr=http%3a%2f%2flocalhost%2f&sig=c2ln&se=1&skn=listen;EntityPath=node-01";
    credential(&machine, expired);
    fault(&machine, "relay", NOTHING, 1, &["has expired"]);
    credential(&machine, "canary");
    fault(&machine, "relay", NOTHING, 1, &["the relay credential cannot be used"]);
    let _agent = Agent::start(&machine, well);
    credential(
        &machine,
        "Endpoint=sb://localhost/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=node-01",
    );
    let (code, findings) = doctor(&machine, "relay", NOTHING);
    assert_eq!((code, &findings[0]["result"]), (0, &"ok".into()), "the agent is connected: {findings:?}");
}

#[test]
fn l12_catalog() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, well);
    assert_eq!(doctor(&machine, "catalog", NOTHING).1[0]["result"], "ok");
    let consent = Consent {
        level: rs_consent::AccessLevel::Diagnostics,
        minutes: rs_consent::Minutes::default(),
        terms: Terms::azure_local(),
        request: None,
        grantor: rs_cli::node::grantor(rs_consent::party::Method::CommandLine),
        scope: rs_consent::Scope::default(),
        catalog: Some("0".repeat(64).parse().expect("a digest")),
        approval: rs_consent::ApprovalRule::default(),
        conditions: rs_consent::Conditions::default(),
        requested: SystemClock::default().now(),
    };
    store(&machine).enable(&consent, &SystemClock::default().now()).expect("enabled");
    let (code, findings) = doctor(&machine, "catalog", NOTHING);
    assert_eq!((code, &findings[0]["result"]), (0, &"advice".into()), "{findings:?}");
    assert!(findings[0]["remedy"].as_str().expect("text").contains("enable remote support again"));
}

/// `agent doctor` started by other programs, and what it found of the sandbox.
#[cfg(target_os = "linux")]
fn sandbox_under(starter: &[&str], program: &std::path::Path, state: &std::path::Path) -> (i32, Value) {
    let mut command = std::process::Command::new(starter[0]);
    command.args(&starter[1..]).arg(program).args(["agent", "doctor", "--output", "json", "--state-dir"]);
    let run: Run = command.arg(state).current_dir("/").output().expect("starts").into();
    let all: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("JSON: {run:?}"));
    let of_it = all.as_array().expect("findings").iter().find(|one| one["check"] == "sandbox").cloned();
    (run.code, of_it.unwrap_or_else(|| panic!("nothing about the sandbox: {all}")))
}

/// A hard limit of open files that the sandbox may not raise: a set-up that fails for real.
#[cfg(target_os = "linux")]
#[test]
fn l12_sandbox_that_cannot_be_set_up_is_a_fault_with_its_reason() {
    let machine = Machine::new();
    let starter = |files: &'static str| {
        let limit = ["prlimit", files];
        let without = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"];
        let root = rustix::process::geteuid().is_root();
        limit.into_iter().chain(without.into_iter().filter(|_| root).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let (code, found) = sandbox_under(&starter("--nofile=128:128"), &machine::program(), &machine.state());
    assert_eq!((code, &found["result"]), (1, &"fault".into()), "{found}");
    let said = found.to_string();
    assert!(said.contains("no operation runs here") && said.contains("limit-files"), "{said}");
    assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.contains("limits as high")), "{said}");
    let (_, fine) = sandbox_under(&starter("--nofile=256:256"), &machine::program(), &machine.state());
    assert_ne!(fine["result"], "fault", "the control: as many as it takes: {fine}");
}

#[cfg(target_os = "linux")]
#[test]
fn l12_sandbox_names_what_only_root_has() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "root is required here");
        eprintln!("skipped: only root can become another user");
        return;
    }
    let machine = Machine::new();
    let (_, root) = sandbox_under(&["env"], &machine::program(), &machine.state());
    let said = root["finding"].as_str().expect("text");
    assert!(said.contains("user-") && said.contains("file-rules") && !said.contains("not root"), "{said}");

    // Where nobody can start it.
    let directory = tempfile::tempdir().expect("a directory");
    machine::chmod(directory.path(), 0o755);
    let program = directory.path().join("program");
    std::fs::copy(machine::program(), &program).expect("own directory");
    machine::chmod(&program, 0o755);
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let (_, found) = sandbox_under(&nobody, &program, &directory.path().join("state"));
    assert_eq!(found["result"], "advice", "{found}");
    let said = found["finding"].as_str().expect("text");
    let (held, missing) = said.split_once("; not in force, as this user is not root: ").expect("both");
    for name in ["pid-namespace", "network-namespace", "ipc-namespace", "user"] {
        assert!(missing.contains(name) && !held.contains(name), "{name}: {said}");
    }
    assert!(held.contains("file-rules") && held.contains("system-calls"), "{said}");
    assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.contains("as root")), "{found}");
}
