//! Syslog, against the real rsyslogd over TCP and TLS, and over UDP.
//!
//! rsyslogd is taken where it is installed; `scripts/test` installs it and sets `REQUIRE_RSYSLOG`, so that the tests cannot
//! be skipped there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rs_session::forward::cursor::CursorFile;
use rs_session::forward::pump::{Progress, Pump};
use rs_session::forward::sink::{DatagramSink, Sink, StreamSink};
use rs_session::forward::{Event, EventKind, Format};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

use crate::node::World;
use crate::receivers::until;

const RSYSLOGD: &str = "/usr/sbin/rsyslogd";

fn available() -> bool {
    let there = Path::new(RSYSLOGD).exists();
    assert!(there || std::env::var_os("REQUIRE_RSYSLOG").is_none(), "rsyslogd is required and not installed");
    if !there {
        eprintln!("skipped: rsyslogd is not installed");
    }
    there
}

/// A running rsyslogd that writes the structured data of each message into a file.
struct Receiver {
    directory: TempDir,
    child: Child,
    tls: bool,
}

impl Receiver {
    fn start(tls: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if tls {
            certificates(directory.path());
        }
        let child = spawn(directory.path(), tls, 0);
        Self { directory, child, tls }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn port(&self) -> u16 {
        let file = self.path("port");
        until("the receiver's port", || async { fs::read_to_string(&file).ok()?.trim().parse().ok() }).await
    }

    /// Ends it as a power cut would, and starts it on the same port.
    async fn restart(&mut self) {
        let port = self.port().await;
        self.kill();
        self.child = spawn(self.directory.path(), self.tls, port);
        until("the receiver", || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() })
            .await;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The ids that arrived, in order.
    fn ids(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("received")).unwrap_or_default();
        let id = |line: &str| {
            line.split("id=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        text.lines().filter_map(id).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, tls: bool, port: u16) -> Child {
    let shown = directory.display();
    let (globals, module) = if tls {
        (
            format!(
                "global(defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{shown}/ca.pem\" \
                 defaultNetstreamDriverCertFile=\"{shown}/server.pem\" defaultNetstreamDriverKeyFile=\"{shown}/server.key\")\n"
            ),
            "module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")",
        )
    } else {
        (String::new(), "module(load=\"imtcp\")")
    };
    let configuration = format!(
        "{globals}{module}\n\
         template(name=\"plain\" type=\"string\" string=\"%structured-data%|%msg%\\n\")\n\
         ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{shown}/received\" template=\"plain\") }}\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" listenPortFileName=\"{shown}/port\" ruleset=\"all\")\n"
    );
    fs::write(directory.join("rsyslog.conf"), configuration).unwrap();
    Command::new(RSYSLOGD)
        .args(["-n", "-f"])
        .arg(directory.join("rsyslog.conf"))
        .arg("-iNONE")
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("errors")).unwrap())
        .spawn()
        .unwrap()
}

fn certificates(directory: &Path) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    fs::write(directory.join("ca.pem"), ca_certificate.pem()).unwrap();
    fs::write(directory.join("server.pem"), server.pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
}

