//! The owner's own program: it is run for what happened, with the events on its standard input, one JSON object a line.
//!
//! It gets no arguments, none of the agent's variables and none of its files, runs in `/`, and is ended with everything in its
//! process group when it has exited or its time is over. Exit code 0 means that it has the events; with any other they come
//! again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rs_session::forward::sink::{Encoded, Mark, Pace, Sink, SinkError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::platform;

/// Longest time of one run.
pub const RUN_WAIT: Duration = Duration::from_secs(30);
/// Most events of one run, and the least time between two runs.
pub const PACE: Pace = Pace { most: 100, every: Duration::from_secs(1) };
/// So many bytes are kept of what a program writes to its standard error; more is read and dropped.
pub const WORDS_BYTES_MAX: usize = 1024;
/// The whole environment: where programs are found, and that texts are UTF-8.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];
/// Longest wait for the last words of a program that is gone.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// Runs the program for each delivery.
#[derive(Debug)]
pub(super) struct ProgramSink(pub(super) PathBuf);

#[async_trait]
impl Sink for ProgramSink {
    fn pace(&self) -> Pace {
        PACE
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let input: Vec<u8> = batch.iter().flat_map(|one| one.bytes.iter().chain(b"\n")).copied().collect();
        let start = Instant::now();
        let outcome = Run::of(&self.0).input(&input).within(RUN_WAIT).await;
        let (program, events, ms) = (self.0.display(), batch.len(), start.elapsed().as_millis());
        match &outcome {
            Ok(()) => tracing::info!(%program, events, ms, "the program has taken the events"),
            Err(error) => {
                tracing::warn!(%program, events, ms, %error, "the program has not taken the events")
            }
        }
        outcome.map(|()| None)
    }
}

/// One run of a program.
pub(super) struct Run<'a> {
    program: &'a Path,
    arguments: Vec<&'a str>,
    variables: Vec<(&'a str, &'a str)>,
    input: &'a [u8],
}

impl<'a> Run<'a> {
    pub(super) const fn of(program: &'a Path) -> Self {
        Self { program, arguments: Vec::new(), variables: Vec::new(), input: &[] }
    }

