//! Whatever is done to a stored record is found, at the record it was done to; and what was not done is not reported.

mod common;

use common::{Story, file};
use proptest::prelude::*;
use rs_consent::EndCause;
use rs_consent::SigningKey;
use rs_session::record::{
    Checker, Draft, FILE_HEADER, Fault, Frame, RECEIPTS_MADE_MAX, Receipt, Report, Trust, Verdict, verify,
};

fn check(story: &Story, bytes: &[u8]) -> Report {
    verify(bytes, Trust::Node(story.parties.node.public()))
}

/// Where each record begins in the file.
fn borders(frames: &[Frame]) -> Vec<usize> {
    let mut at = FILE_HEADER.len();
    let mut borders = Vec::new();
    for frame in frames {
        borders.push(at);
        at += frame.encode().len();
    }
    borders
}

#[test]
fn sec28_a_clean_record_is_intact() {
    let story = Story::whole();
    let report = check(&story, &story.file());
    assert_eq!(report.verdict, Verdict::Intact, "{report:?}");
    assert_eq!((report.records, report.requests, report.receipted), (5, 1, Some(2)));
    assert_eq!(report.end, Some(EndCause::Exit));
    assert_eq!(verify(&story.file()[..], Trust::Recorded).verdict, Verdict::Intact);
}

#[test]
fn sec28_every_single_flipped_byte_is_found_at_its_record() {
    let story = Story::whole();
    let clean = story.file();
    let borders = borders(&story.frames);
    for position in 0..clean.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = clean.clone();
            bytes[position] ^= flip;
            let report = check(&story, &bytes);
            assert_eq!(report.verdict, Verdict::Broken, "byte {position} ^ {flip:#x} was not found");
            let record = borders.iter().rposition(|border| *border <= position).map(|record| record as u64);
            assert_eq!(report.findings[0].record, record, "byte {position}: {:?}", report.findings);
        }
    }
}

