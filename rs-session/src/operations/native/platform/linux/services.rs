//! Services: from systemd where it runs, from runit's service folders, else from unit files and start scripts, with the
//! state of the process table.
//!
//! systemd is asked through its own program by absolute path, with a clean environment and arguments that cannot be
//! options. Starting and stopping ([`change`]) go through systemd and runit only: what a start script starts would belong
//! to the operation, and nothing outlives an operation.

mod change;
mod runit;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FILE_BYTES_MAX, line, names, text};
use crate::operations::compare::{has_wildcard, wildcard};
use crate::operations::critical::bare_name;
use crate::operations::native::facts::{self, ProcessFacts};
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::{ProviderError, fits_any};

pub(super) use self::change::{start_service, stop_service};

/// Where unit files are, the strongest first.
pub(super) const UNIT_DIRECTORIES: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where the service manager's program can be.
const SYSTEMCTL: &[&str] = &["/usr/bin/systemctl", "/bin/systemctl"];
/// Units that are asked for by name in one call.
const UNITS_AT_ONCE: usize = 256;
/// The properties that are asked for.
const PROPERTIES: &str = "--property=Id,Names,Description,LoadState,ActiveState,SubState,UnitFileState,MainPID,\
                          RequiredBy,BoundBy,ConsistsOf,Conflicts";

#[derive(Clone, Debug, Default, PartialEq)]
struct Service {
    name: String,
    aliases: Vec<String>,
    description: String,
    status: &'static str,
    start: &'static str,
    sub_state: String,
    /// Its main process.
    process: Option<u32>,
    /// Units that go down with it.
    needed_by: Vec<String>,
    /// Units that go down when it starts.
    conflicts: Vec<String>,
    manager: Manager,
}

/// Who starts and stops a service.
#[derive(Clone, Debug, Default, PartialEq)]
enum Manager {
    /// Nobody that runs on this node; only its files are there.
    #[default]
    None,
    Systemd,
    /// runit, with the service's folder.
    Runit(PathBuf),
}

impl Manager {
    const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Systemd => "systemd",
            Self::Runit(_) => "runit",
        }
    }
}

pub(super) fn get_service(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let services = services()?;
    let names = plan.call.texts("Name");
    let shown = |service: &&Service| {
        fits_any(names, &service.name)
            && fits_any(plan.call.texts("DisplayName"), &service.description)
            && fits_any(plan.call.texts("Include"), &service.name)
            && !plan.call.texts("Exclude").iter().any(|pattern| wildcard(pattern, &service.name, false))
    };
    for service in services.iter().filter(shown) {
        sink.emit(object(service).into())?;
    }
    for name in names.iter().filter(|name| !has_wildcard(name)) {
        if !services.iter().any(|service| service.name.eq_ignore_ascii_case(name)) {
            sink.warn(&format!("Get-Service : Cannot find any service with service name '{name}'."))?;
        }
    }
    Ok(())
}

fn object(service: &Service) -> Object {
    Object::new("Service")
        .with("Status", service.status)
        .with("Name", service.name.clone())
        .with("DisplayName", service.description.clone())
        .with("StartType", service.start)
        .with("ServiceName", service.name.clone())
        .with("SubState", service.sub_state.clone())
}

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// All services, sorted by name.
fn services() -> Result<Vec<Service>, ProviderError> {
    let mut services = BTreeMap::new();
    let files = files_services();
    if systemd_runs() {
        for service in systemd_knows(&files)? {
            services.entry(service.name.clone()).or_insert(service);
        }
    }
    // A file that only gives a service another name is no service of its own.
    let aliases: BTreeSet<String> =
        services.values().flat_map(|service| &service.aliases).map(|name| bare_name(name)).collect();
    for service in runit::services() {
        services.entry(service.name.clone()).or_insert(service);
    }
    for service in files.into_iter().filter(|service| !aliases.contains(&bare_name(&service.name))) {
        services.entry(service.name.clone()).or_insert(service);
    }
    Ok(services.into_values().collect())
}

