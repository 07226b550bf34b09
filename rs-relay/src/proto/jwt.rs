//! JSON Web Tokens of other issuers: what a token whose signature was checked permits.
//!
//! Signatures are checked by the server's driver; nothing here believes a token that was not.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::limits::CLOCK_SKEW;
use super::path::EntityPath;
use super::refusal::Refusal;
use super::rules::{Ask, Authorized, Right};
use super::token::{KeyName, TokenError};

/// The audience that Microsoft Entra ID puts into tokens for Azure Relay.
pub const AZURE_RELAY_AUDIENCE: &str = "https://relay.azure.net/";

/// An issuer whose tokens are taken, and what they permit.
///
/// ```
/// use rs_relay::proto::{IssuerKeys, IssuerSettings, JwtGrant, Right};
///
/// let keys = IssuerKeys::Jwks(r#"{"keys":[]}"#.into());
/// let issuer = IssuerSettings::new("entra".parse()?, "https://login.example.test/tenant/v2.0", keys)
///     .grant(JwtGrant::new("roles", ["Relay.Listen"], [Right::Listen]).below("azlocal".parse()?));
/// assert_eq!(issuer.audiences(), ["https://relay.azure.net/"], "unless another is set");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    name: KeyName,
    issuer: String,
    audiences: Vec<String>,
    keys: IssuerKeys,
    grants: Vec<JwtGrant>,
}

/// The public keys of an issuer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum IssuerKeys {
    /// A JSON Web Key Set (RFC 7517). A key is used with its own `alg`, or with the usual one of its type: RS256, ES256 or
    /// ES384 by its curve, EdDSA.
    Jwks(String),
    /// One public key in PEM: RSA for RS256, P-256 for ES256, P-384 for ES384, Ed25519 for EdDSA.
    Pem(String),
}

/// What tokens permit that have one of some values in a claim.
#[derive(Debug, Clone)]
pub struct JwtGrant {
    claim: String,
    values: Vec<String>,
    rights: Vec<Right>,
    entity: Option<EntityPath>,
}

impl JwtGrant {
    /// Rights for tokens whose `claim` is, or contains, one of `values`. Good in the whole namespace.
    #[must_use]
    pub fn new<V: Into<String>>(
        claim: &str,
        values: impl IntoIterator<Item = V>,
        rights: impl IntoIterator<Item = Right>,
    ) -> Self {
        Self {
            claim: claim.to_owned(),
            values: values.into_iter().map(Into::into).collect(),
            rights: rights.into_iter().collect(),
            entity: None,
        }
    }

    /// Good for this entity and what lies below it only.
    #[must_use]
    pub fn below(self, entity: EntityPath) -> Self {
        Self { entity: Some(entity), ..self }
    }

    fn permits(&self, claims: &JwtClaims, ask: &Ask<'_>) -> bool {
        let right = self.rights.contains(&ask.right) || self.rights.contains(&Right::Manage);
        let here = self.entity.as_ref().is_none_or(|entity| ask.entity.is_at_or_below(entity));
        right && here && self.values.iter().any(|value| claims.has(&self.claim, value))
    }
}

impl IssuerSettings {
    /// An issuer by its exact `iss`. `name` stands in logs. Without [`IssuerSettings::grant`] its tokens permit nothing.
    #[must_use]
    pub fn new(name: KeyName, issuer: &str, keys: IssuerKeys) -> Self {
        let audiences = vec![AZURE_RELAY_AUDIENCE.to_owned()];
        Self { name, issuer: issuer.to_owned(), audiences, keys, grants: Vec::new() }
    }

    /// The audiences that are taken instead of [`AZURE_RELAY_AUDIENCE`]. A slash at the end makes no difference.
    #[must_use]
    pub fn for_audiences(self, audiences: Vec<String>) -> Self {
        Self { audiences, ..self }
    }

    /// Adds a grant.
    #[must_use]
    pub fn grant(mut self, grant: JwtGrant) -> Self {
        self.grants.push(grant);
        self
    }

    /// Name in logs.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The exact `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &IssuerKeys {
        &self.keys
    }

    /// Decides whether a token permits what is asked. **Its signature must have been checked** with a key of this issuer.
    ///
    /// # Errors
    ///
    /// [`Refusal::Token`] for a wrong issuer or audience, or a wrong time; [`Refusal::Forbidden`] without a grant for it.
    pub fn permit(&self, claims: &JwtClaims, ask: &Ask<'_>) -> Result<Authorized, Refusal> {
        if claims.iss != self.issuer {
            return Err(TokenError::UnknownKey.into());
        }
        let trimmed = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        let ours = |found: &String| self.audiences.iter().any(|audience| trimmed(audience) == trimmed(found));
        if !claims.aud.iter().any(ours) {
            return Err(TokenError::WrongResource.into());
        }
        let at = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0);
        let expires_at = at(claims.exp).ok_or(TokenError::Malformed("its exp is no time"))?;
        if expires_at <= ask.now {
            return Err(TokenError::Expired.into());
        }
        let begins = claims.nbf.map(|nbf| at(nbf).ok_or(TokenError::Malformed("its nbf is no time")));
        if begins.transpose()?.is_some_and(|begins| begins > ask.now + CLOCK_SKEW) {
            return Err(TokenError::NotYet.into());
        }
        if !self.grants.iter().any(|grant| grant.permits(claims, ask)) {
            return Err(Refusal::Forbidden { claim: ask.right.as_str() });
        }
        Ok(Authorized { expires_at, rule: self.name.clone() })
    }
}

