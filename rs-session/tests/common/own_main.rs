//! For test programs that bring their own `main`, since they start themselves again as something else.

#![allow(
    clippy::print_stdout,
    clippy::allow_attributes,
    reason = "not every program expects it for all of itself"
)]

use std::process::ExitCode;

/// A test by its name.
pub(crate) type Test = (&'static str, fn());

/// Does what the harness does with these arguments: runs the tests whose names have the first word in them, or all, one after
/// the other, each to its end.
pub(crate) fn run_tests(tests: &[Test], arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = tests.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in chosen {
        let fine = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
        if fine { passed += 1 } else { failed += 1 }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
