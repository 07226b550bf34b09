//! Commands that this engine runs: their role, their open parameters and what they do.
//!
//! Every parameter has a type, a length and a constraint. Parameters that name computers, credentials, sessions, files,
//! output variables or code are absent on purpose; those that users know are refused with a reason of their own.

use super::{Effect, Effects};

/// Operating systems on which a command has a native source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Systems(u8);

impl Systems {
    /// Nowhere.
    pub const NONE: Self = Self(0);
    /// Linux.
    pub const LINUX: Self = Self(1);
    /// Windows.
    pub const WINDOWS: Self = Self(2);
    /// macOS.
    pub const MACOS: Self = Self(4);
    /// Wherever this program runs.
    pub const ALL: Self = Self(7);

    /// True if both share a system.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a command is in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Gives objects and takes no input.
    Source,
    /// Works on the objects of the command before it.
    Filter,
    /// Turns objects into text; only `Out-Default` may follow.
    Formatter,
    /// Belongs to the session itself and stands alone.
    Session,
}

/// Shape of a text value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Name of a thing; `*`, `?` and `[ ]` are wildcards.
    Pattern,
    /// Name of a thing, taken as it is.
    Exact,
    /// Name of a property: letters, digits and `_`.
    Property,
    /// Name of a property, wildcards permitted.
    PropertyPattern,
    /// Name of a command or help topic: letters, digits and `- . _ : \ *  ?`.
    Identifier,
    /// An IP address, wildcards permitted.
    Address,
    /// An IP address with the length of a prefix, wildcards permitted.
    Prefix,
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Present or not.
    Switch,
    /// Text of at most so many characters.
    Text(Form, usize),
    /// A whole number from the first to the second, both included.
    Integer(i64, i64),
    /// One of these words, without regard to case.
    Choice(&'static [&'static str]),
    /// A literal of any type.
    Literal,
}

/// One open parameter.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// Name without the dash.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Type and constraint.
    pub kind: Kind,
    /// Most values; 1 unless it takes a list.
    pub items_max: usize,
    /// Place among the values that stand without a name.
    pub position: Option<u8>,
    /// True if it must be given.
    pub mandatory: bool,
    /// One line for help.
    pub about: &'static str,
}

impl Parameter {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, aliases: &[], kind, items_max: 1, position: None, mandatory: false, about }
    }

    const fn many(mut self, items_max: usize) -> Self {
        self.items_max = items_max;
        self
    }

    const fn at(mut self, position: u8) -> Self {
        self.position = Some(position);
        self
    }

    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn required(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Type and constraint in words, as help and refusals show them.
    #[must_use]
    pub fn describe(&self) -> String {
        let one = match self.kind {
            Kind::Switch => return String::from("switch"),
            Kind::Text(form, chars) => {
                let form = match form {
                    Form::Pattern => "text, wildcards permitted",
                    Form::Exact => "text, no wildcards",
                    Form::Property => "property name",
                    Form::PropertyPattern => "property name, wildcards permitted",
                    Form::Identifier => "name, wildcards permitted",
                    Form::Address => "IP address, wildcards permitted",
                    Form::Prefix => "IP prefix, wildcards permitted",
                };
                format!("{form}, at most {chars} characters")
            }
            Kind::Integer(low, high) => format!("whole number from {low} to {high}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Literal => String::from("text or number"),
        };
        if self.items_max > 1 { format!("{one}; up to {} values", self.items_max) } else { one }
    }
}

/// A command that this engine runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Definition {
    /// Name as published.
    pub name: &'static str,
    /// Module, for qualified names.
    pub module: &'static str,
    /// One line for help.
    pub about: &'static str,
    /// Place in a pipeline.
    pub role: Role,
    /// Open parameters.
    pub parameters: &'static [Parameter],
    /// Properties of the objects that it gives.
    pub properties: &'static [&'static str],
    /// What it does.
    pub effects: Effects,
    /// Where it has a native source.
    pub systems: Systems,
}

impl Definition {
    const fn source(name: &'static str, module: &'static str, about: &'static str) -> Self {
        Self {
            name,
            module,
            about,
            role: Role::Source,
            parameters: &[],
            properties: &[],
            effects: Effects::of(&[Effect::Reads]),
            systems: Systems::LINUX,
        }
    }

