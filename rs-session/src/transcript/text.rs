//! Transcripts in the shape that PowerShell writes, printed and parsed.
//!
//! A header between two lines of 22 asterisks, then for each command `PS>CommandInvocation(NAME): "NAME"` with a line
//! `>> ParameterBinding(NAME): name="…"; value="…"` for each parameter, then what was printed, and a footer.
//!
//! PowerShell quotes values and does not escape them, so a value can hold a quote, a line break and whatever looks like
//! the next line: such a text proves nothing. Ours says `Escapes: backtick` in its header, and then every control
//! character, quote, parenthesis and backtick of a value is escaped as PowerShell itself reads it (`` `n ``, `` `u{22} ``, `` `u{1b} ``),
//! and a printed line that would look like one of the transcript begins with a backtick. So printing and parsing give
//! back what was printed. The parser reads both kinds.

use std::fmt::Write as _;

/// The line around header and footer.
pub const STARS: &str = "**********************";
/// Title of our own.
pub const TITLE: &str = "PowerShell transcript start";
/// Longest transcript that is parsed, in bytes: 64 MiB.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// Most lines over which a value that is not escaped may go.
const VALUE_LINES_MAX: usize = 64;
const ESCAPES: (&str, &str) = ("Escapes", "backtick");

/// A transcript.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// The title, for example `Windows PowerShell transcript start`.
    pub title: String,
    /// Names and values of the header, in order, without `Escapes`.
    pub header: Vec<(String, String)>,
    /// What stands between header and footer.
    pub lines: Vec<Line>,
    /// `End time` of the footer; `None` when the transcript has none: the session did not end in good order.
    pub end: Option<String>,
}

/// A line of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A command is called.
    Invocation {
        /// It is called by the line before it, for example as a later part of a pipeline.
        nested: bool,
        /// Its name.
        command: String,
        /// The quoted text; the name again.
        text: String,
    },
    /// A parameter of a command.
    Binding {
        /// The command.
        command: String,
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
    },
    /// Something that only our transcripts say, for example `Record(12): "2026-11-25T10:00:00Z"`.
    Mark {
        /// What it is; letters only.
        kind: String,
        /// Of what: a number or code; letters, digits, dots and dashes.
        of: String,
        /// What is said.
        text: String,
    },
    /// A line that was printed.
    Output(String),
}

/// A command that was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Its name.
    pub command: String,
    /// Names and values of its parameters, in order.
    pub parameters: Vec<(String, String)>,
}

/// Why a text is no transcript.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It does not begin as one.
    #[error("this is no transcript: it does not begin with {STARS} and a title")]
    Beginning,
    /// The header has no end.
    #[error("the header of the transcript has no end")]
    Header,
    /// It is longer than [`TEXT_BYTES_MAX`].
    #[error("the transcript is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// An escape is not one.
    #[error("line {line}: a backtick stands before something that is no escape")]
    Escape {
        /// Number of the line, from 1.
        line: usize,
    },
}

impl Text {
    /// A value of the header.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.header.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The commands that somebody called, each with its parameters: without the probes with which every PowerShell client
    /// begins (`Get-Command` for `Out-Default` and `Exit-PSSession`, piped into `Measure-Object` and `Select-Object`).
    #[must_use]
    pub fn commands(&self) -> Vec<Called> {
        let mut groups: Vec<Vec<Called>> = Vec::new();
        for line in &self.lines {
            match line {
                Line::Invocation { nested, command, .. } => {
                    let called = Called { command: command.clone(), parameters: Vec::new() };
                    match groups.last_mut() {
                        Some(group) if *nested => group.push(called),
                        _ => groups.push(vec![called]),
                    }
                }
                Line::Binding { command, name, value } => {
                    let mut called = groups.last_mut().into_iter().flatten().rev();
                    if let Some(called) = called.find(|called| called.command == *command) {
                        called.parameters.push((name.clone(), value.clone()));
                    }
                }
                _ => {}
            }
        }
        groups.into_iter().filter(|group| !is_probe(group)).flatten().collect()
    }
}

fn is_probe(group: &[Called]) -> bool {
    let Some((Called { command, parameters }, rest)) = group.split_first() else { return false };
    let asks = |name: &str| {
        let known = |(parameter, value): &(String, String)| parameter == "Name" && value.contains(name);
        parameters.iter().any(known)
    };
    command == "Get-Command"
        && (asks("Out-Default") || asks("Exit-PSSession"))
        && rest.iter().all(|called| matches!(called.command.as_str(), "Measure-Object" | "Select-Object"))
}

