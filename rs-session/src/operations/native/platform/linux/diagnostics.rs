//! `Send-DiagnosticData`, the part that reads: declared selections of logs and facts, as they are, in pieces.
//!
//! What it gives goes to the agent, which masks it, packs it and asks the operator; nothing of it is shown and nothing
//! leaves from here. Never read: what holds passwords, keys or logins by its purpose (`auth.log`, `wtmp`, the audit log).

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::names;
use crate::bundle::{BUNDLE_BYTES_MAX, PART_BYTES_MAX, PARTS_MAX, is_part_name};
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Bytes in one piece.
const PIECE_BYTES: usize = 24 << 10;
/// Newest entries of the journal that are taken.
const JOURNAL_ENTRIES: &str = "--lines=20000";
/// Where the journal's program can be.
const JOURNALCTL: &[&str] = &["/usr/bin/journalctl", "/bin/journalctl"];
/// Where the journal can be; without one its program is not started.
const JOURNALS: &[&str] = &["/run/log/journal", "/var/log/journal"];

/// Files of one role: a path, or a folder whose files with this ending are taken.
type Source = (&'static str, Option<&'static str>);

/// What each role selects.
const ROLES: &[(&str, &[Source])] = &[
    (
        "System",
        &[
            ("/var/log/syslog", None),
            ("/var/log/messages", None),
            ("/var/log/kern.log", None),
            ("/var/log/daemon.log", None),
            ("/var/log/dmesg", None),
            ("/var/log/boot.log", None),
        ],
    ),
    (
        "Packages",
        &[
            ("/var/log/dpkg.log", None),
            ("/var/log/apt", Some(".log")),
            ("/var/log/dnf.log", None),
            ("/var/log/yum.log", None),
        ],
    ),
    ("RemoteSupportAgent", &[("/var/log/remote-support", Some(".log"))]),
    (
        "Facts",
        &[
            ("/usr/lib/os-release", None),
            ("/proc/version", None),
            ("/proc/cpuinfo", None),
            ("/proc/meminfo", None),
            ("/proc/loadavg", None),
            ("/proc/uptime", None),
            ("/proc/self/mounts", None),
            ("/proc/partitions", None),
            ("/proc/net/dev", None),
        ],
    ),
];

pub(super) fn send_diagnostic_data(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let chosen = plan.call.texts("FilterByRole");
    let wanted = |role: &str| chosen.is_empty() || chosen.iter().any(|own| own.eq_ignore_ascii_case(role));
    let mut given = Given { sink, parts: 0, bytes: 0 };
    for (_, sources) in ROLES.iter().filter(|(role, _)| wanted(role)) {
        for path in sources.iter().flat_map(files) {
            given.file(&path)?;
        }
    }
    if wanted("Journal") {
        given.journal()?;
    }
    Ok(())
}

/// The files of a source; links are not followed out of it.
fn files((path, ending): &Source) -> Vec<PathBuf> {
    let Some(ending) = ending else { return vec![PathBuf::from(path)] };
    let fitting = names(path).into_iter().filter(|name| name.ends_with(ending));
    fitting.map(|name| Path::new(path).join(name)).collect()
}

/// What was given so far, against the limits of a bundle.
struct Given<'a> {
    sink: &'a mut dyn Sink,
    parts: usize,
    bytes: usize,
}

impl Given<'_> {
    /// Gives the newest bytes of a file; one that is not there is passed over.
    fn file(&mut self, path: &Path) -> Result<(), ProviderError> {
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        if !is_file {
            return Ok(());
        }
        match tail(path, self.room()) {
            Ok((bytes, cut)) => self.part(path.to_string_lossy().trim_start_matches('/'), &bytes, cut),
            Err(error) => Ok(self.sink.warn(&format!("{} is left out: {error}", path.display()))?),
        }
    }

    fn journal(&mut self) -> Result<(), ProviderError> {
        let there = JOURNALS.iter().any(|folder| !names(folder).is_empty());
        let Some(program) = JOURNALCTL.iter().find(|path| Path::new(path).exists()).filter(|_| there) else {
            return Ok(());
        };
        let child = Command::new(program)
            .args(["--no-pager", "--quiet", "--output=short-iso", JOURNAL_ENTRIES])
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Ok(self.sink.warn(&format!("the journal is left out: {error}"))?),
        };
        let mut bytes = Vec::new();
        let room = self.room();
        if let Some(stream) = child.stdout.take() {
            // What was read until a failure is what there is.
            let _ = stream.take(room as u64 + 1).read_to_end(&mut bytes);
        }
        let _ = child.kill();
        let _ = child.wait();
        let cut = bytes.len() > room;
        bytes.truncate(room);
        self.part("journal/journal.log", &bytes, cut)
    }

    /// Bytes that the next part may have.
    fn room(&self) -> usize {
        PART_BYTES_MAX.min(BUNDLE_BYTES_MAX - self.bytes)
    }

    fn part(&mut self, name: &str, bytes: &[u8], cut: bool) -> Result<(), ProviderError> {
        if !is_part_name(name) {
            return Ok(self
                .sink
                .warn(&format!("{name:?} is left out: such a name has no place in a bundle"))?);
        }
        if self.parts >= PARTS_MAX {
            return Ok(self
                .sink
                .warn(&format!("{name} is left out: a bundle has at most {PARTS_MAX} parts"))?);
        }
        self.parts += 1;
        self.bytes += bytes.len();
        for piece in bytes.chunks(PIECE_BYTES) {
            self.sink.emit(
                Object::new("Piece")
                    .with("Part", name.to_owned())
                    .with("Data", STANDARD.encode(piece))
                    .into(),
            )?;
        }
        Ok(self.sink.emit(Object::new("Piece").with("Part", name.to_owned()).with("Cut", cut).into())?)
    }
}

/// The last bytes of a file, at most `room`, from the beginning of a line on; and whether something was left out.
fn tail(path: &Path, room: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let cut = length > room as u64;
    if cut {
        file.seek(SeekFrom::Start(length - room as u64))?;
    }
    let mut bytes = Vec::new();
    file.take(room as u64).read_to_end(&mut bytes)?;
    if cut && let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        bytes.drain(..=end);
    }
    Ok((bytes, cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e06_of_a_long_log_the_newest_whole_lines_are_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(file.path(), 14).unwrap(), (b"one\ntwo\nthree\n".to_vec(), false));
        assert_eq!(tail(file.path(), 13).unwrap(), (b"two\nthree\n".to_vec(), true));
        assert_eq!(tail(file.path(), 0).unwrap(), (Vec::new(), true));
    }

    #[test]
    fn sec34_what_holds_logins_and_keys_is_in_no_selection() {
        for (_, sources) in ROLES {
            for (path, _) in *sources {
                for never in
                    ["auth", "secure", "wtmp", "btmp", "shadow", "audit", "/home", "/root", "private"]
                {
                    assert!(!path.contains(never), "{path}");
                }
            }
        }
    }
}
