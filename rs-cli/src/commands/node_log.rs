//! `node-log prove|witness|show|restart`: what the node's log says, and a head of it for somebody else to keep.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rs_consent::keys::PublicKey;
use rs_consent::statement::Envelope;
use rs_session::node_log::{Entry, LOG_NAME, Proof, ProofVerdict, Report, Witness, prove, verify};
use serde::Serialize;

use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::state::Role;
use crate::{files, keys, node, platform};

/// What to do with the node's log.
#[derive(Debug, Subcommand)]
pub enum NodeLogCommand {
    /// Say who had access between two instants, or that nobody had; exit code 6 where that cannot be said.
    Prove(ProveArgs),
    /// Write a signed head of the log to a file for somebody else to keep; `session verify --witness FILE` holds the log
    /// against it.
    Witness(WitnessArgs),
    /// Print the log, an entry on a line.
    Show(ShowArgs),
    /// Set a log that cannot be continued aside and begin a new one, which proves nothing of before.
    Restart(RestartArgs),
}

/// Arguments of `node-log prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Beginning: a date as in `history --from-date` [default: the beginning of the log].
    #[arg(
        long, value_name = "DATE", value_parser = crate::values::date, allow_hyphen_values = true,
        env = "REMOTE_SUPPORT_FROM"
    )]
    pub from: Option<DateTime<Utc>>,
    /// End, inclusive [default: the newest entry of the log].
    #[arg(
        long, value_name = "DATE", value_parser = crate::values::date, allow_hyphen_values = true,
        env = "REMOTE_SUPPORT_TO"
    )]
    pub to: Option<DateTime<Utc>>,
    /// A log file of another node, or a copy [default: that of this node].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_LOG")]
    pub log: Option<PathBuf>,
    /// File with the node's public key [default: that of this node; for a file, the one that the log itself names].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_NODE_KEY")]
    pub node_key: Option<PathBuf>,
}

/// Arguments of `node-log witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// The file to write.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `node-log show`.
#[derive(Debug, Args)]
pub struct ShowArgs {}

/// Arguments of `node-log restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Runs a command of the node's log.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no log; what keeps files and keys from being read or written.
pub fn run(command: &NodeLogCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        NodeLogCommand::Prove(args) => proof(args, context),
        NodeLogCommand::Witness(args) => witness(args, context),
        NodeLogCommand::Show(ShowArgs {}) => show(context),
        NodeLogCommand::Restart(args) => restart(args, context),
    }
}

fn read(path: &std::path::Path, key: Option<PublicKey>) -> Result<(Report, Vec<Entry>), Failure> {
    let file = platform::on_behalf(path, || std::fs::File::open(path))
        .map_err(|error| Failure::io(path, "read the node log", error))?;
    let mut entries = Vec::new();
    let take = |entry: &Entry, fits: bool| entries.extend(fits.then(|| entry.clone()));
    let (report, _) = verify(std::io::BufReader::new(file), key, take);
    Ok((report, entries))
}

fn own_key(context: &Context) -> Result<Option<PublicKey>, Failure> {
    context.state.role(Role::Node).check()?;
    keys::load_public(&context.state, Role::Node)
}

fn log_path(context: &Context) -> PathBuf {
    context.state.role(Role::Node).file(LOG_NAME)
}

