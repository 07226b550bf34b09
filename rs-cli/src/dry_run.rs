//! `--dry-run`: a look at what a command would do (U09). It reads and checks what the command reads and checks, says what
//! would be done, and changes nothing: no store, no file, no session.

use clap::Args;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;

/// The option of commands that change something.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DryRun {
    /// Only say what would be done; nothing is changed.
    #[arg(long, env = "REMOTE_SUPPORT_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    pub dry_run: bool,
}

/// Shows what would be done; the names of `would` are those of the command's own result.
pub(crate) fn told(would: Record, context: &mut Context) -> Result<Outcome, Failure> {
    context.print_one(&would.field("DryRun", true))?;
    context.note("Dry run: nothing was changed.");
    Ok(Outcome::Done)
}
