//! The processes of a path: starting them, what they cost, where they may run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;

/// A child process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
}

impl Part {
    /// This very program in another role.
    pub(crate) fn role(arguments: &[&str]) -> Outcome<Self> {
        Self::start(Command::new(std::env::current_exe()?).arg("--role").args(arguments))
    }

    /// Any program. What it prints is read with [`Part::line_with`]; what it complains about is not shown, as the ends say each
    /// time that a driver leaves.
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let lines = child.stdout.take().map(BufReader::new);
        Ok(Self { child, lines })
    }

    /// Waits for a line that has this in it.
    pub(crate) fn line_with(&mut self, sign: &str) -> Outcome<String> {
        let lines = self.lines.as_mut().ok_or("the output was taken")?;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(format!("a process ended without saying {sign:?}").into());
            }
            if line.contains(sign) {
                return Ok(line.trim().to_owned());
            }
        }
    }

    /// Waits for the line that ends in an address, and gives its port.
    pub(crate) fn port_behind(&mut self, sign: &str) -> Outcome<u16> {
        let line = self.line_with(sign)?;
        Ok(line.rsplit(':').next().unwrap_or_default().trim().parse()?)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, by the scheduler's own count.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let mut total = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Anonymous memory in use, in KiB.
    pub(crate) fn anonymous_kib(&self) -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no such line")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets all threads of a process run on these processors only.
pub(crate) fn pin(process: u32, processors: &str) -> Outcome<()> {
    let arguments = ["-a", "-c", "-p", processors, &process.to_string()];
    let status = Command::new("taskset").args(arguments).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err("taskset failed".into()) }
}

/// A port that is free right now.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until somebody listens.
pub(crate) fn await_port(port: u16) -> Outcome<()> {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(format!("nobody listens on port {port}").into());
        }
        // Another program's start cannot be waited for otherwise.
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
