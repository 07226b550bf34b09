use super::*;
use proptest::prelude::*;
use secrecy::ExposeSecret;

fn target(text: &str) -> String {
    HttpTarget::parse(text).unwrap().request_target
}

/// What the tests of the official SDKs saw from the live service.
#[test]
fn request_target_table() {
    let table = [
        ("?sb-hc-id=1", ""),
        ("?sb-hc-id=1&custom=value", "?custom=value"),
        ("?custom=value&sb-hc-id=1", "?custom=value"),
        ("?sb-hc-whatever=&foo=bar", "?foo=bar"),
        ("?SB-HC-Token=x&foo=bar", "?foo=bar"),
        ("?%73b-hc-token=x&foo=bar", "?foo=bar"),
        ("?sb-hc-undefined", "?sb-hc-undefined"),
        ("?&&&", "?&&&"),
        ("?a=1&a=2&", "?a=1&a=2&"),
        ("?&custom&value&", "?&custom&value&"),
        ("?+", "?+"),
        ("?%2B", "?%2B"),
        ("?%2f%3a%3d%26", "?%2f%3a%3d%26"),
        ("?sb-hc-action=nonsense&x", "?x"),
        ("?", "?"),
        ("", ""),
    ];
    for (sent, forwarded) in table {
        assert_eq!(target(&format!("/hyco/x%20y{sent}")), format!("/hyco/x%20y{forwarded}"), "{sent}");
    }
    for bad in ["*", "/", "", "/a/../b", "/a/%2e%2e"] {
        if bad == "*" {
            assert_eq!(HttpTarget::parse(bad).unwrap().path.entity_candidates().count(), 0);
        } else {
            assert!(HttpTarget::parse(bad).is_err(), "{bad}");
        }
    }
}

#[test]
fn sec43_target_at_and_past_the_bound() {
    let long = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    assert!(HttpTarget::parse(&long(TARGET_BYTES_MAX)).is_ok());
    assert!(matches!(HttpTarget::parse(&long(TARGET_BYTES_MAX + 1)), Err(TargetError::TooLong)));
}

#[test]
fn token_and_id_come_from_the_query() {
    let found = HttpTarget::parse("/h?sb-hc-token=Shared%20x%253D&sb-hc-id=7").unwrap();
    assert_eq!(found.token.unwrap().expose_secret(), "Shared x%3D");
    assert_eq!(found.tracking_id.as_deref(), Some("7"));
    assert!(!format!("{:?}", HttpTarget::parse("/h?sb-hc-token=canary").unwrap()).contains("canary"));
}

#[test]
fn the_order_of_tokens() {
    let query: SecretString = "q".to_owned().into();
    let table = [
        (Some(&query), Some("s"), Some("a"), Some(("q", false))),
        (None, Some("s"), Some("a"), Some(("s", false))),
        (None, None, Some("a"), Some(("a", true))),
        (None, None, Some("Bearer a"), Some(("a", true))),
        (None, None, None, None),
    ];
    for (query, service, authorization, expected) in table {
        let found = find_token(query, service, authorization);
        let found = found.as_ref().map(|found| (found.token.expose_secret(), found.is_authorization));
        assert_eq!(found, expected);
    }
}

