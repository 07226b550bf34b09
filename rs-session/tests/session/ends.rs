//! What ends a session, and what it leaves.

use rs_consent::{AccessLevel, EndCause};
use rs_session::client::{Client, ClientEvent, SessionError};
use rs_session::history::record_path;
use rs_session::protocol::Form;
use rs_session::record::{Content, Kind, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use uuid::Uuid;

use crate::world::{Did, World, content, ended, text};

#[tokio::test]
async fn sec07_sec08_revoke_kills_running_work_and_closes_the_channel() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    let session = client.welcome().session;
    let feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    feed.send(text("first\n")).unwrap();
    content(&mut client).await;
    content(&mut client).await;

    let downed = world.revoke().await;
    assert_eq!(world.did.recv().await, Some(Did::Killed));
    served.await.unwrap();
    assert_eq!(downed.len(), 1);
    assert_eq!(
        (downed[0].session_id, downed[0].cause, downed[0].recorded),
        (session, EndCause::Revoked, true)
    );
    assert!(downed[0].delays.work_us.is_some());

    // Whatever the engineer sends now is acted on by nobody.
    let _ = client.invoke("Get-Date", Form::Text, None).await;
    assert_eq!(ended(&mut client).await, EndCause::Revoked);
    assert!(world.did.try_recv().is_err());
    let report = world.verified(session);
    assert_eq!((report.verdict, report.end, report.requests), (Verdict::Intact, Some(EndCause::Revoked), 1));
}

#[tokio::test]
async fn sec08_revoke_ends_a_session_whose_engineer_does_not_read() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    let feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    // Far more than the stream holds, and nobody reads: the host stands inside a write.
    for _ in 0..20 {
        feed.send(text(&format!("{}\n", "x".repeat(60_000)))).unwrap();
    }
    let session = client.welcome().session;
    while world.verified(session).records < 4 {
        tokio::task::yield_now().await;
    }
    let downed = world.revoke().await;
    served.await.unwrap();
    assert_eq!(downed.len(), 1);
    assert_eq!(world.did.recv().await, Some(Did::Killed));
    assert_eq!(world.verified(session).end, Some(EndCause::Revoked));
}

#[tokio::test]
async fn sec09_expiry_ends_a_running_session_and_never_before() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    world.clock.advance(Duration::from_secs(480 * 60) - Duration::from_nanos(1));
    let feed = world.prepare("Get-Date");
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    world.started("Get-Date").await;
    drop(feed);
    world.clock.advance(Duration::from_nanos(1));
    let cause = ended(&mut client).await;
    assert!(matches!(cause, EndCause::Expired | EndCause::AssignmentExpired), "{cause}");
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).verdict, Verdict::Intact);
}

#[tokio::test]
async fn c15_lowering_ends_the_wider_session_only_and_raising_is_for_new_ones() {
    let mut world = World::new();
    let (mut low, low_served) = world.connect().await;
    world.facts.grant = Some(world.grant(AccessLevel::DiagnosticsRepair));
    world.load();
    let (mut high, high_served) = world.connect().await;
    assert_eq!(high.welcome().level, AccessLevel::DiagnosticsRepair);
    low.invoke("Stop-Service", Form::Text, None).await.unwrap();
    assert!(matches!(content(&mut low).await, Some(Content::Refusal(_))), "raising holds for new sessions");

    world.facts.grant = Some(world.grant(AccessLevel::Diagnostics));
    world.load();
    assert_eq!(ended(&mut high).await, EndCause::LevelLowered);
    high_served.await.unwrap();
    low.bye().await.unwrap();
    assert_eq!(ended(&mut low).await, EndCause::Exit);
    low_served.await.unwrap();
}

#[tokio::test]
async fn s18_one_session_can_be_ended_and_the_grant_stays() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    let (_other, _) = world.connect().await;
    let downed = world.host.end(client.welcome().session, EndCause::Operator, "enough").await.unwrap();
    assert_eq!(downed.cause, EndCause::Operator);
    assert_eq!(ended(&mut client).await, EndCause::Operator);
    served.await.unwrap();
    assert_eq!(world.host.live().len(), 1);
    assert!(world.host.end(Uuid::from_u128(1), EndCause::Operator, "").await.is_none());
}

