//! One line on standard error while something takes long: what is done, how far it is, and for how long still.
//!
//! Only a terminal gets it, never a pipe and never somebody who asked for JSON; it comes when the work has taken a moment,
//! is drawn a few times a second, and is gone when the work is over.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::output::{OutputMode, cut, safe, span};

/// Work that is over before this shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two drawings.
const INTERVAL: Duration = Duration::from_millis(200);
/// Columns of the bar.
const BAR_COLUMNS: usize = 20;

/// The line. It is taken away when this is dropped, whatever happened to the work.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// None where nothing is to be shown.
    columns: Option<usize>,
    began: Instant,
    drawn: Option<Instant>,
    done: u64,
}

impl Progress {
    /// For work that is named so: `Reading the record`.
    pub(crate) fn new(what: &'static str, context: &Context) -> Self {
        let wanted = context.console.live && context.output != OutputMode::Json && io::stderr().is_terminal();
        let columns = wanted.then_some(context.console.columns);
        Self { what, columns, ..Self::silent() }
    }

    /// For work whose results go to the terminal themselves.
    pub(crate) fn silent() -> Self {
        Self { what: "", columns: None, began: Instant::now(), drawn: None, done: 0 }
    }

    /// So much more is done.
    pub(crate) fn add(&mut self, more: u64, whole: u64) {
        self.done += more;
        self.went_on(self.done, whole);
    }

    /// So much is done, of so much; bytes, records or files. A whole of 0 is not known.
    pub(crate) fn went_on(&mut self, done: u64, whole: u64) {
        let Some(columns) = self.columns else { return };
        let took = self.began.elapsed();
        let is_due = match self.drawn {
            None => took >= PATIENCE,
            Some(drawn) => drawn.elapsed() >= INTERVAL,
        };
        if is_due {
            self.drawn = Some(Instant::now());
            let line = line(self.what, done, whole, took, columns);
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
            let _ = io::stderr().flush();
        }
    }

    /// The work is over.
    pub(crate) fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
            let _ = io::stderr().flush();
        }
    }
}

/// Silence of running work before it is said that it still runs.
const QUIET: Duration = Duration::from_secs(2);

/// Says that work still runs which prints nothing: for work that does not tell how far it is.
#[derive(Debug)]
pub(crate) struct Busy {
    began: Instant,
    quiet_since: Instant,
    /// The cursor stands at the beginning of a line, so that there is one to use.
    at_start: bool,
    shown: bool,
}

impl Busy {
    /// Takes the line away.
    const CLEAR: &str = "\r\u{1b}[K";

    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, quiet_since: now, at_start: true, shown: false }
    }

    /// What to write now, where the work has been silent for long enough.
    pub(crate) fn tick(&mut self, columns: usize) -> Option<String> {
        let is_due = self.at_start && self.quiet_since.elapsed() >= QUIET;
        is_due.then(|| {
            self.shown = true;
            let ran = chrono::TimeDelta::from_std(self.began.elapsed()).unwrap_or_default();
            let text = format!("... runs for {}, Ctrl-C interrupts", span(ran));
            format!("\r{}\u{1b}[K", cut(&text, columns.saturating_sub(1)))
        })
    }

    /// The work prints this now; gives what to write before it.
    pub(crate) fn before(&mut self, text: &str) -> &'static str {
        self.quiet_since = Instant::now();
        self.at_start = text.ends_with('\n');
        self.end()
    }

    /// The work is over; gives what to write.
    pub(crate) fn end(&mut self) -> &'static str {
        if std::mem::take(&mut self.shown) { Self::CLEAR } else { "" }
    }
}

/// The line, on one row of the terminal.
fn line(what: &str, done: u64, whole: u64, took: Duration, columns: usize) -> String {
    let mut text = safe(what);
    if whole == 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {done}");
    } else {
        let share = (done.min(whole) as f64) / (whole as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a few columns"
        )]
        let filled = (share * BAR_COLUMNS as f64) as usize;
        let bar: String = (0..BAR_COLUMNS).map(|at| if at < filled { '#' } else { '.' }).collect();
        let _ = write!(text, " [{bar}] {:.0} %", share * 100.0);
        if share > 0.05 {
            let left = took.mul_f64((1.0 - share) / share);
            let _ = write!(text, ", {} left", span(chrono::TimeDelta::from_std(left).unwrap_or_default()));
        }
    }
    cut(&text, columns.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_work_is_said_to_run_and_the_line_goes_when_it_speaks() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(75)).expect("the machine runs longer");
        let mut busy = Busy { began: long_ago, quiet_since: long_ago, at_start: true, shown: false };
        let said = busy.tick(80).expect("silent for long");
        assert!(said.starts_with("\r... runs for 1 min 1") && said.ends_with("\u{1b}[K"), "{said:?}");
        assert_eq!(busy.before("half a line"), Busy::CLEAR);
        assert_eq!((busy.tick(80), busy.end()), (None, ""));
        busy.quiet_since = long_ago;
        assert_eq!(busy.tick(80), None, "not into the middle of a line");
    }

    #[test]
    fn a_line_says_how_far_it_is_and_fits_the_terminal() {
        let took = Duration::from_secs(30);
        assert_eq!(
            line("Verifying", 1, 4, took, 80),
            "Verifying [#####...............] 25 %, 1 min 30 s left"
        );
        assert_eq!(line("Verifying", 5, 4, took, 80), "Verifying [####################] 100 %, 0 s left");
        assert_eq!(line("Verifying", 7, 0, took, 80), "Verifying: 7");
        assert_eq!(line("Verifying", 1, 4, took, 11), "Verifying…");
    }
}
