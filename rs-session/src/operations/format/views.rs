//! Default views: which properties of a type are shown, under which label, in which unit.

use std::borrow::Cow;

use crate::operations::objects::{Object, Value, harmless};

/// How a value is shown in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Show {
    /// As it is.
    Plain,
    /// A number of bytes in the largest fitting unit: `465.76 GB`.
    Size,
    /// A number of bytes in mebibytes with two decimals.
    Mebibytes,
    /// A number with two decimals.
    TwoDecimals,
    /// A number of bits per second: `10 Gbps`.
    BitRate,
}

impl Show {
    /// The text of a value.
    #[must_use]
    pub fn text(self, value: &Value) -> Cow<'_, str> {
        let Some(number) = value.as_number() else { return value.to_text() };
        match self {
            Self::Plain => value.to_text(),
            Self::Size => Cow::Owned(scaled(number, 1024.0, &[" B", " KB", " MB", " GB", " TB", " PB"])),
            Self::Mebibytes => Cow::Owned(format!("{:.2}", number / 1_048_576.0)),
            Self::TwoDecimals => Cow::Owned(format!("{number:.2}")),
            Self::BitRate => Cow::Owned(bit_rate(number)),
        }
    }
}

/// A number of bytes in the largest fitting unit.
fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut at = 0;
    while number >= step && at + 1 < units.len() {
        number /= step;
        at += 1;
    }
    let unit = units.get(at).copied().unwrap_or_default();
    if at == 0 { format!("{number:.0}{unit}") } else { format!("{number:.2}{unit}") }
}

fn bit_rate(number: f64) -> String {
    let units = [" bps", " Kbps", " Mbps", " Gbps", " Tbps"];
    let text = scaled(number, 1000.0, &units);
    text.replace(".00 ", " ")
}

/// One column of a table, or one line of a list.
#[derive(Clone, Debug)]
pub struct Column {
    /// Header.
    pub label: Cow<'static, str>,
    /// Property; the label if empty.
    pub property: &'static str,
    /// Width in characters; from the content if `None`.
    pub width: Option<u16>,
    /// True for right-aligned, `None` by content.
    pub right: Option<bool>,
    /// Unit.
    pub show: Show,
}

impl Column {
    /// A column of a property under its own name.
    #[must_use]
    pub const fn of(name: Cow<'static, str>) -> Self {
        Self { label: name, property: "", width: None, right: None, show: Show::Plain }
    }

    const fn plain(name: &'static str) -> Self {
        Self::of(Cow::Borrowed(name))
    }

    const fn show(mut self, show: Show) -> Self {
        self.show = show;
        self.right = Some(true);
        self
    }

    const fn from(mut self, property: &'static str) -> Self {
        self.property = property;
        self
    }

    const fn wide(mut self, width: u16) -> Self {
        self.width = Some(width);
        self
    }
}

