//! `man-pages DIR`: a manual page for each command (U14).

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::cli::Cli;
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;

/// Arguments of `man-pages`.
#[derive(Debug, Args)]
pub struct ManPagesArgs {
    /// Where the pages go; the directory is made if it is not there.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Writes `remote-support.1` and a page for each command beside it.
///
/// # Errors
///
/// [`ErrorCode::Io`] where the directory cannot be written.
pub fn run(args: &ManPagesArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let failed = |error| {
        Failure::new(ErrorCode::Io, "the manual pages cannot be written")
            .about(args.directory.display().to_string())
            .because(error)
    };
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(failed)?;
    let pages = std::fs::read_dir(&args.directory).map_err(failed)?.count();
    context.print_one(
        &Record::new()
            .field("Directory", args.directory.display().to_string())
            .field("Pages", u64::try_from(pages).unwrap_or(u64::MAX)),
    )?;
    context.note("Read the first with `man -l` and its path; the others are named in it.");
    Ok(Outcome::Done)
}
