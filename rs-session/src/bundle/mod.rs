//! Bundles of diagnostic data: what was collected, byte by byte, and what left the node (E06, SEC35).
//!
//! A bundle is a folder on the node with three files:
//!
//! | file | what |
//! | --- | --- |
//! | `bundle.tar.gz` | the parts: POSIX tar, gzip; made of nothing but the parts, so the same parts give the same bytes |
//! | `manifest.json` | [`Manifest`]: each part with its size and SHA-256 after masking, and those of the archive |
//! | `released.json` | [`Released`]: where it went, when and with whose Yes; absent as long as it has not left |
//!
//! The manifest's own SHA-256 and the archive's stand in the session's record before anything leaves.

#[cfg(feature = "driver")]
mod archive;
#[cfg(feature = "driver")]
mod store;

use chrono::{DateTime, Utc};
use rs_consent::digest::Sha256;
use rs_consent::{GrantId, RequestNumber};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(feature = "driver")]
pub use self::archive::{ArchiveError, Fault, pack, verify};
#[cfg(feature = "driver")]
pub use self::store::{BundleStore, StoreError, Stored};

/// Most parts of a bundle.
pub const PARTS_MAX: usize = 64;
/// Most bytes of one part: of a longer log the newest bytes are taken.
pub const PART_BYTES_MAX: usize = 4 << 20;
/// Most bytes of all parts together, before masking and packing.
pub const BUNDLE_BYTES_MAX: usize = 32 << 20;
/// Longest name of a part, in bytes.
pub const PART_NAME_BYTES_MAX: usize = 200;
/// Largest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// Name of the archive in a bundle's folder, and at its destination.
pub const ARCHIVE_NAME: &str = "bundle.tar.gz";
/// Name of the manifest in a bundle's folder, and at its destination.
pub const MANIFEST_NAME: &str = "manifest.json";

/// What is in a bundle, and on whose behalf it was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Names the bundle.
    pub bundle_id: Uuid,
    /// When it was collected.
    pub collected_at: DateTime<Utc>,
    /// The node, as its owner calls it.
    pub node: String,
    /// The session that collected it.
    pub session_id: Uuid,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// The support request that it is for, and for nothing else (Q06).
    pub support_request: RequestNumber,
    /// The grant that it was collected under.
    pub grant_id: GrantId,
    /// The parts, in the order of the archive.
    pub parts: Vec<Part>,
    /// The archive.
    pub archive: Archive,
}

/// One part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// Its path in the archive, relative.
    pub name: String,
    /// Bytes in the archive, after masking.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Sha256,
    /// How many places were masked (SEC34).
    pub masked: u64,
    /// True if older bytes of the source were left out at a limit.
    pub cut: bool,
}

/// The archive of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    /// Its bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// What left the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Released {
    /// When it had arrived.
    pub at: DateTime<Utc>,
    /// Where it went: host and path, without the credential.
    pub destination: String,
    /// Whose Yes it left with: the operator's identity, or `consent` where the grant wanted no question.
    pub approved_by: String,
    /// SHA-256 of the manifest that was approved.
    pub manifest_sha256: Sha256,
}

impl Manifest {
    /// The manifest as bytes, as it is stored, hashed and sent.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest and checks its bounds.
    ///
    /// # Errors
    /// The reason in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(format!("the manifest is longer than {MANIFEST_BYTES_MAX} bytes"));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.parts.len() > PARTS_MAX {
            return Err(format!("the manifest has more than {PARTS_MAX} parts"));
        }
        match manifest.parts.iter().find(|part| !is_part_name(&part.name)) {
            Some(part) => Err(format!("{:?} is no name of a part", part.name)),
            None => Ok(manifest),
        }
    }

    /// What is in it, in lines for people; each is at most 400 characters.
    #[must_use]
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("Bundle {} with {} parts:\n", self.bundle_id, self.parts.len());
        for Part { name, bytes, sha256, masked, cut } in &self.parts {
            let cut = if *cut { ", older bytes left out" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name}: {bytes} bytes, {masked} masked{cut}, sha256 {sha256}");
        }
        let Archive { bytes, sha256 } = self.archive;
        let _ = writeln!(text, "  {ARCHIVE_NAME}: {bytes} bytes, sha256 {sha256}");
        text
    }
}

/// True for a relative path of harmless names.
///
/// ```
/// use rs_session::bundle::is_part_name;
///
/// assert!(is_part_name("var/log/syslog") && is_part_name("facts/os-release"));
/// for bad in ["", "/etc/passwd", "a/../b", "./a", "a//b", "a\nb", "a\\b"] {
///     assert!(!is_part_name(bad), "{bad:?}");
/// }
/// ```
#[must_use]
pub fn is_part_name(name: &str) -> bool {
    let harmless =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+' | ' ' | ':');
    let step = |step: &str| !step.is_empty() && !matches!(step, "." | "..") && step.chars().all(harmless);
    name.len() <= PART_NAME_BYTES_MAX && name.split('/').all(step)
}
