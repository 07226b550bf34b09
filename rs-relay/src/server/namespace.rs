//! The state of one namespace behind a lock, and the handles that lie in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{EntitySettings, Times};
use crate::net::{Clock, Upgraded, random};
use crate::proto::frame::CloseReason;
use crate::proto::registry::{Limits, ListenerId, Now, Output, Registry};
use crate::proto::{
    Accept, Ask, Authority, Authorized, EntityPath, Headers, Refusal, RemoteEndpoint, RendezvousAddress,
    RendezvousId, RequestPath, Right, Rules, ServerMessage, Target, TokenError, authorize,
};

/// Messages that may wait for one control channel.
const COMMANDS_MAX: usize = 256;

/// What a control channel is told.
#[derive(Debug)]
pub(crate) enum Command {
    Send(String),
    Close(CloseReason),
}

/// A listener in the registry.
#[derive(Debug, Clone)]
pub(crate) struct ListenerHandle {
    commands: mpsc::Sender<Command>,
    /// Where this listener reaches us.
    authority: Authority,
}

/// What a waiting sender is told.
pub(crate) enum Verdict {
    /// A listener is at the rendezvous.
    Meet {
        /// The subprotocol that the listener chose.
        protocol: Option<hyper::header::HeaderValue>,
        /// Yields the listener's stream as soon as its handshake is through.
        stream: oneshot::Receiver<Upgraded>,
    },
    Refuse(Refusal),
}

/// A sender that waits.
pub(crate) struct SenderHandle {
    verdict: oneshot::Sender<Verdict>,
    offer: Offer,
}

/// What is needed to offer a sender to a listener.
pub(crate) struct Offer {
    pub(crate) target: Target,
    pub(crate) tracking_id: String,
    pub(crate) headers: Headers,
    pub(crate) remote: RemoteEndpoint,
}

impl Offer {
    fn message(&self, authority: &Authority, id: &RendezvousId) -> Result<String, Refusal> {
        let address = RendezvousAddress::new(authority.clone(), &self.target, &self.tracking_id, id);
        let accept = Accept {
            address: address.expose_url(),
            id: self.tracking_id.clone(),
            connect_headers: self.headers.clone(),
            remote_endpoint: self.remote.clone(),
        };
        ServerMessage::Accept(accept).to_text().map_err(|_| Refusal::HeadersTooLarge)
    }
}

pub(crate) struct Settings {
    pub(crate) hosts: Vec<Box<str>>,
    pub(crate) public: Option<Authority>,
    pub(crate) rules: Rules,
    pub(crate) declared: Vec<(EntityPath, EntitySettings)>,
    pub(crate) create_on_listen: bool,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct Namespace {
    hosts: Vec<Box<str>>,
    public: Option<Authority>,
    create_on_listen: bool,
    times: Times,
    clock: Arc<dyn Clock>,
    rules: RwLock<Rules>,
    settings: HashMap<EntityPath, EntitySettings>,
    defaults: EntitySettings,
    registry: Mutex<Registry<ListenerHandle, SenderHandle>>,
    changed: Notify,
}

impl Namespace {
    pub(crate) fn new(settings: Settings) -> Result<Self, Refusal> {
        let mut registry = Registry::new(settings.limits);
        for (path, _) in &settings.declared {
            registry.declare(path.clone())?;
        }
        Ok(Self {
            hosts: settings.hosts,
            public: settings.public,
            create_on_listen: settings.create_on_listen,
            times: settings.times,
            clock: settings.clock,
            rules: RwLock::new(settings.rules),
            settings: settings.declared.into_iter().collect(),
            defaults: EntitySettings::default(),
            registry: Mutex::new(registry),
            changed: Notify::new(),
        })
    }

    pub(crate) fn times(&self) -> Times {
        self.times
    }

    pub(crate) fn now(&self) -> Now {
        Now { instant: Instant::now().into_std(), wall: self.clock.now() }
    }

    /// The name of the namespace in messages.
    pub(crate) fn host(&self) -> &str {
        self.hosts.first().map_or("", |host| host)
    }

    pub(crate) fn replace_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
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
        let exists = self.create_on_listen || self.registry().exists(&entity);
        if exists { Ok(entity) } else { Err(Refusal::NoEntity) }
    }

