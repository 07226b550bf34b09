//! Who may do what: authorization rules, and the one function that decides over a token.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::limits::RULES_PER_LEVEL_MAX;
use super::path::{EntityPath, RequestPath};
use super::refusal::Refusal;
use super::token::{KeyName, SasToken, SharedKey, TokenError};

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Right {
    /// Open control channels and take connections.
    Listen,
    /// Reach listeners.
    Send,
    /// Both of the above.
    Manage,
}

impl Right {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "Listen",
            Self::Send => "Send",
            Self::Manage => "Manage",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named pair of keys with the rights that they give.
///
/// ```
/// use rs_relay::proto::{AuthorizationRule, Right};
///
/// let rule = AuthorizationRule::new("listen-only".parse()?, [Right::Listen], "the key".parse()?);
/// assert!(rule.permits(Right::Listen) && !rule.permits(Right::Send));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationRule {
    name: KeyName,
    rights: Vec<Right>,
    primary_key: SharedKey,
    #[serde(default)]
    secondary_key: Option<SharedKey>,
}

impl AuthorizationRule {
    /// A rule with a primary key only.
    #[must_use]
    pub fn new(name: KeyName, rights: impl IntoIterator<Item = Right>, primary_key: SharedKey) -> Self {
        Self { name, rights: rights.into_iter().collect(), primary_key, secondary_key: None }
    }

    /// The same rule with a second key that is good, too. That is how keys are changed without an interruption.
    #[must_use]
    pub fn with_secondary_key(self, key: SharedKey) -> Self {
        Self { secondary_key: Some(key), ..self }
    }

    /// The rule's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The primary key.
    #[must_use]
    pub fn primary_key(&self) -> &SharedKey {
        &self.primary_key
    }

    /// The secondary key, if there is one.
    #[must_use]
    pub fn secondary_key(&self) -> Option<&SharedKey> {
        self.secondary_key.as_ref()
    }

    /// The rights, as they were given.
    #[must_use]
    pub fn rights(&self) -> &[Right] {
        &self.rights
    }

    /// Whether the rule gives this right. Manage includes the others.
    #[must_use]
    pub fn permits(&self, right: Right) -> bool {
        self.rights.contains(&right) || self.rights.contains(&Right::Manage)
    }

    fn signed(&self, token: &SasToken) -> bool {
        let primary = token.is_signed_with(&self.primary_key);
        let secondary = self.secondary_key.as_ref().is_some_and(|key| token.is_signed_with(key));
        primary | secondary
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "rights": self.rights,
            "primaryKey": self.primary_key.expose(),
            "secondaryKey": self.secondary_key.as_ref().map(SharedKey::expose),
        })
    }
}

/// The rules of one level: of the namespace, or of one entity. At most [`RULES_PER_LEVEL_MAX`], names unique.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Vec<AuthorizationRule>")]
pub struct Rules(Vec<AuthorizationRule>);

impl Rules {
    /// Checks a list of rules.
    ///
    /// # Errors
    ///
    /// [`RulesError`] when there are too many, or two of one name.
    pub fn new(rules: impl IntoIterator<Item = AuthorizationRule>) -> Result<Self, RulesError> {
        let rules: Vec<_> = rules.into_iter().take(RULES_PER_LEVEL_MAX + 1).collect();
        if rules.len() > RULES_PER_LEVEL_MAX {
            return Err(RulesError::TooMany);
        }
        for (index, rule) in rules.iter().enumerate() {
            if rules[..index].iter().any(|other| other.name == rule.name) {
                return Err(RulesError::Double { name: rule.name.clone() });
            }
        }
        Ok(Self(rules))
    }

    /// The rule of this name.
    #[must_use]
    pub fn get(&self, name: &KeyName) -> Option<&AuthorizationRule> {
        self.iter().find(|rule| rule.name == *name)
    }