/// Cuts the stream after so many bytes towards the engineer.
struct Cut<S> {
    inner: S,
    left: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return std::task::Poll::Ready(Ok(()));
        }
        let mut part = buffer.take(left);
        let before = part.filled().len();
        std::task::ready!(std::pin::Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let read = part.filled().len() - before;
        let filled = buffer.filled().len() + read;
        // The bytes were written into the same memory.
        buffer.initialize_unfilled_to(read);
        buffer.set_filled(filled);
        self.left.fetch_sub(read, Ordering::SeqCst);
        std::task::Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn sec17_a_cut_stream_is_never_a_complete_session() {
    // Somewhere in the handshake, around the welcome, and behind it.
    for bytes in [10, 300, 700, 900, 1500, 3000, 4000] {
        let world = World::new();
        let (near, far) = duplex(64 * 1024);
        let served = world.serve(far);
        let near = Cut { inner: near, left: Arc::new(AtomicUsize::new(bytes)) };
        let connected = Client::connect(near, world.credentials(&world.assignment()), "test/1", None).await;
        let Ok(mut client) = connected else { continue };
        // Each line is answered by a refusal, until the stream ends.
        let error = loop {
            let _ = client.invoke("nonsense", Form::Text, None).await;
            match client.next().await {
                Ok(event) => assert!(!matches!(event, ClientEvent::Ended { .. }), "{bytes}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SessionError::Channel(_)), "{bytes}: {error}");
        assert!(!client.has_ended());
        drop(client);
        served.await.unwrap();
    }
}

#[tokio::test]
async fn sec27_a_client_that_breaks_the_protocol_is_put_out_and_that_is_on_record() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    // The line numbers must be 1, 2, 3: the client skips one by sending a line that gets lost.
    client.interrupt(99).await.unwrap();
    client.invoke("nonsense", Form::Text, None).await.unwrap();
    content(&mut client).await;
    let long = "x".repeat(5000);
    client.invoke(&long, Form::Text, None).await.unwrap();
    assert!(
        matches!(content(&mut client).await, Some(Content::Refusal(refusal)) if refusal.code == "line-too-long")
    );
    // The node refuses the frame by its length, so the client may not even get rid of it.
    let _ = client.invoke(&"y".repeat(100_000), Form::Text, None).await;
    assert_eq!(ended(&mut client).await, EndCause::Protocol);
    served.await.unwrap();
    assert_eq!(world.verified(client.welcome().session).end, Some(EndCause::Protocol));
}

#[tokio::test]
async fn sec12_every_ending_leaves_exactly_one_end_record() {
    for cause in [EndCause::Operator, EndCause::AgentStopped, EndCause::RequestClosed, EndCause::Transport] {
        let mut world = World::new();
        let (mut client, served) = world.connect().await;
        let session = client.welcome().session;
        match cause {
            EndCause::Operator => assert!(world.host.end(session, cause, "enough").await.is_some()),
            EndCause::AgentStopped => assert_eq!(world.host.end_all(cause, "stopping").await.len(), 1),
            EndCause::RequestClosed => {
                world.facts.requests.clear();
                world.load();
                assert_eq!(ended(&mut client).await, cause);
            }
            _ => drop(client),
        }
        served.await.unwrap();
        let report = world.verified(session);
        assert_eq!(report.verdict, Verdict::Intact, "{cause}: {report:?}");
        let file = std::fs::read(record_path(world.directory.path(), session)).unwrap();
        let mut reader = rs_session::record::FrameReader::new(&file[..]).unwrap();
        let mut ends = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            ends.extend((frame.skeleton().kind == Kind::End).then_some(frame.skeleton().end));
        }
        assert_eq!(ends, [Some(cause)]);
    }
}

#[tokio::test]
async fn s15_an_idle_session_ends() {
    let mut world = World::new();
    world.idle_after(Duration::from_millis(50));
    let (mut client, served) = world.connect().await;
    assert_eq!(ended(&mut client).await, EndCause::Idle);
    served.await.unwrap();
}
