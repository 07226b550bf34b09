//! HTTP senders against listeners that speak the control channel by hand.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::ext::ReasonPhrase;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rs_relay::proto::frame::{Kind, Opcode};
use rs_relay::proto::limits::{CONTROL_BODY_BYTES_MAX, INLINE_BODY_BYTES_MAX};
use rs_relay::server::{EntitySettings, Kinds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{Bare, LISTEN_KEY, Relay, SEND_KEY, eventually, leap, pattern, settle, soon};

type Body = BoxBody<Bytes, std::io::Error>;
type Answered = JoinHandle<hyper::Result<Response<Incoming>>>;

const TEXT: Opcode = Opcode::Begin(Kind::Text);
const BINARY: Opcode = Opcode::Begin(Kind::Binary);

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body without a length, fed by hand.
fn chunked() -> (mpsc::Sender<Bytes>, Body) {
    let (feed, mut fed) = mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::poll_fn(move |cx| fed.poll_recv(cx));
    let stream = futures_util::StreamExt::map(stream, |bytes| Ok(Frame::data(bytes)));
    (feed, BodyExt::boxed(StreamBody::new(stream)))
}

/// One connection of a sender.
struct Http {
    send: SendRequest<Body>,
    token: String,
}

impl Http {
    async fn open(relay: &Relay, entity: &str) -> Self {
        let (send, connection) = http1::handshake(TokioIo::new(relay.tls().await)).await.unwrap();
        tokio::spawn(connection);
        Self { send, token: relay.token(entity, "send", SEND_KEY, 60) }
    }

    fn request(&self, method: &str, target: &str) -> http::request::Builder {
        Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(target)
            .header("Host", "relay.example.test")
            .header("ServiceBusAuthorization", &self.token)
    }

    async fn send(&mut self, request: Request<Body>) -> Answered {
        self.send.ready().await.unwrap();
        tokio::spawn(self.send.send_request(request))
    }

    async fn get(&mut self, target: &str) -> Answered {
        let request = self.request("GET", target).body(whole("")).unwrap();
        self.send(request).await
    }

    async fn post(&mut self, target: &str, body: Body) -> Answered {
        let request = self.request("POST", target).body(body).unwrap();
        self.send(request).await
    }
}

async fn answered(pending: Answered) -> Response<Incoming> {
    soon(pending).await.unwrap().unwrap()
}

async fn body(response: Response<Incoming>) -> Vec<u8> {
    soon(response.into_body().collect()).await.unwrap().to_bytes().to_vec()
}

fn reason(response: &Response<Incoming>) -> String {
    let phrase = response.extensions().get::<ReasonPhrase>();
    phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned()).unwrap_or_default()
}

/// A listener by hand.
async fn listener(relay: &Relay) -> Bare {
    relay.bare_listener("hyco", &relay.token("hyco", "listen", LISTEN_KEY, 3600)).await
}

/// The next request message.
async fn request(bare: &mut Bare) -> Value {
    let mut message = bare.accept().await;
    message["request"].take()
}

/// The binary message behind it, whose frames no client is too small for.
async fn binary(bare: &mut Bare) -> Vec<u8> {
    let mut collected = Vec::new();
    loop {
        let frame = bare.next().await.unwrap();
        assert_eq!(frame.opcode, if collected.is_empty() { 2 } else { 0 });
        assert!(frame.payload.len() <= 65_536);
        collected.extend(frame.payload);
        if frame.fin {
            return collected;
        }
    }
}

fn response(id: &Value, status: u16, body: bool) -> String {
    json!({"response": {"requestId": id, "statusCode": status, "responseHeaders": {"X-From": "listener"}, "body": body}})
        .to_string()
}

async fn respond(bare: &mut Bare, id: &Value, body: &[u8]) {
    bare.send(TEXT, true, response(id, 200, true).as_bytes()).await;
    bare.send(BINARY, true, body).await;
}

