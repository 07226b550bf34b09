//! Several relays at once (R15).

use rs_relay::client::{Listener, Sender};
use rs_relay::proto::EntityPath;

use crate::support::{LISTEN_KEY, Relay, SEND_KEY, echo, eventually, round_trip, soon};

fn hyco() -> EntityPath {
    "hyco".parse().unwrap()
}

/// Two relays that trust the same authority.
async fn two() -> (Relay, Relay) {
    let first = Relay::start().await;
    let certificate = std::sync::Arc::clone(&first.certificate);
    let second = Relay::start_at("127.0.0.1:0", certificate, |builder| builder).await;
    (first, second)
}

fn listen_at(relays: [&Relay; 2]) -> Listener {
    let [first, second] = relays.map(|relay| relay.connection("hyco", "listen", LISTEN_KEY));
    Listener::builder(first, relays[0].connector()).also_at(second).start()
}

fn send_at(relays: [&Relay; 2]) -> Sender {
    let [first, second] = relays.map(|relay| relay.connection("hyco", "send", SEND_KEY));
    Sender::new(first, relays[0].connector()).or_at(second)
}

#[tokio::test]
async fn r15_the_first_relay_dies_and_work_goes_on_over_the_second() {
    let (first, second) = two().await;
    let mut listener = listen_at([&first, &second]);
    for (_, mut relay) in listener.relays() {
        assert!(soon(relay.online()).await);
    }
    let mut status = listener.status();
    let each: Vec<_> = listener.relays().map(|(authority, watch)| (authority.clone(), watch)).collect();
    assert_eq!(each[0].0, first.authority);
    let through = tokio::spawn(async move {
        let mut through = Vec::new();
        while let Some(incoming) = listener.accept().await {
            through.push(incoming.relay().unwrap().clone());
            echo(incoming).await;
            if through.len() == 3 {
                break;
            }
        }
        (through, listener)
    });
    let sender = send_at([&first, &second]);
    let mut stream = soon(sender.connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"one")).await, b"one");
    let (authority, certificate) = first.stop().await;
    for text in [b"two" as &[u8], b"three"] {
        let mut stream = soon(sender.connect()).await.unwrap();
        assert_eq!(soon(round_trip(&mut stream, text)).await, text);
    }
    assert!(status.now().is_online(), "one relay is enough");
    assert!(!each[0].1.now().is_online());
    let (through, _listener) = soon(through).await.unwrap();
    assert_eq!(through, [authority.clone(), second.authority.clone(), second.authority.clone()]);
    // The first comes back.
    let first = Relay::start_at(&format!("127.0.0.1:{}", authority.port()), certificate, |b| b).await;
    eventually("it listens there again", || first.server.listeners(&hyco()) == 1).await;
    assert!(soon(status.online()).await);
}

#[tokio::test]
async fn r15_where_nobody_listens_the_next_relay_is_asked() {
    let (first, second) = two().await;
    second.echo("hyco").await;
    let mut stream = soon(send_at([&first, &second]).connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"hello")).await, b"hello");
    // A refusal is an answer: a wrong key is not tried elsewhere.
    first.echo("hyco").await;
    let wrong = Sender::new(first.connection("hyco", "send", "wrong"), first.connector())
        .or_at(second.connection("hyco", "send", SEND_KEY));
    assert_eq!(soon(wrong.connect()).await.unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn r15_the_error_of_a_relay_that_answered_is_the_one_that_tells() {
    let (first, second) = two().await;
    let sender = send_at([&first, &second]);
    second.stop().await;
    let error = soon(sender.connect()).await.unwrap_err();
    assert_eq!(error.status(), Some(404), "{error}");
    first.stop().await;
    assert!(soon(sender.connect()).await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn r15_a_closed_listener_leaves_all_relays() {
    let (first, second) = two().await;
    let listener = listen_at([&first, &second]);
    for (_, mut relay) in listener.relays() {
        assert!(soon(relay.online()).await);
    }
    let status = listener.status();
    soon(listener.close()).await;
    assert_eq!(status.now().to_string(), "stopped");
    eventually("both are left", || first.server.listeners(&hyco()) + second.server.listeners(&hyco()) == 0)
        .await;
}
