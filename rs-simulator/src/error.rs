//! What can go wrong.

use rs_consent::assignment::AssignmentError;
use rs_consent::grant::GrantError;
use rs_consent::minutes::MinutesError;
use rs_consent::request::RequestError;
use rs_consent::{EndCause, RefusalCode};
use rs_session::channel::ChannelError;
use rs_session::client::{ConnectError, SessionError};

/// Why a step of the simulation failed. What the cores refuse is given as they give it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name or reason cannot be.
    #[error("{what} cannot be: {why}")]
    Name {
        /// What it was for.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A time outside its range.
    #[error(transparent)]
    Minutes(#[from] MinutesError),
    /// The grant cannot be made.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The support request does not take this.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no support request of this number.
    #[error("there is no support request of this number; open one first")]
    NoRequest,
    /// The assignment cannot be made.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// The relay refused, or is not reached.
    #[error("the node is not reached through the relay")]
    Relay(#[from] rs_relay::client::ConnectError),
    /// The node refused, or the channel to it broke.
    #[error(transparent)]
    Session(#[from] ConnectError),
    /// The session broke.
    #[error(transparent)]
    Broken(#[from] SessionError),
    /// The channel broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The session ended before the answer came.
    #[error("the session has ended: {}", .0.cause())]
    Ended(EndCause),
    /// Certificates, rules or runtime cannot be had.
    #[error("the simulator cannot be set up: {0}")]
    Setup(String),
}

impl Error {
    /// Why the node let nobody in, where that is what happened.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Self::Session(ConnectError::Refused { code, .. }) => Some(*code),
            _ => None,
        }
    }

    /// Whether nobody listened at the relay.
    #[must_use]
    pub fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Relay(error) if error.is_nobody_there())
    }

    pub(crate) fn name(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Name { what, why: why.to_string() }
    }

    pub(crate) fn setup(why: impl std::fmt::Display) -> Self {
        Self::Setup(why.to_string())
    }
}
