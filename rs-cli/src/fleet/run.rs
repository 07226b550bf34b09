//! The processes that ask the nodes: so many at once, each with an end, and none left behind.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::Fleet;
use super::answer::{Ended, NodeTrouble, Told, Trouble, judge};
use super::shell::NodeShell;
use super::target::Host;
use crate::context::Context;
use crate::outcome::{Exit, Failure};
use crate::platform::ProcessGroup;
use crate::signals::Stops;

/// So many nodes are asked at the same time.
pub const AT_ONCE_MAX: usize = 8;
/// Longest answer of a node, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So many bytes are kept of the end of what the remote shell and the node write to standard error.
pub const WORDS_BYTES_MAX: usize = 16 * 1024;
/// How long output is waited for that somebody holds open when the remote shell has ended.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// What the nodes answered, in the order in which they were named.
pub(crate) struct Asked {
    pub(crate) answers: Vec<(Host, Told<(Value, Exit)>)>,
    /// Whether somebody stopped it before all had answered.
    pub(crate) stopped: bool,
}

/// Runs the command with `words` on each node.
///
/// # Errors
///
/// Where there is no runtime; what goes wrong with a node stands in its place.
pub(crate) fn ask_all(fleet: &Fleet, words: &[String]) -> Result<Asked, Failure> {
    Context::block_on(async {
        let mut stops = Stops::listen();
        Ok(ask_until(stops.next(), fleet, words).await)
    })
}

/// Asks each node, until it is stopped. When the future is dropped, all that runs is ended.
pub(crate) async fn ask_until(stop: impl Future<Output = ()>, fleet: &Fleet, words: &[String]) -> Asked {
    let mut answers: Vec<_> = fleet.hosts.iter().map(|host| (host.clone(), None)).collect();
    let asks = fleet
        .hosts
        .iter()
        .cloned()
        .enumerate()
        .map(|(at, host)| async move { (at, ask(&fleet.shell, &host, words, fleet.limit).await) });
    let mut asks = futures_util::stream::iter(asks).buffer_unordered(AT_ONCE_MAX);
    tokio::pin!(stop);
    let mut stopped = false;
    loop {
        tokio::select! {
            () = &mut stop => {
                stopped = true;
                break;
            }
            answer = asks.next() => match answer {
                Some((at, answer)) => answers[at].1 = Some(answer),
                None => break,
            },
        }
    }
    // Those that still run are ended by this.
    drop(asks);
    let answers = answers
        .into_iter()
        .map(|(host, answer)| (host, answer.unwrap_or_else(|| Err(Trouble::of(NodeTrouble::Stopped, "")))));
    Asked { answers: answers.collect(), stopped }
}

/// Asks one node. When the future is dropped, the process and its group are ended.
async fn ask(shell: &NodeShell, host: &Host, words: &[String], limit: Duration) -> Told<(Value, Exit)> {
    let mut command = Command::new(shell.program());
    command
        .args(shell.arguments(host, words))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    match run(&mut command, limit).await {
        Ok(ended) => judge(&ended),
        Err(Stop::TooLong) => Err(Trouble::of(NodeTrouble::TooLong, "")),
        Err(Stop::Late) => {
            let seconds = limit.as_secs();
            Err(Trouble::of(NodeTrouble::NoAnswer, &format!("no answer in {seconds} s")))
        }
        Err(Stop::Io(error)) => {
            Err(Trouble::of(NodeTrouble::Unreachable, &format!("the remote shell cannot be run: {error}")))
        }
    }
}

