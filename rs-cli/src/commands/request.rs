//! `request submit|list|confirm|close`: the operator's side of a support request.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rs_consent::keys::Fingerprint;
use rs_consent::party::Reason;
use rs_consent::request::{Opening, RequestState};
use rs_consent::store::ConsentStore;
use rs_consent::{Envelope, RequestNumber, SupportRequest};

use crate::casefiles::{self, Paper};
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::prompt::{self, Answer, EnterMeans};
use crate::state::Role;
use crate::values::NumberOrFile;
use crate::{files, keys, node};

const DESK_QUESTION: &str = "Is this the desk that you asked for support?";

const DESK_HELP: &str = "Compare the fingerprint with the one that the support organisation told you in another way, \
                         for example on the telephone.\n\
                         Yes: this key, and no other, assigns engineers for this request.\n\
                         No: nothing is changed.";

/// What to do with support requests.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Make a request and write the signed file that goes to the desk.
    Submit(SubmitArgs),
    /// List the requests of this node.
    List,
    /// Confirm the desk that answered, by its opening: shows its name and the fingerprint of its key.
    Confirm(ConfirmArgs),
    /// Close a request; sessions under it end.
    Close(CloseArgs),
}

/// Arguments of `request submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// Why support is needed, one line.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_REASON")]
    pub reason: Reason,
    /// Where to write the file for the desk [default: request-NUMBER.json in the current directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `request confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The desk's opening, or the number of a request that a desk of this state directory opened.
    #[arg(value_name = "FILE|NUMBER")]
    pub opening: NumberOrFile,
    /// Confirm without being asked if the desk's key has this fingerprint, learned in another way.
    #[arg(long, value_name = "xxxx-xxxx-xxxx-xxxx", env = "REMOTE_SUPPORT_DESK_FINGERPRINT")]
    pub desk_fingerprint: Option<Fingerprint>,
}

/// Arguments of `request close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Its number, or the file with the desk's closing [default: the only request that is not closed].
    #[arg(value_name = "NUMBER|FILE")]
    pub request: Option<NumberOrFile>,
}

/// Runs a request command.
///
/// # Errors
///
/// As [`node::open_store`]; [`ErrorCode::NotFound`], [`ErrorCode::Statement`] and [`ErrorCode::Refused`] for a request
/// or a file that does not fit.
pub fn run(command: &RequestCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        RequestCommand::Submit(args) => submit(args, context),
        RequestCommand::List => list(context),
        RequestCommand::Confirm(args) => confirm(args, context),
        RequestCommand::Close(args) => close(args, context),
    }
}

fn submit(args: &SubmitArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let node = node::identity(context)?;
    let key = keys::load_or_create(&context.state, Role::Node)?;
    let store = node::open_store(context)?;
    let request = store.submit_request(args.reason.clone(), node, &context.clock.now())?;
    let statement = Envelope::sign(&request.submission(), &key)
        .map_err(|error| Failure::new(ErrorCode::Internal, "the request cannot be signed").because(error))?;
    let kept = casefiles::store(&context.state, Role::Node, Paper::Request, request.number, &statement)?;
    let file = args.file.clone().unwrap_or_else(|| format!("request-{}.json", request.number).into());
    files::write_statement(&file, &statement).map_err(|failure| {
        failure.next_step(format!("the request is made all the same; send the desk {}", kept.display()))
    })?;
    context.print_one(
        &record(&request)
            .field("File", file.display().to_string())
            .detail("NodeFingerprint", request.node.key.fingerprint().to_string()),
    )?;
    context.note("Send the file to the desk; its answer, the opening, is confirmed with `remote-support request confirm`.");
    Ok(Outcome::Done)
}

fn list(context: &mut Context) -> Result<Outcome, Failure> {
    let requests =
        node::existing_store(context)?.map(|store| store.requests()).transpose()?.unwrap_or_default();
    let records: Vec<Record> = requests.iter().map(record).collect();
    context.print_all(&records)?;
    if records.is_empty() {
        context.note("No support request exists.");
    }
    Ok(Outcome::Done)
}

fn confirm(args: &ConfirmArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let path = match &args.opening {
        NumberOrFile::File(path) => path.clone(),
        NumberOrFile::Number(number) => casefiles::path(&context.state, Paper::Opening, *number),
    };
    let opening = read_opening(&path, context)?;
    if confirm_desk(&opening, args.desk_fingerprint, context)? == Answer::No {
        context.note("The desk was not confirmed; nothing was changed.");
        return Ok(Outcome::Declined);
    }
    let request = node::open_store(context)?.confirm_opening(&opening, &context.clock.now())?;
    tell_agent(context)?;
    context.print_one(&record(&request))?;
    Ok(Outcome::Done)
}

