//! Assignments: the desk says which engineer may work on which request at which node, and for how long.
//!
//! An assignment is necessary, never sufficient: it opens nothing without the node's own consent, and it can only
//! narrow that consent.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::code::RefusalCode;
use crate::keys::PublicKey;
use crate::level::AccessLevel;
use crate::party::{Desk, Engineer, HostName, Node, RelayEntity};
use crate::request::RequestNumber;
use crate::statement::{Envelope, Statement, StatementError};

/// How far in the future an assignment may have been issued: 60 seconds, inclusive, for clocks that differ.
///
/// There is no allowance at the end: an expired assignment is expired.
pub const ISSUED_AT_SKEW: TimeDelta = TimeDelta::seconds(60);

/// How long an assignment is valid: 1 to 1440 whole minutes, both included; 480 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentMinutes(u16);

/// A lifetime that no assignment can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an assignment lasts {} to {} minutes", AssignmentMinutes::MIN.0, AssignmentMinutes::MAX.0)]
pub struct AssignmentMinutesError;

impl AssignmentMinutes {
    /// 1 minute.
    pub const MIN: Self = Self(1);
    /// 1440 minutes (1 day).
    pub const MAX: Self = Self(1440);
    /// 480 minutes (8 hours).
    pub const DEFAULT: Self = Self(480);

    /// Takes a number of minutes.
    ///
    /// # Errors
    /// Below 1 and above 1440.
    pub fn new(minutes: i64) -> Result<Self, AssignmentMinutesError> {
        u16::try_from(minutes)
            .ok()
            .filter(|m| (Self::MIN.0..=Self::MAX.0).contains(m))
            .map(Self)
            .ok_or(AssignmentMinutesError)
    }

    /// The number of minutes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// The same span, for instants.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.0))
    }
}

impl Default for AssignmentMinutes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a desk assigns. Build one, then [`Assignment::issue`].
///
/// ```
/// use rs_consent::assignment::{Assignment, AssignmentMinutes};
/// use rs_consent::party::{Desk, Engineer, Node};
/// use rs_consent::{AccessLevel, RequestNumber, SigningKey};
///
/// let [node, desk, engineer] = [1, 2, 3].map(|n| SigningKey::from_seed([n; 32]));
/// let now = "2026-01-02T03:04:05Z".parse()?;
/// let envelope = Assignment {
///     id: uuid::Uuid::from_u128(1),
///     desk: Desk { name: "Example desk".parse()?, key: desk.public() },
///     request: RequestNumber::from_parts(now, 1),
///     node: Node { name: "node-01".parse()?, key: node.public() },
///     engineer: Engineer { id: "engineer@support.example".parse()?, key: engineer.public() },
///     level_cap: AccessLevel::Diagnostics,
///     issued_at: now,
///     expires_at: now + AssignmentMinutes::DEFAULT.delta(),
///     relay: None,
/// }
/// .issue(&desk)?;
///
/// let read = Assignment::verify(&envelope, &desk.public(), &node.public(), now)?;
/// assert_eq!(read.engineer.key, engineer.public());
/// let late = now + AssignmentMinutes::DEFAULT.delta();
/// assert!(Assignment::verify(&envelope, &desk.public(), &node.public(), late).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, try_from = "Wire")]
pub struct Assignment {
    /// Names the assignment in records.
    pub id: Uuid,
    /// The desk that assigns; it signs.
    pub desk: Desk,
    /// The support request that is worked on.
    pub request: RequestNumber,
    /// The node that may be worked on.
    pub node: Node,
    /// The engineer who may work.
    pub engineer: Engineer,
    /// The highest level that this engineer may have; the grant may permit less.
    pub level_cap: AccessLevel,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// The first instant at which it is no longer valid.
    pub expires_at: DateTime<Utc>,
    /// Where the node listens, if the desk knows; never a secret.
    pub relay: Option<RelayHint>,
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayHint {
    /// The relay's host, with a port if it is not 443.
    pub host: HostName,
    /// The hybrid connection on it.
    pub entity: RelayEntity,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    id: Uuid,
    desk: Desk,
    request: RequestNumber,
    node: Node,
    engineer: Engineer,
    level_cap: AccessLevel,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    relay: Option<RelayHint>,
}

impl TryFrom<Wire> for Assignment {
    type Error = AssignmentMinutesError;

    fn try_from(wire: Wire) -> Result<Self, AssignmentMinutesError> {
        let lifetime = wire.expires_at.signed_duration_since(wire.issued_at);
        if !(AssignmentMinutes::MIN.delta()..=AssignmentMinutes::MAX.delta()).contains(&lifetime) {
            return Err(AssignmentMinutesError);
        }
        Ok(Self {
            id: wire.id,
            desk: wire.desk,
            request: wire.request,
            node: wire.node,
            engineer: wire.engineer,
            level_cap: wire.level_cap,
            issued_at: wire.issued_at,
            expires_at: wire.expires_at,
            relay: wire.relay,
        })
    }
}

impl Statement for Assignment {
    const KIND: &'static str = "assignment";
}

/// Why an assignment was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// The statement was not accepted.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The desk named in it is not the one that signed it.
    #[error("the assignment names another desk than the one that signed it")]
    OtherDesk,
    /// It is for another node.
    #[error("the assignment is for another node ({})", .0.fingerprint())]
    OtherNode(PublicKey),
    /// It was issued in the future.
    #[error("the assignment is from the future, issued at {0}: compare the clocks of desk and node")]
    NotYetValid(DateTime<Utc>),
    /// Its time is over.
    #[error("the assignment expired at {0}: get a new one from the desk")]
    Expired(DateTime<Utc>),
}

