//! Refusals of the server, and the reason phrase that carries them.
//!
//! WebSocket clients show their users no bodies, so the explanation stands in the status line:
//! `HTTP/1.1 404 Endpoint does not exist. TrackingId:…, SystemTracker:…, Timestamp:…`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::address::{Rejection, TargetError};
use super::limits::{LISTENERS_PER_ENTITY_MAX, REASON_BYTES_MAX, RENDEZVOUS_WAIT, RESPONSE_WAIT};
use super::token::TokenError;

/// When to come back to a relay that is busy or shuts down; another one may be in its place soon.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// When to come back to a namespace that is full.
const TOO_MANY_WAIT: Duration = Duration::from_secs(10);

/// Why the server refuses a handshake. [`Refusal::status`] is the only place where a refusal becomes an HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The address is malformed.
    #[error("The address is malformed: {0}.")]
    Malformed(#[from] TargetError),
    /// Not the WebSocket handshake of RFC 6455.
    #[error("The request is no WebSocket handshake of version 13.")]
    NotWebSocket,
    /// The token is missing, malformed, unknown, wrong or expired.
    #[error("{0}.")]
    Token(#[from] TokenError),
    /// The token is good, but does not permit this.
    #[error("The token does not carry the claim '{claim}' that this operation requires.")]
    Forbidden {
        /// The right that is missing.
        claim: &'static str,
    },
    /// There is no such hybrid connection.
    #[error("Endpoint does not exist.")]
    NoEntity,
    /// Nobody listens.
    #[error("There are no listeners connected for the endpoint.")]
    NoListener,
    /// One listener more than an entity can have.
    #[error("The endpoint has {LISTENERS_PER_ENTITY_MAX} listeners already, which is the limit.")]
    TooManyListeners,
    /// The rendezvous address is unknown, used, forged or too old.
    #[error("The rendezvous address is not valid, or was used before, or has expired.")]
    NoRendezvous,
    /// The rejection of a sender was carried out; the answer to the rejecting listener.
    #[error("The connection was rejected as requested.")]
    RejectionDone,
    /// The listener does not want the sender.
    #[error("{}", .0.text())]
    Rejected(Rejection),
    /// No listener came to the rendezvous.
    #[error("None of the connected listeners accepted the connection within {} seconds.", RENDEZVOUS_WAIT.as_secs())]
    NobodyAccepted,
    /// The listener was given an HTTP request and has not answered in time.
    #[error("The listener did not respond within {} seconds.", RESPONSE_WAIT.as_secs())]
    NoResponse,
    /// The listener's connection was lost while it had the request.
    #[error("The connection of the listener was lost before it responded.")]
    ListenerLost,
    /// The listener's answer breaks the protocol.
    #[error("The listener gave a response that cannot be passed on: {0}.")]
    BadResponse(&'static str),
    /// The endpoint does not take what was sent.
    #[error("The endpoint takes {0} only.")]
    WrongKind(&'static str),
    /// The body of the request did not come.
    #[error("The body of the request did not arrive in time.")]
    BodyTimeout,
    /// The body of the request cannot be read.
    #[error("The body of the request is malformed or was cut off.")]
    BadBody,
    /// The sender's headers do not fit into a control message.
    #[error("The headers of the request are too large.")]
    HeadersTooLarge,
    /// The namespace has all the connections that it may have.
    #[error("The namespace has as many connections as it may have. Try again later.")]
    TooManyConnections,
    /// Too much at once; try again.
    #[error("The relay is busy or shutting down. Try again in a moment.")]
    Busy,
    /// Trouble of the server's own.
    #[error("The relay failed internally.")]
    Internal,
}

impl Refusal {
    /// The HTTP status.
    ///
    /// ```
    /// use rs_relay::proto::Refusal;
    ///
    /// assert_eq!(Refusal::NoListener.status(), 404);
    /// assert_eq!(Refusal::RejectionDone.status(), 410);
    /// ```
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(TargetError::NotWebSocket) | Self::NoEntity | Self::NoListener => 404,
            Self::Malformed(_) | Self::NotWebSocket => 400,
            Self::Token(_) => 401,
            Self::Forbidden { .. } | Self::TooManyListeners | Self::NoRendezvous => 403,
            Self::RejectionDone => 410,
            Self::Rejected(rejection) => rejection.status(),
            Self::NobodyAccepted | Self::NoResponse => 504,
            Self::ListenerLost | Self::BadResponse(_) => 502,
            Self::WrongKind(_) => 405,
            Self::BodyTimeout => 408,
            Self::BadBody => 400,
            Self::HeadersTooLarge => 431,
            Self::Busy | Self::TooManyConnections => 503,
            Self::Internal => 500,
        }
    }

    /// When to come back, for a `Retry-After` header; only where trying again may help and the relay can say when.
    ///
    /// ```
    /// use rs_relay::proto::Refusal;
    ///
    /// assert_eq!(Refusal::Busy.retry_after(), Some(std::time::Duration::from_secs(2)));
    /// assert_eq!(Refusal::NoListener.retry_after(), None);
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(BUSY_WAIT),
            Self::TooManyConnections => Some(TOO_MANY_WAIT),
            _ => None,
        }
    }

    /// The reason phrase: the text, then what support needs to find the event again.
    ///
    /// Only a listener's own text is passed on as it is. `now` is wall time.
    #[must_use]
    pub fn reason(&self, tracking_id: &str, tracker: &str, now: DateTime<Utc>) -> String {
        if let Self::Rejected(rejection) = self {
            return rejection.text().to_owned();
        }
        let time = now.format("%Y-%m-%dT%H:%M:%S");
        clean_reason(&format!("{self} TrackingId:{tracking_id}, SystemTracker:{tracker}, Timestamp:{time}"))
    }
}

