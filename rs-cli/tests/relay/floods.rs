//! Slow clients, TLS handshakes that are never finished, refused handshakes and malformed frames by the hundred, all from other
//! source addresses, and what good clients notice of them.
//!
//! Without `FLOOD` nothing here depends on how fast the machine is: good clients get through, memory is bounded, nothing
//! panics. With `FLOOD`, the size, times are judged as well, beside a control: the same relay with as many turns as
//! handshakes, which is first come, first served. `scripts/relay-trials floods` does that with 2,000 and the release build.
//!
//! The flood has a thread and a runtime of its own. On a machine with two cores its own work would be most of what good
//! clients notice, so handshakes that are never finished are replayed from one record, which costs the flood next to nothing,
//! and what needs TLS on the flood's side runs at the lowest priority.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rs_relay::proto::frame::{Kind, Opcode, append_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::process::{KEY, LONG, Relay, soon};

/// What a flood may add to the relay's anonymous memory.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Source addresses of a flood: 127.0.0.2 and those behind it.
const SOURCES: usize = 16;

/// A relay that serves handshakes in the order of their coming.
const FIRST_COME: [&str; 2] = ["--handshakes-at-once", "1000000"];

/// How many, when times are judged.
fn trial() -> Option<usize> {
    std::env::var("FLOOD").ok().and_then(|text| text.parse().ok())
}

fn size() -> usize {
    trial().unwrap_or(300)
}

/// Connects of a good client that are measured.
fn connects() -> usize {
    if trial().is_some() { 400 } else { 40 }
}

/// What a flood has to know.
struct Target {
    port: u16,
    /// The first bytes of a TLS client.
    hello: Vec<u8>,
    /// Answers of the relay to the flood.
    answered: AtomicU64,
}

impl Target {
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
        tokio_rustls::TlsConnector::from(client_config()).connect(name, self.tcp(index).await?).await
    }
}

/// A flood at work, until this is dropped.
struct Flood {
    target: Arc<Target>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// Returns when all of it has begun.
    async fn start(
        port: u16,
        priority: Priority,
        begin: impl AsyncFnOnce(Arc<Target>) -> JoinSet<()> + Send + 'static,
    ) -> Self {
        let target = Arc::new(Target { port, hello: recorded_hello(), answered: AtomicU64::new(0) });
        let ((stop, stopped), (begun, all_begun)) = (oneshot::channel(), oneshot::channel());
        let flooding = Arc::clone(&target);
        let thread = std::thread::spawn(move || {
            if let (Priority::Lowest, Some(_)) = (priority, trial()) {
                #[cfg(target_os = "linux")]
                rustix::process::setpriority_process(None, 19).expect("a lower priority");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut tasks = begin(flooding).await;
                let _ = begun.send(());
                let _ = stopped.await;
                tasks.abort_all();
            });
        });
        soon(all_begun).await.expect("the flood begins");
        Self { target, stop: Some(stop), thread: Some(thread) }
    }

    fn answered(&self) -> u64 {
        self.target.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the flood failed");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Priority {
    Normal,
    Lowest,
}

/// What good clients notice of a flood.
struct Noticed {
    quiet: Duration,
    flooded: Duration,
    /// Answers that the flood got while the good client connected, in the middle case.
    between: u64,
}

/// The slowest but one in a hundred.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() - 1 - times.len() / 100]
}

/// Connects of a good client, one after another, and how many answers the flood got in each.
async fn good_client(relay: &Relay, answered: impl Fn() -> u64) -> (Duration, u64) {
    let sender = relay.sender("hyco");
    let (mut times, mut between) = (Vec::new(), Vec::new());
    for _ in 0..connects() {
        let (begun, before) = (Instant::now(), answered());
        let stream = soon(sender.connect()).await.expect("a good client gets through");
        times.push(begun.elapsed());
        between.push(answered() - before);
        drop(stream);
    }
    between.sort_unstable();
    (p99(&mut times), between[between.len() / 2])
}

