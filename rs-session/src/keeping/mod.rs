//! How long contents are kept, what keeps them longer, and how they go.
//!
//! Contents go; skeletons stay. A record whose content was removed still has its place in the chain, its time, its kind and
//! its signature, so what remains is verified as before. Each removal is entered in the node's log first
//! ([`crate::node_log::Event::ContentsRemoved`]), so that a removal before its time is told from one that was due.
//!
//! * [`expire`]: contents older than [`CONTENT_DAYS`] days after the end of their session go, unless a [`Hold`] keeps them;
//! * [`remove_contents`]: takes chosen contents out of one record, in one step that a crash cannot halve.
//!
//! **What is promised about freed space.** The new file takes the place of the old one by a rename; then the old file is
//! overwritten with zeros and synced before its name goes, also after a crash ([`clean`]). So nothing of a removed content
//! stays in any file of ours, nor in its blocks on a file system that writes in place (ext4, XFS, NTFS). What a file
//! system that copies on write, a snapshot, a backup or a flash drive keeps is out of our hands.

mod hold;
mod remove;

use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

pub use hold::{HOLD_BYTES_MAX, HOLD_REASON_CHARS_MAX, Hold, HoldError, hold, hold_of, may_hold, release};
pub use remove::{RemoveError, Removed, clean, remove_contents, would_remove};

use crate::history::{HistoryError, TRANSCRIPT_DAYS, record_files};
use crate::record::Stored;

/// Days after the end of its session at which a content goes, when nothing else is said; also the fewest.
pub const CONTENT_DAYS: i64 = TRANSCRIPT_DAYS;
/// Most days that an owner may set: ten years.
pub const CONTENT_DAYS_MAX: i64 = 3650;

/// A session whose contents are gone, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expired {
    /// The session.
    pub session_id: Uuid,
    /// When it ended: the time of its newest record.
    pub ended_at: DateTime<Utc>,
    /// How many contents.
    pub records: u64,
}

/// What a run of [`expire`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiry {
    /// Sessions whose contents went.
    pub expired: Vec<Expired>,
    /// Sessions that are due and are held.
    pub held: Vec<Uuid>,
    /// Records that could not be dealt with, and why. They stay as they are.
    pub failed: Vec<(Uuid, String)>,
}

/// What has to be entered in the node's log before contents go: session, number of contents, reason.
pub type Enter<'a> = dyn FnMut(Uuid, u64, &str) -> io::Result<()> + 'a;

/// Removes the contents of all sessions in `directory` that ended at least `days` ago (from [`CONTENT_DAYS`] to
/// [`CONTENT_DAYS_MAX`]; other values count as the nearer of the two). With `dry_run` nothing is touched. A session that
/// runs is never touched, nor one that is held.
///
/// # Errors
/// [`HistoryError`] when the directory cannot be read. What is wrong with one record is in [`Expiry::failed`].
pub fn expire(
    directory: &Path,
    days: i64,
    now: DateTime<Utc>,
    dry_run: bool,
    enter: &mut Enter<'_>,
) -> Result<Expiry, HistoryError> {
    let days = days.clamp(CONTENT_DAYS, CONTENT_DAYS_MAX);
    if !dry_run {
        clean(directory).map_err(|source| HistoryError::Io { path: directory.to_owned(), source })?;
    }
    let mut expiry = Expiry::default();
    for (session, path) in record_files(directory)? {
        match due(&path, session, days, now) {
            Ok(None) => {}
            Ok(Some(expired)) => match hold_of(directory, session) {
                Ok(None) => expire_one(&path, expired, days, dry_run, enter, &mut expiry),
                // A hold that cannot be read is a hold.
                Ok(Some(_)) | Err(_) => expiry.held.push(session),
            },
            Err(error) => expiry.failed.push((session, error.to_string())),
        }
    }
    Ok(expiry)
}

fn expire_one(
    path: &Path,
    expired: Expired,
    days: i64,
    dry_run: bool,
    enter: &mut Enter<'_>,
    expiry: &mut Expiry,
) {
    let session = expired.session_id;
    if !dry_run {
        let reason = format!("their time was over: {days} days after the end of the session");
        let removed = remove_contents(path, &mut |_| true, &mut |count| enter(session, count, &reason));
        match removed {
            Ok(_) => {}
            Err(RemoveError::Live) => return,
            Err(error) => return expiry.failed.push((session, error.to_string())),
        }
    }
    expiry.expired.push(expired);
}

/// What is due in a record; `None` when nothing is.
fn due(path: &Path, session: Uuid, days: i64, now: DateTime<Utc>) -> Result<Option<Expired>, RemoveError> {
    let mut reader = remove::open(path)?;
    let (mut ended_at, mut records) = (None, 0);
    while let Some(frame) = reader.next_frame()? {
        ended_at = Some(frame.skeleton().wall_time);
        records += u64::from(*frame.content() != Stored::Removed);
    }
    let Some(ended_at) = ended_at.filter(|_| records > 0) else { return Ok(None) };
    let over = now.signed_duration_since(ended_at) >= TimeDelta::days(days);
    Ok(over.then_some(Expired { session_id: session, ended_at, records }))
}
