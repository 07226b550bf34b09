//! `desk init|open|assign|close`: the support organisation's side.
//!
//! The desk keeps what it signed in `desk/requests/`. Its files are all there is: no other store, nothing to migrate.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rs_consent::assignment::{AssignmentMinutes, RelayHint};
use rs_consent::party::{Desk, DeskName, Engineer, EngineerId, HostName, RelayEntity};
use rs_consent::request::{Closing, Opening, Submission};
use rs_consent::statement::Statement;
use rs_consent::{AccessLevel, Assignment, Envelope, PublicKey, RequestNumber, SigningKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::casefiles::{self, Paper};
use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::state::{Role, StateDir};
use crate::values::{AccessLevelParser, NumberOrFile};
use crate::{files, keys};

/// Name of the file with the desk's name, in its folder.
const PROFILE_NAME: &str = "desk.json";

/// Longest profile that is read, in bytes.
const PROFILE_BYTES_MAX: usize = 4096;

/// What to do at the desk.
#[derive(Debug, Subcommand)]
pub enum DeskCommand {
    /// Make the desk's key and give the desk its name.
    Init(InitArgs),
    /// Take a request and write the signed opening that goes back to the node.
    Open(OpenArgs),
    /// Assign an engineer to a request that was taken, and write the signed assignment.
    Assign(AssignArgs),
    /// Close a request and write the signed closing that goes back to the node.
    Close(CloseArgs),
}

/// Arguments of `desk init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The name that operators will see, one line.
    #[arg(long, value_name = "TEXT", default_value = "Support desk", env = "REMOTE_SUPPORT_DESK_NAME")]
    pub desk_name: DeskName,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `desk open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// The node's file, or the number of a request of this state directory [default: the newest one there].
    #[arg(value_name = "NUMBER|FILE")]
    pub request: Option<NumberOrFile>,
    /// Where to write the opening as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `desk assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// Number of the request [default: the one that this desk took last].
    #[arg(value_name = "NUMBER")]
    pub request: Option<RequestNumber>,
    /// Who is assigned, as it will stand on record: engineer@support.example.
    #[arg(long, value_name = "ID", env = "REMOTE_SUPPORT_ENGINEER")]
    pub engineer: EngineerId,
    /// File with the engineer's public key [default: that of this state directory].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ENGINEER_KEY")]
    pub engineer_key: Option<PathBuf>,
    /// Highest level for this engineer; the node's consent may permit less.
    #[arg(
        long, value_name = "LEVEL", default_value = "DiagnosticsRepair", value_parser = AccessLevelParser,
        env = "REMOTE_SUPPORT_LEVEL_CAP"
    )]
    pub level_cap: AccessLevel,
    /// Minutes for which the assignment is valid, 1 to 1440 (1 day).
    #[arg(
        long, value_name = "MINUTES", default_value = "480", value_parser = assignment_minutes,
        allow_hyphen_values = true, env = "REMOTE_SUPPORT_VALID_MINUTES"
    )]
    pub valid_minutes: AssignmentMinutes,
    /// Host of the relay at which the node listens, with its port if that is not 443; a hint, no credential.
    #[arg(long, value_name = "HOST", requires = "relay_entity", env = "REMOTE_SUPPORT_RELAY_HOST")]
    pub relay_host: Option<HostName>,
    /// Hybrid connection at which the node listens.
    #[arg(long, value_name = "PATH", requires = "relay_host", env = "REMOTE_SUPPORT_RELAY_ENTITY")]
    pub relay_entity: Option<RelayEntity>,
    /// Where to write the assignment as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `desk close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Number of the request [default: the one that this desk took last].
    #[arg(value_name = "NUMBER")]
    pub request: Option<RequestNumber>,
    /// Where to write the closing as well [default: in the state directory only].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_FILE")]
    pub file: Option<PathBuf>,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

fn assignment_minutes(text: &str) -> Result<AssignmentMinutes, String> {
    let permitted = || "give 1 to 1440 minutes as a whole number".to_owned();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let minutes = text.parse().ok().filter(|_| digits).ok_or_else(permitted)?;
    AssignmentMinutes::new(minutes).map_err(|_| permitted())
}

/// Runs a desk command.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where the desk has not been set up or the request is not known;
/// [`ErrorCode::Statement`] for a file that does not hold; [`ErrorCode::Refused`] for a request that is closed.
pub fn run(command: &DeskCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        DeskCommand::Init(args) => init(args, context),
        DeskCommand::Open(args) => open(args, context),
        DeskCommand::Assign(args) => assign(args, context),
        DeskCommand::Close(args) => close(args, context),
    }
}

/// What the desk is called; its key stands in a file of its own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    version: u32,
    name: DeskName,
}

