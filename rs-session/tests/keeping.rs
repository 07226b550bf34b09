//! What is kept, what goes, when, and that nothing of it stays behind.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use common::{Story, at};
use rs_consent::EndCause;
use rs_session::history::record_path;
use rs_session::keeping::{
    CONTENT_DAYS_MAX, Expiry, HOLD_REASON_CHARS_MAX, Hold, HoldError, RemoveError, clean, expire, hold,
    hold_of, release, remove_contents,
};
use rs_session::record::{Report, Trust, Verdict, verify};
use uuid::Uuid;

const CANARY: &[u8] = b"canary-4711";

/// A folder with one session that ended 5 seconds after the start of the world, and whose contents hold the canary.
struct Kept {
    directory: tempfile::TempDir,
    session: Uuid,
    entered: Vec<(Uuid, u64, String)>,
}

impl Kept {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut story = Story::begin();
        story.request(1, "Get-Thing canary-4711");
        story.output(1, "canary-4711\n");
        story.output(1, "nothing of interest\n");
        story.receipt();
        story.end(EndCause::Exit);
        let session = story.parties.session;
        fs::write(record_path(directory.path(), session), story.file()).unwrap();
        Self { directory, session, entered: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        record_path(self.directory.path(), self.session)
    }

    fn expire(&mut self, days: i64, now: DateTime<Utc>, dry_run: bool) -> Expiry {
        let entered = &mut self.entered;
        expire(self.directory.path(), days, now, dry_run, &mut |session, records, reason| {
            entered.push((session, records, reason.to_owned()));
            Ok(())
        })
        .unwrap()
    }

    fn verified(&self) -> Report {
        verify(&fs::read(self.path()).unwrap()[..], Trust::Node(common::key(1).public()))
    }

    /// Whether the canary stands in any file of the folder.
    fn holds_the_canary(&self) -> bool {
        fs::read_dir(self.directory.path())
            .unwrap()
            .any(|entry| has_canary(&fs::read(entry.unwrap().path()).unwrap()))
    }
}

fn has_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY)
}

fn ended() -> DateTime<Utc> {
    at(5).wall
}

#[test]
fn sec51_contents_go_at_90_days_and_not_a_second_earlier() {
    let mut kept = Kept::new();
    for early in [
        ended(),
        ended() + TimeDelta::days(89),
        ended() + TimeDelta::days(90) - TimeDelta::seconds(1),
        ended() - TimeDelta::days(400),
    ] {
        assert_eq!(kept.expire(90, early, false), Expiry::default());
        assert!(kept.holds_the_canary() && kept.entered.is_empty());
    }
    for now in [ended() + TimeDelta::days(90), ended() + TimeDelta::days(91)] {
        let mut kept = Kept::new();
        let before = kept.verified();
        let dry = kept.expire(90, now, true);
        assert_eq!((dry.expired.len(), dry.expired[0].records), (1, 6));
        assert!(kept.holds_the_canary() && kept.entered.is_empty(), "a dry run touches nothing");
        assert_eq!(kept.expire(90, now, false), dry);
        assert!(!kept.holds_the_canary());
        assert_eq!(kept.entered.len(), 1);
        let after = kept.verified();
        assert_eq!((after.verdict, after.contents_removed), (Verdict::Intact, 6));
        assert_eq!((after.records, after.requests, after.end), (before.records, before.requests, before.end));
        assert_eq!(kept.expire(90, now, false), Expiry::default(), "once");
    }
}

#[test]
fn s04_the_owner_can_only_lengthen_the_time() {
    let mut kept = Kept::new();
    assert_eq!(kept.expire(1, ended() + TimeDelta::days(89), false), Expiry::default());
    assert_eq!(kept.expire(365, ended() + TimeDelta::days(364), false), Expiry::default());
    let ten_years = ended() + TimeDelta::days(CONTENT_DAYS_MAX);
    assert_eq!(kept.expire(i64::MAX, ten_years - TimeDelta::seconds(1), false), Expiry::default());
    assert_eq!(kept.expire(i64::MAX, ten_years, false).expired.len(), 1);
}

#[test]
fn sec51_a_hold_keeps_until_it_is_released() {
    let mut kept = Kept::new();
    let directory = kept.directory.path().to_owned();
    let reason = Hold { reason: "a dispute".into(), by: "root@node-01".into(), at: ended() };
    hold(&directory, kept.session, &reason).unwrap();
    assert_eq!(hold_of(&directory, kept.session).unwrap(), Some(reason.clone()));
    assert!(matches!(hold(&directory, kept.session, &reason), Err(HoldError::Held)));
    let late = ended() + TimeDelta::days(4000);
    assert_eq!(kept.expire(90, late, false).held, [kept.session]);
    assert!(kept.holds_the_canary());
    let file = directory.join(format!("{}.hold", kept.session));
    fs::write(&file, b"damaged").unwrap();
    assert_eq!(kept.expire(90, late, false).held, [kept.session], "a hold that cannot be read is one");
    assert!(release(&directory, kept.session).unwrap());
    assert!(!release(&directory, kept.session).unwrap());
    assert_eq!(kept.expire(90, late, false).expired.len(), 1);
    assert!(!kept.holds_the_canary());
    for (length, fits) in [(0, false), (HOLD_REASON_CHARS_MAX, true), (HOLD_REASON_CHARS_MAX + 1, false)] {
        let held = hold(&directory, kept.session, &Hold { reason: "é".repeat(length), ..reason.clone() });
        assert_eq!(held.is_ok(), fits, "{length}");
        release(&directory, kept.session).unwrap();
    }
}

