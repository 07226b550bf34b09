//! Opening the file, and bringing it from any earlier version to the present one.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::rows::Tx;
use super::{BUSY_WAIT, StoreError};
use crate::platform;

/// The version of the store that this program writes; see [`migrate`].
pub(super) const VERSION: i64 = 1;

/// Marks the file as ours, in its header: "RSCo".
const APPLICATION_ID: i64 = 0x5253_436f;

/// No database is shorter than the smallest page. SQLite takes a shorter file for an empty one.
const HEADER_BYTES: u64 = 512;

const TABLES: &str = "
    CREATE TABLE state    (id TEXT PRIMARY KEY, body TEXT NOT NULL, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE grants   (id TEXT PRIMARY KEY, body TEXT NOT NULL, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE requests (id TEXT PRIMARY KEY, body TEXT NOT NULL, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE terms    (id TEXT PRIMARY KEY, body TEXT NOT NULL, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE log      (number INTEGER PRIMARY KEY, body TEXT NOT NULL, sum BLOB NOT NULL) STRICT;
";

/// One opening at a time in this process.
///
/// Closing any handle of a file drops the process's POSIX locks on it, SQLite's too. So the file is opened by others
/// than SQLite only to make it, and nobody else may open it in that moment.
static OPENING: Mutex<()> = Mutex::new(());

pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    platform::make_private_file(path).map_err(|cause| StoreError::unavailable(path, cause))?;
    if let Some((path, mode)) =
        platform::exposed(path).map_err(|cause| StoreError::unavailable(path, cause))?
    {
        return Err(StoreError::Exposed { path, mode });
    }
    let length = std::fs::metadata(path).map_err(|cause| StoreError::unavailable(path, cause))?.len();
    if (1..HEADER_BYTES).contains(&length) {
        return Err(StoreError::corrupt(format!("only {length} bytes are left")).at(path));
    }
    prepare(path).map_err(|error| match error.at(path) {
        // SQLite says only that it cannot open the file, since it cannot make the log beside it.
        StoreError::Unavailable { .. } if platform::is_on_read_only_disk(path) => StoreError::ReadOnly,
        error => error,
    })
}

fn prepare(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    check(&connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate(&transaction, path)?;
    transaction.commit()?;
    Ok(connection)
}

/// Switches to the write-ahead log. SQLite does not wait for others here, so we do.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode.map_err(StoreError::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::unavailable(
                    Path::new(""),
                    format!("no write-ahead log here, but {mode}"),
                ));
            }
            Err(StoreError::Busy) if start.elapsed() < BUSY_WAIT => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(error) => return Err(error),
        }
    }
}

/// SQLite's own check of the file's structure.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::corrupt(found)) }
}

/// Brings the store to [`VERSION`], within the caller's transaction: all of it or nothing.
fn migrate(sql: &Transaction<'_>, path: &Path) -> Result<(), StoreError> {
    let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (version, application) = (number("user_version")?, number("application_id")?);
    match version {
        VERSION if application == APPLICATION_ID => Ok(()),
        0 if application == 0 && is_empty(sql)? => create(sql),
        found if found > VERSION && application == APPLICATION_ID => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION })
        }
        _ => Err(StoreError::corrupt("it is not a store of consents")),
    }
}

fn is_empty(sql: &Transaction<'_>) -> Result<bool, StoreError> {
    Ok(sql.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0)
}

fn create(sql: &Transaction<'_>) -> Result<(), StoreError> {
    sql.execute_batch(TABLES)?;
    Tx::initialize(sql)?;
    sql.pragma_update(None, "application_id", APPLICATION_ID)?;
    sql.pragma_update(None, "user_version", VERSION)?;
    Ok(())
}

/// Moves the write-ahead log into the main file and empties it, if nobody is in the way.
pub(super) fn checkpoint(connection: &Connection) {
    let patient = connection.busy_timeout(Duration::ZERO);
    let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    // Either way the data is safe in the log; the next change tries again.
    drop((patient, done, connection.busy_timeout(BUSY_WAIT)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A killed process cannot show whether writes are synced; so the setting itself is checked.
    #[test]
    fn c23_writes_go_through_a_synced_write_ahead_log() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("store.sqlite")).unwrap();
        let text =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, String>(0)).unwrap();
        let number =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(number("synchronous"), 2, "FULL");
        checkpoint(&connection);
        assert_eq!(number("busy_timeout"), 10_000, "also after a checkpoint, which does not wait");
    }
}
