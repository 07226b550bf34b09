//! One record on a line, under a heading, as wide as the terminal.

use std::io::{self, Write};

use super::text::{columns, cut};
use super::{Record, Shown};

/// Columns between two cells.
const GAP: usize = 2;

/// Narrowest that a cell becomes when the terminal is small.
const CELL_COLUMNS_MIN: usize = 4;

pub(super) fn all(out: &mut dyn Write, records: &[Record], width: usize) -> io::Result<()> {
    let Some(first) = records.first() else { return Ok(()) };
    let names: Vec<String> = first.shown(Shown::Everywhere).map(|field| field.name.to_owned()).collect();
    let rules = names.iter().map(|name| "-".repeat(name.len())).collect();
    let cells = records
        .iter()
        .map(|record| record.shown(Shown::Everywhere).map(|field| field.value.display()).collect());
    let rows: Vec<Vec<String>> = [names, rules].into_iter().chain(cells).collect();
    let widths = fit(&rows, width);
    rows.iter().try_for_each(|row| line(out, row, &widths))
}

/// Widths of the cells: what they ask for, the widest made smaller until the line fits.
fn fit(rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell)).max().unwrap_or(0))
        .collect();
    let room = width.saturating_sub(GAP * count.saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > CELL_COLUMNS_MIN) else {
            break;
        };
        *widest -= 1;
    }
    widths
}

fn line(out: &mut dyn Write, row: &[String], widths: &[usize]) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let shown = cut(cell, *width);
        let padding = width - columns(&shown) + GAP;
        text.push_str(&shown);
        text.push_str(&" ".repeat(padding));
    }
    writeln!(out, "{}", text.trim_end())
}
