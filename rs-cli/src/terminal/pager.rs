//! A long result, a screenful at a time.
//!
//! What fits is printed at once, so the terminal keeps it and can be scrolled back. A screenful that came faster than
//! anybody reads is followed by a pause, and what comes in the meantime is held; work that prints slowly is never held up.
//! This is the core: it says what to print when, and reads no clock and no key.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::Size;
use super::screen::Key;
use super::scroll::WANTED_CHARS_MAX;
use crate::output::{safe_lines, wrap};

/// Time in which a screenful can be read: one that took longer to come needs no pause.
pub(crate) const READ_TIME: Duration = Duration::from_secs(10);
/// Most that is held while the reader reads, in bytes; more is left out, and that is said.
pub(crate) const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Where a piece of text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Out,
    Err,
}

/// A piece of text to be printed now.
pub(crate) type Piece = (To, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Paging,
    /// Everything is printed as it comes.
    All,
    /// Nothing more is printed.
    Skip,
    /// Nothing is printed up to a line with this text.
    Search(String),
}

/// What a key leads to beyond printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    /// The reader wants the work to stop.
    Interrupt,
}

/// The pager of one result.
#[derive(Debug)]
pub(crate) struct Pager {
    size: Size,
    mode: Mode,
    /// Rows printed since the last pause, and when the first of them came.
    printed: usize,
    began: Duration,
    held: VecDeque<Piece>,
    held_bytes: usize,
    /// Lines that were not printed because the reader did not want them, and bytes that had no room.
    skipped: usize,
    lost: usize,
    /// The text that is being typed after `/`.
    typing: Option<String>,
}

impl Pager {
    /// For a terminal of this size; `now` is any clock that goes on.
    pub(crate) fn new(size: Size, now: Duration) -> Self {
        Self {
            size,
            mode: Mode::Paging,
            printed: 0,
            began: now,
            held: VecDeque::new(),
            held_bytes: 0,
            skipped: 0,
            lost: 0,
            typing: None,
        }
    }

    /// Whether it waits for a key.
    pub(crate) fn is_paused(&self) -> bool {
        !self.held.is_empty()
    }

    /// What stands below the text while it waits.
    pub(crate) fn hint(&self) -> String {
        match &self.typing {
            Some(wanted) => format!("/{wanted}"),
            None => "-- more -- Space page, Enter line, a all, q no more, / search".to_owned(),
        }
    }

