//! The operator's commands beside a running agent, played by the control server with a handler of the test.

use std::sync::{Arc, Mutex};

use rs_cli::control::{Changed, ControlReply, ControlRequest, ControlServer, Status};
use rs_cli::state::{Role, StateDir};

use crate::machine::Machine;

/// An agent that notes what it was asked and answers as told.
pub(crate) struct Agent {
    asked: Arc<Mutex<Vec<ControlRequest>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Agent {
    pub(crate) fn start(machine: &Machine, answer: fn(&ControlRequest) -> ControlReply) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let state = StateDir::new(Some(machine.state())).expect("a path");
        let _within = runtime.enter();
        let server = ControlServer::bind(&state.role(Role::Node)).expect("bound");
        runtime.spawn(server.serve(move |_, request| {
            let reply = answer(&request);
            noted.lock().expect("no panic").push(request);
            async move { reply }
        }));
        Self { asked, _runtime: runtime }
    }

    pub(crate) fn asked(&self) -> Vec<ControlRequest> {
        self.asked.lock().expect("no panic").clone()
    }
}

pub(crate) fn well(request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Status {} => ControlReply::Status(Status {
            pid: 1,
            started_at: chrono::DateTime::UNIX_EPOCH,
            connection_status: "Connected".to_owned(),
            connection_error_message: Some("lost once\nState : Active".to_owned()),
            sessions: Vec::new(),
        }),
        _ => ControlReply::Changed(Changed { sessions_ended: 2, elapsed_ms: 41, ..Changed::default() }),
    }
}

#[test]
fn c16_disable_returns_when_the_agent_has_ended_the_sessions_and_says_how_many() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let agent = Agent::start(&machine, well);
    let ended = machine.json("disable");
    assert_eq!((&ended["changed"], &ended["sessionsEnded"]), (&true.into(), &2.into()));
    assert!(ended["elapsedMilliseconds"].is_u64());
    assert_eq!(agent.asked(), [ControlRequest::Changed {}], "the store first, then the agent");
    assert_eq!(machine.json("access"), serde_json::json!([]));
}

#[test]
fn c16_sessions_that_are_still_ending_are_not_hidden() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent = Agent::start(&machine, |_| {
        ControlReply::Changed(Changed { sessions_ended: 1, sessions_still_ending: 1, ..Changed::default() })
    });
    let run = machine.run("disable");
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("not down yet"), "{}", run.stderr);
}

#[test]
fn sec11_an_agent_that_fails_cannot_keep_anybody_from_revoking() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let _agent =
        Agent::start(&machine, |_| ControlReply::Failed { code: "fault".into(), message: "stuck".into() });
    let run = machine.run("disable");
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("the consent is revoked"), "{}", run.stderr);
    assert_eq!(machine.json("access"), serde_json::json!([]));
}

#[test]
fn sec11_where_the_store_fails_the_agent_is_told_to_shut_its_gate() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    std::fs::write(machine.state().join("node/store.sqlite"), b"damaged").expect("own file");
    let agent = Agent::start(&machine, well);
    let run = machine.run("disable");
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("ended 2 sessions"), "{}", run.stderr);
    assert!(matches!(agent.asked()[..], [ControlRequest::Shut { .. }]), "{:?}", agent.asked());
}

#[test]
fn c10_access_shows_what_the_agent_says_of_the_connection_and_nothing_can_forge_a_field() {
    let machine = Machine::new();
    let agent = Agent::start(&machine, well);
    let grant = machine.enable("Diagnostics");
    assert_eq!(grant["connectionStatus"], "Connected");
    assert!(agent.asked().contains(&ControlRequest::Changed {}), "an agent is told of a consent");
    let list = machine.run("access").stdout;
    assert_eq!(list.lines().filter(|line| line.starts_with("State")).count(), 1, "sec38: {list}");
    assert_eq!(list.lines().count(), 9);
}

#[test]
fn closing_a_request_is_told_to_the_agent() {
    let machine = Machine::new();
    let number = machine.submit();
    let agent = Agent::start(&machine, well);
    let run = machine.run(&format!("request close {number}"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("2 sessions were ended in 41 ms"), "{}", run.stderr);
    assert_eq!(agent.asked(), [ControlRequest::Changed {}]);
}
