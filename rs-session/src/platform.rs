//! What differs between Windows and Linux in this crate (the operations have a module of their own for it).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes a file that did not exist, readable and writable by its owner alone.
///
/// On Windows the file takes over the access list of its directory, which the program makes private.
pub(crate) fn create_private_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names in a directory durable. Windows has no such call and needs none on NTFS.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
