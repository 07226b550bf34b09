//! Ten thousand sessions on the node: each list is on the screen within the bound.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rs_consent::{Clock as _, EndCause, Now, SigningKey, SystemClock};
use rs_session::history::Transcript;
use rs_session::record::{
    Chain, Content, Draft, EndContent, FILE_HEADER, NoteContent, SessionIdentity, Signer, StartContent,
};
use uuid::Uuid;

use crate::browser::Browser;
use crate::operator::Served;
use crate::site::Site;

/// Sessions in the store.
const SESSIONS: u32 = 10_000;
/// From the click to the first paint, on loopback.
const PAINT_MAX_MS: f64 = 200.0;
/// The best of so many counts: the machine that tests has other work too.
const TRIES: usize = 9;

/// A whole record that holds these remarks; its keys are of nobody.
fn record(identity: &SessionIdentity, start: &Now, remarks: &[String], folder: &Path) {
    let key = SigningKey::from_seed(*b"the key of sessions of this test");
    let mut chain = Chain::new(identity.session_id);
    let path = folder.join(format!("{}.record", identity.session_id));
    let mut file = std::fs::File::create_new(path).expect("own file");
    let mut bytes = FILE_HEADER.to_vec();
    let first = StartContent {
        reason: "a volume hangs".into(),
        expires_at: start.wall,
        granted_by: "admin@node".into(),
        client: "test".into(),
        assignment: None,
    };
    let end = EndContent {
        cause: EndCause::Exit,
        message: "done".into(),
        operations: 0,
        last_invocation: None,
        killed_after_us: None,
    };
    let mut drafts = vec![Draft::start(identity.clone(), first).expect("short")];
    let remarks = remarks.iter().map(|text| Content::Note(NoteContent { text: text.clone() }));
    drafts.extend(remarks.map(|remark| Draft::new(&remark).expect("it fits")));
    drafts.push(Draft::new(&Content::End(end)).expect("short"));
    for draft in drafts {
        bytes.extend(chain.append(draft, &key, Signer::Record, [7; 32], start).expect("in order").encode());
    }
    file.write_all(&bytes).expect("own file");
}

/// Pages of a transcript end at 200 records or 256 KiB of text, and one record is shown up to 64 KiB.
#[test]
fn a_transcript_goes_page_by_page_at_its_bounds() {
    let site = Site::ready();
    assert_eq!(site.connect("").code, 0);
    let real = site.records().pop().expect("a record");
    let identity = Transcript::open(&real, None).expect("a record").identity().clone();
    let now = SystemClock::new().now();
    let page = Served::start(&site.machine);
    let cookie = page.cookie();
    let short = || "short".to_owned();
    let long = |bytes: usize| "x".repeat(bytes);
    // Start and end are records too; some 50 bytes stand in front of each text.
    for (remarks, pages, cut) in [
        (vec![short(); 198], 1, false),
        (vec![short(); 199], 2, false),
        (vec![long(60_000); 4], 1, false),
        (vec![long(60_000); 5], 2, false),
        (vec![long(64_000)], 1, false),
        (vec![long(66_000)], 1, true),
    ] {
        let id = Uuid::new_v4();
        let told = format!("{} of {} bytes", remarks.len(), remarks[0].len());
        record(
            &SessionIdentity { session_id: id, ..identity.clone() },
            &now,
            &remarks,
            real.parent().expect("a folder"),
        );
        let text = page.get(&format!("/sessions/{id}"), &cookie).text();
        assert_eq!(text.contains(&format!("Page 1 of {pages}<")), pages > 1, "{told}");
        assert_eq!(text.contains("Cut here"), cut, "{told}");
        let last = page.get(&format!("/sessions/{id}?page={pages}"), &cookie).text();
        assert!(last.contains("Remote support transcript end"), "{told}");
        let past = page.get(&format!("/sessions/{id}?page={}", pages + 1), &cookie).text();
        assert!(past.contains("There is no such page"), "{told}");
    }
    for page_number in ["0", "x", "-1", "99999999999999999999999"] {
        let reply = page.get(&format!("/sessions/{}?page={page_number}", identity.session_id), &cookie);
        assert!([200, 400].contains(&reply.status), "{page_number}");
    }
}

/// Milliseconds from the request to the first paint, as the browser measured them.
fn paint(browser: &Browser, address: &str) -> f64 {
    let script = "const done = arguments[arguments.length - 1]; const look = () => { \
        const paint = performance.getEntriesByName('first-contentful-paint')[0]; \
        paint ? done(paint.startTime) : setTimeout(look, 5) }; look();";
    let best = (0..TRIES).map(|_| {
        browser.go(address);
        browser.run_async(script).as_f64().expect("a time")
    });
    best.fold(f64::MAX, f64::min)
}

#[test]
fn ten_thousand_sessions_are_listed_within_200_ms() {
    let site = Site::ready();
    assert_eq!(site.connect("").code, 0);
    let real = site.records().pop().expect("a record");
    let folder = real.parent().expect("a folder");
    let identity = Transcript::open(&real, None).expect("a record").identity().clone();
    let now = SystemClock::new().now();
    let remarks = vec!["x".repeat(200); 8];
    for number in 1..SESSIONS {
        let age = Duration::from_secs(60 * u64::from(number));
        let at = Now { wall: now.wall - age, ..now };
        let id = Uuid::from_u128(u128::from(number) << 64 | 0x8000_0000_0000_0000_4000_u128);
        record(&SessionIdentity { session_id: id, ..identity.clone() }, &at, &remarks, folder);
    }
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.go(&page.at("/sessions"));
    browser.reads(&format!("The newest 25 of {SESSIONS}"));
    let mut slow = Vec::new();
    for path in ["/", "/sessions", "/sessions?engineer=engineer", "/approvals", "/requests"] {
        let time = paint(&browser, &page.at(path));
        println!("first paint of {path} with {SESSIONS} sessions: {time:.0} ms");
        if time > PAINT_MAX_MS {
            slow.push((path, time));
        }
    }
    // Page by page, without a gap and without anything twice.
    browser.go(&page.at("/sessions"));
    browser.press("Older");
    browser.reads(&format!("25 earlier sessions of {SESSIONS}"));
    let cookie = page.cookie();
    let (mut place, mut seen) = ("/sessions".to_owned(), std::collections::BTreeSet::new());
    for turn in 1..=8 {
        let text = page.get(&place, &cookie).text();
        let rows = text.split("href=\"/sessions/").skip(1).filter_map(|rest| rest.split('"').next());
        seen.extend(rows.map(str::to_owned));
        assert_eq!(seen.len(), turn * 25);
        let next =
            text.split_once("rel=\"next\" href=\"").expect("more").1.split('"').next().expect("an address");
        place = next.replace("&amp;", "&");
    }
    assert!(slow.is_empty(), "{slow:?}");
}
