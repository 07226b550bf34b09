//! Listener and sender meet.

use std::time::Duration;

use rs_relay::client::{AcceptError, ConnectError, ConnectOptions};
use rs_relay::proto::frame::{Kind, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Frame, LISTEN_KEY, Relay, SEND_KEY, frame, leap, pattern, round_trip, soon};

#[tokio::test]
async fn r04_echo() {
    let relay = Relay::start().await;
    relay.echo("azlocal/node-01").await;
    let mut stream = soon(relay.sender("azlocal/node-01").connect()).await.unwrap();
    let bytes = pattern(300_000, 1);
    assert!(soon(round_trip(&mut stream, &bytes)).await == bytes);
    assert!(stream.close_reason().unwrap().is_some_and(|reason| reason.code == 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_many_at_once_over_several_listeners() {
    let relay = Relay::start().await;
    for _ in 0..3 {
        relay.echo("hyco").await;
    }
    assert_eq!(relay.server.listeners(&"hyco".parse().unwrap()), 3);
    let tasks: Vec<_> = (0..40)
        .map(|seed| {
            let sender = relay.sender("hyco");
            tokio::spawn(async move {
                let mut stream = sender.connect().await.unwrap();
                let bytes = pattern(10_000 + seed * 997, seed);
                assert!(round_trip(&mut stream, &bytes).await == bytes, "stream {seed}");
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
}

#[tokio::test]
async fn the_listener_learns_what_the_sender_said() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let options = ConnectOptions::default().suffix("shell%20one").query("cols=80&b=%26").header("X-App", "1");
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect_with(&options).await });
    let incoming = soon(listener.accept()).await.unwrap();
    assert_eq!(incoming.path(), "hyco/shell%20one");
    assert_eq!(incoming.query().as_deref(), Some("cols=80&b=%26"));
    assert_eq!(incoming.header("x-app"), Some("1"));
    assert!(incoming.header("sec-websocket-key").is_some());
    assert_eq!(incoming.header("servicebusauthorization"), None, "the token stays at the relay");
    assert_eq!(incoming.remote_endpoint().address, "127.0.0.1");
    assert_ne!(incoming.remote_endpoint().port, 0);
    let accepted = soon(incoming.accept()).await.unwrap();
    let sent = soon(connecting).await.unwrap().unwrap();
    assert!(accepted.id().starts_with(sent.id()), "the sender's tracking id goes on");
}

#[tokio::test]
async fn r11_reject_with_status_and_text() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    soon(async { listener.accept().await.unwrap().reject(403, "no consent & no way").await }).await.unwrap();
    let error = soon(connecting).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ConnectError::Refused { status: 403, reason } if reason == "no consent & no way"),
        "{error}"
    );
}

#[tokio::test]
async fn a_dropped_sender_is_rejected() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    drop(soon(listener.accept()).await.unwrap());
    assert_eq!(soon(connecting).await.unwrap().unwrap_err().status(), Some(503));
}

#[tokio::test]
async fn nobody_there_is_404_and_told_apart_by_text() {
    let relay =
        Relay::start_with(|builder| builder.entity("declared".parse().unwrap(), Default::default())).await;
    for (entity, text) in [("declared", "no listeners"), ("unknown", "does not exist")] {
        let error = soon(relay.sender(entity).connect()).await.unwrap_err();
        assert!(error.is_nobody_there());
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.to_string().contains("TrackingId:"), "{error}");
    }
}

#[tokio::test]
async fn only_declared_entities_when_so_configured() {
    let declared = "declared".parse().unwrap();
    let relay = Relay::start_with(|b| b.entity(declared, Default::default()).declared_entities_only()).await;
    relay.echo("declared").await;
    let token = relay.token("other", "listen", LISTEN_KEY, 60);
    let mut bare =
        relay.open("/$hc/other?sb-hc-action=listen", &[("ServiceBusAuthorization", &token)], b"").await;
    assert!(bare.head().await.0.starts_with("HTTP/1.1 404 Endpoint does not exist."));
}

