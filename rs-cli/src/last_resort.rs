//! Ending an agent that does not answer: the last resort of whoever revokes.
//!
//! The kernel (on Windows: the system, of the pipe) says which process listens on the control socket. It is ended only if it runs this same program, and through
//! a handle that cannot come to mean another process. Its death cuts the lifelines of its operations, whose supervisors
//! then end everything below them; what has not gone by then is ended here.

use std::path::Path;
use std::time::Duration;

use rs_session::invariant::Invariant;

use crate::control::ControlError;

/// What the processes of a dead agent's operations get to go by themselves, before they are ended too.
pub const LIFELINE_WAIT: Duration = Duration::from_millis(700);
/// Longest time that a killed process may take to be gone.
pub const GONE_WAIT: Duration = Duration::from_secs(2);

/// An agent that was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedAgent {
    /// Its process id.
    pub pid: u32,
    /// Processes of its operations that are gone with it. 0 on Windows: they are in job objects, which end with it.
    pub processes: usize,
}

/// Ends the agent that listens on `socket`, with all processes below it, and returns when none is left.
///
/// # Errors
/// [`ControlError::NotRunning`] where nobody listens; [`ControlError::Io`] where the listener is no agent of this program
/// or cannot be ended, or the system has no means for it.
#[cfg(target_os = "linux")]
pub fn end_agent(socket: &Path) -> Result<EndedAgent, ControlError> {
    use linux::{Handle, descendants, listener, runs_this_program};
    let agent = listener(socket)?;
    let handle = Handle::open(agent)?;
    // The same process still listens, so the handle is its handle.
    if listener(socket)? != agent || !runs_this_program(agent) {
        return Err(std::io::Error::other("another program listens on the control socket").into());
    }
    let below: Vec<Handle> =
        descendants(agent).into_iter().filter_map(|pid| Handle::open(pid).ok()).collect();
    handle.kill()?;
    let mut complete = handle.is_gone_within(GONE_WAIT);
    let start = std::time::Instant::now();
    for one in &below {
        if !one.is_gone_within(LIFELINE_WAIT.saturating_sub(start.elapsed())) {
            one.kill()?;
        }
    }
    complete &= below.iter().all(|one| one.is_gone_within(GONE_WAIT));
    if complete {
        Ok(EndedAgent { pid: agent.unsigned_abs(), processes: below.len() })
    } else {
        Err(std::io::Error::other("a process of the agent does not go").into())
    }
}

/// Ends all access of this process, then the process itself: what an agent does that does not understand its own state any
/// more (SEC55). It takes no lock and asks nobody. The engineers' channels close with the process, and its supervisors end
/// what is left when their lifelines are cut.
pub fn end_own_access(broken: Invariant) -> ! {
    #[cfg(target_os = "linux")]
    linux::kill_work(GONE_WAIT);
    // Nobody may be left to read it.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("ALARM: broken invariant ({}); all access was ended, and the agent ends\n", broken.as_str())
            .as_bytes(),
    );
    std::process::exit(i32::from(BROKEN_EXIT))
}

/// Exit code of an agent that found an invariant broken.
pub const BROKEN_EXIT: u8 = 70;

/// Ends the agent behind `socket`, and returns when it is gone. Windows ends the processes of its operations with it, as
/// nobody else has a handle of their job objects.
///
/// # Errors
/// [`ControlError::NotRunning`] where nobody listens; [`ControlError::Io`] where the listener is no agent of this program
/// or cannot be ended.
#[cfg(windows)]
pub fn end_agent(socket: &Path) -> Result<EndedAgent, ControlError> {
    let Some((pid, agent)) = crate::platform::agent_behind(socket)? else {
        return Err(ControlError::NotRunning);
    };
    let own = std::env::current_exe()?.canonicalize()?;
    if pid == std::process::id() || agent.program()?.canonicalize()? != own {
        return Err(std::io::Error::other("another program listens on the control pipe").into());
    }
    agent.kill()?;
    if agent.is_gone_within(GONE_WAIT) {
        Ok(EndedAgent { pid, processes: 0 })
    } else {
        Err(std::io::Error::other("the agent does not go").into())
    }
}

/// This system has no means for it yet.
///
/// # Errors
/// Always [`ControlError::Io`].
#[cfg(not(any(target_os = "linux", windows)))]
pub fn end_agent(_socket: &Path) -> Result<EndedAgent, ControlError> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use crate::control::ControlError;

    /// The process that listens on a socket, as the kernel names it.
    pub(super) fn listener(socket: &Path) -> Result<i32, ControlError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
            _ => ControlError::Io(error),
        })?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from)?;
        Ok(peer.pid.as_raw_nonzero().get())
    }

    /// Whether a process runs the program file that runs here, also after an update has replaced that file.
    pub(super) fn runs_this_program(pid: i32) -> bool {
        let program = |path: PathBuf| {
            let path = fs::read_link(path).ok()?.into_os_string().into_string().ok()?;
            Some(path.trim_end_matches(" (deleted)").to_owned())
        };
        let theirs = program(format!("/proc/{pid}/exe").into());
        let own = i32::try_from(std::process::id());
        theirs.is_some() && theirs == program("/proc/self/exe".into()) && own != Ok(pid)
    }

    /// A process that stays itself: a number can come to mean another one, this cannot.
    pub(super) struct Handle(OwnedFd);

    impl Handle {
        pub(super) fn open(pid: i32) -> io::Result<Self> {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
            Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
        }

        pub(super) fn kill(&self) -> io::Result<()> {
            match pidfd_send_signal(&self.0, Signal::KILL) {
                // It is gone already.
                Err(rustix::io::Errno::SRCH) => Ok(()),
                sent => Ok(sent?),
            }
        }

        pub(super) fn is_gone_within(&self, wait: Duration) -> bool {
            let wait = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
        }
    }

    /// Kills what runs below the supervisors of this process, until nobody is found any more. The supervisors stay to the
    /// last: what comes loose below them hangs on them again.
    pub(super) fn kill_work(wait: Duration) {
        let start = std::time::Instant::now();
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let supervisors: Vec<i32> =
            parents().into_iter().filter(|(_, up)| *up == own).map(|(pid, _)| pid).collect();
        while start.elapsed() < wait {
            let work: Vec<i32> = descendants(own)
                .into_iter()
                .filter(|pid| !supervisors.contains(pid) && is_alive(*pid))
                .collect();
            if work.is_empty() {
                return;
            }
            for pid in work {
                // One that is gone is what is wanted.
                let _ = Handle::open(pid).and_then(|process| process.kill());
            }
        }
    }

    fn is_alive(pid: i32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        })
    }

    /// Everybody below a process.
    pub(super) fn descendants(root: i32) -> Vec<i32> {
        let parents = parents();
        let leads_to_root = |pid: &i32| {
            let mut up = std::iter::successors(parents.get(pid), |parent| parents.get(parent));
            // A process table that changes while it is read could hold a ring.
            up.by_ref().take(parents.len()).any(|parent| *parent == root)
        };
        parents.keys().copied().filter(leads_to_root).collect()
    }

    /// All processes with their parents.
    fn parents() -> BTreeMap<i32, i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let parent = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?))
        };
        entries.filter_map(parent).collect()
    }
}
