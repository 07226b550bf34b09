//! Judging a line touches nothing, seen from outside (SEC19).
//!
//! A process of its own takes every system call from itself but those for memory, time, randomness and its own output, and
//! then judges each line of both corpora: whoever opens, connects, starts or asks for anything is killed by the kernel, and
//! the line that did it is named. The program is started again by itself, so it brings its own `main`.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests that bring their own main")
)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
#[path = "common/corpus.rs"]
mod corpus;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitCode};

    use libc::c_long;
    use rs_consent::AccessLevel;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::corpus::{accepted, context, refused};

    const LEVELS: [AccessLevel; 2] = [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair];

    /// All that is left: memory, waiting for own threads, time, randomness, ending.
    const LEFT: [c_long; 14] = [
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigreturn,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["judge", filter, act] => judge(*filter == "shut", act),
            ["--list", ..] => ExitCode::SUCCESS,
            rest => run_tests(rest.iter().find(|argument| !argument.starts_with('-')).copied()),
        }
    }

    /// Every line of both corpora.
    fn lines() -> Vec<String> {
        refused().into_iter().map(|case| case.line).chain(accepted()).collect()
    }

    /// The child: judges every line behind the filter, or without it. `act` is what a faulty planner would do besides.
    fn judge(shut: bool, act: &str) -> ExitCode {
        let lines = lines();
        if shut {
            seccompiler::apply_filter(&filter()).unwrap();
        }
        for (index, line) in lines.iter().enumerate() {
            // Told before, so that the line at which the kernel steps in is the last one that was told.
            say(&format!("{index}\n"));
            for level in LEVELS {
                let _ = context(level).plan_line(line);
            }
            if line.contains("Get-Content") {
                misbehave(act);
            }
        }
        say("whole\n");
        ExitCode::SUCCESS
    }

    fn say(text: &str) {
        std::io::stdout().write_all(text.as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }

    fn misbehave(act: &str) {
        match act {
            "open" => drop(std::fs::File::open("/etc/hostname")),
            "look" => drop(std::fs::metadata("/etc/hostname")),
            "connect" => drop(std::net::TcpStream::connect("127.0.0.1:9")),
            "start" => drop(Command::new("/bin/true").spawn().map(|mut child| child.wait())),
            "thread" => drop(std::thread::spawn(|| ()).join()),
            _ => {}
        }
    }

    fn filter() -> BpfProgram {
        let to = |descriptor| {
            let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, descriptor);
            SeccompRule::new(vec![is.unwrap()]).unwrap()
        };
        let mut rules: std::collections::BTreeMap<_, _> =
            LEFT.iter().map(|number| (*number, Vec::new())).collect();
        rules.insert(libc::SYS_write, vec![to(1), to(2)]);
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch);
        filter.unwrap().try_into().unwrap()
    }

    /// How the child ended: the whole corpus, or the line at which the kernel ended it.
    fn outcome(filter: &str, act: &str) -> Result<usize, String> {
        let child =
            Command::new(std::env::current_exe().unwrap()).args(["judge", filter, act]).output().unwrap();
        let told = String::from_utf8(child.stdout).unwrap();
        let last = told.lines().last().unwrap_or_default();
        if child.status.success() && last == "whole" {
            return Ok(told.lines().count() - 1);
        }
        let at = last.parse::<usize>().ok().and_then(|index| lines().into_iter().nth(index));
        let killed = child.status.signal() == Some(libc::SIGSYS);
        assert!(
            killed,
            "the child ended with {:?} at {at:?}: {}",
            child.status,
            String::from_utf8_lossy(&child.stderr)
        );
        Err(at.unwrap_or_default())
    }

    fn planning_touches_nothing() {
        assert_eq!(
            outcome("shut", ""),
            Ok(lines().len()),
            "a line made the planner ask the kernel for something"
        );
        assert!(lines().len() >= 900, "{}", lines().len());
    }

    /// Control: planners that open, look at, connect, start or spin off anything are ended at the very line, and only the
    /// filter does that.
    fn a_planner_that_touches_something_is_caught() {
        for act in ["open", "look", "connect", "start", "thread"] {
            let caught = outcome("shut", act);
            assert!(caught.as_ref().is_err_and(|line| line.contains("Get-Content")), "{act}: {caught:?}");
            assert_eq!(outcome("open", act), Ok(lines().len()), "{act}");
        }
    }

    type Test = (&'static str, fn());

    const TESTS: &[Test] = &[
        ("sec19_judging_any_line_of_the_corpora_asks_the_kernel_for_nothing", planning_touches_nothing),
        (
            "sec19_control_a_planner_that_touches_something_is_caught",
            a_planner_that_touches_something_is_caught,
        ),
    ];

    fn run_tests(wanted: Option<&str>) -> ExitCode {
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
}
