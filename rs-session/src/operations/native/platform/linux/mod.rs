//! Linux: the kernel's own tables under `/proc` and `/sys`, and systemd where it runs.
//!
//! Parsers are pure functions over text, so that their tests need no machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::operations::objects::Value;
use crate::operations::providers::Provider;

mod adapters;
mod bindings;
mod connections;
mod diagnostics;
mod host;
mod neighbors;
mod pools;
mod routes;
mod services;
mod settings;
mod shares;
mod smb;
mod sources;
mod storage;
mod tasks;

pub(in crate::operations::native) use self::sources::absent;

/// Published names and the functions that answer them on Linux.
pub(in crate::operations::native) const PROVIDERS: &[(&str, Provider)] = &[
    ("Get-Disk", storage::get_disk),
    ("Get-DiskImage", storage::get_disk_image),
    ("Get-FileShare", smb::get_file_share),
    ("Get-InitiatorId", storage::get_initiator_id),
    ("Get-InitiatorPort", pools::get_initiator_port),
    ("Get-LogProperties", host::get_log_properties),
    ("Get-NetAdapter", adapters::get_net_adapter),
    ("Get-NetAdapterAdvancedProperty", adapters::get_advanced_property),
    ("Get-NetAdapterBinding", bindings::get_binding),
    ("Get-NetAdapterHardwareInfo", adapters::get_hardware_info),
    ("Get-NetAdapterPowerManagement", adapters::get_power_management),
    ("Get-NetAdapterRdma", bindings::get_rdma),
    ("Get-NetAdapterRss", adapters::get_rss),
    ("Get-NetAdapterSriov", adapters::get_sriov),
    ("Get-NetAdapterSriovVf", bindings::get_sriov_vf),
    ("Get-NetAdapterStatistics", adapters::get_statistics),
    ("Get-NetCompartment", settings::get_compartment),
    ("Get-NetConnectionProfile", bindings::get_connection_profile),
    ("Get-NetIPInterface", adapters::get_ip_interface),
    ("Get-NetIPv4Protocol", settings::get_ipv4_protocol),
    ("Get-NetIPv6Protocol", settings::get_ipv6_protocol),
    ("Get-NetLbfoTeam", adapters::get_team),
    ("Get-NetLbfoTeamMember", adapters::get_team_member),
    ("Get-NetLbfoTeamNic", bindings::get_team_nic),
    ("Get-NetNeighbor", neighbors::get_neighbor),
    ("Get-NetOffloadGlobalSetting", settings::get_offload),
    ("Get-NetPrefixPolicy", bindings::get_prefix_policy),
    ("Get-NetRoute", routes::get_route),
    ("Get-NetTCPConnection", connections::get_tcp_connection),
    ("Get-NetTCPSetting", settings::get_tcp_setting),
    ("Get-NetUDPEndpoint", connections::get_udp_endpoint),
    ("Get-NetUDPSetting", settings::get_udp_setting),
    ("Get-Partition", storage::get_partition),
    ("Get-ResiliencySetting", pools::get_resiliency_setting),
    ("Get-ScheduledTask", tasks::get_scheduled_task),
    ("Get-ScheduledTaskInfo", tasks::get_scheduled_task_info),
    ("Get-SecureBootUEFI", settings::get_secure_boot),
    ("Get-Service", services::get_service),
    ("Get-SmbClientConfiguration", smb::get_client_configuration),
    ("Get-SmbClientNetworkInterface", smb::get_network_interface),
    ("Get-SmbConnection", shares::get_smb_connection),
    ("Get-SmbGlobalMapping", smb::get_global_mapping),
    ("Get-SmbMapping", shares::get_smb_mapping),
    ("Get-SmbServerConfiguration", smb::get_server_configuration),
    ("Get-SmbServerNetworkInterface", smb::get_network_interface),
    ("Get-SmbShare", shares::get_smb_share),
    ("Get-SmbShareAccess", smb::get_share_access),
    ("Get-StorageEnclosure", pools::get_storage_enclosure),
    ("Get-StorageJob", pools::get_storage_job),
    ("Get-StorageNode", storage::get_storage_node),
    ("Get-StoragePool", pools::get_storage_pool),
    ("Get-StorageSubsystem", pools::get_storage_subsystem),
    ("Get-SupportedFileSystems", storage::get_supported_file_systems),
    ("Get-TargetPort", pools::get_target_port),
    ("Get-TargetPortal", pools::get_target_portal),
    ("Get-VMHostNumaNode", host::get_numa_node),
    ("Get-VirtualDisk", storage::get_virtual_disk),
    ("Get-VolumeCorruptionCount", storage::get_volume_corruption_count),
    ("Get-WindowsErrorReporting", host::get_error_reporting),
    ("Send-DiagnosticData", diagnostics::send_diagnostic_data),
    ("Start-Service", services::start_service),
    ("Stop-Service", services::stop_service),
];

/// Most bytes read of one file of the kernel or of a configuration.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Time since boot, sleep included.
pub(in crate::operations::native) fn time_since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The kernel's number of an interface.
pub(in crate::operations::native) fn interface_index(name: &str) -> Option<i64> {
    number(&Path::new("/sys/class/net").join(name).join("ifindex"))
}

/// Number of processes.
pub(in crate::operations::native) fn process_count() -> Option<i64> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let processes =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    i64::try_from(processes.count()).ok()
}

/// A file's text up to [`FILE_BYTES_MAX`]; `None` if it cannot be read.
fn text(path: impl AsRef<Path>) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file's first line without surrounding blanks; `None` if it is empty or cannot be read.
fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = text(path)?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// A file that holds one whole number.
fn number(path: &Path) -> Option<i64> {
    line(path)?.parse().ok()
}

/// A file that holds `0` or `1`.
fn flag(path: &Path) -> Option<bool> {
    number(path).map(|value| value != 0)
}

/// A file that holds a number of bytes.
fn size(path: &Path) -> Value {
    line(path).and_then(|line| line.parse().ok()).map_or(Value::Null, Value::Size)
}

/// Names in a directory, sorted; empty if it cannot be read.
fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by_cached_key(|name| natural(name));
    names
}

/// A name taken apart so that `disk10` stands behind `disk9`.
fn natural(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0))
}

/// The last part of a symbolic link's target.
fn link_name(path: impl AsRef<Path>) -> Option<String> {
    fs::read_link(path).ok()?.file_name()?.to_str().map(str::to_owned)
}
