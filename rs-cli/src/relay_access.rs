//! How a node or an engineer reaches a relay: credential and trusted authority from files, never from arguments.
//!
//! Which files: those named on the command line; else, for the node, the credential that support handed out with the
//! consent; else those that `relay serve` wrote into the same state directory.

use std::path::{Path, PathBuf};

use rs_relay::client::{Connector, HybridConnection, Trust};

use crate::commands::relay::Side;
use crate::node::CREDENTIAL_NAME;
use crate::outcome::{ErrorCode, Failure};
use crate::state::{Role, StateDir};
use crate::{credential, files};

/// Longest authority file that is read, in bytes.
const AUTHORITY_BYTES_MAX: usize = 256 * 1024;
/// Name of the relay's authority in its folder.
pub const AUTHORITY_NAME: &str = "ca.pem";

/// The files that lead to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAccess {
    state: StateDir,
    side: Side,
    credential: Option<PathBuf>,
    authority: Option<PathBuf>,
}

/// A relay that can be dialled.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where, and with which right.
    pub connection: HybridConnection,
    /// How.
    pub connector: Connector,
}

impl RelayAccess {
    /// The files named, and where to look for those that are not.
    #[must_use]
    pub fn new(state: &StateDir, side: Side, credential: Option<&Path>, authority: Option<&Path>) -> Self {
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Self { state: state.clone(), side, credential: owned(credential), authority: owned(authority) }
    }

    /// The file with the credential; `None` where there is none yet.
    #[must_use]
    pub fn credential_file(&self) -> Option<PathBuf> {
        let handed_out = self.state.role(Role::Node).file(CREDENTIAL_NAME);
        let handed_out = Some(handed_out).filter(|path| self.side == Side::Listen && path.exists());
        let local = self.state.role(Role::Relay).file(self.side.file_name());
        self.credential.clone().or(handed_out).or_else(|| Some(local).filter(|path| path.exists()))
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NotFound`] where there is no credential, with where one comes from; [`ErrorCode::InvalidFile`];
    /// [`ErrorCode::UnsafePermissions`].
    pub fn open(&self) -> Result<Reach, Failure> {
        let path = self.credential_file().ok_or_else(|| self.no_credential())?;
        let connection = credential::connection(&files::read_secret(&path)?)
            .map_err(|failure| failure.about(path.display().to_string()))?;
        Ok(Reach { connection, connector: self.connector()? })
    }

    fn connector(&self) -> Result<Connector, Failure> {
        let local = self.state.role(Role::Relay).file(AUTHORITY_NAME);
        let (path, trust): (_, fn(Vec<u8>) -> Trust) = match &self.authority {
            Some(path) => (Some(path.clone()), Trust::Only),
            None => (Some(local).filter(|path| path.exists()), Trust::PlatformAnd),
        };
        let trust = match &path {
            Some(path) => trust(files::read(path, AUTHORITY_BYTES_MAX)?),
            None => Trust::Platform,
        };
        Connector::builder().trust(trust).build().map_err(|error| {
            let about =
                path.map_or_else(|| "the system's authorities".to_owned(), |path| path.display().to_string());
            Failure::new(ErrorCode::InvalidFile, "the relay's authority cannot be used")
                .about(about)
                .because(error)
        })
    }

    fn no_credential(&self) -> Failure {
        let next = match self.side {
            Side::Listen => {
                "hand in the file that support gave you with `remote-support enable --sas-credential-file FILE`, or start \
                 a relay of your own with `remote-support relay serve`"
            }
            Side::Send => {
                "name the file that the relay's operator gave you with --relay-credential-file, or start a relay of your \
                 own with `remote-support relay serve`"
            }
        };
        Failure::new(ErrorCode::NotFound, "there is no relay credential").next_step(next)
    }
}
