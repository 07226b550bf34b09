//! The ways to a collector.
//!
//! | way | delivered means |
//! | --- | --- |
//! | [`FileSink`] | synced; after a crash the file is cut back to the last known length, so each event stands in it exactly once |
//! | [`WebhookSink`] | answered with 2xx; a batch that is sent again has the same `Idempotency-Key` |
//! | [`StreamSink`] (TCP, TLS) | the receiver's kernel has acknowledged all bytes (on Linux); syslog has no acknowledgement of its own |
//! | [`JournalSink`] | handed to the journal's socket |
//! | [`DatagramSink`] (UDP) | handed to the kernel; whether it arrived nobody can know |
//! | `EventLogSink` (Windows only) | taken by the event log, which syncs when it likes |
//!
//! An event that was sent and not confirmed is sent again, with the same id.

mod datagram;
#[cfg(windows)]
pub mod event_log;
mod file;
#[cfg(unix)]
mod journal;
mod stream;
mod webhook;

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::event::Event;
use super::pump::BATCH_MAX;

pub use self::datagram::DatagramSink;
#[cfg(windows)]
pub use self::event_log::EventLogSink;
pub use self::file::FileSink;
#[cfg(unix)]
pub use self::journal::{JOURNAL_SOCKET, JournalSink};
pub use self::stream::{ACKNOWLEDGE_WAIT, CONNECT_WAIT, StreamSink, WRITE_WAIT};
pub use self::webhook::{ANSWER_WAIT, WebhookSink, WebhookTarget};

/// One event in the collector's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The event.
    pub event: Event,
    /// The event as it is written, without a line end.
    pub bytes: Vec<u8>,
}

/// How much comes at once, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Most events of a delivery.
    pub most: usize,
    /// Least time from one delivery to the next; what happens meanwhile comes with the next.
    pub every: Duration,
}

impl Default for Pace {
    /// [`BATCH_MAX`] events, one delivery after the other.
    fn default() -> Self {
        Self { most: BATCH_MAX, every: Duration::ZERO }
    }
}

/// What a sink needs to go on exactly behind what it has delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mark {
    /// Which file it is: device and file number, where the system has them.
    pub file: (u64, u64),
    /// Its length behind the last delivered event.
    pub length: u64,
}

/// Why events could not be delivered; they are tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The collector cannot be reached, or the connection broke.
    #[error("the collector cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// It did not answer in time.
    #[error("the collector did not {0} in time")]
    Slow(&'static str),
    /// It refused.
    #[error("the collector answered {0}")]
    Refused(String),
}

/// A way to a collector.
#[async_trait]
pub trait Sink: Send {
    /// How much it takes at once, and how often.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Makes ready to deliver behind `mark`, which an earlier call gave: what stands there beyond it was not confirmed and
    /// goes. Returns the mark that is then true; the caller keeps it before it delivers.
    ///
    /// # Errors
    /// As [`Sink::deliver`].
    async fn prepare(&mut self, mark: Option<&Mark>) -> Result<Option<Mark>, SinkError> {
        Ok(mark.cloned())
    }

    /// Delivers all of `batch`, in order, and returns when the collector has them.
    ///
    /// # Errors
    /// [`SinkError`]; some may have arrived.
    ///
    /// # Cancel safety
    /// Not: after dropping the future, prepare and deliver again.
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError>;
}

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Opens connections; a proxy may be on the way.
#[async_trait]
pub trait Connect: Send + Sync {
    /// A stream to `host` and `port`, without TLS.
    ///
    /// # Errors
    /// When there is no way.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Duplex>>;
}

/// Connections without a proxy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

#[async_trait]
impl Connect for Direct {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Duplex>> {
        Ok(Box::new(tokio::net::TcpStream::connect((host, port)).await?))
    }
}
