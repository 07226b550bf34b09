//! Names of hybrid connections, and the paths that senders use to reach them.
//!
//! One rule for both: a path is a list of segments, compared segment by segment, percent-decoded and without regard to
//! ASCII case. Nothing that changes its meaning under another reader (`.`, `..`, an encoded slash in a name) gets in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::limits::{ENTITY_PATH_BYTES_MAX, TARGET_BYTES_MAX};

/// The name of one hybrid connection in its namespace, such as `azlocal/node-01`.
///
/// One or more segments of ASCII letters, digits, `.`, `-`, `_` and `~`, joined by `/`; at most
/// [`ENTITY_PATH_BYTES_MAX`] bytes. `.` and `..` are no segments. Two names that differ in case only are equal.
///
/// ```
/// use rs_relay::proto::EntityPath;
///
/// let path: EntityPath = "azlocal/node-01".parse()?;
/// assert_eq!(path, "AzLocal/Node-01".parse()?);
/// assert_eq!(path.to_string(), "azlocal/node-01");
/// assert!("azlocal/../node-01".parse::<EntityPath>().is_err());
/// # Ok::<(), rs_relay::proto::EntityPathError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntityPath(Box<str>);

impl EntityPath {
    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from left to right.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether this is `other` or lies below it, by whole segments.
    ///
    /// ```
    /// use rs_relay::proto::EntityPath;
    ///
    /// let node: EntityPath = "azlocal/node-01".parse()?;
    /// assert!(node.is_at_or_below(&"AzLocal".parse()?) && !node.is_at_or_below(&"az".parse()?));
    /// # Ok::<(), rs_relay::proto::EntityPathError>(())
    /// ```
    #[must_use]
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let mut ours = self.segments();
        other.segments().all(|theirs| ours.next().is_some_and(|own| own.eq_ignore_ascii_case(theirs)))
    }

    fn check(text: &str) -> Result<(), EntityPathError> {
        if text.is_empty() {
            return Err(EntityPathError::Empty);
        }
        if text.len() > ENTITY_PATH_BYTES_MAX {
            return Err(EntityPathError::TooLong { found: text.len() });
        }
        text.split('/').try_for_each(check_segment)
    }
}

fn check_segment(segment: &str) -> Result<(), EntityPathError> {
    match segment {
        "" => return Err(EntityPathError::EmptySegment),
        "." | ".." => return Err(EntityPathError::DotSegment),
        _ => {}
    }
    let bad = segment.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~')));
    bad.map_or(Ok(()), |character| Err(EntityPathError::Character { character }))
}

/// Why a text is no entity path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntityPathError {
    /// Nothing was given.
    #[error("the entity path is empty; give the name of the hybrid connection, for example node-01")]
    Empty,
    /// Two slashes in a row, or one at an end.
    #[error(
        "the entity path has an empty segment; write it without a slash at its ends and without double slashes"
    )]
    EmptySegment,
    /// `.` or `..`.
    #[error("the entity path has a `.` or `..` segment, which is not allowed")]
    DotSegment,
    /// A character outside letters, digits, `.`, `-`, `_`, `~`.
    #[error(
        "the entity path has the character {character:?}; use letters, digits, `.`, `-`, `_`, `~` and `/`"
    )]
    Character {
        /// The first such character.
        character: char,
    },
    /// Too long.
    #[error("the entity path has {found} bytes; at most {ENTITY_PATH_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
}

impl TryFrom<String> for EntityPath {
    type Error = EntityPathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::check(&text)?;
        Ok(Self(text.into_boxed_str()))
    }
}

impl FromStr for EntityPath {
    type Err = EntityPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<EntityPath> for String {
    fn from(path: EntityPath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for EntityPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for EntityPath {}

impl Hash for EntityPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl PartialOrd for EntityPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntityPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let lower = |text: &'_ str| text.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
        lower(&self.0).cmp(&lower(&other.0))
    }
}

/// The path of a request: an entity, perhaps followed by a suffix that belongs to the application.
///
/// Keeps the raw text for forwarding and the decoded segments for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    raw: Box<str>,
    segments: Vec<String>,
}

