//! The engineer's receipts.

use rs_consent::EndCause;
use rs_consent::keys::SigningKey;
use rs_session::channel::{Channel, FrameReceiver, FrameSender};
use rs_session::client::{Client, ClientEvent, RECEIPT_WAIT};
use rs_session::history::record_path;
use rs_session::host::{RECEIPT_EVERY, UNRECEIPTED_BYTES_MAX};
use rs_session::journal::GROUP_BYTES_MAX;
use rs_session::protocol::{ClientMessage, Form, PROTOCOL_VERSION, WireFrame};
use rs_session::record::{Content, Frame, FrameReader, Receipt};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::world::{Shared, World, content, done, ended, text};

#[tokio::test]
async fn sec29_the_engineers_copy_is_the_nodes_record_byte_by_byte() {
    let world = World::new();
    let copy = Arc::new(Mutex::new(Vec::new()));
    let (near, far) = duplex(64 * 1024);
    let served = world.serve(far);
    let sink = Box::new(Shared(Arc::clone(&copy)));
    let credentials = world.credentials(&world.assignment());
    let mut client = Client::connect(near, credentials, "test/1", Some(sink)).await.unwrap();
    client.invoke("nonsense", Form::Text, None).await.unwrap();
    content(&mut client).await;
    client.bye().await.unwrap();
    ended(&mut client).await;
    served.await.unwrap();
    let node = std::fs::read(record_path(world.directory.path(), client.welcome().session)).unwrap();
    assert_eq!(*copy.lock().unwrap(), node);
}

/// Nothing more comes from the node, and the engineer says nothing: what was seen is countersigned all the same.
#[tokio::test]
async fn sec29_a_receipt_follows_soon_also_when_nothing_more_comes() {
    let mut world = World::new();
    let (mut client, _served) = world.connect().await;
    let session = client.welcome().session;
    let _feed = world.prepare("Get-Process");
    client.invoke("Get-Process", Form::Text, None).await.unwrap();
    world.started("Get-Process").await;
    let receipt = loop {
        if let ClientEvent::Record { content: Some(Content::Receipt), .. } = client.next().await.unwrap() {
            break world.verified(session).receipted;
        }
    };
    assert!(receipt.is_some());
}

/// The node's record of a receipt is the newest record when the next receipt is due.
#[tokio::test]
async fn sec29_a_receipt_may_cover_the_record_of_an_earlier_receipt() {
    let mut world = World::new();
    let (mut client, served) = world.connect().await;
    tokio::time::sleep(RECEIPT_WAIT).await;
    let feed = world.prepare("Get-Date");
    feed.send(text("noon\n")).unwrap();
    feed.send(done()).unwrap();
    client.invoke("Get-Date", Form::Text, None).await.unwrap();
    world.started("Get-Date").await;
    let session = client.welcome().session;
    while world.verified(session).records < 4 {
        tokio::task::yield_now().await;
    }
    // The first receipt is sent now and recorded behind the four; the second covers that record too.
    let seen = tokio::time::timeout(3 * RECEIPT_WAIT, async {
        loop {
            if let ClientEvent::Ended { cause, message } = client.next().await.unwrap() {
                break (cause, message);
            }
        }
    });
    assert!(seen.await.is_err(), "the session lives on");
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
}

/// The channel of a client of its own, which has said hello and sent a line, with the task of the host.
async fn own_client(
    world: &World,
    line: &str,
) -> (FrameSender<DuplexStream>, FrameReceiver<DuplexStream>, JoinHandle<()>) {
    let (near, far) = duplex(64 * 1024);
    let served = world.serve(far);
    let channel = Channel::connect(near, &world.engineer, world.node.public()).await.unwrap();
    let (mut sender, mut receiver) = channel.split();
    receiver.set_limit(rs_session::protocol::NODE_FRAME_BYTES_MAX);
    let hello = ClientMessage::Hello {
        versions: vec![PROTOCOL_VERSION],
        assignment: world.assignment().issue(&world.desk).unwrap(),
        client: "own/1".to_owned(),
    };
    sender.ask(&hello).await.unwrap();
    let invoke =
        ClientMessage::Invoke { invocation: 1, line: line.to_owned(), form: Form::Text, columns: None };
    sender.ask(&invoke).await.unwrap();
    (sender, receiver, served)
}

/// Reads everything and signs nothing. Returns how many bytes of records it was shown before the channel was closed.
async fn reads_and_signs_nothing(world: &World, line: &str) -> usize {
    let (_sender, mut receiver, served) = own_client(world, line).await;
    let mut shown = 0;
    while let Ok(Some(frame)) = receiver.next_frame().await {
        if let WireFrame::Record(bytes) = frame {
            shown += bytes.len();
        }
    }
    served.await.unwrap();
    shown
}

#[tokio::test]
async fn sec29_an_engineer_who_signs_nothing_is_put_out_and_is_shown_a_bounded_part() {
    let mut world = World::new();
    world.receipts_within(Duration::from_millis(1500));
    let feed = world.prepare("Get-Endless");
    let piece = "x".repeat(60 * 1024);
    for _ in 0..3 * UNRECEIPTED_BYTES_MAX / piece.len() {
        feed.send(text(&piece)).unwrap();
    }
    let shown = reads_and_signs_nothing(&world, "Get-Endless").await;
    let bound = UNRECEIPTED_BYTES_MAX + 2 * 64 * 1024;
    assert!((UNRECEIPTED_BYTES_MAX / 2..=bound).contains(&shown), "{shown} bytes were shown");
    let records = rs_session::history::record_files(world.directory.path()).unwrap();
    let report = world.verified(records[0].0);
    assert_eq!((report.end, report.receipted), (Some(EndCause::Protocol), None));
}

