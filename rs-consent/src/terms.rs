//! The terms that are shown before consent is given, by version and hash.
//!
//! A grant keeps the version and the SHA-256 of the text that was agreed to, so that nobody can later put another text
//! in its place.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

/// Longest version name, in bytes.
pub const TERMS_VERSION_BYTES_MAX: usize = 64;
/// Longest text, in bytes.
pub const TERMS_TEXT_BYTES_MAX: usize = 64 * 1024;

const AZURE_LOCAL_VERSION: &str = "azure-local-2025-07-31";
const AZURE_LOCAL_TEXT: &str = include_str!("../terms/azure-local-2025-07-31.txt");

/// A text that an owner agrees to, with its version.
///
/// ```
/// use rs_consent::Terms;
///
/// let published = Terms::azure_local();
/// assert!(published.text().starts_with("By approving this request"));
///
/// let own = Terms::new("example-2026-01", "Engineers of support.example may look at this node.")?;
/// assert_ne!(own.agreed().sha256, published.agreed().sha256);
/// # Ok::<(), rs_consent::terms::TermsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    version: TermsVersion,
    text: Cow<'static, str>,
}

/// Which terms were agreed to: what a grant keeps of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgreedTerms {
    /// The version, as people name it.
    pub version: TermsVersion,
    /// The hash of the text, which decides.
    pub sha256: Sha256,
}

/// The name of a version of terms: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TermsVersion(Cow<'static, str>);

/// Terms that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// The version is empty, too long, or has other characters.
    #[error(
        "this is not a version of terms: use 1 to {TERMS_VERSION_BYTES_MAX} letters, digits, dots, dashes and underscores"
    )]
    Version,
    /// The text is empty, too long, or has control characters.
    #[error(
        "these terms cannot be shown: the text must have 1 to {TERMS_TEXT_BYTES_MAX} bytes, \
         and no control characters except newlines and tabs"
    )]
    Text,
}

impl Terms {
    /// The terms of remote support for Azure Local, word for word as Microsoft published them on 2025-07-31.
    #[must_use]
    pub const fn azure_local() -> Self {
        Self {
            version: TermsVersion(Cow::Borrowed(AZURE_LOCAL_VERSION)),
            text: Cow::Borrowed(AZURE_LOCAL_TEXT),
        }
    }

    /// An organisation's own terms.
    ///
    /// # Errors
    /// [`TermsError::Version`] if `version` is not 1 to [`TERMS_VERSION_BYTES_MAX`] of `A-Z a-z 0-9 . _ -`;
    /// [`TermsError::Text`] if `text` is blank, longer than [`TERMS_TEXT_BYTES_MAX`], or has control characters other
    /// than newline and tab.
    pub fn new(version: &str, text: impl Into<String>) -> Result<Self, TermsError> {
        let version = version.parse()?;
        let text = text.into();
        let control = |c: char| c.is_control() && c != '\n' && c != '\t';
        if text.trim().is_empty() || text.len() > TERMS_TEXT_BYTES_MAX || text.contains(control) {
            return Err(TermsError::Text);
        }
        Ok(Self { version, text: Cow::Owned(text) })
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> &TermsVersion {
        &self.version
    }

    /// The text, to be shown as it is.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What a grant keeps of these terms.
    #[must_use]
    pub fn agreed(&self) -> AgreedTerms {
        AgreedTerms { version: self.version.clone(), sha256: Sha256::of(self.text.as_bytes()) }
    }
}

impl TermsVersion {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TermsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TermsVersion {
    type Err = TermsError;

    fn from_str(text: &str) -> Result<Self, TermsError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=TERMS_VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(TermsError::Version)
        }
    }
}

impl TryFrom<String> for TermsVersion {
    type Error = TermsError;

    fn try_from(text: String) -> Result<Self, TermsError> {
        text.parse()
    }
}

impl From<TermsVersion> for String {
    fn from(version: TermsVersion) -> Self {
        version.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a single byte of the published text must be noticed: grants stand on this hash.
    #[test]
    fn c06_the_published_text_is_pinned() {
        let terms = Terms::azure_local();
        assert_eq!(
            terms.agreed().sha256.to_string(),
            "76bd68fd3cb95a5df93f4a2e79921df7d6f42fa07f53ae1a2739477ada2e8d6e"
        );
        assert_eq!(Terms::new(terms.version().as_str(), terms.text()), Ok(terms));
    }

    #[test]
    fn c06_one_byte_more_is_another_hash() {
        let one = Terms::new("v1", "text").unwrap().agreed();
        let other = Terms::new("v1", "text.").unwrap().agreed();
        assert_ne!(one.sha256, other.sha256);
    }

    #[test]
    fn bounds_hold_at_and_past_the_limit() {
        let at = "v".repeat(TERMS_VERSION_BYTES_MAX);
        assert!(at.parse::<TermsVersion>().is_ok());
        for bad in ["", "a b", "ä", &format!("{at}v")] {
            assert_eq!(bad.parse::<TermsVersion>(), Err(TermsError::Version), "{bad}");
        }
        let at = "t".repeat(TERMS_TEXT_BYTES_MAX);
        assert!(Terms::new("v1", at.clone()).is_ok());
        for bad in ["", " \n", "a\u{1b}[2J", "a\rb", &format!("{at}t")] {
            assert_eq!(Terms::new("v1", bad), Err(TermsError::Text));
        }
    }
}
