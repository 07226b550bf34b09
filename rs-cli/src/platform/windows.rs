//! Windows: what files are private is said by their access lists, and the socket is a named pipe of this machine.
//!
//! State lies in `%ProgramData%`, where others may make folders; so each folder and file is made with an access list of its
//! own, for this account, the system and administrators, and is looked at before it is used.
//!
//! The name of the pipe is made up anew by each agent and stands in the file that is the socket on Unix. Only who may read
//! that file knows the name, and nobody can take the name before the agent does. The kernel says of each caller who it is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

use super::access::{self, Exposed, Others};
use crate::control::Peer;
use crate::outcome::{ErrorCode, Failure};

mod sys;

use self::sys::Descriptor;
pub(crate) use self::sys::{Process, close_for_machine, open_for_machine, set_required_privileges};

pub(crate) fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("ProgramData")?.join("RemoteSupport"))
}

/// Where the settings of the machine lie, apart from the state.
pub(crate) fn default_config_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("ProgramData")?.join("RemoteSupportKeys"))
}

/// The descriptor of what only this account, the system and administrators can reach. Whoever is one of those makes files
/// that belong to all of them, so that the service and every administrator can go on with each other's.
fn private() -> io::Result<Descriptor> {
    let own = sys::own_account()?;
    if own.is_administrator || own.sid == SYSTEM_SID {
        Descriptor::new(&access::private_to_administrators())
    } else {
        Descriptor::new(&access::private(&own.sid))
    }
}

/// Creates a directory and those above it that are missing, each for this account alone.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    let descriptor = private()?;
    for path in missing.into_iter().rev() {
        match sys::create_directory(path, &descriptor) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Refuses a file or directory that anybody but this account, the system and administrators can read or write, or that
/// belongs to somebody else.
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    check_access(path, &open_itself(path, READ_CONTROL)?, Others::Nothing)
}

/// Refuses a directory in which others could replace what lies in it.
pub(crate) fn check_not_writable_by_others(path: &Path) -> Result<(), Failure> {
    check_access(path, &open_itself(path, READ_CONTROL)?, Others::Read)
}

/// Opens a file that holds a secret, after checking the very file that is read: no links, nobody else's.
pub(crate) fn open_private(path: &Path) -> Result<File, Failure> {
    let file = open_itself(path, GENERIC_READ)?;
    check_access(path, &file, Others::Nothing)?;
    let kind = file.metadata().map_err(|error| Failure::io(path, "look at", error))?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(Failure::new(ErrorCode::UnsafePermissions, "this is no file of its own, but a link or a directory")
        .about(path.display().to_string())
        .next_step("name the file itself"))
}

/// Access rights and flags of CreateFileW.
const READ_CONTROL: u32 = 0x2_0000;
const GENERIC_READ: u32 = 0x8000_0000;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Opens a file or directory; of a link the link itself.
fn open_itself(path: &Path, rights: u32) -> Result<File, Failure> {
    OpenOptions::new()
        .access_mode(rights)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
        .map_err(|error| Failure::io(path, "open", error))
}

fn check_access(path: &Path, file: &File, others: Others) -> Result<(), Failure> {
    let read = || {
        let own = sys::as_in_lists(&sys::own_account()?.sid)?;
        Ok(access::check(&sys::descriptor_of(file)?, &own, others))
    };
    let exposed = match read().map_err(|error| Failure::io(path, "read the access list of", error))? {
        Ok(()) => return Ok(()),
        Err(exposed) => exposed,
    };
    let (what, remedy) = match exposed {
        Exposed::Owner(owner) => (
            format!("this belongs to another account ({owner})"),
            "run the command as its owner, or choose another directory with --state-dir".to_owned(),
        ),
        Exposed::Account(account) => (
            format!("other accounts can reach this ({account})"),
            format!(
                "make sure that nobody has used it, then run: icacls \"{}\" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F \
                 *S-1-5-32-544:(OI)(CI)F",
                path.display()
            ),
        ),
        Exposed::Open => (
            "this has no access list that could be read".to_owned(),
            "keep the state on an NTFS or ReFS volume".to_owned(),
        ),
    };
    Err(Failure::new(ErrorCode::UnsafePermissions, what).about(path.display().to_string()).next_step(remedy))
}

