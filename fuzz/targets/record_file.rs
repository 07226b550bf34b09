//! Any bytes as a record file: the verifier answers, and what it read prints back byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_session::record::{FILE_HEADER, Frame, FrameReader, Trust, Verdict, verify};

fuzz_target!(|data: &[u8]| {
    let mut file = FILE_HEADER.to_vec();
    file.extend_from_slice(data);
    // Nobody here holds a key, so nothing may verify.
    assert_ne!(verify(&file[..], Trust::Recorded).verdict, Verdict::Intact);
    if let Ok(mut reader) = FrameReader::new(&file[..]) {
        let mut printed = FILE_HEADER.to_vec();
        while let Ok(Some(frame)) = reader.next_frame() {
            printed.extend(frame.encode());
            assert_eq!(Frame::decode(&frame.encode()).expect("what was read can be read again"), frame);
        }
        assert!(file.starts_with(&printed));
    }
});
