//! Support requests: the numbered reason without which nobody gets in.
//!
//! ```text
//! operator: submit  ── Submission, signed by the node ──►  desk
//! operator: confirm ◄── Opening, signed by the desk ─────  desk: open
//! operator: close, or Closing, signed by the desk ◄──────  desk: close
//! ```
//!
//! The opening carries the desk's key. The operator sees the desk's name and the fingerprint of its key and confirms
//! both; from then on that key, and no other, assigns engineers for that request.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::keys::PublicKey;
use crate::party::{Desk, Node, Reason};
use crate::statement::{Envelope, Statement, StatementError};

/// The number of a support request: 16 digits, the day it was made (`yymmdd`) and ten random digits.
///
/// ```
/// use rs_consent::RequestNumber;
///
/// let number = RequestNumber::from_parts("2026-01-02T03:04:05Z".parse()?, 1234567890);
/// assert_eq!(number.to_string(), "2601021234567890");
/// assert!("2613021234567890".parse::<RequestNumber>().is_err(), "there is no month 13");
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestNumber(u64);

/// A text that is no request number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a support request number: it must have 16 digits, the first six a day as yymmdd")]
pub struct RequestNumberError;

const RANDOM_DIGITS: u64 = 10_000_000_000;

impl RequestNumber {
    /// The number of a request made on the day of `at` (UTC), with the last ten digits of `random`.
    #[must_use]
    pub fn from_parts(at: DateTime<Utc>, random: u64) -> Self {
        use chrono::Datelike as _;
        let year = u64::from(at.year().rem_euclid(100).unsigned_abs());
        let day = (year * 100 + u64::from(at.month())) * 100 + u64::from(at.day());
        Self(day * RANDOM_DIGITS + random % RANDOM_DIGITS)
    }

    /// A new number for a request made at `at`.
    #[cfg(feature = "clock")]
    #[must_use]
    pub fn generate(at: DateTime<Utc>) -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self::from_parts(at, high ^ low)
    }
}

impl fmt::Display for RequestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016}", self.0))
    }
}

impl FromStr for RequestNumber {
    type Err = RequestNumberError;

    fn from_str(text: &str) -> Result<Self, RequestNumberError> {
        let number = match text.len() {
            16 if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse::<u64>().map_err(|_| RequestNumberError)?
            }
            _ => return Err(RequestNumberError),
        };
        let day = u32::try_from(number / RANDOM_DIGITS).map_err(|_| RequestNumberError)?;
        let year = i32::try_from(day / 10_000).map_err(|_| RequestNumberError)?;
        let exists = NaiveDate::from_ymd_opt(2000 + year, day / 100 % 100, day % 100).is_some();
        if exists { Ok(Self(number)) } else { Err(RequestNumberError) }
    }
}

impl TryFrom<String> for RequestNumber {
    type Error = RequestNumberError;

    fn try_from(text: String) -> Result<Self, RequestNumberError> {
        text.parse()
    }
}

impl From<RequestNumber> for String {
    fn from(number: RequestNumber) -> Self {
        number.to_string()
    }
}

/// What the node says to the desk: we ask for support. Signed by the node's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    /// The request.
    pub number: RequestNumber,
    /// Why support is asked for.
    pub reason: Reason,
    /// The node that asks.
    pub node: Node,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
}

impl Statement for Submission {
    const KIND: &'static str = "request";
}

impl Submission {
    /// Reads a submission; proves that the holder of the node key in it made it.
    ///
    /// # Errors
    /// As [`Envelope::open_self_signed`].
    pub fn verify(envelope: &Envelope) -> Result<Self, StatementError> {
        envelope.open_self_signed(|submission: &Self| submission.node.key)
    }
}

/// What the desk says to the node: we took the request. Signed by the desk's key, which it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    /// The request.
    pub number: RequestNumber,
    /// The node that asked.
    pub node_key: PublicKey,
    /// The desk that took it.
    pub desk: Desk,
    /// When it was taken.
    pub opened_at: DateTime<Utc>,
}

