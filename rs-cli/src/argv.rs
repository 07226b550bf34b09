//! PowerShell spelling on the command line.
//!
//! The product's users know `Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440`. clap knows neither
//! `-AccessLevel` nor names without regard to case, so the arguments are rewritten before clap sees them, by walking
//! clap's own [`Command`] tree: there is no second list of commands or options that could drift from the first.
//!
//! | written | becomes |
//! | --- | --- |
//! | `Enable-RemoteSupport`, `enable-remotesupport` | `enable` (any alias, any case) |
//! | `-AccessLevel X`, `-accesslevel:X`, `-Acc X` | `--access-level=X` (unique prefixes; values attached, so that `-FromDate -7d` works) |
//! | `-IncludeExpired`, `-IncludeExpired:$true` | `--include-expired` |
//! | `-IncludeExpired:$false` | nothing |
//! | `-?` | `--help` |
//!
//! GNU spelling passes untouched, as do short options of one letter, numbers such as `-5`, and all after `--`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// Options that would carry a secret. They are refused before anything can print their value: a command line is
/// readable by every user of the machine.
const SECRET_NAMES: &[&str] = &["sascredential"];

/// Furthest spelling distance at which a name is offered as a correction.
const SUGGESTION_DISTANCE_MAX: usize = 4;

/// Why the arguments cannot be understood. The texts are those of PowerShell, whose users write these names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgvError {
    /// No parameter of the command begins with this name.
    #[error("{command}: A parameter cannot be found that matches parameter name '{name}'.{}", hint(.suggestion.as_ref()))]
    Unknown {
        /// The command as it is called here, for example `enable`.
        command: String,
        /// The name as it was written, without the dash.
        name: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// More than one parameter begins with this name.
    #[error(
        "{command}: Parameter cannot be processed because the parameter name '{name}' is ambiguous. \
         Possible matches include: {}.", .matches.join(" ")
    )]
    Ambiguous {
        /// The command as it is called here.
        command: String,
        /// The name as it was written, without the dash.
        name: String,
        /// The candidates, each with its dash, in order of declaration.
        matches: Vec<String>,
    },
    /// A parameter that takes a value stands without one.
    #[error(
        "{command}: Missing an argument for parameter '{name}'. Specify a value and try again; \
         a value that begins with a dash is written -{name}:VALUE."
    )]
    MissingArgument {
        /// The command as it is called here.
        command: String,
        /// The full name of the parameter.
        name: String,
    },
    /// A switch was given something other than true or false.
    #[error(
        "{command}: Cannot convert the value of switch '{name}' to true or false. Accepted values: $true, $false, 1, 0."
    )]
    NotASwitchValue {
        /// The command as it is called here.
        command: String,
        /// The full name of the switch.
        name: String,
    },
    /// A secret was about to be passed on the command line. Its value is not repeated.
    #[error(
        "'{name}' is not accepted: other users of this machine can read a command line. Write the credential to a \
         file that only you can read and name it with --{name}-file, or pass it on standard input with --{name}-file -."
    )]
    SecretOnCommandLine {
        /// The option in GNU spelling, without dashes.
        name: &'static str,
    },
}

fn hint(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" Did you mean '-{name}'?"))
}

