//! The records of this node's sessions and its bundles: where they lie, and whether a session still writes one.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use rs_session::bundle::BundleStore;
use rs_session::history::{HistoryError, record_path};
use uuid::Uuid;

use crate::outcome::{ErrorCode, Failure};
use crate::state::{Role, StateDir};

/// Folder of the record files in the node's folder.
pub const SESSIONS_FOLDER: &str = "sessions";
/// Folder of the bundles of diagnostic data in the node's folder.
pub const BUNDLES_FOLDER: &str = "diagnostic-data";

/// The folder of the record files; it may not exist yet.
#[must_use]
pub fn folder(state: &StateDir) -> PathBuf {
    state.role(Role::Node).file(SESSIONS_FOLDER)
}

/// The bundles of diagnostic data of this node.
#[must_use]
pub fn bundles(state: &StateDir) -> BundleStore {
    BundleStore::new(state.role(Role::Node).file(BUNDLES_FOLDER))
}

/// The record file of a session of this node.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is none.
pub fn find(state: &StateDir, session: Uuid) -> Result<PathBuf, Failure> {
    let path = record_path(&folder(state), session);
    if path.exists() { Ok(path) } else { Err(HistoryError::NotFound(session).into()) }
}

/// How many records are being written now: so many sessions are open.
#[must_use]
pub fn written(state: &StateDir) -> usize {
    let files = rs_session::history::record_files(&folder(state)).unwrap_or_default();
    files.iter().filter(|(_, path)| File::open(path).is_ok_and(|file| is_written(&file))).count()
}

/// Whether a running session writes this record: its writer holds a lock until the session is down. The lock is only
/// felt for, never kept, so that it stands in nobody's way.
#[must_use]
pub fn is_written(file: &File) -> bool {
    let found = file.try_lock_shared();
    if found.is_ok() {
        // Closing the file gives the lock back too.
        let _ = file.unlock();
    }
    matches!(found, Err(TryLockError::WouldBlock))
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::NotFound(session) => {
                Self::new(ErrorCode::NotFound, "there is no such session on this node")
                    .about(session.to_string())
                    .next_step("list the sessions with `remote-support history --from-date -90d`")
            }
            HistoryError::Record { path, source } => {
                Self::new(ErrorCode::Integrity, "the record cannot be read")
                    .about(path.display().to_string())
                    .because(source)
                    .next_step("see where it is damaged with `remote-support session verify`")
            }
            HistoryError::Io { path, source } => Self::io(&path, "read the record", source),
            error => Self::new(ErrorCode::Io, "the history of this node cannot be read").because(error),
        }
    }
}
