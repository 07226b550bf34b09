//! A fresh state directory and the real program on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program as it was built for the tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_remote-support");

/// The program that the tests start: [`PROGRAM`], or the one that `TEST_PROGRAM` names, for example a release build.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TEST_PROGRAM").map_or_else(|| PROGRAM.into(), PathBuf::from)
}

/// One machine: a directory for its state, and one to work in.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
}

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn at(directory: tempfile::TempDir) -> Self {
        std::fs::create_dir(directory.path().join("work")).expect("own directory");
        Self { directory }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The file with the storage key, apart from the state.
    pub(crate) fn storage_key(&self) -> PathBuf {
        self.directory.path().join("keys").join("storage.key")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    /// The program with arguments apart from the environment of whoever runs the tests.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        let foreign =
            |name: &str| name.starts_with("REMOTE_SUPPORT_") || name.to_lowercase().ends_with("_proxy");
        for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
            .args(args)
            .env("REMOTE_SUPPORT_STATE_DIR", self.state())
            .env("REMOTE_SUPPORT_STORAGE_KEY_FILE", self.storage_key())
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of words without blanks in them.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_args(line.split_whitespace())
    }

    pub(crate) fn run_args<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.command(args).output().expect("the program starts").into()
    }

    /// Runs a line that must succeed and gives its JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        let run = self.run(&format!("{line} --output json"));
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    /// Enables at a level, agreeing beforehand; gives the grant.
    pub(crate) fn enable(&self, more: &str) -> Value {
        self.json(&format!("enable --agree-to-remote-support-consent --access-level {more}"))
    }

    /// Submits a request and gives its number; the file for the desk is `request.json`.
    pub(crate) fn submit(&self) -> String {
        let request = self.json("request submit --reason slow-disk --file request.json");
        request["number"].as_str().expect("a number").to_owned()
    }

    /// Every file of the state, with its content.
    pub(crate) fn state_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.state()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(content) = std::fs::read(&path) {
                    found.push((path, content));
                }
            }
        }
        found
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// Sets the mode of a file; where there are no modes, its access list does.
pub(crate) fn chmod(path: &Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
}

#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.symlink_metadata().expect("there").permissions().mode() & 0o777
}
