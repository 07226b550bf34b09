//! Tokens that end, relays that go and come, sides that fall silent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rs_relay::client::{
    Connector, Dialer, KeepAlive, Listener, OfflineCause, SasKeyProvider, Status, TcpDialer,
};
use rs_relay::proto::frame::{Kind, Opcode};
use rs_relay::proto::{Authority, EntityPath};
use rs_relay::{BoxedStream, Clock, ManualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::{LISTEN_KEY, Relay, Valve, echo, eventually, leap, round_trip, settle, soon};

fn hyco() -> EntityPath {
    "hyco".parse().unwrap()
}

/// A relay whose wall clock is moved by hand, and a listener with tokens of one hour by that clock.
async fn with_clock() -> (Relay, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let of_relay: Arc<dyn Clock> = clock.clone();
    (Relay::start_with(|builder| builder.clock(of_relay)).await, clock)
}

fn token_at(relay: &Relay, clock: &ManualClock, seconds: i64) -> String {
    let resource = rs_relay::proto::resource(&relay.authority, Some(&hyco()));
    let until = clock.now() + chrono::TimeDelta::seconds(seconds);
    let (name, key) = ("listen".parse().unwrap(), LISTEN_KEY.parse().unwrap());
    rs_relay::proto::SasToken::mint(&resource, &name, &key, until).expose().to_owned()
}

#[tokio::test]
async fn r06_an_expired_token_closes_the_control_channel_and_nothing_else() {
    let (relay, clock) = with_clock().await;
    let mut control = relay.bare_listener("hyco", &token_at(&relay, &clock, 3600)).await;
    let connection = rs_relay::client::HybridConnection::new(relay.authority.clone(), hyco());
    let tokens = SasKeyProvider::new("send".parse().unwrap(), crate::support::SEND_KEY.parse().unwrap());
    let of_sender: Arc<dyn Clock> = clock.clone();
    let connection = connection.with_tokens(Arc::new(tokens.clock(of_sender)));
    let sender = rs_relay::client::Sender::new(connection, relay.connector());
    let connecting = tokio::spawn(async move { sender.connect().await });
    let mut met = relay.open(&control.accept_target().await, &[], b"").await;
    assert!(met.head().await.0.contains(" 101 "));
    let mut sender = soon(connecting).await.unwrap().unwrap();

    // 29 s past the expiry: patience.
    clock.advance(Duration::from_secs(3629));
    leap(Duration::from_secs(31)).await;
    control.send(Opcode::Ping, true, b"still there").await;
    assert_eq!(control.next().await.unwrap().payload, b"still there");
    // 31 s past it: closed with 1008.
    clock.advance(Duration::from_secs(2));
    leap(Duration::from_secs(31)).await;
    assert_eq!(control.next().await.unwrap().payload[..2], 1008_u16.to_be_bytes());
    assert_eq!(relay.server.listeners(&hyco()), 0);
    // The joined connection lives on.
    sender.write_all(b"alive").await.unwrap();
    sender.flush().await.unwrap();
    assert_eq!(met.next().await.unwrap().payload, b"alive");
}

#[tokio::test]
async fn r07_a_renewed_token_keeps_the_control_channel() {
    let (relay, clock) = with_clock().await;
    let mut control = relay.bare_listener("hyco", &token_at(&relay, &clock, 3600)).await;
    // The official packages renew at the expiry, not before it.
    clock.advance(Duration::from_secs(3605));
    let renew = format!(r#"{{"renewToken":{{"token":"{}"}}}}"#, token_at(&relay, &clock, 3600));
    control.send(Opcode::Begin(Kind::Text), true, renew.as_bytes()).await;
    control.send(Opcode::Ping, true, b"renewed").await;
    assert_eq!(control.next().await.unwrap().payload, b"renewed");
    clock.advance(Duration::from_secs(3000));
    leap(Duration::from_secs(31)).await;
    control.send(Opcode::Ping, true, b"still there").await;
    assert_eq!(control.next().await.unwrap().payload, b"still there");
}

#[tokio::test]
async fn a_refused_renewal_closes_with_1008() {
    let (relay, clock) = with_clock().await;
    let bad =
        [token_at(&relay, &clock, -1), relay.token("hyco", "listen", "wrong key", 9999), "garbage".into()];
    for token in bad {
        let mut control = relay.bare_listener("hyco", &token_at(&relay, &clock, 3600)).await;
        let renew = format!(r#"{{"renewToken":{{"token":"{token}"}}}}"#);
        control.send(Opcode::Begin(Kind::Text), true, renew.as_bytes()).await;
        assert_eq!(control.next().await.unwrap().payload[..2], 1008_u16.to_be_bytes());
    }
}

#[tokio::test]
async fn r07_our_listener_renews_by_itself() {
    let (relay, clock) = with_clock().await;
    let tokens = SasKeyProvider::new("listen".parse().unwrap(), LISTEN_KEY.parse().unwrap());
    let of_tokens: Arc<dyn Clock> = clock.clone();
    let tokens = tokens.lifetime(Duration::from_secs(1000)).clock(of_tokens.clone());
    let connection = rs_relay::client::HybridConnection::new(relay.authority.clone(), hyco());
    let listener = Listener::builder(connection.with_tokens(Arc::new(tokens)), relay.connector())
        .clock(of_tokens)
        .keep_alive(KeepAlive::Pong(Duration::from_secs(86_400)))
        .start();
    assert!(soon(listener.status().online()).await);
    // Ten lifetimes pass, 80 % of one at a time. Without renewal the relay would close after the second step.
    for _ in 0..12 {
        clock.advance(Duration::from_secs(800));
        leap(Duration::from_secs(800)).await;
        settle().await;
    }
    assert!(listener.status().now().is_online());
    assert_eq!(relay.server.listeners(&hyco()), 1);
}

#[tokio::test]
async fn sec47_the_listener_is_back_when_the_relay_is() {
    let relay = Relay::start().await;
    let mut listener = relay.listener("hyco").await;
    let mut status = listener.status();
    let (authority, certificate) = relay.stop().await;
    let offline = soon(async {
        loop {
            match status.changed().await.unwrap() {
                Status::Offline { cause, .. } => return cause,
                _ => continue,
            }
        }
    })
    .await;
    assert!(matches!(&*offline, OfflineCause::Closed { code: 1001, .. }), "{offline}");
    let relay = Relay::start_at(&format!("127.0.0.1:{}", authority.port()), certificate, |b| b).await;
    assert!(soon(status.online()).await);
    let echoing = tokio::spawn(async move { echo(listener.accept().await.unwrap()).await });
    let mut stream = soon(relay.sender("hyco").connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"back")).await, b"back");
    soon(echoing).await.unwrap();
}

#[tokio::test]
async fn a_closed_listener_is_gone_and_another_takes_over() {
    let relay = Relay::start().await;
    let first = relay.listener("hyco").await;
    let mut watch = first.status();
    soon(first.close()).await;
    assert!(matches!(watch.now(), Status::Stopped));
    assert!(watch.changed().await.is_none_or(|status| matches!(status, Status::Stopped)));
    eventually("the listener is gone", || relay.server.listeners(&hyco()) == 0).await;
    assert_eq!(soon(relay.sender("hyco").connect()).await.unwrap_err().status(), Some(404));
    relay.echo("hyco").await;
    let mut stream = soon(relay.sender("hyco").connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"second")).await, b"second");
}

