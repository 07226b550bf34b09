//! Execution in processes of their own: a supervisor that owns the tree, and below it the worker that answers.
//!
//! The program's hidden subcommand calls [`run`]. The first process reads the plan, becomes the reaper of everything
//! below it and starts the same program again as the worker. It stays until the worker is done, then ends whatever is
//! left below it. Its standard input is a lifeline: when the program that started it is gone, for whatever reason, the
//! input ends and the supervisor takes the whole tree down. So an operation never outlives its session.
//!
//! The worker applies its [`sandbox`], checks the plan once more and runs it.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::pipeline::Stop;
use super::plan::Plan;
use super::process_tree::{self, MARK};
use super::providers::Registry;
use super::run::{ChunkWriter, execute};
use super::sandbox;
use super::wire::{Finish, FrameKind, Status, Stream, read_frame, write_frame};

/// Environment variable by which the worker knows its supervisor.
pub(super) const SUPERVISOR: &str = "REMOTE_SUPPORT_SUPERVISOR";
/// Everything that a worker's environment may hold.
pub(super) const ENVIRONMENT: &[&str] = &[MARK, SUPERVISOR, "LANG", "SYSTEMROOT", "STATE_DIRECTORY"];

/// Runs this process as supervisor or worker of one operation, with all providers of the program.
///
/// Call it early in `main`, while the process has one thread.
#[must_use]
pub fn run() -> ExitCode {
    run_with(&Registry::default())
}

/// As [`run`], with a chosen set of providers.
#[must_use]
pub fn run_with(registry: &Registry) -> ExitCode {
    let result = if std::env::var_os(SUPERVISOR).is_some() { work(registry) } else { supervise() };
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "operation worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The worker: sandbox, plan, answer, finish.
fn work(registry: &Registry) -> io::Result<ExitCode> {
    let plan = read_plan()?;
    let mut stdout = io::stdout().lock();
    let finish = match sandbox::apply(&plan.limits) {
        Ok(_) => execute(&plan, registry, FrameWriter { writer: &mut stdout }),
        Err(error) => Finish::new(Status::Sandbox, error.to_string()),
    };
    let json = serde_json::to_vec(&finish).map_err(io::Error::other)?;
    write_frame(&mut stdout, FrameKind::Finish, &json)?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn read_plan() -> io::Result<Plan> {
    let (kind, payload) = read_frame(&mut io::stdin().lock())?;
    if kind != FrameKind::Plan {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is not a plan"));
    }
    serde_json::from_slice(&payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

struct FrameWriter<'a, W: Write> {
    writer: &'a mut W,
}

impl<W: Write> ChunkWriter for FrameWriter<'_, W> {
    fn write(&mut self, stream: Stream, text: &str) -> Result<(), Stop> {
        let kind = match stream {
            Stream::Output => FrameKind::Output,
            Stream::Error => FrameKind::Error,
        };
        let sent = write_frame(self.writer, kind, text.as_bytes()).and_then(|()| self.writer.flush());
        sent.map_err(|_| Stop::Closed)
    }
}

/// The supervisor: starts the worker, waits, ends what is left.
fn supervise() -> io::Result<ExitCode> {
    become_reaper()?;
    let mark = std::env::var(MARK).unwrap_or_default();
    let (kind, plan) = read_frame(&mut io::stdin().lock())?;
    let mut worker = start_worker(&mark)?;
    if let Some(mut input) = worker.stdin.take() {
        // A worker that is gone already is seen by the wait below.
        let _ = write_frame(&mut input, kind, &plan).and_then(|()| input.flush());
    }
    watch_lifeline(mark.clone());
    let code = reap_until_gone(&mut worker)?;
    process_tree::kill(std::process::id(), &mark, false);
    Ok(code)
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
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// This program's file; on Linux also after an update has put another file in its place.
fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(if cfg!(target_os = "linux") && !program.exists() { PathBuf::from("/proc/self/exe") } else { program })
}

/// A directory that is always there and holds nothing of ours.
pub(super) const fn root_directory() -> &'static str {
    if cfg!(windows) { "C:\\" } else { "/" }
}

/// Ends the tree and this process when standard input ends or speaks again.
fn watch_lifeline(mark: String) {
    std::thread::spawn(move || {
        let _ = io::stdin().lock().read(&mut [0; 1]);
        HUNTING.store(true, Ordering::SeqCst);
        process_tree::kill(std::process::id(), &mark, false);
        std::process::exit(i32::from(LIFELINE_CUT));
    });
}

/// Exit code of a supervisor whose starter is gone.
const LIFELINE_CUT: u8 = 3;

#[cfg(target_os = "linux")]
fn become_reaper() -> io::Result<()> {
    // Any process in the argument switches it on for the caller.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
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
