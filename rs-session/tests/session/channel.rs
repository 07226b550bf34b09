//! The encrypted channel by itself.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use rs_session::channel::Channel;
use rs_session::protocol::{ClientMessage, WireFrame};
use tokio::io::duplex;

use crate::world::World;

/// Whoever sends may be called away at any moment, as the host is when the gate shuts.
#[tokio::test]
async fn a_frame_whose_sending_was_broken_off_comes_whole_before_the_next() {
    let world = World::new();
    let (near, far) = duplex(1024);
    let accept = Channel::accept(far, &world.node);
    let connect = Channel::connect(near, &world.engineer, world.node.public());
    let (accepted, connected) = tokio::join!(accept, connect);
    let (_, mut receiver) = accepted.unwrap().split();
    let (mut sender, _receiver) = connected.unwrap().split();
    receiver.set_limit(1 << 20);
    let sent: Vec<_> = (1..=3).map(long_message).collect();
    for message in &sent[..2] {
        let mut asked = pin!(sender.ask(message));
        let polled = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "more than the stream between holds");
    }
    let ask = async {
        sender.ask(&sent[2]).await.unwrap();
        sender.close().await.unwrap();
    };
    let read = async {
        let mut came = Vec::new();
        while let Some(WireFrame::Control(body)) = receiver.next_frame().await.unwrap() {
            came.push(serde_json::from_slice::<ClientMessage>(&body).unwrap());
        }
        came
    };
    let ((), came) = tokio::join!(ask, read);
    assert_eq!(came, sent);
}

fn long_message(invocation: u64) -> ClientMessage {
    let line = invocation.to_string().repeat(200_000);
    ClientMessage::Invoke { invocation, line, form: Default::default(), columns: None }
}
