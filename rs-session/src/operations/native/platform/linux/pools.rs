//! Storage as a whole, RAID work, enclosures, and the ways to storage on other machines.

use std::path::Path;

use super::storage::{disks, partitions, sectors};
use super::{line, names, number, text};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const NAME: &[(&str, &str)] = &[("FriendlyName", "FriendlyName")];

/// Bytes of all disks and of what is partitioned or used whole.
fn sizes() -> (u64, u64) {
    let bytes = |path: &Path| match sectors(path) {
        Value::Size(bytes) => bytes,
        _ => 0,
    };
    disks().iter().fold((0, 0), |(all, used), (_, directory)| {
        let size = bytes(&directory.join("size"));
        let parts = partitions(directory);
        // A disk without a partition table belongs whole to whoever uses it.
        let taken = if parts.is_empty() {
            size
        } else {
            parts.iter().map(|(_, part)| bytes(&part.join("size"))).sum()
        };
        (all + size, used + taken.min(size))
    })
}

fn health() -> &'static str {
    let sick = |directory: &Path| {
        line(directory.join("device/state"))
            .is_some_and(|state| !matches!(state.as_str(), "running" | "live"))
    };
    if disks().iter().any(|(_, directory)| sick(directory)) { "Unhealthy" } else { "Healthy" }
}

pub(super) fn get_storage_pool(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let (size, used) = sizes();
    let object = Object::new("StoragePool")
        .with("FriendlyName", "Primordial")
        .with("OperationalStatus", "OK")
        .with("HealthStatus", health())
        .with("IsPrimordial", true)
        .with("IsReadOnly", false)
        .with("Size", Value::Size(size))
        .with("AllocatedSize", Value::Size(used));
    answer(plan, sink, [object], NAME)
}

pub(super) fn get_storage_subsystem(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let host = line("/proc/sys/kernel/hostname").unwrap_or_default();
    let object = Object::new("StorageSubsystem")
        .with("FriendlyName", format!("Linux storage on {host}"))
        .with("HealthStatus", health())
        .with("OperationalStatus", if health() == "Healthy" { "OK" } else { "Degraded" })
        .with("NumberOfDisks", i64::try_from(disks().len()).ok())
        .with("Version", line("/proc/sys/kernel/osrelease"));
    answer(plan, sink, [object], NAME)
}

pub(super) fn get_resiliency_setting(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let table = text("/proc/mdstat").unwrap_or_default();
    let objects =
        personalities(&table).into_iter().map(|name| Object::new("ResiliencySetting").with("Name", name));
    answer(plan, sink, objects, &[("Name", "Name")])
}

/// The RAID levels in the kernel's table.
fn personalities(table: &str) -> Vec<String> {
    let line = table.lines().find_map(|line| line.strip_prefix("Personalities :")).unwrap_or_default();
    line.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect()
}

pub(super) fn get_storage_job(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let arrays = names("/sys/block").into_iter().filter(|name| name.starts_with("md"));
    let objects = arrays.filter_map(|name| {
        let directory = Path::new("/sys/block").join(&name).join("md");
        let action = line(directory.join("sync_action")).filter(|action| action != "idle")?;
        let (done, all) = progress(&line(directory.join("sync_completed"))?)?;
        Some(
            Object::new("StorageJob")
                .with("Name", format!("{name} {action}"))
                .with("JobState", if action == "frozen" { "Suspended" } else { "Running" })
                .with("PercentComplete", i64::try_from(done * 100 / all.max(1)).ok())
                .with("BytesProcessed", Value::Size(done.saturating_mul(512)))
                .with("BytesTotal", Value::Size(all.saturating_mul(512))),
        )
    });
    answer(plan, sink, objects, &[("Name", "Name")])
}

/// Sectors done and sectors in all, as in `1024 / 4096`.
fn progress(text: &str) -> Option<(u64, u64)> {
    let (done, all) = text.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

pub(super) fn get_storage_enclosure(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let root = Path::new("/sys/class/enclosure");
    let objects = names(root).into_iter().map(|name| {
        let directory = root.join(&name);
        let slots: Vec<_> = names(&directory)
            .into_iter()
            .filter(|slot| directory.join(slot).join("fault").exists())
            .collect();
        let faulty = slots
            .iter()
            .any(|slot| number(&directory.join(slot).join("fault")).is_some_and(|fault| fault != 0));
        let model = line(directory.join("device/model"));
        Object::new("StorageEnclosure")
            .with("FriendlyName", model.unwrap_or(name))
            .with("UniqueId", line(directory.join("id")))
            .with("HealthStatus", if faulty { "Warning" } else { "Healthy" })
            .with("NumberOfSlots", i64::try_from(slots.len()).ok())
    });
    answer(plan, sink, objects, NAME)
}

pub(super) fn get_initiator_port(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let port = |node: Option<String>,
                port: Option<String>,
                kind: &'static str,
                name: String,
                state: Option<String>| {
        Object::new("InitiatorPort")
            .with("NodeAddress", node)
            .with("PortAddress", port)
            .with("ConnectionType", kind)
            .with("InstanceName", name)
            .with("OperationalStatus", state)
    };
    let fibre = Path::new("/sys/class/fc_host");
    let iscsi = Path::new("/sys/class/iscsi_host");
    let mut objects = Vec::new();
    for name in names(fibre) {
        let read = |file: &str| line(fibre.join(&name).join(file));
        objects.push(port(
            read("node_name"),
            read("port_name"),
            "Fibre Channel",
            name.clone(),
            read("port_state"),
        ));
    }
    for name in names(iscsi) {
        let read = |file: &str| line(iscsi.join(&name).join(file));
        objects.push(port(
            read("initiatorname"),
            read("ipaddress"),
            "iSCSI",
            name.clone(),
            read("port_state"),
        ));
    }
    answer(plan, sink, objects, &[("NodeAddress", "NodeAddress")])
}

pub(super) fn get_target_port(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let root = Path::new("/sys/class/iscsi_session");
    let objects = names(root).into_iter().map(|name| {
        let read = |file: &str| line(root.join(&name).join(file));
        Object::new("TargetPort")
            .with("NodeAddress", read("targetname"))
            .with("PortAddress", read("tpgt"))
            .with("ConnectionType", "iSCSI")
    });
    answer(plan, sink, objects, &[("NodeAddress", "NodeAddress")])
}

pub(super) fn get_target_portal(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let root = Path::new("/sys/class/iscsi_connection");
    let objects = names(root).into_iter().map(|name| {
        let directory = root.join(&name);
        Object::new("TargetPortal")
            .with("IPv4Address", line(directory.join("persistent_address")))
            .with("PortNumber", number(&directory.join("persistent_port")))
            .with("State", line(directory.join("state")))
    });
    answer(plan, sink, objects, &[("IPv4Address", "IPv4Address")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        assert_eq!(personalities("Personalities : [raid1] [raid6]\nmd0 : active"), ["raid1", "raid6"]);
        assert!(personalities("").is_empty());
        assert_eq!(progress("1024 / 4096"), Some((1024, 4096)));
        assert_eq!(progress("none"), None);
    }
}
