//! Contents whose time is over go, at the start of the agent and twice an hour.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rs_consent::Clock;
use rs_session::keeping::expire;
use rs_session::node_log::Event;

use super::blocking;
use crate::node_log::Book;

/// How often it is looked; contents go at most this long after their time.
const EVERY: Duration = Duration::from_secs(30 * 60);

/// Looks for ever. What fails is said, and tried again the next time.
pub(super) async fn keep(records: PathBuf, days: i64, book: Arc<Book>, clock: Arc<dyn Clock>) {
    let mut look = tokio::time::interval(EVERY);
    loop {
        look.tick().await;
        let (records, book, now) = (records.clone(), Arc::clone(&book), clock.now().wall);
        let run = blocking(move || {
            expire(&records, days, now, false, &mut |session, records, reason| {
                let event = Event::ContentsRemoved { session, records, reason: reason.to_owned() };
                book.enter(event).map(drop).map_err(io::Error::other)
            })
        });
        match run.await {
            Ok(Ok(expiry)) => {
                for expired in expiry.expired {
                    tracing::info!(session = %expired.session_id, records = expired.records, "contents removed: their time was over");
                }
                for (session, error) in expiry.failed {
                    tracing::error!(%session, error, "contents whose time is over could not be removed");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the records could not be looked through"),
            Err(failure) => tracing::error!(%failure, "the records could not be looked through"),
        }
    }
}
