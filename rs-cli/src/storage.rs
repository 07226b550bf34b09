//! The storage key: what closes the contents of this node's records, and where it is kept. Never in the state directory.
//!
//! `node/storage.json` tells which key it was, and nothing of the key:
//!
//! ```json
//! { "check": "16 hexadecimal digits", "passphrase": { "salt": "32 hexadecimal digits" } }
//! ```
//!
//! `check` is 8 bytes by HKDF from the key; `passphrase` is there only where the key comes from one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use rs_session::record::{ContentKey, Sealer};
use rs_session::sealing::{STORAGE_KEY_BYTES, Storage, StorageKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::files;
use crate::outcome::{ErrorCode, Failure};
use crate::platform;
use crate::state::{Role, RoleDir, StateDir};

/// Name of the file that tells which key it was, in the node's folder.
pub const MARKS_NAME: &str = "storage.json";
/// Name of the key file, where no path is given, and of the credential.
pub const KEY_NAME: &str = "storage.key";
/// Memory that trying one passphrase costs, in KiB: 64 MiB.
pub const PASSPHRASE_MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory.
pub const PASSPHRASE_PASSES: u32 = 3;
/// Shortest passphrase, in characters.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
const SALT_BYTES: usize = 16;
const MARKS_BYTES_MAX: usize = 4 * 1024;

/// What the owner's policy says of the storage key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// In a file outside of the state directory.
    #[default]
    KeyFile,
    /// In somebody's head, or in a file that is there only while the agent starts.
    Passphrase,
    /// Handed over by the service manager: `$CREDENTIALS_DIRECTORY/storage.key`.
    Credential,
    /// In the key file, closed by Windows (DPAPI) so that it opens on this machine only: a copy of it opens nothing elsewhere.
    Dpapi,
    /// Nowhere: contents lie in clear.
    Off,
}

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// The key file.
    pub key_file: Option<PathBuf>,
    /// A file with the passphrase.
    pub passphrase_file: Option<PathBuf>,
}

/// What is stored beside the records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Marks {
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<PassphraseMarks>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PassphraseMarks {
    salt: String,
}

/// Something that keeps a storage key.
pub trait KeyKeeper: fmt::Debug + Send + Sync {
    /// The key that is kept.
    ///
    /// # Errors
    ///
    /// Why it cannot be had now.
    fn key(&self) -> Result<StorageKey, Failure>;

    /// Makes a key where there is none yet.
    ///
    /// # Errors
    ///
    /// What keeps it from being made.
    fn make(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn locked(why: &str) -> Failure {
    Failure::new(ErrorCode::Key, format!("key store locked: {why}"))
}

fn parse_key(text: &SecretString, path: &Path) -> Result<StorageKey, Failure> {
    let mut bytes = [0; STORAGE_KEY_BYTES];
    hex::decode_to_slice(text.expose_secret(), &mut bytes).map_err(|_| {
        locked("the file holds no storage key (64 hexadecimal digits)").about(path.display().to_string())
    })?;
    Ok(StorageKey::from_bytes(bytes))
}

/// What stands in the key file.
fn read_text(path: &Path) -> Result<SecretString, Failure> {
    if !path.exists() {
        return Err(locked("the file with the storage key is not there")
            .about(path.display().to_string())
            .next_step("put it back from its backup, or name it with --storage-key-file"));
    }
    files::read_secret(path)
}

/// Makes a key, and its file with what `close` makes of the key's text; one that is there stays.
fn make_key_file(
    path: &Path,
    close: impl Fn(&[u8]) -> io::Result<Zeroizing<Vec<u8>>>,
) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        platform::create_private_dir(parent)
            .map_err(|error| Failure::io(parent, "create the directory", error))?;
    }
    let failed = |error: io::Error| Failure::new(ErrorCode::Key, "no key could be made").because(error);
    let key = StorageKey::generate().map_err(|error| failed(io::Error::other(error)))?;
    let text = close(Zeroizing::new(hex::encode(key.bytes())).as_bytes()).map_err(failed)?;
    files::write_secret_once(path, &text).map(drop)
}

/// A key file.
#[derive(Debug)]
struct KeyFile(PathBuf);

impl KeyKeeper for KeyFile {
    fn key(&self) -> Result<StorageKey, Failure> {
        parse_key(&read_text(&self.0)?, &self.0)
    }

    fn make(&self) -> Result<(), Failure> {
        make_key_file(&self.0, |text| Ok(text.to_vec().into()))
    }
}

