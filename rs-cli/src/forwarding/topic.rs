//! Which events a collector is told.

use std::fmt;
use std::str::FromStr;

use rs_session::forward::{Event, EventKind};
use serde::{Deserialize, Serialize};

/// A kind of event, or a group of them, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topic {
    /// Everything.
    All,
    /// What people want to be told at once ([`EventKind::is_notice`]).
    Notices,
    /// One kind.
    Kind(EventKind),
}

impl Topic {
    /// Whether it takes this event in. Tests are told to everybody.
    #[must_use]
    pub fn takes(self, event: &Event) -> bool {
        event.kind == EventKind::Test
            || match self {
                Self::All => true,
                Self::Notices => event.kind.is_notice(),
                Self::Kind(kind) => event.kind == kind,
            }
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.to_ascii_lowercase();
        match word.as_str() {
            "all" => Ok(Self::All),
            "notices" => Ok(Self::Notices),
            word => EventKind::ALL
                .iter()
                .find(|kind| kind.word() == word)
                .map(|&kind| Self::Kind(kind))
                .ok_or_else(|| {
                    format!("`{text}` is no kind of event; write `notices`, `all`, or one of: {}", words())
                }),
        }
    }
}

fn words() -> String {
    EventKind::ALL.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Notices => "notices",
            Self::Kind(kind) => kind.word(),
        })
    }
}

impl TryFrom<String> for Topic {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_as_they_are_written() {
        let all = [Topic::All, Topic::Notices]
            .into_iter()
            .chain(EventKind::ALL.iter().map(|&kind| Topic::Kind(kind)));
        for topic in all {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        assert_eq!("Session-Ended".parse(), Ok(Topic::Kind(EventKind::SessionEnded)));
        assert!("sessions".parse::<Topic>().expect_err("unknown").contains("session-ended"));
    }

    #[test]
    fn u10_notices_are_what_the_operator_is_to_hear_of_at_once() {
        let event =
            |kind| Event::new("x/1", "node-01", kind, "2026-11-28T10:00:00Z".parse().expect("a time"), "");
        for kind in [
            EventKind::ConsentGranted,
            EventKind::SessionStarted,
            EventKind::EngineerRefused,
            EventKind::CommandRefused,
            EventKind::RepairPermitted,
            EventKind::SessionEnded,
            EventKind::ConsentExpiring,
            EventKind::ConsentExpired,
            EventKind::ConsentRevoked,
        ] {
            assert!(Topic::Notices.takes(&event(kind)), "{}", kind.word());
        }
        for kind in [EventKind::CommandPermitted, EventKind::CommandFinished, EventKind::AgentStarted] {
            assert!(!Topic::Notices.takes(&event(kind)) && Topic::All.takes(&event(kind)), "{}", kind.word());
        }
        assert!(
            Topic::Kind(EventKind::SessionEnded).takes(&event(EventKind::Test)),
            "tests arrive everywhere"
        );
    }
}
