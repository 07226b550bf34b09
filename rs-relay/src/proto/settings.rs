//! How namespaces and their hybrid connections are set up.

use super::address::Authority;
use super::jwt::IssuerSettings;
use super::path::EntityPath;
use super::refusal::Refusal;
use super::registry::Limits;
use super::rules::Rules;

/// Which senders a hybrid connection takes.
///
/// The relay cannot know what a listener is, and some of the official clients die of what they do not expect: a WebSocket
/// sender kills a listener of hyco-https, an HTTP request with a body kills one of hyco-ws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kinds {
    /// WebSocket and HTTP senders.
    #[default]
    Both,
    /// WebSocket senders; HTTP ones get 405.
    WebSocket,
    /// HTTP senders; WebSocket ones get 405.
    Http,
}

impl Kinds {
    /// # Errors
    ///
    /// [`Refusal::WrongKind`] for a WebSocket sender that is not taken.
    pub fn take_websocket(self) -> Result<(), Refusal> {
        if self == Self::Http { Err(Refusal::WrongKind("HTTP requests")) } else { Ok(()) }
    }

    /// # Errors
    ///
    /// [`Refusal::WrongKind`] for an HTTP sender that is not taken.
    pub fn take_http(self) -> Result<(), Refusal> {
        if self == Self::WebSocket { Err(Refusal::WrongKind("WebSocket connections")) } else { Ok(()) }
    }
}

/// How a hybrid connection is set up.
///
/// # Defaults
///
/// No rules of its own (those of the namespace hold); WebSocket and HTTP senders; they need a token.
#[derive(Debug, Clone, Default)]
pub struct EntitySettings {
    pub(crate) rules: Rules,
    pub(crate) anonymous_senders: bool,
    pub(crate) kinds: Kinds,
}

impl EntitySettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rules that hold for this entity only, looked at before those of the namespace.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Which senders are taken.
    #[must_use]
    pub fn kinds(self, kinds: Kinds) -> Self {
        Self { kinds, ..self }
    }

    /// Lets senders connect without a token. Listeners always need one.
    #[must_use]
    pub fn dangerous_anonymous_senders(self) -> Self {
        Self { anonymous_senders: true, ..self }
    }
}

/// A namespace: the names under which clients reach it, and all that is known only in it. Namespaces of one server cannot
/// see each other's entities, keys, listeners or numbers.
///
/// # Defaults
///
/// No rules and no issuers, so nobody gets in; no entities, they come into being when somebody listens; [`Limits`] as Azure's.
#[derive(Debug, Clone)]
pub struct NamespaceSettings {
    pub(crate) hosts: Vec<Authority>,
    pub(crate) public: Option<Authority>,
    pub(crate) rules: Rules,
    pub(crate) issuers: Vec<IssuerSettings>,
    pub(crate) entities: Vec<(EntityPath, EntitySettings)>,
    pub(crate) entity_defaults: EntitySettings,
    pub(crate) create_on_listen: bool,
    pub(crate) limits: Limits,
}

impl NamespaceSettings {
    /// A namespace that clients reach under `hosts`. The first one is its name. Ports do not matter.
    pub fn new(hosts: impl IntoIterator<Item = Authority>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            public: None,
            rules: Rules::default(),
            issuers: Vec::new(),
            entities: Vec::new(),
            entity_defaults: EntitySettings::default(),
            create_on_listen: true,
            limits: Limits::default(),
        }
    }

    /// Rules that hold in the whole namespace.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Adds an issuer of JSON Web Tokens.
    #[must_use]
    pub fn issuer(mut self, issuer: IssuerSettings) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Makes a hybrid connection that exists whether somebody listens or not.
    #[must_use]
    pub fn entity(mut self, path: EntityPath, settings: EntitySettings) -> Self {
        self.entities.push((path, settings));
        self
    }

    /// How entities are set up that come into being when somebody listens.
    #[must_use]
    pub fn entity_defaults(self, settings: EntitySettings) -> Self {
        Self { entity_defaults: settings, ..self }
    }

    /// Refuses listeners on entities that were not declared, with 404.
    #[must_use]
    pub fn declared_entities_only(self) -> Self {
        Self { create_on_listen: false, ..self }
    }

    /// Host and port to put into rendezvous addresses. By default what each listener has put into its `Host` header.
    #[must_use]
    pub fn public_authority(self, authority: Authority) -> Self {
        Self { public: Some(authority), ..self }
    }

    /// Bounds of the namespace.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The names under which clients reach it, as they were given.
    #[must_use]
    pub fn hosts(&self) -> &[Authority] {
        &self.hosts
    }

    /// All host names, in lower case, without ports and without a dot at the end.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let mut names: Vec<Box<str>> = Vec::new();
        for authority in self.hosts.iter().chain(&self.public) {
            let name = host_name(authority);
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        names
    }
}

/// The host for comparing: `a.test.` is `a.test`.
pub(crate) fn host_name(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_suffix('.').unwrap_or(host)
}
