//! The gate: the one check in front of every session, every input, every start of an operation and every release of
//! output.
//!
//! Facts go in; yes or no comes out, decided by one private function without clock or I/O. The gate keeps a
//! generation number that grows with every change, and calls back whoever subscribed, so that running work is told at
//! once instead of asking again and again.
//!
//! Three rules make it safe to share between threads and to feed from several processes:
//!
//! * Facts that are older than those already loaded are ignored.
//! * [`Gate::shut`] stays until [`Gate::resume`]; loading facts does not undo it.
//! * What runs inside [`Gate::pass`] has finished before a change of the gate returns. After a revoke has returned,
//!   nothing that passed before it can still be about to start (SEC7).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::approval::ApprovalRule;
use crate::assignment::{Assignment, AssignmentError};
use crate::clock::{Deadline, Now};
use crate::code::{EndCause, RefusalCode};
use crate::grant::{Grant, GrantId, GrantState};
use crate::keys::PublicKey;
use crate::level::AccessLevel;
use crate::party::Reason;
use crate::request::{RequestNumber, SupportRequest};
use crate::statement::Envelope;

/// How many sessions may be open at once, unless said otherwise.
pub const SESSIONS_MAX_DEFAULT: usize = 2;

/// What the gate decides on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The newest grant, also if it has ended.
    pub grant: Option<Grant>,
    /// The support requests that the node knows; those that are open count.
    pub requests: Vec<SupportRequest>,
    /// Whether the clock went back: the grant then permits nothing until the owner gives a fresh consent.
    pub held: bool,
    /// Grows with every change at the source. The gate ignores facts with a lower number than it has.
    pub revision: u64,
}

/// What an engineer shows at the start of a session.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// The key whose possession the engineer has proved on this connection.
    pub engineer_key: Option<PublicKey>,
    /// The desk's assignment.
    pub assignment: Option<Envelope>,
}

/// Nobody was let in, for the reason `code`.
///
/// The code is for both sides; the cause, if there is one, is for the owner's log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused ({code}): {}", code.explanation())]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    #[source]
    cause: Option<AssignmentError>,
}

/// The gate. Clones are the same gate.
///
/// ```
/// use rs_consent::{Admission, Clock, EndCause, Facts, Gate, ManualClock, SigningKey};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let clock = ManualClock::new("2026-01-02T03:04:05Z".parse()?);
/// let gate = Gate::new(SigningKey::from_seed([1; 32]).public());
/// let calls = Arc::new(AtomicUsize::new(0));
/// let counter = Arc::clone(&calls);
/// let subscription = gate.subscribe(Arc::new(move || drop(counter.fetch_add(1, Ordering::SeqCst))));
///
/// gate.load(Facts::default());
/// gate.shut(EndCause::AgentStopped);
/// assert_eq!(calls.load(Ordering::SeqCst), 2, "every change is told at once");
/// let refusal = gate.admit(&Admission::default(), &clock.now()).unwrap_err();
/// assert_eq!(refusal.code.as_str(), "gate-shut");
/// # drop(subscription);
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    node_key: PublicKey,
    sessions_max: usize,
    sessions: Arc<AtomicUsize>,
    admissions: Mutex<()>,
    generation: AtomicU64,
    state: RwLock<State>,
    subscribers: Mutex<Subscribers>,
}

#[derive(Default)]
struct State {
    facts: Facts,
    shut: Option<EndCause>,
    /// Set when the gate itself saw the clock go back: the act of consent that is held.
    held: Option<Act>,
    /// The highest times seen since the last act of consent.
    seen: Mutex<Option<Now>>,
}

/// One act of consent: the grant, and which consent for it, counted from 1.
type Act = Option<(GrantId, u32)>;

#[derive(Default)]
struct Subscribers {
    next: u64,
    callbacks: BTreeMap<u64, Callback>,
}

type Callback = Arc<dyn Fn() + Send + Sync>;

/// The right to work in one session, while the gate confirms it. Clones are the same right.
///
/// It holds one of the node's places for sessions until the last clone is dropped.
#[derive(Clone)]
pub struct Permit {
    ticket: Arc<Ticket>,
    gate: Arc<Inner>,
}

/// What was found at admission.
struct Ticket {
    /// As it was at admission.
    grant: Grant,
    /// As it was at admission.
    reason: Reason,
    level: AccessLevel,
    assignment: Assignment,
    assignment_deadline: Deadline,
    _place: Arc<Place>,
}

