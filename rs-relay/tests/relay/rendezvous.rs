//! Listener and sender meet over real TLS sockets.

use crate::support::{Relay, round_trip, soon};

#[tokio::test]
async fn r04_echo() {
    let relay = Relay::start().await;
    relay.echo("azlocal/node-01").await;
    let mut stream = soon(relay.sender("azlocal/node-01").connect()).await.unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(soon(round_trip(&mut stream, &bytes)).await, bytes);
}
