//! Unix: modes and owners of files, and a socket whose peer the kernel names.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

#[cfg(target_os = "linux")]
use super::identity::{on_behalf, works_as};
#[cfg(not(target_os = "linux"))]
use super::{on_behalf, works_as};
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

/// Where the user's settings lie; for root `/etc/remote-support`.
pub(crate) fn default_config_dir() -> Option<PathBuf> {
    if own_uid() == ROOT {
        return Some("/etc/remote-support".into());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("remote-support"))
}

/// The account whose program is at the other end of a TCP connection within this machine, as the kernel lists it (Linux);
/// none where it does not say.
pub(crate) fn account_of(own: SocketAddr, peer: SocketAddr) -> Option<u32> {
    let table = if own.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    account_in(&std::fs::read_to_string(table).ok()?, own, peer)
}

/// Finds the peer's own end of the connection: there the addresses stand the other way round.
fn account_in(table: &str, own: SocketAddr, peer: SocketAddr) -> Option<u32> {
    let (own, peer) = (listed(own), listed(peer));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = fields.next()? == peer && fields.next()? == own;
        // State, queues, timer and retransmissions stand between.
        ends.then(|| fields.nth(4)?.parse().ok()).flatten()
    })
}

/// An address as the kernel writes it: words of four bytes in the order of this machine, in hexadecimal.
fn listed(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    words.map(|word| format!("{word:08X}")).collect::<String>() + &format!(":{:04X}", address.port())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Creates a directory and those above it that are missing, mode 0700, their names durable: what is synced into a
/// directory is lost with the directory's own name.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    on_behalf(path, || {
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let parents = missing.into_iter().filter_map(Path::parent);
        parents
            .map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })
            .try_for_each(sync_dir)
    })
}

/// Refuses a file or directory that anybody but the owner can read or write, or that belongs to somebody else.
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    let found = on_behalf(path, || path.symlink_metadata());
    let metadata = found.map_err(|error| Failure::io(path, "look at", error))?;
    check_owner(path, &metadata)?;
    let safe = if metadata.is_dir() { 0o700 } else { 0o600 };
    refuse_mode(path, &metadata, 0o077, &format!("chmod {safe:o}"))
}

/// Only Windows closes secrets so that they open on one machine.
pub(crate) fn close_for_machine(_secret: &[u8]) -> io::Result<Vec<u8>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Windows has DPAPI; use `credential` or `key-file`"))
}

/// See [`close_for_machine`].
pub(crate) fn open_for_machine(_closed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    close_for_machine(&[]).map(Zeroizing::new)
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
    if [own_uid(), ROOT].contains(&metadata.uid()) || works_as() == Some(metadata.uid()) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::UnsafePermissions, "this belongs to another user")
        .about(path.display().to_string())
        .next_step("run the command as its owner, or choose another directory with --state-dir"))
}

/// Opens a file that holds a secret, after checking the very file that is read: no links, nobody else's.
pub(crate) fn open_private(path: &Path) -> Result<File, Failure> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let file =
        on_behalf(path, || options.open(path)).map_err(|error| Failure::io(path, "read the file", error))?;
    let metadata = file.metadata().map_err(|error| Failure::io(path, "look at", error))?;
    check_owner(path, &metadata)?;
    refuse_mode(path, &metadata, 0o077, "chmod 600")?;
    Ok(file)
}

/// Creates a file with mode 0600; fails where the name is taken.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    on_behalf(path, || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
}

/// Bytes that this user can still write on the volume of a path; `None` where the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(path).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Makes new names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    on_behalf(path, || File::open(path))?.sync_all()
}

pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The account that acts, by what the system knows of it and not by what the environment says: the one that logged in, which
/// stays what it is through `sudo` and `su`; without a login, the one that runs the program.
pub(crate) fn user_name() -> String {
    let uid = login_uid().unwrap_or_else(|| rustix::process::getuid().as_raw());
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|accounts| name_of(&accounts, uid));
    named.unwrap_or_else(|| format!("uid {uid}"))
}

