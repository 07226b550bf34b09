//! What a definition consists of: role, systems, parameters with their types, and the command itself.

use super::super::{Effect, Effects, Needs};
#[cfg(test)]
use super::closed::FORBIDDEN;

/// Operating systems on which a command has a native source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Systems(u8);

impl Systems {
    /// Nowhere.
    pub const NONE: Self = Self(0);
    /// Linux.
    pub const LINUX: Self = Self(1);
    /// Windows.
    pub const WINDOWS: Self = Self(2);
    /// macOS.
    pub const MACOS: Self = Self(4);
    /// Wherever this program runs.
    pub const ALL: Self = Self(7);

    /// True if both share a system.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a command is in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Gives objects and takes no input.
    Source,
    /// Works on the objects of the command before it.
    Filter,
    /// Turns objects into text; only `Out-Default` may follow.
    Formatter,
    /// Belongs to the session itself and stands alone.
    Session,
}

/// Shape of a text value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Name of a thing; `*`, `?` and `[ ]` are wildcards.
    Pattern,
    /// Name of a thing on Windows; `*`, `?` and `[ ]` are wildcards. It is no path: it holds no `\` and no `:`, and does
    /// not begin with `/`.
    Name,
    /// Name of a thing, taken as it is.
    Exact,
    /// Name of a property: letters, digits and `_`.
    Property,
    /// Name of a property, wildcards permitted.
    PropertyPattern,
    /// Name of a command or help topic: letters, digits and `- . _ : \ *  ?`.
    Identifier,
    /// An IP address, wildcards permitted.
    Address,
    /// An IP address with the length of a prefix, wildcards permitted.
    Prefix,
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Present or not.
    Switch,
    /// Text of at most so many characters.
    Text(Form, usize),
    /// A whole number from the first to the second, both included.
    Integer(i64, i64),
    /// One of these words, without regard to case.
    Choice(&'static [&'static str]),
    /// A literal of any type.
    Literal,
}

/// One open parameter.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// Name without the dash.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Type and constraint.
    pub kind: Kind,
    /// Most values; 1 unless it takes a list.
    pub items_max: usize,
    /// Place among the values that stand without a name.
    pub position: Option<u8>,
    /// True if it must be given.
    pub mandatory: bool,
    /// One line for help.
    pub about: &'static str,
}

impl Parameter {
    pub(super) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, aliases: &[], kind, items_max: 1, position: None, mandatory: false, about }
    }

    pub(super) const fn many(mut self, items_max: usize) -> Self {
        self.items_max = items_max;
        self
    }

    pub(super) const fn at(mut self, position: u8) -> Self {
        self.position = Some(position);
        self
    }

    pub(super) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Type and constraint in words, as help and refusals show them.
    #[must_use]
    pub fn describe(&self) -> String {
        let one = match self.kind {
            Kind::Switch => return String::from("switch"),
            Kind::Text(form, chars) => {
                let form = match form {
                    Form::Pattern => "text, wildcards permitted",
                    Form::Name => "name, wildcards permitted, no path",
                    Form::Exact => "text, no wildcards",
                    Form::Property => "property name",
                    Form::PropertyPattern => "property name, wildcards permitted",
                    Form::Identifier => "name, wildcards permitted",
                    Form::Address => "IP address, wildcards permitted",
                    Form::Prefix => "IP prefix, wildcards permitted",
                };
                format!("{form}, at most {chars} characters")
            }
            Kind::Integer(low, high) => format!("whole number from {low} to {high}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Literal => String::from("text or number"),
        };
        if self.items_max > 1 { format!("{one}; up to {} values", self.items_max) } else { one }
    }
}

/// A command that this engine runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Definition {
    /// Name as published.
    pub name: &'static str,
    /// Module, for qualified names.
    pub module: &'static str,
    /// One line for help.
    pub about: &'static str,
    /// Place in a pipeline.
    pub role: Role,
    /// Open parameters.
    pub parameters: &'static [Parameter],
    /// Properties of the objects that it gives.
    pub properties: &'static [&'static str],
    /// What it does.
    pub effects: Effects,
    /// Where it has a native source.
    pub systems: Systems,
    /// What the sandbox gives it of the machine.
    pub needs: Needs,
}

impl Definition {
    pub(super) const fn source(name: &'static str, module: &'static str, about: &'static str) -> Self {
        Self {
            name,
            module,
            about,
            role: Role::Source,
            parameters: &[],
            properties: &[],
            effects: Effects::of(&[Effect::Reads]),
            systems: Systems::LINUX,
            needs: Needs::KERNEL,
        }
    }

    pub(super) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    pub(super) const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self.systems = Systems::ALL;
        self.needs = Needs::NOTHING;
        self
    }

    /// Stands alone on its line.
    pub(super) const fn alone(mut self) -> Self {
        self.role = Role::Session;
        self
    }

    pub(super) const fn takes(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub(super) const fn gives(mut self, properties: &'static [&'static str]) -> Self {
        self.properties = properties;
        self
    }

    pub(super) const fn everywhere(mut self) -> Self {
        self.systems = Systems::ALL;
        self
    }

    pub(super) const fn does(mut self, effects: &[Effect]) -> Self {
        self.effects = Effects::of(effects);
        self
    }

    /// Checks the rules that every definition keeps; panics in tests.
    #[cfg(test)]
    pub(in crate::operations::catalog) fn check(&self) {
        assert_eq!(self.needs.beyond(self.effects), None, "{}", self.name);
        for parameter in self.parameters {
            assert!(
                parameter.items_max >= 1 && parameter.items_max <= crate::operations::language::ARGUMENTS_MAX
            );
            if let Kind::Text(_, chars) = parameter.kind {
                assert!(chars > 0 && chars <= crate::operations::language::VALUE_CHARS_MAX);
            }

            assert!(
                !FORBIDDEN.iter().any(|word| parameter.name.eq_ignore_ascii_case(word)),
                "{} -{}",
                self.name,
                parameter.name
            );
            let names = |own: &Parameter| {
                own.name.eq_ignore_ascii_case(parameter.name)
                    || own.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(parameter.name))
            };
            assert_eq!(self.parameters.iter().filter(|own| names(own)).count(), 1, "{}", parameter.name);
        }
    }
}
