//! What others rely on: the simulator refuses, records and ends as the product does, and its faults are real ones.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::time::Duration;

use chrono::TimeDelta;
use rs_consent::{AccessLevel, EndCause, RefusalCode};
use rs_session::operations::Object;
use rs_session::record::Verdict;
use rs_simulator::{Engineer, Error, Ran, Session, Simulator};

const HOUR: Duration = Duration::from_secs(3600);

/// A simulator with a request, an engineer assigned to it, and a grant of two hours.
async fn ready(simulator: Simulator) -> (Simulator, Engineer) {
    let request = simulator.open_request("A volume does not mount").await.unwrap();
    let engineer = simulator.assign("engineer@support.example", request).unwrap();
    simulator.grant(AccessLevel::Diagnostics, 120).await.unwrap();
    (simulator, engineer)
}

async fn session() -> (Simulator, Engineer, Session) {
    let (simulator, engineer) = ready(Simulator::new().unwrap()).await;
    let session = simulator.connect(&engineer).await.unwrap();
    (simulator, engineer, session)
}

#[track_caller]
fn intact(simulator: &Simulator, session: &Session, end: EndCause) {
    for report in [simulator.verify(session.id()).unwrap(), simulator.verify_copy(&session.copy())] {
        assert_eq!((report.verdict, report.end), (Verdict::Intact, Some(end)), "{report:?}");
    }
}

#[tokio::test]
async fn i15_each_missing_piece_keeps_everybody_out() {
    let simulator = Simulator::new().unwrap();
    let request = simulator.open_request("A volume does not mount").await.unwrap();
    let engineer = simulator.assign("engineer@support.example", request).unwrap();
    let refused = simulator.connect(&engineer).await.unwrap_err();
    assert!(refused.is_nobody_there(), "{refused}");
    simulator.grant(AccessLevel::Diagnostics, 60).await.unwrap();
    let refused = simulator.connect(&engineer.stolen()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(RefusalCode::EngineerKeyMismatch));
    simulator.close_request(request).await.unwrap();
    let refused = simulator.connect(&engineer).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(RefusalCode::NoOpenRequest));
    assert!(simulator.sessions().is_empty(), "nobody got in, so nothing is on record");
    assert!(matches!(simulator.grant(AccessLevel::Diagnostics, 59).await, Err(Error::Minutes(_))));
}

#[tokio::test]
async fn i15_lines_run_or_are_refused_and_are_on_record_before() {
    let (simulator, _, mut session) = session().await;
    let ran = session.run("Get-Process -Name storage | Select-Object Name, Id").await.unwrap();
    assert!(ran.is_done() && ran.text().contains("811") && !ran.text().contains("702"), "{ran:?}");
    let ran = session.run("Get-Date").await.unwrap();
    assert!(ran.text().contains("2026"), "{ran:?}");
    let Ran::Refused { code, column, .. } = session.run("Get-Process; Get-Date").await.unwrap() else {
        panic!("a separator is refused")
    };
    assert_eq!((code.as_str(), column), ("separator", Some(12)));
    let report = simulator.verify(session.id()).unwrap();
    assert_eq!((report.verdict, report.requests, report.refusals), (Verdict::Open, 2, 1));
    assert_eq!(session.leave().await.unwrap(), EndCause::Exit);
    intact(&simulator, &session, EndCause::Exit);
}

#[tokio::test]
async fn i15_a_changed_byte_is_found() {
    let (simulator, _, mut session) = session().await;
    session.run("Get-Process").await.unwrap();
    session.leave().await.unwrap();
    let mut record = simulator.record(session.id()).unwrap();
    let middle = record.len() / 2;
    record[middle] ^= 1;
    assert_eq!(simulator.verify_copy(&record).verdict, Verdict::Broken);
}

#[tokio::test]
async fn i15_a_revoke_ends_what_runs() {
    let endless = Simulator::builder().provider("Get-Volume", |_, sink| {
        loop {
            sink.emit(Object::new("Volume").with("MountPoint", "/").into())?;
        }
    });
    let (simulator, engineer) = ready(endless.build().unwrap()).await;
    let mut session = simulator.connect(&engineer).await.unwrap();
    session.start("Get-Volume").await.unwrap();
    while !matches!(session.next().await.unwrap(), rs_session::record::Content::Output(_)) {}
    let (downed, ended) = tokio::join!(simulator.revoke(), session.ended());
    assert_eq!((downed.len(), ended.unwrap()), (1, EndCause::Revoked));
    intact(&simulator, &session, EndCause::Revoked);
    let refused = simulator.connect(&engineer).await.unwrap_err();
    assert!(refused.is_nobody_there(), "{refused}");
}

