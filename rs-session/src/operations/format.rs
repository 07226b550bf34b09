//! Objects as text: tables, lists and default views, printed as a PowerShell host prints them.
//!
//! A table looks at the first objects to choose its widths and then streams; `-AutoSize` looks at more. Numbers stand
//! right, `----` stands under each header, a blank line before and after. Columns that do not fit are cut from the
//! right, as PowerShell does. All text that leaves is [`harmless`].

use std::borrow::Cow;

use super::compare::wildcard;
use super::objects::{CUSTOM, Object, Value, harmless};
use super::pipeline::{Output, Stop};
use super::plan::{Stage, WIDTH_MAX, WIDTH_MIN};

use views::{Column, Show};

pub mod views;

/// Objects that a table looks at before it fixes its widths.
pub const SAMPLE_OBJECTS: usize = 256;
/// Objects that `-AutoSize` looks at before it fixes its widths.
pub const AUTO_SIZE_OBJECTS: usize = 10_000;
/// Most bytes of text that a table holds back before it fixes its widths.
pub const SAMPLE_BYTES_MAX: usize = 8 << 20;
/// Most characters of a table cell, whatever the width.
pub const CELL_CHARS_MAX: usize = 2048;
/// Columns of a table that was asked for without properties and whose type has no view.
const COLUMNS_DEFAULT: usize = 10;
/// Most properties of an object without a view that still print as a table.
const TABLE_PROPERTIES_MAX: usize = 4;
/// Narrowest column that is still shown.
const COLUMN_MIN: usize = 3;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
enum Mode {
    Default,
    Table { properties: Vec<String>, auto_size: bool, hide_headers: bool, wrap: bool },
    List { properties: Vec<String> },
}

/// Turns values into text, one after the other.
#[derive(Debug)]
pub struct Formatter {
    mode: Mode,
    width: usize,
    current: Current,
}

/// What is being printed.
#[derive(Debug)]
enum Current {
    Nothing,
    Lines,
    Table(Box<Table>),
    List { type_name: &'static str },
}

impl Formatter {
    /// A formatter for the last formatting stage of a plan, in lines of `width` characters.
    #[must_use]
    pub fn for_stages(stages: &[Stage], width: u16) -> Self {
        let mode = stages.iter().find_map(|stage| match stage {
            Stage::Table { properties, auto_size, hide_headers, wrap } => Some(Mode::Table {
                properties: properties.clone(),
                auto_size: *auto_size,
                hide_headers: *hide_headers,
                wrap: *wrap,
            }),
            Stage::List { properties } => Some(Mode::List { properties: properties.clone() }),
            _ => None,
        });
        let width = usize::from(width.clamp(WIDTH_MIN, WIDTH_MAX));
        Self { mode: mode.unwrap_or(Mode::Default), width, current: Current::Nothing }
    }

    /// Takes one value.
    ///
    /// # Errors
    /// [`Stop`] of the output.
    pub fn push(&mut self, value: &Value, output: &mut dyn Output) -> Result<(), Stop> {
        match value {
            Value::Object(object) => self.push_object(object, output),
            Value::List(items) => items.iter().try_for_each(|item| self.push_scalar(item, output)),
            scalar => self.push_scalar(scalar, output),
        }
    }

    fn push_scalar(&mut self, value: &Value, output: &mut dyn Output) -> Result<(), Stop> {
        if !matches!(self.current, Current::Lines) {
            self.finish(output)?;
            self.current = Current::Lines;
        }
        output.text(&harmless(&value.to_text()))?;
        output.text("\n")
    }

    fn push_object(&mut self, object: &Object, output: &mut dyn Output) -> Result<(), Stop> {
        let continues = match &self.current {
            Current::Table(table) => table.type_name == object.type_name(),
            Current::List { type_name } => *type_name == object.type_name(),
            Current::Lines | Current::Nothing => false,
        };
        if !continues {
            self.finish(output)?;
            self.start(object, output)?;
        }
        match &mut self.current {
            Current::Table(table) => table.push(object, output),
            Current::List { .. } => self.list(object, output),
            Current::Lines => output.text(&views::as_text(object, self.width)),
            Current::Nothing => Ok(()),
        }
    }

