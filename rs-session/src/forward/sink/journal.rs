//! The systemd journal of this machine: one event, one entry.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::net::UnixDatagram;

use super::{Encoded, Mark, Sink, SinkError};

/// Where the journal of a machine listens.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Hands entries to the journal; the events are to be in [`Format::Journal`](super::super::Format::Journal).
#[derive(Debug)]
pub struct JournalSink {
    socket: PathBuf,
}

impl JournalSink {
    /// Entries go to the journal that listens at `socket`, usually [`JOURNAL_SOCKET`].
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }
}

#[async_trait]
impl Sink for JournalSink {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.socket).map_err(|error| {
            let why = format!("{}: {error}", self.socket.display());
            SinkError::Io(io::Error::new(error.kind(), why))
        })?;
        for event in batch {
            socket.send(&event.bytes).await?;
        }
        Ok(None)
    }
}
