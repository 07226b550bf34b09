//! What is masked on this node before it is recorded or shown: the known forms, and the owner's patterns in
//! `node/redact.patterns`. The key behind the commitments to what was masked lies in `node/mask.key`.

use std::sync::Arc;

use rs_session::redact::{MASK_KEY_BYTES, MaskKey, PATTERNS_BYTES_MAX, Rules, parse_patterns};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::files;
use crate::outcome::{ErrorCode, Failure};
use crate::state::RoleDir;

/// Name of the file with the owner's patterns, in the node's folder; it need not exist. Its form is that of
/// [`parse_patterns`].
pub const PATTERNS_NAME: &str = "redact.patterns";
/// Name of the file with the mask key, in the node's folder.
pub const MASK_KEY_NAME: &str = "mask.key";

/// What is masked on this node.
///
/// # Errors
///
/// [`ErrorCode::InvalidFile`] with the line that is no pattern: a pattern that is passed over would let through what its
/// owner wants masked.
pub fn rules(node: &RoleDir) -> Result<Arc<Rules>, Failure> {
    let path = node.file(PATTERNS_NAME);
    if !path.exists() {
        return Ok(Arc::new(Rules::known()));
    }
    let content = files::read(&path, PATTERNS_BYTES_MAX)?;
    let invalid = |why: String| {
        Failure::new(ErrorCode::InvalidFile, "the patterns of what is masked cannot be read")
            .about(path.display().to_string())
            .because(std::io::Error::other(why))
            .next_step("correct the line, or put '#' in front of it; nobody is let in before")
    };
    let text = std::str::from_utf8(&content).map_err(|error| invalid(error.to_string()))?;
    let patterns = parse_patterns(text).map_err(|(line, error)| invalid(format!("line {line}: {error}")))?;
    Ok(Arc::new(Rules::with(patterns)))
}

/// The key behind the commitments to what was masked; made now if there is none.
///
/// # Errors
///
/// [`ErrorCode::UnsafePermissions`] where others can read it, [`ErrorCode::Key`] where it is no key.
pub fn mask_key(node: &RoleDir) -> Result<MaskKey, Failure> {
    let path = node.file(MASK_KEY_NAME);
    if !path.exists() {
        let mut bytes = Zeroizing::new([0; MASK_KEY_BYTES]);
        getrandom::fill(&mut *bytes)
            .map_err(|error| Failure::new(ErrorCode::Key, "no key could be made").because(error))?;
        files::write_secret_once(&path, Zeroizing::new(hex::encode(*bytes)).as_bytes())?;
    }
    let text = files::read_secret(&path)?;
    let mut bytes = [0; MASK_KEY_BYTES];
    hex::decode_to_slice(text.expose_secret(), &mut bytes).map_err(|_| {
        Failure::new(ErrorCode::Key, "the key file cannot be used")
            .about(path.display().to_string())
            .next_step("restore it from a backup; without it nobody can prove what was masked before")
    })?;
    Ok(MaskKey::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Role, StateDir};

    #[test]
    fn sec34_patterns_that_cannot_be_read_let_nobody_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let node = StateDir::new(Some(directory.path().join("s"))).expect("a path").role(Role::Node);
        node.ensure().expect("created");
        rules(&node).expect("none is fine");
        files::write(&node.file(PATTERNS_NAME), b"ok a+\nbad (").expect("own directory");
        let failure = rules(&node).expect_err("a broken one");
        assert_eq!(failure.code(), ErrorCode::InvalidFile);
        assert!(format!("{failure:?}").contains("line 2"), "{failure:?}");
        let salt = mask_key(&node).expect("made").salt(uuid::Uuid::nil(), 0);
        assert_eq!(mask_key(&node).expect("found").salt(uuid::Uuid::nil(), 0), salt);
    }
}
