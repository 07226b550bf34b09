//! Results for people and for programs.
//!
//! A command builds [`Record`]s once; the mode decides how they look: `list` (name and value, a line each, as the
//! product prints grants), `table` (a row each, as wide as the terminal), `json` (camelCase keys, dates in RFC 3339).
//! What comes from a node, a desk or an engineer can never move the cursor, change a colour or begin a line of its
//! own: every text goes through [`safe`].

mod json;
mod list;
mod table;
mod text;

use std::io::{self, Write};

use chrono::{DateTime, Utc};

pub use rs_consent::compat::print_date as date;
#[cfg(test)]
pub(crate) use text::is_unsafe;
pub(crate) use text::{columns, cut, wrap};
pub use text::{safe, safe_lines, span};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputMode {
    /// One field on a line, records apart by an empty line.
    #[default]
    List,
    /// One record on a line under a heading, fitted to the terminal.
    Table,
    /// One JSON value: an array of objects, or one object where there is one result.
    Json,
}

/// One value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value: blank for people, `null` in JSON.
    None,
    /// Text, made safe on the way to people.
    Text(String),
    /// Several texts: commas between them for people, an array in JSON.
    Texts(Vec<String>),
    /// A whole number.
    Number(i64),
    /// True or false.
    Bool(bool),
    /// An instant: the product's date form for people, RFC 3339 in JSON.
    Date(DateTime<Utc>),
    /// Something with structure: compact JSON for people, itself in JSON.
    Json(serde_json::Value),
}

impl Value {
    /// The value as people read it, on one line.
    pub fn display(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => safe(text),
            Self::Texts(texts) => safe(&texts.join(", ")),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
            Self::Date(instant) => date(*instant),
            Self::Json(value) => safe(&value.to_string()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::Text(number.to_string()), Self::Number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(instant: DateTime<Utc>) -> Self {
        Self::Date(instant)
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// One result: fields in the order in which they are shown.
///
/// # Examples
///
/// ```
/// use rs_cli::output::{OutputMode, Record, write_all};
///
/// let grant = Record::new().field("State", "Active").extra("Minutes", 480_u32);
/// let mut shown = Vec::new();
/// write_all(&mut shown, &[grant.clone()], OutputMode::List, 80)?;
/// assert_eq!(shown, b"State : Active\n");
/// shown.clear();
/// write_all(&mut shown, &[grant], OutputMode::Json, 80)?;
/// assert_eq!(shown, b"[\n  {\n    \"state\": \"Active\",\n    \"minutes\": 480\n  }\n]\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: &'static str,
    value: Value,
    shown: Shown,
}

/// In which modes a field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Json,
    ListAndJson,
    Everywhere,
}

impl Record {
    /// A record without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, without what a table leaves out.
    fn of_table(&self) -> Self {
        Self { fields: self.shown(Shown::Everywhere).cloned().collect() }
    }

    /// Adds a field that is shown in every mode. `name` is in PascalCase, as the product prints it.
    #[must_use]
    pub fn field(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, value.into(), Shown::Everywhere)
    }

    /// Adds a field that a table leaves out, for want of room.
    #[must_use]
    pub fn detail(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, value.into(), Shown::ListAndJson)
    }

    /// Adds a field that only JSON shows, where the forms for people are fixed by the product.
    #[must_use]
    pub fn extra(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, value.into(), Shown::Json)
    }

    fn with(mut self, name: &'static str, value: Value, shown: Shown) -> Self {
        self.fields.push(Field { name, value, shown });
        self
    }

    /// The fields that people see in a list, by name, each on one harmless line.
    pub(crate) fn for_people(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.shown(Shown::ListAndJson).map(|field| (field.name, field.value.display()))
    }

    fn shown(&self, at_least: Shown) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.shown >= at_least)
    }
}

/// Writes one result.
///
/// # Errors
///
/// Those of `out`.
pub fn write_one(out: &mut dyn Write, record: &Record, mode: OutputMode, width: usize) -> io::Result<()> {
    match mode {
        OutputMode::Json => json::one(out, record),
        OutputMode::List | OutputMode::Table => write_all(out, std::slice::from_ref(record), mode, width),
    }
}

/// Writes results in order; nothing at all where there is none, except `[]` in JSON. `width` is the terminal's, in
/// columns.
///
/// # Errors
///
/// Those of `out`.
pub fn write_all(out: &mut dyn Write, records: &[Record], mode: OutputMode, width: usize) -> io::Result<()> {
    match mode {
        OutputMode::List => list::all(out, records),
        OutputMode::Table => table::all(out, records, width),
        OutputMode::Json => json::all(out, records),
    }
}

/// Writes any serialisable value as JSON with the same care as records: no control character leaves unescaped.
///
/// # Errors
///
/// Those of `out`, and of a value that JSON cannot hold.
pub fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    json::value(out, value)
}

