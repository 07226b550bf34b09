//! When each session of this node began, so that a page of ten thousand finds its few rows without reading all of them.
//!
//! What is remembered is read from record 0 of each file, which never changes; everything else is read from the records
//! themselves each time, so nothing here can disagree with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rs_session::history::{self, Transcript};
use uuid::Uuid;

use crate::outcome::Failure;

/// The beginnings that were read.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<HashMap<Uuid, DateTime<Utc>>>);

/// One record file, by the beginning of its session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Begun {
    pub(super) at: DateTime<Utc>,
    pub(super) id: Uuid,
    pub(super) path: PathBuf,
}

impl Index {
    /// All record files, the newest first. One whose beginning cannot be read stands in front, where it is seen.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be read.
    pub(super) fn newest_first(&self, folder: &Path) -> Result<Vec<Begun>, Failure> {
        let files = history::record_files(folder)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > files.len() {
            let there: std::collections::HashSet<Uuid> = files.iter().map(|(id, _)| *id).collect();
            known.retain(|id, _| there.contains(id));
        }
        let mut all: Vec<Begun> = files
            .into_iter()
            .map(|(id, path)| {
                let at = known.get(&id).copied().or_else(|| {
                    let at = beginning(&path)?;
                    known.insert(id, at);
                    Some(at)
                });
                Begun { at: at.unwrap_or(DateTime::<Utc>::MAX_UTC), id, path }
            })
            .collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        Ok(all)
    }
}

fn beginning(path: &Path) -> Option<DateTime<Utc>> {
    Some(Transcript::open(path, None).ok()?.next()?.ok()?.wall_time)
}
