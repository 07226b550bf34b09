//! Network adapters from `/sys/class/net`.

use std::path::{Path, PathBuf};

use super::{flag, line, link_name, names, number, size, text};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const ROOT: &str = "/sys/class/net";
/// Interface flag: switched on by its administrator.
const FLAG_UP: u32 = 0x1;
/// Hardware type of the loopback interface.
const TYPE_LOOPBACK: i64 = 772;
/// Parameters that choose adapters.
const FILTERS: &[(&str, &str)] = &[("Name", "Name"), ("InterfaceIndex", "ifIndex")];

/// Adapters with their directories; the loopback and other parts without hardware only if wanted.
pub(super) fn adapters(plan: &Plan) -> Vec<(String, PathBuf)> {
    let hidden = plan.call.switch("IncludeHidden");
    let physical = plan.call.switch("Physical");
    let fits = |directory: &Path| {
        (hidden || number(&directory.join("type")) != Some(TYPE_LOOPBACK))
            && (!physical || !is_virtual(directory))
    };
    let all = names(ROOT).into_iter().map(|name| (name.clone(), Path::new(ROOT).join(name)));
    all.filter(|(_, directory)| directory.join("ifindex").exists() && fits(directory)).collect()
}

fn is_virtual(directory: &Path) -> bool {
    !directory.join("device").exists()
}

/// Answers with one object per adapter.
pub(super) fn each(
    plan: &Plan,
    sink: &mut dyn Sink,
    object: impl Fn(&str, &Path) -> Option<Object>,
) -> Result<(), ProviderError> {
    answer(plan, sink, adapters(plan).iter().filter_map(|(name, directory)| object(name, directory)), FILTERS)
}

pub(super) fn get_net_adapter(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| Some(adapter(name, directory)))
}

fn adapter(name: &str, directory: &Path) -> Object {
    let read = |file: &str| line(directory.join(file));
    Object::new("NetAdapter")
        .with("Name", name.to_owned())
        .with("InterfaceDescription", description(directory))
        .with("ifIndex", number(&directory.join("ifindex")))
        .with("Status", status(read("operstate").as_deref(), flags(directory)))
        .with("MacAddress", read("address").map(|address| address.to_uppercase().replace(':', "-")))
        .with("LinkSpeed", link_speed(directory))
        .with("MtuSize", number(&directory.join("mtu")))
        .with("AdminStatus", if flags(directory) & FLAG_UP != 0 { "Up" } else { "Down" })
        .with(
            "MediaConnectionState",
            match flag(&directory.join("carrier")) {
                Some(true) => "Connected",
                Some(false) => "Disconnected",
                None => "Unknown",
            },
        )
        .with(
            "FullDuplex",
            read("duplex").filter(|duplex| duplex != "unknown").map(|duplex| duplex == "full"),
        )
        .with("Virtual", is_virtual(directory))
        .with("DriverName", link_name(directory.join("device/driver")))
}

/// Bits per second, where the adapter tells.
pub(super) fn link_speed(directory: &Path) -> Option<i64> {
    let megabits = number(&directory.join("speed")).filter(|megabits| *megabits > 0)?;
    Some(megabits.saturating_mul(1_000_000))
}

fn flags(directory: &Path) -> u32 {
    let text = line(directory.join("flags")).unwrap_or_default();
    u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}

/// The state in PowerShell's words.
fn status(operstate: Option<&str>, flags: u32) -> &'static str {
    match operstate {
        _ if flags & FLAG_UP == 0 => "Disabled",
        Some("up" | "unknown") => "Up",
        Some("notpresent") => "Not Present",
        _ => "Disconnected",
    }
}

pub(super) fn description(directory: &Path) -> String {
    if let Some(alias) = line(directory.join("ifalias")) {
        return alias;
    }
    let kind = text(directory.join("uevent"))
        .and_then(|text| Some(text.lines().find_map(|line| line.strip_prefix("DEVTYPE="))?.to_owned()));
    match (link_name(directory.join("device/driver")), kind) {
        (Some(driver), _) => format!("{driver} Ethernet adapter"),
        (None, Some(kind)) => format!("virtual {kind}"),
        (None, None) => String::from("virtual adapter"),
    }
}