    /// All rules, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &AuthorizationRule> {
        self.0.iter()
    }

    /// Reads rules from JSON: a list of objects with `name`, `rights` (`Listen`, `Send`, `Manage`), `primaryKey` and
    /// optionally `secondaryKey`.
    ///
    /// # Errors
    ///
    /// When the text is no such list. The error never shows a key.
    pub fn from_json(text: &str) -> Result<Self, RulesError> {
        serde_json::from_str(text)
            .map_err(|error| RulesError::Json { line: error.line(), column: error.column() })
    }

    /// The rules as JSON for [`Rules::from_json`], **keys included**: for a file that only its owner can read.
    #[must_use]
    pub fn expose_json(&self) -> zeroize::Zeroizing<String> {
        let list: Vec<_> = self.iter().map(AuthorizationRule::to_json).collect();
        zeroize::Zeroizing::new(format!("{:#}", serde_json::Value::from(list)))
    }
}

impl TryFrom<Vec<AuthorizationRule>> for Rules {
    type Error = RulesError;

    fn try_from(rules: Vec<AuthorizationRule>) -> Result<Self, Self::Error> {
        Self::new(rules)
    }
}

/// Why a list of rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// More than fit on one level.
    #[error("there are more than {RULES_PER_LEVEL_MAX} authorization rules on one level")]
    TooMany,
    /// Two rules of one name.
    #[error("there are two authorization rules named {name}")]
    Double {
        /// The name.
        name: KeyName,
    },
    /// No list of rules.
    #[error(
        "the text is no list of authorization rules (line {line}, column {column}); \
         expected [{{\"name\": …, \"rights\": [\"Listen\"], \"primaryKey\": …}}]"
    )]
    Json {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 1.
        column: usize,
    },
}

/// What a token was found to permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    /// The first instant at which the token is no longer valid.
    pub expires_at: DateTime<Utc>,
    /// The rule that signed it, or the name of its issuer.
    pub rule: KeyName,
}

/// What a token is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The right that is needed.
    pub right: Right,
    /// The path that was asked for.
    pub path: &'a RequestPath,
    /// The entity that it belongs to.
    pub entity: &'a EntityPath,
    /// Wall time.
    pub now: DateTime<Utc>,
}

