//! `engineer init`: the key by which an engineer is known.

use clap::Subcommand;
use rs_consent::SigningKey;

use crate::context::Context;
use crate::keys;
use crate::outcome::{Failure, Outcome};
use crate::output::Record;
use crate::state::Role;

/// What to do with the engineer's key.
#[derive(Debug, Subcommand)]
pub enum EngineerCommand {
    /// Make the key, or show it where it has been made; the file engineer.pub goes to the desk.
    Init,
}

/// Runs an engineer command.
///
/// # Errors
///
/// As [`keys::load_or_create`].
pub fn run(command: &EngineerCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        EngineerCommand::Init => init(context),
    }
}

fn init(context: &mut Context) -> Result<Outcome, Failure> {
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
