//! One record on a line, under a heading, as wide as the terminal.
//!
//! Ids, addresses, dates and numbers are whole or worth nothing, so they are never cut; texts are, marked by `…`, but for those of the
//! last column, which go on below. Where even that has no room, the records come as a list.

use std::io::{self, Write};

use uuid::Uuid;

use super::text::{columns, cut};
use super::{Record, Shown, Value, list};

/// Columns between two cells.
const GAP: usize = 2;
/// Narrowest that a text becomes when the terminal is small.
const TEXT_COLUMNS_MIN: usize = 8;
/// Narrowest that the last column becomes.
const LAST_COLUMNS_MIN: usize = 16;
/// Digits from which on a word of hexadecimal digits is an id: support requests have 16, hashes more.
const ID_DIGITS_MIN: usize = 8;

pub(super) fn all(out: &mut dyn Write, records: &[Record], width: usize) -> io::Result<()> {
    let Some(first) = records.first() else { return Ok(()) };
    let names: Vec<&str> = first.shown(Shown::Everywhere).map(|field| field.name).collect();
    let rows: Vec<Vec<Cell>> = records
        .iter()
        .map(|record| record.shown(Shown::Everywhere).map(|field| Cell::of(&field.value)).collect())
        .collect();
    let Some(widths) = fit(&names, &rows, width) else {
        let short: Vec<Record> = records.iter().map(Record::of_table).collect();
        return list::all(out, &short);
    };
    let heading = names.iter().map(|name| (*name).to_owned()).collect();
    let rules = names.iter().zip(&widths).map(|(name, width)| "-".repeat(name.len().min(*width))).collect();
    let texts = rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect());
    [heading, rules].into_iter().chain(texts).try_for_each(|row: Vec<String>| line(out, &row, &widths))
}

struct Cell {
    text: String,
    /// It must not be cut.
    whole: bool,
}

impl Cell {
    fn of(value: &Value) -> Self {
        let text = value.display();
        let whole = match value {
            Value::Text(_) => is_id(&text),
            Value::None | Value::Texts(_) | Value::Json(_) => false,
            Value::Number(_) | Value::Bool(_) | Value::Date(_) => true,
        };
        Self { text, whole }
    }
}

fn is_id(text: &str) -> bool {
    let is_digits = text.len() >= ID_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digits || text.contains("://") || text.parse::<Uuid>().is_ok()
}

/// Widths of the cells: what they ask for, the widest text made smaller until the line fits; none where it cannot.
fn fit(names: &[&str], rows: &[Vec<Cell>], width: usize) -> Option<Vec<usize>> {
    let last = names.len().saturating_sub(1);
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let mut widths = Vec::new();
    let mut least = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let asked = column(at).map(|cell| columns(&cell.text)).max().unwrap_or(0).max(name.len());
        let whole = column(at).filter(|cell| cell.whole).map(|cell| columns(&cell.text)).max().unwrap_or(0);
        let text = if at == last { LAST_COLUMNS_MIN } else { TEXT_COLUMNS_MIN };
        widths.push(asked);
        least.push(whole.max(text.min(asked)));
    }
    let room = width.checked_sub(GAP * last)?;
    while widths.iter().sum::<usize>() > room {
        let (widest, _) = widths
            .iter_mut()
            .zip(&least)
            .filter(|(width, least)| **width > **least)
            .max_by_key(|(width, _)| **width)?;
        *widest -= 1;
    }
    Some(widths)
}

/// One row: on one line, but for the last cell, which goes on below itself.
fn line(out: &mut dyn Write, row: &[String], widths: &[usize]) -> io::Result<()> {
    let Some(((last, others), last_width)) = row.split_last().zip(widths.last()) else { return Ok(()) };
    let mut text = String::new();
    for (cell, width) in others.iter().zip(widths) {
        let shown = cut(cell, *width);
        let padding = width - columns(&shown) + GAP;
        text.push_str(&shown);
        text.push_str(&" ".repeat(padding));
    }
    let indent = columns(&text);
    for (at, piece) in words(last, *last_width).iter().enumerate() {
        let before = if at == 0 { text.clone() } else { " ".repeat(indent) };
        writeln!(out, "{}", format!("{before}{piece}").trim_end())?;
    }
    Ok(())
}

/// A text on lines of at most `width` columns, broken between words where there are some. At least one line.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let blank = usize::from(!line.is_empty());
        if columns(line) + blank + columns(word) <= width {
            line.extend(std::iter::repeat_n(' ', blank));
            line.push_str(word);
            continue;
        }
        let pieces = super::wrap(word, width);
        if line.is_empty() {
            lines.pop();
        }
        lines.extend(pieces);
    }
    lines
}
