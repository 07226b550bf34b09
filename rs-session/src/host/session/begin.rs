//! What is on record before anybody is welcomed.

use std::sync::Arc;

use rs_consent::keys::SigningKey;
use rs_consent::party::Node;
use uuid::Uuid;

use super::admit::Entry;
use crate::host::engine::Engine;
use crate::host::{self, Ledger, Shared};
use crate::journal::{DurableRecord, Journal, Recorder};
use crate::node_log::SessionHead;
use crate::protocol::PROTOCOL_VERSION;
use crate::record::{Draft, RecordKeyCertificate, Sealer, SessionIdentity, StartContent};
use crate::redact::ContentMasker;

pub(super) struct Begun {
    pub(super) masker: ContentMasker,
    pub(super) journal: Journal,
    pub(super) first: DurableRecord,
}

/// Makes the record file and record 0; nobody is welcomed before it is durable.
pub(super) async fn begin<E: Engine>(shared: &Arc<Shared<E>>, entry: &Entry) -> Result<Begun, String> {
    let record_key = SigningKey::generate().map_err(|error| error.to_string())?;
    let node_log = with_ledger(shared, |ledger| ledger.head()).await?;
    let identity = SessionIdentity { node_log, ..identity(shared, entry, &record_key) };
    let grant = entry.permit.grant();
    let content = StartContent {
        reason: entry.permit.reason().to_string(),
        expires_at: entry.permit.deadline(),
        granted_by: format!("{}@{}", grant.grantor.user, grant.grantor.host),
        client: entry.client.clone(),
        assignment: Some(Box::new(entry.assignment.clone())),
    };
    let sealer = with_storage(shared, entry.session).await?;
    let recorder = Recorder { record_key, clock: Arc::clone(&shared.clock), sealer };
    let (directory, disk) = (shared.settings.records.clone(), Arc::clone(&shared.settings.disk));
    let session = entry.session;
    let created =
        tokio::task::spawn_blocking(move || Journal::create_on(&*disk, &directory, session, recorder)).await;
    let journal = created.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let (rules, key) = (Arc::clone(&shared.settings.rules), shared.settings.mask_key.clone());
    let mut masker = ContentMasker::new(rules, key, session);
    let (content, masked) = masker.start(content);
    let draft = Draft::start(identity, content).and_then(|draft| draft.masked(&masked));
    let draft = draft.map_err(|error| error.to_string())?;
    let first = journal.append(draft).await.map_err(|error| error.to_string())?;
    let engineer = entry.permit.assignment().engineer.clone();
    let begun = host::Begun {
        head: head_of(session, &first),
        engineer: engineer.id.to_string(),
        engineer_key: engineer.key,
        support_request: entry.permit.assignment().request,
        grant: *grant.id.as_uuid(),
        access_level: entry.permit.level(),
    };
    with_ledger(shared, move |ledger| ledger.begun(&begun)).await?;
    Ok(Begun { masker, journal, first })
}

/// Asks the key store where blocking is allowed.
async fn with_storage<E>(shared: &Shared<E>, session: Uuid) -> Result<Option<Box<dyn Sealer>>, String> {
    let storage = Arc::clone(&shared.settings.storage);
    tokio::task::spawn_blocking(move || storage.sealer(session)).await.map_err(|error| error.to_string())?
}

/// Asks the ledger where blocking is allowed.
pub(super) async fn with_ledger<E, T: Send + 'static>(
    shared: &Shared<E>,
    ask: impl FnOnce(&dyn Ledger) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let ledger = Arc::clone(&shared.settings.ledger);
    tokio::task::spawn_blocking(move || ask(&*ledger)).await.map_err(|error| error.to_string())?
}

pub(super) fn head_of(session: Uuid, record: &DurableRecord) -> SessionHead {
    SessionHead { session, sequence: record.skeleton().sequence, link: record.link() }
}

fn identity<E: Engine>(shared: &Shared<E>, entry: &Entry, record_key: &SigningKey) -> SessionIdentity {
    let assignment = entry.permit.assignment();
    let grant = entry.permit.grant();
    SessionIdentity {
        session_id: entry.session,
        protocol_version: PROTOCOL_VERSION,
        node: Node { name: shared.settings.node_name.clone(), key: shared.node.public() },
        record_key: RecordKeyCertificate::issue(&shared.node, entry.session, record_key.public()),
        engineer: assignment.engineer.clone(),
        desk: assignment.desk.clone(),
        support_request: assignment.request,
        assignment_id: assignment.id,
        grant_id: *grant.id.as_uuid(),
        terms: grant.terms.clone(),
        catalog_sha256: shared.engine.catalog_sha256(),
        access_level: entry.permit.level(),
        scope: Some(grant.scope.clone()),
        channel_binding: entry.binding,
        node_log: None,
    }
}
