//! Slow clients, TLS handshakes that are never finished, refused handshakes and malformed frames by the hundred, all from other
//! source addresses, and what good clients notice of them.
//!
//! Without `FLOOD` nothing here depends on how fast the machine is: good clients get through, memory is bounded, nothing
//! panics. With `FLOOD`, the size, times are judged as well, and each flood has a control: the same relay with its bounds
//! switched off breaks one of those that are promised. `scripts/relay-trials floods` does that with 2,000 and the release build.
//!
//! A flood is a process of its own: this program once more. On a machine with two cores its own work would be most of what good
//! clients notice, so handshakes that are never finished are replayed from one record, which costs the flood next to nothing,
//! and what needs TLS on the flood's side gets what nobody else wants of the processors. What it still costs the machine is
//! measured, too: the same flood at another relay beside.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rs_relay::proto::frame::{Kind, Opcode, append_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::process::{KEY, LONG, Relay, command, soon};

/// What a flood may add to the relay's anonymous memory.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What connects may take with any flood, whatever they take without (SEC42).
const FLOODED_MAX: Duration = Duration::from_millis(200);

/// Source addresses of a flood: 127.0.0.2 and those behind it.
const SOURCES: usize = 16;

/// The control: a relay that serves handshakes in the order of their coming and bounds nothing that strangers cost.
const UNBOUNDED: [&str; 3] = ["--without-bounds", "--handshakes-at-once", "1000000"];

/// Where a flood tells how it gets on, and what it is.
const REPORT: &str = "FLOOD_REPORT";

/// How many, when times are judged.
fn trial() -> Option<usize> {
    std::env::var("FLOOD").ok().and_then(|text| text.parse().ok())
}

fn size() -> usize {
    trial().unwrap_or(300)
}

/// Connects of a good client that are measured.
fn connects() -> usize {
    if trial().is_some() { 2000 } else { 40 }
}

/// What a flood has to know.
struct Target {
    port: u16,
    /// The first bytes of a TLS client.
    hello: Vec<u8>,
    config: Arc<rustls::ClientConfig>,
    /// Where each answer of the relay is told, with a byte.
    report: Option<std::net::TcpStream>,
}

impl Target {
    fn new(port: u16, report: Option<std::net::TcpStream>) -> Arc<Self> {
        Arc::new(Self { port, hello: recorded_hello(), config: client_config(), report })
    }

    fn answered(&self) {
        if let Some(mut report) = self.report.as_ref() {
            report.write_all(b".").expect("somebody listens to the flood");
        }
    }

    /// A connection from one of the flood's addresses, which closes without lingering.
    async fn tcp(&self, index: usize) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // Other systems have one loopback address only.
        let last = if cfg!(target_os = "linux") { 2 + (index % SOURCES) as u8 } else { 1 };
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        socket.set_zero_linger()?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await
    }

    /// A TLS connection of somebody who does not look at the certificate.
    async fn tls(&self, index: usize) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config)).connect(name, self.tcp(index).await?).await
    }
}

/// The floods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Slow,
    Hellos,
    Refused,
    Frames,
}

const SORTS: [Sort; 4] = [Sort::Slow, Sort::Hellos, Sort::Refused, Sort::Frames];

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Hellos => "hellos",
            Self::Refused => "refused",
            Self::Frames => "frames",
        }
    }

    /// Answers that it gets at least.
    fn answers_min(self) -> u64 {
        match self {
            Self::Slow => 0,
            Self::Hellos => 1000,
            Self::Refused | Self::Frames => 100,
        }
    }

    async fn begin(self, target: Arc<Target>) -> JoinSet<()> {
        match self {
            Self::Slow => slow(target).await,
            Self::Hellos => hellos(&target),
            Self::Refused => refused(&target),
            Self::Frames => frames(&target),
        }
    }
}

/// A flood at work, until this is dropped.
struct Flood {
    process: Child,
    answered: Arc<AtomicU64>,
}