/// Prints a transcript, with everything escaped.
///
/// ```
/// use rs_session::transcript::text::{Line, Text, parse, print};
///
/// let forged = "x\"\nPS>CommandInvocation(Stop-Service): \"Stop-Service\"";
/// let text = Text {
///     title: "PowerShell transcript start".to_owned(),
///     lines: vec![Line::Output("PS>CommandInvocation(Get-Date): \"Get-Date\"".to_owned()), Line::Binding {
///         command: "Get-Process".to_owned(),
///         name: "Name".to_owned(),
///         value: forged.to_owned(),
///     }],
///     ..Text::default()
/// };
/// assert_eq!(parse(&print(&text))?, text, "content forges no line");
/// # Ok::<(), rs_session::transcript::text::TextError>(())
/// ```
#[must_use]
pub fn print(text: &Text) -> String {
    let mut out = print_header(&text.title, &text.header);
    for line in &text.lines {
        print_line(line, &mut out);
    }
    if let Some(end) = &text.end {
        out.push_str(&print_footer(end));
    }
    out
}

/// Prints the header alone.
#[must_use]
pub fn print_header(title: &str, fields: &[(String, String)]) -> String {
    let mut out = format!("{STARS}\n{}\n", escaped(title));
    let own =
        std::iter::once(ESCAPES).chain(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for (name, value) in own {
        let _ = writeln!(out, "{}: {}", escaped(name).replace(':', "`u{3a}"), escaped(value));
    }
    let _ = writeln!(out, "{STARS}");
    out
}

/// Prints the footer alone.
#[must_use]
pub fn print_footer(end: &str) -> String {
    format!("{STARS}\nPowerShell transcript end\nEnd time: {}\n{STARS}\n", escaped(end))
}

/// Prints one line of the body, with its newline.
pub fn print_line(line: &Line, out: &mut String) {
    let _ = match line {
        Line::Invocation { nested, command, text } => {
            let begin = if *nested { ">> " } else { "PS>" };
            writeln!(out, "{begin}CommandInvocation({}): \"{}\"", escaped(command), escaped(text))
        }
        Line::Binding { command, name, value } => {
            let (command, name, value) = (escaped(command), escaped(name), escaped(value));
            writeln!(out, ">> ParameterBinding({command}): name=\"{name}\"; value=\"{value}\"")
        }
        Line::Mark { kind, of, text } => {
            writeln!(out, ">> {}({}): \"{}\"", escaped(kind), escaped(of), escaped(text))
        }
        Line::Output(text) => {
            let text = escaped_output(text);
            let looks = ["PS>", ">>", "*"].iter().any(|begin| text.starts_with(begin));
            writeln!(out, "{}{text}", if looks { "`" } else { "" })
        }
    };
}

/// Control characters and the invisible ones that steer a line.
fn is_steering(character: char) -> bool {
    character.is_control() || crate::transcript::lines::is_invisible(character)
}

fn escape(character: char, out: &mut String) {
    let _ = match character {
        '\n' => out.write_str("`n"),
        '\r' => out.write_str("`r"),
        '\0' => out.write_str("`0"),
        '`' => out.write_str("``"),
        other => write!(out, "`u{{{:x}}}", u32::from(other)),
    };
}

/// Text in which nothing ends a quoted value, a pair of parentheses or a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '`' | '"' | '(' | ')') || is_steering(character) {
            escape(character, &mut out);
        } else {
            out.push(character);
        }
    }
    out
}

/// Printed text: quotes stay, a tab stays.
fn escaped_output(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '`' || (is_steering(character) && character != '\t') {
            escape(character, &mut out);
        } else {
            out.push(character);
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '`' {
            out.push(character);
            continue;
        }
        match characters.next()? {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            '0' => out.push('\0'),
            'u' => {
                let rest = characters.as_str().strip_prefix('{')?;
                let (digits, rest) = rest.split_once('}')?;
                let strange = digits.is_empty() || digits.len() > 6 || digits.starts_with('+');
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| !strange)?;
                out.push(char::from_u32(code)?);
                characters = rest.chars();
            }
            '`' => out.push('`'),
            _ => return None,
        }
    }
    Some(out)
}

/// Parses a transcript: our own, or one that PowerShell wrote, also one that is indented as a list view prints it.
///
/// # Errors
/// [`TextError`].
pub fn parse(text: &str) -> Result<Text, TextError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooLong);
    }
    let mut lines = Lines::new(text);
    let first = lines.next().ok_or(TextError::Beginning)?;
    let indent = first.len() - first.trim_start_matches(' ').len();
    lines.indent = indent;
    if first.trim() != STARS {
        return Err(TextError::Beginning);
    }
    let title = lines
        .next()
        .filter(|title| title.trim_end().ends_with("transcript start"))
        .ok_or(TextError::Beginning)?;
    let mut parsed = Text { title: title.to_owned(), ..Text::default() };
    let mut escapes = false;
    loop {
        let line = lines.next().ok_or(TextError::Header)?;
        if line == STARS {
            break;
        }
        let (name, value) = line
            .split_once(": ")
            .or_else(|| line.strip_suffix(':').map(|name| (name, "")))
            .unwrap_or((line, ""));
        match (escapes, (name, value)) {
            (false, ESCAPES) if parsed.header.is_empty() => escapes = true,
            (true, (name, value)) => parsed.header.push((lines.plain(name)?, lines.plain(value)?)),
            (false, (name, value)) => parsed.header.push((name.to_owned(), value.to_owned())),
        }
    }
    if escapes {
        parsed.title = lines.plain(title)?;
    }
    while let Some(line) = lines.next() {
        if line == STARS && lines.is_footer() {
            parsed.end = lines.footer(escapes)?;
            break;
        }
        let line = if escapes { own_line(line, &lines)? } else { public_line(line, &mut lines) };
        parsed.lines.push(line);
    }
    Ok(parsed)
}

