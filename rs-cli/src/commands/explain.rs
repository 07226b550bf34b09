//! `explain CODE`: what a code or message means, and what can be done (U04).

use clap::Args;

use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{self, Record};
use crate::troubleshooting::{self, Entry};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code as it was printed (`grant-expired`, `404`, an exit code), or the message that it stands in; without one every
    /// code is listed.
    #[arg(value_name = "CODE")]
    pub code: Vec<String>,
}

/// Prints what is known of it.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where nothing is known by that name; where standard output cannot be written.
pub fn run(args: &ExplainArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let text = args.code.join(" ");
    let found = if args.code.is_empty() { troubleshooting::all() } else { troubleshooting::find(&text) };
    if found.is_empty() {
        return Err(Failure::new(ErrorCode::NotFound, "no code of that name is known")
            .about(output::safe(&text))
            .next_step("list every code with `remote-support explain`, or look at the node with `remote-support agent doctor`"));
    }
    context.print_all(&found.iter().map(record).collect::<Vec<_>>())?;
    Ok(Outcome::Done)
}

fn record(entry: &Entry) -> Record {
    Record::new()
        .field("Code", entry.code.as_str())
        .field("Where", entry.area.title())
        .field("Seen", entry.area.seen())
        .field("Status", entry.status)
        .field("Cause", entry.cause)
        .field("Remedy", entry.remedy)
}
