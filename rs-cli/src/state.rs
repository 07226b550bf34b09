//! The state directory: one folder per role, each open to its owner only.
//!
//! ```text
//! node/      node.key node.pub mask.key storage.json redact.patterns store.sqlite requests/ sessions/ control.sock
//! desk/      desk.key desk.pub desk.json requests/
//! engineer/  engineer.key engineer.pub received/
//! relay/     ca.pem ca.key server.pem server.key rules.json listen.connection-string send.connection-string
//! ```
//!
//! With one state directory on one machine the roles find each other's public files here by themselves. Nothing is
//! created before something has to be stored.

use std::path::{Path, PathBuf};

use crate::outcome::{ErrorCode, Failure};
use crate::platform;

/// The part that a set of files plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The machine that is supported.
    Node,
    /// The support organisation.
    Desk,
    /// The person who connects.
    Engineer,
    /// The self-hosted relay.
    Relay,
}

impl Role {
    /// The name of its folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Desk => "desk",
            Self::Engineer => "engineer",
            Self::Relay => "relay",
        }
    }
}

/// Where all roles keep their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The directory given, or else the default of this system: `$XDG_STATE_HOME/remote-support`,
    /// `~/.local/state/remote-support`, for root `/var/lib/remote-support`; on Windows `%ProgramData%\RemoteSupport`.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] where no directory is given and the environment names no home.
    pub fn new(given: Option<PathBuf>) -> Result<Self, Failure> {
        let root = given.filter(|path| !path.as_os_str().is_empty()).or_else(platform::default_state_dir);
        root.map(|root| Self { root }).ok_or_else(|| {
            Failure::new(ErrorCode::InvalidValue, "there is no home directory to keep the state in")
                .next_step("name a directory with --state-dir")
        })
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a role; it may not exist yet.
    #[must_use]
    pub fn role(&self, role: Role) -> RoleDir {
        RoleDir { root: self.root.clone(), path: self.root.join(role.as_str()) }
    }
}

/// The folder of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleDir {
    root: PathBuf,
    path: PathBuf,
}

impl RoleDir {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the role has been set up here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Creates the folder with mode 0700 where it is missing, and checks it.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Io`], or [`ErrorCode::UnsafePermissions`] as in [`RoleDir::check`].
    pub fn ensure(&self) -> Result<(), Failure> {
        platform::create_private_dir(&self.path)
            .map_err(|error| Failure::io(&self.path, "create the directory", error))?;
        self.check()
    }

    /// As [`RoleDir::ensure`] for a folder inside it, which is returned.
    ///
    /// # Errors
    ///
    /// As [`RoleDir::ensure`].
    pub fn ensure_inner(&self, name: &str) -> Result<PathBuf, Failure> {
        self.ensure()?;
        let inner = self.path.join(name);
        platform::create_private_dir(&inner)
            .map_err(|error| Failure::io(&inner, "create the directory", error))?;
        platform::check_private(&inner)?;
        Ok(inner)
    }

    /// Checks that nobody but the owner can reach the files: no access for others to this folder, and no right for
    /// others to replace it from the directory above. A folder that does not exist passes.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::UnsafePermissions`] with the remedy.
    pub fn check(&self) -> Result<(), Failure> {
        if !self.exists() {
            return Ok(());
        }
        platform::check_not_writable_by_others(&self.root)?;
        platform::check_private(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(Some(directory.path().join("state"))).expect("a path");
        (directory, state)
    }

    #[test]
    fn nothing_is_created_by_looking() {
        let (_directory, state) = state();
        state.role(Role::Node).check().expect("missing is fine");
        assert!(!state.root().exists());
    }

    #[cfg(unix)]
    #[test]
    fn sec36_directories_are_open_to_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, state) = state();
        let node = state.role(Role::Node);
        let inner = node.ensure_inner("sessions").expect("created");
        for path in [state.root(), node.path(), &inner] {
            assert_eq!(
                path.metadata().expect("exists").permissions().mode() & 0o777,
                0o700,
                "{}",
                path.display()
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn sec36_a_directory_that_others_can_enter_or_replace_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, state) = state();
        let node = state.role(Role::Node);
        node.ensure().expect("created");
        for (path, mode) in
            [(node.path(), 0o750), (node.path(), 0o701), (state.root(), 0o770), (state.root(), 0o707)]
        {
            let good = path.metadata().expect("exists").permissions();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own directory");
            let failure = node.check().expect_err("unsafe");
            assert_eq!(failure.code(), ErrorCode::UnsafePermissions, "{mode:o}");
            assert!(failure.to_string().contains("chmod "), "{failure}");
            std::fs::set_permissions(path, good).expect("own directory");
            node.check().expect("safe again");
        }
    }
}
