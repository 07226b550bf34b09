//! hyco-ws: listener and sender, each with each.

use std::time::Duration;

use rs_relay::client::{ConnectOptions, Message, Sender};
use rs_relay::server::{EntitySettings, Kinds};
use serde_json::{Value, json};

use crate::peer::{Site, digest};
use crate::support::{LISTEN_KEY, eventually, leap, round_trip, soon};

const MAX: usize = 4 * 1024 * 1024;

/// Text and binary, small, at the border of a frame, large.
fn messages() -> Vec<(Value, Message)> {
    let mut all = vec![(json!({"do": "send", "text": "hällo"}), Message::from("hällo"))];
    for size in [0, 1, 125, 126, 65_535, 65_536, 65_537, 1_000_000] {
        all.push((json!({"do": "send", "binary": size}), Message::Binary(vec![b'x'; size].into())));
    }
    all
}

#[tokio::test]
async fn messages_of_all_sizes_between_packages() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    let mut sender = site.sender("ws", json!({}));
    sender.wait("open").await;
    listener.wait("open").await;
    for (command, message) in messages() {
        sender.tell(command).await;
        let back = sender.wait("message").await;
        assert_eq!(back["digest"], digest(message.as_bytes()));
        assert_eq!(back["binary"], matches!(message, Message::Binary(_)));
    }
}

#[tokio::test]
async fn messages_of_all_sizes_to_our_listener() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.relay.listener("hyco").await;
    let mut sender = site.sender("ws", json!({}));
    let mut stream = soon(soon(listener.accept()).await.unwrap().accept()).await.unwrap().into_messages(MAX);
    sender.wait("open").await;
    for (command, message) in messages() {
        sender.tell(command).await;
        assert!(soon(stream.receive()).await.unwrap().as_ref() == Some(&message));
        let sum = digest(message.as_bytes());
        stream.send(message).await.unwrap();
        assert_eq!(sender.wait("message").await["digest"], sum);
    }
}

#[tokio::test]
async fn messages_of_all_sizes_from_our_sender() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    let mut stream = soon(site.relay.sender("hyco").connect()).await.unwrap().into_messages(MAX);
    listener.wait("open").await;
    for (_, message) in messages() {
        let sum = digest(message.as_bytes());
        stream.send(message).await.unwrap();
        assert_eq!(digest(soon(stream.receive()).await.unwrap().unwrap().as_bytes()), sum);
    }
}

#[tokio::test]
async fn close_codes_travel_both_ways() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    // The package closes, ours sees it.
    let mut listener = site.relay.listener("hyco").await;
    let mut sender = site.sender("ws", json!({}));
    let mut stream = soon(soon(listener.accept()).await.unwrap().accept()).await.unwrap().into_messages(MAX);
    sender.wait("open").await;
    sender.tell(json!({"do": "close", "code": 4001, "reason": "had enough"})).await;
    let error = soon(stream.receive()).await.unwrap_err();
    assert!(error.to_string().contains("4001: had enough"), "{error}");
    stream.close(4002, "so be it").await.unwrap();
    sender.wait("closed").await;
    // Ours closes, the package sees it.
    let mut sender = site.sender("ws", json!({}));
    let mut stream = soon(soon(listener.accept()).await.unwrap().accept()).await.unwrap().into_messages(MAX);
    sender.wait("open").await;
    stream.close(4003, "good bye").await.unwrap();
    let closed = sender.wait("closed").await;
    assert_eq!((closed["code"].as_u64(), closed["reason"].as_str()), (Some(4003), Some("good bye")));
    soon(listener.close()).await;
    // Between packages.
    let mut listener = site.listener("ws", json!({})).await;
    let mut sender = site.sender("ws", json!({}));
    sender.wait("open").await;
    listener.wait("open").await;
    listener.tell(json!({"do": "close", "code": 1000, "reason": "done"})).await;
    let closed = sender.wait("closed").await;
    assert_eq!((closed["code"].as_u64(), closed["reason"].as_str()), (Some(1000), Some("done")));
    listener.wait("closed").await;
}

