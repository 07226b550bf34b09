//! What the .NET, Java and Go clients put on the wire, byte for byte, against the relay. Those clients themselves do not run
//! here; that they do this is what the tests take for granted.

use std::time::Duration;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use rs_relay::client::{HybridConnection, ReadyToken, Sender};
use rs_relay::proto::frame::{Kind, Opcode};
use serde_json::Value;
use sha2::Sha256;

use crate::support::{Bare, Frame, LISTEN_KEY, Relay, SEND_KEY, pattern, soon};

const WAIT: Duration = Duration::from_secs(60);

/// A listener by hand and a request that it was told of.
async fn asked(relay: &Relay, body: Vec<u8>) -> (Bare, tokio::task::JoinHandle<Vec<u8>>) {
    let token = relay.token("hyco", "listen", LISTEN_KEY, 3600);
    let control = relay.bare_listener("hyco", &token).await;
    let sender = Sender::new(relay.connection("hyco", "send", SEND_KEY), relay.connector());
    let request = http::Request::post("/").body(Full::new(Bytes::from(body))).unwrap();
    let asking = tokio::spawn(async move {
        let response = sender.request(request, WAIT).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    });
    (control, asking)
}

async fn message(bare: &mut Bare) -> Value {
    let frame = bare.next().await.unwrap();
    assert_eq!((frame.fin, frame.opcode), (true, 1), "a text message");
    serde_json::from_slice(&frame.payload).unwrap()
}

/// Goes where the message says.
async fn met(relay: &Relay, request: &Value) -> Bare {
    let address = request["request"]["address"].as_str().unwrap();
    let mut bare = relay.open(&address[address.find("/$hc").unwrap()..], &[], b"").await;
    assert!(bare.head().await.0.contains(" 101 "));
    bare
}

async fn say(bare: &mut Bare, text: &str) {
    bare.send(Opcode::Begin(Kind::Text), true, text.as_bytes()).await;
}

fn response(request: &Value) -> String {
    let id = request["request"]["id"].as_str().unwrap();
    format!(
        r#"{{"response":{{"requestId":"{id}","statusCode":200,"statusDescription":"OK","responseHeaders":{{"Content-Type":"text/plain"}},"body":true}}}}"#
    )
}

#[tokio::test]
async fn dotnet_listener_answers_over_the_rendezvous_in_fragments_with_an_empty_last_one() {
    let relay = Relay::start().await;
    let (mut control, asking) = asked(&relay, b"small".to_vec()).await;
    let request = message(&mut control).await;
    assert_eq!(request["request"]["body"], true, "complete");
    assert_eq!(control.next().await.unwrap().payload, b"small");
    let mut meeting = met(&relay, &request).await;
    let body = pattern(150_000, 1);
    say(&mut meeting, &response(&request)).await;
    for (index, piece) in body.chunks(64 * 1024).enumerate() {
        let opcode = if index == 0 { Opcode::Begin(Kind::Binary) } else { Opcode::Continuation };
        meeting.send(opcode, false, piece).await;
    }
    meeting.send(Opcode::Continuation, true, b"").await;
    meeting.send(Opcode::Close, true, &Frame::close(1000, "NormalClosure").payload).await;
    assert!(soon(asking).await.unwrap() == body);
}

#[tokio::test]
async fn java_listener_ends_a_body_with_a_close_and_never_with_a_last_frame() {
    let relay = Relay::start().await;
    let (mut control, asking) = asked(&relay, b"small".to_vec()).await;
    let request = message(&mut control).await;
    let endpoint = &request["request"]["remoteEndpoint"];
    assert!(endpoint["address"].is_string() && endpoint["port"].is_u64(), "it throws without one");
    control.next().await.unwrap();
    let mut meeting = met(&relay, &request).await;
    let body = pattern(100_000, 2);
    say(&mut meeting, &response(&request)).await;
    meeting.send(Opcode::Begin(Kind::Binary), false, &body[..60_000]).await;
    meeting.send(Opcode::Continuation, false, &body[60_000..]).await;
    meeting.send(Opcode::Close, true, &Frame::close(1000, "").payload).await;
    assert!(soon(asking).await.unwrap() == body);
}

#[tokio::test]
async fn java_listener_gets_no_frame_above_64_kib() {
    let relay = Relay::start().await;
    let body = pattern(300_000, 3);
    let (mut control, asking) = asked(&relay, body.clone()).await;
    let announcement = message(&mut control).await;
    assert_eq!(announcement["request"].as_object().unwrap().len(), 2, "address and id only: {announcement}");
    let mut meeting = met(&relay, &announcement).await;
    let request = message(&mut meeting).await;
    assert_eq!((&request["request"]["method"], &request["request"]["body"]), (&"POST".into(), &true.into()));
    let mut read = Vec::new();
    loop {
        let frame = meeting.next().await.unwrap();
        assert!(frame.payload.len() <= 64 * 1024, "{}", frame.payload.len());
        read.extend(frame.payload);
        if frame.fin {
            break;
        }
    }
    assert!(read == body);
    say(&mut meeting, &response(&request)).await;
    meeting.send(Opcode::Begin(Kind::Binary), true, b"thanks").await;
    assert_eq!(soon(asking).await.unwrap(), b"thanks");
}

