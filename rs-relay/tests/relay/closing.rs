//! How joined connections end: each direction by itself, with the code of the side that ended it.

use std::io::ErrorKind;
use std::time::Duration;

use rs_relay::proto::frame::{Kind, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Frame, Relay, leap, settle, soon};

#[tokio::test]
async fn half_close_ends_one_direction_only() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    sender.write_all(b"question").await.unwrap();
    sender.shutdown().await.unwrap();
    let mut question = Vec::new();
    soon(listener.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    assert_eq!(sender.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    for part in 0..50_u8 {
        listener.write_all(&[part; 1000]).await.unwrap();
        listener.flush().await.unwrap();
        let mut read = [0; 1000];
        soon(sender.read_exact(&mut read)).await.unwrap();
        assert_eq!(read, [part; 1000]);
    }
    listener.shutdown().await.unwrap();
    assert_eq!(soon(sender.read(&mut [0; 10])).await.unwrap(), 0);
}

#[tokio::test]
async fn the_listener_may_close_first() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    listener.write_all(b"greeting").await.unwrap();
    listener.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    soon(sender.read_to_end(&mut greeting)).await.unwrap();
    sender.write_all(b"thanks").await.unwrap();
    sender.shutdown().await.unwrap();
    let mut thanks = Vec::new();
    soon(listener.read_to_end(&mut thanks)).await.unwrap();
    assert_eq!((greeting.as_slice(), thanks.as_slice()), (&b"greeting"[..], &b"thanks"[..]));
}

#[tokio::test]
async fn codes_and_reasons_are_passed_on_behind_the_data() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    sender.send(Opcode::Begin(Kind::Binary), true, b"last words").await;
    sender.send(Opcode::Close, true, &Frame::close(4321, "because").payload).await;
    assert_eq!(listener.next().await.unwrap().payload, b"last words");
    assert_eq!(listener.next().await.unwrap(), Frame::close(4321, "because"));
    // The other direction is still open, and is answered with its own Close and not an echo.
    listener.send(Opcode::Begin(Kind::Text), true, b"still here").await;
    assert_eq!(sender.next().await.unwrap().payload, b"still here");
    listener.send(Opcode::Close, true, &Frame::close(3000, "done").payload).await;
    assert_eq!(sender.next().await.unwrap(), Frame::close(3000, "done"));
    assert_eq!((sender.next().await, listener.next().await), (None, None), "the relay ends TCP");
}

#[tokio::test]
async fn a_close_without_code_stays_without() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    listener.send(Opcode::Close, true, b"").await;
    assert_eq!(sender.next().await.unwrap().payload, b"");
    sender.send(Opcode::Close, true, b"").await;
    assert_eq!(listener.next().await.unwrap().payload, b"");
}

#[tokio::test]
async fn sec17_a_lost_side_is_no_ordinary_end() {
    let relay = Relay::start().await;
    for sender_is_lost in [true, false] {
        let (sender, listener) = relay.pair("hyco").await;
        let (mut lost, mut left) = if sender_is_lost { (sender, listener) } else { (listener, sender) };
        lost.write_all(b"some").await.unwrap();
        lost.flush().await.unwrap();
        drop(lost);
        let mut read = Vec::new();
        let error = soon(left.read_to_end(&mut read)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert_eq!(read, b"some", "what had arrived is delivered");
        assert_eq!(left.close_reason().unwrap().unwrap().code, 1001);
    }
}

#[tokio::test]
async fn who_does_not_answer_a_close_is_not_waited_for() {
    let relay = Relay::start_with(|builder| builder.half_close_wait(Duration::from_millis(100))).await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    sender.send(Opcode::Close, true, &Frame::close(1000, "").payload).await;
    assert_eq!(listener.next().await.unwrap(), Frame::close(1000, ""));
    assert_eq!(listener.next().await, None);
    assert_eq!(sender.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
    assert_eq!(sender.next().await, None);
}

#[tokio::test]
async fn who_still_sends_after_the_other_closed_is_waited_for() {
    let relay = Relay::start_with(|builder| builder.half_close_wait(Duration::from_millis(200))).await;
    let (mut sender, mut listener) = relay.bare_pair("hyco", [b"", b""]).await;
    sender.send(Opcode::Close, true, &Frame::close(1000, "").payload).await;
    assert_eq!(listener.next().await.unwrap(), Frame::close(1000, ""));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        listener.send(Opcode::Begin(Kind::Binary), true, b"x").await;
        assert_eq!(sender.next().await.unwrap().payload, b"x");
    }
    listener.send(Opcode::Close, true, &Frame::close(1000, "").payload).await;
    assert_eq!(sender.next().await.unwrap(), Frame::close(1000, ""));
}

#[tokio::test]
async fn a_half_closed_stream_stays_alive_while_nobody_reads_it() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    sender.shutdown().await.unwrap();
    assert_eq!(soon(listener.read(&mut [0; 1])).await.unwrap(), 0);
    // The relay's patience is 10 s; the listener computes for a minute before it answers.
    for _ in 0..20 {
        leap(Duration::from_secs(3)).await;
        settle().await;
    }
    listener.write_all(b"at last").await.unwrap();
    listener.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon(sender.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"at last");
}

#[tokio::test]
async fn shutdown_lets_streams_end_within_the_grace() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    let server = relay.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(Duration::from_secs(20)).await });
    // New work is refused at once, what is joined goes on.
    soon(async { while relay.sender("hyco").connect().await.is_ok() {} }).await;
    sender.write_all(b"still").await.unwrap();
    let mut read = [0; 5];
    soon(listener.read_exact(&mut read)).await.unwrap();
    assert!(!stopping.is_finished());
    sender.shutdown().await.unwrap();
    listener.shutdown().await.unwrap();
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn sec49_shutdown_cuts_what_is_left_after_the_grace() {
    let relay = Relay::start().await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    let token = relay.token("hyco", "listen", crate::support::LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    soon(relay.server.shutdown(Duration::from_millis(50))).await;
    for stream in [&mut sender, &mut listener] {
        let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
        assert!(error.to_string().contains("shutting down"), "{error}");
    }
    assert_eq!(control.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
}
