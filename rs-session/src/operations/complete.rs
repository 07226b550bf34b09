//! What may stand at the cursor: commands, parameters, fixed words and property names.
//!
//! Completion is a help for typing and decides nothing; what it offers is still judged when the line is sent. It works
//! on what the node offered ([`Offered`]), so that it never offers what that node does not have.
//!
//! ```
//! use rs_session::operations::{complete, offered, Context};
//! use rs_consent::AccessLevel;
//!
//! let offered = offered(&Context::new(AccessLevel::Diagnostics));
//! let found = complete("get-proc", &offered);
//! assert_eq!((found.start, found.words.as_slice()), (0, &["Get-Process".to_owned()][..]));
//! let found = complete("gps | select Id, CPU | sort -Property c", &offered);
//! assert_eq!((found.start, found.words.as_slice()), (38, &["CPU".to_owned()][..]));
//! ```

use super::language::{Argument, Command, LINE_BYTES_MAX, Literal, parse};
use super::offered::{Offered, OfferedParameter, Place, Takes};

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

/// Offers words for a line that ends at the cursor. A line over [`LINE_BYTES_MAX`] or with an open quote gets none.
#[must_use]
pub fn complete(line: &str, offered: &[Offered]) -> Completion {
    let nothing = Completion { start: line.len(), words: Vec::new() };
    let Some(stages) = (line.len() <= LINE_BYTES_MAX).then(|| stages(line)).flatten() else { return nothing };
    let Some((stage, before)) = stages.split_last() else { return nothing };
    let unfinished = unfinished(stage);
    let words: Vec<&str> = stage[..stage.len() - unfinished.len()].split_whitespace().collect();
    let place = if before.is_empty() { Place::First } else { Place::Behind };
    let mut found = match words.split_first() {
        None => commands(unfinished, place, offered),
        Some((command, words)) => match find(command, offered) {
            Some(command) => argument(command, words, unfinished, before, offered),
            None => Vec::new(),
        },
    };
    found.truncate(WORDS_MAX);
    Completion { start: line.len() - unfinished.len(), words: found }
}

/// The line's stages; `None` if a quote is still open, since text in quotes is the engineer's own.
fn stages(line: &str) -> Option<Vec<&str>> {
    let (mut open, mut start, mut stages) = (None, 0, Vec::new());
    for (at, c) in line.char_indices() {
        match (open, c) {
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            (None, '|') => {
                stages.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    stages.push(&line[start..]);
    open.is_none().then_some(stages)
}

/// The unfinished word at the end: what follows the last blank or comma, or the colon of `-Name:`.
fn unfinished(stage: &str) -> &str {
    let start = stage.rfind([' ', '\t', ',']).map_or(0, |at| at + 1);
    let word = &stage[start..];
    match word.split_once(':') {
        Some((name, value)) if name.starts_with('-') => value,
        _ => word,
    }
}

fn begins(word: &str, start: &str) -> bool {
    word.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start))
}

fn fitting<'a>(words: impl IntoIterator<Item = &'a str>, start: &str) -> Vec<String> {
    words.into_iter().filter(|word| begins(word, start)).map(str::to_owned).collect()
}

/// Commands that the node can run in that place.
fn commands(start: &str, place: Place, offered: &[Offered]) -> Vec<String> {
    let usable = offered.iter().filter(|one| one.available && one.place == place);
    fitting(usable.map(|one| one.name.as_str()), start)
}

/// The offered command of a name, an alias, or a name with its module.
fn find<'a>(name: &str, offered: &'a [Offered]) -> Option<&'a Offered> {
    let name = name.rsplit_once('\\').map_or(name, |(_, name)| name);
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    offered.iter().find(|one| is(&one.name) || one.aliases.iter().any(|alias| is(alias)))
}