/// One of the node's places for sessions.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A subscription to changes of a gate; dropping it ends it.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    gate: Weak<Inner>,
    number: u64,
}

impl Gate {
    /// The gate of the node `node_key`, with [`SESSIONS_MAX_DEFAULT`] places. It lets nobody in until facts are loaded.
    #[must_use]
    pub fn new(node_key: PublicKey) -> Self {
        Self::with_sessions_max(node_key, SESSIONS_MAX_DEFAULT)
    }

    /// The gate of the node `node_key`, with `sessions_max` places.
    #[must_use]
    pub fn with_sessions_max(node_key: PublicKey, sessions_max: usize) -> Self {
        Self(Arc::new(Inner {
            node_key,
            sessions_max,
            sessions: Arc::default(),
            admissions: Mutex::default(),
            generation: AtomicU64::new(0),
            state: RwLock::default(),
            subscribers: Mutex::default(),
        }))
    }

    /// Puts new facts in place of the old ones, and says whether it did: facts with a lower revision are ignored.
    ///
    /// A gate that was shut stays shut.
    pub fn load(&self, facts: Facts) -> bool {
        self.0.change(|state| state.load(facts))
    }

    /// Closes the gate at once, whatever the facts say: nobody gets in, and all sessions end with `cause`.
    ///
    /// Needs no store, network or disk (SEC11). Stays until [`Gate::resume`].
    pub fn shut(&self, cause: EndCause) {
        self.0.change(|state| {
            state.shut = Some(cause);
            true
        });
    }

    /// Ends a [`Gate::shut`] and loads `facts`. Says whether the facts were newer; if not, the gate opens on those it
    /// has.
    pub fn resume(&self, facts: Facts) -> bool {
        let mut newer = false;
        self.0.change(|state| {
            newer = state.load(facts);
            state.shut = None;
            true
        });
        newer
    }

    /// Lets an engineer in, if all pieces are there: a grant in force, an open request with a confirmed desk, that
    /// desk's assignment for this node and request, and the proven key of the engineer it names.
    ///
    /// # Errors
    /// [`Refusal`] with the code of the first piece that is missing, in this order: gate, hold, grant, request,
    /// assignment, engineer's key, place.
    pub fn admit(&self, admission: &Admission, now: &Now) -> Result<Permit, Refusal> {
        self.let_in(admission, None, now)
    }

    /// Lets the engineer of `permit` go on under a newer assignment, in the place that the session has already.
    ///
    /// # Errors
    /// As [`Gate::admit`]; [`RefusalCode::AssignmentOtherRequest`] also when the new assignment is for another request than
    /// the session. The old permit stays what it was.
    pub fn renew(&self, permit: &Permit, assignment: Envelope, now: &Now) -> Result<Permit, Refusal> {
        let engineer_key = Some(permit.assignment().engineer.key);
        let renewed =
            self.let_in(&Admission { engineer_key, assignment: Some(assignment) }, Some(permit), now)?;
        if renewed.request() != permit.request() {
            return Err(Refusal { code: RefusalCode::AssignmentOtherRequest, cause: None });
        }
        Ok(renewed)
    }

    fn let_in(&self, admission: &Admission, renews: Option<&Permit>, now: &Now) -> Result<Permit, Refusal> {
        let _one_at_a_time = lock(&self.0.admissions);
        self.0.observe(now);
        let state = self.0.read();
        let mut view = self.0.view(&state);
        view.places_free += usize::from(renews.is_some());
        let standing = decide(&view, &Ask::Admit(admission), now)?;
        let place =
            renews.map_or_else(|| Arc::new(self.0.take_place()), |permit| Arc::clone(&permit.ticket._place));
        let ticket = Ticket {
            grant: standing.grant.clone(),
            reason: standing.reason.clone(),
            level: renews.map_or(standing.level, |permit| standing.level.min(permit.level())),
            assignment_deadline: Deadline::at(standing.assignment.expires_at, now),
            assignment: standing.assignment.into_owned(),
            _place: place,
        };
        Ok(Permit { ticket: Arc::new(ticket), gate: Arc::clone(&self.0) })
    }

    /// Whether work may go on, and at which level: the level fixed at admission.
    ///
    /// Between this answer and what the caller then does, the gate can change. Where that matters, at the start of
    /// work and at the release of output, use [`Gate::pass`].
    ///
    /// # Errors
    /// The cause with which the session has to end.
    pub fn check(&self, permit: &Permit, now: &Now) -> Result<AccessLevel, EndCause> {
        self.pass(permit, now, |level| level)
    }

