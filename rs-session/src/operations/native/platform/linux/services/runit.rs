//! Services under runit: a supervisor process per service, asked and told through files in the service's own folder.
//!
//! `supervise/status` holds twenty bytes, `supervise/control` is a pipe that takes one letter per order, and
//! `supervise/ok` is a pipe that can be opened for writing as long as the supervisor lives. So no program is started here,
//! and what starts is a child of the supervisor, not of the operation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::names;
use super::{Manager, Service};

/// Folders whose entries are services, as Debian and others lay them out.
pub(in super::super) const DIRECTORIES: &[&str] = &["/etc/service", "/var/service", "/service"];
/// Bytes of `supervise/status`.
const STATUS_BYTES: usize = 20;

/// What the supervisor says of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) process: Option<u32>,
    state: State,
    paused: bool,
    wanted_up: bool,
    terminating: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Run,
    Finish,
}

impl Status {
    fn parse(bytes: [u8; STATUS_BYTES]) -> Option<Self> {
        let [.., p0, p1, p2, p3, paused, wanted, terminating, state] = bytes;
        let process = u32::from_le_bytes([p0, p1, p2, p3]);
        let state = match state {
            0 => State::Down,
            1 => State::Run,
            2 => State::Finish,
            _ => return None,
        };
        Some(Self {
            process: Some(process).filter(|process| *process > 0),
            state,
            paused: paused != 0,
            wanted_up: wanted == b'u',
            terminating: terminating != 0,
        })
    }

    /// The state in PowerShell's words.
    const fn word(self) -> &'static str {
        match (self.state, self.paused, self.wanted_up && !self.terminating) {
            (State::Run, true, _) => "Paused",
            (State::Run, false, true) => "Running",
            (State::Run | State::Finish, _, false) => "StopPending",
            (State::Down | State::Finish, _, true) => "StartPending",
            (State::Down, _, false) => "Stopped",
        }
    }
}

/// Every service that has a folder.
pub(super) fn services() -> Vec<Service> {
    let mut services = Vec::new();
    for directory in DIRECTORIES.iter().map(Path::new) {
        for name in names(directory).into_iter().filter(|name| !name.starts_with('.')) {
            let folder = directory.join(&name);
            if folder.join("run").exists() && !services.iter().any(|own: &Service| own.name == name) {
                services.push(service(name, folder));
            }
        }
    }
    services
}

fn service(name: String, folder: PathBuf) -> Service {
    let looked = read(&folder);
    let status = looked.unwrap_or_default();
    let sub_state = match status {
        None if looked.is_err() => String::from("only root can see its supervisor"),
        None => String::from("no supervisor"),
        Some(Status { process: Some(process), .. }) => format!("process {process}"),
        Some(Status { process: None, .. }) => String::from("no process"),
    };
    Service {
        aliases: other_names(&folder),
        description: name.clone(),
        name,
        status: match (looked, status) {
            (Err(OnlyRoot), _) => "Unknown",
            (Ok(_), status) => status.map_or("Stopped", Status::word),
        },
        start: if folder.join("down").exists() { "Manual" } else { "Automatic" },
        sub_state,
        process: status.and_then(|status| status.process),
        manager: Manager::Runit(folder),
        ..Service::default()
    }
}

/// The names that links give the service: of the folder that it really is, and of the one that its start comes from.
fn other_names(folder: &Path) -> Vec<String> {
    let real = folder.canonicalize().ok();
    let start = folder.join("run").canonicalize().ok();
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let start = start.as_deref().map(|run| match name(run).as_deref() {
        Some("run") | None => run.parent().and_then(name),
        Some(other) => Some(other.to_owned()),
    });
    real.as_deref().and_then(name).into_iter().chain(start.flatten()).collect()
}

/// A supervisor that this account may not ask.
#[derive(Clone, Copy, Debug)]
struct OnlyRoot;

/// What the supervisor says; `None` if none lives.
fn read(folder: &Path) -> Result<Option<Status>, OnlyRoot> {
    let asked =
        pipe(&folder.join("supervise/ok")).and_then(|_| std::fs::read(folder.join("supervise/status")));
    match asked {
        Ok(bytes) => Ok(bytes.try_into().ok().and_then(Status::parse)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(OnlyRoot),
        Err(_) => Ok(None),
    }
}

/// Opens a pipe for writing, which fails where nobody reads it.
fn pipe(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Orders the supervisor to start or stop its service; returns as soon as the order is given.
pub(super) fn order(folder: &Path, start: bool) -> io::Result<()> {
    let mut control = pipe(&folder.join("supervise/control"))?;
    control.write_all(if start { b"u" } else { b"d" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(process: u32, paused: u8, wanted: u8, terminating: u8, state: u8) -> Option<Status> {
        let mut bytes = [0; STATUS_BYTES];
        bytes[12..16].copy_from_slice(&process.to_le_bytes());
        bytes[16..].copy_from_slice(&[paused, wanted, terminating, state]);
        Status::parse(bytes)
    }

    #[test]
    fn twenty_bytes_become_a_state() {
        for (process, paused, wanted, terminating, state, word) in [
            (7, 0, b'u', 0, 1, "Running"),
            (7, 1, b'u', 0, 1, "Paused"),
            (7, 0, b'd', 0, 1, "StopPending"),
            (7, 0, b'u', 1, 1, "StopPending"),
            (0, 0, b'u', 0, 0, "StartPending"),
            (0, 0, b'd', 0, 0, "Stopped"),
            (0, 0, 0, 0, 0, "Stopped"),
            (8, 0, b'd', 0, 2, "StopPending"),
            (8, 0, b'u', 0, 2, "StartPending"),
        ] {
            let status = status(process, paused, wanted, terminating, state).unwrap();
            assert_eq!(status.word(), word);
            assert_eq!(status.process.unwrap_or(0), process);
        }
        assert_eq!(status(7, 0, b'u', 0, 9), None);
    }

    #[test]
    fn a09_links_cannot_hide_what_a_service_is() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("sshd");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("run"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("harmless")).unwrap();
        assert!(other_names(&directory.path().join("harmless")).contains(&String::from("sshd")));
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::os::unix::fs::symlink(real.join("run"), inner.join("run")).unwrap();
        assert!(other_names(&inner).contains(&String::from("sshd")));
    }
}
