//! `history`: sessions of the last days, and transcripts.
//!
//! Everything is read from the record files. A transcript passes through record by record, however long it is.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use rs_consent::EndCause;
use rs_session::history::{self, HISTORY_DAYS, HistoryError, SessionState, SessionSummary, Transcript};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
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
    /// Show this session only, however old it is.
    #[arg(long, value_name = "ID", env = "REMOTE_SUPPORT_SESSION_ID")]
    pub session_id: Option<Uuid>,
    /// Add the transcripts.
    #[arg(
        long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false", hide_default_value = true, hide_possible_values = true,
        env = "REMOTE_SUPPORT_INCLUDE_SESSION_TRANSCRIPT"
    )]
    pub include_session_transcript: bool,
}

/// Lists sessions, oldest first, or shows one.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] for an id that this node does not know; [`ErrorCode::Integrity`] where a record cannot be
/// read to its end, after everything before that place was printed.
pub fn run(args: &HistoryArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let now = context.clock.now().wall;
    match args.session_id {
        Some(id) => {
            let session = one(id, now, context)?;
            print(Sessions::One(session), args.include_session_transcript, context)?;
            Ok(Outcome::Done)
        }
        None => {
            let (sessions, outcome) = list(args.from_date, now, context)?;
            print(Sessions::Many(sessions), args.include_session_transcript, context)?;
            Ok(outcome)
        }
    }
}

fn one(id: Uuid, now: DateTime<Utc>, context: &Context) -> Result<SessionSummary, Failure> {
    let session = history::session(&records::folder(&context.state), id, now)?;
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

/// The sessions since `from`, and those that still run, however long ago they began. Records that cannot be told are
/// named on standard error, so that none disappears unseen.
fn list(
    from: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    context: &mut Context,
) -> Result<(Vec<SessionSummary>, Outcome), Failure> {
    if from.is_none() {
        context.note(format!("Listing Session History for last '{HISTORY_DAYS}' days."));
    }
    let from = from.unwrap_or(now - TimeDelta::days(HISTORY_DAYS));
    let folder = records::folder(&context.state);
    let (mut sessions, mut outcome) = (Vec::new(), Outcome::Done);
    for (id, path) in history::record_files(&folder)? {
        match history::session(&folder, id, now) {
            Ok(session) if session.session_id != id => {
                outcome = untold(&exchanged(id, &session), context);
            }
            Ok(session) if session.session_start_time >= from || session.state == SessionState::Live => {
                sessions.push(session);
            }
            Ok(_) | Err(HistoryError::NotFound(_)) => {}
            // It has only just begun: its first record is not there yet.
            Err(_) if File::open(&path).is_ok_and(|file| records::is_written(&file)) => {}
            Err(error) => outcome = untold(&error.into(), context),
        }
    }
    sessions.sort_by_key(|session| (session.session_start_time, session.session_id));
    if sessions.is_empty() {
        context.note("No remote support session exists.");
    }
    Ok((sessions, outcome))
}

fn untold(failure: &Failure, context: &mut Context) -> Outcome {
    context.note(failure.to_string());
    Outcome::Partial
}

enum Sessions {
    One(SessionSummary),
    Many(Vec<SessionSummary>),
}

impl Sessions {
    fn all(&self) -> &[SessionSummary] {
        match self {
            Self::One(session) => std::slice::from_ref(session),
            Self::Many(sessions) => sessions,
        }
    }
}

fn print(sessions: Sessions, with_transcripts: bool, context: &mut Context) -> Result<(), Failure> {
    if !with_transcripts {
        return match sessions {
            Sessions::One(session) => context.print_one(&record(&session)),
            Sessions::Many(sessions) => context.print_all(&sessions.iter().map(record).collect::<Vec<_>>()),
        };
    }
    let failure = Cell::new(None);
    match context.output {
        OutputMode::Json => print_json(&sessions, &failure, context)?,
        OutputMode::Table => print_table(sessions.all(), &failure, context)?,
        OutputMode::List => print_list(sessions.all(), &failure, context)?,
    }
    context.console.out.flush()?;
    failure.take().map_or(Ok(()), |error| Err(error.into()))
}

fn print_json(
    sessions: &Sessions,
    failure: &Cell<Option<HistoryError>>,
    context: &mut Context,
) -> Result<(), Failure> {
    let told = |session| Told { record: record(session), session_transcript: Poured { session, failure } };
    let out = &mut *context.console.out;
    Ok(match sessions {
        Sessions::One(session) => output::write_json(out, &told(session)),
        Sessions::Many(sessions) => output::write_json(out, &sessions.iter().map(told).collect::<Vec<_>>()),
    }?)
}

fn print_table(
    sessions: &[SessionSummary],
    failure: &Cell<Option<HistoryError>>,
    context: &mut Context,
) -> Result<(), Failure> {
    context.print_all(&sessions.iter().map(record).collect::<Vec<_>>())?;
    for session in sessions {
        write!(context.console.out, "\n{}", Poured { session, failure })?;
    }
    Ok(())
}

fn print_list(
    sessions: &[SessionSummary],
    failure: &Cell<Option<HistoryError>>,
    context: &mut Context,
) -> Result<(), Failure> {
    for (at, session) in sessions.iter().enumerate() {
        if at > 0 {
            writeln!(context.console.out)?;
        }
        context.print_one(&record(session))?;
        write!(context.console.out, "\n{}", Poured { session, failure })?;
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

/// A transcript as text, read while it is written: one record is in memory at a time.
struct Poured<'a> {
    session: &'a SessionSummary,
    /// Why it could not be read to its end; the first of several stays.
    failure: &'a Cell<Option<HistoryError>>,
}

impl fmt::Display for Poured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = Transcript::open(&self.session.record).map(history::render);
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

fn record(session: &SessionSummary) -> Record {
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