/// Rewrites `args` (the program's name first) from PowerShell spelling to the one that `command` parses.
///
/// Arguments already in GNU spelling come out as they went in, so the function can be applied twice.
///
/// # Errors
///
/// [`ArgvError`], where a `-Name` cannot be matched with exactly one parameter, lacks its value, or carries a secret.
///
/// # Examples
///
/// ```
/// use clap::{Arg, Command};
///
/// let program = Command::new("demo")
///     .subcommand(Command::new("enable").alias("Enable-RemoteSupport").arg(Arg::new("level").long("access-level")));
/// let args = ["demo", "ENABLE-RemoteSupport", "-AccessLevel", "Diagnostics"].map(Into::into);
/// assert_eq!(rs_cli::argv::rewrite(&program, args)?, ["demo", "enable", "--access-level=Diagnostics"]);
/// # Ok::<(), rs_cli::argv::ArgvError>(())
/// ```
pub fn rewrite(
    command: &Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, ArgvError> {
    let mut built = command.clone();
    built.build();
    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let mut scope = &built;
    let mut rest = args.peekable();
    while let Some(token) = rest.next() {
        match Token::of(&token) {
            Token::End => {
                out.push(token);
                out.extend(rest.by_ref());
            }
            Token::Gnu { name } => {
                refuse_secret(name)?;
                let takes_next = takes_next_value(scope, &token);
                out.push(token);
                if takes_next {
                    out.extend(rest.next());
                }
            }
            Token::Help => out.push("--help".into()),
            Token::PowerShell { name, value } => match find(scope, name)? {
                Some(arg) => parameter(scope, arg, value, &mut rest, &mut out)?,
                None => out.push(token),
            },
            Token::Other => match subcommand(scope, &token) {
                Some(found) => {
                    out.push(found.get_name().into());
                    // What follows `help` are commands again, and its own copies of them have no aliases.
                    if found.get_name() != "help" {
                        scope = found;
                    }
                }
                None => out.push(token),
            },
        }
    }
    Ok(out)
}

/// What one argument looks like, before the command tree is asked.
enum Token<'a> {
    /// `--`: everything after it is a value.
    End,
    /// `--name`, `--name=value` or `-x`.
    Gnu { name: &'a str },
    /// `-?`
    Help,
    /// `-Name`, `-Name:value` or `-Name=value` with a name of two letters or more.
    PowerShell { name: &'a str, value: Option<&'a str> },
    /// A value, a command, or text that is not Unicode.
    Other,
}

impl<'a> Token<'a> {
    fn of(token: &'a OsStr) -> Self {
        let Some(text) = token.to_str() else { return Self::Other };
        if text == "--" {
            return Self::End;
        }
        if let Some(long) = text.strip_prefix("--") {
            return Self::Gnu { name: split_value(long).0 };
        }
        let Some(body) = text.strip_prefix('-') else { return Self::Other };
        if body == "?" {
            return Self::Help;
        }
        if !body.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Self::Other;
        }
        if body.len() == 1 {
            return Self::Gnu { name: body };
        }
        let (name, value) = split_value(body);
        Self::PowerShell { name, value }
    }

    /// Whether the argument can only be the next parameter, never a value for the one before.
    fn is_parameter(token: &OsStr) -> bool {
        !matches!(Token::of(token), Token::Other)
    }
}

fn split_value(text: &str) -> (&str, Option<&str>) {
    match text.find([':', '=']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn refuse_secret(name: &str) -> Result<(), ArgvError> {
    if SECRET_NAMES.contains(&plain(name).as_str()) {
        return Err(ArgvError::SecretOnCommandLine { name: "sas-credential" });
    }
    Ok(())
}

/// The form in which names are compared: without hyphens and case, so that `AccessLevel` is `access-level`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect()
}

fn subcommand<'a>(scope: &'a Command, token: &OsStr) -> Option<&'a Command> {
    let text = token.to_str()?;
    scope.get_subcommands().find(|candidate| {
        candidate.get_name().eq_ignore_ascii_case(text)
            || candidate.get_all_aliases().any(|alias| alias.eq_ignore_ascii_case(text))
    })
}

fn longs(arg: &Arg) -> impl Iterator<Item = &str> {
    arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default())
}

/// The parameter that `name` stands for; `None` where it is a cluster of clap's short options.
fn find<'a>(scope: &'a Command, name: &str) -> Result<Option<&'a Arg>, ArgvError> {
    refuse_secret(name)?;
    let wanted = plain(name);
    let exact = scope.get_arguments().find(|arg| longs(arg).any(|long| plain(long) == wanted));
    if exact.is_some() {
        return Ok(exact);
    }
    let found: Vec<&Arg> =
        scope.get_arguments().filter(|arg| longs(arg).any(|long| plain(long).starts_with(&wanted))).collect();
    match found.as_slice() {
        [one] => Ok(Some(one)),
        [] if is_short_cluster(scope, name) => Ok(None),
        [] => Err(ArgvError::Unknown {
            command: scope.get_name().to_owned(),
            name: name.to_owned(),
            suggestion: nearest(scope, &wanted),
        }),
        many => Err(ArgvError::Ambiguous {
            command: scope.get_name().to_owned(),
            name: name.to_owned(),
            matches: many
                .iter()
                .filter_map(|arg| arg.get_long())
                .map(|long| format!("-{}", pascal(long)))
                .collect(),
        }),
    }
}

