//! A disk in memory: the names and bytes of records, and room that can run out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rs_session::disk::{Disk, DiskFile};

/// The disk of a simulated node; clones are the same disk.
///
/// ```
/// use std::path::Path;
/// use rs_session::disk::Disk;
/// use rs_simulator::MemoryDisk;
///
/// let disk = MemoryDisk::default();
/// let mut file = disk.create(Path::new("a"))?;
/// file.reserve(3)?;
/// disk.fill();
/// file.append(b"abc")?;
/// assert!(file.append(b"d").is_err(), "only what was set aside is left");
/// assert_eq!(disk.content(Path::new("a")).as_deref(), Some(&b"abc"[..]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Shared>,
    full: bool,
}

type Shared = Arc<Mutex<File>>;

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// Room that was set aside, up to this offset.
    reserved: u64,
    locked: bool,
}

impl MemoryDisk {
    /// From now on nothing fits but what room was set aside for.
    pub fn fill(&self) {
        self.lock().full = true;
    }

    /// There is room again.
    pub fn free(&self) {
        self.lock().full = false;
    }

    /// The bytes of a file; `None` where there is none of that name.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let file = Arc::clone(self.lock().files.get(path)?);
        Some(lock(&file).bytes.clone())
    }

    /// Every name, in order.
    #[must_use]
    pub fn names(&self) -> Vec<PathBuf> {
        self.lock().files.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn handle(&self, file: &Shared) -> Box<dyn DiskFile> {
        Box::new(Handle { disk: self.clone(), file: Arc::clone(file), has_lock: Mutex::new(false) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Shared::default();
        state.files.insert(path.to_owned(), Arc::clone(&file));
        drop(state);
        Ok(self.handle(&file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.lock().files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: MemoryDisk,
    file: Shared,
    has_lock: Mutex<bool>,
}

impl DiskFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let full = self.disk.lock().full;
        let mut file = lock(&self.file);
        let end = (file.bytes.len() + bytes.len()) as u64;
        if full && end > file.reserved {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        let full = self.disk.lock().full;
        let mut file = lock(&self.file);
        if full && end > file.reserved {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.reserved = file.reserved.max(end);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        lock(&self.file).bytes.truncate(length);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.file).bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = lock(&self.file);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.bytes.len());
        let rest = &file.bytes[from..];
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn forget_cached(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut own = lock(&self.has_lock);
        let mut file = lock(&self.file);
        *own |= !file.locked;
        file.locked = true;
        Ok(*own)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if *lock(&self.has_lock) {
            lock(&self.file).locked = false;
        }
    }
}
