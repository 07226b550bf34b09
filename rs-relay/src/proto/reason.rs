//! The relay's refusals and closings without their particulars: what each means, and what can be done about it.
//!
//! What a client reads is a status with a reason phrase, or a close code with a text; the words that stay the same are
//! here, so that documents and programs can explain them.

use super::frame::CloseReason;
use super::refusal::Refusal;
use super::token::TokenError;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $status:literal, $cause:literal, $remedy:literal;)+) => {
        /// A kind of [`Refusal`]. Stable and kebab-case in every output.
        ///
        /// ```
        /// use rs_relay::proto::{Reason, Refusal};
        ///
        /// let reason = Reason::of(&Refusal::NoListener);
        /// assert_eq!((reason.as_str(), reason.status()), ("no-listener", "404"));
        /// assert!(reason.remedy().contains("agent"));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason in kebab-case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The HTTP status or statuses that it travels with.
            #[must_use]
            pub const fn status(self) -> &'static str {
                match self { $(Self::$variant => $status),+ }
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
        }
    };
}

reasons! {
    /// The address is malformed.
    Malformed = "malformed-address", "400, 404", "the address is malformed", "use the address from the connection string as it stands";
    /// Not a WebSocket handshake.
    NotWebSocket = "not-websocket", "400", "the request is no WebSocket handshake of version 13", "see whether a proxy on the way removes the Upgrade header (`remote-support proxy check`)";
    /// No token.
    TokenMissing = "token-missing", "401", "no token was sent", "use the credential file of this relay; see whether a proxy on the way removes the header ServiceBusAuthorization";
    /// A token that cannot be read.
    TokenMalformed = "token-malformed", "401", "the token cannot be read", "get a new credential file from the relay's operator";
    /// A token of another kind.
    TokenUnsupported = "token-unsupported", "401", "the relay takes no token of this kind", "send a SharedAccessSignature, or have the relay's operator add the issuer of the token";
    /// Another key.
    TokenUnknownKey = "token-unknown-key", "401", "the relay has no key of the name in the token", "get the credential of this relay; an older one may have been removed";
    /// Another signature.
    TokenSignature = "token-invalid-signature", "401", "the token was signed with another key, or changed", "get the credential of this relay; its key may have been renewed";
    /// A token of tomorrow.
    TokenNotYet = "token-not-valid-yet", "401", "the token is from the future", "compare the clocks of this machine and the relay";
    /// A token of yesterday.
    TokenExpired = "token-expired", "401", "the token has expired", "make or get a new one, and compare the clocks of this machine and the relay";
    /// A token for something else.
    TokenResource = "token-other-resource", "401", "the token was made for another address than this one", "use the credential that belongs to this hybrid connection";
    /// The right is missing.
    Forbidden = "forbidden", "403", "the token is good, but does not carry the right that is needed", "nodes need the Listen credential, engineers the Send credential; see whether they were exchanged";
    /// No such hybrid connection.
    NoEntity = "no-endpoint", "404", "the relay has no hybrid connection of this name", "see whether the name in the credential is that of the relay's configuration";
    /// Nobody listens.
    NoListener = "no-listener", "404", "no node listens there at present", "ask the node's owner whether consent is in force (`remote-support access`) and the agent runs (`remote-support agent status`)";
    /// All places of listeners are taken.
    TooManyListeners = "too-many-listeners", "403", "the hybrid connection has all the listeners that it may have", "stop agents that are no longer needed, or give each node a hybrid connection of its own";
    /// A rendezvous address that is no good.
    NoRendezvous = "no-rendezvous", "403", "the rendezvous address is unknown, was used before, or has expired", "nothing: the engineer connects again, and gets a new one";
    /// Carried out.
    RejectionDone = "rejection-done", "410", "the rejection of a sender was carried out, as the listener asked", "nothing is to be done";
    /// The listener said No.
    Rejected = "rejected", "as the listener says", "the listener does not want this connection; the text is its own", "see what the text says, or ask the node's owner";
    /// No listener came.
    NobodyAccepted = "nobody-accepted", "504", "no listener took the connection in time", "connect again; if it stays so, have the node's owner look with `remote-support agent doctor`";
    /// No answer.
    NoResponse = "no-response", "504", "the listener was given the request and did not answer in time", "try again, and see what the application behind the listener does";
    /// The listener went away.
    ListenerLost = "listener-lost", "502", "the listener's connection was lost while it had the request", "try again; the listener comes back by itself";
    /// An answer that breaks the protocol.
    BadResponse = "bad-response", "502", "the listener gave a response that cannot be passed on", "correct the application behind the listener";
    /// Another kind of request.
    WrongKind = "wrong-kind", "405", "the hybrid connection does not take what was sent", "see which kinds the relay's configuration permits for it";
    /// The body did not come.
    BodyTimeout = "body-timeout", "408", "the body of the request did not arrive in time", "send it again on a better line, or in smaller pieces";
    /// The body is no good.
    BadBody = "bad-body", "400", "the body of the request is malformed or was cut off", "send the request again; see whether a proxy on the way cuts it";
    /// Too many headers.
    HeadersTooLarge = "headers-too-large", "431", "the headers of the request do not fit into a control message", "send fewer or shorter headers";
    /// All connections of the namespace are taken.
    TooManyConnections = "too-many-connections", "503", "the namespace has all the connections that it may have", "wait for some to end, or raise the limit in the relay's configuration";
    /// Busy or shutting down.
    Busy = "busy", "503", "the relay is busy or shutting down", "try again in a moment";
    /// A fault of the relay.
    Internal = "internal", "500", "the relay failed internally", "have its operator look into its log, with the TrackingId of the message";
}

