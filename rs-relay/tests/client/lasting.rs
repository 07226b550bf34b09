//! Hours and days in simulated time, over a network in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rs_relay::BoxedStream;
use rs_relay::client::{
    Audience, Connector, Dialer, HybridConnection, KeepAlive, Listener, ReadyToken, SasKeyProvider, Sender,
    Status, StatusWatch, Token, TokenProvider, TokenProviderError,
};
use rs_relay::proto::Authority;
use tokio::time::Instant;

use crate::sim::{Away, Sim, SimDialer};
use crate::support::{LISTEN_KEY, SEND_KEY, echo, round_trip};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A listener that echoes. Its relay sends nothing by itself.
fn echoing(sim: &Sim, keep_alive: Option<KeepAlive>) -> StatusWatch {
    echoing_by(sim, keep_alive, sim.connector())
}

fn echoing_by(sim: &Sim, keep_alive: Option<KeepAlive>, connector: Connector) -> StatusWatch {
    let mut builder =
        Listener::builder(sim.connection("listen", LISTEN_KEY), connector).clock(sim.clock.clone());
    if let Some(keep_alive) = keep_alive {
        builder = builder.keep_alive(keep_alive);
    }
    let mut listener = builder.start();
    let status = listener.status();
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            tokio::spawn(echo(incoming));
        }
    });
    status
}

async fn gets_through(sim: &Sim) -> bool {
    let sender = Sender::new(sim.connection("send", SEND_KEY), sim.connector());
    match sender.connect().await {
        Ok(mut stream) => round_trip(&mut stream, b"still there?").await == b"still there?",
        Err(_) => false,
    }
}

/// Times at which a listener left the state online, until `wait` is over.
async fn drops(status: &mut StatusWatch, wait: Duration) -> Vec<Instant> {
    let mut times = Vec::new();
    let _ = tokio::time::timeout(wait, async {
        while let Some(status) = status.changed().await {
            if matches!(status, Status::Offline { .. }) {
                times.push(Instant::now());
            }
        }
    })
    .await;
    times
}

fn quiet_relay(forgets_after: Option<Duration>) -> Sim {
    Sim::start(forgets_after, |builder| builder.ping_interval(DAY))
}

