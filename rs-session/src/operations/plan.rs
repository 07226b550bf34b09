//! The decision: a line becomes a typed plan, or a refusal with the place and the reason.
//!
//! A [`Plan`] is all that a worker ever gets. It holds names and values that were checked against the definition of the
//! command; there is no text in it that anything would read as a program. The worker checks it again with
//! [`Plan::check`], so that a plan is as safe as its definition wherever it comes from.

use std::collections::BTreeMap;

use rs_consent::AccessLevel;
use serde::{Deserialize, Serialize};

use super::catalog::{
    Availability, Catalog, Effects, Entry, Form, Kind, Machine, Parameter, Policy, Role, Variant,
};
use super::compare::{Comparison, Operator, Test};
use super::critical::ServiceRules;
use super::language::{
    self, ARGUMENTS_MAX, Literal, LiteralKind, Number, Pipeline, STAGES_MAX, VALUE_CHARS_MAX,
};
use super::objects::Value;
use super::own_rules::CommandRules;
use super::refused::{Code, Refused};

pub use self::limits::Limits;

pub(super) mod bind;
mod limits;
mod suggest;

/// Narrowest line of text that formatters work with.
pub const WIDTH_MIN: u16 = 40;
/// Widest line of text that formatters work with.
pub const WIDTH_MAX: u16 = 1000;
/// Width of a line of text if none is asked for.
pub const WIDTH_DEFAULT: u16 = 120;

/// How results leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputForm {
    /// Text in lines of at most so many characters, as a PowerShell host prints it.
    Text {
        /// Characters per line, [`WIDTH_MIN`] to [`WIDTH_MAX`]; other values are moved to the nearer bound.
        width: u16,
    },
    /// Objects, one JSON text per line.
    Objects,
}

impl Default for OutputForm {
    fn default() -> Self {
        Self::Text { width: WIDTH_DEFAULT }
    }
}

/// What a line is judged against.
#[derive(Clone, Debug)]
pub struct Context {
    /// Lists in force.
    pub variant: Variant,
    /// Level of the session.
    pub level: AccessLevel,
    /// What the owner takes away.
    pub policy: Policy,
    /// Services that the owner protects.
    pub services: ServiceRules,
    /// Commands that the owner takes out.
    pub commands: CommandRules,
    /// What the machine has.
    pub machine: Machine,
    /// How results leave.
    pub form: OutputForm,
    /// What one operation may use.
    pub limits: Limits,
}

impl Context {
    /// Azure Local's lists on this machine, nothing taken away, text of [`WIDTH_DEFAULT`], default limits.
    #[must_use]
    pub fn new(level: AccessLevel) -> Self {
        Self {
            variant: Variant::default(),
            level,
            policy: Policy::default(),
            services: ServiceRules::default(),
            commands: CommandRules::default(),
            machine: Machine::current(),
            form: OutputForm::default(),
            limits: Limits::default(),
        }
    }

    /// The lists in force.
    #[must_use]
    pub fn catalog(&self) -> &'static Catalog {
        Catalog::of(self.variant)
    }

    /// Reads and judges a line in one go.
    ///
    /// # Errors
    /// [`Refused`] from the parser or from the planner.
    pub fn plan_line(&self, line: &str) -> Result<Plan, Refused> {
        plan(&language::parse(line)?, self)
    }
}

/// One value that a line gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Constant {
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}

impl From<&Literal> for Constant {
    fn from(literal: &Literal) -> Self {
        match literal.kind {
            LiteralKind::Number(Number::Integer(value)) => Self::Integer(value),
            LiteralKind::Number(Number::Float(value)) => Self::Float(value),
            LiteralKind::Word | LiteralKind::Quoted => Self::Text(literal.text.clone()),
        }
    }
}

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Self {
        match constant {
            Constant::Integer(value) => Self::Integer(*value),
            Constant::Float(value) => Self::Float(*value),
            Constant::Text(text) => Self::from(text.clone()),
        }
    }
}

/// The values of one parameter of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// A switch.
    Switch(bool),
    /// Texts, one or more.
    Texts(Vec<String>),
    /// Whole numbers, one or more.
    Integers(Vec<i64>),
    /// Literals of any type, one or more.
    Literals(Vec<Constant>),
}

/// A source command with its checked arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Call {
    /// Name as published.
    pub command: String,
    /// Arguments by parameter name as defined.
    #[serde(default)]
    pub arguments: BTreeMap<String, Bound>,
}