#[tokio::test]
async fn r10_a_late_or_second_accept_is_403() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 3600);
    let mut control = relay.bare_listener("hyco", &token).await;
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    let target = control.accept_target().await;
    let mut first = relay.open(&target, &[], b"").await;
    assert!(first.head().await.0.contains(" 101 "));
    let mut second = relay.open(&target, &[], b"").await;
    assert!(second.head().await.0.contains(" 403 "), "single use");
    soon(connecting).await.unwrap().unwrap();

    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    let target = control.accept_target().await;
    leap(Duration::from_secs(31)).await;
    assert_eq!(soon(connecting).await.unwrap().unwrap_err().status(), Some(504));
    let mut late = relay.open(&target, &[], b"").await;
    assert!(late.head().await.0.contains(" 403 "), "too late");
}

#[tokio::test]
async fn a_sender_that_left_cannot_be_met() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let token = relay.token("hyco", "send", SEND_KEY, 60);
    let sender = relay.open("/$hc/hyco", &[("ServiceBusAuthorization", &token)], b"").await;
    let incoming = soon(listener.accept()).await.unwrap();
    drop(sender);
    // The relay notices the end of the socket by itself; until then an accept meets a sender that is gone.
    let error = match soon(incoming.accept()).await {
        Ok(mut stream) => soon(stream.read_u8()).await.unwrap_err().to_string(),
        Err(AcceptError::Connect(error)) => error.to_string(),
        Err(error) => panic!("{error}"),
    };
    assert!(error.contains("403") || error.contains("1001"), "{error}");
}

#[tokio::test]
async fn a_guessed_rendezvous_is_403() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    for secret in ["", "00", &"0".repeat(48), &"z".repeat(48)] {
        let target = format!("/$hc/hyco?sb-hc-action=accept&sb-hc-id=1_G0&sb-hc-rdv={secret}");
        assert!(relay.open(&target, &[], b"").await.head().await.0.contains(" 403 "));
    }
    assert!(relay.open("/$hc/hyco?sb-hc-action=accept", &[], b"").await.head().await.0.contains(" 403 "));
    assert!(relay.open("/$hc/hyco?sb-hc-action=dance", &[], b"").await.head().await.0.contains(" 400 "));
}

#[tokio::test]
async fn first_frames_that_come_with_the_handshake_arrive() {
    let relay = Relay::start().await;
    let hello = frame(Opcode::Begin(Kind::Text), true, b"from the sender");
    let answer = frame(Opcode::Begin(Kind::Binary), true, b"from the listener");
    let (mut sender, mut listener) = relay.bare_pair("hyco", [&hello, &answer]).await;
    let expected = |opcode, text: &str| Some(Frame { fin: true, opcode, payload: text.into() });
    assert_eq!(listener.next().await, expected(1, "from the sender"));
    assert_eq!(sender.next().await, expected(2, "from the listener"));
}

#[tokio::test]
async fn control_frames_that_come_with_the_listen_handshake_are_answered() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let ping = frame(Opcode::Ping, true, b"early");
    let headers = [("ServiceBusAuthorization", token.as_str())];
    let mut bare = relay.open("/$hc/hyco?sb-hc-action=listen", &headers, &ping).await;
    assert!(bare.head().await.0.contains(" 101 "));
    assert_eq!(bare.next().await, Some(Frame { fin: true, opcode: 10, payload: b"early".into() }));
}

