//! Operations on a thread of this process: for tests and for users without need of isolation.

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Chunk, Driver, Executor, Finish, Killed, Running, StartError, Status, Stream};
use crate::operations::pipeline::Stop;
use crate::operations::plan::Plan;
use crate::operations::providers::Registry;
use crate::operations::run::{ChunkWriter, execute};

/// Runs plans on threads of this process. An operation ends at its next output; one that gives none is left behind,
/// so this executor is not for sessions with strangers.
#[derive(Clone, Debug, Default)]
pub struct InProcessExecutor {
    registry: Registry,
}

impl InProcessExecutor {
    /// An executor with a chosen set of providers.
    #[must_use]
    pub const fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Executor for InProcessExecutor {
    async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        plan.check()?;
        let (running, driver) = Running::new();
        tokio::spawn(drive(driver, plan, self.registry.clone()));
        Ok(running)
    }
}

async fn drive(driver: Driver, plan: Plan, registry: Registry) {
    let Driver { chunks, finish, mut orders } = driver;
    let start = Instant::now();
    let stopped = CancellationToken::new();
    let writer = ChannelWriter::new(chunks.clone(), stopped.clone());
    let seconds = std::time::Duration::from_secs(u64::from(plan.limits.seconds));
    let mut work = tokio::task::spawn_blocking(move || execute(&plan, &registry, writer));
    let mut end = tokio::select! {
        result = &mut work => result.unwrap_or_else(|_| Finish::new(Status::Fault, "the operation panicked")),
        order = orders.recv() => {
            stopped.cancel();
            let killed = Killed { processes: 0, micros: micros(start), complete: true };
            let mut end = Finish::new(order.as_ref().map_or(Status::Killed, |order| order.status), "ended from outside");
            if let Some(reply) = order.and_then(|order| order.reply) {
                let _ = reply.send(killed);
            }
            end.killed = Some(killed);
            end
        }
        () = chunks.closed() => {
            stopped.cancel();
            Finish::new(Status::Killed, "nobody reads the output any more")
        }
        () = tokio::time::sleep(seconds) => {
            stopped.cancel();
            Finish::new(Status::TimeLimit, "the time limit is reached")
        }
    };
    end.micros = micros(start);
    drop(chunks);
    // The reader may be gone.
    let _ = finish.send(end);
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Gives chunks from a thread that may block to an operation's reader.
pub(super) struct ChannelWriter {
    chunks: mpsc::Sender<Chunk>,
    stopped: CancellationToken,
    handle: tokio::runtime::Handle,
}

impl ChannelWriter {
    /// A writer that gives up when `stopped` is cancelled; made within a runtime.
    pub(super) fn new(chunks: mpsc::Sender<Chunk>, stopped: CancellationToken) -> Self {
        Self { chunks, stopped, handle: tokio::runtime::Handle::current() }
    }
}

impl ChunkWriter for ChannelWriter {
    fn write(&mut self, stream: Stream, text: &str) -> Result<(), Stop> {
        let chunk = Chunk { stream, text: text.to_owned() };
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => Err(Stop::Closed),
                sent = self.chunks.send(chunk) => sent.map_err(|_| Stop::Closed),
            }
        })
    }
}
