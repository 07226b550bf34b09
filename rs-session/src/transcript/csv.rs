//! Comma-separated values (RFC 4180) that no spreadsheet takes for a formula.

/// One cell: always quoted; control characters but tab and newline made visible; an apostrophe in front of what a
/// spreadsheet would compute (`=`, `+`, `-`, `@`, tab, carriage return, also behind white space).
///
/// ```
/// use rs_session::transcript::cell;
///
/// assert_eq!(cell("a \"b\""), "\"a \"\"b\"\"\"");
/// assert_eq!(cell("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
/// ```
#[must_use]
pub fn cell(text: &str) -> String {
    let visible = crate::transcript::lines::visible(text, "");
    let begin = visible.trim_start();
    let computed = begin.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        || visible.starts_with(['\t', '\r', '\'']);
    let shield = if computed { "'" } else { "" };
    format!("\"{shield}{}\"", visible.replace('"', "\"\""))
}

/// One line of cells.
#[must_use]
pub fn record<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}
