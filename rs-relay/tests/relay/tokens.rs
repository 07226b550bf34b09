//! Who gets in.

use rs_relay::client::{HybridConnection, Listener, OfflineCause, Sender, Status};
use rs_relay::proto::{AuthorizationRule, NamespaceSettings, Right, Rules, SasToken};
use rs_relay::server::EntitySettings;

use crate::support::{LISTEN_KEY, Relay, SEND_KEY, round_trip, soon};

async fn status_of(relay: &Relay, target: &str, token: Option<&str>) -> String {
    let headers: Vec<_> = token.iter().map(|token| ("ServiceBusAuthorization", *token)).collect();
    relay.open(target, &headers, b"").await.head().await.0
}

#[tokio::test]
async fn sec18_bad_tokens_for_listeners_and_senders() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    for (action, name, key, other, claim) in
        [("listen", "listen", LISTEN_KEY, "send", "Listen"), ("connect", "send", SEND_KEY, "listen", "Send")]
    {
        let target = format!("/$hc/hyco?sb-hc-action={action}");
        let other_key = if other == "send" { SEND_KEY } else { LISTEN_KEY };
        let table = [
            ("missing", None, "401 The token is missing"),
            ("garbage", Some("garbage".to_owned()), "401 The token is of a kind"),
            (
                "signature",
                Some(relay.token("hyco", name, "wrong key", 60)),
                "401 The token has an invalid signature",
            ),
            ("key name", Some(relay.token("hyco", "nobody", key, 60)), "401 The token names an unknown key"),
            ("expired", Some(relay.token("hyco", name, key, -1)), "401 The token has expired"),
            (
                "other entity",
                Some(relay.token("hyc", name, key, 60)),
                "401 The token was made for another resource",
            ),
            (
                "right",
                Some(relay.token("hyco", other, other_key, 60)),
                &format!("403 The token does not carry the claim '{claim}'"),
            ),
        ];
        for (case, token, expected) in table {
            let status = status_of(&relay, &target, token.as_deref()).await;
            assert!(status.starts_with(&format!("HTTP/1.1 {expected}")), "{action} {case}: {status}");
            assert!(status.contains("TrackingId:") && status.contains("/hyco"), "{status}");
        }
        // The control: the same with a good token.
        let good = relay.token("hyco", name, key, 60);
        assert!(status_of(&relay, &target, Some(&good)).await.contains(" 101 "), "{action}");
    }
}

#[tokio::test]
async fn r03_a_token_for_one_node_is_refused_for_another() {
    let relay = Relay::start().await;
    relay.echo("azlocal/node-01").await;
    relay.echo("azlocal/node-02").await;
    let token = relay.token("azlocal/node-01", "send", SEND_KEY, 60);
    assert!(status_of(&relay, "/$hc/azlocal/node-01", Some(&token)).await.contains(" 101 "));
    assert!(status_of(&relay, "/$hc/azlocal/node-02", Some(&token)).await.contains(" 401 "));
}

#[tokio::test]
async fn tokens_in_the_query_of_all_spellings() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    let token = relay.token("hyco/x", "send", SEND_KEY, 60);
    let encode =
        |space: &str| token.replace('%', "%25").replace('&', "%26").replace('=', "%3D").replace(' ', space);
    for space in ["%20", "+"] {
        let target = format!("/$hc/hyco/x?sb-hc-action=connect&SB-HC-Token={}", encode(space));
        assert!(status_of(&relay, &target, None).await.contains(" 101 "));
        assert!(status_of(&relay, &target, Some("the query comes first")).await.contains(" 101 "));
    }
}

#[tokio::test]
async fn rules_of_an_entity_and_anonymous_senders() {
    let rule = |name: &str, right, key: &str| {
        AuthorizationRule::new(name.parse().unwrap(), [right], key.parse().unwrap())
    };
    let own = Rules::new([rule("own", Right::Manage, "own key")]).unwrap();
    let relay = Relay::start_with(|builder| {
        builder
            .entity("private".parse().unwrap(), EntitySettings::new().rules(own))
            .entity("public".parse().unwrap(), EntitySettings::new().dangerous_anonymous_senders())
    })
    .await;
    let own = |entity: &str| relay.connection(entity, "own", "own key");
    let listener = Listener::builder(own("private"), relay.connector()).start();
    assert!(soon(listener.status().online()).await);
    assert_eq!(
        soon(Sender::new(own("public"), relay.connector()).connect()).await.unwrap_err().status(),
        Some(404)
    );
    relay.echo("public").await;
    let anonymous = HybridConnection::new(relay.authority.clone(), "public".parse().unwrap());
    let mut stream = soon(Sender::new(anonymous, relay.connector()).connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"hello")).await, b"hello");
    let anonymous = HybridConnection::new(relay.authority.clone(), "private".parse().unwrap());
    let refused = soon(Sender::new(anonymous, relay.connector()).connect()).await.unwrap_err();
    assert_eq!(refused.status(), Some(401));
    // A listener needs a token everywhere.
    let target = "/$hc/public?sb-hc-action=listen";
    assert!(status_of(&relay, target, None).await.contains(" 401 "));
}

#[tokio::test]
async fn replaced_rules_hold_for_the_next_one() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    assert!(soon(relay.sender("hyco").connect()).await.is_ok());
    let listen =
        AuthorizationRule::new("listen".parse().unwrap(), [Right::Listen], LISTEN_KEY.parse().unwrap());
    let settings = NamespaceSettings::new([relay.authority.clone()]).rules(Rules::new([listen]).unwrap());
    assert_eq!(relay.server.reconfigure(vec![settings]).unwrap().listeners_kept, 1);
    assert_eq!(soon(relay.sender("hyco").connect()).await.unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn a_ready_token_is_enough() {
    let relay = Relay::start().await;
    relay.echo("hyco").await;
    let token = SasToken::parse(&relay.token("hyco", "send", SEND_KEY, 60)).unwrap();
    let connection = HybridConnection::from_token(relay.authority.clone(), "hyco".parse().unwrap(), &token);
    let mut stream = soon(Sender::new(connection, relay.connector()).connect()).await.unwrap();
    assert_eq!(soon(round_trip(&mut stream, b"x")).await, b"x");
}

#[tokio::test]
async fn a_refused_listener_says_why_and_shows_no_secret() {
    let relay = Relay::start().await;
    let connection = relay.connection("hyco", "listen", "canary key");
    let listener = Listener::builder(connection, relay.connector()).start();
    let mut status = listener.status();
    let offline = soon(async {
        loop {
            if let Some(Status::Offline { cause, .. }) = status.changed().await {
                return cause;
            }
        }
    })
    .await;
    assert!(matches!(&*offline, OfflineCause::Connect(error) if error.status() == Some(401)), "{offline}");
    assert!(offline.to_string().contains("invalid signature"), "{offline}");
    assert!(!format!("{offline:?} {listener:?}").contains("canary"));
    soon(listener.close()).await;
}