/// Opens the rendezvous of a request.
async fn meet(relay: &Relay, request: &Value) -> Bare {
    let address = request["address"].as_str().unwrap();
    let mut bare = relay.open(&address[address.find("/$hc").unwrap()..], &[], b"").await;
    assert!(bare.head().await.0.contains(" 101 "));
    bare
}

#[tokio::test]
async fn a_request_and_its_response_on_the_control_channel() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let sent = sender
        .request("PUT", "/hyco/a%20b?x=1&sb-hc-id=7&y")
        .header("X-App", "1")
        .header("TE", "trailers")
        .body(whole("hello"))
        .unwrap();
    let pending = sender.send(sent).await;
    let message = request(&mut control).await;
    assert_eq!(message["requestTarget"], "/hyco/a%20b?x=1&y");
    assert_eq!((&message["method"], &message["body"]), (&json!("PUT"), &json!(true)));
    assert_eq!(message["remoteEndpoint"]["address"], "127.0.0.1");
    let headers = &message["requestHeaders"];
    assert_eq!(headers, &json!({"Host": "relay.example.test", "X-App": "1", "Via": "1.1 localhost"}));
    let address = message["address"].as_str().unwrap();
    assert!(address.contains("/$hc/hyco?sb-hc-action=request&sb-hc-id="), "{address}");
    assert_eq!(binary(&mut control).await, b"hello");
    respond(&mut control, &message["id"], b"world").await;
    let response = answered(pending).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-from"], "listener");
    assert_eq!(response.headers()["via"], "1.1 localhost");
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(body(response).await, b"world");
}

#[tokio::test]
async fn bodies_at_and_past_64_kib() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let longest = pattern(INLINE_BODY_BYTES_MAX, 1);
    let pending = sender.post("/hyco", whole(longest.clone())).await;
    let message = request(&mut control).await;
    assert_eq!(message["body"], true);
    assert_eq!(binary(&mut control).await, longest);
    respond(&mut control, &message["id"], &longest).await;
    assert_eq!(body(answered(pending).await).await, longest);

    let longer = pattern(INLINE_BODY_BYTES_MAX + 1, 2);
    let pending = sender.post("/hyco", whole(longer.clone())).await;
    let announcement = request(&mut control).await;
    assert!(announcement.get("method").is_none() && announcement.get("body").is_none(), "{announcement}");
    let mut rendezvous = meet(&relay, &announcement).await;
    let message = request(&mut rendezvous).await;
    assert_eq!((&message["id"], &message["method"]), (&announcement["id"], &json!("POST")));
    assert_eq!(binary(&mut rendezvous).await, longer);
    // The answer in two frames, the last one empty, as the .NET SDK does.
    rendezvous.send(TEXT, true, response(&message["id"], 201, true).as_bytes()).await;
    rendezvous.send(BINARY, false, b"part").await;
    rendezvous.send(Opcode::Continuation, true, b"").await;
    let response = answered(pending).await;
    assert_eq!((response.status().as_u16(), body(response).await), (201, b"part".to_vec()));
    assert_eq!(rendezvous.next().await.unwrap().payload[..2], 1000_u16.to_be_bytes());

    // The sender's connection is good for the next one, which comes over the control channel again.
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    respond(&mut control, &message["id"], b"").await;
    assert_eq!(body(answered(pending).await).await, b"");
}

