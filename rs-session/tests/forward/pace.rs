//! How much a sink takes at once and how often, and what it is not told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rs_session::forward::cursor::CursorFile;
use rs_session::forward::pump::{Pump, Step};
use rs_session::forward::sink::{Encoded, Mark, Pace, Sink, SinkError};
use rs_session::forward::{Event, EventKind, Format};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::node::World;

const PACE: Pace = Pace { most: 10, every: Duration::from_secs(60) };

/// Tells when how many came.
struct Paced(mpsc::UnboundedSender<(Instant, usize)>);

#[async_trait]
impl Sink for Paced {
    fn pace(&self) -> Pace {
        PACE
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        self.0.send((Instant::now(), batch.len())).unwrap();
        Ok(None)
    }
}

/// Keeps what came.
struct Kept(Arc<Mutex<Vec<EventKind>>>);

#[async_trait]
impl Sink for Kept {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        self.0.lock().unwrap().extend(batch.iter().map(|one| one.event.kind));
        Ok(None)
    }
}

fn pump(world: &World, sink: Box<dyn Sink>) -> Pump {
    let cursor = CursorFile::open(&world.path("collector.cursor")).unwrap();
    let encode = Arc::new(|event: &Event| Format::Json.encode(event));
    Pump::new(world.source(), sink, encode, cursor, World::clock())
}

#[tokio::test(start_paused = true)]
async fn u10_the_first_event_comes_at_once_and_a_burst_in_batches_with_pauses() {
    let world = World::new();
    world.log(EventKind::ConsentGranted, None);
    let (send, mut came) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let begin = Instant::now();
    let running = tokio::spawn(pump(&world, Box::new(Paced(send))).run(Arc::new(Notify::new()), stopped));
    let (first, count) = came.recv().await.unwrap();
    assert_eq!((count, first - begin < Duration::from_secs(1)), (1, true), "nothing is held back");
    for _ in 0..25 {
        world.log(EventKind::EngineerRefused, None);
    }
    let mut last = first;
    for expected in [10, 10, 5] {
        let (at, count) = came.recv().await.unwrap();
        assert_eq!(count, expected);
        assert!(at - last >= PACE.every, "{:?} is sooner than {:?}", at - last, PACE.every);
        last = at;
    }
    stop.send_replace(true);
    running.await.unwrap();
}

#[tokio::test]
async fn u10_what_a_collector_is_not_told_is_passed_over_and_not_looked_at_again() {
    let world = World::new();
    world.log(EventKind::AgentStarted, None);
    world.whole(1, 150);
    world.log(EventKind::ConsentRevoked, None);
    let kept: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let mut pump = pump(&world, Box::new(Kept(Arc::clone(&kept)))).only(Arc::new(|event: &Event| {
        matches!(event.kind, EventKind::ConsentRevoked | EventKind::SessionEnded)
    }));
    assert_eq!(pump.drain().await.unwrap(), 2);
    assert_eq!(*kept.lock().unwrap(), [EventKind::ConsentRevoked, EventKind::SessionEnded]);
    assert_eq!(pump.step().await.unwrap(), Step::Idle);
    world.log(EventKind::AgentStopped, None);
    assert_eq!(pump.step().await.unwrap(), Step::PassedOver);
    assert_eq!(pump.step().await.unwrap(), Step::Idle);
}
