//! The durable end of the record: order, failure, group commit, and what is left after a kill at any byte.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use common::Parties;
use futures_util::future::join_all;
use rs_consent::EndCause;
use rs_session::disk::DiskFile;
use rs_session::history::record_path;
use rs_session::journal::{Journal, JournalError, Recorder, Recovery, recover};
use rs_session::record::{
    Content, Draft, FILE_HEADER, FrameReader, NoteContent, SEAL_BYTES, StartContent, Stored, Trust, Verdict,
    verify, verify_opened,
};
use rs_session::sealing::StorageKey;

mockall::mock! {
    #[derive(Debug)]
    File {}
    impl DiskFile for File {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
        fn sync(&mut self) -> io::Result<()>;
        fn reserve(&mut self, end: u64) -> io::Result<()>;
        fn truncate(&mut self, length: u64) -> io::Result<()>;
        fn length(&self) -> io::Result<u64>;
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
        fn forget_cached(&self, offset: u64) -> io::Result<()>;
        fn try_lock(&self) -> io::Result<bool>;
    }
}

/// A file with room for everything; what it does with appends and syncs is for the test to say.
fn roomy() -> MockFile {
    let mut file = MockFile::new();
    file.expect_length().returning(|| Ok(FILE_HEADER.len() as u64));
    file.expect_reserve().returning(|_| Ok(()));
    file
}

fn recorder() -> Recorder {
    Recorder { record_key: common::key(4), clock: Arc::new(common::clock(0)), sealer: None }
}

fn start(parties: &Parties) -> Draft {
    let content = StartContent {
        reason: "a reason".to_owned(),
        expires_at: common::at(28_800).wall,
        granted_by: "operator@node-01".to_owned(),
        client: "test/1".to_owned(),
        assignment: None,
    };
    Draft::start(parties.identity(), content).unwrap()
}

fn note(text: &str) -> Draft {
    Draft::new(&Content::Note(NoteContent { text: text.to_owned() })).unwrap()
}

