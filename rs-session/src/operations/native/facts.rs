//! What an operation may know although its sandbox does not let it look: gathered before it is shut in, by code that
//! knows nothing of the engineer's line.
//!
//! Programs, open files and sockets of other processes are only for root to see, and Landlock hides them from whoever is
//! restricted. Operations that declare [`Needs::processes`] find them here instead. Without a sandbox the facts are
//! gathered when they are asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Mutex;

use crate::operations::catalog::Needs;

/// What is known of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::operations) struct ProcessFacts {
    /// Name of the program's file.
    pub(in crate::operations) program: Option<String>,
    /// Number of its session.
    pub(in crate::operations) session: Option<u32>,
    /// Number of open files.
    pub(in crate::operations) files: Option<u64>,
    /// Inodes of its sockets.
    pub(in crate::operations) sockets: Vec<u64>,
}

/// Processes by their numbers.
pub(in crate::operations) type Processes = BTreeMap<u32, ProcessFacts>;

#[derive(Debug)]
struct Facts {
    processes: Option<Processes>,
    scratch_file: Option<File>,
}

/// `None` until something was prepared.
static PREPARED: Mutex<Option<Facts>> = Mutex::new(None);

/// Gathers what the needs declare. To be called once, before the sandbox is set up.
///
/// # Errors
/// What could not be gathered, and why.
pub(in crate::operations) fn prepare(needs: &Needs) -> Result<(), String> {
    let facts = Facts {
        processes: needs.processes.then(gather),
        scratch_file: if needs.scratch_file {
            Some(super::observability::new_scratch_file().map_err(|error| format!("scratch file: {error}"))?)
        } else {
            None
        },
    };
    *PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(facts);
    Ok(())
}

/// The processes as they were when the operation was prepared; empty if that was not declared.
pub(in crate::operations) fn processes() -> Processes {
    match &*PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(facts) => facts.processes.clone().unwrap_or_default(),
        None => gather(),
    }
}

/// The prepared file, once; `None` where nothing was prepared.
pub(in crate::operations) fn scratch_file() -> Option<File> {
    PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut()?.scratch_file.take()
}

#[cfg(target_os = "linux")]
fn gather() -> Processes {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(|number| (number, facts_of(number))).collect()
}

#[cfg(not(target_os = "linux"))]
fn gather() -> Processes {
    Processes::new()
}

#[cfg(target_os = "linux")]
fn facts_of(number: u32) -> ProcessFacts {
    let name = |path: std::path::PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let program = std::fs::read_link(format!("/proc/{number}/exe")).ok().and_then(name);
    let session =
        std::fs::read_to_string(format!("/proc/{number}/stat")).ok().and_then(|stat| session_of(&stat));
    let Ok(entries) = std::fs::read_dir(format!("/proc/{number}/fd")) else {
        return ProcessFacts { program, session, ..ProcessFacts::default() };
    };
    let mut facts = ProcessFacts { program, session, files: Some(0), sockets: Vec::new() };
    for entry in entries.flatten() {
        facts.files = facts.files.map(|count| count + 1);
        let target = std::fs::read_link(entry.path()).ok();
        facts.sockets.extend(target.as_ref().and_then(|target| socket_inode(target.to_str()?)));
    }
    facts
}

/// The fourth field after the name, which may hold anything.
#[cfg(target_os = "linux")]
fn session_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(target_os = "linux")]
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn own_files_and_sockets_are_found() {
        use std::os::unix::fs::MetadataExt as _;
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let inode =
            File::from(std::os::fd::OwnedFd::from(one.try_clone().unwrap())).metadata().unwrap().ino();
        let own = facts_of(std::process::id());
        assert!(own.sockets.contains(&inode), "{own:?}");
        assert!(own.files >= Some(3) && own.program.is_some(), "{own:?}");
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("pipe:[12]"), None);
        assert_eq!(session_of("12 (a) b) S 7 8 9 0 -1"), Some(9));
        assert_eq!(facts_of(u32::MAX), ProcessFacts::default());
    }
}