/// The login that the kernel keeps for this process, where it keeps one.
fn login_uid() -> Option<u32> {
    let kept = std::fs::read_to_string("/proc/self/loginuid").ok()?;
    kept.trim().parse().ok().filter(|uid| *uid != u32::MAX)
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

/// Tells that something was written, made, moved or removed in a folder; not in the folders below it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct FolderWatch {
    inotify: std::sync::Arc<std::os::fd::OwnedFd>,
    watch: i32,
    changed: tokio::sync::mpsc::Receiver<()>,
}

#[cfg(target_os = "linux")]
impl FolderWatch {
    /// Watches from now on, with a thread that waits for the system.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let inotify = std::sync::Arc::new(init(CreateFlags::CLOEXEC)?);
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        let watch = add_watch(&inotify, folder, what)?;
        // One word that waits stands for all events since it was taken.
        let (tell, changed) = tokio::sync::mpsc::channel(1);
        let events = std::sync::Arc::clone(&inotify);
        std::thread::Builder::new().name("folder-watch".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            while !tell.is_closed() && rustix::io::read(&events, &mut buffer).is_ok() {
                // Full: it has been told already.
                let _ = tell.try_send(());
            }
        })?;
        Ok(Self { inotify, watch, changed })
    }

    /// Returns when something has changed since the last call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        self.changed.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(target_os = "linux")]
impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.changed.close();
        // The end of the watch is an event, which wakes the thread.
        let _ = rustix::fs::inotify::remove_watch(&self.inotify, self.watch);
    }
}

/// Without a system that tells, the folder counts as changed now and then.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct FolderWatch(());

#[cfg(not(target_os = "linux"))]
impl FolderWatch {
    pub(crate) fn new(_folder: &Path) -> io::Result<Self> {
        Ok(Self(()))
    }

    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        Ok(())
    }
}

/// Single keys of the terminal, which is put back as it was at the end.
#[derive(Debug)]
pub(crate) struct Keys {
    before: rustix::termios::Termios,
    typed: tokio::sync::mpsc::Receiver<char>,
}

impl Keys {
    /// Keys as they are typed, not shown; `None` where standard input is no terminal.
    pub(crate) fn of_terminal() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok()?;
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &keys).ok()?;
        Some(Self { before, typed: crate::signals::typed_keys() })
    }

    /// The next key; `None` when there will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<char> {
        self.typed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.before);
    }
}

/// Whether this process is a job of a shell, which sees when it stops and can wake it. Without such a shell it shares its
/// group with the first process of the terminal.
pub(crate) fn has_job_control() -> bool {
    rustix::process::getsid(None).is_ok_and(|session| session != rustix::process::getpgrp())
}

/// Stops this job until it is woken, as Ctrl-Z does: this process, and what was started together with it, such as `sudo`.
pub(crate) fn stop_job() {
    // A group of one's own can always be told.
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::STOP);
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
    fn sec41_the_account_at_the_other_end_is_the_one_that_the_kernel_lists() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1\n\
            1: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1\n";
        let (own, peer) = ("127.0.0.1:8080".parse().expect("one"), "127.0.0.1:54321".parse().expect("one"));
        if cfg!(target_endian = "little") {
            assert_eq!(account_in(table, own, peer), Some(1000));
            assert_eq!(account_in(table, peer, own), Some(0), "the other end");
        }
        assert_eq!(account_in(table, own, "127.0.0.1:54322".parse().expect("one")), None);
        assert_eq!(account_in("nonsense\nof\nany kind", own, peer), None);
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else { continue };
            let own = listener.local_addr().expect("bound");
            let client = std::net::TcpStream::connect(own).expect("it listens");
            let peer = client.local_addr().expect("connected");
            assert_eq!(account_of(own, peer), Some(own_uid()), "{listen}");
        }
    }

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
