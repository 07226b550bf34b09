//! Commands about storage, shares and the host that read the kernel's tables and the services' configuration.

use super::{ALIAS, Definition, ERRORS, INDEX, NETWORK, Needs, Parameter, STORAGE, numbers, pattern};

const SMB: &str = "SmbShare";
/// Samba's configuration, beside the kernel's tables.
const SAMBA: Needs = Needs::KERNEL.reading(&["/proc", "/sys", "/etc/samba"]);

const DISK_NUMBER: Parameter = numbers("Number", 65_535, "disk numbers").at(0);
const TASKS: &[Parameter] = &[pattern("TaskName", "names").at(0), ERRORS];

pub(super) static ALL: &[Definition] = &[
    Definition::source("Get-Disk", STORAGE, "Lists disks")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/run/udev/data"]))
        .takes(&[DISK_NUMBER, pattern("FriendlyName", "models, * and ? permitted"), ERRORS])
        .gives(&[
            "Number",
            "FriendlyName",
            "SerialNumber",
            "HealthStatus",
            "OperationalStatus",
            "Size",
            "PartitionStyle",
            "DeviceName",
            "BusType",
            "MediaType",
            "LogicalSectorSize",
            "PhysicalSectorSize",
            "IsReadOnly",
            "IsRemovable",
        ]),
    Definition::source("Get-Partition", STORAGE, "Lists partitions")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/run/udev/data"]))
        .takes(&[
            numbers("DiskNumber", 65_535, "disk numbers").at(0),
            numbers("PartitionNumber", 65_535, "partition numbers").at(1),
            ERRORS,
        ])
        .gives(&[
            "DiskNumber",
            "PartitionNumber",
            "DeviceName",
            "Offset",
            "Size",
            "MountPoint",
            "IsReadOnly",
        ]),
    Definition::source("Get-Volume", STORAGE, "Lists mounted volumes")
        .everywhere()
        .takes(&[
            pattern("MountPoint", "mount points, * and ? permitted").also(&["DriveLetter"]).at(0),
            pattern("FileSystem", "file systems").also(&["FileSystemType"]),
            ERRORS,
        ])
        .gives(&[
            "MountPoint",
            "FriendlyName",
            "FileSystemType",
            "DriveType",
            "HealthStatus",
            "OperationalStatus",
            "SizeRemaining",
            "Size",
            "IsReadOnly",
            "MediaType",
        ]),
    Definition::source("Get-DiskImage", STORAGE, "Lists disk images in use")
        .takes(&[pattern("DevicePath", "devices").at(0), ERRORS])
        .gives(&["ImagePath", "Attached", "DevicePath", "Size", "IsReadOnly"]),
    Definition::source("Get-VirtualDisk", STORAGE, "Lists RAID arrays and mapped volumes")
        .takes(&[pattern("FriendlyName", "names").at(0), ERRORS])
        .gives(&[
            "FriendlyName",
            "ResiliencySettingName",
            "OperationalStatus",
            "HealthStatus",
            "Size",
            "PhysicalDisks",
        ]),
    Definition::source("Get-StorageNode", STORAGE, "Shows this node as a storage node")
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name", "OperationalStatus", "Disks"]),
    Definition::source("Get-SupportedFileSystems", STORAGE, "Lists file systems that the kernel knows")
        .takes(&[pattern("FileSystem", "names").at(0)])
        .gives(&["FileSystem", "OnDevice"]),
    Definition::source("Get-InitiatorId", STORAGE, "Lists initiator addresses")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/etc/iscsi/initiatorname.iscsi"]).reading_as_root())
        .takes(&[pattern("InitiatorAddress", "addresses").at(0), ERRORS])
        .gives(&["InitiatorAddress", "ConnectionType"]),
    Definition::source("Get-VolumeCorruptionCount", STORAGE, "Shows errors that file systems have noted")
        .takes(&[pattern("MountPoint", "mount points").at(0), ERRORS])
        .gives(&["MountPoint", "DeviceName", "CorruptionCount"]),
    Definition::source("Get-SmbShare", "SmbShare", "Lists SMB shares that this node offers")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/etc/samba"]))
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name", "ScopeName", "Path", "Description", "ReadOnly"]),
    Definition::source("Get-SmbMapping", "SmbShare", "Lists SMB shares that this node uses")
        .takes(&[ERRORS])
        .gives(&["Status", "LocalPath", "RemotePath"]),
    Definition::source("Get-SmbConnection", "SmbShare", "Lists SMB connections of this node")
        .takes(&[pattern("ServerName", "servers").at(0), ERRORS])
        .gives(&["ServerName", "ShareName", "Dialect", "Encrypted"]),
    Definition::source("Get-ScheduledTask", "ScheduledTasks", "Lists timers and cron jobs")
        .needs(Needs::KERNEL.reading(TASK_FILES))
        .takes(TASKS)
        .gives(&["TaskPath", "TaskName", "State", "Triggers", "Description"]),
    Definition::source("Get-ScheduledTaskInfo", "ScheduledTasks", "Shows when timers last ran")
        .needs(Needs::KERNEL.reading(TASK_FILES))
        .takes(TASKS)
        .gives(&["TaskName", "TaskPath", "LastRunTime", "Triggers"]),
    Definition::source("Get-SecureBootUEFI", "SecureBoot", "Shows variables of secure boot")
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name", "Value", "Bytes"]),
    Definition::source("Get-FileShare", STORAGE, "Lists file shares that this node offers, by any protocol")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/etc/samba", "/etc/exports", "/etc/exports.d"]))
        .takes(&[
            pattern("Name", "names").at(0),
            Parameter::new("Protocol", super::Kind::Choice(&["NFS", "SMB"]), "only this protocol"),
            ERRORS,
        ])
        .gives(&["Name", "FileSharingProtocol", "OperationalStatus", "HealthStatus", "SharePath"]),
    Definition::source("Get-InitiatorPort", STORAGE, "Lists ports by which this node reaches storage")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/etc/iscsi"]))
        .takes(&[pattern("NodeAddress", "addresses").at(0), ERRORS])
        .gives(&["NodeAddress", "PortAddress", "ConnectionType", "InstanceName", "OperationalStatus"]),
    Definition::source("Get-LogProperties", "PSDiagnostics", "Lists logs with their size and rotation")
        .needs(Needs::KERNEL.reading(&["/proc", "/sys", "/var/log", "/etc/logrotate.d", "/etc/systemd"]))
        .takes(&[pattern("Name", "names of logs").at(0), ERRORS])
        .gives(&[
            "Name",
            "Enabled",
            "Type",
            "Retention",
            "AutoBackup",
            "MaxLogSize",
            "FileSize",
            "LastWriteTime",
        ]),
    Definition::source("Get-ResiliencySetting", STORAGE, "Lists RAID levels that the kernel can do")
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name"]),
    Definition::source("Get-SmbClientConfiguration", SMB, "Shows settings of the SMB client"),
    Definition::source("Get-SmbClientNetworkInterface", SMB, "Lists interfaces that an SMB client can use")
        .needs(NETWORK)
        .takes(&[INDEX, ERRORS])
        .gives(&["InterfaceIndex", "RssCapable", "RdmaCapable", "Speed", "IpAddresses", "FriendlyName"]),
    Definition::source("Get-SmbGlobalMapping", SMB, "Lists SMB shares that the whole node uses")
        .takes(&[pattern("LocalPath", "mount points").at(0), ERRORS])
        .gives(&["Status", "LocalPath", "RemotePath"]),
    Definition::source("Get-SmbServerConfiguration", SMB, "Shows settings of the SMB server").needs(SAMBA),
    Definition::source("Get-SmbServerNetworkInterface", SMB, "Lists interfaces that the SMB server can use")
        .needs(NETWORK.reading(&["/proc", "/sys", "/etc/samba"]))
        .takes(&[ALIAS.at(0), INDEX, ERRORS])
        .gives(&["InterfaceIndex", "RssCapable", "RdmaCapable", "Speed", "IpAddresses", "FriendlyName"]),
    Definition::source("Get-SmbShareAccess", SMB, "Shows who may use the SMB shares of this node")
        .needs(SAMBA)
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name", "ScopeName", "AccountName", "AccessControlType", "AccessRight"]),
    Definition::source("Get-StorageEnclosure", STORAGE, "Lists disk enclosures")
        .takes(&[pattern("FriendlyName", "names").at(0), ERRORS])
        .gives(&["FriendlyName", "UniqueId", "HealthStatus", "NumberOfSlots"]),
    Definition::source("Get-StorageJob", STORAGE, "Lists repairs and checks of RAID arrays")
        .takes(&[pattern("Name", "names").at(0), ERRORS])
        .gives(&["Name", "JobState", "PercentComplete", "BytesProcessed", "BytesTotal"]),
    Definition::source("Get-StoragePool", STORAGE, "Shows all disks together, as the pool they come from")
        .takes(&[pattern("FriendlyName", "names").at(0), ERRORS])
        .gives(&[
            "FriendlyName",
            "OperationalStatus",
            "HealthStatus",
            "IsPrimordial",
            "IsReadOnly",
            "Size",
            "AllocatedSize",
        ]),
    Definition::source("Get-StorageSubsystem", STORAGE, "Shows this node's storage as a whole")
        .takes(&[pattern("FriendlyName", "names").at(0), ERRORS])
        .gives(&["FriendlyName", "HealthStatus", "OperationalStatus", "NumberOfDisks", "Version"]),
    Definition::source("Get-TargetPort", STORAGE, "Lists ports of iSCSI targets in use")
        .takes(&[pattern("NodeAddress", "addresses").at(0), ERRORS])
        .gives(&["NodeAddress", "PortAddress", "ConnectionType"]),
    Definition::source("Get-TargetPortal", STORAGE, "Lists iSCSI portals in use")
        .takes(&[pattern("IPv4Address", "addresses").at(0), ERRORS])
        .gives(&["IPv4Address", "PortNumber", "State"]),
    Definition::source("Get-VMHostNumaNode", "Hyper-V", "Shows memory and processors by their nearness")
        .takes(&[numbers("Id", 65_535, "nodes").at(0)])
        .gives(&["NodeId", "ProcessorsAvailability", "MemoryAvailable", "MemoryTotal"]),
    Definition::source("Get-WindowsErrorReporting", "WindowsErrorReporting", "Shows what becomes of crashes")
        .gives(&["Status", "Handler", "Pattern"]),
];

const TASK_FILES: &[&str] = &[
    "/proc",
    "/sys",
    "/etc/cron.daily",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/systemd",
    "/lib/systemd",
    "/run/systemd",
    "/usr/lib/systemd",
    "/usr/local/lib/systemd",
    "/var/lib/systemd/timers",
];
