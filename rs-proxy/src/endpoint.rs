//! What must be reachable: the endpoints as data, by cloud.
//!
//! The rows live in `data/endpoints.json`, each with its form as published, its purpose, its source and how sure that
//! source is. A [`Profile`] is the set that counts for one cloud, or a set of one's own for a self-hosted relay.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{HostName, HostPattern, NameError, Target};

/// Most entries that a custom profile may have.
pub const CUSTOM_ENTRIES_MAX: usize = 256;
/// Longest endpoint id, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// A stable endpoint id: lower-case letters, digits and `-`, such as `asztrsprod-eastus`.
///
/// # Examples
///
/// ```
/// use rs_proxy::EndpointId;
///
/// assert_eq!("servicebus".parse::<EndpointId>()?.as_str(), "servicebus");
/// assert!("Service Bus".parse::<EndpointId>().is_err());
/// # Ok::<(), rs_proxy::ProfileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointId(String);

impl EndpointId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EndpointId {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let fits = !text.is_empty()
            && text.len() <= ID_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ProfileError::Id { text: crate::name::shown(text) })
        }
    }
}

impl TryFrom<String> for EndpointId {
    type Error = ProfileError;

    fn try_from(text: String) -> Result<Self, ProfileError> {
        text.parse()
    }
}

impl From<EndpointId> for String {
    fn from(id: EndpointId) -> Self {
        id.0
    }
}

/// How an entry is written where it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `*.servicebus.windows.net`
    Wildcard,
    /// `login.microsoftonline.com`
    Name,
    /// `https://edgesupprd.trafficmanager.net`
    Url,
}

/// What an endpoint is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The relay: control channel and rendezvous. Needs WebSocket.
    Relay,
    /// Storage for packages and logs.
    Storage,
    /// Tokens.
    SignIn,
    /// Regional back end of the support service.
    BackEnd,
    /// Traffic manager in front of the back ends.
    FrontDoor,
}

impl Purpose {
    /// The purpose in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Relay => "relay: control channel and rendezvous, over WebSocket",
            Self::Storage => "storage: packages and logs",
            Self::SignIn => "sign-in: tokens",
            Self::BackEnd => "support service, one region",
            Self::FrontDoor => "support service, chooses the region",
        }
    }
}

/// How sure a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// In a list published for this purpose.
    Documented,
    /// The suffix is documented for the cloud, its use for remote support is not.
    SuffixOnly,
    /// Not documented; in common use.
    Assumed,
    /// Given by the user.
    Given,
}

/// Whether the Azure Arc gateway carries an endpoint. What it does not carry still needs the customer's own proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArcGateway {
    /// All of it.
    Carried,
    /// Some of its names.
    Partly,
    /// None of it.
    NotCarried,
    /// Not documented.
    Unknown,
}

/// A cloud with endpoints of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// Azure public: all nine entries documented.
    #[default]
    Public,
    /// Azure US Government: partial, see each row's confidence. No back-end name is public.
    Usgov,
    /// Azure operated by 21Vianet: suffixes only.
    China,
    /// A set of one's own, for a self-hosted relay.
    Custom,
}

impl Cloud {
    /// The name used on the command line and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Usgov => "usgov",
            Self::China => "china",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Cloud {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text.to_ascii_lowercase().as_str() {
            "public" => Ok(Self::Public),
            "usgov" => Ok(Self::Usgov),
            "china" => Ok(Self::China),
            "custom" => Ok(Self::Custom),
            _ => Err(ProfileError::Cloud { text: crate::name::shown(text) }),
        }
    }
}

/// One required entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Stable id.
    pub id: EndpointId,
    /// What has to match.
    pub pattern: HostPattern,
    /// The entry as published.
    pub entry: String,
    /// How it is published.
    pub form: Form,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether the Arc gateway carries it.
    pub arc_gateway: ArcGateway,
    /// How sure the row is.
    pub confidence: Confidence,
    /// Where the row comes from.
    pub source: String,
    /// Names that older lists had in its place; worth nothing today.
    pub outdated: Vec<HostName>,
    /// A real name to probe where the entry is a wildcard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_host: Option<Target>,
}

impl Endpoint {
    /// The one target to probe: the entry's own name, or the probe host of a wildcard.
    #[must_use]
    pub fn probe_target(&self) -> Option<Target> {
        self.probe_host.clone().or_else(|| self.pattern.target())
    }
}

