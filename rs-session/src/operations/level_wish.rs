//! `Request-AccessLevel`: the engineer asks the operator for a higher level (E08).
//!
//! It is a command of the session, not one of the published operations: nothing of the node is touched. The line waits
//! until the operator has answered. A Yes is a fresh consent that the operator gives on the node itself, and it holds for
//! sessions that begin after it; the session that asked keeps its level to its end.

use rs_consent::AccessLevel;
use serde::{Deserialize, Serialize};

use super::catalog::REQUEST_ACCESS_LEVEL as DEFINITION;
use super::language::{self, Command};
use super::plan::bind;
use super::refused::{Code, Refused};
#[cfg(feature = "driver")]
use crate::protocol::Offered;

/// Name of the command.
pub const NAME: &str = "Request-AccessLevel";
/// Longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 256;

/// What the engineer asks for.
///
/// ```
/// use rs_consent::AccessLevel;
/// use rs_session::operations::level_wish;
///
/// let line = "request-accesslevel DiagnosticsRepair -Reason 'cron hangs'";
/// let wish = level_wish::read(line, AccessLevel::Diagnostics).unwrap().unwrap();
/// assert_eq!((wish.level, wish.reason.as_str()), (AccessLevel::DiagnosticsRepair, "cron hangs"));
/// assert!(level_wish::read("Get-Date", AccessLevel::Diagnostics).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct LevelWish {
    /// The level that is asked for; higher than that of the session.
    pub level: AccessLevel,
    /// Why, in the engineer's words; at most [`REASON_CHARS_MAX`] characters.
    pub reason: String,
}

impl LevelWish {
    /// What the engineer is told when the operator has given the level.
    #[must_use]
    pub fn granted(&self) -> String {
        format!(
            "The operator granted the level {}. It holds for new sessions: leave this one and connect again.\n",
            self.level
        )
    }
}

/// The command as the engineer's client lists it.
#[cfg(feature = "driver")]
pub(crate) fn offered() -> Option<Offered> {
    Some(Offered { available: true, ..Offered::of_definition(&DEFINITION) })
}

/// The wish in a line of a session at `level`; `None` if the line is another command, or none at all.
///
/// # Errors
/// [`Refused`] for a pipeline, unknown or missing parameters, and a level that the session has already.
pub fn read(line: &str, level: AccessLevel) -> Option<Result<LevelWish, Refused>> {
    let pipeline = language::parse(line).ok()?;
    let command = pipeline.stages.first().filter(|command| is_wish(command))?;
    if pipeline.stages.len() > 1 {
        let message = format!("{NAME} stands alone on its line");
        return Some(Err(Refused::new(Code::StandsAlone, command.column, message)));
    }
    Some(wish(command, level))
}

fn is_wish(command: &Command) -> bool {
    let module = command.module.as_deref().is_none_or(|name| name.eq_ignore_ascii_case(DEFINITION.module));
    module && command.name.eq_ignore_ascii_case(NAME)
}

fn wish(command: &Command, level: AccessLevel) -> Result<LevelWish, Refused> {
    let call = bind::bind(command, &DEFINITION)?;
    let refuse = |code, message: &str| Refused::new(code, command.column, message);
    let wanted: AccessLevel = call
        .text("AccessLevel")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| refuse(Code::OutOfConstraint, "the level is not known; ask for DiagnosticsRepair"))?;
    if wanted <= level {
        return Err(refuse(Code::OutOfConstraint, "this session has that level already"));
    }
    let reason = call.text("Reason").unwrap_or_default().trim().to_owned();
    if reason.is_empty() {
        return Err(refuse(Code::MissingValue, "say why the level is needed, as in: -Reason 'cron hangs'"));
    }
    Ok(LevelWish { level: wanted, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_diagnostics(line: &str) -> Result<LevelWish, Code> {
        let read = read(line, AccessLevel::Diagnostics).expect("it is the command");
        read.map_err(|refused| refused.code)
    }

    #[test]
    fn e08_the_wish_is_read_as_powershell_would() {
        for line in [
            "Request-AccessLevel DiagnosticsRepair 'disk is full'",
            "request-accesslevel -reason:'disk is full' -AccessLevel diagnosticsrepair",
            "RemoteSupport\\Request-AccessLevel -Acc DiagnosticsRepair -r \"disk is full\"",
        ] {
            let wish = at_diagnostics(line).expect(line);
            assert_eq!((wish.level, wish.reason.as_str()), (AccessLevel::DiagnosticsRepair, "disk is full"));
        }
    }

    #[test]
    fn e08_what_is_no_wish_is_refused() {
        for (line, code) in [
            ("Request-AccessLevel", Code::MissingParameter),
            ("Request-AccessLevel DiagnosticsRepair", Code::MissingParameter),
            ("Request-AccessLevel DiagnosticsRepair ' '", Code::MissingValue),
            ("Request-AccessLevel Diagnostics x", Code::OutOfConstraint),
            ("Request-AccessLevel DiagnosticsRepair x | ft", Code::StandsAlone),
            ("Request-AccessLevel DiagnosticsRepair x -Force", Code::ParameterNotPermitted),
        ] {
            assert_eq!(at_diagnostics(line), Err(code), "{line}");
        }
        let have = read("Request-AccessLevel DiagnosticsRepair x", AccessLevel::DiagnosticsRepair);
        assert_eq!(have.unwrap().unwrap_err().code, Code::OutOfConstraint);
    }

    #[test]
    fn e08_a_reason_has_its_limit_and_no_character_more() {
        let line = |chars| format!("Request-AccessLevel DiagnosticsRepair '{}'", "x".repeat(chars));
        assert_eq!(at_diagnostics(&line(REASON_CHARS_MAX)).unwrap().reason.len(), REASON_CHARS_MAX);
        assert!(at_diagnostics(&line(REASON_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn other_lines_are_not_looked_at() {
        for line in ["Get-Date", "", "Get-Date; x", "Other\\Request-AccessLevel DiagnosticsRepair x"] {
            assert!(read(line, AccessLevel::Diagnostics).is_none(), "{line}");
        }
    }
}