impl Call {
    /// The texts of a parameter; empty if it was not given.
    #[must_use]
    pub fn texts(&self, name: &str) -> &[String] {
        match self.arguments.get(name) {
            Some(Bound::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The command and the texts that it is given, for people: `Stop-Service cron`.
    #[must_use]
    pub fn summary(&self) -> String {
        let texts = self.arguments.values().filter_map(|bound| match bound {
            Bound::Texts(texts) => Some(texts.join(", ")),
            _ => None,
        });
        std::iter::once(self.command.clone()).chain(texts).collect::<Vec<_>>().join(" ")
    }

    /// The first text of a parameter.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).first().map(String::as_str)
    }

    /// The numbers of a parameter; empty if it was not given.
    #[must_use]
    pub fn integers(&self, name: &str) -> &[i64] {
        match self.arguments.get(name) {
            Some(Bound::Integers(values)) => values,
            _ => &[],
        }
    }

    /// True if a switch is on.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        matches!(self.arguments.get(name), Some(Bound::Switch(true)))
    }

    fn literals(&self, name: &str) -> &[Constant] {
        match self.arguments.get(name) {
            Some(Bound::Literals(values)) => values,
            _ => &[],
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.integers(name).first().and_then(|value| u64::try_from(*value).ok())
    }
}

/// One step behind the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Stage {
    /// Where-Object.
    Where {
        /// Property to compare.
        property: String,
        /// The comparison.
        comparison: Comparison,
        /// Values on its right side.
        values: Vec<Constant>,
    },
    /// Sort-Object.
    Sort {
        /// Properties to sort by, first one first; empty sorts by the object's text.
        properties: Vec<String>,
        /// Largest first.
        descending: bool,
        /// Without repeats.
        unique: bool,
        /// Upper and lower case differ.
        case_sensitive: bool,
        /// Only the first so many.
        top: Option<u64>,
        /// Only the last so many.
        bottom: Option<u64>,
    },
    /// Select-Object.
    Select {
        /// Properties to keep, wildcards permitted; empty keeps the object as it is.
        properties: Vec<String>,
        /// Properties to drop.
        exclude: Vec<String>,
        /// Property whose values are given themselves.
        expand: Option<String>,
        /// So many from the beginning.
        first: Option<u64>,
        /// So many from the end.
        last: Option<u64>,
        /// Leaves out so many, at the beginning, or at the end together with `last`.
        skip: u64,
        /// Without repeats.
        unique: bool,
    },
    /// Measure-Object.
    Measure {
        /// Properties to measure; empty only counts.
        properties: Vec<String>,
        /// Adds up.
        sum: bool,
        /// Arithmetic mean.
        average: bool,
        /// Largest value.
        maximum: bool,
        /// Smallest value.
        minimum: bool,
    },
    /// Format-Table.
    Table {
        /// Properties to show, wildcards permitted; empty takes the default view.
        properties: Vec<String>,
        /// Widths from all objects instead of the first ones.
        auto_size: bool,
        /// No header.
        hide_headers: bool,
        /// Long cells go on in the next line.
        wrap: bool,
    },
    /// Format-List.
    List {
        /// Properties to show, wildcards permitted; empty takes the default view.
        properties: Vec<String>,
    },
    /// Out-Default.
    Default,
}

/// What may run: typed, checked, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// Lists in force.
    pub variant: Variant,
    /// Level of the session.
    pub level: AccessLevel,
    /// What the owner takes away.
    pub policy: Policy,
    /// Services that the owner protects.
    #[serde(default, skip_serializing_if = "ServiceRules::is_empty")]
    pub services: ServiceRules,
    /// Commands that the owner takes out.
    #[serde(default, skip_serializing_if = "CommandRules::is_empty")]
    pub commands: CommandRules,
    /// The source.
    pub call: Call,
    /// What follows it.
    pub stages: Vec<Stage>,
    /// How results leave.
    pub form: OutputForm,
    /// What the operation may use.
    pub limits: Limits,
}

/// A plan that does not agree with the lists and definitions of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan does not fit the catalog of this program: {0}; nothing was run")]
pub struct PlanMismatch(String);

