//! Providers that answer from the operating system itself: no shell, no text put together, no program except the
//! service manager by its absolute path.
//!
//! What differs between operating systems sits in [`platform`].

use super::providers::{Provider, answer};

mod addresses;
mod date;
pub(super) mod facts;
mod observability;
mod platform;
mod processes;
mod volumes;

/// Published names and the functions that answer them, the same on every system first.
pub(super) fn providers() -> impl Iterator<Item = (&'static str, Provider)> {
    COMMON.iter().chain(platform::PROVIDERS).copied()
}

/// Why the source of a command that is answered natively is absent on this machine; `None` if it is there.
pub(super) fn absent(command: &str) -> Option<&'static str> {
    platform::absent(command)
}

const COMMON: &[(&str, Provider)] = &[
    ("Get-Date", date::get_date),
    ("Get-NetIPAddress", addresses::get_net_ip_address),
    ("Get-Process", processes::get_process),
    ("Get-Volume", volumes::get_volume),
    ("Test-Observability", observability::test_observability),
];

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