/// How a type prints if nothing else is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum View {
    /// As a table.
    Table(&'static [Column]),
    /// As a list.
    List(&'static [Column]),
    /// As text of its own.
    Text,
}

macro_rules! columns {
    ($($name:literal)+) => { &[$(Column::plain($name),)+] };
}

/// The views, by type.
const VIEWS: &[(&str, View)] = &[
    ("DateTime", View::Text),
    ("Help", View::Text),
    (
        "Process",
        View::Table(&[
            Column::plain("PM(M)").from("PM").show(Show::Mebibytes).wide(9),
            Column::plain("WS(M)").from("WS").show(Show::Mebibytes).wide(9),
            Column::plain("CPU(s)").from("CPU").show(Show::TwoDecimals).wide(10),
            Column::plain("Id").wide(7),
            Column::plain("SI").wide(7),
            Column::plain("ProcessName"),
        ]),
    ),
    ("Service", View::Table(columns!["Status" "Name" "DisplayName"])),
    ("Command", View::Table(columns!["CommandType" "Name" "Module" "Effects" "Provider"])),
    ("MeasureInfo", View::List(columns!["Count" "Average" "Sum" "Maximum" "Minimum" "Property"])),
    (
        "Disk",
        View::Table(&[
            Column::plain("Number"),
            Column::plain("Friendly Name").from("FriendlyName"),
            Column::plain("Serial Number").from("SerialNumber"),
            Column::plain("HealthStatus"),
            Column::plain("OperationalStatus"),
            Column::plain("Total Size").from("Size").show(Show::Size),
            Column::plain("Partition Style").from("PartitionStyle"),
        ]),
    ),
    (
        "Partition",
        View::Table(&[
            Column::plain("DiskNumber"),
            Column::plain("PartitionNumber"),
            Column::plain("DeviceName"),
            Column::plain("Offset"),
            Column::plain("Size").show(Show::Size),
            Column::plain("MountPoint"),
        ]),
    ),
    (
        "Volume",
        View::Table(&[
            Column::plain("MountPoint"),
            Column::plain("FriendlyName"),
            Column::plain("FileSystemType"),
            Column::plain("DriveType"),
            Column::plain("HealthStatus"),
            Column::plain("OperationalStatus"),
            Column::plain("SizeRemaining").show(Show::Size),
            Column::plain("Size").show(Show::Size),
        ]),
    ),
    (
        "NetAdapter",
        View::Table(&[
            Column::plain("Name"),
            Column::plain("InterfaceDescription"),
            Column::plain("ifIndex"),
            Column::plain("Status"),
            Column::plain("MacAddress"),
            Column::plain("LinkSpeed").show(Show::BitRate),
        ]),
    ),
    (
        "NetIPAddress",
        View::List(
            columns!["IPAddress" "InterfaceIndex" "InterfaceAlias" "AddressFamily" "Type" "PrefixLength" "Scope"],
        ),
    ),
    (
        "NetTCPConnection",
        View::Table(
            columns!["LocalAddress" "LocalPort" "RemoteAddress" "RemotePort" "State" "OwningProcess"],
        ),
    ),
    ("NetUDPEndpoint", View::Table(columns!["LocalAddress" "LocalPort" "OwningProcess" "ProcessName"])),
    (
        "NetRoute",
        View::Table(columns!["ifIndex" "DestinationPrefix" "NextHop" "RouteMetric" "InterfaceAlias"]),
    ),
    ("NetNeighbor", View::Table(columns!["ifIndex" "IPAddress" "LinkLayerAddress" "State" "InterfaceAlias"])),
    (
        "NetIPInterface",
        View::Table(
            columns!["ifIndex" "InterfaceAlias" "AddressFamily" "NlMtu" "Forwarding" "ConnectionState"],
        ),
    ),
    (
        "NetAdapterStatistics",
        View::Table(columns!["Name" "ReceivedBytes" "ReceivedPackets" "SentBytes" "SentPackets"]),
    ),
    (
        "NetAdapterAdvancedProperty",
        View::Table(columns!["Name" "DisplayName" "DisplayValue" "RegistryKeyword"]),
    ),
    (
        "NetAdapterRss",
        View::Table(columns!["Name" "Enabled" "NumberOfReceiveQueues" "NumberOfTransmitQueues"]),
    ),
    ("NetAdapterSriov", View::Table(columns!["Name" "SriovSupport" "Enabled" "NumVFs" "MaxVFs"])),
    ("NetAdapterPowerManagement", View::Table(columns!["Name" "WakeOnMagicPacket" "RuntimeStatus"])),
    ("SmbShare", View::Table(columns!["Name" "ScopeName" "Path" "Description"])),
    ("ScheduledTask", View::Table(columns!["TaskPath" "TaskName" "State" "Triggers"])),
    ("ScheduledTaskInfo", View::Table(columns!["TaskName" "LastRunTime" "Triggers"])),
    (
        "DiskImage",
        View::Table(&[
            Column::plain("DevicePath"),
            Column::plain("Size").show(Show::Size),
            Column::plain("Attached"),
            Column::plain("ImagePath"),
        ]),
    ),
    (
        "VirtualDisk",
        View::Table(&[
            Column::plain("FriendlyName"),
            Column::plain("ResiliencySettingName"),
            Column::plain("OperationalStatus"),
            Column::plain("HealthStatus"),
            Column::plain("Size").show(Show::Size),
        ]),
    ),
    (
        "Observability",
        View::Table(&[
            Column::plain("Second").wide(6),
            Column::plain("Time").wide(22),
            Column::plain("ClockDriftMs").show(Show::TwoDecimals).wide(12),
            Column::plain("Load").from("LoadAverage").show(Show::TwoDecimals).wide(6),
            Column::plain("Memory(M)").from("MemoryAvailable").show(Show::Mebibytes).wide(10),
            Column::plain("SyncMs").from("SyncLatencyMs").show(Show::TwoDecimals).wide(8),
            Column::plain("Processes").wide(9),
            Column::plain("Status"),
        ]),
    ),
];

/// The view of a type.
#[must_use]
pub fn find(type_name: &str) -> Option<View> {
    VIEWS.iter().find(|(own, _)| *own == type_name).map(|(_, view)| *view)
}

/// Types that have a view, with its kind.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    VIEWS.iter().map(|(name, view)| {
        let kind = match view {
            View::Table(_) => "Table",
            View::List(_) => "List",
            View::Text => "Text",
        };
        (*name, kind)
    })
}

