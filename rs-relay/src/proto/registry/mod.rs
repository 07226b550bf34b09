//! Who listens, who waits, and who meets whom: the state of one namespace, without sockets and without a clock.
//!
//! Facts go in as method calls that carry the time; effects come out as return values and from
//! [`Registry::poll_output`]; the next moment at which something has to happen comes out of [`Registry::poll_timeout`].
//! The driver gives each listener and each sender a handle of its own (`L`, `S`). A sender's handle lies in the table while
//! it waits and is moved out to whoever takes it: that is why a rendezvous can pair at most once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::frame::CloseReason;
use super::limits::{
    CONNECTIONS_MAX, ENTITIES_MAX, LISTENERS_PER_ENTITY_MAX, RENDEZVOUS_WAIT, RESPONSE_WAIT, TOKEN_PATIENCE,
    WAITING_SENDERS_MAX,
};
use super::path::EntityPath;
use super::refusal::Refusal;

mod id;
mod late;

pub use id::{RendezvousId, RendezvousIdError};
use late::Late;

/// The two clocks, read by the driver.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For token expiry.
    pub wall: DateTime<Utc>,
}

/// A listener in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

/// Bounds of a registry.
///
/// # Defaults
///
/// 10,000 entities, 25 listeners each, 5,000 waiting senders, 10,000 connections in all.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Entities that exist at the same time.
    pub entities_max: usize,
    /// Listeners of one entity.
    pub listeners_per_entity_max: usize,
    /// Senders that wait.
    pub waiting_senders_max: usize,
    /// Listeners, senders that wait, and joined connections together. The driver counts them.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entities_max: ENTITIES_MAX,
            listeners_per_entity_max: LISTENERS_PER_ENTITY_MAX,
            waiting_senders_max: WAITING_SENDERS_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }
}

/// Something that the driver has to do.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output<L, S> {
    /// Tell the listener that the sender of this rendezvous waits: the listener asked before is gone.
    Offer {
        /// Whom to tell.
        listener: L,
        /// Which rendezvous.
        rendezvous: RendezvousId,
    },
    /// Answer the sender with an error.
    Refuse {
        /// Whom to answer.
        sender: S,
        /// Why.
        refusal: Refusal,
    },
    /// Close a control channel. The listener is out of the registry already.
    Close {
        /// Whose.
        listener: L,
        /// Close code and text.
        reason: CloseReason,
    },
}

#[derive(Debug)]
struct Listening<L> {
    handle: L,
    entity: EntityPath,
    expires_at: DateTime<Utc>,
    check_at: Instant,
}

/// Who comes to the rendezvous of an HTTP request.
#[derive(Debug, PartialEq, Eq)]
pub enum Meeting<S> {
    /// The listener: it takes the sender over and answers it, within [`RESPONSE_WAIT`].
    Sender(S),
    /// The listener, after the sender had left or was given an error. Let it in and drop what it says: the official client
    /// for Node dies when it is refused here.
    Late,
}

#[derive(Debug)]
struct Waiting<S> {
    sender: S,
    entity: EntityPath,
    offered_to: ListenerId,
    /// Whether the listener was told.
    told: bool,
    until: Instant,
    /// What the response will name; none for a WebSocket.
    request: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct Entity {
    declared: bool,
    listeners: Vec<ListenerId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Token(ListenerId),
    Rendezvous([u8; 24]),
}

/// A token's end is looked at this often, as the wall clock may be set in between.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(30);

/// The state of one namespace. See the module's text.
///
/// ```
/// use std::time::{Duration, Instant};
/// use rs_relay::proto::{EntityPath, registry::{Limits, Now, Registry, RendezvousId}};
///
/// let now = Now { instant: Instant::now(), wall: "2026-01-01T00:00:00Z".parse().unwrap() };
/// let mut registry: Registry<&str, &str> = Registry::new(Limits::default());
/// let hyco: EntityPath = "hyco".parse().unwrap();
///
/// registry.listen(now, &hyco, "listener", now.wall + Duration::from_secs(3600)).unwrap();
/// let id = RendezvousId::from_bytes([7; 24]);
/// assert_eq!(registry.connect(now, &hyco, "sender", id.clone(), 0), Ok("listener"));
/// assert_eq!(registry.accept(&id), Some("sender"));
/// assert_eq!(registry.accept(&id), None, "single use");
/// ```
#[derive(Debug)]
pub struct Registry<L, S> {
    limits: Limits,
    entities: HashMap<EntityPath, Entity>,
    listeners: HashMap<ListenerId, Listening<L>>,
    waiting: HashMap<RendezvousId, Waiting<S>>,
    /// HTTP requests that wait, by what their responses will name.
    requests: HashMap<Box<str>, RendezvousId>,
    late: Late,
    due: BTreeSet<(Instant, Due)>,
    outputs: VecDeque<Output<L, S>>,
    next_listener: u64,
}

impl<L: Clone, S> Registry<L, S> {
    /// An empty namespace.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entities: HashMap::new(),
            listeners: HashMap::new(),
            waiting: HashMap::new(),
            requests: HashMap::new(),
            late: Late::default(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
            next_listener: 0,
        }
    }

