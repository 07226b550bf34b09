//! One machine with relay, node, desk and engineer.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use rs_cli::control::{AgentControl as _, SocketControl, Status};
use rs_cli::state::{Role, StateDir};
use rs_consent::SigningKey;
use rs_consent::store::ConsentStore;
use uuid::Uuid;

use crate::daemon::{Daemon, until, until_true};
use crate::machine::{Machine, Run};
use crate::processes;

/// A line that prints once a second until it is ended.
pub(crate) const ENDLESS: &str = "Test-Observability -Seconds 600";

/// A machine on which everything runs; relay and agent when a test starts them.
pub(crate) struct Site {
    // Before the machine: what runs must be gone when its directory goes.
    pub(crate) agent: Option<Daemon>,
    pub(crate) relay: Option<Daemon>,
    pub(crate) machine: Machine,
    started: Cell<usize>,
}

impl Site {
    /// A machine with nothing on it.
    pub(crate) fn empty() -> Self {
        Self::of(Machine::new())
    }

    /// As [`Site::empty`], where syncs cost nothing, if there is such a place: for what is done thousands of times.
    pub(crate) fn in_memory() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::of(Machine::at(directory.expect("a directory")))
    }

    fn of(machine: Machine) -> Self {
        Self { agent: None, relay: None, machine, started: Cell::new(0) }
    }

    /// Relay and agent run, nothing else is there.
    pub(crate) fn started() -> Self {
        let mut site = Self::empty();
        site.start_relay();
        site.start_agent();
        site
    }

    /// Relay and agent run, an engineer is assigned, consent is given, the node is connected.
    pub(crate) fn ready() -> Self {
        let site = Self::started();
        site.papers();
        site.machine.enable("Diagnostics");
        site.connected();
        site
    }

    /// As [`Site::ready`], without an agent.
    pub(crate) fn ready_without_agent() -> Self {
        let mut site = Self::empty();
        site.start_relay();
        site.papers();
        site.machine.enable("Diagnostics");
        site
    }

    /// Starts a process with the program; its files are found by a number.
    pub(crate) fn start(&self, name: &str, command: Command) -> Daemon {
        self.started.set(self.started.get() + 1);
        Daemon::start(command, self.machine.file(&format!("{name}-{}", self.started.get())))
    }

    pub(crate) fn start_relay(&mut self) {
        let relay = self.start("relay", self.machine.command(["relay", "serve", "--listen", "127.0.0.1:0"]));
        relay.says("Relay listening on");
        self.relay = Some(relay);
    }

    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(|_| {});
    }

    /// As [`Site::start_agent`], with more in its environment.
    pub(crate) fn start_agent_with(&mut self, more: impl FnOnce(&mut Command)) {
        let mut command = self.machine.command(["agent", "run"]);
        more(&mut command);
        let agent = self.start("agent", command);
        agent.says("The agent of this node runs");
        self.agent = Some(agent);
    }

    /// Request, desk, engineer, assignment; returns the number of the request.
    pub(crate) fn papers(&self) -> String {
        let number = self.machine.submit();
        for line in
            ["desk init", "desk open", "engineer init", "desk assign --engineer engineer@support.example"]
        {
            let _printed = self.machine.json(line);
        }
        number
    }

    pub(crate) fn agent(&mut self) -> &mut Daemon {
        self.agent.as_mut().expect("the agent was started")
    }

    pub(crate) fn relay(&mut self) -> &mut Daemon {
        self.relay.as_mut().expect("the relay was started")
    }

    pub(crate) fn role(&self, role: Role) -> PathBuf {
        StateDir::new(Some(self.machine.state())).expect("a path").role(role).path().to_owned()
    }

    pub(crate) fn key(&self, role: Role) -> SigningKey {
        let path = self.role(role).join(format!("{}.key", role.as_str()));
        SigningKey::from_pkcs8_pem(&std::fs::read_to_string(path).expect("a key file")).expect("a key")
    }

    pub(crate) fn store(&self) -> ConsentStore {
        ConsentStore::open(self.role(Role::Node).join("store.sqlite")).expect("a store")
    }

    /// What the agent says of itself.
    pub(crate) fn status(&self) -> Status {
        let state = StateDir::new(Some(self.machine.state())).expect("a path");
        SocketControl::new(&state.role(Role::Node)).status().expect("the agent answers")
    }

    /// Waits until engineers can reach the node.
    #[track_caller]
    pub(crate) fn connected(&self) {
        until_true("the node is connected", || self.status().connection_status == "Connected");
    }

    /// An engineer who runs these lines, one after the other.
    pub(crate) fn engineer<S: AsRef<str>>(&self, lines: impl IntoIterator<Item = S>) -> Daemon {
        let mut command = self.machine.command(["connect"]);
        for line in lines {
            command.args(["--command", line.as_ref()]);
        }
        self.start("engineer", command)
    }

    /// An engineer in the middle of an operation that goes on; returns the session too.
    #[track_caller]
    pub(crate) fn busy_engineer(&self) -> (Daemon, Uuid) {
        let engineer = self.engineer([ENDLESS]);
        let session = session_of(&engineer);
        until_true("the operation prints", || engineer.stdout().contains("OK"));
        (engineer, session)
    }

    /// An engineer's whole run.
    pub(crate) fn connect(&self, more: &str) -> Run {
        self.machine.run(&format!("connect --command Get-Date {more}"))
    }

    /// Living workers of this node.
    pub(crate) fn workers(&self) -> Vec<u32> {
        processes::workers(&self.machine.state())
    }

    /// The supervisor of this node's only operation.
    pub(crate) fn supervisor(&self) -> u32 {
        let mark = b"REMOTE_SUPPORT_SUPERVISOR=";
        let is_worker = |pid: &u32| processes::environment(*pid).windows(mark.len()).any(|part| part == mark);
        let supervisors: Vec<u32> = self.workers().into_iter().filter(|pid| !is_worker(pid)).collect();
        assert_eq!(supervisors.len(), 1, "one operation runs");
        supervisors[0]
    }

    /// The node's record of a session.
    pub(crate) fn record(&self, session: Uuid) -> PathBuf {
        self.role(Role::Node).join("sessions").join(format!("{session}.record"))
    }

    /// The engineer's copy of it.
    pub(crate) fn received(&self, session: Uuid) -> PathBuf {
        self.role(Role::Engineer).join("received").join(format!("{session}.record"))
    }

    /// All record files of the node.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let mut files = files(&self.role(Role::Node).join("sessions"));
        files.retain(|path| path.extension().is_some_and(|extension| extension == "record"));
        files
    }
}

/// The session that an engineer was let into.
#[track_caller]
pub(crate) fn session_of(engineer: &Daemon) -> Uuid {
    until("the engineer is let in", || {
        let told = engineer.stderr();
        told.split_once(" Session ")?.1.split_once('.')?.0.parse().ok()
    })
}

/// The files in a directory; none if there is no such directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
