//! Scheduled tasks: systemd timers and cron's directories, as configured.

use std::path::Path;

use super::services::{UNIT_DIRECTORIES, unit_value};
use super::{names, text};
use crate::operations::native::answer;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const FILTERS: &[(&str, &str)] = &[("TaskName", "TaskName"), ("TaskPath", "TaskPath")];
/// Directories of scripts that cron runs at fixed times.
const CRON_DIRECTORIES: &[(&str, &str)] = &[
    ("/etc/cron.hourly", "hourly"),
    ("/etc/cron.daily", "daily"),
    ("/etc/cron.weekly", "weekly"),
    ("/etc/cron.monthly", "monthly"),
];

struct Task {
    name: String,
    path: String,
    schedule: String,
    description: Option<String>,
    enabled: bool,
    /// Seconds since 1970 of the last run, if a stamp tells.
    last: Option<i64>,
}

pub(super) fn get_scheduled_task(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = tasks().into_iter().map(|task| {
        Object::new("ScheduledTask")
            .with("TaskPath", task.path)
            .with("TaskName", task.name)
            .with("State", if task.enabled { "Ready" } else { "Disabled" })
            .with("Triggers", task.schedule)
            .with("Description", task.description)
    });
    answer(plan, sink, objects, FILTERS)
}

pub(super) fn get_scheduled_task_info(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = tasks().into_iter().map(|task| {
        let last = task.last.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
        Object::new("ScheduledTaskInfo")
            .with("TaskName", task.name)
            .with("TaskPath", task.path)
            .with("LastRunTime", last)
            .with("Triggers", task.schedule)
    });
    answer(plan, sink, objects, FILTERS)
}

fn tasks() -> Vec<Task> {
    let mut tasks = timers();
    for (directory, schedule) in CRON_DIRECTORIES {
        for name in names(directory).into_iter().filter(|name| !name.starts_with('.')) {
            let task = Task {
                name,
                path: (*directory).to_owned(),
                schedule: (*schedule).to_owned(),
                description: None,
                enabled: true,
                last: None,
            };
            tasks.push(task);
        }
    }
    tasks
}

fn timers() -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for directory in UNIT_DIRECTORIES {
        for name in
            names(directory).into_iter().filter(|name| name.ends_with(".timer") && !name.contains("@."))
        {
            if tasks.iter().any(|task| task.name == name) {
                continue;
            }
            let unit = text(Path::new(directory).join(&name)).unwrap_or_default();
            let stamp = Path::new("/var/lib/systemd/timers").join(format!("stamp-{name}"));
            tasks.push(Task {
                schedule: schedule(&unit),
                description: unit_value(&unit, "Description").map(str::to_owned),
                path: (*directory).to_owned(),
                enabled: is_wanted(&name),
                last: modified(&stamp),
                name,
            });
        }
    }
    tasks
}

/// The times at which a timer runs.
fn schedule(unit: &str) -> String {
    let keys =
        ["OnCalendar", "OnBootSec", "OnStartupSec", "OnActiveSec", "OnUnitActiveSec", "OnUnitInactiveSec"];
    let times =
        unit.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| keys.contains(&key.trim()));
    times.map(|(key, value)| format!("{} {}", key.trim(), value.trim())).collect::<Vec<_>>().join("; ")
}

fn is_wanted(name: &str) -> bool {
    let wanted = |directory: &str| {
        names(directory).iter().any(|own| {
            own.ends_with(".wants") && Path::new(directory).join(own).join(name).symlink_metadata().is_ok()
        })
    };
    UNIT_DIRECTORIES.iter().any(|directory| wanted(directory))
}

fn modified(path: &Path) -> Option<i64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| metadata.mtime())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_from_the_unit() {
        let unit = "[Timer]\nOnCalendar=daily\nOnBootSec = 5min\nPersistent=true\n";
        assert_eq!(schedule(unit), "OnCalendar daily; OnBootSec 5min");
    }
}
