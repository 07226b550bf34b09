//! The operator's answers on their way to the sessions that wait for them.

use rs_session::host::PendingApproval;
use rs_session::operations::level_wish::LevelWish;
use rs_session::protocol::Answer;
use rs_session::record::ApprovalSubject;
use uuid::Uuid;

use super::{Shared, lock};
use crate::control::{MESSAGE_BYTES_MAX, Peer, Verdict};
use crate::outcome::{ErrorCode, Failure};

/// What waits, small enough for one message: details that do not fit are left out; they are on record.
pub(super) fn listed(mut waiting: Vec<PendingApproval>) -> Vec<PendingApproval> {
    let mut left = MESSAGE_BYTES_MAX / 2;
    for pending in &mut waiting {
        let bytes = pending.details.to_string().len();
        if bytes > left {
            pending.details = serde_json::Value::Null;
        } else {
            left -= bytes;
        }
    }
    waiting
}

/// Hands an answer over; false where nobody waits for it (any more).
///
/// A Yes to a higher level is no consent by itself: it counts only where the store holds a consent to that level.
pub(super) async fn answer(
    shared: &Shared,
    peer: &Peer,
    approval: Uuid,
    verdict: Verdict,
) -> Result<bool, Failure> {
    let by = peer.name().to_owned();
    let answer = match verdict {
        Verdict::Approve {} => {
            check_consent(shared, approval).await?;
            Answer::Approved { by }
        }
        Verdict::Decline { reason } => {
            Answer::Declined { by, reason: crate::output::safe(&reason).chars().take(256).collect() }
        }
    };
    Ok(shared.host.answer(approval, answer))
}

async fn check_consent(shared: &Shared, approval: Uuid) -> Result<(), Failure> {
    let asked = shared.host.approvals().into_iter().find(|pending| pending.approval_id == approval);
    let Some(asked) = asked.filter(|pending| pending.subject == ApprovalSubject::Level) else {
        return Ok(());
    };
    shared.reload().await?;
    let wanted = serde_json::from_value::<LevelWish>(asked.details).ok().map(|wish| wish.level);
    let granted = lock(&shared.facts).grant.as_ref().map(|grant| grant.level);
    if granted.is_some() && wanted.is_some() && granted >= wanted {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Refused, "the level is not consented to")
        .next_step("approve it with `remote-support session approve`, which asks for the consent"))
}
