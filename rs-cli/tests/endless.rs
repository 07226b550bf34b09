//! An operation that never stops printing, as fast as it can, through the real agent: cut at its limit, memory flat
//! (SEC46).
//!
//! Everything is the real program. The agent is its `agent run`, started from this test program, whose one other part is a
//! worker that answers `Get-Date` without end. A worker is started as the program of its agent, so it is found here.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "tests that bring their own main")]

#[path = "e2e/daemon.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod daemon;
#[path = "it/machine.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod machine;
#[path = "e2e/processes.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod processes;
#[path = "e2e/site.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod site;

use std::process::{Command, ExitCode};
use std::time::Instant;

use rs_cli::state::Role;
use rs_session::operations::pipeline::Sink;
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Object, Plan, worker};

use crate::daemon::until_true;
use crate::site::Site;

/// What the operation may print.
const LIMIT: u64 = 24 << 20;
/// What the agent's largest memory may grow by while it carries that much a second time: a sixth of it. The first time it
/// makes its buffers and may grow by half of it. An agent that keeps what it carries grows by all of it, each time.
const GROWTH_MAX: u64 = LIMIT / 6;
const FIRST_GROWTH_MAX: u64 = LIMIT / 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agent", ..] => rs_cli::run(std::env::args_os()).into(),
        ["operation-worker", ..] => worker::run_with(&Registry::default().with("Get-Date", endless)),
        ["--list", ..] => ExitCode::SUCCESS,
        rest => tests(rest.iter().find(|argument| !argument.starts_with('-')).copied()),
    }
}

fn endless(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let text = "never an end of it; ".repeat(40);
    for number in 0_i64.. {
        sink.emit(Object::new("Row").with("Number", number).with("Text", text.clone()).into())?;
    }
    Ok(())
}

/// Relay, papers, consent, and an agent that this program is.
fn site(limit: u64) -> Site {
    let mut site = Site::empty();
    site.start_relay();
    site.papers();
    let policy = format!(
        r#"{{ "limits": {{ "operation": {{ "outputBytes": {limit}, "outputBytesPerSecond": 1073741824 }},
              "session": {{ "outputBytes": 1073741824 }} }} }}"#
    );
    std::fs::write(site.role(Role::Node).join("policy.json"), policy).expect("own folder");
    site.machine.enable("Diagnostics");
    let template = site.machine.command(["agent", "run"]);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(template.get_args()).current_dir(site.machine.work());
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let agent = site.start("agent", command);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    site.connected();
    site
}

/// A line of the kernel's account of a process, in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|own| own.starts_with(line)).expect("a size");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number");
    kibibytes * 1024
}

fn cut_and_flat() {
    let mut site = site(LIMIT);
    let agent = site.agent().pid();
    let told = format!("the output was cut at {LIMIT} bytes; ask for less");
    let mut peaks = vec![memory(agent, "VmRSS:")];
    for _ in 0..2 {
        let since = Instant::now();
        let run = site.machine.run_args(["connect", "--command", "Get-Date | fl"]);
        let said = run.stderr.contains(&told) || run.stdout.contains(&told);
        assert!(said, "{} bytes: {}", run.stdout.len(), run.stderr);
        let printed = run.stdout.len() as u64;
        assert!((LIMIT..LIMIT + 4096).contains(&printed), "{printed} bytes were printed");
        assert_eq!(site.workers(), [0; 0], "nobody goes on");
        peaks.push(memory(agent, "VmHWM:"));
        println!(
            "{printed} bytes in {:?}, the agent's largest memory {} bytes",
            since.elapsed(),
            peaks[peaks.len() - 1]
        );
    }
    let first = peaks[1].saturating_sub(peaks[0]);
    let second = peaks[2].saturating_sub(peaks[1]);
    println!("growth of the agent: {first} bytes with the first {LIMIT} bytes, {second} with the second");
    assert!(first < FIRST_GROWTH_MAX, "the agent keeps what it carries: {first} bytes");
    assert!(second < GROWTH_MAX, "the agent keeps what it carried: {second} bytes");
}

/// Control: with twice the limit the same operation prints twice as much, so nothing but the limit ends it.
fn without_the_limit_it_goes_on() {
    let site = site(1 << 30);
    let (engineer, printed) =
        (site.engineer(["Get-Date | fl"]), |own: &daemon::Daemon| own.stdout().len() as u64);
    until_true("more than some limit is printed", || printed(&engineer) > 4 << 20);
    assert!(!site.workers().is_empty(), "and it still runs");
}

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("sec46_endless_fast_output_is_cut_at_its_limit_and_the_agents_memory_stays_flat", cut_and_flat),
    ("sec46_control_without_the_limit_fast_output_goes_on", without_the_limit_it_goes_on),
];

fn tests(wanted: Option<&str>) -> ExitCode {
    let chosen = TESTS.iter().filter(|(name, _)| wanted.is_none_or(|wanted| name.contains(wanted)));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in chosen {
        let fine = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
        *(if fine { &mut passed } else { &mut failed }) += 1;
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let out = TESTS.len() - passed - failed;
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out"
    );
    ExitCode::from(u8::from(failed > 0))
}
