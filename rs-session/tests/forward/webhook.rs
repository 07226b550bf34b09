//! Webhooks, against a real HTTP server.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rs_session::forward::cursor::CursorFile;
use rs_session::forward::pump::Pump;
use rs_session::forward::sink::{Direct, WebhookSink, WebhookTarget};
use rs_session::forward::{Event, EventKind, Format};
use tokio::net::TcpListener;

use crate::node::World;

/// What came in one request.
#[derive(Debug, Clone)]
struct Received {
    key: String,
    authorization: String,
    events: Vec<Event>,
}

/// A server that answers with the statuses of a list, then with 204.
struct Server {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

async fn serve(answers: &[StatusCode]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received: Arc<Mutex<Vec<Received>>> = Arc::default();
    let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
    let server = Server { port, received: Arc::clone(&received), answers: Arc::clone(&answers) };
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (received, answers) = (Arc::clone(&received), Arc::clone(&answers));
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (received, answers) = (Arc::clone(&received), Arc::clone(&answers));
                async move {
                    let header = |name: &str| {
                        request
                            .headers()
                            .get(name)
                            .and_then(|value| value.to_str().ok())
                            .unwrap_or_default()
                            .to_owned()
                    };
                    let (key, authorization) = (header("idempotency-key"), header("authorization"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let events = serde_json::from_slice(&body).expect("a JSON array of events");
                    received.lock().unwrap().push(Received { key, authorization, events });
                    let status = answers.lock().unwrap().pop_front().unwrap_or(StatusCode::NO_CONTENT);
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    server
}

fn pump(world: &World, port: u16) -> Pump {
    let target = WebhookTarget { host: "127.0.0.1".to_owned(), port, path: "/events?from=node".to_owned() };
    let sink = WebhookSink::new(target, true, None, Arc::new(Direct)).with_bearer("canary-token").unwrap();
    let cursor = CursorFile::open(&world.path("collector.cursor")).unwrap();
    let encode = Arc::new(|event: &Event| Format::Json.encode(event));
    Pump::new(world.source(), Box::new(sink), encode, cursor, World::clock())
}

fn ids(received: &[Received]) -> Vec<String> {
    received.iter().flat_map(|one| one.events.iter().map(|event| event.id.clone())).collect()
}

#[tokio::test]
async fn a_batch_comes_once_with_its_token_and_key() {
    let server = serve(&[]).await;
    let world = World::new();
    world.whole(1, 150);
    pump(&world, server.port).drain().await.unwrap();
    let received = server.received.lock().unwrap().clone();
    assert_eq!(ids(&received), world.expected());
    assert!(received.iter().all(|one| one.authorization == "Bearer canary-token" && one.key.len() == 64));
    assert!(received.len() > 1, "several batches");
}

/// A refusal is no delivery; what is sent again has the same key, so that the receiver can tell.
#[tokio::test]
async fn a_refused_batch_comes_again_with_the_same_key() {
    let server = serve(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_REQUEST]).await;
    let world = World::new();
    world.log(EventKind::ConsentGranted, None);
    let mut pump = pump(&world, server.port);
    let first = pump.drain().await.expect_err("503").to_string();
    assert!(first.contains("503"), "{first}");
    assert!(!first.contains("canary-token"));
    pump.drain().await.expect_err("400");
    assert_eq!(pump.drain().await.unwrap(), 1);
    let received = server.received.lock().unwrap().clone();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|one| one.key == received[0].key));
    assert!(server.answers.lock().unwrap().is_empty());
}

#[test]
fn sec33_the_token_is_not_in_debug() {
    let target = WebhookTarget { host: "h".to_owned(), port: 1, path: "/".to_owned() };
    let sink = WebhookSink::new(target, true, None, Arc::new(Direct)).with_bearer("canary-token").unwrap();
    assert!(!format!("{sink:?}").contains("canary-token"));
}