    /// Makes an entity that stays, whether somebody listens or not.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] when there are too many entities.
    pub fn declare(&mut self, entity: EntityPath) -> Result<(), Refusal> {
        self.room_for_entity(&entity)?;
        self.entities.entry(entity).or_default().declared = true;
        Ok(())
    }

    /// Takes the declaration of an entity back: it goes with its last listener.
    pub fn undeclare(&mut self, entity: &EntityPath) {
        if let Some(found) = self.entities.get_mut(entity) {
            found.declared = false;
            if found.listeners.is_empty() {
                self.entities.remove(entity);
            }
        }
    }

    /// Removes an entity: its listeners are closed with 1001 and those who wait are refused. Joined connections are no
    /// concern of the registry.
    pub fn remove_entity(&mut self, now: Now, entity: &EntityPath) {
        let Some(removed) = self.entities.remove(entity) else { return };
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.entity == *entity);
        let waiting: Vec<_> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.refuse(now.instant, &id, Refusal::NoEntity);
        }
        for id in removed.listeners {
            self.dismiss(now, id, &CloseReason::new(CloseReason::GOING_AWAY, "The endpoint was removed."));
        }
    }

    /// Closes a listener for a reason.
    pub fn dismiss(&mut self, now: Now, id: ListenerId, reason: &CloseReason) {
        if let Some(listening) = self.listeners.get(&id) {
            let listener = listening.handle.clone();
            self.listener_gone(now, id, 0);
            self.outputs.push_back(Output::Close { listener, reason: reason.clone() });
        }
    }

    /// Changes the bounds. What is there already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether the entity exists: it was declared, or somebody listens.
    #[must_use]
    pub fn exists(&self, entity: &EntityPath) -> bool {
        self.entities.contains_key(entity)
    }

    /// Listeners of an entity.
    #[must_use]
    pub fn listeners(&self, entity: &EntityPath) -> usize {
        self.entities.get(entity).map_or(0, |entity| entity.listeners.len())
    }

    /// The handle of a listener.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&L> {
        self.listeners.get(&id).map(|listening| &listening.handle)
    }

    /// The handle of a listener, to be changed.
    pub fn listener_mut(&mut self, id: ListenerId) -> Option<&mut L> {
        self.listeners.get_mut(&id).map(|listening| &mut listening.handle)
    }

    /// All listeners with their entities and the ends of their tokens.
    pub fn each_listener(&self) -> impl Iterator<Item = (ListenerId, &L, &EntityPath, DateTime<Utc>)> {
        self.listeners
            .iter()
            .map(|(id, listening)| (*id, &listening.handle, &listening.entity, listening.expires_at))
    }

    /// All entities.
    pub fn entities(&self) -> impl Iterator<Item = &EntityPath> {
        self.entities.keys()
    }

    /// All listeners.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// All senders that wait.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a listener in. The driver has checked its token, which is good until `expires_at`. Senders that wait for a
    /// listener that is gone are offered to it.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyListeners`], or [`Refusal::Busy`] when there are too many entities.
    pub fn listen(
        &mut self,
        now: Now,
        entity: &EntityPath,
        handle: L,
        expires_at: DateTime<Utc>,
    ) -> Result<ListenerId, Refusal> {
        self.room_for_entity(entity)?;
        if self.listeners(entity) >= self.limits.listeners_per_entity_max {
            return Err(Refusal::TooManyListeners);
        }
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        self.entities.entry(entity.clone()).or_default().listeners.push(id);
        let check_at = token_check(now, expires_at);
        self.due.insert((check_at, Due::Token(id)));
        self.listeners.insert(id, Listening { handle, entity: entity.clone(), expires_at, check_at });
        self.offer_orphans(entity, 0);
        Ok(id)
    }

    /// A listener has brought a good token. The new expiry replaces the old one, whichever is later.
    pub fn renew(&mut self, now: Now, id: ListenerId, expires_at: DateTime<Utc>) {
        if let Some(listening) = self.listeners.get_mut(&id) {
            self.due.remove(&(listening.check_at, Due::Token(id)));
            listening.expires_at = expires_at;
            listening.check_at = token_check(now, expires_at);
            self.due.insert((listening.check_at, Due::Token(id)));
        }
    }

    /// A listener's control channel has ended. WebSocket senders that were offered to it are offered to another listener, as
    /// are HTTP requests that it was not told of yet; those that it was told of are refused.
    ///
    /// `pick` is a random number for the choice.
    pub fn listener_gone(&mut self, now: Now, id: ListenerId, pick: u64) {
        let Some(gone) = self.listeners.remove(&id) else { return };
        self.due.remove(&(gone.check_at, Due::Token(id)));
        if let Some(entity) = self.entities.get_mut(&gone.entity) {
            entity.listeners.retain(|listener| *listener != id);
            if entity.listeners.is_empty() && !entity.declared {
                self.entities.remove(&gone.entity);
            }
        }
        self.refuse_told_requests(now.instant, id);
        self.offer_orphans(&gone.entity, pick);
    }

    /// A listener is to get no further senders; what it was told of, it may still answer.
    pub fn retire(&mut self, id: ListenerId) {
        if let Some(listening) = self.listeners.get(&id)
            && let Some(entity) = self.entities.get_mut(&listening.entity)
        {
            entity.listeners.retain(|listener| *listener != id);
        }
    }

    /// HTTP requests that a listener was given and has not answered.
    #[must_use]
    pub fn unanswered(&self, id: ListenerId) -> usize {
        let of_listener = |waiting: &&Waiting<S>| waiting.offered_to == id && waiting.request.is_some();
        self.waiting.values().filter(of_listener).count()
    }

    /// A WebSocket sender has come. On success the driver tells the listener that is returned; the sender waits up to
    /// [`RENDEZVOUS_WAIT`].
    ///
    /// `id` and `pick` are random.
    ///
    /// # Errors
    ///
    /// The sender's handle back with [`Refusal::NoListener`], [`Refusal::NoEntity`] or [`Refusal::Busy`].
    pub fn connect(
        &mut self,
        now: Now,
        entity: &EntityPath,
        sender: S,
        id: RendezvousId,
        pick: u64,
    ) -> Result<L, (S, Refusal)> {
        self.wait(now, entity, (sender, None), id, pick)
    }

    /// An HTTP request has come; its response will name `request`, which must be unique. Otherwise as
    /// [`Registry::connect`], with [`RESPONSE_WAIT`] for the answer, counted anew from when the listener is told.
    ///
    /// # Errors
    ///
    /// As [`Registry::connect`].
    pub fn request(
        &mut self,
        now: Now,
        entity: &EntityPath,
        sender: (S, Box<str>),
        id: RendezvousId,
        pick: u64,
    ) -> Result<L, (S, Refusal)> {
        let (sender, request) = sender;
        if self.requests.contains_key(&request) {
            return Err((sender, Refusal::Busy));
        }
        self.wait(now, entity, (sender, Some(request)), id, pick)
    }

    fn wait(
        &mut self,
        now: Now,
        entity: &EntityPath,
        (sender, request): (S, Option<Box<str>>),
        id: RendezvousId,
        pick: u64,
    ) -> Result<L, (S, Refusal)> {
        if !self.exists(entity) {
            return Err((sender, Refusal::NoEntity));
        }
        if self.waiting.len() >= self.limits.waiting_senders_max || self.waiting.contains_key(&id) {
            return Err((sender, Refusal::Busy));
        }
        let Some((offered_to, handle)) = self.choose(entity, pick) else {
            return Err((sender, Refusal::NoListener));
        };
        let until = now.instant + if request.is_some() { RESPONSE_WAIT } else { RENDEZVOUS_WAIT };
        self.due.insert((until, Due::Rendezvous(id.0)));
        if let Some(request) = &request {
            self.requests.insert(request.clone(), id.clone());
        }
        let entity = entity.clone();
        self.waiting.insert(id, Waiting { sender, entity, offered_to, told: false, until, request });
        Ok(handle)
    }

    /// The sender of a rendezvous, for the driver that is about to tell this listener of it. `None` when the sender has
    /// left, or was offered to another listener in the meantime: nobody is to be told then.
    pub fn tell(&mut self, now: Now, listener: ListenerId, id: &RendezvousId) -> Option<&S> {
        let waiting = self.waiting.get_mut(id).filter(|waiting| waiting.offered_to == listener)?;
        waiting.told = true;
        if waiting.request.is_some() {
            self.extend(now, id);
        }
        self.waiting(id)
    }

    /// A listener has come to the rendezvous of a WebSocket, to accept or to reject: hands the sender out, once.
    ///
    /// `None` when the id is unknown, was used, is too old, or is that of an HTTP request.
    pub fn accept(&mut self, id: &RendezvousId) -> Option<S> {
        self.waiting.get(id).filter(|waiting| waiting.request.is_none())?;
        self.take(id).map(|waiting| waiting.sender)
    }

    /// A listener has come to the rendezvous of an HTTP request: hands the sender out, once.
    ///
    /// `None` when the id is unknown, was used, is too old, or is that of a WebSocket.
    pub fn meet(&mut self, now: Now, id: &RendezvousId) -> Option<Meeting<S>> {
        if self.late.take(now.instant, id) {
            return Some(Meeting::Late);
        }
        self.waiting.get(id).filter(|waiting| waiting.request.is_some())?;
        self.take(id).map(|waiting| Meeting::Sender(waiting.sender))
    }

    /// A listener has begun to answer an HTTP request on its control channel: the rest has [`RESPONSE_WAIT`] more.
    ///
    /// Whether anybody waits for it. A listener can only answer what it was told of.
    pub fn responding(&mut self, now: Now, listener: ListenerId, request: &str) -> bool {
        let Some(id) = self.request_of(listener, request) else { return false };
        self.extend(now, &id);
        true
    }

    /// A listener has answered an HTTP request on its control channel: hands the sender out, once.
    ///
    /// `None` when nobody waits, or another listener was told of it.
    pub fn respond(&mut self, listener: ListenerId, request: &str) -> Option<S> {
        let id = self.request_of(listener, request)?;
        self.take(&id).map(|waiting| waiting.sender)
    }

    /// A sender has gone before anybody came, or could not be offered: the rendezvous is no longer valid. That of an HTTP
    /// request goes on as [`Meeting::Late`] when its listener was told.
    pub fn withdraw(&mut self, now: Now, id: &RendezvousId) -> Option<S> {
        let waiting = self.take(id)?;
        Some(self.leave(now.instant, id, waiting))
    }

    /// The sender of a rendezvous that still waits.
    #[must_use]
    pub fn waiting(&self, id: &RendezvousId) -> Option<&S> {
        self.waiting.get(id).map(|waiting| &waiting.sender)
    }

    /// When to call [`Registry::handle_timeout`] next. Ask again after each call of another method.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Does what is due. A call that comes too early is harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, due)) = self.due.first().cloned() {
            if at > now.instant {
                return;
            }
            self.due.remove(&(at, due.clone()));
            match due {
                Due::Rendezvous(id) => self.rendezvous_due(now, &RendezvousId(id)),
                Due::Token(id) => self.token_due(now, id),
            }
        }
    }

    /// The next thing to do. Ask until `None` after each call of another method.
    pub fn poll_output(&mut self) -> Option<Output<L, S>> {
        self.outputs.pop_front()
    }

    fn room_for_entity(&self, entity: &EntityPath) -> Result<(), Refusal> {
        let full = self.entities.len() >= self.limits.entities_max && !self.exists(entity);
        if full { Err(Refusal::Busy) } else { Ok(()) }
    }

    fn choose(&self, entity: &EntityPath, pick: u64) -> Option<(ListenerId, L)> {
        let listeners = &self.entities.get(entity)?.listeners;
        let index = pick.checked_rem(listeners.len() as u64)?;
        let id = *listeners.get(usize::try_from(index).ok()?)?;
        Some((id, self.listeners.get(&id)?.handle.clone()))
    }

    fn take(&mut self, id: &RendezvousId) -> Option<Waiting<S>> {
        let waiting = self.waiting.remove(id)?;
        self.due.remove(&(waiting.until, Due::Rendezvous(id.0)));
        if let Some(request) = &waiting.request {
            self.requests.remove(request);
        }
        Some(waiting)
    }

    /// Remembers the rendezvous of a request whose listener may still come.
    fn leave(&mut self, now: Instant, id: &RendezvousId, waiting: Waiting<S>) -> S {
        if waiting.told && waiting.request.is_some() {
            self.late.insert(now, id.clone());
        }
        waiting.sender
    }

    fn request_of(&self, listener: ListenerId, request: &str) -> Option<RendezvousId> {
        let id = self.requests.get(request)?;
        let waiting = self.waiting.get(id)?;
        (waiting.told && waiting.offered_to == listener).then(|| id.clone())
    }

    fn extend(&mut self, now: Now, id: &RendezvousId) {
        if let Some(waiting) = self.waiting.get_mut(id) {
            self.due.remove(&(waiting.until, Due::Rendezvous(id.0)));
            waiting.until = now.instant + RESPONSE_WAIT;
            self.due.insert((waiting.until, Due::Rendezvous(id.0)));
        }
    }

    /// A listener that was lost answers nothing any more on its control channel.
    fn refuse_told_requests(&mut self, now: Instant, listener: ListenerId) {
        let is_lost = |waiting: &Waiting<S>| {
            waiting.offered_to == listener && waiting.told && waiting.request.is_some()
        };
        let lost: Vec<_> =
            self.waiting.iter().filter(|(_, waiting)| is_lost(waiting)).map(|(id, _)| id.clone()).collect();
        for id in lost {
            self.refuse(now, &id, Refusal::ListenerLost);
        }
    }

    fn refuse(&mut self, now: Instant, id: &RendezvousId, refusal: Refusal) {
        if let Some(waiting) = self.take(id) {
            let sender = self.leave(now, id, waiting);
            self.outputs.push_back(Output::Refuse { sender, refusal });
        }
    }

    /// Offers senders whose listener is gone to another one. Without another one they go on waiting: the one that left may
    /// still come to the rendezvous, or come back.
    fn offer_orphans(&mut self, entity: &EntityPath, pick: u64) {
        let orphans: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| {
                waiting.entity == *entity && !self.listeners.contains_key(&waiting.offered_to)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for (index, rendezvous) in orphans.into_iter().enumerate() {
            let Some((id, listener)) = self.choose(entity, pick.wrapping_add(index as u64)) else { return };
            if let Some(waiting) = self.waiting.get_mut(&rendezvous) {
                waiting.offered_to = id;
                waiting.told = false;
                self.outputs.push_back(Output::Offer { listener, rendezvous });
            }
        }
    }

    fn rendezvous_due(&mut self, now: Now, id: &RendezvousId) {
        let is_request = self.waiting.get(id).is_some_and(|waiting| waiting.request.is_some());
        let refusal = if is_request { Refusal::NoResponse } else { Refusal::NobodyAccepted };
        self.refuse(now.instant, id, refusal);
    }

    fn token_due(&mut self, now: Now, id: ListenerId) {
        let Some(listening) = self.listeners.get_mut(&id) else { return };
        if now.wall < listening.expires_at + TOKEN_PATIENCE {
            listening.check_at = token_check(now, listening.expires_at);
            self.due.insert((listening.check_at, Due::Token(id)));
            return;
        }
        let reason = CloseReason::new(CloseReason::POLICY, "The token has expired and was not renewed.");
        self.dismiss(now, id, &reason);
    }
}

/// When to look at a listener's token next: at its end plus patience, and at least every [`WALL_CLOCK_CHECK`].
fn token_check(now: Now, expires_at: DateTime<Utc>) -> Instant {
    let left = (expires_at + TOKEN_PATIENCE).signed_duration_since(now.wall);
    let left = left.to_std().unwrap_or_default().min(WALL_CLOCK_CHECK);
    now.instant + left.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