    const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self.systems = Systems::ALL;
        self
    }

    const fn takes(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    const fn gives(mut self, properties: &'static [&'static str]) -> Self {
        self.properties = properties;
        self
    }

    const fn everywhere(mut self) -> Self {
        self.systems = Systems::ALL;
        self
    }

    const fn does(mut self, effects: &[Effect]) -> Self {
        self.effects = Effects::of(effects);
        self
    }

    /// Checks the rules that every definition keeps; panics in tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for parameter in self.parameters {
            assert!(
                parameter.items_max >= 1 && parameter.items_max <= crate::operations::language::ARGUMENTS_MAX
            );
            if let Kind::Text(_, chars) = parameter.kind {
                assert!(chars > 0 && chars <= crate::operations::language::VALUE_CHARS_MAX);
            }

            assert!(
                !FORBIDDEN.iter().any(|word| parameter.name.eq_ignore_ascii_case(word)),
                "{} -{}",
                self.name,
                parameter.name
            );
            let names = |own: &Parameter| {
                own.name.eq_ignore_ascii_case(parameter.name)
                    || own.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(parameter.name))
            };
            assert_eq!(self.parameters.iter().filter(|own| names(own)).count(), 1, "{}", parameter.name);
        }
    }
}

/// Parameters that commands of this kind have elsewhere and that are closed here, with the reason.
pub(in crate::operations) const CLOSED: &[(&str, &str)] = &[
    ("ComputerName", "a session reaches this node only"),
    ("CimSession", "a session reaches this node only"),
    ("Credential", "credentials are never taken from a session"),
    ("Session", "a session reaches this node only"),
    ("FilterScript", "script blocks are not permitted; use Property -Operator Value"),
    ("Match", "regular expressions are not permitted; use -Like with * and ?"),
    ("NotMatch", "regular expressions are not permitted; use -NotLike with * and ?"),
    ("IMatch", "regular expressions are not permitted; use -Like with * and ?"),
    ("CMatch", "regular expressions are not permitted; use -CLike with * and ?"),
    ("INotMatch", "regular expressions are not permitted; use -NotLike with * and ?"),
    ("CNotMatch", "regular expressions are not permitted; use -CNotLike with * and ?"),
    ("Is", "types are not permitted in comparisons"),
    ("IsNot", "types are not permitted in comparisons"),
    ("InputObject", "objects come through the pipe only"),
    ("AsJob", "background jobs are not permitted"),
    ("ThrottleLimit", "background jobs are not permitted"),
    ("OutVariable", "variables are not permitted"),
    ("OutBuffer", "it is not needed here"),
    ("PipelineVariable", "variables are not permitted"),
    ("ErrorVariable", "variables are not permitted"),
    ("WarningVariable", "variables are not permitted"),
    ("InformationVariable", "variables are not permitted"),
    ("WarningAction", "warnings are always shown"),
    ("InformationAction", "messages are always shown"),
    ("ProgressAction", "there is no progress display"),
    ("Verbose", "there is no more detail to show"),
    ("Debug", "there is no more detail to show"),
    ("Confirm", "the node's owner has consented; nothing asks here"),
    ("WhatIf", "Get-Help says what a command does"),
    ("Force", "protections cannot be switched off"),
    ("PassThru", "the command gives its result as it is"),
    ("IncludeUserName", "users of processes are not shown"),
    ("FileVersionInfo", "files of processes are not read"),
    ("Module", "modules of processes are not read"),
    ("FullyQualifiedModule", "modules are not loaded here"),
    ("Syntax", "Get-Help NAME shows the parameters"),
    ("Culture", "there is one order for text"),
    ("GroupBy", "groups are not supported; sort by the property instead"),
    ("View", "there is one view for each type"),
    ("DisplayError", "there are no calculated properties"),
    ("ShowError", "there are no calculated properties"),
    ("Index", "use -First and -Skip"),
    ("SkipLast", "use -First"),
    ("Online", "help is shown in the session"),
    ("ShowWindow", "help is shown in the session"),
];

