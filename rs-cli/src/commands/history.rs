//! `history`: sessions of the last days, and transcripts.

use chrono::{DateTime, Utc};
use clap::Args;
use uuid::Uuid;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// Days that are listed where no date is given.
pub const DAYS_DEFAULT: i64 = 7;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// List sessions since this date: 2025-07-31, 2025-07-31T10:05:52Z, "7/31/2025 10:05 PM" (month first; local time
    /// where no offset is given) or -7d [default: seven days ago].
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

/// Lists sessions.
///
/// # Errors
///
/// Not part of this build.
pub fn run(_args: &HistoryArgs, _context: &mut Context) -> Result<Outcome, Failure> {
    Err(super::not_available("history"))
}
