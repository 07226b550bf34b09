//! Frames on joined connections and control channels: what is kept, what is cut, what is refused.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rs_relay::client::KeepAlive;
use rs_relay::proto::frame::{ControlBudget, Kind, Opcode, append_frame};
use rs_relay::proto::limits::{
    CONTROL_MESSAGE_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX, LISTENERS_PER_ENTITY_MAX, UNFINISHED_BYTES_MAX,
    UNFINISHED_FREE_BYTES,
};
use rs_relay::server::RelayServerBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_websockets::{ClientBuilder, Message};

use crate::support::{Bare, Frame, LISTEN_KEY, MASK, Relay, SEND_KEY, frame, pattern, soon};

const BINARY: Opcode = Opcode::Begin(Kind::Binary);

/// Reads one message and the sizes of its frames.
async fn message(bare: &mut Bare) -> (u8, Vec<u8>, usize) {
    let (mut kind, mut bytes, mut longest) = (0, Vec::new(), 0);
    loop {
        let frame = bare.next().await.expect("a frame");
        if bytes.is_empty() && kind == 0 {
            kind = frame.opcode;
        } else {
            assert_eq!(frame.opcode, 0, "a continuation");
        }
        longest = longest.max(frame.payload.len());
        bytes.extend(frame.payload);
        if frame.fin {
            return (kind, bytes, longest);
        }
    }
}

#[tokio::test]
async fn messages_keep_kind_and_boundaries_between_independent_clients() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    let token = relay.token("hyco", "send", SEND_KEY, 60);
    let address = |target: &str| format!("wss://{}{target}", relay.authority).parse().unwrap();
    let connect = address("/$hc/hyco?sb-hc-action=connect");
    let name = "servicebusauthorization".parse().unwrap();
    let builder = ClientBuilder::from_uri(connect).add_header(name, token.parse().unwrap()).unwrap();
    let stream = relay.tls().await;
    let connecting = tokio::spawn(async move { builder.connect_on(stream).await.unwrap().0 });
    let accept = address(&control.accept_target().await);
    let (mut listener, _) = ClientBuilder::from_uri(accept).connect_on(relay.tls().await).await.unwrap();
    let mut sender = soon(connecting).await.unwrap();

    let messages = [
        Message::text("hello wörld"),
        Message::binary(pattern(1, 1)),
        Message::text(""),
        Message::binary(vec![]),
        Message::binary(pattern(126, 2)),
        Message::binary(pattern(65_535, 3)),
        Message::binary(pattern(65_536, 4)),
        Message::binary(pattern(3_000_000, 5)),
        Message::text("€".repeat(100_000)),
    ];
    let sent = messages.clone();
    let sending = tokio::spawn(async move {
        for message in sent {
            sender.send(message).await.unwrap();
        }
        sender.close().await.unwrap();
    });
    for expected in messages {
        let found = soon(listener.next()).await.unwrap().unwrap();
        assert_eq!(found.is_text(), expected.is_text());
        assert!(found.as_payload()[..] == expected.as_payload()[..], "{} bytes", expected.as_payload().len());
    }
    while let Some(Ok(message)) = soon(listener.next()).await {
        assert!(message.is_close());
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn large_frames_go_on_in_frames_of_at_most_64_kib() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    let bytes = pattern(1_000_000, 3);
    let sent = frame(Opcode::Begin(Kind::Text), true, &bytes);
    let sending = tokio::spawn(async move {
        sender.io.write_all(&sent).await.unwrap();
        sender.io.flush().await.unwrap();
        sender
    });
    let (kind, read, longest) = soon(message(&mut listener)).await;
    assert!(kind == 1 && read == bytes);
    assert!(longest <= FRAME_PAYLOAD_BYTES_MAX, "{longest}");
    drop(sending.await);
}