#[test]
fn request_headers_table() {
    let received: Vec<(&str, &[u8])> = vec![
        ("host", b"h"),
        ("ServiceBusAuthorization", b"canary"),
        ("authorization", b"app"),
        ("connection", b"keep-alive, X-Hop"),
        ("x-hop", b"1"),
        ("content-length", b"5"),
        ("transfer-encoding", b"chunked"),
        ("te", b"trailers"),
        ("trailer", b"x"),
        ("upgrade", b"h2c"),
        ("keep-alive", b"timeout=5"),
        ("proxy-connection", b"close"),
        ("expect", b"100-continue"),
        ("close", b"1"),
        ("x-a", b"1"),
        ("x-a", b"2"),
        ("cookie", b"a=1"),
        ("cookie", b"b=2"),
        ("x-forwarded-for", b"192.0.2.1"),
        ("via", b"1.0 old"),
        ("x-latin", b"\xe4"),
    ];
    let headers = request_headers(received.clone(), false, "relay.test");
    let expected = [
        ("Host", "h"),
        ("Authorization", "app"),
        ("X-A", "1, 2"),
        ("Cookie", "a=1; b=2"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Via", "1.0 old, 1.1 relay.test"),
        ("X-Latin", "\u{fffd}"),
    ];
    assert_eq!(headers.iter().collect::<Vec<_>>(), expected);
    assert_eq!(request_headers(received, true, "relay.test").get("authorization"), None);
}

#[test]
fn header_names_are_spelled_as_usual() {
    let table = [
        ("sec-websocket-key", "Sec-WebSocket-Key"),
        ("host", "Host"),
        ("x-request-id", "X-Request-ID"),
        ("0", "0"),
        ("--", "--"),
    ];
    for (name, expected) in table {
        assert_eq!(header_case(name), expected);
    }
}

fn response(status: u16, headers: &[(&str, &str)]) -> Response {
    let mut response_headers = Headers::default();
    for (name, value) in headers {
        response_headers.append(name, value);
    }
    Response {
        request_id: "1".into(),
        status_code: status,
        status_description: None,
        response_headers,
        body: false,
    }
}

#[test]
fn which_responses_have_a_body() {
    for (method, status, body) in [
        ("GET", 200, true),
        ("HEAD", 200, false),
        ("GET", 204, false),
        ("GET", 304, false),
        ("get", 999, true),
    ] {
        let head = ResponseHead::new(&response(status, &[]), method, "h").unwrap();
        assert_eq!(head.may_have_body, body, "{method} {status}");
    }
    for status in [100, 101, 199] {
        let refused = ResponseHead::new(&response(status, &[]), "GET", "h").unwrap_err();
        assert_eq!(refused.status(), 502);
    }
}

#[test]
fn a_length_is_kept_only_where_no_body_follows() {
    let length = |method, status, value| {
        let head = ResponseHead::new(&response(status, &[("Content-Length", value)]), method, "h").unwrap();
        head.headers.iter().any(|(name, _)| name == "Content-Length")
    };
    assert!(length("HEAD", 200, "5") && length("GET", 304, "5"));
    assert!(!length("GET", 200, "5") && !length("GET", 204, "5") && !length("HEAD", 200, "5, 5"));
}

#[test]
fn no_header_breaks_the_head() {
    let bad =
        [("X\r\nEvil", "1"), ("X-Bad", "1\r\nEvil: 2"), ("", "1"), ("a b", "1"), ("ok", "tab\tis fine")];
    let head = ResponseHead::new(&response(200, &bad), "GET", "h").unwrap();
    assert_eq!(head.headers, [("ok".into(), "tab\tis fine".into()), ("Via".into(), "1.1 h".into())]);
}

#[test]
fn reasons_are_passed_on_in_one_line() {
    let with = |text: &str| {
        let response = Response { status_description: Some(text.into()), ..response(450, &[]) };
        ResponseHead::new(&response, "GET", "h").unwrap().reason
    };
    assert_eq!(with("Blocked by\r\nX: y").as_deref(), Some("Blocked by X: y"));
    assert_eq!(with(""), None);
}

proptest! {
    #[test]
    fn sec44_no_target_panics_and_no_parameter_of_ours_passes(query in "([a-z&=%?+]|sb-hc-[a-z]{1,3}=|%73b-hc-){0,30}") {
        if let Ok(target) = HttpTarget::parse(&format!("/hyco?{query}")) {
            let left = target.request_target.split_once('?').map_or("", |(_, query)| query);
            for pair in left.split('&').filter(|pair| pair.contains('=')) {
                let name = percent_decode_str(pair.split('=').next().unwrap()).decode_utf8_lossy().into_owned();
                prop_assert!(!name.to_ascii_lowercase().starts_with("sb-hc-"), "{pair}");
            }
        }
    }

    #[test]
    fn what_concerns_no_connection_passes_unchanged(headers in proptest::collection::btree_map("x-[a-z]{1,8}", "[ -~]{0,20}", 0..10)) {
        let received = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let passed = request_headers(received, true, "h");
        for (name, value) in &headers {
            prop_assert_eq!(passed.get(name), Some(value.as_str()));
        }
        prop_assert_eq!(passed.iter().count(), headers.len() + 1);
    }

    #[test]
    fn sec44_any_response_makes_a_clean_head(status in 100u16..=999, name in ".{0,12}", value in ".{0,20}", reason in ".{0,20}") {
        let response = Response { status_description: Some(reason), ..response(status, &[(&name, &value)]) };
        if let Ok(head) = ResponseHead::new(&response, "GET", "h") {
            for (name, value) in &head.headers {
                prop_assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
                prop_assert!(!value.contains(['\r', '\n']));
            }
            prop_assert!(head.reason.is_none_or(|reason| reason.bytes().all(|b| (b' '..=b'~').contains(&b))));
        }
    }
}
