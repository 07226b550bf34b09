//! The anchor: a small file beside the store that remembers how far the store has come, and on which machine.
//!
//! A store that is older than its anchor was put back, from a backup for example, and may hold a consent that its owner
//! has taken back since. A store whose anchor names another machine, or that has none, was copied. Either way the grant
//! is held until the owner gives a fresh consent (SEC10). A whole directory that is put back on the same machine brings
//! its anchor along: only somebody outside can notice that.
//!
//! The line in the file has a fixed length and is written in place: a crash leaves the old or the new one, it needs no
//! room on a full disk, and an anchor that stays behind its store does no harm. So it need not be synced, but for its
//! first line: a store without its anchor is doubted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::platform;

/// Length of the file in bytes: less than a sector, so that it is written as a whole or not at all.
const LINE_BYTES: usize = 256;

/// Much longer than the line takes to be written.
const WRITE_TIME: Duration = Duration::from_millis(2);

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mark {
    version: u8,
    /// Revision of the store when it was last written.
    revision: u64,
    /// Hash of the machine's identity, where the system has one.
    machine: Option<Sha256>,
}

/// The version that this program writes.
const VERSION: u8 = 1;

#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    machine: Option<Sha256>,
}

impl Anchor {
    /// The anchor of the store at `path`, on this machine.
    pub(super) fn beside(path: &Path) -> Self {
        Self::of_machine(path, platform::machine_identity().as_deref())
    }

    fn of_machine(path: &Path, machine: Option<&str>) -> Self {
        let machine = machine.map(|id| Sha256::of_parts(&[b"rs-consent machine v1", id.trim().as_bytes()]));
        Self { path: path.with_extension("anchor"), machine }
    }

    /// The revision that a store must at least have gone through, if the one with `revision` is not the one that was
    /// last written here.
    pub(super) fn doubts(&self, revision: u64) -> Option<u64> {
        // Another process may be writing the line just now; it does not do so for long.
        self.doubts_once(revision)?;
        std::thread::sleep(WRITE_TIME);
        self.doubts_once(revision)
    }

    fn doubts_once(&self, revision: u64) -> Option<u64> {
        match self.read() {
            // A store in which nothing was ever written needs no anchor yet; from now on it has one.
            None if revision == 0 => {
                // What fails here leaves a store that is held later, which the owner can answer.
                let _none = self.make();
                None
            }
            None => Some(revision),
            Some(mark) => {
                let elsewhere = self.machine.zip(mark.machine).is_some_and(|(ours, its)| ours != its);
                (mark.revision > revision || elsewhere).then_some(mark.revision.max(revision))
            }
        }
    }

    /// Remembers that the store has come to `revision`. What fails leaves the anchor behind, which does no harm.
    pub(super) fn keep(&self, revision: u64) {
        let _stays_behind = self.write(&Mark { version: VERSION, revision, machine: self.machine });
    }

    /// Makes the anchor of a new store, durably: before the first consent is.
    fn make(&self) -> io::Result<()> {
        self.write(&Mark { version: VERSION, revision: 0, machine: self.machine })?;
        fs::OpenOptions::new().write(true).open(&self.path)?.sync_all()?;
        platform::sync_names(&self.path)
    }

    fn read(&self) -> Option<Mark> {
        let text = fs::read_to_string(&self.path).ok().filter(|text| text.len() <= LINE_BYTES)?;
        serde_json::from_str(text.trim_end()).ok().filter(|mark: &Mark| mark.version == VERSION)
    }

    fn write(&self, mark: &Mark) -> io::Result<()> {
        let mut line = serde_json::to_string(mark).map_err(io::Error::other)?;
        let padding = LINE_BYTES.saturating_sub(line.len() + 1);
        line.extend(std::iter::repeat_n(' ', padding));
        line.push('\n');
        if !self.path.exists() {
            platform::make_private_file(&self.path)?;
        }
        let mut file = fs::OpenOptions::new().write(true).open(&self.path)?;
        io::Write::write_all(&mut file, line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec10_an_older_store_and_a_foreign_one_are_doubted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite");
        let here = Anchor::of_machine(&path, Some("here\n"));
        assert_eq!(here.doubts(0), None, "a new store");
        here.keep(7);
        assert_eq!([here.doubts(7), here.doubts(8)], [None, None], "an anchor may stay behind");
        assert_eq!(here.doubts(6), Some(7), "put back");
        let there = Anchor::of_machine(&path, Some("there"));
        assert_eq!(there.doubts(9), Some(9), "copied with its anchor");
        assert_eq!(Anchor::of_machine(&path, None).doubts(7), None, "a system without identities");
        assert_eq!(fs::metadata(here.path.clone()).unwrap().len(), LINE_BYTES as u64);
        fs::remove_file(&here.path).unwrap();
        assert_eq!(here.doubts(7), Some(7), "copied without its anchor");
        fs::write(&here.path, "").unwrap();
        assert_eq!(here.doubts(7), Some(7), "damaged");
    }

    #[test]
    fn the_longest_mark_fits_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = Anchor::of_machine(&dir.path().join("store.sqlite"), Some("machine"));
        anchor.keep(u64::MAX);
        assert_eq!(anchor.read().map(|mark| mark.revision), Some(u64::MAX));
        assert_eq!(fs::metadata(&anchor.path).unwrap().len(), LINE_BYTES as u64);
    }
}