    /// With arguments, which every account of the machine can read.
    pub(super) fn arguments(mut self, arguments: &[&'a str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// With a variable more than [`ENVIRONMENT`].
    pub(super) fn variable(mut self, name: &'a str, value: &'a str) -> Self {
        self.variables.push((name, value));
        self
    }

    pub(super) const fn input(mut self, input: &'a [u8]) -> Self {
        self.input = input;
        self
    }

    /// Runs it; returns when it and its group are gone.
    pub(super) async fn within(self, wait: Duration) -> Result<(), SinkError> {
        let program = platform::check_program(self.program).map_err(|failure| {
            SinkError::Refused(format!("nothing: it is not run: {}", failure.in_a_line()))
        })?;
        let mut command = Command::new(program);
        command
            .args(self.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        platform::detach(&mut command);
        let mut child = command.spawn()?;
        let group = platform::ProcessGroup::of(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        // The exit code tells what a program made of what it was given, also where it did not want to know all of it.
        let feed = async {
            if let Some(mut stdin) = stdin {
                let _written = stdin.write_all(self.input).await;
            }
            std::future::pending::<()>().await;
        };
        let words = tokio::spawn(async move {
            let Some(stderr) = stderr else { return Vec::new() };
            let mut kept = Vec::new();
            let mut stderr = stderr.take(WORDS_BYTES_MAX as u64);
            // What cannot be read is not told.
            let _read = stderr.read_to_end(&mut kept).await;
            let _dropped = tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await;
            kept
        });
        let gone = tokio::select! {
            gone = timeout(wait, group.leader_exits(&mut child)) => gone,
            () = feed => Ok(Ok(())),
        };
        group.end();
        let Ok(gone) = gone else {
            child.kill().await?;
            words.abort();
            return Err(SinkError::Slow("end, and was killed with its process group,"));
        };
        gone?;
        Self::judge(&mut child, words).await
    }

    async fn judge(child: &mut Child, mut words: tokio::task::JoinHandle<Vec<u8>>) -> Result<(), SinkError> {
        let status = child.wait().await?;
        if status.success() {
            words.abort();
            return Ok(());
        }
        let said = timeout(LAST_WORDS_WAIT, &mut words).await;
        words.abort();
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = crate::output::safe(String::from_utf8_lossy(&said).trim());
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(SinkError::Refused(format!("with {status}{said}")))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Script {
        directory: tempfile::TempDir,
        program: PathBuf,
    }

    impl Script {
        fn new(text: &str) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let program = directory.path().join("hook");
            std::fs::write(&program, format!("#!/bin/sh\ncd {}\n{text}", directory.path().display()))
                .expect("written");
            set_permissions(&program, Permissions::from_mode(0o755)).expect("own file");
            Self { directory, program }
        }

        async fn run(&self, input: &[u8], wait: Duration) -> Result<(), SinkError> {
            Run::of(&self.program).input(input).within(wait).await
        }

        /// Living processes that work in the folder of the script.
        fn left(&self) -> usize {
            let entries = std::fs::read_dir("/proc").expect("a process table").flatten();
            let folder = self.directory.path().canonicalize().expect("there");
            entries
                .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
                .count()
        }

        /// Ended processes are gone as soon as whoever inherits them has seen it.
        async fn is_gone(&self) {
            for _ in 0..1000 {
                if self.left() == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{} processes are left", self.left());
        }
    }

    #[tokio::test]
    async fn u10_a_program_that_does_not_end_is_killed_with_its_group() {
        let script = Script::new("sleep 1000 & echo $! > child\nsleep 1000\n");
        let error = script.run(b"x", Duration::from_millis(500)).await.expect_err("too slow");
        assert!(error.to_string().contains("killed with its process group"), "{error}");
        script.is_gone().await;
    }

    /// The control: killed alone, a program leaves behind what it started.
    #[tokio::test]
    async fn u10_control_a_program_that_is_killed_alone_leaves_something_behind() {
        let script = Script::new("sleep 1000 & echo $! > child.new; mv child.new child\nsleep 1000\n");
        let mut command = Command::new(&script.program);
        platform::detach(&mut command);
        let mut child = command.kill_on_drop(true).spawn().expect("started");
        let group = platform::ProcessGroup::of(&child);
        while !script.directory.path().join("child").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().await.expect("killed");
        assert!(script.left() > 0, "what it started lives on");
        group.end();
        script.is_gone().await;
    }

    #[tokio::test]
    async fn u10_what_a_program_leaves_running_neither_holds_it_up_nor_stays() {
        // It keeps the standard input and error.
        let script = Script::new("sleep 1000 &\n");
        let since = Instant::now();
        script.run(&[b'x'; 1 << 20], Duration::from_secs(20)).await.expect("done");
        assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
        script.is_gone().await;
    }

    #[tokio::test]
    async fn u10_the_last_words_are_kept_to_their_bound_and_made_harmless() {
        let script = Script::new("printf '\\033[2J'; printf '\\033[2Jwhy' >&2; exit 3\n");
        let error = script.run(b"", RUN_WAIT).await.expect_err("it failed").to_string();
        assert!(error.ends_with("with exit status: 3: \\u{1b}[2Jwhy"), "{error:?}");
        for (bytes, kept) in [
            (WORDS_BYTES_MAX, WORDS_BYTES_MAX),
            (WORDS_BYTES_MAX + 1, WORDS_BYTES_MAX),
            (1 << 20, WORDS_BYTES_MAX),
        ] {
            let script = Script::new(&format!("head -c {bytes} /dev/zero | tr '\\0' w >&2; exit 1\n"));
            let error = script.run(b"", RUN_WAIT).await.expect_err("it failed").to_string();
            assert_eq!(error.matches('w').count(), kept + "answered with".matches('w').count(), "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_and_is_content_has_its_events() {
        let script = Script::new("exit 0\n");
        script.run(&[b'x'; 1 << 20], RUN_WAIT).await.expect("done");
    }
}