/// Why a process was not heard to its end.
enum Stop {
    TooLong,
    Late,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a command to its end, or to the end of its time; nothing of its group is left then.
async fn run(command: &mut Command, limit: Duration) -> Result<Ended, Stop> {
    let mut child = command.spawn()?;
    let group = ProcessGroup::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let heard = timeout(limit, async {
        let reading = async { tokio::try_join!(whole(stdout, &mut out), tail(stderr, &mut err)).map(drop) };
        tokio::pin!(reading);
        let exits = group.leader_exits(&mut child);
        tokio::pin!(exits);
        tokio::select! {
            read = &mut reading => {
                read?;
                exits.await?;
            }
            exited = &mut exits => {
                exited?;
                // Somebody who lives on may hold the other ends; what is there by then is taken.
                if let Ok(read) = timeout(LAST_WORDS_WAIT, reading.as_mut()).await {
                    read?;
                }
            }
        }
        Ok(())
    })
    .await;
    group.end();
    match heard {
        Ok(Ok(())) => Ok(Ended { code: child.wait().await?.code(), out, err }),
        Ok(Err(stop)) => {
            child.kill().await?;
            Err(stop)
        }
        Err(_) => {
            child.kill().await?;
            Err(Stop::Late)
        }
    }
}

/// Reads to the end, up to [`ANSWER_BYTES_MAX`].
async fn whole(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), Stop> {
    let Some(from) = from else { return Ok(()) };
    let mut from = from.take(ANSWER_BYTES_MAX as u64 + 1);
    while from.read_buf(into).await? > 0 {}
    if into.len() > ANSWER_BYTES_MAX { Err(Stop::TooLong) } else { Ok(()) }
}

/// Reads to the end and keeps the last [`WORDS_BYTES_MAX`].
async fn tail(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), Stop> {
    let Some(mut from) = from else { return Ok(()) };
    while from.read_buf(into).await? > 0 {
        if into.len() > 2 * WORDS_BYTES_MAX {
            into.drain(..into.len() - WORDS_BYTES_MAX);
        }
    }
    into.drain(..into.len().saturating_sub(WORDS_BYTES_MAX));
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use super::*;

    /// A remote shell of the test's own: `$1` is the node.
    struct Fake {
        directory: tempfile::TempDir,
        shell: NodeShell,
    }

    impl Fake {
        fn new(text: &str) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let program = directory.path().join("shell");
            std::fs::write(&program, format!("#!/bin/sh\ncd {}\n{text}\n", directory.path().display()))
                .expect("written");
            set_permissions(&program, Permissions::from_mode(0o755)).expect("own file");
            let shell = NodeShell::new(program.to_str(), None).expect("a shell");
            Self { directory, shell }
        }

        fn fleet(&self, hosts: usize, limit: Duration) -> Fleet {
            let hosts = (0..hosts).map(|at| format!("n{at}").parse().expect("a name")).collect();
            Fleet { hosts, shell: self.shell.clone(), limit, options: String::new() }
        }

        async fn ask(&self, limit: Duration) -> Told<(Value, Exit)> {
            ask(&self.shell, &"n0".parse().expect("a name"), &["access".to_owned()], limit).await
        }

        fn path(&self) -> PathBuf {
            self.directory.path().canonicalize().expect("there")
        }

        /// Ended processes are gone as soon as whoever inherits them has seen it.
        async fn nobody_is_left(&self) {
            for _ in 0..1000 {
                if at_work_in(&self.path()) == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{} processes are left", at_work_in(&self.path()));
        }
    }

    /// Living processes that work in a folder.
    fn at_work_in(folder: &Path) -> usize {
        let entries = std::fs::read_dir("/proc").expect("a process table").flatten();
        entries
            .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
            .count()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn f08_of_a_hundred_nodes_five_hang_and_are_listed() {
        let fake = Fake::new(
            "case $1 in n3|n23|n43|n63|n83) exec sleep 1000;; esac\n\
             echo '[]'",
        );
        let since = Instant::now();
        let asked = ask_all(&fake.fleet(100, Duration::from_secs(5)), &["access".to_owned()]).expect("asked");
        assert!(since.elapsed() < Duration::from_secs(50), "{:?}", since.elapsed());
        assert!(!asked.stopped);
        for (at, (host, answer)) in asked.answers.iter().enumerate() {
            assert_eq!(host.as_str(), format!("n{at}"), "in the order in which they were named");
            match answer {
                Ok((value, Exit::Done)) => assert_eq!(*value, serde_json::json!([])),
                Err(trouble) => {
                    assert!(at % 20 == 3, "{at}: {trouble:?}");
                    assert_eq!(
                        (trouble.code.as_str(), trouble.cause.as_str()),
                        ("node-no-answer", "no answer in 5 s")
                    );
                }
                other => panic!("{at}: {other:?}"),
            }
        }
        assert_eq!(at_work_in(&fake.path()), 0, "those that hang are gone");
    }

    #[tokio::test]
    async fn f08_eight_are_asked_at_once_and_no_more() {
        let fake = Fake::new("echo >>started; sleep 1000; :");
        let started = fake.path().join("started");
        let program = fake.shell.program().display().to_string();
        let count = || {
            let lines = std::fs::read_dir("/proc").expect("a process table").flatten();
            let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
            lines.filter(|line| String::from_utf8_lossy(line).contains(&program)).count()
        };
        let begun = async {
            let since = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let told = std::fs::read(&started).map_or(0, |lines| lines.len());
                // A shell that starts its sleep is there twice for a moment.
                let counted = (told, count());
                if counted == (AT_ONCE_MAX, AT_ONCE_MAX) || since.elapsed() > LONG {
                    return counted;
                }
            }
        };
        let fleet = fake.fleet(AT_ONCE_MAX * 3, LONG);
        tokio::select! {
            asked = ask_until(std::future::pending(), &fleet, &[]) => panic!("{:?}", asked.answers),
            counted = begun => assert_eq!(counted, (AT_ONCE_MAX, AT_ONCE_MAX)),
        }
        fake.nobody_is_left().await;
    }

    #[tokio::test]
    async fn f08_a_node_that_hangs_is_ended_with_all_that_it_started() {
        let fake = Fake::new("sleep 1000 & (sleep 1000 &) & sleep 1000");
        let trouble = fake.ask(Duration::from_secs(1)).await.expect_err("late");
        assert_eq!(trouble.code, "node-no-answer");
        assert!(trouble.unknown, "it may have been done");
        fake.nobody_is_left().await;
    }

    /// The control: ended alone, it leaves behind what it started.
    #[tokio::test]
    async fn f08_control_a_shell_that_is_ended_alone_leaves_something_behind() {
        let fake = Fake::new("sleep 1000 & echo >started; sleep 1000");
        let mut command = Command::new(fake.shell.program());
        command.process_group(0);
        let mut child = command.spawn().expect("started");
        let group = ProcessGroup::of(&child);
        while !fake.path().join("started").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().await.expect("killed");
        assert!(at_work_in(&fake.path()) > 0);
        group.end();
        fake.nobody_is_left().await;
    }

    #[tokio::test]
    async fn f08_who_is_not_waited_for_any_more_is_ended() {
        let fake = Fake::new("sleep 1000 & echo >started; sleep 1000");
        let started = fake.path().join("started");
        let begun = async {
            while !started.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answer = fake.ask(LONG) => panic!("{answer:?}"),
            () = begun => {}
        }
        fake.nobody_is_left().await;
    }

    #[tokio::test]
    async fn f08_an_answer_has_so_many_bytes_and_not_one_more() {
        let of =
            |bytes: usize| format!("printf '\"'; head -c {} /dev/zero | tr '\\0' x; printf '\"'", bytes - 2);
        let (value, _) = Fake::new(&of(ANSWER_BYTES_MAX)).ask(LONG).await.expect("at the bound");
        assert_eq!(value.as_str().map(str::len), Some(ANSWER_BYTES_MAX - 2));
        let trouble = Fake::new(&of(ANSWER_BYTES_MAX + 1)).ask(LONG).await.expect_err("past it");
        assert_eq!(trouble.code, "node-answer-too-long");
        let endless = Fake::new("exec yes");
        assert_eq!(endless.ask(LONG).await.expect_err("endless").code, "node-answer-too-long");
        endless.nobody_is_left().await;
    }

    #[tokio::test]
    async fn f08_words_without_end_take_no_memory_and_no_more_than_the_time() {
        let fake = Fake::new("head -c 1000000 /dev/zero | tr '\\0' y >&2; echo last >&2; exit 255");
        assert_eq!(fake.ask(LONG).await.expect_err("it failed").cause, short_of_flood());
        let fake = Fake::new("exec yes >&2");
        assert_eq!(fake.ask(Duration::from_secs(1)).await.expect_err("endless").code, "node-no-answer");
        fake.nobody_is_left().await;
    }

    fn short_of_flood() -> String {
        super::super::answer::short(&"y".repeat(WORDS_BYTES_MAX))
    }

    #[tokio::test]
    async fn f08_who_holds_the_output_open_holds_nobody_up() {
        let fake = Fake::new("sleep 1000 &\necho '[]'");
        let since = Instant::now();
        assert!(fake.ask(LONG).await.is_ok());
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        fake.nobody_is_left().await;
    }

    #[tokio::test]
    async fn f03_a_remote_shell_that_is_gone_is_said() {
        let fake = Fake::new("");
        std::fs::remove_file(fake.shell.program()).expect("own file");
        let trouble = fake.ask(LONG).await.expect_err("nothing to run");
        assert_eq!((trouble.code.as_str(), trouble.unknown), ("node-unreachable", false));
    }
}
