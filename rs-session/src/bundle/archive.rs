//! The archive: the same parts give the same bytes, and whatever differs from the manifest is found.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rs_consent::digest::Sha256;

use super::{Archive, Manifest, PART_BYTES_MAX, PARTS_MAX, Part};

/// A marker is longer than what it masks, so a masked part may be longer than its source: at most so many times.
const MASK_GROWTH_MAX: u64 = 16;

/// Bytes that the archive adds to a part: header and padding.
const FRAMING_BYTES: u64 = 1024;

/// The archive could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the archive could not be made: {0}")]
pub struct ArchiveError(#[from] io::Error);

/// How a bundle differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The archive has other bytes.
    #[error("the archive has {found} bytes with sha256 {sha256}, not those of the manifest")]
    Archive {
        /// Bytes found.
        found: u64,
        /// Their hash.
        sha256: Sha256,
    },
    /// The archive cannot be read.
    #[error("the archive cannot be read: {0}")]
    Unreadable(String),
    /// A part has other bytes.
    #[error("the part {0} is not what the manifest says")]
    Part(String),
    /// A part of the manifest is not in the archive.
    #[error("the part {0} is missing")]
    Missing(String),
    /// Something is in the archive that is not in the manifest.
    #[error("{0:?} is in the archive and not in the manifest")]
    Extra(String),
}

/// Packs parts in their order: names and bytes, no times, no owners.
///
/// ```
/// let parts = [("var/log/a", &b"one"[..]), ("var/log/b", b"two")];
/// assert_eq!(rs_session::bundle::pack(parts)?, rs_session::bundle::pack(parts)?);
/// # Ok::<(), rs_session::bundle::ArchiveError>(())
/// ```
///
/// # Errors
/// [`ArchiveError`] for a name that fits no header.
pub fn pack<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>, ArchiveError> {
    // The encoder writes neither a time nor a name into its header.
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::new(6)));
    archive.mode(tar::HeaderMode::Deterministic);
    for (name, bytes) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, bytes)?;
    }
    let mut encoder = archive.into_inner()?;
    encoder.flush()?;
    Ok(encoder.finish()?)
}

/// The archive's entry for a manifest.
pub(super) fn facts(archive: &[u8]) -> Archive {
    Archive { bytes: archive.len() as u64, sha256: Sha256::of(archive) }
}

/// Everything in which an archive differs from its manifest; empty if nothing does.
///
/// Reads at most what the manifest permits, whatever the archive claims.
#[must_use]
pub fn verify(manifest: &Manifest, archive: &[u8]) -> Vec<Fault> {
    let found = facts(archive);
    let mut faults = Vec::new();
    if found != manifest.archive {
        faults.push(Fault::Archive { found: found.bytes, sha256: found.sha256 });
    }
    match parts(manifest, archive) {
        Ok(more) => faults.extend(more),
        Err(error) => faults.push(Fault::Unreadable(error.to_string())),
    }
    faults
}

fn parts(manifest: &Manifest, archive: &[u8]) -> io::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut expected: BTreeMap<&str, &Part> =
        manifest.parts.iter().map(|part| (part.name.as_str(), part)).collect();
    let mut reader = tar::Archive::new(Read::take(GzDecoder::new(archive), unpacked_bytes_max(manifest)));
    for entry in reader.entries()?.take(PARTS_MAX + 1) {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(part) = expected.remove(name.as_str()) else {
            faults.push(Fault::Extra(name));
            continue;
        };
        let limit = bytes_max(part) + 1;
        let mut bytes = Vec::new();
        Read::take(&mut entry, limit).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != part.bytes || Sha256::of(&bytes) != part.sha256 {
            faults.push(Fault::Part(name));
        }
    }
    faults.extend(expected.into_keys().map(|name| Fault::Missing(name.to_owned())));
    Ok(faults)
}

/// Most bytes that a part can have.
fn bytes_max(part: &Part) -> u64 {
    part.bytes.min(PART_BYTES_MAX as u64 * MASK_GROWTH_MAX)
}

