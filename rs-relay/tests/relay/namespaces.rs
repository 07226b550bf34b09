//! Several namespaces on one server, changes of settings while it runs, tokens of other issuers, and the operator's port.

use std::time::Duration;

use rs_relay::proto::frame::Opcode;
use rs_relay::proto::registry::Limits;
use rs_relay::proto::{
    AuthorizationRule, EntitySettings, IssuerKeys, IssuerSettings, JwtGrant, NamespaceSettings, Right, Rules,
    SasToken,
};
use rs_relay::server::{ConfigError, RelayServerBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Bare, LISTEN_KEY, Relay, SEND_KEY, eventually, rules, soon};

fn rule(name: &str, right: Right, key: &str) -> AuthorizationRule {
    AuthorizationRule::new(name.parse().unwrap(), [right], key.parse().unwrap())
}

fn namespace(host: &str, rules: impl IntoIterator<Item = AuthorizationRule>) -> NamespaceSettings {
    NamespaceSettings::new([host.parse().unwrap()]).rules(Rules::new(rules).unwrap())
}

/// A token for the whole of a host.
fn token(host: &str, name: &str, key: &str) -> String {
    let resource = rs_relay::proto::resource(&host.parse().unwrap(), None);
    let until = "2100-01-01T00:00:00Z".parse().unwrap();
    SasToken::mint(&resource, &name.parse().unwrap(), &key.parse().unwrap(), until).expose().to_owned()
}

/// A handshake for a host of one's choice.
async fn handshake(relay: &Relay, host: &str, target: &str, token: &str) -> (String, Bare) {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nServiceBusAuthorization: {token}\r\n\r\n"
    );
    let mut bare = relay.raw(head.as_bytes()).await;
    (bare.head().await.0, bare)
}

const LISTEN: &str = "/$hc/hyco?sb-hc-action=listen";

fn two_customers(builder: RelayServerBuilder) -> RelayServerBuilder {
    builder
        .namespace(namespace("one.test", [rule("root", Right::Manage, "key of one")]))
        .namespace(namespace("other.test", [rule("root", Right::Manage, "key of other")]))
}

#[tokio::test]
async fn sec54_customers_cannot_see_each_other() {
    let relay = Relay::start_with(two_customers).await;
    let (one, other) = (token("one.test", "root", "key of one"), token("other.test", "root", "key of other"));
    let (status, mut control) = handshake(&relay, "one.test", LISTEN, &one).await;
    assert!(status.contains(" 101 "), "{status}");
    // The name of a listener of one is free at the other, and nothing says that it is taken elsewhere.
    let (status, _) = handshake(&relay, "other.test", "/$hc/hyco", &other).await;
    assert!(status.starts_with("HTTP/1.1 404 Endpoint does not exist."), "{status}");
    assert!(
        status.contains("_G0,") && status.contains("sb://other.test/hyco"),
        "numbers are its own: {status}"
    );
    // Keys and tokens of one are nothing at the other, by Host and by resource.
    for (host, token) in [("other.test", &one), ("one.test", &other)] {
        for target in [LISTEN, "/$hc/hyco"] {
            let (status, _) = handshake(&relay, host, target, token).await;
            assert!(status.contains(" 401 ") || status.contains(" 404 Endpoint"), "{host} {target} {status}");
        }
    }
    let forged = token_for("one.test", "key of other");
    assert!(handshake(&relay, "one.test", LISTEN, &forged).await.0.contains(" 401 "));
    // Case, a dot at the end and a port make no other namespace; an unknown name is none.
    for host in ["ONE.test", "one.test.", "one.test:8443"] {
        let (status, _sender) = tokio::join!(handshake_soon(&relay, host, &one), async {
            let target = control.accept_target().await;
            relay.open_for("one.test", &target).await
        });
        assert!(status.contains(" 101 "), "{host} {status}");
    }
    for host in ["evil.test", "one.test.other.test", "127.0.0.1", ""] {
        let (status, _) = handshake(&relay, host, LISTEN, &one).await;
        assert!(status.contains(" 404 ") || status.contains(" 400 "), "{host:?} {status}");
    }
    // A rendezvous of one cannot be met through the other.
    let connecting = handshake_soon(&relay, "one.test", &one);
    let meeting = async {
        let target = control.accept_target().await;
        let elsewhere = relay.open_for("other.test", &target).await;
        (elsewhere, relay.open_for("one.test", &target).await)
    };
    let (sender, (elsewhere, there)) = tokio::join!(connecting, meeting);
    assert!(
        elsewhere.contains(" 403 ") && there.contains(" 101 ") && sender.contains(" 101 "),
        "{elsewhere}"
    );
}

