//! The way of a record out: durable first, then shown while the gate lets it.

use std::time::Duration;

use rs_consent::EndCause;
use tokio::io::{AsyncRead, AsyncWrite};

use super::begin::head_of;
use super::end::Ending;
use super::watch::guard;
use super::{END_RECORD_WAIT, Session};
use crate::host::engine::Engine;
use crate::invariant::{Invariant, hold};
use crate::journal::{DurableRecord, JournalError};
use crate::protocol::NodeMessage;
use crate::record::Draft;

/// What a frame that is being written when the gate shuts gets to complete.
const FRAME_GRACE: Duration = Duration::from_millis(100);

/// What goes out to the engineer.
pub(super) enum Outgoing<'a> {
    Record(&'a DurableRecord),
    Reply(&'a NodeMessage),
}

impl<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, E, S> {
    /// Hands a record to the journal; first shows what is durable, as long as too much is under way.
    pub(super) async fn submit(&mut self, draft: Draft) -> Result<(), Ending> {
        self.make_room().await?;
        self.outbox.push(self.journal.submit(draft)?);
        Ok(())
    }

    /// Shows what is durable as long as too much is under way.
    pub(super) async fn make_room(&mut self) -> Result<(), Ending> {
        while self.outbox.is_full() {
            self.show_next().await?;
        }
        Ok(())
    }

    /// Returns when everything on its way is durable and shown.
    pub(super) async fn settle(&mut self) -> Result<(), Ending> {
        while self.show_next().await? {}
        Ok(())
    }

    /// Waits for the oldest record under way and shows it; false when there is none.
    async fn show_next(&mut self) -> Result<bool, Ending> {
        let (watch, permit, work) = (&self.watch, &self.permit, &mut self.work);
        let (outcome, ending) = guard(watch, permit, work, END_RECORD_WAIT, self.outbox.next()).await;
        let slow = || Ending::new(EndCause::RecordFault, "the record takes too long");
        match (outcome, ending) {
            (Some(None), None) => Ok(false),
            (Some(Some(outcome)), None) => self.show_durable(outcome).await.map(|()| true),
            (Some(Some(Ok(record))), Some(ending)) => {
                // It became durable while the gate shut: it stays on record and is not shown.
                self.keep_back(record);
                Err(ending)
            }
            (_, ending) => Err(ending.unwrap_or_else(slow)),
        }
    }

    pub(super) async fn show_durable(
        &mut self,
        outcome: Result<DurableRecord, JournalError>,
    ) -> Result<(), Ending> {
        let record = outcome?;
        self.advance(&record);
        self.show(record).await
    }

    /// A durable record that is not shown any more.
    pub(super) fn keep_back(&mut self, record: DurableRecord) {
        self.advance(&record);
        self.unshown.push(record);
    }

    fn advance(&mut self, record: &DurableRecord) {
        self.shared.day.add(record.frame().encoded_length(), self.shared.clock.now().wall);
        self.head = head_of(self.session, record);
        self.shared.settings.ledger.advanced(self.head.clone());
    }

    /// Shows a durable record, if the gate still lets it out.
    pub(super) async fn show(&mut self, record: DurableRecord) -> Result<(), Ending> {
        if let Err(ending) = self.watch.check(&self.permit) {
            self.unshown.push(record);
            return Err(ending);
        }
        let sequence = record.skeleton().sequence;
        hold(Invariant::ShownInOrder, sequence == self.shown);
        self.guarded_send(Outgoing::Record(&record)).await?;
        self.shown = sequence + 1;
        // Also the record of a receipt: it may be the newest when the next one is due.
        self.receipts.shown(&record);
        Ok(())
    }

    /// Sends while the gate is watched. A frame that has begun gets a moment to complete; then the channel is given up.
    pub(super) async fn guarded_send(&mut self, what: Outgoing<'_>) -> Result<(), Ending> {
        let Some(mut sender) = self.sender.take() else {
            return Err(Ending::new(EndCause::Transport, "the channel is closed"));
        };
        let send = async {
            match what {
                Outgoing::Record(record) => sender.show(record).await,
                Outgoing::Reply(message) => sender.reply(message).await,
            }
        };
        let (outcome, ending) = guard(&self.watch, &self.permit, &mut self.work, FRAME_GRACE, send).await;
        match (outcome, ending) {
            (Some(Ok(())), ending) => {
                self.sender = Some(sender);
                ending.map_or(Ok(()), Err)
            }
            (Some(Err(error)), ending) => Err(ending.unwrap_or_else(|| error.into())),
            (None, ending) => {
                Err(ending.unwrap_or_else(|| Ending::new(EndCause::Transport, "the channel is stuck")))
            }
        }
    }
}
