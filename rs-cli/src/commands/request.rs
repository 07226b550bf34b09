//! `request submit|list|confirm|close|report`: the operator's side of a support request.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rs_consent::keys::{Fingerprint, PublicKey};
use rs_consent::party::Reason;
use rs_consent::request::{Closing, Opening, RequestState};
use rs_consent::store::ConsentStore;
use rs_consent::{Envelope, RequestNumber, SupportRequest};

use crate::casefiles::{self, Paper};
use crate::commands::{ending, session};
use crate::context::Context;
use crate::control::{AgentControl as _, Changed, SocketControl};
use crate::dry_run::{self, DryRun};
use crate::node::{self, Enforced};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::prompt::{self, Answer, EnterMeans};
use crate::state::Role;
use crate::values::NumberOrFile;
use crate::{files, keys};

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
    /// One document about a request: consents, sessions, and every command with its outcome.
    Report(ReportArgs),
}

/// Arguments of `request report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Its number.
    #[arg(value_name = "NUMBER")]
    pub request: RequestNumber,
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
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
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
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `request close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Its number, or the file with the desk's closing [default: the only request that is not closed].
    #[arg(value_name = "NUMBER|FILE")]
    pub request: Option<NumberOrFile>,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
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
        RequestCommand::Report(args) => report(args, context),
    }
}

fn report(args: &ReportArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let key = context.content_key();
    let told = session::report::of_request(args.request, &key, context)?;
    let out = &mut *context.console.out;
    match context.output {
        OutputMode::Json => output::write_json(out, &told)?,
        OutputMode::List | OutputMode::Table => out.write_all(session::report::as_text(&told).as_bytes())?,
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Makes a request and keeps its signed statement: what `request submit` and the page do. Returns where it is kept.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn make(
    reason: &Reason,
    context: &Context,
) -> Result<(SupportRequest, Envelope, PathBuf), Failure> {
    let node = node::identity(context)?;
    let key = keys::load_or_create(&context.state, Role::Node)?;
    let store = node::open_store(context)?;
    let request = store.submit_request(reason.clone(), node, &context.clock.now())?;
    let statement = Envelope::sign(&request.submission(), &key)
        .map_err(|error| Failure::new(ErrorCode::Internal, "the request cannot be signed").because(error))?;
    let kept = casefiles::store(&context.state, Role::Node, Paper::Request, request.number, &statement)?;
    Ok((request, statement, kept))
}

fn submit(args: &SubmitArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.dry_run.dry_run {
        let node = keys::load_public(&context.state, Role::Node)?;
        let record = Record::new()
            .field("Reason", args.reason.to_string())
            .field("Node", node::name().to_string())
            .field("NodeFingerprint", node.map(|key| key.fingerprint().to_string()))
            .field("File", args.file.as_ref().map(|file| file.display().to_string()));
        return dry_run::told(record, context);
    }
    let (request, statement, kept) = make(&args.reason, context)?;
    let file = args.file.clone().unwrap_or_else(|| format!("request-{}.json", request.number).into());
    files::write_statement(&file, &statement).map_err(|failure| {
        failure.next_step(format!("the request is made all the same; send the desk {}", kept.display()))
    })?;
    context.print_one(
        &record(&request)
            .field("File", file.display().to_string())
            .detail("NodeFingerprint", request.node.key.fingerprint().to_string()),
    )?;
    context.note("Send the file to the desk; its answer, the opening, is confirmed with `remote-support request confirm FILE`.");
    Ok(Outcome::Done)
}

/// All requests of this node, the newest first.
///
/// # Errors
///
/// As [`node::existing_store`].
pub(crate) fn all(context: &Context) -> Result<Vec<SupportRequest>, Failure> {
    Ok(node::existing_store(context)?.map(|store| store.requests()).transpose()?.unwrap_or_default())
}

fn list(context: &mut Context) -> Result<Outcome, Failure> {
    let requests = all(context)?;
    let records: Vec<Record> = requests.iter().map(record).collect();
    context.print_all(&records)?;
    if records.is_empty() {
        context.note(
            "No support request exists. Submit one with `remote-support request submit --reason TEXT`.",
        );
    } else if requests.iter().any(|request| request.state() == RequestState::Submitted) {
        context.note("What is Submitted waits for the desk's answer: `remote-support request confirm FILE`.");
    }
    Ok(Outcome::Done)
}

fn confirm(args: &ConfirmArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let path = match &args.opening {
        NumberOrFile::File(path) => path.clone(),
        NumberOrFile::Number(number) => casefiles::path(&context.state, Paper::Opening, *number),
    };
    let opening = read_opening(&path, context)?;
    if args.dry_run.dry_run {
        let store = node::existing_store(context)?;
        let request = store.map(|store| store.request(opening.number)).transpose()?.flatten();
        let request = request.ok_or_else(|| unknown(opening.number))?;
        let record = record(&request)
            .field("OfferedBy", opening.desk.name.to_string())
            .field("OfferedFingerprint", opening.desk.key.fingerprint().to_string());
        return dry_run::told(record, context);
    }
    if confirm_desk(&opening, args.desk_fingerprint, context)? == Answer::No {
        context.note("The desk was not confirmed; nothing was changed.");
        return Ok(Outcome::Declined);
    }
    let request = accept(&opening, context)?;
    context.print_one(&record(&request))?;
    Ok(Outcome::Done)
}

/// Opens a request with the desk that the operator confirmed, and tells the agent.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn accept(opening: &Opening, context: &mut Context) -> Result<SupportRequest, Failure> {
    let request = node::open_store(context)?.confirm_opening(opening, &context.clock.now())?;
    tell_agent(context)?;
    Ok(request)
}

/// Reads a desk's opening for this node; who the desk is remains to be confirmed.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where this node has submitted nothing; [`ErrorCode::Statement`] where the file is for
/// another node, altered or no opening.
pub(crate) fn read_opening(path: &Path, context: &Context) -> Result<Opening, Failure> {
    let key = key_of_requests(context)?;
    let envelope = files::read_statement(path)?;
    Opening::verify(&envelope, &key).map_err(|error| files::statement_failure(path, error))
}

/// As [`read_opening`], where the operator has the file's text.
///
/// # Errors
///
/// As [`read_opening`].
pub(crate) fn opening_of_text(text: &str, context: &Context) -> Result<Opening, Failure> {
    let key = key_of_requests(context)?;
    let place = Path::new("the desk's answer");
    let envelope =
        Envelope::from_json(text.as_bytes()).map_err(|error| files::statement_failure(place, error))?;
    Opening::verify(&envelope, &key).map_err(|error| files::statement_failure(place, error))
}

/// The key with which this node signed its requests.
fn key_of_requests(context: &Context) -> Result<PublicKey, Failure> {
    let key = keys::load(&context.state, Role::Node)?.ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "this node has submitted no support request")
            .next_step("submit one with `remote-support request submit`")
    })?;
    Ok(key.public())
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
    let number = match &args.request {
        Some(NumberOrFile::File(path)) if args.dry_run.dry_run => {
            let envelope = files::read_statement(path)?;
            let does_not_hold = |error| files::statement_failure(path, error);
            let claimed: Closing = envelope.open(&[envelope.claimed_key()]).map_err(does_not_hold)?;
            let request = store.request(claimed.number)?.ok_or_else(|| unknown(claimed.number))?;
            let desk: Vec<_> = request.confirmed.iter().map(|confirmed| confirmed.desk.key).collect();
            let closing: Closing = envelope.open(&desk).map_err(does_not_hold)?;
            closing.number
        }
        Some(NumberOrFile::File(path)) => {
            let closed = store.close_request_by_desk(&files::read_statement(path)?, &now)?;
            let ended = end_access(context)?;
            let number = closed.as_ref().map(|request| request.number);
            return closed_told(number, &Closed { changed: closed.is_some(), ended }, &store, context);
        }
        Some(NumberOrFile::Number(number)) => *number,
        None => only_pending(&store)?,
    };
    if args.dry_run.dry_run {
        let request = store.request(number)?.ok_or_else(|| unknown(number))?;
        return dry_run::told(record(&request), context);
    }
    let closed = shut(number, context)?;
    closed_told(Some(number), &closed, &store, context)
}

/// What closing a request did.
#[derive(Debug)]
pub(crate) struct Closed {
    /// It was not closed before.
    pub(crate) changed: bool,
    /// How sessions under it ended.
    pub(crate) ended: Enforced,
}

/// Closes a request, and ends the sessions under it: what `request close` and the page do.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn shut(number: RequestNumber, context: &Context) -> Result<Closed, Failure> {
    let nothing = || Failure::new(ErrorCode::NotFound, "there is no support request on this node");
    let store = node::existing_store(context)?.ok_or_else(nothing)?;
    let closed = store.close_request(number, &context.clock.now())?;
    Ok(Closed { changed: closed.is_some(), ended: end_access(context)? })
}

fn closed_told(
    number: Option<RequestNumber>,
    closed: &Closed,
    store: &ConsentStore,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    tell_ended(&closed.ended.changed, context);
    if let Some(agent) = closed.ended.ended_agent {
        context.note(node::ended_agent(agent));
    }
    if !closed.changed {
        context.note("The support request was closed already; nothing was changed.");
    }
    let request = number.map(|number| store.request(number)).transpose()?.flatten();
    if let Some(request) = request {
        context.print_one(&record(&request))?;
    }
    Ok(Outcome::Done)
}

fn unknown(number: RequestNumber) -> Failure {
    Failure::new(ErrorCode::NotFound, "there is no such support request on this node")
        .about(number.to_string())
        .next_step("list them with `remote-support request list`")
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
    tell_ended(&changed, context);
    Ok(())
}

/// As [`tell_agent`], for a change that takes access away: it does so also where the agent does not answer.
fn end_access(context: &Context) -> Result<Enforced, Failure> {
    Ok(node::enforce(context, SocketControl::notify_changed)?)
}

fn tell_ended(changed: &Changed, context: &mut Context) {
    if changed.sessions_ended > 0 {
        context.note(format!("{} sessions were ended in {} ms.", changed.sessions_ended, changed.elapsed_ms));
    }
    ending::tell(&changed.sessions, context);
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