#[tokio::test]
async fn sec43_a_frame_without_end_is_streamed_and_takes_no_memory() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    // Announces 2^62 bytes.
    let mut head = vec![0x82, 0xff];
    head.extend((1_u64 << 62).to_be_bytes());
    head.extend(MASK.unwrap());
    sender.io.write_all(&head).await.unwrap();
    let mut seen = 0;
    for round in 0..20 {
        let mut part = pattern(100_000, round);
        rs_relay::proto::frame::mask_payload(&mut part, MASK.unwrap());
        sender.io.write_all(&part).await.unwrap();
        sender.io.flush().await.unwrap();
        let mut read = Vec::new();
        while read.len() < 100_000 {
            let frame = listener.next().await.unwrap();
            assert!(!frame.fin && frame.opcode == if seen == 0 { 2 } else { 0 });
            seen += frame.payload.len();
            read.extend(frame.payload);
        }
        assert!(read == pattern(100_000, round));
    }
    // A Ping of the listener is answered in the middle of it.
    listener.send(Opcode::Ping, true, b"now").await;
    assert_eq!(listener.frame().await.unwrap(), Frame { fin: true, opcode: 10, payload: b"now".into() });
}

#[tokio::test]
async fn sec43_frames_that_break_the_protocol_end_with_1002() {
    let relay = Relay::start().await;
    let unmasked = |payload: &[u8]| {
        let mut out = Vec::new();
        append_frame(&mut out, BINARY, true, payload, None);
        out
    };
    let table = [
        ("unmasked", unmasked(b"x")),
        ("reserved bit", vec![0xc2, 0x80, 0, 0, 0, 0]),
        ("opcode", vec![0x83, 0x80, 0, 0, 0, 0]),
        ("2^63", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("long ping", vec![0x89, 0xfe, 0x10, 0]),
        ("continuation", frame(Opcode::Continuation, true, b"x")),
        ("close code", frame(Opcode::Close, true, &1005_u16.to_be_bytes())),
    ];
    for (case, bytes) in table {
        let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
        sender.io.write_all(&bytes).await.unwrap();
        sender.io.flush().await.unwrap();
        assert_eq!(sender.next().await.unwrap().payload[..2], 1002_u16.to_be_bytes(), "{case}");
        assert_eq!(listener.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes(), "{case}");
        let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
        let mut control = relay.bare_listener("hyco", &token).await;
        control.io.write_all(&bytes).await.unwrap();
        control.io.flush().await.unwrap();
        assert_eq!(control.next().await.unwrap().payload[..2], 1002_u16.to_be_bytes(), "control {case}");
        assert_eq!(control.next().await, None);
    }
}

#[tokio::test]
async fn sec43_control_messages_at_and_past_the_bound() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let text = |length: usize| format!("{{\"unknown\":\"{}\"}}", "x".repeat(length - 14)).into_bytes();
    for (length, code) in [(CONTROL_MESSAGE_BYTES_MAX, None), (CONTROL_MESSAGE_BYTES_MAX + 1, Some(1009_u16))]
    {
        let mut control = relay.bare_listener("hyco", &token).await;
        let text = text(length);
        assert_eq!(text.len(), length);
        // In fragments, as one frame may be.
        let (left, right) = text.split_at(40_000);
        control.send(Opcode::Begin(Kind::Text), false, left).await;
        control.send(Opcode::Continuation, true, right).await;
        control.send(Opcode::Ping, true, b"after").await;
        let answer = control.next().await.unwrap();
        match code {
            None => assert_eq!(answer.payload, b"after"),
            Some(code) => assert_eq!(answer.payload[..2], code.to_be_bytes()),
        }
    }
}