/// Names that no open parameter may have: they reach files, other machines, accounts, code or variables.
#[cfg(test)]
const FORBIDDEN: &[&str] = &[
    "ComputerName",
    "Credential",
    "Session",
    "CimSession",
    "Path",
    "LiteralPath",
    "FilePath",
    "OutFile",
    "Destination",
    "ScriptBlock",
    "FilterScript",
    "Expression",
    "InputObject",
    "OutVariable",
    "AsJob",
    "Force",
    "UserName",
    "Password",
];

/// Aliases and the commands they stand for.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("cls", "Clear-Host"),
    ("clear", "Clear-Host"),
    ("exsn", "Exit-PSSession"),
    ("exit", "Exit-PSSession"),
    ("fl", "Format-List"),
    ("ft", "Format-Table"),
    ("gcm", "Get-Command"),
    ("gps", "Get-Process"),
    ("ps", "Get-Process"),
    ("gsv", "Get-Service"),
    ("help", "Get-Help"),
    ("man", "Get-Help"),
    ("measure", "Measure-Object"),
    ("oh", "Out-Default"),
    ("select", "Select-Object"),
    ("sort", "Sort-Object"),
    ("where", "Where-Object"),
    ("?", "Where-Object"),
    ("sasv", "Start-Service"),
    ("spsv", "Stop-Service"),
];

/// The target of an alias.
pub(super) fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, target)| *target)
}

/// The definition of a command.
pub(super) fn find(name: &str) -> Option<&'static Definition> {
    ALL.iter().find(|definition| definition.name.eq_ignore_ascii_case(name))
}

const CORE: &str = "Microsoft.PowerShell.Core";
const MANAGEMENT: &str = "Microsoft.PowerShell.Management";
const UTILITY: &str = "Microsoft.PowerShell.Utility";
const TCPIP: &str = "NetTCPIP";
const ADAPTER: &str = "NetAdapter";
const STORAGE: &str = "Storage";

/// Most characters of a name.
const NAME_CHARS: usize = 256;
/// Most names in one list.
const NAMES: usize = 32;

const fn pattern(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Text(Form::Pattern, NAME_CHARS), about).many(NAMES)
}

const fn numbers(name: &'static str, high: i64, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Integer(0, high), about).many(NAMES)
}

const fn switch(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Switch, about)
}

const fn address(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Text(Form::Address, 64), about).many(NAMES)
}

const ERRORS: Parameter = Parameter::new(
    "ErrorAction",
    Kind::Choice(&["Continue", "SilentlyContinue", "Ignore", "Stop"]),
    "what to do about what is not found",
)
.also(&["ea"]);
const ADAPTER_NAME: Parameter =
    pattern("Name", "interface names, * and ? permitted").also(&["ifAlias", "InterfaceAlias"]).at(0);
const ALIAS: Parameter = pattern("InterfaceAlias", "interface names").also(&["ifAlias"]);
const INDEX: Parameter = numbers("InterfaceIndex", i32::MAX as i64, "interface numbers").also(&["ifIndex"]);
const FAMILY: Parameter =
    Parameter::new("AddressFamily", Kind::Choice(&["IPv4", "IPv6"]), "only this family");
const DISK_NUMBER: Parameter = numbers("Number", 65_535, "disk numbers").at(0);

const fn properties(about: &'static str) -> Parameter {
    Parameter::new("Property", Kind::Text(Form::PropertyPattern, 128), about).many(NAMES).at(0)
}

const fn count(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Integer(0, i32::MAX as i64), about)
}

/// Comparison switches of Where-Object: each with its case forms.
macro_rules! comparisons {
    ($($name:literal $insensitive:literal $sensitive:literal,)+) => {
        [
            $(switch($name, "comparison"), switch($insensitive, "comparison"), switch($sensitive, "comparison, case counts"),)+
            switch("Not", "property is false, 0, empty or absent"),
            Parameter::new("Property", Kind::Text(Form::Property, 128), "property to compare").at(0).required(),
            Parameter::new("Value", Kind::Literal, "value to compare with").many(NAMES).at(1),
        ]
    };
}

