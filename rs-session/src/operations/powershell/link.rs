//! The process at the other end: started, greeted, called, killed as a tree. Blocking; the executor gives it a thread.

use std::ffi::OsString;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::message::{
    CallMessage, FinishMessage, HEADER_BYTES, Hello, Kind, MessageError, ObjectMessage, PROTOCOL,
    TextMessage, read_header,
};
use super::script::endpoint_script;
use crate::operations::catalog::Catalog;
use crate::operations::executor::StartError;
use crate::operations::pipeline::{Sink, Stop};
use crate::operations::plan::Plan;
use crate::operations::process_tree::{Bounds, Console, MARK, Tree, hold_back, root_directory};
use crate::operations::providers::ProviderError;
use crate::operations::wire::Killed;

/// Most bytes of one call's answer. It bounds what filters can hold in memory.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Most bytes that are read and dropped after a filter had enough; an endpoint with more to say is replaced.
pub const DROPPED_BYTES_MAX: u64 = 8 << 20;
/// Most bytes kept of what the endpoint writes to standard error.
const STDERR_BYTES_MAX: usize = 4 << 10;
/// Variables of the node's environment that the endpoint gets, beside its mark: Windows does not work without them.
const ENVIRONMENT: &[&str] = &[
    "SystemRoot",
    "SystemDrive",
    "windir",
    "ProgramData",
    "ProgramFiles",
    "ProgramFiles(x86)",
    "CommonProgramFiles",
];

/// The program that runs the endpoint's script, with arguments that never change.
#[derive(Clone, Debug)]
pub struct EndpointProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
    scripts: Option<PathBuf>,
}

impl EndpointProgram {
    /// A program by its absolute path. The script of a session's rights is its last argument.
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
        Ok(Self { program, arguments: arguments.into_iter().map(Into::into).collect(), scripts: None })
    }

    /// Windows PowerShell 5.1 of this machine, if it is where Windows puts it.
    #[must_use]
    pub fn windows_power_shell() -> Option<Self> {
        let root = std::env::var_os("SystemRoot").filter(|_| cfg!(windows))?;
        let program = PathBuf::from(root).join(r"System32\WindowsPowerShell\v1.0\powershell.exe");
        let arguments = ["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"];
        Self::new(program, arguments).ok().filter(|own| own.program.is_file())
    }

    /// The same program with a folder, by its absolute path, for the scripts that sessions need. Only the node's own
    /// account may write there.
    ///
    /// # Errors
    /// [`StartError::NotAbsolute`].
    pub fn with_scripts_in(mut self, folder: impl Into<PathBuf>) -> Result<Self, StartError> {
        let folder = folder.into();
        if !folder.is_absolute() {
            return Err(StartError::NotAbsolute(folder));
        }
        self.scripts = Some(folder);
        Ok(self)
    }

    /// The script of a plan's rights, as the catalog has it now, named by the rights' hash.
    fn script(&self, plan: &Plan, rights: &str) -> io::Result<PathBuf> {
        let folder =
            self.scripts.as_ref().ok_or_else(|| io::Error::other("there is no folder for its scripts"))?;
        let script = folder.join(format!("{rights}.ps1"));
        let text = endpoint_script(Catalog::of(plan.variant), plan.level, plan.policy);
        if std::fs::read(&script).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(script);
        }
        let draft = folder.join(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&draft)?.write_all(text.as_bytes())?;
        std::fs::rename(&draft, &script)?;
        Ok(script)
    }
}

/// Ends an endpoint's processes from anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Killer {
    child: Arc<Mutex<Child>>,
    tree: Tree,
}