#[tokio::test]
async fn a_large_response_is_streamed_with_back_pressure() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    let mut rendezvous = meet(&relay, &message).await;
    rendezvous.send(TEXT, true, response(&message["id"], 200, true).as_bytes()).await;
    let piece = pattern(65_536, 3);
    rendezvous.send(BINARY, false, &piece).await;
    let response = answered(pending).await;
    assert_eq!(response.headers()["transfer-encoding"], "chunked");
    // Nobody reads: after what the buffers of both sides hold nothing more goes.
    let mut sent = 1;
    while tokio::time::timeout(
        Duration::from_millis(500),
        rendezvous.send(Opcode::Continuation, false, &piece),
    )
    .await
    .is_ok()
    {
        sent += 1;
        assert!(sent < 1000, "65 MB were taken for a sender that does not read");
    }
    // It reads, and the response goes on; the write that was given up was cut anywhere, so the end here is a loss.
    let mut incoming = response.into_body();
    let mut read = 0;
    drop(rendezvous);
    let lost = soon(async {
        loop {
            match incoming.frame().await {
                Some(Ok(frame)) => read += frame.into_data().unwrap().len(),
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    })
    .await;
    assert!(lost, "a response that was cut off must not look complete");
    assert!(read >= (sent - 1) * 65_536);
}

#[tokio::test]
async fn a_large_upload_and_download_arrive_whole() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let up = pattern(3_000_000, 4);
    let pending = sender.post("/hyco", whole(up.clone())).await;
    let announcement = request(&mut control).await;
    let mut rendezvous = meet(&relay, &announcement).await;
    let message = request(&mut rendezvous).await;
    assert_eq!(binary(&mut rendezvous).await, up);
    rendezvous.send(Opcode::Pong, true, b"unsolicited").await;
    rendezvous.send(Opcode::Ping, true, b"there").await;
    let pong = rendezvous.next().await.unwrap();
    assert_eq!((pong.opcode, &*pong.payload), (10, &b"there"[..]), "Pings are answered here, too");
    rendezvous.send(TEXT, true, response(&message["id"], 200, true).as_bytes()).await;
    let down = pattern(3_000_000, 5);
    let echo = tokio::spawn(async move {
        for (index, piece) in down.chunks(50_000).enumerate() {
            rendezvous.send(if index == 0 { BINARY } else { Opcode::Continuation }, false, piece).await;
        }
        // The Java SDK never sets FIN: its Close 1000 is the end of the body.
        rendezvous.send(Opcode::Close, true, &1000_u16.to_be_bytes()).await;
        down
    });
    let read = body(answered(pending).await).await;
    assert_eq!(read, soon(echo).await.unwrap());
}

#[tokio::test]
async fn chunked_bodies_short_and_long() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let (feed, chunks) = chunked();
    feed.send("short".into()).await.unwrap();
    drop(feed);
    let pending = sender.post("/hyco", chunks).await;
    let message = request(&mut control).await;
    assert_eq!(message["body"], true, "complete: it has ended already");
    assert_eq!(binary(&mut control).await, b"short");
    respond(&mut control, &message["id"], b"").await;
    answered(pending).await;

    // One that does not end soon is announced.
    let (feed, chunks) = chunked();
    let pending = sender.post("/hyco", chunks).await;
    feed.send("begun".into()).await.unwrap();
    let announcement = request(&mut control).await;
    assert!(announcement.get("method").is_none());
    let mut rendezvous = meet(&relay, &announcement).await;
    let message = request(&mut rendezvous).await;
    assert_eq!(rendezvous.next().await.unwrap().payload, b"begun");
    feed.send(" and ended".into()).await.unwrap();
    assert_eq!(rendezvous.next().await.unwrap().payload, b" and ended");
    drop(feed);
    let end = rendezvous.next().await.unwrap();
    assert_eq!((end.fin, end.opcode, end.payload.len()), (true, 0, 0));
    rendezvous.send(TEXT, true, response(&message["id"], 200, false).as_bytes()).await;
    assert_eq!(answered(pending).await.status(), 200);
}