#[tokio::test]
async fn a_waiting_sender_is_offered_to_another_listener() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut dying = relay.bare_listener("hyco", &token).await;
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    dying.accept_target().await;
    relay.echo("hyco").await;
    drop(dying);
    let mut stream = soon(connecting).await.unwrap().unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"saved")).await, b"saved");
}

/// Dials through a valve.
#[derive(Debug)]
struct ValveDialer(watch::Receiver<bool>);

#[async_trait]
impl Dialer for ValveDialer {
    async fn dial(&self, authority: &Authority) -> std::io::Result<BoxedStream> {
        let io = TcpDialer.dial(authority).await?;
        Ok(Box::new(Valve { io, open: self.0.clone() }))
    }
}

fn valve(relay: &Relay) -> (watch::Sender<bool>, Connector) {
    let (sender, receiver) = watch::channel(true);
    let connector = Connector::builder().trust(relay.trust()).dialer(Arc::new(ValveDialer(receiver))).build();
    (sender, connector.unwrap())
}

#[tokio::test]
async fn sec47_a_silent_relay_is_found() {
    let relay = Relay::start().await;
    let (open, connector) = valve(&relay);
    let listener = Listener::builder(relay.connection("hyco", "listen", LISTEN_KEY), connector)
        .keep_alive(KeepAlive::Ping(Duration::from_millis(50)))
        .start();
    let mut status = listener.status();
    assert!(soon(status.online()).await);
    // The control: while the relay answers, nothing happens for many intervals.
    let quiet = tokio::time::timeout(Duration::from_millis(500), status.changed()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    open.send(false).unwrap();
    let Status::Offline { cause, .. } = soon(status.changed()).await.unwrap() else { panic!() };
    assert!(matches!(&*cause, OfflineCause::Silent), "{cause}");
}

#[tokio::test]
async fn sec48_a_silent_relay_ends_a_stream_that_waits_for_it() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    let (open, connector) = valve(&relay);
    let connection = relay.connection("hyco", "send", crate::support::SEND_KEY);
    let sender = rs_relay::client::Sender::new(connection, connector)
        .keep_alive(KeepAlive::Ping(Duration::from_millis(50)));
    let mut stream = soon(sender.connect()).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0; 1])).await;
    assert!(quiet.is_err(), "{quiet:?}");
    open.send(false).unwrap();
    let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(stream.write(b"x").await.is_err());
}

