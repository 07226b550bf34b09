//! Many senders, many listeners: nobody is forgotten, nobody is favoured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Relay, pattern, round_trip};

const LISTENERS: usize = 25;
const SENDERS: usize = 200;

/// How far counts are from equal ones. With 24 degrees of freedom a fair relay stays below this in all but one of a
/// million runs.
const CHI_SQUARE_MAX: f64 = 75.0;

fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

#[test]
fn r16_control_an_unfair_relay_is_found() {
    // Two rounds of 200 senders; one listener gets a third of them, or half of the listeners get none.
    let mut favoured = [11; LISTENERS];
    favoured[0] = 136;
    assert!(chi_square(&favoured) > CHI_SQUARE_MAX);
    let halves: Vec<_> = (0..LISTENERS).map(|index| if index % 2 == 0 { 31 } else { 0 }).collect();
    assert!(chi_square(&halves) > CHI_SQUARE_MAX);
    assert!(chi_square(&[16; LISTENERS]) < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_200_parallel_senders_over_25_listeners() {
    let relay = Relay::start().await;
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..LISTENERS).map(|_| AtomicUsize::new(0)).collect());
    for index in 0..LISTENERS {
        let (mut listener, counts) = (relay.listener("hyco").await, Arc::clone(&counts));
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                counts[index].fetch_add(1, Ordering::Relaxed);
                tokio::spawn(crate::support::echo(incoming));
            }
        });
    }
    for round in 0..2 {
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 0..SENDERS {
            let sender = relay.sender("hyco");
            tasks.spawn(async move {
                let mut stream =
                    sender.connect().await.unwrap_or_else(|error| panic!("{round}/{seed}: {error}"));
                let sent = pattern(2000 + seed, seed);
                assert!(round_trip(&mut stream, &sent).await == sent, "{round}/{seed}");
            });
        }
        tokio::time::timeout(Duration::from_secs(120), tasks.join_all()).await.expect("nothing is lost");
    }
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 2 * SENDERS);
    assert!(chi_square(&counts) < CHI_SQUARE_MAX, "{counts:?}: {}", chi_square(&counts));
}
