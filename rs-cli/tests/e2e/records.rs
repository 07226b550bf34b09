//! What stands in record files, read with the library.

use std::path::Path;

use rs_consent::EndCause;
use rs_session::record::{Content, ContentKey, EndContent, FILE_HEADER, Frame, FrameReader, Kind, Stored};
use rs_session::sealing::StorageKey;

/// All whole records of a file, with their contents open.
pub(crate) fn frames(path: &Path) -> Vec<Frame> {
    frames_with(path, key_of(path))
}

/// All whole records of a file as they are stored.
pub(crate) fn stored(path: &Path) -> Vec<Frame> {
    frames_with(path, None)
}

fn frames_with(path: &Path, key: ContentKey) -> Vec<Frame> {
    let bytes = std::fs::read(path).expect("a record file");
    let mut reader = FrameReader::new(&bytes[..]).expect("a record file").opening(key, None);
    std::iter::from_fn(|| reader.next_frame().ok().flatten()).collect()
}

/// The storage key of the machine on which a record lies.
fn key_of(record: &Path) -> ContentKey {
    let file = record.ancestors().map(|above| above.join("keys/storage.key")).find(|file| file.exists())?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(std::fs::read_to_string(file).expect("a key file").trim(), &mut bytes)
        .expect("a key");
    Some(std::sync::Arc::new(StorageKey::from_bytes(bytes)))
}

/// A record file as it is with its contents open, as the engineer has it: whole records only.
pub(crate) fn opened(path: &Path) -> Vec<u8> {
    let frames = frames(path).into_iter().flat_map(|frame| frame.encode());
    FILE_HEADER.into_iter().chain(frames).collect()
}

/// The content of a record.
pub(crate) fn content(frame: &Frame) -> Option<Content> {
    match frame.content() {
        Stored::Present { bytes, .. } => Content::decode(frame.skeleton().kind, bytes).ok(),
        Stored::Removed | Stored::Sealed(_) => None,
    }
}

/// The causes in all end records of a file; a session has exactly one.
pub(crate) fn ends(path: &Path) -> Vec<EndCause> {
    frames(path).iter().filter_map(|frame| frame.skeleton().end).collect()
}

/// The one end record of a file.
#[track_caller]
pub(crate) fn end(path: &Path) -> (Frame, EndContent) {
    let frames: Vec<Frame> =
        frames(path).into_iter().filter(|frame| frame.skeleton().kind == Kind::End).collect();
    assert_eq!(frames.len(), 1, "exactly one end record: {}", path.display());
    let frame = frames.into_iter().next().expect("counted");
    match content(&frame) {
        Some(Content::End(end)) => (frame, end),
        other => panic!("an end record without its content: {other:?}"),
    }
}

/// Every line that was typed in a session, permitted or refused.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let line = |frame: &Frame| match content(frame)? {
        Content::Request(request) => Some(request.line),
        Content::Refusal(refusal) => Some(refusal.line),
        _ => None,
    };
    frames(path).iter().filter_map(line).collect()
}

/// Whether `shown` is the beginning of `record`, byte by byte; if not, where they part.
pub(crate) fn is_prefix(shown: &[u8], record: &[u8]) -> Result<(), usize> {
    let same = shown.iter().zip(record).take_while(|(one, other)| one == other).count();
    if same == shown.len() { Ok(()) } else { Err(same) }
}

#[test]
fn control_what_is_no_prefix_is_detected() {
    let record: Vec<u8> = (0..=255).collect();
    for end in [0, 1, 128, 256] {
        assert_eq!(is_prefix(&record[..end], &record), Ok(()));
    }
    for at in 0..256 {
        let mut altered = record.clone();
        altered[at] ^= 1;
        assert_eq!(is_prefix(&altered, &record), Err(at));
    }
    assert_eq!(is_prefix(&[&record[..], b"more"].concat(), &record), Err(256));
    assert_eq!(is_prefix(&record, &record[..100]), Err(100));
    assert_eq!(is_prefix(&record[1..], &record), Err(0));
}