impl Flood {
    /// Returns when all of it has begun.
    async fn start(port: u16, kind: Sort) -> Self {
        let reports = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = reports.local_addr().expect("an address");
        let program = std::env::current_exe().expect("this program");
        // Only what is cheap for the flood may compete with those who are measured.
        let class = if kind == Sort::Hellos { "--other" } else { "--idle" };
        let process = command(class, program.as_os_str())
            .args(["--exact", "floods::a_flood", "--nocapture"])
            .env(REPORT, format!("{address} {port} {}", kind.name()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the flood");
        let answered = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&answered);
        let begun = tokio::task::spawn_blocking(move || {
            let (mut report, _) = reports.accept().expect("the flood reports");
            report.read_exact(&mut [0]).expect("the flood begins");
            std::thread::spawn(move || {
                let mut answers = [0; 4096];
                while let Ok(count @ 1..) = report.read(&mut answers) {
                    counter.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        });
        let flood = Self { process, answered };
        soon(begun).await.expect("the flood begins");
        flood
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether it is still at work.
    fn goes_on(&mut self) -> bool {
        self.process.try_wait().expect("a child").is_none()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a flood's own process runs. Without a word on where to report to there is nothing to do.
#[test]
fn a_flood() {
    let Ok(report) = std::env::var(REPORT) else { return };
    let mut words = report.split(' ');
    let mut word = || words.next().expect("a word");
    let report = std::net::TcpStream::connect(word()).expect("somebody listens");
    let port = word().parse().expect("a port");
    let name = word();
    let kind = SORTS.into_iter().find(|kind| kind.name() == name).expect("a flood");
    let target = Target::new(port, Some(report));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut tasks = kind.begin(Arc::clone(&target)).await;
        target.answered();
        while let Some(done) = tasks.join_next().await {
            done.expect("the flood goes on");
        }
        std::future::pending::<()>().await;
    });
}

/// What good clients notice of a flood.
#[derive(Debug)]
struct Noticed {
    quiet: Duration,
    /// While another relay on the same machine has the flood: what the flood costs processors and kernel, and no relay can
    /// help. Zero where times are not judged.
    beside: Duration,
    flooded: Duration,
    /// Bytes of memory.
    added: u64,
}

impl Noticed {
    /// What connects may take with the flood: twice as long as with this relay left in quiet.
    fn bound(&self) -> Duration {
        (self.quiet.max(self.beside) * 2).min(FLOODED_MAX)
    }

    fn is_fast(&self) -> bool {
        self.flooded <= self.bound()
    }
}

/// The slowest but one in a hundred.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() - 1 - times.len() / 100]
}

/// What connects of a good client took, one after another, and how many answers the flood got in most of them.
async fn good_client(relay: &Relay, connects: usize, answered: impl Fn() -> u64) -> (Vec<Duration>, u64) {
    let sender = relay.sender("hyco");
    let (mut times, mut between) = (Vec::new(), Vec::new());
    for _ in 0..connects {
        let (begun, before) = (Instant::now(), answered());
        let stream = soon(sender.connect()).await.expect("a good client gets through");
        times.push(begun.elapsed());
        between.push(answered() - before);
        drop(stream);
    }
    between.sort_unstable();
    (times, between[between.len() / 2])
}

/// Quiet first, then with the flood, which gets at least so many answers.
async fn notice(kind: Sort, arguments: &[&str]) -> Noticed {
    let relay = Relay::start_with(arguments);
    relay.echo("hyco").await;
    let (connects, bounded) = (connects(), arguments.is_empty());
    good_client(&relay, connects / 4, || 0).await;
    let ((mut quiet, _), before) = (good_client(&relay, connects, || 0).await, relay.memory());
    let beside = if trial().is_some() && bounded {
        let other = Relay::start_with(arguments);
        other.echo("hyco").await;
        let _flood = Flood::start(other.port, kind).await;
        p99(&mut good_client(&relay, connects, || 0).await.0)
    } else {
        Duration::ZERO
    };
    let mut flood = Flood::start(relay.port, kind).await;
    // From the flood's first moment on. The control is slow enough to see it at once.
    let judged = if bounded { connects } else { connects.min(100) };
    let (mut flooded, between) = good_client(&relay, judged, || flood.answered()).await;
    let mut first = flooded[..judged.min(100)].to_vec();
    let (quiet, first, flooded) = (p99(&mut quiet), p99(&mut first), p99(&mut flooded));
    // On a busy machine the good client may be done before the flood is under way.
    soon(async {
        while flood.answered() < kind.answers_min() {
            assert!(flood.goes_on(), "the flood has failed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let added = relay.memory().saturating_sub(before);
    assert!(flood.goes_on(), "the flood has failed");
    println!(
        "flood={} bounds={} size={} quiet_p99_ms={:.1} beside_p99_ms={:.1} first_p99_ms={:.1} flooded_p99_ms={:.1} answers={} \
         answers_between={between} added_kib={}",
        kind.name(),
        if bounded { "on" } else { "off" },
        size(),
        quiet.as_secs_f64() * 1e3,
        beside.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3,
        flooded.as_secs_f64() * 1e3,
        flood.answered(),
        added / 1024
    );
    drop(flood);
    assert!(relay.said().iter().all(|line| !line.contains("panicked")), "a panic");
    Noticed { quiet, beside, flooded, added }
}

/// Judges a flood; and, when times are judged, that it breaks a bound of a relay without them.
async fn judge(kind: Sort) {
    let mut bounded = notice(kind, &[]).await;
    assert!(bounded.added <= MEMORY_BYTES_MAX, "{bounded:?}");
    if trial().is_none() {
        return;
    }
    for _ in 1..TRIES_MAX {
        if !bounded.is_fast() {
            bounded = notice(kind, &[]).await;
            assert!(bounded.added <= MEMORY_BYTES_MAX, "{bounded:?}");
        }
    }
    assert!(bounded.is_fast(), "{bounded:?}");
    let control = notice(kind, &UNBOUNDED).await;
    let breaks = control.flooded > bounded.bound() || control.added > MEMORY_BYTES_MAX;
    assert!(breaks, "the control shows nothing: {control:?}");
}

/// What else the machine does makes times longer, never shorter: the best of so many tries counts.
const TRIES_MAX: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_slow_clients() {
    judge(Sort::Slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_handshakes_that_are_never_finished() {
    judge(Sort::Hellos).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_refused_handshakes() {
    judge(Sort::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec43_malformed_frames() {
    judge(Sort::Frames).await;
}

/// One byte every 5 s: one in eight before TLS, the others near the end of their request's head.
async fn slow(target: Arc<Target>) -> JoinSet<()> {
    let (mut slow, mut heads) = (JoinSet::new(), JoinSet::new());
    for index in 0..size() {
        if index % 8 == 0 {
            let io = target.tcp(index).await.expect("the relay");
            slow.spawn(drip(io, b"\x16\x03\x01\x02\x00"));
        } else {
            let target = Arc::clone(&target);
            heads.spawn(async move {
                // The relay may make room for others.
                let Ok(mut io) = target.tls(index).await else { return None };
                let head = format!("GET / HTTP/1.1\r\nX-Slow: {}", "x".repeat(15_000));
                io.write_all(head.as_bytes()).await.ok().map(|()| io)
            });
        }
    }
    while let Some(io) = heads.join_next().await {
        if let Some(io) = io.expect("a slow client") {
            slow.spawn(drip(io, b"xxxxx"));
        }
    }
    slow
}

async fn drip(mut io: impl tokio::io::AsyncWrite + Unpin, bytes: &[u8]) {
    for byte in bytes {
        if io.write_all(&[*byte]).await.is_err() || io.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The first bytes of a handshake, the same again and again; whoever is answered leaves and comes back.
fn hellos(target: &Arc<Target>) -> JoinSet<()> {
    let mut hellos = JoinSet::new();
    for index in 0..size() {
        let target = Arc::clone(target);
        hellos.spawn(async move {
            loop {
                let Ok(mut io) = target.tcp(index).await else { continue };
                if io.write_all(&target.hello).await.is_ok() && matches!(io.read(&mut [0]).await, Ok(1)) {
                    target.answered();
                }
            }
        });
    }
    hellos
}

/// Handshakes without a token, which come back as soon as they are refused, as listeners and as senders.
fn refused(target: &Arc<Target>) -> JoinSet<()> {
    let mut refused = JoinSet::new();
    // More at a time than the flood can serve itself would only wait for each other.
    for index in 0..size() / 10 {
        let target = Arc::clone(target);
        refused.spawn(async move {
            let action = ["listen", "connect"][index % 2];
            let head = format!(
                "GET /$hc/hyco?sb-hc-action={action} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            loop {
                let Ok(mut io) = target.tls(index).await else { continue };
                let mut answer = Vec::new();
                if io.write_all(head.as_bytes()).await.is_ok() {
                    let _ = io.read_to_end(&mut answer).await;
                }
                // The relay may make room for others before it answers.
                if !answer.is_empty() {
                    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
                    target.answered();
                }
            }
        });
    }
    refused
}

/// What breaks the protocol, each kind on control channels of its own, again and again; every second one begins a message
/// and does not end it.
fn frames(target: &Arc<Target>) -> JoinSet<()> {
    let mut broken = JoinSet::new();
    for index in 0..size() {
        let target = Arc::clone(target);
        broken.spawn(async move {
            let kinds = malformed();
            let (what, bytes) = if index % 2 == 0 {
                ("no end", without_end())
            } else {
                kinds[index / 2 % kinds.len()].clone()
            };
            // Listeners of one entity are limited.
            let head = listen(index / 20);
            for _ in 0..ROUNDS {
                let Ok(mut io) = target.tls(index).await else { continue };
                if io.write_all(&[head.as_bytes(), &bytes].concat()).await.is_err() {
                    continue;
                }
                let mut answer = Vec::new();
                let ended = io.read_to_end(&mut answer).await;
                let is_open = answer.starts_with(b"HTTP/1.1 101 ");
                // The relay may make room for others before it answers.
                assert!(
                    is_open || ended.is_err() || answer.is_empty(),
                    "{what}: {}",
                    String::from_utf8_lossy(&answer)
                );
                target.answered();
            }
        });
    }
    broken
}

/// The beginning of a text message which is just not too long.
fn without_end() -> Vec<u8> {
    let mut out = Vec::new();
    append_frame(&mut out, Opcode::Begin(Kind::Text), false, &[b' '; 64_000], Some([1, 2, 3, 4]));
    out
}

/// How often each malformed frame comes.
const ROUNDS: usize = 5;

/// A request for a control channel.
fn listen(entity: usize) -> String {
    format!(
        "GET /$hc/flood-{entity}?sb-hc-action=listen HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nServiceBusAuthorization: {}\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token()
    )
}

/// Each kind is ended by the relay itself, and quickly: nobody here closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec43_each_malformed_kind_ends_its_connection_and_no_other() {
    let relay = Relay::start();
    relay.echo("hyco").await;
    let target = Target::new(relay.port, None);
    for (index, (what, bytes)) in malformed().into_iter().enumerate() {
        let mut io = target.tls(index).await.expect("TLS");
        io.write_all(&[listen(index).as_bytes(), &bytes].concat()).await.expect("sent");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LONG, io.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{what}: the relay does not end it");
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{what}: {}", String::from_utf8_lossy(&answer));
    }
    for (what, head, status) in heads() {
        let mut io = target.tls(0).await.expect("TLS");
        let _ = io.write_all(&head).await;
        let mut answer = Vec::new();
        let _ = soon(io.read_to_end(&mut answer)).await;
        let begin = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(begin.as_bytes()), "{what}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(soon(relay.sender("hyco").connect()).await.is_ok(), "a good client gets through");
    assert!(relay.said().iter().all(|line| !line.contains("panicked")), "a panic");
}

fn token() -> String {
    let until = "2100-01-01T00:00:00Z".parse().expect("a time");
    let (name, key) = ("root".parse().expect("a name"), KEY.parse().expect("a key"));
    let resource = "http://localhost/";
    rs_relay::proto::SasToken::mint(resource, &name, &key, until).expose().to_owned()
}

/// One of each kind in the list: lengths, forms, order, control frames, messages, JSON.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let mask = Some([1, 2, 3, 4]);
    let framed = |opcode, fin, payload: &[u8]| {
        let mut out = Vec::new();
        append_frame(&mut out, opcode, fin, payload, mask);
        out
    };
    let text = Opcode::Begin(Kind::Text);
    let json = |text_of: &str| framed(text, true, text_of.as_bytes());
    let unmasked = || vec![0x81, 0x01, b'x'];
    let names: Vec<_> = (0..3_000).map(|name| format!("\"{name}\":0")).collect();
    let headers: Vec<_> = (0..1_001).map(|key| format!("\"h{key}\":\"\"")).collect();
    vec![
        ("a length of 2^63", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0]),
        (
            "a length of 2^62",
            [&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4][..], &[0; 70_000]].concat(),
        ),
        (
            "a length of 1 MiB",
            [&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4][..], &[0; 70_000]].concat(),
        ),
        ("a length that is not in its shortest form", vec![0x81, 0xfe, 0, 1, 1, 2, 3, 4, 0]),
        ("a reserved bit", vec![0xc1, 0x80, 1, 2, 3, 4]),
        ("an opcode that does not exist", vec![0x83, 0x80, 1, 2, 3, 4]),
        ("no mask", unmasked()),
        ("a continuation of nothing", framed(Opcode::Continuation, true, b"x")),
        ("a message within a message", [framed(text, false, b"{"), framed(text, true, b"}")].concat()),
        ("a Ping in fragments", framed(Opcode::Ping, false, b"x")),
        ("a Ping of 126 bytes", vec![0x89, 0xfe, 0, 126, 1, 2, 3, 4]),
        ("a Close of one byte", framed(Opcode::Close, true, &[3])),
        ("a Close with a code that is not sent", framed(Opcode::Close, true, &1005_u16.to_be_bytes())),
        ("a Close with a reason that is no text", framed(Opcode::Close, true, &[3, 0xe8, 0xff])),
        ("Pings without end", framed(Opcode::Ping, true, b"x").repeat(1000)),
        (
            "fragments without end",
            [framed(text, false, b"{"), framed(Opcode::Continuation, false, &[b' '; 1000]).repeat(100)]
                .concat(),
        ),
        ("a message past the bound", framed(text, true, &[b' '; 70_000])),
        ("a text that is no text", framed(text, true, &[0xff, 0xfe])),
        ("no JSON", json("no JSON")),
        ("JSON without end", json(&"[".repeat(60_000))),
        ("JSON deeper than the bound", json(&format!("{}{}", "[".repeat(65), "]".repeat(65)))),
        ("a name twice", json(r#"{"renewToken":{"token":"a"},"renewToken":{"token":"b"}}"#)),
        // A listener may say what the relay does not know; it costs nothing, so something else ends these.
        (
            "a body that nobody asked for",
            [framed(Opcode::Begin(Kind::Binary), true, &[0; 140_000]), unmasked()].concat(),
        ),
        ("thousands of names", [json(&format!("{{{}}}", names.join(","))), unmasked()].concat()),
        (
            "too many headers",
            json(&format!(
                "{{\"response\":{{\"requestId\":\"x\",\"statusCode\":200,\"responseHeaders\":{{{}}}}}}}",
                headers.join(",")
            )),
        ),
        ("a token that is none", json(r#"{"renewToken":{"token":"none"}}"#)),
    ]
}

/// Heads of requests that are refused, and how.
fn heads() -> Vec<(&'static str, Vec<u8>, u16)> {
    let request = |target: &str, header: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n")
            .into_bytes()
    };
    vec![
        ("a head past the bound", request("/hyco", &format!("X-Long: {}", "x".repeat(20_000))), 431),
        ("a target past the bound", request(&format!("/hyco?{}", "x".repeat(13_000)), "X-A: b"), 400),
        ("two lengths", request("/hyco", "Content-Length: 1\r\nContent-Length: 2"), 400),
        ("a length that is none", request("/hyco", "Content-Length: 99999999999999999999999"), 400),
        ("a header without a name", request("/hyco", ": x"), 400),
        ("no HTTP", b"\x00\x01\x02\x03\r\n\r\n".to_vec(), 400),
    ]
}

fn recorded_hello() -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(client_config(), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("the first bytes");
    hello
}

fn client_config() -> Arc<rustls::ClientConfig> {
    #[derive(Debug)]
    struct Anybody;
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    // Whole handshakes: those are what costs a relay most.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}
