//! The relay is killed, stopped and told to end at random moments under load.
//!
//! `TRIALS` says how often (3 when it is not set), `SEED` where to begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rs_relay::client::{Sender, StatusWatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::process::{LONG, Relay, soon};

const LISTENERS: usize = 4;
const SENDERS: usize = 8;

/// How soon the listeners are back once the relay is.
const BACK: Duration = Duration::from_secs(5);

/// How soon every session that was cut knows it.
const NOTICED: Duration = Duration::from_secs(15);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Steps of a small generator, so that a seed says what happened.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What sessions came to.
#[derive(Default)]
struct Tally {
    whole: AtomicUsize,
    ended: AtomicUsize,
}

/// Connects, sends and reads back again and again. Each session is whole, or ends with an error; none hangs.
async fn load(sender: Sender, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let session = async {
            let mut stream = sender.connect().await.map_err(|error| error.to_string())?;
            let (mut sent, mut back) = (vec![7_u8; 20_000], vec![0_u8; 20_000]);
            for round in 0..20 {
                sent.fill(round);
                let io = async {
                    stream.write_all(&sent).await?;
                    stream.flush().await?;
                    stream.read_exact(&mut back).await
                };
                io.await.map_err(|error| error.to_string())?;
                assert_eq!(sent, back, "bytes were changed");
            }
            stream.shutdown().await.map_err(|error| error.to_string())?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.map_err(|error| error.to_string())?;
            assert!(rest.is_empty(), "more came back than was sent");
            Ok::<_, String>(())
        };
        match tokio::time::timeout(LONG, session).await.expect("a session hangs") {
            Ok(()) => tally.whole.fetch_add(1, Ordering::Relaxed),
            Err(cause) => {
                assert!(!cause.is_empty(), "an end without a cause");
                tokio::time::sleep(Duration::from_millis(20)).await;
                tally.ended.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

async fn all_online(listeners: &mut [StatusWatch]) {
    for listener in listeners {
        assert!(listener.online().await, "a listener has given up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec47_sec48_killed_stopped_and_ended_at_random_points_under_load() {
    let (trials, seed) = (number("TRIALS", 3), number("SEED", u64::from(std::process::id())));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut relay = Relay::start();
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(relay.echo("hyco").await);
    }
    let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let loads: Vec<_> = (0..SENDERS)
        .map(|_| tokio::spawn(load(relay.sender("hyco"), Arc::clone(&tally), Arc::clone(&stop))))
        .collect();
    let mut slowest = Duration::ZERO;
    for trial in 0..trials {
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(800))).await;
        let signal = ["-KILL", "-TERM", "-STOP"][(trial % 3) as usize];
        relay.signal(signal);
        if signal == "-STOP" {
            // Longer than what clients bear in silence here (1.5 s), or shorter.
            tokio::time::sleep(Duration::from_millis(100 + dice.roll(4_000))).await;
            relay.signal("-CONT");
        } else {
            let gone = tokio::task::spawn_blocking(move || {
                let status = relay.wait();
                (relay, status)
            });
            let (stopped, status) = soon(gone).await.expect("waited");
            if signal == "-TERM" {
                assert!(status.success(), "{status}");
            }
            relay = tokio::task::spawn_blocking(move || stopped.again()).await.expect("started");
        }
        let begun = Instant::now();
        // Somebody who looks at the state before the loss is noticed sees "online": the way through is what counts.
        let back = tokio::time::timeout(BACK + NOTICED, async {
            all_online(&mut listeners).await;
            while sessions_in_a_row(&relay).await < 2 * LISTENERS {}
        });
        back.await
            .unwrap_or_else(|_| panic!("trial {trial}, {signal}, seed {seed}: the way through is not back"));
        slowest = slowest.max(begun.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        soon(load).await.expect("no session hangs, none is wrong");
    }
    let (whole, ended) = (tally.whole.load(Ordering::Relaxed), tally.ended.load(Ordering::Relaxed));
    println!("trials={trials} lost=0 whole={whole} ended={ended} slowest_return_ms={}", slowest.as_millis());
    assert!(whole > 0, "the load did nothing");
}

/// How many sessions in a row go through, up to twice the number of listeners.
async fn sessions_in_a_row(relay: &Relay) -> usize {
    let sender = relay.sender("hyco");
    for done in 0..2 * LISTENERS {
        let session = async {
            let mut stream = sender.connect().await.ok()?;
            stream.write_all(b"?").await.ok()?;
            stream.flush().await.ok()?;
            stream.read_u8().await.ok()
        };
        if !matches!(tokio::time::timeout(Duration::from_secs(5), session).await, Ok(Some(b'?'))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return done;
        }
    }
    2 * LISTENERS
}
