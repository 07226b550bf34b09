//! The agent's listener at the relay: there while a grant is in force, and only then.

use std::sync::Arc;
use std::time::Duration;

use rs_relay::client::{Incoming, Listener, OfflineCause, Status};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Shared, lock};
use crate::network;
use crate::relay_access::{Reach, RelayAccess};

/// Connections that may be in their handshake at once; more are sent away.
const HANDSHAKES_MAX: usize = 16;
/// How soon the end of a grant is noticed when nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest time that the relay may take to let go; after that the connection is dropped.
const LEAVE_MAX: Duration = Duration::from_millis(750);
/// How soon a credential that could not be read is tried again.
const CREDENTIAL_RETRY: Duration = Duration::from_secs(5);
/// Shortest time between two inquiries why the relay is not reached.
const INQUIRY_PAUSE: Duration = Duration::from_secs(60);
/// Longest inquiry.
const INQUIRY_MAX: Duration = Duration::from_secs(10);

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
            Ok(reach) => {
                shared.listens.send_replace(true);
                listen(&shared, reach, &places).await;
                shared.listens.send_replace(false);
            }
            Err(failure) => {
                // On one line, as it is shown.
                let next = failure.remedy().map_or_else(String::new, |next| format!("; next: {next}"));
                set(&shared, Link::Failed(failure.in_a_line() + &next));
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

/// Listens until the grant has ended, or another credential was handed in, for the relay or for the proxy.
async fn listen(shared: &Arc<Shared>, reach: Reach, places: &Arc<Semaphore>) {
    let credential = shared.relay.credential_file();
    let files = || credential.iter().chain(shared.relay.way().credentials_file());
    let modified = || files().map(|path| path.metadata().ok()?.modified().ok()).collect::<Vec<_>>();
    let since = modified();
    let mut listener =
        Listener::builder(reach.connection, reach.connector).keep_alive(reach.keep_alive).start();
    let mut status = listener.status();
    let mut inquiry = Inquiry::default();
    set(shared, Link::Connecting(None));
    while shared.wants_relay() && modified() == since && shared.relay.credential_file() == credential {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => meet(shared, incoming, places),
                None => break,
            },
            Some(status) = status.changed() => told(shared, &status, &mut inquiry),
            Some(answer) = inquiry.running.join_next() => inquiry.answered(shared, answer.ok().flatten()),
            () = look_again(shared, LOOK_AGAIN) => {}
        }
    }
    // A relay that does not answer must not keep the node listed as listening.
    let _left = tokio::time::timeout(LEAVE_MAX, listener.close()).await;
}

fn told(shared: &Shared, status: &Status, inquiry: &mut Inquiry) {
    match status {
        Status::Online => {
            tracing::info!("connected to the relay");
            *inquiry = Inquiry::default();
            set(shared, Link::Connected);
        }
        Status::Offline { cause, pause } => {
            tracing::warn!(%cause, pause_ms = pause.as_millis(), "the relay is not reached");
            set(shared, Link::Connecting(Some(inquiry.trouble(cause, &shared.relay))));
        }
        Status::Connecting => {
            let before = lock(&shared.link).trouble().map(str::to_owned);
            set(shared, Link::Connecting(before));
        }
        _ => {}
    }
}

/// Finds out, beside the attempts to reach the relay, what stops those that do not know it themselves.
#[derive(Debug, Default)]
struct Inquiry {
    running: JoinSet<Option<String>>,
    begun: Option<Instant>,
    /// What the inquiry is about, in the words of the attempt that failed.
    about: String,
    found: Option<String>,
}

impl Inquiry {
    /// The trouble in a line: what the attempt itself knows of the hop, else what an inquiry about the same trouble
    /// found, else the attempt's own words.
    fn trouble(&mut self, cause: &OfflineCause, relay: &RelayAccess) -> String {
        if let Some(known) = network::trouble(cause) {
            return known;
        }
        let words = crate::output::safe(&cause.to_string());
        if self.running.is_empty() && self.begun.is_none_or(|begun| begun.elapsed() >= INQUIRY_PAUSE) {
            self.begin(&words, relay.clone());
        }
        self.found.clone().filter(|_| self.about == words).unwrap_or(words)
    }

    fn begin(&mut self, words: &str, relay: RelayAccess) {
        if self.about != words {
            (self.about, self.found) = (words.to_owned(), None);
        }
        self.begun = Some(Instant::now());
        self.running.spawn(async move {
            let question = relay.question().ok().flatten()?;
            network::verdict(&question.ask(INQUIRY_MAX).await)
        });
    }

    /// Takes the answer, unless the trouble is another one by now.
    fn answered(&mut self, shared: &Shared, answer: Option<String>) {
        let shown = self.found.take().unwrap_or_else(|| self.about.clone());
        if let Some(found) = &answer {
            tracing::warn!(cause = %found, "why the relay is not reached");
        }
        let now = answer.clone().unwrap_or_else(|| self.about.clone());
        self.found = answer;
        let link = lock(&shared.link).clone();
        if link.trouble() == Some(&shown) {
            set(shared, Link::Connecting(Some(now)));
        }
    }
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
