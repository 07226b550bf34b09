//! Operations that an agent left behind, found and ended by the next one.
//!
//! A supervisor takes its tree down when its agent is gone. One that the agent had stopped for the kill cannot: an agent
//! that dies in that moment leaves it as it stands, and its tree with it.
//!
//! Ours is a process of the same user, or of the one that the node's directory belongs to, that is marked as an operation and
//! names a directory which, seen from its own root, is this node's. So neither another node's operation nor one of a container with the same path is touched. The caller
//! must be the only agent of the node and have started nothing yet.

use std::path::Path;

/// How long leftovers that go on get to end themselves before they are killed: 2 seconds.
#[cfg(target_os = "linux")]
pub const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// Ends what is left of the operations of the node with this state directory, and says how many there were. Returns
/// when they are gone, or could not be ended within seconds. Linux only; elsewhere there is nothing to end.
#[must_use]
pub fn end_leftovers(state_directory: &Path) -> usize {
    #[cfg(target_os = "linux")]
    {
        linux::end(state_directory)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = state_directory;
        0
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat2};
    use rustix::process::{PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};

    use super::GRACE;
    use crate::operations::process_tree::{self, MARK, Proc, STATE_DIRECTORY, Table as _, pid};
    use crate::operations::worker::SUPERVISOR;

    /// Between two looks.
    const LOOK: Duration = Duration::from_millis(5);

    /// A supervisor without an agent.
    struct Leftover {
        number: u32,
        process: OwnedFd,
        mark: String,
    }

    pub(super) fn end(state_directory: &Path) -> usize {
        let (start, mut met) = (Instant::now(), BTreeSet::new());
        loop {
            let found = find(state_directory);
            met.extend(found.iter().map(|leftover| (leftover.number, leftover.mark.clone())));
            if found.is_empty() {
                return met.len();
            }
            if start.elapsed() > GRACE {
                for leftover in found {
                    process_tree::kill(u32::MAX, &leftover.mark, false);
                }
                return met.len();
            }
            for leftover in found {
                // It sees that its agent is gone and ends its tree. One that ended meanwhile is what is wanted.
                let _ = pidfd_send_signal(&leftover.process, Signal::CONT);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn find(state_directory: &Path) -> Vec<Leftover> {
        let Ok(ours) = identity(Path::new("/"), state_directory) else { return Vec::new() };
        // The owner's commands run as root, the agent perhaps as the account that the directory belongs to.
        let owner = fs::metadata(state_directory).map_or_else(|_| getuid().as_raw(), |about| about.uid());
        let accounts = [getuid().as_raw(), owner];
        Proc.numbers().into_iter().filter_map(|number| leftover(number, ours, accounts)).collect()
    }

    /// The descriptor lies between two looks that see the same process, so it is that process's.
    fn leftover(number: u32, ours: (u64, u64), accounts: [u32; 2]) -> Option<Leftover> {
        let before = Proc.look(number).filter(|seen| seen.alive)?;
        let process = pidfd_open(pid(number)?, PidfdFlags::empty()).ok()?;
        let folder = PathBuf::from(format!("/proc/{number}"));
        let environment = fs::read(folder.join("environ")).ok()?;
        let value = |name: &str| {
            let mut entries = environment.split(|byte| *byte == 0);
            entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        let mark = std::str::from_utf8(value(MARK)?).ok().filter(|mark| !mark.is_empty())?.to_owned();
        let named = Path::new(OsStr::from_bytes(value(STATE_DIRECTORY)?));
        let is_ours = value(SUPERVISOR).is_none()
            && accounts.contains(&fs::metadata(&folder).ok()?.uid())
            && named.is_absolute()
            && identity(&folder.join("root"), named).ok() == Some(ours);
        let after = Proc.look(number)?;
        (is_ours && after.start == before.start).then_some(Leftover { number, process, mark })
    }

    /// What tells a directory from any other; links on the way are followed as from that root.
    fn identity(root: &Path, directory: &Path) -> rustix::io::Result<(u64, u64)> {
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let root = open(root, path, Mode::empty())?;
        let about = fstat(openat2(root, directory, path, Mode::empty(), ResolveFlags::IN_ROOT)?)?;
        Ok((about.st_dev, about.st_ino))
    }

    #[cfg(test)]
    mod tests {
        use std::process::{Child, Command, Stdio};

        use super::*;

        fn sleeper(environment: &[(&str, &str)]) -> Child {
            let mut command = Command::new("sleep");
            command.arg("600").env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
            command.spawn().expect("it starts")
        }

        #[test]
        fn sec08_what_does_not_end_itself_is_killed_and_no_stranger_is_touched() {
            let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let link = theirs.path().join("another-name");
            std::os::unix::fs::symlink(ours.path(), &link).unwrap();
            let [ours, theirs, link] = [ours.path(), theirs.path(), &link].map(|path| path.to_str().unwrap());
            let mark = uuid::Uuid::new_v4().simple().to_string();
            let mut strangers = [
                sleeper(&[(STATE_DIRECTORY, ours)]),
                sleeper(&[(MARK, "m"), (STATE_DIRECTORY, theirs)]),
                sleeper(&[(MARK, ""), (STATE_DIRECTORY, ours)]),
                sleeper(&[(MARK, "n"), (STATE_DIRECTORY, &ours[1..])]),
            ];
            assert_eq!(end(Path::new(ours)), 0, "strangers only");
            let mut left = sleeper(&[(MARK, &mark), (STATE_DIRECTORY, link)]);
            assert_eq!(end(Path::new(ours)), 1);
            assert!(!left.wait().unwrap().success(), "killed");
            for stranger in &mut strangers {
                assert!(stranger.try_wait().unwrap().is_none(), "a stranger lives");
                stranger.kill().unwrap();
                stranger.wait().unwrap();
            }
        }
    }
}