/// A key file that only this machine opens.
#[derive(Debug)]
struct MachineKeyFile(PathBuf);

impl KeyKeeper for MachineKeyFile {
    fn key(&self) -> Result<StorageKey, Failure> {
        let closed = hex::decode(read_text(&self.0)?.expose_secret()).map_err(|_| {
            locked("the file holds no closed storage key (hexadecimal digits)")
                .about(self.0.display().to_string())
        })?;
        let refused = |error: io::Error| {
            locked("Windows does not open the storage key")
                .about(self.0.display().to_string())
                .because(error)
                .next_step("was it made on another machine, or for `key-file`?")
        };
        let open = platform::open_for_machine(&closed).map_err(refused)?;
        parse_key(&files::read_secret_from(open.as_slice(), KEY_NAME)?, &self.0)
    }

    fn make(&self) -> Result<(), Failure> {
        make_key_file(&self.0, |text| Ok(hex::encode(platform::close_for_machine(text)?).into_bytes().into()))
    }
}

/// What the service manager hands over. It makes such files readable to the service alone, by means of its own.
#[derive(Debug)]
struct Credential;

impl KeyKeeper for Credential {
    fn key(&self) -> Result<StorageKey, Failure> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
            .ok_or_else(|| locked("the service manager handed over no credentials"))?;
        let path = Path::new(&folder).join(KEY_NAME);
        let bytes = files::read(&path, files::SECRET_BYTES_MAX)
            .map_err(|error| locked(&format!("there is no credential of this name: {error}")))?;
        parse_key(&files::read_secret_from(Zeroizing::new(bytes).as_slice(), KEY_NAME)?, &path)
    }
}

/// A passphrase that stands in a file, or comes on standard input.
#[derive(Debug)]
struct Passphrase {
    file: Option<PathBuf>,
    salt: Vec<u8>,
    /// Found once: trying costs time and memory, and standard input is read only once.
    found: Mutex<Option<StorageKey>>,
}

impl Passphrase {
    fn read(&self) -> Result<SecretString, Failure> {
        let file = self.file.as_deref().ok_or_else(|| {
            locked("no passphrase was given")
                .next_step("start the command with --storage-passphrase-file FILE, or `-` for standard input")
        })?;
        if file == Path::new("-") {
            files::read_secret_from(io::stdin().lock(), "standard input")
        } else {
            files::read_secret(file)
                .map_err(|error| locked(&format!("the passphrase cannot be read: {error}")))
        }
    }
}

impl KeyKeeper for Passphrase {
    fn key(&self) -> Result<StorageKey, Failure> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*found {
            return Ok(key.clone());
        }
        let passphrase = self.read()?;
        if passphrase.expose_secret().chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(locked("the passphrase is shorter than 12 characters"));
        }
        let key = stretch(&passphrase, &self.salt)?;
        *found = Some(key.clone());
        Ok(key)
    }
}

fn stretch(passphrase: &SecretString, salt: &[u8]) -> Result<StorageKey, Failure> {
    let failed = |error: argon2::Error| locked(&format!("no key can be made of the passphrase: {error}"));
    let parameters = Params::new(PASSPHRASE_MEMORY_KIB, PASSPHRASE_PASSES, 1, Some(STORAGE_KEY_BYTES));
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters.map_err(failed)?);
    let mut bytes = Zeroizing::new([0; STORAGE_KEY_BYTES]);
    argon.hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut *bytes).map_err(failed)?;
    Ok(StorageKey::from_bytes(*bytes))
}

/// The key store of a node.
#[derive(Debug)]
pub struct KeyStore {
    node: RoleDir,
    keeping: Keeping,
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    keeper: Mutex<Option<Arc<dyn KeyKeeper>>>,
}

impl KeyStore {
    /// The key store of the node with this state.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] for a key file in the state directory: whoever takes that would have both.
    pub fn new(state: &StateDir, options: &StorageOptions, keeping: Keeping) -> Result<Self, Failure> {
        let key_file =
            options.key_file.clone().or_else(|| Some(platform::default_config_dir()?.join(KEY_NAME)));
        let real = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if let Some(path) =
            options.key_file.as_deref().filter(|path| real(path).starts_with(real(state.root())))
        {
            return Err(Failure::new(
                ErrorCode::InvalidValue,
                "the storage key must not lie in the state directory that it protects",
            )
            .about(path.display().to_string()));
        }
        let node = state.role(Role::Node);
        let passphrase_file = options.passphrase_file.clone();
        Ok(Self { node, keeping, key_file, passphrase_file, keeper: Mutex::default() })
    }

