//! `session hold|release|redact|expire`: what is kept, and what goes.

use std::collections::BTreeSet;
use std::io;

use clap::Args;
use rs_session::keeping::{self, Hold, HoldError, RemoveError, hold_of, remove_contents, would_remove};
use rs_session::node_log::Event;
use rs_session::record::{ContentKey, Frame, Stored};
use rs_session::redact::Pattern;
use uuid::Uuid;

use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::node;
use crate::node_log::Book;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::owner_policy::OwnerPolicy;
use crate::records;
use crate::state::Role;

/// Arguments of `session hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
    /// Why its contents must be kept; it stands in `history` and in the node's log.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_REASON")]
    pub reason: String,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `session release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `session redact`.
#[derive(Debug, Args)]
pub struct RedactArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
    /// Number of a record whose content goes. May be repeated.
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "pattern",
        env = "REMOTE_SUPPORT_RECORD",
        value_delimiter = ','
    )]
    pub record: Vec<u64>,
    /// Regular expression: the contents of all records in whose texts it matches go. It is read from the command line, so
    /// name the form of a secret here and not the secret itself.
    #[arg(long, value_name = "REGEX", env = "REMOTE_SUPPORT_PATTERN")]
    pub pattern: Option<String>,
    /// Why; it stands in the node's log.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_REASON")]
    pub reason: String,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `session expire`.
#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// Only say what would go.
    #[arg(long, env = "REMOTE_SUPPORT_DRY_RUN")]
    pub dry_run: bool,
}

/// A removal must be on record before it happens.
fn book(context: &Context) -> Result<Book, Failure> {
    node::book(context)?.ok_or_else(|| Failure::new(ErrorCode::NotFound, "this node has no store and no log"))
}

pub(super) fn hold(args: &HoldArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let session = args.session_id;
    records::find(&context.state, session)?;
    let book = book(context)?;
    let hold = Hold { reason: args.reason.clone(), by: node::operator(), at: context.clock.now().wall };
    let act = if args.dry_run.dry_run { keeping::may_hold } else { keeping::hold };
    act(&records::folder(&context.state), session, &hold).map_err(|error| {
        let code = match error {
            HoldError::Reason => ErrorCode::InvalidValue,
            _ => ErrorCode::Io,
        };
        Failure::new(code, "the session cannot be held").about(session.to_string()).because(error)
    })?;
    let record = Record::new()
        .field("SessionId", session.to_string())
        .field("Held", true)
        .field("HoldReason", hold.reason.as_str());
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    book.enter(Event::Held { session, reason: hold.reason, by: hold.by })?;
    context.print_one(&record)?;
    context.note("Its contents are kept until `remote-support session release`.");
    Ok(Outcome::Done)
}

pub(super) fn release(args: &ReleaseArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let session = args.session_id;
    records::find(&context.state, session)?;
    let folder = records::folder(&context.state);
    let book = book(context)?;
    let held = hold_of(&folder, session).map_or(true, |hold| hold.is_some());
    if !held {
        return Err(Failure::new(ErrorCode::NotFound, "this session is not held").about(session.to_string()));
    }
    let record = Record::new().field("SessionId", session.to_string()).field("Held", false);
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    book.enter(Event::Released { session, by: node::operator() })?;
    keeping::release(&folder, session).map_err(|error| Failure::io(&folder, "release the session", error))?;
    context.print_one(&record)?;
    Ok(Outcome::Done)
}

pub(super) fn redact(args: &RedactArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let session = args.session_id;
    let path = records::find(&context.state, session)?;
    if !matches!(hold_of(&records::folder(&context.state), session), Ok(None)) {
        return Err(Failure::new(ErrorCode::Refused, "this session is held; what it holds must be kept")
            .about(session.to_string())
            .next_step("release it first with `remote-support session release`"));
    }
    let pattern = args.pattern.as_deref().map(|text| Pattern::new("pattern", text)).transpose();
    let pattern = pattern.map_err(|error| {
        Failure::new(ErrorCode::InvalidValue, "the pattern cannot be used").because(error)
    })?;
    // Numbers need no key: what goes need not be read.
    let key = if pattern.is_some() { context.key_store()?.for_reading()? } else { None };
    let numbers: BTreeSet<u64> = args.record.iter().copied().collect();
    let book = book(context)?;
    let reason = format!("redacted by {}: {}", node::operator(), args.reason);
    let mut wanted = |frame: &Frame| {
        numbers.contains(&frame.skeleton().sequence) || matches(frame, pattern.as_ref(), session, &key)
    };
    let remove = if args.dry_run.dry_run { would_remove } else { remove_contents };
    let removed = remove(&path, &mut wanted, &mut |records| {
        let event = Event::ContentsRemoved { session, records, reason: reason.clone() };
        book.enter(event).map(drop).map_err(io::Error::other)
    });
    let removed = removed.map_err(|error| {
        let code = match error {
            RemoveError::Damaged(_) => ErrorCode::Integrity,
            RemoveError::Live => ErrorCode::Refused,
            _ => ErrorCode::Io,
        };
        Failure::new(code, "nothing was removed").about(session.to_string()).because(error)
    })?;
    if removed.records == 0 {
        return Err(Failure::new(ErrorCode::NotFound, "no content fits; nothing was removed")
            .about(session.to_string()));
    }
    let record = Record::new()
        .field("SessionId", session.to_string())
        .field("ContentsRemoved", removed.records)
        .field("BytesRemoved", removed.bytes);
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    context.print_one(&record)?;
    context.note("They are gone from this node. The engineer's own copy is not reached from here.");
    Ok(Outcome::Done)
}

/// Whether the pattern matches anywhere in the texts of a content.
fn matches(frame: &Frame, pattern: Option<&Pattern>, session: Uuid, key: &ContentKey) -> bool {
    let Some(pattern) = pattern else { return false };
    let frame = match key {
        Some(key) => frame.clone().opened(session, &**key),
        None => frame.clone(),
    };
    let Stored::Present { bytes, .. } = frame.content() else { return false };
    match serde_json::from_slice(bytes) {
        Ok(value) => any_text(&value, pattern),
        Err(_) => pattern.is_in(&String::from_utf8_lossy(bytes)),
    }
}

fn any_text(value: &serde_json::Value, pattern: &Pattern) -> bool {
    match value {
        serde_json::Value::String(text) => pattern.is_in(text),
        serde_json::Value::Array(values) => values.iter().any(|value| any_text(value, pattern)),
        serde_json::Value::Object(values) => values.values().any(|value| any_text(value, pattern)),
        serde_json::Value::Number(number) => pattern.is_in(&number.to_string()),
        _ => false,
    }
}

pub(super) fn expire(args: &ExpireArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let days = OwnerPolicy::read(&context.state.role(Role::Node))?.retention_days;
    let now = context.clock.now().wall;
    let folder = records::folder(&context.state);
    let book = if args.dry_run { None } else { node::book(context)? };
    let expiry = keeping::expire(&folder, days, now, args.dry_run, &mut |session, records, reason| {
        let Some(book) = &book else { return Err(io::Error::other("this node has no log")) };
        let event = Event::ContentsRemoved { session, records, reason: reason.to_owned() };
        book.enter(event).map(drop).map_err(io::Error::other)
    })?;
    let outcome = |session: Uuid, outcome: &str, records: u64| {
        Record::new()
            .field("SessionId", session.to_string())
            .field("Outcome", outcome)
            .field("Contents", records)
    };
    let word = if args.dry_run { "Due" } else { "Removed" };
    let expired = expiry.expired.iter().map(|expired| outcome(expired.session_id, word, expired.records));
    let held = expiry.held.iter().map(|session| outcome(*session, "Held", 0));
    let failed = expiry.failed.iter().map(|(session, _)| outcome(*session, "Failed", 0));
    let records: Vec<Record> = expired.chain(held).chain(failed).collect();
    context.print_all(&records)?;
    for (session, error) in &expiry.failed {
        context.note(format!("{session}: {error}"));
    }
    if records.is_empty() {
        context.note(format!("No contents are older than {days} days."));
    }
    Ok(if expiry.failed.is_empty() { Outcome::Done } else { Outcome::Partial })
}