#[tokio::test]
async fn subprotocols() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let offered = json!({"protocols": ["chat.v2", "chat.v1"]});
    let mut listener = site.relay.listener("hyco").await;
    let mut sender = site.sender("ws", offered.clone());
    let incoming = soon(listener.accept()).await.unwrap();
    assert_eq!(incoming.subprotocols().collect::<Vec<_>>(), ["chat.v2", "chat.v1"]);
    let _stream = soon(incoming.accept_with(Some("chat.v1"))).await.unwrap();
    assert_eq!(sender.wait("open").await["protocol"], "chat.v1");
    soon(listener.close()).await;
    // The package takes the first one.
    let _listener = site.listener("ws", json!({"echo": true})).await;
    assert_eq!(site.sender("ws", offered).wait("open").await["protocol"], "chat.v2");
    let options = ConnectOptions::default().subprotocol("chat.v2").subprotocol("chat.v1");
    let stream = soon(site.relay.sender("hyco").connect_with(&options)).await.unwrap();
    assert_eq!(stream.subprotocol(), Some("chat.v2"));
}

#[tokio::test]
async fn our_listener_rejects() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.relay.listener("hyco").await;
    let mut sender = site.sender("ws", json!({}));
    soon(soon(listener.accept()).await.unwrap().reject(418, "no coffee & no tea")).await.unwrap();
    let refused = sender.wait("refused").await;
    assert_eq!(
        (refused["status"].as_u64(), refused["reason"].as_str()),
        (Some(418), Some("no coffee & no tea"))
    );
}

#[tokio::test]
async fn our_listener_sees_headers_path_and_query() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.relay.listener("hyco").await;
    let mut sender =
        site.sender("ws", json!({"path": "hyco/shell%20one?cols=80", "headers": {"X-App": "7"}}));
    let incoming = soon(listener.accept()).await.unwrap();
    assert_eq!(
        (incoming.path().as_str(), incoming.query().as_deref()),
        ("hyco/shell%20one", Some("cols=80"))
    );
    assert_eq!(incoming.header("x-app"), Some("7"));
    assert_eq!(incoming.header("servicebusauthorization"), None);
    let _stream = soon(incoming.accept()).await.unwrap();
    sender.wait("open").await;
    soon(listener.close()).await;
    // And the package sees ours.
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    let options = ConnectOptions::default().suffix("a/b").query("c=d");
    let _stream = soon(site.relay.sender("hyco").connect_with(&options)).await.unwrap();
    let url = listener.wait("connection").await["url"].as_str().unwrap().to_owned();
    assert!(url.contains("/$hc/hyco/a/b?c=d&"), "{url}");
}

#[tokio::test]
async fn refusals() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let status =
        async |more: Value| site.sender("ws", more).wait("refused").await["status"].as_u64().unwrap();
    assert_eq!(status(json!({})).await, 404, "nobody listens");
    let _listener = site.listener("ws", json!({"echo": true})).await;
    assert_eq!(status(json!({"key": "wrong"})).await, 401);
    assert_eq!(status(json!({"rule": "nobody"})).await, 401);
    assert_eq!(status(json!({"seconds": -100})).await, 401, "expired");
    assert_eq!(status(json!({"rule": null})).await, 401, "no token");
    assert_eq!(status(json!({"rule": "listen", "key": LISTEN_KEY})).await, 403, "no right to send");
    assert_eq!(status(json!({"path": "elsewhere"})).await, 404);
    site.sender("ws", json!({"path": "hyco?x=1", "inQuery": true})).wait("open").await;
}

#[tokio::test]
async fn an_anonymous_sender() {
    let settings = EntitySettings::new().kinds(Kinds::WebSocket).dangerous_anonymous_senders();
    let site = Site::start_with(|builder| builder.entity("hyco".parse().unwrap(), settings)).await;
    let Some(site) = site else { return };
    let _listener = site.listener("ws", json!({"echo": true})).await;
    let mut sender = site.sender("ws", json!({"rule": null}));
    sender.wait("open").await;
    sender.tell(json!({"do": "send", "text": "who am I?"})).await;
    assert_eq!(sender.wait("message").await["text"], "who am I?");
    let connection =
        rs_relay::client::HybridConnection::new(site.relay.authority.clone(), "hyco".parse().unwrap());
    let mut stream = soon(Sender::new(connection, site.relay.connector()).connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"nobody")).await, b"nobody");
}

