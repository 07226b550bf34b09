//! JSON for programs: keys in camelCase, dates in RFC 3339, no control character unescaped.

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

/// Written as it is made, so that a value whose parts come from a stream is never whole in memory.
pub(super) fn value(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(Escaped(out), value)?;
    writeln!(out)
}

pub(super) fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(Escaped(out), value)?;
    writeln!(out)
}

/// serde_json escapes what JSON demands; DEL, C1 and direction marks are escaped here. Such characters can stand
/// inside strings only, so replacing them in the written text is safe; newlines outside strings stay.
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // serde_json writes whole characters.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let mut units = [0; 2];
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| *c != '\n' && is_unsafe(*c)) {
            self.0.write_all(&bytes[plain..at])?;
            c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(self.0, "\\u{unit:04x}"))?;
            plain = at + c.len_utf8();
        }
        self.0.write_all(&bytes[plain..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
            Self::Texts(texts) => texts.serialize(serializer),
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
