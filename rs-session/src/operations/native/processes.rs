//! Get-Process.

use chrono::DateTime;
use sysinfo::{Process, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::super::providers::fits_any;
use super::facts::{self, Processes};
use crate::operations::compare::has_wildcard;
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

pub(super) fn get_process(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let system = snapshot()?;
    let facts = facts::processes();
    let mut processes: Vec<_> =
        system.processes().values().filter(|process| process.thread_kind().is_none()).collect();
    processes.sort_by_cached_key(|process| (process.name().to_string_lossy().to_lowercase(), process.pid()));
    let names = plan.call.texts("Name");
    let ids = plan.call.integers("Id");
    for process in &processes {
        let name = process.name().to_string_lossy();
        let id = i64::from(process.pid().as_u32());
        if fits_any(names, &name) && (ids.is_empty() || ids.contains(&id)) {
            sink.emit(object(process, &facts).into())?;
        }
    }
    for name in names.iter().filter(|name| !has_wildcard(name)) {
        if !processes.iter().any(|process| process.name().to_string_lossy().eq_ignore_ascii_case(name)) {
            sink.warn(&format!("Get-Process : Cannot find a process with the name \"{name}\"."))?;
        }
    }
    for id in ids {
        if !processes.iter().any(|process| i64::from(process.pid().as_u32()) == *id) {
            sink.warn(&format!("Get-Process : Cannot find a process with the process identifier {id}."))?;
        }
    }
    Ok(())
}

fn snapshot() -> Result<System, ProviderError> {
    let failed = |error: sysinfo::Error| ProviderError::failed(format!("Get-Process : {error}"));
    let mut system = System::new().map_err(failed)?;
    let kind =
        ProcessRefreshKind::nothing().with_memory().with_cpu().with_tasks().with_exe(UpdateKind::Never);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    Ok(system)
}

#[expect(clippy::cast_precision_loss, reason = "processor time in milliseconds is far below 2^53")]
fn object(process: &Process, facts: &Processes) -> Object {
    let name = process.name().to_string_lossy().into_owned();
    let known = facts.get(&process.pid().as_u32());
    let files = known.and_then(|own| own.files);
    let session = known.and_then(|own| own.session).or_else(|| process.session_id().map(|id| id.as_u32()));
    let session = session.map(i64::from);
    Object::new("Process")
        .with("Name", name.clone())
        .with("Id", i64::from(process.pid().as_u32()))
        .with("ProcessName", name)
        .with("CPU", process.accumulated_cpu_time() as f64 / 1000.0)
        .with("WorkingSet", Value::Size(process.memory()))
        .with("WS", Value::Size(process.memory()))
        .with("PagedMemorySize", Value::Size(private_bytes(process)))
        .with("PM", Value::Size(private_bytes(process)))
        .with("VirtualMemorySize", Value::Size(process.virtual_memory()))
        .with("VM", Value::Size(process.virtual_memory()))
        .with("Handles", files.and_then(|count| i64::try_from(count).ok()))
        .with("Threads", process.tasks().and_then(|tasks| i64::try_from(tasks.len()).ok()))
        .with("SI", session)
        .with("SessionId", session)
        .with(
            "StartTime",
            i64::try_from(process.start_time()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        )
        .with("ParentId", process.parent().map(|pid| i64::from(pid.as_u32())))
        .with("State", process.status().to_string())
}

/// Memory that is the process's own, as near as the system tells.
fn private_bytes(process: &Process) -> u64 {
    process.memory()
}