fn init(args: &InitArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.dry_run.dry_run {
        let key = keys::load_public(&context.state, Role::Desk)?;
        let record = Record::new()
            .field("Name", args.desk_name.to_string())
            .field("PublicKey", key.map(|key| key.to_string()))
            .field("MakesKey", key.is_none());
        return dry_run::told(record, context);
    }
    let key = keys::load_or_create(&context.state, Role::Desk)?;
    let profile = serde_json::json!(Profile { version: 1, name: args.desk_name.clone() });
    files::replace_secret(
        &context.state.role(Role::Desk).file(PROFILE_NAME),
        format!("{profile}\n").as_bytes(),
    )?;
    let record = Record::new()
        .field("Name", args.desk_name.to_string())
        .field("PublicKey", key.public().to_string())
        .field("Fingerprint", key.public().fingerprint().to_string());
    context.print_one(&record)?;
    context.note(
        "Tell operators the fingerprint in another way than the files: they compare it.\nTake a request with \
         `remote-support desk open FILE`.",
    );
    Ok(Outcome::Done)
}

fn identity(state: &StateDir) -> Result<(Desk, SigningKey), Failure> {
    let missing = || {
        Failure::new(ErrorCode::NotFound, "there is no desk in this state directory")
            .next_step("set one up with `remote-support desk init`")
    };
    let key = keys::load(state, Role::Desk)?.ok_or_else(missing)?;
    let path = state.role(Role::Desk).file(PROFILE_NAME);
    let profile: Profile =
        serde_json::from_slice(&files::read(&path, PROFILE_BYTES_MAX)?).map_err(|error| {
            Failure::new(ErrorCode::InvalidFile, "the desk's file cannot be used")
                .about(path.display().to_string())
                .because(error)
                .next_step("write it anew with `remote-support desk init`")
        })?;
    Ok((Desk { name: profile.name, key: key.public() }, key))
}

fn open(args: &OpenArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (desk, key) = identity(&context.state)?;
    let path = match &args.request {
        Some(NumberOrFile::File(path)) => path.clone(),
        Some(NumberOrFile::Number(number)) => casefiles::path(&context.state, Paper::Request, *number),
        None => newest_submission(&context.state)?,
    };
    let envelope = files::read_statement(&path)?;
    let submission = Submission::verify(&envelope).map_err(|error| files::statement_failure(&path, error))?;
    let number = submission.number;
    refuse_other_node(&context.state, &submission)?;
    refuse_closed(&context.state, number)?;
    let opened_at = context.clock.now().wall;
    let opening = Opening { number, node_key: submission.node.key, desk: desk.clone(), opened_at };
    let record = Record::new()
        .field("Number", number.to_string())
        .field("Reason", submission.reason.to_string())
        .field("Node", submission.node.name.to_string())
        .field("NodeFingerprint", submission.node.key.fingerprint().to_string())
        .field("CreatedAt", submission.created_at)
        .field("OpenedAt", opened_at)
        .field("DeskFingerprint", desk.key.fingerprint().to_string());
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    casefiles::store(&context.state, Role::Desk, Paper::Request, number, &envelope)?;
    let file = issue(&opening, &key, Paper::Opening, number, args.file.as_ref(), context)?;
    context.print_one(&record.field("File", file))?;
    context
        .note("Send the file to the operator, who confirms it with `remote-support request confirm FILE`. Assign an engineer with \
               `remote-support desk assign --engineer ID --engineer-key FILE`.");
    Ok(Outcome::Done)
}

/// A number belongs to the node whose request was taken first.
fn refuse_other_node(state: &StateDir, submission: &Submission) -> Result<(), Failure> {
    let known = taken(state, submission.number)?;
    if known.is_none_or(|known| known.node.key == submission.node.key) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Refused, "this desk has taken a request with this number from another node")
        .about(submission.number.to_string())
        .next_step("ask the operator to close the request and submit a new one"))
}

fn refuse_closed(state: &StateDir, number: RequestNumber) -> Result<(), Failure> {
    if !casefiles::path(state, Paper::Closing, number).exists() {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Refused, "this desk has closed the request")
        .about(number.to_string())
        .next_step("ask the operator to submit a new one"))
}

/// The request as the desk took it, if it did.
fn taken(state: &StateDir, number: RequestNumber) -> Result<Option<Submission>, Failure> {
    let path = casefiles::path_at(state, Role::Desk, Paper::Request, number);
    if !path.exists() {
        return Ok(None);
    }
    let submission = Submission::verify(&files::read_statement(&path)?);
    submission.map(Some).map_err(|error| files::statement_failure(&path, error))
}

fn newest_submission(state: &StateDir) -> Result<PathBuf, Failure> {
    let submitted = casefiles::list(state, Role::Node, Paper::Request).into_iter().filter_map(|(_, path)| {
        let submission = Submission::verify(&files::read_statement(&path).ok()?).ok()?;
        Some((submission.created_at, path))
    });
    submitted.max().map(|(_, path)| path).ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "there is no request in this state directory")
            .next_step("name the file that the node sent")
    })
}

