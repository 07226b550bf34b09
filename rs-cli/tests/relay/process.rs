//! A relay in a process of its own, and clients for it in this one.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rs_relay::client::{Connector, HybridConnection, KeepAlive, Listener, Sender, Trust};
use rs_relay::proto::{Authority, ConnectionString, Credential};
use tokio::io::AsyncWriteExt;

/// No test waits longer than this for anything.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const KEY: &str = "the key of the trials";

/// A namespace with one key that may do everything.
pub(crate) fn settings(key: &str) -> String {
    format!(
        "[[namespace]]\nhosts = [\"localhost\"]\n[[namespace.rule]]\nname = \"root\"\nrights = [\"Manage\"]\n\
         primary-key = \"{key}\"\n"
    )
}

pub(crate) struct Relay {
    directory: tempfile::TempDir,
    child: Child,
    lines: Receiver<String>,
    pub(crate) port: u16,
    pub(crate) admin: SocketAddr,
}

impl Relay {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With arguments of its own.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        write_private(&directory.path().join("relay.toml"), &settings(KEY));
        Self::start_in(directory, 0, arguments)
    }

    fn start_in(directory: tempfile::TempDir, port: u16, arguments: &[&str]) -> Self {
        let program = std::env::var_os("TEST_PROGRAM")
            .map_or_else(|| env!("CARGO_BIN_EXE_remote-support").into(), PathBuf::from);
        let mut child = command("--other", program.as_os_str())
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .args(["relay", "serve", "--listen", &format!("127.0.0.1:{port}")])
            .args([
                "--admin-listen",
                "127.0.0.1:0",
                "--drain-seconds",
                "3",
                "--log-format",
                "json",
                "--namespaces",
            ])
            .arg(directory.path().join("relay.toml"))
            .args(arguments)
            .env_remove("REMOTE_SUPPORT_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let (send, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut relay = Self { directory, child, lines, port, admin: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let admin = relay.line("health and metrics");
        let address = admin.split('"').find_map(|word| word.parse().ok());
        relay.admin = address.unwrap_or_else(|| panic!("no address in {admin}"));
        let greeting = relay.line("Relay listening on port ");
        let number = greeting.split("port ").nth(1).and_then(|rest| rest.split(' ').next());
        relay.port = number.and_then(|number| number.parse().ok()).expect("a port");
        relay
    }

    /// The next line with these words.
    pub(crate) fn line(&self, words: &str) -> String {
        let until = Instant::now() + LONG;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{words:?} was never said: {seen:#?}"),
            }
        }
    }

    /// All lines so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "{signal}");
    }

    /// How it ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "the relay does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it anew on the same port.
    pub(crate) fn again(mut self) -> Self {
        self.wait();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a directory"));
        Self::start_in(directory, self.port, &[])
    }

    /// Anonymous memory of the process, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("proc");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        let kib: u64 =
            line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kib * 1024
    }

    pub(crate) fn connector(&self) -> Connector {
        let pem = std::fs::read(self.path("state/relay/ca.pem")).expect("the relay's authority");
        Connector::builder().trust(Trust::Only(pem)).build().expect("a connector")
    }

    pub(crate) fn connection(&self, entity: &str, key: &str) -> HybridConnection {
        let credential =
            Credential::Key { name: "root".parse().expect("name"), key: key.parse().expect("key") };
        let authority = Authority::new("localhost", self.port).expect("an authority");
        let text = ConnectionString::new(authority, Some(entity.parse().expect("entity")), credential);
        HybridConnection::from_connection_string(&text).expect("a connection")
    }

    pub(crate) fn sender(&self, entity: &str) -> Sender {
        Sender::new(self.connection(entity, KEY), self.connector())
            .keep_alive(KeepAlive::Ping(Duration::from_millis(500)))
    }

    /// A listener that echoes for ever.
    pub(crate) async fn echo(&self, entity: &str) -> rs_relay::client::StatusWatch {
        let mut listener = Listener::builder(self.connection(entity, KEY), self.connector())
            .keep_alive(KeepAlive::Ping(Duration::from_millis(500)))
            .start();
        let status = listener.status();
        assert!(soon(listener.status().online()).await);
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(stream) = incoming.accept().await else { return };
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                        let _ = writer.shutdown().await;
                    }
                });
            }
        });
        status
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fails instead of hanging.
#[track_caller]
pub(crate) fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("it took too long at {place}"))
    }
}

pub(crate) fn write_private(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).expect("own directory");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("own file");
}

/// Set where the good clients run at a priority of real time: they stand for other machines, so they do not wait for what
/// the relay or a flood does with this one's processors.
const REAL_TIME: &str = "REAL_TIME";

/// A command of this class of the scheduler, where it would otherwise have that of the good clients.
pub(crate) fn command(class: &str, program: &OsStr) -> Command {
    if std::env::var_os(REAL_TIME).is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("chrt");
    command.args([class, "0"]).arg(program);
    command
}
