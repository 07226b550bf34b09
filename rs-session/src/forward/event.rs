//! One thing that happened, and the numbers by which collectors know its kind.

use chrono::{DateTime, Utc};
use rs_consent::{AccessLevel, RequestNumber};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How much attention an event deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Everyday business.
    Informational,
    /// Worth knowing: access was given or taken, somebody came or went.
    Notice,
    /// Somebody was turned away, or something did not go as it should.
    Warning,
    /// The record or the clock cannot be relied on.
    Critical,
}

/// Whether what was tried came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It came about.
    Success,
    /// It was refused or failed.
    Failure,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $number:literal, $word:literal, $title:literal, $severity:ident;)+) => {
        /// What happened. The numbers never change and are never used again for something else.
        ///
        /// 18101 and 18104 are those that the product's own tools write for the same acts; 18200 to 18299 are ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $kind,)+
        }

        impl EventKind {
            /// All kinds, by number.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The number by which event logs know this kind.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$kind => $number),+ }
            }

            /// The kind in kebab-case, as JSON and syslog have it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$kind => $word),+ }
            }

            /// The kind as a short title.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }

            /// How much attention it deserves.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity),+ }
            }
        }
    };
}

kinds! {
    /// The operator gave consent, or changed one in place.
    ConsentGranted = 18101, "consent-granted", "Consent granted", Notice;
    /// The operator took the consent back.
    ConsentRevoked = 18104, "consent-revoked", "Consent revoked", Notice;
    /// The operator was asked for consent and said no.
    ConsentDeclined = 18201, "consent-declined", "Consent declined", Informational;
    /// The time of a consent was over.
    ConsentExpired = 18202, "consent-expired", "Consent expired", Notice;
    /// A consent was replaced by a fresh one.
    ConsentSuperseded = 18203, "consent-superseded", "Consent superseded", Notice;
    /// The clock went back; the consent is held until the operator confirms it.
    ClockHeld = 18204, "clock-held", "Clock went back", Critical;
    /// The time of a consent is nearly over.
    ConsentExpiring = 18205, "consent-expiring", "Consent ends soon", Notice;
    /// A second person approved of a consent.
    ConsentApproved = 18207, "consent-approved", "Consent approved", Notice;
    /// What a consent had waited for has come: it is in force.
    ConsentBegun = 18208, "consent-begun", "Consent begun", Notice;
    /// The operator asked for support.
    RequestSubmitted = 18211, "request-submitted", "Support request submitted", Informational;
    /// The operator confirmed the desk that answers.
    RequestOpened = 18212, "request-opened", "Support request opened", Informational;
    /// A support request was closed.
    RequestClosed = 18213, "request-closed", "Support request closed", Informational;
    /// An engineer was not let in.
    EngineerRefused = 18221, "engineer-refused", "Engineer refused", Warning;
    /// An engineer was let in.
    SessionStarted = 18231, "session-started", "Session started", Notice;
    /// A session ended.
    SessionEnded = 18232, "session-ended", "Session ended", Notice;
    /// A command that changes nothing was permitted and is on record to be run.
    CommandPermitted = 18241, "command-permitted", "Command permitted", Informational;
    /// A command was refused; nothing ran.
    CommandRefused = 18242, "command-refused", "Command refused", Warning;
    /// A command came to its end.
    CommandFinished = 18243, "command-finished", "Command finished", Informational;
    /// The engineer interrupted a command.
    CommandInterrupted = 18244, "command-interrupted", "Command interrupted", Informational;
    /// The node put a remark on record.
    SessionNote = 18245, "session-note", "Session note", Informational;
    /// A command that changes the state of the node was permitted and is on record to be run.
    RepairPermitted = 18246, "repair-permitted", "Repair operation permitted", Notice;
    /// A call waits for the operator's answer.
    ApprovalAsked = 18247, "approval-asked", "Approval asked", Notice;
    /// A call that waited was answered, or nobody answered in time.
    ApprovalAnswered = 18248, "approval-answered", "Approval answered", Informational;
    /// The node's service started.
    AgentStarted = 18251, "agent-started", "Agent started", Informational;
    /// The node's service stopped.
    AgentStopped = 18252, "agent-stopped", "Agent stopped", Informational;
    /// Records of a session cannot be read to their end.
    RecordDamaged = 18261, "record-damaged", "Record damaged", Critical;
    /// Contents of a record were deleted because their time was over, or redacted.
    ContentsRemoved = 18262, "contents-removed", "Contents removed", Notice;
    /// The whole record of a session was deleted.
    RecordDeleted = 18263, "record-deleted", "Record deleted", Warning;
    /// The record of a session, or a rendering of it, left the node.
    EvidenceExported = 18264, "evidence-exported", "Evidence exported", Notice;
    /// Somebody tries whether collectors are reached; nothing happened.
    Test = 18290, "test", "Test", Informational;
    /// Something of the node log that has no number of its own.
    Other = 18299, "other", "Other", Informational;
}

