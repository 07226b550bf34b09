//! Who is who: nodes, desks, engineers and grantors, each by a name for people and a key that proves it.
//!
//! Names come from outside and are shown on terminals, so each kind of name is a type of its own that holds one short
//! line of visible text and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::keys::PublicKey;

/// A text that cannot be used as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a usable {what}: give one line of 1 to {max} visible characters, without blanks at its ends and \
     without control or direction characters"
)]
pub struct NameError {
    what: &'static str,
    max: usize,
}

/// Whether `c` would change how a line is shown instead of being shown: controls, separators of lines, and characters
/// that are invisible or change the direction of text.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn check(text: &str, what: &'static str, max: usize) -> Result<(), NameError> {
    let length = text.chars().take(max + 1).count();
    let bad = length == 0 || length > max || text.trim() != text || text.contains(is_hidden);
    if bad { Err(NameError { what, max }) } else { Ok(()) }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $max:literal;)+) => {$(
        $(#[$doc])*
        #[doc = concat!("\n\nOne line of 1 to ", $max, " visible characters.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The greatest length, in characters.
            pub const CHARS_MAX: usize = $max;

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text, $what, $max).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )+};
}

names! {
    /// The name of a node, for people; its key is what counts.
    NodeName, "node name", 64;
    /// The name of a support organisation's desk, for people; its key is what counts.
    DeskName, "desk name", 64;
    /// How an engineer is named on record, for example `engineer@support.example`.
    EngineerId, "engineer id", 128;
    /// Why support is asked for.
    Reason, "reason", 1000;
    /// The account of a person at a machine.
    UserName, "user name", 256;
    /// The name or address of a machine.
    HostName, "host name", 253;
    /// The path of a hybrid connection on a relay.
    RelayEntity, "relay entity", 260;
}

/// A node: the machine that is supported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// For people.
    pub name: NodeName,
    /// What proves it.
    pub key: PublicKey,
}

/// A desk: the support organisation's side that opens requests and assigns engineers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Desk {
    /// For people.
    pub name: DeskName,
    /// What proves it.
    pub key: PublicKey,
}

/// An engineer: the person who connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Engineer {
    /// For people and records.
    pub id: EngineerId,
    /// What proves it.
    pub key: PublicKey,
}

/// Who gave or changed a consent, from where and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grantor {
    /// The account.
    pub user: UserName,
    /// The machine at which the account acted.
    pub host: HostName,
    /// The way in which the consent was given.
    pub method: Method,
}

/// The way in which a person acted on a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Answered the question at a terminal.
    Prompt,
    /// Agreed beforehand, by a switch on the command line.
    CommandLine,
    /// Used the local web page.
    Console,
    /// Called the local interface.
    Api,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_one_visible_line_within_their_bound() {
        let at = "ö".repeat(NodeName::CHARS_MAX);
        assert_eq!(at.parse::<NodeName>().unwrap().as_str(), at);
        for good in ["node-01", "engineer@support.example", "Ein Knoten", "節点"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        let past = format!("{at}x");
        for bad in
            ["", " ", " a", "a ", "a\nb", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{200b}b", "a\u{feff}", &past]
        {
            let error = bad.parse::<NodeName>().unwrap_err().to_string();
            assert!(error.contains("node name") && error.contains("1 to 64"), "{bad:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn names_survive_json(text in any::<String>()) {
            if let Ok(name) = text.parse::<Reason>() {
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), name);
            } else {
                let json = serde_json::to_string(&text).unwrap();
                prop_assert!(serde_json::from_str::<Reason>(&json).is_err());
            }
        }
    }
}
