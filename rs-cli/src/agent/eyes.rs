//! The agent's eyes on the store: whoever changes it, the agent knows at once, also when the command that did it died
//! before it could call, or the control socket is stuck.
//!
//! The system tells that something was written in the node's folder. SQLite writes before it commits, so the agent looks
//! at once and some more times soon after. Where the system tells nothing, the heartbeat remains.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::platform::FolderWatch;

/// Pauses before each look that follows a write. A commit is seen after the disk has synced it.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(75),
    Duration::from_millis(300),
    Duration::from_millis(1000),
];

/// What the system is asked to tell.
#[derive(Debug)]
pub(super) struct Eyes(Option<FolderWatch>);

impl Eyes {
    pub(super) fn open(folder: &Path) -> Self {
        let watch = FolderWatch::new(folder).inspect_err(|error| {
            tracing::warn!(%error, "the folder of the node cannot be watched; changes are found by looking");
        });
        Self(watch.ok())
    }
}

/// Looks at the store whenever something was written, for as long as the agent runs.
pub(super) async fn keep_open(shared: Arc<Shared>, eyes: Eyes) {
    let Eyes(Some(mut watch)) = eyes else { return };
    let mut looks = LOOKS.iter();
    loop {
        let again = match looks.next() {
            None => watch.changed().await,
            Some(pause) => tokio::select! {
                biased;
                // A timer: what was written may not be there to be read yet; see `LOOKS`.
                () = tokio::time::sleep(*pause) => {
                    if let Err(failure) = shared.look().await {
                        tracing::error!(%failure, "the store cannot be used");
                    }
                    continue;
                }
                again = watch.changed() => again,
            },
        };
        match again {
            Ok(()) => looks = LOOKS.iter(),
            Err(_) => return,
        }
    }
}
