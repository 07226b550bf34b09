//! The node's folder of bundles: each has a folder of its own, named by its id.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rs_consent::digest::Sha256;
use uuid::Uuid;

use super::{ARCHIVE_NAME, BUNDLE_BYTES_MAX, Fault, MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, Released};

/// Name of the file that says what left.
const RELEASED_NAME: &str = "released.json";
/// Most bundles that are kept; then a new one is refused until the operator removes some.
pub(super) const BUNDLES_MAX: usize = 32;
/// Largest archive that is read back: all parts, incompressible, and room for headers and markers.
const ARCHIVE_BYTES_MAX: u64 = 2 * BUNDLE_BYTES_MAX as u64;

/// All bundles of a node.
#[derive(Debug, Clone)]
pub struct BundleStore {
    folder: PathBuf,
}

/// A bundle as it lies on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What is in it.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    pub manifest_sha256: Sha256,
    /// What left, if it left.
    pub released: Option<Released>,
}

/// A bundle could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There are as many as may be.
    #[error(
        "{BUNDLES_MAX} bundles are kept on this node already; the operator removes some with `diagnostic-data remove`"
    )]
    Full,
    /// There is no such bundle.
    #[error("there is no bundle {0} on this node")]
    Unknown(Uuid),
    /// A file is not in its form.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl BundleStore {
    /// The bundles in `folder`, which need not exist yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Stores a new bundle durably: whatever happens later, it is there to be looked at.
    ///
    /// # Errors
    /// [`StoreError::Full`], and those of the disk.
    pub fn keep(&self, manifest: &Manifest, archive: &[u8]) -> Result<Stored, StoreError> {
        if self.ids()?.len() >= BUNDLES_MAX {
            return Err(StoreError::Full);
        }
        let folder = self.path(manifest.bundle_id);
        private_folder(&folder).map_err(io_at(&folder))?;
        let bytes = manifest.encode().map_err(|error| StoreError::Damaged {
            path: folder.join(MANIFEST_NAME),
            why: error.to_string(),
        })?;
        write(&folder.join(ARCHIVE_NAME), archive)?;
        write(&folder.join(MANIFEST_NAME), &bytes)?;
        sync(&folder).map_err(io_at(&folder))?;
        sync(&self.folder).map_err(io_at(&self.folder))?;
        Ok(Stored { manifest: manifest.clone(), manifest_sha256: Sha256::of(&bytes), released: None })
    }

    /// Writes down that a bundle left.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn released(&self, bundle: Uuid, released: &Released) -> Result<(), StoreError> {
        let folder = self.path(bundle);
        let path = folder.join(RELEASED_NAME);
        let bytes = serde_json::to_vec_pretty(released)
            .map_err(|error| StoreError::Damaged { path: path.clone(), why: error.to_string() })?;
        write(&path, &bytes)?;
        sync(&folder).map_err(io_at(&folder))
    }

    /// The ids of all bundles.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn ids(&self) -> Result<Vec<Uuid>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_at(&self.folder))?,
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Every bundle that can be read, the newest first; and what keeps the others from being read.
    ///
    /// # Errors
    /// Those of the disk, for the list itself.
    pub fn list(&self) -> Result<(Vec<Stored>, Vec<StoreError>), StoreError> {
        let (mut bundles, mut faults) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.read(id) {
                Ok(bundle) => bundles.push(bundle),
                Err(error) => faults.push(error),
            }
        }
        bundles.sort_by_key(|bundle| {
            (std::cmp::Reverse(bundle.manifest.collected_at), bundle.manifest.bundle_id)
        });
        Ok((bundles, faults))
    }

    /// One bundle.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Damaged`], and those of the disk.
    pub fn read(&self, bundle: Uuid) -> Result<Stored, StoreError> {
        let folder = self.path(bundle);
        if !folder.is_dir() {
            return Err(StoreError::Unknown(bundle));
        }
        let path = folder.join(MANIFEST_NAME);
        let bytes = read(&path, MANIFEST_BYTES_MAX as u64)?;
        let damaged = |path: &Path, why: String| StoreError::Damaged { path: path.to_owned(), why };
        let manifest = Manifest::decode(&bytes).map_err(|why| damaged(&path, why))?;
        if manifest.bundle_id != bundle {
            return Err(damaged(&path, "it is the manifest of another bundle".into()));
        }
        let path = folder.join(RELEASED_NAME);
        let released = match read(&path, MANIFEST_BYTES_MAX as u64) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error.to_string()))?)
            }
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Stored { manifest, manifest_sha256: Sha256::of(&bytes), released })
    }

    /// The archive of a bundle.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn archive(&self, bundle: Uuid) -> Result<Vec<u8>, StoreError> {
        read(&self.path(bundle).join(ARCHIVE_NAME), ARCHIVE_BYTES_MAX)
    }

    /// Everything in which a bundle on the node differs from its manifest.
    ///
    /// # Errors
    /// As [`BundleStore::read`].
    pub fn verify(&self, bundle: Uuid) -> Result<Vec<Fault>, StoreError> {
        Ok(super::verify(&self.read(bundle)?.manifest, &self.archive(bundle)?))
    }

    /// Removes a bundle from the node; what left is not affected.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], and those of the disk.
    pub fn remove(&self, bundle: Uuid) -> Result<(), StoreError> {
        let folder = self.path(bundle);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Unknown(bundle)),
            removed => removed.map_err(io_at(&folder)),
        }
    }

    /// The folder of a bundle.
    #[must_use]
    pub fn path(&self, bundle: Uuid) -> PathBuf {
        self.folder.join(bundle.to_string())
    }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |error| StoreError::Io { path: path.to_owned(), error }
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(io_at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_at(path))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_at(path))?;
    io::Read::read_to_end(&mut io::Read::take(file, bytes_max + 1), &mut bytes).map_err(io_at(path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            why: format!("it is longer than {bytes_max} bytes"),
        });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::archive::tests::manifest;
    use crate::bundle::pack;

    #[test]
    fn sec35_a_bundle_on_the_node_is_kept_found_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let store = BundleStore::new(directory.path().join("bundles"));
        assert_eq!(store.list().unwrap().0, []);
        let parts = [("var/log/a", &b"text"[..])];
        let archive = pack(parts).unwrap();
        let bundle = manifest(&parts, &archive);
        let kept = store.keep(&bundle, &archive).unwrap();
        assert_eq!(store.read(bundle.bundle_id).unwrap(), kept);
        assert_eq!(store.verify(bundle.bundle_id).unwrap(), []);
        let path = store.path(bundle.bundle_id).join(ARCHIVE_NAME);
        let mut altered = fs::read(&path).unwrap();
        altered[20] ^= 1;
        fs::write(&path, altered).unwrap();
        assert!(!store.verify(bundle.bundle_id).unwrap().is_empty());
        store.remove(bundle.bundle_id).unwrap();
        assert!(matches!(store.remove(bundle.bundle_id), Err(StoreError::Unknown(_))));
    }

    #[test]
    fn sec46_so_many_bundles_and_not_one_more() {
        let directory = tempfile::tempdir().unwrap();
        let store = BundleStore::new(directory.path());
        let archive = pack([]).unwrap();
        for number in 0..BUNDLES_MAX as u128 {
            let bundle = Manifest { bundle_id: Uuid::from_u128(number), ..manifest(&[], &archive) };
            store.keep(&bundle, &archive).unwrap();
        }
        let more = Manifest { bundle_id: Uuid::from_u128(99), ..manifest(&[], &archive) };
        assert!(matches!(store.keep(&more, &archive), Err(StoreError::Full)));
    }
}
