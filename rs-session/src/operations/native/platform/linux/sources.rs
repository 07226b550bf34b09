//! Which sources this machine lacks: a command whose source is absent says so, instead of an empty answer that could be
//! taken for "there is none".

use std::path::Path;

use super::smb::CLIENT;
use super::storage::mounts;
use super::{names, shares};

/// Why the source of a command is absent; `None` if it is there.
pub(in crate::operations::native) fn absent(command: &str) -> Option<&'static str> {
    let missing = |paths: &[&str], why: &'static str| {
        (!paths.iter().any(|path| Path::new(path).exists())).then_some(why)
    };
    match command {
        "Get-SmbShare"
        | "Get-SmbShareAccess"
        | "Get-SmbServerConfiguration"
        | "Get-SmbServerNetworkInterface" => missing(
            &[shares::CONFIGURATION],
            "no SMB server is configured here (there is no /etc/samba/smb.conf)",
        ),
        "Get-FileShare" => missing(
            &[shares::CONFIGURATION, "/etc/exports", "/etc/exports.d"],
            "neither an SMB nor an NFS server is configured here",
        ),
        "Get-SmbMapping" | "Get-SmbConnection" | "Get-SmbGlobalMapping"
            if mounts().iter().any(super::storage::Mount::is_smb) =>
        {
            None
        }
        "Get-SmbMapping" | "Get-SmbConnection" | "Get-SmbGlobalMapping" | "Get-SmbClientConfiguration" => {
            missing(&[CLIENT], "the kernel's SMB client is not loaded")
        }
        "Get-SecureBootUEFI" => {
            missing(&["/sys/firmware/efi/efivars"], "this node did not start from UEFI firmware")
        }
        "Get-NetLbfoTeam" | "Get-NetLbfoTeamMember" | "Get-NetLbfoTeamNic" => {
            missing(&["/sys/class/net/bonding_masters"], "the kernel's bonding driver is not loaded")
        }
        "Get-NetAdapterRdma" => missing(&["/sys/class/infiniband"], "no adapter of this node can do RDMA"),
        "Get-NetAdapterSriovVf" => {
            let able =
                |name: &String| Path::new("/sys/class/net").join(name).join("device/sriov_totalvfs").exists();
            (!names("/sys/class/net").iter().any(able)).then_some("no adapter of this node can do SR-IOV")
        }
        "Get-StorageJob" | "Get-ResiliencySetting" => {
            missing(&["/proc/mdstat"], "the kernel's RAID driver is not loaded")
        }
        "Get-VirtualDisk" => {
            let mapped = names("/sys/block").iter().any(|name| name.starts_with("dm-"));
            if mapped {
                None
            } else {
                missing(&["/proc/mdstat"], "the kernel has no RAID and no mapped volumes")
            }
        }
        "Get-StorageEnclosure" => missing(&["/sys/class/enclosure"], "the kernel sees no enclosure"),
        "Get-InitiatorId" => missing(
            &["/etc/iscsi/initiatorname.iscsi", "/sys/class/fc_host"],
            "neither iSCSI nor Fibre Channel is set up here",
        ),
        "Get-InitiatorPort" => missing(
            &["/sys/class/iscsi_host", "/sys/class/fc_host"],
            "neither iSCSI nor Fibre Channel is set up here",
        ),
        "Get-TargetPort" | "Get-TargetPortal" => {
            missing(&["/sys/class/iscsi_session"], "iSCSI is not set up here")
        }
        "Get-VolumeCorruptionCount" => {
            missing(&["/sys/fs/ext4"], "no file system of this node counts its errors (ext4 does)")
        }
        "Get-LogProperties" => missing(&["/var/log"], "there are no logs under /var/log"),
        "Get-VMHostNumaNode" => {
            missing(&["/sys/devices/system/node/node0"], "the kernel does not tell nodes of memory apart")
        }
        _ => None,
    }
}
