//! Any entry of a record at once, and records that end early or are damaged.

mod common;

use rs_consent::EndCause;
use rs_session::history::Transcript;
use rs_session::seek::Seekable;

use common::Story;

fn story() -> Story {
    let mut story = Story::begin();
    for line in 0..20 {
        story.request(line, &format!("Get-Date {line}"));
        story.output(line, &"x".repeat(usize::try_from(line).expect("small") * 100));
    }
    story.end(EndCause::Exit);
    story
}

#[test]
fn s17_each_entry_is_the_one_that_a_reader_from_the_beginning_sees() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("one.record");
    std::fs::write(&path, story().file()).expect("own directory");
    let mut told = Vec::new();
    let mut record = Seekable::open(&path, None, &mut |done, whole| told.push((done, whole))).expect("whole");
    assert!(told.is_sorted() && told.last().is_some_and(|(done, whole)| done == whole), "{told:?}");
    let entries: Vec<_> =
        Transcript::open(&path, None).expect("whole").collect::<Result<_, _>>().expect("whole");
    assert_eq!(record.places().len(), entries.len());
    for at in (0..entries.len()).rev().chain([3, 30, 0]) {
        assert_eq!(record.entry(at).expect("whole").as_ref(), Some(&entries[at]), "{at}");
        assert_eq!(record.places()[at].kind, entries[at].kind);
        assert_eq!(record.places()[at].boot_time, entries[at].boot_time);
    }
    assert!(record.entry(entries.len()).expect("nothing there").is_none());
    assert!(record.fault().is_none());
}

#[test]
fn a_record_that_is_cut_ends_there_and_one_that_is_damaged_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("one.record");
    let whole = story().file();
    std::fs::write(&path, &whole[..whole.len() - 10]).expect("own directory");
    let record = Seekable::open(&path, None, &mut |_, _| {}).expect("torn is no fault");
    assert!(record.fault().is_none());
    let torn = record.places().len();

    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 5000].fill(0xff);
    std::fs::write(&path, damaged).expect("own directory");
    let record = Seekable::open(&path, None, &mut |_, _| {}).expect("it begins well");
    assert!(record.places().len() < torn && !record.places().is_empty());
    assert!(record.into_fault().is_some());

    std::fs::write(&path, b"nothing like it").expect("own directory");
    assert!(Seekable::open(&path, None, &mut |_, _| {}).is_err());
}
