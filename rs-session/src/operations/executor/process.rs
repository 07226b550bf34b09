//! Operations in processes of their own, ended as a tree.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Chunk, Driver, Executor, Finish, Killed, Order, Running, StartError, Status, Stream};
use crate::operations::plan::{Limits, Plan};
use crate::operations::process_tree::{
    Bounds, Console, MARK, STATE_DIRECTORY, Tree, hold_back, root_directory,
};
use crate::operations::wire::{FrameKind, HEADER_BYTES, PLAN_BYTES_MAX, header, read_header};

/// Most bytes kept of what a worker writes to standard error.
const STDERR_BYTES_MAX: u64 = 8 << 10;
/// How long a supervisor may take to tidy up after its worker's finish.
const TIDY_UP: Duration = Duration::from_secs(2);

/// Runs each plan in a supervisor and a worker process, started from one program. On Windows a job object takes the
/// supervisor's place: the worker is in it before it runs.
///
/// The program must call [`worker::run`](crate::operations::worker::run) when it is started with the arguments given
/// here. It gets a clean environment, `/` as its directory and a process group of its own.
#[derive(Clone, Debug)]
pub struct WorkerExecutor {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl WorkerExecutor {
    /// An executor that starts `program` (an absolute path) with `arguments`.
    ///
    /// # Errors
    /// [`StartError::NotAbsolute`].
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, StartError> {
        let program = program.into();
        if !program.is_absolute() {
            return Err(StartError::NotAbsolute(program));
        }
        let arguments = arguments.into_iter().map(Into::into).collect();
        Ok(Self { program, arguments, environment: Vec::new() })
    }

    /// The same executor with a directory on the state disk, in which `Test-Observability` measures its writes.
    #[must_use]
    pub fn with_state_directory(mut self, directory: &Path) -> Self {
        self.environment.push((STATE_DIRECTORY, directory.into()));
        self
    }

    fn spawn(&self, mark: &str, bounds: &Bounds) -> Result<(Child, Tree), StartError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().env(MARK, mark).env("LANG", "C.UTF-8");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Windows finds no library without it.
        command
            .envs(std::env::var_os("SYSTEMROOT").filter(|_| cfg!(windows)).map(|root| ("SYSTEMROOT", root)));
        command.current_dir(root_directory());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // On Linux the supervisor makes a session of its own, which the leader of a group could not.
        #[cfg(all(unix, not(target_os = "linux")))]
        command.process_group(0);
        hold_back(command.as_std_mut(), Console::None);
        let refuse = |error| StartError::Spawn { program: self.program.clone(), error };
        let mut child = command.spawn().map_err(refuse)?;
        match Tree::take(child.id().unwrap_or_default(), mark, bounds) {
            Ok(tree) => Ok((child, tree)),
            Err(error) => {
                // It has not run, and never will.
                let _ = child.start_kill();
                Err(StartError::NotHeld(error))
            }
        }
    }
}

#[async_trait]
impl Executor for WorkerExecutor {
    async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        plan.check()?;
        let payload = serde_json::to_vec(&plan).map_err(|_| StartError::TooLarge)?;
        if payload.len() > PLAN_BYTES_MAX {
            return Err(StartError::TooLarge);
        }
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let (child, tree) = self.spawn(&mark, &bounds(&plan))?;
        let (running, driver) = Running::new();
        tokio::spawn(Operation { child, tree, plan, payload, start: Instant::now() }.drive(driver));
        Ok(running)
    }
}

/// What an operation's processes are held to together. One that declares no programs has no second process.
fn bounds(plan: &Plan) -> Bounds {
    let Limits { memory_bytes, processes, cpu_seconds, .. } = plan.limits;
    let starts_programs = plan.definition().is_some_and(|definition| !definition.needs.programs.is_empty());
    Bounds {
        memory_bytes,
        processes: if starts_programs { processes } else { 1 },
        cpu_seconds: Some(cpu_seconds),
    }
}

/// One operation while it runs.
struct Operation {
    child: Child,
    tree: Tree,
    plan: Plan,
    payload: Vec<u8>,
    start: Instant,
}