/// The claims of a token.
#[derive(Debug, Clone, Deserialize)]
pub struct JwtClaims {
    iss: String,
    #[serde(deserialize_with = "one_or_many")]
    aud: Vec<String>,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl JwtClaims {
    /// Whether a claim is this text, or a list that contains it.
    fn has(&self, claim: &str, value: &str) -> bool {
        match self.others.get(claim) {
            Some(Value::String(text)) => text == value,
            Some(Value::Array(list)) => list.iter().any(|item| item.as_str() == Some(value)),
            _ => false,
        }
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(list) => list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::RequestPath;

    const NOW: i64 = 1_893_456_000;

    fn claims(text: &str) -> JwtClaims {
        serde_json::from_str(text).unwrap()
    }

    fn issuer() -> IssuerSettings {
        let keys = IssuerKeys::Jwks(String::new());
        IssuerSettings::new("entra".parse().unwrap(), "https://issuer.test/", keys)
            .grant(JwtGrant::new("roles", ["listen"], [Right::Listen]).below("azlocal".parse().unwrap()))
            .grant(JwtGrant::new("oid", ["boss"], [Right::Manage]))
    }

    fn ask(json: &str, right: Right, entity: &str) -> Result<(), Refusal> {
        let (path, entity) = (RequestPath::parse(entity).unwrap(), entity.parse().unwrap());
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        issuer().permit(&claims(json), &Ask { right, path: &path, entity: &entity, now }).map(|_| ())
    }

    fn token(aud: &str, exp: i64, nbf: i64, more: &str) -> String {
        format!(r#"{{"iss":"https://issuer.test/","aud":{aud},"exp":{exp},"nbf":{nbf},{more}}}"#)
    }

    #[test]
    fn sec18_claims_table() {
        let aud = r#""https://relay.azure.net""#;
        let role = r#""roles":["x","listen"]"#;
        let no = |error: TokenError| Err(Refusal::Token(error));
        let forbidden = |claim| Err(Refusal::Forbidden { claim });
        let table = [
            ("good", token(aud, NOW + 1, 0, role), Right::Listen, "azlocal/n", Ok(())),
            (
                "slash",
                token(r#""https://relay.azure.net/""#, NOW + 1, 0, role),
                Right::Listen,
                "azlocal",
                Ok(()),
            ),
            (
                "list",
                token(r#"["a","https://relay.azure.net"]"#, NOW + 1, 0, role),
                Right::Listen,
                "azlocal",
                Ok(()),
            ),
            (
                "aud",
                token(r#""https://relay.azure.net.evil""#, NOW + 1, 0, role),
                Right::Listen,
                "azlocal",
                no(TokenError::WrongResource),
            ),
            (
                "no aud",
                token("[]", NOW + 1, 0, role),
                Right::Listen,
                "azlocal",
                no(TokenError::WrongResource),
            ),
            ("at its end", token(aud, NOW, 0, role), Right::Listen, "azlocal", no(TokenError::Expired)),
            ("long ago", token(aud, -1, 0, role), Right::Listen, "azlocal", no(TokenError::Expired)),
            (
                "no time",
                token(aud, i64::MAX, 0, role),
                Right::Listen,
                "azlocal",
                no(TokenError::Malformed("its exp is no time")),
            ),
            ("59 s early", token(aud, NOW + 1, NOW + 59, role), Right::Listen, "azlocal", Ok(())),
            (
                "61 s early",
                token(aud, NOW + 1, NOW + 61, role),
                Right::Listen,
                "azlocal",
                no(TokenError::NotYet),
            ),
            ("right", token(aud, NOW + 1, 0, role), Right::Send, "azlocal", forbidden("Send")),
            ("elsewhere", token(aud, NOW + 1, 0, role), Right::Listen, "azlocalx", forbidden("Listen")),
            ("claim as text", token(aud, NOW + 1, 0, r#""oid":"boss""#), Right::Send, "any", Ok(())),
            ("other text", token(aud, NOW + 1, 0, r#""oid":"boss2""#), Right::Send, "any", forbidden("Send")),
            ("number", token(aud, NOW + 1, 0, r#""oid":7"#), Right::Send, "any", forbidden("Send")),
            ("nothing", token(aud, NOW + 1, 0, r#""x":1"#), Right::Listen, "azlocal", forbidden("Listen")),
        ];
        for (case, json, right, entity, expected) in table {
            assert_eq!(ask(&json, right, entity), expected, "{case}");
        }
        let other = token(aud, NOW + 1, 0, role).replace("issuer.test/", "issuer.test");
        assert_eq!(ask(&other, Right::Listen, "azlocal"), no(TokenError::UnknownKey), "iss is exact");
    }

    #[test]
    fn claims_that_must_be_there() {
        for text in [
            r#"{"aud":"a","exp":1}"#,
            r#"{"iss":"i","exp":1}"#,
            r#"{"iss":"i","aud":"a"}"#,
            r#"{"iss":"i","aud":"a","exp":"1"}"#,
            r#"{"iss":"i","aud":7,"exp":1}"#,
        ] {
            assert!(serde_json::from_str::<JwtClaims>(text).is_err(), "{text}");
        }
    }
}
