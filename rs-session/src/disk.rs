//! The file layer: what the record and the node log need of a disk, and nothing more.
//!
//! Everything that must survive a crash is written through a [`Disk`] and its [`DiskFile`]s. [`RealDisk`] is the one
//! of the operating system; the tests put one in its place that fails or loses power at each call in turn. So what is
//! durable, and when, can be read off the calls:
//!
//! * bytes that were appended are durable when [`DiskFile::sync`] has returned;
//! * a name that was made, changed or removed is durable when [`Disk::sync_directory`] has returned;
//! * after a failed sync nobody knows what the disk holds. What was not durable before is never synced again: it is read
//!   back from the disk ([`DiskFile::forget_cached`]), or given up.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::platform;

/// The names on a disk.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes an empty file that did not exist, for its owner alone. Its name is not durable yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or whatever the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists, to read it and to append to it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or whatever the operating system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives the file `from` the name `to`; a file of that name is replaced in one step. Both are in one directory.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns when the names in a directory, as they are now, would survive a power cut.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// One open file that is only ever appended to.
pub trait DiskFile: Send + fmt::Debug {
    /// Puts all of `bytes` behind the end of the file.
    ///
    /// # Errors
    /// Whatever the operating system says; a part of the bytes may be in the file then. The caller will not append
    /// again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was appended, and the length of the file, would survive a power cut.
    ///
    /// # Errors
    /// Whatever the operating system says; the caller will not sync again.
    fn sync(&mut self) -> io::Result<()>;

    /// Sets aside room for the file's bytes up to the offset `end`. The length stays. Where the disk cannot do that,
    /// nothing is set aside, and that is no error.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or whatever else the operating system says; what had been set aside before still
    /// is.
    fn reserve(&mut self, end: u64) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn length(&self) -> io::Result<u64>;

    /// Reads at `offset`; 0 bytes at the end of the file, otherwise at least one.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Lets go of what the operating system remembers of the bytes from `offset` on and has no need to write: after a
    /// failed sync it remembers bytes that the disk does not hold. Only a hint where the system has no such call.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn forget_cached(&self, offset: u64) -> io::Result<()>;

    /// Makes this the only writer, as long as the file is open. `false` when another has it.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn try_lock(&self) -> io::Result<bool>;
}

/// The disk of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(platform::create_private_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).append(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        platform::sync_directory(path)
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        platform::reserve(self, end)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        platform::read_at(self, offset, buffer)
    }

    fn forget_cached(&self, offset: u64) -> io::Result<()> {
        platform::forget_cached(self, offset)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match Self::try_lock(self) {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Reads a [`DiskFile`] from an offset to its end.
#[derive(Debug)]
pub struct ReadFrom<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl<'a> ReadFrom<'a> {
    /// Begins at `offset`.
    #[must_use]
    pub fn new(file: &'a dyn DiskFile, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl io::Read for ReadFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_file_is_appended_read_cut_and_locked() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        let mut file = RealDisk.create(&path)?;
        assert_eq!(RealDisk.create(&path).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        file.append(b"one two")?;
        file.reserve(100_000)?;
        assert_eq!(file.length()?, 7, "what is set aside is not in the file");
        file.sync()?;
        RealDisk.sync_directory(directory.path())?;
        file.forget_cached(0)?;
        let mut text = String::new();
        ReadFrom::new(&*file, 4).read_to_string(&mut text)?;
        assert_eq!(text, "two");
        file.truncate(3)?;
        assert!(file.try_lock()?);
        let mut other = RealDisk.open(&path)?;
        assert!(!other.try_lock()?);
        drop(file);
        assert!(other.try_lock()?);
        other.append(b"!")?;
        let moved = directory.path().join("moved");
        RealDisk.rename(&path, &moved)?;
        assert_eq!(fs::read(&moved)?, b"one!");
        // Wine keeps the name of a file that is open.
        drop(other);
        RealDisk.remove(&moved)?;
        assert_eq!(RealDisk.open(&moved).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
        Ok(())
    }
}
