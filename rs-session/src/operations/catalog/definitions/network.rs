//! Commands about the network that read what the kernel and the resolver hold.

use super::{
    ADAPTER, ALIAS, Definition, ERRORS, Form, INDEX, Kind, NAMES, NETWORK, Parameter, TCPIP, address,
    numbers, pattern, switch,
};

const ADAPTER_NAME: Parameter =
    pattern("Name", "interface names, * and ? permitted").also(&["ifAlias", "InterfaceAlias"]).at(0);
const FAMILY: Parameter =
    Parameter::new("AddressFamily", Kind::Choice(&["IPv4", "IPv6"]), "only this family");
pub(super) const ADAPTERS: &[Parameter] =
    &[ADAPTER_NAME, INDEX, switch("IncludeHidden", "also loopback"), ERRORS];

pub(super) static ALL: &[Definition] = &[
    Definition::source("Get-NetAdapter", ADAPTER, "Lists network adapters")
        .needs(NETWORK)
        .takes(&[
            ADAPTER_NAME,
            INDEX,
            switch("Physical", "only adapters with hardware"),
            switch("IncludeHidden", "also loopback and virtual ones"),
            ERRORS,
        ])
        .gives(&[
            "Name",
            "InterfaceDescription",
            "ifIndex",
            "Status",
            "MacAddress",
            "LinkSpeed",
            "MtuSize",
            "AdminStatus",
            "MediaConnectionState",
            "FullDuplex",
            "Virtual",
            "DriverName",
        ]),
    Definition::source("Get-NetIPAddress", TCPIP, "Lists IP addresses")
        .needs(NETWORK)
        .everywhere()
        .takes(&[address("IPAddress", "addresses, * permitted").at(0), ALIAS, INDEX, FAMILY, ERRORS])
        .gives(&[
            "IPAddress",
            "InterfaceIndex",
            "InterfaceAlias",
            "AddressFamily",
            "PrefixLength",
            "Type",
            "Scope",
        ]),
    Definition::source("Get-NetTCPConnection", TCPIP, "Lists TCP connections")
        .needs(NETWORK.facts_about_processes())
        .takes(&[
            address("LocalAddress", "local addresses").at(0),
            numbers("LocalPort", 65_535, "local ports").at(1),
            address("RemoteAddress", "remote addresses"),
            numbers("RemotePort", 65_535, "remote ports"),
            Parameter::new("State", Kind::Choice(TCP_STATES), "only these states").many(11),
            numbers("OwningProcess", i32::MAX as i64, "process numbers"),
            ERRORS,
        ])
        .gives(&[
            "LocalAddress",
            "LocalPort",
            "RemoteAddress",
            "RemotePort",
            "State",
            "OwningProcess",
            "ProcessName",
            "AddressFamily",
        ]),
    Definition::source("Get-NetUDPEndpoint", TCPIP, "Lists UDP endpoints")
        .needs(NETWORK.facts_about_processes())
        .takes(&[
            address("LocalAddress", "local addresses").at(0),
            numbers("LocalPort", 65_535, "local ports").at(1),
            numbers("OwningProcess", i32::MAX as i64, "process numbers"),
            ERRORS,
        ])
        .gives(&["LocalAddress", "LocalPort", "OwningProcess", "ProcessName", "AddressFamily"]),
    Definition::source("Get-NetRoute", TCPIP, "Lists IP routes")
        .needs(NETWORK)
        .takes(&[
            Parameter::new(
                "DestinationPrefix",
                Kind::Text(Form::Prefix, 64),
                "destinations, such as 0.0.0.0/0",
            )
            .many(NAMES)
            .at(0),
            address("NextHop", "gateways"),
            ALIAS,
            INDEX,
            FAMILY,
            ERRORS,
        ])
        .gives(&[
            "ifIndex",
            "DestinationPrefix",
            "NextHop",
            "RouteMetric",
            "InterfaceAlias",
            "AddressFamily",
            "InterfaceIndex",
        ]),
    Definition::source("Get-NetNeighbor", TCPIP, "Lists the neighbour cache")
        .needs(NETWORK)
        .takes(&[address("IPAddress", "addresses").at(0), ALIAS, INDEX, FAMILY, ERRORS])
        .gives(&[
            "ifIndex",
            "IPAddress",
            "LinkLayerAddress",
            "State",
            "InterfaceAlias",
            "AddressFamily",
            "InterfaceIndex",
        ]),
    Definition::source("Get-NetIPInterface", TCPIP, "Lists IP interfaces")
        .needs(NETWORK)
        .takes(&[ALIAS.at(0), INDEX, FAMILY, ERRORS])
        .gives(&[
            "ifIndex",
            "InterfaceAlias",
            "AddressFamily",
            "NlMtu",
            "Forwarding",
            "ConnectionState",
            "RouterDiscovery",
            "InterfaceIndex",
        ]),
    Definition::source("Get-NetIPv4Protocol", TCPIP, "Shows settings of IPv4").needs(NETWORK).gives(&[
        "DefaultHopLimit",
        "Forwarding",
        "IcmpRedirects",
        "SourceRouting",
        "ReversePathFilter",
        "NeighborCacheLimit",
        "IgnoreEchoRequests",
        "ReassemblyLimit",
    ]),
    Definition::source("Get-NetIPv6Protocol", TCPIP, "Shows settings of IPv6").needs(NETWORK).gives(&[
        "Enabled",
        "DefaultHopLimit",
        "Forwarding",
        "IcmpRedirects",
        "SourceRouting",
        "UseTemporaryAddresses",
        "NeighborCacheLimit",
        "ReassemblyLimit",
    ]),
    Definition::source("Get-NetTCPSetting", TCPIP, "Shows settings of TCP")
        .needs(NETWORK)
        .takes(&[pattern("SettingName", "names of settings").at(0)])
        .gives(&[
            "SettingName",
            "CongestionProvider",
            "EcnCapability",
            "Timestamps",
            "SelectiveAcknowledgement",
            "AutoTuning",
            "ScalingHeuristics",
            "MaxSynRetransmissions",
            "KeepAliveTimeSeconds",
            "KeepAliveIntervalSeconds",
            "FinTimeoutSeconds",
            "ReceiveBuffer",
            "SendBuffer",
            "DynamicPortRange",
        ]),
    Definition::source("Get-NetUDPSetting", TCPIP, "Shows settings of UDP").needs(NETWORK).gives(&[
        "DynamicPortRange",
        "ReceiveBufferMinimum",
        "SendBufferMinimum",
        "ReceiveBufferDefault",
        "ReceiveBufferMaximum",
    ]),
    Definition::source("Get-NetOffloadGlobalSetting", TCPIP, "Shows settings of packet processing")
        .needs(NETWORK)
        .gives(&[
            "ReceiveSideScaling",
            "BusyPollMicroseconds",
            "PacketBudget",
            "PacketBudgetMicroseconds",
            "BacklogPackets",
            "DefaultQueueDiscipline",
        ]),
    Definition::source("Get-NetCompartment", TCPIP, "Lists network namespaces")
        .needs(NETWORK.reading(&["/proc", "/sys", "/run/netns"]))
        .takes(&[numbers("CompartmentId", 65_535, "numbers").at(0)])
        .gives(&["CompartmentId", "CompartmentDescription", "Namespace"]),
    Definition::source("Get-NetAdapterStatistics", ADAPTER, "Shows counters of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&[
            "Name",
            "ifIndex",
            "ReceivedBytes",
            "ReceivedPackets",
            "ReceivedDiscardedPackets",
            "ReceivedPacketErrors",
            "SentBytes",
            "SentPackets",
            "OutboundDiscardedPackets",
            "OutboundPacketErrors",
            "ReceivedMulticastPackets",
            "Collisions",
        ]),
    Definition::source("Get-NetAdapterHardwareInfo", ADAPTER, "Shows where adapters are plugged in")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&[
            "Name",
            "ifIndex",
            "InterfaceDescription",
            "Slot",
            "VendorId",
            "DeviceId",
            "NumaNode",
            "PcieLinkSpeed",
            "PcieLinkWidth",
            "DriverName",
        ]),
    Definition::source("Get-NetAdapterAdvancedProperty", ADAPTER, "Shows settings of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "DisplayName", "DisplayValue", "RegistryKeyword", "ifIndex"]),
    Definition::source("Get-NetAdapterPowerManagement", ADAPTER, "Shows power settings of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "ifIndex", "WakeOnMagicPacket", "RuntimeStatus", "AllowComputerToTurnOffDevice"]),
    Definition::source("Get-NetAdapterRss", ADAPTER, "Shows queues of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "ifIndex", "Enabled", "NumberOfReceiveQueues", "NumberOfTransmitQueues"]),
    Definition::source("Get-NetAdapterSriov", ADAPTER, "Shows SR-IOV of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "ifIndex", "SriovSupport", "Enabled", "NumVFs", "MaxVFs"]),
    Definition::source("Get-NetLbfoTeam", "NetLbfo", "Lists teams of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "Members", "TeamingMode", "LacpTimer", "Status", "ActiveMember"]),
    Definition::source("Get-NetLbfoTeamMember", "NetLbfo", "Lists members of teams")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "InterfaceDescription", "Team", "AdministrativeMode", "OperationalStatus"]),
    Definition::source("Get-NetAdapterBinding", ADAPTER, "Shows what is bound to network adapters")
        .needs(NETWORK)
        .takes(&[
            ADAPTER_NAME,
            pattern("ComponentID", "components, such as ms_tcpip6"),
            pattern("DisplayName", "names of components"),
            switch("IncludeHidden", "also loopback"),
            ERRORS,
        ])
        .gives(&["Name", "DisplayName", "ComponentID", "Enabled", "ifIndex"]),
    Definition::source("Get-NetAdapterRdma", ADAPTER, "Shows adapters that can do RDMA")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "InterfaceDescription", "Enabled", "ifIndex", "Device"]),
    Definition::source("Get-NetAdapterSriovVf", ADAPTER, "Lists virtual functions of network adapters")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "FunctionID", "Slot", "DriverName"]),
    Definition::source("Get-NetConnectionProfile", "NetConnection", "Shows how far each interface reaches")
        .needs(NETWORK.reading(&["/proc", "/sys", "/etc/resolv.conf"]))
        .takes(&[pattern("Name", "networks").at(0), ALIAS, INDEX, ERRORS])
        .gives(&["Name", "InterfaceAlias", "InterfaceIndex", "IPv4Connectivity", "IPv6Connectivity"]),
    Definition::source("Get-NetLbfoTeamNic", "NetLbfo", "Lists the interfaces of teams")
        .needs(NETWORK)
        .takes(ADAPTERS)
        .gives(&["Name", "Team", "VlanID", "Primary", "ReceiveLinkSpeed", "ifIndex"]),
    Definition::source("Get-NetPrefixPolicy", TCPIP, "Shows which addresses are preferred")
        .needs(NETWORK.reading(&["/proc", "/sys", "/etc/gai.conf"]))
        .takes(&[pattern("Prefix", "prefixes").at(0), ERRORS])
        .gives(&["Prefix", "Precedence", "Label"]),
];

/// States of a TCP connection as PowerShell names them.
pub(in crate::operations) const TCP_STATES: &[&str] = &[
    "Established",
    "SynSent",
    "SynReceived",
    "FinWait1",
    "FinWait2",
    "TimeWait",
    "Closed",
    "CloseWait",
    "LastAck",
    "Listen",
    "Closing",
];