impl Statement for Opening {
    const KIND: &'static str = "opening";
}

impl Opening {
    /// Reads an opening for the node `node_key`; proves that the holder of the desk key in it made it.
    ///
    /// Who that is, only a person can decide: show `desk.name` and `desk.key.fingerprint()` and let the operator
    /// compare before [`SupportRequest::confirm`].
    ///
    /// # Errors
    /// [`RequestError::Statement`] as [`Envelope::open_self_signed`], [`RequestError::OtherNode`].
    pub fn verify(envelope: &Envelope, node_key: &PublicKey) -> Result<Self, RequestError> {
        let opening = envelope.open_self_signed(|opening: &Self| opening.desk.key)?;
        if opening.node_key == *node_key { Ok(opening) } else { Err(RequestError::OtherNode) }
    }
}

/// What the desk says to the node: the request is done. Signed by the desk's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Closing {
    /// The request.
    pub number: RequestNumber,
    /// The node that asked.
    pub node_key: PublicKey,
    /// When it was closed.
    pub closed_at: DateTime<Utc>,
}

impl Statement for Closing {
    const KIND: &'static str = "closing";
}

/// Where a support request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RequestState {
    /// Asked for; no desk is confirmed.
    Submitted,
    /// A desk is confirmed; engineers can be assigned.
    Open,
    /// Done, for good.
    Closed,
}

impl fmt::Display for RequestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Submitted => "Submitted",
            Self::Open => "Open",
            Self::Closed => "Closed",
        })
    }
}

/// A support request as the node keeps it.
///
/// ```
/// use rs_consent::party::{Desk, Node};
/// use rs_consent::request::{Opening, RequestState};
/// use rs_consent::{Envelope, RequestNumber, SigningKey, SupportRequest};
///
/// let [node_key, desk_key] = [1, 2].map(|n| SigningKey::from_seed([n; 32]));
/// let now = "2026-01-02T03:04:05Z".parse()?;
/// let node = Node { name: "node-01".parse()?, key: node_key.public() };
/// let mut request = SupportRequest::submit(RequestNumber::from_parts(now, 1), "disk is slow".parse()?, node, now);
///
/// // At the desk.
/// let desk = Desk { name: "Example desk".parse()?, key: desk_key.public() };
/// let opening = Opening { number: request.number, node_key: node_key.public(), desk, opened_at: now };
/// let sent = Envelope::sign(&opening, &desk_key)?;
///
/// // At the node, after the operator has compared name and fingerprint.
/// request.confirm(&Opening::verify(&sent, &node_key.public())?, now)?;
/// assert_eq!(request.state(), RequestState::Open);
/// assert_eq!(request.pinned_desk().map(|desk| desk.key), Some(desk_key.public()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SupportRequest {
    /// Its number.
    pub number: RequestNumber,
    /// Why support is asked for.
    pub reason: Reason,
    /// The node that asked.
    pub node: Node,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The desk that the operator confirmed, if any.
    pub confirmed: Option<Confirmed>,
    /// When and by whom it was closed, if it was.
    pub closed: Option<Closed>,
}

/// A desk's opening that the operator confirmed: from then on the desk's key is pinned for this request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmed {
    /// The desk.
    pub desk: Desk,
    /// When the desk took the request.
    pub opened_at: DateTime<Utc>,
    /// When the operator confirmed it.
    pub confirmed_at: DateTime<Utc>,
}

/// The end of a support request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Closed {
    /// When the node learned of it.
    pub at: DateTime<Utc>,
    /// Who closed it.
    pub by: ClosedBy,
}

/// Who closed a support request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedBy {
    /// The owner of the node.
    Operator,
    /// The desk, by a signed [`Closing`].
    Desk,
}

