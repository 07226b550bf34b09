//! Windows: access lists come from the directory (`%ProgramData%` for services, the profile for people), and the
//! socket is a named pipe of this machine.
//!
//! A pipe made without an access list of its own can be written by its creator, administrators and the system only;
//! others may at most read, and a caller that cannot write cannot ask anything.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

use crate::control::Peer;
use crate::outcome::Failure;

pub(crate) fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("ProgramData")?.join("RemoteSupport"))
}

pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

/// Access lists are inherited from the directory; there are no modes to check.
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    path.symlink_metadata().map(drop).map_err(|error| Failure::io(path, "look at", error))
}

/// As [`check_private`].
pub(crate) fn check_not_writable_by_others(path: &Path) -> Result<(), Failure> {
    check_private(path)
}

pub(crate) fn open_private(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::io(path, "read the file", error))
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// NTFS journals names by itself; a directory cannot be synced.
pub(crate) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Windows says it only to its own API, which is not called here.
pub(crate) fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".to_owned())
}

pub(crate) fn user_name() -> String {
    let name = std::env::var("USERNAME").unwrap_or_else(|_| "unknown".to_owned());
    std::env::var("USERDOMAIN").map_or(name.clone(), |domain| format!("{domain}\\{name}"))
}

/// What Windows says where every place of a pipe is taken.
const ERROR_PIPE_BUSY: i32 = 231;

/// Pause before a taken pipe is tried again.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// The pipe between commands and agent, client's side.
pub(crate) type ControlStream = NamedPipeClient;

pub(crate) async fn connect_control(path: &Path) -> io::Result<ControlStream> {
    loop {
        match ClientOptions::new().open(pipe_name(path)) {
            // The agent is about to offer the next place; the caller has a time limit of its own.
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// The pipe between commands and agent, agent's side.
#[derive(Debug)]
pub(crate) struct ControlListener {
    name: String,
    next: NamedPipeServer,
}

impl ControlListener {
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let name = pipe_name(path);
        let next =
            ServerOptions::new().first_pipe_instance(true).reject_remote_clients(true).create(&name)?;
        Ok(Self { name, next })
    }

    pub(crate) async fn accept(&mut self) -> io::Result<(NamedPipeServer, Peer)> {
        self.next.connect().await?;
        let following = ServerOptions::new().reject_remote_clients(true).create(&self.name)?;
        let stream = std::mem::replace(&mut self.next, following);
        Ok((stream, Peer::new("a local account with write access to the pipe".to_owned(), true)))
    }
}

/// Pipes live in one flat space of names: the path of the state directory makes the name.
fn pipe_name(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!(r"\\.\pipe\remote-support-{:016x}", hasher.finish())
}

/// The terminal as it was; the console of Windows comes back by itself when the program leaves.
pub(crate) struct TerminalState;

impl TerminalState {
    pub(crate) fn save() -> Self {
        Self
    }

    pub(crate) fn restore(&self) {}
}
