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
    "Select",
    "Sort",
    "Test",
    "Where",
    "Write",
];

/// The effects of a command by its verb; `listed` if the annotations say that it changes state or sends data.
pub(super) fn effects_of(name: &str, listed: bool) -> Effects {
    let verb = name.split_once('-').map_or(name, |(verb, _)| verb);
    let is = |other: &str| verb.eq_ignore_ascii_case(other);
    let mut effects = Effects::of(&[Effect::Reads]);
    if is("Send") {
        return effects.union(Effects::of(&[Effect::Network, Effect::DataLeaving]));
    }
    if is("Resolve") || name.eq_ignore_ascii_case("Test-AzStackHCIConnection") {
        return effects.union(Effects::of(&[Effect::Network]));
    }
    if listed || !READING_VERBS.iter().any(|reading| is(reading)) {
        effects = effects.union(Effects::of(&[Effect::Changes]));
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_effects_follow_verb_and_annotation() {
        let effects = |name, listed| effects_of(name, listed).to_string();
        assert_eq!(effects("Get-VM", false), "reads");
        assert_eq!(effects("Start-SolutionUpdate", true), "reads, changes");
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