impl Plan {
    /// Published name of the source.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.call.command
    }

    /// What the operation does beyond giving an answer.
    #[must_use]
    pub fn effects(&self) -> Effects {
        self.entry().map(|entry| entry.effects).unwrap_or_default()
    }

    /// True for Exit-PSSession: the session ends, nothing runs.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        self.call.command == "Exit-PSSession"
    }

    /// True for Clear-Host: the engineer's screen is cleared, nothing runs.
    #[must_use]
    pub fn clears_screen(&self) -> bool {
        self.call.command == "Clear-Host"
    }

    /// What the catalog says about the command; `None` if this engine cannot run it.
    #[must_use]
    pub fn definition(&self) -> Option<&'static super::catalog::Definition> {
        self.entry()?.definition
    }

    fn entry(&self) -> Option<&'static Entry> {
        Catalog::of(self.variant).resolve(&self.call.command).filter(|entry| entry.name == self.call.command)
    }

    /// Judges the plan once more, from the data in it: the command, its level, its arguments and every bound.
    ///
    /// # Errors
    /// [`PlanMismatch`] says what does not fit; such a plan must not run.
    pub fn check(&self) -> Result<(), PlanMismatch> {
        let mismatch = |what: &str| PlanMismatch(what.to_owned());
        let entry = self.entry().ok_or_else(|| mismatch("unknown command"))?;
        let taken_out = self.commands.take_out(&entry.name);
        if taken_out || !entry.permitted_at(self.level) || !self.policy.keeps(entry, self.level) {
            return Err(mismatch("command not permitted"));
        }
        let definition = entry.definition.ok_or_else(|| mismatch("command without definition"))?;
        if !matches!(definition.role, Role::Source | Role::Session) {
            return Err(mismatch("not a source"));
        }
        for (name, bound) in &self.call.arguments {
            let parameter = definition.parameters.iter().find(|parameter| parameter.name == name);
            let parameter = parameter.ok_or_else(|| mismatch("unknown parameter"))?;
            bind::check_bound(parameter, bound).map_err(|why| PlanMismatch(format!("-{name}: {why}")))?;
        }
        let given = |parameter: &&Parameter| self.call.arguments.contains_key(parameter.name);
        if !definition
            .parameters
            .iter()
            .filter(|parameter| parameter.mandatory)
            .all(|parameter| given(&parameter))
        {
            return Err(mismatch("a parameter is missing"));
        }
        if let Some((name, why)) = protected_service(&self.call, &self.services) {
            return Err(PlanMismatch(format!("{name} {why}")));
        }
        let limits_fit = self.limits.fault().is_none();
        if self.stages.len() >= STAGES_MAX || !limits_fit || !self.stages.iter().all(stage_is_bounded) {
            return Err(mismatch("a limit is passed"));
        }
        Ok(())
    }
}

/// True if no list and no text of a stage passes the language's limits.
fn stage_is_bounded(stage: &Stage) -> bool {
    let names = |names: &[String]| {
        names.len() <= ARGUMENTS_MAX && names.iter().all(|name| name.chars().count() <= VALUE_CHARS_MAX)
    };
    let constant = |constant: &Constant| match constant {
        Constant::Text(text) => text.chars().count() <= VALUE_CHARS_MAX,
        Constant::Integer(_) | Constant::Float(_) => true,
    };
    match stage {
        Stage::Where { property, comparison, values } => {
            names(std::slice::from_ref(property))
                && values.len() <= ARGUMENTS_MAX
                && values.iter().all(constant)
                && Test::new(*comparison, values.iter().map(Value::from).collect()).is_ok()
        }
        Stage::Select { properties, exclude, expand, .. } => {
            names(properties) && names(exclude) && names(expand.as_slice())
        }
        Stage::Sort { properties, .. }
        | Stage::Measure { properties, .. }
        | Stage::Table { properties, .. }
        | Stage::List { properties } => names(properties),
        Stage::Default => true,
    }
}

/// The service that a call would start or stop although it must not, and why.
pub(super) fn protected_service<'a>(call: &'a Call, rules: &ServiceRules) -> Option<(&'a str, &'static str)> {
    if !matches!(call.command.as_str(), "Start-Service" | "Stop-Service") {
        return None;
    }
    call.texts("Name").iter().find_map(|name| Some((name.as_str(), rules.refusal(name)?)))
}

