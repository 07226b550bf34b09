//! A relay's configuration file: namespaces, keys, issuers and hybrid connections as TOML.
//!
//! ```toml
//! # At least one. The first host is the namespace's name; it keeps its listeners over a reload.
//! [[namespace]]
//! hosts = ["relay.example.test"]
//! # Host and port in rendezvous addresses [default: what each listener has called].
//! public = "relay.example.test:8443"
//! # Whether a hybrid connection comes into being when somebody listens on it [default: true].
//! create-on-listen = true
//! # How those are set up: "both", "websocket" or "http" [default: "both"].
//! kinds = "both"
//! # Bounds [defaults: 25, 10000, 5000, 10000].
//! listeners-per-entity = 25
//! entities = 10000
//! waiting-senders = 5000
//! connections = 10000
//!
//! # At most 12 on each level. A key stands here, or in a file of its own (relative to this one).
//! [[namespace.rule]]
//! name = "RootManageSharedAccessKey"
//! rights = ["Manage"]
//! primary-key-file = "keys/root"
//! secondary-key = "an older key that is still good"
//!
//! # A hybrid connection that is there whether somebody listens or not.
//! [[namespace.entity]]
//! name = "azlocal/node-01"
//! kinds = "websocket"
//! # Whether senders need a token; listeners always do [default: true].
//! client-authorization = true
//! [[namespace.entity.rule]]
//! name = "node-01-listen"
//! rights = ["Listen"]
//! primary-key-file = "keys/node-01"
//!
//! # JSON Web Tokens. The keys stand in a JSON Web Key Set or in one PEM file.
//! [[namespace.issuer]]
//! name = "entra"
//! issuer = "https://login.example.test/tenant/v2.0"
//! # [default: "https://relay.azure.net/"; a slash at the end makes no difference]
//! audiences = ["https://relay.azure.net/"]
//! jwks-file = "entra.jwks.json"
//! [[namespace.issuer.grant]]
//! # [default: "roles"]
//! claim = "roles"
//! values = ["Relay.Listener"]
//! rights = ["Listen"]
//! # Only there and below [default: everywhere in the namespace].
//! entity = "azlocal"
//! ```
//!
//! Unknown members are errors. The file is a secret when keys stand in it.
//!
//! ```
//! use rs_relay::config;
//!
//! let text = r#"
//!     [[namespace]]
//!     hosts = ["relay.example.test"]
//!     [[namespace.rule]]
//!     name = "root"
//!     rights = ["Manage"]
//!     primary-key-file = "root.key"
//! "#;
//! let namespaces = config::parse(text, |file| {
//!     assert_eq!(file.to_str(), Some("root.key"));
//!     Ok("the key\n".to_owned())
//! })?;
//! assert_eq!(namespaces.len(), 1);
//! let wrong = config::parse("[[namespace]]\nhosts = [\"a b\"]", |_| unreachable!()).unwrap_err();
//! assert_eq!(wrong.to_string(), "namespace 1: \"a b\" is no host name or host:port");
//! # Ok::<(), config::ConfigFileError>(())
//! ```

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::proto::registry::Limits;
use crate::proto::{
    Authority, AuthorizationRule, EntityPath, EntitySettings, IssuerKeys, IssuerSettings, JwtGrant, KeyName,
    Kinds, NamespaceSettings, Right, Rules, SharedKey,
};

/// Longest configuration file, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest file with a key or a key set, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 256 * 1024;

/// Namespaces in one file.
pub const NAMESPACES_MAX: usize = 1000;

