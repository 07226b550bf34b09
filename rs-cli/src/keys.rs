//! Keys of node, desk and engineer: made once, kept at mode 0600, the public half beside the private one.

use std::path::Path;

use rs_consent::keys::{PublicKey, SigningKey};
use secrecy::ExposeSecret as _;

use crate::files;
use crate::outcome::{ErrorCode, Failure};
use crate::state::{Role, RoleDir, StateDir};

/// Longest file with a public key that is read, in bytes.
const PUBLIC_KEY_BYTES_MAX: usize = 1024;

/// The key of a role, for example `node/node.key`, if it has been made.
///
/// # Errors
///
/// [`ErrorCode::UnsafePermissions`] with the remedy where others can read it; [`ErrorCode::Key`] where it is no key.
pub fn load(state: &StateDir, role: Role) -> Result<Option<SigningKey>, Failure> {
    let folder = state.role(role);
    let path = private_path(&folder, role);
    if !path.exists() {
        return Ok(None);
    }
    folder.check()?;
    let pem = files::read_secret(&path)?;
    SigningKey::from_pkcs8_pem(pem.expose_secret()).map(Some).map_err(|error| {
        Failure::new(ErrorCode::Key, "the key file cannot be used")
            .about(path.display().to_string())
            .because(error)
            .next_step("restore it from a backup; a new key would be another identity")
    })
}

/// The key of a role; made now if there is none. Of several processes that make it at once, one wins.
///
/// # Errors
///
/// As [`load`], and [`ErrorCode::Io`].
pub fn load_or_create(state: &StateDir, role: Role) -> Result<SigningKey, Failure> {
    if let Some(key) = load(state, role)? {
        return Ok(key);
    }
    let folder = state.role(role);
    folder.ensure()?;
    let key = SigningKey::generate().map_err(no_key)?;
    let pem = key.to_pkcs8_pem().map_err(no_key)?;
    files::write_secret_once(&private_path(&folder, role), pem.as_bytes())?;
    let kept =
        load(state, role)?.ok_or_else(|| Failure::new(ErrorCode::Key, "the new key cannot be read back"))?;
    files::replace_secret(&public_path(&folder, role), format!("{}\n", kept.public()).as_bytes())?;
    Ok(kept)
}

fn no_key(error: rs_consent::keys::KeyError) -> Failure {
    Failure::new(ErrorCode::Key, "no key could be made").because(error)
}

/// The public key of a role, from its file; `None` where the role has not been set up here.
///
/// # Errors
///
/// [`ErrorCode::Key`] where the file holds something else.
pub fn load_public(state: &StateDir, role: Role) -> Result<Option<PublicKey>, Failure> {
    let path = public_path(&state.role(role), role);
    if path.exists() { read_public(&path).map(Some) } else { Ok(None) }
}

/// Reads a public key file.
///
/// # Errors
///
/// [`ErrorCode::Key`] where the file holds something else.
pub fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    let content = files::read(path, PUBLIC_KEY_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&content);
    text.trim().parse().map_err(|error: rs_consent::keys::KeyError| {
        Failure::new(ErrorCode::Key, "the file holds no public key")
            .about(path.display().to_string())
            .because(error)
    })
}

fn private_path(folder: &RoleDir, role: Role) -> std::path::PathBuf {
    folder.file(&format!("{}.key", role.as_str()))
}

fn public_path(folder: &RoleDir, role: Role) -> std::path::PathBuf {
    folder.file(&format!("{}.pub", role.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(Some(directory.path().join("s"))).expect("a path");
        assert!(load(&state, Role::Node).expect("no trouble").is_none());
        let made = load_or_create(&state, Role::Node).expect("made").public();
        assert_eq!(load_or_create(&state, Role::Node).expect("found").public(), made);
        assert_eq!(load_public(&state, Role::Node).expect("found"), Some(made));
        assert_ne!(load_or_create(&state, Role::Desk).expect("made").public(), made);
    }

    #[test]
    fn two_makers_at_once_get_one_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(Some(directory.path().join("s"))).expect("a path");
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| load_or_create(&state, Role::Node).expect("made").public()))
                .collect();
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]));
    }
}