impl Reason {
    /// What kind of refusal this is.
    #[must_use]
    pub const fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Malformed(_) => Self::Malformed,
            Refusal::NotWebSocket => Self::NotWebSocket,
            Refusal::Token(error) => match error {
                TokenError::Missing => Self::TokenMissing,
                TokenError::Malformed(_) => Self::TokenMalformed,
                TokenError::Unsupported => Self::TokenUnsupported,
                TokenError::UnknownKey => Self::TokenUnknownKey,
                TokenError::InvalidSignature => Self::TokenSignature,
                TokenError::NotYet => Self::TokenNotYet,
                TokenError::Expired => Self::TokenExpired,
                TokenError::WrongResource => Self::TokenResource,
            },
            Refusal::Forbidden { .. } => Self::Forbidden,
            Refusal::NoEntity => Self::NoEntity,
            Refusal::NoListener => Self::NoListener,
            Refusal::TooManyListeners => Self::TooManyListeners,
            Refusal::NoRendezvous => Self::NoRendezvous,
            Refusal::RejectionDone => Self::RejectionDone,
            Refusal::Rejected(_) => Self::Rejected,
            Refusal::NobodyAccepted => Self::NobodyAccepted,
            Refusal::NoResponse => Self::NoResponse,
            Refusal::ListenerLost => Self::ListenerLost,
            Refusal::BadResponse(_) => Self::BadResponse,
            Refusal::WrongKind(_) => Self::WrongKind,
            Refusal::BodyTimeout => Self::BodyTimeout,
            Refusal::BadBody => Self::BadBody,
            Refusal::HeadersTooLarge => Self::HeadersTooLarge,
            Refusal::TooManyConnections => Self::TooManyConnections,
            Refusal::Busy => Self::Busy,
            Refusal::Internal => Self::Internal,
        }
    }
}

/// A code with which the relay closes a WebSocket: what it means, and what can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closing {
    /// The code.
    pub code: u16,
    /// What it means, as a sentence without full stop.
    pub cause: &'static str,
    /// What can be done, as a sentence without full stop.
    pub remedy: &'static str,
}

impl Closing {
    const fn new(code: u16, cause: &'static str, remedy: &'static str) -> Self {
        Self { code, cause, remedy }
    }

    /// Every code that the relay uses, and 1005 and 1006, which stand for a close without one and for none at all.
    pub const ALL: &[Self] = &[
        Self::new(CloseReason::NORMAL, "the connection has done what it was for", "nothing is to be done"),
        Self::new(
            CloseReason::GOING_AWAY,
            "the other side is gone, the endpoint was removed, or the relay is shutting down; the text says which",
            "nothing: listeners come back by themselves; engineers connect again",
        ),
        Self::new(
            CloseReason::PROTOCOL,
            "a frame broke the protocol",
            "update the older side; where both are new, report it as a fault with the text",
        ),
        Self::new(1005, "the other side closed without a code", "connect again"),
        Self::new(
            1006,
            "the connection was lost without a close",
            "see the network between here and the relay",
        ),
        Self::new(
            CloseReason::INVALID_DATA,
            "a text message is no UTF-8",
            "correct the program that sent it",
        ),
        Self::new(
            CloseReason::POLICY,
            "a rule was broken: a token that has expired or is no longer good, no sign of life, or too many pings; the \
             text says which",
            "for a token get a new credential from the relay's operator and compare the clocks; else see the network in \
             between",
        ),
        Self::new(CloseReason::TOO_BIG, "a message is longer than permitted", "send shorter ones"),
        Self::new(
            CloseReason::INTERNAL,
            "the relay failed internally",
            "have its operator look into its log",
        ),
        Self::new(CloseReason::TRY_LATER, "too many listeners have begun long messages", "come back later"),
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn u04_reasons_are_distinct_and_carry_the_status_of_their_refusals() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for refusal in [
            Refusal::NotWebSocket,
            Refusal::Token(TokenError::Expired),
            Refusal::Forbidden { claim: "Send" },
            Refusal::NoEntity,
            Refusal::NoListener,
            Refusal::TooManyListeners,
            Refusal::NoRendezvous,
            Refusal::RejectionDone,
            Refusal::NobodyAccepted,
            Refusal::NoResponse,
            Refusal::ListenerLost,
            Refusal::BadResponse("x"),
            Refusal::WrongKind("x"),
            Refusal::BodyTimeout,
            Refusal::BadBody,
            Refusal::HeadersTooLarge,
            Refusal::TooManyConnections,
            Refusal::Busy,
            Refusal::Internal,
        ] {
            assert_eq!(Reason::of(&refusal).status(), refusal.status().to_string(), "{refusal}");
        }
    }

    #[test]
    fn u04_every_code_that_the_relay_closes_with_is_explained() {
        let source = include_str!("frame.rs");
        let codes =
            source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": u16 = "));
        let codes: Vec<u16> = codes.filter_map(|(_, code)| code.trim_end_matches(';').parse().ok()).collect();
        assert!(codes.len() >= 7, "{codes:?}");
        for code in codes {
            assert!(Closing::ALL.iter().any(|closing| closing.code == code), "{code}");
        }
    }
}
