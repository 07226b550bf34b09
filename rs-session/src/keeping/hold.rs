//! A hold: somebody said that what a session holds must be kept.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::platform;

/// Longest file of a hold, in bytes.
pub const HOLD_BYTES_MAX: u64 = 8 * 1024;
/// Longest reason, in characters.
pub const HOLD_REASON_CHARS_MAX: usize = 1000;

/// Why, by whom and since when a session's contents are kept past their time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Who, as user@host.
    pub by: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// Why a session could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// It is held already.
    #[error("the session is held already")]
    Held,
    /// The reason.
    #[error("a reason has 1 to {HOLD_REASON_CHARS_MAX} characters")]
    Reason,
    /// The file.
    #[error("the hold cannot be written: {0}")]
    Io(#[from] io::Error),
}

fn hold_path(directory: &Path, session: Uuid) -> PathBuf {
    directory.join(format!("{}.hold", session.hyphenated()))
}

/// Keeps the contents of `session` until [`release`]. Durable when this returns.
///
/// # Errors
/// [`HoldError`].
pub fn hold(directory: &Path, session: Uuid, hold: &Hold) -> Result<(), HoldError> {
    may_hold(directory, session, hold)?;
    let path = hold_path(directory, session);
    let mut file = platform::create_private_new(&path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => HoldError::Held,
        _ => error.into(),
    })?;
    let text = serde_json::to_vec(hold).map_err(io::Error::other)?;
    file.write_all(&text)?;
    file.sync_all()?;
    platform::sync_directory(directory)?;
    Ok(())
}

/// Whether [`hold`] would hold the session. Nothing is changed.
///
/// # Errors
/// As [`hold`].
pub fn may_hold(directory: &Path, session: Uuid, hold: &Hold) -> Result<(), HoldError> {
    let characters = hold.reason.chars().count();
    if hold.reason.trim().is_empty() || characters > HOLD_REASON_CHARS_MAX {
        return Err(HoldError::Reason);
    }
    if hold_path(directory, session).exists() { Err(HoldError::Held) } else { Ok(()) }
}

/// Takes a hold away; `false` where there was none. Durable when this returns.
///
/// # Errors
/// Whatever the operating system says.
pub fn release(directory: &Path, session: Uuid) -> io::Result<bool> {
    match fs::remove_file(hold_path(directory, session)) {
        Ok(()) => platform::sync_directory(directory).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The hold on a session, if there is one.
///
/// # Errors
/// When there is one and it cannot be read: then the session counts as held.
pub fn hold_of(directory: &Path, session: Uuid) -> io::Result<Option<Hold>> {
    let file = match File::open(hold_path(directory, session)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(HOLD_BYTES_MAX).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
}
