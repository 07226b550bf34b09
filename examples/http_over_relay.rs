//! An axum application behind a relay: nobody can reach its machine, everybody with a token can reach the application.
//!
//! ```sh
//! cargo run --example http_over_relay
//! ```
//!
//! Starts a relay, serves the application through it, asks it three things and ends by itself with exit code 0. Nothing
//! leaves this machine. The five lines that serve the application are those in `serve`.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::routing::{get, post};
use futures_util::stream;
use http_body_util::{BodyExt, Full};
use rs_relay::client::{Connector, HybridConnection, Listener, Sender, Trust};
use rs_relay::proto::{Authority, AuthorizationRule, ConnectionString, Credential, Right, Rules, SharedKey};
use rs_relay::server::{RelayServer, TlsTransport, dev_certificate};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest wait for a response.
const WAIT: Duration = Duration::from_secs(30);

/// An application like any other.
fn app() -> Router {
    Router::new()
        .route("/hello/{name}", get(|Path(name): Path<String>| async move { format!("hello, {name}") }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/countdown",
            get(|| async { Body::from_stream(stream::iter(["3 ", "2 ", "1"].map(Ok::<_, Infallible>))) }),
        )
}

/// Serves the application through a relay.
async fn serve(text: &ConnectionString, trust: Trust) -> Outcome<Listener> {
    let connection = HybridConnection::from_connection_string(text)?;
    let connector = Connector::builder().trust(trust).build()?;
    let listener = Listener::builder(connection, connector).http(app()).strip_entity().http_only().start();
    listener.status().online().await;
    Ok(listener)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let (text, trust, server) = relay().await?;
    let listener = serve(&text, trust.clone()).await?;
    println!("the application is at https://{}/app/", text.authority());

    let connector = Connector::builder().trust(trust).build()?;
    let sender = Sender::new(HybridConnection::from_connection_string(&text)?, connector);
    let large = Bytes::from(vec![b'x'; 1_000_000]);
    let asked = [
        (http::Request::get("/hello/relay").body(Full::default())?, "hello, relay"),
        (http::Request::post("/length").body(Full::new(large))?, "1000000"),
        (http::Request::get("/countdown").body(Full::default())?, "3 2 1"),
    ];
    for (request, expected) in asked {
        let what = format!("{} {}", request.method(), request.uri());
        let response = sender.request(request, WAIT).await?;
        let body = response.into_body().collect().await?.to_bytes();
        println!("{what}: {}", String::from_utf8_lossy(&body));
        assert_eq!(body, expected);
    }

    listener.close().await;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// A relay on a free port of the loopback: where, with which key, trusted by which certificate.
async fn relay() -> Outcome<(ConnectionString, Trust, RelayServer)> {
    let certificate = dev_certificate(["localhost"])?;
    let transport =
        TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem()).await?;
    let authority = Authority::new("localhost", transport.local_addr()?.port())?;
    let key = SharedKey::generate()?;
    let rule = AuthorizationRule::new("root".parse()?, [Right::Manage], key.clone());
    let server = RelayServer::builder([authority.clone()]).rules(Rules::new([rule])?).build()?;
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(transport).await });
    let credential = Credential::Key { name: "root".parse()?, key };
    let text = ConnectionString::new(authority, Some("app".parse()?), credential);
    Ok((text, Trust::Only(certificate.authority_pem().as_bytes().to_vec()), server))
}
