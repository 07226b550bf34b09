//! How a node or an engineer reaches a relay: credential and trusted authority from files, never from arguments.
//!
//! Which files: those named on the command line; else, for the node, the credential that support handed out with the
//! consent; else those that `relay serve` wrote into the same state directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rs_relay::client::{Connector, HybridConnection, KeepAlive, Trust};

use crate::network::{Question, Way};
use crate::node::CREDENTIAL_NAME;
use crate::outcome::{ErrorCode, Failure};
use crate::state::{Role, StateDir};
use crate::{credential, files};

/// Longest authority file that is read, in bytes.
const AUTHORITY_BYTES_MAX: usize = 256 * 1024;
/// Name of the relay's authority in its folder.
pub const AUTHORITY_NAME: &str = "ca.pem";
/// Longest silence on a connection to Azure's relay. Proxies cut quiet tunnels, some after 60 s.
const QUIET_MAX: Duration = Duration::from_secs(25);

/// Which side of the relay a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// The node's agent.
    Listen,
    /// The engineer.
    Send,
}

impl Side {
    /// Name of the connection string's file in the relay's folder; also that of the authorization rule.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Listen => "listen.connection-string",
            Self::Send => "send.connection-string",
        }
    }
}

/// The files that lead to a relay, and the way there.
#[derive(Debug, Clone)]
pub struct RelayAccess {
    state: StateDir,
    side: Side,
    credential: Option<PathBuf>,
    authority: Option<PathBuf>,
    way: Way,
}

/// A relay that can be dialled.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where, and with which right.
    pub connection: HybridConnection,
    /// How.
    pub connector: Connector,
    /// What is sent while nothing is said.
    pub keep_alive: KeepAlive,
}

impl RelayAccess {
    /// The files named, and where to look for those that are not.
    #[must_use]
    pub fn new(
        state: &StateDir,
        side: Side,
        credential: Option<&Path>,
        authority: Option<&Path>,
        way: Way,
    ) -> Self {
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Self { state: state.clone(), side, credential: owned(credential), authority: owned(authority), way }
    }

    /// How the network is reached.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way
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
        let connection = self.connection()?;
        let keep_alive = match KeepAlive::for_relay(connection.authority()) {
            KeepAlive::Pong(interval) => KeepAlive::Pong(interval.min(QUIET_MAX)),
            other => other,
        };
        Ok(Reach { connection, connector: self.connector()?, keep_alive })
    }

    /// The hybrid connection that the credential leads to.
    ///
    /// # Errors
    ///
    /// As [`RelayAccess::open`].
    pub fn connection(&self) -> Result<HybridConnection, Failure> {
        let path = self.credential_file().ok_or_else(|| self.no_credential())?;
        credential::connection(&files::read_secret(&path)?)
            .map_err(|failure| failure.about(path.display().to_string()))
    }

    /// The question why the relay is not reached; `None` for a relay without a name.
    ///
    /// # Errors
    ///
    /// As [`RelayAccess::open`].
    pub fn question(&self) -> Result<Option<Question>, Failure> {
        let authority =
            self.authority_file().map(|path| files::read(&path, AUTHORITY_BYTES_MAX)).transpose()?;
        Question::new(self.connection()?.authority(), &self.way, authority.as_deref())
    }

    /// The file with the certificates of the relay's own authority.
    #[must_use]
    pub fn authority_file(&self) -> Option<PathBuf> {
        let local = self.state.role(Role::Relay).file(AUTHORITY_NAME);
        self.authority.clone().or_else(|| Some(local).filter(|path| path.exists()))
    }

    fn connector(&self) -> Result<Connector, Failure> {
        let path = self.authority_file();
        let trust: fn(Vec<u8>) -> Trust =
            if self.authority.is_some() { Trust::Only } else { Trust::PlatformAnd };
        let trust = match &path {
            Some(path) => trust(files::read(path, AUTHORITY_BYTES_MAX)?),
            None => Trust::Platform,
        };
        Connector::builder().trust(trust).dialer(self.way.dialer()?).build().map_err(|error| {
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
