//! The language of a session: one line, one pipeline of commands, parameters and literals.
//!
//! It is the part of PowerShell that a NoLanguage session leaves. Everything else is refused with the column and a
//! reason, and never given another meaning than PowerShell's: what PowerShell would expand is refused, not taken
//! literally. The parser is pure and linear in the length of the line; it allocates at most what the line holds.
//!
//! ```
//! use rs_session::operations::parse;
//! let line = parse("gps -Name ssh*, 'systemd' | sort cpu -Desc").unwrap();
//! assert_eq!(line.stages.len(), 2);
//! assert_eq!(line.to_string(), "gps -Name ssh*,'systemd' | sort cpu -Desc");
//! ```

use std::fmt;

use super::refused::{Code, Refused};

mod numbers;

pub(super) use self::numbers::number;

/// Longest line, in bytes of UTF-8.
pub const LINE_BYTES_MAX: usize = 4096;
/// Most commands in one pipeline.
pub const STAGES_MAX: usize = 16;
/// Most arguments of one command: parameter names and values, each item of an array counted.
pub const ARGUMENTS_MAX: usize = 64;
/// Longest single value, in characters.
pub const VALUE_CHARS_MAX: usize = 1024;

/// One parsed line.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The commands from left to right; never empty.
    pub stages: Vec<Command>,
}

/// One command with its arguments as written; names are not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Module in front of a backslash, if one was written.
    pub module: Option<String>,
    /// Name or alias as written.
    pub name: String,
    /// Arguments in their order.
    pub arguments: Vec<Argument>,
    /// Column of the command, from 1, in characters.
    pub column: u32,
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// `-Name` or `-Name:value`.
    Parameter {
        /// Name without the dash, as written.
        name: String,
        /// The value that a colon ties to the name.
        value: Option<Vec<Literal>>,
        /// Column of the dash.
        column: u32,
    },
    /// A value that stands by itself: one literal, or several joined by commas.
    Value {
        /// The items; never empty.
        items: Vec<Literal>,
        /// Column of the first item.
        column: u32,
    },
}

impl Argument {
    /// Column of the argument, from 1, in characters.
    #[must_use]
    pub const fn column(&self) -> u32 {
        match self {
            Self::Parameter { column, .. } | Self::Value { column, .. } => *column,
        }
    }
}

/// One literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// The text: without quotes if it was quoted.
    pub text: String,
    /// How it was written.
    pub kind: LiteralKind,
    /// Column of its first character.
    pub column: u32,
}

/// How a literal was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LiteralKind {
    /// A word without quotes that is no number.
    Word,
    /// Text in single or double quotes; never a number.
    Quoted,
    /// A number.
    Number(Number),
}

/// A number as PowerShell reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number, also hexadecimal, also with a size suffix.
    Integer(i64),
    /// A number with a point or an exponent; always finite.
    Float(f64),
}

/// Reads one line.
///
/// # Errors
/// [`Refused`] with the column, the code and what to do, for everything outside the language or over a limit.
pub fn parse(line: &str) -> Result<Pipeline, Refused> {
    check_line(line)?;
    Parser::new(line).pipeline()
}

/// Length and characters that are refused wherever they stand, also inside quotes.
fn check_line(line: &str) -> Result<(), Refused> {
    let mut bytes = 0;
    for (index, c) in line.chars().enumerate() {
        let column = column_of(index);
        bytes += c.len_utf8();
        if bytes > LINE_BYTES_MAX {
            let message = format!("the line is longer than {LINE_BYTES_MAX} bytes; split the question");
            return Err(Refused::new(Code::LineTooLong, column, message));
        }
        if let Some((code, message)) = unwanted_anywhere(c) {
            return Err(Refused::new(code, column, message));
        }
    }
    Ok(())
}

fn column_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

