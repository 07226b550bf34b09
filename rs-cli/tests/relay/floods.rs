//! Slow clients, malformed frames and refused handshakes by the hundred, and what good clients notice of them.
//!
//! `FLOOD` says how many (300 when it is not set; `scripts/relay-trials floods` takes 2,000).

use std::time::{Duration, Instant};

use rs_relay::proto::frame::{Kind, Opcode, append_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{KEY, Relay, soon};

/// What a flood may add to the relay's anonymous memory.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Connects of a good client that are measured.
const CONNECTS: usize = 60;

/// What one may take in a flood: twice what it takes without one, or this.
const CONNECT_MAX: Duration = Duration::from_millis(200);

fn size() -> usize {
    std::env::var("FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// The time of the slowest but one of many connects of a good client.
async fn connect_p98(relay: &Relay) -> Duration {
    let sender = relay.sender("hyco");
    let mut times = Vec::new();
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        let stream = soon(sender.connect()).await.expect("a good client gets through");
        times.push(begun.elapsed());
        drop(stream);
    }
    times.sort();
    times[CONNECTS - 2]
}

async fn tcp(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("the relay")
}

/// Quiet first, then with the flood: a good client's connect, and the memory.
async fn judge<F: Future<Output = JoinSet<()>>>(name: &str, flood: impl FnOnce(u16) -> F) {
    let relay = Relay::start();
    relay.echo("hyco").await;
    connect_p98(&relay).await;
    let (quiet, before) = (connect_p98(&relay).await, relay.memory());
    let flooding = flood(relay.port).await;
    let flooded = connect_p98(&relay).await;
    let added = relay.memory().saturating_sub(before);
    drop(flooding);
    println!(
        "flood={name} size={} quiet_ms={:.1} flooded_ms={:.1} added_kib={}",
        size(),
        quiet.as_secs_f64() * 1e3,
        flooded.as_secs_f64() * 1e3,
        added / 1024
    );
    assert!(added <= MEMORY_BYTES_MAX, "{added} bytes were added");
    let allowed = (quiet * 2).max(CONNECT_MAX);
    assert!(flooded <= allowed, "{flooded:?} with the flood, {quiet:?} without");
    assert!(relay.said().iter().all(|line| !line.contains("panicked")), "a panic");
}

/// One byte every 5 s, before TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_slow_clients() {
    judge("slow", |port| async move {
        let mut slow = JoinSet::new();
        for _ in 0..size() {
            let mut io = tcp(port).await;
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

/// Listeners without a token, which come back as soon as they are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec42_refused_handshakes() {
    judge("refused", |port| async move {
        let mut refused = JoinSet::new();
        let (started, mut all_started) = tokio::sync::mpsc::channel::<()>(1);
        for _ in 0..size() / 10 {
            let started = started.clone();
            refused.spawn(async move {
                let mut first = Some(started);
                loop {
                    let Ok(mut io) = tls(port).await else { continue };
                    let head = "GET /$hc/hyco?sb-hc-action=listen HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                    let mut answer = Vec::new();
                    if io.write_all(head.as_bytes()).await.is_ok() {
                        let _ = io.read_to_end(&mut answer).await;
                        assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
                    }
                    first.take();
                }
            });
        }
        drop(started);
        // Each of them has been refused once.
        let _ = all_started.recv().await;
        refused
    })
    .await;
}

/// Frames that break the protocol, each on a control channel of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec43_malformed_frames() {
    judge("frames", |port| async move {
        let mut broken = JoinSet::new();
        for index in 0..size() {
            broken.spawn(async move {
                let token = token();
                let Ok(mut io) = tls(port).await else { return };
                let head = format!(
                    "GET /$hc/flood-{}?sb-hc-action=listen HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nServiceBusAuthorization: {token}\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    index / 20
                );
                if io.write_all(&[head.as_bytes(), &malformed(index)].concat()).await.is_err() {
                    return;
                }
                let mut answer = Vec::new();
                let _ = io.read_to_end(&mut answer).await;
                assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
            });
        }
        broken
    })
    .await;
}

fn token() -> String {
    let until = "2100-01-01T00:00:00Z".parse().expect("a time");
    let (name, key) = ("root".parse().expect("a name"), KEY.parse().expect("a key"));
    let resource = "http://localhost/";
    rs_relay::proto::SasToken::mint(resource, &name, &key, until).expose().to_owned()
}

/// One of each kind in the list.
fn malformed(index: usize) -> Vec<u8> {
    let mask = Some([1, 2, 3, 4]);
    let framed = |opcode, fin, payload: &[u8]| {
        let mut out = Vec::new();
        append_frame(&mut out, opcode, fin, payload, mask);
        out
    };
    let text = Opcode::Begin(Kind::Text);
    match index % 10 {
        // A length of 2^63, and one of 2^62 that never comes.
        0 => vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0],
        1 => vec![0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0],
        // A length that is not in its shortest form, a reserved bit, an opcode that does not exist, no mask.
        2 => vec![0x81, 0xfe, 0, 1, 1, 2, 3, 4, 0],
        3 => vec![0xc1, 0x80, 1, 2, 3, 4],
        4 => vec![0x83, 0x80, 1, 2, 3, 4],
        5 => vec![0x81, 0x01, b'x'],
        // Fragments without an end, JSON without an end, a message that is too long, Pings without an end.
        6 => {
            let begin = framed(text, false, b"{");
            let fragment = framed(Opcode::Continuation, false, &[b' '; 1000]);
            [begin, fragment.repeat(100)].concat()
        }
        7 => framed(text, true, "[".repeat(60_000).as_bytes()),
        8 => framed(text, true, &[b' '; 70_000]),
        _ => framed(Opcode::Ping, true, b"x").repeat(1000),
    }
}

/// A TLS connection of somebody who does not look at the certificate.
async fn tls(port: u16) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = client_config();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(config).connect(name, tcp(port).await).await
}

fn client_config() -> std::sync::Arc<rustls::ClientConfig> {
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
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anybody))
        .with_no_client_auth();
    std::sync::Arc::new(config)
}
