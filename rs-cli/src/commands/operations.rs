//! `operations`: what a level permits, command by command, and what answers it on this node.

use clap::Args;
use rs_consent::AccessLevel;
use rs_session::operations::catalog::Entry;
use rs_session::operations::{Availability, Machine};

use crate::context::Context;
use crate::explain;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::values::AccessLevelParser;

/// Arguments of `operations`.
#[derive(Debug, Args)]
pub struct OperationsArgs {
    /// List what this level permits [default: both; what only DiagnosticsRepair permits stands last].
    #[arg(long, value_name = "LEVEL", value_parser = AccessLevelParser, env = "REMOTE_SUPPORT_ACCESS_LEVEL")]
    pub access_level: Option<AccessLevel>,
}

/// Lists operations, by the lowest level that permits them and by name.
///
/// # Errors
///
/// Where standard output cannot be written.
pub fn run(args: &OperationsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let highest = args.access_level.unwrap_or(AccessLevel::DiagnosticsRepair);
    let mut entries: Vec<&Entry> = explain::permitted(highest).collect();
    if args.access_level.is_none() {
        // Stable: within a level the names stay in their order.
        entries.sort_by_key(|entry| entry.level);
    }
    context.print_all(&entries.iter().copied().map(record).collect::<Vec<_>>())?;
    for level in
        AccessLevel::ALL.into_iter().filter(|level| args.access_level.is_none_or(|only| only == *level))
    {
        context.note(format!(
            "{level}: {} commands; by effect: {}.",
            explain::permitted(level).count(),
            explain::effects(level)
        ));
    }
    if args.access_level.is_none() {
        context.note(difference(&entries));
    }
    context.note(on_this_node(&entries));
    Ok(Outcome::Done)
}

fn difference(entries: &[&Entry]) -> String {
    let more: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.level > AccessLevel::Diagnostics)
        .map(|entry| entry.name.as_str())
        .collect();
    format!("DiagnosticsRepair permits all of Diagnostics and {} more: {}.", more.len(), more.join(", "))
}

fn on_this_node(entries: &[&Entry]) -> String {
    let count = |fits: fn(&Availability) -> bool| {
        entries.iter().filter(|entry| fits(&entry.availability(Machine::current()))).count()
    };
    format!(
        "On this node {} of them are answered by this program itself, {} by PowerShell, and {} by nothing.",
        count(|found| matches!(found, Availability::Native)),
        count(|found| matches!(found, Availability::PowerShell)),
        count(|found| matches!(found, Availability::None { .. })),
    )
}

fn record(entry: &Entry) -> Record {
    let (provider, why) = match entry.availability(Machine::current()) {
        Availability::None { why } => ("none".to_owned(), Some(why)),
        found => (found.to_string(), None),
    };
    Record::new()
        .field("Name", entry.name.as_str())
        .field("AccessLevel", entry.level.to_string())
        .field("Group", entry.groups.clone())
        .field("Effects", entry.effects.iter().map(|effect| effect.as_str().to_owned()).collect::<Vec<_>>())
        .field("Provider", provider)
        .detail("ProviderReason", why)
        .detail("Module", entry.module)
        .detail("MayReturnSecrets", entry.may_return_secrets)
}
