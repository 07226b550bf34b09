//! Commands of the session itself and of its pipelines, processes, services and log collection.

use super::{
    CORE, Definition, ERRORS, Form, Kind, MANAGEMENT, NAME_CHARS, NAMES, Needs, Parameter, Role, UTILITY,
    numbers, pattern, switch,
};
use crate::operations::catalog::Effect;

const fn properties(about: &'static str) -> Parameter {
    Parameter::new("Property", Kind::Text(Form::PropertyPattern, 128), about).many(NAMES).at(0)
}

const fn count(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Integer(0, i32::MAX as i64), about)
}

/// Comparison switches of Where-Object, each with its case forms; the one with `I` is only another name, as in PowerShell.
macro_rules! comparisons {
    ($($name:literal $insensitive:literal $sensitive:literal,)+) => {
        [
            $(switch($name, "comparison").also(&[$insensitive]), switch($sensitive, "comparison, case counts"),)+
            switch("Not", "property is false, 0, empty or absent"),
            Parameter::new("Property", Kind::Text(Form::Property, 128), "property to compare").at(0).required(),
            Parameter::new("Value", Kind::Literal, "value to compare with").many(NAMES).at(1),
        ]
    };
}

const WHERE: &[Parameter] = &comparisons! {
    "EQ" "IEQ" "CEQ", "NE" "INE" "CNE", "GT" "IGT" "CGT", "GE" "IGE" "CGE", "LT" "ILT" "CLT", "LE" "ILE" "CLE",
    "Like" "ILike" "CLike", "NotLike" "INotLike" "CNotLike", "Match" "IMatch" "CMatch",
    "NotMatch" "INotMatch" "CNotMatch", "Contains" "IContains" "CContains",
    "NotContains" "INotContains" "CNotContains", "In" "IIn" "CIn", "NotIn" "INotIn" "CNotIn",
};

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
        .needs(Needs::NOTHING)
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
        .needs(Needs::NOTHING)
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
        .needs(Needs::NOTHING)
        .everywhere()
        .takes(&[pattern("TypeName", "type names").at(0)])
        .gives(&["TypeName", "FormatViewDefinition"]),
    Definition::source("Get-Help", CORE, "Explains a command of this session")
        .needs(Needs::NOTHING)
        .everywhere()
        .takes(&[
            Parameter::new("Name", Kind::Text(Form::Identifier, 100), "a command or alias").at(0),
            Parameter::new("Parameter", Kind::Text(Form::Identifier, 100), "one parameter only"),
            switch("Full", "the same: help is always whole"),
            switch("Detailed", "the same: help is always whole"),
            switch("Examples", "the same: help is always whole"),
        ])
        .gives(&[
            "Name",
            "Synopsis",
            "Syntax",
            "Module",
            "Level",
            "Effects",
            "Provider",
            "Aliases",
            "Parameters",
            "Properties",
        ]),
    Definition::source("Get-Process", MANAGEMENT, "Lists processes")
        .needs(Needs::KERNEL.facts_about_processes())
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
        .needs(SERVICES)
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
        ])
        .gives(&["Count", "Average", "Sum", "Maximum", "Minimum", "Property"]),
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
    Definition::source(
        "Send-DiagnosticData",
        "AzureLocal",
        "Collects logs; they leave only as the operator has set",
    )
    .needs(DIAGNOSTIC_DATA)
    .does(&[Effect::Reads, Effect::Network, Effect::DataLeaving])
    .takes(&[Parameter::new(
        "FilterByRole",
        Kind::Choice(&["Facts", "Journal", "Packages", "RemoteSupportAgent", "System"]),
        "which logs; all if not given",
    )
    .many(5)
    .at(0)])
    .alone(),
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
        .needs(SERVICES.through_pipes(SERVICE_ORDERS))
        .does(&[Effect::Reads, Effect::Services])
        .takes(SERVICE)
        .gives(SERVICE_CHANGED),
    Definition::source("Stop-Service", MANAGEMENT, "Stops a service")
        .needs(SERVICES.through_pipes(SERVICE_ORDERS))
        .does(&[Effect::Reads, Effect::Services])
        .takes(SERVICE)
        .gives(SERVICE_CHANGED),
    Definition::source(
        "Test-Observability",
        "Observability",
        "Checks the node's clock, load, memory and state disk once a second",
    )
    .needs(Needs::KERNEL.with_scratch_file())
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
];

/// Services: the managers where there are any, and the files that describe them. Only root is told by runit how a service
/// is, and only root may give orders to a manager.
const SERVICES: Needs = Needs::SYSTEMCTL
    .reading(SERVICE_FILES)
    .facts_about_processes()
    .through_pipes(&["/etc/service/*/supervise/ok", "/var/service/*/supervise/ok", "/service/*/supervise/ok"])
    .as_root();

/// The pipes that tell whether runit's supervisor lives, and those that take orders.
const SERVICE_ORDERS: &[&str] = &[
    "/etc/service/*/supervise/ok",
    "/var/service/*/supervise/ok",
    "/service/*/supervise/ok",
    "/etc/service/*/supervise/control",
    "/var/service/*/supervise/control",
    "/service/*/supervise/control",
];

/// Logs and facts, also those that only root may read, and the journal through its own program.
const DIAGNOSTIC_DATA: Needs = Needs::KERNEL
    .reading(&[
        "/proc",
        "/usr/lib/os-release",
        "/var/log/syslog",
        "/var/log/messages",
        "/var/log/kern.log",
        "/var/log/daemon.log",
        "/var/log/dmesg",
        "/var/log/boot.log",
        "/var/log/dpkg.log",
        "/var/log/apt",
        "/var/log/dnf.log",
        "/var/log/yum.log",
        "/var/log/remote-support",
        "/var/log/journal",
        "/run/log/journal",
        "/etc/machine-id",
        "/etc/ld.so.cache",
        "/lib",
        "/lib64",
        "/usr/lib",
    ])
    .reading_as_root()
    .running(&["/usr/bin/journalctl", "/bin/journalctl"]);

const SERVICE_FILES: &[&str] = &[
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/init.d",
    "/etc/rc3.d",
    "/etc/service",
    "/etc/sv",
    "/etc/systemd",
    "/lib",
    "/lib64",
    "/run/runit",
    "/run/systemd",
    "/service",
    "/usr/lib",
    "/usr/local/lib/systemd",
    "/var/service",
];

/// The command by which an engineer asks for a higher level; one of the session, not of the published lists.
pub(in crate::operations) const REQUEST_ACCESS_LEVEL: Definition = Definition::source(
    crate::operations::level_wish::NAME,
    "RemoteSupport",
    "Asks the operator for a higher access level, for new sessions",
)
.takes(&[
    Parameter::new("AccessLevel", Kind::Choice(&["DiagnosticsRepair"]), "the level asked for")
        .at(0)
        .required(),
    Parameter::new(
        "Reason",
        Kind::Text(Form::Pattern, crate::operations::level_wish::REASON_CHARS_MAX),
        "why it is needed, for the operator",
    )
    .at(1)
    .required(),
]);

const SERVICE: &[Parameter] = &[
    Parameter::new("Name", Kind::Text(Form::Exact, NAME_CHARS), "exact name of one service")
        .also(&["ServiceName"])
        .at(0)
        .required(),
    switch("PassThru", "accepted; the service is always given, as it is afterwards"),
];

/// What Start-Service and Stop-Service give: the service afterwards, and how it was before.
const SERVICE_CHANGED: &[&str] =
    &["Status", "Name", "DisplayName", "StartType", "ServiceName", "SubState", "Before", "Manager"];
