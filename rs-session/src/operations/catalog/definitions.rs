//! Commands that this engine runs: their role, their open parameters and what they do.
//!
//! Every parameter has a type, a length and a constraint. Parameters that name computers, credentials, sessions, files,
//! output variables or code are absent on purpose; those that users know are refused with a reason of their own.

use super::{Needs, Network, modules};

pub(super) use self::elsewhere::closed;

mod closed;
mod elsewhere;
mod network;
mod parts;
mod session;
mod storage;

pub(in crate::operations) use self::closed::CLOSED;
#[cfg(all(test, feature = "native", target_os = "linux"))]
pub(in crate::operations) use self::network::TCP_STATES;
pub use self::parts::{Definition, Form, Kind, Parameter, Role, Systems};
pub(in crate::operations) use self::session::REQUEST_ACCESS_LEVEL;

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
    all().find(|definition| definition.name.eq_ignore_ascii_case(name))
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

/// Names of things on Windows.
const fn named(name: &'static str, about: &'static str) -> Parameter {
    one(name, about).many(NAMES)
}

/// One such name.
const fn one(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Text(Form::Name, NAME_CHARS), about)
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
const ALIAS: Parameter = pattern("InterfaceAlias", "interface names").also(&["ifAlias"]);
const INDEX: Parameter = numbers("InterfaceIndex", i32::MAX as i64, "interface numbers").also(&["ifIndex"]);

/// Whatever lists the node's network asks the kernel about it.
const NETWORK: Needs = Needs::KERNEL.network(Network::State);

/// Every command that this engine runs.
pub(super) fn all() -> impl Iterator<Item = &'static Definition> {
    session::ALL.iter().chain(network::ALL).chain(storage::ALL).chain(elsewhere::all())
}
