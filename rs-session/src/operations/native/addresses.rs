//! Get-NetIPAddress.

use std::net::IpAddr;

use sysinfo::Networks;

use super::{answer, platform};
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Parameters of commands about interfaces and the properties they choose by.
pub(super) const INTERFACE_FILTERS: &[(&str, &str)] = &[
    ("InterfaceAlias", "InterfaceAlias"),
    ("InterfaceIndex", "InterfaceIndex"),
    ("AddressFamily", "AddressFamily"),
    ("IPAddress", "IPAddress"),
];

pub(super) fn get_net_ip_address(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let networks = Networks::new_with_refreshed_list()
        .map_err(|error| ProviderError::failed(format!("Get-NetIPAddress : {error}")))?;
    let mut objects = Vec::new();
    for (name, data) in &networks {
        let name = name.to_string_lossy();
        for network in data.ip_networks() {
            objects.push(object(&name, network.addr, network.prefix));
        }
    }
    objects.sort_by(|a, b| {
        let key = |object: &Object, name| object.get(name).cloned().unwrap_or(Value::Null);
        let by = |name| key(a, name).order(&key(b, name));
        by("InterfaceIndex")
            .then_with(|| by("InterfaceAlias"))
            .then_with(|| by("AddressFamily"))
            .then_with(|| by("IPAddress"))
    });
    answer(plan, sink, objects, INTERFACE_FILTERS)
}

/// Addresses by the names of their interfaces.
#[cfg(target_os = "linux")]
pub(super) fn by_interface() -> Result<std::collections::BTreeMap<String, Vec<IpAddr>>, ProviderError> {
    let networks =
        Networks::new_with_refreshed_list().map_err(|error| ProviderError::failed(error.to_string()))?;
    let own = |data: &sysinfo::NetworkData| {
        let mut addresses: Vec<_> = data.ip_networks().iter().map(|network| network.addr).collect();
        addresses.sort_unstable();
        addresses
    };
    Ok(networks.iter().map(|(name, data)| (name.to_string_lossy().into_owned(), own(data))).collect())
}

fn object(name: &str, address: IpAddr, prefix: u8) -> Object {
    Object::new("NetIPAddress")
        .with("IPAddress", address.to_string())
        .with("InterfaceIndex", platform::interface_index(name))
        .with("InterfaceAlias", name.to_owned())
        .with("AddressFamily", family(&address))
        .with("Type", if address.is_multicast() { "Multicast" } else { "Unicast" })
        .with("PrefixLength", prefix)
        .with("Scope", scope(&address))
}

/// The family as PowerShell names it.
pub(super) const fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn scope(address: &IpAddr) -> &'static str {
    match address {
        _ if address.is_loopback() => "Host",
        IpAddr::V4(address) if address.is_link_local() => "Link",
        IpAddr::V6(address) if address.is_unicast_link_local() => "Link",
        _ => "Global",
    }
}
