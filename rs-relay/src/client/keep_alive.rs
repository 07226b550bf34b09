//! How a client keeps its connections alive and notices dead ones.

use std::time::Duration;

use crate::proto::Authority;

/// What a client sends on a quiet connection.
///
/// # Defaults
///
/// [`KeepAlive::for_relay`]: Pong for Azure's own service, Ping for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAlive {
    /// A Ping at this interval. A relay that was silent over two whole intervals while we waited for it is dead.
    Ping(Duration),
    /// An unsolicited Pong at this interval: keeps devices on the way from dropping the connection, asks nothing of the
    /// relay.
    Pong(Duration),
}

impl KeepAlive {
    /// Ping every 15 s, so that a silent relay is found within 45 s; for Azure a Pong every 60 s, as its service drops
    /// quiet connections after 4 minutes and was seen to drop clients that send Pings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rs_relay::client::KeepAlive;
    ///
    /// let azure = "contoso.servicebus.windows.net".parse().unwrap();
    /// assert_eq!(KeepAlive::for_relay(&azure), KeepAlive::Pong(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn for_relay(authority: &Authority) -> Self {
        if authority.is_azure() {
            Self::Pong(Duration::from_secs(60))
        } else {
            Self::Ping(Duration::from_secs(15))
        }
    }

    /// Time between two signs of life.
    #[must_use]
    pub fn interval(self) -> Duration {
        match self {
            Self::Ping(interval) | Self::Pong(interval) => interval.max(Duration::from_millis(10)),
        }
    }

    pub(crate) fn expects_answers(self) -> bool {
        matches!(self, Self::Ping(_))
    }
}

/// Intervals without a byte after which a relay that should answer is dead.
pub(crate) const SILENT_INTERVALS_MAX: u32 = 2;
