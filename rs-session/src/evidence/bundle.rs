//! The evidence bundle of one session: a directory of plain files, and a signed manifest that covers each.
//!
//! A bundle is read by somebody who trusts neither side: every name is one of the known ones, every file is covered by
//! the manifest with length and hash, the manifest is signed by the node key, and record and log are checked as on the
//! node, against each other.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use rs_consent::keys::PublicKey;
use rs_consent::statement::{ENVELOPE_BYTES_MAX, Envelope, Statement};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use uuid::Uuid;

use super::{LogAudit, RecordAudit, WentOn, Witnesses, audit_record, read_log};
use crate::record::{Digest, Trust, Verdict};

/// Name of the signed manifest in a bundle.
pub const MANIFEST_NAME: &str = "manifest.json";
/// Name of the record in a bundle.
pub const RECORD_NAME: &str = "session.record";
/// Name of the node's log in a bundle.
pub const BUNDLE_LOG_NAME: &str = "node.log";
/// Most files in a bundle.
pub const BUNDLE_FILES_MAX: usize = 64;

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleFile {
    /// Its name: letters, digits, dots and dashes.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: Digest,
}

/// What the node signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The session.
    pub session: Uuid,
    /// The node's key.
    pub node_key: PublicKey,
    /// When it was exported.
    pub exported_at: DateTime<Utc>,
    /// Who exported it, as user@host.
    pub exported_by: String,
    /// All files but the manifest, by name.
    pub files: Vec<BundleFile>,
}

impl Statement for Manifest {
    const KIND: &'static str = "evidence-manifest";
}

/// What a check of a bundle came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleAudit {
    /// Nothing is wrong anywhere.
    pub intact: bool,
    /// What the node signed; `None` when that could not be read.
    pub manifest: Option<Manifest>,
    /// What is wrong with files and manifest, each with the name of the file.
    pub findings: Vec<BundleFinding>,
    /// The record.
    pub record: Option<RecordAudit>,
    /// The log.
    pub log: Option<LogAudit>,
}

/// One thing that is wrong with a file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleFinding {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub explanation: String,
}

/// Whether a name may stand in a bundle.
#[must_use]
pub fn is_bundle_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && name != MANIFEST_NAME
}

/// The line of the manifest for a file that was written.
///
/// # Errors
/// When it cannot be read.
pub fn bundle_file(directory: &Path, name: &str) -> io::Result<BundleFile> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(directory.join(name))?);
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hash.update(piece);
        bytes += read as u64;
    }
    let hash: [u8; 32] = hash.finalize().into();
    Ok(BundleFile { name: name.to_owned(), bytes, sha256: Digest::from_bytes(hash) })
}

/// Checks a bundle. `went_on` hears now and then how many bytes of its record were checked since it heard last.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn audit_bundle(
    directory: &Path,
    trust: Trust,
    witnesses: &Witnesses,
    went_on: WentOn<'_>,
) -> io::Result<BundleAudit> {
    let mut audit =
        BundleAudit { intact: true, manifest: None, findings: Vec::new(), record: None, log: None };
    let manifest = match read_manifest(directory, trust)? {
        Ok(manifest) => manifest,
        Err(explanation) => {
            audit.fault(MANIFEST_NAME, explanation);
            return Ok(audit);
        }
    };
    let key = if let Trust::Node(key) = trust { key } else { manifest.node_key };
    audit.files(directory, &manifest)?;
    let heads = audit.log(directory, key, witnesses)?;
    audit.record(directory, key, &manifest, heads, witnesses, went_on)?;
    audit.manifest = Some(manifest);
    Ok(audit)
}

fn read_manifest(directory: &Path, trust: Trust) -> io::Result<Result<Manifest, String>> {
    let mut bytes = Vec::new();
    match File::open(directory.join(MANIFEST_NAME)) {
        Ok(file) => file.take(ENVELOPE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("it is missing".to_owned())),
        Err(error) => return Err(error),
    };
    let read = || {
        let envelope = Envelope::from_json(&bytes).map_err(|error| error.to_string())?;
        let key = if let Trust::Node(key) = trust { key } else { envelope.claimed_key() };
        let manifest: Manifest = envelope.open(&[key]).map_err(|error| error.to_string())?;
        if manifest.node_key != key {
            return Err("it is signed by another key than it names".to_owned());
        }
        let printed = format!("{}\n", envelope.to_json());
        if printed.as_bytes() != bytes {
            return Err("it is not written as it was signed".to_owned());
        }
        Ok(manifest)
    };
    Ok(read())
}

impl BundleAudit {
    fn fault(&mut self, file: &str, explanation: impl Into<String>) {
        self.intact = false;
        self.findings.push(BundleFinding { file: file.to_owned(), explanation: explanation.into() });
    }

    fn files(&mut self, directory: &Path, manifest: &Manifest) -> io::Result<()> {
        if manifest.files.len() > BUNDLE_FILES_MAX
            || !manifest.files.iter().all(|file| is_bundle_name(&file.name))
        {
            self.fault(MANIFEST_NAME, "it names files that no bundle has");
            return Ok(());
        }
        for file in &manifest.files {
            match bundle_file(directory, &file.name) {
                Ok(found) if found == *file => {}
                Ok(found) if found.bytes != file.bytes => {
                    let (found, signed) = (found.bytes, file.bytes);
                    self.fault(
                        &file.name,
                        format!("it has {found} bytes, and had {signed} when it was exported"),
                    );
                }
                Ok(_) => self.fault(&file.name, "it was changed after the export"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.fault(&file.name, "it is missing")
                }
                Err(error) => return Err(error),
            }
        }
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != MANIFEST_NAME && !manifest.files.iter().any(|file| file.name == name) {
                self.fault(&name, "it was not exported with this bundle");
            }
        }
        Ok(())
    }

    /// The log, and what it says of all sessions.
    fn log(&mut self, directory: &Path, key: PublicKey, witnesses: &Witnesses) -> io::Result<super::LogBook> {
        let path = directory.join(BUNDLE_LOG_NAME);
        if !path.exists() {
            return Ok(super::LogBook::default());
        }
        let super::ReadLog { mut report, checker, book } = read_log(&path, Some(key))?;
        let mut passed = 0;
        for (head, name) in &witnesses.log {
            if checker.passes(head) {
                passed += 1;
            } else if checker.head().is_some_and(|newest| head.sequence <= newest.sequence) {
                let text =
                    format!("entry {} is another than {name} knows: the log was forked", head.sequence);
                report.fault(head.sequence, 0, text);
            }
        }
        self.intact &= report.intact;
        self.log = Some(LogAudit { path, report, witnesses: passed });
        Ok(book)
    }

    fn record(
        &mut self,
        directory: &Path,
        key: PublicKey,
        manifest: &Manifest,
        book: super::LogBook,
        witnesses: &Witnesses,
        went_on: WentOn<'_>,
    ) -> io::Result<()> {
        let path = directory.join(RECORD_NAME);
        if !path.exists() {
            return Ok(());
        }
        // What the log says later than the export belongs to the node, not to this copy; heads of this session do not.
        let mut expected = book.expected(manifest.session);
        expected.heads.extend(witnesses.sessions.get(&manifest.session).into_iter().flatten());
        let audit = audit_record(&path, Trust::Node(key), Some(manifest.session), &expected, &None, went_on)?;
        self.intact &= audit.report.verdict != Verdict::Broken;
        self.record = Some(audit);
        Ok(())
    }
}