/// Characters that PowerShell reads as something else than they look, or that hide text.
fn unwanted_anywhere(c: char) -> Option<(Code, &'static str)> {
    match c {
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
            Some((Code::LineBreak, "a line break is not permitted; send one pipeline per line"))
        }
        '\t' => None,
        c if c.is_control() => {
            Some((Code::ControlCharacter, "a control character is not permitted; remove it"))
        }
        '\u{2018}'..='\u{201F}'
        | '\u{2032}'
        | '\u{2033}'
        | '\u{ab}'
        | '\u{bb}'
        | '\u{2039}'
        | '\u{203a}'
        | '\u{301d}'..='\u{301f}'
        | '\u{ff02}'
        | '\u{ff07}' => Some((Code::UnicodeQuote, "a typographic quote is not permitted; type ' or \"")),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' | '\u{ad}' => {
            Some((Code::UnicodeDash, "a typographic dash is not permitted; type -"))
        }
        ' ' => None,
        c if super::objects::is_invisible(c) => Some((
            Code::InvisibleCharacter,
            "an invisible or direction-changing character is not permitted; remove it",
        )),
        c if c.is_whitespace() => Some((
            Code::UnicodeSpace,
            "only the plain space separates words; replace this character by a space",
        )),
        _ => None,
    }
}

/// Keywords of the language that NoLanguage removes.
const KEYWORDS: &[&str] = &[
    "begin",
    "break",
    "catch",
    "class",
    "configuration",
    "continue",
    "data",
    "define",
    "do",
    "dynamicparam",
    "else",
    "elseif",
    "end",
    "enum",
    "exit",
    "filter",
    "finally",
    "for",
    "foreach",
    "from",
    "function",
    "hidden",
    "if",
    "in",
    "inlinescript",
    "parallel",
    "param",
    "process",
    "return",
    "sequence",
    "static",
    "switch",
    "throw",
    "trap",
    "try",
    "until",
    "using",
    "var",
    "while",
    "workflow",
];

