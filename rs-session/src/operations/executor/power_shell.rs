//! Plans that PowerShell answers: one endpoint process per session, one call at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::in_process::ChannelWriter;
use super::{Driver, Executor, Finish, Killed, Running, StartError, Status};
use crate::operations::catalog::{Availability, Catalog, Machine};
use crate::operations::plan::Plan;
use crate::operations::powershell::EndpointProgram;
use crate::operations::powershell::link::{Answer, Killer, Link};
use crate::operations::providers::ProviderError;
use crate::operations::run::{ChunkWriter, execute_with};

/// How long an endpoint may take from its start to its first word, if nothing else is set.
pub const HELLO_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs plans at PowerShell endpoints. Each session has its own endpoint process, started by its first call, replaced
/// when a call is ended from outside or the session's rights change, and killed as a tree with the session.
#[derive(Clone, Debug)]
pub struct PowerShell {
    program: Arc<EndpointProgram>,
    hello_time: Duration,
    sessions: Arc<Mutex<HashMap<Uuid, Arc<Slot>>>>,
}

/// What a session holds.
#[derive(Debug, Default)]
struct Slot {
    /// The endpoint while no call uses it.
    idle: Mutex<Option<Link>>,
    /// The endpoint's processes, in use or not.
    owned: Mutex<Owned>,
    /// One call at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
enum Owned {
    #[default]
    Nothing,
    Endpoint(Killer),
    /// The session is over: no endpoint is started any more.
    Over,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PowerShell {
    /// Endpoints that `program` runs.
    #[must_use]
    pub fn new(program: EndpointProgram) -> Self {
        Self { program: Arc::new(program), hello_time: HELLO_TIME_MAX, sessions: Arc::default() }
    }

    /// The same with another time for the first word.
    #[must_use]
    pub const fn with_hello_time(mut self, time: Duration) -> Self {
        self.hello_time = time;
        self
    }

    /// Starts a plan in a session. It waits for the session's earlier calls.
    ///
    /// # Errors
    /// [`StartError::Mismatch`] for a plan that does not fit the catalog; nothing ran then. What goes wrong with the
    /// endpoint is the operation's own failure.
    pub fn start(&self, session: Uuid, plan: Plan) -> Result<Running, StartError> {
        plan.check()?;
        let slot = Arc::clone(lock(&self.sessions).entry(session).or_default());
        let (running, driver) = Running::new();
        tokio::spawn(Call { slot, plan, program: Arc::clone(&self.program) }.drive(driver, self.hello_time));
        Ok(running)
    }

    /// What runs the plans of a session: PowerShell those that only it answers on `machine`, `otherwise` all others.
    #[must_use]
    pub fn in_session(&self, session: Uuid, otherwise: Arc<dyn Executor>, machine: Machine) -> InSession {
        InSession { power_shell: self.clone(), session, otherwise, machine }
    }

    /// Ends a session's endpoint with everything below it and returns when nothing is left. A session without one gives
    /// a complete kill of no process.
    pub async fn end(&self, session: Uuid) -> Killed {
        let ended = Killed { complete: true, ..Killed::default() };
        let Some(slot) = lock(&self.sessions).remove(&session) else { return ended };
        let killed = tokio::task::spawn_blocking(move || slot.kill(Owned::Over)).await;
        killed.unwrap_or(Killed { complete: false, ..ended })
    }
}

/// One session's executor; see [`PowerShell::in_session`].
#[derive(Clone, Debug)]
pub struct InSession {
    power_shell: PowerShell,
    session: Uuid,
    otherwise: Arc<dyn Executor>,
    machine: Machine,
}

#[async_trait]
impl Executor for InSession {
    async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        let entry = Catalog::of(plan.variant).resolve(plan.command());
        match entry.map(|entry| entry.availability(self.machine)) {
            Some(Availability::PowerShell) => self.power_shell.start(self.session, plan),
            _ => self.otherwise.start(plan).await,
        }
    }
}

impl Slot {
    /// Kills whatever endpoint there is; `next` takes its place.
    fn kill(&self, next: Owned) -> Killed {
        let owned = {
            let mut owned = lock(&self.owned);
            if matches!(*owned, Owned::Over) { Owned::Over } else { std::mem::replace(&mut *owned, next) }
        };
        // Its pipes stay open until it is dead, so that it cannot get away by ending first.
        let _idle = lock(&self.idle).take();
        match owned {
            Owned::Endpoint(killer) => killer.kill(),
            Owned::Nothing | Owned::Over => Killed { complete: true, ..Killed::default() },
        }
    }

