//! What differs between Windows and Linux in this crate (the operations have a module of their own for it).

pub(crate) mod alarm;

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

/// Opens a file to read what is durable in it. Windows lets only those sync a file who may write it.
pub(crate) fn open_to_sync(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(cfg!(windows)).open(path)
}

/// Which file this is: device and file number. Zeros where the system does not say.
#[cfg(feature = "forward")]
pub(crate) fn file_number(metadata: &std::fs::Metadata) -> (u64, u64) {
    #[cfg(unix)]
    return (std::os::unix::fs::MetadataExt::dev(metadata), std::os::unix::fs::MetadataExt::ino(metadata));
    #[cfg(not(unix))]
    {
        let _ = metadata;
        (0, 0)
    }
}

/// Whether the other side closed the connection, or broke it off.
#[cfg(all(feature = "forward", target_os = "linux"))]
pub(crate) fn has_hung_up(stream: &tokio::net::TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let looked = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_ok() && fds[0].revents().intersects(gone)
}

/// As on Linux; elsewhere it is only known when something is read or written.
#[cfg(all(feature = "forward", not(target_os = "linux")))]
pub(crate) fn has_hung_up(_stream: &tokio::net::TcpStream) -> bool {
    false
}

/// How many bytes wait in the kernel for the other side's acknowledgement.
#[cfg(all(feature = "forward", target_os = "linux"))]
#[expect(unsafe_code, reason = "no safe call asks a socket for its queue")]
pub(crate) fn unacknowledged(stream: &tokio::net::TcpStream) -> io::Result<usize> {
    use rustix::ioctl::{Getter, ioctl};
    /// SIOCOUTQ, which for sockets is TIOCOUTQ (tcp(7)).
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: tcp(7): SIOCOUTQ writes one int, and reads nothing.
    let bytes = unsafe { ioctl(stream, Getter::<SIOCOUTQ, std::ffi::c_int>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// As on Linux; elsewhere nobody says, and a completed write has to do.
#[cfg(all(feature = "forward", not(target_os = "linux")))]
pub(crate) fn unacknowledged(_stream: &tokio::net::TcpStream) -> io::Result<usize> {
    Ok(0)
}

/// Reads at `offset`.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
}

/// Sets aside blocks for the bytes of `file` up to `end`; its length stays. Only Linux can do that; elsewhere, and on
/// file systems that cannot, nothing is set aside.
pub(crate) fn reserve(file: &File, end: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::FallocateFlags;
        use rustix::io::Errno;
        let begin = file.metadata()?.len();
        if end <= begin {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, begin, end - begin) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, end);
        Ok(())
    }
}

/// Drops what the kernel holds of `file` from `offset` on and need not write.
pub(crate) fn forget_cached(file: &File, offset: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(file, offset, None, rustix::fs::Advice::DontNeed)?;
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset);
    Ok(())
}
