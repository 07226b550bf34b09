//! A relay as one writes it with the usual parts: tokio, rustls, hyper, and tokio-tungstenite on both legs.
//!
//! It speaks enough of the protocol for the clients of this project, so that both relays are measured with the same ends,
//! and holds a sender's 101 until its listener has come, as the protocol asks. It checks no token and has no limits, no
//! time-outs, and no half-close.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Outcome;

#[derive(Default)]
struct State {
    /// By entity: where a listener reaches the relay, and its control channel.
    listeners: Mutex<HashMap<String, (String, mpsc::UnboundedSender<String>)>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<OnUpgrade>>>,
}

pub(crate) async fn relay(dir: &Path) -> Outcome<()> {
    let acceptor = super::roles::acceptor(dir)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let state = Arc::new(State::default());
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let tls = acceptor.accept(tcp).await?;
            let service = service_fn(move |request| handle(request, Arc::clone(&state)));
            http1::Builder::new().serve_connection(TokioIo::new(tls), service).with_upgrades().await?;
            Outcome::Ok(())
        });
    }
}

async fn handle(mut request: Request<Incoming>, state: Arc<State>) -> Outcome<Response<Empty<Bytes>>> {
    let upgrade = hyper::upgrade::on(&mut request);
    let key = request.headers().get(SEC_WEBSOCKET_KEY).ok_or("no WebSocket")?;
    let accept = derive_accept_key(key.as_bytes());
    let query = request.uri().query().unwrap_or_default();
    let parameter = |name| query.split('&').find_map(|pair| pair.strip_prefix(name));
    let entity = request.uri().path().to_owned();
    match parameter("sb-hc-action=") {
        Some("listen") => {
            let (sender, messages) = mpsc::unbounded_channel();
            let host = request.headers().get(HOST).ok_or("no host")?.to_str()?.to_owned();
            lock(&state.listeners).insert(entity, (host, sender));
            tokio::spawn(listen(upgrade, messages));
        }
        Some("accept") => {
            let id = parameter("sb-hc-rdv=").ok_or("no rendezvous")?;
            let sender = lock(&state.waiting).remove(id).ok_or("nobody waits")?;
            sender.send(upgrade).map_err(|_| "the sender is gone")?;
        }
        _ => {
            let listener = offer(&entity, &state)?.await?;
            tokio::spawn(join(upgrade, listener));
        }
    }
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept)?);
    Ok(answer)
}

/// Tells the listener of a sender, and yields its rendezvous.
fn offer(entity: &str, state: &State) -> Outcome<oneshot::Receiver<OnUpgrade>> {
    let id = uuid::Uuid::new_v4().to_string();
    let (meet, met) = oneshot::channel();
    lock(&state.waiting).insert(id.clone(), meet);
    let listeners = lock(&state.listeners);
    let (host, listener) = listeners.get(entity).ok_or("no listener")?;
    let address = format!("wss://{host}{entity}?sb-hc-action=accept&sb-hc-rdv={id}");
    let offer = serde_json::json!({ "accept": { "address": address, "id": id, "connectHeaders": {} } });
    listener.send(offer.to_string())?;
    Ok(met)
}

async fn socket(upgrade: OnUpgrade) -> Outcome<WebSocketStream<TokioIo<Upgraded>>> {
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, None).await)
}

async fn listen(upgrade: OnUpgrade, mut messages: mpsc::UnboundedReceiver<String>) -> Outcome<()> {
    let mut socket = socket(upgrade).await?;
    loop {
        tokio::select! {
            message = messages.recv() => {
                socket.send(Message::text(message.ok_or("replaced")?)).await?;
            }
            // Pings are answered by the library.
            message = socket.next() => drop(message.ok_or("gone")??),
        }
    }
}

async fn join(sender: OnUpgrade, listener: OnUpgrade) -> Outcome<()> {
    let (sender, listener) = tokio::try_join!(socket(sender), socket(listener))?;
    let ((to_sender, from_sender), (to_listener, from_listener)) = (sender.split(), listener.split());
    tokio::select! {
        ended = from_sender.forward(to_listener) => ended?,
        ended = from_listener.forward(to_sender) => ended?,
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
