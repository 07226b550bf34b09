//! Listener and sender against Azure's service, played by hand, in simulated time.

mod service;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full};
use rs_relay::client::{AcceptError, OfflineCause, Status, StatusWatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use service::{Azure, BINARY, CLOSE, CONTINUATION, Channel, GATEWAY, NAMESPACE, PING, PONG, TEXT};

use crate::support::{pattern, soon};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// As the service words it.
fn refusal(status: &str, text: &str) -> String {
    format!(
        "{status} {text} TrackingId:0f9b3a1e-2f7a-4a52-9b51-6c2f0e3d7a10_G12, \
         SystemTracker:sb://{NAMESPACE}/hyco, Timestamp:2026-01-01T00:00:00"
    )
}

async fn offline(status: &mut StatusWatch) -> std::sync::Arc<OfflineCause> {
    loop {
        if let Status::Offline { cause, .. } = status.now() {
            return cause;
        }
        status.changed().await.unwrap();
    }
}

/// An offer as the service writes it: slashes escaped, members that nobody knows.
fn offer(host: &str, headers: &str) -> String {
    format!(
        r#"{{"accept":{{"address":"wss:\/\/{host}\/$hc\/hyco\/below?app=1&sb-hc-action=accept&sb-hc-id=6f0e_G17_G30&sb-hc-x=%2b","id":"6f0e_G17_G30","connectHeaders":{{"Sec-WebSocket-Key":"AAAA","Sec-WebSocket-Version":"13","Host":"{NAMESPACE}","Connection":"Upgrade","Upgrade":"websocket"{headers}}},"remoteEndpoint":{{"address":"192.0.2.7","port":50112}},"later":[{{}}]}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn the_listener_says_hello_and_goes_to_the_instance_that_holds_the_sender() {
    let mut azure = Azure::new();
    let mut listener = azure.listener().start();
    let call = azure.call().await;
    assert_eq!(call.to.to_string(), NAMESPACE);
    assert_eq!((call.to.port(), call.header("host")), (443, Some(NAMESPACE)), "443 is not named");
    let id = call.target().strip_prefix("/$hc/hyco?sb-hc-action=listen&sb-hc-id=").unwrap();
    assert!(id.parse::<uuid::Uuid>().is_ok(), "a bare GUID: {id}");
    let id = id.to_owned();
    let token = call.header("servicebusauthorization").unwrap();
    assert!(
        token.starts_with("SharedAccessSignature sr=http%3A%2F%2Fcontoso.servicebus.windows.net"),
        "{token}"
    );
    assert_eq!(call.header("sec-websocket-extensions"), None);
    assert_eq!(call.header("sec-websocket-protocol"), None);
    let mut control = call.upgrade("").await;

    control.say(r#"{"somethingNew":{"a":1}}"#).await;
    control.say(&offer(GATEWAY, r#","X-App":"7""#)).await;
    let incoming = listener.accept().await.unwrap();
    assert_eq!((incoming.id(), incoming.header("x-app")), ("6f0e_G17_G30", Some("7")));
    assert_eq!((incoming.path().as_str(), incoming.query().as_deref()), ("hyco/below", Some("app=1")));
    let meeting = tokio::spawn(incoming.accept());
    let call = azure.call().await;
    assert_eq!((call.to.to_string().as_str(), call.to.port()), (GATEWAY, 443));
    assert_eq!(call.header("host"), Some(GATEWAY));
    assert_eq!(
        call.target(),
        "/$hc/hyco/below?app=1&sb-hc-action=accept&sb-hc-id=6f0e_G17_G30&sb-hc-x=%2b",
        "as given"
    );
    assert_eq!(call.header("servicebusauthorization"), None, "the address is the credential");
    let mut far = call.upgrade("").await;
    let mut near = meeting.await.unwrap().unwrap();
    far.frame(BINARY, true, b"hello").await;
    let mut buffer = [0; 5];
    near.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
    // The control channel goes, the joined stream stays; the listener comes back with the same bare GUID.
    drop(control);
    let again = azure.call().await;
    assert!(again.target().ends_with(&format!("sb-hc-id={id}")), "{}", again.target());
    far.frame(CLOSE, true, &1001_u16.to_be_bytes()).await;
    assert_eq!(
        near.read(&mut buffer).await.unwrap(),
        0,
        "1001 is how the service tells that the sender has closed"
    );
}

#[tokio::test(start_paused = true)]
async fn rejecting_is_answered_with_410() {
    let mut azure = Azure::new();
    let mut listener = azure.listener().start();
    let mut control = azure.control().await;
    control.say(&offer(GATEWAY, "")).await;
    let rejecting = tokio::spawn(listener.accept().await.unwrap().reject(403, "No grant: ask again"));
    let call = azure.call().await;
    let (_, more) = call.target().split_once("sb-hc-x=%2b").unwrap();
    assert!(more.starts_with("&sb-hc-statusCode=403&sb-hc-statusDescription=No"), "{more}");
    call.refuse(&refusal("410", "Gone"), "").await;
    rejecting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_prepared_way_is_used_for_5_seconds() {
    for (thinks, calls) in [(Duration::from_millis(4_999), 1), (Duration::from_secs(5), 2)] {
        for accepts in [true, false] {
            let mut azure = Azure::new();
            let mut listener = azure.listener().start();
            let mut control = azure.control().await;
            control.say(&offer(GATEWAY, "")).await;
            let mut incoming = listener.accept().await.unwrap();
            let ((), prepared) = tokio::join!(incoming.prepare(), azure.answer());
            let begun = Instant::now();
            tokio::time::sleep(thinks).await;
            let deciding = tokio::spawn(async move {
                match accepts {
                    true => incoming.accept().await.map(drop),
                    false => incoming.reject(403, "No").await,
                }
            });
            let call = if calls == 1 { prepared.head().await } else { azure.call().await };
            assert_eq!(begun.elapsed(), thinks, "nothing was said before");
            assert_eq!(call.target().contains("sb-hc-statusCode=403"), !accepts);
            match accepts {
                true => drop(call.upgrade("").await),
                false => call.refuse("410 Gone", "").await,
            }
            deciding.await.unwrap().unwrap();
            assert!(azure.nobody_calls());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_outside_the_services_domain_is_not_gone_to() {
    let mut azure = Azure::new();
    let mut listener = azure.listener().start();
    let mut control = azure.control().await;
    for host in
        ["elsewhere.example", "servicebus.windows.net.elsewhere.example", "10.0.0.5", "g1.windows.net"]
    {
        control.say(&offer(host, "")).await;
        let mut incoming = listener.accept().await.unwrap();
        incoming.prepare().await;
        let error = incoming.accept().await.unwrap_err();
        assert!(matches!(error, AcceptError::ForeignHost { .. }), "{host}: {error}");
    }
    assert!(azure.nobody_calls());
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_refusal_and_takes_no_token_elsewhere() {
    let mut azure = Azure::new();
    let listener = azure.listener().start();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let call = azure.call().await;
        assert_eq!(call.to.to_string(), NAMESPACE);
        call.refuse(status, "Location: https://elsewhere.example/$hc/hyco\r\n").await;
        let cause = offline(&mut listener.status()).await;
        assert!(cause.to_string().contains(&status[..3]), "{cause}");
    }
    azure.control().await;
    // The same for a rendezvous, and for a sender.
    let sender = azure.sender();
    let connecting = tokio::spawn(async move { sender.connect().await });
    azure.call().await.refuse("307 Temporary Redirect", "Location: https://elsewhere.example/\r\n").await;
    assert_eq!(connecting.await.unwrap().unwrap_err().status(), Some(307));
}

/// How long after a refusal each of the next attempts came.
async fn attempts(azure: &mut Azure, status: &str, count: usize) -> Vec<Duration> {
    let mut pauses = Vec::new();
    for _ in 0..count {
        let since = Instant::now();
        let call = azure.call().await;
        pauses.push(since.elapsed());
        call.refuse(status, "").await;
    }
    pauses
}

#[tokio::test(start_paused = true)]
async fn refused_listeners_say_why_and_go_on_trying_for_ever() {
    let table = [
        ("401", "InvalidSignature: The token has an invalid signature.", MINUTE),
        ("401", "ExpiredToken: The token is expired.", MINUTE),
        ("403", "Forbidden: 'Listen' claim is required.", MINUTE),
        ("404", "Endpoint does not exist.", MINUTE),
        (
            "500",
            "InternalServerError: The server was unable to process the request.",
            Duration::from_secs(15),
        ),
        ("503", "ServiceUnavailable: The service is unavailable.", Duration::from_secs(15)),
    ];
    for (status, text, longest) in table {
        let mut azure = Azure::new();
        let listener = azure.listener().start();
        let pauses = attempts(&mut azure, &refusal(status, text), 30).await;
        let cause = offline(&mut listener.status()).await.to_string();
        assert!(cause.contains(status) && cause.contains(text) && cause.contains("_G12"), "{cause}");
        assert!(pauses.iter().all(|pause| *pause <= longest), "{status}: {pauses:?}");
        let later: Duration = pauses[10..].iter().sum();
        assert!(later > longest, "{status}: it does not storm: {pauses:?}");
        let refused = *azure.tokens.refused.lock().unwrap();
        assert_eq!(refused > 0, status == "401", "{status}: only 401 speaks against the token");
        assert_eq!(*azure.tokens.made.lock().unwrap(), 30, "a fresh token for each attempt");
        // Somebody mends it.
        let _control = azure.control().await;
        assert!(listener.status().online().await);
    }
}

#[tokio::test(start_paused = true)]
async fn closed_by_the_service_and_back() {
    // The entity was deleted, the token ended or was revoked, an instance goes down.
    for (code, reason) in
        [(1001, "Entity deleted"), (1008, "ExpiredToken"), (1011, "Internal error"), (1000, "Normal")]
    {
        let mut azure = Azure::new();
        let mut status = azure.listener().start_watched();
        let control = azure.control().await;
        assert!(status.online().await);
        let since = Instant::now();
        control.close(code, &format!("{reason}. TrackingId:0f9b3a1e_G12")).await;
        let cause = offline(&mut status).await.to_string();
        assert!(cause.contains(&code.to_string()) && cause.contains(reason), "{cause}");
        let _control = azure.control().await;
        assert!(since.elapsed() < Duration::from_secs(2), "{code}: back after {:?}", since.elapsed());
        assert!(status.online().await);
        assert_eq!(*azure.tokens.refused.lock().unwrap(), usize::from(code == 1008), "{code}");
        assert_eq!(*azure.tokens.made.lock().unwrap(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_was_deleted_and_made_again_is_listened_on_within_a_minute() {
    let mut azure = Azure::new();
    let mut status = azure.listener().start_watched();
    azure.control().await.close(1001, "Entity deleted").await;
    let gone = refusal("404", "Endpoint does not exist.");
    attempts(&mut azure, &gone, 60).await;
    let made = Instant::now();
    let _control = azure.control().await;
    assert!(made.elapsed() <= MINUTE);
    assert!(status.online().await);
}

#[tokio::test(start_paused = true)]
async fn after_a_day_the_service_drops_the_connection_without_a_word() {
    let mut azure = Azure::new();
    let mut status = azure.listener().start_watched();
    for _ in 0..3 {
        let mut control = azure.control().await;
        assert!(status.online().await);
        let end = Instant::now() + DAY;
        let (mut renewals, mut pongs) = (0, 0);
        while let Ok(frame) = tokio::time::timeout_at(end, control.next()).await {
            match frame.unwrap() {
                (PONG, payload) if payload.is_empty() => pongs += 1,
                (TEXT, text) => {
                    let message: serde_json::Value = serde_json::from_slice(&text).unwrap();
                    let token = message["renewToken"]["token"].as_str().unwrap();
                    assert!(token.starts_with("SharedAccessSignature sr="), "not encoded once more: {token}");
                    renewals += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(renewals >= 24, "hourly tokens are renewed before their end: {renewals}");
        assert_eq!(pongs, DAY.as_secs() / 20 - 1, "a sign of life every 20 s, long before 4 minutes");
        let since = Instant::now();
        drop(control);
        offline(&mut status).await;
        assert!(since.elapsed() < Duration::from_secs(2));
    }
}

/// A service that takes Pings for an offence, as was reported of Azure's, and ends what is silent for 4 minutes.
async fn strict(control: &mut Channel, wait: Duration) -> Result<(), &'static str> {
    let end = Instant::now() + wait;
    while Instant::now() < end {
        match tokio::time::timeout(4 * MINUTE, control.next()).await {
            Err(_) => return Err("silent"),
            Ok(Some((PING, _))) => return Err("pinged"),
            Ok(None) => return Err("gone"),
            Ok(Some(_)) => {}
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn neither_pings_nor_silence() {
    use rs_relay::client::KeepAlive;
    let mut azure = Azure::new();
    let _status = azure.listener().start_watched();
    let mut control = azure.control().await;
    assert_eq!(strict(&mut control, DAY).await, Ok(()));
    // A stream, too.
    let sender = azure.sender();
    let connecting = tokio::spawn(async move { sender.connect().await });
    let mut far = azure.call().await.upgrade("").await;
    let _near = connecting.await.unwrap().unwrap();
    assert_eq!(strict(&mut far, DAY).await, Ok(()));
    // The controls.
    for (keep_alive, verdict) in [
        (KeepAlive::Ping(Duration::from_secs(15)), "pinged"),
        (KeepAlive::Pong(Duration::from_secs(250)), "silent"),
    ] {
        let mut azure = Azure::new();
        let _status = azure.listener().keep_alive(keep_alive).start_watched();
        let mut control = azure.control().await;
        assert_eq!(strict(&mut control, HOUR / 2).await, Err(verdict));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_refused_is_no_end() {
    let mut azure = Azure::new();
    let mut status = azure.listener().start_watched();
    let mut control = azure.control().await;
    assert!(control.text().await["renewToken"]["token"].is_string());
    let since = Instant::now();
    control
        .close(1008, "InvalidSignature: The token has an invalid signature. TrackingId:0f9b3a1e_G12")
        .await;
    offline(&mut status).await;
    let mut control = azure.control().await;
    assert!(since.elapsed() < Duration::from_secs(2), "with a fresh token at once");
    assert_eq!(*azure.tokens.refused.lock().unwrap(), 1);
    assert!(status.online().await);
    assert!(control.text().await["renewToken"]["token"].is_string(), "and it goes on renewing");
}

/// A request as the service writes it.
fn request(id: &str, method: &str, target: &str, body: bool) -> String {
    format!(
        r#"{{"request":{{"address":"wss:\/\/{GATEWAY}\/$hc\/hyco?sb-hc-action=request&sb-hc-id={id}_G12","id":"{id}_G12","requestTarget":"{target}","method":"{method}","remoteEndpoint":{{"address":"192.0.2.7","port":50112}},"requestHeaders":{{"Content-Type":"text\/plain","Accept-Encoding":"gzip","Host":"{NAMESPACE}","User-Agent":"curl","Via":"1.1 {NAMESPACE}"}},"body":{body}}}}}"#
    )
}

fn app() -> Router {
    Router::new()
        .route("/hyco/echo", post(async |body: Bytes| body))
        .route("/hyco/large", get(async || pattern(200_000, 5)))
        .route("/hyco/hello", get(async || "hello"))
}

async fn whole(channel: &mut Channel) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        match channel.next().await {
            Some((PONG, _)) => {}
            Some((CLOSE, reason)) => {
                assert_eq!(
                    reason,
                    1000_u16.to_be_bytes(),
                    "the listener closes a rendezvous after its response"
                );
                return read;
            }
            Some((BINARY | CONTINUATION, bytes)) => read.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_on_the_control_channel_and_over_a_rendezvous() {
    let mut azure = Azure::new();
    let _status = azure.listener().http(app()).start_watched();
    let mut control = azure.control().await;
    // Complete, without and with a body, the body in fragments.
    control.say(&request("a", "GET", r"\/hyco\/hello", false)).await;
    let response = control.text().await;
    assert_eq!(response["response"]["requestId"], "a_G12");
    assert_eq!(
        (&response["response"]["statusCode"], &response["response"]["body"]),
        (&200.into(), &true.into())
    );
    assert_eq!(control.next().await.unwrap(), (BINARY, b"hello".to_vec()));
    let body = pattern(65_536, 1);
    control.say(&request("b", "POST", r"\/hyco\/echo", true)).await;
    control.frame(BINARY, false, &body[..1000]).await;
    control.frame(PING, true, b"between").await;
    control.frame(CONTINUATION, false, &body[1000..60_000]).await;
    control.frame(CONTINUATION, true, &body[60_000..]).await;
    assert_eq!(control.next().await.unwrap(), (PONG, b"between".to_vec()));
    assert_eq!(control.text().await["response"]["requestId"], "b_G12");
    assert_eq!(control.next().await.unwrap().1, body);
    // A large answer goes to the instance that asked.
    control.say(&request("c", "GET", r"\/hyco\/large", false)).await;
    let call = azure.call().await;
    assert_eq!(call.to.to_string(), GATEWAY);
    assert_eq!(call.target(), "/$hc/hyco?sb-hc-action=request&sb-hc-id=c_G12");
    let mut meeting = call.upgrade("").await;
    assert_eq!(meeting.text().await["response"]["requestId"], "c_G12");
    assert!(whole(&mut meeting).await == pattern(200_000, 5));
    // A large question is announced: address and id only.
    let address = format!("wss:\\/\\/{GATEWAY}\\/$hc\\/hyco?sb-hc-action=request&sb-hc-id=d_G12");
    control.say(&format!(r#"{{"request":{{"address":"{address}","id":"d_G12"}}}}"#)).await;
    let mut meeting = azure.call().await.upgrade("").await;
    meeting.say(&request("d", "POST", r"\/hyco\/echo", true)).await;
    let body = pattern(300_000, 2);
    for (index, piece) in body.chunks(60_000).enumerate() {
        meeting.frame(if index == 0 { BINARY } else { CONTINUATION }, index == 4, piece).await;
    }
    assert_eq!(meeting.text().await["response"]["requestId"], "d_G12");
    assert!(whole(&mut meeting).await == body);
    // An announcement that leads nowhere takes nothing down.
    control.say(&format!(r#"{{"request":{{"address":"{address}","id":"e_G12"}}}}"#)).await;
    azure.call().await.refuse(&refusal("403", "Forbidden"), "").await;
    control.say(&request("f", "GET", r"\/hyco\/hello", false)).await;
    assert_eq!(control.text().await["response"]["requestId"], "f_G12");
}

#[tokio::test(start_paused = true)]
async fn what_a_sender_is_told() {
    let table = [
        ("404", "There are no listeners connected for the endpoint.", true),
        ("502", "Bad Gateway", true),
        ("503", "Service Unavailable", true),
        ("401", "MissingToken: Relay security token is required.", false),
        ("403", "Forbidden", false),
        ("504", "The listener did not accept the connection within the allotted time.", false),
        ("400", "Rejected by user code", false),
    ];
    for (status, text, nobody) in table {
        let mut azure = Azure::new();
        let sender = azure.sender();
        let connecting = tokio::spawn(async move { sender.connect().await });
        let call = azure.call().await;
        let id = call.target().strip_prefix("/$hc/hyco?sb-hc-action=connect&sb-hc-id=").unwrap();
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{id}");
        assert!(call.header("servicebusauthorization").is_some());
        call.refuse(&refusal(status, text), "").await;
        let error = connecting.await.unwrap().unwrap_err();
        assert_eq!(error.status(), status.parse().ok());
        assert_eq!(error.tracking_id(), Some("0f9b3a1e-2f7a-4a52-9b51-6c2f0e3d7a10_G12"));
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_nobody_there(), nobody, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn how_a_senders_stream_ends() {
    // Code, or none for a connection that breaks; whether what was read is whole.
    for (code, whole) in
        [(Some(1000), true), (Some(1001), true), (Some(1008), false), (Some(1011), false), (None, false)]
    {
        let mut azure = Azure::new();
        let sender = azure.sender();
        let connecting = tokio::spawn(async move { sender.connect().await });
        let mut far = azure.call().await.upgrade("").await;
        let mut near = connecting.await.unwrap().unwrap();
        near.write_all(b"question").await.unwrap();
        assert_eq!(far.next().await.unwrap(), (BINARY, b"question".to_vec()));
        far.frame(BINARY, true, b"answer").await;
        let closing = tokio::spawn(async move {
            match code {
                Some(code) => far.close(code, "").await,
                None => drop(far),
            }
        });
        let mut read = Vec::new();
        let end = near.read_to_end(&mut read).await;
        assert_eq!(read, b"answer", "{code:?}: what came before the end");
        assert_eq!(end.is_ok(), whole, "{code:?}: {end:?}");
        let _ = near.shutdown().await;
        soon(closing).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_service_is_told_from_one_of_the_listener() {
    let mut azure = Azure::new();
    let ask = |azure: &Azure| {
        let sender = azure.sender();
        let request = http::Request::get("/x?y=1").body(Full::<Bytes>::default()).unwrap();
        tokio::spawn(async move { sender.request(request, MINUTE).await })
    };
    let asking = ask(&azure);
    let call = azure.call().await;
    assert_eq!(call.line, "GET /hyco/x?y=1 HTTP/1.1");
    call.refuse("404 Nothing here", &format!("Via: 1.1 {NAMESPACE}\r\n")).await;
    let response = asking.await.unwrap().unwrap();
    assert_eq!(response.status(), 404, "the application's own");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let asking = ask(&azure);
    azure
        .call()
        .await
        .refuse(&refusal("404", "There are no listeners connected for the endpoint."), "")
        .await;
    assert!(asking.await.unwrap().unwrap_err().is_nobody_there());
}

/// Starts a listener whose owner only watches.
trait StartWatched {
    fn start_watched(self) -> StatusWatch;
}

impl StartWatched for rs_relay::client::ListenerBuilder {
    fn start_watched(self) -> StatusWatch {
        let mut listener = self.start();
        let status = listener.status();
        tokio::spawn(async move { while listener.accept().await.is_some() {} });
        status
    }
}
