//! What is bound to adapters, how far they reach, and which addresses are preferred.

use std::path::Path;

use super::adapters::{adapters, description, each};
use super::routes::default_routes;
use super::{flag, line, link_name, names, number, text};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Components that can be bound, by PowerShell's identifiers.
const COMPONENTS: &[(&str, &str)] = &[
    ("ms_tcpip", "Internet Protocol Version 4 (TCP/IPv4)"),
    ("ms_tcpip6", "Internet Protocol Version 6 (TCP/IPv6)"),
    ("ms_bridge", "Bridge port"),
    ("ms_implat", "Team member"),
];

pub(super) fn get_binding(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let all = adapters(plan);
    let objects = all.iter().flat_map(|(name, directory)| {
        COMPONENTS.iter().map(move |(id, label)| {
            Object::new("NetAdapterBinding")
                .with("Name", name.clone())
                .with("DisplayName", *label)
                .with("ComponentID", *id)
                .with("Enabled", is_bound(id, name, directory))
                .with("ifIndex", number(&directory.join("ifindex")))
        })
    });
    let filters = [("Name", "Name"), ("ComponentID", "ComponentID"), ("DisplayName", "DisplayName")];
    answer(plan, sink, objects, &filters)
}

fn is_bound(component: &str, name: &str, directory: &Path) -> bool {
    let settings = |family: &str| Path::new("/proc/sys/net").join(family).join("conf").join(name);
    match component {
        "ms_tcpip" => settings("ipv4").exists(),
        "ms_tcpip6" => flag(&settings("ipv6").join("disable_ipv6")) == Some(false),
        "ms_bridge" => directory.join("brport").exists(),
        _ => directory.join("bonding_slave").exists(),
    }
}

pub(super) fn get_rdma(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let device = names(directory.join("device/infiniband")).into_iter().next()?;
        let ports = Path::new("/sys/class/infiniband").join(&device).join("ports");
        let active = names(&ports)
            .iter()
            .any(|port| line(ports.join(port).join("state")).is_some_and(|state| state.contains("ACTIVE")));
        Some(
            Object::new("NetAdapterRdma")
                .with("Name", name.to_owned())
                .with("InterfaceDescription", description(directory))
                .with("Enabled", active)
                .with("ifIndex", number(&directory.join("ifindex")))
                .with("Device", device),
        )
    })
}

pub(super) fn get_sriov_vf(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let all = adapters(plan);
    let objects = all.iter().flat_map(|(name, directory)| {
        let device = directory.join("device");
        names(&device).into_iter().filter_map(move |entry| {
            let number: i64 = entry.strip_prefix("virtfn")?.parse().ok()?;
            let function = device.join(&entry);
            Some(
                Object::new("NetAdapterSriovVf")
                    .with("Name", name.clone())
                    .with("FunctionID", number)
                    .with("Slot", link_name(&function))
                    .with("DriverName", link_name(function.join("driver"))),
            )
        })
    });
    answer(plan, sink, objects, &[("Name", "Name")])
}

pub(super) fn get_team_nic(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        directory.join("bonding").exists().then(|| {
            Object::new("NetLbfoTeamNic")
                .with("Name", name.to_owned())
                .with("Team", name.to_owned())
                .with("VlanID", Value::Null)
                .with("Primary", true)
                .with("ReceiveLinkSpeed", super::adapters::link_speed(directory))
                .with("ifIndex", number(&directory.join("ifindex")))
        })
    })
}

pub(super) fn get_connection_profile(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let ways = default_routes();
    let network = text("/etc/resolv.conf").and_then(|text| search_domain(&text));
    let connected =
        adapters(plan).into_iter().filter(|(_, directory)| flag(&directory.join("carrier")) == Some(true));
    let objects = connected.map(|(name, directory)| {
        let reach = |is_v4: bool, family: &str| match ways
            .iter()
            .any(|(own, v4)| *own == name && *v4 == is_v4)
        {
            true => "LocalNetwork",
            false if Path::new("/proc/sys/net").join(family).join("conf").join(&name).exists() => "Subnet",
            false => "Disconnected",
        };
        Object::new("NetConnectionProfile")
            .with("Name", network.clone().unwrap_or_else(|| name.clone()))
            .with("InterfaceAlias", name.clone())
            .with("InterfaceIndex", number(&directory.join("ifindex")))
            .with("IPv4Connectivity", reach(true, "ipv4"))
            .with("IPv6Connectivity", reach(false, "ipv6"))
    });
    let filters = ["Name", "InterfaceAlias", "InterfaceIndex"];
    answer(plan, sink, objects, &filters.map(|name| (name, name)))
}

