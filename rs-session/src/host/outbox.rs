//! Records that were handed to the journal and have not been shown: the disk writes the next ones while the engineer is shown
//! the last ones, and what comes while a sync is under way shares the next sync.
//!
//! Nothing leaves earlier for it: what comes out of here is durable, and in its order.

use std::collections::VecDeque;

use crate::journal::{DurableRecord, GROUP_BYTES_MAX, GROUP_MAX, JournalError, Submitted};

/// Running work is not asked for more, and nothing more is read, while contents of so many bytes are on their way to the
/// disk: 2 MiB, a group that is being synced and one that gathers meanwhile.
pub(super) const UNDER_WAY_BYTES_MAX: usize = 2 * GROUP_BYTES_MAX;
/// As many records may be on their way: 256, two groups as well.
pub(super) const UNDER_WAY_MAX: usize = 2 * GROUP_MAX;

/// What is on its way to the disk, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    under_way: VecDeque<Submitted>,
    bytes: usize,
}

impl Outbox {
    /// One more. Whether there is room is for the caller to ask.
    pub(super) fn push(&mut self, record: Submitted) {
        self.bytes += record.content_length();
        self.under_way.push_back(record);
    }

    /// Whether nothing more may be handed over before the oldest is durable.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= UNDER_WAY_BYTES_MAX || self.under_way.len() >= UNDER_WAY_MAX
    }

    /// Bytes of contents under way.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest, when it is durable or cannot become so; `None` when nothing is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<DurableRecord, JournalError>> {
        let oldest = self.under_way.front_mut()?;
        let outcome = oldest.durable().await;
        if let Some(oldest) = self.under_way.pop_front() {
            self.bytes -= oldest.content_length();
        }
        Some(outcome)
    }
}