#[tokio::test]
async fn go_listener_writes_the_status_as_a_text_and_no_headers() {
    let relay = Relay::start().await;
    let (mut control, asking) = asked(&relay, Vec::new()).await;
    let request = message(&mut control).await;
    let id = request["request"]["id"].as_str().unwrap();
    let text = format!(
        r#"{{"response":{{"requestId":"{id}","statusCode":"200","statusDescription":"","responseHeaders":null,"body":true}}}}"#
    );
    say(&mut control, &text).await;
    control.send(Opcode::Begin(Kind::Binary), true, b"gopher").await;
    assert_eq!(soon(asking).await.unwrap(), b"gopher");
}

#[tokio::test]
async fn dotnet_listener_rejects_with_form_encoding() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 3600);
    let mut control = relay.bare_listener("hyco", &token).await;
    let sender = relay.sender("hyco");
    let connecting = tokio::spawn(async move { sender.connect().await });
    let target = control.accept_target().await;
    let reject = format!("{target}&sb-hc-statusCode=400&sb-hc-statusDescription=Rejected+by+user+code");
    assert!(relay.open(&reject, &[], b"").await.head().await.0.starts_with("HTTP/1.1 410 "));
    let error = soon(connecting).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "refused with status 400: Rejected by user code");
}

/// Tokens over resources as the SDKs write them.
#[tokio::test]
async fn tokens_in_the_spellings_of_the_sdks() {
    let relay = Relay::start().await;
    let _listener = relay.echo("azlocal/node-01").await;
    let port = relay.authority.port();
    let good = [
        // .NET: http, no port, a slash at the end.
        "http%3A%2F%2Flocalhost%2Fazlocal%2Fnode-01%2F".to_owned(),
        // Older .NET and PHP: escapes in lower case.
        "http%3a%2f%2flocalhost%2fazlocal%2fnode-01%2f".to_owned(),
        // Java: the address's own scheme.
        "sb%3A%2F%2Flocalhost%2Fazlocal%2Fnode-01".to_owned(),
        // Java for a namespace: no path at all.
        "https%3A%2F%2Flocalhost".to_owned(),
        // Node: the port stays.
        format!("http%3A%2F%2Flocalhost%3A{port}%2Fazlocal%2Fnode-01"),
        // Go: all in lower case, another port.
        "http%3A%2F%2Flocalhost%3A4711%2Fazlocal%2Fnode-01".to_owned(),
    ];
    for resource in good {
        let error = connect(&relay, &signed(&resource)).await;
        assert_eq!(error, None, "{resource}");
    }
    for resource in
        ["http%3A%2F%2Flocalhost%2Fazlocal%2Fnode-0", "http%3A%2F%2Felsewhere%2Fazlocal%2Fnode-01"]
    {
        let status = connect(&relay, &signed(resource)).await;
        assert!(matches!(status, Some(401 | 403)), "{resource}: {status:?}");
    }
}

/// A token whose `sr` is exactly this, as a client would write it.
fn signed(sr: &str) -> String {
    let end = (rs_relay::Clock::now(&rs_relay::SystemClock) + chrono::TimeDelta::hours(1)).timestamp();
    let mut mac = Hmac::<Sha256>::new_from_slice(SEND_KEY.as_bytes()).unwrap();
    mac.update(format!("{sr}\n{end}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature = percent_encoding::utf8_percent_encode(&signature, percent_encoding::NON_ALPHANUMERIC);
    format!("SharedAccessSignature sr={sr}&sig={signature}&se={end}&skn=send")
}

async fn connect(relay: &Relay, token: &str) -> Option<u16> {
    let tokens = ReadyToken::new(token.to_owned().into());
    let connection = HybridConnection::new(relay.authority.clone(), "azlocal/node-01".parse().unwrap())
        .with_tokens(std::sync::Arc::new(tokens));
    soon(Sender::new(connection, relay.connector()).connect())
        .await
        .err()
        .map(|error| error.status().unwrap())
}

#[tokio::test]
async fn dotnet_sender_names_no_action_and_java_listener_wants_a_guid() {
    let relay = Relay::start().await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 3600);
    let mut control = relay.bare_listener("hyco", &token).await;
    let token = relay.token("hyco", "send", SEND_KEY, 3600);
    let headers = [("ServiceBusAuthorization", token.as_str())];
    let _sender = relay.open("/$hc/hyco?sb-hc-id=no-guid", &headers, b"").await;
    let accept = control.accept().await;
    let id = accept["accept"]["id"].as_str().unwrap();
    assert!(id.contains("no-guid"), "{id}");
    assert!(accept["accept"]["remoteEndpoint"]["port"].is_u64());
    for (name, value) in accept["accept"]["connectHeaders"].as_object().unwrap() {
        assert!(value.is_string(), "{name}: .NET and Java take texts only");
    }
    // Java splits the query at each `=`.
    let address = accept["accept"]["address"].as_str().unwrap();
    let secret = address.rsplit("sb-hc-rdv=").next().unwrap();
    assert!(!secret.is_empty() && !secret.contains(['=', '%']), "{address}");
}
