//! What the engineer was shown and has not countersigned: how much it may be, and for how long.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::journal::DurableRecord;
use crate::record::{Digest, Kind, Receipt};

/// Running work is not asked for more output while this many bytes of records wait for a receipt: 4 MiB. The engineer's
/// client signs one for each 64 KiB that it reads.
pub const UNRECEIPTED_BYTES_MAX: usize = 4 << 20;
/// A record that was shown and is not covered by a receipt for this long ends the session: 120 seconds. The engineer's
/// client signs within 250 ms of reading, so it has stopped reading or does not sign.
pub const RECEIPT_OVERDUE: Duration = Duration::from_secs(120);
/// While output goes by, a receipt that came is put on record at the latest when so many records were shown since the last
/// one: 8. One that a newer one overtakes before is not: the newer one covers what it covered.
pub const RECEIPT_EVERY: usize = 8;
/// Receipts that are kept until one is put on record, in case that the signature of a newer one does not fit. Older ones are
/// forgotten.
const KEPT_MAX: usize = 2 * RECEIPT_EVERY;
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
    /// Receipts that came, the newest last, until one is put on record.
    kept: VecDeque<Receipt>,
    /// Records that were shown since the last one was.
    shown: usize,
}

impl Receipts {
    /// A record went out.
    pub(super) fn shown(&mut self, record: &DurableRecord) {
        let skeleton = record.skeleton();
        let owed = skeleton.kind != Kind::Receipt;
        let bytes = if owed { record.frame().encoded_length() } else { 0 };
        let waiting = Waiting { link: record.link(), bytes, since: Instant::now(), owed };
        self.waiting.insert(skeleton.sequence, waiting);
        self.bytes += bytes;
        self.shown += usize::from(owed);
        if self.waiting.len() > RECORDS_MAX
            && let Some((_, forgotten)) = self.waiting.pop_first()
        {
            self.bytes -= forgotten.bytes;
        }
    }

    /// Whether a receipt is for a record that waits, and newer than the one that is kept.
    pub(super) fn expects(&self, receipt: &Receipt) -> bool {
        let newer = self.kept.back().is_none_or(|kept| kept.sequence < receipt.sequence);
        newer && self.waiting.get(&receipt.sequence).is_some_and(|waiting| waiting.link == receipt.link)
    }

    /// Keeps a receipt, which overtakes those that are kept.
    pub(super) fn keep(&mut self, receipt: Receipt) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(receipt);
    }

    /// Whether a receipt waits to be put on record.
    pub(super) fn is_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether it may wait no longer.
    pub(super) fn is_due(&self) -> bool {
        self.is_kept() && self.shown >= RECEIPT_EVERY
    }

    /// The receipts that wait, of which one is put on record; the newest last.
    pub(super) fn take(&mut self) -> Vec<Receipt> {
        if self.is_kept() {
            self.shown = 0;
        }
        self.kept.drain(..).collect()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rs_consent::SystemClock;
    use rs_consent::keys::SigningKey;
    use uuid::Uuid;

    use super::*;
    use crate::journal::{Journal, Recorder};
    use crate::record::{Content, Draft, NoteContent};

    /// As many durable records, all of which were shown.
    async fn shown(count: usize) -> (Receipts, Vec<DurableRecord>) {
        let directory = tempfile::tempdir().unwrap();
        let record_key = SigningKey::generate().unwrap();
        let recorder = Recorder { record_key, clock: Arc::new(SystemClock::new()), sealer: None };
        let journal = Journal::create(directory.path(), Uuid::nil(), recorder).unwrap();
        let (mut receipts, mut records) = (Receipts::default(), Vec::new());
        for _ in 0..count {
            let note = Content::Note(NoteContent { text: String::new() });
            let record = journal.append(Draft::new(&note).unwrap()).await.unwrap();
            receipts.shown(&record);
            records.push(record);
        }
        (receipts, records)
    }

    fn receipt(record: &DurableRecord) -> Receipt {
        let engineer = SigningKey::generate().unwrap();
        Receipt::sign(&engineer, Uuid::nil(), record.skeleton().sequence, record.link())
    }

    #[tokio::test]
    async fn sec29_of_receipts_that_come_together_the_newest_is_kept_and_no_older_one_takes_its_place() {
        let (mut receipts, records) = shown(3).await;
        for record in &records[..2] {
            assert!(receipts.expects(&receipt(record)));
            receipts.keep(receipt(record));
        }
        assert!(!receipts.expects(&receipt(&records[0])), "older");
        assert!(!receipts.expects(&receipt(&records[1])), "the same");
        assert!(receipts.expects(&receipt(&records[2])));
        let kept: Vec<u64> = receipts.take().iter().map(|kept| kept.sequence).collect();
        assert_eq!(kept, [0, 1]);
        assert_eq!(receipts.take(), []);
    }

    #[tokio::test]
    async fn sec42_receipts_that_are_kept_at_and_past_the_bound() {
        let (mut receipts, records) = shown(KEPT_MAX + 1).await;
        for record in &records {
            receipts.keep(receipt(record));
        }
        let kept = receipts.take();
        assert_eq!(
            (kept.len(), kept[0].sequence, kept[KEPT_MAX - 1].sequence),
            (KEPT_MAX, 1, KEPT_MAX as u64)
        );
    }

    #[tokio::test]
    async fn sec29_a_receipt_is_due_when_enough_was_shown_since_the_last_one() {
        for (count, due) in [(RECEIPT_EVERY - 1, false), (RECEIPT_EVERY, true), (RECEIPT_EVERY + 1, true)] {
            let (mut receipts, records) = shown(count).await;
            assert!(!receipts.is_due(), "none came");
            receipts.keep(receipt(&records[0]));
            assert_eq!(receipts.is_due(), due, "{count}");
            receipts.take();
            receipts.keep(receipt(&records[1]));
            assert!(!receipts.is_due(), "the count begins anew");
        }
    }
}
