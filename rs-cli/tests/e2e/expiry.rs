//! The end of a consent by time. Hours cannot be waited for, so the consent is given in the past: the store takes the
//! time from a clock that the test holds, and the agent goes by the real one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rs_cli::state::Role;
use rs_consent::party::{Grantor, Method};
use rs_consent::{AccessLevel, Clock as _, Consent, EndCause, ManualClock, Minutes, SystemClock, Terms};

use crate::daemon::{promised, until_true};
use crate::records;
use crate::site::Site;

pub(crate) fn now() -> DateTime<Utc> {
    SystemClock::new().now().wall
}

/// Gives a consent of 60 minutes that ends in so many seconds; of another run of the machine, as after a restart.
pub(crate) fn enable_ending_in(site: &Site, seconds: i64) -> DateTime<Utc> {
    let clock = ManualClock::new(now() - TimeDelta::minutes(60) + TimeDelta::seconds(seconds));
    let consent = Consent {
        level: AccessLevel::Diagnostics,
        minutes: Minutes::MIN,
        terms: Terms::azure_local(),
        request: None,
        grantor: Grantor {
            user: "operator".parse().expect("a name"),
            host: "node-01".parse().expect("a name"),
            method: Method::CommandLine,
        },
        catalog: None,
        scope: rs_consent::Scope::default(),
        approval: rs_consent::ApprovalRule::default(),
        conditions: rs_consent::Conditions::default(),
        requested: clock.now(),
    };
    site.store().enable(&consent, &clock.now()).expect("stored").expires_at()
}

/// A machine whose request is open and whose clock has seen nothing yet.
fn site() -> Site {
    let mut site = Site::empty();
    site.start_relay();
    site
}

#[test]
fn sec09_a_consent_that_runs_out_ends_running_work_on_time_and_not_before() {
    let mut site = site();
    let ends_at = enable_ending_in(&site, 6);
    // The request is made after the consent: the store's clock only goes forward.
    site.papers();
    let number = site.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    let opening = site.role(Role::Desk).join(format!("requests/{number}.opening.json"));
    let confirmed = site.machine.run(&format!("request confirm {} ", opening.display()));
    assert_eq!(confirmed.code, 0, "{}", confirmed.stderr);
    site.start_agent();
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    assert_eq!(site.machine.json("access")[0]["state"], "Active");
    assert_eq!(engineer.exit_code(), 3, "{}", engineer.stderr());
    assert!(engineer.stderr().contains("Session ended (expired)"), "{}", engineer.stderr());
    assert_eq!(site.workers(), Vec::<u32>::new());
    let (frame, _) = records::end(&site.record(session));
    assert_eq!(frame.skeleton().end, Some(EndCause::Expired));
    let late = frame.skeleton().wall_time - ends_at;
    println!("ended {} ms after the deadline", late.num_milliseconds());
    assert!(late >= TimeDelta::zero(), "never before");
    let latest = TimeDelta::from_std(promised(Duration::from_secs(1))).expect("a short time");
    assert!(late <= latest, "within a second: {late}");
    let shown = records::frames(&site.received(session));
    let last_output = shown
        .iter()
        .rev()
        .find(|frame| matches!(records::content(frame), Some(rs_session::record::Content::Output(_))));
    let last_output = last_output.expect("output was shown").skeleton().wall_time;
    assert!(last_output < ends_at + TimeDelta::milliseconds(250), "nothing was shown after the end");
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
    until_true("the node leaves the relay", || site.status().connection_status == "NotConnected");
    assert_eq!(site.connect("").code, 5, "nobody listens any more");
    assert_eq!(site.records().len(), 1);
}

#[test]
fn c18_an_expired_consent_is_listed_on_request_only() {
    let site = Site::empty();
    std::fs::create_dir(site.machine.state()).expect("own directory");
    let ended_at = enable_ending_in(&site, -120);
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
    let listed = site.machine.json("access --include-expired");
    assert_eq!((&listed[0]["state"], &listed[0]["connectionStatus"]), (&"Expired".into(), &"Closed".into()));
    let shown: DateTime<Utc> = listed[0]["expiresAt"].as_str().expect("text").parse().expect("a date");
    assert!((shown - ended_at).num_seconds().abs() <= 1);
    let run = site.machine.run("disable");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        site.machine.json("access --include-expired")[0]["state"],
        "Expired",
        "it had ended by itself"
    );
}

#[test]
fn sec10_a_clock_behind_what_the_store_has_seen_lets_nobody_in_until_consent_is_given_anew() {
    let mut site = site();
    site.papers();
    let ahead = ManualClock::new(now() + TimeDelta::hours(1));
    site.machine.enable("Diagnostics");
    let _changed = site.store().stamp(&ahead.now()).expect("stored");
    site.start_agent();
    let access = site.machine.run("access");
    assert_eq!(access.code, 0);
    assert!(access.stderr.contains("The clock went back"), "{}", access.stderr);
    assert_eq!(site.connect("").code, 5);
    assert!(site.records().is_empty());
    site.machine.enable("Diagnostics");
    site.connected();
    assert_eq!(site.connect("").code, 0, "a fresh consent is the owner's word that the clock is right");
}