    pub(crate) fn admits_anonymous_senders(&self, entity: &EntityPath) -> bool {
        self.settings_of(entity).anonymous_senders
    }

    pub(crate) fn authorize(
        &self,
        token: Option<&SecretString>,
        right: Right,
        path: &RequestPath,
        entity: &EntityPath,
    ) -> Result<Authorized, Refusal> {
        let token = token.ok_or(TokenError::Missing)?;
        let ask = Ask { right, path, entity, now: self.clock.now() };
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        authorize(token.expose_secret(), &ask, &self.hosts, &self.settings_of(entity).rules, &rules)
    }

    fn settings_of(&self, entity: &EntityPath) -> &EntitySettings {
        self.settings.get(entity).unwrap_or(&self.defaults)
    }

    /// Puts a listener in. `host` is what it has put into its `Host` header.
    pub(crate) fn listen(
        &self,
        entity: &EntityPath,
        host: Authority,
        authorized: &Authorized,
    ) -> Result<(ListenerId, mpsc::Receiver<Command>), Refusal> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let authority = self.public.clone().unwrap_or(host);
        let handle = ListenerHandle { commands, authority };
        let mut registry = self.registry();
        let id = registry.listen(self.now(), entity, handle, authorized.expires_at)?;
        deliver(&mut registry);
        drop(registry);
        self.changed.notify_waiters();
        Ok((id, receiver))
    }

    pub(crate) fn renew(&self, id: ListenerId, authorized: &Authorized) {
        self.registry().renew(self.now(), id, authorized.expires_at);
        self.changed.notify_waiters();
    }

    pub(crate) fn listener_gone(&self, id: ListenerId) {
        let mut registry = self.registry();
        registry.listener_gone(id, random::number());
        deliver(&mut registry);
    }

    /// Lets a sender wait and offers it to a listener.
    pub(crate) fn connect(
        self: &Arc<Self>,
        entity: &EntityPath,
        offer: Offer,
    ) -> Result<(Waiting, oneshot::Receiver<Verdict>), Refusal> {
        let (verdict, receiver) = oneshot::channel();
        let id = random::rendezvous_id();
        let sender = SenderHandle { verdict, offer };
        let mut registry = self.registry();
        let connected = registry.connect(self.now(), entity, sender, id.clone(), random::number());
        let listener = connected.map_err(|(_, refusal)| refusal)?;
        if let Err(refusal) = tell(&registry, &listener, &id) {
            registry.withdraw(&id);
            return Err(refusal);
        }
        drop(registry);
        self.changed.notify_waiters();
        Ok((Waiting { namespace: Arc::clone(self), id }, receiver))
    }

    /// Hands the sender of a rendezvous out, once.
    pub(crate) fn accept(&self, id: &RendezvousId) -> Option<oneshot::Sender<Verdict>> {
        self.registry().accept(id).map(|sender| sender.verdict)
    }

    /// Does what becomes due, until told to stop.
    pub(crate) async fn run_timers(self: Arc<Self>, stop: CancellationToken) {
        loop {
            // Asked for before the look, so that a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = self.registry().poll_timeout().map(Instant::from_std);
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
                    deliver(&mut registry);
                }
                () = changed => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry<ListenerHandle, SenderHandle>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Table = Registry<ListenerHandle, SenderHandle>;

/// Tells a listener of a sender that waits.
fn tell(registry: &Table, listener: &ListenerHandle, id: &RendezvousId) -> Result<(), Refusal> {
    let waiting = registry.waiting(id).ok_or(Refusal::NoRendezvous)?;
    let message = waiting.offer.message(&listener.authority, id)?;
    listener.commands.try_send(Command::Send(message)).map_err(|_| Refusal::Busy)
}

/// Carries out what the registry asks for.
fn deliver(registry: &mut Table) {
    while let Some(output) = registry.poll_output() {
        match output {
            Output::Offer { listener, rendezvous } => {
                if let Err(refusal) = tell(registry, &listener, &rendezvous) {
                    let sender = registry.withdraw(&rendezvous);
                    let _ = sender.map(|sender| sender.verdict.send(Verdict::Refuse(refusal)));
                }
            }
            Output::Refuse { sender, refusal } => {
                let _ = sender.verdict.send(Verdict::Refuse(refusal));
            }
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
        self.namespace.registry().withdraw(&self.id);
    }
}
