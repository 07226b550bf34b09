//! Deadlines and bounds before anybody has shown a token.

use std::time::Duration;

use std::num::NonZeroUsize;

use rs_relay::proto::limits::{HEAD_BYTES_MAX, LISTENERS_PER_ENTITY_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{LISTEN_KEY, Relay, SEND_KEY, eventually, soon};

#[tokio::test]
async fn sec42_who_does_not_finish_the_handshake_is_dropped() {
    let relay = Relay::start_with(|builder| builder.handshake_wait(Duration::from_millis(200))).await;
    relay.echo("hyco").await;
    let mut before_tls = TcpStream::connect(("127.0.0.1", relay.authority.port())).await.unwrap();
    let mut in_head = relay.tls().await;
    in_head.write_all(b"GET /$hc/hyco HTTP/1.1\r\n").await.unwrap();
    assert_eq!(soon(before_tls.read(&mut [0; 1])).await.unwrap_or(0), 0);
    let mut rest = Vec::new();
    let _ = soon(in_head.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1.1 1"), "{}", String::from_utf8_lossy(&rest));
    // The control: a whole handshake in the same time.
    assert!(soon(relay.sender("hyco").connect()).await.is_ok());
}

#[tokio::test]
async fn sec43_a_head_that_is_too_long_is_refused() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    let token = relay.token("hyco", "send", SEND_KEY, 60);
    for (bytes, expected) in [(HEAD_BYTES_MAX / 2, " 101 "), (HEAD_BYTES_MAX, " 431 ")] {
        let long = "x".repeat(bytes);
        let headers = [("ServiceBusAuthorization", token.as_str()), ("X-Long", long.as_str())];
        let (status, _) = relay.open("/$hc/hyco", &headers, b"").await.head().await;
        assert!(status.contains(expected), "{bytes}: {status}");
    }
}

#[tokio::test]
async fn r16_the_26th_listener_is_refused() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS_PER_ENTITY_MAX {
        listeners.push(relay.bare_listener("hyco", &token).await);
    }
    let headers = [("ServiceBusAuthorization", token.as_str())];
    let (status, _) = relay.open("/$hc/hyco?sb-hc-action=listen", &headers, b"").await.head().await;
    assert!(status.starts_with("HTTP/1.1 403 The endpoint has 25 listeners"), "{status}");
    // Another entity is not concerned.
    let other = relay.token("other", "listen", LISTEN_KEY, 60);
    relay.bare_listener("other", &other).await;
}

/// Clients that do not finish their TLS handshake after the first bytes: too many make room for others.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sec42_handshakes_at_work_are_bounded() {
    // As in the server.
    const AT_WORK_MAX: usize = 1024;
    // The control bears them all.
    for (bounded, left) in [(true, AT_WORK_MAX - 1), (false, AT_WORK_MAX + 50)] {
        let relay =
            Relay::start_with(|builder| if bounded { builder } else { builder.dangerous_without_bounds() })
                .await;
        let (hello, mut flood) = (recorded_hello(&relay), Vec::new());
        for _ in 0..AT_WORK_MAX + 50 {
            let mut io = soon(from("127.0.0.2", &relay)).await;
            io.write_all(&hello).await.unwrap();
            assert!(soon(io.read(&mut [0; 16_384])).await.unwrap() > 0, "each is answered");
            flood.push(io);
        }
        // The last of all, and the only one of its source; one more of the flood makes room for it.
        soon(relay.tls()).await;
        eventually("who is dropped is gone", || {
            relay.server.metrics_text().contains(&format!("relay_connections {left}\n"))
        })
        .await;
    }
}

/// A connection from an address of one's choice.
#[cfg(target_os = "linux")]
async fn from(address: &str, relay: &Relay) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((address.parse::<std::net::Ipv4Addr>().unwrap(), 0).into()).unwrap();
    socket.connect(([127, 0, 0, 1], relay.authority.port()).into()).await.unwrap()
}

