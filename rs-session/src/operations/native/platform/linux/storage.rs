//! Disks, partitions and what is built of them, from `/sys/block`.

use std::path::{Path, PathBuf};

use super::{flag, line, link_name, names, number, text};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const ROOT: &str = "/sys/block";
/// Bytes in the unit in which the kernel counts sizes, whatever the sector size is.
const SECTOR: u64 = 512;

/// Block devices that stand for hardware, with their directories.
pub(super) fn disks() -> Vec<(String, PathBuf)> {
    let all = names(ROOT).into_iter().map(|name| (name.clone(), Path::new(ROOT).join(name)));
    all.filter(|(_, directory)| directory.join("device").exists()).collect()
}

fn disk_number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

pub(super) fn sectors(path: &Path) -> Value {
    let count = line(path).and_then(|line| line.parse::<u64>().ok());
    count.map_or(Value::Null, |count| Value::Size(count.saturating_mul(SECTOR)))
}

pub(super) fn get_disk(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects =
        disks().into_iter().enumerate().map(|(index, (name, directory))| disk(index, &name, &directory));
    answer(plan, sink, objects, &[("Number", "Number"), ("FriendlyName", "FriendlyName")])
}

fn disk(index: usize, name: &str, directory: &Path) -> Object {
    let read = |file: &str| line(directory.join(file));
    let bus = bus(directory);
    let model = read("device/model").unwrap_or_else(|| format!("{bus} disk"));
    let vendor = read("device/vendor").filter(|vendor| !vendor.starts_with("0x")).map(|vendor| vendor + " ");
    let queue = |file: &str| number(&directory.join("queue").join(file));
    Object::new("Disk")
        .with("Number", disk_number(index))
        .with("FriendlyName", format!("{}{model}", vendor.unwrap_or_default()))
        .with("SerialNumber", read("serial").or_else(|| read("device/serial")))
        .with(
            "HealthStatus",
            match read("device/state").as_deref() {
                None | Some("running" | "live") => "Healthy",
                Some(_) => "Unhealthy",
            },
        )
        .with("OperationalStatus", "Online")
        .with("Size", sectors(&directory.join("size")))
        .with("PartitionStyle", partition_style(directory))
        .with("DeviceName", format!("/dev/{name}"))
        .with("BusType", bus)
        .with(
            "MediaType",
            match queue("rotational") {
                Some(0) => "SSD",
                Some(_) => "HDD",
                None => "Unspecified",
            },
        )
        .with("LogicalSectorSize", queue("logical_block_size"))
        .with("PhysicalSectorSize", queue("physical_block_size"))
        .with("IsReadOnly", flag(&directory.join("ro")))
        .with("IsRemovable", flag(&directory.join("removable")))
}

/// The bus, by the device's place in the tree.
fn bus(directory: &Path) -> &'static str {
    let path = std::fs::canonicalize(directory).unwrap_or_default();
    let path = path.to_string_lossy();
    let buses = [
        ("/nvme", "NVMe"),
        ("/virtio", "Virtio"),
        ("/usb", "USB"),
        ("/vmbus", "VMBus"),
        ("/ata", "SATA"),
        ("/mmc", "SD"),
        ("/session", "iSCSI"),
        ("/host", "SAS"),
    ];
    buses.into_iter().find(|(part, _)| path.contains(part)).map_or("Unknown", |(_, bus)| bus)
}

/// The partition table's kind, as udev has noted it.
fn partition_style(directory: &Path) -> &'static str {
    let device = line(directory.join("dev")).unwrap_or_default();
    let noted = text(Path::new("/run/udev/data").join(format!("b{device}"))).unwrap_or_default();
    match noted.lines().find_map(|line| line.strip_prefix("E:ID_PART_TABLE_TYPE=")) {
        Some("gpt") => "GPT",
        Some("dos") => "MBR",
        _ if partitions(directory).is_empty() => "RAW",
        _ => "Unknown",
    }
}

pub(super) fn partitions(directory: &Path) -> Vec<(String, PathBuf)> {
    let all = names(directory).into_iter().map(|name| (name.clone(), directory.join(name)));
    all.filter(|(_, directory)| directory.join("partition").exists()).collect()
}

pub(super) fn get_partition(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let mounts = mounts();
    let mut objects = Vec::new();
    for (index, (_, directory)) in disks().into_iter().enumerate() {
        for (name, partition) in partitions(&directory) {
            let device = line(partition.join("dev")).unwrap_or_default();
            let mount = mounts.iter().find(|mount| mount.device == device);
            objects.push(
                Object::new("Partition")
                    .with("DiskNumber", disk_number(index))
                    .with("PartitionNumber", number(&partition.join("partition")))
                    .with("DeviceName", format!("/dev/{name}"))
                    .with("Offset", sectors(&partition.join("start")))
                    .with("Size", sectors(&partition.join("size")))
                    .with("MountPoint", mount.map(|mount| mount.point.clone()))
                    .with("IsReadOnly", flag(&partition.join("ro"))),
            );
        }
    }
    answer(plan, sink, objects, &[("DiskNumber", "DiskNumber"), ("PartitionNumber", "PartitionNumber")])
}

pub(super) fn get_disk_image(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let loops = names(ROOT).into_iter().filter(|name| name.starts_with("loop"));
    let objects = loops.filter_map(|name| {
        let directory = Path::new(ROOT).join(&name);
        let image = line(directory.join("loop/backing_file"))?;
        Some(
            Object::new("DiskImage")
                .with("ImagePath", image)
                .with("Attached", true)
                .with("DevicePath", format!("/dev/{name}"))
                .with("Size", sectors(&directory.join("size")))
                .with("IsReadOnly", flag(&directory.join("ro"))),
        )
    });
    answer(plan, sink, objects, &[("DevicePath", "DevicePath")])
}

