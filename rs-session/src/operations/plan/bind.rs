//! Binding: written arguments to the open parameters of a command, with every constraint checked.

use std::collections::BTreeMap;

use super::{Bound, Call, Constant, Form, Kind, Parameter};
use crate::operations::catalog::Definition;
use crate::operations::language::{Argument, Command, Literal, LiteralKind, Number};
use crate::operations::refused::{Code, Refused};

/// Binds the arguments of a command.
pub(in crate::operations) fn bind(
    command: &Command,
    definition: &'static Definition,
) -> Result<Call, Refused> {
    let mut binder = Binder { definition, bound: BTreeMap::new(), loose: Vec::new() };
    binder.named(command)?;
    binder.positional()?;
    binder.mandatory(command)?;
    let arguments = binder.bound.into_iter().map(|(name, bound)| (name.to_owned(), bound)).collect();
    Ok(Call { command: definition.name.to_owned(), arguments })
}

struct Binder<'a> {
    definition: &'static Definition,
    bound: BTreeMap<&'static str, Bound>,
    /// Values without a name, with their columns.
    loose: Vec<(&'a [Literal], u32)>,
}

impl<'a> Binder<'a> {
    /// Parameters that are named, each with its value; other values wait in `loose`.
    fn named(&mut self, command: &'a Command) -> Result<(), Refused> {
        let mut arguments = command.arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            let (name, value, column) = match argument {
                Argument::Value { items, column } => {
                    self.loose.push((items, *column));
                    continue;
                }
                Argument::Parameter { name, value, column } => (name, value.as_deref(), *column),
            };
            let parameter = find(self.definition, name, column)?;
            if parameter.kind == Kind::Switch {
                self.put(parameter, Bound::Switch(switch_value(parameter, value, column)?), column)?;
                continue;
            }
            let items = match value {
                Some(items) => items,
                None => match arguments.next_if(|next| matches!(next, Argument::Value { .. })) {
                    Some(Argument::Value { items, .. }) => items,
                    _ => {
                        let message = format!("-{} needs a value: {}", parameter.name, parameter.describe());
                        return Err(Refused::new(Code::MissingValue, column, message));
                    }
                },
            };
            let bound = convert(parameter, items, column)?;
            self.put(parameter, bound, column)?;
        }
        Ok(())
    }

    /// Values without a name go to the open positions from left to right.
    fn positional(&mut self) -> Result<(), Refused> {
        let mut places: Vec<_> = self
            .definition
            .parameters
            .iter()
            .filter(|parameter| parameter.position.is_some() && !self.bound.contains_key(parameter.name))
            .collect();
        places.sort_by_key(|parameter| parameter.position);
        let mut places = places.into_iter();
        for (items, column) in std::mem::take(&mut self.loose) {
            let Some(parameter) = places.next() else {
                let message = format!(
                    "{} takes no value here; name its parameter, or join values by commas",
                    self.definition.name
                );
                return Err(Refused::new(Code::UnexpectedArgument, column, message));
            };
            let bound = convert(parameter, items, column)?;
            self.put(parameter, bound, column)?;
        }
        Ok(())
    }

    fn mandatory(&self, command: &Command) -> Result<(), Refused> {
        let missing =
            |parameter: &&Parameter| parameter.mandatory && !self.bound.contains_key(parameter.name);
        match self.definition.parameters.iter().find(missing) {
            None => Ok(()),
            Some(parameter) => {
                let message =
                    format!("{} needs -{}: {}", self.definition.name, parameter.name, parameter.about);
                Err(Refused::new(Code::MissingParameter, command.column, message))
            }
        }
    }

    fn put(&mut self, parameter: &'static Parameter, bound: Bound, column: u32) -> Result<(), Refused> {
        if self.bound.insert(parameter.name, bound).is_some() {
            let message = format!("-{} is given twice", parameter.name);
            return Err(Refused::new(Code::DuplicateParameter, column, message));
        }
        Ok(())
    }
}

