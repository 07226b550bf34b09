//! Ways that die without a word: a real router in between forgets connections that were silent for too long, or drops
//! everything in both directions. In real time, over the kernel's own TCP.
//!
//! `IDLE_SECONDS` says how long the listeners of the first test are idle (60; `scripts/relay-trials idle` takes 600); the
//! router forgets after two fifths of it, as Azure's front end does: 4 minutes of 10.

mod places;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rs_cli::network::Way;
use rs_relay::BoxedStream;
use rs_relay::client::{
    Connector, Dialer, HybridConnection, KeepAlive, Listener, SasKeyProvider, Sender, Status, TcpDialer,
    Trust,
};
use rs_relay::proto::{Authority, AuthorizationRule, Right, Rules, SharedKey};
use rs_relay::server::{DevCertificate, RelayServer, TlsTransport, dev_certificate};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use places::{Place, Places, RELAY};

use crate::process::LONG;

/// What the issue allows for finding a dead way, and for being back.
const FOUND: Duration = Duration::from_secs(45);

const DAY: Duration = Duration::from_secs(86_400);

/// How a listener gets to its relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The relay crate's own dialer.
    Tcp,
    /// The agent's dialer.
    Agent,
    /// A socket as the system gives it.
    Plain,
}

/// Dials the relay's address, whatever the name.
#[derive(Debug)]
struct There(By, Authority);

#[async_trait]
impl Dialer for There {
    async fn dial(&self, _: &Authority) -> io::Result<BoxedStream> {
        match self.0 {
            By::Tcp => TcpDialer.dial(&self.1).await,
            By::Agent => Way::direct().dialer().expect("a dialer").dial(&self.1).await,
            By::Plain => Ok(Box::new(TcpStream::connect((RELAY, self.1.port())).await?)),
        }
    }
}

/// A relay that says nothing by itself: what keeps ways alive is up to the clients, as with Azure's.
struct Relay {
    certificate: DevCertificate,
    key: SharedKey,
    port: u16,
}

impl Relay {
    fn start(place: &Place) -> Arc<Self> {
        let certificate = dev_certificate(["localhost"]).expect("a certificate");
        let key = SharedKey::generate().expect("a key");
        let rule = AuthorizationRule::new("root".parse().expect("a name"), [Right::Manage], key.clone());
        let (chain, secret) = (certificate.server_pem(), certificate.key_pem().expose_secret().to_owned());
        let (told, port) = std::sync::mpsc::channel();
        place.thread(async move || {
            let transport = TlsTransport::bind((RELAY, 0), &chain, &secret.into()).await.expect("a port");
            let port = transport.local_addr().expect("an address").port();
            let builder = RelayServer::builder([Authority::new("localhost", port).expect("a name")]);
            let builder = builder.rules(Rules::new([rule]).expect("one rule")).ping_interval(DAY);
            let server = builder.build().expect("a relay");
            told.send(port).expect("it is awaited");
            server.serve(transport).await
        });
        Arc::new(Self { certificate, key, port: port.recv().expect("a relay") })
    }

    fn connector(&self, by: By) -> Connector {
        let trust = Trust::Only(self.certificate.authority_pem().as_bytes().to_vec());
        let address = Authority::new(RELAY, self.port).expect("an address");
        Connector::builder().trust(trust).dialer(Arc::new(There(by, address))).build().expect("a connector")
    }

    fn connection(&self, entity: &str) -> HybridConnection {
        let tokens = SasKeyProvider::new("root".parse().expect("a name"), self.key.clone());
        let authority = Authority::new("localhost", self.port).expect("a name");
        HybridConnection::new(authority, entity.parse().expect("an entity")).with_tokens(Arc::new(tokens))
    }

    fn sender(&self, entity: &str) -> Sender {
        Sender::new(self.connection(entity), self.connector(By::Tcp))
    }
}

/// A listener that echoes, at the node, and what it said about itself.
struct Listening {
    name: String,
    said: Arc<Mutex<Vec<(Instant, Status)>>>,
    stop: CancellationToken,
}

