//! What differs between operating systems: the boot clock and its identity, and the modes of files.
//!
//! Only safe interfaces are used. Windows has none for its boot clock, so the clock counts from the start of the
//! process there, under a random identity; what that means is said at [`SystemClock`](crate::clock::SystemClock).

#[cfg(any(feature = "store", target_os = "linux"))]
use std::fs;
#[cfg(feature = "store")]
use std::io;
#[cfg(feature = "store")]
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::BootId;

/// The boot clock of this machine, or of this process where the machine's cannot be had.
#[derive(Clone, Debug)]
pub(crate) enum BootClock {
    /// The machine's own, with the kernel's identity of this boot.
    #[cfg(target_os = "linux")]
    Machine(BootId),
    /// Counts from its making.
    Process(Instant, BootId),
}

impl BootClock {
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Some(id) = linux_boot_id() {
            return Self::Machine(id);
        }
        Self::Process(Instant::now(), BootId::new(Uuid::new_v4()))
    }

    pub(crate) fn read(&self) -> (Duration, BootId) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(id) => (linux_boot_time(), *id),
            Self::Process(start, id) => (start.elapsed(), *id),
        }
    }
}

#[cfg(target_os = "linux")]
fn linux_boot_id() -> Option<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().parse().ok().map(BootId::new)
}

#[cfg(target_os = "linux")]
fn linux_boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// What tells the file at `path` from any other, where the system has that.
#[cfg(feature = "store")]
pub(crate) fn file_identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// What names this machine apart from its copies, where the system knows.
#[cfg(feature = "store")]
pub(crate) fn machine_identity() -> Option<String> {
    let id = fs::read_to_string("/etc/machine-id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Makes `path` as an empty file that only this account can use, and its directory, if they are not there.
///
/// Unix: 0600 and 0700. Windows: the rights of the directory above apply.
#[cfg(feature = "store")]
pub(crate) fn make_private_file(path: &Path) -> io::Result<()> {
    let mut directory = fs::DirBuilder::new();
    let mut file = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        directory.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        directory.recursive(true).create(parent)?;
    }
    match file.write(true).create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes the name of `path` durable, and that of its directory.
#[cfg(feature = "store")]
pub(crate) fn sync_names(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    for directory in path.ancestors().skip(1).take(2) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        fs::File::open(directory)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Room that the disk of `path` has for this account, in bytes; `None` where it cannot be asked. Unix only.
#[cfg(feature = "store")]
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Sets aside room for the first `bytes` of a file that exists; its length stays. Only Linux can do that.
#[cfg(feature = "store")]
pub(crate) fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (path, bytes);
    Ok(())
}

/// Whether the directory of `path` is on a disk that cannot be written, whoever asks.
#[cfg(feature = "store")]
pub(crate) fn is_on_read_only_disk(path: &Path) -> bool {
    // To set the rights that are there changes nothing, and a read-only disk refuses it even to root.
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let same = |metadata: fs::Metadata| fs::set_permissions(parent, metadata.permissions());
    fs::metadata(parent).and_then(same).is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// The file or its directory, if other accounts can use the one or write the other, with its mode.
///
/// Unix only; elsewhere nothing is found.
#[cfg(feature = "store")]
pub(crate) fn exposed(path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        for (path, forbidden) in [(path, 0o077), (parent, 0o022)] {
            let mode = fs::metadata(path)?.mode() & 0o7777;
            if mode & forbidden != 0 {
                return Ok(Some((path.to_owned(), mode)));
            }
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(None)
}
