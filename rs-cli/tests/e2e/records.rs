//! What stands in record files, read with the library.

use std::path::Path;

use rs_consent::EndCause;
use rs_session::record::{Content, EndContent, Frame, FrameReader, Kind, Stored};

/// All whole records of a file.
pub(crate) fn frames(path: &Path) -> Vec<Frame> {
    let bytes = std::fs::read(path).expect("a record file");
    let mut reader = FrameReader::new(&bytes[..]).expect("a record file");
    std::iter::from_fn(|| reader.next_frame().ok().flatten()).collect()
}

/// The content of a record.
pub(crate) fn content(frame: &Frame) -> Option<Content> {
    match frame.content() {
        Stored::Present { bytes, .. } => Content::decode(frame.skeleton().kind, bytes).ok(),
        Stored::Removed => None,
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
