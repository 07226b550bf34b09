//! The failover cluster that the node is in, and updates of its nodes. `-Cluster`, which would name another one, stays closed.

use super::super::{ERRORS, Parameter, named, one, switch};
use super::{Row, row};

const NAMES: Parameter = named("Name", "names").at(0);

pub(super) const ROWS: &[Row] = &[
    row(
        "Lists these of the cluster",
        &[NAMES, ERRORS],
        &[
            "Get-ClusterAffinityRule",
            "Get-ClusterGroup",
            "Get-ClusterGroupSet",
            "Get-ClusterHCSVM",
            "Get-ClusterNetwork",
            "Get-ClusterNode",
            "Get-ClusterParameter",
            "Get-ClusterResource",
            "Get-ClusterResourceType",
            "Get-ClusterSharedVolume",
            "Get-ClusterSharedVolumeState",
        ],
    ),
    row(
        "Shows this of the cluster",
        &[ERRORS],
        &[
            "Get-CauClusterRole",
            "Get-CauRun",
            "Get-Cluster",
            "Get-ClusterAccess",
            "Get-ClusterFaultDomainXML",
            "Get-ClusterNodeSupportedVersion",
            "Get-ClusterQuorum",
            "Get-ClusterS2D",
            "Get-ClusterStorageNode",
            "Get-ClusterStorageSpacesDirect",
        ],
    ),
    row("Checks whether updates of the cluster can run", &[ERRORS], &["Test-CauSetup"]),
    row("Lists plug-ins for updates", &[one("Name", "name of a plug-in").at(0), ERRORS], &["Get-CauPlugin"]),
    row(
        "Lists network interfaces of the cluster",
        &[NAMES, named("Network", "names of networks"), ERRORS],
        &["Get-ClusterNetworkInterface"],
    ),
    row(
        "Shows which nodes may own this",
        &[
            one("Resource", "name of a resource"),
            one("Group", "name of a group"),
            one("ResourceType", "name of a type"),
            ERRORS,
        ],
        &["Get-ClusterOwnerNode"],
    ),
    row(
        "Shows what resources depend on",
        &[
            named("Resource", "names of resources").at(0),
            switch("Guid", "identifiers instead of names"),
            ERRORS,
        ],
        &["Get-ClusterResourceDependency"],
    ),
    row(
        "Lists disks that can join the cluster",
        &[switch("All", "also those that not all nodes see"), ERRORS],
        &["Get-ClusterAvailableDisk"],
    ),
    row("Lists fault domains", &[NAMES, named("Id", "identifiers"), ERRORS], &["Get-ClusterFaultDomain"]),
    row(
        "Shows which sets of groups depend on which",
        &[
            one("Name", "name of a set"),
            one("ContainedGroup", "name of a group in the set"),
            one("DependentGroup", "name of a group that depends"),
            ERRORS,
        ],
        &["Get-ClusterGroupSetDependency"],
    ),
    row(
        "Lists scheduled tasks of the cluster",
        &[one("TaskName", "name of a task").at(0), ERRORS],
        &["Get-ClusteredScheduledTask"],
    ),
];