impl EventKind {
    /// Whether people want to be told at once: access was given, used, refused or ended, or the state of the node changes.
    #[must_use]
    pub const fn is_notice(self) -> bool {
        matches!(
            self,
            Self::ConsentGranted
                | Self::ConsentApproved
                | Self::ConsentBegun
                | Self::ConsentRevoked
                | Self::ConsentExpired
                | Self::ConsentExpiring
                | Self::ClockHeld
                | Self::EngineerRefused
                | Self::SessionStarted
                | Self::SessionEnded
                | Self::CommandRefused
                | Self::RepairPermitted
                | Self::ApprovalAsked
                | Self::RecordDamaged
                | Self::Test
        )
    }

    /// Whether strangers or an engineer can cause many of it, so that a digest may count them instead of listing each.
    #[must_use]
    pub const fn comes_in_floods(self) -> bool {
        matches!(
            self,
            Self::EngineerRefused
                | Self::CommandPermitted
                | Self::CommandRefused
                | Self::CommandFinished
                | Self::CommandInterrupted
                | Self::SessionNote
        )
    }

    /// Whether it says by itself that something did not come about.
    const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::ConsentDeclined
                | Self::ClockHeld
                | Self::EngineerRefused
                | Self::CommandRefused
                | Self::RecordDamaged
        )
    }
}

/// Longest free text of an event, in characters; longer ones are cut and end in `…`.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The same for the same thing, however often it is forwarded; no two things share one.
    pub id: String,
    /// The number of its kind.
    pub event_id: u16,
    /// What happened.
    pub kind: EventKind,
    /// How much attention it deserves.
    pub severity: Severity,
    /// When, by the node's clock.
    pub time: DateTime<Utc>,
    /// Name of the node.
    pub node: String,
    /// What happened, in words.
    pub message: String,
    /// Whether it came about.
    pub outcome: Outcome,
    /// The engineer, as the desk names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engineer: Option<String>,
    /// Fingerprint of the engineer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engineer_key: Option<String>,
    /// The operator, as user@host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Number of the support request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_request: Option<RequestNumber>,
    /// Id of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<Uuid>,
    /// Id of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    /// The level that was in force or asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_level: Option<AccessLevel>,
    /// The line that the engineer sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Reason code of a refusal, cause of an end, or status of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// An event of `kind` with its `id`; everything else is added by setting its field. The message is cut to
    /// [`TEXT_CHARS_MAX`].
    #[must_use]
    pub fn new(id: &str, node: &str, kind: EventKind, time: DateTime<Utc>, message: &str) -> Self {
        Self {
            id: id.to_owned(),
            event_id: kind.number(),
            kind,
            severity: kind.severity(),
            time,
            node: node.to_owned(),
            message: shortened(message),
            outcome: if kind.is_failure() { Outcome::Failure } else { Outcome::Success },
            engineer: None,
            engineer_key: None,
            operator: None,
            support_request: None,
            grant_id: None,
            session_id: None,
            access_level: None,
            line: None,
            reason: None,
        }
    }
}

/// `text`, cut to [`TEXT_CHARS_MAX`].
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => {
            let mut cut: String = text[..end].chars().take(TEXT_CHARS_MAX - 1).collect();
            cut.push('…');
            cut
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q02_numbers_and_words_are_unique_and_in_order() {
        let numbers: Vec<_> = EventKind::ALL.iter().map(|kind| kind.number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        let words: std::collections::BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(words.len(), EventKind::ALL.len());
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }

    #[test]
    fn texts_are_cut_past_their_bound_and_not_at_it() {
        let at = "é".repeat(TEXT_CHARS_MAX);
        assert_eq!(shortened(&at), at);
        let past = shortened(&format!("{at}x"));
        assert_eq!(past.chars().count(), TEXT_CHARS_MAX);
        assert!(past.ends_with("é…"));
    }
}