/// Judges a parsed line.
///
/// # Errors
/// [`Refused`] with the place, the code and what to do: unknown or not permitted commands, unknown, ambiguous or
/// closed parameters, values outside their constraint, commands that this node cannot run.
pub fn plan(line: &Pipeline, context: &Context) -> Result<Plan, Refused> {
    let Some((first, rest)) = line.stages.split_first() else {
        return Err(Refused::new(Code::Empty, 1, "nothing to run; Get-Command lists what is permitted"));
    };
    let entry = permitted(first, context)?;
    if rest.is_empty() && help_is_asked(first) {
        return Ok(help_plan(entry, context));
    }
    let call = source(first, entry, rest.len(), context)?;
    let mut stages = Vec::with_capacity(rest.len());
    let mut formatted = false;
    for command in rest {
        let stage = filter(command, permitted(command, context)?, formatted, context)?;
        formatted |= matches!(stage, Stage::Table { .. } | Stage::List { .. } | Stage::Default);
        stages.push(stage);
    }
    Ok(Plan {
        variant: context.variant,
        level: context.level,
        policy: context.policy,
        services: context.services.clone(),
        commands: context.commands.clone(),
        call,
        stages,
        form: context.form,
        limits: context.limits,
    })
}

/// The published command behind a name, if level and policy permit it.
fn permitted(command: &language::Command, context: &Context) -> Result<&'static Entry, Refused> {
    let catalog = context.catalog();
    let written = match &command.module {
        Some(module) => format!("{module}\\{}", command.name),
        None => command.name.clone(),
    };
    let refuse = |code, message: String| Err(Refused::new(code, command.column, message));
    let Some(entry) = catalog.resolve(&written) else {
        return refuse(Code::UnknownCommand, suggest::unknown_command(&written, context));
    };
    if !entry.permitted_at(context.level) {
        let message = format!(
            "{} needs the level DiagnosticsRepair; this session has Diagnostics. Ask the operator",
            entry.name
        );
        return refuse(Code::NeedsRepair, message);
    }
    if context.commands.take_out(&entry.name) {
        let message = format!("{} is taken out of every level by the owner of the node", entry.name);
        return refuse(Code::PolicyExcludes, message);
    }
    if !context.policy.keeps(entry, context.level) {
        let message = format!("{} changes state, and the owner keeps Diagnostics read-only", entry.name);
        return refuse(Code::PolicyExcludes, message);
    }
    Ok(entry)
}

fn help_is_asked(command: &language::Command) -> bool {
    matches!(command.arguments.as_slice(), [language::Argument::Parameter { name, value: None, .. }] if name == "?")
}

/// `NAME -?` is Get-Help NAME.
fn help_plan(entry: &Entry, context: &Context) -> Plan {
    let arguments = BTreeMap::from([("Name".to_owned(), Bound::Texts(vec![entry.name.clone()]))]);
    Plan {
        variant: context.variant,
        level: context.level,
        policy: context.policy,
        services: context.services.clone(),
        commands: context.commands.clone(),
        call: Call { command: String::from("Get-Help"), arguments },
        stages: Vec::new(),
        form: context.form,
        limits: context.limits,
    }
}

/// The definition of a permitted command that this machine can run.
fn runnable(
    command: &language::Command,
    entry: &'static Entry,
    context: &Context,
) -> Result<&'static super::catalog::Definition, Refused> {
    let refuse = |why: &str| {
        let message = format!("{} is permitted, but not available here: {why}", entry.name);
        Err(Refused::new(Code::NotAvailable, command.column, message))
    };
    match (entry.availability(context.machine), entry.definition) {
        (Availability::None { why }, _) => refuse(&why),
        (Availability::Native | Availability::PowerShell, Some(definition)) => Ok(definition),
        (_, None) => refuse("this program has no definition of it"),
    }
}

fn source(
    command: &language::Command,
    entry: &'static Entry,
    followers: usize,
    context: &Context,
) -> Result<Call, Refused> {
    let refuse = |code, message: String| Err(Refused::new(code, command.column, message));
    let is_source =
        entry.definition.is_none_or(|definition| matches!(definition.role, Role::Source | Role::Session));
    if !is_source {
        return refuse(
            Code::NeedsInput,
            format!("{} works on input; put it behind a command and a pipe", entry.name),
        );
    }
    let definition = runnable(command, entry, context)?;
    if definition.role == Role::Session && followers > 0 {
        return refuse(Code::StandsAlone, format!("{} stands alone on its line", entry.name));
    }
    let call = bind::bind(command, definition)?;
    if let Some((name, why)) = protected_service(&call, &context.services) {
        let message = format!("{name} {why} and is neither started nor stopped from a session");
        return refuse(Code::ProtectedService, message);
    }
    Ok(call)
}