pub(super) fn get_statistics(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let count = |file: &str| number(&directory.join("statistics").join(file));
        Some(
            Object::new("NetAdapterStatistics")
                .with("Name", name.to_owned())
                .with("ifIndex", number(&directory.join("ifindex")))
                .with("ReceivedBytes", size(&directory.join("statistics/rx_bytes")))
                .with("ReceivedPackets", count("rx_packets"))
                .with("ReceivedDiscardedPackets", count("rx_dropped"))
                .with("ReceivedPacketErrors", count("rx_errors"))
                .with("SentBytes", size(&directory.join("statistics/tx_bytes")))
                .with("SentPackets", count("tx_packets"))
                .with("OutboundDiscardedPackets", count("tx_dropped"))
                .with("OutboundPacketErrors", count("tx_errors"))
                .with("ReceivedMulticastPackets", count("multicast"))
                .with("Collisions", count("collisions")),
        )
    })
}

pub(super) fn get_hardware_info(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let device = directory.join("device");
        let slot = std::fs::canonicalize(&device).ok()?;
        let hex = |file: &str| line(device.join(file));
        Some(
            Object::new("NetAdapterHardwareInfo")
                .with("Name", name.to_owned())
                .with("ifIndex", number(&directory.join("ifindex")))
                .with("InterfaceDescription", description(directory))
                .with("Slot", slot.file_name().and_then(|name| name.to_str()).map(str::to_owned))
                .with("VendorId", hex("vendor"))
                .with("DeviceId", hex("device"))
                .with("NumaNode", number(&device.join("numa_node")))
                .with("PcieLinkSpeed", hex("current_link_speed"))
                .with("PcieLinkWidth", number(&device.join("current_link_width")))
                .with("DriverName", link_name(device.join("driver"))),
        )
    })
}

/// Settings of an adapter and the files that hold them.
const ADVANCED: &[(&str, &str)] = &[
    ("MTU", "mtu"),
    ("Transmit Queue Length", "tx_queue_len"),
    ("GRO Flush Timeout", "gro_flush_timeout"),
    ("Deferred Hard Interrupts", "napi_defer_hard_irqs"),
    ("Threaded Polling", "threaded"),
    ("Group", "netdev_group"),
];

pub(super) fn get_advanced_property(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let all = adapters(plan);
    let objects = all.iter().flat_map(|(name, directory)| {
        ADVANCED.iter().filter_map(move |(label, file)| {
            Some(
                Object::new("NetAdapterAdvancedProperty")
                    .with("Name", name.clone())
                    .with("DisplayName", *label)
                    .with("DisplayValue", line(directory.join(file))?)
                    .with("RegistryKeyword", *file)
                    .with("ifIndex", number(&directory.join("ifindex"))),
            )
        })
    });
    answer(plan, sink, objects, FILTERS)
}

pub(super) fn get_power_management(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let power = directory.join("device/power");
        let wake = line(power.join("wakeup"));
        Some(
            Object::new("NetAdapterPowerManagement")
                .with("Name", name.to_owned())
                .with("ifIndex", number(&directory.join("ifindex")))
                .with(
                    "WakeOnMagicPacket",
                    wake.map_or("Unsupported", |wake| if wake == "enabled" { "Enabled" } else { "Disabled" }),
                )
                .with("RuntimeStatus", line(power.join("runtime_status")))
                .with(
                    "AllowComputerToTurnOffDevice",
                    line(power.join("control")).map(|control| control == "auto"),
                ),
        )
    })
}

pub(super) fn get_rss(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let queues = names(directory.join("queues"));
        let count = |prefix: &str| {
            i64::try_from(queues.iter().filter(|queue| queue.starts_with(prefix)).count()).ok()
        };
        let receive = count("rx-");
        Some(
            Object::new("NetAdapterRss")
                .with("Name", name.to_owned())
                .with("ifIndex", number(&directory.join("ifindex")))
                .with("Enabled", receive.is_some_and(|queues| queues > 1))
                .with("NumberOfReceiveQueues", receive)
                .with("NumberOfTransmitQueues", count("tx-")),
        )
    })
}

