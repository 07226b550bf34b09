//! Files: bounded reading, durable writing, and the rules for those that hold a secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use rs_consent::statement::{ENVELOPE_BYTES_MAX, Envelope};
use secrecy::SecretString;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::outcome::{ErrorCode, Failure};
use crate::platform;

/// Longest secret file that is read, in bytes: keys and credentials are far shorter.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
///
/// [`ErrorCode::NotFound`], [`ErrorCode::Io`], or [`ErrorCode::InvalidFile`] where the file is longer.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let opened = platform::on_behalf(path, || File::open(path));
    let file = opened.map_err(|error| Failure::io(path, "read the file", error))?;
    let mut content = Vec::new();
    bounded(file, &path.display().to_string(), bytes_max, &mut content)?;
    Ok(content)
}

/// Whether a file begins with these bytes.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] or [`ErrorCode::Io`].
pub fn begins_with(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    let mut begin = Vec::with_capacity(bytes.len());
    platform::on_behalf(path, || File::open(path))
        .and_then(|file| file.take(bytes.len() as u64).read_to_end(&mut begin))
        .map_err(|error| Failure::io(path, "read the file", error))?;
    Ok(begin == bytes)
}

fn bounded(source: impl Read, name: &str, bytes_max: usize, content: &mut Vec<u8>) -> Result<(), Failure> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    source
        .take(limit)
        .read_to_end(content)
        .map_err(|error| Failure::io(Path::new(name), "read the file", error))?;
    if content.len() > bytes_max {
        return Err(Failure::new(
            ErrorCode::InvalidFile,
            format!("the file is longer than {bytes_max} bytes"),
        )
        .about(name.to_owned()));
    }
    Ok(())
}

/// Reads a secret from a file that nobody but its owner can reach. Surrounding white space is dropped.
///
/// # Errors
///
/// As [`read`]; [`ErrorCode::UnsafePermissions`] where others can read the file. The content is never repeated.
pub fn read_secret(path: &Path) -> Result<SecretString, Failure> {
    secret(platform::open_private(path)?, &path.display().to_string())
}

/// Reads a secret from a stream, for example standard input.
///
/// # Errors
///
/// [`ErrorCode::InvalidFile`] where it is too long, empty or not text.
pub fn read_secret_from(source: impl Read, name: &str) -> Result<SecretString, Failure> {
    secret(source, name)
}

fn secret(source: impl Read, name: &str) -> Result<SecretString, Failure> {
    // Room for the whole, so that growing leaves no copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    bounded(source, name, SECRET_BYTES_MAX, &mut content)?;
    let text = std::str::from_utf8(&content).map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(Failure::new(ErrorCode::InvalidFile, "the file holds no text").about(name.to_owned()));
    }
    Ok(SecretString::from(text))
}

/// Stores a secret under a new name: mode 0600, complete and durable before it is there.
///
/// # Errors
///
/// [`ErrorCode::Io`]; `AlreadyExists` as the cause where the name is taken (the file there stays as it is).
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), Failure> {
    platform::on_behalf(path, || create_secret(path, content))
        .map_err(|error| Failure::io(path, "write the file", error))
}

/// As [`write_secret`], and tells a taken name apart: `false` where somebody was there first.
///
/// # Errors
///
/// [`ErrorCode::Io`].
pub fn write_secret_once(path: &Path, content: &[u8]) -> Result<bool, Failure> {
    match platform::on_behalf(path, || create_secret(path, content)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        written => written.map(|()| true).map_err(|error| Failure::io(path, "write the file", error)),
    }
}

/// The name appears by a hard link to the finished file: of several writers one wins, and nobody sees half a file.
fn create_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = Draft::new(path);
    let mut file = platform::create_private(&draft.path)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::hard_link(&draft.path, path)?;
    sync_parent(path)
}

