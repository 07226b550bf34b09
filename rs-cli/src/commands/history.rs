//! `history`: sessions of the last days, and transcripts.
//!
//! Everything is read from the record files. A transcript passes through record by record, however long it is. What is
//! named by its id, and what is shown whole, is verified first; a mere listing is not, so that it stays quick.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use rs_consent::EndCause;
use rs_session::history::{self, HISTORY_DAYS, HistoryError, SessionState, SessionSummary, Transcript};
use rs_session::record::{ContentKey, Report, Verdict};
use rs_session::search::Search;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::session::OwnRecords;
use crate::context::Context;
use crate::fleet::{self, FleetArgs};
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::records;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// List sessions since this date: 2025-07-31, 2025-07-31T10:05:52Z, "7/31/2025 10:05 PM" (month first; local time
    /// where no offset is given) or -7d; sessions that still run are always listed [default: seven days ago].
    #[arg(
        long, value_name = "DATE", value_parser = crate::values::date, allow_hyphen_values = true,
        env = "REMOTE_SUPPORT_FROM_DATE"
    )]
    pub from_date: Option<DateTime<Utc>>,
    /// Show this session only, however old it is, and verify its record; what else is asked of sessions does not count then.
    #[arg(long, value_name = "ID", env = "REMOTE_SUPPORT_SESSION_ID")]
    pub session_id: Option<Uuid>,
    /// List sessions that began up to this date, inclusive.
    #[arg(
        long, value_name = "DATE", value_parser = crate::values::date, allow_hyphen_values = true, env = "REMOTE_SUPPORT_TO_DATE"
    )]
    pub to_date: Option<DateTime<Utc>>,
    /// Only sessions of this engineer: a part of the name, or of the key's fingerprint.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_ENGINEER")]
    pub engineer: Option<String>,
    /// Only sessions of this support request.
    #[arg(long, value_name = "NUMBER", env = "REMOTE_SUPPORT_SUPPORT_REQUEST")]
    pub support_request: Option<String>,
    /// Only sessions on this node: a part of its name.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_NODE_NAME")]
    pub node_name: Option<String>,
    /// Only sessions that ended so (revoked, expired, exit, …) or stand so (live, ended, cut-off, damaged).
    #[arg(long, value_name = "WORD", env = "REMOTE_SUPPORT_OUTCOME")]
    pub outcome: Option<String>,
    /// Only sessions in which a line with this text was sent, permitted or refused.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_COMMAND")]
    pub command: Option<String>,
    /// Only sessions in which this text was typed or shown; what was removed or masked is not found.
    #[arg(long, value_name = "TEXT", env = "REMOTE_SUPPORT_TEXT")]
    pub text: Option<String>,
    /// Add the transcripts; the record of each is verified first.
    #[arg(
        long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false", hide_default_value = true, hide_possible_values = true,
        env = "REMOTE_SUPPORT_INCLUDE_SESSION_TRANSCRIPT"
    )]
    pub include_session_transcript: bool,
    /// On which nodes.
    #[command(flatten)]
    pub nodes: FleetArgs,
}

/// Lists sessions, oldest first, or shows one.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] for an id that this node does not know; [`ErrorCode::Integrity`] where a record cannot be
/// read to its end, after everything before that place was printed. A record that does not verify is printed, with a
/// note, and the exit code is 6.
pub fn run(args: &HistoryArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(fleet) = args.nodes.fleet()? {
        return fleet::verbs::history(args, &fleet, context);
    }
    let now = context.clock.now().wall;
    let key = context.content_key();
    let (single, sessions, outcome) = match args.session_id {
        Some(id) => (true, vec![one(id, now, &key, context)?], Outcome::Done),
        None => {
            let (sessions, outcome) = list(args, now, &key, context)?;
            (false, sessions, outcome)
        }
    };
    let with_transcripts = args.include_session_transcript;
    let closed = with_transcripts && sessions.iter().any(|session| session.contents_sealed > 0);
    let sessions = if single || with_transcripts {
        verified(sessions, context)
    } else {
        sessions.into_iter().map(|session| Listed { session, verdict: None }).collect()
    };
    let broken = sessions.iter().any(|listed| listed.verdict == Some(Verdict::Broken));
    print(&Sessions { single, all: sessions }, with_transcripts, &key, context)?;
    Ok(match (broken, closed) {
        (true, _) => Outcome::Exit(Exit::Integrity),
        (false, true) => Outcome::Partial,
        (false, false) => outcome,
    })
}

