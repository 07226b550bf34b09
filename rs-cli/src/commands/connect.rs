//! `connect`: the engineer's console, interactive or scripted.
//!
//! The session is joined by `join`; what comes of a line is shown by `show`; where lines come from is the one
//! difference between the console (`console`), a script, and lines on standard input.

mod console;
mod join;
mod show;

use std::io::BufRead as _;
use std::path::PathBuf;

use clap::Args;
use rs_relay::client::RelayStream;
use rs_session::client::Client;
use rs_session::operations::Offered;
use rs_session::protocol::Form;

use crate::context::Context;
use crate::explain;
use crate::network::ProxyArgs;
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::OutputMode;
use crate::relay_access::{RelayAccess, Side};

pub(crate) use self::join::{Joining, join};
pub(crate) use self::show::{Came, cut, leave, run_line};

/// Arguments of `connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// File with the desk's assignment [default: the newest of this state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ASSIGNMENT")]
    pub assignment: Option<PathBuf>,
    /// File with the relay's connection string for sending; never given on the command line [default: that of this
    /// state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CREDENTIAL_FILE", hide_env_values = true)]
    pub relay_credential_file: Option<PathBuf>,
    /// File with the certificate of the relay's authority, PEM [default: that of this state directory, else the
    /// system's authorities].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_RELAY_CA")]
    pub relay_ca: Option<PathBuf>,
    /// How the relay is reached.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Run this line and leave; can be given several times, run in order.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true, env = "REMOTE_SUPPORT_COMMAND")]
    pub command: Vec<String>,
    /// Do not stop after each screenful of a long result.
    #[arg(long, env = "REMOTE_SUPPORT_NO_PAGER", value_parser = clap::builder::BoolishValueParser::new())]
    pub no_pager: bool,
}

/// Connects to a node.
///
/// # Errors
///
/// [`ErrorCode::NotFound`](crate::outcome::ErrorCode) where there is no assignment or credential;
/// [`ErrorCode::Refused`](crate::outcome::ErrorCode) where the node lets nobody in; `Unreachable` where the relay or the
/// node cannot be reached, or the session is cut.
pub fn run(args: &ConnectArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let access = RelayAccess::new(
        &context.state,
        Side::Send,
        args.relay_credential_file.as_deref(),
        args.relay_ca.as_deref(),
        args.proxy.way()?,
    );
    let joining = Joining::load(args.assignment.as_deref(), access, context)?;
    Context::block_on(async {
        let mut client = join(joining).await?;
        greet(&client, context);
        if !args.command.is_empty() {
            script(&mut client, args.command.iter().cloned(), context).await
        } else if context.console.interactive {
            console::run(&mut client, !args.no_pager, context).await
        } else {
            let lines: Vec<String> = (&mut *context.console.input).lines().collect::<Result<_, _>>()?;
            script(&mut client, lines.into_iter().filter(|line| !line.trim().is_empty()), context).await
        }
    })
}

fn greet(client: &Client<RelayStream>, context: &mut Context) {
    let welcome = client.welcome();
    context.note(format!(
        "Connected to {} at level {}, until {} at the latest. Session {}. Everything here is on record.",
        welcome.node_name,
        welcome.level,
        crate::output::date(welcome.expires_at),
        welcome.session,
    ));
    if let Some(catalog) = &welcome.catalog {
        let sha256 = catalog.sha256.to_string();
        context.note(format!(
            "{} {}.",
            explain::in_force(&[welcome.level], &catalog.scope, &sha256),
            permitted(&welcome.operations)
        ));
    }
}

/// What the session's rights hold, and how much of it this node answers.
pub(crate) fn permitted(operations: &[Offered]) -> String {
    let listed: Vec<_> = operations.iter().filter(|own| own.is_listed()).collect();
    let available = listed.iter().filter(|own| own.available).count();
    format!("{} are permitted, {available} of them run on this node", explain::so_many(listed.len()))
}

/// How objects are wanted.
pub(crate) fn form(context: &Context) -> Form {
    if context.output == OutputMode::Json { Form::Objects } else { Form::Text }
}

/// Runs lines in order and leaves. Goes on after a line that failed or was refused; the exit code tells of the first.
async fn script(
    client: &mut Client<RelayStream>,
    lines: impl Iterator<Item = String>,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let mut first_bad = None;
    for line in lines {
        match run_line(client, &line, context).await? {
            Came::Done => {}
            Came::Failed => first_bad = first_bad.or(Some(Exit::Failed)),
            Came::Refused => first_bad = first_bad.or(Some(Exit::Refused)),
            Came::Ended(exit) => return Ok(Outcome::Exit(exit)),
        }
    }
    leave(client, context).await?;
    Ok(first_bad.map_or(Outcome::Done, Outcome::Exit))
}
