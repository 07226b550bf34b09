//! One field on a line: `State                  : Active`.

use std::io::{self, Write};

use super::{Record, Shown};

pub(super) fn all(out: &mut dyn Write, records: &[Record]) -> io::Result<()> {
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        one(out, record)?;
    }
    Ok(())
}

fn one(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    let width = record.shown(Shown::ListAndJson).map(|field| field.name.len()).max().unwrap_or(0);
    for field in record.shown(Shown::ListAndJson) {
        let value = field.value.display();
        let gap = if value.is_empty() { "" } else { " " };
        writeln!(out, "{:<width$} :{gap}{value}", field.name)?;
    }
    Ok(())
}