    /// The session's endpoint, greeted: the one that waits if it has these rights, else a new one.
    ///
    /// Whoever ends a call cancels `stopped` first and kills then. So either the kill finds the endpoint that is started
    /// here, or it is seen here that the call is over.
    fn take(
        &self,
        program: &EndpointProgram,
        plan: &Plan,
        stopped: &CancellationToken,
    ) -> Result<Link, ProviderError> {
        let rights = Catalog::of(plan.variant).rights_sha256(plan.level, plan.policy);
        if let Some(link) = lock(&self.idle).take()
            && link.rights() == rights
        {
            return Ok(link);
        }
        self.kill(Owned::Nothing);
        let failed = |error: StartError| ProviderError::failed(format!("{} : {error}", plan.command()));
        let mut link = Link::start(program, plan, rights).map_err(failed)?;
        {
            let mut owned = lock(&self.owned);
            let over = matches!(*owned, Owned::Over);
            if over || stopped.is_cancelled() {
                link.killer().kill();
                let what = if over { "session" } else { "call" };
                return Err(ProviderError::failed(format!("the {what} is over")));
            }
            *owned = Owned::Endpoint(link.killer());
        }
        link.greet().inspect_err(|_| {
            self.kill(Owned::Nothing);
        })?;
        Ok(link)
    }
}

/// One call while it runs.
struct Call {
    slot: Arc<Slot>,
    plan: Plan,
    program: Arc<EndpointProgram>,
}

impl Call {
    async fn drive(self, driver: Driver, hello_time: Duration) {
        let Driver { chunks, finish, mut orders } = driver;
        let start = Instant::now();
        let slot = Arc::clone(&self.slot);
        let _turn = slot.turn.lock().await;
        let stopped = CancellationToken::new();
        let writer = ChannelWriter::new(chunks.clone(), stopped.clone());
        let time = Duration::from_secs(u64::from(self.plan.limits.seconds));
        let mut deadline = Instant::now() + hello_time.min(time);
        let mut late = "the PowerShell endpoint did not get ready in time";
        let (ready, mut is_ready) = oneshot::channel();
        let ended = stopped.clone();
        let mut work = tokio::task::spawn_blocking(move || self.run(writer, ready, &ended));
        let mut waits = true;
        let (status, why, order) = loop {
            tokio::select! {
                result = &mut work => {
                    let end = result.unwrap_or_else(|_| Finish::new(Status::Fault, "the operation panicked"));
                    break (end.status, Err(end), None);
                }
                order = orders.recv() => {
                    let status = order.as_ref().map_or(Status::Killed, |order| order.status);
                    break (status, Ok("ended from outside"), order);
                }
                () = chunks.closed() => break (Status::Killed, Ok("nobody reads the output any more"), None),
                () = tokio::time::sleep_until(deadline) => break (Status::TimeLimit, Ok(late), None),
                _ = &mut is_ready, if waits => {
                    waits = false;
                    deadline = Instant::now() + time;
                    late = "the time limit is reached";
                }
            }
        };
        let mut end = match why {
            Err(end) => end,
            Ok(why) => {
                stopped.cancel();
                let slot = Arc::clone(&slot);
                let killed =
                    tokio::task::spawn_blocking(move || slot.kill(Owned::Nothing)).await.unwrap_or_default();
                // Its pipes are closed now, so it ends.
                let _ = work.await;
                if let Some(reply) = order.and_then(|order| order.reply) {
                    // Whoever asked may have gone.
                    let _ = reply.send(killed);
                }
                Finish { killed: Some(killed), ..Finish::new(status, why) }
            }
        };
        end.micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        drop(chunks);
        // The reader may be gone.
        let _ = finish.send(end);
    }

    /// The blocking part: an endpoint, the call, the pipeline behind it.
    fn run(
        &self,
        writer: impl ChunkWriter,
        ready: oneshot::Sender<()>,
        stopped: &CancellationToken,
    ) -> Finish {
        let mut link = match self.slot.take(&self.program, &self.plan, stopped) {
            Ok(link) => link,
            Err(error) => return Finish::new(Status::Failed, error.to_string()),
        };
        // The driver may have stopped waiting.
        let _ = ready.send(());
        let module =
            Catalog::of(self.plan.variant).resolve(self.plan.command()).and_then(|entry| entry.module);
        let mut usable = true;
        let finish = execute_with(&self.plan, writer, |sink| match link.call(&self.plan, module, sink) {
            Answer::Whole(result) => result,
            Answer::Broken(error) => {
                usable = false;
                Err(error)
            }
        });
        if usable {
            *lock(&self.slot.idle) = Some(link);
        } else {
            drop(link);
            self.slot.kill(Owned::Nothing);
        }
        finish
    }
}