    /// Does `act` if work may go on, and holds the gate still until it is done: [`Gate::load`] and [`Gate::shut`] wait
    /// for it. So `act` must be short, such as starting a process or handing bytes to a socket that does not block, and
    /// it must not call this gate.
    ///
    /// # Errors
    /// The cause with which the session has to end; `act` was not called.
    pub fn pass<R>(
        &self,
        permit: &Permit,
        now: &Now,
        act: impl FnOnce(AccessLevel) -> R,
    ) -> Result<R, EndCause> {
        self.0.observe(now);
        let state = self.0.read();
        let standing = decide(&self.0.view(&state), &Ask::Check(&permit.ticket), now)?;
        Ok(act(standing.level))
    }

    /// Grows with every change: loaded facts, a shut, a resume, a clock that went back.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    /// Whether the grant is held because the clock went back.
    ///
    /// If the gate found that itself, the agent should make it durable in the store.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let state = self.0.read();
        state.held.is_some() || state.facts.held
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.load(Ordering::SeqCst)
    }

    /// Calls `callback` after each change, in the thread that made it. The callback should wake whoever then checks; it
    /// may call the gate.
    ///
    /// A call that is under way when the subscription is dropped still finishes.
    pub fn subscribe(&self, callback: Arc<dyn Fn() + Send + Sync>) -> Subscription {
        let mut subscribers = lock(&self.0.subscribers);
        let number = subscribers.next;
        subscribers.next += 1;
        subscribers.callbacks.insert(number, callback);
        Subscription { gate: Arc::downgrade(&self.0), number }
    }
}

impl Permit {
    /// The level of the session: the lower of grant and assignment at admission.
    #[must_use]
    pub fn level(&self) -> AccessLevel {
        self.ticket.level
    }

    /// The grant that the session stands on.
    #[must_use]
    pub fn grant_id(&self) -> GrantId {
        self.ticket.grant.id
    }

    /// The grant that the session stands on, as it was at admission.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.ticket.grant
    }

    /// The reason that the owner gave for the support request, as it was at admission.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.ticket.reason
    }

    /// The support request that is worked on.
    #[must_use]
    pub fn request(&self) -> RequestNumber {
        self.ticket.assignment.request
    }

    /// The assignment, with the engineer, the desk and the node.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.ticket.assignment
    }

    /// The earliest end that is known by the wall clock: of the grant as it is now, or of the assignment.
    ///
    /// Moves when the grant is changed in place. For timers use [`Permit::remaining`], which knows both clocks.
    #[must_use]
    pub fn deadline(&self) -> DateTime<Utc> {
        self.grant_deadline().wall.min(self.ticket.assignment_deadline.wall)
    }

    /// How long until the session must end if nothing changes: on either clock, of grant or assignment; zero if over.
    ///
    /// Arm a timer with it, arm it anew at each change of the gate, and let [`Gate::check`] decide when it fires.
    #[must_use]
    pub fn remaining(&self, now: &Now) -> Duration {
        self.grant_deadline().remaining(now).min(self.ticket.assignment_deadline.remaining(now))
    }

    /// For how long the session should have been over, on either clock, of grant or assignment; zero if it is not.
    #[must_use]
    pub fn overdue(&self, now: &Now) -> Duration {
        self.grant_deadline().overdue(now).max(self.ticket.assignment_deadline.overdue(now))
    }

    /// Which calls wait for the owner's answer, by the grant as it is now.
    #[must_use]
    pub fn approval(&self) -> ApprovalRule {
        let state = self.gate.read();
        let current = state.facts.grant.as_ref().filter(|grant| grant.id == self.ticket.grant.id);
        current.map_or(self.ticket.grant.approval, |grant| grant.approval)
    }

    fn grant_deadline(&self) -> Deadline {
        let state = self.gate.read();
        let current = state.facts.grant.as_ref().filter(|grant| grant.id == self.ticket.grant.id);
        current.map_or(self.ticket.grant.deadline, |grant| grant.deadline)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.upgrade() {
            lock(&gate.subscribers).callbacks.remove(&self.number);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("generation", &self.generation())
            .field("sessions", &self.sessions())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("grant", &self.ticket.grant.id)
            .field("level", &self.ticket.level)
            .field("assignment", &self.ticket.assignment.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.number).finish()
    }
}