fn is_short_cluster(scope: &Command, name: &str) -> bool {
    let short = |wanted: char| scope.get_arguments().find(|arg| arg.get_short() == Some(wanted));
    name.chars().next().and_then(short).is_some_and(|first| first.get_action().takes_values())
        || name.chars().all(|letter| short(letter).is_some())
}

fn nearest(scope: &Command, wanted: &str) -> Option<String> {
    scope
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| arg.get_long())
        .map(|long| (distance(wanted, &plain(long)), long))
        .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE_MAX.min(wanted.len() / 2))
        .min()
        .map(|(_, long)| pascal(long))
}

/// Edits (insert, delete, replace) that turn one text into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// `access-level` as PowerShell writes it: `AccessLevel`.
fn pascal(long: &str) -> String {
    long.split('-')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

fn optional_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

/// Whether clap will take the argument after this GNU option as its value.
fn takes_next_value(scope: &Command, token: &OsStr) -> bool {
    let Some(text) = token.to_str() else { return false };
    let matched = |arg: &&Arg| match text.strip_prefix("--") {
        Some(long) => longs(arg).any(|candidate| candidate == long),
        None => text.chars().nth(1).is_some_and(|short| arg.get_short() == Some(short)),
    };
    scope.get_arguments().find(matched).is_some_and(|arg| {
        arg.get_action().takes_values() && !arg.is_require_equals_set() && !optional_value(arg)
    })
}

type Rest<'r, I> = &'r mut std::iter::Peekable<I>;

/// Emits the GNU form of one matched parameter.
fn parameter<I: Iterator<Item = OsString>>(
    scope: &Command,
    arg: &Arg,
    attached: Option<&str>,
    rest: Rest<'_, I>,
    out: &mut Vec<OsString>,
) -> Result<(), ArgvError> {
    let Some(long) = arg.get_long() else { return Ok(()) };
    if is_switch(arg) {
        if switch_value(scope, long, attached, rest)? {
            out.push(format!("--{long}").into());
        } else if optional_value(arg) && arg.get_action().takes_values() {
            out.push(format!("--{long}=false").into());
        }
        return Ok(());
    }
    let value = match attached.filter(|value| !value.is_empty()) {
        Some(value) => OsString::from(value),
        None => rest.next_if(|next| !Token::is_parameter(next)).ok_or_else(|| {
            ArgvError::MissingArgument { command: scope.get_name().to_owned(), name: pascal(long) }
        })?,
    };
    let mut token = OsString::from(format!("--{long}="));
    token.push(value);
    out.push(token);
    Ok(())
}

fn is_switch(arg: &Arg) -> bool {
    optional_value(arg)
        || matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Help | ArgAction::Version)
}

/// The value of a switch: attached, or `$true`/`$false` as the next argument, as many written examples have it.
fn switch_value<I: Iterator<Item = OsString>>(
    scope: &Command,
    long: &str,
    attached: Option<&str>,
    rest: Rest<'_, I>,
) -> Result<bool, ArgvError> {
    let next =
        rest.next_if(|next| attached.unwrap_or_default().is_empty() && (next == "$true" || next == "$false"));
    let text = match (attached, &next) {
        (None, None) => return Ok(true),
        (_, Some(next)) => next.to_str().unwrap_or_default(),
        (Some(attached), None) => attached,
    };
    match text.trim_start_matches('$').to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ArgvError::NotASwitchValue { command: scope.get_name().to_owned(), name: pascal(long) }),
    }
}
