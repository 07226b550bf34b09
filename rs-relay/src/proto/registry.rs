//! Who listens, who waits, and who meets whom: the state of one namespace, without sockets and without a clock.
//!
//! Facts go in as method calls that carry the time; effects come out as return values and from
//! [`Registry::poll_output`]; the next moment at which something has to happen comes out of [`Registry::poll_timeout`].
//! The driver gives each listener and each sender a handle of its own (`L`, `S`). A sender's handle lies in the table while
//! it waits and is moved out to whoever takes it: that is why a rendezvous can pair at most once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::frame::CloseReason;
use super::limits::{
    ENTITIES_MAX, LISTENERS_PER_ENTITY_MAX, RENDEZVOUS_WAIT, TOKEN_PATIENCE, WAITING_SENDERS_MAX,
};
use super::path::EntityPath;
use super::refusal::Refusal;

/// The two clocks, read by the driver.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For token expiry.
    pub wall: DateTime<Utc>,
}

/// The secret in a rendezvous address: 192 random bits. Whoever has it may take the sender, once.
///
/// `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RendezvousId([u8; 24]);

impl RendezvousId {
    /// From bytes that the driver took from a cryptographic random generator.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// Hexadecimal digits: Java breaks on `=` in a query value.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for RendezvousId {
    type Err = RendezvousIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 24];
        if text.len() != 48 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(RendezvousIdError);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| RendezvousIdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| RendezvousIdError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for RendezvousId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RendezvousId(…)")
    }
}

/// A text is no rendezvous secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rendezvous secret has 48 lower-case hexadecimal digits")]
pub struct RendezvousIdError;

/// A listener in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

/// Bounds of a registry.
///
/// # Defaults
///
/// 10,000 entities, 25 listeners each, 5,000 waiting senders.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Entities that exist at the same time.
    pub entities_max: usize,
    /// Listeners of one entity.
    pub listeners_per_entity_max: usize,
    /// Senders that wait.
    pub waiting_senders_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entities_max: ENTITIES_MAX,
            listeners_per_entity_max: LISTENERS_PER_ENTITY_MAX,
            waiting_senders_max: WAITING_SENDERS_MAX,
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

#[derive(Debug)]
struct Waiting<S> {
    sender: S,
    entity: EntityPath,
    offered_to: ListenerId,
    until: Instant,
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

    /// A listener's control channel has ended. Senders that were offered to it are offered to another listener.
    ///
    /// `pick` is a random number for the choice.
    pub fn listener_gone(&mut self, id: ListenerId, pick: u64) {
        let Some(gone) = self.listeners.remove(&id) else { return };
        self.due.remove(&(gone.check_at, Due::Token(id)));
        if let Some(entity) = self.entities.get_mut(&gone.entity) {
            entity.listeners.retain(|listener| *listener != id);
            if entity.listeners.is_empty() && !entity.declared {
                self.entities.remove(&gone.entity);
            }
        }
        self.offer_orphans(&gone.entity, pick);
    }

