//! What may stand at the cursor: commands, parameters, fixed words and property names.
//!
//! Completion is a help for typing and decides nothing; what it offers is still judged when the line is sent. It offers
//! only what the session's rights hold.
//!
//! ```
//! use rs_session::operations::{complete, Context};
//! use rs_consent::AccessLevel;
//!
//! let context = Context::new(AccessLevel::Diagnostics);
//! let found = complete("get-proc", &context);
//! assert_eq!((found.start, found.words.as_slice()), (0, &["Get-Process".to_owned()][..]));
//! let found = complete("gps | sort -de", &context);
//! assert_eq!((found.start, found.words.as_slice()), (11, &["-Descending".to_owned()][..]));
//! ```

use rs_consent::AccessLevel;

use super::catalog::{Availability, Catalog, Definition, Entry, Kind, Parameter, Role};
use super::language::LINE_BYTES_MAX;
use super::plan::Context;

/// Most words that are offered at once.
pub const WORDS_MAX: usize = 400;

/// What may take the place of the unfinished word in front of the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Byte at which the unfinished word begins.
    pub start: usize,
    /// Words in order; empty if there is nothing to offer.
    pub words: Vec<String>,
}

/// Offers words for a line that ends at the cursor. A line over [`LINE_BYTES_MAX`] gets none.
#[must_use]
pub fn complete(line: &str, context: &Context) -> Completion {
    if line.len() > LINE_BYTES_MAX || inside_quotes(line) {
        return Completion { start: line.len(), words: Vec::new() };
    }
    let stages: Vec<&str> = line.split('|').collect();
    let stage = stages.last().copied().unwrap_or_default();
    let start = line.len() - word(stage).len();
    let unfinished = &line[start..];
    let before: Vec<&str> = stage[..stage.len() - unfinished.len()].split_whitespace().collect();
    let mut words = match before.first() {
        None => commands(unfinished, stages.len() > 1, context),
        Some(command) => arguments(command, &before[1..], unfinished, &stages, context),
    };
    words.truncate(WORDS_MAX);
    Completion { start, words }
}

/// A quote that is still open; text in quotes is the engineer's own.
fn inside_quotes(line: &str) -> bool {
    let mut open = None;
    for c in line.chars().filter(|c| matches!(c, '\'' | '"')) {
        match open {
            None => open = Some(c),
            Some(quote) if quote == c => open = None,
            Some(_) => {}
        }
    }
    open.is_some()
}

/// The unfinished word at the end: what follows the last blank or comma.
fn word(text: &str) -> &str {
    let end = text.rfind([' ', '\t', ',']).map_or(0, |at| at + 1);
    &text[end..]
}

fn begins(word: &str, start: &str) -> bool {
    word.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start))
}

/// Commands that this node can run in that place, with their aliases if nothing else fits.
fn commands(unfinished: &str, behind_pipe: bool, context: &Context) -> Vec<String> {
    let in_place = |entry: &&Entry| {
        let role = entry.definition.map(|definition| definition.role);
        matches!(role, Some(Role::Filter | Role::Formatter)) == behind_pipe
    };
    let usable = |entry: &&Entry| entry.availability(context.machine) == Availability::Native;
    let entries = context.catalog().permitted(context.level, context.policy).filter(in_place).filter(usable);
    entries.map(|entry| entry.name.clone()).filter(|name| begins(name, unfinished)).collect()
}

fn definition(name: &str, catalog: &Catalog, level: AccessLevel) -> Option<&'static Definition> {
    catalog.resolve(name).filter(|entry| entry.permitted_at(level))?.definition
}

fn arguments(
    command: &str,
    before: &[&str],
    unfinished: &str,
    stages: &[&str],
    context: &Context,
) -> Vec<String> {
    let Some(definition) = definition(command, context.catalog(), context.level) else { return Vec::new() };
    if let Some(start) = unfinished.strip_prefix('-') {
        let names = definition.parameters.iter().map(|parameter| parameter.name);
        return names.filter(|name| begins(name, start)).map(|name| format!("-{name}")).collect();
    }
    let named =
        before.last().and_then(|last| parameter(definition, last.strip_prefix('-')?.trim_end_matches(':')));
    let positional = || definition.parameters.iter().find(|parameter| parameter.position == Some(0));
    match named.filter(|parameter| parameter.kind != Kind::Switch).or_else(positional) {
        None => Vec::new(),
        Some(parameter) => values(parameter, unfinished, stages, context),
    }
}

/// The parameter of a name or an unambiguous beginning.
fn parameter(definition: &'static Definition, name: &str) -> Option<&'static Parameter> {
    let mut fitting = definition.parameters.iter().filter(|own| begins(own.name, name));
    let first = fitting.next()?;
    let exact = definition.parameters.iter().find(|own| own.name.eq_ignore_ascii_case(name));
    exact.or_else(|| fitting.next().is_none().then_some(first))
}

fn values(parameter: &Parameter, unfinished: &str, stages: &[&str], context: &Context) -> Vec<String> {
    use super::catalog::Form;
    let fits = |word: &&str| begins(word, unfinished);
    let owned = |words: &[&str]| words.iter().copied().filter(|word| fits(word)).map(str::to_owned).collect();
    match parameter.kind {
        Kind::Choice(words) => owned(words),
        Kind::Text(Form::Property | Form::PropertyPattern, _) => owned(properties(stages, context)),
        Kind::Text(Form::Identifier, _) => {
            let entries = context.catalog().permitted(context.level, context.policy);
            entries.map(|entry| entry.name.as_str()).filter(fits).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Properties of what the line's source gives.
fn properties(stages: &[&str], context: &Context) -> &'static [&'static str] {
    let source = stages.first().and_then(|stage| stage.split_whitespace().next());
    let definition = source.and_then(|name| definition(name, context.catalog(), context.level));
    definition.map_or(&[], |definition| definition.properties)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operations::catalog::{Machine, Systems};

    fn offered(line: &str) -> Vec<String> {
        let machine = Machine { native: Systems::ALL, power_shell: false };
        complete(line, &Context { machine, ..Context::new(AccessLevel::Diagnostics) }).words
    }

    #[test]
    fn e04_words_follow_their_place() {
        assert_eq!(
            offered("Get-NetI"),
            ["Get-NetIPAddress", "Get-NetIPInterface", "Get-NetIPv4Protocol", "Get-NetIPv6Protocol"]
        );
        assert_eq!(offered("gps | so"), ["Sort-Object"]);
        assert_eq!(offered("gps | Get-Pro"), Vec::<String>::new());
        assert_eq!(offered("Stop-Ser"), Vec::<String>::new(), "not at this level");
        assert_eq!(
            offered("Get-V"),
            ["Get-VirtualDisk", "Get-Volume", "Get-VolumeCorruptionCount"],
            "only what runs here"
        );
        assert_eq!(offered("Get-Process -n"), ["-Name"]);
        assert_eq!(offered("gps | sort c"), ["CPU"]);
        assert_eq!(offered("gps | ft Name, proc"), ["ProcessName"]);
        assert_eq!(offered("gps | ? sta"), ["StartTime", "State"]);
        assert_eq!(offered("Get-NetTCPConnection -State li"), ["Listen"]);
        assert_eq!(offered("help get-da"), ["Get-Date"]);
        assert_eq!(offered("gps 'c"), Vec::<String>::new());
        assert_eq!(offered("nonsense -x"), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn sec44_completion_takes_any_text(line in any::<String>()) {
            let found = complete(&line, &Context::new(AccessLevel::Diagnostics));
            prop_assert!(line.is_char_boundary(found.start) && found.words.len() <= WORDS_MAX);
        }
    }
}
