//! What an agent takes up when it starts, and the sign of life that it leaves in the node's log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rs_consent::{Clock, SigningKey};
use rs_session::history::record_files;
use rs_session::host::{complete_end, end_statement, end_statement_sha256, state_end};
use rs_session::journal::{Known, Recovered, Recovery, recover_known};
use rs_session::node_log::{
    Event, HEARTBEAT_IDLE, HEARTBEAT_LIVE, SessionHead, open_sessions, stated_sessions,
};
use uuid::Uuid;

use super::{Found, blocking};
use crate::node_log::Book;
use crate::outcome::{ErrorCode, Failure};

/// How often it is looked whether a sign of life is due, or something happened that is not in the log yet.
const LOOK: Duration = Duration::from_secs(5);

/// Brings the records of sessions that were cut off to their end, and enters in the node's log that the agent has started
/// and how the sessions ended of which the log knows only the beginning.
///
/// A record that is shorter than the log says was not cut off by a crash; it is left as it is.
///
/// # Errors
///
/// [`ErrorCode::Io`] where the records cannot be listed. A log that cannot be read or written is no error here: it is told
/// in [`Found`], and no session can begin.
pub(super) fn take_up(
    records: &Path,
    folder: &Path,
    book: &Book,
    key: &SigningKey,
    clock: &dyn Clock,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut open = open_sessions(folder).unwrap_or_else(|error| {
        found.log_trouble = Some(format!("the node log cannot be read: {error}"));
        BTreeMap::new()
    });
    let files = record_files(records)
        .map_err(|error| Failure::new(ErrorCode::Io, "the records cannot be listed").because(error))?;
    let mut events = Vec::new();
    for (id, path) in files {
        let known = open.remove(&id);
        let recovered = match recover_record(&path, known.as_ref(), key, clock) {
            Ok(recovered) => recovered,
            Err(error) => {
                found.damaged.push(format!("{id}: {error}"));
                continue;
            }
        };
        match recovered.outcome {
            Recovery::Ended { .. } => found.interrupted += 1,
            // Its end was entered in the log when it came.
            Recovery::Complete if known.is_none() => continue,
            Recovery::Damaged { explanation } => found.damaged.push(format!("{id}: {explanation}")),
            Recovery::CutShort { missing } => found.damaged.push(cut_short(id, missing, known.as_ref())),
            _ => {}
        }
        if let (Some(head), Some(cause)) = (recovered.head, recovered.cause) {
            events.push(Event::SessionEnded { head, cause, recorded: true });
        }
    }
    match statements(records, folder, key) {
        Ok(stated) => events.extend(stated),
        Err(error) => {
            let trouble = || format!("the ends that were stated cannot be read: {error}");
            found.log_trouble.get_or_insert_with(trouble);
        }
    }
    for session in open.into_keys() {
        found
            .damaged
            .push(format!("{session}: its record is gone, and the node log says that there was one"));
        events.push(Event::SessionLost { session });
    }
    enter_all(book, events, &mut found);
    Ok(found)
}

/// The statements that the log does not name yet: of ends that were stated just now, or whose agent died before it could
/// enter them, or that an earlier version made.
fn statements(records: &Path, folder: &Path, key: &SigningKey) -> io::Result<Vec<Event>> {
    let (known, node) = (stated_sessions(folder)?, key.public());
    let files = record_files(records).map_err(io::Error::other)?;
    let mut events = Vec::new();
    for (session, path) in files.into_iter().filter(|(session, _)| !known.contains(session)) {
        if let Some(sha256) = end_statement_sha256(&path, &node)? {
            events.push(Event::EndStated { session, sha256 });
        }
    }
    Ok(events)
}

/// Brings one record to its end, and states that end if it was not stated. `known` is a head of it that the log names.
pub(super) fn recover_record(
    path: &Path,
    known: Option<&SessionHead>,
    key: &SigningKey,
    clock: &dyn Clock,
) -> io::Result<Recovered> {
    // One that cannot be read vouches for nothing.
    let stated = end_statement(path, &key.public()).unwrap_or_default();
    let known = Known { head: known, stated: stated.as_ref() };
    let recovered = recover_known(path, key, clock, known)?;
    match (&recovered.outcome, &recovered.end) {
        _ if stated.is_some() => false,
        (_, Some(end)) => state_end(path, end, key)?,
        (Recovery::Complete, None) => complete_end(path, key)?,
        _ => false,
    };
    Ok(recovered)
}

fn cut_short(id: Uuid, missing: u64, known: Option<&SessionHead>) -> String {
    let last = known.map_or(missing, |known| known.sequence);
    format!("{id}: records {missing} to {last} were cut off: the node log names record {last}")
}

fn enter_all(book: &Book, events: Vec<Event>, found: &mut Found) {
    let started = Event::AgentStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        interrupted: found.interrupted as u64,
        damaged: found.damaged.len() as u64,
    };
    for event in std::iter::once(started).chain(events) {
        if let Err(error) = book.enter(event) {
            found.log_trouble = Some(error.to_string());
            return;
        }
    }
}

/// Enters signs of life, and soon what the store did without a command that entered it, such as an expiry.
pub(super) async fn beat(book: Arc<Book>) {
    let mut last = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let every = if book.has_sessions() { HEARTBEAT_LIVE } else { HEARTBEAT_IDLE };
        let due = last.elapsed() >= every;
        let entering = Arc::clone(&book);
        let entered = blocking(move || if due { entering.beat() } else { entering.settle() }).await;
        match entered {
            Ok(Ok(_)) if due => last = Instant::now(),
            Ok(Err(error)) => tracing::error!(%error, "the node log cannot be written; no session can begin"),
            _ => {}
        }
    }
}