/// What systemd says of the services that it has loaded, and of those that lie in files: it loads them to answer.
fn systemd_knows(files: &[Service]) -> Result<Vec<Service>, ProviderError> {
    let mut known =
        systemd_services(&systemctl(&["show", "--type=service", "--all", PROPERTIES, "*.service"])?);
    let loaded: BTreeSet<&str> = known.iter().map(|service| service.name.as_str()).collect();
    let others: Vec<String> = files
        .iter()
        .filter(|service| !loaded.contains(service.name.as_str()))
        .map(|service| format!("{}.service", service.name))
        .collect();
    for units in others.chunks(UNITS_AT_ONCE) {
        let mut arguments = vec!["show", "--type=service", PROPERTIES, "--"];
        arguments.extend(units.iter().map(String::as_str));
        known.extend(systemd_services(&systemctl(&arguments)?));
    }
    Ok(known)
}

/// Runs systemd's program with fixed arguments.
fn systemctl(arguments: &[&str]) -> Result<String, ProviderError> {
    let failed = |why: &str| ProviderError::failed(format!("systemctl : {why}"));
    let program =
        SYSTEMCTL.iter().find(|path| Path::new(path).exists()).ok_or_else(|| failed("not installed"))?;
    let mut child = Command::new(program)
        .args(["--no-pager", "--no-ask-password"])
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        // By the system bus: on systemd's private socket root must see the number of process 1, which the operation's own
        // numbering of processes does not show.
        .env("SYSTEMCTL_FORCE_BUS", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let errors = child.stderr.take();
    let errors = std::thread::spawn(move || head(errors));
    let output = head(child.stdout.take());
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    let errors = errors.join().unwrap_or_default();
    if status.success() {
        Ok(output)
    } else {
        Err(failed(errors.lines().next().unwrap_or("it failed without a word")))
    }
}

/// A stream's text up to the limit; the rest is dropped by closing it.
fn head(stream: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read until a failure is what there is.
        let _ = stream.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Services from blocks of `Key=value` lines.
fn systemd_services(text: &str) -> Vec<Service> {
    text.split("\n\n").filter_map(systemd_service).collect()
}

fn systemd_service(block: &str) -> Option<Service> {
    let value = |key: &str| unit_value(block, key).unwrap_or_default();
    let units = |key: &str| value(key).split_whitespace().map(str::to_owned);
    let name = value("Id").strip_suffix(".service")?;
    if value("LoadState") == "not-found" {
        return None;
    }
    Some(Service {
        name: name.to_owned(),
        aliases: value("Names").split_whitespace().map(str::to_owned).collect(),
        description: value("Description").to_owned(),
        status: match value("ActiveState") {
            "active" | "reloading" => "Running",
            "activating" => "StartPending",
            "deactivating" => "StopPending",
            _ => "Stopped",
        },
        start: match value("UnitFileState") {
            "enabled" | "enabled-runtime" | "alias" => "Automatic",
            "masked" | "masked-runtime" => "Disabled",
            _ => "Manual",
        },
        sub_state: value("SubState").to_owned(),
        process: value("MainPID").parse().ok().filter(|process| *process > 0),
        needed_by: ["RequiredBy", "BoundBy", "ConsistsOf"].into_iter().flat_map(units).collect(),
        conflicts: units("Conflicts").collect(),
        manager: Manager::Systemd,
    })
}

/// The value of a key in a unit file or a block of properties.
pub(super) fn unit_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')).map(str::trim)
}

/// Services from unit files and start scripts.
fn files_services() -> Vec<Service> {
    let programs = running_programs();
    let mut services = BTreeMap::new();
    for directory in UNIT_DIRECTORIES {
        for file in names(directory) {
            let Some(name) = file.strip_suffix(".service").filter(|name| !name.ends_with('@')) else {
                continue;
            };
            let unit = text(Path::new(directory).join(&file)).unwrap_or_default();
            services.entry(name.to_owned()).or_insert_with(|| unit_service(name, &unit, &programs));
        }
    }
    for name in names("/etc/init.d") {
        let script = text(Path::new("/etc/init.d").join(&name)).unwrap_or_default();
        if script.contains("INIT INFO") {
            services.entry(name.clone()).or_insert_with(|| script_service(&name, &script, &programs));
        }
    }
    services.into_values().collect()
}

fn unit_service(name: &str, unit: &str, programs: &BTreeSet<String>) -> Service {
    let program =
        unit_value(unit, "ExecStart").map(|command| command.trim_start_matches(['-', '@', '+', '!', ':']));
    let file = format!("{name}.service");
    let wanted =
        ["multi-user", "graphical", "sysinit", "basic", "timers", "getty", "default"].iter().any(|target| {
            Path::new("/etc/systemd/system")
                .join(format!("{target}.target.wants"))
                .join(&file)
                .symlink_metadata()
                .is_ok()
        });
    file_service(name, unit_value(unit, "Description"), program, wanted, programs)
}

fn script_service(name: &str, script: &str, programs: &BTreeSet<String>) -> Service {
    let comment =
        |key: &str| script.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(key)).map(str::trim);
    let program = unit_value(script, "DAEMON").map(|value| value.trim_matches(['"', '\'']));
    let starts = names("/etc/rc3.d").iter().any(|link| link.starts_with('S') && link.ends_with(name));
    file_service(name, comment("Short-Description:"), program.or(Some(name)), starts, programs)
}