/// Quiet first, then with the flood, which gets at least so many answers.
async fn notice(
    name: &str,
    arguments: &[&str],
    (priority, at_least): (Priority, u64),
    begin: impl AsyncFnOnce(Arc<Target>) -> JoinSet<()> + Send + 'static,
) -> Noticed {
    let relay = Relay::start_with(arguments);
    relay.echo("hyco").await;
    good_client(&relay, || 0).await;
    let ((quiet, _), before) = (good_client(&relay, || 0).await, relay.memory());
    let flood = Flood::start(relay.port, priority, begin).await;
    let (flooded, between) = good_client(&relay, || flood.answered()).await;
    // On a busy machine the good client may be done before the flood is under way.
    soon(async {
        while flood.answered() < at_least {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let added = relay.memory().saturating_sub(before);
    drop(flood);
    println!(
        "flood={name} turns={} size={} quiet_p99_ms={:.1} flooded_p99_ms={:.1} answers_between={between} added_kib={}",
        if arguments.is_empty() { "by_source" } else { "first_come" },
        size(),
        quiet.as_secs_f64() * 1e3,
        flooded.as_secs_f64() * 1e3,
        added / 1024
    );
    assert!(added <= MEMORY_BYTES_MAX, "{added} bytes were added");
    assert!(relay.said().iter().all(|line| !line.contains("panicked")), "a panic");
    Noticed { quiet, flooded, between }
}

/// Judges a flood; and, when times are judged, that it shows without turns.
async fn judge(
    name: &str,
    flood: (Priority, u64),
    begin: impl AsyncFnOnce(Arc<Target>) -> JoinSet<()> + Send + Copy + 'static,
) -> (Noticed, Option<Noticed>) {
    let fair = notice(name, &[], flood, begin).await;
    if trial().is_none() {
        return (fair, None);
    }
    let control = notice(name, &FIRST_COME, flood, begin).await;
    assert!(fair.flooded <= fair.quiet * 2, "{:?} with the flood, {:?} without", fair.flooded, fair.quiet);
    (fair, Some(control))
}

/// One byte every 5 s, before TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_slow_clients() {
    judge("slow", (Priority::Normal, 0), async |target: Arc<Target>| {
        let mut slow = JoinSet::new();
        for index in 0..size() {
            let mut io = target.tcp(index).await.expect("the relay");
            slow.spawn(async move {
                for byte in [0x16, 0x03, 0x01, 0x02, 0x00] {
                    if io.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            });
        }
        slow
    })
    .await;
}

/// The first bytes of a handshake, the same again and again; whoever is answered leaves and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_handshakes_that_are_never_finished() {
    let (fair, control) = judge("hellos", (Priority::Normal, 1000), async |target: Arc<Target>| {
        let mut hellos = JoinSet::new();
        for index in 0..size() {
            let target = Arc::clone(&target);
            hellos.spawn(async move {
                loop {
                    let Ok(mut io) = target.tcp(index).await else { continue };
                    if io.write_all(&target.hello).await.is_ok() && matches!(io.read(&mut [0]).await, Ok(1)) {
                        target.answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        hellos
    })
    .await;
    if let Some(control) = control {
        assert!(control.flooded > control.quiet * 2, "the control shows nothing: {:?}", control.flooded);
        assert!(control.between > 2 * fair.between, "{} and {} answers", control.between, fair.between);
    }
}

/// Handshakes without a token, which come back as soon as they are refused, as listeners and as senders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_refused_handshakes() {
    judge("refused", (Priority::Lowest, 100), async |target: Arc<Target>| {
        let mut refused = JoinSet::new();
        for index in 0..size() / 10 {
            let target = Arc::clone(&target);
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
                        assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
                        target.answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        refused
    })
    .await;
}

/// What breaks the protocol, each kind on control channels of its own, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec43_malformed_frames() {
    judge("frames", (Priority::Lowest, 100), async |target: Arc<Target>| {
        let mut broken = JoinSet::new();
        for index in 0..size() {
            let target = Arc::clone(&target);
            broken.spawn(async move {
                let kinds = malformed();
                let (what, bytes) = &kinds[index % kinds.len()];
                // Listeners of one entity are limited.
                let head = listen(index / 20);
                for _ in 0..ROUNDS {
                    let Ok(mut io) = target.tls(index).await else { continue };
                    if io.write_all(&[head.as_bytes(), bytes].concat()).await.is_err() {
                        continue;
                    }
                    let mut answer = Vec::new();
                    let _ = io.read_to_end(&mut answer).await;
                    assert!(
                        answer.starts_with(b"HTTP/1.1 101 "),
                        "{what}: {}",
                        String::from_utf8_lossy(&answer)
                    );
                    target.answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        broken
    })
    .await;
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
    let target = Target { port: relay.port, hello: Vec::new(), answered: AtomicU64::new(0) };
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
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}
