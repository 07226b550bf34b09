//! An axum application behind the relay.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use futures_util::StreamExt as _;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use rs_relay::client::{
    CONTROL_BODY_BYTES_MAX, ConnectError, Listener, ListenerBuilder, RequestInfo, ResponseBody, Sender,
};
use tokio::sync::{mpsc, oneshot};

use crate::support::{LISTEN_KEY, Relay, SEND_KEY, pattern, soon};

const WAIT: Duration = Duration::from_secs(60);

async fn serve(relay: &Relay, app: Router, set: impl FnOnce(ListenerBuilder) -> ListenerBuilder) -> Listener {
    let builder = Listener::builder(relay.connection("hyco", "listen", LISTEN_KEY), relay.connector());
    let listener = set(builder.http(app)).start();
    assert!(soon(listener.status().online()).await);
    listener
}

fn sender(relay: &Relay) -> Sender {
    Sender::new(relay.connection("hyco", "send", SEND_KEY), relay.connector())
}

fn as_stream<T>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

async fn echo(request: Request) -> impl IntoResponse {
    request.into_body()
}

async fn ask(sender: &Sender, method: &str, target: &str, body: Vec<u8>) -> http::Response<ResponseBody> {
    let request =
        http::Request::builder().method(method).uri(target).body(Full::new(Bytes::from(body))).unwrap();
    soon(sender.request(request, WAIT)).await.unwrap()
}

async fn bytes(response: http::Response<ResponseBody>) -> Vec<u8> {
    soon(response.into_body().collect()).await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn bodies_of_all_sizes_both_ways() {
    let relay = Relay::start().await;
    let _listener =
        serve(&relay, Router::new().route("/", post(echo)), |b| b.strip_entity().http_only()).await;
    let sender = sender(&relay);
    for size in [0, 1, CONTROL_BODY_BYTES_MAX, CONTROL_BODY_BYTES_MAX + 1, 3_000_000] {
        let sent = pattern(size, size);
        let response = ask(&sender, "POST", "/", sent.clone()).await;
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("via"));
        assert!(bytes(response).await == sent, "{size}");
    }
}