/// Decides whether a token permits what is asked.
///
/// `hosts` are the names of this namespace in lower case; the entity's rules come before those of the namespace. A rule of
/// an entity signs for that entity only.
///
/// # Errors
///
/// [`Refusal::Token`] for everything wrong with the token itself, [`Refusal::Forbidden`] for a good token without the right.
pub fn authorize(
    token: &str,
    ask: &Ask<'_>,
    hosts: &[Box<str>],
    entity_rules: &Rules,
    namespace_rules: &Rules,
) -> Result<Authorized, Refusal> {
    let token = SasToken::parse(token)?;
    let entity_rule = entity_rules.iter().find(|rule| token.names(&rule.name));
    let namespace_rule = namespace_rules.iter().find(|rule| token.names(&rule.name));
    if entity_rule.is_none() && namespace_rule.is_none() {
        return Err(TokenError::UnknownKey.into());
    }
    let by_entity = entity_rule.filter(|rule| rule.signed(&token));
    let by_namespace = namespace_rule.filter(|rule| rule.signed(&token));
    let rule = by_entity.or(by_namespace).ok_or(TokenError::InvalidSignature)?;
    if token.expires_at() <= ask.now {
        return Err(TokenError::Expired.into());
    }
    let scope = token.scope()?;
    let reaches_too_far = by_entity.is_some() && !scope.is_within(ask.entity);
    if !hosts.iter().any(|host| **host == *scope.host()) || !scope.covers(ask.path) || reaches_too_far {
        return Err(TokenError::WrongResource.into());
    }
    if !rule.permits(ask.right) {
        return Err(Refusal::Forbidden { claim: ask.right.as_str() });
    }
    Ok(Authorized { expires_at: token.expires_at(), rule: rule.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: i64 = 1_893_456_000;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn rule(name: &str, right: Right, key: &str) -> AuthorizationRule {
        AuthorizationRule::new(name.parse().unwrap(), [right], key.parse().unwrap())
    }

    fn mint(resource: &str, name: &str, key: &str) -> String {
        let (name, key) = (name.parse().unwrap(), key.parse().unwrap());
        SasToken::mint(resource, &name, &key, at(EXPIRY)).expose().to_owned()
    }

    fn check(token: &str, right: Right, path: &str, now: i64) -> Result<KeyName, Refusal> {
        let (path, entity) = (RequestPath::parse(path).unwrap(), "hyco".parse().unwrap());
        let entity_rules = Rules::new([rule("own", Right::Listen, "entity key")]).unwrap();
        let both = rule("both", Right::Manage, "first").with_secondary_key("second".parse().unwrap());
        let rules = Rules::new([both, rule("send", Right::Send, "s")]).unwrap();
        let ask = Ask { right, path: &path, entity: &entity, now: at(now) };
        authorize(token, &ask, &["h.test".into()], &entity_rules, &rules).map(|ok| ok.rule)
    }

    #[test]
    fn sec18_table() {
        let whole = "http://h.test/";
        let own = "http://h.test/hyco/";
        let now = EXPIRY - 1;
        type Expected = Result<(), Refusal>;
        let invalid = |error: TokenError| -> Expected { Err(Refusal::Token(error)) };
        let table: Vec<(&str, String, Right, &str, i64, Expected)> = vec![
            ("primary", mint(whole, "both", "first"), Right::Listen, "hyco", now, Ok(())),
            ("secondary", mint(whole, "both", "second"), Right::Send, "hyco/x", now, Ok(())),
            (
                "wrong key",
                mint(whole, "both", "third"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::InvalidSignature),
            ),
            (
                "other rule's key",
                mint(whole, "both", "s"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::InvalidSignature),
            ),
            (
                "unknown",
                mint(whole, "nobody", "first"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::UnknownKey),
            ),
            (
                "at expiry",
                mint(own, "both", "first"),
                Right::Send,
                "hyco",
                EXPIRY,
                invalid(TokenError::Expired),
            ),
            (
                "right",
                mint(own, "send", "s"),
                Right::Listen,
                "hyco",
                now,
                Err(Refusal::Forbidden { claim: "Listen" }),
            ),
            (
                "host",
                mint("http://x.test/hyco", "both", "first"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::WrongResource),
            ),
            (
                "path",
                mint("http://h.test/hyc", "both", "first"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::WrongResource),
            ),
            ("entity rule", mint(own, "own", "entity key"), Right::Listen, "hyco", now, Ok(())),
            (
                "entity rule too far",
                mint(whole, "own", "entity key"),
                Right::Listen,
                "hyco",
                now,
                invalid(TokenError::WrongResource),
            ),
            ("suffix", mint("http://h.test/hyco/x", "both", "first"), Right::Send, "hyco/x/y", now, Ok(())),
            (
                "narrower",
                mint("http://h.test/hyco/x", "both", "first"),
                Right::Send,
                "hyco",
                now,
                invalid(TokenError::WrongResource),
            ),
        ];
        for (case, token, right, path, now, expected) in table {
            assert_eq!(check(&token, right, path, now).map(|_| ()), expected, "{case}");
        }
    }

    #[test]
    fn rules_at_and_past_the_bound() {
        let many = |count: usize| Rules::new((0..count).map(|i| rule(&format!("r{i}"), Right::Send, "k")));
        assert!(many(RULES_PER_LEVEL_MAX).is_ok());
        assert_eq!(many(RULES_PER_LEVEL_MAX + 1).unwrap_err(), RulesError::TooMany);
        let double = Rules::new([rule("a", Right::Send, "k"), rule("a", Right::Listen, "l")]);
        assert_eq!(double.unwrap_err(), RulesError::Double { name: "a".parse().unwrap() });
    }

    #[test]
    fn rules_survive_json_and_errors_hide_keys() {
        let rules = Rules::new([rule("a", Right::Send, "canary").with_secondary_key("two".parse().unwrap())])
            .unwrap();
        let back = Rules::from_json(&rules.expose_json()).unwrap();
        let found = back.get(&"a".parse().unwrap()).unwrap();
        assert_eq!((found.primary_key().expose(), found.rights()), ("canary", &[Right::Send][..]));
        assert!(!format!("{rules:?}").contains("canary"));
        let broken = Rules::from_json(r#"[{"name":"a","rights":["Send"],"primaryKey":"canary","x":1}]"#);
        assert!(!broken.unwrap_err().to_string().contains("canary"));
    }
}