impl Inner {
    /// Changes the state, and if it did change, lets everybody know, after the lock is free again.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        if changed {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        drop(state);
        if changed {
            let callbacks: Vec<Callback> = lock(&self.subscribers).callbacks.values().cloned().collect();
            callbacks.iter().for_each(|callback| callback());
        }
        changed
    }

    /// Remembers the time, and holds the grant if it went back.
    fn observe(&self, now: &Now) {
        if self.read().sees_step_back(now) {
            self.change(|state| {
                let back = state.held.is_none() && state.sees_step_back(now);
                if back {
                    state.held = Some(state.facts.act());
                }
                back
            });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view<'a>(&self, state: &'a State) -> View<'a> {
        View {
            node_key: self.node_key,
            facts: &state.facts,
            shut: state.shut,
            held: state.held.is_some() || state.facts.held,
            places_free: self.sessions_max.saturating_sub(self.sessions.load(Ordering::SeqCst)),
        }
    }

    fn take_place(&self) -> Place {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(&self.sessions))
    }
}

impl State {
    fn load(&mut self, facts: Facts) -> bool {
        if facts.revision < self.facts.revision {
            return false;
        }
        if facts.act() != self.facts.act() {
            *lock(&self.seen) = None;
        }
        if self.held.is_some_and(|held| held != facts.act()) {
            self.held = None;
        }
        self.facts = facts;
        true
    }

    /// Whether time went back since the last act of consent; if not, `now` is remembered.
    fn sees_step_back(&self, now: &Now) -> bool {
        let mut seen = lock(&self.seen);
        let back = seen.is_some_and(|highest| now.went_back_since(&highest));
        if !back {
            *seen = Some(seen.map_or(*now, |highest| now.or_later(&highest)));
        }
        back
    }
}

impl Facts {
    fn act(&self) -> Act {
        self.grant.as_ref().map(|grant| (grant.id, grant.revision))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that a decision stands on, besides the time.
struct View<'a> {
    node_key: PublicKey,
    facts: &'a Facts,
    shut: Option<EndCause>,
    held: bool,
    places_free: usize,
}

/// What is asked of the gate.
enum Ask<'a> {
    /// May this engineer come in?
    Admit(&'a Admission),
    /// May this session go on?
    Check(&'a Ticket),
}

/// A yes, with what it stands on.
struct Standing<'a> {
    grant: &'a Grant,
    assignment: Cow<'a, Assignment>,
    reason: &'a Reason,
    level: AccessLevel,
}

/// A no: the code for those who ask to come in, the cause for those who are in.
struct Denial {
    code: RefusalCode,
    end: EndCause,
    cause: Option<AssignmentError>,
}

impl Denial {
    const fn new(code: RefusalCode, end: EndCause) -> Self {
        Self { code, end, cause: None }
    }