/// Endings of files that would be programs or scripts.
const PROGRAM_ENDINGS: &[&str] = &[
    ".exe", ".com", ".bat", ".cmd", ".ps1", ".psm1", ".psd1", ".vbs", ".js", ".sh", ".msi", ".dll", ".py",
    ".cpl",
];

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn new(line: &str) -> Self {
        Self { chars: line.chars().collect(), at: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_after(&self, distance: usize) -> Option<char> {
        self.chars.get(self.at.saturating_add(distance)).copied()
    }

    fn column(&self) -> u32 {
        column_of(self.at)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    fn refuse<T>(&self, code: Code, message: impl Into<String>) -> Result<T, Refused> {
        Err(Refused::new(code, self.column(), message))
    }

    fn pipeline(&mut self) -> Result<Pipeline, Refused> {
        let mut stages = Vec::new();
        self.skip_blanks();
        if self.peek().is_none() {
            return self.refuse(Code::Empty, "nothing to run; Get-Command lists what is permitted");
        }
        loop {
            if stages.len() == STAGES_MAX {
                let message = format!("a pipeline has at most {STAGES_MAX} commands; split the question");
                return self.refuse(Code::TooManyStages, message);
            }
            stages.push(self.command()?);
            match self.peek() {
                None => return Ok(Pipeline { stages }),
                Some('|') if self.peek_after(1) == Some('|') => return self.refuse_forbidden('|'),
                _ => self.at += 1,
            }
        }
    }

    /// One command up to a pipe or the end.
    fn command(&mut self) -> Result<Command, Refused> {
        self.skip_blanks();
        let column = self.column();
        let (module, name) = self.command_name()?;
        let mut arguments = Vec::new();
        let mut count = 0;
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some('|') => return Ok(Command { module, name, arguments, column }),
                Some(_) => {
                    let argument = self.argument(&mut count)?;
                    if arguments.is_empty() {
                        refuse_operator(&argument)?;
                    }
                    arguments.push(argument);
                }
            }
        }
    }

    fn command_name(&mut self) -> Result<(Option<String>, String), Refused> {
        match self.peek() {
            None | Some('|') => {
                return self.refuse(Code::EmptyStage, "a command is missing here; remove the pipe");
            }
            Some('\'' | '"') => {
                return self.refuse(Code::Expression, "a command cannot be in quotes; type its name plainly");
            }
            Some('&') => return self.refuse(Code::CallOperator, "& starts programs; type a command name"),
            Some('.')
                if matches!(self.peek_after(1), None | Some(' ' | '\t' | '\'' | '"' | '$' | '{' | '(')) =>
            {
                return self.refuse(Code::CallOperator, "dot sourcing runs scripts; type a command name");
            }
            Some('-' | '+' | '!' | ',') => {
                return self
                    .refuse(Code::Expression, "an expression is not permitted; begin with a command name");
            }
            Some(_) => {}
        }
        let start = self.at;
        let word = self.word(WordPlace::Command)?;
        self.split_name(word, start)
    }

    /// Checks the name and takes a module apart.
    fn split_name(&self, word: String, start: usize) -> Result<(Option<String>, String), Refused> {
        let refuse = |code, message: &str| Err(Refused::new(code, column_of(start), message));
        if word.starts_with(|c: char| c.is_ascii_digit()) || number(&word).is_some() {
            return refuse(Code::Expression, "an expression is not permitted; begin with a command name");
        }
        if word == "?" || word == "%" {
            return Ok((None, word));
        }
        let lower = word.to_lowercase();
        if word.contains(['/', ':', '*', '?', '%', '+'])
            || word.starts_with(['.', '\\'])
            || word.matches('\\').count() > 1
            || PROGRAM_ENDINGS.iter().any(|ending| lower.ends_with(ending))
        {
            return refuse(
                Code::PathAsCommand,
                "programs, scripts and paths do not run here; type a command name",
            );
        }
        let (module, name) = match word.split_once('\\') {
            Some((module, name)) => (Some(module.to_owned()), name.to_owned()),
            None => (None, word),
        };
        if module.is_none() && KEYWORDS.contains(&lower.as_str()) && lower != "exit" {
            return refuse(Code::Keyword, "this is a keyword of the language; only commands run here");
        }
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if !is_name(&name) || !module.as_deref().is_none_or(is_name) {
            return refuse(Code::BadCommandName, "a command name has letters, digits, - and _ only");
        }
        Ok((module, name))
    }

    fn argument(&mut self, count: &mut usize) -> Result<Argument, Refused> {
        let column = self.column();
        if self.peek() == Some('-') && !self.negative_number_follows() {
            return self.parameter(count);
        }
        let items = self.values(count)?;
        Ok(Argument::Value { items, column })
    }

    fn negative_number_follows(&self) -> bool {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        digit(self.peek_after(1)) || (self.peek_after(1) == Some('.') && digit(self.peek_after(2)))
    }

    fn parameter(&mut self, count: &mut usize) -> Result<Argument, Refused> {
        let column = self.column();
        self.count_argument(count)?;
        if self.peek_after(1) == Some('-') {
            return if self.peek_after(2) == Some('%') {
                self.refuse(Code::StopParsing, "--% is not permitted; give values in quotes")
            } else {
                self.refuse(Code::BadParameter, "parameters begin with one dash, as in -Name")
            };
        }
        self.at += 1;
        let name = self.parameter_name();
        if name.is_empty() {
            self.at -= 1;
            return self
                .refuse(Code::BadParameter, "a parameter is a dash and a name; put other text in quotes");
        }
        if name.chars().count() > VALUE_CHARS_MAX {
            return Err(Refused::new(Code::ValueTooLong, column, "the parameter's name is too long"));
        }
        let value = match self.peek() {
            None | Some(' ' | '\t' | '|') => None,
            Some(':') => {
                self.at += 1;
                self.skip_blanks();
                if matches!(self.peek(), None | Some('|')) {
                    return self.refuse(Code::MissingValue, "a value is missing after the colon");
                }
                Some(self.values_after_colon(count)?)
            }
            Some(c) => return self.refuse_parameter_tail(c),
        };
        Ok(Argument::Parameter { name, value, column })
    }

    fn parameter_name(&mut self) -> String {
        let start = self.at;
        if self.peek() == Some('?') {
            self.at += 1;
        } else if self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.at += 1;
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    /// `-Switch:$true` and `-Switch:$false` are the only places where a dollar sign is read.
    fn values_after_colon(&mut self, count: &mut usize) -> Result<Vec<Literal>, Refused> {
        for name in ["$true", "$false"] {
            let end = self.at + name.len();
            let found = self.chars.get(self.at..end);
            let matches = found.is_some_and(|c| c.iter().collect::<String>().eq_ignore_ascii_case(name));
            if matches && matches!(self.chars.get(end), None | Some(' ' | '\t' | '|')) {
                self.count_argument(count)?;
                let literal =
                    Literal { text: name.to_owned(), kind: LiteralKind::Word, column: self.column() };
                self.at = end;
                return Ok(vec![literal]);
            }
        }
        self.values(count)
    }

    fn refuse_parameter_tail<T>(&self, c: char) -> Result<T, Refused> {
        if is_word_char(c) || c == ',' {
            return self.refuse(Code::BadParameter, "a parameter's name has letters and digits only");
        }
        self.refuse_forbidden(c)
    }

    /// One literal, or several joined by commas.
    fn values(&mut self, count: &mut usize) -> Result<Vec<Literal>, Refused> {
        let mut items = vec![self.literal(count)?];
        loop {
            let before = self.at;
            self.skip_blanks();
            if self.peek() != Some(',') {
                self.at = before;
                return Ok(items);
            }
            self.at += 1;
            self.skip_blanks();
            if matches!(self.peek(), None | Some('|' | ',')) {
                return self.refuse(Code::BadArray, "a value is missing after the comma");
            }
            items.push(self.literal(count)?);
        }
    }

    fn count_argument(&self, count: &mut usize) -> Result<(), Refused> {
        *count += 1;
        if *count > ARGUMENTS_MAX {
            let message = format!("a command takes at most {ARGUMENTS_MAX} arguments; ask for less at once");
            return self.refuse(Code::TooManyArguments, message);
        }
        Ok(())
    }

    fn literal(&mut self, count: &mut usize) -> Result<Literal, Refused> {
        self.count_argument(count)?;
        let column = self.column();
        match self.peek() {
            Some(quote @ ('\'' | '"')) => {
                let text = self.quoted(quote)?;
                Ok(Literal { text, kind: LiteralKind::Quoted, column })
            }
            Some(',') => self.refuse(Code::BadArray, "a value is missing before the comma"),
            _ => {
                let text = self.word(WordPlace::Value)?;
                let kind = match number(&text) {
                    Some(Ok(value)) => LiteralKind::Number(value),
                    Some(Err(())) => {
                        return Err(Refused::new(
                            Code::BadNumber,
                            column,
                            "the number does not fit in 64 bits",
                        ));
                    }
                    None => LiteralKind::Word,
                };
                Ok(Literal { text, kind, column })
            }
        }
    }

    /// Text between quotes; a doubled quote stands for one.
    fn quoted(&mut self, quote: char) -> Result<String, Refused> {
        let start = self.at;
        let mut text = String::new();
        let mut length = 0;
        self.at += 1;
        loop {
            match self.peek() {
                None => {
                    let message = format!("the closing {quote} is missing");
                    return Err(Refused::new(Code::UnterminatedString, column_of(start), message));
                }
                Some(c) if c == quote && self.peek_after(1) == Some(quote) => self.at += 2,
                Some(c) if c == quote => {
                    self.at += 1;
                    break;
                }
                Some('$' | '`') if quote == '"' => {
                    return self
                        .refuse(Code::Expansion, "$ and ` are read inside double quotes; use single quotes");
                }
                Some(_) => self.at += 1,
            }
            text.push(self.chars[self.at - 1]);
            length += 1;
            if length > VALUE_CHARS_MAX {
                return self.refuse_long(start);
            }
        }
        match self.peek() {
            None | Some(' ' | '\t' | '|' | ',') => Ok(text),
            Some(c) if is_word_char(c) || matches!(c, '\'' | '"') => {
                self.refuse(Code::QuoteInWord, "put the whole value in quotes, with a space after it")
            }
            Some(c) => self.refuse_forbidden(c),
        }
    }

    fn refuse_long<T>(&self, start: usize) -> Result<T, Refused> {
        let message = format!("a value has at most {VALUE_CHARS_MAX} characters");
        Err(Refused::new(Code::ValueTooLong, column_of(start), message))
    }

    /// A word without quotes up to a blank, a pipe or a comma.
    fn word(&mut self, place: WordPlace) -> Result<String, Refused> {
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '|' => break,
                ',' if place == WordPlace::Value => break,
                c if is_word_char(c) => self.at += 1,
                '\'' | '"' => return self.refuse(Code::QuoteInWord, "put the whole value in quotes"),
                c => return self.refuse_forbidden(c),
            }
            if self.at - start > VALUE_CHARS_MAX {
                return self.refuse_long(start);
            }
        }
        Ok(self.chars[start..self.at].iter().collect())
    }

    /// The reason for a character that has no place outside quotes.
    fn refuse_forbidden<T>(&self, c: char) -> Result<T, Refused> {
        let (code, message) = forbidden(c, self.peek_after(1));
        self.refuse(code, message)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum WordPlace {
    Command,
    Value,
}

/// Characters of a word without quotes.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '\\' | '/' | '*' | '?' | '+' | '%')
}

