//! Root at work in a directory of another account: files there are opened and made with the rights of that account.
//!
//! The agent of a service runs as a user of its own, and its state belongs to that user; the owner's commands run as root.
//! Root that opened files there as root would follow whatever link somebody has put there who has taken the agent over, and
//! would leave files that the agent cannot read. So a command's threads take the account's identity for files (`setfsuid`)
//! and stay root in everything else: who consented, who calls the agent, whom it may signal. What the operator names
//! outside of the directory is opened as root ([`on_behalf`]).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups};

/// The account that owns the state, where that is another than root's, and root runs the program.
static OWNER: OnceLock<Owner> = OnceLock::new();

#[derive(Debug)]
struct Owner {
    user: Uid,
    group: Gid,
    /// The directory that belongs to it.
    root: PathBuf,
}

/// Takes the rights of the account that `root` belongs to, for files and from now on; nothing happens unless root runs the
/// program and the directory is another's. Call it once, while the process has one thread: later ones inherit it.
///
/// # Errors
/// Where the system does not let this process change its identity.
pub(crate) fn work_as_owner_of(root: &Path) -> io::Result<()> {
    let Ok(metadata) = root.symlink_metadata() else { return Ok(()) };
    let user = Uid::from_raw(metadata.uid());
    if !metadata.is_dir() || user.is_root() || !Uid::effective().is_root() {
        return Ok(());
    }
    let owner = Owner { user, group: Gid::from_raw(metadata.gid()), root: std::path::absolute(root)? };
    setgroups(&[owner.group])?;
    take(owner.user, owner.group)?;
    // A second call would be a program's fault; the first one holds.
    let _ = OWNER.set(owner);
    Ok(())
}

/// Takes an identity for files, in this thread.
fn take(user: Uid, group: Gid) -> io::Result<()> {
    // The calls say what was before, also where they fail; what is now is asked by second ones.
    setfsgid(group);
    setfsuid(user);
    if (setfsgid(group), setfsuid(user)) == (group, user) {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

/// The account whose rights are taken for files, if any.
pub(crate) fn works_as() -> Option<u32> {
    OWNER.get().map(|owner| owner.user.as_raw())
}

/// Does something with a file as whoever runs the program, unless the path lies in the directory of the other account.
pub(crate) fn on_behalf<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    match OWNER.get() {
        Some(owner) if !std::path::absolute(path).is_ok_and(|path| path.starts_with(&owner.root)) => {
            as_root(work)
        }
        _ => work(),
    }
}

/// Does something with root's own files, where root works for another account. For work that opens no file of that account.
pub(crate) fn as_root<T>(work: impl FnOnce() -> T) -> T {
    if OWNER.get().is_none() {
        return work();
    }
    // Back to what was before, however the work ends.
    struct Back(Uid, Gid);
    impl Drop for Back {
        fn drop(&mut self) {
            if take(self.0, self.1).is_err() {
                // To go on as root in a directory of somebody else is what must not happen.
                std::process::abort();
            }
        }
    }
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    let _back = Back(setfsuid(root.0), setfsgid(root.1));
    work()
}

/// The account that a directory belongs to; links are not followed.
pub(crate) fn owner_of(directory: &Path) -> io::Result<u32> {
    Ok(fs::symlink_metadata(directory)?.uid())
}
