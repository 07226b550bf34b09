//! The program `remote-support`. All of it is in the library, so that it can be tested there.

use std::process::ExitCode;

fn main() -> ExitCode {
    rs_cli::run(std::env::args_os()).into()
}
