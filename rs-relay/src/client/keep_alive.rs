//! How a client keeps its connections alive and notices dead ones.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::net::socket::Socket;
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
    /// relay. That the way is dead is found by the system, which misses the acknowledgements: after 20 s with
    /// [`TcpDialer`](super::TcpDialer) on Linux, after about 20 s on Windows. A proxy on the way acknowledges by itself,
    /// so behind one only a Ping finds a dead relay.
    Pong(Duration),
}

impl KeepAlive {
    /// Ping every 15 s, so that a silent relay is found within 45 s; for Azure a Pong every 20 s, as its service drops
    /// quiet connections after 4 minutes and was seen to drop clients that send Pings. With the 20 s of
    /// [`TcpDialer`](super::TcpDialer) a dead way is found within 45 s there, too.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rs_relay::client::KeepAlive;
    ///
    /// let azure = "contoso.servicebus.windows.net".parse().unwrap();
    /// assert_eq!(KeepAlive::for_relay(&azure), KeepAlive::Pong(Duration::from_secs(20)));
    /// ```
    #[must_use]
    pub fn for_relay(authority: &Authority) -> Self {
        if authority.is_azure() {
            Self::Pong(Duration::from_secs(20))
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

/// Beats at the interval of a [`KeepAlive`] and notices a relay that is silent, or takes nothing.
pub(super) struct Pulse {
    keep_alive: KeepAlive,
    ticks: Interval,
    silent: u32,
}

/// The relay does not answer, or takes nothing of what it is sent.
#[derive(Debug)]
pub(super) struct Silent;

impl Pulse {
    pub(super) fn new(keep_alive: KeepAlive) -> Self {
        let interval = keep_alive.interval();
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { keep_alive, ticks, silent: 0 }
    }

    /// Waits for the next beat. Drop it at will.
    pub(super) async fn wait(&mut self) {
        self.ticks.tick().await;
    }

    /// A sign of life to the relay, a look at its own. Nothing can be heard while nobody is `listening`.
    pub(super) fn beat(&mut self, socket: &mut Socket, listening: bool) -> Result<(), Silent> {
        self.silent = if socket.take_heard() || !listening { 0 } else { self.silent + 1 };
        if !self.keep_alive.expects_answers() {
            socket.queue_pong();
        } else if self.silent >= SILENT_INTERVALS_MAX {
            return Err(Silent);
        } else {
            socket.queue_ping();
        }
        Ok(())
    }
}