/// Words for an argument of `command`, behind the finished `words` of its stage.
fn argument(
    command: &Offered,
    words: &[&str],
    start: &str,
    before: &[&str],
    offered: &[Offered],
) -> Vec<String> {
    let given = Given::read(command, words);
    if let Some(start) = start.strip_prefix('-').filter(|_| !given.takes_value) {
        let open = command.parameters.iter().filter(|own| !given.named.iter().any(|name| *name == own.name));
        return fitting(open.map(|own| own.name.as_str()), start)
            .into_iter()
            .map(|name| format!("-{name}"))
            .collect();
    }
    match given.target.map(|parameter| &parameter.takes) {
        Some(Takes::Words(words)) => fitting(words.iter().map(String::as_str), start),
        Some(Takes::Property) => {
            let properties = properties(before, offered);
            fitting(properties.iter().map(String::as_str), start)
        }
        Some(Takes::Command) => fitting(offered.iter().map(|one| one.name.as_str()), start),
        Some(Takes::Switch | Takes::Value) | None => Vec::new(),
    }
}

/// What the finished words of a stage have settled.
struct Given<'a> {
    /// Parameters that are named already.
    named: Vec<&'a str>,
    /// The parameter that the next value goes to.
    target: Option<&'a OfferedParameter>,
    /// Whether a value has to come next, be it the first or one more of a list.
    takes_value: bool,
}

impl<'a> Given<'a> {
    fn read(command: &'a Offered, words: &[&str]) -> Self {
        let mut given = Self { named: Vec::new(), target: None, takes_value: false };
        let mut loose = 0_u8;
        let mut list_goes_on = false;
        for word in words {
            let goes_on = list_goes_on || word.starts_with(',');
            list_goes_on = word.ends_with(',');
            if goes_on {
                continue;
            }
            if let Some((name, value)) = parameter_name(word) {
                let found = parameter(command, name);
                given.named.extend(found.map(|parameter| parameter.name.as_str()));
                given.target = found.filter(|own| own.takes != Takes::Switch);
                given.takes_value = given.target.is_some() && value.is_none_or(str::is_empty);
            } else if given.takes_value {
                given.takes_value = false;
            } else {
                given.target = positional(command, &given.named, loose);
                loose = loose.saturating_add(1);
            }
        }
        if list_goes_on {
            given.takes_value = true;
        } else if !given.takes_value {
            given.target = positional(command, &given.named, loose);
        }
        given
    }
}

/// `-Name` or `-Name:value`; a number with a minus sign is a value.
fn parameter_name(word: &str) -> Option<(&str, Option<&str>)> {
    let body = word.strip_prefix('-').filter(|body| body.starts_with(|c: char| c.is_ascii_alphabetic()))?;
    Some(body.split_once(':').map_or((body, None), |(name, value)| (name, Some(value))))
}

/// The parameter of a name or an unambiguous beginning.
fn parameter<'a>(command: &'a Offered, name: &str) -> Option<&'a OfferedParameter> {
    let exact = command.parameters.iter().find(|own| own.name.eq_ignore_ascii_case(name));
    let mut fitting = command.parameters.iter().filter(|own| begins(&own.name, name));
    let first = fitting.next();
    exact.or_else(|| first.filter(|_| fitting.next().is_none()))
}

/// The parameter that takes the value at this place, counted over those that are not named.
fn positional<'a>(command: &'a Offered, named: &[&str], place: u8) -> Option<&'a OfferedParameter> {
    let open = |own: &&OfferedParameter| own.position.is_some() && !named.contains(&own.name.as_str());
    let mut places: Vec<_> = command.parameters.iter().filter(open).collect();
    places.sort_by_key(|own| own.position);
    places.get(usize::from(place)).copied()
}

/// Properties of the objects that come out of the finished stages.
fn properties(stages: &[&str], offered: &[Offered]) -> Vec<String> {
    let mut properties = Vec::new();
    for stage in stages {
        let name = stage.split_whitespace().next().unwrap_or_default();
        let Some(command) = find(name, offered) else { return Vec::new() };
        if command.place == Place::First || !command.properties.is_empty() {
            properties.clone_from(&command.properties);
        } else if let Some(chosen) = chosen(command, stage) {
            properties = chosen;
        }
    }
    properties
}

/// The properties that a stage leaves: those that Select-Object names. `None` if it leaves them as they are.
fn chosen(command: &Offered, stage: &str) -> Option<Vec<String>> {
    let parsed = parse(stage).ok()?;
    let [written] = parsed.stages.as_slice() else { return None };
    let is_select = command.name.eq_ignore_ascii_case("Select-Object");
    let names: Vec<String> =
        property_values(command, written)?.iter().map(|item| item.text.clone()).collect();
    let plain = |name: &String| !name.contains(['*', '?']);
    (is_select && names.iter().all(plain)).then_some(names)
}

