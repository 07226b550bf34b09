//! `engineer init`: the key by which an engineer is known.

use clap::{Args, Subcommand};
use rs_consent::SigningKey;

use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::keys;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::state::Role;

/// What to do with the engineer's key.
#[derive(Debug, Subcommand)]
pub enum EngineerCommand {
    /// Make the key, or show it where it has been made; the file engineer.pub goes to the desk.
    Init(InitArgs),
}

/// Arguments of `engineer init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Runs an engineer command.
///
/// # Errors
///
/// As [`keys::load_or_create`].
pub fn run(command: &EngineerCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        EngineerCommand::Init(args) => init(args, context),
    }
}

fn init(args: &InitArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.dry_run.dry_run {
        let key = keys::load_public(&context.state, Role::Engineer)?;
        let record = Record::new().field("PublicKey", key.map(|key| key.to_string()));
        return dry_run::told(record.field("MakesKey", key.is_none()), context);
    }
    let key: SigningKey = keys::load_or_create(&context.state, Role::Engineer)?;
    let file = context.state.role(Role::Engineer).file("engineer.pub");
    let record = Record::new()
        .field("PublicKey", key.public().to_string())
        .field("Fingerprint", key.public().fingerprint().to_string())
        .field("File", file.display().to_string());
    context.print_one(&record)?;
    context.note("Send this file to the desk: it names you in assignments.");
    Ok(Outcome::Done)
}