pub(super) fn get_sriov(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let total = number(&directory.join("device/sriov_totalvfs"));
        let active = number(&directory.join("device/sriov_numvfs"));
        Some(
            Object::new("NetAdapterSriov")
                .with("Name", name.to_owned())
                .with("ifIndex", number(&directory.join("ifindex")))
                .with(
                    "SriovSupport",
                    if total.is_some_and(|total| total > 0) { "Supported" } else { "NotSupported" },
                )
                .with("Enabled", active.is_some_and(|active| active > 0))
                .with("NumVFs", active)
                .with("MaxVFs", total),
        )
    })
}

pub(super) fn get_ip_interface(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let mut objects = Vec::new();
    for name in names(ROOT) {
        for (family, number_name) in [("IPv4", "ipv4"), ("IPv6", "ipv6")] {
            let settings = Path::new("/proc/sys/net").join(number_name).join("conf").join(&name);
            let directory = Path::new(ROOT).join(&name);
            if !settings.exists() {
                continue;
            }
            let mtu = number(&settings.join("mtu")).or_else(|| number(&directory.join("mtu")));
            objects.push(
                Object::new("NetIPInterface")
                    .with("ifIndex", number(&directory.join("ifindex")))
                    .with("InterfaceAlias", name.clone())
                    .with("AddressFamily", family)
                    .with("NlMtu", mtu)
                    .with("Forwarding", enabled(flag(&settings.join("forwarding"))))
                    .with(
                        "ConnectionState",
                        if flag(&directory.join("carrier")) == Some(true) {
                            "Connected"
                        } else {
                            "Disconnected"
                        },
                    )
                    .with("RouterDiscovery", enabled(flag(&settings.join("accept_ra"))))
                    .with("InterfaceIndex", number(&directory.join("ifindex"))),
            );
        }
    }
    answer(plan, sink, objects, crate::operations::native::addresses::INTERFACE_FILTERS)
}

/// PowerShell's word for a switch of the kernel.
pub(super) fn enabled(flag: Option<bool>) -> Value {
    Value::from(flag.map(|on| if on { "Enabled" } else { "Disabled" }))
}

pub(super) fn get_team(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let bonding = directory.join("bonding");
        let mode = line(bonding.join("mode"))?;
        let members = line(bonding.join("slaves")).unwrap_or_default();
        Some(
            Object::new("NetLbfoTeam")
                .with("Name", name.to_owned())
                .with(
                    "Members",
                    members
                        .split_whitespace()
                        .map(|member| Value::from(member.to_owned()))
                        .collect::<Vec<_>>(),
                )
                .with("TeamingMode", mode)
                .with("LacpTimer", line(bonding.join("lacp_rate")))
                .with(
                    "Status",
                    if line(bonding.join("mii_status")).as_deref() == Some("up") { "Up" } else { "Down" },
                )
                .with("ActiveMember", line(bonding.join("active_slave"))),
        )
    })
}

pub(super) fn get_team_member(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    each(plan, sink, |name, directory| {
        let member = directory.join("bonding_slave");
        let state = line(member.join("state"))?;
        Some(
            Object::new("NetLbfoTeamMember")
                .with("Name", name.to_owned())
                .with("InterfaceDescription", description(directory))
                .with("Team", link_name(directory.join("master")))
                .with("AdministrativeMode", state)
                .with("OperationalStatus", line(member.join("mii_status"))),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_told_in_powershells_words() {
        assert_eq!(status(Some("up"), FLAG_UP), "Up");
        assert_eq!(status(Some("down"), FLAG_UP), "Disconnected");
        assert_eq!(status(Some("down"), 0), "Disabled");
        assert_eq!(status(Some("unknown"), FLAG_UP), "Up");
    }
}