fn assign(args: &AssignArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (desk, key) = identity(&context.state)?;
    let number = chosen(args.request, &desk.key, &context.state)?;
    refuse_closed(&context.state, number)?;
    let submission = taken(&context.state, number)?.ok_or_else(|| not_taken(number))?;
    let issued_at = context.clock.now().wall;
    let assignment = Assignment {
        id: Uuid::new_v4(),
        desk,
        request: number,
        node: submission.node,
        engineer: Engineer { id: args.engineer.clone(), key: engineer_key(args, &context.state)? },
        level_cap: args.level_cap,
        issued_at,
        expires_at: issued_at + args.valid_minutes.delta(),
        relay: relay_hint(args),
    };
    let record = Record::new()
        .field("Id", assignment.id.to_string())
        .field("Request", number.to_string())
        .field("Node", assignment.node.name.to_string())
        .field("NodeFingerprint", assignment.node.key.fingerprint().to_string())
        .field("Engineer", assignment.engineer.id.to_string())
        .field("EngineerFingerprint", assignment.engineer.key.fingerprint().to_string())
        .field("LevelCap", assignment.level_cap.to_string())
        .field("IssuedAt", issued_at)
        .field("ExpiresAt", assignment.expires_at);
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    let file = issue(&assignment, &key, Paper::Assignment, number, args.file.as_ref(), context)?;
    context.print_one(&record.field("File", file))?;
    context
        .note("Send the file to the engineer, who connects with `remote-support connect --assignment FILE`.");
    Ok(Outcome::Done)
}

fn relay_hint(args: &AssignArgs) -> Option<RelayHint> {
    Some(RelayHint { host: args.relay_host.clone()?, entity: args.relay_entity.clone()? })
}

fn engineer_key(args: &AssignArgs, state: &StateDir) -> Result<PublicKey, Failure> {
    if let Some(path) = &args.engineer_key {
        return keys::read_public(path);
    }
    keys::load_public(state, Role::Engineer)?.ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "there is no engineer in this state directory")
            .next_step("name the engineer's public key with --engineer-key FILE; it is made with `remote-support engineer init`")
    })
}

fn close(args: &CloseArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (desk, key) = identity(&context.state)?;
    let number = chosen(args.request, &desk.key, &context.state)?;
    let submission = taken(&context.state, number)?.ok_or_else(|| not_taken(number))?;
    let closed_at = context.clock.now().wall;
    let closing = Closing { number, node_key: submission.node.key, closed_at };
    let record = Record::new()
        .field("Number", number.to_string())
        .field("Node", submission.node.name.to_string())
        .field("ClosedAt", closed_at);
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    let file = issue(&closing, &key, Paper::Closing, number, args.file.as_ref(), context)?;
    context.print_one(&record.field("File", file))?;
    context.note(
        "Send the file to the operator, who closes the request with `remote-support request close FILE`.",
    );
    Ok(Outcome::Done)
}

/// The request named, or the one that this desk took last and has not closed.
fn chosen(
    named: Option<RequestNumber>,
    desk: &PublicKey,
    state: &StateDir,
) -> Result<RequestNumber, Failure> {
    if let Some(number) = named {
        return Ok(number);
    }
    let opened = casefiles::list(state, Role::Desk, Paper::Opening).into_iter();
    let open = opened.filter(|(number, _)| !casefiles::path(state, Paper::Closing, *number).exists());
    let dated = open.filter_map(|(number, path)| {
        let opening: Opening = files::read_statement(&path).ok()?.open(std::slice::from_ref(desk)).ok()?;
        Some((opening.opened_at, number))
    });
    dated.max_by_key(|(at, _): &(DateTime<Utc>, RequestNumber)| *at).map(|(_, number)| number).ok_or_else(
        || {
            Failure::new(ErrorCode::NotFound, "this desk has no open request")
                .next_step("take one with `remote-support desk open FILE`")
        },
    )
}

fn not_taken(number: RequestNumber) -> Failure {
    Failure::new(ErrorCode::NotFound, "this desk has not taken the request")
        .about(number.to_string())
        .next_step("take it with `remote-support desk open FILE`")
}

/// Signs a statement and writes it to the desk's folder, and to `copy` if somebody wants it there; returns where to
/// find it.
fn issue<T: Statement>(
    statement: &T,
    key: &SigningKey,
    paper: Paper,
    number: RequestNumber,
    copy: Option<&PathBuf>,
    context: &Context,
) -> Result<String, Failure> {
    let envelope = Envelope::sign(statement, key).map_err(|error| {
        Failure::new(ErrorCode::Internal, "the statement cannot be signed").because(error)
    })?;
    let kept = casefiles::store(&context.state, Role::Desk, paper, number, &envelope)?;
    if let Some(copy) = copy {
        files::write_statement(copy, &envelope)?;
    }
    Ok(copy.unwrap_or(&kept).display().to_string())
}