#[tokio::test(start_paused = true)]
async fn sec47_idle_for_10_minutes_behind_a_device_that_forgets_after_4() {
    for keep_alive in [None, Some(KeepAlive::Pong(Duration::from_secs(20)))] {
        let sim = quiet_relay(Some(4 * MINUTE));
        let mut status = echoing(&sim, keep_alive);
        assert!(status.online().await);
        assert!(drops(&mut status, 10 * MINUTE).await.is_empty(), "{keep_alive:?}");
        assert!(gets_through(&sim).await, "{keep_alive:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sec47_control_without_signs_of_life_the_listener_vanishes() {
    let sim = quiet_relay(Some(4 * MINUTE));
    let mut status = echoing(&sim, Some(KeepAlive::Pong(DAY)));
    assert!(status.online().await);
    assert!(drops(&mut status, 10 * MINUTE).await.is_empty(), "it does not even notice");
    assert!(!gets_through(&sim).await);
}

#[tokio::test(start_paused = true)]
async fn sec47_a_way_that_is_lost_silently_is_found_and_replaced_within_45_seconds() {
    // The device forgets between two Pings.
    let sim = quiet_relay(Some(Duration::from_secs(10)));
    let mut status = echoing(&sim, None);
    assert!(status.online().await);
    let found = loop {
        match status.changed().await.unwrap() {
            Status::Offline { .. } => break Instant::now(),
            _ => continue,
        }
    };
    let forgot = sim.net.forgot.lock().unwrap().unwrap();
    assert!(found - forgot <= Duration::from_secs(45), "found after {:?}", found - forgot);
    assert!(status.online().await);
    let back = Instant::now() - forgot;
    assert!(back <= Duration::from_secs(45), "back after {back:?}");
}

/// How long a listener takes to be back when its relay is, after an hour away in one of two manners.
async fn back_after_an_hour(
    away: Away,
    round: u64,
    dialer: impl FnOnce(SimDialer) -> Arc<dyn Dialer>,
) -> Duration {
    let sim = Sim::start(None, |builder| builder);
    let dialer = dialer(SimDialer(Arc::clone(&sim.net)));
    let mut status = echoing_by(&sim, None, sim.connector_by(dialer));
    assert!(status.online().await);
    sim.net.away.send_replace(Away::Refusing);
    while status.now().is_online() {
        status.changed().await;
    }
    sim.net.away.send_replace(away);
    // Another moment of the pauses in each round.
    tokio::time::sleep(HOUR + Duration::from_millis(431 * round)).await;
    sim.net.away.send_replace(Away::No);
    let since = Instant::now();
    assert!(status.online().await);
    let dials = sim.net.dials.lock().unwrap().len();
    assert!(dials < 2 * 3600, "no storm: {dials} dials in an hour");
    since.elapsed()
}

#[tokio::test(start_paused = true)]
async fn sec47_after_an_hour_away_the_listener_is_back_within_2_seconds() {
    for round in 0..4 {
        for away in [Away::Refusing, Away::BlackHole] {
            let took = back_after_an_hour(away, round, |dialer| Arc::new(dialer)).await;
            assert!(took <= Duration::from_secs(2), "{away:?}: back after {took:?}");
        }
    }
}

/// No dial begins beside another one.
#[derive(Debug)]
struct OneByOne(SimDialer, tokio::sync::Mutex<()>);

#[async_trait]
impl Dialer for OneByOne {
    async fn dial(&self, authority: &Authority) -> std::io::Result<BoxedStream> {
        let _only = self.1.lock().await;
        self.0.dial(authority).await
    }
}

#[tokio::test(start_paused = true)]
async fn sec47_control_without_fresh_dials_a_packet_that_was_lost_is_waited_for() {
    // A patient dial takes 20 s, so few rounds end at a lucky moment.
    for round in 0..8 {
        let one_by_one = |dialer| Arc::new(OneByOne(dialer, Default::default())) as Arc<dyn Dialer>;
        if back_after_an_hour(Away::BlackHole, round, one_by_one).await > Duration::from_secs(2) {
            return;
        }
    }
    panic!("back within 2 s each time: the test shows nothing");
}

#[tokio::test(start_paused = true)]
async fn sec47_control_with_the_pauses_of_the_official_packages_the_return_is_seen_late() {
    let sim = Sim::start(None, |builder| builder);
    let dialer = SimDialer(Arc::clone(&sim.net));
    sim.net.away.send_replace(Away::Refusing);
    let coming_back = tokio::spawn(async move {
        let mut pauses = [0, 1, 2, 5, 10].into_iter();
        while dialer.dial(&"relay.example.test".parse().unwrap()).await.is_err() {
            tokio::time::sleep(Duration::from_secs(pauses.next().unwrap_or(30))).await;
        }
        Instant::now()
    });
    tokio::time::sleep(HOUR).await;
    let since = Instant::now();
    sim.net.away.send_replace(Away::No);
    assert!(coming_back.await.unwrap() - since > Duration::from_secs(2));
}

/// The longest pause of a listener that loses its relay again and again, each time after it was online for so long.
async fn longest_pause(online: Duration) -> Duration {
    let sim = Sim::start(None, |builder| builder);
    let mut status = echoing(&sim, None);
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        assert!(status.online().await);
        tokio::time::sleep(online).await;
        sim.net.away.send_replace(Away::Refusing);
        let pause = loop {
            match status.now() {
                Status::Offline { pause, .. } => break pause,
                _ => status.changed().await.unwrap(),
            };
        };
        sim.net.away.send_replace(Away::No);
        longest = longest.max(pause);
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn r09_pauses_begin_again_after_a_channel_that_held() {
    let first = rs_relay::client::backoff::PAUSE_FIRST;
    let longest = longest_pause(Duration::from_secs(6)).await;
    assert!(longest <= first, "{longest:?}");
    // The control: channels that hold for a second only are failures in a row.
    let longest = longest_pause(Duration::from_secs(1)).await;
    assert!(longest > first, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn r07_a_day_of_renewals_drops_nobody() {
    let sim = Sim::start(None, |builder| builder);
    let mut statuses: Vec<_> = (0..5).map(|_| echoing(&sim, None)).collect();
    for status in &mut statuses {
        assert!(status.online().await);
    }
    let days = statuses.iter_mut().map(|status| drops(status, DAY));
    let dropped = futures_util::future::join_all(days).await;
    assert!(dropped.iter().all(Vec::is_empty), "{dropped:?}");
    assert!(gets_through(&sim).await);
}

#[tokio::test(start_paused = true)]
async fn r07_control_a_token_that_is_not_renewed_ends_the_channel() {
    let sim = Sim::start(None, |builder| builder);
    let connection = sim.connection("listen", LISTEN_KEY);
    let audience = Audience { authority: connection.authority(), entity: connection.entity() };
    let tokens =
        SasKeyProvider::new("listen".parse().unwrap(), LISTEN_KEY.parse().unwrap()).clock(sim.clock.clone());
    let token = tokens.token(&audience).await.unwrap().text;
    let connection = HybridConnection::new(sim.authority.clone(), "hyco".parse().unwrap())
        .with_tokens(Arc::new(ReadyToken::new(token)));
    let listener = Listener::builder(connection, sim.connector()).clock(sim.clock.clone()).start();
    let mut status = listener.status();
    assert!(status.online().await);
    let begun = Instant::now();
    let dropped = drops(&mut status, HOUR + 2 * MINUTE).await;
    assert!(dropped.first().is_some_and(|at| *at - begun >= HOUR), "{dropped:?}");
    assert!(!status.now().is_online());
}

/// Keeps the first token for ever, unless told that it was refused.
#[derive(Debug)]
struct Keeping {
    source: SasKeyProvider,
    kept: tokio::sync::Mutex<Option<Token>>,
    listens: bool,
}

#[async_trait]
impl TokenProvider for Keeping {
    async fn token(&self, audience: &Audience<'_>) -> Result<Token, TokenProviderError> {
        let mut kept = self.kept.lock().await;
        if kept.is_none() {
            *kept = Some(self.source.token(audience).await?);
        }
        Ok(kept.clone().unwrap())
    }

    fn refused(&self) {
        if self.listens {
            *self.kept.try_lock().unwrap() = None;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_keeps_tokens_is_told_when_one_is_refused() {
    for listens in [true, false] {
        let sim = Sim::start(None, |builder| builder);
        let source = SasKeyProvider::new("listen".parse().unwrap(), LISTEN_KEY.parse().unwrap());
        let tokens = Keeping { source: source.clock(sim.clock.clone()), kept: Default::default(), listens };
        let connection = HybridConnection::new(sim.authority.clone(), "hyco".parse().unwrap())
            .with_tokens(Arc::new(tokens));
        let listener = Listener::builder(connection, sim.connector()).clock(sim.clock.clone()).start();
        let mut status = listener.status();
        assert!(status.online().await);
        // The token ends after an hour, and 30 s later the relay closes with 1008.
        assert!(!drops(&mut status, HOUR + 2 * MINUTE).await.is_empty());
        assert_eq!(status.now().is_online(), listens, "back with a fresh token at once, or never");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hybrid_connection_that_does_not_exist_is_asked_for_slowly() {
    let sim = Sim::start(None, rs_relay::server::RelayServerBuilder::declared_entities_only);
    let listener = Listener::builder(sim.connection("listen", LISTEN_KEY), sim.connector()).start();
    tokio::time::sleep(HOUR).await;
    let dials = sim.net.dials.lock().unwrap().len();
    assert!((60..200).contains(&dials), "{dials} attempts in an hour");
    let Status::Offline { cause, .. } = listener.status().now() else { return };
    assert!(cause.to_string().contains("404"), "{cause}");
}
