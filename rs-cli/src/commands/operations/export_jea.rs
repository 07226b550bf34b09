//! `operations export-jea`: the levels' rights as files of Windows' own constrained endpoints.

use std::path::PathBuf;

use clap::Args;
use rs_session::operations::jea::{Groups, RoleCapability, jea_files};
use rs_session::operations::{Catalog, Policy};

use super::in_force;
use crate::context::Context;
use crate::explain::{self, ScopeArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::{files, node};

/// Arguments of `operations export-jea`.
#[derive(Debug, Args)]
pub struct ExportJeaArgs {
    /// Write the files here; files of the same names are replaced.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Windows group whose members get Diagnostics [default: this computer's group RemoteSupportDiagnostics].
    #[arg(long, value_name = "COMPUTER\\GROUP", env = "REMOTE_SUPPORT_DIAGNOSTICS_GROUP")]
    pub diagnostics_group: Option<String>,
    /// Windows group whose members get DiagnosticsRepair [default: this computer's group RemoteSupportDiagnosticsRepair].
    #[arg(long, value_name = "COMPUTER\\GROUP", env = "REMOTE_SUPPORT_REPAIR_GROUP")]
    pub repair_group: Option<String>,
    /// What is narrowed besides the level [default: as in the consent in force, else as the next one has it].
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Writes the files of both levels and lists them.
///
/// # Errors
///
/// [`ErrorCode::Io`](crate::outcome::ErrorCode::Io) where a file cannot be written.
pub fn run(args: &ExportJeaArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let scope = args.scope.scope(in_force(context)?);
    let catalog = explain::lists(&scope).unwrap_or_else(Catalog::azure_local);
    let policy = Policy::from(&scope);
    let local = Groups::local(&node::name().to_string());
    let groups = Groups {
        diagnostics: args.diagnostics_group.clone().unwrap_or(local.diagnostics),
        repair: args.repair_group.clone().unwrap_or(local.repair),
    };
    let mut written = Vec::new();
    for file in jea_files(catalog, policy, &groups) {
        let path = args.directory.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| Failure::io(parent, "make the directory", error))?;
        }
        files::write(&path, file.text.as_bytes())?;
        written.push(
            Record::new()
                .field("File", file.path.as_str())
                .field("Bytes", i64::try_from(file.text.len()).unwrap_or(i64::MAX)),
        );
    }
    context.print_all(&written)?;
    let bare = RoleCapability::new(catalog, rs_consent::AccessLevel::DiagnosticsRepair, policy).bare;
    context.note(explain::in_force(&rs_consent::AccessLevel::ALL, &scope, Catalog::sha256()));
    context.note(format!(
        "Members of {} get Diagnostics, members of {} get DiagnosticsRepair.",
        groups.diagnostics, groups.repair
    ));
    if !bare.is_empty() {
        context.note(format!(
            "{} of the commands have no definition here; the roles hold them without any parameter, so that nothing is open unseen.",
            bare.len()
        ));
    }
    context.note(
        "PowerShell joins the roles of a user, and joining only widens: give nobody another role on these endpoints.",
    );
    Ok(Outcome::Done)
}