#[tokio::test]
async fn responses_without_a_body_and_the_empty_message_behind_them() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("DELETE", 200)] {
        let sent = sender.request(method, "/hyco").body(whole("")).unwrap();
        let pending = sender.send(sent).await;
        let message = request(&mut control).await;
        assert_eq!(message["body"], false, "{method}");
        control.send(TEXT, true, response(&message["id"], status, false).as_bytes()).await;
        control.send(BINARY, true, b"").await;
        let response = answered(pending).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(body(response).await, b"");
    }
    // A body where none may be is dropped, and the connection stays in step.
    for status in [204, 304, 200] {
        let method = if status == 200 { "HEAD" } else { "GET" };
        let sent = sender.request(method, "/hyco").body(whole("")).unwrap();
        let pending = sender.send(sent).await;
        let message = request(&mut control).await;
        control.send(TEXT, true, response(&message["id"], status, true).as_bytes()).await;
        control.send(BINARY, true, b"not allowed").await;
        assert_eq!(body(answered(pending).await).await, b"");
    }
}

#[tokio::test]
async fn every_status_and_phrase_of_the_listener_passes() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    for status in [200_u16, 206, 301, 402, 404, 418, 429, 450, 451, 500, 502, 503, 504, 511, 599, 999] {
        let pending = sender.get("/hyco").await;
        let message = request(&mut control).await;
        let text = json!({"response": {
            "requestId": message["id"], "statusCode": status.to_string(), "statusDescription": "As I say",
            "responseHeaders": {"X-Number": 42, "Connection": "close", "Transfer-Encoding": "chunked"},
        }});
        control.send(TEXT, true, text.to_string().as_bytes()).await;
        let response = answered(pending).await;
        assert_eq!((response.status().as_u16(), reason(&response).as_str()), (status, "As I say"));
        assert_eq!(response.headers()["x-number"], "42");
        assert_eq!(response.headers()["via"], "1.1 localhost");
        assert_eq!(body(response).await, b"");
    }
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    control.send(TEXT, true, response(&message["id"], 101, false).as_bytes()).await;
    let response = answered(pending).await;
    assert_eq!(response.status(), 502);
    assert!(response.headers().get("via").is_none(), "its own answers carry no Via");
}

#[tokio::test]
async fn refusals_of_http_senders() {
    let relay = Relay::start_with(|builder| {
        builder
            .entity("declared".parse().unwrap(), EntitySettings::new())
            .entity("streams".parse().unwrap(), EntitySettings::new().kinds(Kinds::WebSocket))
            .entity("requests".parse().unwrap(), EntitySettings::new().kinds(Kinds::Http))
    })
    .await;
    let table = [
        ("/nobody", "nobody", 404, "Endpoint does not exist."),
        ("/declared", "declared", 404, "There are no listeners connected for the endpoint."),
        ("/declared", "other", 401, "The token was made for another resource."),
        ("/streams", "streams", 405, "The endpoint takes WebSocket connections only."),
        ("/", "declared", 400, "The address is malformed"),
        ("/declared/../x", "declared", 400, "The address is malformed"),
    ];
    for (target, entity, status, text) in table {
        let mut sender = Http::open(&relay, entity).await;
        let pending = sender.get(target).await;
        let response = answered(pending).await;
        assert_eq!(response.status(), status, "{target}");
        let phrase = reason(&response);
        assert!(phrase.starts_with(text) && phrase.contains("TrackingId:"), "{phrase}");
        assert!(response.headers().get("via").is_none());
        assert!(String::from_utf8(body(response).await).unwrap().starts_with(text));
    }
    let mut sender = Http::open(&relay, "declared").await;
    sender.token = String::new();
    let pending = sender.get("/declared").await;
    assert_eq!(answered(pending).await.status(), 401);
    let mut sender = Http::open(&relay, "declared").await;
    sender.token = relay.token("declared", "listen", LISTEN_KEY, 60);
    let pending = sender.get("/declared").await;
    assert_eq!(answered(pending).await.status(), 403);
    let mut management = Http::open(&relay, "declared").await;
    let sent = management.request("GET", "/declared").header("X-PROCESS-AT", "ServiceBus").body(whole(""));
    let pending = management.send(sent.unwrap()).await;
    assert_eq!(answered(pending).await.status(), 404);
    // The other way round.
    let token = relay.token("requests", "send", SEND_KEY, 60);
    let headers = [("ServiceBusAuthorization", token.as_str())];
    let (status, _) = relay.open("/$hc/requests", &headers, b"").await.head().await;
    assert!(status.starts_with("HTTP/1.1 405 The endpoint takes HTTP requests only."), "{status}");
}

