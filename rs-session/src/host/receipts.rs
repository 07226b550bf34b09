//! What the engineer was shown and has not countersigned: how much it may be, and for how long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::journal::DurableRecord;
use crate::record::{Digest, Kind, Receipt};

/// Running work is not asked for more output while this many bytes of records wait for a receipt: 4 MiB. The engineer's
/// client signs one for each 64 KiB that it reads.
pub const UNRECEIPTED_BYTES_MAX: usize = 4 << 20;
/// A record that was shown and is not covered by a receipt for this long ends the session: 120 seconds. The engineer's
/// client signs within 250 ms of reading, so it has stopped reading or does not sign.
pub const RECEIPT_OVERDUE: Duration = Duration::from_secs(120);
/// Most records that may wait for a receipt; older ones are forgotten, and can then not be receipted.
const RECORDS_MAX: usize = 65_536;

struct Waiting {
    link: Digest,
    bytes: usize,
    since: Instant,
    /// Records of receipts need none themselves, or there would be no end of it.
    owed: bool,
}

/// The records that wait for a receipt.
#[derive(Default)]
pub(super) struct Receipts {
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
}

impl Receipts {
    /// A record went out.
    pub(super) fn shown(&mut self, record: &DurableRecord) {
        let skeleton = record.skeleton();
        let owed = skeleton.kind != Kind::Receipt;
        let bytes = if owed { record.bytes().len() } else { 0 };
        let waiting = Waiting { link: record.link(), bytes, since: Instant::now(), owed };
        self.waiting.insert(skeleton.sequence, waiting);
        self.bytes += bytes;
        if self.waiting.len() > RECORDS_MAX
            && let Some((_, forgotten)) = self.waiting.pop_first()
        {
            self.bytes -= forgotten.bytes;
        }
    }

    /// Whether a receipt is for a record that waits.
    pub(super) fn expects(&self, receipt: &Receipt) -> bool {
        self.waiting.get(&receipt.sequence).is_some_and(|waiting| waiting.link == receipt.link)
    }

    /// A receipt for this record, and so for all before it, came.
    pub(super) fn came(&mut self, sequence: u64) {
        self.waiting = self.waiting.split_off(&(sequence + 1));
        self.bytes = self.waiting.values().map(|waiting| waiting.bytes).sum();
    }

    /// Whether running work has to wait, when so many bytes more are on their way to be shown.
    pub(super) fn is_full(&self, under_way: usize) -> bool {
        self.bytes + under_way >= UNRECEIPTED_BYTES_MAX
    }

    /// How long a receipt may still take of `wait`; `None` when none is owed.
    pub(super) fn time_left(&self, wait: Duration) -> Option<Duration> {
        let oldest = self.waiting.values().find(|waiting| waiting.owed)?;
        Some(wait.saturating_sub(oldest.since.elapsed()))
    }
}