/// Reads a desk's opening for this node; who the desk is remains to be confirmed.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where this node has submitted nothing; [`ErrorCode::Statement`] where the file is for
/// another node, altered or no opening.
pub(crate) fn read_opening(path: &Path, context: &Context) -> Result<Opening, Failure> {
    let key = keys::load(&context.state, Role::Node)?.ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "this node has submitted no support request")
            .next_step("submit one with `remote-support request submit`")
    })?;
    let envelope = files::read_statement(path)?;
    Opening::verify(&envelope, &key.public()).map_err(|error| files::statement_failure(path, error))
}

/// Lets the operator compare the desk's name and fingerprint. Asks nobody where the fingerprint was given beforehand,
/// or where the desk is one of this very state directory.
///
/// # Errors
///
/// [`ErrorCode::Statement`] where the fingerprint given is another one; [`ErrorCode::NoTerminal`] where nobody can be
/// asked.
pub(crate) fn confirm_desk(
    opening: &Opening,
    expected: Option<Fingerprint>,
    context: &mut Context,
) -> Result<Answer, Failure> {
    let found = opening.desk.key.fingerprint();
    context.show(format!(
        "Support request {}\n  Desk             {}\n  Key fingerprint  {found}\n",
        opening.number, opening.desk.name
    ))?;
    if let Some(expected) = expected {
        return if expected == found {
            Ok(Answer::Yes)
        } else {
            Err(Failure::new(
                ErrorCode::Statement,
                "the desk's key has another fingerprint than the one given",
            )
            .about(found.to_string())
            .next_step("do not confirm it; ask the support organisation which one is right"))
        };
    }
    if keys::load_public(&context.state, Role::Desk)? == Some(opening.desk.key) {
        return Ok(Answer::Yes);
    }
    if !context.console.interactive {
        return Err(Failure::new(
            ErrorCode::NoTerminal,
            "the desk must be confirmed, and there is no terminal to ask at",
        )
        .next_step(
            "run the command at a terminal, or give the expected --desk-fingerprint; nothing was stored",
        ));
    }
    let console = &mut context.console;
    Ok(prompt::ask(&mut *console.input, &mut *console.err, DESK_QUESTION, DESK_HELP, EnterMeans::No)?)
}

fn close(args: &CloseArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let now = context.clock.now();
    let nothing = || Failure::new(ErrorCode::NotFound, "there is no support request on this node");
    let store = node::existing_store(context)?.ok_or_else(nothing)?;
    let (number, closed) = match &args.request {
        Some(NumberOrFile::File(path)) => {
            let closed = store.close_request_by_desk(&files::read_statement(path)?, &now)?;
            (closed.as_ref().map(|request| request.number), closed)
        }
        Some(NumberOrFile::Number(number)) => (Some(*number), store.close_request(*number, &now)?),
        None => {
            let number = only_pending(&store)?;
            (Some(number), store.close_request(number, &now)?)
        }
    };
    tell_agent(context)?;
    if closed.is_none() {
        context.note("The support request was closed already; nothing was changed.");
    }
    let request = number.map(|number| store.request(number)).transpose()?.flatten();
    if let Some(request) = request {
        context.print_one(&record(&request))?;
    }
    Ok(Outcome::Done)
}

fn only_pending(store: &ConsentStore) -> Result<RequestNumber, Failure> {
    let requests = store.requests()?;
    let pending: Vec<RequestNumber> =
        requests.iter().filter(|r| r.state() != RequestState::Closed).map(|request| request.number).collect();
    match pending.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::new(ErrorCode::NotFound, "every support request of this node is closed")),
        many => Err(Failure::new(ErrorCode::InvalidValue, "there are several support requests")
            .about(many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            .next_step("name the one to close")),
    }
}

/// The change stands; an agent that runs but does not answer is reported, not hidden.
fn tell_agent(context: &mut Context) -> Result<(), Failure> {
    let changed = node::notify(context)?.unwrap_or_default();
    if changed.sessions_ended > 0 {
        context.note(format!("{} sessions were ended in {} ms.", changed.sessions_ended, changed.elapsed_ms));
    }
    Ok(())
}

fn record(request: &SupportRequest) -> Record {
    let confirmed = request.confirmed.as_ref();
    Record::new()
        .field("Number", request.number.to_string())
        .field("State", request.state().to_string())
        .field("Reason", request.reason.to_string())
        .field("CreatedAt", request.created_at)
        .field("Desk", confirmed.map(|confirmed| confirmed.desk.name.to_string()))
        .field("DeskFingerprint", confirmed.map(|confirmed| confirmed.desk.key.fingerprint().to_string()))
        .extra("OpenedAt", confirmed.map(|confirmed| confirmed.opened_at))
        .extra("ConfirmedAt", confirmed.map(|confirmed| confirmed.confirmed_at))
        .extra("ClosedAt", request.closed.as_ref().map(|closed| closed.at))
        .extra("ClosedBy", request.closed.as_ref().map(|closed| serde_json::json!(closed.by)))
        .extra("Node", serde_json::json!(request.node))
}
