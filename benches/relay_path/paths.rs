//! The ways from the engineer's machine to the node's, each with its own processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rs_relay::proto::{Authority, ConnectionString, Credential, SharedKey};
use rs_relay::server::dev_certificate;
use secrecy::ExposeSecret;

use super::process::{Part, await_port, free_port};
use super::{Outcome, files};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Copy,
    Haproxy,
    Tungstenite,
    Relay,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Tcp, Self::Copy, Self::Haproxy, Self::Tungstenite, Self::Relay];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Copy => "TLS copy",
            Self::Haproxy => "haproxy",
            Self::Tungstenite => "tungstenite",
            Self::Relay => "relay",
        }
    }
}

/// How far the ends are from the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the same machine.
    Near,
    /// Each behind a hop that takes time.
    Far,
}

impl Way {
    /// The port that leads to this port.
    fn to(self, port: u16, parts: &mut Vec<Part>) -> Outcome<u16> {
        if self == Self::Near {
            return Ok(port);
        }
        let mut hop = Part::role(&["delay", &port.to_string()])?;
        let port = hop.port_behind("listening on")?;
        parts.push(hop);
        Ok(port)
    }
}

/// Programs, certificates and secrets that all paths share.
pub(crate) struct Ground {
    dir: tempfile::TempDir,
    bridge: PathBuf,
    program: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let certificate = dev_certificate(["localhost"])?;
        let key = certificate.key_pem().expose_secret();
        fs::write(dir.path().join(files::AUTHORITY), certificate.authority_pem())?;
        fs::write(dir.path().join(files::CHAIN), certificate.server_pem())?;
        write_private(&dir.path().join(files::KEY), key)?;
        fs::write(dir.path().join(files::BOTH), format!("{}{key}", certificate.server_pem()))?;
        let secret = SharedKey::generate()?;
        let namespaces = format!(
            "[[namespace]]\nhosts = [\"localhost\"]\n[[namespace.rule]]\nname = \"root\"\nrights = [\"Manage\"]\n\
             primary-key = \"{}\"\n",
            secret.expose()
        );
        write_private(&dir.path().join(files::NAMESPACES), &namespaces)?;
        let credential = Credential::Key { name: "root".parse()?, key: secret };
        let bridge =
            built("TCP_BRIDGE", "examples/tcp_bridge", &["-p", "rs-examples", "--example", "tcp_bridge"])?;
        let program =
            built("REMOTE_SUPPORT_PROGRAM", "remote-support", &["-p", "rs-cli", "--bin", "remote-support"])?;
        let ground = Self { dir, bridge, program };
        ground.write_string(files::SECRET, 443, credential)?;
        Ok(ground)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn text(&self) -> Outcome<&str> {
        Ok(self.dir().to_str().ok_or("the temporary directory's name is no text")?)
    }

    fn write_string(&self, file: &str, port: u16, credential: Credential) -> Outcome<PathBuf> {
        let authority = Authority::new("localhost", port)?;
        let text = ConnectionString::new(authority, Some("bench".parse()?), credential);
        let file = self.dir().join(file);
        fs::write(&file, text.expose())?;
        Ok(file)
    }

    /// A connection string for a relay at this port.
    fn string_for(&self, kind: Kind, port: u16) -> Outcome<PathBuf> {
        let text: ConnectionString = fs::read_to_string(self.dir().join(files::SECRET))?.parse()?;
        self.write_string(kind.name(), port, text.credential().clone())
    }

    pub(crate) fn target(&self) -> Outcome<(Part, u16)> {
        let mut part = Part::role(&["target"])?;
        let port = part.port_behind("listening on")?;
        Ok((part, port))
    }

    /// A part in the middle, and its port. `far` is the port of the node's end.
    pub(crate) fn middle(&self, kind: Kind, far: u16) -> Outcome<(Part, u16)> {
        let dir = self.text()?;
        let mut part = match kind {
            Kind::Haproxy => return self.haproxy(far),
            Kind::Relay => return self.relay(),
            Kind::Copy | Kind::Tcp => Part::role(&["copy", dir, &far.to_string()])?,
            Kind::Tungstenite => Part::role(&["tungstenite", dir])?,
        };
        let port = part.port_behind("listening on")?;
        Ok((part, port))
    }

    fn haproxy(&self, far: u16) -> Outcome<(Part, u16)> {
        let port = free_port()?;
        let at = |file| self.dir().join(file).display().to_string();
        let text = include_str!("haproxy.cfg")
            .replace("{PORT}", &port.to_string())
            .replace("{FAR}", &far.to_string())
            .replace("{PEM}", &at(files::BOTH))
            .replace("{AUTHORITY}", &at(files::AUTHORITY));
        let config = self.dir().join(format!("haproxy-{port}.cfg"));
        fs::write(&config, text)?;
        let part = Part::start(Command::new("haproxy").args(["-db", "-q", "-f"]).arg(config))?;
        await_port(port)?;
        Ok((part, port))
    }

