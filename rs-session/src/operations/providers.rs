//! Who answers a command: a table from published names to functions that give objects.
//!
//! Commands about the session itself (`Get-Command`, `Get-Help`, `Get-FormatData`) answer from the catalog and are
//! here; the rest comes with the feature `native`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::catalog::{self, Catalog, Entry, Machine, Parameter};
use super::compare::{has_wildcard, wildcard};
use super::format::views;
use super::objects::{Object, Value};
use super::pipeline::{Chain, Output, Sink, Stop};
use super::plan::Plan;
use super::withhold::Withholding;

/// Why a provider gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The flow was ended from the other side.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The operation cannot answer; the text says why.
    #[error("{0}")]
    Failed(String),
    /// No provider of that name is in this program.
    #[error("{0} has no provider in this program")]
    Missing(String),
}

impl ProviderError {
    /// A failure with its reason.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// A function that answers one command.
pub type Provider = fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError>;

/// The providers of a program, by published name.
#[derive(Clone)]
pub struct Registry(BTreeMap<&'static str, Answerer>);

/// A [`Provider`] that may hold something.
type Answer = dyn Fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError> + Send + Sync;

/// Who answers one command.
#[derive(Clone)]
struct Answerer {
    answer: Arc<Answer>,
    /// Whether it answers from the machine, so that the machine must have the source.
    of_machine: bool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Registry {
    /// Every provider that is compiled in.
    fn default() -> Self {
        let mut registry = Self(BTreeMap::new());
        registry = registry
            .with("Clear-Host", nothing)
            .with("Exit-PSSession", nothing)
            .with("Get-Command", get_command)
            .with("Get-Help", get_help)
            .with("Get-FormatData", get_format_data);
        #[cfg(feature = "native")]
        for (name, provider) in super::native::providers() {
            registry.0.insert(name, Answerer { answer: Arc::new(provider), of_machine: true });
        }
        registry
    }
}

impl Registry {
    /// The same providers and one more; it takes the place of one with the same name, and is asked whatever this machine has.
    ///
    /// ```
    /// use rs_session::operations::{Object, providers::{Registry, answer}};
    ///
    /// let registry = Registry::default().with("Get-Process", |plan, sink| {
    ///     let idle = Object::new("Process").with("Id", 1_i64).with("Name", "idle");
    ///     answer(plan, sink, [idle], &[("Name", "Name"), ("Id", "Id")])
    /// });
    /// assert!(registry.has("Get-Process"));
    /// ```
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        provider: impl Fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(name, Answerer { answer: Arc::new(provider), of_machine: false });
        self
    }

    /// True if a command has a provider.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Runs a plan to its end and writes its results to `output`. A plan that does not pass [`Plan::check`] does not
    /// run.
    ///
    /// # Errors
    /// [`ProviderError`]; [`Stop::Enough`] is no error and is not returned.
    pub fn run(&self, plan: &Plan, output: &mut impl Output) -> Result<(), ProviderError> {
        run_source(plan, output, |sink| self.answer(plan, sink))
    }

    /// The objects of a plan's command.
    pub(super) fn answer(&self, plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
        let answerer = self.0.get(plan.command());
        let answerer = answerer.ok_or_else(|| ProviderError::Missing(plan.command().to_owned()))?;
        match absent(plan.command()).filter(|_| answerer.of_machine) {
            None => (answerer.answer)(plan, sink),
            Some(why) => Err(ProviderError::failed(format!(
                "{} : permitted, not available here: it is answered natively, but its source is absent: {why}.",
                plan.command()
            ))),
        }
    }
}

/// Why the source of a command that this program answers itself is absent on this machine; `None` if it is there, or if
/// somebody else answers. It looks at the machine.
///
/// ```
/// use rs_session::operations::providers::absent;
/// assert_eq!(absent("Get-Date"), None);
/// ```
#[must_use]
pub fn absent(command: &str) -> Option<&'static str> {
    #[cfg(feature = "native")]
    return super::native::absent(command);
    #[cfg(not(feature = "native"))]
    {
        let _ = command;
        None
    }
}

/// Runs the pipeline of a plan with the objects from `source`: what holds for every provider, whoever it is. Secrets are
/// withheld before the first filter sees them.
pub(super) fn run_source(
    plan: &Plan,
    output: &mut impl Output,
    source: impl FnOnce(&mut dyn Sink) -> Result<(), ProviderError>,
) -> Result<(), ProviderError> {
    plan.check().map_err(|why| ProviderError::failed(why.to_string()))?;
    let mut chain = Chain::new(plan, output);
    match source(&mut Withholding::new(plan.command(), &mut chain)) {
        Ok(()) | Err(ProviderError::Stop(Stop::Enough)) => Ok(chain.finish()?),
        Err(error @ ProviderError::Failed(_)) => {
            chain.finish()?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// True if the list is empty or one of its patterns fits.
pub(super) fn fits_any(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, text, false))
}

/// Gives the objects that fit the call's arguments, and says which exact values fitted nothing.
///
/// `filters` joins parameters to the properties they choose by.
///
/// # Errors
/// [`ProviderError::Stop`] when the flow was ended from the other side.
pub fn answer(
    plan: &Plan,
    sink: &mut dyn Sink,
    objects: impl IntoIterator<Item = Object>,
    filters: &[(&str, &str)],
) -> Result<(), ProviderError> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for object in objects {
        let fits =
            filters.iter().all(|(parameter, property)| fits(plan, &object, parameter, property, &mut found));
        if fits {
            sink.emit(object.into())?;
        }
    }
    for (parameter, _) in filters {
        for text in plan.call.texts(parameter).iter().filter(|text| !has_wildcard(text)) {
            if !found.iter().any(|(own, value)| own == parameter && value.eq_ignore_ascii_case(text)) {
                sink.warn(&format!(
                    "{} : nothing found with {parameter} equal to \"{text}\".",
                    plan.command()
                ))?;
            }
        }
    }
    Ok(())
}

/// True if an object fits one parameter; remembers which given values fitted something.
fn fits<'a>(
    plan: &'a Plan,
    object: &Object,
    parameter: &'a str,
    property: &str,
    found: &mut Vec<(&'a str, &'a str)>,
) -> bool {
    let value = object.get(property).unwrap_or(&Value::Null);
    let numbers = plan.call.integers(parameter);
    if !numbers.is_empty() {
        return matches!(value, Value::Integer(own) if numbers.contains(own));
    }
    let texts = plan.call.texts(parameter);
    let own = value.to_text();
    if let Some(text) = texts.iter().find(|text| text.eq_ignore_ascii_case(&own)) {
        found.push((parameter, text));
    }
    fits_any(texts, &own)
}