/// Makes a text fit for a status line: printable ASCII, one line, at most [`REASON_BYTES_MAX`] bytes.
///
/// Control characters become one space, other characters `?`.
///
/// ```
/// assert_eq!(rs_relay::proto::clean_reason("a\r\nb ü"), "a b ?");
/// ```
#[must_use]
pub fn clean_reason(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(REASON_BYTES_MAX));
    for character in text.chars() {
        let shown = match character {
            ' '..='~' => character,
            c if c.is_control() => ' ',
            _ => '?',
        };
        if shown == ' ' && character != ' ' && clean.ends_with(' ') {
            continue;
        }
        if clean.len() == REASON_BYTES_MAX {
            break;
        }
        clean.push(shown);
    }
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reason_has_the_service_shape() {
        let now = DateTime::from_timestamp(1_622_873_288, 0).unwrap();
        assert_eq!(
            Refusal::NoListener.reason("1_G0", "sb://ns.example.test/hyco", now),
            "There are no listeners connected for the endpoint. TrackingId:1_G0, \
             SystemTracker:sb://ns.example.test/hyco, Timestamp:2021-06-05T06:08:08"
        );
        let no = Refusal::Rejected(Rejection::new(409, "busy"));
        assert_eq!((no.status(), no.reason("x", "y", now).as_str()), (409, "busy"));
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        for refusal in [Refusal::Busy, Refusal::TooManyConnections] {
            assert_eq!(refusal.status(), 503);
            assert!(refusal.retry_after().is_some_and(|wait| wait.as_secs() > 0));
        }
        assert_eq!(
            Refusal::Rejected(Rejection::new(503, "no")).retry_after(),
            None,
            "the listener's own affair"
        );
    }

    proptest! {
        #[test]
        fn reasons_are_one_short_ascii_line(text in any::<String>()) {
            let clean = clean_reason(&text);
            prop_assert!(clean.len() <= REASON_BYTES_MAX);
            prop_assert!(clean.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert_eq!(clean_reason(&clean), clean);
        }
    }
}
