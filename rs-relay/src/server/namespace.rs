//! The state of one namespace behind a lock, and the handles that lie in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ConfigError;
use super::door::Ticket;
use super::http::HttpCaller;
use super::issuers::Issuers;
use super::metrics::{Metrics, NamespaceMetrics};
use crate::net::{Clock, Upgraded, random};
use crate::proto::frame::CloseReason;
use crate::proto::registry::{Limits, ListenerId, Meeting, Now, Output, Registry};
use crate::proto::{
    Accept, Ask, Authority, Authorized, EntityPath, EntitySettings, Headers, Kinds, NamespaceSettings,
    Refusal, RemoteEndpoint, RendezvousAddress, RendezvousId, RequestPath, Right, Rules, ServerMessage,
    Target, TokenError, authorize, token_of_authorization, tracking_id,
};

/// Commands that may wait for one control channel. They are small: a sender stays in the registry until its turn has come.
const COMMANDS_MAX: usize = 8 * 1024;

/// What a control channel is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A sender waits: ask [`Namespace::message_for`] for the message.
    Offer(RendezvousId),
    Close(CloseReason),
}

/// A message for a listener, with the body that has to follow it directly.
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) body: Option<Bytes>,
}

/// A listener in the registry.
#[derive(Debug, Clone)]
pub(crate) struct ListenerHandle {
    commands: mpsc::Sender<Command>,
    about: Arc<About>,
    /// Judged again when rules change.
    token: Arc<SecretString>,
}

#[derive(Debug)]
struct About {
    /// Where this listener reaches us.
    authority: Authority,
    path: RequestPath,
}

/// What a waiting sender is told.
pub(crate) enum Verdict {
    /// A listener is at the rendezvous.
    Meet {
        /// The subprotocol that the listener chose.
        protocol: Option<hyper::header::HeaderValue>,
        /// Yields the listener's stream as soon as its handshake is through.
        stream: oneshot::Receiver<(Upgraded, Arc<Ticket>)>,
    },
    Refuse(Refusal),
}

/// A sender that waits.
pub(crate) enum SenderHandle {
    WebSocket { verdict: oneshot::Sender<Verdict>, offer: Box<Offer> },
    Http(Box<HttpCaller>),
}

impl SenderHandle {
    fn refuse(self, refusal: Refusal) {
        match self {
            Self::WebSocket { verdict, .. } => drop(verdict.send(Verdict::Refuse(refusal))),
            Self::Http(caller) => caller.refuse(refusal),
        }
    }

    fn message(&self, authority: &Authority, id: &RendezvousId) -> Result<Message, Refusal> {
        match self {
            Self::WebSocket { offer, .. } => offer.message(authority, id),
            Self::Http(caller) => caller.message(authority, id),
        }
    }
}

/// What is needed to offer a WebSocket sender to a listener.
pub(crate) struct Offer {
    pub(crate) target: Target,
    pub(crate) tracking_id: String,
    pub(crate) headers: Headers,
    pub(crate) remote: RemoteEndpoint,
}

impl Offer {
    fn message(&self, authority: &Authority, id: &RendezvousId) -> Result<Message, Refusal> {
        let address = RendezvousAddress::new(authority.clone(), &self.target, &self.tracking_id, id);
        let accept = Accept {
            address: address.expose_url(),
            id: self.tracking_id.clone(),
            connect_headers: self.headers.clone(),
            remote_endpoint: self.remote.clone(),
        };
        let text = ServerMessage::Accept(accept).to_text().map_err(|_| Refusal::HeadersTooLarge)?;
        Ok(Message { text, body: None })
    }
}

/// What a reload can change, as a whole.
#[derive(Debug)]
struct Policy {
    public: Option<Authority>,
    rules: Rules,
    issuers: Issuers,
    settings: HashMap<EntityPath, EntitySettings>,
    defaults: EntitySettings,
    create_on_listen: bool,
    limits: Limits,
    hosts: Vec<Box<str>>,
}

