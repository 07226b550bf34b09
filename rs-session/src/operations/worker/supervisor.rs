//! Unix: the process between the program and the worker. It is the reaper of everything below it, starts the worker,
//! waits, and ends what is left.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ENVIRONMENT, SUPERVISOR, parse, read_plan};
use crate::operations::plan::Plan;
use crate::operations::process_tree::{self, MARK, root_directory};
use crate::operations::sandbox::{self, Confinement};
use crate::operations::wire::{CROWDED, Finish, FrameKind, Status, write_frame};

/// Starts the worker, waits, ends what is left.
pub(super) fn supervise(confine: impl Fn(&Plan) -> Confinement) -> io::Result<ExitCode> {
    become_reaper()?;
    let mark = std::env::var(MARK).unwrap_or_default();
    let plan = read_plan()?;
    let confinement = confine(&parse(&plan)?);
    // Before the worker's namespace is made, as this process cannot have another thread after that.
    watch(mark.clone(), crowd(&confinement));
    if let Err(error) = sandbox::prepare_supervisor(&confinement) {
        return say(&Finish::new(Status::Sandbox, error.to_string()));
    }
    let mut worker = start_worker(&mark)?;
    // The input stays open as long as this process lives: its end tells the worker that the supervisor is gone.
    let mut input = worker.stdin.take();
    if let Some(input) = &mut input {
        // A worker that is gone already is seen by the wait below.
        let _ = write_frame(input, FrameKind::Plan, &plan).and_then(|()| input.flush());
    }
    let code = reap_until_gone(&mut worker)?;
    // The end of a namespace's first process is the end of all others in it; the kernel sees to that.
    if !confinement.has("pid-namespace") {
        process_tree::kill(std::process::id(), &mark, false);
    }
    Ok(code)
}

/// The last word, where there is no worker to say it.
fn say(finish: &Finish) -> io::Result<ExitCode> {
    let json = serde_json::to_vec(finish).map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    write_frame(&mut stdout, FrameKind::Finish, &json)?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn start_worker(mark: &str) -> io::Result<Child> {
    let mut command = Command::new(own_program()?);
    command.args(std::env::args_os().skip(1)).env_clear().current_dir(root_directory());
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env(MARK, mark).env(SUPERVISOR, std::process::id().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    // A group of its own, which can be ended as a whole without ending the supervisor.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// This program's file; on Linux also after an update has put another file in its place.
fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(if cfg!(target_os = "linux") && !program.exists() { PathBuf::from("/proc/self/exe") } else { program })
}

/// Most processes and threads below this one, where the kernel does not hold the operation to them by its user, and it may
/// start any.
fn crowd(confinement: &Confinement) -> Option<u32> {
    let starts = !confinement.needs.programs.is_empty() && !confinement.has("limit-processes");
    (cfg!(target_os = "linux") && starts && confinement.keeps("limit-processes"))
        .then_some(confinement.limits.processes)
}

/// Ends the tree and this process when standard input ends or speaks again, or when there are more than `most` below.
fn watch(mark: String, most: Option<u32>) {
    std::thread::spawn(move || {
        let code = until_over(most);
        HUNTING.store(true, Ordering::SeqCst);
        process_tree::kill(std::process::id(), &mark, false);
        std::process::exit(i32::from(code));
    });
}

/// Returns the exit code when one of both has come about.
fn until_over(most: Option<u32>) -> u8 {
    #[cfg(target_os = "linux")]
    if let Some(most) = most {
        use rustix::event::{PollFd, PollFlags, poll};
        let input = io::stdin();
        loop {
            let mut ends = [PollFd::new(&input, PollFlags::IN)];
            match poll(&mut ends, Some(&LOOK_AT_CROWD)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
            if process_tree::is_crowded(std::process::id(), most) {
                return CROWDED;
            }
        }
    }
    let _ = most;
    let _ = io::stdin().lock().read(&mut [0; 1]);
    LIFELINE_CUT
}

/// How often the number of processes is looked at: every 50 milliseconds.
#[cfg(target_os = "linux")]
const LOOK_AT_CROWD: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Exit code of a supervisor whose starter is gone.
const LIFELINE_CUT: u8 = 3;

#[cfg(target_os = "linux")]
fn become_reaper() -> io::Result<()> {
    // Any process in the argument switches it on for the caller.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Away from the terminal of whoever started the agent, and in a group of its own.
    rustix::process::setsid()?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn become_reaper() -> io::Result<()> {
    Ok(())
}

/// True while the lifeline's thread ends the tree: from then on nobody is reaped.
static HUNTING: AtomicBool = AtomicBool::new(false);

/// Reaps whatever dies below this process until it is the worker, and gives the worker's exit code.
#[cfg(target_os = "linux")]
fn reap_until_gone(worker: &mut Child) -> io::Result<ExitCode> {
    use rustix::process::{WaitOptions, wait};
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else { continue };
        while HUNTING.load(Ordering::SeqCst) {
            std::thread::park();
        }
        if u32::try_from(pid.as_raw_nonzero().get()) == Ok(worker.id()) {
            let code =
                status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            return Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
    }
}

/// Waits for the worker and gives its exit code.
#[cfg(not(target_os = "linux"))]
fn reap_until_gone(worker: &mut Child) -> io::Result<ExitCode> {
    let status = worker.wait()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
