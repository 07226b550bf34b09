//! Finding whole records where the lengths in front of them can no longer be trusted.

use super::frame::{Frame, PREFIX_BYTES, SALT_BYTES, SIGNATURE_BYTES, STATE_REMOVED, STATE_SEALED, Stored};
use super::sealed::sealed_length;
use super::skeleton::Skeleton;

/// Where the state of the content stands in the prefix.
const STATE_AT: usize = 4;
/// First bytes of every skeleton, as it is written.
const SKELETON_BEGIN: &[u8] = b"{\"sequence\":";

/// Records of which every byte is in `tail`, found by their skeletons and not by their lengths, without their contents.
///
/// Behind a damaged length whole records follow; behind a write that was cut there are none. Nothing in what is found is
/// checked: it is for a [`super::Checker`] to say what a key has signed.
pub(crate) fn whole_records(tail: &[u8]) -> impl Iterator<Item = Frame> + '_ {
    let begins = |at: &usize| tail.get(*at..).is_some_and(|rest| rest.starts_with(SKELETON_BEGIN));
    (PREFIX_BYTES..tail.len()).filter(begins).filter_map(|at| whole_record(tail, at))
}

/// The record whose skeleton begins at `at`, if nothing of it is missing.
fn whole_record(tail: &[u8], at: usize) -> Option<Frame> {
    let rest = tail.get(at..)?;
    let mut parser = serde_json::Deserializer::from_slice(rest).into_iter::<Skeleton>();
    let skeleton = parser.next()?.ok()?;
    let (skeleton_bytes, rest) = rest.split_at_checked(parser.byte_offset())?;
    let (signature, rest) = rest.split_first_chunk::<SIGNATURE_BYTES>()?;
    let length = skeleton.content_length as usize;
    let content = match tail.get(at - PREFIX_BYTES + STATE_AT) {
        Some(&STATE_REMOVED) => 0,
        Some(&STATE_SEALED) => sealed_length(length),
        _ => SALT_BYTES + length,
    };
    (rest.len() >= content)
        .then(|| Frame::new(skeleton, skeleton_bytes.to_vec(), *signature, Stored::Removed))
}
