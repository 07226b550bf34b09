//! A node, its relay and a squid, each a process of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rs_cli::control::{AgentControl as _, SocketControl, Status};
use rs_cli::state::{Role, StateDir};
use rs_relay::proto::{Authority, AuthorizationRule, Right, Rules};
use rs_relay::server::{RelayServer, TlsTransport, dev_certificate};
use tokio::runtime::Runtime;

use crate::machine::{Machine, Run, chmod};
use crate::programs::{Running, directory, program, squid};

/// Longest wait for anything that a test expects; a machine that is busy with other tests is slow.
const WAIT: Duration = Duration::from_secs(60);
/// A relay of one's own. The name is known to squid only, so whoever reaches it went through squid.
pub(crate) const RELAY: &str = "relay.support.example";
/// A relay that looks like Azure's.
pub(crate) const NAMESPACE: &str = "rslab.servicebus.windows.net";
/// A storage. As with the relay, the name is known to squid only.
pub(crate) const STORAGE: &str = "storage.support.example";
/// What squid lets in, and what it does not.
pub(crate) const GOOD: &str = "node:secret";
pub(crate) const WRONG: &str = "node:wrong-canary";

/// Looks until there is something, and fails the test when it does not come.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < WAIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5)); // another process cannot be waited for otherwise
    }
}