/// Why a configuration cannot be used. Says where; shows nothing of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// No TOML, or a member that is unknown, missing or of a wrong type.
    #[error("line {line}: {what}")]
    Toml {
        /// Where, from 1.
        line: usize,
        /// What.
        what: String,
    },
    /// A value that cannot be.
    #[error("{place}: {what}")]
    Value {
        /// Which table.
        place: String,
        /// What.
        what: String,
    },
    /// A file with a key cannot be read.
    #[error("{place}: cannot read {}", file.display())]
    File {
        /// Which table.
        place: String,
        /// Which file, as it is named.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads a configuration. `read` gives the texts of the files that it names, which are relative to it.
///
/// # Errors
///
/// [`ConfigFileError`], with the place.
pub fn parse(
    text: &str,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Vec<NamespaceSettings>, ConfigFileError> {
    if text.len() > FILE_BYTES_MAX {
        let what = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return Err(ConfigFileError::Toml { line: 1, what });
    }
    let file: File = toml::from_str(text).map_err(|error| toml_error(text, &error))?;
    let whole = Place("the file".to_owned());
    if file.namespace.is_empty() {
        return Err(whole.wrong("it has no [[namespace]]"));
    }
    if file.namespace.len() > NAMESPACES_MAX {
        return Err(whole.wrong(format!("it has more than {NAMESPACES_MAX} namespaces")));
    }
    let namespaces = file.namespace.into_iter().enumerate();
    namespaces
        .map(|(index, table)| table.settings(&Place(format!("namespace {}", index + 1)), &read))
        .collect()
}

/// Whether keys stand in the configuration itself, so that nobody but its owner may read it. `false` for what is no
/// configuration.
#[must_use]
pub fn has_keys(text: &str) -> bool {
    let with_key = |rule: &RuleTable| rule.primary_key.is_some() || rule.secondary_key.is_some();
    toml::from_str::<File>(text).is_ok_and(|file| {
        file.namespace.iter().any(|namespace| {
            let of_entities = namespace.entity.iter().flat_map(|entity| &entity.rule);
            namespace.rule.iter().chain(of_entities).any(with_key)
        })
    })
}

/// Line and cause of a TOML error, without a word of the file: it may hold keys.
fn toml_error(text: &str, error: &toml::de::Error) -> ConfigFileError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = error.message();
    let quotes_a_value = message.contains("invalid value") || message.contains("invalid type");
    let what = if quotes_a_value {
        let expected = message.rsplit_once("expected ").map_or("something else", |(_, expected)| expected);
        format!("a value is wrong here; expected {expected}")
    } else {
        message.lines().next().unwrap_or_default().to_owned()
    };
    ConfigFileError::Toml { line, what }
}

/// Where in the file something stands.
struct Place(String);

impl Place {
    fn wrong(&self, what: impl Into<String>) -> ConfigFileError {
        ConfigFileError::Value { place: self.0.clone(), what: what.into() }
    }

    fn within(&self, part: &str) -> Self {
        Self(format!("{}, {part}", self.0))
    }

    fn entity(&self, name: &str) -> Result<EntityPath, ConfigFileError> {
        name.parse().map_err(|error: crate::proto::EntityPathError| self.wrong(format!("{name:?}: {error}")))
    }

    fn host(&self, name: &str) -> Result<Authority, ConfigFileError> {
        name.parse().map_err(|_| self.wrong(format!("{name:?} is no host name or host:port")))
    }

    fn key_name(&self, name: &str) -> Result<KeyName, ConfigFileError> {
        name.parse().map_err(|error: crate::proto::KeyNameError| self.wrong(format!("{name:?}: {error}")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    namespace: Vec<NamespaceTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct NamespaceTable {
    hosts: Vec<String>,
    public: Option<String>,
    #[serde(default = "yes")]
    create_on_listen: bool,
    #[serde(default)]
    kinds: Kinds,
    listeners_per_entity: Option<usize>,
    entities: Option<usize>,
    waiting_senders: Option<usize>,
    connections: Option<usize>,
    #[serde(default)]
    rule: Vec<RuleTable>,
    #[serde(default)]
    entity: Vec<EntityTable>,
    #[serde(default)]
    issuer: Vec<IssuerTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RuleTable {
    name: String,
    rights: Vec<Right>,
    primary_key: Option<SecretString>,
    primary_key_file: Option<PathBuf>,
    secondary_key: Option<SecretString>,
    secondary_key_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EntityTable {
    name: String,
    #[serde(default)]
    kinds: Kinds,
    #[serde(default = "yes")]
    client_authorization: bool,
    #[serde(default)]
    rule: Vec<RuleTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct IssuerTable {
    name: String,
    issuer: String,
    audiences: Option<Vec<String>>,
    jwks_file: Option<PathBuf>,
    pem_file: Option<PathBuf>,
    #[serde(default)]
    grant: Vec<GrantTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct GrantTable {
    #[serde(default = "roles")]
    claim: String,
    values: Vec<String>,
    rights: Vec<Right>,
    entity: Option<String>,
}

fn yes() -> bool {
    true
}

fn roles() -> String {
    "roles".to_owned()
}

type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

fn file(place: &Place, file: &Path, read: Read<'_>) -> Result<SecretString, ConfigFileError> {
    let text = read(file).map_err(|source| ConfigFileError::File {
        place: place.0.clone(),
        file: file.to_owned(),
        source,
    })?;
    Ok(text.into())
}

impl NamespaceTable {
    fn settings(self, place: &Place, read: Read<'_>) -> Result<NamespaceSettings, ConfigFileError> {
        if self.hosts.is_empty() {
            return Err(place.wrong("`hosts` is empty; give the names under which clients reach it"));
        }
        let hosts = self.hosts.iter().map(|host| place.host(host)).collect::<Result<Vec<_>, _>>()?;
        let mut settings = NamespaceSettings::new(hosts)
            .rules(rules(place, self.rule, read)?)
            .entity_defaults(EntitySettings::new().kinds(self.kinds));
        if let Some(public) = &self.public {
            settings = settings.public_authority(place.host(public)?);
        }
        if !self.create_on_listen {
            settings = settings.declared_entities_only();
        }
        let mut limits = Limits::default();
        for (name, given, limit) in [
            ("listeners-per-entity", self.listeners_per_entity, &mut limits.listeners_per_entity_max),
            ("entities", self.entities, &mut limits.entities_max),
            ("waiting-senders", self.waiting_senders, &mut limits.waiting_senders_max),
            ("connections", self.connections, &mut limits.connections_max),
        ] {
            match given {
                None => {}
                Some(0) => return Err(place.wrong(format!("`{name}` must be at least 1"))),
                Some(number) => *limit = number,
            }
        }
        settings = settings.limits(limits);
        let mut names = HashSet::new();
        for table in self.entity {
            let place = place.within(&format!("entity {:?}", table.name));
            let name = place.entity(&table.name)?;
            if !names.insert(name.clone()) {
                return Err(place.wrong("it is declared twice; names do not differ by case"));
            }
            let mut entity = EntitySettings::new().kinds(table.kinds).rules(rules(&place, table.rule, read)?);
            if !table.client_authorization {
                entity = entity.dangerous_anonymous_senders();
            }
            settings = settings.entity(name, entity);
        }
        for table in self.issuer {
            let place = place.within(&format!("issuer {:?}", table.name));
            settings = settings.issuer(table.settings(&place, read)?);
        }
        Ok(settings)
    }
}

fn rules(place: &Place, tables: Vec<RuleTable>, read: Read<'_>) -> Result<Rules, ConfigFileError> {
    let rules = tables.into_iter().map(|table| {
        let place = place.within(&format!("rule {:?}", table.name));
        table.rule(&place, read)
    });
    Rules::new(rules.collect::<Result<Vec<_>, _>>()?).map_err(|error| place.wrong(error.to_string()))
}

impl RuleTable {
    fn rule(self, place: &Place, read: Read<'_>) -> Result<AuthorizationRule, ConfigFileError> {
        let name = place.key_name(&self.name)?;
        if self.rights.is_empty() {
            return Err(place.wrong("`rights` is empty; give Listen, Send or Manage"));
        }
        let primary = key(place, "primary-key", self.primary_key, self.primary_key_file, read)?;
        let secondary = key(place, "secondary-key", self.secondary_key, self.secondary_key_file, read)?;
        let primary =
            primary.ok_or_else(|| place.wrong("it has no key; give primary-key-file or primary-key"))?;
        let rule = AuthorizationRule::new(name, self.rights, primary);
        Ok(match secondary {
            Some(key) => rule.with_secondary_key(key),
            None => rule,
        })
    }
}

fn key(
    place: &Place,
    member: &str,
    here: Option<SecretString>,
    in_file: Option<PathBuf>,
    read: Read<'_>,
) -> Result<Option<SharedKey>, ConfigFileError> {
    let text = match (here, in_file) {
        (Some(_), Some(_)) => return Err(place.wrong(format!("give {member} or {member}-file, not both"))),
        (Some(text), None) => text,
        (None, Some(path)) => file(place, &path, read)?,
        (None, None) => return Ok(None),
    };
    let key = text.expose_secret().trim().parse();
    key.map(Some).map_err(|error: crate::proto::SharedKeyError| place.wrong(format!("{member}: {error}")))
}

impl IssuerTable {
    fn settings(self, place: &Place, read: Read<'_>) -> Result<IssuerSettings, ConfigFileError> {
        let text = |path: &Path| file(place, path, read).map(|text| text.expose_secret().to_owned());
        let keys = match (&self.jwks_file, &self.pem_file) {
            (Some(path), None) => IssuerKeys::Jwks(text(path)?),
            (None, Some(path)) => IssuerKeys::Pem(text(path)?),
            _ => return Err(place.wrong("give either jwks-file or pem-file")),
        };
        let mut issuer = IssuerSettings::new(place.key_name(&self.name)?, &self.issuer, keys);
        if let Some(audiences) = self.audiences {
            if audiences.is_empty() {
                return Err(place.wrong("`audiences` is empty; leave it out for that of Azure Relay"));
            }
            issuer = issuer.for_audiences(audiences);
        }
        if self.grant.is_empty() {
            return Err(
                place.wrong("it has no [[namespace.issuer.grant]], so its tokens would permit nothing")
            );
        }
        for grant in self.grant {
            let entity = grant.entity.as_deref().map(|name| place.entity(name)).transpose()?;
            let granted = JwtGrant::new(&grant.claim, grant.values, grant.rights);
            issuer = issuer.grant(match entity {
                Some(entity) => granted.below(entity),
                None => granted,
            });
        }
        Ok(issuer)
    }
}

#[cfg(test)]
mod tests;