/// Why a profile cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// An id that breaks the rules of [`EndpointId`].
    #[error("'{text}' is no endpoint id; ids have 1 to {ID_BYTES_MAX} lower-case letters, digits and dashes")]
    Id {
        /// The text found.
        text: String,
    },
    /// An unknown cloud.
    #[error("'{text}' is no cloud; use public, usgov, china or custom")]
    Cloud {
        /// The text found.
        text: String,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An id that the profile does not have.
    #[error("the {cloud} profile has no endpoint '{id}'; it has {known}")]
    UnknownEndpoint {
        /// The id asked for.
        id: String,
        /// The profile's cloud.
        cloud: Cloud,
        /// The ids it has.
        known: String,
    },
    /// A probe host outside the entry it is given for.
    #[error("{host} is not covered by the entry {entry}; give a host that the entry stands for")]
    ProbeHostOutside {
        /// The host given.
        host: String,
        /// The endpoint's entry.
        entry: String,
    },
    /// More than [`CUSTOM_ENTRIES_MAX`] entries, or none.
    #[error("a custom profile has 1 to {CUSTOM_ENTRIES_MAX} entries, not {found}")]
    Count {
        /// Entries found.
        found: usize,
    },
}

/// The set of endpoints that counts.
///
/// # Examples
///
/// ```
/// use rs_proxy::{Cloud, Profile};
///
/// let profile = Profile::of(Cloud::Public);
/// let ids: Vec<&str> = profile.endpoints().iter().map(|e| e.id.as_str()).collect();
/// assert_eq!(ids.len(), 9);
/// assert_eq!(ids[0], "servicebus");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    cloud: Cloud,
    version: String,
    endpoints: Vec<Endpoint>,
}

impl Profile {
    /// The profile of a cloud. `Custom` has no endpoints until [`Self::custom`] or [`Self::with_relay`] gives some.
    #[must_use]
    pub fn of(cloud: Cloud) -> Self {
        let endpoints = DATA
            .endpoints
            .iter()
            .filter(|row| row.cloud == cloud)
            .filter_map(|row| row.endpoint().ok())
            .collect();
        Self { cloud, version: DATA.version.clone(), endpoints }
    }

    /// A profile of one's own. Ids are made from the names.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Count`] for no entry or more than [`CUSTOM_ENTRIES_MAX`].
    pub fn custom(entries: impl IntoIterator<Item = HostPattern>) -> Result<Self, ProfileError> {
        let patterns: Vec<HostPattern> = entries.into_iter().take(CUSTOM_ENTRIES_MAX + 1).collect();
        if patterns.is_empty() || patterns.len() > CUSTOM_ENTRIES_MAX {
            return Err(ProfileError::Count { found: patterns.len() });
        }
        let mut profile = Self { cloud: Cloud::Custom, version: DATA.version.clone(), endpoints: Vec::new() };
        for pattern in patterns {
            let id = profile.free_id(&id_from(pattern.name().as_str()));
            profile.endpoints.push(given(id, pattern, Purpose::BackEnd));
        }
        Ok(profile)
    }

    /// Says which relay host the node really uses, for instance the namespace of the current grant. It becomes the
    /// probe host of the relay's wildcard; a host outside every entry, a self-hosted relay, becomes an endpoint
    /// `relay` of its own.
    #[must_use]
    pub fn with_relay(mut self, relay: Target) -> Self {
        let covered =
            self.endpoints.iter_mut().find(|e| e.purpose == Purpose::Relay && e.pattern.matches(&relay));
        if let Some(endpoint) = covered {
            endpoint.probe_host = Some(relay);
        } else {
            let id = self.free_id("relay");
            self.endpoints.insert(0, given(id, HostPattern::exact(relay), Purpose::Relay));
        }
        self
    }

    /// Names the host to probe for one endpoint, on any port.
    ///
    /// # Errors
    ///
    /// [`ProfileError::UnknownEndpoint`], or [`ProfileError::ProbeHostOutside`] when the entry does not stand for it.
    pub fn with_probe_host(mut self, id: &str, host: Target) -> Result<Self, ProfileError> {
        let endpoint = self.find_mut(id)?;
        if !endpoint.pattern.matches_host(host.host()) {
            return Err(ProfileError::ProbeHostOutside {
                host: host.to_string(),
                entry: endpoint.entry.clone(),
            });
        }
        endpoint.probe_host = Some(host);
        Ok(self)
    }