/// As [`write_json`], on a line of its own: the form of failures, and of results that are many.
///
/// # Errors
///
/// As [`write_json`].
pub fn write_json_line(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    json::line(out, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(records: &[Record], mode: OutputMode, width: usize) -> String {
        let mut out = Vec::new();
        write_all(&mut out, records, mode, width).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn u03_list_aligns_names_and_keeps_blank_values() {
        let records = [Record::new().field("State", "Active").field("SasCredential", Value::None)];
        assert_eq!(print(&records, OutputMode::List, 80), "State         : Active\nSasCredential :\n");
    }

    #[test]
    fn u03_records_stand_apart_in_a_list() {
        let records = [Record::new().field("A", 1_u32), Record::new().field("A", 2_u32)];
        assert_eq!(print(&records, OutputMode::List, 80), "A : 1\n\nA : 2\n");
    }

    #[test]
    fn u03_table_fits_the_width_and_marks_what_is_cut() {
        let records = [Record::new().field("Name", "a b ".repeat(13)).field("Level", "Diagnostics")];
        let shown = print(&records, OutputMode::Table, 40);
        assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
        assert!(shown.contains('…') && shown.contains("Diagnostics"), "{shown}");
        assert_eq!(shown.lines().count(), 3);
    }

    #[test]
    fn u03_ids_dates_and_numbers_are_never_cut() {
        let id = "018f3c2e-7b1d-7c9a-9f00-1234567890ab";
        let records = [Record::new()
            .field("SessionId", id)
            .field("Engineer", "somebody-with-a-long-name@support.example")
            .field("At", DateTime::UNIX_EPOCH)
            .field("To", "https://collector.example/in")
            .field("Request", "2611250000000001")
            .field("Outcome", "ended by the operator because nothing more was to be done here")];
        for width in 20..200 {
            let shown = print(&records, OutputMode::Table, width);
            for whole in [id, &date(DateTime::UNIX_EPOCH), "2611250000000001", "https://collector.example/in"]
            {
                assert!(shown.contains(whole), "{width}: {whole}\n{shown}");
            }
            // Either a table that fits, or a list.
            let is_list = shown.starts_with("SessionId :");
            assert!(is_list || shown.lines().all(|line| columns(line) <= width), "{width}:\n{shown}");
        }
        assert!(print(&records, OutputMode::Table, 40).starts_with("SessionId :"), "no room for a table");
        let table = print(&records, OutputMode::Table, 160);
        assert!(table.lines().count() > 3 && !table.contains("SessionId :"), "{table}");
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        assert!(bare(&table).contains("ended"), "{table}");
        for word in "ended by the operator because nothing more was to be done here".split(' ') {
            assert!(table.contains(word), "the last column is wrapped and not cut: {word}\n{table}");
        }
    }

    #[test]
    fn u03_nothing_is_an_empty_array_in_json_only() {
        assert_eq!(print(&[], OutputMode::Json, 80), "[]\n");
        assert_eq!(print(&[], OutputMode::List, 80), "");
        assert_eq!(print(&[], OutputMode::Table, 80), "");
    }

    #[test]
    fn u03_json_has_camel_case_and_rfc_3339() {
        let records =
            [Record::new().field("ExpiresAt", DateTime::UNIX_EPOCH).field("SasCredential", Value::None)];
        let value: serde_json::Value =
            serde_json::from_str(&print(&records, OutputMode::Json, 80)).expect("json");
        assert_eq!(value, serde_json::json!([{"expiresAt": "1970-01-01T00:00:00Z", "sasCredential": null}]));
    }

    #[test]
    fn sec37_known_escapes_and_direction_marks_are_shown_not_obeyed() {
        let hostile = "\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\r\nState : Active\u{7f}";
        for mode in [OutputMode::List, OutputMode::Table, OutputMode::Json] {
            let shown = print(&[Record::new().field("Name", hostile)], mode, 200);
            assert!(shown.chars().all(|c| c == '\n' || !is_unsafe(c)), "{shown:?}");
            assert!(!shown.lines().any(|line| line.starts_with("State")), "{shown:?}");
        }
    }

    proptest! {
        #[test]
        fn sec37_no_content_controls_a_terminal(content in any::<String>(), width in 0_usize..200) {
            for mode in [OutputMode::List, OutputMode::Table, OutputMode::Json] {
                let shown = print(&[Record::new().field("Name", content.clone())], mode, width);
                prop_assert!(shown.chars().all(|c| c == '\n' || !is_unsafe(c)), "{:?}", shown);
            }
        }

        #[test]
        fn sec38_one_field_is_one_line(content in any::<String>()) {
            let shown = print(&[Record::new().field("Name", content)], OutputMode::List, 80);
            prop_assert_eq!(shown.lines().count(), 1);
        }

        #[test]
        fn sec38_json_reads_back(content in any::<String>()) {
            let shown = print(&[Record::new().field("Name", content.clone())], OutputMode::Json, 80);
            let value: serde_json::Value = serde_json::from_str(&shown).expect("json");
            prop_assert_eq!(&value[0]["name"], &serde_json::Value::String(content));
        }

        #[test]
        fn u03_table_never_exceeds_the_terminal(cells in prop::collection::vec("\\PC{0,60}", 1..4), width in 20_usize..120) {
            let records: Vec<_> =
                cells.iter().map(|cell| Record::new().field("One", cell.as_str()).field("Two", cell.as_str())).collect();
            let shown = print(&records, OutputMode::Table, width);
            // What has no room as a table is a list, whose lines are as long as their values.
            let is_list = shown.starts_with("One : ") || shown.starts_with("One :\n");
            for line in shown.lines() {
                prop_assert!(is_list || columns(line) <= width, "{:?}", line);
            }
        }
    }
}