    /// A sender has come. On success the driver tells the listener that is returned; the sender waits up to
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
        if !self.exists(entity) {
            return Err((sender, Refusal::NoEntity));
        }
        if self.waiting.len() >= self.limits.waiting_senders_max || self.waiting.contains_key(&id) {
            return Err((sender, Refusal::Busy));
        }
        let Some((offered_to, handle)) = self.choose(entity, pick) else {
            return Err((sender, Refusal::NoListener));
        };
        let until = now.instant + RENDEZVOUS_WAIT;
        self.due.insert((until, Due::Rendezvous(id.0)));
        self.waiting.insert(id, Waiting { sender, entity: entity.clone(), offered_to, until });
        Ok(handle)
    }

    /// A listener has come to the rendezvous, to accept or to reject: hands the sender out, once.
    ///
    /// `None` when the id is unknown, was used, or is too old.
    pub fn accept(&mut self, id: &RendezvousId) -> Option<S> {
        self.take(id).map(|waiting| waiting.sender)
    }

    /// A sender has gone before anybody came, or could not be offered: the rendezvous is no longer valid.
    pub fn withdraw(&mut self, id: &RendezvousId) -> Option<S> {
        self.take(id).map(|waiting| waiting.sender)
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
                Due::Rendezvous(id) => self.rendezvous_due(&RendezvousId(id)),
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
        Some(waiting)
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
                self.outputs.push_back(Output::Offer { listener, rendezvous });
            }
        }
    }

    fn rendezvous_due(&mut self, id: &RendezvousId) {
        if let Some(Waiting { sender, .. }) = self.waiting.remove(id) {
            self.outputs.push_back(Output::Refuse { sender, refusal: Refusal::NobodyAccepted });
        }
    }

    fn token_due(&mut self, now: Now, id: ListenerId) {
        let Some(listening) = self.listeners.get_mut(&id) else { return };
        if now.wall < listening.expires_at + TOKEN_PATIENCE {
            listening.check_at = token_check(now, listening.expires_at);
            self.due.insert((listening.check_at, Due::Token(id)));
            return;
        }
        let listener = listening.handle.clone();
        let reason = CloseReason::new(CloseReason::POLICY, "The token has expired and was not renewed.");
        self.listener_gone(id, 0);
        self.outputs.push_back(Output::Close { listener, reason });
    }
}

