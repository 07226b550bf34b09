//! Starting an operation, reading its output as it comes, and ending it for certain.
//!
//! [`WorkerExecutor`] runs each plan in processes of its own; [`InProcessExecutor`] runs it on a thread, for tests and
//! for library users who need no isolation. Output arrives in chunks with back-pressure: an operation whose output
//! nobody takes stands still.
//!
//! ```
//! use rs_session::operations::{executor::{Executor, InProcessExecutor}, Context};
//! use rs_consent::AccessLevel;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let plan = Context::new(AccessLevel::Diagnostics).plan_line("Get-Command Get-Date | select Name").unwrap();
//! let mut running = InProcessExecutor::default().start(plan).await.unwrap();
//! let mut text = String::new();
//! while let Some(chunk) = running.next().await {
//!     text += &chunk.text;
//! }
//! assert_eq!(text, "\nName\n----\nGet-Date\n\n");
//! assert!(running.finish().await.is_done());
//! # });
//! ```

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::plan::{Plan, PlanMismatch};

pub use super::wire::{Chunk, Finish, Killed, Status, Stream};

mod in_process;
mod power_shell;
mod process;
#[cfg(unix)]
mod root_part;

pub use self::in_process::InProcessExecutor;
pub use self::power_shell::{HELLO_TIME_MAX, InSession, PowerShell};
pub use self::process::WorkerExecutor;
#[cfg(unix)]
pub use self::root_part::{
    ANSWER_WAIT, Answered, Authority, LOOK_AGAIN, REQUEST_WAIT, RootPart, WRITE_WAIT, answer, withdraw,
};

/// Chunks that wait for a reader before the operation has to.
pub const CHUNKS_WAITING_MAX: usize = 8;

/// An operation that could not be started; nothing of it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The plan does not fit the catalog.
    #[error(transparent)]
    Mismatch(#[from] PlanMismatch),
    /// The plan is larger than [`PLAN_BYTES_MAX`](super::wire::PLAN_BYTES_MAX).
    #[error("the plan is too large for a worker; shorten the line")]
    TooLarge,
    /// The program is not named by an absolute path.
    #[error("the worker program {0} is not an absolute path; name it from the root")]
    NotAbsolute(PathBuf),
    /// The worker process could not be started.
    #[error(
        "the worker program {program} could not be started: {error}; check that it is there and may be run"
    )]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It needs root, and the root part did not take it.
    #[error("this needs root, and the root part did not do it ({0}); nothing was run")]
    RootPart(String),
    /// What holds the operation's processes together could not be set up.
    #[error("the operation's processes could not be held ({0}); it was not started")]
    NotHeld(std::io::Error),
}

/// Runs plans.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Starts a plan. It runs until it ends, is ended through the handle, or the handle is dropped.
    ///
    /// # Errors
    /// [`StartError`]; nothing ran then.
    ///
    /// # Cancel safety
    /// An operation that was started while this future is dropped is ended.
    async fn start(&self, plan: Plan) -> Result<Running, StartError>;
}

/// A running operation. Dropping it ends the operation.
#[derive(Debug)]
pub struct Running {
    chunks: mpsc::Receiver<Chunk>,
    finish: FinishSlot,
    control: Control,
}

#[derive(Debug)]
enum FinishSlot {
    Waiting(oneshot::Receiver<Finish>),
    Known(Finish),
}

/// Ends an operation from anywhere; cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    orders: mpsc::Sender<Order>,
}

/// An order to end, with the place where the result is wanted.
#[derive(Debug)]
struct Order {
    status: Status,
    reply: Option<oneshot::Sender<Killed>>,
}

impl Running {
    fn new() -> (Self, Driver) {
        let (chunk_sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        let (finish_sender, finish) = oneshot::channel();
        let (order_sender, orders) = mpsc::channel(4);
        let control = Control { orders: order_sender };
        let running = Self { chunks, finish: FinishSlot::Waiting(finish), control };
        (running, Driver { chunks: chunk_sender, finish: finish_sender, orders })
    }

    /// The next piece of output; `None` when all of it was given.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Chunk> {
        self.chunks.recv().await
    }

    /// How the operation ended; waits for it. Output that was not taken is dropped.
    ///
    /// # Cancel safety
    /// May be called again if the future is dropped.
    pub async fn finish(&mut self) -> Finish {
        while self.chunks.recv().await.is_some() {}
        if let FinishSlot::Waiting(finish) = &mut self.finish {
            let known =
                finish.await.unwrap_or_else(|_| Finish::new(Status::Fault, "the operation's driver is gone"));
            self.finish = FinishSlot::Known(known);
        }
        match &self.finish {
            FinishSlot::Known(finish) => finish.clone(),
            FinishSlot::Waiting(_) => Finish::new(Status::Fault, "the operation's driver is gone"),
        }
    }

    /// A handle that ends the operation.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// As [`Control::interrupt`].
    pub fn interrupt(&self) {
        self.control.interrupt();
    }

    /// As [`Control::kill`].
    pub async fn kill(&self) -> Killed {
        self.control.kill().await
    }
}

impl Control {
    /// Ends the operation with [`Status::Interrupted`]; returns at once. Does nothing if it has ended.
    pub fn interrupt(&self) {
        // A full queue means that an order to end waits there already.
        let _ = self.orders.try_send(Order { status: Status::Interrupted, reply: None });
    }

    /// Ends the operation and everything it started with [`Status::Killed`], and returns when nothing of it is left.
    /// An operation that has ended already gives a complete kill of no process.
    ///
    /// # Cancel safety
    /// The kill goes on if the future is dropped.
    pub async fn kill(&self) -> Killed {
        let (reply, result) = oneshot::channel();
        let ended = Killed { complete: true, ..Killed::default() };
        match self.orders.send(Order { status: Status::Killed, reply: Some(reply) }).await {
            Ok(()) => result.await.unwrap_or(ended),
            Err(_) => ended,
        }
    }
}

impl Finish {
    /// True if the operation ran to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.status == Status::Done
    }
}

/// The executor's side of a running operation.
#[derive(Debug)]
struct Driver {
    chunks: mpsc::Sender<Chunk>,
    finish: oneshot::Sender<Finish>,
    orders: mpsc::Receiver<Order>,
}