/// Creates a file for this account alone; fails where the name is taken.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    sys::create_file(path, &private()?)
}

/// NTFS journals names by itself; a directory cannot be synced.
pub(crate) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this account can still write on the volume of a path; `None` where the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    sys::free_bytes(path).ok()
}

/// The system does not say it without calls that this program does not make.
pub(crate) fn account_of(_own: std::net::SocketAddr, _peer: std::net::SocketAddr) -> Option<u32> {
    None
}

pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".to_owned())
}

/// The account that runs the program, by what the system knows of it and not by what the environment says.
pub(crate) fn user_name() -> String {
    match sys::own_account() {
        Ok(account) => account.name.unwrap_or(account.sid),
        Err(_) => "unknown".to_owned(),
    }
}

/// What Windows says where every place of a pipe is taken.
const ERROR_PIPE_BUSY: i32 = 231;

/// Pause before a taken pipe is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How every name of an agent's pipe begins; 32 hexadecimal digits follow.
const PIPE_PREFIX: &str = r"\\.\pipe\remote-support-";
const PIPE_DIGITS: usize = 32;

/// The pipe between commands and agent, client's side.
pub(crate) type ControlStream = NamedPipeClient;

pub(crate) async fn connect_control(path: &Path) -> io::Result<ControlStream> {
    let name = pipe_name(path)?;
    loop {
        match ClientOptions::new().open(&name) {
            // The agent is about to offer the next place; the caller has a time limit of its own.
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// The name that the agent left. A file that an agent cannot have written is none.
fn pipe_name(path: &Path) -> io::Result<String> {
    let mut name = String::new();
    let longest = u64::try_from(PIPE_PREFIX.len() + PIPE_DIGITS).unwrap_or_default();
    File::open(path)?.take(longest + 1).read_to_string(&mut name)?;
    let digits = name.strip_prefix(PIPE_PREFIX).unwrap_or_default();
    if digits.len() == PIPE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(name)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The pipe between commands and agent, agent's side. The caller holds the lock that makes it the only agent.
#[derive(Debug)]
pub(crate) struct ControlListener {
    name: String,
    path: PathBuf,
    own: String,
    next: NamedPipeServer,
}

impl ControlListener {
    /// Takes the place of a name that an agent left behind when it died.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let own = sys::own_account()?.sid;
        let name = format!("{PIPE_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let next = place(&name, &own, true)?;
        create_private(path)?.write_all(name.as_bytes())?;
        Ok(Self { name, path: path.to_owned(), own, next })
    }

    /// The next caller, and who the kernel says it is.
    pub(crate) async fn accept(&mut self) -> io::Result<(NamedPipeServer, Peer)> {
        self.next.connect().await?;
        let following = place(&self.name, &self.own, false)?;
        let stream = std::mem::replace(&mut self.next, following);
        let peer = match sys::caller_of(&stream) {
            Ok(caller) => {
                let permitted = is_permitted(&caller.sid, caller.is_administrator, &self.own);
                Peer::new(caller.name.unwrap_or(caller.sid), permitted)
            }
            Err(error) => Peer::new(format!("a caller that does not say who it is ({error})"), false),
        };
        Ok((stream, peer))
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // The next agent removes what stays behind.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One place of the pipe, for a caller of this machine.
fn place(name: &str, own: &str, first: bool) -> io::Result<NamedPipeServer> {
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    sys::create_pipe(&options, name, &Descriptor::new(&access::private_pipe(own))?)
}

/// LocalSystem, who can become anybody.
const SYSTEM_SID: &str = "S-1-5-18";

/// The owner of the agent, and the system and administrators, who could become the owner anyway.
fn is_permitted(caller: &str, is_administrator: bool, owner: &str) -> bool {
    caller == owner || caller == SYSTEM_SID || is_administrator
}

/// The agent whose name stands in `path`, held; `None` where none listens.
pub(crate) fn agent_behind(path: &Path) -> io::Result<Option<(u32, Process)>> {
    /// A caller of which the agent may learn who it is, and no more.
    const SECURITY_IDENTIFICATION: u32 = 0x1_0000;
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).security_qos_flags(SECURITY_IDENTIFICATION).open(pipe_name(path)?)
    };
    match open() {
        Ok(pipe) => {
            let number = sys::server_of(&pipe)?;
            // As long as the pipe is open its maker lives, so the number is still its own.
            Ok(Some((number, Process::open(number)?)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The terminal as it was; the console of Windows comes back by itself when the program leaves.
pub(crate) struct TerminalState;

impl TerminalState {
    pub(crate) fn save() -> Self {
        Self
    }

    pub(crate) fn restore(&self) {}
}

/// Without a system that tells, a folder counts as changed now and then.
#[derive(Debug)]
pub(crate) struct FolderWatch(());

impl FolderWatch {
    pub(crate) fn new(_folder: &Path) -> io::Result<Self> {
        Ok(Self(()))
    }

    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(())
    }
}

/// There is no shell that stops and wakes programs.
pub(crate) fn has_job_control() -> bool {
    false
}

/// Nobody could wake it.
pub(crate) fn stop_job() {}

/// Keys of the terminal; they come with the Enter key behind them.
#[derive(Debug)]
pub(crate) struct Keys {
    typed: tokio::sync::mpsc::Receiver<char>,
}

impl Keys {
    /// Keys as they are sent.
    pub(crate) fn of_terminal() -> Option<Self> {
        Some(Self { typed: crate::signals::typed_keys() })
    }

    /// The next key; `None` when there will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<char> {
        self.typed.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec40_only_the_owner_the_system_and_administrators_may_call() {
        let (owner, other) = ("S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002");
        assert!(is_permitted(owner, false, owner) && is_permitted(SYSTEM_SID, false, owner));
        assert!(is_permitted(other, true, owner) && !is_permitted(other, false, owner));
    }

    #[tokio::test]
    async fn sec40_the_kernel_says_who_calls() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let mut listener = ControlListener::bind(&path).expect("bound");
        let (accepted, connected) = tokio::join!(listener.accept(), connect_control(&path));
        let (_connected, (_stream, peer)) = (connected.expect("connected"), accepted.expect("accepted"));
        assert!(peer.permitted, "{peer:?}");
        assert_eq!(peer.name(), user_name());
    }

    #[tokio::test]
    async fn a_name_that_no_agent_wrote_is_no_agent() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        for text in [
            "",
            "left behind",
            r"\\.\pipe\remote-support-",
            r"\\.\pipe\other-0123456789abcdef0123456789abcdef",
        ] {
            std::fs::write(&path, text).expect("own file");
            let refused = connect_control(&path).await.expect_err("no agent");
            assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{text}");
        }
    }

    #[test]
    fn sec36_what_is_made_private_passes_and_names_its_list() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("a").join("b");
        create_private_dir(&folder).expect("made");
        create_private_dir(&folder).expect("is there");
        let file = folder.join("secret");
        create_private(&file).expect("made").write_all(b"secret").expect("written");
        assert!(create_private(&file).is_err(), "the name is taken");
        for path in [&directory.path().join("a"), &folder, &file] {
            check_private(path).expect("private");
        }
        let mut text = String::new();
        open_private(&file).expect("private").read_to_string(&mut text).expect("read");
        assert_eq!(text, "secret");
        assert!(open_private(&folder).is_err(), "a directory is no secret file");
    }
}