fn proof(args: &ProveArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let key = match (&args.node_key, &args.log) {
        (Some(path), _) => Some(keys::read_public(path)?),
        (None, None) => own_key(context)?,
        (None, Some(_)) => None,
    };
    let path = args.log.clone().unwrap_or_else(|| log_path(context));
    let (report, entries) = read(&path, key)?;
    let from = args.from.or(report.began_at).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    let to = args.to.or(report.last_at).unwrap_or(from);
    if to < from {
        return Err(Failure::new(ErrorCode::InvalidValue, "the interval ends before it begins"));
    }
    let proof = prove(&entries, report.intact, from, to);
    match context.output {
        OutputMode::Json => {
            let told = Told { proof: &proof, log: &report, key_trusted: key.is_some() };
            output::write_json(&mut *context.console.out, &told)?;
        }
        OutputMode::List | OutputMode::Table => for_people(&proof, &report, context)?,
    }
    if key.is_none() {
        context
            .note("No node key was given: this shows what the log says, not whose log it is (--node-key).");
    }
    Ok(match proof.verdict {
        ProofVerdict::NoAccess | ProofVerdict::TheseSessions => Outcome::Done,
        ProofVerdict::CannotBeSaid => Outcome::Exit(Exit::Integrity),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(flatten)]
    proof: &'a Proof,
    key_trusted: bool,
    log: &'a Report,
}

fn for_people(proof: &Proof, report: &Report, context: &mut Context) -> Result<(), Failure> {
    let out = &mut context.console.out;
    let span = format!("between {} and {}", proof.from.to_rfc3339(), proof.to.to_rfc3339());
    match proof.verdict {
        ProofVerdict::NoAccess => writeln!(out, "NO ACCESS: nobody had access to this node {span}.")?,
        ProofVerdict::TheseSessions => {
            writeln!(out, "ACCESS: these sessions and no others were open {span}.")?
        }
        ProofVerdict::CannotBeSaid => {
            writeln!(out, "CANNOT BE SAID: the log does not cover all of the time {span}.")?
        }
    }
    let sessions: Vec<Record> = proof.sessions.iter().map(session).collect();
    if !sessions.is_empty() {
        writeln!(out)?;
        output::write_all(&mut **out, &sessions, context.output, context.console.columns)?;
    }
    if !proof.gaps.is_empty() {
        writeln!(out, "\nNothing can be said of:")?;
    }
    for gap in &proof.gaps {
        writeln!(out, "  {} to {}: {}", gap.from.to_rfc3339(), gap.to.to_rfc3339(), gap.kind.explanation())?;
    }
    if proof.gaps_more > 0 {
        writeln!(out, "  and {} more", proof.gaps_more)?;
    }
    for finding in &report.findings {
        let explanation = output::safe(&finding.explanation);
        writeln!(out, "  entry {}, at byte {}: {explanation}", finding.entry, finding.offset)?;
    }
    writeln!(
        out,
        "\nChecked: {} entries, without gaps in their numbers, each signed by the key that the one before names. A session \
         is entered before its engineer is welcomed.",
        report.entries
    )?;
    Ok(out.flush()?)
}

fn session(access: &rs_session::node_log::Access) -> Record {
    Record::new()
        .field("SessionId", access.session.to_string())
        .field("From", access.from)
        .field("To", access.to)
        .field("Engineer", access.engineer.as_str())
        .field("EngineerFingerprint", access.engineer_key.fingerprint().to_string())
        .field("SupportRequest", access.support_request.to_string())
        .field("GrantId", access.grant.to_string())
        .field("AccessLevel", access.access_level.to_string())
        .field("EndCause", access.cause.map(rs_consent::EndCause::as_str))
}

fn witness(args: &WitnessArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let book = node::book(context)?.ok_or_else(no_log)?;
    let head = book.settle()?;
    let key = keys::load_or_create(&context.state, Role::Node)?;
    let witness = Witness { node: node::identity(context)?, head, taken_at: context.clock.now().wall };
    let envelope = Envelope::sign(&witness, &key)
        .map_err(|error| Failure::new(ErrorCode::Internal, "the witness cannot be signed").because(error))?;
    files::write_statement(&args.file, &envelope)?;
    let record = Record::new()
        .field("File", args.file.display().to_string())
        .field("LogId", head.log_id.to_string())
        .field("Entry", head.sequence)
        .field("Link", head.link.to_string())
        .field("TakenAt", witness.taken_at);
    context.print_one(&record)?;
    context.note(
        "Keep this file away from the node. `remote-support session verify --witness FILE` shows with it that nothing of \
         before was taken out or put back.",
    );
    Ok(Outcome::Done)
}

fn no_log() -> Failure {
    Failure::new(ErrorCode::NotFound, "this node has no log yet")
        .next_step("it begins with the first consent, or when the agent is started")
}

fn show(context: &mut Context) -> Result<Outcome, Failure> {
    let path = log_path(context);
    if !path.exists() {
        return Err(no_log());
    }
    let (report, entries) = read(&path, own_key(context)?)?;
    for entry in &entries {
        match context.output {
            OutputMode::Json => output::write_json_line(&mut *context.console.out, entry)?,
            OutputMode::List | OutputMode::Table => {
                let event = serde_json::to_string(&entry.event).unwrap_or_default();
                let (number, at) = (entry.sequence, entry.wall_time.to_rfc3339());
                writeln!(context.console.out, "{number} {at} {}", output::safe(&event))?;
            }
        }
    }
    context.console.out.flush()?;
    if report.intact {
        return Ok(Outcome::Done);
    }
    context.note(format!(
        "The log is not what was written: {} faults. See `remote-support session verify`.",
        report.faults
    ));
    Ok(Outcome::Exit(Exit::Integrity))
}

fn restart(args: &RestartArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let book = node::book(context)?.ok_or_else(no_log)?;
    let suffix = format!("set-aside-{}", context.clock.now().wall.format("%Y%m%dT%H%M%SZ"));
    if args.dry_run.dry_run {
        let aside = context.state.role(Role::Node).file(&format!("{LOG_NAME}.{suffix}"));
        return dry_run::told(Record::new().field("SetAside", aside.display().to_string()), context);
    }
    let (head, aside) = book.log().restart(&suffix)?;
    let record = Record::new()
        .field("LogId", head.log_id.to_string())
        .field("SetAside", aside.exists().then(|| aside.display().to_string()));
    context.print_one(&record)?;
    context.note("A new log begins. It proves nothing of before; keep the old one.");
    Ok(Outcome::Done)
}