fn token_for(host: &str, key: &str) -> String {
    token(host, "root", key)
}

async fn handshake_soon(relay: &Relay, host: &str, token: &str) -> String {
    handshake(relay, host, "/$hc/hyco", token).await.0
}

#[tokio::test]
async fn sec54_limits_are_per_namespace() {
    let limits = || {
        let mut limits = Limits::default();
        limits.connections_max = 2;
        limits
    };
    let relay = Relay::start_with(|builder| {
        let small = namespace("one.test", [rule("root", Right::Manage, "k")]).limits(limits());
        builder.namespace(small).namespace(namespace("other.test", [rule("root", Right::Manage, "k")]))
    })
    .await;
    let one = token("one.test", "root", "k");
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (status, bare) = handshake(&relay, "one.test", LISTEN, &one).await;
        assert!(status.contains(" 101 "), "{status}");
        kept.push(bare);
    }
    let (status, _) = handshake(&relay, "one.test", LISTEN, &one).await;
    assert!(status.starts_with("HTTP/1.1 503 The namespace has as many connections"), "{status}");
    let (status, _kept) = handshake(&relay, "other.test", LISTEN, &token("other.test", "root", "k")).await;
    assert!(status.contains(" 101 "), "{status}");
}

#[tokio::test]
async fn two_namespaces_of_one_name_are_refused() {
    let relay = Relay::start_with(two_customers).await;
    let settings = |hosts: [&str; 2]| hosts.map(|host| namespace(host, [])).to_vec();
    let error = relay.server.reconfigure(settings(["a.test", "A.test."])).unwrap_err();
    assert_eq!(error, ConfigError::HostTwice { host: "a.test".into() });
    assert_eq!(relay.server.reconfigure(vec![NamespaceSettings::new([])]), Err(ConfigError::NoHost));
    // Nothing has changed.
    let (status, _) = handshake(&relay, "one.test", LISTEN, &token("one.test", "root", "key of one")).await;
    assert!(status.contains(" 101 "), "{status}");
}

async fn alive(bare: &mut Bare) -> bool {
    bare.send(Opcode::Ping, true, b"?").await;
    bare.next().await.is_some_and(|frame| frame.payload == b"?")
}

#[tokio::test]
async fn keys_are_changed_without_losing_anybody_and_joined_streams_stay() {
    let relay = Relay::start().await;
    let host = relay.authority.to_string();
    let settings = |rules: Vec<AuthorizationRule>| {
        vec![NamespaceSettings::new([host.parse().unwrap()]).rules(Rules::new(rules).unwrap())]
    };
    let send = || rule("send", Right::Send, SEND_KEY);
    let old = relay.token("hyco", "listen", LISTEN_KEY, 3600);
    let mut control = relay.bare_listener("hyco", &old).await;
    let (mut sender, mut joined) = relay.bare_pair("hyco2", [b"", b""]).await;
    eventually("its listener has left", || relay.server.listeners(&"hyco2".parse().unwrap()) == 0).await;
    // The new key is the primary one, the old one is still good.
    let both = rule("listen", Right::Listen, "new key").with_secondary_key(LISTEN_KEY.parse().unwrap());
    let done = relay.server.reconfigure(settings(vec![both, send()])).unwrap();
    assert_eq!((done.listeners_closed, done.listeners_kept), (0, 1));
    assert!(alive(&mut control).await);
    let fresh = relay.token("hyco", "listen", "new key", 3600);
    let mut renewed = relay.bare_listener("hyco", &fresh).await;
    // The old one is removed: who came by it is closed with 1008, who came by the new one stays.
    let done =
        relay.server.reconfigure(settings(vec![rule("listen", Right::Listen, "new key"), send()])).unwrap();
    assert_eq!((done.listeners_closed, done.listeners_kept), (1, 1));
    assert_eq!(control.next().await.unwrap().payload[..2], 1008_u16.to_be_bytes());
    assert!(alive(&mut renewed).await);
    // A right that is gone is as good as a key that is gone.
    relay.server.reconfigure(settings(vec![rule("listen", Right::Send, "new key")])).unwrap();
    assert_eq!(renewed.next().await.unwrap().payload[..2], 1008_u16.to_be_bytes());
    // What was joined is as it was, although nothing of it is good any more.
    sender.send(Opcode::Ping, true, b"still").await;
    assert_eq!(sender.next().await.unwrap().payload, b"still");
    sender.send(Opcode::Begin(rs_relay::proto::frame::Kind::Binary), true, b"through").await;
    assert_eq!(joined.next().await.unwrap().payload, b"through");
}