    /// A no that only admission can meet.
    const fn refused(code: RefusalCode) -> Self {
        Self::new(code, EndCause::Fault)
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { code: denial.code, cause: denial.cause }
    }
}

impl From<Denial> for EndCause {
    fn from(denial: Denial) -> Self {
        denial.end
    }
}

impl From<AssignmentError> for Denial {
    fn from(error: AssignmentError) -> Self {
        Self { code: error.code(), end: EndCause::AssignmentExpired, cause: Some(error) }
    }
}

/// The decision. Everything that may be done remotely on this node goes through here.
fn decide<'a>(view: &View<'a>, ask: &Ask<'a>, now: &Now) -> Result<Standing<'a>, Denial> {
    if let Some(cause) = view.shut {
        return Err(Denial::new(shut_code(cause), cause));
    }
    if view.held {
        return Err(Denial::new(RefusalCode::GrantHeld, EndCause::ClockHeld));
    }
    let grant = view.facts.grant.as_ref().ok_or(Denial::new(RefusalCode::NoGrant, EndCause::Revoked))?;
    match ask {
        Ask::Admit(admission) => {
            in_force(grant, now)?;
            admit(view, grant, admission, now)
        }
        Ask::Check(ticket) => {
            same_grant(grant, ticket, now)?;
            in_force(grant, now)?;
            go_on(view, grant, ticket, now)
        }
    }
}

const fn shut_code(cause: EndCause) -> RefusalCode {
    match cause {
        EndCause::Revoked => RefusalCode::GrantRevoked,
        EndCause::Expired => RefusalCode::GrantExpired,
        EndCause::ClockHeld => RefusalCode::GrantHeld,
        _ => RefusalCode::GateShut,
    }
}

fn in_force(grant: &Grant, now: &Now) -> Result<(), Denial> {
    match grant.state_at(now) {
        GrantState::Active => Ok(()),
        GrantState::Pending => Err(Denial::new(RefusalCode::GrantPending, EndCause::Revoked)),
        GrantState::Expired => Err(Denial::new(RefusalCode::GrantExpired, EndCause::Expired)),
        GrantState::Revoked => Err(Denial::new(RefusalCode::GrantRevoked, EndCause::Revoked)),
        GrantState::Superseded => Err(Denial::new(RefusalCode::GrantHeld, EndCause::ClockHeld)),
    }
}

/// A session lives and dies with its grant: another grant in its place means that its own has ended.
fn same_grant(grant: &Grant, ticket: &Ticket, now: &Now) -> Result<(), Denial> {
    if grant.id == ticket.grant.id {
        Ok(())
    } else if ticket.grant.deadline.has_passed(now) {
        Err(Denial::new(RefusalCode::GrantExpired, EndCause::Expired))
    } else {
        Err(Denial::new(RefusalCode::GrantRevoked, EndCause::Revoked))
    }
}

fn admit<'a>(
    view: &View<'a>,
    grant: &'a Grant,
    shown: &Admission,
    now: &Now,
) -> Result<Standing<'a>, Denial> {
    let wanted = |request: &&SupportRequest| grant.request.is_none_or(|number| number == request.number);
    if !view.facts.requests.iter().filter(wanted).any(|request| request.pinned_desk().is_some()) {
        return Err(Denial::refused(RefusalCode::NoOpenRequest));
    }
    let envelope = shown.assignment.as_ref().ok_or(Denial::refused(RefusalCode::AssignmentMissing))?;
    let (assignment, request) = assigned(view, envelope, now)?;
    if grant.request.is_some_and(|number| number != assignment.request) {
        return Err(Denial::refused(RefusalCode::RequestMismatch));
    }
    let engineer = shown.engineer_key.ok_or(Denial::refused(RefusalCode::EngineerUnproven))?;
    if engineer != assignment.engineer.key {
        return Err(Denial::refused(RefusalCode::EngineerKeyMismatch));
    }
    if view.places_free == 0 {
        return Err(Denial::refused(RefusalCode::TooManySessions));
    }
    let level = grant.level.min(assignment.level_cap);
    Ok(Standing { grant, assignment: Cow::Owned(assignment), reason: &request.reason, level })
}

/// The assignment in `envelope`, if a desk signed it whose key is pinned for the request it names.
///
/// The key that the envelope claims only chooses among the pinned ones; the signature is checked with the pinned one.
fn assigned<'a>(
    view: &View<'a>,
    envelope: &Envelope,
    now: &Now,
) -> Result<(Assignment, &'a SupportRequest), Denial> {
    let desks = || view.facts.requests.iter().filter_map(|r| r.pinned_desk().map(|desk| (r, desk.key)));
    let (_, desk) = desks()
        .find(|(_, key)| *key == envelope.claimed_key())
        .ok_or(Denial::refused(RefusalCode::DeskUnknown))?;
    let assignment = Assignment::verify(envelope, &desk, &view.node_key, now.wall)?;
    let request = desks()
        .find(|(request, key)| (request.number, *key) == (assignment.request, desk))
        .map(|(request, _)| request)
        .ok_or(Denial::refused(RefusalCode::AssignmentOtherRequest))?;
    Ok((assignment, request))
}

fn go_on<'a>(
    view: &View<'a>,
    grant: &'a Grant,
    ticket: &'a Ticket,
    now: &Now,
) -> Result<Standing<'a>, Denial> {
    let assignment = &ticket.assignment;
    let open = |request: &SupportRequest| {
        request.number == assignment.request
            && request.pinned_desk().is_some_and(|desk| desk.key == assignment.desk.key)
    };
    if !view.facts.requests.iter().any(open) {
        return Err(Denial::new(RefusalCode::NoOpenRequest, EndCause::RequestClosed));
    }
    if grant.request.is_some_and(|number| number != assignment.request) {
        return Err(Denial::new(RefusalCode::RequestMismatch, EndCause::RequestClosed));
    }
    if ticket.assignment_deadline.has_passed(now) {
        return Err(Denial::new(RefusalCode::AssignmentExpired, EndCause::AssignmentExpired));
    }
    if grant.level < ticket.level || !grant.scope.covers(&ticket.grant.scope) {
        return Err(Denial::new(RefusalCode::NoGrant, EndCause::LevelLowered));
    }
    Ok(Standing { grant, assignment: Cow::Borrowed(assignment), reason: &ticket.reason, level: ticket.level })
}