#[tokio::test]
async fn a_renewed_token_keeps_the_channel() {
    let clock = std::sync::Arc::new(rs_relay::ManualClock::new(now()));
    let (of_relay, settings) = (clock.clone(), EntitySettings::new().kinds(Kinds::WebSocket));
    let site = Site::start_with(|builder| builder.clock(of_relay).entity("hyco".parse().unwrap(), settings));
    let Some(site) = site.await else { return };
    // By the relay's clock each token lives for an hour.
    for (renews, seconds) in [(true, 3600), (false, 7200 + 3600)] {
        let mut listener = site.listener("ws", json!({"seconds": seconds, "echo": true})).await;
        if renews {
            listener.tell(json!({"do": "renew", "seconds": 100_000})).await;
            // What is sent after it is handled after it.
            listener_answers(&site).await;
            clock.advance(Duration::from_secs(7200));
            leap(Duration::from_secs(31)).await;
            listener_answers(&site).await;
            drop(listener);
            eventually("it is gone", || site.relay.server.listeners(&"hyco".parse().unwrap()) == 0).await;
        } else {
            // The control: without a renewal the relay closes, and the package's old token does not get it back.
            clock.advance(Duration::from_secs(7200));
            leap(Duration::from_secs(31)).await;
            eventually("it is closed", || site.relay.server.listeners(&"hyco".parse().unwrap()) == 0).await;
        }
    }
}

async fn listener_answers(site: &Site) {
    let mut sender = site.sender("ws", json!({"seconds": 1_000_000}));
    sender.wait("open").await;
    sender.tell(json!({"do": "send", "text": "there?"})).await;
    assert_eq!(sender.wait("message").await["text"], "there?");
}

fn now() -> chrono::DateTime<chrono::Utc> {
    rs_relay::Clock::now(&rs_relay::SystemClock)
}

#[tokio::test]
async fn the_package_comes_back_after_a_restart() {
    let Some(mut site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    let (authority, certificate) = site.relay.stop().await;
    let settings = EntitySettings::new().kinds(Kinds::WebSocket);
    let address = format!("127.0.0.1:{}", authority.port());
    site.relay = crate::support::Relay::start_at(&address, certificate, |builder| {
        builder.entity("hyco".parse().unwrap(), settings)
    })
    .await;
    listener.wait_through_errors("listening").await;
    let mut stream = soon(site.relay.sender("hyco").connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"again")).await.len(), 5);
}

#[tokio::test]
async fn a_listener_that_stops() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    listener.tell(json!({"do": "stop"})).await;
    listener.wait("stopped").await;
    eventually("it is gone", || site.relay.server.listeners(&"hyco".parse().unwrap()) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_of_ours_to_a_package() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let _listener = site.listener("ws", json!({"echo": true})).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..30 {
        let sender = site.relay.sender("hyco");
        tasks.spawn(async move {
            let mut stream = sender.connect().await.unwrap().into_messages(MAX);
            for round in 0..5 {
                let message = Message::from(format!("{index}/{round}").as_str());
                stream.send(message.clone()).await.unwrap();
                assert_eq!(stream.receive().await.unwrap(), Some(message));
            }
        });
    }
    soon(tasks.join_all()).await;
}

#[tokio::test]
async fn many_senders_of_the_package() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let _listener = site.relay.echo("hyco").await;
    let mut senders: Vec<_> = (0..8).map(|_| site.sender("ws", json!({}))).collect();
    for (index, sender) in senders.iter_mut().enumerate() {
        sender.wait("open").await;
        sender.tell(json!({"do": "send", "binary": 1000 + index})).await;
    }
    for (index, sender) in senders.iter_mut().enumerate() {
        assert_eq!(sender.wait("message").await["length"], 1000 + index);
    }
}

#[tokio::test]
async fn pings_of_the_package_are_answered() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let _listener = site.relay.echo("hyco").await;
    let mut sender = site.sender("ws", json!({}));
    sender.wait("open").await;
    sender.tell(json!({"do": "ping"})).await;
    sender.wait("pong").await;
}

#[tokio::test]
async fn http_to_a_websocket_entity() {
    let Some(site) = Site::start(Kinds::WebSocket).await else { return };
    let mut listener = site.listener("ws", json!({"echo": true})).await;
    let mut sender = site.sender("https", json!({}));
    sender.wait("ready").await;
    // It would kill the listener.
    sender.tell(json!({"do": "request", "method": "POST", "text": "a body"})).await;
    assert_eq!(sender.wait("response").await["status"], 405);
    let mut stream = soon(site.relay.sender("hyco").connect()).await.unwrap();
    listener.wait("open").await;
    assert_eq!(soon(round_trip(&mut stream, b"alive")).await, b"alive");
}
