//! End-of-access statements as files: written when a session ends, or later by whoever finds that one is missing.

use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::statement::{ENVELOPE_BYTES_MAX, Envelope};

use crate::disk::{Disk, ReadFrom, RealDisk};
use crate::ending::{EndOfAccess, statement_path};
use crate::record::{Digest, FrameReader, Kind};

/// Signs a statement and puts it beside its record; it is durable when this returns. A file that is there already, such
/// as one that was made before a crash, is put aside by the new one in one step. Gives its path and its SHA-256.
///
/// # Errors
/// What the operating system says.
pub(super) fn write(
    disk: &dyn Disk,
    record: &Path,
    end: &EndOfAccess,
    node: &SigningKey,
) -> io::Result<(PathBuf, Digest)> {
    let path = statement_path(record);
    let envelope = Envelope::sign(end, node).map_err(io::Error::other)?;
    let draft = path.with_extension("json.new");
    match disk.remove(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&draft)?;
    let json = format!("{}\n", envelope.to_json());
    file.append(json.as_bytes())?;
    file.sync()?;
    disk.rename(&draft, &path)?;
    disk.sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))?;
    Ok((path, Digest::of(json.as_bytes())))
}

/// SHA-256 of the statement that lies beside a record, as the node's log names it; `None` where there is none, or none
/// that `node` signed.
///
/// # Errors
/// What the operating system says.
pub fn end_statement_sha256(record: &Path, node: &PublicKey) -> io::Result<Option<Digest>> {
    let json = read(&RealDisk, record)?;
    Ok(json.filter(|json| opened(json, node).is_some()).map(|json| Digest::of(&json)))
}

/// Reads the statement that lies beside a record; `None` where there is none, or none that `node` signed.
///
/// # Errors
/// What the operating system says.
pub fn end_statement(record: &Path, node: &PublicKey) -> io::Result<Option<EndOfAccess>> {
    end_statement_on(&RealDisk, record, node)
}

/// As [`end_statement`], on any disk.
///
/// # Errors
/// As [`end_statement`].
pub fn end_statement_on(disk: &dyn Disk, record: &Path, node: &PublicKey) -> io::Result<Option<EndOfAccess>> {
    Ok(read(disk, record)?.and_then(|json| opened(&json, node)))
}

/// The file with the statement of a record, as it lies there.
fn read(disk: &dyn Disk, record: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(&statement_path(record)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut json = Vec::new();
    ReadFrom::new(&*file, 0).take(ENVELOPE_BYTES_MAX as u64 + 2).read_to_end(&mut json)?;
    Ok(Some(json))
}

fn opened(json: &[u8], node: &PublicKey) -> Option<EndOfAccess> {
    Envelope::from_json(json.trim_ascii_end()).ok()?.open(&[*node]).ok()
}

/// Writes the statement of a session that has its end record and no statement: the agent died between both, or could not
/// write. Says whether it wrote one. What lies in its place and is none stays, byte by byte: a statement comes there whole or
/// not at all, so somebody has changed it, and the verifier shows that. The record must have been checked, by
/// [`crate::journal::recover`] for example.
///
/// # Errors
/// What the operating system says.
pub fn complete_end(record: &Path, node: &SigningKey) -> io::Result<bool> {
    complete_end_on(&RealDisk, record, node)
}

/// As [`complete_end`], on any disk.
///
/// # Errors
/// As [`complete_end`].
pub fn complete_end_on(disk: &dyn Disk, record: &Path, node: &SigningKey) -> io::Result<bool> {
    if read(disk, record)?.is_some() {
        return Ok(false);
    }
    match read_end(disk, record)? {
        Some(end) if end.is_of(&node.public()) => write(disk, record, &end, node).map(|_| true),
        _ => Ok(false),
    }
}

/// As [`complete_end`], where what the record says of its end is known already, from
/// [`recover_known`](crate::journal::recover_known) for example.
///
/// # Errors
/// As [`complete_end`].
pub fn state_end(record: &Path, end: &EndOfAccess, node: &SigningKey) -> io::Result<bool> {
    if read(&RealDisk, record)?.is_some() || !end.is_of(&node.public()) {
        return Ok(false);
    }
    write(&RealDisk, record, end, node).map(|_| true)
}

/// What a record says of its own end; `None` while it has none.
fn read_end(disk: &dyn Disk, record: &Path) -> io::Result<Option<EndOfAccess>> {
    let file = disk.open(record)?;
    let mut reader = FrameReader::new(BufReader::new(ReadFrom::new(&*file, 0))).map_err(io::Error::other)?;
    let (mut identity, mut last_executed, mut end) = (None, None, None);
    while let Some(frame) = reader.next_frame().map_err(io::Error::other)? {
        let skeleton = frame.skeleton();
        match skeleton.kind {
            Kind::Start => identity.clone_from(&skeleton.session),
            Kind::Request => last_executed = Some(skeleton.sequence),
            Kind::End => end = Some((frame.link(), skeleton.clone())),
            _ => {}
        }
    }
    let ended = identity.zip(end);
    Ok(ended.and_then(|(of, (head, end))| EndOfAccess::found(of, &end, head, last_executed)))
}
