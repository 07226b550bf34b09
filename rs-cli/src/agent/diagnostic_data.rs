//! Bundles of diagnostic data on this node: where they lie, who masks them, who carries them.

use std::sync::Arc;

use rs_session::host::{DiagnosticData, Masker};
use rs_session::redact::{Commitments, MaskKey, Piece, Rules, TextMasker};
use uuid::Uuid;

use super::AgentSettings;
use crate::blob::{BlobCourier, DESTINATION_NAME};
use crate::state::{Role, StateDir};
use crate::{node, records};

/// What the engine needs for bundles.
pub(super) fn of_node(settings: &AgentSettings, rules: Arc<Rules>, key: MaskKey) -> DiagnosticData {
    let state: &StateDir = &settings.state;
    let destination = state.role(Role::Node).file(DESTINATION_NAME);
    DiagnosticData {
        store: records::bundles(state),
        courier: Arc::new(BlobCourier::new(destination, settings.relay.way().clone())),
        masker: Arc::new(PartMasker { rules, key }),
        node: node::name().to_string(),
        clock: Arc::clone(&settings.clock),
    }
}

/// Masks the parts of bundles as everything else of a session is masked (SEC34).
#[derive(Debug)]
struct PartMasker {
    rules: Arc<Rules>,
    key: MaskKey,
}

impl Masker for PartMasker {
    fn mask(&self, text: &str, bundle: Uuid) -> (String, u64) {
        let mut commitments = Commitments::new(self.key.clone(), bundle);
        let mut masker = TextMasker::new(Arc::clone(&self.rules));
        let mut pieces = masker.push(text, &mut commitments);
        pieces.extend(masker.finish(&mut commitments));
        let text = pieces.iter().map(|Piece { text, .. }| text.as_str()).collect();
        (text, commitments.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec34_secrets_in_parts_are_masked_and_counted() {
        let masker = PartMasker { rules: Arc::new(Rules::known()), key: MaskKey::from_bytes([7; 32]) };
        let text = "start\npassword=hunter2hunter2\nhttps://x.blob.core.windows.net/c?sv=1&sig=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmU%3D\nend\n";
        let (masked, count) = masker.mask(text, Uuid::nil());
        assert!(!masked.contains("hunter2") && !masked.contains("c2VjcmV0"), "{masked}");
        assert!(masked.starts_with("start\n") && masked.ends_with("end\n") && count >= 2, "{masked}");
        assert_eq!(masker.mask("nothing to hide\n", Uuid::nil()), ("nothing to hide\n".to_owned(), 0));
    }
}