/// An object whose view is text of its own.
pub(super) fn as_text(object: &Object, width: usize) -> String {
    let text = match object.type_name() {
        "Help" => help(object, width),
        _ => {
            let text = object.get("DateTime").map(Value::to_text).unwrap_or_default();
            format!("\n{text}\n\n")
        }
    };
    harmless(&text).into_owned()
}

fn help(object: &Object, width: usize) -> String {
    let text = |name: &str| object.get(name).map(Value::to_text).unwrap_or_default();
    let mut page = String::from("\n");
    for (head, name) in [("NAME", "Name"), ("SYNOPSIS", "Synopsis"), ("SYNTAX", "Syntax"), ("LEVEL", "Level")]
    {
        section(&mut page, head, &[text(name).into_owned()], width);
    }
    section(&mut page, "EFFECTS", &[text("Effects").into_owned()], width);
    section(&mut page, "PROVIDER", &[text("Provider").into_owned()], width);
    for (head, name) in [("ALIASES", "Aliases"), ("PARAMETERS", "Parameters"), ("PROPERTIES", "Properties")] {
        if let Some(Value::List(items)) = object.get(name)
            && !items.is_empty()
        {
            let lines: Vec<_> = items.iter().map(|item| item.to_text().into_owned()).collect();
            section(
                &mut page,
                head,
                &if name == "Parameters" { lines } else { vec![lines.join(", ")] },
                width,
            );
        }
    }
    page
}

fn section(page: &mut String, head: &str, lines: &[String], width: usize) {
    page.push_str(head);
    page.push('\n');
    for line in lines {
        for piece in words(line, width.saturating_sub(4).max(20)) {
            page.push_str("    ");
            page.push_str(&piece);
            page.push('\n');
        }
    }
    page.push('\n');
}

/// A text in lines of at most `width` characters, broken at spaces where there are any.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        for piece in super::pieces(word, width) {
            let line = lines.last_mut();
            let used = line.as_ref().map_or(0, |line| line.chars().count());
            match line {
                Some(line) if used == 0 => line.push_str(&piece),
                Some(line) if used + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_chosen_by_size() {
        for (show, value, text) in [
            (Show::Size, Value::Size(500), "500 B"),
            (Show::Size, Value::Size(500_107_862_016), "465.76 GB"),
            (Show::BitRate, Value::Integer(10_000_000_000), "10 Gbps"),
            (Show::BitRate, Value::Integer(2_500_000_000), "2.50 Gbps"),
            (Show::Mebibytes, Value::Size(1_572_864), "1.50"),
            (Show::TwoDecimals, Value::Float(0.005_01), "0.01"),
            (Show::Size, Value::Null, ""),
        ] {
            assert_eq!(show.text(&value), text);
        }
    }
}