/// Commands of the session itself: the two ends of the session act on them, there is nothing to run.
fn nothing(_: &Plan, _: &mut dyn Sink) -> Result<(), ProviderError> {
    Ok(())
}

/// What a session permits.
fn rights(plan: &Plan) -> impl Iterator<Item = &'static Entry> + use<> {
    let commands = plan.commands.clone();
    Catalog::of(plan.variant)
        .permitted(plan.level, plan.policy)
        .filter(move |entry| !commands.take_out(&entry.name))
}

fn get_command(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let names = plan.call.texts("Name");
    let mut found = vec![false; names.len()];
    for entry in rights(plan) {
        let (verb, noun) = entry.name.split_once('-').unwrap_or(("", &entry.name));
        let hits: Vec<bool> = names.iter().map(|name| names_entry(plan, name, entry)).collect();
        found.iter_mut().zip(&hits).for_each(|(found, hit)| *found |= hit);
        let named = names.is_empty() || hits.contains(&true);
        if named && fits_any(plan.call.texts("Verb"), verb) && fits_any(plan.call.texts("Noun"), noun) {
            sink.emit(command_object(entry).into())?;
        }
    }
    for (name, _) in names.iter().zip(found).filter(|(name, found)| !found && !name.contains(['*', '?'])) {
        sink.warn(&format!("Get-Command : {name} is not permitted in this session, or does not exist."))?;
    }
    Ok(())
}

fn names_entry(plan: &Plan, name: &str, entry: &Entry) -> bool {
    let resolved = || Catalog::of(plan.variant).resolve(name).is_some_and(|found| found.name == entry.name);
    wildcard(name, &entry.name, false) || resolved()
}

fn command_object(entry: &Entry) -> Object {
    Object::new("Command")
        .with("CommandType", if entry.name.contains('-') { "Cmdlet" } else { "Function" })
        .with("Name", entry.name.clone())
        .with("Module", entry.module)
        .with("Group", entry.groups.join(", "))
        .with("Effects", entry.effects.to_string())
        .with("Provider", entry.availability(Machine::current()).to_string())
}