    /// Keeps only the endpoints with these ids, in the profile's own order. An entry's text is taken for its id too.
    ///
    /// # Errors
    ///
    /// [`ProfileError::UnknownEndpoint`] for an id that is not there.
    pub fn only<'a>(mut self, ids: impl IntoIterator<Item = &'a str>) -> Result<Self, ProfileError> {
        let mut keep = Vec::new();
        for id in ids {
            keep.push(self.find_mut(id)?.id.clone());
        }
        self.endpoints.retain(|e| keep.contains(&e.id));
        Ok(self)
    }

    /// The cloud.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Date of the data, as `YYYY-MM-DD`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The endpoints, in the order of the published list.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint that stands for a target.
    #[must_use]
    pub fn endpoint_for(&self, target: &Target) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.pattern.matches(target))
    }

    /// The endpoint with this id, or with this entry.
    fn find_mut(&mut self, id: &str) -> Result<&mut Endpoint, ProfileError> {
        let known = self.endpoints.iter().map(|e| e.id.as_str()).collect::<Vec<_>>().join(", ");
        let cloud = self.cloud;
        let pattern: Option<HostPattern> = id.parse().ok();
        self.endpoints
            .iter_mut()
            .find(|e| e.id.as_str() == id || Some(&e.pattern) == pattern.as_ref())
            .ok_or_else(|| ProfileError::UnknownEndpoint { id: crate::name::shown(id), cloud, known })
    }

    /// `wanted`, or `wanted-2` and so on if it is taken.
    fn free_id(&self, wanted: &str) -> EndpointId {
        let taken = |id: &str| self.endpoints.iter().any(|e| e.id.as_str() == id);
        let mut id = wanted.to_owned();
        let mut n = 2;
        while taken(&id) {
            id = format!("{wanted}-{n}");
            n += 1;
        }
        EndpointId(id)
    }
}

/// An endpoint the user gave.
fn given(id: EndpointId, pattern: HostPattern, purpose: Purpose) -> Endpoint {
    let form = if pattern.is_wildcard() { Form::Wildcard } else { Form::Name };
    let entry = pattern.to_string();
    let source = "given by the user".to_owned();
    let confidence = Confidence::Given;
    let (arc_gateway, outdated) = (ArcGateway::Unknown, Vec::new());
    Endpoint {
        id,
        pattern,
        entry,
        form,
        purpose,
        arc_gateway,
        confidence,
        source,
        outdated,
        probe_host: None,
    }
}

/// An id from a host name: what an id cannot have becomes a dash. Leaves room for a number.
fn id_from(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(ID_BYTES_MAX - 4).collect()
}

/// The data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    version: String,
    endpoints: Vec<Row>,
}

/// One row of the data file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Row {
    cloud: Cloud,
    id: EndpointId,
    entry: String,
    form: Form,
    purpose: Purpose,
    arc_gateway: ArcGateway,
    confidence: Confidence,
    source: String,
    outdated: Vec<HostName>,
}

impl Row {
    fn endpoint(&self) -> Result<Endpoint, NameError> {
        let Self { id, entry, form, purpose, arc_gateway, confidence, source, outdated, .. } = self.clone();
        let pattern = entry.parse()?;
        Ok(Endpoint {
            id,
            pattern,
            entry,
            form,
            purpose,
            arc_gateway,
            confidence,
            source,
            outdated,
            probe_host: None,
        })
    }
}