pub(super) fn get_virtual_disk(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = names(ROOT).into_iter().filter_map(|name| {
        let directory = Path::new(ROOT).join(&name);
        virtual_disk(&name, &directory)
    });
    answer(plan, sink, objects, &[("FriendlyName", "FriendlyName")])
}

/// A RAID array or a device-mapper volume.
fn virtual_disk(name: &str, directory: &Path) -> Option<Object> {
    let (friendly, resiliency, health) = if let Some(level) = line(directory.join("md/level")) {
        let degraded = number(&directory.join("md/degraded")).is_some_and(|count| count > 0);
        (name.to_owned(), level, if degraded { "Warning" } else { "Healthy" })
    } else {
        let kind = line(directory.join("dm/uuid")).and_then(|uuid| Some(uuid.split_once('-')?.0.to_owned()));
        (line(directory.join("dm/name"))?, kind.unwrap_or_else(|| String::from("linear")), "Healthy")
    };
    let members = names(directory.join("slaves")).into_iter().map(Value::from).collect::<Vec<_>>();
    Some(
        Object::new("VirtualDisk")
            .with("FriendlyName", friendly)
            .with("ResiliencySettingName", resiliency)
            .with(
                "OperationalStatus",
                line(directory.join("md/array_state")).unwrap_or_else(|| String::from("OK")),
            )
            .with("HealthStatus", health)
            .with("Size", sectors(&directory.join("size")))
            .with("PhysicalDisks", members),
    )
}

pub(super) fn get_storage_node(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let object = Object::new("StorageNode")
        .with("Name", line("/proc/sys/kernel/hostname"))
        .with("OperationalStatus", "Up")
        .with("Disks", i64::try_from(disks().len()).ok());
    answer(plan, sink, [object], &[("Name", "Name")])
}

pub(super) fn get_supported_file_systems(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let table = text("/proc/filesystems").unwrap_or_default();
    let objects = table.lines().map(|line| {
        let on_device = !line.starts_with("nodev");
        let name = line.trim_start_matches("nodev").trim().to_owned();
        Object::new("SupportedFileSystem").with("FileSystem", name).with("OnDevice", on_device)
    });
    answer(plan, sink, objects, &[("FileSystem", "FileSystem")])
}

pub(super) fn get_initiator_id(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let mut objects = Vec::new();
    let iscsi = text("/etc/iscsi/initiatorname.iscsi").unwrap_or_default();
    for name in iscsi.lines().filter_map(|line| line.trim().strip_prefix("InitiatorName=")) {
        objects.push(
            Object::new("InitiatorId")
                .with("InitiatorAddress", name.to_owned())
                .with("ConnectionType", "iSCSI"),
        );
    }
    for host in names("/sys/class/fc_host") {
        let port = line(Path::new("/sys/class/fc_host").join(host).join("port_name"));
        objects.push(
            Object::new("InitiatorId").with("InitiatorAddress", port).with("ConnectionType", "Fibre Channel"),
        );
    }
    answer(plan, sink, objects, &[("InitiatorAddress", "InitiatorAddress")])
}

pub(super) fn get_volume_corruption_count(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let mounts = mounts();
    let objects = names("/sys/fs/ext4").into_iter().filter_map(|device| {
        let directory = Path::new("/sys/fs/ext4").join(&device);
        let errors = number(&directory.join("errors_count"))?;
        let mount = mounts.iter().find(|mount| link_or_name(&mount.source) == device);
        Some(
            Object::new("VolumeCorruptionCount")
                .with("MountPoint", mount.map(|mount| mount.point.clone()))
                .with("DeviceName", format!("/dev/{device}"))
                .with("CorruptionCount", errors),
        )
    });
    answer(plan, sink, objects, &[("MountPoint", "MountPoint")])
}

/// The kernel's name of a device that a mount names, maybe by a link.
fn link_or_name(source: &str) -> String {
    let real = link_name(source).or_else(|| Path::new(source).file_name()?.to_str().map(str::to_owned));
    real.unwrap_or_default()
}

/// One line of the mount table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) point: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) options: String,
}

impl Mount {
    pub(super) fn is_smb(&self) -> bool {
        matches!(self.kind.as_str(), "cifs" | "smb3")
    }
}

/// The mount table as this process sees it.
pub(super) fn mounts() -> Vec<Mount> {
    text("/proc/self/mountinfo").unwrap_or_default().lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<_> = left.split(' ').collect();
    let mut right = right.splitn(3, ' ');
    Some(Mount {
        device: (*left.get(2)?).to_owned(),
        point: unescape(left.get(4)?),
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
        options: right.next().unwrap_or_default().to_owned(),
    })
}

/// Undoes the octal escapes of the mount table: blanks, tabs, line breaks and backslashes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read() {
        let line =
            "36 35 98:0 /root /mnt/my\\040disk rw,noatime master:1 - cifs //server/share rw,vers=3.1.1,seal";
        let mount = mount(line).unwrap();
        assert_eq!((mount.point.as_str(), mount.device.as_str()), ("/mnt/my disk", "98:0"));
        assert!(mount.is_smb() && mount.options.contains("seal"));
        assert!(super::mount("").is_none());
    }
}