#[tokio::test]
async fn the_application_sees_what_was_asked() {
    let relay = Relay::start().await;
    let seen = async |request: Request| {
        let info = request.extensions().get::<RequestInfo>().unwrap();
        let headers = request.headers();
        let token = headers.contains_key("servicebusauthorization");
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        format!(
            "{} {} {} {:?} {token}",
            request.method(),
            request.uri(),
            info.remote_endpoint.address,
            text("x-app")
        )
    };
    let app = Router::new().fallback(seen);
    let _whole = serve(&relay, app.clone(), |b| b).await;
    let request =
        http::Request::put("/a%20b?x=1&y").header("X-App", "7").body(Empty::<Bytes>::new()).unwrap();
    let response = soon(sender(&relay).request(request, WAIT)).await.unwrap();
    assert_eq!(bytes(response).await, br#"PUT /hyco/a%20b?x=1&y 127.0.0.1 Some("7") false"#);
    drop(_whole);
    let hyco = "hyco".parse().unwrap();
    crate::support::eventually("it is gone", || relay.server.listeners(&hyco) == 0).await;
    let _below = serve(&relay, app, |b| b.strip_entity()).await;
    let answer = bytes(ask(&sender(&relay), "GET", "/?q", Vec::new()).await).await;
    assert_eq!(answer, b"GET /?q 127.0.0.1 None false");
}

#[tokio::test]
async fn statuses_headers_and_answers_without_a_body() {
    let relay = Relay::start().await;
    let app = Router::new()
        .route("/teapot", any(|| async { (StatusCode::IM_A_TEAPOT, [("x-own", "1")], "short and stout") }))
        .route("/nothing", any(|| async { StatusCode::NO_CONTENT }))
        .route("/same", any(|| async { StatusCode::NOT_MODIFIED }))
        .route(
            "/fault",
            any(|| async {
                if true {
                    panic!("a fault of the application")
                }
            }),
        )
        .route("/query", get(|Query(q): Query<Vec<(String, String)>>| async move { format!("{q:?}") }));
    let _listener = serve(&relay, app, |b| b.strip_entity()).await;
    let sender = sender(&relay);
    let response = ask(&sender, "GET", "/teapot", Vec::new()).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-own"]), (418, &"1".parse().unwrap()));
    assert_eq!(bytes(response).await, b"short and stout");
    for (method, target, status) in [
        ("HEAD", "/teapot", 418),
        ("GET", "/nothing", 204),
        ("GET", "/same", 304),
        ("GET", "/elsewhere", 404),
    ] {
        let response = ask(&sender, method, target, Vec::new()).await;
        assert_eq!(response.status(), status);
        assert!(bytes(response).await.is_empty(), "{target}");
    }
    let response = ask(&sender, "POST", "/fault", b"x".to_vec()).await;
    assert_eq!((response.status().as_u16(), bytes(response).await), (500, b"The service failed.".to_vec()));
    let response = ask(&sender, "GET", "/query?a=1&b=%26", Vec::new()).await;
    assert_eq!(bytes(response).await, br#"[("a", "1"), ("b", "&")]"#);
}

#[tokio::test]
async fn every_verb_reaches_the_service() {
    let relay = Relay::start().await;
    let app = Router::new().fallback(async |request: Request| [("x-verb", request.method().to_string())]);
    let _listener = serve(&relay, app, |b| b).await;
    let sender = sender(&relay);
    for verb in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PROPFIND"] {
        let response = ask(&sender, verb, "/", Vec::new()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-verb"]),
            (200, &verb.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn headers_of_several_lines_arrive_as_one() {
    let relay = Relay::start().await;
    let app = Router::new().fallback(async |request: Request| {
        let seen = request.headers()["x-app"].to_str().unwrap().to_owned();
        let two = [("x-back", "first"), ("x-back", "second")];
        (axum::response::AppendHeaders(two), seen)
    });
    let _listener = serve(&relay, app, |b| b).await;
    let request = http::Request::get("/").header("X-App", "one").header("X-App", "two");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = soon(sender(&relay).request(request, Duration::from_secs(60))).await.unwrap();
    assert_eq!(response.headers()["x-back"], "first, second");
    assert_eq!(bytes(response).await, b"one, two");
}

/// An application that streams what it is told.
fn streaming() -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Router) {
    let (pieces, receiver) = mpsc::channel(1);
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let app = Router::new()
        .fallback(async move || Body::from_stream(as_stream(receiver.lock().unwrap().take().unwrap())));
    (pieces, app)
}

#[tokio::test]
async fn a_response_is_streamed_as_it_comes() {
    let relay = Relay::start().await;
    let (pieces, app) = streaming();
    let _listener = serve(&relay, app, |b| b).await;
    pieces.send(Ok("first".into())).await.unwrap();
    let mut response = ask(&sender(&relay), "GET", "/", Vec::new()).await;
    for piece in ["first", "second", "third"] {
        let frame = soon(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece, "it is here before the next one was made");
        if piece != "third" {
            pieces.send(Ok(if piece == "first" { "second" } else { "third" }.into())).await.unwrap();
        }
    }
    drop(pieces);
    assert!(soon(response.body_mut().frame()).await.is_none());
}

#[tokio::test]
async fn sec17_a_response_that_breaks_off_does_not_look_complete() {
    for breaks in [true, false] {
        let relay = Relay::start().await;
        let (pieces, app) = streaming();
        let _listener = serve(&relay, app, |b| b).await;
        pieces.send(Ok("half".into())).await.unwrap();
        let mut response = ask(&sender(&relay), "GET", "/", Vec::new()).await;
        assert_eq!(soon(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), "half");
        if breaks {
            pieces.send(Err(std::io::Error::other("no more"))).await.unwrap();
        }
        drop(pieces);
        let end = soon(response.body_mut().frame()).await;
        assert_eq!(end.is_some_and(|end| end.is_err()), breaks);
    }
}

#[tokio::test]
async fn a_response_that_fails_before_its_first_byte_is_500() {
    let relay = Relay::start().await;
    let (pieces, app) = streaming();
    let _listener = serve(&relay, app, |b| b).await;
    pieces.send(Err(std::io::Error::other("no"))).await.unwrap();
    assert_eq!(ask(&sender(&relay), "GET", "/", Vec::new()).await.status(), 500);
}

#[tokio::test]
async fn r12_an_upload_is_held_back_by_a_service_that_does_not_read() {
    let relay = Relay::start().await;
    let (go, gone) = oneshot::channel::<()>();
    let gone = std::sync::Arc::new(std::sync::Mutex::new(Some(gone)));
    let app = Router::new().fallback(async move |request: Request| {
        let gone = gone.lock().unwrap().take();
        if let Some(gone) = gone {
            gone.await.unwrap();
        }
        let mut body = request.into_body().into_data_stream();
        let mut count = 0;
        while let Some(piece) = body.next().await {
            count += piece.unwrap().len();
        }
        count.to_string()
    });
    let _listener = serve(&relay, app, |b| b).await;
    let (pieces, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let request = http::Request::post("/").body(StreamBody::new(as_stream(receiver))).unwrap();
    let sender = sender(&relay);
    let asking = tokio::spawn(async move { bytes(sender.request(request, WAIT).await.unwrap()).await });
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let mut sent = 0;
    let held = loop {
        let sending = pieces.send(Ok(Frame::data(piece.clone())));
        match tokio::time::timeout(Duration::from_millis(700), sending).await {
            Ok(sending) => sending.unwrap(),
            Err(_) => break sent,
        }
        sent += piece.len();
        assert!(sent < 64 * 1024 * 1024, "nothing holds the upload back");
    };
    go.send(()).unwrap();
    for _ in 0..16 {
        soon(pieces.send(Ok(Frame::data(piece.clone())))).await.unwrap();
        sent += piece.len();
    }
    drop(pieces);
    let counted: usize = String::from_utf8(soon(asking).await.unwrap()).unwrap().parse().unwrap();
    assert_eq!(counted, sent, "held back at {held}");
}

#[tokio::test]
async fn sec17_an_upload_that_is_cut_off_fails_in_the_service() {
    let relay = Relay::start().await;
    let (told, hears) = oneshot::channel();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    let app = Router::new().fallback(async move |request: Request| {
        let told = told.lock().unwrap().take().unwrap();
        // In a task of its own, as the call itself ends with the sender.
        let reading = tokio::spawn(async move {
            let _ = told.send(request.into_body().collect().await.is_ok());
        });
        reading.await.unwrap();
    });
    let _listener = serve(&relay, app, |b| b).await;
    let (pieces, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let request = http::Request::post("/").body(StreamBody::new(as_stream(receiver))).unwrap();
    let sender = sender(&relay);
    let asking = tokio::spawn(async move { sender.request(request, WAIT).await.is_ok() });
    for _ in 0..3 {
        soon(pieces.send(Ok(Frame::data(Bytes::from(vec![1; 64 * 1024]))))).await.unwrap();
    }
    soon(pieces.send(Err(std::io::Error::other("gone")))).await.unwrap();
    assert!(!soon(hears).await.unwrap(), "the service must not take half a body for a whole one");
    assert!(!soon(asking).await.unwrap());
}

#[tokio::test]
async fn senders_of_the_other_kind_are_told() {
    let relay = Relay::start().await;
    let listener = serve(&relay, Router::new(), |b| b.http_only()).await;
    let error = soon(sender(&relay).connect()).await.unwrap_err();
    assert_eq!(error.status(), Some(405), "{error}");
    soon(listener.close()).await;
    let _websockets = relay.listener("hyco").await;
    for size in [0, 100, 100_000] {
        assert_eq!(ask(&sender(&relay), "POST", "/", pattern(size, 1)).await.status(), 501);
    }
}

#[tokio::test]
async fn more_requests_than_may_be_in_work_are_503() {
    let relay = Relay::start().await;
    let (go, gone) = tokio::sync::watch::channel(false);
    let app = Router::new().fallback(async move || {
        gone.clone().wait_for(|go| *go).await.unwrap();
    });
    let _listener = serve(&relay, app, |b| b.http_requests_max(2)).await;
    let first: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender(&relay);
            tokio::spawn(async move { ask(&sender, "GET", "/", Vec::new()).await.status() })
        })
        .collect();
    let sender = sender(&relay);
    // The first two may not be there yet.
    let refused = soon(async {
        loop {
            let asked =
                tokio::time::timeout(Duration::from_millis(500), ask(&sender, "GET", "/", Vec::new())).await;
            if let Ok(response) = asked {
                return response.status();
            }
        }
    });
    assert_eq!(refused.await, 503);
    go.send(true).unwrap();
    for status in first {
        assert!(matches!(soon(status).await.unwrap().as_u16(), 200 | 503));
    }
}

#[tokio::test]
async fn refusals_of_the_relay_are_told_from_answers_of_the_listener() {
    let relay = Relay::start().await;
    let request = || http::Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let error = soon(sender(&relay).request(request(), WAIT)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { status: 404, .. }) && error.is_nobody_there(), "{error}");
    assert!(error.tracking_id().is_some());
    let app = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
    let _listener = serve(&relay, app, |b| b).await;
    assert_eq!(soon(sender(&relay).request(request(), WAIT)).await.unwrap().status(), 404);
    let wrong = Sender::new(relay.connection("hyco", "send", "wrong key"), relay.connector());
    assert_eq!(soon(wrong.request(request(), WAIT)).await.unwrap_err().status(), Some(401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_a_burst_of_1000_requests_through_one_listener_loses_none() {
    let relay = Relay::start().await;
    let _listener = serve(&relay, Router::new().fallback(echo), |b| b.http_only()).await;
    let sender = sender(&relay);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..1000_usize {
        let sender = sender.clone();
        tasks.spawn(async move {
            // One in 50 is too large for the control channel.
            let size = if index % 50 == 0 { 100_000 } else { index };
            let sent = pattern(size, index);
            let request = http::Request::post("/").body(Full::new(Bytes::from(sent.clone()))).unwrap();
            let response =
                sender.request(request, WAIT).await.unwrap_or_else(|error| panic!("{index}: {error}"));
            assert_eq!(response.status(), 200, "{index}");
            assert!(response.into_body().collect().await.unwrap().to_bytes() == sent, "{index}");
        });
    }
    tokio::time::timeout(Duration::from_secs(120), tasks.join_all()).await.expect("all are answered");
}