#[tokio::test]
async fn i15_time_passes_when_it_is_told_to() {
    let (simulator, engineer, mut session) = session().await;
    assert!(simulator.advance(HOUR).await.is_empty());
    assert!(session.run("Get-Date").await.unwrap().is_done(), "an hour is left");
    // A consent while one is in force counts anew.
    simulator.grant(AccessLevel::Diagnostics, 120).await.unwrap();
    assert!(simulator.advance(HOUR + HOUR / 2).await.is_empty());
    let (downed, ended) = tokio::join!(simulator.advance(HOUR / 2), session.ended());
    assert_eq!((downed.len(), ended.unwrap()), (1, EndCause::Expired));
    intact(&simulator, &session, EndCause::Expired);
    simulator.grant(AccessLevel::Diagnostics, 20160).await.unwrap();
    let mut session = simulator.connect(&engineer).await.unwrap();
    let (downed, ended) = tokio::join!(simulator.advance(6 * HOUR), session.ended());
    assert_eq!((downed.len(), ended.unwrap()), (1, EndCause::AssignmentExpired));
}

#[tokio::test]
async fn i15_a_clock_that_goes_back_holds_the_grant_until_a_fresh_consent() {
    let (simulator, engineer, mut session) = session().await;
    let (downed, ended) = tokio::join!(simulator.step_clock(-TimeDelta::minutes(5)), session.ended());
    assert_eq!((downed.len(), ended.unwrap()), (1, EndCause::ClockHeld));
    let refused = simulator.connect(&engineer).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(RefusalCode::GrantHeld));
    simulator.step_clock(TimeDelta::minutes(5)).await;
    let refused = simulator.connect(&engineer).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(RefusalCode::GrantHeld), "only the owner lifts it");
    simulator.grant(AccessLevel::Diagnostics, 60).await.unwrap();
    simulator.connect(&engineer).await.unwrap();
}

#[tokio::test]
async fn i15_a_cut_line_ends_the_session_and_the_node_comes_back() {
    let (simulator, engineer, mut session) = session().await;
    session.run("Get-Date").await.unwrap();
    simulator.network().cut();
    assert!(matches!(session.ended().await, Err(Error::Broken(_))), "the engineer sees a broken line");
    while simulator.host().live().iter().any(|live| live.session_id == session.id()) {
        tokio::task::yield_now().await;
    }
    let report = simulator.verify(session.id()).unwrap();
    assert_eq!((report.verdict, report.end), (Verdict::Intact, Some(EndCause::Transport)));
    simulator.network().relay_away();
    assert!(matches!(simulator.connect(&engineer).await, Err(Error::Relay(_))));
    simulator.network().relay_back();
    let mut again = loop {
        match simulator.connect(&engineer).await {
            Ok(session) => break session,
            // The listener asks every second or so whether the relay is there.
            Err(Error::Relay(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(again.run("Get-Date").await.unwrap().is_done());
}

#[tokio::test]
async fn i15_a_slow_line_is_slow_and_loses_nothing() {
    let (simulator, _, mut session) = session().await;
    simulator.network().delay(Duration::from_millis(30));
    let since = std::time::Instant::now();
    assert!(session.run("Get-Process").await.unwrap().is_done());
    assert!(since.elapsed() >= Duration::from_millis(60), "there and back");
    simulator.network().delay(Duration::ZERO);
    session.leave().await.unwrap();
    intact(&simulator, &session, EndCause::Exit);
}

#[tokio::test]
async fn i15_a_full_disk_ends_the_session_and_its_end_is_on_record() {
    let volumes = vec![Object::new("Volume").with("MountPoint", "/").with("FriendlyName", "system"); 5000];
    let (simulator, engineer) =
        ready(Simulator::builder().answer("Get-Volume", volumes).build().unwrap()).await;
    let mut session = simulator.connect(&engineer).await.unwrap();
    simulator.disk().fill();
    // What was set aside before is used first.
    let cause = loop {
        match session.run("Get-Volume").await {
            Ok(ran) => assert!(ran.is_done(), "{ran:?}"),
            Err(Error::Ended(cause)) => break cause,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(cause, EndCause::RecordFault);
    intact(&simulator, &session, EndCause::RecordFault);
    assert!(simulator.connect(&engineer).await.is_err(), "without room no session begins");
    simulator.disk().free();
    simulator.connect(&engineer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_two_simulators_do_not_know_each_other() {
    let (one, engineer, _session) = session().await;
    let other = Simulator::new().unwrap();
    assert!(other.connect(&engineer).await.unwrap_err().is_nobody_there());
    assert_eq!((one.sessions().len(), other.sessions().len()), (1, 0));
}