/// The hello of a client that speaks nothing above one version, and what it gets.
async fn answer_to_version(relay: &Relay, minor: u8) -> Vec<u8> {
    // Version, random, no session, two suites with AES-GCM or AES-CBC, no compression.
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x09, 1, 0]);
    // Groups: P-256; points: uncompressed; signatures: ECDSA with SHA-256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3, 0, 23, 0, 0];
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    let mut io = TcpStream::connect(("127.0.0.1", relay.authority.port())).await.unwrap();
    io.write_all(&record).await.unwrap();
    let mut answer = vec![0; 7];
    soon(io.read_exact(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn r02_versions_of_tls_below_1_2_are_refused() {
    let relay = Relay::start().await;
    for minor in [1, 2] {
        let answer = answer_to_version(&relay, minor).await;
        // A fatal alert: protocol_version.
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "TLS 1.{}", minor - 1);
    }
    // The control: 1.2 in the same form gets a ServerHello.
    let answer = answer_to_version(&relay, 3).await;
    assert_eq!((answer[0], answer[5]), (22, 2), "{answer:?}");
}

#[tokio::test]
async fn r02_a_stranger_is_not_trusted() {
    let relay = Relay::start().await;
    let other = rs_relay::server::dev_certificate(["localhost"]).unwrap();
    let trust = rs_relay::client::Trust::Only(other.authority_pem().as_bytes().to_vec());
    let connector = rs_relay::client::Connector::builder().trust(trust).build().unwrap();
    let sender = rs_relay::client::Sender::new(relay.connection("hyco", "send", SEND_KEY), connector);
    let error = soon(sender.connect()).await.unwrap_err();
    assert!(matches!(error, rs_relay::client::ConnectError::Tls { .. }), "{error}");
    assert!(error.is_unreachable());
}

#[tokio::test]
async fn r02_a_name_that_the_certificate_does_not_have_is_not_trusted() {
    let relay = Relay::start().await;
    let connection = rs_relay::client::HybridConnection::new(
        format!("127.0.0.2:{}", relay.authority.port()).parse().unwrap(),
        "hyco".parse().unwrap(),
    );
    let error =
        soon(rs_relay::client::Sender::new(connection, relay.connector()).connect()).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

/// The first bytes of a TLS client, good for any number of connections.
#[cfg(target_os = "linux")]
fn recorded_hello(relay: &Relay) -> Vec<u8> {
    let mut client =
        rustls::ClientConnection::new(relay.tls_config(), "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Many handshakes of one source are at the relay before the one of another.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sec42_a_flood_of_handshakes_does_not_delay_another_source() {
    const FLOOD: usize = 300;
    let turns = |count| NonZeroUsize::new(count).unwrap();
    // The control: with a turn for everybody it is first come, first served.
    for (at_once, most) in [(turns(2), FLOOD / 3), (NonZeroUsize::MAX, FLOOD)] {
        let relay = Relay::start_with(|builder| builder.handshakes_at_once(at_once)).await;
        let hello = recorded_hello(&relay);
        let mut flood = Vec::new();
        for _ in 0..FLOOD {
            flood.push(soon(from("127.0.0.2", &relay)).await.into_std().unwrap());
        }
        eventually("all are there", || {
            relay.server.metrics_text().contains(&format!("relay_connections {FLOOD}\n"))
        })
        .await;
        for mut connection in &flood {
            std::io::Write::write_all(&mut connection, &hello).unwrap();
        }
        soon(relay.tls()).await;
        let answered = flood.iter().filter(|connection| connection.peek(&mut [0]).is_ok()).count();
        assert!(answered <= most, "{answered} of the flood were answered before");
        assert!(most < FLOOD || answered > FLOOD * 2 / 3, "the control: {answered} were answered before");
    }
}

/// A client that sends its part of the handshake byte by byte takes many turns and holds none.
#[tokio::test]
async fn a_handshake_in_single_bytes_is_done() {
    let relay = Relay::start_with(|builder| builder.handshakes_at_once(NonZeroUsize::MIN)).await;
    let server = ("127.0.0.1", relay.authority.port());
    let mut io = TcpStream::connect(server).await.unwrap();
    io.set_nodelay(true).unwrap();
    let mut client =
        rustls::ClientConnection::new(relay.tls_config(), "localhost".try_into().unwrap()).unwrap();
    while client.is_handshaking() || client.wants_write() {
        let mut out = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        for byte in out {
            soon(io.write_all(&[byte])).await.unwrap();
            tokio::task::yield_now().await;
        }
        if client.is_handshaking() {
            let mut input = vec![0; 4096];
            let count = soon(io.read(&mut input)).await.unwrap();
            client.read_tls(&mut &input[..count]).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    // Others get through in the meantime.
    let _half = TcpStream::connect(server).await.unwrap();
    soon(relay.tls()).await;
}

#[tokio::test]
async fn sec42_refused_listeners_of_one_address_are_slowed_down() {
    let relay = Relay::start_with(|builder| builder.refusal_delay(Duration::from_millis(300))).await;
    let refused = async |relay: &Relay, action: &str| {
        let begun = std::time::Instant::now();
        let target = format!("/$hc/hyco?sb-hc-action={action}");
        let (status, headers) = relay.open(&target, &[], b"").await.head().await;
        assert!(status.contains(if action == "listen" { " 401 " } else { " 404 " }), "{status}");
        let slow = begun.elapsed() >= Duration::from_millis(300);
        assert_eq!(headers.contains("retry-after: 10\r\n"), slow, "{headers}");
        slow
    };
    assert!(!refused(&relay, "listen").await, "the first one");
    assert!(refused(&relay, "listen").await, "the second one");
    assert!(!refused(&relay, "connect").await, "senders are not concerned");
    // A good one from the same address is not slowed down either.
    relay.listener("hyco").await;
}

#[test]
fn a_stored_authority_signs_again() {
    let authority = rs_relay::server::DevAuthority::create().unwrap();
    let stored = rs_relay::server::DevAuthority::from_pem(
        authority.certificate_pem().to_owned(),
        authority.key_pem().clone(),
    );
    let issued = stored.issue(["localhost", "::1"]).unwrap();
    assert_eq!(issued.authority_pem(), authority.certificate_pem());
    assert!(stored.issue(Vec::<String>::new()).is_err() && stored.issue(["a b"]).is_err());
}

#[tokio::test]
async fn r02_a_certificate_of_a_stored_authority_is_trusted() {
    let authority = rs_relay::server::DevAuthority::create().unwrap();
    let pem = authority.certificate_pem().to_owned();
    let stored = rs_relay::server::DevAuthority::from_pem(pem.clone(), authority.key_pem().clone());
    let certificate = std::sync::Arc::new(stored.issue(["localhost"]).unwrap());
    let relay = Relay::start_at("127.0.0.1:0", certificate, |builder| builder).await;
    relay.listener("hyco").await;
}