fn filter(
    command: &language::Command,
    entry: &'static Entry,
    formatted: bool,
    context: &Context,
) -> Result<Stage, Refused> {
    let refuse = |code, message: String| Err(Refused::new(code, command.column, message));
    let role = entry.definition.map(|definition| definition.role);
    if !matches!(role, Some(Role::Filter | Role::Formatter)) {
        let code = if role == Some(Role::Session) { Code::StandsAlone } else { Code::TakesNoInput };
        return refuse(code, format!("{} takes no input; put it first on a line of its own", entry.name));
    }
    if formatted && entry.name != "Out-Default" {
        return refuse(Code::AfterFormat, format!("a formatter comes last; put {} before it", entry.name));
    }
    let definition = runnable(command, entry, context)?;
    stage(command, &bind::bind(command, definition)?)
}

/// A pipeline command's bound arguments as a typed stage.
fn stage(command: &language::Command, call: &Call) -> Result<Stage, Refused> {
    let properties = call.texts("Property").to_vec();
    Ok(match call.command.as_str() {
        "Where-Object" => return where_stage(command, call),
        "Sort-Object" => Stage::Sort {
            properties,
            descending: call.switch("Descending"),
            unique: call.switch("Unique"),
            case_sensitive: call.switch("CaseSensitive"),
            top: call.number("Top"),
            bottom: call.number("Bottom"),
        },
        "Select-Object" => Stage::Select {
            properties,
            exclude: call.texts("ExcludeProperty").to_vec(),
            expand: call.text("ExpandProperty").map(str::to_owned),
            first: call.number("First"),
            last: call.number("Last"),
            skip: call.number("Skip").unwrap_or(0),
            unique: call.switch("Unique"),
        },
        "Measure-Object" => Stage::Measure {
            properties,
            sum: call.switch("Sum"),
            average: call.switch("Average"),
            maximum: call.switch("Maximum"),
            minimum: call.switch("Minimum"),
        },
        "Format-Table" => Stage::Table {
            properties,
            auto_size: call.switch("AutoSize"),
            hide_headers: call.switch("HideTableHeaders"),
            wrap: call.switch("Wrap"),
        },
        "Format-List" => Stage::List { properties },
        "Out-Default" => Stage::Default,
        other => {
            let message = format!("{other} is not available here as a part of a pipeline");
            return Err(Refused::new(Code::NotAvailable, command.column, message));
        }
    })
}

fn where_stage(command: &language::Command, call: &Call) -> Result<Stage, Refused> {
    let refuse = |code, message: &str| Err(Refused::new(code, command.column, message));
    let mut comparisons = call
        .arguments
        .iter()
        .filter(|(_, bound)| **bound == Bound::Switch(true))
        .filter_map(|(name, _)| Comparison::by_name(name));
    let comparison =
        comparisons.next().unwrap_or(Comparison { operator: Operator::True, case_sensitive: false });
    if comparisons.next().is_some() {
        return refuse(
            Code::OperatorNotPermitted,
            "give one comparison; put a second Where-Object behind a pipe",
        );
    }
    let values = call.literals("Value").to_vec();
    let wanted = match comparison.operator {
        Operator::True | Operator::Not => 0..=0,
        Operator::In | Operator::NotIn => 1..=ARGUMENTS_MAX,
        _ => 1..=1,
    };
    if values.is_empty() && *wanted.start() > 0 {
        return refuse(
            Code::MissingValue,
            "the comparison has no value, as in: Where-Object Status -eq Running",
        );
    }
    if !wanted.contains(&values.len()) {
        let message = if *wanted.end() == 0 {
            "a comparison is missing, as in: Where-Object Status -eq Running"
        } else {
            "this comparison takes one value; use -In for several"
        };
        let column = column_of_value(command, &values);
        return Err(Refused::new(Code::UnexpectedArgument, column, message));
    }
    if let Err(why) = Test::new(comparison, values.iter().map(Value::from).collect()) {
        return Err(Refused::new(Code::OutOfConstraint, column_of_value(command, &values), why));
    }
    let property = call.text("Property").unwrap_or_default().to_owned();
    Ok(Stage::Where { property, comparison, values })
}

/// Column of the literal that the first of `values` was made of.
fn column_of_value(command: &language::Command, values: &[Constant]) -> u32 {
    let mut items = command.arguments.iter().flat_map(|argument| match argument {
        language::Argument::Value { items, .. } => items.as_slice(),
        language::Argument::Parameter { value, .. } => value.as_deref().unwrap_or_default(),
    });
    let made = |item: &&Literal| values.first() == Some(&Constant::from(*item));
    items.rfind(made).map_or(command.column, |item| item.column)
}

#[cfg(test)]
mod tests;