    /// The program that is delivered, with its log as it comes.
    fn relay(&self) -> Outcome<(Part, u16)> {
        let port = free_port()?;
        let mut command = Command::new(&self.program);
        command.arg("--state-dir").arg(self.dir().join("state"));
        command.args(["relay", "serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--namespaces").arg(self.dir().join(files::NAMESPACES));
        command.arg("--certificate").arg(self.dir().join(files::CHAIN));
        command.arg("--certificate-key").arg(self.dir().join(files::KEY));
        let part = Part::start(&mut command)?;
        await_port(port)?;
        Ok((part, port))
    }

    pub(crate) fn far_end(&self, target: u16) -> Outcome<(Part, u16)> {
        let mut part = Part::role(&["far-end", self.text()?, &target.to_string()])?;
        let port = part.port_behind("listening on")?;
        Ok((part, port))
    }

    /// Quiet listeners, or what comes nearest to them.
    pub(crate) fn idle(&self, kind: Kind, middle: u16, group: &str, count: usize) -> Outcome<Part> {
        let (dir, count) = (self.text()?, count.to_string());
        let mut part = if kind == Kind::Haproxy {
            Part::role(&["idle-tls", dir, &middle.to_string(), &count])?
        } else {
            let string = self.string_for(kind, middle)?;
            Part::role(&["idle-listeners", dir, string.to_str().unwrap_or_default(), group, &count])?
        };
        part.line_with("idle")?;
        Ok(part)
    }

    /// A whole path to the target, with the ends beside the middle or far away from it.
    pub(crate) fn path(&self, kind: Kind, target: u16, way: Way) -> Outcome<PathUnderTest> {
        let mut parts = Vec::new();
        let (middle, port) = match kind {
            Kind::Tcp => (None, target),
            Kind::Copy | Kind::Haproxy => {
                let (end, far) = self.far_end(target)?;
                let far = way.to(far, &mut parts)?;
                let (middle, port) = self.middle(kind, far)?;
                let port = way.to(port, &mut parts)?;
                let mut near = Part::role(&["near-end", self.text()?, &port.to_string()])?;
                let port = near.port_behind("listening on")?;
                parts.extend([end, near]);
                (Some(middle), port)
            }
            Kind::Tungstenite | Kind::Relay => {
                let (middle, port) = self.middle(kind, 0)?;
                let string = self.string_for(kind, way.to(port, &mut parts)?)?;
                let mut far = self.bridge("listen", &string, &["--to", &format!("127.0.0.1:{target}")])?;
                far.line_with("online")?;
                let string = self.string_for(kind, way.to(port, &mut parts)?)?;
                let mut near = self.bridge("connect", &string, &["--bind", "127.0.0.1:0"])?;
                let port = near.port_behind("listening on")?;
                parts.extend([far, near]);
                (Some(middle), port)
            }
        };
        Ok(PathUnderTest { kind, port, middle, ends: parts })
    }

    fn bridge(&self, side: &str, string: &Path, more: &[&str]) -> Outcome<Part> {
        let mut command = Command::new(&self.bridge);
        command.arg(side).arg("--connection-string-file").arg(string);
        command.arg("--ca").arg(self.dir().join(files::AUTHORITY)).args(more);
        Part::start(&mut command)
    }
}

/// Builds a program of this project as a release, beside this one; or takes the file that a variable names.
fn built(variable: &str, file: &str, target: &[&str]) -> Outcome<PathBuf> {
    if let Some(ready) = std::env::var_os(variable) {
        return Ok(ready.into());
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--release", "--locked"]).args(target);
    if !command.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
        return Err(format!("{file} could not be built").into());
    }
    // This program is target/release/deps/relay_path-HASH.
    let program = std::env::current_exe()?;
    let release =
        program.parent().and_then(Path::parent).ok_or("this program lies in no target directory")?;
    Ok(release.join(file))
}

/// Keys are taken from files only that nobody else can read.
fn write_private(file: &Path, text: &str) -> Outcome<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A path that is up.
pub(crate) struct PathUnderTest {
    pub(crate) kind: Kind,
    /// Where the driver connects.
    pub(crate) port: u16,
    /// The part in the middle, whose cost is counted.
    pub(crate) middle: Option<Part>,
    ends: Vec<Part>,
}

impl PathUnderTest {
    /// CPU time of all parts so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        self.ends.iter().chain(&self.middle).map(Part::cpu).sum()
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().chain(&self.middle).map(Part::id)
    }
}