#[tokio::test]
async fn r08_a_silent_listener_is_dropped_and_one_that_answers_is_not() {
    let relay = Relay::start_with(|builder| builder.ping_interval(Duration::from_millis(50))).await;
    let (open, connector) = valve(&relay);
    let _silent = Listener::builder(relay.connection("hyco", "listen", LISTEN_KEY), connector)
        .keep_alive(KeepAlive::Pong(Duration::from_secs(3600)))
        .start();
    let answers = Listener::builder(relay.connection("hyco", "listen", LISTEN_KEY), relay.connector())
        .keep_alive(KeepAlive::Pong(Duration::from_secs(3600)))
        .start();
    eventually("both are there", || relay.server.listeners(&hyco()) == 2).await;
    open.send(false).unwrap();
    eventually("one is dropped", || relay.server.listeners(&hyco()) == 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(answers.status().now().is_online());
}

#[tokio::test]
async fn r08_a_silent_side_of_a_joined_connection_is_dropped() {
    let relay = Relay::start_with(|builder| builder.ping_interval(Duration::from_millis(50))).await;
    let (mut sender, _listener) = relay.bare_pair("hyco", [b"", b""]).await;
    // Both sides are silent sockets that answer no Ping.
    let close = sender.next().await.unwrap();
    assert_eq!(close.opcode, 8);
}

#[tokio::test]
async fn quiet_joined_connections_that_answer_stay() {
    let relay = Relay::start_with(|builder| builder.ping_interval(Duration::from_millis(20))).await;
    let (mut sender, mut listener) = relay.pair("hyco").await;
    let quiet = async { tokio::join!(sender.read_u8(), listener.read_u8()) };
    assert!(tokio::time::timeout(Duration::from_millis(600), quiet).await.is_err());
    sender.write_all(b"x").await.unwrap();
    sender.flush().await.unwrap();
    assert_eq!(soon(listener.read_u8()).await.unwrap(), b'x');
}

#[tokio::test]
async fn a_reader_that_pauses_does_not_take_the_relay_for_silent() {
    let relay = Relay::start().await;
    let (mut far, mut near) = relay.pair("hyco").await;
    let mut buffer = [0; 64];
    for text in [b"some", b"more"] {
        far.write_all(text).await.unwrap();
        far.flush().await.unwrap();
        // Room for more than there is.
        assert_eq!(soon(near.read(&mut buffer)).await.unwrap(), 4);
        assert_eq!(&buffer[..4], text);
        // Nobody reads what the relay answers to the Pings of this time.
        for _ in 0..4 {
            leap(Duration::from_secs(15)).await;
            settle().await;
        }
    }
}