/// The parameter of a written name: exact name or alias first, then an unambiguous beginning.
fn find(definition: &'static Definition, name: &str, column: u32) -> Result<&'static Parameter, Refused> {
    let open = definition.parameters;
    let names = |parameter: &'static Parameter| std::iter::once(&parameter.name).chain(parameter.aliases);
    if let Some(exact) = open.iter().find(|own| names(own).any(|own| own.eq_ignore_ascii_case(name))) {
        return Ok(exact);
    }
    if let Some((closed, why)) = closed(name, |own, name| own.eq_ignore_ascii_case(name)) {
        let message = format!("-{closed} is not permitted: {why}");
        return Err(Refused::new(Code::ParameterNotPermitted, column, message));
    }
    let begins =
        |own: &str, name: &str| own.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
    let matches: Vec<_> = open.iter().filter(|own| names(own).any(|own| begins(own, name))).collect();
    match matches.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(definition, name, column, closed(name, begins))),
        several => {
            let names: Vec<_> = several.iter().take(6).map(|own| format!("-{}", own.name)).collect();
            let message = format!("-{name} can mean {}; write more of the name", names.join(", "));
            Err(Refused::new(Code::AmbiguousParameter, column, message))
        }
    }
}

fn closed(name: &str, fits: impl Fn(&str, &str) -> bool) -> Option<(&'static str, &'static str)> {
    crate::operations::catalog::closed_parameters().find(|(own, _)| fits(own, name))
}

fn unknown(definition: &Definition, name: &str, column: u32, closed: Option<(&str, &str)>) -> Refused {
    if let Some((closed, why)) = closed {
        let message = format!("-{closed} is not permitted: {why}");
        return Refused::new(Code::ParameterNotPermitted, column, message);
    }
    let own: Vec<_> = definition.parameters.iter().map(|own| own.name).collect();
    let message = match super::suggest::nearest(name, own.iter().copied()) {
        Some(near) => format!("{} has no parameter -{name}; did you mean -{near}?", definition.name),
        None if own.is_empty() => format!("{} has no parameters", definition.name),
        None => {
            format!("{} has no parameter -{name}; Get-Help {} lists them", definition.name, definition.name)
        }
    };
    Refused::new(Code::UnknownParameter, column, message)
}

fn switch_value(parameter: &Parameter, value: Option<&[Literal]>, column: u32) -> Result<bool, Refused> {
    match value {
        None => Ok(true),
        Some([one]) if one.text.eq_ignore_ascii_case("$true") && one.kind == LiteralKind::Word => Ok(true),
        Some([one]) if one.text.eq_ignore_ascii_case("$false") && one.kind == LiteralKind::Word => Ok(false),
        Some(_) => {
            let message =
                format!("-{} is a switch: give it alone, or with :$true or :$false", parameter.name);
            Err(Refused::new(Code::WrongType, column, message))
        }
    }
}

/// Converts written items to the parameter's type and checks them.
fn convert(parameter: &Parameter, items: &[Literal], column: u32) -> Result<Bound, Refused> {
    let bound = match parameter.kind {
        Kind::Switch => Bound::Switch(true),
        Kind::Literal => Bound::Literals(items.iter().map(Constant::from).collect()),
        Kind::Integer(..) => Bound::Integers(integers(parameter, items)?),
        Kind::Choice(words) => Bound::Texts(items.iter().map(|item| chosen(words, &item.text)).collect()),
        Kind::Text(..) => Bound::Texts(items.iter().map(|item| item.text.clone()).collect()),
    };
    if bound != Bound::Switch(true) && items.iter().any(|item| item.text == "$true" || item.text == "$false")
    {
        let message = format!("-{} is no switch: {}", parameter.name, parameter.describe());
        return Err(Refused::new(Code::WrongType, column, message));
    }
    check_bound(parameter, &bound).map_err(|why| {
        let message = format!("-{}: {why}", parameter.name);
        Refused::new(
            Code::OutOfConstraint,
            column_of_fault(parameter, &bound, items).unwrap_or(column),
            message,
        )
    })?;
    Ok(bound)
}

/// Column of the first item that does not fit by itself; of the first one if it is their number that does not fit.
fn column_of_fault(parameter: &Parameter, bound: &Bound, items: &[Literal]) -> Option<u32> {
    let alone = |at: usize| match bound {
        Bound::Texts(texts) => texts.get(at).cloned().map(|text| Bound::Texts(vec![text])),
        Bound::Integers(values) => values.get(at).map(|value| Bound::Integers(vec![*value])),
        Bound::Switch(_) | Bound::Literals(_) => None,
    };
    let faulty = |at: &usize| alone(*at).is_some_and(|one| check_bound(parameter, &one).is_err());
    let at = (0..items.len()).find(faulty).unwrap_or(0);
    items.get(at).map(|item| item.column)
}

