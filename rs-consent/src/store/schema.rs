//! Opening the file, and bringing it from any earlier version to the present one.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::rows::Tx;
use super::{BUSY_WAIT, StoreError, reserve};
use crate::platform;

/// The version of the store that this program writes; see [`migrate`].
pub(super) const VERSION: i64 = 1;

/// Marks the file as ours, in its header: "RSCo".
const APPLICATION_ID: i64 = 0x5253_436f;

/// What no store is as long as: from more than SQLite takes for nothing (a single byte, too) to less than the smallest
/// page. SQLite takes a file of such a length for an empty one.
const TOO_SHORT: std::ops::Range<u64> = 2..512;

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
    let opened = prepare(path).or_else(|error| match error {
        // On a read-only disk SQLite says only that it cannot write, or cannot make the log beside the file.
        StoreError::Unavailable { .. } | StoreError::ReadOnly if platform::is_on_read_only_disk(path) => {
            prepare_to_read(path).map_err(|error| match error {
                StoreError::Unavailable { .. } => StoreError::ReadOnly,
                error => error,
            })
        }
        error => Err(error),
    });
    opened.map_err(|error| error.at(path))
}

fn prepare(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check(&connection, path)?;
    write_ahead(&connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate(&transaction, path)?;
    transaction.commit()?;
    sync_names(path)?;
    reserve::keep(&connection, path);
    Ok(connection)
}

/// Where nothing can be written what the store says can still be read. Changes fail with [`StoreError::ReadOnly`].
fn prepare_to_read(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check(&connection, path)?;
    let transaction = connection.transaction()?;
    match version(&transaction)? {
        (VERSION, APPLICATION_ID) => {}
        // It would have to be brought to the present version first.
        (found, APPLICATION_ID) if found < VERSION => return Err(StoreError::ReadOnly),
        _ => migrate(&transaction, path)?,
    }
    drop(transaction);
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // The write-ahead log and its index stay when the last user of the store goes: the room in the log is set aside, and
    // a disk without room for a file more, or that became read-only, still finds them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // What is removed is overwritten with zeros, so that no reason or name of it stays in a free page.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", reserve::LOG_PAGES)?;
    Ok(connection)
}

/// Makes the names of the store and of its log durable: SQLite does so for the file that it makes itself, and this one is
/// made by us, in a directory that may be new.
fn sync_names(path: &Path) -> Result<(), StoreError> {
    platform::sync_names(path).map_err(|cause| StoreError::unavailable(path, cause))
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

/// SQLite's own check of the file's structure, and ours of its length.
///
/// SQLite reads first: by the journal beside the file it takes back what a power cut has left of a change, and of the
/// making of the file too. Only what is short after that is damaged.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let length = std::fs::metadata(path).map_err(|cause| StoreError::unavailable(path, cause))?.len();
    if TOO_SHORT.contains(&length) {
        return Err(StoreError::corrupt(format!("only {length} bytes are left")));
    }
    if found == "ok" { Ok(()) } else { Err(StoreError::corrupt(found)) }
}

/// Brings the store to [`VERSION`], within the caller's transaction: all of it or nothing.
fn migrate(sql: &Transaction<'_>, path: &Path) -> Result<(), StoreError> {
    let (version, application) = version(sql)?;
    match version {
        VERSION if application == APPLICATION_ID => Ok(()),
        0 if application == 0 && is_empty(sql)? => create(sql),
        found if found > VERSION && application == APPLICATION_ID => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION })
        }
        _ => Err(StoreError::corrupt("it is not a store of consents")),
    }
}

/// Version of the store, and whose file it is.
fn version(sql: &Transaction<'_>) -> Result<(i64, i64), StoreError> {
    let number = |pragma| sql.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok((number("user_version")?, number("application_id")?))
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

/// Moves the write-ahead log into the main file and empties it, if nobody is in the way; its room stays set aside.
pub(super) fn checkpoint(connection: &Connection, path: &Path) {
    let patient = connection.busy_timeout(Duration::ZERO);
    let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    // Either way the data is safe in the log; the next change tries again.
    drop((patient, done, connection.busy_timeout(BUSY_WAIT)));
    reserve::keep_log(path);
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
        assert_eq!(number("secure_delete"), 1, "sec36: what is removed is overwritten");
        checkpoint(&connection, &dir.path().join("store.sqlite"));
        assert_eq!(number("busy_timeout"), 10_000, "also after a checkpoint, which does not wait");
    }
}