#[tokio::test]
async fn accept_message_as_listeners_in_the_field_need_it() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    let token = relay.token("hyco", "send", SEND_KEY, 60);
    let headers =
        [("ServiceBusAuthorization", token.as_str()), ("X-App", "1"), ("X-App", "2"), ("0", "odd name")];
    let target =
        "/$hc/HyCo/s%2Fx?a=1&sb-hc-id=0f8fad5b-d9cb-469f-a165-70867728950e_mine&sb-hc-action=connect&b";
    let _sender = relay.open(target, &headers, b"").await;
    let accept = control.accept().await;
    let accept = &accept["accept"];
    let address = accept["address"].as_str().unwrap();
    let begin = format!(
        "wss://{}/$hc/HyCo/s%2Fx?a=1&b&sb-hc-action=accept&sb-hc-id=0f8fad5b-d9cb-469f-a165-70867728950e_mine_G",
        relay.authority
    );
    assert!(address.starts_with(&begin), "{address}");
    assert!(!address.contains("SharedAccessSignature"));
    assert!(!address.split('?').nth(1).unwrap().split('&').any(|pair| pair.matches('=').count() > 1), "Java");
    let id = accept["id"].as_str().unwrap();
    assert!(id.starts_with("0f8fad5b-d9cb-469f-a165-70867728950e_mine_G"), "{id}");
    assert!(address.contains(&format!("sb-hc-id={id}&sb-hc-rdv=")), "{address}");
    let headers = &accept["connectHeaders"];
    assert_eq!(headers["Sec-WebSocket-Key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(headers["X-App"], "1, 2");
    assert_eq!(headers["0"], "odd name");
    assert_eq!(headers["Host"], relay.authority.to_string());
    assert!(
        headers.as_object().unwrap().keys().all(|name| !name.eq_ignore_ascii_case("servicebusauthorization"))
    );
    assert_eq!(accept["remoteEndpoint"]["address"], "127.0.0.1");
    assert!(accept["remoteEndpoint"]["port"].is_u64());
}

#[tokio::test]
async fn the_listeners_subprotocol_reaches_both() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    for chosen in [Some("b"), None] {
        let token = relay.token("hyco", "send", SEND_KEY, 60);
        let headers = [("ServiceBusAuthorization", token.as_str()), ("Sec-WebSocket-Protocol", "a, b")];
        let mut sender = relay.open("/$hc/hyco", &headers, b"").await;
        let headers: Vec<_> = chosen.iter().map(|name| ("Sec-WebSocket-Protocol", *name)).collect();
        let mut listener = relay.open(&control.accept_target().await, &headers, b"").await;
        for bare in [&mut sender, &mut listener] {
            let (status, headers) = bare.head().await;
            assert!(status.contains(" 101 "));
            assert_eq!(headers.contains("sec-websocket-protocol: b\r\n"), chosen.is_some());
            assert!(!headers.contains("sec-websocket-extensions"));
        }
    }
}

/// What was not offered on a leg is not answered on it: every client drops such a connection.
#[tokio::test]
async fn nothing_is_negotiated_that_a_side_did_not_offer() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    // Offered by the sender, named by the listener, answered to the sender and to the listener.
    let table = [
        (None, None, None, None),
        (None, Some("a"), None, Some("a")),
        (Some("b,c"), Some("a"), None, Some("a")),
        (Some("b,a"), Some("a"), Some("a"), Some("a")),
        (Some("b, a"), Some("a, b"), Some("a"), Some("a")),
        (Some("b"), Some(""), None, None),
        (Some("b"), None, None, None),
    ];
    for (offered, named, of_sender, of_listener) in table {
        let token = relay.token("hyco", "send", SEND_KEY, 60);
        let deflate = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
        let with = |name: Option<&'static str>| {
            [deflate].into_iter().chain(name.map(|name| ("Sec-WebSocket-Protocol", name))).collect::<Vec<_>>()
        };
        let mut headers = with(offered);
        headers.push(("ServiceBusAuthorization", &token));
        let mut sender = relay.open("/$hc/hyco", &headers, b"").await;
        let mut listener = relay.open(&control.accept_target().await, &with(named), b"").await;
        for (bare, expected) in [(&mut sender, of_sender), (&mut listener, of_listener)] {
            let (status, headers) = bare.head().await;
            assert!(status.contains(" 101 "), "{status}");
            let answered = headers.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
            assert_eq!(answered, expected, "{offered:?} {named:?}");
            assert!(!headers.contains("sec-websocket-extensions"), "{headers}");
        }
    }
}

#[tokio::test]
async fn our_listener_takes_the_first_subprotocol() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let sender = relay.sender("hyco");
    let options = ConnectOptions::default().header("Sec-WebSocket-Protocol", "one, two");
    let connecting = tokio::spawn(async move { sender.connect_with(&options).await });
    let accepted = soon(async { listener.accept().await.unwrap().accept().await }).await.unwrap();
    let sent = soon(connecting).await.unwrap().unwrap();
    assert_eq!((sent.subprotocol(), accepted.subprotocol()), (Some("one"), Some("one")));
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let relay = Relay::start().await;
    let table = [
        ("GET /$hc/hyco HTTP/1.1\r\nHost: localhost\r\n\r\n", " 400 "),
        ("POST /$hc/hyco HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", " 400 "),
        ("GET /$hc/hyco?sb-hc-action=nonsense HTTP/1.1\r\nHost: localhost\r\n\r\n", " 400 "),
        ("GET /$hc/a/../b HTTP/1.1\r\nHost: localhost\r\n\r\n", " 400 "),
    ];
    for (head, status) in table {
        let mut io = relay.tls().await;
        io.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(io.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.lines().next().unwrap().contains(status), "{head} {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}