/// The domain that the resolver completes names with.
fn search_domain(text: &str) -> Option<String> {
    let words = text.lines().find_map(|line| {
        line.trim().strip_prefix("search ").or_else(|| line.trim().strip_prefix("domain "))
    })?;
    words.split_whitespace().next().map(str::to_owned)
}

/// What the C library takes if `/etc/gai.conf` does not say otherwise: prefix, precedence, label.
const POLICIES: &[(&str, i64, i64)] = &[
    ("::1/128", 50, 0),
    ("::/0", 40, 1),
    ("2002::/16", 30, 2),
    ("::/96", 20, 3),
    ("::ffff:0:0/96", 10, 4),
    ("fec0::/10", 40, 5),
    ("fc00::/7", 40, 6),
    ("2001::/32", 40, 7),
];

pub(super) fn get_prefix_policy(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let configuration = text("/etc/gai.conf").unwrap_or_default();
    let objects = policies(&configuration).into_iter().map(|(prefix, precedence, label)| {
        Object::new("NetPrefixPolicy")
            .with("Prefix", prefix)
            .with("Precedence", precedence)
            .with("Label", label)
    });
    answer(plan, sink, objects, &[("Prefix", "Prefix")])
}

/// The table in force: a configuration's own precedences or labels take the place of all built-in ones.
fn policies(configuration: &str) -> Vec<(String, Option<i64>, Option<i64>)> {
    let own = |keyword: &str| -> Vec<(String, i64)> {
        let rules = configuration.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (first, prefix, value) = (words.next()?, words.next()?, words.next()?);
            (first == keyword).then(|| Some((prefix.to_owned(), value.parse().ok()?)))?
        });
        rules.collect()
    };
    let builtin = |pick: fn(&(&str, i64, i64)) -> i64| -> Vec<_> {
        POLICIES.iter().map(|policy| (policy.0.to_owned(), pick(policy))).collect()
    };
    let table = |keyword: &str, pick| {
        Some(own(keyword)).filter(|own| !own.is_empty()).unwrap_or_else(|| builtin(pick))
    };
    let (precedences, labels) = (table("precedence", |policy| policy.1), table("label", |policy| policy.2));
    let value =
        |table: &[(String, i64)], prefix: &str| table.iter().find(|own| own.0 == prefix).map(|own| own.1);
    let mut prefixes: Vec<String> = precedences.iter().chain(&labels).map(|own| own.0.clone()).collect();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(value(&precedences, prefix)));
    let mut seen = std::collections::BTreeSet::new();
    prefixes.retain(|prefix| seen.insert(prefix.clone()));
    prefixes
        .into_iter()
        .map(|prefix| (value(&precedences, &prefix), value(&labels, &prefix), prefix))
        .map(|(precedence, label, prefix)| (prefix, precedence, label))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_takes_the_place_of_the_built_in_table() {
        let builtin = policies("# precedence ::1/128 1\n");
        assert_eq!(builtin.len(), POLICIES.len());
        assert_eq!(builtin[0], (String::from("::1/128"), Some(50), Some(0)));
        let own = policies("precedence ::ffff:0:0/96 100 # IPv4 first\nprecedence ::1/128 50\n");
        assert_eq!(own[0], (String::from("::ffff:0:0/96"), Some(100), Some(4)));
        assert_eq!(own.iter().filter(|policy| policy.1.is_some()).count(), 2);
    }

    #[test]
    fn the_first_search_domain_names_the_network() {
        assert_eq!(
            search_domain("nameserver ::1\nsearch site.example other\n").as_deref(),
            Some("site.example")
        );
        assert_eq!(search_domain("nameserver ::1\n"), None);
    }
}