#[test]
fn sec51_a_session_that_runs_is_never_touched() {
    let mut kept = Kept::new();
    let writer = File::open(kept.path()).unwrap();
    writer.lock().unwrap();
    assert_eq!(kept.expire(90, ended() + TimeDelta::days(91), false), Expiry::default());
    let removed = remove_contents(&kept.path(), &mut |_| true, &mut |_| Ok(()));
    assert!(matches!(removed, Err(RemoveError::Live)), "{removed:?}");
    assert!(kept.holds_the_canary());
}

#[test]
fn s24_chosen_contents_go_and_the_rest_stays() {
    let kept = Kept::new();
    let mut told = Vec::new();
    let removed = remove_contents(
        &kept.path(),
        &mut |frame| [1, 2].contains(&frame.skeleton().sequence),
        &mut |records| {
            told.push(records);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!((removed.records, told), (2, vec![2]));
    assert!(!kept.holds_the_canary());
    assert_eq!((kept.verified().verdict, kept.verified().contents_removed), (Verdict::Intact, 2));
    assert!(
        fs::read(kept.path()).unwrap().windows(11).any(|window| window == b"of interest"),
        "the rest is there"
    );
    assert_eq!(fs::read_dir(kept.directory.path()).unwrap().count(), 1);
}

#[test]
fn sec51_nothing_goes_that_is_not_entered_first() {
    let kept = Kept::new();
    let before = fs::read(kept.path()).unwrap();
    let removed = remove_contents(&kept.path(), &mut |_| true, &mut |_| Err(io::Error::other("no log")));
    assert!(matches!(removed, Err(RemoveError::Io(_))), "{removed:?}");
    assert_eq!(fs::read(kept.path()).unwrap(), before);
    assert_eq!(fs::read_dir(kept.directory.path()).unwrap().count(), 1);
}

/// Whoever still has the old file open finds zeros: its blocks hold nothing when they are freed.
#[test]
fn sec51_the_freed_space_of_our_files_holds_no_content() {
    let kept = Kept::new();
    let mut old = File::open(kept.path()).unwrap();
    remove_contents(&kept.path(), &mut |_| true, &mut |_| Ok(())).unwrap();
    let mut bytes = Vec::new();
    old.rewind().unwrap();
    old.read_to_end(&mut bytes).unwrap();
    assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 0));

    // The control: a rename alone leaves all of it in the blocks that it frees.
    let kept = Kept::new();
    let mut old = File::open(kept.path()).unwrap();
    let draft = kept.directory.path().join("draft");
    fs::write(&draft, b"").unwrap();
    fs::rename(&draft, kept.path()).unwrap();
    let mut bytes = Vec::new();
    old.read_to_end(&mut bytes).unwrap();
    assert!(has_canary(&bytes));
}

/// Every state in which a crash can leave the folder.
#[test]
fn sec51_a_crash_at_any_step_leaves_the_old_record_or_the_new_one() {
    let new = |kept: &Kept| {
        let twin = Kept::new();
        remove_contents(&twin.path(), &mut |_| true, &mut |_| Ok(())).unwrap();
        let new = fs::read(twin.path()).unwrap();
        (new, kept.path().with_extension("draft"), kept.path().with_extension("discarded"))
    };
    for step in 0..5 {
        let mut kept = Kept::new();
        let (bytes, draft, discarded) = new(&kept);
        let half = &bytes[..bytes.len() / 2];
        match step {
            0 => fs::write(&draft, half).unwrap(),
            1 => fs::write(&draft, &bytes).unwrap(),
            2 => {
                fs::write(&draft, &bytes).unwrap();
                fs::hard_link(kept.path(), &discarded).unwrap();
            }
            3 => {
                fs::hard_link(kept.path(), &discarded).unwrap();
                fs::write(&draft, &bytes).unwrap();
                fs::rename(&draft, kept.path()).unwrap();
            }
            _ => {
                fs::rename(kept.path(), &discarded).unwrap();
                fs::write(kept.path(), &bytes).unwrap();
                fs::write(&discarded, vec![0; 100]).unwrap();
            }
        }
        let was_old = step < 3;
        let mut old = File::open(if was_old { kept.path() } else { discarded.clone() }).unwrap();
        clean(kept.directory.path()).unwrap();
        assert_eq!(fs::read_dir(kept.directory.path()).unwrap().count(), 1, "step {step}");
        assert_eq!(kept.verified().verdict, Verdict::Intact, "step {step}");
        assert_eq!(kept.holds_the_canary(), was_old, "step {step}");
        let mut left = Vec::new();
        old.read_to_end(&mut left).unwrap();
        assert_eq!(has_canary(&left), was_old, "step {step}");
        kept.expire(90, ended() + TimeDelta::days(91), false);
        assert!(!kept.holds_the_canary(), "step {step}");
    }
}

#[test]
fn sec51_a_damaged_record_is_said_and_left_as_it_is() {
    let mut kept = Kept::new();
    let mut bytes = fs::read(kept.path()).unwrap();
    let cut = bytes.len() - 10;
    bytes.truncate(cut);
    fs::write(kept.path(), &bytes).unwrap();
    let expiry = kept.expire(90, ended() + TimeDelta::days(91), false);
    assert_eq!((expiry.failed.len(), expiry.expired.len()), (1, 0));
    assert_eq!(fs::read(kept.path()).unwrap(), bytes);
}
