//! What a page shows while it happens: server-sent events, each a piece of the page that the server made.
//!
//! `event: replace` brings parts that take the place of those with the same id. A stream ends when the browser leaves,
//! when its operator is signed out, or when there is nothing more to come (`event: end`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use maud::{Markup, html};
use rs_session::follow::Follow;
use rs_session::record::ContentKey;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Site;
use super::door::Operator;
use super::screens::overview::Standing;
use super::screens::proxy::Job;
use super::screens::{approvals, transcript};
use crate::control::AgentControl as _;
use crate::node;
use crate::outcome::Failure;
use crate::platform::FolderWatch;

/// Streams at the same time, of all pages; more are refused.
pub const STREAMS_MAX: usize = 32;
/// How often it is looked whether something changed.
const LOOK: Duration = Duration::from_millis(500);
/// Without anything new something is sent after so long, so that a browser that is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);
/// Pieces that wait for a browser that is slow.
const PIECES_MAX: usize = 16;

/// What is shown.
pub(super) enum Subject {
    /// How the node stands.
    Standing,
    /// Which calls wait.
    Approvals,
    /// A proxy check.
    Proxy(Arc<Job>),
    /// The records of a session, and what opens them.
    Session { path: PathBuf, key: ContentKey },
}

/// Starts a stream; none where there are too many.
pub(super) fn start(site: Arc<Site>, operator: Operator, subject: Subject) -> Option<mpsc::Receiver<Bytes>> {
    let place = Arc::clone(&site.streams).try_acquire_owned().ok()?;
    let (send, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let stream = Stream { site, operator, send, _place: place };
        match subject {
            Subject::Standing => {
                stream
                    .parts(|site, _| {
                        let (context, _) = site.context();
                        Standing::read(site, &context).map(|standing| (standing.parts(), false))
                    })
                    .await
            }
            Subject::Approvals => {
                stream
                    .parts(|site, operator| {
                        let (context, _) = site.context();
                        let waiting = node::agent(&context).approvals()?;
                        let now = context.clock.now().wall;
                        Ok((approvals::waiting_parts(&waiting, operator, now), false))
                    })
                    .await
            }
            Subject::Proxy(job) => {
                stream
                    .parts(move |_, _| {
                        let over = job.is_over();
                        Ok((job.parts(), over))
                    })
                    .await
            }
            Subject::Session { path, key } => stream.session(path, key).await,
        }
    });
    Some(pieces)
}

/// One page that looks on.
struct Stream {
    site: Arc<Site>,
    operator: Operator,
    send: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// Sends parts whenever they have changed, until `look` says that they do not change any more.
    async fn parts<F>(self, look: F)
    where
        F: Fn(&Site, &Operator) -> Result<(Markup, bool), Failure> + Send + Sync + 'static,
    {
        let look = Arc::new(look);
        let (mut shown, mut quiet) = (String::new(), Instant::now());
        while self.goes_on() {
            let (site, operator, look) = (Arc::clone(&self.site), self.operator.clone(), Arc::clone(&look));
            let parts = tokio::task::spawn_blocking(move || look(&site, &operator)).await;
            // What cannot be read now is told by the page itself when it is loaded.
            let (parts, over) = match parts {
                Ok(Ok((parts, over))) => (parts.into_string(), over),
                _ => (shown.clone(), false),
            };
            if parts != shown {
                if !self.piece("replace", &parts).await {
                    return;
                }
                (shown, quiet) = (parts, Instant::now());
            }
            if over {
                self.piece("end", "").await;
                return;
            }
            if !self.pause(&mut quiet, LOOK).await {
                return;
            }
        }
    }

    /// Sends the records of a session as they are written, until its end.
    async fn session(self, path: PathBuf, key: ContentKey) {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        // Before the first look, so that nothing happens unseen between both.
        let mut grown = FolderWatch::new(&folder).ok();
        let Ok(mut follow) = Follow::open(&path, key) else { return };
        let (mut start, mut quiet) = (None, Instant::now());
        while self.goes_on() {
            let read = tokio::task::spawn_blocking(move || {
                let entries = follow.read();
                (follow, entries)
            });
            let Ok((followed, entries)) = read.await else { return };
            follow = followed;
            let Ok(entries) = entries else {
                self.piece(
                    "append",
                    &html! { li { pre { "The record cannot be read any further." } } }.into_string(),
                )
                .await;
                return;
            };
            let mut html = String::new();
            for entry in &entries {
                let start = *start.get_or_insert(entry.boot_time);
                if let Some((shown, _)) = transcript::entry(entry, start) {
                    html.push_str(&shown.into_string());
                }
            }
            if !html.is_empty() {
                if !self.piece("append", &html).await {
                    return;
                }
                quiet = Instant::now();
            }
            if follow.has_ended() {
                self.piece("end", "").await;
                return;
            }
            if !entries.is_empty() {
                continue;
            }
            let goes_on = match &mut grown {
                Some(watch) => tokio::select! {
                    changed = watch.changed() => changed.is_ok(),
                    goes_on = self.pause(&mut quiet, LOOK) => goes_on,
                },
                None => self.pause(&mut quiet, LOOK).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Waits a little; false when the browser is gone meanwhile.
    async fn pause(&self, quiet: &mut Instant, pause: Duration) -> bool {
        if quiet.elapsed() >= QUIET {
            if self.send.send(Bytes::from_static(b":\n\n")).await.is_err() {
                return false;
            }
            *quiet = Instant::now();
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.send.closed() => false,
        }
    }

    /// The browser is there, and its operator is signed in.
    fn goes_on(&self) -> bool {
        !self.send.is_closed() && self.site.door.is_in(&self.operator, Instant::now())
    }

    async fn piece(&self, event: &str, html: &str) -> bool {
        self.send.send(encode(event, html)).await.is_ok()
    }
}

/// One event. Whatever the text holds, it stays within its own `data` lines.
fn encode(event: &str, text: &str) -> Bytes {
    let mut piece = format!("event: {event}\n");
    for line in text.split(['\n', '\r']) {
        piece.push_str("data: ");
        piece.push_str(line);
        piece.push('\n');
    }
    piece.push('\n');
    piece.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sec38_no_content_forges_an_event(text in any::<String>()) {
            let piece = String::from_utf8(encode("append", &text).to_vec()).expect("text");
            let body = piece.strip_prefix("event: append\n").and_then(|rest| rest.strip_suffix("\n\n")).expect("one event");
            prop_assert!(body.split('\n').all(|line| line.starts_with("data: ")), "{body:?}");
            prop_assert!(!body.contains('\r'));
        }
    }
}
