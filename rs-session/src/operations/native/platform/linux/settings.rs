//! Settings of the network stack and of the firmware.

use std::path::Path;

use super::adapters::enabled;
use super::{flag, line, number};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const IPV4: &str = "/proc/sys/net/ipv4";
const IPV6: &str = "/proc/sys/net/ipv6";
const CORE: &str = "/proc/sys/net/core";

fn setting(directory: &str, name: &str) -> Option<i64> {
    number(&Path::new(directory).join(name))
}

fn words(directory: &str, name: &str) -> Option<String> {
    line(Path::new(directory).join(name)).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn get_tcp_setting(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let four = |name| setting(IPV4, name);
    let on = |name| enabled(flag(&Path::new(IPV4).join(name)));
    let object = Object::new("NetTCPSetting")
        .with("SettingName", "Default")
        .with("CongestionProvider", words(IPV4, "tcp_congestion_control"))
        .with(
            "EcnCapability",
            match four("tcp_ecn") {
                Some(0) => "Disabled",
                Some(1) => "Enabled",
                Some(2) => "Passive",
                _ => "Unknown",
            },
        )
        .with("Timestamps", on("tcp_timestamps"))
        .with("SelectiveAcknowledgement", on("tcp_sack"))
        .with("AutoTuning", on("tcp_moderate_rcvbuf"))
        .with("ScalingHeuristics", on("tcp_window_scaling"))
        .with("MaxSynRetransmissions", four("tcp_syn_retries"))
        .with("KeepAliveTimeSeconds", four("tcp_keepalive_time"))
        .with("KeepAliveIntervalSeconds", four("tcp_keepalive_intvl"))
        .with("FinTimeoutSeconds", four("tcp_fin_timeout"))
        .with("ReceiveBuffer", words(IPV4, "tcp_rmem"))
        .with("SendBuffer", words(IPV4, "tcp_wmem"))
        .with("DynamicPortRange", words(IPV4, "ip_local_port_range"));
    answer(plan, sink, [object], &[("SettingName", "SettingName")])
}

pub(super) fn get_udp_setting(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let object = Object::new("NetUDPSetting")
        .with("DynamicPortRange", words(IPV4, "ip_local_port_range"))
        .with("ReceiveBufferMinimum", setting(IPV4, "udp_rmem_min"))
        .with("SendBufferMinimum", setting(IPV4, "udp_wmem_min"))
        .with("ReceiveBufferDefault", setting(CORE, "rmem_default"))
        .with("ReceiveBufferMaximum", setting(CORE, "rmem_max"));
    answer(plan, sink, [object], &[])
}

pub(super) fn get_ipv4_protocol(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let all = |name: &str| enabled(flag(&Path::new(IPV4).join("conf/all").join(name)));
    let object = Object::new("NetIPv4Protocol")
        .with("DefaultHopLimit", setting(IPV4, "ip_default_ttl"))
        .with("Forwarding", enabled(flag(&Path::new(IPV4).join("ip_forward"))))
        .with("IcmpRedirects", all("accept_redirects"))
        .with("SourceRouting", all("accept_source_route"))
        .with("ReversePathFilter", setting(IPV4, "conf/all/rp_filter"))
        .with("NeighborCacheLimit", setting(IPV4, "neigh/default/gc_thresh3"))
        .with("IgnoreEchoRequests", enabled(flag(&Path::new(IPV4).join("icmp_echo_ignore_all"))))
        .with("ReassemblyLimit", setting(IPV4, "ipfrag_high_thresh"));
    answer(plan, sink, [object], &[])
}

pub(super) fn get_ipv6_protocol(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let all = |name: &str| enabled(flag(&Path::new(IPV6).join("conf/all").join(name)));
    let object = Object::new("NetIPv6Protocol")
        .with("Enabled", flag(&Path::new(IPV6).join("conf/all/disable_ipv6")).map(|disabled| !disabled))
        .with("DefaultHopLimit", setting(IPV6, "conf/default/hop_limit"))
        .with("Forwarding", all("forwarding"))
        .with("IcmpRedirects", all("accept_redirects"))
        .with("SourceRouting", all("accept_source_route"))
        .with("UseTemporaryAddresses", setting(IPV6, "conf/default/use_tempaddr"))
        .with("NeighborCacheLimit", setting(IPV6, "neigh/default/gc_thresh3"))
        .with("ReassemblyLimit", setting(IPV6, "ip6frag_high_thresh"));
    answer(plan, sink, [object], &[])
}

pub(super) fn get_offload(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let object = Object::new("NetOffloadGlobalSetting")
        .with(
            "ReceiveSideScaling",
            if setting(CORE, "rps_sock_flow_entries").is_some_and(|flows| flows > 0) {
                "Enabled"
            } else {
                "Disabled"
            },
        )
        .with("BusyPollMicroseconds", setting(CORE, "busy_poll"))
        .with("PacketBudget", setting(CORE, "netdev_budget"))
        .with("PacketBudgetMicroseconds", setting(CORE, "netdev_budget_usecs"))
        .with("BacklogPackets", setting(CORE, "netdev_max_backlog"))
        .with("DefaultQueueDiscipline", words(CORE, "default_qdisc"));
    answer(plan, sink, [object], &[])
}

pub(super) fn get_compartment(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let namespace = std::fs::read_link("/proc/self/ns/net").ok();
    let id = namespace.as_ref().and_then(|name| name.to_str()).map(str::to_owned);
    let mut objects = vec![compartment(1, String::from("Default"), id)];
    for (index, name) in super::names("/run/netns").into_iter().enumerate() {
        objects.push(compartment(i64::try_from(index).unwrap_or(i64::MAX).saturating_add(2), name, None));
    }
    answer(plan, sink, objects, &[("CompartmentId", "CompartmentId")])
}

fn compartment(id: i64, name: String, namespace: Option<String>) -> Object {
    Object::new("NetCompartment")
        .with("CompartmentId", id)
        .with("CompartmentDescription", name)
        .with("Namespace", namespace)
}

pub(super) fn get_secure_boot(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    const VARIABLES: &str = "/sys/firmware/efi/efivars";
    if !Path::new(VARIABLES).exists() {
        return Err(ProviderError::failed(
            "Get-SecureBootUEFI : this node did not start from UEFI firmware.",
        ));
    }
    let mut objects = Vec::new();
    for file in super::names(VARIABLES) {
        let Some(name) = ["SecureBoot", "SetupMode", "PK", "KEK", "db", "dbx"]
            .into_iter()
            .find(|name| file.strip_prefix(*name).is_some_and(|rest| rest.starts_with('-')))
        else {
            continue;
        };
        // Four bytes of attributes stand in front of the value.
        let value = std::fs::read(Path::new(VARIABLES).join(&file)).unwrap_or_default();
        let bytes = value.get(4..).unwrap_or_default();
        let first = bytes.first().filter(|_| bytes.len() == 1).map(|byte| i64::from(*byte));
        objects.push(
            Object::new("SecureBootVariable")
                .with("Name", name)
                .with("Value", first)
                .with("Bytes", Value::Size(u64::try_from(bytes.len()).unwrap_or(u64::MAX))),
        );
    }
    answer(plan, sink, objects, &[("Name", "Name")])
}
