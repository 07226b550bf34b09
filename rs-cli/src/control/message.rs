//! What goes over the control socket: requests, replies, and their parts. `docs/local-api.md` describes it for other
//! programs, `docs/local-api.schema.json` for their tools.
//!
//! Requests with a name or a field that the agent does not know are refused, so that nothing that was asked is left out
//! silently. Replies may gain fields; a client passes over those that it does not know.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use rs_consent::party::Grantor;
use rs_consent::{AccessLevel, EndCause};
use rs_session::ending::Delays;
use rs_session::host::{Downed, PendingApproval};
use rs_session::operations::Catalog;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of this interface. It grows when a request changes its meaning; a request that is only added stands in
/// [`Version::requests`].
pub const API_VERSION: u32 = 1;

/// Code of the refusal of a request that the agent does not know.
pub const CODE_VERSION: &str = "version";
/// Code of the refusal of a request that it knows, in another form.
pub const CODE_MALFORMED: &str = "malformed";

/// What a command asks of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlRequest {
    /// The store has changed: read it, end what is no longer permitted, and answer when that is done.
    Changed {},
    /// Shut the gate and end all sessions as revoked, whatever the store says: the operator revokes, and the store
    /// cannot be written (SEC11). The agent writes the revocation as soon as it can. Answered as
    /// [`ControlRequest::Changed`].
    Shut {
        /// Who revokes.
        by: Grantor,
    },
    /// Say how things stand.
    Status {},
    /// End one session; the grant stands.
    EndSession {
        /// The session.
        session_id: Uuid,
    },
    /// Say which calls wait for the operator.
    Approvals {},
    /// Answer a call that waits.
    Answer {
        /// The call.
        approval_id: Uuid,
        /// Yes or No.
        verdict: Verdict,
    },
    /// Say which version of this interface the agent speaks, and what it can be asked.
    Version {},
    /// Make a new code with which somebody signs in at the page that the agent serves.
    ConsoleCode {},
}

impl ControlRequest {
    /// Every request that an agent of this version answers, by the name that stands in `request`. What is added is told
    /// to clients by [`ControlRequest::Version`].
    pub const NAMES: [&'static str; 8] =
        ["changed", "shut", "status", "end-session", "approvals", "answer", "version", "console-code"];
}

/// The operator's answer to a call that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Verdict {
    /// It may go on.
    Approve {},
    /// It may not.
    Decline {
        /// Why, for the engineer; may be empty.
        reason: String,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum ControlReply {
    /// To [`ControlRequest::Changed`] and [`ControlRequest::Shut`].
    Changed(Changed),
    /// To [`ControlRequest::Status`].
    Status(Status),
    /// To [`ControlRequest::EndSession`].
    EndSession(SessionEnd),
    /// To [`ControlRequest::Approvals`].
    Approvals {
        /// What waits, the oldest first.
        waiting: Vec<PendingApproval>,
    },
    /// To [`ControlRequest::Answer`].
    Answer {
        /// False where no such call waits (any more).
        taken: bool,
    },
    /// To [`ControlRequest::Version`].
    Version(Version),
    /// To [`ControlRequest::ConsoleCode`].
    ConsoleCode {
        /// Where the page is and the code for it; absent where the agent serves none.
        offer: Option<ConsoleOffer>,
    },
    /// The request could not be carried out.
    Failed {
        /// Kebab-case code.
        code: String,
        /// What happened, for people.
        message: String,
    },
}

/// How a change of the store took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Sessions that this change ended.
    pub sessions_ended: u32,
    /// How each of them ended.
    pub sessions: Vec<EndedSession>,
    /// Sessions that should have ended and have not yet; 0 where all is well.
    pub sessions_still_ending: u32,
    /// From the request to the end of the last session, in milliseconds.
    pub elapsed_ms: u64,
}

impl Changed {
    /// All sessions that the change ended are down.
    pub(crate) fn all_down(downed: &[Downed], elapsed_ms: u64) -> Self {
        let sessions: Vec<_> = downed.iter().map(EndedSession::from).collect();
        let sessions_ended = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        Self { sessions_ended, sessions, sessions_still_ending: 0, elapsed_ms }
    }
}

/// How one session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedSession {
    /// The session.
    pub session_id: Uuid,
    /// Why it ended.
    pub cause: EndCause,
    /// Number of the last record whose line was started.
    pub last_executed: Option<u64>,
    /// Whether the end is on record.
    pub recorded: bool,
    /// How long each step took.
    pub delays: Delays,
    /// The signed end-of-access statement.
    pub statement: Option<PathBuf>,
}

impl From<&Downed> for EndedSession {
    fn from(downed: &Downed) -> Self {
        Self {
            session_id: downed.session_id,
            cause: downed.cause,
            last_executed: downed.last_executed,
            recorded: downed.recorded,
            delays: downed.delays,
            statement: downed.statement.clone(),
        }
    }
}

/// How the agent stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Start of the agent.
    pub started_at: DateTime<Utc>,
    /// Connection to the relay in one word: `NotConnected`, `Connecting`, `Connected`.
    pub connection_status: String,
    /// The last trouble with the relay.
    pub connection_error_message: Option<String>,
    /// Sessions that are open.
    pub sessions: Vec<OpenSession>,
}

/// One open session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenSession {
    /// The session.
    pub session_id: Uuid,
    /// Who is connected, as named in the assignment.
    pub engineer: String,
    /// The level in force.
    pub access_level: AccessLevel,
    /// Start of the session.
    pub started_at: DateTime<Utc>,
}

/// What became of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnd {
    /// How it ended; absent where there is no such session.
    pub session: Option<EndedSession>,
    /// From the request to the end, in milliseconds.
    pub elapsed_ms: u64,
}

/// What the agent speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of the interface, [`API_VERSION`]; 0 for an agent from before there was this question.
    pub api: u32,
    /// Version of the program; absent for such an agent.
    pub program: Option<String>,
    /// SHA-256 of the lists of operations; absent for such an agent.
    pub catalog: Option<String>,
    /// What it can be asked.
    pub requests: Vec<String>,
}

impl Version {
    /// What this program speaks as an agent.
    #[must_use]
    pub fn of_this_program() -> Self {
        Self {
            api: API_VERSION,
            program: Some(env!("CARGO_PKG_VERSION").to_owned()),
            catalog: Some(Catalog::sha256().to_owned()),
            requests: ControlRequest::NAMES.map(str::to_owned).into(),
        }
    }

    /// What an agent speaks that does not know the question.
    #[must_use]
    pub fn before_the_question() -> Self {
        let known = ["changed", "shut", "status", "end-session", "approvals", "answer"];
        Self { api: 0, program: None, catalog: None, requests: known.map(str::to_owned).into() }
    }

    /// Whether the agent can be asked this.
    #[must_use]
    pub fn knows(&self, request: &str) -> bool {
        self.requests.iter().any(|known| known == request)
    }
}

/// Where the agent's page is, and how somebody signs in there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleOffer {
    /// Its address, `http://127.0.0.1:PORT/`.
    pub address: String,
    /// The code; it is good for one sign-in.
    pub code: String,
}

/// Without the code.
impl std::fmt::Debug for ConsoleOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleOffer").field("address", &self.address).finish_non_exhaustive()
    }
}