#[test]
fn sec28_removed_repeated_swapped_and_foreign_records_are_found() {
    let story = Story::whole();
    let frames = &story.frames;
    for index in 0..frames.len() - 1 {
        let mut removed = frames.clone();
        removed.remove(index);
        assert_eq!(check(&story, &file(&removed)).verdict, Verdict::Broken, "record {index} removed");
    }
    for index in 0..frames.len() {
        let mut repeated = frames.clone();
        repeated.insert(index, frames[index].clone());
        let report = check(&story, &file(&repeated));
        assert_eq!(report.verdict, Verdict::Broken, "record {index} repeated");
        for other in index + 1..frames.len() {
            let mut swapped = frames.clone();
            swapped.swap(index, other);
            assert_eq!(
                check(&story, &file(&swapped)).verdict,
                Verdict::Broken,
                "{index} and {other} swapped"
            );
        }
    }
    let mut other = Story::begin();
    other.request(1, "Get-Service");
    let mut spliced = frames.clone();
    spliced[1] = other.frames[1].clone();
    let report = check(&story, &file(&spliced));
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn sec28_a_cut_at_every_byte_is_found() {
    let story = Story::whole();
    let clean = story.file();
    let borders = borders(&story.frames);
    for length in 0..clean.len() {
        let report = check(&story, &clean[..length]);
        let at_border = borders.contains(&length) && length > FILE_HEADER.len();
        let expected = if at_border { Verdict::Open } else { Verdict::Broken };
        assert_eq!(report.verdict, expected, "cut to {length} bytes: {report:?}");
        assert_eq!(report.end, None);
    }
}

#[test]
fn sec28_nothing_may_follow_the_end() {
    let story = Story::whole();
    let mut bytes = story.file();
    bytes.extend(story.frames[1].encode());
    let report = check(&story, &bytes);
    assert!(
        report.findings.iter().any(|finding| finding.explanation.contains("behind the end")),
        "{report:?}"
    );
}

#[test]
fn sec28_a_record_without_its_content_still_verifies_and_is_counted() {
    let mut story = Story::whole();
    story.frames[2] = story.frames[2].clone().without_content();
    let report = check(&story, &story.file());
    assert_eq!((report.verdict, report.contents_removed), (Verdict::Intact, 1));
}

#[test]
fn sec28_another_node_key_is_named() {
    let story = Story::whole();
    let stranger = common::key(99);
    let report = verify(&story.file()[..], Trust::Node(stranger.public()));
    assert_eq!(report.verdict, Verdict::Broken);
    assert!(report.findings[0].explanation.contains("another node key"), "{report:?}");
}

/// The control: whoever has the session's own record key can write another story that verifies. That key exists only in
/// memory while the session lives; with every *other* key of the node the same forgery is found.
#[test]
fn sec28_control_the_signature_is_what_protects_and_sec30_the_node_key_cannot_forge() {
    let honest = Story::whole();
    let mut forged = Story::begin();
    forged.request(1, "Get-Date");
    forged.output(1, "nothing to see");
    forged.end(EndCause::Exit);
    assert_eq!(check(&honest, &forged.file()).verdict, Verdict::Intact, "the control must pass the verifier");

    let mut with_node_key = Story::begin();
    with_node_key.parties.record = common::key(1);
    with_node_key.request(1, "Get-Date");
    with_node_key.end(EndCause::Exit);
    let report = check(&honest, &with_node_key.file());
    assert_eq!(report.verdict, Verdict::Broken);
    assert_eq!(report.findings[0].record, Some(1));
}

/// Even the record key does not help against the engineer's receipt: the other chain does not fit it.
#[test]
fn sec29_a_forged_chain_conflicts_with_a_receipt() {
    let honest = Story::whole();
    let receipt = honest.frames[3].skeleton().receipt.clone().unwrap();
    let mut forged = Story::begin();
    forged.request(1, "Get-Date");
    forged.output(1, "nothing to see");
    forged.push(Draft::receipt(receipt));
    forged.end(EndCause::Exit);
    let report = check(&honest, &forged.file());
    assert_eq!(report.verdict, Verdict::Broken);
    assert_eq!(report.findings[0].record, Some(3));
    assert!(report.findings[0].explanation.contains("receipt"), "{report:?}");
}

/// A side that knows its own receipts takes them back only as it made them.
#[test]
fn sec29_a_receipt_that_was_made_here_is_known_and_another_in_its_place_is_not() {
    let genuine = |signer: &SigningKey, story: &Story| {
        Receipt::sign(signer, story.parties.session, story.chain.next_sequence() - 1, story.chain.head())
    };
    let mut story = Story::begin();
    story.output(1, "shown\n");
    let made = genuine(&story.parties.engineer, &story);
    let forged = genuine(&story.parties.node, &story);
    for (recorded, fits) in [(&made, true), (&forged, false)] {
        let mut story = Story::begin();
        story.output(1, "shown\n");
        story.push(Draft::receipt(recorded.clone()));
        // Whatever this side made: it knows only what is the same in every bit.
        for known in [None, Some(&made)] {
            let mut checker = Checker::new(Some(story.parties.node.public()));
            known.into_iter().for_each(|known| checker.made_receipt(known.clone()));
            let faults: Vec<Fault> = story.frames.iter().flat_map(|frame| checker.take(frame)).collect();
            assert_eq!(faults, if fits { vec![] } else { vec![Fault::Receipt] });
            assert_eq!(checker.receipted(), fits.then_some(1));
        }
    }
    // Control: one that was said to be made here is not looked at again, as long as it is among the newest.
    story.push(Draft::receipt(forged.clone()));
    for (later, known) in [(RECEIPTS_MADE_MAX - 1, true), (RECEIPTS_MADE_MAX, false)] {
        let mut checker = Checker::new(Some(story.parties.node.public()));
        checker.made_receipt(forged.clone());
        (0..later).for_each(|_| checker.made_receipt(made.clone()));
        assert_eq!(story.frames.iter().all(|frame| checker.take(frame).is_empty()), known, "{later}");
    }
}

#[test]
fn sec32_each_record_leads_to_who_what_when_and_under_what() {
    let story = Story::whole();
    let report = check(&story, &story.file());
    let identity = report.session.unwrap();
    assert_eq!(identity, story.parties.identity());
    for (number, frame) in story.frames.iter().enumerate() {
        let skeleton = frame.skeleton();
        assert_eq!(skeleton.sequence, number as u64);
        assert_eq!(skeleton.wall_time, common::at(skeleton.sequence).wall);
        assert!(skeleton.boot_time_ns > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sec28_random_edits_are_found(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..=255), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let story = Story::whole();
        let clean = story.file();
        let mut bytes = clean.clone();
        for (position, flip) in edits {
            let position = position.index(bytes.len());
            bytes[position] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assume!(bytes != clean);
        prop_assert_ne!(check(&story, &bytes).verdict, Verdict::Intact);
    }

    #[test]
    fn sec44_no_bytes_make_the_verifier_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut file = FILE_HEADER.to_vec();
        file.extend(bytes);
        prop_assert_eq!(verify(&file[..], Trust::Recorded).verdict, Verdict::Broken);
    }

    #[test]
    fn every_story_verifies_and_reads_back(outputs in prop::collection::vec("\\PC{0,200}", 0..20)) {
        let mut story = Story::begin();
        story.request(1, "Get-Process");
        for text in &outputs {
            story.output(1, text);
        }
        story.end(EndCause::Revoked);
        let report = check(&story, &story.file());
        prop_assert_eq!(report.verdict, Verdict::Intact);
        for frame in &story.frames {
            prop_assert_eq!(&Frame::decode(&frame.encode()).unwrap(), frame);
        }
    }
}

/// Sealed records: the same story as it lies on a disk.
mod sealed {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use rs_session::record::{Closed, ContentKey, FrameReader, SEAL_BYTES, Stored, verify_opened};
    use rs_session::sealing::StorageKey;

    use super::*;

    fn storage() -> StorageKey {
        StorageKey::from_bytes([9; 32])
    }

    fn key_of(bytes: u8) -> ContentKey {
        Some(Arc::new(StorageKey::from_bytes([bytes; 32])))
    }

    fn sealed(story: &Story) -> Vec<Frame> {
        let sealer = storage().sealer(story.parties.session).expect("a cipher");
        story.frames.iter().map(|frame| frame.clone().sealed(&sealer).expect("sealed")).collect()
    }

    fn check_with(story: &Story, bytes: &[u8], key: ContentKey) -> Report {
        verify_opened(bytes, Trust::Node(story.parties.node.public()), &BTreeMap::new(), key)
    }

    #[test]
    fn sec36_a_sealed_record_opens_with_its_key_and_verifies_without_it() {
        let story = Story::whole();
        let frames = sealed(&story);
        let bytes = file(&frames);
        let report = check_with(&story, &bytes, key_of(9));
        assert_eq!((report.verdict, report.contents_sealed), (Verdict::Intact, 0), "{report:?}");
        for key in [None, key_of(8)] {
            let report = check_with(&story, &bytes, key);
            assert_eq!((report.verdict, report.contents_sealed), (Verdict::Intact, 5), "{report:?}");
        }
        for (open, closed) in story.frames.iter().zip(&frames) {
            assert_eq!((open.link(), open.signature()), (closed.link(), closed.signature()));
            assert_eq!(closed.encode().len(), open.encode().len() + SEAL_BYTES);
            assert_eq!(&Frame::decode(&closed.encode()).unwrap(), closed);
            assert_eq!(&closed.clone().opened(story.parties.session, &storage()), open);
        }
        // The control: in clear the line stands in the file.
        let holds = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"Get-Process");
        assert!(holds(&story.file()) && !holds(&bytes));
    }

    #[test]
    fn sec36_another_key_is_told_from_damage() {
        let story = Story::whole();
        let mut bytes = file(&sealed(&story));
        let closed = |bytes: &[u8], key| {
            let mut reader = FrameReader::new(bytes).unwrap().opening(key, None);
            match reader.next_frame().unwrap().unwrap().content() {
                Stored::Sealed(sealed) => Some(sealed.closed()),
                _ => None,
            }
        };
        assert_eq!(closed(&bytes, key_of(9)), None);
        assert_eq!(closed(&bytes, key_of(8)), Some(Closed::OtherKey));
        assert_eq!(closed(&bytes, None), Some(Closed::NoKey));
        let last_of_first = borders(&sealed(&story))[1] - 1;
        bytes[last_of_first] ^= 1;
        assert_eq!(closed(&bytes, key_of(9)), Some(Closed::Damaged));
        assert_eq!(closed(&bytes, key_of(8)), Some(Closed::OtherKey));
    }

    #[test]
    fn sec36_every_flipped_byte_of_a_sealed_record_is_found_at_its_record() {
        let story = Story::whole();
        let frames = sealed(&story);
        let clean = file(&frames);
        let borders = borders(&frames);
        for position in 0..clean.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = clean.clone();
                bytes[position] ^= flip;
                let report = check_with(&story, &bytes, key_of(9));
                assert_eq!(report.verdict, Verdict::Broken, "byte {position} ^ {flip:#x} was not found");
                let record = borders.iter().rposition(|border| *border <= position).map(|at| at as u64);
                assert_eq!(report.findings[0].record, record, "byte {position}: {:?}", report.findings);
            }
        }
    }

    #[test]
    fn sec36_control_without_the_key_a_flip_in_a_sealed_content_is_not_found_and_counted_as_unchecked() {
        let story = Story::whole();
        let frames = sealed(&story);
        let mut bytes = file(&frames);
        let last_of_first = borders(&frames)[1] - 1;
        bytes[last_of_first] ^= 1;
        let report = check_with(&story, &bytes, None);
        assert_eq!((report.verdict, report.contents_sealed), (Verdict::Intact, 5));
    }

    #[test]
    fn sec36_a_sealed_content_opens_at_its_own_place_only() {
        let mut story = Story::begin();
        story.output(1, "one");
        story.output(1, "two");
        let frames = sealed(&story);
        let (one, two) = (frames[1].encode(), frames[2].encode());
        let content = frames[1].skeleton().content_length as usize;
        let length = SEAL_BYTES + 32 + content;
        assert_eq!(frames[2].skeleton().content_length as usize, content, "as long as the other");
        let swapped = [&one[..one.len() - length], &two[two.len() - length..]].concat();
        let swapped = Frame::decode(&swapped).unwrap().opened(story.parties.session, &storage());
        assert!(
            matches!(swapped.content(), Stored::Sealed(sealed) if sealed.closed() == Closed::Damaged),
            "{swapped:?}"
        );
    }

    #[test]
    fn sec36_one_record_under_another_key_among_those_that_open_is_named() {
        let story = Story::whole();
        let mut frames = sealed(&story);
        let other = StorageKey::from_bytes([8; 32]).sealer(story.parties.session).unwrap();
        frames[2] = story.frames[2].clone().sealed(&other).unwrap();
        let report = check_with(&story, &file(&frames), key_of(9));
        assert_eq!(report.verdict, Verdict::Broken);
        assert_eq!(report.findings[0].record, Some(2), "{report:?}");
    }

    #[test]
    fn sec36_the_length_of_a_sealed_content_has_its_limit() {
        let story = Story::whole();
        let frame = &sealed(&story)[0];
        let mut bytes = frame.encode();
        bytes[8..12].copy_from_slice(&(256_u32 * 1024 + 1).to_be_bytes());
        let error = Frame::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("above 262144"), "{error}");
        bytes[8..12].copy_from_slice(&(256_u32 * 1024).to_be_bytes());
        let error = Frame::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("ends"), "at the limit only the bytes are missing: {error}");
    }

    #[test]
    fn records_in_clear_and_sealed_ones_stand_in_one_file() {
        let story = Story::whole();
        let mut frames = sealed(&story);
        frames[1] = story.frames[1].clone();
        frames[4] = story.frames[4].clone();
        let report = check_with(&story, &file(&frames), key_of(9));
        assert_eq!((report.verdict, report.contents_sealed), (Verdict::Intact, 0), "{report:?}");
    }
}
