//! Room that is set aside while there is some, so that on a full disk consent can still be taken back, run out and be
//! closed (SEC45).
//!
//! A change needs room in two places: in the write-ahead log, and later in the main file. The log's room is set aside by
//! the file system; the main file's is a stock of [`SPARE_PAGES`] empty pages. What only grants or notes more, and what
//! strangers can cause, has to leave the stock as it is ([`for_more`]); what ends something may use it up.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::StoreError;
use crate::platform;

/// So many pages in the write-ahead log, and it is moved into the main file.
pub(super) const LOG_PAGES: i64 = 16;
/// Room in the write-ahead log: twice what it ever holds, so that a change that makes it long fits too.
const LOG_BYTES: u64 = 2 * LOG_PAGES as u64 * (PAGE_BYTES + 24);
/// SQLite's page.
const PAGE_BYTES: u64 = 4096;
/// Empty pages in the main file that are never used for what can wait: 64 KiB, some 400 acts.
const SPARE_PAGES: i64 = 16;
/// How many more are made at once.
const SPARE_MORE: i64 = 8;

/// Sets aside what can be set aside now.
pub(super) fn keep(connection: &Connection, path: &Path) {
    // A disk that is full now has room later, and the next change tries again.
    drop(fill(connection, path));
    keep_log(path);
}

pub(super) fn keep_log(path: &Path) {
    let mut log: PathBuf = path.to_owned();
    log.as_mut_os_string().push("-wal");
    drop(platform::reserve(&log, LOG_BYTES));
}

/// Makes sure that the stock is whole before a change that is not to use it.
pub(super) fn for_more(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    if spare(connection)? >= SPARE_PAGES { Ok(()) } else { fill(connection, path) }
}

fn spare(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?)
}

/// Pages that were written once and belong to nothing are the stock: the disk has given them room.
///
/// They go through the log, and would fill the room there and stay if the main file could then not grow: so the disk is
/// asked first.
fn fill(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let missing = SPARE_PAGES + SPARE_MORE - spare(connection)?;
    if missing <= SPARE_MORE {
        return Ok(());
    }
    let bytes = u64::try_from(missing).unwrap_or_default() * PAGE_BYTES;
    if platform::free_bytes(path).is_some_and(|free| free < 2 * bytes + LOG_BYTES) {
        return Err(StoreError::NoSpace);
    }
    let outcome = connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; DROP TABLE IF EXISTS spare; CREATE TABLE spare (body BLOB) STRICT;
         INSERT INTO spare VALUES (zeroblob({bytes})); COMMIT;
         DROP TABLE IF EXISTS spare; PRAGMA wal_checkpoint(PASSIVE);"
    ));
    outcome.map_err(|error| {
        if !connection.is_autocommit() {
            // A full disk has ended it already, or this does.
            drop(connection.execute_batch("ROLLBACK"));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly,
            _ => error.into(),
        }
    })
}
