//! The host: its logs, its memory by nodes, what becomes of crashes.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::services::unit_value;
use super::{line, names, text};
use crate::operations::native::answer;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const LOGS: &str = "/var/log";
/// Most files of one directory that are looked at.
const FILES_MAX: usize = 10_000;

pub(super) fn get_log_properties(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let rotation = rotation();
    let files = names(LOGS).into_iter().take(FILES_MAX);
    let logs = files.filter(|name| is_log(name)).filter_map(|name| file_log(&name, &rotation));
    answer(plan, sink, journal().into_iter().chain(logs), &[("Name", "Name")])
}

/// True for a log itself, not for its rotated copies and not for notes beside it.
fn is_log(name: &str) -> bool {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let rotated = matches!(ending, "gz" | "xz" | "zst" | "bz2" | "old") || ending.parse::<u32>().is_ok();
    !stem.is_empty() && !rotated && name != "README"
}

fn file_log(name: &str, rotation: &str) -> Option<Object> {
    let path = Path::new(LOGS).join(name);
    let facts = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let rotated = rotation.contains(&format!("{LOGS}/{name}"));
    let binary = matches!(name, "wtmp" | "btmp" | "lastlog" | "faillog");
    Some(
        Object::new("LogProperties")
            .with("Name", name.to_owned())
            .with("Enabled", true)
            .with("Type", if binary { "Binary" } else { "Text" })
            .with("Retention", if rotated { "Rotated" } else { "Kept" })
            .with("AutoBackup", rotated)
            .with("MaxLogSize", Value::Null)
            .with("FileSize", Value::Size(facts.len()))
            .with("LastWriteTime", facts.modified().ok().map(DateTime::<Utc>::from)),
    )
}

/// All that logrotate is told, as one text.
fn rotation() -> String {
    let directory = Path::new("/etc/logrotate.d");
    names(directory).into_iter().filter_map(|name| text(directory.join(name))).collect::<Vec<_>>().join("\n")
}

/// The journal, if it keeps files.
fn journal() -> Option<Object> {
    let root = Path::new(LOGS).join("journal");
    let machines = names(&root);
    let configuration = text("/etc/systemd/journald.conf").unwrap_or_default();
    let files = machines.iter().flat_map(|machine| {
        let directory = root.join(machine);
        names(&directory)
            .into_iter()
            .take(FILES_MAX)
            .filter_map(move |name| fs::metadata(directory.join(name)).ok())
    });
    let (mut bytes, mut last) = (0_u64, None);
    for facts in files {
        bytes = bytes.saturating_add(facts.len());
        last = last.max(facts.modified().ok());
    }
    let configured = |key: &str| unit_value(&configuration, key).map(str::to_owned);
    root.is_dir().then(|| {
        Object::new("LogProperties")
            .with("Name", "journal")
            .with("Enabled", configured("Storage").as_deref() != Some("none"))
            .with("Type", "Journal")
            .with("Retention", configured("MaxRetentionSec").unwrap_or_else(|| String::from("Overwrite")))
            .with("AutoBackup", true)
            .with("MaxLogSize", configured("SystemMaxUse"))
            .with("FileSize", Value::Size(bytes))
            .with("LastWriteTime", last.map(DateTime::<Utc>::from))
    })
}

pub(super) fn get_numa_node(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let root = Path::new("/sys/devices/system/node");
    let objects = names(root).into_iter().filter_map(|name| {
        let id: i64 = name.strip_prefix("node")?.parse().ok()?;
        let memory = text(root.join(&name).join("meminfo"))?;
        Some(
            Object::new("VMHostNumaNode")
                .with("NodeId", id)
                .with("ProcessorsAvailability", line(root.join(&name).join("cpulist")))
                .with("MemoryAvailable", mebibytes(&memory, "MemFree:"))
                .with("MemoryTotal", mebibytes(&memory, "MemTotal:")),
        )
    });
    answer(plan, sink, objects, &[("Id", "NodeId")])
}

/// A value of a node's memory table in MB, as PowerShell counts it here.
fn mebibytes(table: &str, key: &str) -> Option<i64> {
    let line = table.lines().find_map(|line| line.split_once(key).map(|(_, value)| value))?;
    let kilobytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024)
}

pub(super) fn get_error_reporting(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let pattern = line("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let handler = pattern.strip_prefix('|').and_then(|command| command.split_whitespace().next());
    let object = Object::new("WindowsErrorReporting")
        .with("Status", if handler.is_some() { "Enabled" } else { "Disabled" })
        .with("Handler", handler.map(str::to_owned))
        .with("Pattern", pattern);
    answer(plan, sink, [object], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_from_their_copies() {
        for (name, log) in [
            ("syslog", true),
            ("dpkg.log", true),
            ("wtmp", true),
            ("syslog.1", false),
            ("dpkg.log.2.gz", false),
            ("README", false),
            (".hidden", false),
        ] {
            assert_eq!(is_log(name), log, "{name}");
        }
    }

    #[test]
    fn memory_of_a_node_is_in_megabytes() {
        let table = "Node 0 MemTotal:       24689664 kB\nNode 0 MemFree:        1048576 kB\n";
        assert_eq!((mebibytes(table, "MemTotal:"), mebibytes(table, "MemFree:")), (Some(24_111), Some(1024)));
        assert_eq!(mebibytes(table, "Other:"), None);
    }
}