impl RequestPath {
    /// Reads a path without its leading slash, as it stood in the request line. One trailing slash is tolerated.
    ///
    /// # Errors
    ///
    /// [`RequestPathError`] for an empty path, an empty segment, `.` and `..` in any spelling, and wrong escapes.
    ///
    /// ```
    /// use rs_relay::proto::{EntityPath, RequestPath};
    ///
    /// let path = RequestPath::parse("hyco/shell%20one")?;
    /// assert_eq!(path.raw(), "hyco/shell%20one");
    /// assert!(path.is_at_or_below(&"HyCo".parse::<EntityPath>().unwrap()));
    /// assert!(!path.is_at_or_below(&"hy".parse::<EntityPath>().unwrap()));
    /// # Ok::<(), rs_relay::proto::RequestPathError>(())
    /// ```
    pub fn parse(raw: &str) -> Result<Self, RequestPathError> {
        if raw.len() > TARGET_BYTES_MAX {
            return Err(RequestPathError::TooLong);
        }
        let trimmed = raw.strip_suffix('/').unwrap_or(raw);
        if trimmed.is_empty() {
            return Err(RequestPathError::Empty);
        }
        let segments = trimmed.split('/').map(decode_segment).collect::<Result<_, _>>()?;
        Ok(Self { raw: raw.into(), segments })
    }

    /// The path as the client wrote it.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The decoded segments.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Whether this path is the entity itself or continues it with a suffix.
    #[must_use]
    pub fn is_at_or_below(&self, entity: &EntityPath) -> bool {
        is_prefix(entity.segments(), &self.segments)
    }

    /// Whether this path is the entity itself.
    #[must_use]
    pub fn is(&self, entity: &EntityPath) -> bool {
        self.is_at_or_below(entity) && entity.segments().count() == self.segments.len()
    }

    /// The path as an entity name, if it is one.
    ///
    /// # Errors
    ///
    /// [`EntityPathError`] when a segment has a character that names cannot have.
    pub fn to_entity(&self) -> Result<EntityPath, EntityPathError> {
        self.segments.iter().try_for_each(|segment| check_segment(segment))?;
        EntityPath::try_from(self.segments.join("/"))
    }

    /// All entity names this path could belong to, longest first.
    pub fn entity_candidates(&self) -> impl Iterator<Item = EntityPath> {
        let valid = self.segments.iter().take_while(|segment| check_segment(segment).is_ok()).count();
        (1..=valid).rev().filter_map(|count| EntityPath::try_from(self.segments[..count].join("/")).ok())
    }
}

/// Whether `prefix` is a whole-segment prefix of `path`, ASCII case aside.
pub(crate) fn is_prefix<'a>(prefix: impl Iterator<Item = &'a str>, path: &[String]) -> bool {
    let mut rest = path.iter();
    for segment in prefix {
        match rest.next() {
            Some(found) if found.eq_ignore_ascii_case(segment) => {}
            _ => return false,
        }
    }
    true
}

/// Decodes one segment of a path and refuses what could change the meaning of the whole.
pub(crate) fn decode_segment(raw: &str) -> Result<String, RequestPathError> {
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| RequestPathError::Encoding)?;
    match &*text {
        "" => Err(RequestPathError::EmptySegment),
        "." | ".." => Err(RequestPathError::DotSegment),
        _ if text.chars().any(char::is_control) => Err(RequestPathError::Encoding),
        _ => Ok(text.into_owned()),
    }
}