/// The values of `-Property`, with its name or without.
fn property_values<'a>(command: &Offered, written: &'a Command) -> Option<&'a [Literal]> {
    let mut target: Option<&OfferedParameter> = None;
    for argument in &written.arguments {
        match argument {
            Argument::Parameter { name, value, .. } => {
                let found = parameter(command, name)?;
                if let Some(items) = value.as_deref().filter(|_| found.name == "Property") {
                    return Some(items);
                }
                target = Some(found).filter(|found| value.is_none() && found.takes != Takes::Switch);
            }
            Argument::Value { items, .. } => match target.take() {
                None => return Some(items),
                Some(found) if found.name == "Property" => return Some(items),
                Some(_) => {}
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs_consent::AccessLevel;

    use super::*;
    use crate::operations::catalog::{Machine, Systems};
    use crate::operations::offered::offered;
    use crate::operations::plan::Context;

    fn words(line: &str) -> Vec<String> {
        let machine = Machine { native: Systems::ALL, power_shell: false };
        complete(line, &offered(&Context { machine, ..Context::new(AccessLevel::Diagnostics) })).words
    }

    #[test]
    fn e04_words_follow_their_place() {
        let none: &[&str] = &[];
        for (line, expected) in [
            ("Get-NetTCPC", &["Get-NetTCPConnection"][..]),
            ("gps | so", &["Sort-Object"]),
            ("gps|so", &["Sort-Object"]),
            ("gps | Get-Pro", none),
            ("Stop-Ser", none),
            ("Get-Process -n", &["-Name"]),
            ("gps -n", &["-Name"]),
            ("Microsoft.PowerShell.Management\\gps -n", &["-Name"]),
            ("Get-Process -Name x -n", none),
            ("gps | sort -de", &["-Descending"]),
            ("gps | sort c", &["CPU"]),
            ("gps | sort -Property c", &["CPU"]),
            ("gps | sort -Property:c", &["CPU"]),
            ("gps | ft Name, proc", &["ProcessName"]),
            ("gps | ft Name,proc", &["ProcessName"]),
            ("gps | ? sta", &["StartTime", "State"]),
            ("gps | ? State -eq r", none),
            ("gps | ? Name -notm", &["-NotMatch"]),
            ("gps | select -First 3 n", &["Name"]),
            ("gps | select -First n", none),
            ("gps | select Name, Id | sort ", &["Name", "Id"]),
            ("gps | select -First 3 Name, Id | ? Id -gt 1 | ft ", &["Name", "Id"]),
            ("gps | measure CPU -Sum | select su", &["Sum"]),
            ("Get-NetTCPConnection -State li", &["Listen"]),
            ("Get-NetTCPConnection -State Listen, cl", &["Closed", "CloseWait", "Closing"]),
            ("Get-NetTCPConnection -State:li", &["Listen"]),
            ("help get-da", &["Get-Date"]),
            ("gps 'c", none),
            ("gps 'a|b' | sort c", &["CPU"]),
            ("nonsense -x", none),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn sec46_no_more_words_than_the_bound_are_offered() {
        let offered: Vec<_> = (0..=WORDS_MAX).map(|at| Offered::named(&format!("Get-X{at:03}"))).collect();
        assert_eq!(complete("get", &offered[..WORDS_MAX]).words.len(), WORDS_MAX);
        assert_eq!(complete("get", &offered).words.len(), WORDS_MAX);
        assert_eq!(complete("get-x400", &offered).words, ["Get-X400"]);
        let line = |bytes: usize| format!("{}get-x400", " ".repeat(bytes - 8));
        assert_eq!(complete(&line(LINE_BYTES_MAX), &offered).words.len(), 1);
        assert_eq!(complete(&line(LINE_BYTES_MAX + 1), &offered).words.len(), 0);
    }

    proptest! {
        #[test]
        fn sec44_completion_takes_any_text(line in any::<String>()) {
            let offered = offered(&Context::new(AccessLevel::Diagnostics));
            for line in [line.clone(), format!("gps | select {line}"), format!("gps -Name {line} | sort ")] {
                let found = complete(&line, &offered);
                prop_assert!(line.is_char_boundary(found.start) && found.words.len() <= WORDS_MAX);
            }
        }
    }
}
