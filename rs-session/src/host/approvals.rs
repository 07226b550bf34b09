//! Questions that wait for the operator, and the way to answer them from outside.
//!
//! A session puts a question when its record is durable, and waits. The operator answers from the same machine; the
//! answer becomes a record, the gate is asked once more, and only then the call goes on. A question is gone when it was
//! answered, when [`APPROVAL_WAIT`] is over, and when its session or its call ends, whatever ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rs_consent::{AccessLevel, RequestNumber};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::protocol::{APPROVAL_WAIT, Answer, Ask};
use crate::record::ApprovalSubject;

/// A question that waits for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingApproval {
    /// Names the question.
    pub approval_id: Uuid,
    /// The session that waits.
    pub session_id: Uuid,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// Level of the session.
    pub access_level: AccessLevel,
    /// The support request that is worked on.
    pub request: RequestNumber,
    /// What it is about.
    pub subject: ApprovalSubject,
    /// What would be done, in a sentence.
    pub summary: String,
    /// The same for programs: the plan with its effects, or the manifest.
    pub details: serde_json::Value,
    /// When it was put.
    pub asked_at: DateTime<Utc>,
    /// How long it still waits.
    pub remaining: Duration,
}

struct Slot {
    about: PendingApproval,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

/// All questions of a host.
#[derive(Default)]
pub(crate) struct Approvals {
    slots: Arc<Mutex<BTreeMap<Uuid, Slot>>>,
}

/// A question's place in the list; gives it back when dropped.
pub(crate) struct Asked {
    id: Uuid,
    until: Instant,
    answer: oneshot::Receiver<Answer>,
    slots: Arc<Mutex<BTreeMap<Uuid, Slot>>>,
}

/// Who asks.
pub(crate) struct Asker {
    pub(crate) session: Uuid,
    pub(crate) engineer: String,
    pub(crate) level: AccessLevel,
    pub(crate) request: RequestNumber,
    pub(crate) now: DateTime<Utc>,
}

impl Approvals {
    /// Lists a question; its time runs from here.
    pub(crate) fn put(&self, asker: Asker, ask: Ask) -> (Asked, PendingApproval) {
        let (sender, answer) = oneshot::channel();
        let until = Instant::now() + APPROVAL_WAIT;
        let about = PendingApproval {
            approval_id: ask.id,
            session_id: asker.session,
            engineer: asker.engineer,
            access_level: asker.level,
            request: asker.request,
            subject: ask.subject,
            summary: ask.summary,
            details: ask.details,
            asked_at: asker.now,
            remaining: APPROVAL_WAIT,
        };
        let slot = Slot { about: about.clone(), until, answer: sender };
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).insert(ask.id, slot);
        (Asked { id: ask.id, until, answer, slots: Arc::clone(&self.slots) }, about)
    }

    /// What waits, the oldest first.
    pub(crate) fn list(&self) -> Vec<PendingApproval> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let waiting = slots.values().map(|slot| PendingApproval {
            remaining: slot.until.saturating_duration_since(now),
            ..slot.about.clone()
        });
        let mut list: Vec<_> = waiting.collect();
        list.sort_by_key(|pending| pending.asked_at);
        list
    }

    /// Answers a question; false if it does not wait (any more).
    pub(crate) fn answer(&self, id: Uuid, answer: Answer) -> bool {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        slot.is_some_and(|slot| Instant::now() < slot.until && slot.answer.send(answer).is_ok())
    }
}

impl Asked {
    /// The answer, or [`Answer::Unanswered`] when the time is over.
    ///
    /// # Cancel safety
    /// May be called again if the future is dropped.
    pub(crate) async fn answer(&mut self) -> Answer {
        match tokio::time::timeout_at(self.until, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            // The time is over. (Or the slot is gone without an answer, which only an answer that came too late does.)
            Ok(Err(_)) | Err(_) => Answer::Unanswered,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(approvals: &Approvals, id: u128) -> Asked {
        let asker = Asker {
            session: Uuid::from_u128(1),
            engineer: "engineer@support.example".into(),
            level: AccessLevel::DiagnosticsRepair,
            request: "2601020304050607".parse().unwrap(),
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        let ask = Ask {
            id: Uuid::from_u128(id),
            subject: ApprovalSubject::Change,
            summary: "Stop-Service cron".into(),
            details: serde_json::Value::Null,
        };
        approvals.put(asker, ask).0
    }

    fn yes() -> Answer {
        Answer::Approved { by: "uid 0".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a09_a_question_waits_to_its_last_moment_and_not_longer() {
        let approvals = Approvals::default();
        let mut asked = put(&approvals, 7);
        assert_eq!(approvals.list()[0].remaining, APPROVAL_WAIT);
        tokio::time::advance(APPROVAL_WAIT - Duration::from_millis(1)).await;
        assert_eq!(approvals.list()[0].remaining, Duration::from_millis(1));
        assert!(approvals.answer(Uuid::from_u128(7), yes()), "the last moment counts");
        assert_eq!(asked.answer().await, yes());

        let mut asked = put(&approvals, 8);
        tokio::time::advance(APPROVAL_WAIT).await;
        assert!(!approvals.answer(Uuid::from_u128(8), yes()), "one moment later it does not");
        assert_eq!(asked.answer().await, Answer::Unanswered);
    }

    #[tokio::test(start_paused = true)]
    async fn a09_without_an_answer_the_time_ends_it() {
        let approvals = Approvals::default();
        let mut asked = put(&approvals, 7);
        let since = Instant::now();
        assert_eq!(asked.answer().await, Answer::Unanswered);
        assert_eq!(since.elapsed(), APPROVAL_WAIT);
    }

    #[tokio::test]
    async fn a_question_is_answered_once_and_is_gone_with_its_session() {
        let approvals = Approvals::default();
        let _asked = put(&approvals, 7);
        let gone = put(&approvals, 8);
        assert_eq!(approvals.list().len(), 2);
        drop(gone);
        assert!(!approvals.answer(Uuid::from_u128(8), yes()));
        assert!(approvals.answer(Uuid::from_u128(7), yes()));
        assert!(!approvals.answer(Uuid::from_u128(7), yes()));
        assert!(approvals.list().is_empty());
    }
}
