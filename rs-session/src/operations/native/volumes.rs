//! Get-Volume.

use sysinfo::{Disk, DiskKind, Disks};

use super::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

pub(super) fn get_volume(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let disks = Disks::new_with_refreshed_list()
        .map_err(|error| ProviderError::failed(format!("Get-Volume : {error}")))?;
    let mut objects: Vec<_> = disks.iter().map(object).collect();
    objects.sort_by_cached_key(|object| object.get("MountPoint").map(|value| value.to_text().into_owned()));
    objects.dedup_by(|a, b| a.get("MountPoint") == b.get("MountPoint"));
    answer(plan, sink, objects, &[("MountPoint", "MountPoint"), ("FileSystem", "FileSystemType")])
}

fn object(disk: &Disk) -> Object {
    let kind = if disk.is_removable() { "Removable" } else { "Fixed" };
    Object::new("Volume")
        .with("MountPoint", disk.mount_point().to_string_lossy().into_owned())
        .with("FriendlyName", disk.name().to_string_lossy().into_owned())
        .with("FileSystemType", disk.file_system().to_string_lossy().into_owned())
        .with("DriveType", kind)
        .with("HealthStatus", "Healthy")
        .with("OperationalStatus", "OK")
        .with("SizeRemaining", Value::Size(disk.available_space()))
        .with("Size", Value::Size(disk.total_space()))
        .with("IsReadOnly", disk.is_read_only())
        .with(
            "MediaType",
            match disk.kind() {
                DiskKind::HDD => "HDD",
                DiskKind::SSD => "SSD",
                DiskKind::Unknown(_) => "Unspecified",
            },
        )
}
