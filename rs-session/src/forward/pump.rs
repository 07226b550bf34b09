//! Source to sink, for ever.
//!
//! A pump reads files that are there anyway and holds one batch in memory: a collector that is slow or dead holds up
//! nothing but itself, and finds everything when it is back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rs_consent::clock::Clock;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::cursor::{Cursor, CursorError, CursorFile};
use super::event::Event;
use super::sink::{Encoded, Sink, SinkError};
use super::source::Source;

/// Most events of a batch.
pub const BATCH_MAX: usize = 100;
/// How often the files are looked at when nobody says that something happened.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Shortest and longest pause after a failure; it doubles from one to the next, and a random part of it is waited.
pub const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How a pump gets on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many events were delivered, ever.
    pub delivered: u64,
    /// When the last was.
    pub delivered_at: Option<DateTime<Utc>>,
    /// What keeps the next from being delivered; `None` when nothing does.
    pub trouble: Option<String>,
}

/// Why a pump stands still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The node's own files cannot be read.
    #[error("the node's files cannot be read: {0}")]
    Source(#[from] std::io::Error),
    /// The collector does not take the events.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The cursor cannot be kept.
    #[error(transparent)]
    Cursor(#[from] CursorError),
}

/// How events are written for the sink.
pub type Encode = Arc<dyn Fn(&Event) -> Vec<u8> + Send + Sync>;

/// Which events a collector is told.
pub type Wanted = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// What a step of a pump came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was nothing new.
    Idle,
    /// What was new is not for this collector.
    PassedOver,
    /// So many events were delivered.
    Delivered(usize),
}

/// Forwards one node's events to one collector.
pub struct Pump {
    source: Option<Source>,
    sink: Box<dyn Sink>,
    encode: Encode,
    wanted: Option<Wanted>,
    cursor: CursorFile,
    clock: Arc<dyn Clock>,
    progress: Arc<Mutex<Progress>>,
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl Pump {
    /// A pump that goes on where `cursor` says.
    #[must_use]
    pub fn new(
        source: Source,
        sink: Box<dyn Sink>,
        encode: Encode,
        cursor: CursorFile,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let known = cursor.cursor();
        let progress =
            Progress { delivered: known.delivered, delivered_at: known.delivered_at, trouble: None };
        let progress = Arc::new(Mutex::new(progress));
        Self { source: Some(source), sink, encode, wanted: None, cursor, clock, progress }
    }

    /// Delivers only the events that `wanted` is true for; the others are passed over.
    #[must_use]
    pub fn only(self, wanted: Wanted) -> Self {
        Self { wanted: Some(wanted), ..self }
    }

    /// How it gets on, also while it runs.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    /// Delivers one batch and makes that durable. Nothing is lost by an error: the same events come again.
    ///
    /// # Errors
    /// [`PumpError`].
    ///
    /// # Cancel safety
    /// Events that were being delivered may be delivered again.
    pub async fn step(&mut self) -> Result<Step, PumpError> {
        let known = self.cursor.cursor().clone();
        let (mut events, position) = self.read(known.position.clone(), self.sink.pace().most).await?;
        if let Some(wanted) = &self.wanted {
            events.retain(|event| wanted(event));
        }
        if events.is_empty() {
            if position == known.position {
                return Ok(Step::Idle);
            }
            self.cursor.store(Cursor { position, ..known })?;
            return Ok(Step::PassedOver);
        }
        let encoded = |event: Event| Encoded { bytes: (self.encode)(&event), event };
        let batch: Vec<_> = events.into_iter().map(encoded).collect();
        let begin = self.sink.prepare(known.mark.as_ref()).await?;
        if begin != known.mark {
            // Should the delivery be broken off, this says what of it has to go.
            self.cursor.store(Cursor { mark: begin, ..known.clone() })?;
        }
        let mark = self.sink.deliver(&batch).await?;
        let delivered = known.delivered + batch.len() as u64;
        let at = self.clock.now().wall;
        self.cursor.store(Cursor {
            position,
            mark,
            delivered,
            delivered_at: Some(at),
            version: known.version,
        })?;
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) =
            Progress { delivered, delivered_at: Some(at), trouble: None };
        Ok(Step::Delivered(batch.len()))
    }

    /// Reads on a thread that may wait for the disk.
    async fn read(
        &mut self,
        position: super::source::Position,
        most: usize,
    ) -> Result<(Vec<Event>, super::source::Position), PumpError> {
        let Some(mut source) = self.source.take() else {
            return Err(std::io::Error::other("an earlier reading was broken off").into());
        };
        let (source, result) = tokio::task::spawn_blocking(move || {
            let result = source.next(&position, most);
            (source, result)
        })
        .await
        .map_err(std::io::Error::other)?;
        self.source = Some(source);
        Ok(result?)
    }

    /// Delivers until nothing is left, without a pause between deliveries, and returns how many events that were.
    ///
    /// # Errors
    /// The first [`PumpError`].
    pub async fn drain(&mut self) -> Result<u64, PumpError> {
        let mut all = 0;
        loop {
            match self.step().await? {
                Step::Idle => return Ok(all),
                Step::PassedOver => {}
                Step::Delivered(some) => all += some as u64,
            }
        }
    }

    /// Delivers until `stop` is true. `wake` says that something happened.
    pub async fn run(mut self, wake: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSES.0;
        loop {
            let stopped = async {
                // A sender that is gone means stop too.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let pause_now = tokio::select! {
                () = stopped => return,
                outcome = self.step() => match outcome {
                    Ok(Step::Idle) => { pause = PAUSES.0; None }
                    Ok(Step::PassedOver) => continue,
                    Ok(Step::Delivered(_)) => { pause = PAUSES.0; Some(self.sink.pace().every) }
                    Err(error) => {
                        self.progress.lock().unwrap_or_else(PoisonError::into_inner).trouble = Some(error.to_string());
                        let now = jittered(pause);
                        pause = (pause * 2).min(PAUSES.1);
                        Some(now)
                    }
                },
            };
            let stopped = async {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let wait = async {
                match pause_now {
                    Some(pause) => sleep(pause).await,
                    None => {
                        let _woken_or_time_to_look = timeout(LOOK_EVERY, wake.notified()).await;
                    }
                }
            };
            tokio::select! { () = stopped => return, () = wait => {} }
        }
    }
}

/// A random part of `pause`, not less than a tenth of it: many nodes do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the whole pause is waited.
    let part = getrandom::fill(&mut byte).map_or(256, |()| u32::from(byte[0]) + 1);
    (pause * part / 256).max(pause / 10)
}
