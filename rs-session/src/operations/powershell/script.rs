//! The script at the other end, made from the catalog.

use rs_consent::AccessLevel;

use super::message::{CALL_BYTES_MAX, OBJECT_BYTES_MAX, PROPERTIES_MAX, TEXT_BYTES_MAX};
use crate::operations::catalog::{Catalog, Entry, Kind, Parameter, Policy, Role};
use crate::operations::jea::{Constraint, literal, literals};

/// The script; what stands between `@` is filled in here.
const TEMPLATE: &str = include_str!("endpoint.ps1");

/// The endpoint's script for a level under a policy: ASCII, lines ended by line feeds.
///
/// It permits every source that has a description of its parameters, with their constraints. Filters and formatters are
/// not in it, as they run on the node's side.
///
/// ```
/// use rs_session::operations::{powershell::endpoint_script, Catalog, Policy};
/// use rs_consent::AccessLevel;
///
/// let script = endpoint_script(Catalog::azure_local(), AccessLevel::Diagnostics, Policy::default());
/// assert!(script.contains("'Get-Service' = @{") && !script.contains("'Stop-Service'"));
/// ```
#[must_use]
pub fn endpoint_script(catalog: &Catalog, level: AccessLevel, policy: Policy) -> String {
    let rules: Vec<_> = catalog.permitted(level, policy).filter_map(rule).collect();
    let mut script = TEMPLATE.to_owned();
    for (name, value) in [
        ("CALL_BYTES_MAX", CALL_BYTES_MAX),
        ("OBJECT_BYTES_MAX", OBJECT_BYTES_MAX),
        ("TEXT_BYTES_MAX", TEXT_BYTES_MAX),
        ("PROPERTIES_MAX", PROPERTIES_MAX),
    ] {
        script = script.replace(&format!("@{name}@"), &value.to_string());
    }
    script
        .replace("@RIGHTS@", &literal(&catalog.rights_sha256(level, policy)))
        .replace("@ALLOWED@", &rules.join("\n"))
}

fn rule(entry: &Entry) -> Option<String> {
    let definition = entry.definition.filter(|own| own.role == Role::Source)?;
    let parameters: Vec<_> = definition.parameters.iter().map(parameter).collect();
    let module = entry.module.map_or_else(|| String::from("$null"), literal);
    Some(format!(
        "    {} = @{{ Module = {module}; Parameters = @{{ {} }} }}",
        literal(&entry.name),
        parameters.join("; ")
    ))
}

fn parameter(parameter: &Parameter) -> String {
    let rule = match (parameter.kind, Constraint::of(parameter)) {
        (Kind::Integer(low, high), _) => format!("Kind = 'integers'; Low = {low}; High = {high}"),
        (_, Constraint::Switch) => String::from("Kind = 'switch'"),
        (_, Constraint::Set(words)) => {
            format!(
                "Kind = 'texts'; Set = @({}); Pattern = $null",
                literals(words.iter().map(String::as_str))
            )
        }
        (_, Constraint::Pattern(pattern)) => {
            format!("Kind = 'texts'; Set = $null; Pattern = {}", literal(&pattern))
        }
    };
    format!("{} = @{{ {rule}; ItemsMax = {} }}", literal(parameter.name), parameter.items_max)
}