impl AssignmentError {
    /// The code with which the engineer is refused.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::Statement(StatementError::UntrustedKey(_)) => RefusalCode::DeskUnknown,
            Self::Statement(_) | Self::OtherDesk => RefusalCode::AssignmentInvalid,
            Self::OtherNode(_) => RefusalCode::AssignmentOtherNode,
            Self::NotYetValid(_) => RefusalCode::AssignmentNotYetValid,
            Self::Expired(_) => RefusalCode::AssignmentExpired,
        }
    }
}

impl Assignment {
    /// Signs the assignment with the desk's key.
    ///
    /// # Errors
    /// [`AssignmentError::OtherDesk`] if `desk` is not the key named in it; [`AssignmentError::Statement`] if its
    /// lifetime is outside 1 to 1440 minutes.
    pub fn issue(&self, desk: &crate::keys::SigningKey) -> Result<Envelope, AssignmentError> {
        if desk.public() != self.desk.key {
            return Err(AssignmentError::OtherDesk);
        }
        Ok(Envelope::sign(self, desk)?)
    }

    /// Reads an assignment for the node `node_key`, signed by the desk key that the node pinned when the request was
    /// opened.
    ///
    /// Valid from [`ISSUED_AT_SKEW`] before `issued_at`, while `now < expires_at`.
    ///
    /// # Errors
    /// [`AssignmentError`], checked in the order of its variants.
    pub fn verify(
        envelope: &Envelope,
        pinned_desk_key: &PublicKey,
        node_key: &PublicKey,
        now: DateTime<Utc>,
    ) -> Result<Self, AssignmentError> {
        let assignment: Self = envelope.open(std::slice::from_ref(pinned_desk_key))?;
        if assignment.desk.key != *pinned_desk_key {
            return Err(AssignmentError::OtherDesk);
        }
        if assignment.node.key != *node_key {
            return Err(AssignmentError::OtherNode(assignment.node.key));
        }
        if assignment.issued_at.signed_duration_since(now) > ISSUED_AT_SKEW {
            return Err(AssignmentError::NotYetValid(assignment.issued_at));
        }
        if now >= assignment.expires_at {
            return Err(AssignmentError::Expired(assignment.expires_at));
        }
        Ok(assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_322_800 + second, 0).unwrap()
    }

    fn assignment(minutes: i64) -> Assignment {
        Assignment {
            id: Uuid::from_u128(1),
            desk: Desk { name: "Example desk".parse().unwrap(), key: key(2).public() },
            request: RequestNumber::from_parts(at(0), 7),
            node: Node { name: "node-01".parse().unwrap(), key: key(1).public() },
            engineer: Engineer { id: "engineer@support.example".parse().unwrap(), key: key(3).public() },
            level_cap: AccessLevel::DiagnosticsRepair,
            issued_at: at(0),
            expires_at: at(minutes * 60),
            relay: Some(RelayHint {
                host: "relay.example".parse().unwrap(),
                entity: "node-01".parse().unwrap(),
            }),
        }
    }

    fn verify(envelope: &Envelope, second: i64) -> Result<Assignment, AssignmentError> {
        Assignment::verify(envelope, &key(2).public(), &key(1).public(), at(second))
    }

    #[test]
    fn the_lifetime_is_bounded_when_issued_and_when_read() {
        for good in [1, 480, 1440] {
            assert!(assignment(good).issue(&key(2)).is_ok(), "{good}");
        }
        for bad in [-1, 0, 1441] {
            let error = assignment(bad).issue(&key(2)).unwrap_err();
            assert_eq!(error.code(), RefusalCode::AssignmentInvalid, "{bad}");
            assert_eq!(AssignmentMinutes::new(bad), Err(AssignmentMinutesError));
        }
        assert_eq!(AssignmentMinutes::default().get(), 480);
    }

    #[test]
    fn sec18_skew_is_allowed_at_the_beginning_and_never_at_the_end() {
        let envelope = assignment(1).issue(&key(2)).unwrap();
        assert_eq!(verify(&envelope, -61), Err(AssignmentError::NotYetValid(at(0))));
        for good in [-60, -59, 0, 59] {
            assert_eq!(verify(&envelope, good), Ok(assignment(1)), "{good}");
        }
        for late in [60, 61, 119, 121] {
            assert_eq!(verify(&envelope, late), Err(AssignmentError::Expired(at(60))), "{late}");
        }
    }

    #[test]
    fn sec18_another_desk_node_or_signer_is_refused() {
        assert_eq!(assignment(1).issue(&key(9)), Err(AssignmentError::OtherDesk));
        let envelope = assignment(1).issue(&key(2)).unwrap();
        let other_node = Assignment::verify(&envelope, &key(2).public(), &key(9).public(), at(0));
        assert_eq!(other_node, Err(AssignmentError::OtherNode(key(1).public())));
        let other_desk =
            Assignment::verify(&envelope, &key(9).public(), &key(1).public(), at(0)).unwrap_err();
        assert_eq!(other_desk.code(), RefusalCode::DeskUnknown);
        let forged = Envelope::sign(&assignment(1), &key(9)).unwrap();
        let forged = Assignment::verify(&forged, &key(9).public(), &key(1).public(), at(0));
        assert_eq!(forged, Err(AssignmentError::OtherDesk), "signed by a pinned desk in the name of another");
    }
}
