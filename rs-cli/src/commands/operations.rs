//! `operations`: what a level permits, command by command, and what answers it on this node; `export-jea` writes it down
//! for Windows.

use clap::{Args, Subcommand};
use rs_consent::{AccessLevel, GrantState, Scope};
use rs_session::operations::catalog::Entry;
use rs_session::operations::providers::absent;
use rs_session::operations::{Availability, Catalog, Policy};

use crate::agent::power_shell;
use crate::context::Context;
use crate::explain::{self, ScopeArgs};
use crate::node;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::owner_policy::OwnerPolicy;
use crate::state::Role;
use crate::values::AccessLevelParser;

pub mod export_jea;

/// Arguments of `operations`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OperationsArgs {
    /// Something other than the list.
    #[command(subcommand)]
    pub action: Option<OperationsAction>,
    /// List what this level permits [default: both; what only DiagnosticsRepair permits stands last].
    #[arg(long, value_name = "LEVEL", value_parser = AccessLevelParser, env = "REMOTE_SUPPORT_ACCESS_LEVEL")]
    pub access_level: Option<AccessLevel>,
    /// List only what DiagnosticsRepair permits beyond Diagnostics, whatever --access-level says.
    #[arg(long, env = "REMOTE_SUPPORT_DIFF", value_parser = clap::builder::BoolishValueParser::new())]
    pub diff: bool,
    /// What is narrowed besides the level [default: as in the consent in force, else as the next one has it].
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// What else `operations` does.
#[derive(Debug, Subcommand)]
pub enum OperationsAction {
    /// Write role capability and session configuration files for Windows' own constrained endpoints (JEA).
    ExportJea(export_jea::ExportJeaArgs),
}

/// Lists operations, by the lowest level that permits them and by name.
///
/// # Errors
///
/// Where standard output cannot be written, or the consent in force cannot be read.
pub fn run(args: &OperationsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(OperationsAction::ExportJea(args)) = &args.action {
        return export_jea::run(args, context);
    }
    let scope = args.scope.scope(in_force(context)?);
    let only = args.access_level.filter(|_| !args.diff);
    let highest = only.unwrap_or(AccessLevel::DiagnosticsRepair);
    let commands = OwnerPolicy::read(&context.state.role(Role::Node))?.commands;
    let mut entries: Vec<(AccessLevel, &Entry)> = explain::permitted(highest, &scope)
        .filter(|entry| !commands.take_out(&entry.name))
        .filter_map(|entry| Some((lowest_level(entry, &scope)?, entry)))
        .filter(|(level, _)| !args.diff || *level > AccessLevel::Diagnostics)
        .collect();
    if only.is_none() {
        // Stable: within a level the names stay in their order.
        entries.sort_by_key(|(level, _)| *level);
    }
    context.print_all(&entries.iter().map(|(level, entry)| record(*level, entry)).collect::<Vec<_>>())?;
    let levels: Vec<_> =
        AccessLevel::ALL.into_iter().filter(|level| only.is_none_or(|only| only == *level)).collect();
    context.note(explain::in_force(&levels, &scope, Catalog::sha256()));
    for level in levels {
        context.note(summary(level, &scope));
        if let Some(line) = explain::owners(level, &scope, &commands) {
            context.note(line);
        }
    }
    if only.is_none() {
        context.note(difference(&entries));
    }
    context.note(on_this_node(&entries));
    Ok(Outcome::Done)
}

/// What the consent in force narrows; without one, what the next one narrows unless its owner says otherwise.
fn in_force(context: &Context) -> Result<Scope, Failure> {
    let Some(store) = node::existing_store(context)? else { return Ok(Scope::default()) };
    let now = context.clock.now();
    let grants = store.grants(false, &now)?;
    let active = grants.into_iter().find(|grant| grant.state_at(&now) == GrantState::Active);
    Ok(active.map_or_else(Scope::default, |grant| grant.scope))
}

/// The lowest level that permits a command within a scope.
fn lowest_level(entry: &Entry, scope: &Scope) -> Option<AccessLevel> {
    let policy = Policy::from(scope);
    AccessLevel::ALL.into_iter().find(|level| entry.permitted_at(*level) && policy.keeps(entry, *level))
}

fn summary(level: AccessLevel, scope: &Scope) -> String {
    let mut text = format!(
        "{level}: {}; by effect: {}.",
        explain::so_many(explain::permitted(level, scope).count()),
        explain::effects(level, scope)
    );
    let out: Vec<&str> = explain::taken_out(level, scope).map(|entry| entry.name.as_str()).collect();
    if !out.is_empty() {
        text.push_str(&format!(
            " {} more are published for it and taken out, since they change state: {}; --strict-read-only=false \
             shows the published list.",
            out.len(),
            out.join(", ")
        ));
    }
    text
}

fn difference(entries: &[(AccessLevel, &Entry)]) -> String {
    let more: Vec<&str> = entries
        .iter()
        .filter(|(level, _)| *level > AccessLevel::Diagnostics)
        .map(|(_, entry)| entry.name.as_str())
        .collect();
    format!("DiagnosticsRepair permits all of Diagnostics and {} more: {}.", more.len(), more.join(", "))
}

fn on_this_node(entries: &[(AccessLevel, &Entry)]) -> String {
    let count = |fits: fn(&Availability) -> bool| {
        entries.iter().filter(|(_, entry)| fits(&entry.availability(power_shell::machine()))).count()
    };
    let lacking = entries.iter().filter(|(_, entry)| {
        matches!(entry.availability(power_shell::machine()), Availability::Native)
            && absent(&entry.name).is_some()
    });
    format!(
        "On this node {} of them are answered by this program itself ({} of these lack their source here), {} by \
         PowerShell, and {} by nothing.",
        count(|found| matches!(found, Availability::Native)),
        lacking.count(),
        count(|found| matches!(found, Availability::PowerShell)),
        count(|found| matches!(found, Availability::None { .. })),
    )
}

fn source_absent(why: &str) -> String {
    format!("available natively, but its source is absent: {why}")
}

fn record(level: AccessLevel, entry: &Entry) -> Record {
    let (provider, why) = match entry.availability(power_shell::machine()) {
        Availability::None { why } => ("none".to_owned(), Some(why)),
        found => (found.to_string(), absent(&entry.name).map(source_absent)),
    };
    Record::new()
        .field("Name", entry.name.as_str())
        .field("AccessLevel", level.to_string())
        .field("Group", entry.groups.clone())
        .field("Effects", entry.effects.iter().map(|effect| effect.as_str().to_owned()).collect::<Vec<_>>())
        .field("Provider", provider)
        .detail("ProviderReason", why)
        .detail("Closed", entry.closed().map(|why| why.to_string()))
        .detail("Module", entry.module)
        .detail("PublishedLevel", entry.level.to_string())
        .detail("MayReturnSecrets", entry.may_return_secrets)
        .detail(
            "Parameters",
            entry.parameters().map(|own| format!("-{}: {}", own.name, own.describe())).collect::<Vec<_>>(),
        )
}
