//! hyco-https: listener and sender, each with each.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::IntoResponse;
use http_body_util::{BodyExt as _, Full};
use rs_relay::client::{Listener, Sender};
use rs_relay::server::{EntitySettings, Kinds};
use serde_json::{Value, json};

use crate::peer::{Peer, Site, digest};
use crate::support::{LISTEN_KEY, SEND_KEY, soon};

const WAIT: Duration = Duration::from_secs(60);

/// Sizes below, at and above what goes over a control channel.
const SIZES: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 1_000_000];

/// Our listener with an application that says what it saw.
async fn ours(site: &Site) -> Listener {
    let app = Router::new().fallback(async |request: Request| {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let app = request.headers().get("x-app").map(|value| value.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let seen = [("x-seen", format!("{method} {uri} {}", app.unwrap_or_default()))];
        let status = uri.query().and_then(|query| query.strip_prefix("status=")?.parse().ok()).unwrap_or(200);
        (http::StatusCode::from_u16(status).unwrap(), seen, body).into_response()
    });
    let connection = site.relay.connection("hyco", "listen", LISTEN_KEY);
    let listener = Listener::builder(connection, site.relay.connector()).http(app).http_only().start();
    assert!(soon(listener.status().online()).await);
    listener
}

async fn package_sender(site: &Site, more: Value) -> Peer {
    let mut sender = site.sender("https", more);
    sender.wait("ready").await;
    sender
}

fn our_sender(site: &Site) -> Sender {
    Sender::new(site.relay.connection("hyco", "send", SEND_KEY), site.relay.connector())
}

#[tokio::test]
async fn bodies_of_all_sizes_between_packages() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    let mut listener = site.listener("https", json!({})).await;
    let mut sender = package_sender(&site, json!({})).await;
    for chunked in [false, true] {
        for size in SIZES {
            sender.tell(json!({"do": "request", "method": "POST", "binary": size, "chunked": chunked})).await;
            let sum = digest(&vec![b'x'; size]);
            assert_eq!(listener.wait("request").await["digest"], sum, "{size} {chunked}");
            let response = sender.wait("response").await;
            assert_eq!(
                (response["status"].as_u64(), &response["digest"]),
                (Some(200), &json!(sum)),
                "{size} {chunked}"
            );
        }
    }
}

#[tokio::test]
async fn bodies_of_all_sizes_to_our_listener() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    let _listener = ours(&site).await;
    let mut sender = package_sender(&site, json!({})).await;
    for chunked in [false, true] {
        for size in SIZES {
            sender.tell(json!({"do": "request", "method": "POST", "binary": size, "chunked": chunked})).await;
            let response = sender.wait("response").await;
            assert_eq!(response["status"], 200, "{size} {chunked}");
            assert_eq!(response["digest"], digest(&vec![b'x'; size]), "{size} {chunked}");
        }
    }
}

#[tokio::test]
async fn bodies_of_all_sizes_from_our_sender() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    let mut listener = site.listener("https", json!({})).await;
    let sender = our_sender(&site);
    for size in SIZES {
        let body = Bytes::from(vec![b'x'; size]);
        let request = http::Request::post("/").body(Full::new(body.clone())).unwrap();
        let response = soon(sender.request(request, WAIT)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(soon(response.into_body().collect()).await.unwrap().to_bytes() == body, "{size}");
        assert_eq!(listener.wait("request").await["length"], size);
    }
}

#[tokio::test]
async fn methods_targets_and_headers() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    // The package's request to ours.
    let listener = ours(&site).await;
    let mut sender = package_sender(&site, json!({})).await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        let target = "/a%20b/c?x=1&&y=%26&sb-hc-id=hidden";
        sender
            .tell(json!({"do": "request", "method": method, "target": target, "headers": {"X-App": "7"}}))
            .await;
        let response = sender.wait("response").await;
        assert_eq!(response["headers"]["x-seen"], format!("{method} /hyco/a%20b/c?x=1&&y=%26 7"));
        assert!(response["headers"]["via"].as_str().is_some());
    }
    soon(listener.close()).await;
    // Ours to the package.
    let mut listener = site.listener("https", json!({})).await;
    let request =
        http::Request::put("/a?b=c").header("X-App", "8").body(Full::new(Bytes::from("x"))).unwrap();
    let response = soon(our_sender(&site).request(request, WAIT)).await.unwrap();
    assert_eq!(response.headers()["x-from"], "hyco-https");
    assert_eq!(response.headers()["x-number"], "42", "the package writes a number, not a text");
    let seen = listener.wait("request").await;
    assert_eq!((seen["method"].as_str(), seen["url"].as_str()), (Some("PUT"), Some("/hyco/a?b=c")));
    assert_eq!(seen["headers"]["x-app"], "8");
    assert!(seen["headers"].get("servicebusauthorization").is_none());
}

