//! Storage, shares, jobs, updates, registration and logs.

use super::super::{ERRORS, Form, Kind, Parameter, named, numbers, one, switch};
use super::{Row, row};

const FRIENDLY: Parameter = named("FriendlyName", "names").at(0);
const UNIQUE: Parameter = named("UniqueId", "identifiers");
const RESILIENCY: Parameter = one("ResiliencySettingName", "name of a way to be resilient");
const LETTERS: Parameter = Parameter::new("DriveLetter", Kind::Text(Form::Property, 1), "letters of volumes")
    .many(26)
    .at(0)
    .required();

/// Names that `Resolve-DnsName` may ask for: those that every node of the product has to resolve. A name of the engineer's
/// own would travel to whoever serves its zone, and carry out of the site what is written into it; nobody who could
/// profit serves these zones, and which of seven was asked for says nothing.
const KNOWN_NAMES: &[&str] = &[
    "login.microsoftonline.com",
    "graph.microsoft.com",
    "management.azure.com",
    "dp.stackhci.azure.com",
    "edgesupprd.trafficmanager.net",
    "www.microsoft.com",
    "time.windows.com",
];

pub(super) const ROWS: &[Row] = &[
    row(
        "Resolves names that the node has to reach, and no others",
        &[
            Parameter::new("Name", Kind::Choice(KNOWN_NAMES), "name to ask for").at(0).required(),
            Parameter::new(
                "Type",
                Kind::Choice(&["A", "AAAA", "A_AAAA", "CNAME", "NS", "SOA"]),
                "what to ask for",
            )
            .at(1),
            switch("DnsOnly", "by DNS only"),
            switch("CacheOnly", "from the node's cache only"),
            switch("QuickTimeout", "gives up early"),
            switch("TcpOnly", "by TCP only"),
            ERRORS,
        ],
        &["Resolve-DnsName"],
    ),
    row("Lists these by name", &[FRIENDLY, UNIQUE, ERRORS], &["Get-MaskingSet", "Get-StorageTier"]),
    row(
        "Lists file servers of the storage",
        &[named("FriendlyName", "names"), UNIQUE, ERRORS],
        &["Get-StorageFileServer"],
    ),
    row(
        "Lists providers of storage",
        &[named("Name", "names").at(0), named("Manufacturer", "makers"), UNIQUE, ERRORS],
        &["Get-StorageProvider"],
    ),
    row(
        "Lists physical disks",
        &[
            one("FriendlyName", "name of a disk").at(0),
            one("SerialNumber", "serial number").at(1),
            one("UniqueId", "identifier"),
            ERRORS,
        ],
        &["Get-PhysicalDisk"],
    ),
    row(
        "Lists where disks can fail together",
        &[one("FriendlyName", "name"), one("SerialNumber", "serial number"), ERRORS],
        &["Get-StorageChassis", "Get-StorageFaultDomain"],
    ),
    row(
        "Shows sizes that a tier can have",
        &[named("FriendlyName", "names of tiers").at(0).required(), RESILIENCY, ERRORS],
        &["Get-StorageTierSupportedSize"],
    ),
    row(
        "Shows sizes that a virtual disk can have",
        &[named("StoragePoolFriendlyName", "names of pools").at(0).required(), RESILIENCY, ERRORS],
        &["Get-VirtualDiskSupportedSize"],
    ),
    row(
        "Shows sizes that clusters of a volume can have",
        &[LETTERS, one("FileSystem", "kind of file system"), ERRORS],
        &["Get-SupportedClusterSizes"],
    ),
    row("Shows how volumes are scrubbed", &[LETTERS, ERRORS], &["Get-VolumeScrubPolicy"]),
    row(
        "Shows sizes that a partition can have",
        &[
            numbers("DiskNumber", 65_535, "disk numbers").at(0).required(),
            numbers("PartitionNumber", 65_535, "partition numbers").at(1),
            ERRORS,
        ],
        &["Get-PartitionSupportedSize"],
    ),
    row(
        "Lists disks at the storage bus",
        &[Parameter::new("Number", Kind::Integer(0, u32::MAX as i64), "number of a disk"), ERRORS],
        &["Get-StorageBusDisk"],
    ),
    row(
        "Shows firmware of disks",
        &[one("FriendlyName", "name of a disk").at(0).required(), ERRORS],
        &["Get-StorageFirmwareInformation"],
    ),
    row(
        "Shows what the maker of an enclosure says",
        &[
            named("FriendlyName", "names of enclosures").at(0).required(),
            Parameter::new("PageNumber", Kind::Integer(0, 65_535), "number of the page").required(),
            ERRORS,
        ],
        &["Get-StorageEnclosureVendorData"],
    ),
    row("Lists repairs of the storage", &[UNIQUE, ERRORS], &["Get-StorageHealthAction"]),
    row(
        "Shows connections of SMB over several paths",
        &[switch("IncludeNotSelected", "also what is not in use"), ERRORS],
        &["Get-SmbMultichannelConnection"],
    ),
    row(
        "Lists these of the SMB server",
        &[switch("IncludeHidden", "also hidden ones"), ERRORS],
        &["Get-SmbOpenFile", "Get-SmbSession"],
    ),
    row(
        "Shows this of storage and shares",
        &[ERRORS],
        &[
            "Get-OffloadDataTransferSetting",
            "Get-PhysicalDiskStorageNodeView",
            "Get-SmbBandwidthLimit",
            "Get-SmbMultichannelConstraint",
            "Get-SmbWitnessClient",
            "Get-StorageBusCache",
            "Get-StorageBusClientDevice",
            "Get-StorageBusTargetCacheStoresInstance",
            "Get-StorageBusTargetDeviceInstance",
            "Get-StorageEnclosureStorageNodeView",
            "Get-StorageSetting",
        ],
    ),
    // Functions without the common parameters.
    row(
        "Shows this of the storage bus",
        &[],
        &["Get-StorageBusTargetCacheStore", "Get-StorageBusTargetDevice"],
    ),
    row(
        "Lists scheduled jobs",
        &[numbers("Id", i32::MAX as i64, "numbers").at(0), named("Name", "names"), ERRORS],
        &["Get-ScheduledJob"],
    ),
    row(
        "Shows settings of a scheduled job",
        &[
            Parameter::new("Id", Kind::Integer(0, i32::MAX as i64), "number of a job").at(0),
            one("Name", "name of a job"),
            ERRORS,
        ],
        &["Get-ScheduledJobOption"],
    ),
    row(
        "Lists resources of the desired state",
        &[named("Name", "names").at(0), ERRORS],
        &["Get-DscResource"],
    ),
    row(
        "Shows runs of the desired state",
        &[switch("All", "all runs"), ERRORS],
        &["Get-DscConfigurationStatus"],
    ),
    row(
        "Checks whether the node is in the desired state",
        &[switch("Detailed", "each resource by itself"), ERRORS],
        &["Test-DscConfiguration"],
    ),
    row("Shows this of the node", &[ERRORS], &["Get-DscLocalConfigurationManager", "Get-SecureBootPolicy"]),
    row(
        "Shows how the node is registered with Azure",
        &[ERRORS],
        &["Get-AzureStackHCI", "Get-AzureStackHCIArcIntegration", "Get-AzureStackHCISubscriptionStatus"],
    ),
    row("Checks whether the node reaches what it needs of Azure", &[ERRORS], &["Test-AzStackHCIConnection"]),
    row(
        "Shows updates of the solution",
        &[ERRORS],
        &["Get-SolutionDiscoveryDiagnosticInfo", "Get-SolutionUpdate", "Get-SolutionUpdateEnvironment"],
    ),
    row(
        "Lists installed updates",
        &[
            named("Id", "numbers of updates, such as KB5005463").at(0),
            named("Description", "kinds of updates"),
            ERRORS,
        ],
        &["Get-Hotfix"],
    ),
    row(
        "Reads event logs",
        &[
            named("LogName", "names of logs").at(0),
            named("ProviderName", "who wrote them"),
            Parameter::new("MaxEvents", Kind::Integer(1, 100_000), "so many at most"),
            switch("Oldest", "oldest first"),
            ERRORS,
        ],
        &["Get-WinEvent"],
    ),
    // The path of a counter can begin with the name of another computer, so only sets are listed.
    row(
        "Lists sets of performance counters",
        &[named("ListSet", "names of sets").at(0).required(), ERRORS],
        &["Get-Counter"],
    ),
];
