//! A process of Node that plays one side with an official package.

use std::path::PathBuf;
use std::process::Stdio;

use rs_relay::server::{EntitySettings, Kinds, RelayServerBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{LISTEN_KEY, Relay, SEND_KEY, soon};

/// Where the packages are; `None` when they are not, which is said once.
pub(crate) fn packages() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/hyco/node_modules"));
    let there = ["hyco-ws", "hyco-https"].iter().all(|name| folder.join(name).is_dir());
    let node =
        std::process::Command::new("node").arg("--version").output().is_ok_and(|out| out.status.success());
    if there && node {
        return Some(folder);
    }
    assert!(
        std::env::var_os("REQUIRE_HYCO").is_none(),
        "REQUIRE_HYCO is set, but node or the packages under target/hyco are missing"
    );
    eprintln!(
        "skipped: node, or hyco-ws and hyco-https under target/hyco, are not here; scripts/test installs them"
    );
    None
}

/// A script of this folder.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop")).join(name)
}

/// A relay with a certificate that Node can be told to trust.
pub(crate) struct Site {
    pub(crate) relay: Relay,
    pub(crate) folder: tempfile::TempDir,
    packages: PathBuf,
}

impl Site {
    /// A relay whose entity `hyco` takes one kind of senders. `None` where the packages are missing.
    pub(crate) async fn start(kinds: Kinds) -> Option<Self> {
        Self::start_with(|builder| {
            builder.entity("hyco".parse().unwrap(), EntitySettings::new().kinds(kinds))
        })
        .await
    }

    pub(crate) async fn start_with(
        set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder,
    ) -> Option<Self> {
        let packages = packages()?;
        let relay = Relay::start_with(set).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), relay.certificate.authority_pem()).unwrap();
        Some(Self { relay, folder, packages })
    }

    /// Node with the packages, trusting the relay.
    pub(crate) fn node(&self) -> Command {
        let mut node = Command::new("node");
        node.env("NODE_PATH", &self.packages)
            .env("NODE_EXTRA_CA_CERTS", self.folder.path().join("ca.pem"))
            .env("NODE_NO_WARNINGS", "1")
            .kill_on_drop(true);
        node
    }

    /// A listener of a package, which is online.
    pub(crate) async fn listener(&self, package: &str, more: Value) -> Peer {
        let mut config = json!({"path": "hyco", "rule": "listen", "key": LISTEN_KEY});
        merge(&mut config, more);
        let mut peer = self.peer(&format!("{package}-listener"), config);
        peer.wait("listening").await;
        peer
    }

    /// A sender of a package.
    pub(crate) fn sender(&self, package: &str, more: Value) -> Peer {
        let mut config = json!({"path": "hyco", "rule": "send", "key": SEND_KEY});
        merge(&mut config, more);
        self.peer(&format!("{package}-sender"), config)
    }

    fn peer(&self, role: &str, mut config: Value) -> Peer {
        merge(&mut config, json!({"relay": self.relay.authority.to_string()}));
        let mut node = self.node();
        node.arg(script("peer.js")).arg(role).arg(config.to_string());
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Peer { _child: child, input, output: BufReader::new(output).lines() }
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// See the module's text.
pub(crate) struct Peer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) async fn tell(&mut self, command: Value) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// The next thing that happened.
    pub(crate) async fn next(&mut self) -> Value {
        let line = soon(self.output.next_line()).await.unwrap().expect("the peer lives");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the peer said: {line}"))
    }

    /// The next event of a kind; others are passed over, but no unexpected error.
    pub(crate) async fn wait(&mut self, event: &str) -> Value {
        loop {
            let next = self.next().await;
            if next["event"] == event {
                return next;
            }
            assert!(next["event"] != "error", "waiting for {event}: {next}");
        }
    }

    /// The same where errors come and go.
    pub(crate) async fn wait_through_errors(&mut self, event: &str) -> Value {
        loop {
            let next = self.next().await;
            if next["event"] == event {
                return next;
            }
        }
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