impl Operation {
    async fn drive(mut self, driver: Driver) {
        let Driver { chunks, finish, mut orders } = driver;
        let seconds = Duration::from_secs(u64::from(self.plan.limits.seconds));
        let stderr = self.child.stderr.take().map(|stderr| tokio::spawn(head(stderr)));
        let stdout = self.child.stdout.take();
        // The open input is the lifeline: when it closes, the supervisor takes the tree down.
        let mut lifeline = self.child.stdin.take();
        let payload = std::mem::take(&mut self.payload);
        let measures = OnceLock::new();
        let work = async {
            if let Some(input) = &mut lifeline {
                // A supervisor that is gone is noticed by the end of its output.
                let _ = input.write_all(&header(FrameKind::Plan, payload.len())).await;
                let _ = input.write_all(&payload).await;
                let _ = input.flush().await;
            }
            pump(stdout, &chunks, &self.plan.limits, &measures).await
        };
        let (end, order) = tokio::select! {
            end = work => (end, None),
            order = orders.recv() => {
                let status = order.as_ref().map_or(Status::Killed, |order| order.status);
                (End::Stopped(status, "ended from outside"), order)
            }
            () = chunks.closed() => (End::Stopped(Status::Killed, "nobody reads the output any more"), None),
            () = tokio::time::sleep(seconds) => (End::Stopped(Status::TimeLimit, "the time limit is reached"), None),
        };
        let mut end = self.end(end, order, &mut orders).await;
        drop(lifeline);
        if let Some(stderr) = stderr
            && end.status == Status::Fault
            && let Ok(Ok(text)) = tokio::time::timeout(TIDY_UP, stderr).await
            && !text.is_empty()
        {
            end = Finish { message: format!("{}: {}", end.message, text.trim_end()), ..end };
        }
        end.micros = micros(self.start);
        end.measures = measures.into_inner().unwrap_or_default();
        drop(chunks);
        // The reader may be gone.
        let _ = finish.send(end);
    }

    /// Makes sure that nothing is left, then says how it went.
    async fn end(&mut self, end: End, order: Option<Order>, orders: &mut mpsc::Receiver<Order>) -> Finish {
        match end {
            End::Finished(finish) => {
                // The supervisor ends what is left below it and goes; orders that come meanwhile make it quicker.
                let tidy = async {
                    tokio::select! {
                        status = self.child.wait() => status.ok().map(|_| None),
                        order = orders.recv() => Some(order),
                    }
                };
                match tokio::time::timeout(TIDY_UP, tidy).await {
                    Ok(Some(None)) => self.tidy(finish).await,
                    Ok(Some(Some(order))) => self.kill(finish, Some(order)).await,
                    Ok(None) | Err(_) => self.kill(finish, None).await,
                }
            }
            End::Stopped(status, why) => self.kill(Finish::new(status, why), order).await,
            End::Broken(why) => {
                let status = tokio::time::timeout(TIDY_UP, self.child.wait()).await;
                let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
                let mut finish = self.kill(fault(code, why), None).await;
                finish.killed = finish.killed.filter(|killed| killed.processes > 0);
                finish
            }
        }
    }

    /// Ends what an operation has left that ended by itself.
    async fn tidy(&mut self, mut finish: Finish) -> Finish {
        let tree = self.tree.clone();
        if !tokio::task::spawn_blocking(move || tree.tidy()).await.unwrap_or_default() {
            finish.killed = Some(Killed::default());
        }
        finish
    }

    async fn kill(&mut self, mut finish: Finish, order: Option<Order>) -> Finish {
        let start = Instant::now();
        let mut killed = Killed { complete: true, ..Killed::default() };
        let tree = self.tree.clone();
        if self.child.id().is_some() {
            killed = tokio::task::spawn_blocking(move || tree.kill()).await.unwrap_or_default();
            // Where there is no tree to walk, the worker itself is ended; one that is gone is what is wanted.
            let _ = self.child.start_kill();
            killed.complete &= tokio::time::timeout(TIDY_UP, self.child.wait()).await.is_ok();
        } else {
            killed = tokio::task::spawn_blocking(move || tree.kill_rest()).await.unwrap_or(killed);
        }
        killed.micros = micros(start);
        finish.killed = Some(killed);
        if let Some(reply) = order.and_then(|order| order.reply) {
            // Whoever asked may have gone.
            let _ = reply.send(killed);
        }
        finish
    }
}