/// Most bytes that are unpacked: the parts with their headers and padding, and one part more, which is then named.
fn unpacked_bytes_max(manifest: &Manifest) -> u64 {
    manifest.parts.iter().map(|part| bytes_max(part) + FRAMING_BYTES).sum::<u64>() + 2 * FRAMING_BYTES
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::bundle) fn manifest(parts: &[(&str, &[u8])], archive: &[u8]) -> Manifest {
        let part = |(name, bytes): &(&str, &[u8])| Part {
            name: (*name).to_owned(),
            bytes: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            masked: 0,
            cut: false,
        };
        Manifest {
            bundle_id: uuid::Uuid::from_u128(1),
            collected_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            node: "node-01".into(),
            session_id: uuid::Uuid::from_u128(2),
            engineer: "engineer@support.example".into(),
            support_request: "2601020304050607".parse().unwrap(),
            grant_id: rs_consent::GrantId::new(uuid::Uuid::from_u128(3)),
            parts: parts.iter().map(part).collect(),
            archive: facts(archive),
        }
    }

    const PARTS: &[(&str, &[u8])] =
        &[("facts/os", b"Debian"), ("var/log/a.log", b"one\ntwo\n"), ("var/log/b", b"")];

    #[test]
    fn sec35_a_bundle_is_what_its_manifest_says() {
        let archive = pack(PARTS.iter().copied()).unwrap();
        assert_eq!(verify(&manifest(PARTS, &archive), &archive), []);
    }

    #[test]
    fn sec35_each_altered_byte_of_the_archive_is_found() {
        let archive = pack(PARTS.iter().copied()).unwrap();
        let manifest = manifest(PARTS, &archive);
        for at in 0..archive.len() {
            let mut altered = archive.clone();
            altered[at] ^= 1;
            assert!(!verify(&manifest, &altered).is_empty(), "byte {at}");
        }
        for cut in 0..archive.len() {
            assert!(!verify(&manifest, &archive[..cut]).is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn sec35_a_forged_archive_with_a_hash_that_fits_is_found_by_its_parts() {
        let other = [PARTS[0], ("var/log/a.log", &b"one\nTWO\n"[..]), PARTS[2]];
        let forged = pack(other).unwrap();
        assert_eq!(verify(&manifest(PARTS, &forged), &forged), [Fault::Part("var/log/a.log".into())]);
        let more = [PARTS[0], PARTS[1], PARTS[2], ("var/log/c", b"x")];
        let forged = pack(more).unwrap();
        assert_eq!(verify(&manifest(PARTS, &forged), &forged), [Fault::Extra("var/log/c".into())]);
        let forged = pack(PARTS[..2].iter().copied()).unwrap();
        assert_eq!(verify(&manifest(PARTS, &forged), &forged), [Fault::Missing("var/log/b".into())]);
    }

    #[test]
    fn sec43_an_archive_that_unpacks_to_more_than_its_manifest_says_is_not_unpacked() {
        let small = pack(PARTS.iter().copied()).unwrap();
        let manifest = manifest(PARTS, &small);
        let zeros = vec![0; 1 << 20];
        let bomb = pack([("x", zeros.as_slice()), PARTS[0], PARTS[1], PARTS[2]]).unwrap();
        let faults = verify(&manifest, &bomb);
        assert!(matches!(faults[..], [Fault::Archive { .. }, Fault::Unreadable(_)]), "{faults:?}");
    }

    #[test]
    fn a_manifest_has_its_limits() {
        let archive = pack(PARTS.iter().copied()).unwrap();
        let mut manifest = manifest(PARTS, &archive);
        let part = manifest.parts[0].clone();
        manifest.parts = vec![part.clone(); PARTS_MAX];
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest.clone()));
        manifest.parts.push(part);
        assert!(Manifest::decode(&manifest.encode().unwrap()).is_err());
        manifest.parts = vec![Part { name: "../x".into(), ..manifest.parts[0].clone() }];
        assert!(Manifest::decode(&manifest.encode().unwrap()).is_err());
        let padded = |bytes| format!("{{{}}}", " ".repeat(bytes - 2));
        let long = |bytes: usize| Manifest::decode(padded(bytes).as_bytes()).unwrap_err().contains("longer");
        assert!(!long(super::super::MANIFEST_BYTES_MAX) && long(super::super::MANIFEST_BYTES_MAX + 1));
    }

    proptest! {
        #[test]
        fn sec44_no_bytes_make_the_verifier_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = verify(&manifest(PARTS, b""), &bytes);
            let _ = Manifest::decode(&bytes);
        }
    }
}