impl Killer {
    /// Ends the whole tree and returns when none of it is left.
    pub(crate) fn kill(&self) -> Killed {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let mut killed = Killed { complete: true, ..Killed::default() };
        if matches!(child.try_wait(), Ok(None)) {
            killed = self.tree.kill();
            // Where there is no tree to walk, the process itself is ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What had come loose from the tree is found by its mark.
        let loose = self.tree.kill_rest();
        killed.processes = killed.processes.saturating_add(loose.processes);
        killed.complete &= loose.complete;
        killed.micros = killed.micros.saturating_add(loose.micros);
        killed
    }
}

/// Longest wait for what a process that is gone said last.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(200);

/// One endpoint process with its pipes.
#[derive(Debug)]
pub(crate) struct Link {
    killer: Killer,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_words: Arc<Mutex<Vec<u8>>>,
    /// Closed when standard error has ended.
    words_end: Mutex<mpsc::Receiver<()>>,
    rights: String,
    number: u64,
}

/// How a call ended.
pub(crate) enum Answer {
    /// The endpoint answered and waits for the next call.
    Whole(Result<(), ProviderError>),
    /// The endpoint cannot be used any more.
    Broken(ProviderError),
}

impl Link {
    /// Starts the program for a plan's rights.
    pub(crate) fn start(program: &EndpointProgram, plan: &Plan, rights: String) -> Result<Self, StartError> {
        let refuse = |error| StartError::Spawn { program: program.program.clone(), error };
        let script = program.script(plan, &rights).map_err(refuse)?;
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let mut command = Command::new(&program.program);
        command.args(&program.arguments).arg(script).env_clear().env(MARK, &mark);
        let kept = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.envs(kept).current_dir(root_directory());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        hold_back(&mut command, Console::Hidden);
        let mut child = command.spawn().map_err(refuse)?;
        // It lives as long as its session, whose calls have time limits of their own.
        let (memory_bytes, processes) = (plan.limits.memory_bytes, plan.limits.processes);
        let tree = match Tree::take(child.id(), &mark, &Bounds { memory_bytes, processes, cpu_seconds: None })
        {
            Ok(tree) => tree,
            Err(error) => {
                // It has not run, and never will.
                let _ = child.kill();
                let _ = child.wait();
                return Err(StartError::NotHeld(error));
            }
        };
        let pipes = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let killer = Killer { child: Arc::new(Mutex::new(child)), tree };
        let (Some(input), Some(output)) = pipes else {
            killer.kill();
            return Err(refuse(io::Error::other("it has no pipes")));
        };
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let words = Arc::clone(&last_words);
        let (at_end, words_end) = mpsc::channel();
        std::thread::spawn(move || {
            keep_head(stderr, &words);
            drop(at_end);
        });
        let words_end = Mutex::new(words_end);
        Ok(Self { killer, input, output: BufReader::new(output), last_words, words_end, rights, number: 0 })
    }

    pub(crate) fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Hash of the rights that the endpoint has.
    pub(crate) fn rights(&self) -> &str {
        &self.rights
    }

    /// Reads the endpoint's first word.
    pub(crate) fn greet(&mut self) -> Result<(), ProviderError> {
        let (kind, payload) = self.frame()?;
        if kind != Kind::Hello {
            return Err(self.distrust("its first word is no hello"));
        }
        let hello: Hello = self.read(&payload)?;
        if hello.protocol != PROTOCOL || hello.rights != self.rights {
            return Err(self.distrust("it speaks another protocol or was made from other rights"));
        }
        Ok(())
    }

    /// Carries out the plan's call and gives its objects to `sink`.
    pub(crate) fn call(&mut self, plan: &Plan, module: Option<&str>, sink: &mut dyn Sink) -> Answer {
        self.number += 1;
        let frame = CallMessage::new(self.number, &plan.call, module).and_then(|message| message.frame());
        let frame = match frame {
            Ok(frame) => frame,
            // Nothing was sent.
            Err(error) => return Answer::Whole(Err(failed(plan, &error.to_string()))),
        };
        if let Err(error) = self.input.write_all(&frame).and_then(|()| self.input.flush()) {
            return Answer::Broken(self.gone(&error));
        }
        self.answer(plan, sink).unwrap_or_else(Answer::Broken)
    }

