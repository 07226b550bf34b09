//! Measurements of what is sealed; run with `--release -- --ignored --nocapture`.

mod common;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use common::Story;
use rs_consent::EndCause;
use rs_session::history::{record_path, session};
use rs_session::record::{ContentKey, Digest, FILE_HEADER, Sealer};
use rs_session::sealing::StorageKey;
use rs_session::search::Search;

const ROUNDS: u32 = 2000;
const RECORDS: usize = 100_000;

#[test]
#[ignore = "a measurement"]
fn sec36_sealing_64_kib() {
    let sealer = StorageKey::from_bytes([9; 32]).sealer(uuid::Uuid::from_u128(7)).unwrap();
    let link = Digest::of(b"a record");
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        let mut out = Vec::new();
        assert!(sealer.seal(&link, &[7; 32], &[7; 64 * 1024], &mut out));
        std::hint::black_box(&out);
    }
    println!("sealing 64 KiB: {:?}", begin.elapsed() / ROUNDS);
}

#[test]
#[ignore = "a measurement"]
fn s23_search_over_100_000_records() {
    let mut story = Story::begin();
    for number in 0..RECORDS as u64 / 2 {
        story.request(number, "Get-Process");
        story.output(number, "Id Name\n-- ----\n 1 init\n");
    }
    story.end(EndCause::Exit);
    let key = StorageKey::from_bytes([9; 32]);
    let sealer = key.sealer(story.parties.session).unwrap();
    let key: ContentKey = Some(Arc::new(key));
    for sealed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = record_path(directory.path(), story.parties.session);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        file.write_all(&FILE_HEADER).unwrap();
        for frame in &story.frames {
            let frame = if sealed { frame.clone().sealed(&sealer).unwrap() } else { frame.clone() };
            file.write_all(&frame.encode()).unwrap();
        }
        file.flush().unwrap();
        let begin = Instant::now();
        let found = session(directory.path(), story.parties.session, common::at(0).wall, &key).unwrap();
        let search = Search { command: Some("Get-NothingLikeIt".to_owned()), ..Search::default() };
        assert!(!search.fits(&found, &key).unwrap());
        println!("search over {RECORDS} records, sealed {sealed}: {:?}", begin.elapsed());
    }
}