#[tokio::test]
async fn a_reload_counts_a_late_renewal_as_before() {
    // A listener whose token ran out a moment ago has its patience, also over a reload.
    let clock = std::sync::Arc::new(rs_relay::ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let of_relay: std::sync::Arc<dyn rs_relay::Clock> = clock.clone();
    let relay = Relay::start_with(|builder| builder.clock(of_relay)).await;
    let resource = rs_relay::proto::resource(&relay.authority, None);
    let until = "2026-01-01T01:00:00Z".parse().unwrap();
    let token = SasToken::mint(&resource, &"listen".parse().unwrap(), &LISTEN_KEY.parse().unwrap(), until);
    let mut control = relay.bare_listener("hyco", token.expose()).await;
    clock.advance(Duration::from_secs(3605));
    let same = NamespaceSettings::new([relay.authority.clone()]).rules(rules());
    assert_eq!(relay.server.reconfigure(vec![same]).unwrap().listeners_kept, 1);
    assert!(alive(&mut control).await);
}

#[tokio::test]
async fn entities_come_and_go_with_the_settings() {
    let relay = Relay::start_with(|builder| {
        builder.entity("hyco".parse().unwrap(), EntitySettings::new()).declared_entities_only()
    })
    .await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let mut control = relay.bare_listener("hyco", &token).await;
    let stranger = relay.token("late", "listen", LISTEN_KEY, 60);
    let headers = [("ServiceBusAuthorization", stranger.as_str())];
    let (status, _) = relay.open("/$hc/late?sb-hc-action=listen", &headers, b"").await.head().await;
    assert!(status.starts_with("HTTP/1.1 404 Endpoint does not exist."), "{status}");
    let settings = NamespaceSettings::new([relay.authority.clone()]).rules(rules()).declared_entities_only();
    relay.server.reconfigure(vec![settings.entity("late".parse().unwrap(), EntitySettings::new())]).unwrap();
    assert_eq!(control.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes(), "its entity is gone");
    relay.bare_listener("late", &stranger).await;
}

#[tokio::test]
async fn a_namespace_that_is_gone_closes_its_listeners() {
    let relay = Relay::start_with(two_customers).await;
    let one = token("one.test", "root", "key of one");
    let (_, mut control) = handshake(&relay, "one.test", LISTEN, &one).await;
    let left = NamespaceSettings::new([relay.authority.clone()]).rules(rules());
    let done = relay.server.reconfigure(vec![left]).unwrap();
    assert_eq!(done.listeners_closed, 1);
    assert_eq!(control.next().await.unwrap().payload[..2], 1001_u16.to_be_bytes());
}

#[tokio::test]
async fn tokens_of_another_issuer_listen_renew_and_send() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let keys = IssuerKeys::Pem(pair.public_key_pem());
    let issuer = IssuerSettings::new("idp".parse().unwrap(), "https://idp.test/", keys)
        .grant(JwtGrant::new("roles", ["listener"], [Right::Listen]).below("azlocal".parse().unwrap()))
        .grant(JwtGrant::new("oid", ["7"], [Right::Send]));
    let relay = Relay::start_with(|builder| builder.issuer(issuer)).await;
    let mint = |more: serde_json::Value| {
        let mut claims = serde_json::json!({
            "iss": "https://idp.test/", "aud": "https://relay.azure.net", "exp": 4_102_444_800_i64,
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
    };
    let listener = mint(serde_json::json!({"roles": ["listener"]}));
    let mut control = relay.bare_listener("azlocal/node", &format!("Bearer {listener}")).await;
    let renew = serde_json::json!({"renewToken": {"token": listener}}).to_string();
    control.send(Opcode::Begin(rs_relay::proto::frame::Kind::Text), true, renew.as_bytes()).await;
    assert!(alive(&mut control).await);
    let sender = mint(serde_json::json!({"oid": "7"}));
    let headers = [("ServiceBusAuthorization", sender.as_str())];
    let mut connecting = relay.open("/$hc/azlocal/node", &headers, b"").await;
    let mut met = relay.open(&control.accept_target().await, &[], b"").await;
    assert!(met.head().await.0.contains(" 101 ") && connecting.head().await.0.contains(" 101 "));
    for (token, target, status) in [
        (&sender, "/$hc/azlocal/node?sb-hc-action=listen", " 403 "),
        (&listener, "/$hc/elsewhere?sb-hc-action=listen", " 403 "),
        (&listener, "/$hc/azlocal/node", " 403 "),
        (&format!("{listener}x"), "/$hc/azlocal/node?sb-hc-action=listen", " 401 "),
    ] {
        let headers = [("ServiceBusAuthorization", token.as_str())];
        let (found, _) = relay.open(target, &headers, b"").await.head().await;
        assert!(found.contains(status), "{target} {found}");
    }
}

async fn admin(address: std::net::SocketAddr, path: &str) -> (String, String) {
    let mut io = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(io.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_operators_port_says_how_it_is_and_nothing_secret() {
    let relay = Relay::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = relay.server.clone();
    let serving = tokio::spawn(async move { server.serve_admin(listener).await });
    let token = relay.token("secret-entity", "listen", LISTEN_KEY, 60);
    let _control = relay.bare_listener("secret-entity", &token).await;
    let (_sender, _joined) = relay.bare_pair("pair", [b"", b""]).await;
    eventually("one is left", || relay.server.listeners(&"pair".parse().unwrap()) == 0).await;
    relay.open("/$hc/nobody-here?canary=1", &[], b"").await.head().await;
    assert!(admin(address, "/healthz").await.0.contains(" 200 "));
    assert!(admin(address, "/readyz").await.0.contains(" 200 "));
    assert!(admin(address, "/").await.0.contains(" 404 "));
    let (status, text) = admin(address, "/metrics").await;
    assert!(status.contains(" 200 "));
    for line in [
        "relay_listeners{namespace=\"localhost\"} 1",
        "relay_joined_connections{namespace=\"localhost\"} 1",
        "relay_joins_total{namespace=\"localhost\"} 1",
        "relay_listens_total{namespace=\"localhost\"} 2",
        "relay_refusals_total{namespace=\"localhost\",status=\"404\"} 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for secret in ["secret-entity", "nobody-here", "canary", "127.0.0.1", "SharedAccess", LISTEN_KEY] {
        assert!(!text.contains(secret), "{secret}");
    }
    let server = relay.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(Duration::from_secs(20)).await });
    eventually("it is not ready any more", || !relay.server.is_ready()).await;
    assert!(admin(address, "/readyz").await.0.contains(" 503 "));
    drop((_control, _sender, _joined));
    soon(stopping).await.unwrap();
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn sec42_too_many_connections_of_one_address() {
    let relay = Relay::start_with(|builder| builder.connections(100, 2)).await;
    let token = relay.token("hyco", "listen", LISTEN_KEY, 60);
    let first = relay.bare_listener("hyco", &token).await;
    let _second = relay.bare_listener("hyco", &token).await;
    let mut third = TcpStream::connect(("127.0.0.1", relay.authority.port())).await.unwrap();
    assert_eq!(soon(third.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed before anything was read");
    drop(first);
    eventually("the first is gone", || relay.server.listeners(&"hyco".parse().unwrap()) == 1).await;
    // Its connection ends a moment later than its listener.
    soon(async {
        loop {
            let mut io = TcpStream::connect(("127.0.0.1", relay.authority.port())).await.unwrap();
            let waits = tokio::time::timeout(Duration::from_millis(200), io.read(&mut [0; 1])).await;
            if waits.is_err() {
                return;
            }
        }
    })
    .await;
}
