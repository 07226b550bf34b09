//! The agent's listener at the relay: there while a grant is in force, and only then.

use std::sync::Arc;
use std::time::Duration;

use rs_relay::client::{Incoming, Listener, OfflineCause, Status};
use tokio::sync::Semaphore;

use super::{Shared, lock};
use crate::relay_access::Reach;

/// Connections that may be in their handshake at once; more are sent away.
const HANDSHAKES_MAX: usize = 16;
/// How soon the end of a grant is noticed when nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How soon a credential that could not be read is tried again.
const CREDENTIAL_RETRY: Duration = Duration::from_secs(5);

/// The connection to the relay, in the product's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Link {
    /// No grant is in force, so there is no connection.
    #[default]
    NotConnected,
    /// On its way, or trying again; with the last trouble.
    Connecting(Option<String>),
    /// Engineers can reach this node.
    Connected,
    /// It cannot even be tried; with what is missing.
    Failed(String),
}

impl Link {
    /// The state in one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotConnected => "NotConnected",
            Self::Connecting(_) => "Connecting",
            Self::Connected => "Connected",
            Self::Failed(_) => "Failed",
        }
    }

    /// The last trouble, if there is any.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Connecting(trouble) => trouble.as_deref(),
            Self::Failed(trouble) => Some(trouble),
            Self::NotConnected | Self::Connected => None,
        }
    }
}

/// Listens while a grant is in force, for as long as the agent runs.
pub(super) async fn keep(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        set(&shared, Link::NotConnected);
        while !shared.wants_relay() {
            look_again(&shared, LOOK_AGAIN).await;
        }
        match shared.relay.open() {
            Ok(reach) => listen(&shared, reach, &places).await,
            Err(failure) => {
                set(&shared, Link::Failed(failure.to_string()));
                look_again(&shared, CREDENTIAL_RETRY).await;
            }
        }
    }
}

/// Waits for a change of the store, at most so long.
async fn look_again(shared: &Shared, wait: Duration) {
    // The time-out is the other way in which this ends.
    let _ = tokio::time::timeout(wait, shared.changed.notified()).await;
}

/// Listens until the grant has ended, or another credential was handed in.
async fn listen(shared: &Arc<Shared>, reach: Reach, places: &Arc<Semaphore>) {
    let credential = shared.relay.credential_file();
    let modified = || credential.as_ref().and_then(|path| path.metadata().ok()?.modified().ok());
    let since = modified();
    let mut listener = Listener::builder(reach.connection, reach.connector).start();
    let mut status = listener.status();
    set(shared, Link::Connecting(None));
    while shared.wants_relay() && modified() == since && shared.relay.credential_file() == credential {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => meet(shared, incoming, places),
                None => break,
            },
            Some(status) = status.changed() => told(shared, &status),
            () = look_again(shared, LOOK_AGAIN) => {}
        }
    }
    listener.close().await;
}

fn told(shared: &Shared, status: &Status) {
    match status {
        Status::Online => {
            tracing::info!("connected to the relay");
            set(shared, Link::Connected);
        }
        Status::Offline { cause, pause } => {
            tracing::warn!(%cause, pause_ms = pause.as_millis(), "the relay is not reached");
            set(shared, Link::Connecting(Some(in_words(cause))));
        }
        Status::Connecting => {
            let before = lock(&shared.link).trouble().map(str::to_owned);
            set(shared, Link::Connecting(before));
        }
        _ => {}
    }
}

fn in_words(cause: &OfflineCause) -> String {
    crate::output::safe(&cause.to_string())
}

/// Takes a sender to the host, or sends it away at once when there is no place.
fn meet(shared: &Arc<Shared>, incoming: Incoming, places: &Arc<Semaphore>) {
    let place = Arc::clone(places).try_acquire_owned();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let Ok(_place) = place else {
            // The sender sees the relay's time-out if even this does not get through.
            let _ = incoming.reject(503, "too many connections are being made to this node").await;
            return;
        };
        match incoming.accept().await {
            Ok(stream) => shared.host.serve(stream).await,
            Err(error) => tracing::warn!(%error, "a connection through the relay was not made"),
        }
    });
}

fn set(shared: &Shared, link: Link) {
    *lock(&shared.link) = link;
}