    /// Chooses how objects of this type print.
    fn start(&mut self, object: &Object, output: &mut dyn Output) -> Result<(), Stop> {
        let view = views::find(object.type_name());
        self.current = match &self.mode {
            Mode::Table { properties, auto_size, hide_headers, wrap } => {
                let columns = table_columns(object, properties);
                let mut table = Table::new(object.type_name(), columns, self.width);
                table.sample_max = if *auto_size { AUTO_SIZE_OBJECTS } else { SAMPLE_OBJECTS };
                (table.hide_headers, table.wrap) = (*hide_headers, *wrap);
                Current::Table(Box::new(table))
            }
            Mode::List { .. } => Current::List { type_name: object.type_name() },
            Mode::Default => match view {
                Some(views::View::Table(columns)) => {
                    let columns = columns.to_vec();
                    Current::Table(Box::new(Table::new(object.type_name(), columns, self.width)))
                }
                Some(views::View::List(_)) => Current::List { type_name: object.type_name() },
                Some(views::View::Text) => Current::Lines,
                None if object.properties().count() <= TABLE_PROPERTIES_MAX => {
                    let columns = table_columns(object, &[]);
                    Current::Table(Box::new(Table::new(object.type_name(), columns, self.width)))
                }
                None => Current::List { type_name: object.type_name() },
            },
        };
        if matches!(self.current, Current::List { .. }) { output.text("\n") } else { Ok(()) }
    }

    fn list(&self, object: &Object, output: &mut dyn Output) -> Result<(), Stop> {
        let columns = match &self.mode {
            Mode::List { properties } if !properties.is_empty() => named_columns(object, properties),
            _ => match views::find(object.type_name()) {
                Some(views::View::List(columns)) => columns.to_vec(),
                _ => named_columns(object, &[String::from("*")]),
            },
        };
        output.text(&list_text(object, &columns, self.width))?;
        output.text("\n")
    }

    /// Shows what is held back so far.
    ///
    /// # Errors
    /// [`Stop`] of the output.
    pub fn flush(&mut self, output: &mut dyn Output) -> Result<(), Stop> {
        match &mut self.current {
            Current::Table(table) => table.settle(output),
            _ => Ok(()),
        }
    }

    /// Ends what is being printed.
    ///
    /// # Errors
    /// [`Stop`] of the output.
    pub fn finish(&mut self, output: &mut dyn Output) -> Result<(), Stop> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Table(mut table) => {
                table.settle(output)?;
                output.text("\n")
            }
            _ => Ok(()),
        }
    }
}

/// The columns of a table: those that were named, those of the view, or the first properties.
fn table_columns(object: &Object, properties: &[String]) -> Vec<Column> {
    if !properties.is_empty() {
        return named_columns(object, properties);
    }
    match views::find(object.type_name()) {
        Some(views::View::Table(columns)) => columns.to_vec(),
        _ => {
            let mut columns = named_columns(object, &[String::from("*")]);
            if object.type_name() != CUSTOM {
                columns.truncate(COLUMNS_DEFAULT);
            }
            columns
        }
    }
}

/// Columns by property names and patterns, in the object's spelling.
fn named_columns(object: &Object, patterns: &[String]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |name: Cow<'static, str>| {
        if !columns.iter().any(|column| column.label.eq_ignore_ascii_case(&name)) {
            columns.push(Column::of(name));
        }
    };
    for pattern in patterns {
        if pattern.contains(['*', '?']) {
            let names = object.properties().map(|(name, _)| name);
            names.filter(|name| wildcard(pattern, name, false)).for_each(|name| add(name.clone()));
        } else {
            add(object.entry(pattern).map_or_else(|| Cow::Owned(pattern.clone()), |(name, _)| name.clone()));
        }
    }
    columns
}

