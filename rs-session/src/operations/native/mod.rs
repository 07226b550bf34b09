//! Providers that answer from the operating system itself: no shell, no text put together, no program except the
//! service manager by its absolute path.
//!
//! What differs between operating systems sits in [`platform`].

use super::compare::has_wildcard;
use super::objects::{Object, Value};
use super::pipeline::Sink;
use super::plan::Plan;
use super::providers::{Provider, ProviderError, fits_any};

mod addresses;
mod date;
mod observability;
mod platform;
mod processes;
mod volumes;

/// Published names and the functions that answer them, the same on every system first.
pub(super) fn providers() -> impl Iterator<Item = (&'static str, Provider)> {
    COMMON.iter().chain(platform::PROVIDERS).copied()
}

const COMMON: &[(&str, Provider)] = &[
    ("Get-Date", date::get_date),
    ("Get-NetIPAddress", addresses::get_net_ip_address),
    ("Get-Process", processes::get_process),
    ("Get-Volume", volumes::get_volume),
    ("Test-Observability", observability::test_observability),
];

/// Gives the objects that fit the call's arguments, and says which exact values fitted nothing.
///
/// `filters` joins parameters to the properties they choose by.
fn answer(
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

#[cfg(test)]
mod tests {
    use crate::operations::catalog::{Availability, Catalog, Machine, Policy, Role};
    use crate::operations::providers::Registry;
    use rs_consent::AccessLevel;

    #[test]
    fn a17_what_is_called_native_has_a_provider_and_the_other_way_round() {
        let registry = Registry::default();
        for entry in Catalog::azure_local().permitted(AccessLevel::DiagnosticsRepair, Policy::default()) {
            let native = entry.availability(Machine::current()) == Availability::Native;
            let source = entry
                .definition
                .is_some_and(|definition| matches!(definition.role, Role::Source | Role::Session));
            assert_eq!(native && source, registry.has(&entry.name), "{}", entry.name);
        }
    }
}
