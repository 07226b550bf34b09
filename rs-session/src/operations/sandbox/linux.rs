//! The measures of Linux, in the order in which they have to be set up.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Resource, Rlimit, Signal, geteuid, getpid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

use super::{Confinement, FILE_BYTES_MAX, Measure, SandboxError, clean_environment};
use crate::operations::catalog::{Needs, Network};

mod files;
mod mounts;
mod own_users;
mod system_calls;
mod user;

pub(super) const MEASURES: &[Measure] = &[
    always("clean-environment", clean_environment),
    as_root("pid-namespace", in_pid_namespace),
    always("limit-core", |_| limit(Resource::Core, 0)),
    always("limit-cpu", |own| limit(Resource::Cpu, u64::from(own.limits.cpu_seconds))),
    always("limit-files", |own| limit(Resource::Nofile, u64::from(own.limits.files))),
    always("limit-file-size", |_| limit(Resource::Fsize, FILE_BYTES_MAX)),
    always("limit-memory", |own| limit(Resource::As, own.limits.memory_bytes)),
    // The number counts all processes of a user, so it is right only for one that nobody else is.
    Measure {
        name: "limit-processes",
        needs_root: true,
        applies: |own| !own.needs.root,
        set_up: |own| limit(Resource::Nproc, u64::from(own.limits.processes)),
    },
    Measure {
        name: "network-namespace",
        needs_root: true,
        applies: |own| own.needs.network == Network::None,
        set_up: |_| unshare(UnshareFlags::NEWNET),
    },
    as_root("ipc-namespace", |_| {
        unshare(UnshareFlags::NEWIPC.union(UnshareFlags::NEWUTS).union(UnshareFlags::NEWCGROUP))
    }),
    Measure {
        name: "mount-namespace",
        needs_root: false,
        applies: |own| !own.needs.sockets.is_empty(),
        set_up: |own| hide_sockets(&own.needs),
    },
    always("no-new-privileges", |_| set_no_new_privs(true).map(|()| String::new()).map_err(text)),
    as_root("user", |own| user::drop_rights(&own.needs)),
    always("file-rules", |own| files::restrict(&own.needs)),
    // A change of user takes the signal away, so it comes after it.
    always("dies-with-supervisor", dies_with_supervisor),
    always("system-calls", |own| system_calls::restrict(&own.needs)),
];

const fn always(name: &'static str, set_up: fn(&Confinement) -> Result<String, String>) -> Measure {
    Measure { name, needs_root: false, applies: |_| true, set_up }
}

const fn as_root(name: &'static str, set_up: fn(&Confinement) -> Result<String, String>) -> Measure {
    Measure { name, needs_root: true, applies: |_| true, set_up }
}

/// True while this process may do what only root may.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// The supervisor's part: the namespace in which the worker will be the first process.
pub(super) fn prepare_supervisor(confinement: &Confinement) -> Result<(), SandboxError> {
    if confinement.has("pid-namespace") {
        unshare(UnshareFlags::NEWPID).map_err(|why| SandboxError { measure: "pid-namespace", why })?;
    }
    Ok(())
}

/// Who is not root may arrange its view of the file system only in a namespace of users of its own.
fn hide_sockets(needs: &Needs) -> Result<String, String> {
    if is_root() {
        unshare(UnshareFlags::NEWNS)?;
        return mounts::hide(needs);
    }
    own_users::enter()?;
    unshare(UnshareFlags::NEWNS)?;
    mounts::hide(needs)?;
    own_users::drop_rights()?;
    Ok(String::from("-of-own-users"))
}

#[expect(unsafe_code, reason = "the only way to leave a namespace")]
fn unshare(flags: UnshareFlags) -> Result<String, String> {
    // SAFETY: unsafe only with `UnshareFlags::FILES`, which takes descriptors from other threads; it is not used here.
    unsafe { unshare_unsafe(flags) }.map(|()| String::new()).map_err(text)
}

fn text(error: rustix::io::Errno) -> String {
    error.to_string()
}

fn limit(resource: Resource, value: u64) -> Result<String, String> {
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(resource, limit).map(|()| String::new()).map_err(text)
}

/// The supervisor made the namespace; whoever is the first process in one is in one.
fn in_pid_namespace(_: &Confinement) -> Result<String, String> {
    if getpid().is_init() { Ok(String::new()) } else { Err(String::from("the worker is not in one")) }
}

/// The signal first, then the look: the supervisor holds the other end of standard input as long as it lives, so one
/// that died in between is noticed.
fn dies_with_supervisor(_: &Confinement) -> Result<String, String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(text)?;
    let input = std::io::stdin();
    let mut ends = [PollFd::new(&input, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(text)?;
    if ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(String::from("the supervisor is gone"));
    }
    Ok(String::new())
}
