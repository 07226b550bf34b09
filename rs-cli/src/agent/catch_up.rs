//! What the disk did not take when it happened, and takes now: a revocation, and the ends of sessions (SEC11, SEC45).

use std::sync::Arc;

use rs_consent::EndCause;
use rs_consent::store::StoreError;
use rs_session::history::{record_head, record_path};
use rs_session::host::{Ended, Ledger as _, end_statement_sha256};
use rs_session::journal::Recovery;
use uuid::Uuid;

use super::recovery::recover_record;
use super::{Shared, Shut, act_of, blocking, lock};

/// Makes up for what is missing, as far as the disk takes it; the rest stays for the next time.
pub(super) async fn catch_up(shared: &Arc<Shared>) {
    let shut = lock(&shared.shut_at).clone();
    if let Some(shut) = shut {
        revoke(shared, shut).await;
    }
    let unrecorded = std::mem::take(&mut *lock(&shared.unrecorded));
    for (session, cause) in unrecorded {
        end(shared, session, cause).await;
    }
}

async fn revoke(shared: &Arc<Shared>, Shut { act, by }: Shut) {
    let (store, now) = (shared.store(), shared.clock.now());
    let revoked = blocking(move || match store.facts(&now)? {
        facts if act_of(&facts) == act => store.revoke(&by, &now).map(drop),
        // Consent was given anew since.
        _ => Ok::<_, StoreError>(()),
    });
    match revoked.await {
        Ok(Ok(())) => tracing::info!("the revocation that the disk had not taken is in the store now"),
        Ok(Err(error)) => {
            tracing::error!(%error, "the revocation cannot be written yet; the gate stays shut");
        }
        Err(failure) => {
            tracing::error!(%failure, "the revocation cannot be written yet; the gate stays shut");
        }
    }
    // What the store says now is loaded; where it says nothing the gate stays as it is, and this was told just now.
    drop(shared.reload().await);
}

/// The record gets its end from recovery, so the cause in it is `interrupted`; the true one is in the node's log.
async fn end(shared: &Arc<Shared>, session: Uuid, cause: EndCause) {
    let path = record_path(&shared.records, session);
    let (key, clock) = (Arc::clone(&shared.key), Arc::clone(&shared.clock));
    match blocking(move || recover_record(&path, None, &key, &*clock).map(|recovered| recovered.outcome))
        .await
    {
        Ok(Ok(Recovery::Damaged { explanation })) => {
            tracing::error!(%session, explanation, "the record is damaged and was left as it is");
        }
        // Its writer goes soon.
        Ok(Ok(Recovery::Live) | Err(_)) => lock(&shared.unrecorded).push((session, cause)),
        Ok(Ok(_)) => {
            tracing::info!(%session, "the record has its end now");
            enter(shared, session, cause).await;
        }
        Err(failure) => tracing::error!(%session, %failure, "the record cannot be brought to its end"),
    }
}

/// Enters an end and its statement in the node's log. What fails here is made up for at the next start. An end that had
/// come into the log by itself is entered again; the first entry is what counts.
async fn enter(shared: &Arc<Shared>, session: Uuid, cause: EndCause) {
    let (path, key) = (record_path(&shared.records, session), shared.key.public());
    let book = Arc::clone(&shared.book);
    let entered = blocking(move || {
        if let Some((head, _)) = record_head(&path) {
            book.ended(&Ended { head, cause, recorded: false })?;
        }
        let sha256 = end_statement_sha256(&path, &key).map_err(|error| error.to_string())?;
        sha256.map_or(Ok(()), |sha256| book.stated(session, sha256))
    });
    if let Ok(Err(error)) = entered.await {
        tracing::error!(%session, error, "the end could not be entered in the node log");
    }
}