/// Why the reading of a worker's output ended.
enum End {
    /// The worker said how it ended.
    Finished(Finish),
    /// Someone wants it to end.
    Stopped(Status, &'static str),
    /// The worker broke the protocol or is gone.
    Broken(String),
}

/// What the supervisor's exit code tells about a worker without a finish.
fn fault(code: Option<i32>, why: String) -> Finish {
    /// SIGXCPU, the signal at the end of the permitted processor time; on Windows ERROR_NOT_ENOUGH_QUOTA.
    const PROCESSOR_TIME: i32 = if cfg!(windows) { 1816 } else { 128 + 24 };
    match code {
        #[cfg(unix)]
        Some(code) if code == i32::from(crate::operations::wire::CROWDED) => {
            Finish::new(Status::Fault, "the limit of processes is reached")
        }
        Some(PROCESSOR_TIME) => Finish::new(Status::TimeLimit, "the processor time limit is reached"),
        Some(code) if cfg!(unix) && code > 128 => {
            Finish::new(Status::Fault, format!("the worker was ended by signal {}", code - 128))
        }
        _ => Finish::new(Status::Fault, why),
    }
}

/// Reads frames until the finish and passes the output on.
async fn pump(
    stdout: Option<ChildStdout>,
    chunks: &mpsc::Sender<Chunk>,
    limits: &Limits,
    measures: &OnceLock<Vec<String>>,
) -> End {
    let Some(stdout) = stdout else { return End::Broken(String::from("the worker has no output")) };
    let mut stdout = tokio::io::BufReader::new(stdout);
    let (mut given, mut pace) = (0_u64, Pace::new(limits.output_bytes_per_second));
    loop {
        let (kind, payload) = match frame(&mut stdout).await {
            Ok(frame) => frame,
            Err(error) => return End::Broken(format!("the worker ended without a result: {error}")),
        };
        let stream = match kind {
            FrameKind::Output => Stream::Output,
            FrameKind::Error => Stream::Error,
            FrameKind::Finish => return finished(&payload, given, &pace),
            FrameKind::Started => {
                let names = serde_json::from_slice(&payload).map_err(|error| error.to_string());
                match names.map(|names| measures.set(names)) {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return End::Broken(String::from("the worker started twice")),
                    Err(why) => return End::Broken(format!("the worker's measures cannot be read: {why}")),
                }
            }
            FrameKind::Plan | FrameKind::Withdraw => {
                return End::Broken(String::from("the worker sent what only goes to it"));
            }
        };
        if measures.get().is_none() {
            return End::Broken(String::from("the worker answered before it said what holds it in"));
        }
        let Ok(text) = String::from_utf8(payload) else {
            return End::Broken(String::from("the worker sent text that is not UTF-8"));
        };
        given = given.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        if given > limits.output_bytes {
            return End::Stopped(Status::OutputLimit, "the worker passed its output limit");
        }
        pace.keep(given).await;
        let text = crate::operations::objects::harmless(&text).into_owned();
        if chunks.send(Chunk { stream, text }).await.is_err() {
            return End::Stopped(Status::Killed, "nobody reads the output any more");
        }
    }
}

/// Holds output to so many bytes a second, a second ahead at most.
struct Pace {
    start: Instant,
    bytes_per_second: u64,
    /// True once it had to wait.
    held: bool,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { start: Instant::now(), bytes_per_second: bytes_per_second.max(1), held: false }
    }

    /// Returns when `given` bytes may have been given.
    async fn keep(&mut self, given: u64) {
        let early = given.saturating_sub(self.bytes_per_second);
        let micros = early.saturating_mul(1_000_000) / self.bytes_per_second;
        let due = self.start + Duration::from_micros(micros);
        if Instant::now() < due {
            self.held = true;
            tokio::time::sleep_until(due).await;
        }
    }
}

/// A worker's own word on its end; it cannot claim what only this side knows.
fn finished(payload: &[u8], given: u64, pace: &Pace) -> End {
    match serde_json::from_slice::<Finish>(payload) {
        Ok(finish) => {
            let mut message: String = finish.message.chars().take(2048).collect();
            if pace.held && message.is_empty() {
                message = format!("the output was held to {} bytes a second", pace.bytes_per_second);
            }
            End::Finished(Finish { output_bytes: given, ..Finish::new(finish.status, message) })
        }
        Err(error) => End::Broken(format!("the worker's last word cannot be read: {error}")),
    }
}

pub(super) async fn frame(stdout: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(FrameKind, Vec<u8>)> {
    let mut head = [0; HEADER_BYTES];
    stdout.read_exact(&mut head).await?;
    let (kind, length) = read_header(head).map_err(std::io::Error::other)?;
    let mut payload = vec![0; length];
    stdout.read_exact(&mut payload).await?;
    Ok((kind, payload))
}

/// The beginning of a stream as harmless text; the rest is read and dropped.
async fn head(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut stream).take(STDERR_BYTES_MAX).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    crate::operations::objects::harmless(&String::from_utf8_lossy(&bytes)).into_owned()
}

pub(super) fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