/// Reason and advice for a character outside quotes that the language does not have.
fn forbidden(c: char, next: Option<char>) -> (Code, &'static str) {
    match (c, next) {
        ('$', Some('(')) => (Code::SubExpression, "sub-expressions are not permitted; give the value itself"),
        ('$', _) => (Code::Variable, "variables are not permitted; give the value itself"),
        ('@', Some('(')) => (Code::ArrayExpression, "@( ) is not permitted; join values by commas"),
        ('@', Some('{')) => {
            (Code::HashTable, "hash tables and calculated properties are not permitted; give names")
        }
        ('@', Some('\'' | '"')) => {
            (Code::HereString, "here-strings are not permitted; use one line in quotes")
        }
        ('@', _) => {
            (Code::Splatting, "splatting is not permitted; name each parameter, or put the text in quotes")
        }
        ('{' | '}', _) => {
            (Code::ScriptBlock, "script blocks are not permitted; use Property -Operator Value")
        }
        ('(' | ')', _) => (Code::Expression, "expressions are not permitted; give the value itself"),
        ('[' | ']', _) => (Code::TypeOrIndex, "types and indexes are not permitted; put a pattern in quotes"),
        (';', _) => (Code::Separator, "; is not permitted; send one pipeline per line"),
        ('&', Some('&')) | ('|', Some('|')) => {
            (Code::ChainOperator, "&& and || are not permitted; send one line each")
        }
        ('&', _) => (Code::Background, "background jobs are not permitted; remove the &"),
        ('<', Some('#')) | ('#', _) => (Code::Comment, "comments are not permitted; put the text in quotes"),
        ('>' | '<', _) => (Code::Redirection, "redirection is not permitted; output stays in the session"),
        ('`', _) => (Code::EscapeCharacter, "the backtick is not permitted; use single quotes"),
        ('=', _) => (Code::Assignment, "assignments are not permitted; put text with = in quotes"),
        _ => (Code::UnexpectedCharacter, "this character needs quotes around the value"),
    }
}

