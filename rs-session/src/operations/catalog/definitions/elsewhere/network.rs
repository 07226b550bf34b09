//! Network adapters, firewall, IPsec, address translation and transition. `-PolicyStore` and `-GPOSession`, which would
//! name settings of other machines, stay closed.

use super::super::{ERRORS, Form, Kind, Parameter, named, numbers, one, switch};
use super::{Row, row};

const NAMES: Parameter = named("Name", "names").at(0);
const ADAPTERS: Parameter = named("Name", "interface names").at(0);
const DESCRIPTIONS: Parameter = named("InterfaceDescription", "descriptions of adapters");
const HIDDEN: Parameter = switch("IncludeHidden", "also hidden ones");
const INSTALLED: Parameter = switch("ShowInstalled", "all that are installed");
const ALL: Parameter = switch("All", "all there are");
const SHOWN: Parameter = named("DisplayName", "names as shown");
const SHOWN_GROUP: Parameter = named("DisplayGroup", "groups as shown");
const GROUP: Parameter = named("Group", "groups");

const fn ports(name: &'static str) -> Parameter {
    numbers(name, 65_535, "ports")
}

pub(super) const ROWS: &[Row] = &[
    row(
        "Shows settings of network adapters",
        &[ADAPTERS, DESCRIPTIONS, HIDDEN, ERRORS],
        &[
            "Get-NetAdapterChecksumOffload",
            "Get-NetAdapterDataPathConfiguration",
            "Get-NetAdapterEncapsulatedPacketTaskOffload",
            "Get-NetAdapterIPsecOffload",
            "Get-NetAdapterLso",
            "Get-NetAdapterPacketDirect",
            "Get-NetAdapterQos",
            "Get-NetAdapterRsc",
            "Get-NetAdapterUso",
            "Get-NetAdapterVmq",
        ],
    ),
    row(
        "Lists queues of network adapters",
        &[ADAPTERS, DESCRIPTIONS, numbers("Id", u32::MAX as i64, "numbers of queues"), HIDDEN, ERRORS],
        &["Get-NetAdapterVmqQueue"],
    ),
    row(
        "Lists virtual ports of network adapters",
        &[
            ADAPTERS,
            DESCRIPTIONS,
            numbers("VPortID", u32::MAX as i64, "numbers of ports"),
            numbers("SwitchID", u32::MAX as i64, "numbers of switches"),
            numbers("FunctionID", 65_535, "numbers of functions"),
            switch("PhysicalFunction", "those of the physical function"),
            HIDDEN,
            ERRORS,
        ],
        &["Get-NetAdapterVPort"],
    ),
    row(
        "Lists filters of the firewall",
        &[ALL, ERRORS],
        &[
            "Get-NetFirewallAddressFilter",
            "Get-NetFirewallApplicationFilter",
            "Get-NetFirewallInterfaceFilter",
            "Get-NetFirewallInterfaceTypeFilter",
            "Get-NetFirewallSecurityFilter",
            "Get-NetFirewallSetting",
        ],
    ),
    row(
        "Lists filters of the firewall by port",
        &[ALL, named("Protocol", "protocols, such as TCP"), ERRORS],
        &["Get-NetFirewallPortFilter"],
    ),
    row(
        "Lists filters of the firewall by service",
        &[ALL, named("Service", "names of services"), ERRORS],
        &["Get-NetFirewallServiceFilter"],
    ),
    row(
        "Lists what has a name in the settings of firewall and IPsec",
        &[NAMES, ALL, ERRORS],
        &[
            "Get-NetFirewallProfile",
            "Get-NetIPsecDospSetting",
            "Get-NetIPsecMainModeSA",
            "Get-NetIPsecQuickModeSA",
        ],
    ),
    row(
        "Lists rules of firewall and IPsec",
        &[NAMES, SHOWN, SHOWN_GROUP, GROUP, ALL, ERRORS],
        &[
            "Get-NetFirewallRule",
            "Get-NetIPsecMainModeCryptoSet",
            "Get-NetIPsecMainModeRule",
            "Get-NetIPsecQuickModeCryptoSet",
        ],
    ),
    row(
        "Lists rules of IPsec",
        &[named("IPsecRuleName", "names").at(0), SHOWN, SHOWN_GROUP, GROUP, ALL, ERRORS],
        &["Get-NetIPsecRule"],
    ),
    row(
        "Lists these by name",
        &[NAMES, ERRORS],
        &["Get-NetEventSession", "Get-NetNat", "Get-NetQosPolicy", "Get-NetSwitchTeam"],
    ),
    row(
        "Lists members of teams of switches",
        &[NAMES, named("Team", "names of teams").at(1), ERRORS],
        &["Get-NetSwitchTeamMember"],
    ),
    row(
        "Lists address translations",
        &[named("NatName", "names of translations").at(0), ERRORS],
        &["Get-NetNatExternalAddress", "Get-NetNatStaticMapping"],
    ),
    row(
        "Shows settings of NAT64",
        &[named("InstanceName", "names of instances"), ERRORS],
        &["Get-NetNatTransitionConfiguration"],
    ),
    row(
        "Lists what packet captures can be bound to",
        &[NAMES, INSTALLED, ERRORS],
        &[
            "Get-NetEventNetworkAdapter",
            "Get-NetEventProvider",
            "Get-NetEventVmNetworkAdapter",
            "Get-NetEventVmSwitch",
        ],
    ),
    row(
        "Lists filters that choose TCP settings",
        &[
            named("SettingName", "names of settings"),
            ports("LocalPortStart"),
            ports("LocalPortEnd"),
            ports("RemotePortStart"),
            ports("RemotePortEnd"),
            Parameter::new("DestinationPrefix", Kind::Text(Form::Prefix, 64), "destinations").many(32),
            ERRORS,
        ],
        &["Get-NetTransportFilter"],
    ),
    row(
        "Shows IP settings of interfaces together",
        &[
            one("InterfaceAlias", "name of an interface").at(0),
            Parameter::new("InterfaceIndex", Kind::Integer(0, i32::MAX as i64), "number of an interface"),
            switch("All", "also what is not connected"),
            switch("Detailed", "more of each"),
            ERRORS,
        ],
        &["Get-NetIPConfiguration"],
    ),
    row(
        "Shows intents of the network and how far they are",
        &[one("Name", "name of an intent").at(0), switch("GlobalOverrides", "those for all intents"), ERRORS],
        &["Get-NetIntentStatus"],
    ),
    row(
        "Shows this part of the network's settings",
        &[ERRORS],
        &[
            "Get-NCSIPolicyConfiguration",
            "Get-Net6to4Configuration",
            "Get-NetDnsTransitionConfiguration",
            "Get-NetDnsTransitionMonitoring",
            "Get-NetEventPacketCaptureProvider",
            "Get-NetEventVFPProvider",
            "Get-NetEventVmSwitchProvider",
            "Get-NetEventWFPCaptureProvider",
            "Get-NetIPHttpsConfiguration",
            "Get-NetIPHttpsState",
            "Get-NetIsatapConfiguration",
            "Get-NetNatGlobal",
            "Get-NetNatSession",
            "Get-NetNatTransitionMonitoring",
            "Get-NetTeredoConfiguration",
            "Get-NetTeredoState",
        ],
    ),
];