#[tokio::test]
async fn statuses_and_phrases() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    let listener = ours(&site).await;
    let mut sender = package_sender(&site, json!({})).await;
    for status in [200, 201, 202, 204, 301, 304, 400, 401, 404, 418, 451, 500, 502, 503, 504, 599] {
        sender.tell(json!({"do": "request", "target": format!("?status={status}")})).await;
        assert_eq!(sender.wait("response").await["status"], status);
    }
    soon(listener.close()).await;
    let _listener = site.listener("https", json!({})).await;
    for (status, reason) in
        [(200, "As you wish"), (450, "Blocked by parents"), (502, "not the relay"), (204, "Nothing")]
    {
        let target = format!("/?status={status}&reason={}", reason.replace(' ', "%20"));
        let request = http::Request::get(target).body(Full::<Bytes>::default()).unwrap();
        let response = soon(our_sender(&site).request(request, WAIT)).await.unwrap();
        assert_eq!(response.status(), status);
        let said = response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
        assert_eq!(said.as_bytes(), reason.as_bytes());
    }
}

#[tokio::test]
async fn a_large_answer_to_a_small_question_and_a_slow_one() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    let _listener = site.listener("https", json!({})).await;
    let sender = our_sender(&site);
    for (target, length) in [
        ("/?large=65536", 65_536),
        ("/?large=65537", 65_537),
        ("/?large=3000000", 3_000_000),
        ("/?slow=700", 11),
    ] {
        let request = http::Request::get(target).body(Full::<Bytes>::default()).unwrap();
        let response = soon(sender.request(request, WAIT)).await.unwrap();
        assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes().len(), length, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let Some(site) = Site::start(Kinds::Http).await else { return };
    // The package's listener under many of ours.
    let listener = site.listener("https", json!({})).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..100_usize {
        let sender = our_sender(&site);
        tasks.spawn(async move {
            let body = Bytes::from(vec![b'a' + (index % 26) as u8; index * 1000]);
            let request = http::Request::post("/").body(Full::new(body.clone())).unwrap();
            let response = sender.request(request, WAIT).await.unwrap();
            assert!(response.into_body().collect().await.unwrap().to_bytes() == body, "{index}");
        });
    }
    soon(tasks.join_all()).await;
    drop(listener);
    crate::support::eventually("it is gone", || site.relay.server.listeners(&"hyco".parse().unwrap()) == 0)
        .await;
    // Ours under many of the package's.
    let _listener = ours(&site).await;
    let mut sender = package_sender(&site, json!({})).await;
    for id in 0..100 {
        sender.tell(json!({"do": "request", "id": id, "method": "POST", "binary": id * 1000})).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 100 {
        let response = sender.wait("response").await;
        let id = response["id"].as_u64().unwrap();
        assert_eq!(response["length"], id * 1000);
        seen.insert(id);
    }
}

#[tokio::test]
async fn refusals_and_anonymous_senders() {
    let settings = EntitySettings::new().kinds(Kinds::Http).dangerous_anonymous_senders();
    let closed = EntitySettings::new().kinds(Kinds::Http);
    let site = Site::start_with(|builder| {
        builder.entity("open".parse().unwrap(), settings).entity("hyco".parse().unwrap(), closed)
    });
    let Some(site) = site.await else { return };
    let status = async |more: Value| {
        let mut sender = package_sender(&site, more).await;
        sender.tell(json!({"do": "request"})).await;
        sender.wait("response").await["status"].as_u64().unwrap()
    };
    assert_eq!(status(json!({})).await, 404, "nobody listens");
    let _hyco = site.listener("https", json!({})).await;
    let _open = site.listener("https", json!({"path": "open"})).await;
    assert_eq!(status(json!({})).await, 200);
    assert_eq!(status(json!({"key": "wrong"})).await, 401);
    assert_eq!(status(json!({"seconds": -100})).await, 401);
    assert_eq!(status(json!({"rule": null})).await, 401);
    assert_eq!(status(json!({"rule": "listen", "key": LISTEN_KEY})).await, 403);
    assert_eq!(status(json!({"path": "open", "rule": null})).await, 200);
    // A WebSocket sender would kill the package's listener.
    assert_eq!(soon(site.relay.sender("hyco").connect()).await.unwrap_err().status(), Some(405));
    assert_eq!(status(json!({})).await, 200, "it lives");
}

#[tokio::test]
async fn both_come_back_after_a_restart() {
    let Some(mut site) = Site::start(Kinds::Http).await else { return };
    let mut theirs = site.listener("https", json!({})).await;
    let (authority, certificate) = site.relay.stop().await;
    let address = format!("127.0.0.1:{}", authority.port());
    let settings = EntitySettings::new().kinds(Kinds::Http);
    site.relay = crate::support::Relay::start_at(&address, certificate, |builder| {
        builder.entity("hyco".parse().unwrap(), settings)
    })
    .await;
    theirs.wait_through_errors("listening").await;
    let mut sender = package_sender(&site, json!({})).await;
    sender.tell(json!({"do": "request", "method": "POST", "text": "again"})).await;
    assert_eq!(sender.wait("response").await["text"], "again");
}
