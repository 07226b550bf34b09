//! The durable store: one SQLite file on the node that agent, command line and console use at once.
//!
//! * Every change is one transaction that has the only write lock from its first read on (`BEGIN IMMEDIATE`), is
//!   synced before it returns, and is in the node log. Two consents at once are one after the other, and nothing is
//!   lost.
//! * Every row carries a checksum, and the store knows how many rows there must be. What is damaged is never
//!   interpreted: the call fails with [`StoreError::Corrupt`], and nobody is let in. The checksums find damage, not
//!   malice; against other accounts of the machine the file's mode protects (0600, in a directory that nobody else
//!   writes).
//! * The store remembers the latest time it has seen. A wall clock that is earlier than that holds the grant until the
//!   owner gives a fresh consent (SEC10). So does a store that is older than the anchor beside it, or from another
//!   machine.
//!
//! * Room is set aside for what ends something: on a full disk consent is still taken back, runs out and is recorded as
//!   over. What grants more fails there with [`StoreError::NoSpace`]. On a read-only disk the store can still be read.
//!
//! All calls block: for the disk, and for other writers up to [`BUSY_WAIT`].

mod anchor;
mod error;
mod log;
mod reserve;
mod rows;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Now;
use crate::digest::Sha256;
use crate::gate::Facts;
use crate::grant::{Consent, ENDED_LISTED, Grant, GrantError, GrantId, GrantState, listing};
use crate::party::{Grantor, Node, Reason};
use crate::platform;
use crate::request::{Closing, Opening, RequestError, RequestNumber, RequestState, SupportRequest};
use crate::statement::{Envelope, StatementError};
use crate::terms::Terms;

use anchor::Anchor;
pub use error::StoreError;
pub use log::{Act, LogEntry};
use rows::{Table, Tx};

/// How long a call waits for other writers: 10 seconds.
pub const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How many support requests may be submitted or open at once: 32.
pub const REQUESTS_PENDING_MAX: usize = 32;

/// The node's store of grants and support requests.
///
/// One value can be shared between threads; each process opens its own.
///
/// ```
/// use rs_consent::party::{Grantor, Method};
/// use rs_consent::store::ConsentStore;
/// use rs_consent::{AccessLevel, Clock, Consent, GrantState, Minutes, Scope, SystemClock, Terms};
///
/// let dir = tempfile::tempdir()?;
/// let store = ConsentStore::open(dir.path().join("store.sqlite"))?;
/// let owner = Grantor { user: "admin".parse()?, host: "node-01".parse()?, method: Method::Prompt };
/// let now = SystemClock::new().now();
/// let consent = Consent {
///     level: AccessLevel::Diagnostics,
///     minutes: Minutes::default(),
///     terms: Terms::azure_local(),
///     request: None,
///     grantor: owner.clone(),
///     catalog: None,
///     scope: Scope::default(),
///     approval: rs_consent::ApprovalRule::default(),
///     conditions: rs_consent::Conditions::default(),
///     requested: now,
/// };
/// let grant = store.enable(&consent, &now)?;
/// assert_eq!(store.facts(&now)?.grant.map(|g| g.id), Some(grant.id));
/// assert_eq!(store.revoke(&owner, &now)?.map(|g| g.state), Some(GrantState::Revoked));
/// assert_eq!(store.revoke(&owner, &now)?, None, "nothing is granted any more");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ConsentStore {
    path: PathBuf,
    connection: Mutex<Connection>,
    anchor: Anchor,
    identity: Option<(u64, u64)>,
}

/// The clock went back, as the store remembers it; or the store is not the one that was last written here, if `found`
/// is not earlier than `seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// The latest time that had been seen before.
    pub seen: Now,
    /// The earlier time that was then found.
    pub found: Now,
}