    /// Whether new contents are sealed.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.keeping != Keeping::Off
    }

    /// The key for reading; `None` where nothing was ever sealed here.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Key`] where the key store is locked.
    pub fn for_reading(&self) -> Result<ContentKey, Failure> {
        match self.marks()? {
            None => Ok(None),
            Some(marks) => Ok(Some(Arc::new(self.keeper(Some(&marks))?.key()?))),
        }
    }

    /// The key for writing; made now if this node never had one. `None` where contents are not sealed.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Key`] where the key store is locked, or holds another key than that of this node.
    pub fn for_writing(&self) -> Result<Option<StorageKey>, Failure> {
        if !self.seals() {
            return Ok(None);
        }
        let known = self.marks()?;
        let marks = match known.clone() {
            Some(marks) => marks,
            None => self.new_marks()?,
        };
        let keeper = self.keeper(Some(&marks))?;
        if known.is_none() {
            keeper.make()?;
        }
        let key = keeper.key()?;
        let check = hex::encode(key.check());
        if known.is_none() {
            let marks = Marks { check, ..marks };
            let text = serde_json::to_vec(&marks).map_err(|error| {
                Failure::new(ErrorCode::Internal, "a file cannot be written").because(error)
            })?;
            self.node.ensure()?;
            files::replace_secret(&self.path(), &text)?;
        } else if check != marks.check {
            return Err(locked("this is another key than that of this node")
                .about(self.path().display().to_string())
                .next_step(
                    "bring back the key; or remove this file to begin with the key that is there: what was sealed before \
                     stays closed",
                ));
        }
        Ok(Some(key))
    }

    fn path(&self) -> PathBuf {
        self.node.file(MARKS_NAME)
    }

    fn marks(&self) -> Result<Option<Marks>, Failure> {
        let path = self.path();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, MARKS_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            locked("the file that tells the storage key cannot be read")
                .about(path.display().to_string())
                .because(error)
        })
    }

    fn new_marks(&self) -> Result<Marks, Failure> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| Failure::new(ErrorCode::Key, "no salt could be made").because(error))?;
        let from_passphrase = self.keeping == Keeping::Passphrase;
        let passphrase = from_passphrase.then(|| PassphraseMarks { salt: hex::encode(salt) });
        Ok(Marks { check: String::new(), passphrase })
    }

    /// What keeps the key. A salt that is there tells that the key comes from a passphrase, whatever the policy says now.
    fn keeper(&self, marks: Option<&Marks>) -> Result<Arc<dyn KeyKeeper>, Failure> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = &*keeper {
            return Ok(Arc::clone(keeper));
        }
        let made: Arc<dyn KeyKeeper> = match (marks.and_then(|marks| marks.passphrase.as_ref()), self.keeping)
        {
            (Some(marks), _) => {
                let salt = hex::decode(&marks.salt).map_err(|_| locked("the salt cannot be read"))?;
                Arc::new(Passphrase { file: self.passphrase_file.clone(), salt, found: Mutex::default() })
            }
            (None, Keeping::Credential) => Arc::new(Credential),
            (None, keeping) => {
                let path = self.key_file.clone();
                let path = path.ok_or_else(|| locked("there is no home for the key file"))?;
                if keeping == Keeping::Dpapi {
                    Arc::new(MachineKeyFile(path))
                } else {
                    Arc::new(KeyFile(path))
                }
            }
        };
        *keeper = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Storage for KeyStore {
    fn sealer(&self, session: Uuid) -> Result<Option<Box<dyn Sealer>>, String> {
        match self.for_writing() {
            Ok(None) => Ok(None),
            Ok(Some(key)) => Storage::sealer(&key, session),
            Err(failure) => Err(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        directory: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().expect("a directory") }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn store(&self, keeping: Keeping) -> Result<KeyStore, Failure> {
            let state = StateDir::new(Some(self.file("state"))).expect("a path");
            let options = StorageOptions {
                key_file: Some(self.file("keys").join(KEY_NAME)),
                passphrase_file: Some(self.file("passphrase")),
            };
            KeyStore::new(&state, &options, keeping)
        }

        fn writing(&self, keeping: Keeping) -> Result<Option<StorageKey>, Failure> {
            self.store(keeping)?.for_writing()
        }
    }

    fn bytes(key: Result<Option<StorageKey>, Failure>) -> [u8; STORAGE_KEY_BYTES] {
        *key.expect("no trouble").expect("a key").bytes()
    }

    #[test]
    fn sec36_a_key_is_made_at_first_need_outside_of_the_state_directory_and_never_again() {
        let place = Place::new();
        assert!(
            place.store(Keeping::KeyFile).expect("fine").for_reading().expect("nothing sealed").is_none()
        );
        assert!(!place.file("keys").exists(), "nothing is made by reading");
        let made = bytes(place.writing(Keeping::KeyFile));
        assert_eq!(bytes(place.writing(Keeping::KeyFile)), made);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: PathBuf| path.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(place.file("keys").join(KEY_NAME)), 0o600);
            assert_eq!(mode(place.file("keys")), 0o700);
            assert_eq!(mode(place.file("state").join("node").join(MARKS_NAME)), 0o600);
        }
        std::fs::remove_file(place.file("keys").join(KEY_NAME)).expect("own file");
        let failure = place.writing(Keeping::KeyFile).expect_err("no second key is made in silence");
        assert!(failure.to_string().contains("key store locked"), "{failure}");
        files::write_secret(&place.file("keys").join(KEY_NAME), hex::encode([1; 32]).as_bytes())
            .expect("written");
        let failure = place.writing(Keeping::KeyFile).expect_err("another key");
        assert!(failure.to_string().contains("another key"), "{failure}");
    }

    #[test]
    fn sec36_a_key_in_the_state_directory_is_refused() {
        let place = Place::new();
        let state = StateDir::new(Some(place.file("state"))).expect("a path");
        let options = StorageOptions { key_file: Some(place.file("state/node/k")), passphrase_file: None };
        let failure = KeyStore::new(&state, &options, Keeping::KeyFile).expect_err("refused");
        assert_eq!(failure.code(), ErrorCode::InvalidValue);
    }

    #[test]
    fn sec36_a_passphrase_opens_what_it_closed_and_without_it_the_key_store_is_locked() {
        let place = Place::new();
        let failure = place.writing(Keeping::Passphrase).expect_err("no passphrase");
        assert!(failure.to_string().contains("key store locked"), "{failure}");
        let give =
            |text: &str| files::replace_secret(&place.file("passphrase"), text.as_bytes()).expect("written");
        give("elevencharsx"[..PASSPHRASE_CHARS_MIN - 1].as_ref());
        place.writing(Keeping::Passphrase).expect_err("too short");
        give("twelve chars");
        let made = bytes(place.writing(Keeping::Passphrase));
        assert_eq!(bytes(place.writing(Keeping::Passphrase)), made);
        give("twelve charz");
        let failure = place.writing(Keeping::Passphrase).expect_err("another passphrase");
        assert!(failure.to_string().contains("another key"), "{failure}");
        assert!(!format!("{failure:?}").contains("charz"), "{failure:?}");
    }

    #[test]
    fn sec36_a_key_file_that_windows_closed_opens_on_this_machine_only() {
        let place = Place::new();
        let file = place.file("keys").join(KEY_NAME);
        if !cfg!(windows) {
            let failure = place.writing(Keeping::Dpapi).expect_err("only Windows has it");
            assert!(!file.exists(), "{failure}");
            return;
        }
        let made = bytes(place.writing(Keeping::Dpapi));
        assert_eq!(bytes(place.writing(Keeping::Dpapi)), made);
        let text = std::fs::read_to_string(&file).expect("there");
        assert!(!text.contains(&hex::encode(made)), "the key itself is not in its file");
        // One that was closed elsewhere, as far as this machine can tell.
        let mut closed = hex::decode(&text).expect("hexadecimal");
        let last = closed.len() - 1;
        closed[last] ^= 1;
        files::replace_secret(&file, hex::encode(closed).as_bytes()).expect("written");
        let failure = place.writing(Keeping::Dpapi).expect_err("locked");
        assert!(failure.to_string().contains("key store locked"), "{failure}");
        // Control: without it the file is the key.
        let open = Place::new();
        let made = bytes(open.writing(Keeping::KeyFile));
        let text = std::fs::read_to_string(open.file("keys").join(KEY_NAME)).expect("there");
        assert_eq!(text, hex::encode(made));
    }

    #[test]
    fn sec36_control_without_sealing_there_is_no_key() {
        let place = Place::new();
        assert!(place.writing(Keeping::Off).expect("no trouble").is_none());
        assert!(!place.file("keys").exists());
    }
}
