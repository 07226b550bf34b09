//! Whole messages, subprotocols, close codes.

use rs_relay::client::{AcceptError, ConnectError, ConnectOptions, Message, MessageStream};

use crate::support::{Relay, pattern, soon};

const MAX: usize = 1024 * 1024;

async fn pair(relay: &Relay) -> (MessageStream, MessageStream) {
    let (sent, accepted) = relay.pair("hyco").await;
    (sent.into_messages(MAX), accepted.into_messages(MAX))
}

#[tokio::test]
async fn kinds_and_borders_of_messages_are_kept() {
    let relay = Relay::start().await;
    let (mut sent, mut accepted) = pair(&relay).await;
    let messages = [
        Message::from("text"),
        Message::Binary(vec![1, 2, 3].into()),
        Message::from(""),
        Message::Binary(Vec::new().into()),
        Message::Binary(pattern(64 * 1024, 1).into()),
        Message::Binary(pattern(64 * 1024 + 1, 2).into()),
        Message::Text("ä".repeat(200_000)),
        Message::Binary(pattern(MAX, 3).into()),
    ];
    let expected = messages.clone();
    let sending = tokio::spawn(async move {
        for message in messages {
            sent.send(message).await.unwrap();
        }
        sent.close(4001, "all said").await.unwrap();
        sent
    });
    for message in expected {
        assert!(soon(accepted.receive()).await.unwrap().as_ref() == Some(&message));
    }
    let error = soon(accepted.receive()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("4001: all said"), "{error}");
    // The other direction is still open.
    let mut sent = soon(sending).await.unwrap();
    accepted.send("the last word".into()).await.unwrap();
    accepted.close(1000, "").await.unwrap();
    assert_eq!(soon(sent.receive()).await.unwrap(), Some("the last word".into()));
    assert_eq!(soon(sent.receive()).await.unwrap(), None);
    assert!(sent.stream().close_reason().unwrap().is_some_and(|reason| reason.code == 1000));
}

#[tokio::test]
async fn sec43_a_message_at_and_past_the_bound() {
    for (size, fits) in [(MAX, true), (MAX + 1, false)] {
        let relay = Relay::start().await;
        let (mut sent, mut accepted) = pair(&relay).await;
        let sending = tokio::spawn(async move {
            let _ = sent.send(Message::Binary(pattern(size, 1).into())).await;
            sent.receive().await
        });
        let received = soon(accepted.receive()).await;
        assert_eq!(received.is_ok(), fits);
        if !fits {
            assert_eq!(received.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
            let error = soon(sending).await.unwrap().unwrap_err();
            assert!(error.to_string().contains("1009"), "{error}");
        }
    }
}

#[tokio::test]
async fn both_directions_at_once() {
    let relay = Relay::start().await;
    let (sent, accepted) = pair(&relay).await;
    let ((mut to, mut from), (mut back, mut at)) = (sent.split(), accepted.split());
    let echo = tokio::spawn(async move {
        while let Some(message) = at.receive().await.unwrap() {
            back.send(message).await.unwrap();
        }
        back.close(1000, "").await.unwrap();
    });
    let sending = tokio::spawn(async move {
        for index in 0..200 {
            to.send(Message::Binary(pattern(index * 997, index).into())).await.unwrap();
        }
        to.close(1000, "").await.unwrap();
    });
    for index in 0..200 {
        assert!(soon(from.receive()).await.unwrap().unwrap().as_bytes() == pattern(index * 997, index));
    }
    assert_eq!(soon(from.receive()).await.unwrap(), None);
    soon(sending).await.unwrap();
    soon(echo).await.unwrap();
}

#[tokio::test]
async fn close_codes_that_must_not_travel_are_refused() {
    let relay = Relay::start().await;
    let (mut sent, _accepted) = pair(&relay).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(sent.close(code, "").await.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn subprotocols_are_offered_and_chosen() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let connect = || {
        let sender = relay.sender("hyco");
        let options =
            ConnectOptions::default().subprotocol("chat.v2").subprotocol("chat.v1").subprotocol("no token");
        tokio::spawn(async move { sender.connect_with(&options).await })
    };
    for chosen in ["chat.v2", "chat.v1"] {
        let connecting = connect();
        let incoming = soon(listener.accept()).await.unwrap();
        assert_eq!(incoming.subprotocols().collect::<Vec<_>>(), ["chat.v2", "chat.v1"]);
        let accepted = soon(incoming.accept_with(Some(chosen))).await.unwrap();
        let sent = soon(connecting).await.unwrap().unwrap();
        assert_eq!((accepted.subprotocol(), sent.subprotocol()), (Some(chosen), Some(chosen)));
    }
    // The first one by default.
    let connecting = connect();
    soon(soon(listener.accept()).await.unwrap().accept()).await.unwrap();
    assert_eq!(soon(connecting).await.unwrap().unwrap().subprotocol(), Some("chat.v2"));
    // None: the sender must not take that for a success.
    let connecting = connect();
    let _accepted = soon(soon(listener.accept()).await.unwrap().accept_with(None)).await;
    assert!(matches!(soon(connecting).await.unwrap().unwrap_err(), ConnectError::NoWebSocket(_)));
    // One that was not offered.
    let connecting = connect();
    let accepted = soon(soon(listener.accept()).await.unwrap().accept_with(Some("chat.v3"))).await;
    assert!(matches!(accepted, Err(AcceptError::Subprotocol)));
    assert_eq!(soon(connecting).await.unwrap().unwrap_err().status(), Some(400));
}
