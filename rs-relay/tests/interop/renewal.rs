//! The packages' own renewals: tokens of an hour, renewed by a timer of an hour, so that each comes just after the end of
//! the one before. A day of them, by the relay's clock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use rs_relay::client::{HybridConnection, ReadyToken, Sender};
use rs_relay::server::{EntitySettings, Kinds};
use rs_relay::{Clock as _, ManualClock, SystemClock};
use serde_json::json;

use crate::peer::Site;
use crate::support::{SEND_KEY, leap, round_trip, soon};

const HOUR: Duration = Duration::from_secs(3600);

/// How late the packages are: their timer is set after the token was made.
const LATE: Duration = Duration::from_secs(3);

/// After this the relay has looked at every token again.
const LOOK: Duration = Duration::from_secs(31);

struct Day {
    site: Site,
    clock: Arc<ManualClock>,
    sender: Sender,
    kinds: Kinds,
}

impl Day {
    async fn start(kinds: Kinds) -> Option<Self> {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let (of_relay, settings) = (Arc::clone(&clock), EntitySettings::new().kinds(kinds));
        let site =
            Site::start_with(|builder| builder.clock(of_relay).entity("hyco".parse().unwrap(), settings));
        let site = site.await?;
        let token = site.relay.token("hyco", "send", SEND_KEY, 30 * 86_400);
        let connection = HybridConnection::new(site.relay.authority.clone(), "hyco".parse().unwrap())
            .with_tokens(Arc::new(ReadyToken::new(token.into())));
        let sender = Sender::new(connection, site.relay.connector());
        Some(Self { site, clock, sender, kinds })
    }

    fn listeners(&self) -> usize {
        self.site.relay.server.listeners(&"hyco".parse().unwrap())
    }

    async fn answers(&self) {
        if self.kinds == Kinds::WebSocket {
            let mut stream = soon(self.sender.connect()).await.unwrap();
            assert_eq!(soon(round_trip(&mut stream, b"there?")).await, b"there?");
        } else {
            let request = http::Request::post("/").body(Full::new(Bytes::from("there?"))).unwrap();
            let response = soon(self.sender.request(request, Duration::from_secs(60))).await.unwrap();
            assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), "there?");
        }
    }

    /// Time passes for the relay, which looks at its listeners' tokens then.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        leap(LOOK).await;
    }
}

async fn a_day(package: &str, kinds: Kinds) {
    let Some(day) = Day::start(kinds).await else { return };
    let mut listener = day.site.listener(package, json!({"echo": true})).await;
    day.answers().await;
    for hour in 0..24 {
        day.pass(HOUR + LATE).await;
        assert_eq!(day.listeners(), 1, "hour {hour}: a token that has just ended has some patience");
        listener.tell(json!({"do": "pass", "seconds": (HOUR + LATE).as_secs(), "renew": true})).await;
        listener.wait("token").await;
        // The answer goes the way of the renewal, after it.
        day.answers().await;
    }
    // The control: a timer that does not fire. The relay closes, and the package comes back with another token.
    let time = HOUR + LATE + LOOK;
    listener.tell(json!({"do": "pass", "seconds": time.as_secs(), "renew": false})).await;
    day.pass(time).await;
    listener.wait("token").await;
    listener.wait("listening").await;
    day.answers().await;
}

#[tokio::test]
async fn r07_hyco_ws_renews_for_a_day() {
    a_day("ws", Kinds::WebSocket).await;
}

#[tokio::test]
async fn r07_hyco_https_renews_for_a_day() {
    a_day("https", Kinds::Http).await;
}