/// Why a request path cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestPathError {
    /// There is no entity.
    #[error("the path names no hybrid connection")]
    Empty,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, also percent-encoded.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// Escapes that are no UTF-8 text, or control characters.
    #[error("the path has escapes that are no printable UTF-8 text")]
    Encoding,
    /// Longer than a request target may be.
    #[error("the path is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entity(text: &str) -> EntityPath {
        text.parse().unwrap()
    }

    #[test]
    fn entity_path_table() {
        for good in ["a", "node-01", "azlocal/node-01", "a/b/c/d/e", "A.B_c~d-9", "..."] {
            assert_eq!(entity(good).as_str(), good);
        }
        let table = [
            ("", EntityPathError::Empty),
            ("/", EntityPathError::EmptySegment),
            ("/a", EntityPathError::EmptySegment),
            ("a/", EntityPathError::EmptySegment),
            ("a//b", EntityPathError::EmptySegment),
            ("a/./b", EntityPathError::DotSegment),
            ("a/..", EntityPathError::DotSegment),
            ("a b", EntityPathError::Character { character: ' ' }),
            ("a%2Fb", EntityPathError::Character { character: '%' }),
            ("a\\b", EntityPathError::Character { character: '\\' }),
            ("ä", EntityPathError::Character { character: 'ä' }),
        ];
        for (bad, error) in table {
            assert_eq!(bad.parse::<EntityPath>(), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn entity_path_length_at_and_past_the_bound() {
        assert!("a".repeat(ENTITY_PATH_BYTES_MAX).parse::<EntityPath>().is_ok());
        assert_eq!(
            "a".repeat(ENTITY_PATH_BYTES_MAX + 1).parse::<EntityPath>(),
            Err(EntityPathError::TooLong { found: ENTITY_PATH_BYTES_MAX + 1 })
        );
    }

    #[test]
    fn sec54_names_do_not_collide_by_encoding() {
        let encoded = RequestPath::parse("azlocal%2Fnode-01").unwrap();
        assert!(!encoded.is_at_or_below(&entity("azlocal/node-01")));
        assert!(!encoded.is_at_or_below(&entity("azlocal")));
        assert!(encoded.to_entity().is_err());
        assert_eq!(encoded.entity_candidates().count(), 0);
        assert!(RequestPath::parse("%61zlocal/NODE-01").unwrap().is(&entity("azlocal/node-01")));
    }

    #[test]
    fn request_path_refusals() {
        let table = [
            ("", RequestPathError::Empty),
            ("/", RequestPathError::Empty),
            ("a//b", RequestPathError::EmptySegment),
            ("a/../b", RequestPathError::DotSegment),
            ("a/%2e%2E", RequestPathError::DotSegment),
            ("a/%ff", RequestPathError::Encoding),
            ("a/%00", RequestPathError::Encoding),
        ];
        for (bad, error) in table {
            assert_eq!(RequestPath::parse(bad), Err(error), "{bad:?}");
        }
        assert_eq!(RequestPath::parse(&"a".repeat(TARGET_BYTES_MAX + 1)), Err(RequestPathError::TooLong));
        assert!(RequestPath::parse(&"a".repeat(TARGET_BYTES_MAX)).is_ok());
    }

    #[test]
    fn longest_candidate_first() {
        let path = RequestPath::parse("a/b/c%20d/e").unwrap();
        let found: Vec<_> = path.entity_candidates().map(|e| e.to_string()).collect();
        assert_eq!(found, ["a/b", "a"]);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_same(text in "[A-Za-z0-9._~-]{1,20}(/[A-Za-z0-9_~-]{1,20}){0,4}") {
            if let Ok(path) = text.parse::<EntityPath>() {
                let again = path.to_string().parse::<EntityPath>().unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert_eq!(&text.to_ascii_uppercase().parse::<EntityPath>().unwrap(), &path);
                prop_assert!(RequestPath::parse(&text).unwrap().is(&path));
            }
        }

        #[test]
        fn sec44_no_text_panics(text in any::<String>()) {
            let _ = text.parse::<EntityPath>();
            if let Ok(path) = RequestPath::parse(&text) {
                let _ = path.to_entity();
                prop_assert!(path.entity_candidates().all(|entity| path.is_at_or_below(&entity)));
            }
        }
    }
}