#[tokio::test]
async fn authorization_is_the_applications_unless_it_was_the_token() {
    let relay = Relay::start_with(|builder| {
        builder.entity("open".parse().unwrap(), EntitySettings::new().dangerous_anonymous_senders())
    })
    .await;
    let mut control = listener(&relay).await;
    let sas = relay.token("hyco", "send", SEND_KEY, 60);
    let mut sender = Http::open(&relay, "hyco").await;
    let with_both = sender.request("GET", "/hyco").header("Authorization", "Basic app").body(whole(""));
    let alone = Request::get("/hyco").header("Host", "h").header("Authorization", &sas).body(whole(""));
    for (sent, expected) in [(with_both, json!("Basic app")), (alone, Value::Null)] {
        let pending = sender.send(sent.unwrap()).await;
        let message = request(&mut control).await;
        assert_eq!(message["requestHeaders"]["Authorization"], expected);
        assert!(!message.to_string().contains("SharedAccessSignature"));
        respond(&mut control, &message["id"], b"").await;
        answered(pending).await;
    }
    let mut control = relay.bare_listener("open", &relay.token("open", "listen", LISTEN_KEY, 60)).await;
    let anonymous = Request::get("/open?sb-hc-token=x").header("Host", "h").header("Authorization", "app");
    let pending = sender.send(anonymous.body(whole("")).unwrap()).await;
    let message = request(&mut control).await;
    assert_eq!(message["requestHeaders"]["Authorization"], "app");
    assert_eq!(message["requestTarget"], "/open");
    respond(&mut control, &message["id"], b"").await;
    answered(pending).await;
}

#[tokio::test]
async fn requests_of_one_sender_are_answered_in_any_order() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut pending = Vec::new();
    let mut messages = Vec::new();
    for index in 0..20 {
        let mut sender = Http::open(&relay, "hyco").await;
        pending.push(sender.post("/hyco", whole(format!("{index}"))).await);
        let message = request(&mut control).await;
        let sent = binary(&mut control).await;
        messages.push((message["id"].clone(), sent));
    }
    for (id, sent) in messages.iter().rev() {
        respond(&mut control, id, sent).await;
    }
    for (index, pending) in pending.into_iter().enumerate() {
        assert_eq!(body(answered(pending).await).await, format!("{index}").as_bytes());
    }
}

#[tokio::test]
async fn a_listener_cannot_answer_what_another_was_given() {
    let relay = Relay::start().await;
    let mut first = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut first).await;
    let mut second = listener(&relay).await;
    respond(&mut second, &message["id"], b"stolen").await;
    respond(&mut second, &json!("unknown"), b"").await;
    second.send(Opcode::Ping, true, b"read all").await;
    assert_eq!(second.next().await.unwrap().payload, b"read all");
    respond(&mut first, &message["id"], b"mine").await;
    assert_eq!(body(answered(pending).await).await, b"mine");
}

#[tokio::test]
async fn a_lost_listener_gives_502_and_what_it_was_not_told_goes_to_another() {
    let relay = Relay::start().await;
    let mut dying = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    request(&mut dying).await;
    drop(dying);
    let response = answered(pending).await;
    assert_eq!(response.status(), 502);
    assert!(response.headers().get("via").is_none());
}

