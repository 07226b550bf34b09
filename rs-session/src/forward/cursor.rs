//! How far a collector is, on disk: written whole beside the old one, synced, and put in its place.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::sink::Mark;
use super::source::Position;
use crate::platform;

/// Largest cursor file that is read, in bytes: room for some ten thousand open sessions.
pub const CURSOR_BYTES_MAX: u64 = 1 << 20;
/// Longest wait for somebody else's hold of a cursor.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How often it is tried meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// What is known of one collector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    /// Version of this file.
    pub version: Version,
    /// The events before it were delivered.
    pub position: Position,
    /// What the way to the collector needs to go on exactly there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// How many events were delivered.
    pub delivered: u64,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<DateTime<Utc>>,
}

/// The version of cursor files: 1. Any other is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version(u32);

impl Default for Version {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u32> for Version {
    type Error = &'static str;

    fn try_from(version: u32) -> Result<Self, Self::Error> {
        if version == 1 { Ok(Self(1)) } else { Err("a later version of this program wrote it") }
    }
}

impl From<Version> for u32 {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// The file of one cursor. While it is held, nobody else forwards to the same collector.
#[derive(Debug)]
pub struct CursorFile {
    path: PathBuf,
    cursor: Cursor,
    _lock: File,
}

/// Why a cursor cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// Somebody else forwards to this collector.
    #[error("another process forwards to this collector now")]
    InUse,
    /// It cannot be read or written.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is not a cursor.
    #[error("{path} is not a cursor: {why}; remove the collector and add it again, then say from where")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl CursorFile {
    /// Takes the cursor at `path`, new if there is none.
    ///
    /// # Errors
    /// [`CursorError`].
    pub fn open(path: &Path) -> Result<Self, CursorError> {
        let fault = |source| CursorError::Io { path: path.to_owned(), source };
        let lock_path = path.with_extension("lock");
        let lock = match platform::create_private_new(&lock_path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(&lock_path),
            other => other,
        };
        let lock = lock.map_err(fault)?;
        take_lock(&lock).map_err(fault)?.then_some(()).ok_or(CursorError::InUse)?;
        let cursor = read(path)?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), cursor, _lock: lock })
    }

    /// What it says now.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Puts `cursor` in its place; returns when that would survive a power cut.
    ///
    /// # Errors
    /// [`CursorError::Io`]; then the old one stands.
    pub fn store(&mut self, cursor: Cursor) -> Result<(), CursorError> {
        let path = &self.path;
        write(path, &cursor).map_err(|source| CursorError::Io { path: path.clone(), source })?;
        self.cursor = cursor;
        Ok(())
    }
}

/// Takes `lock` within [`LOCK_WAIT`], and says whether it did: a process that is being started by this one holds it for a
/// moment, until it is another program.
fn take_lock(lock: &File) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => thread::sleep(LOCK_RETRY),
            Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Reads the cursor at `path`, without taking it; `None` when there is none.
///
/// # Errors
/// [`CursorError::Io`] and [`CursorError::Unreadable`].
pub fn read(path: &Path) -> Result<Option<Cursor>, CursorError> {
    let unreadable = |why| CursorError::Unreadable { path: path.to_owned(), why };
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > CURSOR_BYTES_MAX => {
            return Err(unreadable("it is too large".to_owned()));
        }
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CursorError::Io { path: path.to_owned(), source }),
    }
}

/// Writes `cursor` at `path`, all of it or nothing.
fn write(path: &Path, cursor: &Cursor) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = platform::create_private_new(&new)?;
    file.write_all(&serde_json::to_vec(cursor).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), platform::sync_directory)
}