impl Listening {
    fn start(places: &Places, relay: &Arc<Relay>, by: By, keep_alive: KeepAlive) -> Self {
        let name = format!("{by:?}-{keep_alive:?}").replace(['(', ')'], "-");
        let said = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let listener = Listener::builder(relay.connection(&name), relay.connector(by)).keep_alive(keep_alive);
        let (saying, stopped) = (Arc::clone(&said), stop.clone());
        places.node.thread(async move || {
            let mut listener = listener.start();
            let mut status = listener.status();
            loop {
                tokio::select! {
                    Some(incoming) = listener.accept() => {
                        tokio::spawn(async move {
                            let Ok(stream) = incoming.accept().await else { return };
                            let (mut reader, mut writer) = tokio::io::split(stream);
                            if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                                let _ = writer.shutdown().await;
                            }
                        });
                    }
                    Some(status) = status.changed() => {
                        saying.lock().expect("unpoisoned").push((Instant::now(), status));
                    }
                    () = stopped.cancelled() => return,
                }
            }
        });
        let listening = Self { name, said, stop };
        listening.next(Instant::now(), Status::is_online).expect("it is online");
        listening
    }

    /// When it first said so at or after `since`; `None` when it does not for a minute.
    fn next(&self, since: Instant, so: impl Fn(&Status) -> bool) -> Option<(Instant, Status)> {
        let until = Instant::now() + LONG;
        loop {
            let said = self.said.lock().expect("unpoisoned");
            let found = said.iter().find(|(at, status)| *at >= since && so(status)).cloned();
            drop(said);
            if found.is_some() || Instant::now() > until {
                return found;
            }
            // Another thread's word, which has nothing to wait on.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn next_offline(&self, since: Instant) -> Option<(Instant, Status)> {
        self.next(since, |status| matches!(status, Status::Offline { .. }))
    }

    fn losses(&self) -> usize {
        let said = self.said.lock().expect("unpoisoned");
        said.iter().filter(|(_, status)| matches!(status, Status::Offline { .. })).count()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What agents use: Pings to a relay of one's own, Pongs to Azure's; each through the agent's dialer and the crate's.
fn kept(places: &Places, relay: &Arc<Relay>) -> Vec<Listening> {
    let azure: Authority = "contoso.servicebus.windows.net".parse().expect("a name");
    let own: Authority = "localhost".parse().expect("a name");
    let both = [KeepAlive::for_relay(&own), KeepAlive::for_relay(&azure)];
    assert!(matches!(both, [KeepAlive::Ping(_), KeepAlive::Pong(_)]));
    let all = [By::Tcp, By::Agent].into_iter().flat_map(|by| both.map(|keep_alive| (by, keep_alive)));
    all.map(|(by, keep_alive)| Listening::start(places, relay, by, keep_alive)).collect()
}

/// Whether a sender at the node gets through within `wait`.
fn gets_through(places: &Places, relay: &Arc<Relay>, entity: &str, wait: Duration) -> bool {
    let sender = relay.sender(entity);
    let ask = async move || {
        let ask = async {
            let mut stream = sender.connect().await.ok()?;
            stream.write_all(b"still there?").await.ok()?;
            stream.shutdown().await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            (answer == b"still there?").then_some(())
        };
        tokio::time::timeout(wait, ask).await.ok().flatten().is_some()
    };
    places.node.thread(ask).join().expect("no panic")
}

fn idle_seconds() -> u64 {
    std::env::var("IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn sec47_idle_behind_a_router_that_forgets_silent_connections() {
    let idle = Duration::from_secs(idle_seconds().max(60));
    let forgets_after = idle * 2 / 5;
    let Some(places) = Places::new(forgets_after) else { return };
    let relay = Relay::start(&places.relay);
    let listeners = kept(&places, &relay);
    // The control: no signs of life.
    let silent = Listening::start(&places, &relay, By::Agent, KeepAlive::Pong(DAY));
    // The idle time that is tried.
    std::thread::sleep(idle);
    for listener in &listeners {
        assert!(gets_through(&places, &relay, &listener.name, FOUND), "{}", listener.name);
        assert_eq!(
            listener.losses(),
            0,
            "{}: its signs of life come before the router forgets",
            listener.name
        );
    }
    assert!(
        !gets_through(&places, &relay, &silent.name, Duration::from_secs(10)),
        "the router forgets nobody"
    );
    assert_eq!(silent.losses(), 0, "the control knows nothing of its loss");
    println!(
        "idle={}s forgets={}s kept={} control=lost",
        idle.as_secs(),
        forgets_after.as_secs(),
        listeners.len()
    );
}

#[test]
fn sec47_forgotten_between_two_signs_of_life_and_back_within_45_seconds() {
    let forgets_after = Duration::from_secs(8);
    let Some(places) = Places::new(forgets_after) else { return };
    let relay = Relay::start(&places.relay);
    let begun = Instant::now();
    for listener in kept(&places, &relay) {
        let online = listener.next(begun, Status::is_online).expect("online").0;
        let (found, status) = listener.next_offline(begun).expect("it finds the loss");
        let (back, _) = listener.next(found, Status::is_online).expect("it comes back");
        let took = back - (online + forgets_after);
        assert!(took <= FOUND, "{}: back {took:?} after it was forgotten, {status}", listener.name);
        println!("{}: {status}; back {:.1} s after it was forgotten", listener.name, took.as_secs_f32());
    }
}

#[test]
fn sec47_sec48_a_way_that_dies_in_both_directions_at_once() {
    let Some(places) = Places::new(DAY) else { return };
    let relay = Relay::start(&places.relay);
    let listeners = kept(&places, &relay);
    // The control: nothing is asked, and the system waits for many minutes.
    let blind = Listening::start(&places, &relay, By::Plain, KeepAlive::Pong(Duration::from_secs(15)));
    let sender = relay.sender(&listeners[0].name);
    let (ready, pouring) = std::sync::mpsc::channel();
    let poured = places.node.thread(async move || {
        let (mut reader, mut writer) = tokio::io::split(sender.connect().await.expect("a way"));
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        writer.write_all(&[7; 1 << 20]).await.expect("it takes some");
        ready.send(()).expect("it is awaited");
        loop {
            if let Err(error) = writer.write_all(&[7; 1 << 16]).await {
                return (Instant::now(), error);
            }
        }
    });
    pouring.recv().expect("it pours");
    let dead = Instant::now();
    places.cut();
    let mut lost = Vec::new();
    for listener in &listeners {
        let (found, status) = listener.next_offline(dead).expect("it finds the loss");
        lost.push((listener, found));
        assert!(status.to_string().contains("the relay did not answer"), "{}: {status}", listener.name);
        let took = found - dead;
        assert!(took <= FOUND, "{}: found after {took:?}, {status}", listener.name);
        println!("{}: found after {:.1} s; {status}", listener.name, took.as_secs_f32());
    }
    let (found, error) = poured.join().expect("no panic");
    let took = found.duration_since(dead);
    assert!(took <= FOUND, "a stream under load: {error} after {took:?}");
    println!("a stream under load: {error} after {:.1} s", took.as_secs_f32());
    // Until the bound is over for the control, too.
    std::thread::sleep(FOUND.saturating_sub(dead.elapsed()));
    assert_eq!(blind.losses(), 0, "the control found it: the test shows nothing");
    places.mend();
    let mended = Instant::now();
    for (listener, found) in lost {
        // One may be back before the command that mends the way has returned.
        let Some((back, _)) = listener.next(found, Status::is_online) else {
            panic!("{} does not come back: {:?}", listener.name, listener.said);
        };
        let took = back.saturating_duration_since(mended);
        println!("{}: back {:.1} s after the way", listener.name, took.as_secs_f32());
        // The relay finds its end of the dead ways by its own signs of life, and may offer a sender to one until then.
        while !gets_through(&places, &relay, &listener.name, LONG) {
            assert!(mended.elapsed() < LONG, "{}", listener.name);
        }
    }
}