/// A session, and what verifying its record came to; `None` where it was not verified.
struct Listed {
    session: SessionSummary,
    verdict: Option<Verdict>,
}

/// Verifies the records of these sessions as `session verify ID` does. What does not hold, or could not be verified, is
/// said at once: before anything of it is shown.
fn verified(sessions: Vec<SessionSummary>, context: &mut Context) -> Vec<Listed> {
    let own = OwnRecords::open(context);
    if let Err(failure) = &own
        && !sessions.is_empty()
    {
        context.note(format!("Nothing shown here was verified: {failure}"));
    }
    let mut verdict = |session: &SessionSummary| match own.as_ref().ok()?.verify(session.session_id) {
        Ok(report) => {
            if let Some(alarm) = alarm(session.session_id, &report) {
                context.note(alarm);
            }
            Some(report.verdict)
        }
        Err(failure) => {
            context.note(format!("The record of session {} was not verified: {failure}", session.session_id));
            None
        }
    };
    sessions.into_iter().map(|session| Listed { verdict: verdict(&session), session }).collect()
}

/// What has to be said before anything of a session is shown: that its record does not verify, or was not verified.
pub(crate) fn warning(id: Uuid, context: &mut Context) -> Option<String> {
    match OwnRecords::open(context).and_then(|own| own.verify(id)) {
        Ok(report) => alarm(id, &report),
        Err(failure) => Some(format!("The record of session {id} was not verified: {failure}")),
    }
}

fn alarm(id: Uuid, report: &Report) -> Option<String> {
    let first = report.findings.first().filter(|_| report.verdict == Verdict::Broken)?;
    Some(format!(
        "ALARM: the record of session {id} does not verify; do not rely on it. First of {} fault(s): {}. See \
         `remote-support session verify {id}`.",
        report.faults, first.explanation
    ))
}

/// One session, by its id.
///
/// # Errors
///
/// [`ErrorCode::NotFound`], [`ErrorCode::Integrity`].
pub(crate) fn one(
    id: Uuid,
    now: DateTime<Utc>,
    key: &ContentKey,
    context: &Context,
) -> Result<SessionSummary, Failure> {
    let session = history::session(&records::folder(&context.state), id, now, key)?;
    if session.session_id == id { Ok(session) } else { Err(exchanged(id, &session)) }
}

/// A record that lies under the name of another session.
fn exchanged(id: Uuid, session: &SessionSummary) -> Failure {
    Failure::new(
        ErrorCode::Integrity,
        format!("this record is not of session {id} but of {}", session.session_id),
    )
    .about(session.record.display().to_string())
}

impl HistoryArgs {
    fn search(&self) -> Search {
        Search {
            engineer: self.engineer.clone(),
            support_request: self.support_request.clone(),
            node: self.node_name.clone(),
            outcome: self.outcome.clone(),
            command: self.command.clone(),
            text: self.text.clone(),
        }
    }
}

