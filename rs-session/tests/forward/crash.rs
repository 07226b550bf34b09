//! A file holds each event exactly once, wherever the forwarding was broken off.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rs_session::forward::cursor::{CursorError, CursorFile};
use rs_session::forward::pump::Pump;
use rs_session::forward::sink::{Encoded, FileSink, Mark, Sink, SinkError};
use rs_session::forward::{Event, EventKind, Format};

use crate::node::World;

/// A sink that is broken off at the call with a given number: before, in the middle of, or behind the inner sink's work.
struct Breaking<S> {
    inner: S,
    calls: Arc<AtomicUsize>,
    at: usize,
    restores: bool,
}

#[async_trait]
impl<S: Sink> Sink for Breaking<S> {
    async fn prepare(&mut self, mark: Option<&Mark>) -> Result<Option<Mark>, SinkError> {
        if self.restores { self.inner.prepare(mark).await } else { Ok(mark.cloned()) }
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let broken = || Err(SinkError::Io(std::io::Error::other("broken off")));
        let step = || self.calls.fetch_add(1, Ordering::SeqCst) == self.at;
        if step() {
            return broken();
        }
        if step() {
            self.inner.deliver(&batch[..batch.len() / 2]).await?;
            return broken();
        }
        let mark = self.inner.deliver(batch).await?;
        if step() { broken() } else { Ok(mark) }
    }
}

fn world() -> World {
    let world = World::new();
    world.log(EventKind::AgentStarted, None);
    world.log(EventKind::ConsentGranted, None);
    for session in 1..=3 {
        world.whole(session, 60);
    }
    world.log(EventKind::ConsentRevoked, None);
    world
}

fn pump(world: &World, breaks_at: usize, restores: bool) -> (Pump, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = FileSink::new(world.path("events.jsonl"));
    let sink = Breaking { inner, calls: Arc::clone(&calls), at: breaks_at, restores };
    let cursor = CursorFile::open(&world.path("collector.cursor")).unwrap();
    let encode = Arc::new(|event: &Event| Format::Json.encode(event));
    (Pump::new(world.source(), Box::new(sink), encode, cursor, World::clock()), calls)
}

fn ids_in_file(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("events.jsonl")).unwrap();
    let id = |line| serde_json::from_str::<Event>(line).expect("a whole event on each line").id;
    text.lines().map(id).collect()
}

/// Breaks off at `at`, then starts anew and finishes. Returns whether the break happened.
async fn broken_off(world: &World, at: usize, restores: bool) -> bool {
    let (mut first, _) = pump(world, at, restores);
    let broke = first.drain().await.is_err();
    drop(first);
    let (mut second, _) = pump(world, usize::MAX, restores);
    second.drain().await.unwrap();
    broke
}

#[tokio::test]
async fn each_event_once_in_a_file_wherever_it_breaks() {
    let mut broken = 0;
    for at in 0.. {
        let world = world();
        let expected = world.expected();
        assert!(expected.len() > 180, "several batches");
        let broke = broken_off(&world, at, true).await;
        assert_eq!(ids_in_file(&world), expected, "broken off at call {at}");
        if !broke {
            break;
        }
        broken += 1;
    }
    assert!(broken >= 6, "at least two batches, each broken at three places: {broken}");
}

/// The control: without going back to the mark, events stand there twice.
#[tokio::test]
async fn control_without_the_mark_events_are_repeated() {
    let world = world();
    assert!(broken_off(&world, 2, false).await);
    let ids = ids_in_file(&world);
    let unique: BTreeSet<_> = ids.iter().collect();
    assert!(unique.len() < ids.len(), "the break leaves a batch in the file");
}

#[tokio::test]
async fn nobody_else_forwards_meanwhile() {
    let world = world();
    let (_first, _) = pump(&world, usize::MAX, true);
    let second = CursorFile::open(&world.path("collector.cursor"));
    assert!(matches!(second, Err(CursorError::InUse)));
}

#[tokio::test]
async fn a_rotated_file_is_made_anew_and_a_cut_one_gone_on_with() {
    let world = world();
    let (mut pump, _) = pump(&world, usize::MAX, true);
    pump.drain().await.unwrap();
    let before = ids_in_file(&world);
    fs::rename(world.path("events.jsonl"), world.path("events.jsonl.1")).unwrap();
    world.log(EventKind::AgentStopped, None);
    pump.drain().await.unwrap();
    assert_eq!(ids_in_file(&world).len(), 1, "only what is new");
    fs::write(world.path("events.jsonl"), b"").unwrap();
    world.log(EventKind::AgentStarted, None);
    pump.drain().await.unwrap();
    assert_eq!(ids_in_file(&world).len(), 1);
    assert!(before.len() > 180);
}