/// Why a support request was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The desk's statement was not accepted.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The statement is for another node.
    #[error("the desk's statement is for another node: send it to the node that asked")]
    OtherNode,
    /// The statement is for another request.
    #[error("the desk's statement is for another request: expected {expected}, found {found}")]
    OtherRequest {
        /// The request at hand.
        expected: RequestNumber,
        /// The request in the statement.
        found: RequestNumber,
    },
    /// A desk is confirmed already, and it is another one.
    #[error("request {0} is open already, with another desk: close it and submit a new one")]
    OtherDesk(RequestNumber),
    /// No desk is confirmed yet.
    #[error("request {0} is not open: confirm the desk's opening first")]
    NotOpen(RequestNumber),
    /// The request is closed.
    #[error("request {0} is closed: submit a new one")]
    Closed(RequestNumber),
}

impl SupportRequest {
    /// A new request, to be sent to a desk.
    #[must_use]
    pub const fn submit(number: RequestNumber, reason: Reason, node: Node, at: DateTime<Utc>) -> Self {
        Self { number, reason, node, created_at: at, confirmed: None, closed: None }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> RequestState {
        match (&self.closed, &self.confirmed) {
            (Some(_), _) => RequestState::Closed,
            (None, Some(_)) => RequestState::Open,
            (None, None) => RequestState::Submitted,
        }
    }

    /// The desk's key, while the request is open.
    #[must_use]
    pub fn pinned_desk(&self) -> Option<&Desk> {
        self.confirmed.as_ref().filter(|_| self.closed.is_none()).map(|confirmed| &confirmed.desk)
    }

    /// What the node signs and sends to the desk.
    #[must_use]
    pub fn submission(&self) -> Submission {
        Submission {
            number: self.number,
            reason: self.reason.clone(),
            node: self.node.clone(),
            created_at: self.created_at,
        }
    }

    /// Opens the request: the operator has compared the desk's name and fingerprint. Doing it again with the same desk
    /// changes nothing.
    ///
    /// # Errors
    /// [`RequestError::OtherRequest`], [`RequestError::OtherNode`], [`RequestError::Closed`],
    /// [`RequestError::OtherDesk`].
    pub fn confirm(&mut self, opening: &Opening, at: DateTime<Utc>) -> Result<(), RequestError> {
        self.same(opening.number, &opening.node_key)?;
        if self.closed.is_some() {
            return Err(RequestError::Closed(self.number));
        }
        match &self.confirmed {
            Some(confirmed) if confirmed.desk.key == opening.desk.key => Ok(()),
            Some(_) => Err(RequestError::OtherDesk(self.number)),
            None => {
                let (desk, opened_at) = (opening.desk.clone(), opening.opened_at);
                self.confirmed = Some(Confirmed { desk, opened_at, confirmed_at: at });
                Ok(())
            }
        }
    }

    /// Closes the request for good. Says whether it was not closed before.
    pub fn close(&mut self, by: ClosedBy, at: DateTime<Utc>) -> bool {
        let changed = self.closed.is_none();
        self.closed.get_or_insert(Closed { at, by });
        changed
    }

    /// Closes the request because its desk says so. Says whether it was not closed before.
    ///
    /// # Errors
    /// [`RequestError::NotOpen`] if no desk was ever confirmed, [`RequestError::Statement`] if the confirmed desk did
    /// not sign `closing`, [`RequestError::OtherRequest`], [`RequestError::OtherNode`].
    pub fn close_by_desk(&mut self, closing: &Envelope, at: DateTime<Utc>) -> Result<bool, RequestError> {
        let desk = &self.confirmed.as_ref().ok_or(RequestError::NotOpen(self.number))?.desk;
        let closing: Closing = closing.open(&[desk.key])?;
        self.same(closing.number, &closing.node_key)?;
        Ok(self.close(ClosedBy::Desk, at))
    }

    fn same(&self, number: RequestNumber, node_key: &PublicKey) -> Result<(), RequestError> {
        if *node_key != self.node.key {
            return Err(RequestError::OtherNode);
        }
        if number != self.number {
            return Err(RequestError::OtherRequest { expected: self.number, found: number });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_322_800 + minute * 60, 0).unwrap()
    }

    fn node() -> Node {
        Node { name: "node-01".parse().unwrap(), key: key(1).public() }
    }

    fn request() -> SupportRequest {
        let number = RequestNumber::from_parts(at(0), 7);
        SupportRequest::submit(number, "disk is slow".parse().unwrap(), node(), at(0))
    }

    fn opening(desk: u8) -> Opening {
        let desk = Desk { name: "Example desk".parse().unwrap(), key: key(desk).public() };
        Opening { number: request().number, node_key: node().key, desk, opened_at: at(1) }
    }

    fn closing(desk: u8) -> Envelope {
        let closing = Closing { number: request().number, node_key: node().key, closed_at: at(5) };
        Envelope::sign(&closing, &key(desk)).unwrap()
    }

    #[test]
    fn numbers_have_a_day_and_ten_digits() {
        assert_eq!(RequestNumber::from_parts(at(0), 7).to_string(), "2601020000000007");
        assert_eq!(RequestNumber::from_parts(at(0), u64::MAX).to_string().len(), 16);
        for bad in [
            "",
            "260102000000000",
            "26010200000000077",
            "260102000000000x",
            "2602300000000000",
            "+260102000000007",
        ] {
            assert_eq!(bad.parse::<RequestNumber>(), Err(RequestNumberError), "{bad}");
        }
    }

    #[test]
    fn submission_opening_and_closing_lead_through_all_states() {
        let mut request = request();
        let sent = Envelope::sign(&request.submission(), &key(1)).unwrap();
        assert_eq!(Submission::verify(&sent), Ok(request.submission()));
        assert_eq!((request.state(), request.pinned_desk()), (RequestState::Submitted, None));

        let answer = Envelope::sign(&opening(2), &key(2)).unwrap();
        let read = Opening::verify(&answer, &node().key).unwrap();
        request.confirm(&read, at(2)).unwrap();
        assert_eq!((request.state(), request.pinned_desk()), (RequestState::Open, Some(&read.desk)));
        request.confirm(&read, at(3)).unwrap();
        assert_eq!(
            request.confirmed.as_ref().unwrap().confirmed_at,
            at(2),
            "the second time changes nothing"
        );

        assert_eq!(request.close_by_desk(&closing(2), at(6)), Ok(true));
        assert_eq!(request.close_by_desk(&closing(2), at(7)), Ok(false));
        assert_eq!((request.state(), request.pinned_desk()), (RequestState::Closed, None));
        assert_eq!(request.closed, Some(Closed { at: at(6), by: ClosedBy::Desk }));
        assert_eq!(request.confirm(&read, at(8)), Err(RequestError::Closed(request.number)));
    }

    #[test]
    fn a_statement_of_somebody_else_changes_nothing() {
        let forged = Envelope::sign(&request().submission(), &key(9)).unwrap();
        assert_eq!(Submission::verify(&forged), Err(StatementError::UntrustedKey(key(9).public())));
        let forged = Envelope::sign(&opening(2), &key(9)).unwrap();
        assert!(matches!(Opening::verify(&forged, &node().key), Err(RequestError::Statement(_))));
        let other = Envelope::sign(&opening(2), &key(2)).unwrap();
        assert_eq!(Opening::verify(&other, &key(9).public()), Err(RequestError::OtherNode));

        let mut request = request();
        assert_eq!(request.close_by_desk(&closing(2), at(6)), Err(RequestError::NotOpen(request.number)));
        let found = RequestNumber::from_parts(at(0), 8);
        let wrong = Opening { number: found, ..opening(2) };
        let expected = request.number;
        assert_eq!(request.confirm(&wrong, at(2)), Err(RequestError::OtherRequest { expected, found }));
        request.confirm(&opening(2), at(2)).unwrap();
        assert_eq!(request.confirm(&opening(3), at(3)), Err(RequestError::OtherDesk(request.number)));
        assert!(request.close_by_desk(&closing(3), at(6)).is_err());
        assert_eq!(request.state(), RequestState::Open);
    }

    proptest! {
        #[test]
        fn numbers_go_round(second in 946_684_800_i64..4_102_444_800, random: u64) {
            let number = RequestNumber::from_parts(DateTime::from_timestamp(second, 0).unwrap(), random);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
        }
    }
}
