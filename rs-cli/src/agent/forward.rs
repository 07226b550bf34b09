//! Tells the node's collectors, each in a task of its own: one that is slow or dead holds up nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rs_consent::Clock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::forwarding::{Collector, Collectors, Name};
use crate::network::Way;
use crate::node;

/// How often collectors are looked for, and what keeps events from them is written down.
const LOOK_EVERY: Duration = Duration::from_secs(2);

struct Running {
    collector: Collector,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    progress: Arc<std::sync::Mutex<rs_session::forward::pump::Progress>>,
    told: Option<String>,
}

/// Forwards until the task is dropped.
pub(super) async fn keep(collectors: Collectors, way: Way, clock: Arc<dyn Clock>) {
    let mut running: BTreeMap<Name, Running> = BTreeMap::new();
    let mut refused: BTreeMap<Name, String> = BTreeMap::new();
    loop {
        let wanted = wanted(&collectors);
        stop_unwanted(&mut running, &wanted).await;
        for (name, collector) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            match start(&collectors, &name, collector, &way, &clock) {
                Ok(one) => {
                    refused.remove(&name);
                    running.insert(name, one);
                }
                Err(trouble) => {
                    if refused.get(&name) != Some(&trouble) {
                        tracing::warn!(%name, trouble, "a collector cannot be told");
                        collectors.set_trouble(&name, Some(&trouble));
                        refused.insert(name, trouble);
                    }
                }
            }
        }
        for (name, one) in &mut running {
            one.tell(&collectors, name);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn wanted(collectors: &Collectors) -> BTreeMap<Name, Collector> {
    let names = collectors.names().unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| collectors.read(&name).ok().map(|collector| (name, collector)))
        .collect()
}

/// A collector that was removed, or changed, is told nothing more in the old way.
async fn stop_unwanted(running: &mut BTreeMap<Name, Running>, wanted: &BTreeMap<Name, Collector>) {
    let gone: Vec<_> = running
        .iter()
        .filter(|(name, one)| wanted.get(*name) != Some(&one.collector) || one.task.is_finished())
        .map(|(name, _)| name.clone())
        .collect();
    for name in gone {
        if let Some(one) = running.remove(&name) {
            one.stop.send_replace(true);
            // It stops at once; a task that broke has nothing to say.
            let _stopped = one.task.await;
        }
    }
}

fn start(
    collectors: &Collectors,
    name: &Name,
    collector: Collector,
    way: &Way,
    clock: &Arc<dyn Clock>,
) -> Result<Running, String> {
    let pump = collectors
        .pump(name, node::name().as_str(), way, Arc::clone(clock))
        .map_err(|failure| failure.in_a_line())?;
    // What an earlier agent said is over.
    collectors.set_trouble(name, None);
    let (stop, stopped) = watch::channel(false);
    let progress = pump.progress();
    let task = tokio::spawn(pump.run(Arc::new(Notify::new()), stopped));
    Ok(Running { collector, stop, task, progress, told: None })
}

impl Running {
    /// Writes down what keeps events from the collector, when that has changed.
    fn tell(&mut self, collectors: &Collectors, name: &Name) {
        let trouble = self.progress.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
        if trouble != self.told {
            if let Some(trouble) = &trouble {
                tracing::warn!(%name, trouble, "a collector is not told at present; nothing is lost");
            }
            collectors.set_trouble(name, trouble.as_deref());
            self.told = trouble;
        }
    }
}