fn integers(parameter: &Parameter, items: &[Literal]) -> Result<Vec<i64>, Refused> {
    let whole = |item: &Literal| match item.kind {
        LiteralKind::Number(Number::Integer(value)) => Some(value),
        LiteralKind::Quoted => item.text.trim().parse().ok(),
        LiteralKind::Number(Number::Float(_)) | LiteralKind::Word => None,
    };
    let convert = |item: &Literal| {
        whole(item).ok_or_else(|| {
            let message = format!("-{} takes a {}", parameter.name, parameter.describe());
            Refused::new(Code::WrongType, item.column, message)
        })
    };
    items.iter().map(convert).collect()
}

/// The word in its defined spelling; an exact match goes before one that differs in case.
fn chosen(words: &[&str], text: &str) -> String {
    let exact = words.iter().find(|word| **word == text);
    let found = exact.or_else(|| words.iter().find(|word| word.eq_ignore_ascii_case(text)));
    found.map_or_else(|| text.to_owned(), |word| (*word).to_owned())
}

/// Checks values against their parameter, wherever they come from.
pub(super) fn check_bound(parameter: &Parameter, bound: &Bound) -> Result<(), String> {
    let count = match bound {
        Bound::Switch(_) => 1,
        Bound::Texts(items) => items.len(),
        Bound::Integers(items) => items.len(),
        Bound::Literals(items) => items.len(),
    };
    if count == 0 || count > parameter.items_max {
        return Err(format!("takes {} at most", values(parameter.items_max)));
    }
    match (parameter.kind, bound) {
        (Kind::Switch, Bound::Switch(_)) | (Kind::Literal, Bound::Literals(_)) => Ok(()),
        (Kind::Integer(low, high), Bound::Integers(items)) => {
            match items.iter().find(|value| !(low..=high).contains(*value)) {
                None => Ok(()),
                Some(value) => Err(format!("{value} is not a {}", parameter.describe())),
            }
        }
        (Kind::Choice(words), Bound::Texts(items)) => {
            match items.iter().find(|item| !words.contains(&item.as_str())) {
                None => Ok(()),
                Some(item) => Err(format!("{item:?} is not {}", parameter.describe())),
            }
        }
        (Kind::Text(form, chars), Bound::Texts(items)) => {
            items.iter().try_for_each(|item| text(form, chars, item))
        }
        _ => Err(format!("takes {}", parameter.describe())),
    }
}

fn values(count: usize) -> String {
    if count == 1 { String::from("one value") } else { format!("{count} values") }
}

fn text(form: Form, chars_max: usize, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(String::from("the value is empty"));
    }
    if text.chars().count() > chars_max {
        return Err(format!("a value has at most {chars_max} characters"));
    }
    let wild = |c: char| matches!(c, '*' | '?');
    let (fits, wanted): (fn(char) -> bool, &str) = match form {
        Form::Pattern => (|c| !c.is_control(), "text"),
        Form::Name => (|c| !c.is_control() && !matches!(c, '\\' | ':'), "a name, which holds no \\ and no :"),
        Form::Exact => (
            |c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':' | ' '),
            "one exact name: letters, digits and - _ . @ :, no wildcards",
        ),
        Form::Property => (|c| c.is_alphanumeric() || c == '_', "a property name: letters, digits and _"),
        Form::PropertyPattern => (
            |c| c.is_alphanumeric() || matches!(c, '_' | '*' | '?'),
            "a property name: letters, digits and _",
        ),
        Form::Identifier => (
            |c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '\\' | '*' | '?'),
            "a name: letters, digits and - . _ : \\",
        ),
        Form::Prefix => {
            (|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/' | '*' | '?'), "an IP prefix")
        }
        Form::Address => {
            (|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '%' | '*' | '?'), "an IP address")
        }
    };
    let starts_well = match form {
        Form::Exact => text.starts_with(|c: char| c.is_alphanumeric()),
        Form::Name => !text.starts_with('/'),
        _ => true,
    };
    let has_substance = !matches!(form, Form::Property) || !text.chars().all(wild);
    if text.chars().all(fits) && starts_well && has_substance {
        Ok(())
    } else {
        Err(format!("{text:?} is not {wanted}"))
    }
}