/// The sessions that were asked for, and of those that still run also the ones that began earlier. Records that cannot be told are
/// named on standard error, so that none disappears unseen.
fn list(
    args: &HistoryArgs,
    now: DateTime<Utc>,
    key: &ContentKey,
    context: &mut Context,
) -> Result<(Vec<SessionSummary>, Outcome), Failure> {
    let (from, search) = (args.from_date, args.search());
    if from.is_none() {
        context.note(format!("Listing Session History for last '{HISTORY_DAYS}' days."));
    }
    let question = Question {
        from: Some(from.unwrap_or(now - TimeDelta::days(HISTORY_DAYS))),
        to: args.to_date,
        search,
    };
    let (mut sessions, mut outcome) = (Vec::new(), Outcome::Done);
    for (id, path) in history::record_files(&records::folder(&context.state))? {
        let Seen { session, remark } = question.look(id, &path, now, key);
        sessions.extend(session);
        if let Some(remark) = remark {
            context.note(remark);
            outcome = Outcome::Partial;
        }
    }
    sessions.sort_by_key(|session| (session.session_start_time, session.session_id));
    if sessions.is_empty() {
        context.note("No remote support session exists.");
    }
    Ok((sessions, outcome))
}

/// Which sessions are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Began at this instant or later; those that still run are always meant.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Began at this instant or earlier.
    pub(crate) to: Option<DateTime<Utc>>,
    /// What else they are like.
    pub(crate) search: Search,
}

/// What looking at one record came to.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The session, if it is asked for.
    pub(crate) session: Option<SessionSummary>,
    /// Why it may be missing, or was not wholly looked at; it must not disappear unseen.
    pub(crate) remark: Option<String>,
}

impl Seen {
    fn untold(failure: impl Into<Failure>) -> Self {
        Self { session: None, remark: Some(failure.into().to_string()) }
    }
}

impl Question {
    /// Looks at the record of one session: what `history` and the page do for each.
    pub(crate) fn look(&self, id: Uuid, path: &Path, now: DateTime<Utc>, key: &ContentKey) -> Seen {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let session = match history::session(folder, id, now, key) {
            Ok(session) if session.session_id != id => return Seen::untold(exchanged(id, &session)),
            Ok(session) => session,
            Err(HistoryError::NotFound(_)) => return Seen::default(),
            // It has only just begun: its first record is not there yet.
            Err(_) if File::open(path).is_ok_and(|file| records::is_written(&file)) => {
                return Seen::default();
            }
            Err(error) => return Seen::untold(error),
        };
        let began = session.session_start_time;
        let early = self.from.is_some_and(|from| began < from) && session.state != SessionState::Live;
        if early || self.to.is_some_and(|to| began > to) {
            return Seen::default();
        }
        // What cannot be opened might hold what is looked for.
        let sealed = (self.search.needs_contents() && session.contents_sealed > 0).then(|| {
            format!("{} contents of session {id} are sealed and were not searched.", session.contents_sealed)
        });
        match self.search.fits(&session, key) {
            Ok(fits) => Seen { session: fits.then_some(session), remark: sealed },
            // What cannot be read might be what is looked for.
            Err(error) => Seen::untold(error),
        }
    }
}

struct Sessions {
    /// One was asked for by its id: it is told by itself, not as a list of one.
    single: bool,
    all: Vec<Listed>,
}

fn print(
    sessions: &Sessions,
    with_transcripts: bool,
    key: &ContentKey,
    context: &mut Context,
) -> Result<(), Failure> {
    if !with_transcripts {
        return match (&sessions.all[..], sessions.single) {
            ([listed], true) => context.print_one(&record(listed)),
            (all, _) => context.print_all(&all.iter().map(record).collect::<Vec<_>>()),
        };
    }
    let failure = Cell::new(None);
    match context.output {
        OutputMode::Json => print_json(sessions, &failure, key, context)?,
        OutputMode::Table => print_table(&sessions.all, &failure, key, context)?,
        OutputMode::List => print_list(&sessions.all, &failure, key, context)?,
    }
    context.console.out.flush()?;
    failure.take().map_or(Ok(()), |error| Err(error.into()))
}

fn print_json(
    sessions: &Sessions,
    failure: &Cell<Option<HistoryError>>,
    key: &ContentKey,
    context: &mut Context,
) -> Result<(), Failure> {
    let out = &mut *context.console.out;
    Ok(match (&sessions.all[..], sessions.single) {
        ([listed], true) => output::write_json(out, &Told::of(listed, failure, key)),
        (all, _) => output::write_json(
            out,
            &all.iter().map(|listed| Told::of(listed, failure, key)).collect::<Vec<_>>(),
        ),
    }?)
}