/// A process that ends with the value; what it says goes to a file.
pub(crate) struct Daemon {
    child: Child,
    err: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, err: PathBuf) -> Self {
        let file = File::create_new(&err).expect("own directory");
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the program starts");
        Self { child, err }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.err).expect("text")
    }

    #[track_caller]
    fn says(&self, text: &str) {
        until(text, || self.said().contains(text).then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a relay runs in.
#[expect(dead_code, reason = "held until the test ends")]
enum Relay {
    Program(Daemon),
    Here(Runtime),
}

/// A node with its relay; the agent when a test starts it.
pub(crate) struct Site {
    // Before the machine: what runs must be gone when its directory goes.
    agent: Option<Daemon>,
    _relay: Relay,
    pub(crate) machine: Machine,
}

impl Site {
    /// A relay of this name, and the papers of a request.
    pub(crate) fn new(relay: &str) -> Self {
        let machine = Machine::new();
        let serve = machine.command(["relay", "serve", "--listen", "127.0.0.1:0", "--name", relay]);
        let relay = Daemon::start(serve, machine.file("relay.err"));
        relay.says("Relay listening on");
        Self::with_papers(machine, Relay::Program(relay))
    }

    /// As [`Site::new`] with a relay that never says anything by itself, as Azure's: whatever keeps a quiet connection
    /// comes from the node.
    pub(crate) fn with_silent_relay(relay: &str) -> Self {
        let machine = Machine::new();
        let state = StateDir::new(Some(machine.state())).expect("a path").role(Role::Relay);
        state.ensure().expect("created");
        let certificate = dev_certificate([relay]).expect("made");
        let runtime = Runtime::new().expect("a runtime");
        let chain = certificate.server_pem();
        let bound = TlsTransport::bind(("127.0.0.1", 0), &chain, certificate.key_pem());
        let transport = runtime.block_on(bound).expect("bound");
        let authority = Authority::new(relay, transport.local_addr().expect("bound").port()).expect("a name");
        let key = "c2VjcmV0LW9mLXRoZS1yZWxheQ==";
        let rule = |name: &str, right| {
            let text = format!(
                "Endpoint=sb://{authority}/;SharedAccessKeyName={name};SharedAccessKey={key};EntityPath=node-01"
            );
            let path = state.file(&format!("{name}.connection-string"));
            fs::write(&path, text).expect("own directory");
            chmod(&path, 0o600);
            AuthorizationRule::new(name.parse().expect("a name"), [right], key.parse().expect("a key"))
        };
        let rules = Rules::new([rule("listen", Right::Listen), rule("send", Right::Send)]).expect("rules");
        fs::write(state.file("ca.pem"), certificate.authority_pem()).expect("own directory");
        let server = RelayServer::builder([authority]).rules(rules).ping_interval(Duration::from_secs(3600));
        let server = server.build().expect("built");
        runtime.spawn(async move { server.serve(transport).await });
        Self::with_papers(machine, Relay::Here(runtime))
    }

    fn with_papers(machine: Machine, relay: Relay) -> Self {
        machine.submit();
        for line in
            ["desk init", "desk open", "engineer init", "desk assign --engineer engineer@support.example"]
        {
            let _printed = machine.json(line);
        }
        Self { agent: None, _relay: relay, machine }
    }

    /// Writes the file with the proxy's credentials.
    pub(crate) fn credentials(&self, text: &str) {
        let path = self.machine.file("proxy");
        fs::write(&path, text).expect("own directory");
        chmod(&path, 0o600);
    }

    /// Starts the agent with these words behind `agent run`.
    pub(crate) fn start_agent(&mut self, words: &[&str]) {
        self.start_agent_with(words, &[]);
    }

    /// As [`Site::start_agent`], with variables of the environment.
    pub(crate) fn start_agent_with(&mut self, words: &[&str], variables: &[(&str, &str)]) {
        let mut command = self.machine.command(["agent", "run"].iter().chain(words));
        command.envs(variables.iter().copied());
        let agent = Daemon::start(command, self.machine.file("agent.err"));
        agent.says("The agent of this node runs");
        self.agent = Some(agent);
    }

    /// Starts the agent behind a squid that wants credentials.
    pub(crate) fn start_agent_behind(&mut self, squid: &Running) {
        let proxy = squid.url().to_string();
        self.start_agent(&["--proxy", &proxy, "--proxy-credentials-file", "proxy"]);
    }

    pub(crate) fn agent_said(&self) -> String {
        self.agent.as_ref().expect("the agent was started").said()
    }

    pub(crate) fn status(&self) -> Status {
        let state = StateDir::new(Some(self.machine.state())).expect("a path");
        SocketControl::new(&state.role(Role::Node)).status().expect("the agent answers")
    }

    /// Waits until the agent has connected for the `count`th time.
    #[track_caller]
    pub(crate) fn connected(&self, count: usize) {
        until("the node is connected", || (self.times_connected() >= count).then_some(()));
        until("the agent says so", || (self.status().connection_status == "Connected").then_some(()));
    }

    pub(crate) fn times_connected(&self) -> usize {
        self.agent_said().matches("connected to the relay").count()
    }

    /// A whole session of the engineer, behind a squid that wants credentials.
    pub(crate) fn session(&self, squid: &Running) -> Run {
        let proxy = squid.url().to_string();
        let words =
            ["connect", "--proxy", &proxy, "--proxy-credentials-file", "proxy", "--command", "Get-Date"];
        self.machine.run_args(words)
    }

    /// The secret's places: nothing that was said or stored may hold it.
    #[track_caller]
    pub(crate) fn holds_nowhere(&self, secret: &str) {
        assert!(!self.agent_said().contains(secret), "sec33: {}", self.agent_said());
        for (path, content) in self.machine.state_files() {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "sec33: {}", path.display());
        }
    }
}

const HELPER: &str = "while read user password rest; do\nif [ \"$user\" = node ] && [ \"$password\" = secret ]; then echo OK; else echo ERR; fi\ndone\n";

/// A squid that asks for Basic credentials and knows the relays' names. `None` where squid is not installed.
pub(crate) fn squid_with_basic(more: &str) -> Option<Running> {
    let path = program("squid")?;
    let directory = directory();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("own directory");
    write("helper.sh", HELPER);
    write("hosts", &format!("127.0.0.1 {RELAY} {NAMESPACE} {STORAGE}\n"));
    let lines = format!(
        "auth_param basic program /bin/sh {{dir}}/helper.sh\nauth_param basic realm bed\nacl known proxy_auth REQUIRED\n\
         http_access allow known\nhttp_access deny all\nhosts_file {{dir}}/hosts\n{more}"
    );
    Some(squid(&path, directory, &lines).expect("squid takes the configuration"))
}
