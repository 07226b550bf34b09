//! Text that is fit for a terminal: escapes, widths, dates, spans of time.

use std::fmt::Write as _;

use chrono::TimeDelta;
use rs_session::operations::objects::is_harmful;
use unicode_width::UnicodeWidthChar;

/// Whether a character could move the cursor, begin an escape sequence, break a line, reorder or hide text. The rule is
/// the session's own ([`is_harmful`]), and here newlines and tabs fall under it too.
pub(crate) fn is_unsafe(c: char) -> bool {
    matches!(c, '\n' | '\t') || is_harmful(c)
}

/// The text on one line: characters that would control the terminal are shown as `\n`, `\t` or `\u{1b}`.
///
/// # Examples
///
/// ```
/// assert_eq!(rs_cli::output::safe("red\u{1b}[31m\nState"), "red\\u{1b}[31m\\nState");
/// ```
pub fn safe(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`safe`], but newlines and tabs stay: for texts that have lines of their own.
pub fn safe_lines(text: &str) -> String {
    escape(text, |c| c == '\n' || c == '\t')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && !keep(c) {
            // Writing to a String cannot fail.
            let _ = match c {
                '\n' | '\r' | '\t' => write!(out, "{}", c.escape_default()),
                _ => write!(out, "{}", c.escape_unicode()),
            };
        } else {
            out.push(c);
        }
    }
    out
}

/// A span of time as people say it, by its two greatest units: `13 d 23 h`, `2 h 5 min`, `4 min 10 s`, `0 s`.
///
/// # Examples
///
/// ```
/// assert_eq!(rs_cli::output::span(chrono::TimeDelta::minutes(125)), "2 h 5 min");
/// ```
pub fn span(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(at, (count, _))| *at == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// Columns that a line takes on a terminal.
pub(crate) fn columns(line: &str) -> usize {
    line.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text cut to at most `width` columns; what is cut is marked by `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut out: String = text
        .chars()
        .take_while(|c| {
            let wide = c.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect();
    if width > 0 {
        out.push('…');
    }
    out
}

/// Columns from one tab stop to the next.
const TAB_COLUMNS: usize = 8;

/// The lines of a text as they stand on a terminal of `width` columns: harmless, tabs as blanks, long ones broken. At least
/// one line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = safe_lines(text);
    let mut lines: Vec<String> = Vec::new();
    for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
        break_line(line, width, &mut lines);
    }
    lines
}

fn break_line(line: &str, width: usize, lines: &mut Vec<String>) {
    let (mut out, mut used) = (String::new(), 0);
    for c in line.chars() {
        // A character that is wider than the terminal cannot be shown on it.
        let (c, wide) = match (c, c.width().unwrap_or(0)) {
            ('\t', _) => (' ', TAB_COLUMNS - used % TAB_COLUMNS),
            (_, wide) if wide > width => ('…', usize::from(width > 0)),
            (c, wide) => (c, wide),
        };
        if used + wide > width && used > 0 {
            lines.push(std::mem::take(&mut out));
            used = 0;
            if c == ' ' {
                // A break takes the place of the blanks.
                continue;
            }
        }
        match c {
            ' ' => out.extend(std::iter::repeat_n(' ', wide.min(width))),
            '…' if width == 0 => {}
            c => out.push(c),
        }
        used += wide;
    }
    lines.push(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_broken_at_the_width_and_tabs_become_blanks() {
        assert_eq!(wrap("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrap("abcd", 4), ["abcd"]);
        assert_eq!(wrap("a\tb\n\nc\n", 20), ["a       b", "", "c"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("日", 1), ["…"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("red\u{1b}[31m", 40), ["red\\u{1b}[31m"]);
    }

    proptest! {
        #[test]
        fn sec37_no_text_is_wider_than_asked_and_none_is_lost(text in any::<String>(), width in 1_usize..40) {
            let lines = wrap(&text, width);
            for line in &lines {
                prop_assert!(columns(line) <= width, "{:?}", line);
                prop_assert!(line.chars().all(|c| !is_unsafe(c)));
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            if safe_lines(&text).chars().all(|c| c.width().unwrap_or(0) <= width) {
                prop_assert_eq!(bare(&lines.concat()), bare(&safe_lines(&text)));
            }
        }
    }

    #[test]
    fn u08_spans_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (7_500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (1_209_600, "14 d"),
            (1_209_599, "13 d 23 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn wide_characters_are_cut_by_columns() {
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(cut("abc", 1), "…");
    }
}
