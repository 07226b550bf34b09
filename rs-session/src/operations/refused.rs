//! Why a line does not run: one code, one place, one sentence that says what to do.
//!
//! Parser and planner give the same type, so that a refusal on record looks the same wherever it was decided.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares [`Code`] with its kebab-case names in one place.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
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
        }
    };
}

codes! {
    /// The line holds nothing to run.
    Empty = "empty",
    /// The line is longer than [`LINE_BYTES_MAX`](super::language::LINE_BYTES_MAX).
    LineTooLong = "line-too-long",
    /// More stages than [`STAGES_MAX`](super::language::STAGES_MAX).
    TooManyStages = "too-many-stages",
    /// More arguments than [`ARGUMENTS_MAX`](super::language::ARGUMENTS_MAX).
    TooManyArguments = "too-many-arguments",
    /// A value longer than [`VALUE_CHARS_MAX`](super::language::VALUE_CHARS_MAX).
    ValueTooLong = "value-too-long",
    /// A control character, such as ESC or NUL.
    ControlCharacter = "control-character",
    /// A line break: one line is one pipeline.
    LineBreak = "line-break",
    /// A character that is invisible or changes the direction of text.
    InvisibleCharacter = "invisible-character",
    /// A typographic quote.
    UnicodeQuote = "unicode-quote",
    /// A typographic dash.
    UnicodeDash = "unicode-dash",
    /// A space that is not U+0020.
    UnicodeSpace = "unicode-space",
    /// A character that has no place outside quotes.
    UnexpectedCharacter = "unexpected-character",
    /// A variable, `$name`.
    Variable = "variable",
    /// A sub-expression, `$( )`.
    SubExpression = "sub-expression",
    /// Something that PowerShell would expand inside double quotes.
    Expansion = "expansion",
    /// An array or sub-pipeline, `@( )`.
    ArrayExpression = "array-expression",
    /// A hash table, `@{ }`.
    HashTable = "hash-table",
    /// Splatting, `@name`.
    Splatting = "splatting",
    /// A here-string, `@' '@` or `@" "@`.
    HereString = "here-string",
    /// A script block, `{ }`.
    ScriptBlock = "script-block",
    /// An expression: parentheses, arithmetic, a literal in the place of a command.
    Expression = "expression",
    /// A type literal or an index, `[ ]`.
    TypeOrIndex = "type-or-index",
    /// A statement separator, `;`.
    Separator = "separator",
    /// `&&` or `||`.
    ChainOperator = "chain-operator",
    /// `& command` or `. command`.
    CallOperator = "call-operator",
    /// A trailing `&`.
    Background = "background",
    /// A redirection, `>` or `<`.
    Redirection = "redirection",
    /// A backtick.
    EscapeCharacter = "escape-character",
    /// A comment: text that hides what runs.
    Comment = "comment",
    /// An assignment, `name = value`.
    Assignment = "assignment",
    /// `--%`, the stop-parsing token.
    StopParsing = "stop-parsing",
    /// A parameter that does not begin with one dash and a letter.
    BadParameter = "bad-parameter",
    /// A command name with a path in it, or the name of a program.
    PathAsCommand = "path-as-command",
    /// A command name that is no name.
    BadCommandName = "bad-command-name",
    /// A keyword of the language, such as `if` or `function`.
    Keyword = "keyword",
    /// Nothing between two pipes, or after the last one.
    EmptyStage = "empty-stage",
    /// A quote without its other half.
    UnterminatedString = "unterminated-string",
    /// A quote inside a word, or text directly after a closing quote.
    QuoteInWord = "quote-in-word",
    /// A comma without a value before or after it.
    BadArray = "bad-array",
    /// A number that does not fit.
    BadNumber = "bad-number",

    /// No command of that name is published.
    UnknownCommand = "unknown-command",
    /// The command exists, but this level does not permit it.
    NotPermitted = "not-permitted",
    /// The command is permitted at a higher level only.
    NeedsRepair = "needs-repair",
    /// The owner's policy takes it away.
    PolicyExcludes = "policy-excludes",
    /// Permitted, but this node cannot run it.
    NotAvailable = "not-available",
    /// The command has no such parameter.
    UnknownParameter = "unknown-parameter",
    /// The beginning of several parameters.
    AmbiguousParameter = "ambiguous-parameter",
    /// A real parameter of the command, but one that is not open here.
    ParameterNotPermitted = "parameter-not-permitted",
    /// A parameter without its value.
    MissingValue = "missing-value",
    /// A parameter that must be given.
    MissingParameter = "missing-parameter",
    /// A parameter given twice.
    DuplicateParameter = "duplicate-parameter",
    /// A value that no parameter takes.
    UnexpectedArgument = "unexpected-argument",
    /// A value of the wrong type.
    WrongType = "wrong-type",
    /// A value outside the range, set or pattern of its parameter.
    OutOfConstraint = "out-of-constraint",
    /// A comparison that is not open here.
    OperatorNotPermitted = "operator-not-permitted",
    /// A command that only works on input stands first.
    NeedsInput = "needs-input",
    /// A command that takes no input stands behind a pipe.
    TakesNoInput = "takes-no-input",
    /// Something stands behind a formatter.
    AfterFormat = "after-format",
    /// A command that must stand alone has company.
    StandsAlone = "stands-alone",
    /// A service that nobody may stop or start from outside.
    ProtectedService = "protected-service",
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
