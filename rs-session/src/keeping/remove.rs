//! Takes contents out of a record: old or new record, never a mixture, and nothing of the old one left behind.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::platform;
use crate::record::{FILE_HEADER, Frame, FrameError, FrameReader, Stored};

/// Extension of a record that is being made; nothing points to it yet.
const DRAFT: &str = "draft";
/// Extension of a record whose place was taken and that is to be overwritten.
const DISCARDED: &str = "discarded";
/// Bytes that are overwritten at a time.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// How many contents.
    pub records: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// Why contents were not removed. The record is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// A session writes it.
    #[error("a session that runs writes this record; end it first")]
    Live,
    /// It cannot be read to its end.
    #[error("the record cannot be read to its end ({0}); it stays as it is")]
    Damaged(#[from] FrameError),
    /// Something else failed.
    #[error("the contents cannot be removed: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn open(path: &Path) -> Result<FrameReader<BufReader<File>>, RemoveError> {
    Ok(FrameReader::new(BufReader::new(File::open(path)?))?)
}

/// Removes the contents that `wanted` chooses from the record at `path`. It sees records as they are stored: what is sealed
/// it opens itself, and what it does not choose stays sealed. `enter` gets their number before the record
/// changes, to put it into the node's log; if it fails, nothing changes.
///
/// # Errors
/// [`RemoveError`].
pub fn remove_contents(
    path: &Path,
    wanted: &mut dyn FnMut(&Frame) -> bool,
    enter: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Removed, RemoveError> {
    let old = OpenOptions::new().read(true).write(true).open(path)?;
    // Held until the record has its new form, so that no other removal and no recovery comes between.
    match old.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(RemoveError::Live),
        Err(fs::TryLockError::Error(error)) => return Err(error.into()),
    }
    let draft = path.with_extension(DRAFT);
    remove_if_there(&draft)?;
    let outcome = write_draft(&old, &draft, wanted).and_then(|removed| {
        if removed.records > 0 {
            enter(removed.records)?;
            replace(path, &draft, &old)?;
        }
        Ok(removed)
    });
    remove_if_there(&draft)?;
    outcome
}

/// What [`remove_contents`] would remove. Nothing is changed, and nothing is entered.
///
/// # Errors
/// [`RemoveError`].
pub fn would_remove(
    path: &Path,
    wanted: &mut dyn FnMut(&Frame) -> bool,
    _enter: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Removed, RemoveError> {
    let file = File::open(path)?;
    if crate::history::is_written(&file) {
        return Err(RemoveError::Live);
    }
    let mut reader = open(path)?;
    let mut removed = Removed { records: 0, bytes: 0 };
    while let Some(frame) = reader.next_frame()? {
        removed.count(chosen(&frame, wanted));
    }
    Ok(removed)
}

/// The length of a content that goes.
fn chosen(frame: &Frame, wanted: &mut dyn FnMut(&Frame) -> bool) -> Option<u64> {
    let there = matches!(frame.content(), Stored::Present { .. } | Stored::Sealed(_));
    (there && wanted(frame)).then(|| u64::from(frame.skeleton().content_length))
}

impl Removed {
    fn count(&mut self, chosen: Option<u64>) {
        self.records += u64::from(chosen.is_some());
        self.bytes += chosen.unwrap_or(0);
    }
}

fn write_draft(
    old: &File,
    draft: &Path,
    wanted: &mut dyn FnMut(&Frame) -> bool,
) -> Result<Removed, RemoveError> {
    let mut reader = FrameReader::new(BufReader::new(old))?;
    let mut out = BufWriter::new(platform::create_private_new(draft)?);
    let mut removed = Removed { records: 0, bytes: 0 };
    out.write_all(&FILE_HEADER)?;
    while let Some(frame) = reader.next_frame()? {
        let goes = chosen(&frame, wanted);
        removed.count(goes);
        let frame = if goes.is_some() { frame.without_content() } else { frame };
        out.write_all(&frame.encode())?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(removed)
}

/// The draft takes the place of the record, whose second name keeps it in reach until it is overwritten.
fn replace(path: &Path, draft: &Path, old: &File) -> io::Result<()> {
    let discarded = path.with_extension(DISCARDED);
    remove_if_there(&discarded)?;
    fs::hard_link(path, &discarded)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    platform::sync_directory(directory)?;
    fs::rename(draft, path)?;
    platform::sync_directory(directory)?;
    overwrite(old)?;
    fs::remove_file(&discarded)?;
    platform::sync_directory(directory)
}

fn overwrite(mut file: &File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let part = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..usize::try_from(part).unwrap_or(ZEROS.len())])?;
        left -= part;
    }
    file.sync_all()
}

/// Brings removals to their end that a crash cut off: drafts go, and discarded records are overwritten and go.
///
/// # Errors
/// Whatever the operating system says.
pub fn clean(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut changed = false;
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if extension == Some(DISCARDED) {
            changed |= discard(&path)?;
        } else if extension == Some(DRAFT) && !is_under_way(&path)? {
            remove_if_there(&path)?;
            changed = true;
        }
    }
    if changed { platform::sync_directory(directory) } else { Ok(()) }
}

/// Overwrites a discarded record, unless it is still the record itself: the crash came before the rename then.
fn discard(path: &Path) -> io::Result<bool> {
    if is_under_way(path)? {
        return Ok(false);
    }
    let record = path.with_extension(crate::history::RECORD_EXTENSION);
    if !is_same(path, &record)? {
        overwrite(&OpenOptions::new().write(true).open(path)?)?;
    }
    remove_if_there(path)?;
    Ok(true)
}

/// Whether another process removes contents from this record right now.
fn is_under_way(path: &Path) -> io::Result<bool> {
    let record = path.with_extension(crate::history::RECORD_EXTENSION);
    for path in [path, &record] {
        let Some(file) = File::open(path).map(Some).or_else(absent)? else { continue };
        match file.try_lock_shared() {
            Ok(()) => file.unlock()?,
            Err(fs::TryLockError::WouldBlock) => return Ok(true),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let of =
            |path: &Path| fs::metadata(path).map(|found| Some((found.dev(), found.ino()))).or_else(absent);
        Ok(of(one)? == of(other)?)
    }
    // Without inodes: the same bytes are the same record, which must not be overwritten.
    #[cfg(not(unix))]
    {
        let of = |path: &Path| fs::read(path).map(Some).or_else(absent);
        Ok(of(one)? == of(other)?)
    }
}

fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).map(Some).or_else(absent).map(drop)
}