#[tokio::test]
async fn a_body_that_was_announced_and_never_comes() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut first = Http::open(&relay, "hyco").await;
    let mut second = Http::open(&relay, "hyco").await;
    let broken = first.get("/hyco").await;
    let message = request(&mut control).await;
    control.send(TEXT, true, response(&message["id"], 200, true).as_bytes()).await;
    let good = second.get("/hyco").await;
    let message = request(&mut control).await;
    respond(&mut control, &message["id"], b"fine").await;
    assert_eq!(answered(broken).await.status(), 502);
    assert_eq!(body(answered(good).await).await, b"fine");
}

#[tokio::test]
async fn sec43_a_response_on_the_control_channel_that_is_too_long() {
    let relay = Relay::start().await;
    for (bytes, fine) in [(CONTROL_BODY_BYTES_MAX, true), (CONTROL_BODY_BYTES_MAX + 1, false)] {
        let mut control = listener(&relay).await;
        let mut sender = Http::open(&relay, "hyco").await;
        let pending = sender.get("/hyco").await;
        let message = request(&mut control).await;
        respond(&mut control, &message["id"], &vec![7; bytes]).await;
        let response = answered(pending).await;
        if fine {
            assert_eq!(body(response).await.len(), bytes);
        } else {
            assert_eq!(response.status(), 502);
            assert_eq!(control.next().await.unwrap().payload[..2], 1009_u16.to_be_bytes());
        }
        drop(control);
        eventually("the listener is gone", || relay.server.listeners(&"hyco".parse().unwrap()) == 0).await;
    }
}

#[tokio::test]
async fn no_response_within_60_seconds_and_a_late_rendezvous() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    leap(Duration::from_secs(59)).await;
    settle().await;
    assert!(!pending.is_finished());
    leap(Duration::from_secs(2)).await;
    let response = answered(pending).await;
    assert_eq!(response.status(), 504);
    assert!(reason(&response).starts_with("The listener did not respond within 60 seconds."));
    // It comes after all: it is let in, heard out and told.
    let mut late = meet(&relay, &message).await;
    late.send(TEXT, true, response_text(&message).as_bytes()).await;
    late.send(BINARY, false, &pattern(60_000, 1)).await;
    late.send(Opcode::Continuation, true, b"end").await;
    assert_eq!(late.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
    // Once.
    let address = message["address"].as_str().unwrap();
    let (status, _) = relay.open(&address[address.find("/$hc").unwrap()..], &[], b"").await.head().await;
    assert!(status.contains(" 403 "), "{status}");
    // And the listener is as good as ever.
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    respond(&mut control, &message["id"], b"again").await;
    assert_eq!(body(answered(pending).await).await, b"again");
}

fn response_text(message: &Value) -> String {
    response(&message["id"], 200, true)
}

#[tokio::test]
async fn a_sender_that_left_before_the_rendezvous() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    drop(sender);
    pending.abort();
    settle().await;
    let mut late = meet(&relay, &message).await;
    late.send(TEXT, true, response(&message["id"], 200, false).as_bytes()).await;
    assert_eq!(late.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
    // On the control channel nobody is waiting either, and nothing breaks.
    respond(&mut control, &message["id"], b"for nobody").await;
    control.send(Opcode::Ping, true, b"alive").await;
    assert_eq!(control.next().await.unwrap().payload, b"alive");
}

