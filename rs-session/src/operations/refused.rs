//! Why a line does not run: one code, one place, one sentence that says what to do.
//!
//! Parser and planner give the same type, so that a refusal on record looks the same wherever it was decided.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares [`Code`] with its kebab-case names in one place.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, $cause:literal, $remedy:literal;)+) => {
        /// Reason code of a refusal, stable and kebab-case in every output.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as it is written on record.
            ///
            /// ```
            /// use rs_session::operations::Code;
            /// assert_eq!(Code::ScriptBlock.as_str(), "script-block");
            /// ```
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What it means, as a sentence without full stop.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self {
                    $(Self::$variant => $cause,)+
                }
            }

            /// What the engineer can do, as a sentence without full stop.
            ///
            /// ```
            /// use rs_session::operations::Code;
            /// assert_eq!(Code::EmptyStage.remedy(), "leave out the pipe that is too many");
            /// ```
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)+
                }
            }
        }
    };
}

codes! {
    /// The line holds nothing to run.
    Empty = "empty", "the line holds nothing to run", "write a command; `Get-Command` lists what is permitted";
    /// The line is longer than [`LINE_BYTES_MAX`](super::language::LINE_BYTES_MAX).
    LineTooLong = "line-too-long", "the line is longer than permitted", "split the work over several lines";
    /// More stages than [`STAGES_MAX`](super::language::STAGES_MAX).
    TooManyStages = "too-many-stages", "the pipeline has more stages than permitted", "split the work over several lines";
    /// More arguments than [`ARGUMENTS_MAX`](super::language::ARGUMENTS_MAX).
    TooManyArguments = "too-many-arguments", "the line has more arguments than permitted", "split the work over several lines";
    /// A value longer than [`VALUE_CHARS_MAX`](super::language::VALUE_CHARS_MAX).
    ValueTooLong = "value-too-long", "a value is longer than permitted", "give a shorter value";
    /// A control character, such as ESC or NUL.
    ControlCharacter = "control-character", "the line holds a control character, such as ESC or NUL", "type the line again instead of pasting it";
    /// A line break: one line is one pipeline.
    LineBreak = "line-break", "the line holds a line break; one line is one pipeline", "give each line on its own";
    /// A character that is invisible or changes the direction of text.
    InvisibleCharacter = "invisible-character", "the line holds a character that is invisible or changes the direction of text", "type the line again instead of pasting it";
    /// A typographic quote.
    UnicodeQuote = "unicode-quote", "the line holds a typographic quote", "write ' or \"";
    /// A typographic dash.
    UnicodeDash = "unicode-dash", "the line holds a typographic dash", "write - before a parameter";
    /// A space that is not U+0020.
    UnicodeSpace = "unicode-space", "the line holds a blank that is not the ordinary one", "write an ordinary blank";
    /// A character that has no place outside quotes.
    UnexpectedCharacter = "unexpected-character", "a character stands where none of its kind may", "put the text in single quotes if it is meant as it stands";
    /// A variable, `$name`.
    Variable = "variable", "variables are not part of the language of sessions", "write the value itself";
    /// A sub-expression, `$( )`.
    SubExpression = "sub-expression", "sub-expressions are not part of the language of sessions", "run the inner command first, and write its result";
    /// Something that PowerShell would expand inside double quotes.
    Expansion = "expansion", "PowerShell would expand something inside the double quotes", "use single quotes";
    /// An array or sub-pipeline, `@( )`.
    ArrayExpression = "array-expression", "array expressions are not part of the language of sessions", "write the values with commas between them";
    /// A hash table, `@{ }`.
    HashTable = "hash-table", "hash tables are not part of the language of sessions", "name properties by their names alone";
    /// Splatting, `@name`.
    Splatting = "splatting", "splatting is not part of the language of sessions", "write each parameter";
    /// A here-string, `@' '@` or `@" "@`.
    HereString = "here-string", "here-strings are not part of the language of sessions", "write the text in single quotes on one line";
    /// A script block, `{ }`.
    ScriptBlock = "script-block", "script blocks are not part of the language of sessions", "write comparisons as in `Where-Object CPU -gt 10`";
    /// An expression: parentheses, arithmetic, a literal in the place of a command.
    Expression = "expression", "expressions are not part of the language of sessions", "begin with a command";
    /// A type literal or an index, `[ ]`.
    TypeOrIndex = "type-or-index", "types and indexes are not part of the language of sessions", "use Select-Object with -First, -Last or the names of properties";
    /// A statement separator, `;`.
    Separator = "separator", "one line runs one pipeline", "give each pipeline on a line of its own";
    /// `&&` or `||`.
    ChainOperator = "chain-operator", "one line runs one pipeline, whatever became of another", "give each pipeline on a line of its own";
    /// `& command` or `. command`.
    CallOperator = "call-operator", "commands are called by their name alone", "write the name of the command without the sign before it";
    /// A trailing `&`.
    Background = "background", "nothing runs in the background of a session", "leave out the last &";
    /// A redirection, `>` or `<`.
    Redirection = "redirection", "sessions write no files and read none", "leave out the redirection; your client keeps a copy of the record";
    /// A backtick.
    EscapeCharacter = "escape-character", "the backtick is not part of the language of sessions", "put the text in single quotes";
    /// A comment: text that hides what runs.
    Comment = "comment", "comments are not part of the language of sessions", "leave out the comment";
    /// An assignment, `name = value`.
    Assignment = "assignment", "assignments are not part of the language of sessions", "write the value itself where it is needed";
    /// `--%`, the stop-parsing token.
    StopParsing = "stop-parsing", "--% is not part of the language of sessions", "leave it out";
    /// A parameter that does not begin with one dash and a letter.
    BadParameter = "bad-parameter", "a parameter does not begin with one dash and a letter", "write it as -Name";
    /// A command name with a path in it, or the name of a program.
    PathAsCommand = "path-as-command", "a path or a program stands in the place of a command", "write the name of a listed command; `Get-Command` shows them";
    /// A command name that is no name.
    BadCommandName = "bad-command-name", "what stands in the place of a command is no name of one", "write the name of a listed command; `Get-Command` shows them";
    /// A keyword of the language, such as `if` or `function`.
    Keyword = "keyword", "keywords are not part of the language of sessions", "write commands with pipes between them";
    /// Nothing between two pipes, or after the last one.
    EmptyStage = "empty-stage", "nothing stands between two pipes, or after the last one", "leave out the pipe that is too many";
    /// A quote without its other half.
    UnterminatedString = "unterminated-string", "a quote has no other half", "close the quote";
    /// A quote inside a word, or text directly after a closing quote.
    QuoteInWord = "quote-in-word", "a quote stands inside a word, or text directly after a closing quote", "put the whole value in quotes";
    /// A comma without a value before or after it.
    BadArray = "bad-array", "a comma has no value before or after it", "write values as a,b,c";
    /// A number that does not fit.
    BadNumber = "bad-number", "a number does not fit", "give a smaller one";

    /// No command of that name is published.
    UnknownCommand = "unknown-command", "no command of that name is published", "look for its name with `Get-Command`";
    /// The command exists, but this level does not permit it.
    NotPermitted = "not-permitted", "the command exists, but this level does not permit it", "use what `Get-Command` lists, or ask the owner by `Request-AccessLevel`";
    /// The command is permitted at a higher level only.
    NeedsRepair = "needs-repair", "the command is permitted at a higher level only", "ask the owner by `Request-AccessLevel DiagnosticsRepair`";
    /// The owner's policy takes it away.
    PolicyExcludes = "policy-excludes", "the owner's choice of what a level permits takes this command away", "ask the owner; `enable --strict-read-only=false` permits the list as it is published";
    /// Permitted, but this node cannot run it.
    NotAvailable = "not-available", "the command is permitted, but nothing on this node can answer it", "use another command; `remote-support operations` says what answers each here, and why not";
    /// The command has no such parameter.
    UnknownParameter = "unknown-parameter", "the command has no such parameter", "see `Get-Help` of the command for those that are open";
    /// The beginning of several parameters.
    AmbiguousParameter = "ambiguous-parameter", "what was written is the beginning of several parameters", "write the parameter in full";
    /// A real parameter of the command, but one that is not open here.
    ParameterNotPermitted = "parameter-not-permitted", "the command has this parameter, but it is not open here", "leave it out; `Get-Help` of the command lists those that are open";
    /// A parameter without its value.
    MissingValue = "missing-value", "a parameter has no value", "give its value behind it";
    /// A parameter that must be given.
    MissingParameter = "missing-parameter", "a parameter that must be given is missing", "give the parameter that the message names";
    /// A parameter given twice.
    DuplicateParameter = "duplicate-parameter", "a parameter is given twice", "give it once";
    /// A value that no parameter takes.
    UnexpectedArgument = "unexpected-argument", "no parameter takes this value", "name the parameter that it is for, or leave it out";
    /// A value of the wrong type.
    WrongType = "wrong-type", "a value is of another type than its parameter", "give a value of the type that the message names";
    /// A value outside the range, set or pattern of its parameter.
    OutOfConstraint = "out-of-constraint", "a value is outside the range, set or pattern of its parameter", "give one that the message permits";
    /// A comparison that is not open here.
    OperatorNotPermitted = "operator-not-permitted", "more than one comparison is given, or one without its value", "give one comparison with its value, such as -gt 10, and put a second Where-Object behind a pipe";
    /// A command that only works on input stands first.
    NeedsInput = "needs-input", "a command that only works on input stands first", "put a command before it whose results it is to work on";
    /// A command that takes no input stands behind a pipe.
    TakesNoInput = "takes-no-input", "a command that takes no input stands behind a pipe", "give it on a line of its own";
    /// Something stands behind a formatter.
    AfterFormat = "after-format", "something stands behind a formatter, which gives text and no objects", "put the formatter last";
    /// A command that must stand alone has company.
    StandsAlone = "stands-alone", "a command that must stand alone has company", "give it on a line of its own";
    /// A service that nobody may stop or start from outside.
    ProtectedService = "protected-service", "nobody may stop or start this service from outside", "ask the owner to do it on the node";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line that does not run: nothing was started, opened or read for it.
///
/// ```
/// use rs_session::operations::{parse, Code};
/// let refused = parse("Get-Process; Get-Date").unwrap_err();
/// assert_eq!((refused.code, refused.column), (Code::Separator, 12));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (column {column}, {code})")]
pub struct Refused {
    /// Why, for programs.
    pub code: Code,
    /// Where in the line, counted in characters from 1.
    pub column: u32,
    /// Why and what to do next, for people; harmless to print.
    pub message: String,
}

impl Refused {
    /// A refusal at `column` (from 1, in characters).
    #[must_use]
    pub fn new(code: Code, column: u32, message: impl Into<String>) -> Self {
        Self { code, column, message: super::objects::harmless(&message.into()).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_one_spelling() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
