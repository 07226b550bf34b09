//! The end-of-access statement: how one session ended, signed by the node (SEC12).
//!
//! It lies beside the record as `SESSION.end.json`, a signed statement ([`rs_consent::statement`]) of kind
//! `end-of-access`. It names the last record by number and hash, so a record that was cut or exchanged later
//! contradicts it, and it says how long each step of the end took.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rs_consent::keys::PublicKey;
use rs_consent::party::{Engineer, Node};
use rs_consent::statement::Statement;
use rs_consent::{EndCause, RequestNumber};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::record::{Digest, SessionIdentity, Skeleton};

/// Extension of the statement's file, which lies beside the record and has its name.
pub const STATEMENT_EXTENSION: &str = "end.json";

/// The file with the end-of-access statement that belongs to a record file.
///
/// ```
/// use rs_session::ending::statement_path;
/// use std::path::Path;
///
/// assert_eq!(statement_path(Path::new("sessions/7.record")), Path::new("sessions/7.end.json"));
/// ```
#[must_use]
pub fn statement_path(record: &Path) -> PathBuf {
    record.with_extension(STATEMENT_EXTENSION)
}

/// How one session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndOfAccess {
    /// The session.
    pub session_id: Uuid,
    /// The node that signs.
    pub node: Node,
    /// The engineer whose access ended.
    pub engineer: Engineer,
    /// The grant that it stood on.
    pub grant_id: Uuid,
    /// The support request that it was for.
    pub support_request: RequestNumber,
    /// Why it ended; the same as in the end record.
    pub cause: EndCause,
    /// When, by the wall clock of the end record.
    pub ended_at: DateTime<Utc>,
    /// Number of the last record whose line was started; absent when nothing ever ran. In a statement of recovery, the
    /// last line that could have been started.
    pub last_executed: Option<u64>,
    /// How many records there are, the end record included.
    pub records: u64,
    /// Hash of the end record.
    pub head: Digest,
    /// How long the end took; absent when it was found at the next start of the agent.
    pub delays: Option<Delays>,
    /// True when the agent died in the middle, or could not write, and this was made later.
    pub recovered: bool,
}

impl Statement for EndOfAccess {
    const KIND: &'static str = "end-of-access";
}

impl EndOfAccess {
    /// What a record says of its own end, made later than that end; `None` where `end` is no end record's skeleton.
    /// `last_executed` is the number of its last request.
    #[must_use]
    pub fn found(
        of: SessionIdentity,
        end: &Skeleton,
        head: Digest,
        last_executed: Option<u64>,
    ) -> Option<Self> {
        Some(Self {
            session_id: of.session_id,
            node: of.node,
            engineer: of.engineer,
            grant_id: of.grant_id,
            support_request: of.support_request,
            cause: end.end?,
            ended_at: end.wall_time,
            last_executed,
            records: end.sequence + 1,
            head,
            delays: None,
            recovered: true,
        })
    }

    /// Whether the node that it names is the one with this key.
    #[must_use]
    pub fn is_of(&self, node: &PublicKey) -> bool {
        self.node.key == *node
    }
}

/// How long each step of an end took, in microseconds. All count from the moment that the cause came up: the owner's
/// command reached the agent, the time was over, the connection broke.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delays {
    /// Until the gate was shut for this session: from then on nothing was read, started or shown any more.
    pub gate_us: u64,
    /// Until the last process of the running operation was dead; absent when nothing ran.
    pub work_us: Option<u64>,
    /// Until the engineer's channel was closed.
    pub closed_us: u64,
    /// Until the node had left the relay; absent when it did not have to, or had not after a short wait.
    pub listener_us: Option<u64>,
}

/// ```
/// use rs_session::ending::Delays;
///
/// let delays = Delays { gate_us: 400, work_us: Some(12_300), closed_us: 15_000, listener_us: None };
/// assert_eq!(delays.to_string(), "gate shut after 0.4 ms, work dead after 12.3 ms, channel closed after 15.0 ms");
/// ```
impl std::fmt::Display for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        write!(f, "gate shut after {}", ms(self.gate_us))?;
        match self.work_us {
            Some(work) => write!(f, ", work dead after {}", ms(work))?,
            None => f.write_str(", nothing was running")?,
        }
        write!(f, ", channel closed after {}", ms(self.closed_us))?;
        self.listener_us.map_or(Ok(()), |listener| write!(f, ", relay left after {}", ms(listener)))
    }
}

#[cfg(feature = "driver")]
pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
