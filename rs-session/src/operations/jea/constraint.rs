//! What may stand for a parameter, as both kinds of PowerShell files express it.

use crate::operations::catalog::{Form, Kind, Parameter};

/// A parameter's constraint in PowerShell's terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Constraint {
    /// Present or not.
    Switch,
    /// One of these words.
    Set(Vec<String>),
    /// A regular expression for a whole value.
    Pattern(String),
}

impl Constraint {
    /// The constraint of a parameter.
    #[must_use]
    pub fn of(parameter: &Parameter) -> Self {
        match parameter.kind {
            Kind::Switch => Self::Switch,
            Kind::Choice(words) => Self::Set(words.iter().map(|word| (*word).to_owned()).collect()),
            Kind::Text(Form::Name, chars) => {
                Self::Pattern(format!("\\A(?!/){}", &whole(class(Form::Name), chars)[2..]))
            }
            Kind::Text(form, chars) => Self::Pattern(whole(class(form), chars)),
            Kind::Integer(low, high) => Self::Pattern(integer(low, high)),
            // Values of filters: what would be code for a command that takes script blocks is kept out by its signs.
            _ => Self::Pattern(whole(r"[^\p{Cc}{}$`;|&<>()]", crate::operations::language::VALUE_CHARS_MAX)),
        }
    }
}

/// So many characters of a class and nothing else. `\z` and not `$`, which would let a line break follow.
fn whole(class: &str, chars: usize) -> String {
    format!("\\A{class}{{1,{chars}}}\\z")
}

fn integer(low: i64, high: i64) -> String {
    let digits = low.unsigned_abs().max(high.unsigned_abs()).to_string().len();
    let sign = if low < 0 { "-?" } else { "" };
    format!("\\A{sign}[0-9]{{1,{digits}}}\\z")
}

const fn class(form: Form) -> &'static str {
    match form {
        Form::Name => r"[^\p{Cc}\\:]",
        Form::Exact => r"[\p{L}\p{Nd}_.@: -]",
        Form::Property => r"[\p{L}\p{Nd}_]",
        Form::PropertyPattern => r"[\p{L}\p{Nd}_*?]",
        Form::Identifier => r"[\p{L}\p{Nd}_.:\\*?-]",
        Form::Address => "[0-9A-Fa-f.:%*?]",
        Form::Prefix => "[0-9A-Fa-f.:/*?]",
        // Names of things may have any sign, as in `vEthernet (Compute)`; they are values and never read as code.
        Form::Pattern => r"[^\p{Cc}]",
    }
}