impl Policy {
    fn new(settings: NamespaceSettings) -> Result<Self, ConfigError> {
        let hosts = settings.names();
        let namespace = hosts.first().ok_or(ConfigError::NoHost)?.to_string();
        if settings.entities.len() > settings.limits.entities_max {
            return Err(ConfigError::TooManyEntities);
        }
        let mut entities = HashMap::with_capacity(settings.entities.len());
        for (path, of_entity) in settings.entities {
            if entities.insert(path.clone(), of_entity).is_some() {
                return Err(ConfigError::EntityTwice { namespace, entity: path });
            }
        }
        Ok(Self {
            public: settings.public,
            rules: settings.rules,
            issuers: Issuers::new(settings.issuers)?,
            settings: entities,
            defaults: settings.entity_defaults,
            create_on_listen: settings.create_on_listen,
            limits: settings.limits,
            hosts,
        })
    }

    fn of(&self, entity: &EntityPath) -> &EntitySettings {
        self.settings.get(entity).unwrap_or(&self.defaults)
    }

    /// The one place where a token of any kind is judged.
    fn authorize(&self, token: &SecretString, ask: &Ask<'_>) -> Result<Authorized, Refusal> {
        let text = token_of_authorization(token.expose_secret());
        if Issuers::is_jwt(text) {
            return self.issuers.authorize(text, ask);
        }
        authorize(text, ask, &self.hosts, &self.of(ask.entity).rules, &self.rules)
    }
}

/// What a change of settings did to those who were there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Listeners that were closed, because their key, issuer, right or entity is gone.
    pub listeners_closed: usize,
    /// Listeners that stay.
    pub listeners_kept: usize,
}

pub(crate) struct Namespace {
    name: Box<str>,
    clock: Arc<dyn Clock>,
    policy: RwLock<Arc<Policy>>,
    registry: Mutex<Table>,
    changed: Notify,
    /// Until when the timers sleep; changed under the registry's lock.
    timers_until: Mutex<Option<std::time::Instant>>,
    numbers: AtomicU64,
    has_timers: AtomicBool,
    pub(crate) metrics: NamespaceMetrics,
}

impl Namespace {
    pub(crate) fn new(
        settings: NamespaceSettings,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let policy = Policy::new(settings)?;
        let name: Box<str> = policy.hosts.first().cloned().unwrap_or_default();
        let mut registry = Registry::new(policy.limits);
        for path in policy.settings.keys() {
            registry.declare(path.clone()).map_err(|_| ConfigError::TooManyEntities)?;
        }
        Ok(Self {
            metrics: metrics.of(&name),
            name,
            clock,
            policy: RwLock::new(Arc::new(policy)),
            registry: Mutex::new(registry),
            changed: Notify::new(),
            timers_until: Mutex::new(None),
            numbers: AtomicU64::new(0),
            has_timers: AtomicBool::new(false),
        })
    }

