//! What a session's rights offer, as the engineer's side gets it: enough for completion and help, and nothing more.
//!
//! The node decides what it permits and sends this list once, with its welcome. So the engineer's program completes by
//! what that node has, whatever lists it was built with itself.

use serde::{Deserialize, Serialize};

use super::catalog::{self, Availability, Definition, Entry, Form, Kind, Parameter, Role};
use super::level_wish;
use super::plan::Context;

/// Where a command may stand in a pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In front: it gives objects, or stands alone.
    #[default]
    First,
    /// Behind a pipe.
    Behind,
}

/// What a parameter takes, as far as completion can help with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Nothing: it is a switch.
    Switch,
    /// One of these words.
    Words(Vec<String>),
    /// The name of a property of the objects that come through the pipe.
    Property,
    /// The name of a command.
    Command,
    /// A value that only the engineer knows.
    #[default]
    Value,
}

/// One parameter of an offered command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferedParameter {
    /// Name without the dash.
    pub name: String,
    /// What it takes.
    #[serde(default)]
    pub takes: Takes,
    /// Its place among the values that stand without a name, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u8>,
}

/// One operation that the session's rights hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offered {
    /// Name of the operation.
    pub name: String,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Where it may stand.
    #[serde(default)]
    pub place: Place,
    /// Its open parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<OfferedParameter>,
    /// Properties of the objects that it gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// Whether this node can run it.
    #[serde(default)]
    pub available: bool,
}

impl Offered {
    /// An operation of which nothing but its name is known, and that runs here.
    ///
    /// ```
    /// use rs_session::operations::Offered;
    /// assert!(Offered::named("Get-Date").available);
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), available: true, ..Self::default() }
    }

    /// True for a command of the published lists; false for one that belongs to the session, which no list counts.
    ///
    /// ```
    /// use rs_session::operations::Offered;
    /// assert!(Offered::named("Get-Date").is_listed());
    /// assert!(!Offered::named("Request-AccessLevel").is_listed());
    /// ```
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.name != level_wish::NAME
    }

    fn of(entry: &Entry, context: &Context) -> Self {
        let known = entry.definition.map_or_else(Self::default, Self::of_definition);
        let available = !matches!(entry.availability(context.machine), Availability::None { .. });
        Self { name: entry.name.clone(), available, ..known }
    }

    /// What a definition tells; whether anything answers it is left open.
    pub(super) fn of_definition(definition: &Definition) -> Self {
        let aliases = catalog::aliases().filter(|(_, target)| *target == definition.name);
        Self {
            name: definition.name.to_owned(),
            aliases: aliases.map(|(alias, _)| alias.to_owned()).collect(),
            place: definition.place(),
            parameters: definition.parameters.iter().map(OfferedParameter::of).collect(),
            properties: definition.properties.iter().map(|&name| name.to_owned()).collect(),
            available: false,
        }
    }
}

impl Definition {
    const fn place(&self) -> Place {
        match self.role {
            Role::Source | Role::Session => Place::First,
            Role::Filter | Role::Formatter => Place::Behind,
        }
    }
}

impl OfferedParameter {
    fn of(parameter: &Parameter) -> Self {
        let takes = match parameter.kind {
            Kind::Switch => Takes::Switch,
            Kind::Choice(words) => Takes::Words(words.iter().map(|&word| word.to_owned()).collect()),
            Kind::Text(Form::Property | Form::PropertyPattern, _) => Takes::Property,
            Kind::Text(Form::Identifier, _) => Takes::Command,
            _ => Takes::Value,
        };
        Self { name: parameter.name.to_owned(), takes, position: parameter.position }
    }
}

/// What a session with this context may run, sorted by name.
#[must_use]
pub fn offered(context: &Context) -> Vec<Offered> {
    let permitted = context.catalog().permitted(context.level, context.policy);
    let permitted = permitted.filter(|entry| !context.commands.take_out(&entry.name));
    permitted.map(|entry| Offered::of(entry, context)).collect()
}