/// When to look at a listener's token next: at its end plus patience, and at least every [`WALL_CLOCK_CHECK`].
fn token_check(now: Now, expires_at: DateTime<Utc>) -> Instant {
    let left = (expires_at + TOKEN_PATIENCE).signed_duration_since(now.wall);
    let left = left.to_std().unwrap_or_default().min(WALL_CLOCK_CHECK);
    now.instant + left.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Now {
        Now { instant: Instant::now(), wall: DateTime::from_timestamp(1_800_000_000, 0).unwrap() }
    }

    fn after(now: Now, seconds: f64) -> Now {
        let span = Duration::from_secs_f64(seconds);
        Now { instant: now.instant + span, wall: now.wall + span }
    }

    fn id(byte: u8) -> RendezvousId {
        RendezvousId::from_bytes([byte; 24])
    }

    fn hyco() -> EntityPath {
        "hyco".parse().unwrap()
    }

    type Small = Registry<u8, u8>;

    fn outputs(registry: &mut Small) -> Vec<Output<u8, u8>> {
        std::iter::from_fn(|| registry.poll_output()).collect()
    }

    fn with_listener(now: Now) -> (Small, ListenerId) {
        let mut registry = Small::new(Limits::default());
        let listener = registry.listen(now, &hyco(), 1, now.wall + Duration::from_secs(3600)).unwrap();
        (registry, listener)
    }

    #[test]
    fn sec16_life_of_a_rendezvous() {
        let now = start();
        let (mut registry, listener) = with_listener(now);
        assert_eq!(registry.connect(now, &hyco(), 9, id(1), 0), Ok(1));
        assert_eq!(registry.waiting(&id(1)), Some(&9));
        assert_eq!(registry.accept(&id(2)), None, "unknown");
        assert_eq!(registry.accept(&id(1)), Some(9));
        assert_eq!(registry.accept(&id(1)), None, "used");
        registry.listener_gone(listener, 0);
        assert_eq!(registry.connect(now, &hyco(), 9, id(3), 0), Err((9, Refusal::NoEntity)));
        registry.declare(hyco()).unwrap();
        assert_eq!(registry.connect(now, &hyco(), 9, id(3), 0), Err((9, Refusal::NoListener)));
        assert_eq!((outputs(&mut registry), registry.poll_timeout()), (vec![], None));
    }

    #[test]
    fn r10_a_rendezvous_lives_30_seconds() {
        let now = start();
        let (mut registry, _) = with_listener(now);
        registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
        registry.handle_timeout(after(now, 29.999));
        assert_eq!(outputs(&mut registry), []);
        registry.handle_timeout(after(now, 30.0));
        assert_eq!(outputs(&mut registry), [Output::Refuse { sender: 9, refusal: Refusal::NobodyAccepted }]);
        assert_eq!(registry.accept(&id(1)), None, "too late");
    }

    #[test]
    fn a_sender_that_left_cannot_be_taken() {
        let now = start();
        let (mut registry, _) = with_listener(now);
        registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
        assert_eq!(registry.withdraw(&id(1)), Some(9));
        assert_eq!((registry.accept(&id(1)), registry.waiting_count()), (None, 0));
    }

    #[test]
    fn a_lost_listeners_senders_are_offered_to_another() {
        let now = start();
        let (mut registry, first) = with_listener(now);
        registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
        registry.listen(now, &hyco(), 2, now.wall + Duration::from_secs(3600)).unwrap();
        registry.listener_gone(first, 0);
        assert_eq!(outputs(&mut registry), [Output::Offer { listener: 2, rendezvous: id(1) }]);
        assert_eq!(registry.accept(&id(1)), Some(9));
    }

    #[test]
    fn a_listener_that_comes_back_is_offered_those_who_waited() {
        let now = start();
        let (mut registry, first) = with_listener(now);
        registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
        registry.listener_gone(first, 0);
        assert_eq!(outputs(&mut registry), []);
        registry.listen(now, &hyco(), 1, now.wall + Duration::from_secs(3600)).unwrap();
        assert_eq!(outputs(&mut registry), [Output::Offer { listener: 1, rendezvous: id(1) }]);
    }

    #[test]
    fn sec18_a_token_has_30_seconds_of_patience() {
        let now = start();
        let (mut registry, _) = with_listener(now);
        for seconds in [3600.0, 3601.0, 3629.9] {
            registry.handle_timeout(after(now, seconds));
            assert_eq!((outputs(&mut registry), registry.listener_count()), (vec![], 1), "{seconds}");
        }
        registry.handle_timeout(after(now, 3630.1));
        let closed = outputs(&mut registry);
        assert!(matches!(&closed[..], [Output::Close { listener: 1, reason }] if reason.code == 1008));
        assert_eq!((registry.listener_count(), registry.poll_timeout()), (0, None));
    }

    #[test]
    fn renewal_moves_the_expiry_both_ways() {
        let now = start();
        let (mut registry, listener) = with_listener(now);
        registry.renew(after(now, 3605.0), listener, now.wall + Duration::from_secs(7200));
        registry.handle_timeout(after(now, 7200.0));
        assert_eq!(registry.listener_count(), 1);
        registry.renew(after(now, 7200.0), listener, now.wall + Duration::from_secs(7210));
        registry.handle_timeout(after(now, 7241.0));
        assert_eq!(registry.listener_count(), 0);
    }

    #[test]
    fn a_wall_clock_that_jumps_is_noticed_within_30_seconds() {
        let now = start();
        let (mut registry, _) = with_listener(now);
        let jumped =
            Now { instant: now.instant + WALL_CLOCK_CHECK, wall: now.wall + Duration::from_secs(9999) };
        assert!(registry.poll_timeout().unwrap() <= jumped.instant);
        registry.handle_timeout(jumped);
        assert_eq!(registry.listener_count(), 0);
    }

    #[test]
    fn limits_at_and_past_the_bound() {
        let now = start();
        let limits = Limits { entities_max: 2, listeners_per_entity_max: 25, waiting_senders_max: 2 };
        let mut registry = Small::new(limits);
        let until = now.wall + Duration::from_secs(3600);
        for listener in 0..25 {
            registry.listen(now, &hyco(), listener, until).unwrap();
        }
        assert_eq!(registry.listen(now, &hyco(), 25, until), Err(Refusal::TooManyListeners));
        registry.declare("b".parse().unwrap()).unwrap();
        assert_eq!(registry.declare("c".parse().unwrap()), Err(Refusal::Busy));
        assert_eq!(registry.listen(now, &"c".parse().unwrap(), 1, until), Err(Refusal::Busy));
        registry.connect(now, &hyco(), 1, id(1), 0).unwrap();
        assert_eq!(registry.connect(now, &hyco(), 2, id(1), 0), Err((2, Refusal::Busy)), "an id twice");
        registry.connect(now, &hyco(), 2, id(2), 0).unwrap();
        assert_eq!(registry.connect(now, &hyco(), 3, id(3), 0), Err((3, Refusal::Busy)));
    }

    #[test]
    fn senders_are_spread_over_all_listeners() {
        let now = start();
        let mut registry = Small::new(Limits::default());
        for listener in 0..25 {
            registry.listen(now, &hyco(), listener, now.wall + Duration::from_secs(60)).unwrap();
        }
        let found: BTreeSet<_> = (0..25)
            .map(|pick| registry.connect(now, &hyco(), 0, id(pick), u64::from(pick)).unwrap())
            .collect();
        assert_eq!(found.len(), 25);
    }

    #[test]
    fn rendezvous_id_text() {
        assert_eq!(id(0xab).expose().parse(), Ok(id(0xab)));
        for bad in ["", "ab", &"A".repeat(48), &"a".repeat(49), &"g".repeat(48)] {
            assert_eq!(bad.parse::<RendezvousId>(), Err(RendezvousIdError));
        }
        assert_eq!(format!("{:?}", id(1)), "RendezvousId(…)");
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Listen(u8),
        Gone(u8),
        Connect(u8),
        Accept(u8),
        Withdraw(u8),
        Wait(u16),
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (0u8..3).prop_map(Operation::Listen),
            (0u8..8).prop_map(Operation::Gone),
            (0u8..12).prop_map(Operation::Connect),
            (0u8..12).prop_map(Operation::Accept),
            (0u8..12).prop_map(Operation::Withdraw),
            (0u16..40_000).prop_map(Operation::Wait),
        ]
    }

    proptest! {
        #[test]
        fn sec16_an_id_pairs_at_most_once_and_tables_stay_bounded(operations in proptest::collection::vec(any_operation(), 0..120)) {
            let mut now = start();
            let limits = Limits { entities_max: 2, listeners_per_entity_max: 3, waiting_senders_max: 4 };
            let mut registry: Registry<u64, u64> = Registry::new(limits);
            let names = ["a", "b", "c"].map(|name| name.parse::<EntityPath>().unwrap());
            let (mut listeners, mut answered, mut senders) = (Vec::new(), std::collections::HashSet::new(), 0_u64);
            for operation in operations {
                match operation {
                    Operation::Listen(entity) => {
                        let until = now.wall + Duration::from_secs(50);
                        listeners.extend(registry.listen(now, &names[usize::from(entity)], 0, until));
                    }
                    Operation::Gone(index) if !listeners.is_empty() => {
                        let listener = listeners.remove(usize::from(index) % listeners.len());
                        registry.listener_gone(listener, u64::from(index));
                    }
                    Operation::Gone(_) => {}
                    Operation::Connect(byte) => {
                        senders += 1;
                        let entity = &names[usize::from(byte % 3)];
                        if let Err((sender, _)) = registry.connect(now, entity, senders, id(byte), 7) {
                            prop_assert!(answered.insert(sender), "refused twice");
                        }
                    }
                    Operation::Accept(byte) => if let Some(sender) = registry.accept(&id(byte)) {
                        prop_assert!(answered.insert(sender), "paired twice");
                    },
                    Operation::Withdraw(byte) => if let Some(sender) = registry.withdraw(&id(byte)) {
                        prop_assert!(answered.insert(sender), "withdrawn twice");
                    },
                    Operation::Wait(millis) => {
                        now = after(now, f64::from(millis) / 1000.0);
                        registry.handle_timeout(now);
                        prop_assert!(registry.poll_timeout().is_none_or(|at| at > now.instant));
                    }
                }
                while let Some(output) = registry.poll_output() {
                    if let Output::Refuse { sender, .. } = output {
                        prop_assert!(answered.insert(sender), "refused after an answer");
                    }
                }
                prop_assert!(registry.waiting_count() <= 4 && registry.entities.len() <= 2);
                prop_assert!(registry.listener_count() <= 6);
                prop_assert_eq!(registry.due.len(), registry.waiting_count() + registry.listener_count());
            }
            registry.handle_timeout(after(now, 31.0));
            prop_assert_eq!(registry.waiting_count(), 0, "nobody waits for ever");
        }
    }
}
