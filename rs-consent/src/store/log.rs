//! The node log: every act of consent in order, each entry chained to the one before.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::code::RefusalCode;
use crate::grant::GrantId;
use crate::level::AccessLevel;
use crate::minutes::Minutes;
use crate::party::{Desk, Grantor};
use crate::request::{ClosedBy, RequestNumber};

/// One entry of the node log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogEntry {
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// What happened.
    pub act: Act,
}

/// What happened on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Act {
    /// A consent was given: a new grant at revision 1, a change in place after that.
    GrantEnabled {
        /// The grant.
        grant: GrantId,
        /// Which consent for it, counted from 1.
        revision: u32,
        /// The level.
        level: AccessLevel,
        /// The time.
        minutes: Minutes,
        /// Who consented.
        by: Grantor,
    },
    /// Consent was asked for and not given.
    GrantDeclined {
        /// The level that was asked for.
        level: AccessLevel,
        /// The time that was asked for.
        minutes: Minutes,
        /// Who declined.
        by: Grantor,
    },
    /// The consent was taken back.
    GrantRevoked {
        /// The grant.
        grant: GrantId,
        /// Who took it back.
        by: Grantor,
    },
    /// The time of a grant is nearly over; told once for each end that it has had.
    GrantExpiring {
        /// The grant.
        grant: GrantId,
        /// The end that is near, by the wall clock.
        expires_at: DateTime<Utc>,
    },
    /// A second person approved of a consent.
    GrantApproved {
        /// The grant.
        grant: GrantId,
        /// Which consent for it, counted from 1.
        revision: u32,
        /// Who approved.
        by: Grantor,
    },
    /// What a grant had waited for has come: it permits from here on.
    GrantBegun {
        /// The grant.
        grant: GrantId,
    },
    /// The time of a grant was over.
    GrantExpired {
        /// The grant.
        grant: GrantId,
    },
    /// A held grant was replaced by a fresh consent.
    GrantSuperseded {
        /// The old grant.
        grant: GrantId,
        /// The new grant.
        by: GrantId,
    },
    /// The clock went back.
    ClockHeld {
        /// The latest time that had been seen before.
        seen: DateTime<Utc>,
        /// The time that was then found.
        found: DateTime<Utc>,
    },
    /// The store is older than what was last written here, or from another machine: it was put back or copied.
    StoreDoubted {
        /// Its revision.
        found: u64,
        /// The revision that it must at least have gone through.
        expected: u64,
    },
    /// Support was asked for.
    RequestSubmitted {
        /// The request.
        request: RequestNumber,
    },
    /// The operator confirmed a desk's opening.
    RequestOpened {
        /// The request.
        request: RequestNumber,
        /// The desk, with the key that is pinned from then on.
        desk: Desk,
    },
    /// A request was closed.
    RequestClosed {
        /// The request.
        request: RequestNumber,
        /// Who closed it.
        by: ClosedBy,
    },
    /// An engineer was not let in.
    EngineerRefused {
        /// Why.
        code: RefusalCode,
    },
    /// The agent was started.
    AgentStarted,
    /// The agent was stopped in good order.
    AgentStopped,
}
