//! What can go wrong with the store, by what the operator can do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::grant::GrantError;
use crate::request::{RequestError, RequestNumber};

/// Why the store did not do what was asked. If it is a write, nothing of it has happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be opened, read or written.
    #[error("the store {path} cannot be used: look at the directory, its owner and the disk")]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What the operating system or SQLite said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Other accounts can get at the store.
    #[error(
        "other accounts can get at {path} (mode {mode:o}), so it is not used: \
         take the rights away (`chmod go-rwx`) and check who had them"
    )]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The store is damaged. Nothing in it is believed.
    #[error(
        "the store {path} is damaged ({what}), so nobody is let in: \
         move it away, keep it for the record, and give a fresh consent"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A newer version wrote the store.
    #[error(
        "the store {path} has version {found}, this program knows versions up to {known}: update the program"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the store.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// Somebody else wrote for longer than [`BUSY_WAIT`](super::BUSY_WAIT).
    #[error("another process kept the store busy for too long: try again")]
    Busy,
    /// The disk is full.
    #[error("the disk is full, so the store could not be written: make room and try again")]
    NoSpace,
    /// The store cannot be written.
    #[error("the store is on a read-only disk or belongs to another account: it cannot be written")]
    ReadOnly,
    /// The consent makes no grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The support request cannot be changed so.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No such support request.
    #[error("there is no support request {0} on this node: submit one, or look at the list of requests")]
    UnknownRequest(RequestNumber),
    /// Too many support requests wait or are open.
    #[error(
        "{} support requests are waiting or open, which is the most: close some first",
        super::REQUESTS_PENDING_MAX
    )]
    TooManyRequests,
}

impl StoreError {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { path: PathBuf::new(), what: what.into() }
    }

    pub(super) fn unavailable(
        path: &Path,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { path: path.to_owned(), cause: cause.into() }
    }

    /// The same error, with the path filled in where it was not known.
    pub(super) fn at(mut self, file: &Path) -> Self {
        if let Self::Corrupt { path, .. } | Self::Unavailable { path, .. } = &mut self
            && path.as_os_str().is_empty()
        {
            file.clone_into(path);
        }
        self
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Sql;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt) => Self::corrupt("SQLite finds it malformed"),
            Some(ErrorCode::NotADatabase) => Self::corrupt("it is no database"),
            // The schema is ours: a missing table or a column of another type means damage.
            Some(ErrorCode::Unknown) => Self::corrupt(error.to_string()),
            None if matches!(
                error,
                Sql::InvalidColumnType(..) | Sql::FromSqlConversionFailure(..) | Sql::Utf8Error(..)
            ) =>
            {
                Self::corrupt(error.to_string())
            }
            _ => Self::unavailable(Path::new(""), error),
        }
    }
}