#[tokio::test]
async fn sec24_nothing_is_confirmed_before_the_sync_returns() {
    let (release, released) = mpsc::channel::<()>();
    let synced = Arc::new(AtomicUsize::new(0));
    let in_disk = Arc::clone(&synced);
    let (entered, waiting) = tokio::sync::oneshot::channel();
    let mut entered = Some(entered);
    let mut disk = roomy();
    disk.expect_append().times(1).returning(|_| Ok(()));
    disk.expect_sync().times(1).returning(move || {
        entered.take().unwrap().send(()).unwrap();
        released.recv().unwrap();
        in_disk.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let parties = Parties::new();
    let journal = Journal::over(Box::new(disk), parties.session, recorder()).unwrap();
    let mut append = Box::pin(journal.append(start(&parties)));
    // The writer stands inside the sync: the record is written, and must not be confirmed.
    tokio::select! {
        biased;
        _ = &mut append => panic!("confirmed before the sync returned"),
        entered = waiting => entered.unwrap(),
    }
    assert!(futures_util::poll!(&mut append).is_pending());
    assert_eq!(synced.load(Ordering::SeqCst), 0);
    release.send(()).unwrap();
    let record = append.await.unwrap();
    assert_eq!(synced.load(Ordering::SeqCst), 1);
    assert_eq!(record.skeleton().sequence, 0);
}

#[tokio::test]
async fn sec26_after_a_failed_sync_nothing_is_synced_or_confirmed_again() {
    let mut disk = roomy();
    disk.expect_append().returning(|_| Ok(()));
    // Exactly one call: a second sync would be the retry that the kernel answers with a lie.
    disk.expect_sync().times(1).returning(|| Err(io::Error::other("EIO")));
    let parties = Parties::new();
    let journal = Journal::over(Box::new(disk), parties.session, recorder()).unwrap();
    for draft in [start(&parties), note("one"), note("two")] {
        let error = journal.append(draft).await.unwrap_err();
        assert!(matches!(error, JournalError::Storage { .. }), "{error}");
    }
}

#[tokio::test]
async fn sec26_a_failure_at_each_call_index_stops_the_record_there() {
    for failing in 0..8_usize {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut disk = roomy();
        let append_calls = Arc::clone(&calls);
        disk.expect_append().returning(move |_| fail_at(&append_calls, failing));
        let sync_calls = Arc::clone(&calls);
        disk.expect_sync().returning(move || fail_at(&sync_calls, failing));
        let parties = Parties::new();
        let journal = Journal::over(Box::new(disk), parties.session, recorder()).unwrap();
        let mut confirmed = 0;
        for draft in [start(&parties), note("1"), note("2"), note("3"), note("4")] {
            confirmed += usize::from(journal.append(draft).await.is_ok());
        }
        assert_eq!(confirmed, failing / 2, "each record costs one write and one sync");
        assert_eq!(calls.load(Ordering::SeqCst), failing + 1, "nothing is called after the failure");
    }
}

fn fail_at(calls: &AtomicUsize, failing: usize) -> io::Result<()> {
    if calls.fetch_add(1, Ordering::SeqCst) == failing {
        Err(io::ErrorKind::StorageFull.into())
    } else {
        Ok(())
    }
}

#[tokio::test]
async fn drafts_that_wait_together_share_a_sync() {
    let (release, released) = mpsc::channel::<()>();
    let syncs = Arc::new(AtomicUsize::new(0));
    let in_disk = Arc::clone(&syncs);
    let mut disk = roomy();
    disk.expect_append().returning(|_| Ok(()));
    disk.expect_sync().returning(move || {
        if in_disk.fetch_add(1, Ordering::SeqCst) == 0 {
            released.recv().unwrap();
        }
        Ok(())
    });
    let parties = Parties::new();
    let journal = Journal::over(Box::new(disk), parties.session, recorder()).unwrap();
    let first = journal.append(start(&parties));
    let others = join_all((0..50).map(|n| journal.append(note(&n.to_string()))));
    let (first, others, ()) = tokio::join!(first, others, async { release.send(()).unwrap() });
    first.unwrap();
    let sequences: Vec<u64> = others.into_iter().map(|record| record.unwrap().skeleton().sequence).collect();
    assert_eq!(sequences, (1..=50).collect::<Vec<_>>());
    assert!(syncs.load(Ordering::SeqCst) <= 3, "{} syncs for 51 records", syncs.load(Ordering::SeqCst));
}

#[tokio::test]
async fn c23_a_record_cut_at_any_byte_is_recovered_with_one_end_record() {
    let directory = tempfile::tempdir().unwrap();
    let parties = Parties::new();
    let mut shown = Vec::new();
    let journal = Journal::create(directory.path(), parties.session, recorder()).unwrap();
    for draft in [start(&parties), note("one"), note("two")] {
        shown.push(journal.append(draft).await.unwrap());
    }
    let path = record_path(directory.path(), parties.session);
    let clock = common::clock(60);
    assert_eq!(recover(&path, &parties.node, &clock).unwrap(), Recovery::Live, "the journal is still open");
    let bytes = std::fs::read(&path).unwrap();

    let mut borders = vec![FILE_HEADER.len()];
    for record in &shown {
        borders.push(borders.last().unwrap() + record.frame().encoded_length());
    }
    for cut in 0..=bytes.len() {
        let path = directory.path().join(format!("{cut}.cut"));
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let recovery = recover(&path, &parties.node, &clock).unwrap();
        let records = borders.iter().filter(|border| **border <= cut).count().saturating_sub(1) as u64;
        assert!(
            matches!(recovery, Recovery::Ended { records: found, .. } if found == records),
            "{cut}: {recovery:?}"
        );
        if records == 0 {
            assert!(!path.exists(), "nobody was let in, nothing is kept");
            continue;
        }
        let report = verify(&std::fs::read(&path).unwrap()[..], Trust::Node(parties.node.public()));
        assert_eq!((report.verdict, report.end), (Verdict::Intact, Some(EndCause::Interrupted)), "{cut}");
        assert_eq!(report.records, records + 1);
        assert_eq!(recover(&path, &parties.node, &clock).unwrap(), Recovery::Complete, "once is enough");
    }
}

#[tokio::test]
async fn a_damaged_record_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let parties = Parties::new();
    let journal = Journal::create(directory.path(), parties.session, recorder()).unwrap();
    journal.append(start(&parties)).await.unwrap();
    journal.append(note("one")).await.unwrap();
    let mut bytes = std::fs::read(record_path(directory.path(), parties.session)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = directory.path().join("damaged.record");
    std::fs::write(&path, &bytes).unwrap();
    let recovery = recover(&path, &parties.node, &common::clock(60)).unwrap();
    assert!(matches!(recovery, Recovery::Damaged { .. }), "{recovery:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// A damaged length makes the rest of a file look like a write that was cut. It must not be taken for one: what was
/// acknowledged would be dropped, and the node would sign that it never was.
#[test]
fn sec28_no_flipped_byte_of_a_finished_record_is_recovered_away() {
    let story = common::Story::whole();
    let (clean, node) = (story.file(), &story.parties.node);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flipped.record");
    let mut begin = FILE_HEADER.len();
    for frame in &story.frames {
        let end = begin + frame.encode().len();
        // Every bit of the lengths in front, every seventh byte of what follows.
        let lengths = (begin..begin + 12).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)));
        for (position, flip) in lengths.chain((begin + 12..end).step_by(7).map(|at| (at, 0xff_u8))) {
            let mut bytes = clean.clone();
            bytes[position] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            let recovery = recover(&path, node, &common::clock(60)).unwrap();
            // The last record says that the session ended; whether the others are whole is for `verify` to say.
            let left_alone = matches!(recovery, Recovery::Damaged { .. } | Recovery::Complete);
            assert!(left_alone, "byte {position} ^ {flip:#x}: {recovery:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "byte {position} ^ {flip:#x}");
            let report = verify(&bytes[..], Trust::Node(node.public()));
            assert_eq!(report.verdict, Verdict::Broken, "byte {position} ^ {flip:#x}");
        }
        begin = end;
    }
}

/// A record that was cut off says in its end record what had been asked for.
#[test]
fn sec12_an_interrupted_end_tells_the_last_line() {
    let mut story = common::Story::begin();
    story.request(1, "Get-Date");
    story.output(1, "noon");
    story.request(2, "Get-Process");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.record");
    std::fs::write(&path, story.file()).unwrap();
    recover(&path, &story.parties.node, &common::clock(60)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut reader = FrameReader::new(&bytes[..]).unwrap();
    let mut last = None;
    while let Some(frame) = reader.next_frame().unwrap() {
        last = Some(frame);
    }
    let last = last.unwrap();
    let Stored::Present { bytes, .. } = last.content() else { panic!("no content") };
    let Content::End(end) = Content::decode(last.skeleton().kind, bytes).unwrap() else { panic!("no end") };
    assert_eq!((end.operations, end.last_invocation), (2, Some(2)));
}

/// Somebody who reads the history feels for the lock of a record at the very moment of the agent's start.
#[test]
fn sec25_a_reader_does_not_keep_a_record_from_being_recovered() {
    let story = common::Story::begin();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("read.record");
    std::fs::write(&path, story.file()).unwrap();
    let reader = std::fs::File::open(&path).unwrap();
    reader.try_lock_shared().unwrap();
    let reading = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(reader);
    });
    let recovery = recover(&path, &story.parties.node, &common::clock(60)).unwrap();
    assert!(matches!(recovery, Recovery::Ended { records: 1, .. }), "{recovery:?}");
    reading.join().unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn sec36_a_record_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let parties = Parties::new();
    let _journal = Journal::create(directory.path(), parties.session, recorder()).unwrap();
    let mode =
        std::fs::metadata(record_path(directory.path(), parties.session)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Journal::create(directory.path(), parties.session, recorder());
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

/// A storage key, and what writes under it.
fn sealing(parties: &Parties) -> (StorageKey, Recorder) {
    let key = StorageKey::from_bytes([9; 32]);
    let sealer = key.sealer(parties.session).unwrap();
    (key, Recorder { sealer: Some(Box::new(sealer)), ..recorder() })
}

#[tokio::test]
async fn sec36_what_is_shown_is_open_and_what_is_stored_is_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let parties = Parties::new();
    let (key, recorder) = sealing(&parties);
    let journal = Journal::create(directory.path(), parties.session, recorder).unwrap();
    let mut shown = FILE_HEADER.to_vec();
    for draft in [start(&parties), note("canary-4711")] {
        shown.extend(journal.append(draft).await.unwrap().frame().encode());
    }
    let path = record_path(directory.path(), parties.session);
    let whole = |bytes: &[u8], key| {
        let mut reader = FrameReader::new(bytes).unwrap().opening(key, None);
        let mut all = FILE_HEADER.to_vec();
        while let Ok(Some(frame)) = reader.next_frame() {
            all.extend(frame.encode());
        }
        all
    };
    let stored = std::fs::read(&path).unwrap();
    let holds = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"canary-4711");
    assert!(holds(&shown) && !holds(&stored));
    assert_eq!(whole(&stored, Some(Arc::new(key))), shown, "the engineer's bytes are the same");
    drop(journal);
}

/// The agent starts again and the key store is locked: sessions get their end all the same.
#[tokio::test]
async fn sec36_a_sealed_record_is_recovered_without_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let parties = Parties::new();
    let (key, recorder) = sealing(&parties);
    let path = directory.path().join("cut.record");
    let mut length = 0;
    {
        let journal = Journal::create(directory.path(), parties.session, recorder).unwrap();
        for draft in [start(&parties), note("one"), note(&"long ".repeat(400))] {
            length += journal.append(draft).await.unwrap().frame().encoded_length() + SEAL_BYTES;
        }
        let stored = std::fs::read(record_path(directory.path(), parties.session)).unwrap();
        std::fs::write(&path, &stored[..FILE_HEADER.len() + length]).unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    let recovery = recover(&path, &parties.node, &common::clock(60)).unwrap();
    assert_eq!(recovery, Recovery::Ended { records: 3, dropped_bytes: 0 });
    let bytes = std::fs::read(&path).unwrap();
    let node = Trust::Node(parties.node.public());
    let report = verify_opened(&bytes[..], node, &BTreeMap::new(), Some(Arc::new(key)));
    assert_eq!((report.verdict, report.contents_sealed), (Verdict::Intact, 0), "{report:?}");
    assert_eq!(recover(&path, &parties.node, &common::clock(60)).unwrap(), Recovery::Complete);

    // A sector in the middle of the last content never came to the disk.
    let mut torn = whole.clone();
    let sector = (torn.len() - 600) / 512 * 512;
    torn[sector..sector + 512].fill(0);
    std::fs::write(&path, &torn).unwrap();
    let recovery = recover(&path, &parties.node, &common::clock(60)).unwrap();
    assert!(matches!(recovery, Recovery::Ended { records: 2, .. }), "{recovery:?}");
}
