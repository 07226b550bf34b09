//! JSON for programs: keys in camelCase, dates in RFC 3339, no control character unescaped.

use std::fmt::Write as _;
use std::io::{self, Write};

use chrono::SecondsFormat;
use serde::{Serialize, Serializer};

use super::text::is_unsafe;
use super::{Record, Value};

pub(super) fn one(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    value(out, record)
}

pub(super) fn all(out: &mut dyn Write, records: &[Record]) -> io::Result<()> {
    value(out, &records)
}

pub(super) fn value(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", escaped(&serde_json::to_string_pretty(value)?))
}

pub(super) fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", escaped(&serde_json::to_string(value)?))
}

/// serde_json escapes what JSON demands; DEL, C1 and direction marks are escaped here. Such characters can stand
/// inside strings only, so replacing them in the finished text is safe; newlines outside strings stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        if c == '\n' || !is_unsafe(c) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"));
        }
    }
    out
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields.iter().map(|field| (camel(field.name), &field.value)))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Date(instant) => {
                serializer.collect_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}