/// The control: the same output to a client that signs goes through, whole.
#[tokio::test]
async fn sec29_control_an_engineer_who_signs_is_shown_everything() {
    let mut world = World::new();
    world.receipts_within(Duration::from_secs(20));
    let feed = world.prepare("Get-Endless");
    let piece = "x".repeat(60 * 1024);
    let pieces = 3 * UNRECEIPTED_BYTES_MAX / piece.len();
    for _ in 0..pieces {
        feed.send(text(&piece)).unwrap();
    }
    feed.send(done()).unwrap();
    let (mut client, served) = world.connect().await;
    client.invoke("Get-Endless", Form::Text, None).await.unwrap();
    let mut shown = 0;
    loop {
        match content(&mut client).await {
            Some(Content::Output(_)) => shown += 1,
            Some(Content::Finished(_)) => break,
            _ => {}
        }
    }
    assert!(shown >= pieces, "{shown} of {pieces}");
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
}

/// Receipts are put on record while output goes by, not only behind it: each covers more than the one before, and what is
/// not covered is bounded.
#[tokio::test]
async fn sec29_receipts_go_on_record_while_output_goes_by() {
    let world = World::new();
    let feed = world.prepare("Get-Endless");
    let piece = "0123456789abcde\n".repeat(4 * 1024);
    let pieces = 200;
    for _ in 0..pieces {
        feed.send(text(&piece)).unwrap();
    }
    feed.send(done()).unwrap();
    let (mut client, served) = world.connect().await;
    let session = client.welcome().session;
    client.invoke("Get-Endless", Form::Text, None).await.unwrap();
    while !matches!(content(&mut client).await, Some(Content::Finished(_))) {}
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
    let file = std::fs::File::open(record_path(world.directory.path(), session)).unwrap();
    let mut reader = FrameReader::new(file).unwrap();
    let (mut covered, mut receipts, mut uncovered) = (0, 0, 0);
    while let Some(frame) = reader.next_frame().unwrap() {
        let skeleton = frame.skeleton();
        if let Some(receipt) = &skeleton.receipt {
            assert!(receipt.sequence > covered);
            (covered, receipts) = (receipt.sequence, receipts + 1);
        }
        uncovered = uncovered.max(skeleton.sequence - covered);
    }
    assert!(uncovered < UNCOVERED_MAX, "{uncovered} records behind the last receipt");
    assert!((pieces / (2 * RECEIPT_EVERY)..=pieces).contains(&receipts), "{receipts}");
}

/// Records that may be on their way to the disk, and those between two receipts. The engineer's client is never far behind:
/// the stream between holds one record.
const UNCOVERED_MAX: u64 = (2 * GROUP_BYTES_MAX) as u64 / (64 * 1024) + 3 * RECEIPT_EVERY as u64;

/// A client of its own that was shown record 0 and a refusal and has signed nothing yet.
struct Unsigned {
    sender: FrameSender<DuplexStream>,
    receiver: FrameReceiver<DuplexStream>,
    frames: [Frame; 2],
    session: Uuid,
    served: JoinHandle<()>,
}

impl Unsigned {
    async fn connect(world: &World) -> Self {
        let (sender, mut receiver, served) = own_client(world, "nonsense").await;
        let mut frames = Vec::new();
        while frames.len() < 2 {
            if let Some(WireFrame::Record(bytes)) = receiver.next_frame().await.unwrap() {
                frames.push(Frame::decode(&bytes).unwrap());
            }
        }
        let session = frames[0].skeleton().session.as_ref().unwrap().session_id;
        Self { sender, receiver, frames: frames.try_into().unwrap(), session, served }
    }

    async fn sign(&mut self, frame: usize, key: &SigningKey) {
        let frame = &self.frames[frame];
        let receipt = Receipt::sign(key, self.session, frame.skeleton().sequence, frame.link());
        self.sender.ask(&ClientMessage::Receipt(receipt)).await.unwrap();
    }

    /// Reads until the node has closed the channel and the session is down.
    async fn down(mut self) {
        while let Ok(Some(_)) = self.receiver.next_frame().await {}
        self.served.await.unwrap();
    }
}

/// A receipt that somebody else signed ends the session, and takes nothing from the one before it.
#[tokio::test]
async fn sec29_a_receipt_with_a_wrong_signature_ends_the_session_and_the_one_before_it_counts() {
    let world = World::new();
    let mut client = Unsigned::connect(&world).await;
    let session = client.session;
    client.sign(0, &world.engineer).await;
    client.sign(1, &SigningKey::generate().unwrap()).await;
    client.down().await;
    let report = world.verified(session);
    assert_eq!((report.end, report.receipted), (Some(EndCause::Protocol), Some(0)));
}

/// The node reads receipt and goodbye together: the session is over before anything else can happen.
#[tokio::test]
async fn sec29_a_receipt_with_which_the_engineers_client_closes_the_channel_counts() {
    let world = World::new();
    let mut client = Unsigned::connect(&world).await;
    let session = client.session;
    client.sign(1, &world.engineer).await;
    client.sender.close().await.unwrap();
    client.down().await;
    let report = world.verified(session);
    assert_eq!((report.end, report.receipted), (Some(EndCause::Exit), Some(1)));
}