#[tokio::test]
async fn a_listener_lost_in_the_middle_of_a_response_is_seen() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    let mut rendezvous = meet(&relay, &message).await;
    rendezvous.send(TEXT, true, response_text(&message).as_bytes()).await;
    rendezvous.send(BINARY, false, b"half").await;
    let response = answered(pending).await;
    drop(rendezvous);
    assert!(soon(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn r16_a_burst_of_1000_requests_loses_none() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let echo = tokio::spawn(async move {
        for _ in 0..1000 {
            let message = request(&mut control).await;
            let sent = binary(&mut control).await;
            respond(&mut control, &message["id"], &sent).await;
        }
        control
    });
    let mut connections = Vec::new();
    for _ in 0..50 {
        connections.push(Http::open(&relay, "hyco").await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (index, mut sender) in connections.into_iter().enumerate() {
        tasks.spawn(async move {
            for round in 0..20 {
                let sent = format!("{index}-{round}");
                let pending = sender.post("/hyco", whole(sent.clone())).await;
                assert_eq!(body(answered(pending).await).await, sent.as_bytes());
            }
        });
    }
    soon(tasks.join_all()).await;
    soon(echo).await.unwrap();
}

#[tokio::test]
async fn r16_requests_are_spread_evenly_over_25_listeners() {
    let relay = Relay::start().await;
    let (heard, mut all_heard) = mpsc::channel(500);
    for index in 0..25 {
        let (mut control, heard) = (listener(&relay).await, heard.clone());
        tokio::spawn(async move {
            loop {
                let message = request(&mut control).await;
                heard.send(index).await.unwrap();
                control.send(TEXT, true, response(&message["id"], 200, false).as_bytes()).await;
            }
        });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut sender = Http::open(&relay, "hyco").await;
        tasks.spawn(async move {
            for _ in 0..25 {
                let pending = sender.get("/hyco").await;
                assert_eq!(answered(pending).await.status(), 200);
            }
        });
    }
    soon(tasks.join_all()).await;
    let mut counts = [0_f64; 25];
    for _ in 0..500 {
        counts[soon(all_heard.recv()).await.unwrap()] += 1.0;
    }
    // Chi-squared with 24 degrees of freedom: beyond 80 once in ten million runs.
    let deviation: f64 = counts.iter().map(|count| (count - 20.0).powi(2) / 20.0).sum();
    assert!(deviation < 80.0, "{deviation}: {counts:?}");
}

#[tokio::test]
async fn sec49_shutdown_lets_requests_be_answered() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    let server = relay.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(Duration::from_secs(20)).await });
    settle().await;
    respond(&mut control, &message["id"], b"in time").await;
    assert_eq!(body(answered(pending).await).await, b"in time");
    assert_eq!(control.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
    drop((control, sender));
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn sec49_a_rendezvous_is_met_during_a_shutdown_and_new_work_is_refused() {
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let mut sender = Http::open(&relay, "hyco").await;
    let pending = sender.get("/hyco").await;
    let message = request(&mut control).await;
    let server = relay.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(Duration::from_secs(20)).await });
    eventually("it shuts down", || !relay.server.is_ready()).await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let headers = [("ServiceBusAuthorization", token.as_str())];
    let (status, headers) = relay.open("/$hc/hyco?sb-hc-action=listen", &headers, b"").await.head().await;
    assert!(status.contains(" 503 ") && headers.contains("\r\nretry-after: 2\r\n"), "{status} {headers}");
    let mut late = Http::open(&relay, "hyco").await;
    let refused = answered(late.get("/hyco").await).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    let large = pattern(200_000, 6);
    let mut rendezvous = meet(&relay, &message).await;
    rendezvous.send(TEXT, true, response_text(&message).as_bytes()).await;
    rendezvous.send(BINARY, true, &large).await;
    assert_eq!(body(answered(pending).await).await, large);
    drop((control, sender, late, rendezvous));
    soon(stopping).await.unwrap();
}

#[tokio::test]
async fn an_http_1_0_sender_gets_a_response_that_ends_with_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let relay = Relay::start().await;
    let mut control = listener(&relay).await;
    let token = relay.token("hyco", "send", SEND_KEY, 60);
    let mut io = relay.tls().await;
    let head = format!("GET /hyco HTTP/1.0\r\nServiceBusAuthorization: {token}\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let message = request(&mut control).await;
    let mut rendezvous = meet(&relay, &message).await;
    rendezvous.send(TEXT, true, response_text(&message).as_bytes()).await;
    rendezvous.send(BINARY, false, b"one ").await;
    rendezvous.send(Opcode::Continuation, true, b"two").await;
    let mut answer = String::new();
    soon(io.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\none two"), "{answer}");
}
