//! The course of a session, and what of it is on record.

use chrono::TimeDelta;
use rs_consent::clock::Clock;
use rs_consent::{AccessLevel, EndCause};
use rs_session::client::Client;
use rs_session::history::{SessionState, record_path, sessions};
use rs_session::host::{HostSettings, Progress};
use rs_session::operations::wire::{Finish, Status};
use rs_session::protocol::Form;
use rs_session::record::{Content, OutputData, Verdict};
use std::sync::{Arc, Mutex};
use tokio::io::duplex;
use uuid::Uuid;

use crate::world::{Did, Shared, World, content, done, ended, text};

#[tokio::test]
async fn a_session_from_hello_to_goodbye_is_on_record() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    assert_eq!(client.welcome().level, AccessLevel::Diagnostics);
    assert_eq!(world.host.live().len(), 1);

    let feed = world.prepare("Get-Date");
    client.invoke("Get-Date", Form::Text, Some(80)).await.unwrap();
    world.started("Get-Date").await;
    feed.send(text("noon\n")).unwrap();
    feed.send(done()).unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Request(request)) if request.line == "Get-Date")
    );
    assert!(
        matches!(content(&mut client).await, Some(Content::Output(output)) if output.data == OutputData::Text("noon\n".into()))
    );
    assert!(
        matches!(content(&mut client).await, Some(Content::Finished(finished)) if finished.status == Status::Done)
    );

    client.invoke("rm -rf /", Form::Text, None).await.unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "unknown-command")
    );
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();

    let session = client.welcome().session;
    let report = world.verified(session);
    assert_eq!((report.verdict, report.end), (Verdict::Intact, Some(EndCause::Exit)), "{report:?}");
    assert_eq!((report.requests, report.refusals), (1, 1));
    assert!(report.receipted.is_some(), "sec29: the engineer countersigned");
    let now = world.clock.now().wall;
    let list = sessions(world.directory.path(), now - TimeDelta::days(7), now, &None).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].state, list[0].operations, list[0].refusals), (SessionState::Ended, 1, 1));
    assert!(world.host.live().is_empty());
}

/// A secret comes in pieces: neither the record on disk nor what the engineer sees ever holds it, and the owner can prove
/// what it was.
#[tokio::test]
async fn sec34_a_secret_is_masked_before_it_is_stored_or_shown() {
    let mut world = World::new();
    let key = rs_session::redact::MaskKey::from_bytes([7; 32]);
    let settings = HostSettings {
        mask_key: key.clone(),
        ..HostSettings::new("node-01".parse().unwrap(), world.directory.path())
    };
    world.host_with(settings);
    let copy = Arc::new(Mutex::new(Vec::new()));
    let (near, far) = duplex(64 * 1024);
    let served = world.serve(far);
    let sink = Box::new(Shared(Arc::clone(&copy)));
    let credentials = world.credentials(&world.assignment());
    let mut client = Client::connect(near, credentials, "test/1", Some(sink)).await.unwrap();
    let feed = world.prepare("Get-Thing");
    client.invoke("Get-Thing", Form::Text, None).await.unwrap();
    world.started("Get-Thing").await;
    feed.send(text("first line\nPassw")).unwrap();
    feed.send(text("ord=canary-4711")).unwrap();
    feed.send(Progress::Finished(Finish::new(Status::Failed, "no login with pwd=canary-4711"))).unwrap();
    content(&mut client).await;
    let mut shown = Vec::new();
    for _ in 0..3 {
        shown.push(content(&mut client).await.unwrap());
    }
    let outputs = ["first line\n", "Password=[masked: password, 11 bytes]"];
    for (content, expected) in shown.iter().zip(outputs) {
        let Content::Output(output) = content else { panic!("{content:?}") };
        assert_eq!(output.data, OutputData::Text(expected.to_owned()), "what needs no waiting does not wait");
    }
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();

    let session = client.welcome().session;
    let stored = std::fs::read(record_path(world.directory.path(), session)).unwrap();
    for bytes in [&stored, &*copy.lock().unwrap()] {
        assert!(!bytes.windows(11).any(|window| window == b"canary-4711"));
    }
    let mut reader = rs_session::record::FrameReader::new(&stored[..]).unwrap();
    let mut masked = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        if let rs_session::record::Stored::Present { bytes, .. } = frame.content() {
            masked.extend(Content::masked(bytes).unwrap());
        }
    }
    assert_eq!(masked.len(), 2);
    for place in masked {
        assert_eq!(place.commitment, key.commitment(session, place.number, b"canary-4711"));
    }
    assert_eq!(world.verified(session).verdict, Verdict::Intact);
}

#[tokio::test]
async fn sec27_a_newer_assignment_is_on_record_before_it_counts() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    let mut newer = world.assignment();
    newer.id = Uuid::from_u128(78);
    client.renew(newer.issue(&world.desk).unwrap()).await.unwrap();
    let Some(Content::Note(note)) = content(&mut client).await else { panic!("no note") };
    assert!(note.text.contains(&newer.id.to_string()), "{}", note.text);
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).verdict, Verdict::Intact);
}

#[tokio::test]
async fn an_interrupt_reaches_the_work_and_the_session_lives_on() {
    let mut world = World::new();
    let (mut client, _served) = world.connect().await;
    let feed = world.prepare("Get-Process");
    let line = client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    content(&mut client).await;
    assert!(matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "busy"));
    client.interrupt(line).await.unwrap();
    assert_eq!(world.did.recv().await, Some(Did::Interrupted));
    feed.send(Progress::Finished(Finish::new(Status::Interrupted, "stopped"))).unwrap();
    assert!(matches!(content(&mut client).await, Some(Content::Interrupt(_))));
    assert!(
        matches!(content(&mut client).await, Some(Content::Finished(finished)) if finished.status == Status::Interrupted)
    );
}