fn print_table(
    sessions: &[Listed],
    failure: &Cell<Option<HistoryError>>,
    key: &ContentKey,
    context: &mut Context,
) -> Result<(), Failure> {
    context.print_all(&sessions.iter().map(record).collect::<Vec<_>>())?;
    for Listed { session, .. } in sessions {
        write!(context.console.out, "\n{}", Poured { session, failure, key })?;
    }
    Ok(())
}

fn print_list(
    sessions: &[Listed],
    failure: &Cell<Option<HistoryError>>,
    key: &ContentKey,
    context: &mut Context,
) -> Result<(), Failure> {
    for (at, listed) in sessions.iter().enumerate() {
        if at > 0 {
            writeln!(context.console.out)?;
        }
        context.print_one(&record(listed))?;
        write!(context.console.out, "\n{}", Poured { session: &listed.session, failure, key })?;
    }
    Ok(())
}

/// A session with its transcript, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(flatten)]
    record: Record,
    session_transcript: Poured<'a>,
}

impl<'a> Told<'a> {
    fn of(listed: &'a Listed, failure: &'a Cell<Option<HistoryError>>, key: &'a ContentKey) -> Self {
        Self { record: record(listed), session_transcript: Poured { session: &listed.session, failure, key } }
    }
}

/// A transcript as text, read while it is written: one record is in memory at a time.
struct Poured<'a> {
    session: &'a SessionSummary,
    /// Why it could not be read to its end; the first of several stays.
    failure: &'a Cell<Option<HistoryError>>,
    key: &'a ContentKey,
}

impl fmt::Display for Poured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = Transcript::open(&self.session.record, self.key.clone()).map(history::render);
        let (lines, failed) = match lines {
            Ok(lines) => (Some(lines), None),
            Err(error) => (None, Some(Err(error))),
        };
        for text in lines.into_iter().flatten().chain(failed) {
            match text {
                Ok(text) => f.write_str(&output::safe_lines(&text))?,
                Err(error) => {
                    self.failure.set(self.failure.take().or(Some(error)));
                    f.write_str("(the record cannot be read any further)\n")?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Poured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn record(Listed { session, verdict }: &Listed) -> Record {
    Record::new()
        .field("SessionId", session.session_id.to_string())
        .field("State", state(session.state))
        .field("SessionStartTime", session.session_start_time)
        .detail("SessionEndTime", session.session_end_time)
        .detail("DurationSeconds", session.duration_seconds)
        .detail("EndCause", session.end_cause.map(EndCause::as_str))
        .field("AccessLevel", session.access_level.to_string())
        .field("Engineer", session.engineer.as_str())
        .detail("EngineerFingerprint", session.engineer_key.fingerprint().to_string())
        .detail("SupportRequest", session.support_request.to_string())
        .detail("GrantId", session.grant_id.to_string())
        .detail("NodeName", session.node_name.as_str())
        .detail("Operations", session.operations)
        .detail("Refusals", session.refusals)
        .detail("SecretsMasked", session.masked)
        .detail("ContentsRemoved", session.contents_removed)
        .detail("ContentsSealed", session.contents_sealed)
        .detail("Verification", verification(*verdict))
        .detail("Held", session.hold.is_some())
        .detail("HoldReason", session.hold.as_ref().map(|hold| hold.reason.as_str()))
        .detail("SessionTranscriptPath", session.record.display().to_string())
}

fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Live => "Live",
        SessionState::Ended => "Ended",
        SessionState::CutOff => "CutOff",
        SessionState::Damaged => "Damaged",
    }
}

fn verification(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Intact) => "Intact",
        Some(Verdict::Open) => "Open",
        Some(Verdict::Broken) => "Broken",
        None => "NotChecked",
    }
}