    /// Takes text; gives what is to be printed of it now.
    pub(crate) fn push(&mut self, to: To, text: &str, now: Duration) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for line in safe_lines(text).split_inclusive('\n') {
            self.take(to, line.to_owned(), now, &mut pieces);
        }
        pieces
    }

    fn take(&mut self, to: To, line: String, now: Duration, pieces: &mut Vec<Piece>) {
        if self.mode == Mode::Skip && to == To::Err {
            // How it ended and what went wrong is told also to somebody who wants no more of the results.
            pieces.push((to, line));
        } else if self.mode == Mode::Skip {
            self.skipped += 1;
        } else if self.held.is_empty() && (self.lets(&line, now) || self.was_read(&line, now)) {
            pieces.push((to, line));
        } else if self.is_passed_over(&line) {
            self.skipped += 1;
        } else if self.held_bytes + line.len() > HELD_BYTES_MAX {
            self.lost += line.len();
        } else {
            self.held_bytes += line.len();
            self.held.push_back((to, line));
        }
    }

    /// Whether a search that is under way does not stop here.
    fn is_passed_over(&self, line: &str) -> bool {
        matches!(&self.mode, Mode::Search(wanted) if !line.to_lowercase().contains(wanted))
    }

    /// Whether a line may be printed now; it counts then.
    fn lets(&mut self, line: &str, now: Duration) -> bool {
        match &self.mode {
            Mode::All => return true,
            Mode::Skip => return false,
            Mode::Search(_) if self.is_passed_over(line) => return false,
            Mode::Search(_) => {
                self.mode = Mode::Paging;
                self.turn(now);
            }
            Mode::Paging => {}
        }
        let rows = wrap(line, self.size.columns.max(1)).len();
        // The last row is for the hint.
        let page = self.size.rows.saturating_sub(1).max(1);
        if self.printed > 0 && self.printed + rows > page {
            return false;
        }
        if self.printed == 0 {
            self.began = now;
        }
        self.printed += rows;
        true
    }

    /// Whether what stands there has been read by now, so that a new page begins with this line.
    fn was_read(&mut self, line: &str, now: Duration) -> bool {
        if self.mode != Mode::Paging || now.saturating_sub(self.began) < READ_TIME {
            return false;
        }
        self.turn(now);
        self.lets(line, now)
    }

    /// A new page begins.
    const fn turn(&mut self, now: Duration) {
        (self.printed, self.began) = (0, now);
    }

    /// A key, at a pause. What is to be printed now, and what else it means.
    pub(crate) fn key(&mut self, key: Key, now: Duration) -> (Vec<Piece>, Wish) {
        if let Some(wanted) = self.typing.take() {
            return (self.typed(wanted, key, now), Wish::None);
        }
        match key {
            Key::Char(' ' | 'f') | Key::PageDown => self.turn(now),
            Key::Enter | Key::Down | Key::Char('j') => self.printed = self.printed.saturating_sub(1),
            Key::Char('a' | 'G') | Key::End => self.mode = Mode::All,
            Key::Char('q' | 'Q') | Key::Escape => self.skip(),
            Key::Char('/') => self.typing = Some(String::new()),
            Key::Interrupt => {
                self.skip();
                return (Vec::new(), Wish::Interrupt);
            }
            _ => {}
        }
        (self.release(now, key), Wish::None)
    }

    fn typed(&mut self, mut wanted: String, key: Key, now: Duration) -> Vec<Piece> {
        match key {
            Key::Enter if !wanted.is_empty() => {
                self.mode = Mode::Search(wanted.to_lowercase());
                return self.release(now, key);
            }
            Key::Enter | Key::Escape | Key::Interrupt => return Vec::new(),
            Key::Backspace => {
                wanted.pop();
            }
            Key::Char(c) if wanted.chars().count() < WANTED_CHARS_MAX => wanted.push(c),
            _ => {}
        }
        self.typing = Some(wanted);
        Vec::new()
    }

    fn skip(&mut self) {
        self.mode = Mode::Skip;
        self.skipped += self.held.len();
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Prints what may be printed of what is held.
    fn release(&mut self, now: Duration, key: Key) -> Vec<Piece> {
        if self.typing.is_some() || matches!(key, Key::Up | Key::Left | Key::Right | Key::Home) {
            return Vec::new();
        }
        self.began = now;
        // A line that is wider than what one step makes free is shown all the same.
        let mut step = matches!(key, Key::Enter | Key::Down | Key::Char('j')) && self.mode == Mode::Paging;
        let mut pieces = Vec::new();
        while let Some((to, line)) = self.held.pop_front() {
            if self.is_passed_over(&line) {
                self.held_bytes -= line.len();
                self.skipped += 1;
                continue;
            }
            if !self.lets(&line, now) && !std::mem::take(&mut step) {
                self.held.push_front((to, line));
                break;
            }
            step = false;
            self.held_bytes -= line.len();
            pieces.push((to, line));
        }
        pieces
    }

    /// The session is over: nothing waits any more.
    pub(crate) fn give_up(&mut self) {
        self.skip();
    }

    /// What was not shown, in words; none where everything was.
    pub(crate) fn left_out(&self) -> Option<String> {
        let lines = match self.skipped {
            0 => String::new(),
            1 => "1 line was not shown".to_owned(),
            lines => format!("{lines} lines were not shown"),
        };
        let bytes = match self.lost {
            0 => String::new(),
            bytes => format!("{bytes} bytes had no room while you read"),
        };
        let both = [lines, bytes].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ");
        (!both.is_empty()).then(|| format!("{both}; all of it is in your copy of the record."))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { columns: 20, rows: 5 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn numbered(lines: std::ops::Range<usize>) -> String {
        lines.map(|line| format!("line {line}\n")).collect()
    }

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn what_fits_is_printed_at_once_and_the_rest_page_by_page_and_line_by_line() {
        let mut pager = Pager::new(SIZE, at(0));
        assert_eq!(text(&pager.push(To::Out, &numbered(0..4), at(1))), numbered(0..4));
        assert!(!pager.is_paused(), "a screenful needs no key");
        assert_eq!(text(&pager.push(To::Out, &numbered(4..20), at(1))), "");
        assert!(pager.is_paused());
        assert_eq!(text(&pager.key(Key::Char(' '), at(2)).0), numbered(4..8));
        assert_eq!(text(&pager.key(Key::Enter, at(99)).0), numbered(8..9), "one, however long the pause");
        assert_eq!(text(&pager.key(Key::Char('x'), at(199)).0), "", "an unknown key does nothing");
        assert_eq!(text(&pager.key(Key::Char('a'), at(2)).0), numbered(9..20));
        assert!(!pager.is_paused());
        assert_eq!(text(&pager.push(To::Out, &numbered(20..99), at(2))), numbered(20..99), "all is all");
        assert_eq!(pager.left_out(), None);
    }

    #[test]
    fn work_that_prints_slowly_is_never_held_up() {
        let mut pager = Pager::new(SIZE, at(0));
        for second in 0..60 {
            let line = format!("second {second}\n");
            assert_eq!(text(&pager.push(To::Out, &line, at(second * 3))), line);
        }
        // Control: as much at once is held.
        assert_ne!(text(&pager.push(To::Out, &numbered(0..9), at(181))), numbered(0..9));
    }

    #[test]
    fn who_wants_no_more_is_told_what_they_did_not_see() {
        let mut pager = Pager::new(SIZE, at(0));
        let _printed = pager.push(To::Out, &numbered(0..10), at(0));
        assert_eq!(pager.key(Key::Char('q'), at(0)), (Vec::new(), Wish::None));
        assert_eq!(pager.push(To::Out, "late\n", at(0)), Vec::new());
        let failed = (To::Err, "failed\n".to_owned());
        assert_eq!(pager.push(To::Err, "failed\n", at(0)), [failed], "how it ended is told all the same");
        assert_eq!(
            pager.left_out().as_deref(),
            Some("7 lines were not shown; all of it is in your copy of the record.")
        );
        let mut pager = Pager::new(SIZE, at(0));
        let _printed = pager.push(To::Out, &numbered(0..10), at(0));
        assert_eq!(pager.key(Key::Interrupt, at(0)).1, Wish::Interrupt);
        assert!(!pager.is_paused());
    }

    #[test]
    fn a_search_passes_over_lines_that_came_and_that_come() {
        let mut pager = Pager::new(SIZE, at(0));
        let _printed = pager.push(To::Out, &numbered(0..30), at(0));
        for key in
            [Key::Char('/'), Key::Char('N'), Key::Char('E'), Key::Char(' '), Key::Char('1'), Key::Char('2')]
        {
            assert_eq!(pager.key(key, at(0)).0, Vec::new());
        }
        assert_eq!(pager.hint(), "/NE 12");
        assert_eq!(text(&pager.key(Key::Enter, at(0)).0), numbered(12..16));
        for key in [Key::Char('/'), Key::Char('9'), Key::Char('9'), Key::Enter] {
            assert_eq!(pager.key(key, at(0)).0, Vec::new());
        }
        assert!(!pager.is_paused(), "what is looked for may still come");
        assert_eq!(pager.push(To::Out, &numbered(30..40), at(0)), Vec::new());
        assert_eq!(text(&pager.push(To::Out, &numbered(99..101), at(0))), numbered(99..101));
    }

    #[test]
    fn messages_stay_between_the_lines_where_they_came() {
        let mut pager = Pager::new(SIZE, at(0));
        let _printed = pager.push(To::Out, &numbered(0..5), at(0));
        assert_eq!(pager.push(To::Err, "failed\n", at(0)), Vec::new());
        let (pieces, _) = pager.key(Key::Char(' '), at(0));
        assert_eq!(pieces, [(To::Out, "line 4\n".to_owned()), (To::Err, "failed\n".to_owned())]);
    }

    #[test]
    fn what_is_held_has_a_bound_and_what_is_lost_is_said() {
        let mut pager = Pager::new(SIZE, at(0));
        let _printed = pager.push(To::Out, &numbered(0..4), at(0));
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..HELD_BYTES_MAX / 1024 {
            let _held = pager.push(To::Out, &line, at(0));
        }
        assert_eq!(pager.left_out(), None, "at the bound");
        let _lost = pager.push(To::Out, "y\n", at(0));
        assert!(pager.left_out().is_some_and(|text| text.starts_with("2 bytes had no room")));
    }

    proptest! {
        #[test]
        fn sec37_nothing_is_lost_doubled_or_obeyed(
            chunks in prop::collection::vec(any::<String>(), 0..12), keys in prop::collection::vec(0_usize..3, 0..40),
        ) {
            let mut pager = Pager::new(SIZE, at(0));
            let mut shown = String::new();
            for chunk in &chunks {
                shown.push_str(&text(&pager.push(To::Out, chunk, at(0))));
            }
            for key in keys {
                let key = [Key::Char(' '), Key::Enter, Key::Up][key];
                shown.push_str(&text(&pager.key(key, at(0)).0));
            }
            shown.push_str(&text(&pager.key(Key::Char('a'), at(0)).0));
            prop_assert!(!pager.is_paused());
            prop_assert_eq!(shown, safe_lines(&chunks.concat()));
        }
    }
}