static DATA: LazyLock<Data> = LazyLock::new(|| {
    // The file is part of the program; a test parses every row of it.
    serde_json::from_str(include_str!("../data/endpoints.json"))
        .unwrap_or_else(|_| Data { version: String::new(), endpoints: Vec::new() })
});

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 9] = [
        "servicebus",
        "core",
        "login",
        "asztrsprod-westus2",
        "asztrsprod-westeurope",
        "asztrsprod-eastus",
        "asztrsprod-westcentralus",
        "asztrsprod-southeastasia",
        "edgesupprd",
    ];

    fn ids(profile: &Profile) -> Vec<&str> {
        profile.endpoints().iter().map(|e| e.id.as_str()).collect()
    }

    #[test]
    fn p01_the_data_file_is_whole() {
        let data: Data = serde_json::from_str(include_str!("../data/endpoints.json")).unwrap();
        for row in &data.endpoints {
            let endpoint = row.endpoint().unwrap();
            let form = match (endpoint.pattern.is_wildcard(), row.entry.contains("://")) {
                (true, _) => Form::Wildcard,
                (false, true) => Form::Url,
                (false, false) => Form::Name,
            };
            assert_eq!(row.form, form, "{}", row.entry);
            assert!(!row.source.is_empty());
        }
    }

    #[test]
    fn p14_profiles_differ_by_cloud() {
        assert_eq!(ids(&Profile::of(Cloud::Public)), IDS);
        assert_eq!(ids(&Profile::of(Cloud::Usgov)), ["servicebus", "core", "login", "edgesupprd"]);
        assert_eq!(ids(&Profile::of(Cloud::China)), ["servicebus", "core", "login"]);
        assert!(Profile::of(Cloud::Custom).endpoints().is_empty());
        let gov = Profile::of(Cloud::Usgov);
        assert!(gov.endpoint_for(&"x.servicebus.usgovcloudapi.net".parse().unwrap()).is_some());
        assert!(gov.endpoint_for(&"x.servicebus.windows.net".parse().unwrap()).is_none());
        assert!(gov.endpoint_for(&"edgesupprd.trafficmanager.net".parse().unwrap()).is_some());
    }

    #[test]
    fn p14_custom_profiles_have_bounds_and_distinct_ids() {
        let name = |n: usize| format!("h{n}.relay.example").parse::<HostPattern>().unwrap();
        assert_eq!(
            Profile::custom((0..CUSTOM_ENTRIES_MAX).map(name)).unwrap().endpoints().len(),
            CUSTOM_ENTRIES_MAX
        );
        assert!(Profile::custom((0..=CUSTOM_ENTRIES_MAX).map(name)).is_err());
        assert!(Profile::custom([]).is_err());
        let twice = ["a.example".parse().unwrap(), "*.a.example".parse().unwrap()];
        assert_eq!(ids(&Profile::custom(twice).unwrap()), ["a-example", "a-example-2"]);
    }

    #[test]
    fn p08_a_relay_host_becomes_the_probe_host_or_an_endpoint() {
        let azure = Profile::of(Cloud::Public).with_relay("rslab.servicebus.windows.net".parse().unwrap());
        assert_eq!(
            azure.endpoints()[0].probe_target().unwrap().host().as_str(),
            "rslab.servicebus.windows.net"
        );
        let own = Profile::of(Cloud::Public).with_relay("relay.example:9443".parse().unwrap());
        assert_eq!(own.endpoints().len(), 10);
        assert_eq!(own.endpoints()[0].id.as_str(), "relay");
        assert_eq!(own.endpoints()[0].probe_target().unwrap().port(), 9443);
        assert!(Profile::of(Cloud::Public).endpoints()[0].probe_target().is_none());
    }

    #[test]
    fn p08_probe_hosts_must_belong_to_their_entry() {
        let host = |text: &str| text.parse::<Target>().unwrap();
        let profile = || Profile::of(Cloud::Public);
        assert!(profile().with_probe_host("core", host("x.blob.core.windows.net")).is_ok());
        assert!(profile().with_probe_host("*.core.windows.net", host("x.blob.core.windows.net")).is_ok());
        assert!(profile().with_probe_host("core", host("core.windows.net")).is_err());
        assert!(profile().with_probe_host("nothing", host("a.example")).is_err());
    }

    #[test]
    fn only_keeps_the_named_ones() {
        let some = Profile::of(Cloud::Public).only(["edgesupprd", "login"]).unwrap();
        assert_eq!(ids(&some), ["login", "edgesupprd"]);
        assert!(Profile::of(Cloud::Public).only(["x"]).is_err());
    }

    #[test]
    fn ids_have_a_bound() {
        assert!("a".repeat(ID_BYTES_MAX).parse::<EndpointId>().is_ok());
        assert!("a".repeat(ID_BYTES_MAX + 1).parse::<EndpointId>().is_err());
        assert!("".parse::<EndpointId>().is_err());
    }
}