fn list_text(object: &Object, columns: &[Column], width: usize) -> String {
    let label_width = columns.iter().map(|column| column.label.chars().count()).max().unwrap_or(0);
    let indent = label_width + 3;
    let mut text = String::new();
    for column in columns {
        let (value, _) = column.cell(object);
        let value = harmless(&value).into_owned();
        text.push_str(&pad(&harmless(&column.label), label_width, false));
        text.push_str(" : ");
        let mut first = true;
        for line in value.split('\n') {
            for piece in pieces(line, width.saturating_sub(indent).max(10)) {
                if !first {
                    text.push_str(&" ".repeat(indent));
                }
                first = false;
                text.push_str(&piece);
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
        }
    }
    text
}

/// A line in pieces of at most `width` characters, at least one.
fn pieces(line: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(width.max(1)).map(|chunk| chunk.iter().collect()).collect()
}

/// Text padded with spaces to a width.
fn pad(text: &str, width: usize, right: bool) -> String {
    let missing = width.saturating_sub(text.chars().count());
    if right { " ".repeat(missing) + text } else { text.to_owned() + &" ".repeat(missing) }
}

/// Text of at most `width` characters; `…` shows that something is missing.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

/// A table in the making.
#[derive(Debug)]
struct Table {
    type_name: &'static str,
    columns: Vec<Column>,
    width: usize,
    sample_max: usize,
    hide_headers: bool,
    wrap: bool,
    sample: Vec<Vec<(String, bool)>>,
    sample_bytes: usize,
    /// Width and alignment of each column that is shown, once they are fixed.
    layout: Option<Vec<(usize, bool)>>,
}

impl Table {
    const fn new(type_name: &'static str, columns: Vec<Column>, width: usize) -> Self {
        Self {
            type_name,
            columns,
            width,
            sample_max: SAMPLE_OBJECTS,
            hide_headers: false,
            wrap: false,
            sample: Vec::new(),
            sample_bytes: 0,
            layout: None,
        }
    }

    fn push(&mut self, object: &Object, output: &mut dyn Output) -> Result<(), Stop> {
        let row: Vec<_> = self.columns.iter().map(|column| one_line(column.cell(object))).collect();
        if let Some(layout) = &self.layout {
            return output.text(&row_text(&row, layout, self.wrap));
        }
        self.sample_bytes +=
            row.iter().map(|(text, _)| text.len() + size_of::<(String, bool)>()).sum::<usize>();
        self.sample.push(row);
        let full = self.sample.len() >= self.sample_max || self.sample_bytes >= SAMPLE_BYTES_MAX;
        if full { self.settle(output) } else { Ok(()) }
    }

    /// Fixes the widths and prints what waited for them.
    fn settle(&mut self, output: &mut dyn Output) -> Result<(), Stop> {
        if self.layout.is_some() {
            return Ok(());
        }
        let layout = self.layout_of_sample();
        output.text("\n")?;
        if !self.hide_headers {
            let labels: Vec<_> =
                self.columns.iter().map(|column| (harmless(&column.label).into_owned(), false)).collect();
            let line = |(label, _): &(String, bool)| ("-".repeat(label.chars().count()), false);
            output.text(&row_text(&labels, &layout, false))?;
            output.text(&row_text(&labels.iter().map(line).collect::<Vec<_>>(), &layout, false))?;
        }
        for row in std::mem::take(&mut self.sample) {
            output.text(&row_text(&row, &layout, self.wrap))?;
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn layout_of_sample(&self) -> Vec<(usize, bool)> {
        let layout = self.columns.iter().enumerate().map(|(at, column)| {
            let cells = || self.sample.iter().filter_map(|row| row.get(at));
            let right = column.right.unwrap_or_else(|| {
                cells().find(|(text, _)| !text.is_empty()).is_some_and(|(_, number)| *number)
            });
            let content = cells().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
            let wanted = column.width.map_or(content, usize::from);
            (wanted.max(column.label.chars().count()).max(1), right)
        });
        fit(layout.collect(), self.width)
    }
}

/// A cell in one line: line breaks and tabs are shown, not followed.
fn one_line((text, number): (Cow<'_, str>, bool)) -> (String, bool) {
    let short = cut(&text, CELL_CHARS_MAX);
    let clean = harmless(&short);
    let clean = if clean.contains(['\n', '\t']) {
        clean.replace('\n', "\\n").replace('\t', "\\t")
    } else {
        clean.into_owned()
    };
    (clean, number)
}

/// Takes width away from the last columns until the table fits; a column that gets too narrow is left out.
fn fit(mut layout: Vec<(usize, bool)>, width: usize) -> Vec<(usize, bool)> {
    loop {
        let total = layout.iter().map(|(width, _)| width + 1).sum::<usize>().saturating_sub(1);
        let excess = total.saturating_sub(width);
        let alone = layout.len() == 1;
        let Some((last, _)) = layout.last_mut().filter(|_| excess > 0) else { return layout };
        if *last >= excess + COLUMN_MIN {
            *last -= excess;
        } else if alone {
            *last = width.max(1);
        } else {
            layout.pop();
        }
    }
}

fn row_text(row: &[(String, bool)], layout: &[(usize, bool)], wrap: bool) -> String {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(layout)
        .map(
            |((text, _), (width, _))| {
                if wrap { pieces(text, *width) } else { vec![cut(text, *width).into_owned()] }
            },
        )
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        for (at, (cell, (width, right))) in cells.iter().zip(layout).enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(&pad(cell.get(line).map_or("", String::as_str), *width, *right));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

impl Column {
    /// The cell of an object, and whether it is a number.
    fn cell<'a>(&self, object: &'a Object) -> (Cow<'a, str>, bool) {
        let name = if self.property.is_empty() { &*self.label } else { self.property };
        match object.get(name) {
            None | Some(Value::Null) => (Cow::Borrowed(""), false),
            Some(value) => (self.show.text(value), value.is_number() && self.show != Show::Size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec46_a_cell_is_cut_at_its_bound() {
        let cell = |chars: usize| one_line((Cow::Owned("ü".repeat(chars)), false)).0;
        assert_eq!(cell(CELL_CHARS_MAX), "ü".repeat(CELL_CHARS_MAX));
        assert_eq!(cell(CELL_CHARS_MAX + 1), "ü".repeat(CELL_CHARS_MAX - 1) + "…");
    }
}
