//! Programs of the owner's that the agent runs: which may be run, and their end with everything that they started.
//!
//! On Linux only: elsewhere nothing is run, and the refusal says so.

use std::path::{Path, PathBuf};

use crate::outcome::{ErrorCode, Failure};

/// The file that is run for `path`, without links, if nobody but root and this account can change or replace it.
///
/// # Errors
///
/// [`ErrorCode::InvalidFile`] for what is no program, [`ErrorCode::UnsafePermissions`], [`ErrorCode::Io`].
#[cfg(target_os = "linux")]
pub(crate) fn check_program(path: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let program = path.canonicalize().map_err(|error| Failure::io(path, "find the program", error))?;
    let metadata = program.metadata().map_err(|error| Failure::io(&program, "look at", error))?;
    if !path.is_absolute() || !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(Failure::new(ErrorCode::InvalidFile, "this is no program that can be run")
            .about(path.display().to_string())
            .next_step("name an executable file by its whole path"));
    }
    let own = rustix::process::geteuid().as_raw();
    for place in program.ancestors() {
        let metadata = place.metadata().map_err(|error| Failure::io(place, "look at", error))?;
        let mode = metadata.permissions().mode();
        // In a directory with the sticky bit, such as /tmp, others cannot replace what is not theirs.
        let writable = mode & 0o022 != 0 && !(metadata.is_dir() && mode & 0o1000 != 0);
        if writable || ![own, 0].contains(&metadata.uid()) {
            let path = place.display();
            return Err(Failure::new(
                ErrorCode::UnsafePermissions,
                format!(
                    "other users can change what would be run (owner {}, mode {:04o})",
                    metadata.uid(),
                    mode & 0o7777
                ),
            )
            .about(path.to_string())
            .next_step(format!(
                "make sure that nobody has used it, then run: chown root '{path}'; chmod go-w '{path}'"
            )));
        }
    }
    Ok(program)
}

/// As on Linux; here nothing is run.
///
/// # Errors
///
/// [`ErrorCode::NotAvailable`], always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn check_program(path: &Path) -> Result<PathBuf, Failure> {
    Err(Failure::new(ErrorCode::NotAvailable, "programs are run for events on Linux only")
        .about(path.display().to_string())
        .next_step("use a webhook, mail or a file"))
}

/// Whether this is root, who may write to every terminal.
pub(crate) fn is_root() -> bool {
    #[cfg(unix)]
    let root = rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    let root = false;
    root
}

/// Gives what is started a process group of its own and no directory to hold.
#[cfg(target_os = "linux")]
pub(crate) fn detach(command: &mut tokio::process::Command) {
    command.process_group(0).current_dir("/");
}

/// Nothing is run here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn detach(_command: &mut tokio::process::Command) {}

/// First and longest pause between two looks whether a program has exited.
#[cfg(target_os = "linux")]
const LOOK: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(1), std::time::Duration::from_millis(50));

/// A program that was started, and all that it starts in its group; when this is dropped they are ended.
#[cfg(target_os = "linux")]
pub(crate) struct ProcessGroup(Option<rustix::process::Pid>);

#[cfg(target_os = "linux")]
impl ProcessGroup {
    pub(crate) fn of(child: &tokio::process::Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(rustix::process::Pid::from_raw))
    }

    /// Returns when the program has exited. It is looked at and not waited for, so its number, which is that of the group,
    /// stays taken.
    pub(crate) async fn leader_exits(&self, _child: &mut tokio::process::Child) -> std::io::Result<()> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};

        let Some(pid) = self.0 else { return Ok(()) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let mut pause = LOOK.0;
        while waitid(WaitId::Pid(pid), look)?.is_none() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
        Ok(())
    }

    /// Ends the group. To be called before the program is waited for.
    pub(crate) fn end(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // Where nobody is left there is nothing to end.
            let _ended = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Nothing is run here.
#[cfg(not(target_os = "linux"))]
pub(crate) struct ProcessGroup(());

#[cfg(not(target_os = "linux"))]
impl ProcessGroup {
    pub(crate) fn of(_child: &tokio::process::Child) -> Self {
        Self(())
    }

    pub(crate) async fn leader_exits(&self, child: &mut tokio::process::Child) -> std::io::Result<()> {
        child.wait().await.map(drop)
    }

    pub(crate) fn end(self) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn u10_only_what_nobody_else_can_change_or_replace_is_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("bin");
        create_dir(&folder).expect("made");
        mode(&folder, 0o755);
        let program = folder.join("hook");
        write(&program, "#!/bin/sh\n").expect("written");
        mode(&program, 0o755);
        let link = directory.path().join("link");
        symlink(&program, &link).expect("linked");
        assert_eq!(check_program(&program).expect("fine"), program.canonicalize().expect("there"));
        assert_eq!(
            check_program(&link).expect("fine"),
            program.canonicalize().expect("there"),
            "the file itself is run"
        );

        for (path, bad, good, code) in [
            (&program, 0o775, 0o755, ErrorCode::UnsafePermissions),
            (&program, 0o757, 0o755, ErrorCode::UnsafePermissions),
            (&program, 0o644, 0o755, ErrorCode::InvalidFile),
            (&folder, 0o777, 0o755, ErrorCode::UnsafePermissions),
        ] {
            mode(path, bad);
            for way in [&program, &link] {
                assert_eq!(
                    check_program(way).expect_err("refused").code(),
                    code,
                    "{} {bad:o}",
                    path.display()
                );
            }
            mode(path, good);
        }
        mode(&folder, 0o1777);
        assert!(check_program(&program).is_ok(), "others cannot replace what is not theirs");
        assert_eq!(check_program(&folder).expect_err("a directory").code(), ErrorCode::InvalidFile);
        assert_eq!(check_program(&folder.join("none")).expect_err("nothing").code(), ErrorCode::NotFound);
    }
}
