//! Virtual machines, their hosts and switches.

use super::super::{ERRORS, Form, Kind, Parameter, named, one, switch};
use super::{Row, row};

const OF_VM: Parameter = named("VMName", "names of virtual machines").at(0).required();
const PERHAPS_OF_VM: Parameter = named("VMName", "names of virtual machines").at(0);
const OF_ONE_VM: Parameter = one("VMName", "name of a virtual machine").at(0).required();
const VM_ADAPTER: Parameter = one("VMNetworkAdapterName", "name of a virtual machine's network adapter");
const PLACE: Parameter =
    Parameter::new("ControllerLocation", Kind::Integer(0, 63), "place at the controller");
const CONTROLLER: Parameter =
    Parameter::new("ControllerNumber", Kind::Integer(0, 63), "number of the controller");
const OF_SWITCH: Parameter = named("SwitchName", "names of switches").at(0).required();
const FEATURE: Parameter = named("FeatureName", "names of features");
const EXTENSION: Parameter = named("ExtensionName", "names of extensions");
const ID: Parameter = Parameter::new("Id", Kind::Text(Form::Exact, 36), "identifier");
const NAMES: Parameter = named("Name", "names").at(0);

pub(super) const ROWS: &[Row] = &[
    row("Lists virtual machines", &[NAMES, ID, ERRORS], &["Get-VM"]),
    row(
        "Shows this part of virtual machines",
        &[OF_VM, ERRORS],
        &[
            "Get-VMAssignableDevice",
            "Get-VMBios",
            "Get-VMFibreChannelHba",
            "Get-VMFirmware",
            "Get-VMFloppyDiskDrive",
            "Get-VMGpuPartitionAdapter",
            "Get-VMMemory",
            "Get-VMProcessor",
            "Get-VMRemoteFx3dVideoAdapter",
            "Get-VMStorageSettings",
            "Get-VMVideo",
        ],
    ),
    row(
        "Shows serial ports of virtual machines",
        &[OF_VM, Parameter::new("Number", Kind::Integer(1, 2), "number of the port").at(1), ERRORS],
        &["Get-VMComPort"],
    ),
    row(
        "Shows drives of virtual machines",
        &[OF_VM, PLACE, CONTROLLER, ERRORS],
        &["Get-VMDvdDrive", "Get-VMKeyStorageDrive"],
    ),
    row(
        "Shows hard disks of virtual machines",
        &[
            OF_VM,
            PLACE,
            CONTROLLER,
            Parameter::new("ControllerType", Kind::Choice(&["IDE", "SCSI"]), "kind of controller"),
            ERRORS,
        ],
        &["Get-VMHardDiskDrive"],
    ),
    row(
        "Shows disk controllers of virtual machines",
        &[OF_VM, CONTROLLER.at(1), ERRORS],
        &["Get-VMIdeController", "Get-VMScsiController"],
    ),
    row(
        "Shows integration services of virtual machines",
        &[OF_VM, named("Name", "names of services").at(1), ERRORS],
        &["Get-VMIntegrationService"],
    ),
    row(
        "Lists checkpoints of virtual machines",
        &[OF_VM, one("Name", "name of a checkpoint").at(1), ERRORS],
        &["Get-VMSnapshot", "Get-VMCheckpoint"],
    ),
    row(
        "Lists network adapters of virtual machines and of the host",
        &[
            PERHAPS_OF_VM,
            one("Name", "name of an adapter").at(1),
            switch("ManagementOS", "those of the host itself"),
            one("SwitchName", "only those at this switch"),
            ERRORS,
        ],
        &["Get-VMNetworkAdapter"],
    ),
    row(
        "Shows settings of virtual machines' network adapters",
        &[PERHAPS_OF_VM, VM_ADAPTER, ERRORS],
        &[
            "Get-VMNetworkAdapterAcl",
            "Get-VMNetworkAdapterExtendedAcl",
            "Get-VMNetworkAdapterIsolation",
            "Get-VMNetworkAdapterVlan",
        ],
    ),
    row(
        "Shows addresses after a failover",
        &[OF_VM, VM_ADAPTER, ERRORS],
        &["Get-VMNetworkAdapterFailoverConfiguration"],
    ),
    row(
        "Shows settings of virtual machines' network adapters",
        &[OF_ONE_VM, one("Name", "name of an adapter"), ERRORS],
        &["Get-VMNetworkAdapterRdma", "Get-VMNetworkAdapterTeamMapping"],
    ),
    row(
        "Lists members of routing domains",
        &[PERHAPS_OF_VM, VM_ADAPTER, one("RoutingDomainName", "name of a domain"), ERRORS],
        &["Get-VMNetworkAdapterRoutingDomainMapping"],
    ),
    row(
        "Lists these of the host",
        &[NAMES, ERRORS],
        &["Get-VMGroup", "Get-VMRemoteFXPhysicalVideoAdapter", "Get-VMResourcePool", "Get-VMSan"],
    ),
    row(
        "Lists virtual switches",
        &[
            one("Name", "name of a switch").at(0),
            Parameter::new(
                "SwitchType",
                Kind::Choice(&["External", "Internal", "Private"]),
                "kind of switch",
            )
            .many(3),
            ERRORS,
        ],
        &["Get-VMSwitch"],
    ),
    row("Lists teams of switches", &[one("Name", "name of a switch").at(0), ERRORS], &["Get-VMSwitchTeam"]),
    row(
        "Lists extensions of switches",
        &[
            named("VMSwitchName", "names of switches").at(0).required(),
            named("Name", "names of extensions").at(1),
            ERRORS,
        ],
        &["Get-VMSwitchExtension"],
    ),
    row(
        "Shows what extensions do at ports",
        &[OF_VM, VM_ADAPTER, FEATURE, EXTENSION, ERRORS],
        &["Get-VMSwitchExtensionPortData", "Get-VMSwitchExtensionPortFeature"],
    ),
    row(
        "Shows what extensions do at switches",
        &[OF_SWITCH, FEATURE, EXTENSION, ERRORS],
        &["Get-VMSwitchExtensionSwitchData", "Get-VMSwitchExtensionSwitchFeature"],
    ),
    row(
        "Lists extensions of the host",
        &[named("Name", "names of extensions"), ERRORS],
        &["Get-VMSystemSwitchExtension"],
    ),
    row(
        "Lists features that extensions of the host have",
        &[FEATURE, EXTENSION, ERRORS],
        &["Get-VMSystemSwitchExtensionPortFeature", "Get-VMSystemSwitchExtensionSwitchFeature"],
    ),
    row(
        "Shows virtual machines by processor groups of the host",
        &[Parameter::new("Id", Kind::Integer(0, 65_535), "number of a node"), ERRORS],
        &["Get-VMHostNumaNodeStatus"],
    ),
    row(
        "Lists versions of virtual machines that the host can run",
        &[switch("Default", "only the version that new ones get"), ERRORS],
        &["Get-VMHostSupportedVersion"],
    ),
    row(
        "Lists devices that the host can assign",
        &[named("ResourcePoolName", "names of pools"), ERRORS],
        &["Get-VMHostAssignableDevice"],
    ),
    row(
        "Lists networks for migration",
        &[
            Parameter::new("Subnet", Kind::Text(Form::Prefix, 64), "networks, such as 10.0.0.0/24")
                .many(32)
                .at(0),
            ERRORS,
        ],
        &["Get-VMMigrationNetwork"],
    ),
    row(
        "Shows replication of virtual machines",
        &[PERHAPS_OF_VM, ERRORS],
        &["Get-VMConnectAccess", "Get-VMReplication"],
    ),
    row(
        "Shows this of the host",
        &[ERRORS],
        &[
            "Get-VMHost",
            "Get-VMHostPartitionableGpu",
            "Get-VMPartitionableGpu",
            "Get-VMReplicationAuthorizationEntry",
            "Get-VMReplicationServer",
        ],
    ),
    row(
        "Shows virtual hard disks",
        &[
            Parameter::new("VMId", Kind::Text(Form::Exact, 36), "identifiers of virtual machines").many(32),
            Parameter::new("DiskNumber", Kind::Integer(0, 65_535), "number of a disk"),
            ERRORS,
        ],
        &["Get-VHD"],
    ),
];