fn file_service(
    name: &str,
    description: Option<&str>,
    command: Option<&str>,
    starts: bool,
    programs: &BTreeSet<String>,
) -> Service {
    let program = command.and_then(|command| command.split_whitespace().next());
    let program = program.and_then(|program| Path::new(program).file_name()?.to_str());
    // Shells and the like stand for too many services to say which one runs.
    let telling =
        program.filter(|program| !matches!(*program, "sh" | "bash" | "env" | "python3" | "perl" | "true"));
    let runs = telling.is_some_and(|program| programs.contains(program));
    Service {
        name: name.to_owned(),
        description: description.unwrap_or(name).to_owned(),
        status: if runs { "Running" } else { "Stopped" },
        start: if starts { "Automatic" } else { "Manual" },
        sub_state: String::from(if runs { "process found" } else { "no process" }),
        ..Service::default()
    }
}

/// Names of the programs that run now: of the file where it can be seen, else of the process.
fn running_programs() -> BTreeSet<String> {
    let program =
        |(id, facts): (u32, ProcessFacts)| facts.program.or_else(|| line(format!("/proc/{id}/comm")));
    facts::processes().into_iter().filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_systemd_become_services() {
        let text = "Id=cron.service\nNames=cron.service crond.service\nDescription=Regular = tasks\nLoadState=loaded\n\
                    ActiveState=active\nSubState=running\nUnitFileState=enabled\n\nId=gone.service\nLoadState=not-found\n\n\
                    Id=x.service\nLoadState=loaded\nActiveState=failed\nUnitFileState=masked\n";
        let services = systemd_services(text);
        assert_eq!(services.len(), 2);
        assert_eq!(
            (services[0].name.as_str(), services[0].status, services[0].start),
            ("cron", "Running", "Automatic")
        );
        assert_eq!(services[0].description, "Regular = tasks");
        assert_eq!(services[0].aliases, ["cron.service", "crond.service"]);
        assert_eq!((services[1].status, services[1].start), ("Stopped", "Disabled"));
    }

    #[test]
    fn files_tell_name_description_and_program() {
        let programs = BTreeSet::from([String::from("squid")]);
        let unit = unit_service(
            "proxy",
            "[Unit]\nDescription=A proxy\n[Service]\nExecStart=-/usr/sbin/squid -N\n",
            &programs,
        );
        assert_eq!((unit.description.as_str(), unit.status), ("A proxy", "Running"));
        let script = "### BEGIN INIT INFO\n# Short-Description: Squid proxy\n### END INIT INFO\nDAEMON=/usr/sbin/squid\n";
        let script = script_service("squid", script, &programs);
        assert_eq!((script.description.as_str(), script.status), ("Squid proxy", "Running"));
        assert_eq!(file_service("x", None, Some("/bin/sh -c y"), true, &programs).status, "Stopped");
    }
}