/// `name + value` reads like arithmetic.
fn refuse_operator(argument: &Argument) -> Result<(), Refused> {
    match argument {
        Argument::Value { items, column }
            if matches!(items.as_slice(), [one] if one.kind == LiteralKind::Word
                && !one.text.is_empty() && one.text.chars().all(|c| matches!(c, '+' | '%'))) =>
        {
            Err(Refused::new(
                Code::Expression,
                *column,
                "operators are not permitted; begin with a command name",
            ))
        }
        _ => Ok(()),
    }
}

impl Pipeline {
    /// The same line with every column set to 0, for comparing two spellings.
    ///
    /// ```
    /// use rs_session::operations::parse;
    /// let spaced = parse("Get-Date   |   Format-List").unwrap();
    /// assert_eq!(spaced.without_columns(), parse("Get-Date|Format-List").unwrap().without_columns());
    /// ```
    #[must_use]
    pub fn without_columns(&self) -> Self {
        let mut copy = self.clone();
        for stage in &mut copy.stages {
            stage.column = 0;
            for argument in &mut stage.arguments {
                let items = match argument {
                    Argument::Parameter { value, column, .. } => {
                        *column = 0;
                        value.as_deref_mut().unwrap_or_default()
                    }
                    Argument::Value { items, column } => {
                        *column = 0;
                        items
                    }
                };
                items.iter_mut().for_each(|literal| literal.column = 0);
            }
        }
        copy
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{stage}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(module) = &self.module {
            write!(f, "{module}\\")?;
        }
        f.write_str(&self.name)?;
        for argument in &self.arguments {
            f.write_str(" ")?;
            match argument {
                Argument::Parameter { name, value: None, .. } => write!(f, "-{name}")?,
                Argument::Parameter { name, value: Some(items), .. } => {
                    write!(f, "-{name}:")?;
                    write_items(f, items)?;
                }
                Argument::Value { items, .. } => write_items(f, items)?,
            }
        }
        Ok(())
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[Literal]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        match item.kind {
            LiteralKind::Quoted => write!(f, "'{}'", item.text.replace('\'', "''"))?,
            LiteralKind::Word | LiteralKind::Number(_) => f.write_str(&item.text)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
