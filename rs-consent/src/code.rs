//! Why something ended, and why something was refused: the closed lists that records, messages and tests share.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $cause:literal, $remedy:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("\n\nCode `", $code, "`.")] $variant,)+
        }

        impl $name {
            /// All of them, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code, as it stands in records and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// What it means, as a sentence without full stop.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause),+ }
            }

            /// What can be done, as a sentence without full stop.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }

            /// What it means and what can be done: cause and remedy.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($cause, "; ", $remedy)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

codes! {
    /// Why a session or a grant ended. Every end has exactly one cause (SEC12).
    EndCause {
        /// The engineer left.
        Exit = "exit", "the engineer ended the session", "nothing is to be done; connect again if there is more to do";
        /// The operator revoked the grant.
        Revoked = "revoked", "the owner revoked the consent", "ask the owner to enable remote support again";
        /// The grant's time was over.
        Expired = "expired", "the consent has expired", "ask the owner to enable remote support again; a newer consent before the end keeps sessions going";
        /// Nothing happened for too long.
        Idle = "idle", "nothing happened for longer than the idle limit", "connect again";
        /// The support request was closed.
        RequestClosed = "request-closed", "the support request is no longer open", "ask the desk for a new opening, and the owner to confirm it";
        /// The assignment's time was over.
        AssignmentExpired = "assignment-expired", "the engineer's assignment has expired", "get a new one from the desk, and connect again";
        /// The grant was lowered below the session's level.
        LevelLowered = "level-lowered", "the owner lowered the access level below that of the session", "connect again at the lower level, or ask the owner for the higher one";
        /// The operator ended this one session.
        Operator = "operator", "the owner ended this session; the consent stands", "ask the owner before you connect again";
        /// The connection broke.
        Transport = "transport", "the connection was lost", "connect again; `remote-support proxy check` looks at each hop of the way";
        /// The record could not be written.
        RecordFault = "record-fault", "the record could not be written, and nothing runs off the record", "see that the volume of the state directory is well and has space left (`remote-support agent doctor`), then connect again";
        /// The other side broke the session protocol.
        Protocol = "protocol", "the other side broke the session protocol", "update the older of the two programs; where both are new, report it as a fault";
        /// The agent was stopped.
        AgentStopped = "agent-stopped", "the node's agent was stopped", "start it with `remote-support agent run`, or its service, and connect again";
        /// The clock went back.
        ClockHeld = "clock-held", "the node's clock or store went back", "set the clock if it is wrong, then enable remote support again";
        /// The agent died in the middle of the session.
        Interrupted = "interrupted", "the node's agent died in the middle of the session", "start it again; it completes the record, and its log and that of the system say why it died";
        /// Something else failed on the node.
        Fault = "fault", "something failed on the node", "read the agent's log, and connect again";
    }
}

codes! {
    /// Why nobody was let in. Each missing piece has a code of its own (SEC3).
    RefusalCode {
        /// No grant was ever made.
        NoGrant = "no-grant", "the owner has given no consent", "ask the owner to enable remote support";
        /// The newest grant expired.
        GrantExpired = "grant-expired", "the consent has expired", "ask the owner to enable remote support again";
        /// The newest grant was revoked.
        GrantRevoked = "grant-revoked", "the consent was revoked", "ask the owner to enable remote support again";
        /// The consent waits for its start or for a second person.
        GrantPending = "grant-pending", "the consent is not in force yet: it waits for its start or for a second person on the owner's side", "ask the owner when it begins, or who has yet to say `approve`";
        /// The clock went back; the operator must confirm.
        GrantHeld = "grant-held", "the consent is held because the node's clock or store went back", "the owner must enable remote support again";
        /// No support request is open.
        NoOpenRequest = "no-open-request", "no support request is open for this consent", "the owner must confirm the desk's opening";
        /// The grant is for another request.
        RequestMismatch = "request-mismatch", "the consent is for another support request than the assignment", "get an assignment for the request that the consent names, or ask the owner to consent for this one";
        /// No assignment was shown.
        AssignmentMissing = "assignment-missing", "no assignment was shown", "get one from the desk";
        /// The assignment is damaged or its content is not permitted.
        AssignmentInvalid = "assignment-invalid", "the assignment is damaged or not permitted", "get a new one from the desk";
        /// The assignment's time has not come.
        AssignmentNotYetValid = "assignment-not-yet-valid", "the assignment is from the future", "compare the clocks of desk and node";
        /// The assignment's time is over.
        AssignmentExpired = "assignment-expired", "the assignment has expired", "get a new one from the desk";
        /// The assignment is for another node.
        AssignmentOtherNode = "assignment-other-node", "the assignment is for another node", "connect to the node that it names, or get one for this node from the desk";
        /// The assignment is for a request that is not open here.
        AssignmentOtherRequest = "assignment-other-request", "the assignment is for a support request that is not open on this node", "get one for the open request from the desk, or ask the owner to confirm the opening of this one";
        /// The assignment's desk is not the one whose opening was confirmed.
        DeskUnknown = "desk-unknown", "the desk that signed the assignment was not confirmed by the owner", "ask the owner to compare the desk's fingerprint and to confirm its opening";
        /// The engineer proved no key.
        EngineerUnproven = "engineer-unproven", "the engineer has not proved a key", "connect with the key that the desk assigned (`remote-support connect`)";
        /// The engineer's proven key is not the one in the assignment.
        EngineerKeyMismatch = "engineer-key-mismatch", "the assignment is for another engineer's key", "use the key that it names, or have the desk assign yours";
        /// All places are taken.
        TooManySessions = "too-many-sessions", "too many sessions are open on this node", "end one or wait";
        /// The gate is shut: the agent is stopping, or cannot trust its store.
        GateShut = "gate-shut", "the node lets nobody in at present", "its owner can see why with `remote-support agent doctor`";
        /// No common version of the session protocol.
        Version = "version", "there is no common version of the session protocol", "update the older side";
        /// The session protocol was broken before the session began.
        Protocol = "protocol", "the session protocol was broken", "update the older side; where both are new, report it as a fault";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_equal_their_json() {
        let causes = EndCause::ALL.iter().map(|c| (c.as_str(), serde_json::to_string(c).unwrap()));
        let refusals = RefusalCode::ALL.iter().map(|c| (c.as_str(), serde_json::to_string(c).unwrap()));
        for (code, json) in causes.chain(refusals) {
            assert_eq!(json, format!("{code:?}"));
        }
        let distinct = |codes: Vec<&str>| codes.iter().collect::<BTreeSet<_>>().len() == codes.len();
        assert!(distinct(EndCause::ALL.iter().map(|c| c.as_str()).collect()));
        assert!(distinct(RefusalCode::ALL.iter().map(|c| c.as_str()).collect()));
        assert!(distinct(EndCause::ALL.iter().map(|c| c.cause()).collect()));
        assert!(distinct(RefusalCode::ALL.iter().map(|c| c.cause()).collect()));
    }

    #[test]
    fn u04_every_code_has_cause_and_remedy() {
        let ends = EndCause::ALL.iter().map(|c| (c.cause(), c.remedy(), c.explanation()));
        let refusals = RefusalCode::ALL.iter().map(|c| (c.cause(), c.remedy(), c.explanation()));
        for (cause, remedy, explanation) in ends.chain(refusals) {
            assert!(cause.len() > 10 && remedy.len() > 10, "{explanation}");
            assert_eq!(explanation, format!("{cause}; {remedy}"));
        }
    }
}
