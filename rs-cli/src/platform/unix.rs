//! Unix: modes and owners of files, and a socket whose peer the kernel names.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::{UnixListener, UnixStream};

use crate::control::Peer;
use crate::outcome::{ErrorCode, Failure};

/// The user who may reach every file anyway.
const ROOT: u32 = 0;

pub(crate) fn default_state_dir() -> Option<PathBuf> {
    if own_uid() == ROOT {
        return Some("/var/lib/remote-support".into());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("remote-support"))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Creates a directory and those above it that are missing, mode 0700, their names durable: what is synced into a
/// directory is lost with the directory's own name.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let parents = missing.into_iter().filter_map(Path::parent);
    parents.map(|parent| if parent == Path::new("") { Path::new(".") } else { parent }).try_for_each(sync_dir)
}

/// Refuses a file or directory that anybody but the owner can read or write, or that belongs to somebody else.
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    let metadata = path.symlink_metadata().map_err(|error| Failure::io(path, "look at", error))?;
    check_owner(path, &metadata)?;
    let safe = if metadata.is_dir() { 0o700 } else { 0o600 };
    refuse_mode(path, &metadata, 0o077, &format!("chmod {safe:o}"))
}

/// Refuses a directory in which others could replace what lies in it.
pub(crate) fn check_not_writable_by_others(path: &Path) -> Result<(), Failure> {
    let metadata = path.metadata().map_err(|error| Failure::io(path, "look at", error))?;
    check_owner(path, &metadata)?;
    refuse_mode(path, &metadata, 0o022, "chmod go-w")
}

fn refuse_mode(path: &Path, metadata: &Metadata, forbidden: u32, remedy: &str) -> Result<(), Failure> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::UnsafePermissions, format!("other users can reach this (mode {mode:04o})"))
        .about(path.display().to_string())
        .next_step(format!("make sure that nobody has used it, then run: {remedy} '{}'", path.display())))
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), Failure> {
    if [own_uid(), ROOT].contains(&metadata.uid()) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::UnsafePermissions, "this belongs to another user")
        .about(path.display().to_string())
        .next_step("run the command as its owner, or choose another directory with --state-dir"))
}

/// Opens a file that holds a secret, after checking the very file that is read: no links, nobody else's.
pub(crate) fn open_private(path: &Path) -> Result<File, Failure> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| Failure::io(path, "read the file", error))?;
    let metadata = file.metadata().map_err(|error| Failure::io(path, "look at", error))?;
    check_owner(path, &metadata)?;
    refuse_mode(path, &metadata, 0o077, "chmod 600")?;
    Ok(file)
}

/// Creates a file with mode 0600; fails where the name is taken.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Bytes that this user can still write on the volume of a path; `None` where the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(path).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Makes new names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The account that runs the program, by what the system knows of it and not by what the environment says.
pub(crate) fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|accounts| name_of(&accounts, uid));
    named.unwrap_or_else(|| format!("uid {uid}"))
}

fn name_of(accounts: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

/// The socket between commands and agent, client's side.
pub(crate) type ControlStream = UnixStream;

pub(crate) async fn connect_control(path: &Path) -> io::Result<ControlStream> {
    UnixStream::connect(path).await
}

/// The socket between commands and agent, agent's side. The caller holds the lock that makes it the only agent.
#[derive(Debug)]
pub(crate) struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlListener {
    /// Takes the place of a socket that an agent left behind when it died.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next caller, and who the kernel says it is.
    pub(crate) async fn accept(&mut self) -> io::Result<(ControlStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let permitted = is_permitted(credentials.uid(), own_uid());
        Ok((stream, Peer::new(format!("uid {}", credentials.uid()), permitted)))
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // The next agent removes what stays behind.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The owner of the agent, and root, who could become the owner anyway.
fn is_permitted(caller: u32, owner: u32) -> bool {
    caller == owner || caller == ROOT
}

/// The terminal as it was, so that it can be put back while a line editor still holds it.
pub(crate) struct TerminalState(Option<rustix::termios::Termios>);

impl TerminalState {
    pub(crate) fn save() -> Self {
        Self(rustix::termios::tcgetattr(io::stdin()).ok())
    }

    pub(crate) fn restore(&self) {
        if let Some(state) = &self.0 {
            // A terminal that is gone needs nothing.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, state);
            // Line editors switch bracketed paste on; this switches it off.
            let _ = io::Write::write_all(&mut io::stdout(), b"\x1b[?2004l");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec40_only_the_owner_and_root_may_call() {
        assert!(is_permitted(1000, 1000) && is_permitted(0, 1000) && is_permitted(0, 0));
        assert!(!is_permitted(1001, 1000) && !is_permitted(65534, 0));
    }

    #[test]
    fn accounts_are_found_by_number() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::/:\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(accounts, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(accounts, 0).as_deref(), Some("root"));
        assert_eq!(name_of(accounts, 7), None);
        assert_eq!(name_of(accounts, 1), None);
    }
}
