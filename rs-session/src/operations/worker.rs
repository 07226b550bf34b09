//! Execution in processes of their own: a supervisor that owns the tree, and below it the worker that answers.
//!
//! The program's hidden subcommand calls [`run`]. The first process reads the plan, becomes the reaper of everything
//! below it and starts the same program again as the worker. It stays until the worker is done, then ends whatever is
//! left below it. Its standard input is a lifeline: when the program that started it is gone, for whatever reason, the
//! input ends and the supervisor takes the whole tree down. So an operation never outlives its session.
//!
//! On Windows there is no supervisor: the program that starts the worker holds it, and all below it, in a job object.
//!
//! The worker applies its [`sandbox`], checks the plan once more and runs it.

use std::io::{self, Write};
use std::process::ExitCode;

use super::native::facts;
use super::pipeline::Stop;
use super::plan::Plan;
use super::process_tree::{MARK, STATE_DIRECTORY};
use super::providers::Registry;
use super::run::{ChunkWriter, execute};
use super::sandbox::{self, Applied, Confinement, SandboxError};
use super::wire::{Finish, FrameKind, Status, Stream, read_frame, write_frame};

#[cfg(unix)]
mod supervisor;

/// Environment variable by which the worker knows its supervisor.
pub(super) const SUPERVISOR: &str = "REMOTE_SUPPORT_SUPERVISOR";
/// Everything that a worker's environment may hold.
pub(super) const ENVIRONMENT: &[&str] =
    &[MARK, SUPERVISOR, "LANG", "SYSTEMROOT", "SYSTEMDRIVE", STATE_DIRECTORY];

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
    run_confined(registry, Confinement::of)
}

/// As [`run_with`], each plan held to what `confine` says instead of what the catalog declares: for operations outside
/// the catalog, and for tests that show what a measure does.
#[must_use]
pub fn run_confined(registry: &Registry, confine: impl Fn(&Plan) -> Confinement) -> ExitCode {
    #[cfg(unix)]
    let is_supervisor = std::env::var_os(SUPERVISOR).is_none();
    #[cfg(unix)]
    let result = if is_supervisor { supervisor::supervise(confine) } else { work(registry, confine) };
    #[cfg(windows)]
    let result = work(registry, confine);
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "operation worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The worker: sandbox, plan, answer, finish.
fn work(registry: &Registry, confine: impl Fn(&Plan) -> Confinement) -> io::Result<ExitCode> {
    let plan: Plan = parse(&read_plan()?)?;
    let confinement = confine(&plan);
    let mut stdout = io::stdout().lock();
    let finish = match set_up(&confinement) {
        Ok(applied) => {
            let json = serde_json::to_vec(&applied.measures).map_err(io::Error::other)?;
            write_frame(&mut stdout, FrameKind::Started, &json)?;
            execute(&plan, registry, FrameWriter { writer: &mut stdout })
        }
        Err(error) => Finish::new(Status::Sandbox, error.to_string()),
    };
    let json = serde_json::to_vec(&finish).map_err(io::Error::other)?;
    write_frame(&mut stdout, FrameKind::Finish, &json)?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Facts first, as the sandbox shuts them out.
fn set_up(confinement: &Confinement) -> Result<Applied, SandboxError> {
    facts::prepare(&confinement.needs).map_err(|why| SandboxError { measure: "facts", why })?;
    sandbox::apply(confinement)
}

fn read_plan() -> io::Result<Vec<u8>> {
    let (kind, payload) = read_frame(&mut io::stdin().lock())?;
    if kind != FrameKind::Plan {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is not a plan"));
    }
    Ok(payload)
}

fn parse(plan: &[u8]) -> io::Result<Plan> {
    serde_json::from_slice(plan).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
