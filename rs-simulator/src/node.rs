//! The node: gate and host of the cores, and a listener at the relay while a grant is in force.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rs_consent::{Clock as _, Facts, Gate, GrantState, ManualClock, SigningKey};
use rs_relay::client::{Connector, HybridConnection, Incoming, Listener};
use rs_session::host::{Downed, Host, HostSettings, OperationsEngine, Silent};
use rs_session::operations::catalog::Systems;
use rs_session::operations::executor::InProcessExecutor;
use rs_session::operations::{Limits, Machine, Policy};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::answers::Answers;
use crate::disk::MemoryDisk;
use crate::error::Error;
use crate::network::Network;
use crate::simulator::NODE_NAME;

/// Where the records lie in the disk in memory.
pub(crate) const RECORDS: &str = "simulated/sessions";

pub(crate) struct Node {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) host: Host<OperationsEngine>,
    gate: Gate,
    clock: ManualClock,
    facts: Mutex<Facts>,
    network: Network,
    way: (HybridConnection, Connector),
    listening: tokio::sync::Mutex<Option<Listening>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("facts", &*self.facts()).finish_non_exhaustive()
    }
}

struct Listening {
    status: rs_relay::client::StatusWatch,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    pub(crate) fn new(
        key: SigningKey,
        clock: ManualClock,
        answers: Answers,
        disk: &MemoryDisk,
        network: Network,
        way: (HybridConnection, Connector),
    ) -> Result<Self, Error> {
        let key = Arc::new(key);
        let gate = Gate::new(key.public());
        gate.load(Facts::default());
        let name = NODE_NAME.parse().map_err(|why| Error::name("the node's name", why))?;
        let mut settings = HostSettings::new(name, PathBuf::from(RECORDS));
        settings.disk = Arc::new(disk.clone());
        let executor = Arc::new(InProcessExecutor::new(answers.registry()));
        // The lists as a Linux node has them, whatever the test runs on.
        let machine = Machine { native: Systems::LINUX, power_shell: false };
        let engine =
            OperationsEngine::new(executor, Policy::default(), Limits::default()).on_machine(machine);
        let host = Host::new(
            settings,
            Arc::clone(&key),
            gate.clone(),
            Arc::new(clock.clone()),
            engine,
            Arc::new(Silent),
        );
        let (facts, listening) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { key, host, gate, clock, facts, network, way, listening })
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the grant is held because the clock went back.
    pub(crate) fn is_held(&self) -> bool {
        self.gate.is_held()
    }

    /// Changes what the gate decides on; returns when every session that may no longer live is down.
    pub(crate) async fn change<R>(
        &self,
        change: impl FnOnce(&mut Facts) -> Result<R, Error>,
    ) -> Result<(R, Vec<Downed>), Error> {
        let (result, facts) = {
            let mut facts = self.facts();
            let mut changed = facts.clone();
            let result = change(&mut changed)?;
            changed.revision += 1;
            facts.clone_from(&changed);
            (result, changed)
        };
        let downed = self.host.change(move |gate| _ = gate.load(facts)).await;
        self.settle().await;
        Ok((result, downed))
    }

    /// Asks the gate again, as when a clock was moved.
    pub(crate) async fn look(&self) -> Vec<Downed> {
        let downed = self.host.change(|_| ()).await;
        self.settle().await;
        downed
    }

    /// Listens if a grant is in force, and only then; returns when the relay knows.
    async fn settle(&self) {
        let now = self.clock.now();
        let active = |facts: &Facts| {
            facts.grant.as_ref().is_some_and(|grant| grant.state_at(&now) == GrantState::Active)
        };
        let wanted = active(&self.facts());
        let mut listening = self.listening.lock().await;
        match (wanted, listening.take()) {
            (true, None) => *listening = Some(self.listen()),
            (true, Some(own)) => *listening = Some(own),
            (false, Some(own)) => {
                // A task that has ended needs no word.
                let _told = own.stop.send(());
                let _ended = own.task.await;
            }
            (false, None) => {}
        }
        let status = listening.as_ref().map(|own| own.status.clone());
        drop(listening);
        if let Some(mut status) = status.filter(|_| !self.network.is_relay_away()) {
            status.online().await;
        }
    }

    /// Returns when the node listens at the relay again, at once where it has no reason to.
    pub(crate) async fn online(&self) {
        let status = self.listening.lock().await.as_ref().map(|own| own.status.clone());
        if let Some(mut status) = status {
            status.online().await;
        }
    }

    fn listen(&self) -> Listening {
        let (connection, connector) = self.way.clone();
        let listener = Listener::builder(connection, connector).start();
        let status = listener.status();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, self.host.clone(), stopped));
        Listening { status, stop, task }
    }
}

async fn accept(mut listener: Listener, host: Host<OperationsEngine>, mut stopped: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => drop(tokio::spawn(meet(incoming, host.clone()))),
                None => return,
            },
            _ = &mut stopped => break,
        }
    }
    listener.close().await;
}

async fn meet(incoming: Incoming, host: Host<OperationsEngine>) {
    // A sender that left in the meantime is nobody's business.
    if let Ok(stream) = incoming.accept().await {
        host.serve(stream).await;
    }
}