    /// Reads until the finish. When the sink has enough, the rest is dropped, so that the endpoint can be used again.
    fn answer(&mut self, plan: &Plan, sink: &mut dyn Sink) -> Result<Answer, ProviderError> {
        let mut taken = 0_u64;
        let mut dropped = None;
        loop {
            let (kind, payload) = self.frame()?;
            let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            taken = taken.saturating_add(bytes);
            if kind == Kind::Finish {
                let finish: FinishMessage = self.read(&payload)?;
                self.expect(finish.number)?;
                return Ok(Answer::Whole(match finish.failure.0.as_str() {
                    "" => Ok(()),
                    why => Err(failed(plan, why)),
                }));
            }
            if let Some(dropped) = &mut dropped {
                *dropped += bytes;
                if *dropped > DROPPED_BYTES_MAX {
                    return Err(ProviderError::Stop(Stop::Enough));
                }
                continue;
            }
            if taken > ANSWER_BYTES_MAX {
                return Err(failed(plan, "the answer is larger than 64 MiB; ask for less"));
            }
            let given = match kind {
                Kind::Object => {
                    let message: ObjectMessage = self.read(&payload)?;
                    self.expect(message.number)?;
                    let value =
                        message.value.into_value().map_err(|error| self.distrust(&error.to_string()))?;
                    sink.emit(value)
                }
                Kind::Text => {
                    let message: TextMessage = self.read(&payload)?;
                    self.expect(message.number)?;
                    sink.warn(&format!("{} : {}", plan.command(), message.text.0))
                }
                Kind::Hello | Kind::Call | Kind::Finish => return Err(self.distrust("it spoke out of turn")),
            };
            match given {
                Ok(()) => {}
                Err(Stop::Enough) => dropped = Some(0),
                Err(stop) => return Err(stop.into()),
            }
        }
    }

    fn frame(&mut self) -> Result<(Kind, Vec<u8>), ProviderError> {
        let mut head = [0; HEADER_BYTES];
        if let Err(error) = self.output.read_exact(&mut head) {
            return Err(self.gone(&error));
        }
        let (kind, length) = read_header(head).map_err(|error| self.distrust(&error.to_string()))?;
        let mut payload = vec![0; length];
        match self.output.read_exact(&mut payload) {
            Ok(()) => Ok((kind, payload)),
            Err(error) => Err(self.gone(&error)),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, payload: &[u8]) -> Result<T, ProviderError> {
        serde_json::from_slice(payload)
            .map_err(|error| self.distrust(&MessageError::Payload(error.to_string()).to_string()))
    }

    fn expect(&self, number: u64) -> Result<(), ProviderError> {
        if number == self.number { Ok(()) } else { Err(self.distrust("it answered another call")) }
    }

    fn distrust(&self, what: &str) -> ProviderError {
        self.fault(&format!("the PowerShell endpoint broke the protocol ({what}) and was ended"))
    }

    fn gone(&self, error: &io::Error) -> ProviderError {
        // Both of its streams end together; what it said last may still be on its way.
        let end = self.words_end.lock().unwrap_or_else(PoisonError::into_inner);
        let _ended_or_waited_long_enough = end.recv_timeout(LAST_WORDS_WAIT);
        drop(end);
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "it ended".to_owned(),
            _ => error.to_string(),
        };
        self.fault(&format!(
            "the PowerShell endpoint cannot be reached: {what}; the next command starts a new one"
        ))
    }

    fn fault(&self, what: &str) -> ProviderError {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&words);
        let words: String = crate::operations::objects::harmless(words.trim()).chars().take(500).collect();
        ProviderError::failed(if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") })
    }
}

fn failed(plan: &Plan, why: &str) -> ProviderError {
    ProviderError::failed(format!("{} : {why}", plan.command()))
}

/// Keeps the beginning of a stream; the rest is read and dropped, so that the writer never stands still for it.
fn keep_head(stream: Option<impl Read>, kept: &Mutex<Vec<u8>>) {
    let Some(mut stream) = stream else { return };
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = STDERR_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
}