    /// Replaces all settings at once. Declared entities come and go, listeners are judged again by the tokens that they
    /// hold; whatever is joined stays.
    pub(crate) fn reconfigure(&self, settings: NamespaceSettings) -> Result<Reloaded, ConfigError> {
        let policy = Arc::new(Policy::new(settings)?);
        let mut registry = self.registry();
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&policy);
        let now = self.now();
        let before = registry.listener_count();
        registry.set_limits(policy.limits);
        let known: Vec<_> = registry.entities().cloned().collect();
        for entity in known.iter().filter(|entity| !policy.settings.contains_key(*entity)) {
            if policy.create_on_listen {
                registry.undeclare(entity);
            } else {
                registry.remove_entity(now, entity);
            }
        }
        for entity in policy.settings.keys() {
            registry.declare(entity.clone()).map_err(|_| ConfigError::TooManyEntities)?;
        }
        let judge = |(id, handle, entity, expires_at): (ListenerId, &ListenerHandle, &EntityPath, _)| {
            // A listener that is late with its renewal is the timer's business.
            let at = now.wall.min(expires_at - chrono::TimeDelta::seconds(1));
            let ask = Ask { right: Right::Listen, path: &handle.about.path, entity, now: at };
            policy.authorize(&handle.token, &ask).is_err().then_some(id)
        };
        let rejected: Vec<_> = registry.each_listener().filter_map(judge).collect();
        let reason = CloseReason::new(CloseReason::POLICY, "The token is no longer good here.");
        for id in rejected {
            registry.dismiss(now, id, &reason);
        }
        let kept = registry.listener_count();
        deliver(&mut registry, now);
        Ok(Reloaded { listeners_closed: before - kept, listeners_kept: kept })
    }

    /// The namespace is gone: whoever listens or waits is told.
    pub(crate) fn close(&self) -> usize {
        let mut registry = self.registry();
        let now = self.now();
        let closed = registry.listener_count();
        let known: Vec<_> = registry.entities().cloned().collect();
        for entity in known {
            registry.remove_entity(now, &entity);
        }
        deliver(&mut registry, now);
        closed
    }

    /// Whether a client that names this host means this namespace.
    pub(crate) fn is_named(&self, host: &str) -> bool {
        self.policy().hosts.iter().any(|name| **name == *host)
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn now(&self) -> Now {
        Now { instant: Instant::now().into_std(), wall: self.clock.now() }
    }

    /// The name of the namespace in messages.
    pub(crate) fn host(&self) -> &str {
        &self.name
    }

    pub(crate) fn listeners(&self, entity: &EntityPath) -> usize {
        self.registry().listeners(entity)
    }

    /// The longest existing entity that the path is at or below.
    pub(crate) fn find_entity(&self, path: &RequestPath) -> Option<EntityPath> {
        let registry = self.registry();
        path.entity_candidates().find(|entity| registry.exists(entity))
    }

    /// The entity for a listener: the whole path.
    pub(crate) fn listen_entity(&self, path: &RequestPath) -> Result<EntityPath, Refusal> {
        let entity = path.to_entity().map_err(|_| Refusal::NoEntity)?;
        let exists = self.policy().create_on_listen || self.registry().exists(&entity);
        if exists { Ok(entity) } else { Err(Refusal::NoEntity) }
    }

    pub(crate) fn admits_anonymous_senders(&self, entity: &EntityPath) -> bool {
        self.policy().of(entity).anonymous_senders
    }

    /// Which senders an entity takes.
    pub(crate) fn kinds(&self, entity: &EntityPath) -> Kinds {
        self.policy().of(entity).kinds
    }

    pub(crate) fn authorize(
        &self,
        token: Option<&SecretString>,
        right: Right,
        path: &RequestPath,
        entity: &EntityPath,
    ) -> Result<Authorized, Refusal> {
        let token = token.ok_or(TokenError::Missing)?;
        self.policy().authorize(token, &Ask { right, path, entity, now: self.clock.now() })
    }

    /// Judges the token of a listener and puts it in. `host` is what it has put into its `Host` header.
    pub(crate) fn listen(
        &self,
        entity: &EntityPath,
        path: &RequestPath,
        host: Authority,
        token: Option<&SecretString>,
    ) -> Result<(ListenerId, mpsc::Receiver<Command>), Refusal> {
        let token = Arc::new(token.cloned().ok_or(TokenError::Missing)?);
        let policy = self.policy();
        let ask = Ask { right: Right::Listen, path, entity, now: self.clock.now() };
        let mut authorized = policy.authorize(&token, &ask)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let authority = policy.public.clone().unwrap_or(host);
        let about = Arc::new(About { authority, path: path.clone() });
        let handle = ListenerHandle { commands, about, token };
        let mut registry = self.registry();
        let current = self.policy();
        if !Arc::ptr_eq(&policy, &current) {
            // The settings have changed in between.
            authorized = current.authorize(&handle.token, &ask)?;
        }
        self.room(&registry, &current)?;
        let id = registry.listen(self.now(), entity, handle, authorized.expires_at)?;
        deliver(&mut registry, self.now());
        drop(registry);
        self.changed.notify_waiters();
        Ok((id, receiver))
    }

    /// Judges the fresh token of a listener, which replaces the old one.
    pub(crate) fn renew(
        &self,
        id: ListenerId,
        entity: &EntityPath,
        path: &RequestPath,
        token: &SecretString,
    ) -> Result<(), Refusal> {
        // Judged under the lock that a change of settings holds, too.
        let mut registry = self.registry();
        let authorized = self.authorize(Some(token), Right::Listen, path, entity)?;
        registry.renew(self.now(), id, authorized.expires_at);
        if let Some(handle) = registry.listener_mut(id) {
            handle.token = Arc::new(token.clone());
        }
        drop(registry);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(crate) fn listener_gone(&self, id: ListenerId) {
        let mut registry = self.registry();
        registry.listener_gone(self.now(), id, random::number());
        deliver(&mut registry, self.now());
    }

    /// Offers a listener no further senders. How many requests it still has to answer.
    pub(crate) fn retire(&self, id: ListenerId) -> usize {
        let mut registry = self.registry();
        registry.retire(id);
        registry.unanswered(id)
    }

    /// The id of a connection or request, by the client's own.
    pub(crate) fn tracking_id(&self, client: Option<&str>) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        tracking_id(client, uuid::Uuid::new_v4(), number)
    }

    /// Lets a WebSocket sender wait and offers it to a listener.
    pub(crate) fn connect(
        self: &Arc<Self>,
        entity: &EntityPath,
        offer: Offer,
    ) -> Result<(Waiting, oneshot::Receiver<Verdict>), Refusal> {
        let (verdict, receiver) = oneshot::channel();
        let id = random::rendezvous_id();
        let sender = SenderHandle::WebSocket { verdict, offer: Box::new(offer) };
        let mut registry = self.registry();
        self.room(&registry, &self.policy())?;
        let offered = registry.connect(self.now(), entity, sender, id.clone(), random::number());
        let waiting = self.offered(&mut registry, offered, id)?;
        Ok((waiting, receiver))
    }

    /// Lets an HTTP sender wait and offers it to a listener.
    pub(crate) fn request(
        self: &Arc<Self>,
        entity: &EntityPath,
        caller: HttpCaller,
    ) -> Result<Waiting, Refusal> {
        let id = random::rendezvous_id();
        let request = caller.id().into();
        let sender = SenderHandle::Http(Box::new(caller));
        let mut registry = self.registry();
        self.room(&registry, &self.policy())?;
        let offered = registry.request(self.now(), entity, (sender, request), id.clone(), random::number());
        self.offered(&mut registry, offered, id)
    }

    /// Whether one connection more fits into the namespace.
    fn room(&self, registry: &Table, policy: &Policy) -> Result<(), Refusal> {
        let joined = usize::try_from(self.metrics.joined.get()).unwrap_or(0);
        let all = registry.listener_count() + registry.waiting_count() + joined;
        if all < policy.limits.connections_max { Ok(()) } else { Err(Refusal::TooManyConnections) }
    }

    fn offered(
        self: &Arc<Self>,
        registry: &mut Table,
        offered: Result<ListenerHandle, (SenderHandle, Refusal)>,
        id: RendezvousId,
    ) -> Result<Waiting, Refusal> {
        let listener = offered.map_err(|(_, refusal)| refusal)?;
        if listener.commands.try_send(Command::Offer(id.clone())).is_err() {
            registry.withdraw(self.now(), &id);
            return Err(Refusal::Busy);
        }
        self.wake_timers(registry);
        Ok(Waiting { namespace: Arc::clone(self), id })
    }

    /// The message that tells a listener of a sender, if that one still waits for this listener.
    pub(crate) fn message_for(&self, listener: ListenerId, id: &RendezvousId) -> Option<Message> {
        let mut registry = self.registry();
        let authority = registry.listener(listener)?.about.authority.clone();
        let message = registry.tell(self.now(), listener, id)?.message(&authority, id);
        message
            .map_err(|refusal| {
                if let Some(sender) = registry.withdraw(self.now(), id) {
                    sender.refuse(refusal);
                }
            })
            .ok()
    }

    /// Hands the WebSocket sender of a rendezvous out, once.
    pub(crate) fn accept(&self, id: &RendezvousId) -> Option<oneshot::Sender<Verdict>> {
        match self.registry().accept(id)? {
            SenderHandle::WebSocket { verdict, .. } => Some(verdict),
            SenderHandle::Http(_) => None,
        }
    }

    /// Hands the HTTP sender of a rendezvous out, once.
    pub(crate) fn meet(&self, id: &RendezvousId) -> Option<Meeting<Box<HttpCaller>>> {
        match self.registry().meet(self.now(), id)? {
            Meeting::Late => Some(Meeting::Late),
            Meeting::Sender(sender) => http_caller(sender).map(Meeting::Sender),
        }
    }

    /// A listener has begun to answer a request on its control channel. Whether anybody waits for it.
    pub(crate) fn responding(&self, listener: ListenerId, request: &str) -> bool {
        self.registry().responding(self.now(), listener, request)
    }

    /// Hands the HTTP sender out that a listener has answered on its control channel.
    pub(crate) fn respond(&self, listener: ListenerId, request: &str) -> Option<Box<HttpCaller>> {
        self.registry().respond(listener, request).and_then(http_caller)
    }

    /// Starts the timers, unless they run.
    pub(crate) fn start_timers(self: &Arc<Self>, end: &CancellationToken) {
        if !self.has_timers.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(self).run_timers(end.clone()));
        }
    }

    /// Says that the timers go to sleep, and until when.
    fn timers_sleep(&self, registry: &Table) -> Option<std::time::Instant> {
        let next = registry.poll_timeout();
        *self.timers_until.lock().unwrap_or_else(PoisonError::into_inner) = next;
        next
    }

    /// Wakes the timers when something is due before they would wake by themselves. For a sender that is seldom so: an
    /// earlier one has set them already.
    fn wake_timers(&self, registry: &Table) {
        let until = *self.timers_until.lock().unwrap_or_else(PoisonError::into_inner);
        let next = registry.poll_timeout();
        if next.is_some_and(|next| until.is_none_or(|until| next < until)) {
            self.changed.notify_waiters();
        }
    }

    /// Does what becomes due, until told to stop.
    async fn run_timers(self: Arc<Self>, end: CancellationToken) {
        loop {
            // Asked for before the look, so that a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = self.timers_sleep(&self.registry()).map(Instant::from_std);
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {
                    let mut registry = self.registry();
                    registry.handle_timeout(self.now());
                    deliver(&mut registry, self.now());
                }
                () = changed => {}
                () = end.cancelled() => return,
            }
        }
    }

    /// Listeners and waiting senders right now.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let registry = self.registry();
        (registry.listener_count(), registry.waiting_count())
    }

    fn registry(&self) -> MutexGuard<'_, Table> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Table = Registry<ListenerHandle, SenderHandle>;

fn http_caller(sender: SenderHandle) -> Option<Box<HttpCaller>> {
    match sender {
        SenderHandle::Http(caller) => Some(caller),
        SenderHandle::WebSocket { .. } => None,
    }
}

/// Carries out what the registry asks for.
fn deliver(registry: &mut Table, now: Now) {
    while let Some(output) = registry.poll_output() {
        match output {
            Output::Offer { listener, rendezvous } => {
                if listener.commands.try_send(Command::Offer(rendezvous.clone())).is_err()
                    && let Some(sender) = registry.withdraw(now, &rendezvous)
                {
                    sender.refuse(Refusal::Busy);
                }
            }
            Output::Refuse { sender, refusal } => sender.refuse(refusal),
            Output::Close { listener, reason } => {
                let _ = listener.commands.try_send(Command::Close(reason));
            }
        }
    }
}

/// Takes a sender out of the registry when it leaves before an answer.
pub(crate) struct Waiting {
    namespace: Arc<Namespace>,
    id: RendezvousId,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let left = self.namespace.registry().withdraw(self.namespace.now(), &self.id);
        // Outside of the lock: the drop of a handle may do more.
        drop(left);
    }
}