/// Control channels that have each begun a message and not ended it: how many of them the relay bears.
async fn unfinished(relay: &Relay, channels: usize) -> usize {
    let (mut open, mut borne) = (Vec::new(), 0);
    for index in 0..channels {
        let entity = format!("flood-{}", index / LISTENERS_PER_ENTITY_MAX);
        let token = relay.token(&entity, "listen", LISTEN_KEY, 60);
        let mut control = relay.bare_listener(&entity, &token).await;
        control.send(Opcode::Begin(Kind::Text), false, &[b' '; CONTROL_MESSAGE_BYTES_MAX]).await;
        control.send(Opcode::Ping, true, b"").await;
        match control.next().await {
            Some(Frame { opcode: 10, .. }) => borne += 1,
            Some(Frame { opcode: 8, payload, .. }) => assert_eq!(payload[..2], 1013_u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
        open.push(control);
    }
    // Short messages go through in any case, and others as soon as there is room.
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    control.send(Opcode::Begin(Kind::Text), false, &[b' '; UNFINISHED_FREE_BYTES - 7]).await;
    control.send(Opcode::Continuation, true, br#"{"a":1}"#).await;
    control.send(Opcode::Ping, true, b"").await;
    assert_eq!(control.next().await.unwrap().opcode, 10, "a short message");
    borne
}

#[tokio::test]
async fn sec43_unfinished_messages_at_and_past_their_memory() {
    let fit = UNFINISHED_BYTES_MAX / (CONTROL_MESSAGE_BYTES_MAX - UNFINISHED_FREE_BYTES);
    let relay = Relay::start().await;
    assert_eq!(unfinished(&relay, fit + 3).await, fit);
    // They are all gone now.
    let freed = async { while unfinished(&relay, 1).await == 0 {} };
    soon(freed).await;
    // The control.
    let relay = Relay::start_with(RelayServerBuilder::dangerous_without_bounds).await;
    assert_eq!(unfinished(&relay, fit + 3).await, fit + 3);
}

#[tokio::test]
async fn sec43_a_message_that_does_not_end_is_not_waited_for() {
    let relay = Relay::start_with(|builder| builder.ping_interval(Duration::from_millis(50))).await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    control.send(Opcode::Begin(Kind::Text), false, b"{").await;
    let mut last = soon(control.next()).await.unwrap();
    while last.opcode == 9 {
        control.send(Opcode::Pong, true, b"").await;
        last = soon(control.next()).await.unwrap();
    }
    assert_eq!(last, Frame::close(1008, "The listener does not end its message."));
}

#[tokio::test]
async fn what_a_listener_may_say_without_being_dropped() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    control.send(Opcode::Pong, true, b"unsolicited").await;
    control.send(BINARY, true, b"").await;
    control.send(Opcode::Begin(Kind::Text), true, br#"{"injectFault":{"delay":"00:01:00"}}"#).await;
    control
        .send(Opcode::Begin(Kind::Text), true, br#"{"response":{"requestId":"gone","statusCode":"200"}}"#)
        .await;
    control.send(Opcode::Ping, true, b"and now").await;
    assert_eq!(control.next().await.unwrap(), Frame { fin: true, opcode: 10, payload: b"and now".into() });
    control.send(Opcode::Begin(Kind::Text), true, b"no JSON").await;
    assert_eq!(control.next().await.unwrap().payload[..2], 1008_u16.to_be_bytes());
}

/// Sends `pings` Pings at once and gives the code of the Close, if one comes.
async fn flood(bare: &mut Bare, pings: u32) -> Option<u16> {
    let wire: Vec<u8> = (0..pings).flat_map(|_| frame(Opcode::Ping, true, &[7; 125])).collect();
    let _ = bare.io.write_all(&wire).await;
    let _ = bare.io.write_all(&frame(Opcode::Ping, true, b"the last one")).await;
    let _ = bare.io.flush().await;
    loop {
        match bare.next().await {
            Some(Frame { opcode: 8, payload, .. }) => {
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
            Some(Frame { payload, .. }) if payload == b"the last one" => return None,
            Some(_) => {}
            None => panic!("no Close"),
        }
    }
}

#[tokio::test]
async fn sec42_a_flood_of_pings_ends_with_1008() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    assert_eq!(flood(&mut control, ControlBudget::BURST * 2).await, Some(1008));
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    assert_eq!(flood(&mut listener, ControlBudget::BURST * 2).await, Some(1008));
    assert_eq!(sender.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
}

#[tokio::test]
async fn sec42_control_a_polite_number_of_pings_is_answered() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    // One less than the budget for the last one, and one for the Pong to the relay's own Ping.
    assert_eq!(flood(&mut control, ControlBudget::BURST - 2).await, None);
}

#[tokio::test]
async fn r18_a_slow_reader_holds_its_sender_back() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    let chunk = vec![7; 64 * 1024];
    let mut written = 0_usize;
    // Nobody reads: the writer must be stopped by what lies between, which is bounded.
    while let Ok(count) = tokio::time::timeout(Duration::from_millis(300), sender.write(&chunk)).await {
        written += count.unwrap();
        assert!(written < 64 << 20, "the relay swallows without end");
    }
    let reading = tokio::spawn(async move {
        let mut read = vec![0; written];
        listener.read_exact(&mut read).await.unwrap();
        assert!(read.iter().all(|byte| *byte == 7));
    });
    sender.flush().await.unwrap();
    soon(reading).await.unwrap();
}

/// Writes pieces of many sizes and ends the direction.
async fn pour(mut stream: tokio::io::WriteHalf<rs_relay::client::RelayStream>, bytes: Vec<u8>, step: usize) {
    for (index, piece) in bytes.chunks(step).enumerate() {
        stream.write_all(piece).await.unwrap();
        if index % 7 == 0 {
            stream.flush().await.unwrap();
        }
    }
    stream.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_at_full_speed_with_pings_of_all_parties_in_between() {
    let relay = Relay::start_with(|builder| builder.ping_interval(Duration::from_millis(100))).await;
    let mut listener = rs_relay::client::Listener::builder(
        relay.connection("hyco", "listen", LISTEN_KEY),
        relay.connector(),
    )
    .keep_alive(KeepAlive::Pong(Duration::from_millis(5)))
    .start();
    listener.status().online().await;
    let sender = relay.sender("hyco").keep_alive(KeepAlive::Pong(Duration::from_millis(5)));
    let (sent, accepted) = soon(async {
        tokio::join!(sender.connect(), async { listener.accept().await.unwrap().accept().await })
    })
    .await;
    let (there, back) = (pattern(6_000_000, 1), pattern(5_000_000, 2));
    let (mut sent_reader, sent_writer) = tokio::io::split(sent.unwrap());
    let (mut accepted_reader, accepted_writer) = tokio::io::split(accepted.unwrap());
    let pouring = [
        tokio::spawn(pour(sent_writer, there.clone(), 70_001)),
        tokio::spawn(pour(accepted_writer, back.clone(), 333)),
    ];
    let (mut found_there, mut found_back) = (Vec::new(), Vec::new());
    let (left, right) = soon(async {
        tokio::join!(accepted_reader.read_to_end(&mut found_there), sent_reader.read_to_end(&mut found_back))
    })
    .await;
    assert!(left.is_ok() && right.is_ok(), "{left:?} {right:?}");
    assert!(found_there == there && found_back == back);
    for task in pouring {
        soon(task).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_written_arrives_though_the_stream_is_dropped_after_shutdown() {
    let relay = Relay::start().await;
    for _ in 0..5 {
        let (mut sender, mut listener) = relay.pair("hyco").await;
        // Unread bytes in the sender's socket would turn its close into a reset.
        listener.write_all(&[1; 10_000]).await.unwrap();
        listener.flush().await.unwrap();
        let bytes = pattern(2_000_000, 4);
        let expected = bytes.clone();
        let sending = tokio::spawn(async move {
            sender.write_all(&bytes).await.unwrap();
            sender.shutdown().await.unwrap();
        });
        let mut read = Vec::new();
        soon(listener.read_to_end(&mut read)).await.unwrap();
        assert!(read == expected);
        soon(sending).await.unwrap();
    }
}