fn get_help(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let Some(name) = plan.call.text("Name") else {
        return Ok(sink.emit(overview(plan).into())?);
    };
    let resolved = Catalog::of(plan.variant).resolve(name);
    let entries: Vec<_> = rights(plan)
        .filter(|entry| {
            wildcard(name, &entry.name, false) || resolved.is_some_and(|found| found.name == entry.name)
        })
        .collect();
    match entries.as_slice() {
        [] => Err(ProviderError::failed(format!(
            "Get-Help : no help for {name}: it is not permitted in this session."
        ))),
        [one] => Ok(sink.emit(help_object(one, plan).into())?),
        many => Ok(many.iter().try_for_each(|entry| sink.emit(command_object(entry).into()))?),
    }
}

fn overview(plan: &Plan) -> Object {
    Object::new("Help")
        .with("Name", "Remote support session")
        .with("Synopsis", "One line is one pipeline of permitted commands: NAME -Parameter value | NAME ...")
        .with("Syntax", "Get-Help NAME; Get-Command lists what is permitted; exit ends the session")
        .with("Level", plan.level.to_string())
        .with("Effects", "every line is on record before it runs")
        .with("Provider", "values are literals: text in single quotes, numbers, lists with commas")
}

fn help_object(entry: &Entry, plan: &Plan) -> Object {
    let definition = entry.definition;
    let wanted = plan.call.texts("Parameter");
    let parameters = definition.map_or(&[][..], |definition| definition.parameters);
    let shown = parameters.iter().filter(|parameter| fits_any(wanted, parameter.name));
    let properties = definition.map_or(&[][..], |definition| definition.properties);
    let aliases =
        catalog::aliases().filter(|(_, target)| *target == entry.name).map(|(alias, _)| Value::from(alias));
    Object::new("Help")
        .with("Name", entry.name.clone())
        .with(
            "Synopsis",
            match (definition, entry.closed()) {
                (Some(own), _) => own.about.to_owned(),
                (None, Some(why)) => format!("Published command that stays closed here: {why}"),
                (None, None) => String::new(),
            },
        )
        .with("Syntax", syntax(entry, parameters))
        .with("Module", entry.module)
        .with("Level", entry.level.to_string())
        .with("Effects", entry.effects.to_string())
        .with("Provider", entry.availability(Machine::current()).to_string())
        .with("Aliases", aliases.collect::<Vec<_>>())
        .with("Parameters", shown.map(parameter_text).collect::<Vec<_>>())
        .with("Properties", properties.iter().map(|name| Value::from(*name)).collect::<Vec<_>>())
}

fn syntax(entry: &Entry, parameters: &[Parameter]) -> String {
    let mut text = entry.name.clone();
    let switches = |parameter: &&Parameter| entry.name != "Where-Object" || parameter.position.is_some();
    for parameter in parameters.iter().filter(switches) {
        let name = if parameter.position.is_some() {
            format!("[-{}]", parameter.name)
        } else {
            format!("-{}", parameter.name)
        };
        let value = match parameter.kind {
            catalog::Kind::Switch => String::new(),
            catalog::Kind::Integer(..) => String::from(" <number>"),
            _ => String::from(" <text>"),
        };
        let list = if parameter.items_max > 1 { "[,...]" } else { "" };
        let one = format!("{name}{value}{list}");
        text.push_str(&if parameter.mandatory { format!(" {one}") } else { format!(" [{one}]") });
    }
    if entry.name == "Where-Object" {
        text.push_str(
            " -EQ|-NE|-GT|-GE|-LT|-LE|-Like|-NotLike|-Match|-NotMatch|-Contains|-NotContains|-In|-NotIn|-Not",
        );
    }
    text
}

fn parameter_text(parameter: &Parameter) -> Value {
    Value::from(format!("-{}: {} ({})", parameter.name, parameter.about, parameter.describe()))
}

fn get_format_data(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    for (name, kind) in views::all().filter(|(name, _)| fits_any(plan.call.texts("TypeName"), name)) {
        sink.emit(
            Object::new("FormatData").with("TypeName", name).with("FormatViewDefinition", kind).into(),
        )?;
    }
    Ok(())
}
