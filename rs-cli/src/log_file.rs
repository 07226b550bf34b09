//! A log file that does not grow for ever, for a service whose system collects no standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::outcome::Failure;
use crate::platform;

/// Bytes at which a log file is put aside under its [`older`] name; with that one there are at most about twice as many.
pub(crate) const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A log file. Its copies write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct LogFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Goes on behind what stands in `path`; a file that is missing is made for its owner alone.
    ///
    /// # Errors
    ///
    /// What keeps the file from being opened.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let opened = open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| Failure::io(path, "open the log file", error))?;
        Ok(Self(Arc::new(Mutex::new(Inner { path: path.to_owned(), file, bytes }))))
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that cannot be put aside grows on rather than losing what is told.
        if inner.bytes >= LOG_BYTES_MAX && std::fs::rename(&inner.path, older(&inner.path)).is_ok() {
            inner.file = open(&inner.path)?;
            inner.bytes = 0;
        }
        let written = inner.file.write(bytes)?;
        inner.bytes += u64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).file.flush()
    }
}

/// Where the log goes on being kept that was full: beside it, with `.1` behind its name.
pub(crate) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    match platform::create_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    }

    #[test]
    fn l14_a_full_log_is_put_aside_and_one_older_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.log");
        let piece = vec![b'x'; usize::try_from(LOG_BYTES_MAX / 4).expect("small")];
        let mut log = LogFile::open(&path).expect("opened");
        for _ in 0..4 {
            log.write_all(&piece).expect("written");
        }
        assert_eq!((length(&path), length(&older(&path))), (LOG_BYTES_MAX, 0), "full, and not past it");
        log.clone().write_all(b"y").expect("written");
        assert_eq!((length(&path), length(&older(&path))), (1, LOG_BYTES_MAX));
        drop(log);
        let mut again = LogFile::open(&path).expect("opened");
        again.write_all(b"z").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"yz");
        platform::check_private(&path).expect("for its owner alone");
    }
}