/// A client that trusts the authority of `directory` and nobody else.
fn trusting(directory: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn pump(world: &World, sink: impl Sink + 'static) -> Pump {
    let cursor = CursorFile::open(&world.path("collector.cursor")).unwrap();
    let encode = Arc::new(|event: &Event| Format::Syslog.encode(event));
    Pump::new(world.source(), Box::new(sink), encode, cursor, World::clock())
}

/// Each once and in order, through the receiver's own parser.
async fn arrives(tls: bool) {
    let receiver = Receiver::start(tls);
    let world = World::new();
    world.log(EventKind::ConsentGranted, None);
    world.whole(1, 150);
    let trust = tls.then(|| trusting(receiver.directory.path()));
    let sink = StreamSink::new("localhost".to_owned(), receiver.port().await, trust);
    let delivered = pump(&world, sink).drain().await.expect("delivered");
    let expected = world.expected();
    assert_eq!(delivered, expected.len() as u64);
    until("the last event", || async { (receiver.ids().len() >= expected.len()).then_some(()) }).await;
    assert_eq!(receiver.ids(), expected);
}

#[tokio::test]
async fn q07_syslog_over_tcp_arrives_once_and_in_order_at_rsyslogd() {
    if available() {
        arrives(false).await;
    }
}

#[tokio::test]
async fn q07_syslog_over_tls_arrives_once_and_in_order_at_rsyslogd() {
    if available() {
        arrives(true).await;
    }
}

/// The control of TLS: a receiver that nobody vouches for gets nothing.
#[tokio::test]
async fn a_receiver_with_a_strange_certificate_gets_nothing() {
    if !available() {
        return;
    }
    let receiver = Receiver::start(true);
    let stranger = tempfile::tempdir().unwrap();
    certificates(stranger.path());
    let world = World::new();
    world.whole(1, 1);
    let trust = trusting(stranger.path());
    let sink = StreamSink::new("localhost".to_owned(), receiver.port().await, Some(trust));
    let error = pump(&world, sink).drain().await.expect_err("not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(receiver.ids(), Vec::<String>::new());
}

/// A receiver that is killed and started again, over and over, while sessions go on: nothing is lost.
#[tokio::test]
async fn nothing_is_lost_while_the_receiver_is_killed_and_started_again() {
    if !available() {
        return;
    }
    let mut receiver = Receiver::start(false);
    let world = World::new();
    let sink = StreamSink::new("localhost".to_owned(), receiver.port().await, None);
    let pump = pump(&world, sink);
    let progress = pump.progress();
    let (stop, stopped) = watch::channel(false);
    let wake = Arc::new(Notify::new());
    let running = tokio::spawn(pump.run(Arc::clone(&wake), stopped));
    for round in 1..=3 {
        world.whole(round, 20);
        wake.notify_one();
        let known = delivered(&progress);
        until("progress", || async { (delivered(&progress) > known).then_some(()) }).await;
        receiver.restart().await;
    }
    world.whole(9, 20);
    wake.notify_one();
    let expected: std::collections::BTreeSet<_> = world.expected().into_iter().collect();
    let arrived = || receiver.ids().into_iter().collect::<std::collections::BTreeSet<_>>();
    // What a killed receiver had taken and not yet written is its own loss, so the last session is what must be there.
    let last: Vec<_> =
        expected.iter().filter(|id| id.starts_with("00000000-0000-0000-0000-000000000009")).collect();
    until("the last session", || async { last.iter().all(|id| arrived().contains(*id)).then_some(()) }).await;
    until("everything acknowledged", || async {
        (delivered(&progress) as usize >= expected.len()).then_some(())
    })
    .await;
    stop.send(true).unwrap();
    running.await.unwrap();
}

fn delivered(progress: &Mutex<Progress>) -> u64 {
    progress.lock().unwrap().delivered
}

#[tokio::test]
async fn what_nobody_takes_is_not_delivered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new();
    world.whole(1, 5);
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut pump = pump(&world, StreamSink::new("127.0.0.1".to_owned(), port, None));
    pump.drain().await.expect_err("refused");
    assert_eq!(delivered(&pump.progress()), 0);
    drop(pump);
    let cursor = CursorFile::open(&world.path("collector.cursor")).unwrap();
    assert_eq!(cursor.cursor().delivered, 0);
}

/// A receiver that takes the connection and then nothing more: the kernel here takes the bytes, which is not enough.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_receiver_has_not_acknowledged_is_not_delivered() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::new();
    world.whole(1, 90);
    let sink = StreamSink::new("127.0.0.1".to_owned(), port, None)
        .with_acknowledge_wait(std::time::Duration::from_millis(300));
    let mut pump = pump(&world, sink);
    let error = pump.step().await.expect_err("not acknowledged").to_string();
    assert_eq!(error, "the collector did not acknowledge the events in time");
    assert_eq!(delivered(&pump.progress()), 0);
    drop(listener);
}

#[tokio::test]
async fn q07_syslog_over_udp_is_one_message_a_datagram() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let world = World::new();
    world.log(EventKind::AgentStarted, None);
    world.log(EventKind::ConsentRevoked, None);
    let port = socket.local_addr().unwrap().port();
    let sink = DatagramSink::new("127.0.0.1".to_owned(), port);
    pump(&world, sink).drain().await.unwrap();
    for kind in [EventKind::AgentStarted, EventKind::ConsentRevoked] {
        let mut bytes = [0; 9000];
        let length = socket.recv(&mut bytes).await.unwrap();
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        assert!(text.contains(&format!("kind=\"{}\"", kind.word())), "{text}");
    }
}
