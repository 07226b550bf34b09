//! `session replay`: a session again, in its own time.
//!
//! Records are read one at a time, however long the transcript. What is printed is harmless; only `--raw` prints what
//! operations wrote as it stands in the record. At a terminal it is a full-screen view (`view`) whose time (`player`) can be
//! stopped, stretched and gone through back and forth.

mod player;
mod view;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rs_session::history::{self, Entry, Transcript};
use rs_session::record::{Content, OutputData};
use uuid::Uuid;

use super::event;
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::OutputMode;
use crate::{platform, records};

/// Slowest and fastest replay, as a multiple of the session's own speed.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
/// Longest pause that can be asked for, in seconds: a day.
const IDLE_LIMIT_MAX: f64 = 86_400.0;

/// Arguments of `session replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Id of a session of this node, or a record file.
    #[arg(value_name = "ID|FILE")]
    pub target: String,
    /// How fast, as a multiple of the session's own speed: 0.01 to 10000.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed, env = "REMOTE_SUPPORT_SPEED")]
    pub speed: f64,
    /// Longest pause in seconds, before the speed counts: 0 to 86400; 0 waits nowhere.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = idle_limit, env = "REMOTE_SUPPORT_IDLE_LIMIT")]
    pub idle_limit: f64,
    /// Print what operations wrote as it stands in the record, and nothing else. It can steer your terminal.
    #[arg(long, env = "REMOTE_SUPPORT_RAW", value_parser = clap::builder::BoolishValueParser::new())]
    pub raw: bool,
    /// Print line by line, also where a terminal could show a full-screen view.
    #[arg(long, env = "REMOTE_SUPPORT_PLAIN", value_parser = clap::builder::BoolishValueParser::new())]
    pub plain: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    number(text, SPEEDS)
}

fn idle_limit(text: &str) -> Result<f64, String> {
    number(text, 0.0..=IDLE_LIMIT_MAX)
}

fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("a number from {} to {} is expected", range.start(), range.end()))
}

/// Replays a session.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no such record; [`ErrorCode::Integrity`] where it cannot be read to its end, after
/// everything before that place was shown.
pub(super) fn run(args: &ReplayArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let path = record(&args.target, context)?;
    let pace = Pace { speed: args.speed, limit: Duration::from_secs_f64(args.idle_limit) };
    if context.console.full_screen && !args.plain && !args.raw && context.output != OutputMode::Json {
        return Context::block_on(view::show(&path, pace, context));
    }
    let key = context.content_key();
    let transcript = platform::on_behalf(&path, || Transcript::open(&path, key))?;
    let session = transcript.identity().session_id;
    if args.raw {
        context.note("What follows is printed as it was recorded; it can steer this terminal.");
    } else if context.output != OutputMode::Json {
        event::print(&history::header(transcript.identity()), "", context)?;
    }
    let mut before = None;
    for entry in transcript {
        let entry = entry?;
        std::thread::sleep(pace.pause(before, entry.boot_time));
        before = Some(entry.boot_time);
        if args.raw {
            raw(&entry, context)?;
        } else {
            event::show(session, &entry, "", context)?;
        }
    }
    Ok(Outcome::Done)
}

fn record(target: &str, context: &Context) -> Result<PathBuf, Failure> {
    if let Ok(session) = target.parse::<Uuid>() {
        return records::find(&context.state, session);
    }
    let path = Path::new(target);
    if platform::on_behalf(path, || path.is_file()) {
        return Ok(path.to_owned());
    }
    Err(Failure::new(ErrorCode::NotFound, "this is neither the id of a session nor a record file")
        .about(target.to_owned())
        .next_step("list the sessions with `remote-support history`"))
}

fn raw(entry: &Entry, context: &mut Context) -> Result<(), Failure> {
    let Some(Content::Output(output)) = &entry.content else { return Ok(()) };
    let (OutputData::Text(text) | OutputData::Objects(text) | OutputData::Error(text)) = &output.data;
    context.console.out.write_all(text.as_bytes())?;
    Ok(context.console.out.flush()?)
}

/// How long to wait between two records.
#[derive(Debug, Clone, Copy)]
struct Pace {
    speed: f64,
    limit: Duration,
}

impl Pace {
    /// The pause before a record of the moment `now`; none before the first, nor where the record's clock stands still.
    fn pause(&self, before: Option<Duration>, now: Duration) -> Duration {
        let between = before.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        between.min(self.limit).div_f64(self.speed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s17_pauses_are_those_of_the_session_up_to_the_limit_and_by_the_speed() {
        let seconds = Duration::from_secs;
        let pace = |speed, limit| Pace { speed, limit: seconds(limit) };
        assert_eq!(pace(1.0, 10).pause(None, seconds(99)), Duration::ZERO, "nothing before the first");
        assert_eq!(pace(1.0, 10).pause(Some(seconds(1)), seconds(4)), seconds(3));
        assert_eq!(pace(1.0, 10).pause(Some(seconds(1)), seconds(4000)), seconds(10));
        assert_eq!(pace(2.0, 10).pause(Some(seconds(1)), seconds(4000)), seconds(5));
        assert_eq!(pace(0.5, 10).pause(Some(seconds(1)), seconds(2)), seconds(2));
        assert_eq!(pace(1.0, 0).pause(Some(seconds(1)), seconds(4)), Duration::ZERO);
        assert_eq!(pace(1.0, 10).pause(Some(seconds(9)), seconds(4)), Duration::ZERO, "back is no pause");
    }

    #[test]
    fn numbers_are_taken_at_their_bounds_and_not_beyond() {
        for (text, taken) in
            [("0.01", true), ("0.009", false), ("10000", true), ("10001", false), ("NaN", false)]
        {
            assert_eq!(speed(text).is_ok(), taken, "{text}");
        }
        for (text, taken) in [("0", true), ("-0.1", false), ("86400", true), ("86401", false), ("inf", false)]
        {
            assert_eq!(idle_limit(text).is_ok(), taken, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_pause_panics_or_exceeds_its_bound(
            before in 0_u64..u64::MAX, now in 0_u64..u64::MAX, speed in 0.01_f64..10_000.0, limit in 0.0_f64..86_400.0,
        ) {
            let pace = Pace { speed, limit: Duration::from_secs_f64(limit) };
            let pause = pace.pause(Some(Duration::from_nanos(before)), Duration::from_nanos(now));
            prop_assert!(pause <= Duration::from_secs_f64(IDLE_LIMIT_MAX / SPEEDS.start()));
        }
    }
}