impl ConsentStore {
    /// Opens the store at `path`, and makes it, and its directory, if there is none.
    ///
    /// The path must be on a local disk: the write-ahead log does not work on network shares and cluster volumes.
    ///
    /// # Errors
    /// [`StoreError::Exposed`] if other accounts can reach the file or write its directory, [`StoreError::Corrupt`] if
    /// the file is damaged or is no store, [`StoreError::Newer`] if a newer version of this program wrote it, and
    /// [`StoreError::Unavailable`] or [`StoreError::Busy`] if it cannot be opened at all.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let connection = schema::open(&path)?;
        let (anchor, identity) = (Anchor::beside(&path), platform::file_identity(&path));
        Ok(Self { path, connection: Mutex::new(connection), anchor, identity })
    }

    /// Whether another file, or none, lies where this store was opened: it was put back or moved away under its users.
    ///
    /// Unix only; elsewhere an open file cannot be replaced.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        platform::file_identity(&self.path) != self.identity
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a consent: changes the grant that has not ended in place, or makes a new one if there is none.
    ///
    /// Two enables at once are one after the other: the second changes the grant of the first. If the grant is held
    /// because the clock went back, it ends as [`GrantState::Superseded`], a new one is made, and the hold is over: a
    /// fresh consent is the owner's word that the clock is right now.
    ///
    /// # Errors
    /// [`StoreError::Grant`] if no end can be computed, [`StoreError::UnknownRequest`] or [`StoreError::Request`] if
    /// the consent is for a request that is not known here or is closed, and the errors of the disk.
    pub fn enable(&self, consent: &Consent, now: &Now) -> Result<Grant, StoreError> {
        self.consent(consent, now, enabled)
    }

    /// Records a fresh consent that changes what the active grant permits, and not for how long; the engineer asked for
    /// it (E08). The time, the end and the support request of `consent` are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Grant`] if nothing is granted that could be raised, or the grant is held; and the errors of the
    /// disk.
    pub fn raise(&self, consent: &Consent, now: &Now) -> Result<Grant, StoreError> {
        let consent = Consent { request: None, ..consent.clone() };
        self.consent(&consent, now, |tx, consent, now| {
            let active = tx.open_grant()?.filter(|_| tx.state.hold.is_none()).ok_or(GrantError::Ended)?;
            Ok(active.raised(consent, now)?)
        })
    }

    fn consent(
        &self,
        consent: &Consent,
        now: &Now,
        grant: impl FnOnce(&mut Tx<'_>, &Consent, &Now) -> Result<Grant, StoreError>,
    ) -> Result<Grant, StoreError> {
        let grant = self.write_more(|tx| {
            if let Some(number) = consent.request {
                let request = tx.request(number)?;
                if request.state() == RequestState::Closed {
                    return Err(RequestError::Closed(number).into());
                }
            }
            tx.tick(now)?;
            let grant = grant(tx, consent, now)?;
            tx.state.hold = None;
            tx.state.stamp = Some(*now);
            tx.state.current = Some(grant.id);
            tx.keep_terms(&consent.terms)?;
            tx.put(Table::Grants, &grant.id.to_string(), &grant)?;
            let (level, minutes, by) = (grant.level, grant.minutes, grant.grantor.clone());
            tx.log(now, Act::GrantEnabled { grant: grant.id, revision: grant.revision, level, minutes, by })?;
            Ok(grant)
        })?;
        self.settle_log();
        Ok(grant)
    }

    /// Records that a second person approved of the consent that waits for one, as they saw it: grant `id` at `revision`.
    ///
    /// # Errors
    /// [`StoreError::Grant`] as [`Grant::approved`], also if another grant is in its place or it is held; and the errors of
    /// the disk.
    pub fn approve(&self, id: GrantId, revision: u32, by: &Grantor, now: &Now) -> Result<Grant, StoreError> {
        let approved = self.write_more(|tx| {
            tx.tick(now)?;
            let waits = tx.open_grant()?.filter(|_| tx.state.hold.is_none()).ok_or(GrantError::Ended)?;
            if waits.id != id {
                return Err(GrantError::Changed.into());
            }
            let grant = waits.approved(revision, by, now)?;
            tx.put(Table::Grants, &id.to_string(), &grant)?;
            tx.log(now, Act::GrantApproved { grant: id, revision, by: by.clone() })?;
            if grant.state == GrantState::Active {
                tx.log(now, Act::GrantBegun { grant: id })?;
            }
            Ok(grant)
        })?;
        self.settle_log();
        Ok(approved)
    }

    /// Takes the consent back. `None` if nothing was granted, or it had ended already.
    ///
    /// An agent shuts its gate first ([`Gate::shut`](crate::Gate::shut)), so that access ends even if this fails.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn revoke(&self, by: &Grantor, now: &Now) -> Result<Option<Grant>, StoreError> {
        let revoked = self.write(|tx| {
            tx.tick(now)?;
            let Some(grant) = tx.open_grant()? else { return Ok(None) };
            let grant = grant.revoked(now);
            tx.put(Table::Grants, &grant.id.to_string(), &grant)?;
            tx.log(now, Act::GrantRevoked { grant: grant.id, by: by.clone() })?;
            Ok(Some(grant))
        })?;
        self.settle_log();
        Ok(revoked)
    }

    /// What the gate decides on, for the process that runs the gate.
    ///
    /// Records what it finds: a clock that went back, a grant whose time is over, and after a restart of the machine
    /// the grant's end as a time of the present boot. Support requests that are closed are left out.
    ///
    /// # Errors
    /// The errors of the disk; nobody may be let in then.
    pub fn facts(&self, now: &Now) -> Result<Facts, StoreError> {
        self.write(|tx| {
            tx.tick(now)?;
            if let Some(grant) = tx.open_grant()?.filter(|_| tx.state.hold.is_none()) {
                let rebased = grant.rebased(now);
                if rebased != grant {
                    tx.put(Table::Grants, &rebased.id.to_string(), &rebased)?;
                }
            }
            let grant = tx.current()?;
            let held = tx.state.hold.is_some() && grant.as_ref().is_some_and(|g| g.state.is_open());
            let pending = |request: &SupportRequest| request.state() != RequestState::Closed;
            let requests = tx.all::<SupportRequest>(Table::Requests)?.into_iter().filter(pending).collect();
            Ok(Facts { grant, requests, held, revision: tx.state.revision + u64::from(tx.changed()) })
        })
    }

    /// Makes the present time durable, so that a later return to before it is noticed. Says whether the facts changed:
    /// a clock that went back, or a grant whose time was over.
    ///
    /// An agent does this about every 30 seconds; every other change does it too.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn stamp(&self, now: &Now) -> Result<bool, StoreError> {
        self.write(|tx| {
            tx.tick(now)?;
            Ok(tx.changed())
        })
    }

    /// Records that the active grant ends within `ahead`, once for each end: not again after a restart, not for a grant
    /// that has ended or is held, and again only where a further consent moved the end. Says whether it did.
    ///
    /// ```
    /// # use rs_consent::party::{Grantor, Method};
    /// # use rs_consent::store::ConsentStore;
    /// # use rs_consent::{AccessLevel, Clock, Consent, ManualClock, Minutes, Scope, Terms};
    /// use std::time::Duration;
    /// # let dir = tempfile::tempdir()?;
    /// # let store = ConsentStore::open(dir.path().join("store.sqlite"))?;
    /// # let clock = ManualClock::new("2026-01-02T03:04:05Z".parse()?);
    /// # let owner = Grantor { user: "admin".parse()?, host: "node-01".parse()?, method: Method::Prompt };
    /// # let consent = Consent {
    /// #     level: AccessLevel::Diagnostics, minutes: Minutes::MIN, terms: Terms::azure_local(), request: None,
    /// #     grantor: owner, catalog: None, scope: Scope::default(),
    /// #     approval: rs_consent::ApprovalRule::default(), conditions: rs_consent::Conditions::default(),
    /// #     requested: clock.now(),
    /// # };
    /// store.enable(&consent, &clock.now())?; // for 60 minutes
    /// let quarter = Duration::from_secs(15 * 60);
    /// assert!(!store.tell_of_end(quarter, &clock.now())?);
    /// clock.advance(Duration::from_secs(45 * 60));
    /// assert!(store.tell_of_end(quarter, &clock.now())?);
    /// assert!(!store.tell_of_end(quarter, &clock.now())?, "once");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of the disk; [`StoreError::NoSpace`] where only the room is left that ends have.
    pub fn tell_of_end(&self, ahead: Duration, now: &Now) -> Result<bool, StoreError> {
        self.write_more(|tx| {
            tx.tick(now)?;
            let active = |grant: &Grant| grant.state == GrantState::Active && tx.state.hold.is_none();
            let Some(grant) = tx.open_grant()?.filter(active) else { return Ok(false) };
            // A grant from an earlier start of the machine counts from now on, by the clock that is left.
            let grant = grant.rebased(now);
            let end = (grant.id, grant.deadline.wall);
            if grant.remaining(now) > ahead || tx.state.end_told == Some(end) {
                return Ok(false);
            }
            tx.state.end_told = Some(end);
            tx.log(now, Act::GrantExpiring { grant: grant.id, expires_at: grant.deadline.wall })?;
            Ok(true)
        })
    }

    /// Holds the grant because somebody else, usually the gate, saw the clock go back.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn hold(&self, now: &Now) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.tick(now)?;
            let seen = tx.state.stamp.unwrap_or(*now);
            tx.hold(Hold { seen, found: *now })
        })
    }

    /// The hold, if the clock went back and no fresh consent was given since.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn held(&self) -> Result<Option<Hold>, StoreError> {
        self.read(|tx| Ok(tx.state.hold))
    }

    /// Grows with every change of grants, requests, holds and log: cheap to ask, to find out whether facts are to be
    /// loaded anew.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn revision(&self) -> Result<u64, StoreError> {
        self.read(|tx| Ok(tx.state.revision))
    }

    /// The grant that is active or pending; with `include_ended` also those that ended at most 30 days ago, each with its state. The
    /// newest first.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn grants(&self, include_ended: bool, now: &Now) -> Result<Vec<Grant>, StoreError> {
        self.grants_within(include_ended, ENDED_LISTED, now)
    }

    /// As [`ConsentStore::grants`], with another window for ended grants; ended grants are kept, only not listed.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn grants_within(
        &self,
        include_ended: bool,
        window: TimeDelta,
        now: &Now,
    ) -> Result<Vec<Grant>, StoreError> {
        let all = self.read(|tx| tx.all(Table::Grants))?;
        Ok(listing(&all, include_ended, window, now))
    }

    /// One grant, as it was last written, however long ago it ended.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        self.read(|tx| tx.get(Table::Grants, &id.to_string()))
    }

    /// The terms with this hash, if some grant stands on them.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn terms(&self, sha256: &Sha256) -> Result<Option<Terms>, StoreError> {
        self.read(|tx| tx.terms(sha256))
    }

    /// Makes a new support request.
    ///
    /// # Errors
    /// [`StoreError::TooManyRequests`] beyond [`REQUESTS_PENDING_MAX`], and the errors of the disk.
    pub fn submit_request(
        &self,
        reason: Reason,
        node: Node,
        now: &Now,
    ) -> Result<SupportRequest, StoreError> {
        self.write_more(|tx| {
            let known = tx.all::<SupportRequest>(Table::Requests)?;
            if known.iter().filter(|request| request.state() != RequestState::Closed).count()
                >= REQUESTS_PENDING_MAX
            {
                return Err(StoreError::TooManyRequests);
            }
            tx.tick(now)?;
            let number = std::iter::repeat_with(|| RequestNumber::generate(now.wall))
                .find(|number| known.iter().all(|request| request.number != *number))
                .ok_or(StoreError::TooManyRequests)?;
            let request = SupportRequest::submit(number, reason, node, now.wall);
            tx.put(Table::Requests, &number.to_string(), &request)?;
            tx.log(now, Act::RequestSubmitted { request: number })?;
            Ok(request)
        })
    }

    /// Opens a request after the operator has compared the desk's name and fingerprint: pins the desk's key for it.
    ///
    /// # Errors
    /// [`StoreError::UnknownRequest`], [`StoreError::Request`] as [`SupportRequest::confirm`], and the errors of the
    /// disk.
    pub fn confirm_opening(&self, opening: &Opening, now: &Now) -> Result<SupportRequest, StoreError> {
        self.write_more(|tx| {
            let before = tx.request(opening.number)?;
            let mut request = before.clone();
            request.confirm(opening, now.wall)?;
            if request != before {
                tx.tick(now)?;
                tx.put(Table::Requests, &request.number.to_string(), &request)?;
                let (request, desk) = (request.number, opening.desk.clone());
                tx.log(now, Act::RequestOpened { request, desk })?;
            }
            Ok(request)
        })
    }

    /// Closes a request for good. `None` if it was closed already.
    ///
    /// # Errors
    /// [`StoreError::UnknownRequest`], and the errors of the disk.
    pub fn close_request(
        &self,
        number: RequestNumber,
        now: &Now,
    ) -> Result<Option<SupportRequest>, StoreError> {
        self.close(number, now, |request| Ok(request.close(crate::request::ClosedBy::Operator, now.wall)))
    }

    /// Closes a request because its desk says so. `None` if it was closed already.
    ///
    /// # Errors
    /// [`StoreError::UnknownRequest`], [`StoreError::Request`] as [`SupportRequest::close_by_desk`], and the errors of
    /// the disk.
    pub fn close_request_by_desk(
        &self,
        closing: &Envelope,
        now: &Now,
    ) -> Result<Option<SupportRequest>, StoreError> {
        let signer = closing.claimed_key();
        let trusted =
            |r: &SupportRequest| r.confirmed.as_ref().is_some_and(|confirmed| confirmed.desk.key == signer);
        if !self.requests()?.iter().any(trusted) {
            return Err(RequestError::Statement(StatementError::UntrustedKey(signer)).into());
        }
        let number = closing.open::<Closing>(&[signer]).map_err(RequestError::Statement)?.number;
        self.close(number, now, |request| request.close_by_desk(closing, now.wall))
    }

    /// All requests, closed ones too; the newest first, then by number.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn requests(&self) -> Result<Vec<SupportRequest>, StoreError> {
        let mut requests: Vec<SupportRequest> = self.read(|tx| tx.all(Table::Requests))?;
        requests.sort_by_key(|request| (std::cmp::Reverse(request.created_at), request.number));
        Ok(requests)
    }

    /// One request.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn request(&self, number: RequestNumber) -> Result<Option<SupportRequest>, StoreError> {
        self.read(|tx| tx.get(Table::Requests, &number.to_string()))
    }

    /// Adds an act to the node log that happened elsewhere, such as a start of the agent or a refused engineer.
    ///
    /// Each call is a synced write: whoever notes what strangers can cause, limits how often.
    ///
    /// # Errors
    /// The errors of the disk.
    pub fn note(&self, act: Act, now: &Now) -> Result<(), StoreError> {
        let entry = |tx: &mut Tx<'_>| {
            tx.tick(now)?;
            tx.log(now, act.clone())
        };
        match act {
            Act::AgentStarted | Act::AgentStopped => self.write(entry),
            _ => self.write_more(entry),
        }
    }

    /// The node log after entry number `after`, at most `limit` entries, with their chain checked.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if an entry is missing or does not follow from the one before, and the errors of the
    /// disk.
    pub fn log(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.read(|tx| tx.read_log(after, limit))
    }

    fn close(
        &self,
        number: RequestNumber,
        now: &Now,
        close: impl FnOnce(&mut SupportRequest) -> Result<bool, RequestError>,
    ) -> Result<Option<SupportRequest>, StoreError> {
        let closed = self.write(|tx| {
            let mut request = tx.request(number)?;
            if !close(&mut request)? {
                return Ok(None);
            }
            tx.tick(now)?;
            tx.put(Table::Requests, &number.to_string(), &request)?;
            let by = request.closed.as_ref().map_or(crate::request::ClosedBy::Operator, |closed| closed.by);
            tx.log(now, Act::RequestClosed { request: number, by })?;
            Ok(Some(request))
        })?;
        self.settle_log();
        Ok(closed)
    }

    /// As [`ConsentStore::write`], for what can wait until there is room: it leaves what is set aside as it is.
    fn write_more<R>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let room =
            reserve::for_more(&self.connection.lock().unwrap_or_else(PoisonError::into_inner), &self.path);
        room.map_err(|error| error.at(&self.path))?;
        self.write(work)
    }

    fn write<R>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.transaction(TransactionBehavior::Immediate, |mut tx| {
            tx.doubt(self.anchor.doubts(tx.state.revision));
            let result = work(&mut tx)?;
            if let Some(revision) = tx.commit()? {
                self.anchor.keep(revision);
            }
            Ok(result)
        })
    }

    fn read<R>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.transaction(TransactionBehavior::Deferred, |mut tx| work(&mut tx))
    }

    fn transaction<R>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(Tx<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let transaction = connection.transaction_with_behavior(behavior)?;
            work(Tx::begin(transaction)?)
        };
        let result: Result<R, StoreError> = begin();
        result.map_err(|error| error.at(&self.path))
    }

    /// Moves what was written out of the write-ahead log, if nobody reads just now.
    ///
    /// SQLite trusts a damaged log only up to the damage and silently forgets the rest, which could bring a revoked
    /// grant back. Once the main file has it, damage is found. Not being able to do this now is no error.
    fn settle_log(&self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        schema::checkpoint(&connection, &self.path);
    }
}

/// The grant that `consent` makes: the active one, changed, or a new one.
fn enabled(tx: &mut Tx<'_>, consent: &Consent, now: &Now) -> Result<Grant, StoreError> {
    let fresh = || Grant::new(GrantId::new(Uuid::new_v4()), consent, now);
    let Some(active) = tx.open_grant()? else { return Ok(fresh()?) };
    if tx.state.hold.is_none() {
        return Ok(active.renewed(consent, now)?);
    }
    let old = active.superseded(now);
    let grant = fresh()?;
    tx.put(Table::Grants, &old.id.to_string(), &old)?;
    tx.log(now, Act::GrantSuperseded { grant: old.id, by: grant.id })?;
    Ok(grant)
}