/// Writes a file that nobody but its owner can reach: mode 0600, durable, old or new content but never a mixture.
///
/// # Errors
///
/// [`ErrorCode::Io`].
pub fn replace_secret(path: &Path, content: &[u8]) -> Result<(), Failure> {
    platform::on_behalf(path, || replace(path, content, platform::create_private))
        .map_err(|error| Failure::io(path, "write the file", error))
}

/// Writes a file that others may read, durable, old or new content but never a mixture.
///
/// # Errors
///
/// [`ErrorCode::Io`].
pub fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    platform::on_behalf(path, || replace(path, content, create))
        .map_err(|error| Failure::io(path, "write the file", error))
}

fn replace(path: &Path, content: &[u8], create: impl Fn(&Path) -> io::Result<File>) -> io::Result<()> {
    let draft = Draft::new(path);
    let mut file = create(&draft.path)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&draft.path, path)?;
    sync_parent(path)
}

/// Gives a file its name, which another one may have.
#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// As elsewhere; Windows refuses it for the moment in which somebody else renames or scans the same file, so it is tried for up
/// to half a second.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => std::thread::sleep(PAUSE),
            renamed => return renamed,
        }
    }
    fs::rename(from, to)
}

/// A file beside the one to be written, removed when it is no longer needed.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", Uuid::new_v4().simple()));
        Self { path: path.with_file_name(name) }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => platform::sync_dir(parent),
        None => platform::sync_dir(Path::new(".")),
    }
}

/// Reads a signed statement; what it says is still to be checked.
///
/// # Errors
///
/// As [`read`], and [`ErrorCode::Statement`] where the file is no statement.
pub fn read_statement(path: &Path) -> Result<Envelope, Failure> {
    let content = read(path, ENVELOPE_BYTES_MAX)?;
    Envelope::from_json(&content).map_err(|error| statement_failure(path, error))
}

/// Writes a signed statement.
///
/// # Errors
///
/// As [`write()`].
pub fn write_statement(path: &Path, statement: &Envelope) -> Result<(), Failure> {
    write(path, format!("{}\n", statement.to_json()).as_bytes())
}

/// As [`write_statement`], for the state directory: mode 0600.
///
/// # Errors
///
/// As [`replace_secret`].
pub fn keep_statement(path: &Path, statement: &Envelope) -> Result<(), Failure> {
    replace_secret(path, format!("{}\n", statement.to_json()).as_bytes())
}

/// A statement that was not accepted.
pub fn statement_failure(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(ErrorCode::Statement, "the statement is not accepted")
        .about(path.display().to_string())
        .because(error)
        .next_step("ask its sender for a new one")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn reading_stops_at_the_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "12345").expect("own directory");
        assert_eq!(read(&path, 5).expect("fits"), b"12345");
        assert_eq!(read(&path, 4).expect_err("too long").code(), ErrorCode::InvalidFile);
        assert_eq!(read(&directory.path().join("none"), 4).expect_err("missing").code(), ErrorCode::NotFound);
    }

    #[test]
    fn of_two_writers_of_one_secret_the_first_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        assert!(write_secret_once(&path, b"first").expect("written"));
        assert!(!write_secret_once(&path, b"second").expect("refused"));
        assert_eq!(read_secret(&path).expect("read").expose_secret(), "first");
        replace_secret(&path, b" third \n").expect("replaced");
        assert_eq!(read_secret(&path).expect("read").expose_secret(), "third");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "no drafts stay behind");
    }

    #[cfg(unix)]
    #[test]
    fn sec36_a_secret_that_others_can_read_or_that_is_a_link_is_refused_without_a_word_of_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        write_secret(&path, b"canary").expect("written");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
            let failure = read_secret(&path).expect_err("unsafe");
            assert_eq!(failure.code(), ErrorCode::UnsafePermissions);
            assert!(
                failure.to_string().contains("chmod 600") && !failure.to_string().contains("canary"),
                "{failure}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("own directory");
        read_secret(&link).expect_err("a link");
    }
}