const WHERE: &[Parameter] = &comparisons! {
    "EQ" "IEQ" "CEQ", "NE" "INE" "CNE", "GT" "IGT" "CGT", "GE" "IGE" "CGE", "LT" "ILT" "CLT", "LE" "ILE" "CLE",
    "Like" "ILike" "CLike", "NotLike" "INotLike" "CNotLike", "Contains" "IContains" "CContains",
    "NotContains" "INotContains" "CNotContains", "In" "IIn" "CIn", "NotIn" "INotIn" "CNotIn",
};

/// Every command that this engine runs.
pub(super) static ALL: &[Definition] = &[
    Definition::source("Clear-Host", CORE, "Clears the engineer's screen").role(Role::Session),
    Definition::source("Exit-PSSession", CORE, "Ends the session").role(Role::Session),
    Definition::source("Format-List", UTILITY, "Shows each object as a list of properties")
        .role(Role::Formatter)
        .takes(&[properties("properties to show; * for all")]),
    Definition::source("Format-Table", UTILITY, "Shows objects as a table").role(Role::Formatter).takes(&[
        properties("properties to show; * for all"),
        switch("AutoSize", "fits columns to their content"),
        switch("HideTableHeaders", "leaves the header out"),
        switch("Wrap", "breaks long cells instead of cutting them"),
    ]),
    Definition::source("Get-Command", CORE, "Lists what this session permits")
        .everywhere()
        .takes(&[
            Parameter::new("Name", Kind::Text(Form::Identifier, 128), "names, * and ? permitted")
                .many(NAMES)
                .at(0),
            pattern("Verb", "verbs, such as Get"),
            pattern("Noun", "nouns, such as NetAdapter"),
            ERRORS,
        ])
        .gives(&["CommandType", "Name", "Module", "Group", "Effects", "Provider"]),
    Definition::source("Get-Date", UTILITY, "Shows the node's date and time")
        .everywhere()
        .takes(&[
            Parameter::new(
                "Format",
                Kind::Choice(&["d", "D", "f", "F", "g", "G", "o", "r", "s", "t", "T", "u"]),
                "standard form",
            ),
            Parameter::new("DisplayHint", Kind::Choice(&["Date", "Time", "DateTime"]), "which part to show"),
            switch("AsUTC", "the answer is always in UTC"),
        ])
        .gives(&[
            "Date",
            "Day",
            "DayOfWeek",
            "DayOfYear",
            "Hour",
            "Kind",
            "Millisecond",
            "Minute",
            "Month",
            "Second",
            "Year",
            "DateTime",
        ]),
    Definition::source("Get-FormatData", UTILITY, "Lists the types that have a view of their own")
        .everywhere()
        .takes(&[pattern("TypeName", "type names").at(0)])
        .gives(&["TypeName", "FormatViewDefinition"]),
    Definition::source("Get-Help", CORE, "Explains a command of this session")
        .everywhere()
        .takes(&[
            Parameter::new("Name", Kind::Text(Form::Identifier, 100), "a command or alias").at(0),
            Parameter::new("Parameter", Kind::Text(Form::Identifier, 100), "one parameter only"),
            switch("Full", "the same: help is always whole"),
            switch("Detailed", "the same: help is always whole"),
            switch("Examples", "the same: help is always whole"),
        ])
        .gives(&["Name", "Synopsis", "Module", "Level", "Effects", "Provider", "Parameters", "Properties"]),
    Definition::source("Get-Process", MANAGEMENT, "Lists processes")
        .everywhere()
        .takes(&[
            pattern("Name", "names, * and ? permitted").also(&["ProcessName"]).at(0),
            numbers("Id", i32::MAX as i64, "process numbers").also(&["PID"]),
            ERRORS,
        ])
        .gives(&[
            "Name",
            "Id",
            "ProcessName",
            "CPU",
            "WorkingSet",
            "WS",
            "PagedMemorySize",
            "PM",
            "VirtualMemorySize",
            "VM",
            "Handles",
            "Threads",
            "SI",
            "SessionId",
            "StartTime",
            "ParentId",
            "State",
        ]),
    Definition::source("Get-Service", MANAGEMENT, "Lists services")
        .takes(&[
            pattern("Name", "names, * and ? permitted").also(&["ServiceName"]).at(0),
            pattern("DisplayName", "descriptions, * and ? permitted"),
            pattern("Include", "only these names"),
            pattern("Exclude", "all but these names"),
            ERRORS,
        ])
        .gives(&["Status", "Name", "DisplayName", "StartType", "ServiceName", "SubState"]),
    Definition::source("Measure-Object", UTILITY, "Counts objects and sums up properties")
        .role(Role::Filter)
        .takes(&[
            properties("properties to measure"),
            switch("Sum", "adds up"),
            switch("Average", "arithmetic mean"),
            switch("Maximum", "largest value"),
            switch("Minimum", "smallest value"),
        ]),
    Definition::source("Out-Default", CORE, "Shows objects in their default view").role(Role::Formatter),
    Definition::source("Select-Object", UTILITY, "Chooses objects and properties").role(Role::Filter).takes(
        &[
            properties("properties to keep; * for all"),
            Parameter::new("ExcludeProperty", Kind::Text(Form::PropertyPattern, 128), "properties to drop")
                .many(NAMES),
            Parameter::new(
                "ExpandProperty",
                Kind::Text(Form::Property, 128),
                "gives the property's values themselves",
            ),
            count("First", "so many from the beginning"),
            count("Last", "so many from the end"),
            count("Skip", "leaves out so many"),
            switch("Unique", "leaves out repeats"),
        ],
    ),
    Definition::source("Sort-Object", UTILITY, "Sorts objects").role(Role::Filter).takes(&[
        properties("properties to sort by"),
        switch("Descending", "largest first"),
        switch("Unique", "leaves out repeats"),
        switch("CaseSensitive", "upper and lower case differ"),
        Parameter::new("Top", Kind::Integer(1, 10_000), "only the first so many"),
        Parameter::new("Bottom", Kind::Integer(1, 10_000), "only the last so many"),
    ]),
    Definition::source("Where-Object", CORE, "Keeps objects that a comparison fits")
        .role(Role::Filter)
        .takes(WHERE),
    Definition::source("Start-Service", MANAGEMENT, "Starts a service")
        .does(&[Effect::Reads, Effect::Services])
        .takes(SERVICE),
    Definition::source("Stop-Service", MANAGEMENT, "Stops a service")
        .does(&[Effect::Reads, Effect::Services])
        .takes(SERVICE),
    Definition::source(
        "Test-Observability",
        "Observability",
        "Checks the node's clock, load, memory and state disk once a second",
    )
    .everywhere()
    .takes(&[Parameter::new("Seconds", Kind::Integer(1, 3600), "how long; 5 if not given").at(0)])
    .gives(&[
        "Second",
        "Time",
        "ClockDriftMs",
        "LoadAverage",
        "MemoryAvailable",
        "SyncLatencyMs",
        "Processes",
        "Status",
    ]),
    Definition::source("Get-Disk", STORAGE, "Lists disks")
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
        ]),
    Definition::source("Get-NetAdapter", ADAPTER, "Lists network adapters")
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
        .takes(&[
            address("LocalAddress", "local addresses").at(0),
            numbers("LocalPort", 65_535, "local ports").at(1),
            numbers("OwningProcess", i32::MAX as i64, "process numbers"),
            ERRORS,
        ])
        .gives(&["LocalAddress", "LocalPort", "OwningProcess", "ProcessName", "AddressFamily"]),
    Definition::source("Get-NetRoute", TCPIP, "Lists IP routes")
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
    Definition::source("Get-NetIPv4Protocol", TCPIP, "Shows settings of IPv4"),
    Definition::source("Get-NetIPv6Protocol", TCPIP, "Shows settings of IPv6"),
    Definition::source("Get-NetTCPSetting", TCPIP, "Shows settings of TCP").takes(&[pattern(
        "SettingName",
        "names of settings",
    )
    .at(0)]),
    Definition::source("Get-NetUDPSetting", TCPIP, "Shows settings of UDP"),
    Definition::source("Get-NetOffloadGlobalSetting", TCPIP, "Shows settings of packet processing"),
    Definition::source("Get-NetCompartment", TCPIP, "Lists network namespaces").takes(&[numbers(
        "CompartmentId",
        65_535,
        "numbers",
    )
    .at(0)]),
    Definition::source("Get-NetAdapterStatistics", ADAPTER, "Shows counters of network adapters")
        .takes(ADAPTERS)
        .gives(&[
            "Name",
            "ReceivedBytes",
            "ReceivedPackets",
            "ReceivedDiscardedPackets",
            "ReceivedPacketErrors",
            "SentBytes",
            "SentPackets",
            "OutboundDiscardedPackets",
            "OutboundPacketErrors",
        ]),
    Definition::source("Get-NetAdapterHardwareInfo", ADAPTER, "Shows where adapters are plugged in")
        .takes(ADAPTERS),
    Definition::source("Get-NetAdapterAdvancedProperty", ADAPTER, "Shows settings of network adapters")
        .takes(ADAPTERS),
    Definition::source("Get-NetAdapterPowerManagement", ADAPTER, "Shows power settings of network adapters")
        .takes(ADAPTERS),
    Definition::source("Get-NetAdapterRss", ADAPTER, "Shows queues of network adapters").takes(ADAPTERS),
    Definition::source("Get-NetAdapterSriov", ADAPTER, "Shows SR-IOV of network adapters").takes(ADAPTERS),
    Definition::source("Get-NetLbfoTeam", "NetLbfo", "Lists teams of network adapters").takes(ADAPTERS),
    Definition::source("Get-NetLbfoTeamMember", "NetLbfo", "Lists members of teams").takes(ADAPTERS),
    Definition::source("Get-DiskImage", STORAGE, "Lists disk images in use")
        .takes(&[pattern("DevicePath", "devices").at(0), ERRORS]),
    Definition::source("Get-VirtualDisk", STORAGE, "Lists RAID arrays and mapped volumes")
        .takes(&[pattern("FriendlyName", "names").at(0), ERRORS]),
    Definition::source("Get-StorageNode", STORAGE, "Shows this node as a storage node")
        .takes(&[pattern("Name", "names").at(0), ERRORS]),
    Definition::source("Get-SupportedFileSystems", STORAGE, "Lists file systems that the kernel knows")
        .takes(&[pattern("FileSystem", "names").at(0)]),
    Definition::source("Get-InitiatorId", STORAGE, "Lists initiator addresses")
        .takes(&[pattern("InitiatorAddress", "addresses").at(0), ERRORS]),
    Definition::source("Get-VolumeCorruptionCount", STORAGE, "Shows errors that file systems have noted")
        .takes(&[pattern("MountPoint", "mount points").at(0), ERRORS]),
    Definition::source("Get-SmbShare", "SmbShare", "Lists SMB shares that this node offers")
        .takes(&[pattern("Name", "names").at(0), ERRORS]),
    Definition::source("Get-SmbMapping", "SmbShare", "Lists SMB shares that this node uses").takes(&[ERRORS]),
    Definition::source("Get-SmbConnection", "SmbShare", "Lists SMB connections of this node")
        .takes(&[pattern("ServerName", "servers").at(0), ERRORS]),
    Definition::source("Get-ScheduledTask", "ScheduledTasks", "Lists timers and cron jobs")
        .takes(TASKS)
        .gives(&["TaskPath", "TaskName", "State", "Triggers", "Description"]),
    Definition::source("Get-ScheduledTaskInfo", "ScheduledTasks", "Shows when timers last ran")
        .takes(TASKS)
        .gives(&["TaskName", "TaskPath", "LastRunTime", "Triggers"]),
    Definition::source("Get-SecureBootUEFI", "SecureBoot", "Shows variables of secure boot")
        .takes(&[pattern("Name", "names").at(0), ERRORS]),
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

const SERVICE: &[Parameter] =
    &[Parameter::new("Name", Kind::Text(Form::Exact, NAME_CHARS), "exact name of one service")
        .also(&["ServiceName"])
        .at(0)
        .required()];

const ADAPTERS: &[Parameter] = &[ADAPTER_NAME, INDEX, switch("IncludeHidden", "also loopback"), ERRORS];
const TASKS: &[Parameter] = &[pattern("TaskName", "names").at(0), ERRORS];
