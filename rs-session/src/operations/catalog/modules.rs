//! Module and effects of published commands that this engine has no definition for, by their names.

use super::{Effect, Effects};

/// Beginnings of nouns and the module they belong to; the first match counts, so longer ones stand first.
const MODULES: &[(&str, &str)] = &[
    ("AzureStackHCI", "Az.StackHCI"),
    ("AzStackHCI", "Az.StackHCI"),
    ("AzsSupport", "Azs.Support"),
    ("Solution", "Microsoft.AzureStack.HCI.Update"),
    ("Cau", "ClusterAwareUpdating"),
    ("ClusteredScheduledTask", "ScheduledTasks"),
    ("Cluster", "FailoverClusters"),
    ("VHD", "Hyper-V"),
    ("VM", "Hyper-V"),
    ("Dsc", "PSDesiredStateConfiguration"),
    ("JobTrigger", "PSScheduledJob"),
    ("ScheduledJob", "PSScheduledJob"),
    ("ScheduledTask", "ScheduledTasks"),
    ("NetAdapter", "NetAdapter"),
    ("NetEvent", "NetEventPacketCapture"),
    ("NetFirewall", "NetSecurity"),
    ("NetIPsec", "NetSecurity"),
    ("NetLbfo", "NetLbfo"),
    ("NetNatTransition", "NetworkTransition"),
    ("NetNat", "NetNat"),
    ("NetQos", "NetQos"),
    ("NetSwitchTeam", "NetSwitchTeam"),
    ("NetIntent", "NetworkATC"),
    ("NetView", "Get-NetView"),
    ("NetConnectionProfile", "NetConnection"),
    ("NetDnsTransition", "NetworkTransition"),
    ("NetIPHttps", "NetworkTransition"),
    ("NetIsatap", "NetworkTransition"),
    ("NetTeredo", "NetworkTransition"),
    ("Net6to4", "NetworkTransition"),
    ("NCSIPolicy", "NetworkConnectivityStatus"),
    ("Net", "NetTCPIP"),
    ("SecureBoot", "SecureBoot"),
    ("SmbWitness", "SmbWitness"),
    ("Smb", "SmbShare"),
    ("StorageBus", "StorageBusCache"),
    ("WindowsErrorReporting", "WindowsErrorReporting"),
    ("Storage", "Storage"),
    ("Disk", "Storage"),
    ("FileShare", "Storage"),
    ("Initiator", "Storage"),
    ("MaskingSet", "Storage"),
    ("OffloadDataTransfer", "Storage"),
    ("Partition", "Storage"),
    ("ResiliencySetting", "Storage"),
    ("Supported", "Storage"),
    ("Target", "Storage"),
    ("VirtualDisk", "Storage"),
    ("Volume", "Storage"),
    ("FormatData", "Microsoft.PowerShell.Utility"),
];

/// The module of a command, where its noun tells.
pub(super) fn module_of(name: &str) -> Option<&'static str> {
    let (_, noun) = name.split_once('-')?;
    let begins = |start: &str| noun.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
    MODULES.iter().find(|(start, _)| begins(start)).map(|(_, module)| *module)
}

/// Verbs of commands that read and do nothing else.
const READING_VERBS: &[&str] = &[
    "Clear-Host",
    "Confirm",
    "Exit",
    "Find",
    "Format",
    "Get",
    "Measure",
    "Out",
    "Resolve",
    "Select",
    "Show",
    "Sort",
    "Test",
    "Where",
    "Write",
];

const READS: Effects = Effects::of(&[Effect::Reads]);
const NETWORK: Effects = Effects::of(&[Effect::Reads, Effect::Network]);
const WRITES: Effects = Effects::of(&[Effect::Reads, Effect::Changes]);

/// Commands whose verb does not tell all that they do, as far as their documentation says it: they write what they find
/// into files, restart what they update, ask other machines, or report to Azure.
const BEYOND_THE_VERB: &[(&str, Effects)] = &[
    ("Get-CauDeviceInfoForFeatureUpdates", WRITES),
    ("Get-ClusterDiagnosticInfo", WRITES),
    ("Get-ClusterLog", WRITES),
    ("Get-ClusterResourceDependencyReport", WRITES),
    ("Get-NetView", WRITES),
    ("Get-PCStorageDiagnosticInfo", WRITES),
    ("Get-SddcDiagnosticInfo", WRITES),
    ("Get-StorageDiagnosticInfo", WRITES),
    ("Get-SolutionUpdate", NETWORK),
    ("Resolve-DnsName", NETWORK),
    ("Start-SolutionUpdate", WRITES.union(Effects::of(&[Effect::Services, Effect::Network]))),
    ("Sync-AzureStackHCI", WRITES.union(Effects::of(&[Effect::Network, Effect::DataLeaving]))),
    ("Test-AzStackHCIConnection", NETWORK),
    ("Test-CauSetup", NETWORK),
    ("Test-Cluster", WRITES.union(NETWORK)),
    ("Test-ClusterResourceFailure", WRITES.union(Effects::of(&[Effect::Services]))),
    ("Test-SRTopology", WRITES.union(NETWORK)),
];

/// The effects of a command: what is known of it by name, else by its verb; `listed` if the annotations say that it changes state or sends data.
pub(super) fn effects_of(name: &str, listed: bool) -> Effects {
    let verb = name.split_once('-').map_or(name, |(verb, _)| verb);
    let is = |other: &str| verb.eq_ignore_ascii_case(other);
    if let Some((_, effects)) = BEYOND_THE_VERB.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
        return *effects;
    }
    if is("Send") {
        return NETWORK.union(Effects::of(&[Effect::DataLeaving]));
    }
    if (is("Start") || is("Stop") || is("Restart")) && name.ends_with("Service") {
        return READS.union(Effects::of(&[Effect::Services]));
    }
    if listed || !READING_VERBS.iter().any(|reading| is(reading)) { WRITES } else { READS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_effects_follow_verb_and_annotation() {
        let effects = |name, listed| effects_of(name, listed).to_string();
        assert_eq!(effects("Get-VM", false), "reads");
        assert_eq!(effects("Start-SolutionUpdate", true), "reads, changes, services, network");
        assert_eq!(effects("get-clusterlog", false), "reads, changes");
        assert_eq!(effects("Restart-AzsSupportService", false), "reads, services");
        assert_eq!(effects("Show-VirtualDisk", false), "reads");
        assert_eq!(effects("Remove-AzsSupportItem", false), "reads, changes");
        assert_eq!(effects("Send-DiagnosticData", true), "reads, network, data-leaving");
        assert_eq!(effects("AzsSupportKIUnexpectedReboot", false), "reads, changes");
    }

    #[test]
    fn modules_follow_nouns() {
        assert_eq!(module_of("Get-VMHost"), Some("Hyper-V"));
        assert_eq!(module_of("Get-NetAdapterRss"), Some("NetAdapter"));
        assert_eq!(module_of("Get-NetRoute"), Some("NetTCPIP"));
        assert_eq!(module_of("Clear-Host"), None);
    }
}