struct Lines<'a> {
    rest: &'a str,
    number: usize,
    indent: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), number: 0, indent: 0 }
    }

    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = Self::split(self.rest)?;
        self.rest = rest;
        self.number += 1;
        Some(self.dedent(line))
    }

    fn split(text: &'a str) -> Option<(&'a str, &'a str)> {
        if text.is_empty() {
            return None;
        }
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        Some((line.strip_suffix('\r').unwrap_or(line), rest))
    }

    fn dedent(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        line.get(spaces.min(self.indent)..).unwrap_or(line)
    }

    fn peek(&self) -> Option<&'a str> {
        Self::split(self.rest).map(|(line, _)| self.dedent(line))
    }

    fn is_footer(&self) -> bool {
        self.peek().is_some_and(|title| title.trim_end().ends_with("transcript end"))
    }

    fn footer(&mut self, escapes: bool) -> Result<Option<String>, TextError> {
        self.next();
        let end = self.next().and_then(|line| line.strip_prefix("End time: ")).unwrap_or_default();
        Ok(Some(if escapes { self.plain(end)? } else { end.to_owned() }))
    }

    fn plain(&self, text: &str) -> Result<String, TextError> {
        unescaped(text).ok_or(TextError::Escape { line: self.number })
    }
}

/// `(inside, behind "): ")` of a line that begins with `word(`.
fn called<'a>(line: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(word)?.strip_prefix('(')?.split_once("): ")
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// `name="…"; value="…"`; the value may go on.
fn binding(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix("name=\"")?.split_once("\"; value=\"")?;
    Some((name, value))
}

fn own_line(line: &str, lines: &Lines<'_>) -> Result<Line, TextError> {
    let plain = |text: &str| lines.plain(text);
    let nested = line.strip_prefix(">> ");
    if let Some((command, text)) =
        nested.or_else(|| line.strip_prefix("PS>")).and_then(|rest| called(rest, "CommandInvocation"))
        && let Some(text) = quoted(text)
    {
        return Ok(Line::Invocation {
            nested: nested.is_some(),
            command: plain(command)?,
            text: plain(text)?,
        });
    }
    if let Some((command, text)) = nested.and_then(|rest| called(rest, "ParameterBinding"))
        && let Some((name, value)) = binding(text)
        && let Some(value) = value.strip_suffix('"')
    {
        return Ok(Line::Binding { command: plain(command)?, name: plain(name)?, value: plain(value)? });
    }
    if let Some((kind, rest)) = nested.and_then(|rest| rest.split_once('('))
        && let Some((of, text)) = rest.split_once("): ")
        && let Some(text) = quoted(text)
    {
        return Ok(Line::Mark { kind: plain(kind)?, of: plain(of)?, text: plain(text)? });
    }
    let shielded =
        line.strip_prefix('`').filter(|rest| ["PS>", ">>", "*"].iter().any(|begin| rest.starts_with(begin)));
    Ok(Line::Output(plain(shielded.unwrap_or(line))?))
}

fn public_line(line: &str, lines: &mut Lines<'_>) -> Line {
    let nested = line.strip_prefix(">> ");
    if let Some((command, text)) =
        nested.or_else(|| line.strip_prefix("PS>")).and_then(|rest| called(rest, "CommandInvocation"))
    {
        let text = quoted(text).unwrap_or(text);
        return Line::Invocation {
            nested: nested.is_some(),
            command: command.to_owned(),
            text: text.to_owned(),
        };
    }
    if let Some((command, text)) = nested.and_then(|rest| called(rest, "ParameterBinding"))
        && let Some((name, begin)) = binding(text)
    {
        let value = lines.value(begin);
        return Line::Binding { command: command.to_owned(), name: name.to_owned(), value };
    }
    Line::Output(line.to_owned())
}

impl Lines<'_> {
    /// A value that is not escaped goes on to the first line that ends with a quote, if that comes soon.
    fn value(&mut self, begin: &str) -> String {
        if let Some(value) = begin.strip_suffix('"') {
            return value.to_owned();
        }
        let (mut ahead, mut value) = (Self { rest: self.rest, ..*self }, begin.to_owned());
        for _ in 0..VALUE_LINES_MAX {
            let Some(line) = ahead.next().filter(|line| !line.starts_with("PS>") && !line.starts_with(">> "))
            else {
                break;
            };
            value.push('\n');
            match line.strip_suffix('"') {
                Some(last) => {
                    value.push_str(last);
                    (self.rest, self.number) = (ahead.rest, ahead.number);
                    return value;
                }
                None => value.push_str(line),
            }
        }
        begin.to_owned()
    }
}
