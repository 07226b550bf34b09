//! What a required entry stands for: the published vectors, and the rules as properties.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use proptest::prelude::*;
use rs_proxy::{
    Coverage, HostName, HostPattern, LABEL_BYTES_MAX, NAME_BYTES_MAX, NameError, TEXT_BYTES_MAX, Target,
};

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap()
}

#[track_caller]
fn check(required: &str, target: &str, expected: bool) {
    assert_eq!(pattern(required).matches_text(target), expected, "{required} / {target}");
}

#[test]
fn p02_wildcard_vectors() {
    let required = "*.servicebus.windows.net";
    for (target, expected) in [
        ("rslab.servicebus.windows.net", true),
        ("a.b.c.servicebus.windows.net", true),
        ("RSLAB.ServiceBus.Windows.NET", true),
        ("rslab.servicebus.windows.net.", true),
        ("a.b.servicebus.windows.net.", true),
        ("rslab.servicebus.windows.net..", false),
        ("my_ns.servicebus.windows.net", true),
        ("bücher.servicebus.windows.net", true),
        ("xn--bcher-kva.servicebus.windows.net", true),
        ("rslab.servicebus.windows.net:443", true),
        ("rslab.servicebus.windows.net:8443", false),
        ("rslab.servicebus.windows.net:0", false),
        ("rslab.servicebus.windows.net:65536", false),
        ("  rslab.servicebus.windows.net  ", true),
        ("rslab. servicebus.windows.net", false),
        ("rslab\t.servicebus.windows.net", false),
        ("https://rslab.service\nbus.windows.net/", false),
        ("wss://rslab.servicebus.windows.net/$hc/x", true),
        ("sb://rslab.servicebus.windows.net/", true),
        ("https://rslab.servicebus.windows.net:443/", true),
        ("http://rslab.servicebus.windows.net/", false),
        ("http://rslab.servicebus.windows.net:443/", true),
        ("https://rslab.servicebus.windows.net:80/", false),
        ("ftp://rslab.servicebus.windows.net/", false),
        ("servicebus.windows.net", false),
        (".servicebus.windows.net", false),
        ("*.servicebus.windows.net", false),
        ("a..servicebus.windows.net", false),
        ("evilservicebus.windows.net", false),
        ("x.servicebus.windows.net.evil.example", false),
        ("xservicebusxwindowsxnet", false),
        ("https://rslab.servicebus.windows.net@evil.example/", false),
        ("https://evil.example@rslab.servicebus.windows.net/", true),
        ("https://evil.example/?x=.servicebus.windows.net", false),
        ("https://evil.example/#.servicebus.windows.net", false),
        ("https://evil.example\\.servicebus.windows.net/", false),
        ("evil.example/.servicebus.windows.net", false),
        ("rslab.servicebus.windows.net%00.evil.example", false),
        ("https://rslab.servicebus.windows.net%00.evil.example/", false),
        ("evil.example%2f.servicebus.windows.net", false),
        ("rslab.serv\u{456}cebus.windows.net", false),
        ("127.0.0.1", false),
        ("[::1]", false),
        ("::1", false),
        ("0x7f.1", false),
        ("https://[::1]:443/", false),
        ("", false),
    ] {
        check(required, target, expected);
    }
}

#[test]
fn p02_other_entries() {
    check("*.core.windows.net", "eastus-shared.prod.warm.ingest.monitor.core.windows.net", true);
    check("*.core.windows.net", "hardcore.windows.net", false);
    check("*.core.windows.net", "rslab.blob.core.usgovcloudapi.net", false);
    let edge = "https://edgesupprd.trafficmanager.net";
    check(edge, "edgesupprd.trafficmanager.net", true);
    check(edge, "x.edgesupprd.trafficmanager.net", false);
    check(edge, "asztrsprod.eastus.cloudapp.azure.com", false);
    check(edge, "https://edgesupprd.trafficmanager.net@evil.example", false);
    check(edge, "http://edgesupprd.trafficmanager.net", false);
}

#[test]
fn p03_userinfo_is_reported() {
    let target: Target = "https://evil.example@rslab.servicebus.windows.net/".parse().unwrap();
    assert!(target.has_userinfo());
    assert!(matches!("u:secret@h.example".parse::<Target>(), Err(NameError::UserInfo { .. })));
    let text = "u:secret@h.example".parse::<Target>().unwrap_err().to_string();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn p02_look_alikes_are_said() {
    let required = pattern("*.servicebus.windows.net");
    for (host, expected) in [
        ("rslab.serv\u{456}cebus.windows.net", true),
        ("rslab.servicebus.w1ndows.net", true),
        ("evilservicebus.windows.net", true),
        ("x.servicebus.windows.net.evil.example", true),
        ("rslab.servicebus.windows.net", false),
        ("servicebus.windows.net", false),
        ("login.microsoftonline.com", false),
    ] {
        assert_eq!(required.is_lookalike(&host.parse().unwrap()), expected, "{host}");
    }
}

#[test]
fn p04_coverage_of_one_entry_by_another() {
    let cases = [
        ("*.servicebus.windows.net", "*.servicebus.windows.net", Coverage::Full),
        ("*.servicebus.windows.net", "*.windows.net", Coverage::Full),
        ("*.servicebus.windows.net", "*.net", Coverage::Full),
        ("*.servicebus.windows.net", "rslab.servicebus.windows.net", Coverage::Partial),
        ("*.core.windows.net", "*.blob.core.windows.net", Coverage::Partial),
        ("*.servicebus.windows.net", "servicebus.windows.net", Coverage::None),
        ("*.servicebus.windows.net", "*.servicebus.windows.net:8443", Coverage::None),
        ("*.servicebus.windows.net", "*.bus.windows.net", Coverage::None),
        ("login.microsoftonline.com", "https://login.microsoftonline.com/", Coverage::Full),
        ("login.microsoftonline.com", "*.microsoftonline.com", Coverage::Full),
        ("login.microsoftonline.com", "*.login.microsoftonline.com", Coverage::None),
        ("login.microsoftonline.com", "http://login.microsoftonline.com/", Coverage::None),
    ];
    for (required, entry, expected) in cases {
        assert_eq!(pattern(required).coverage_by(&pattern(entry)), expected, "{required} by {entry}");
    }
}

#[test]
fn bounds_are_exact() {
    let label = "a".repeat(LABEL_BYTES_MAX);
    assert!(format!("{label}.example").parse::<HostName>().is_ok());
    assert!(format!("{label}a.example").parse::<HostName>().is_err());
    let name = |last: usize| format!("{}{}", "abc.".repeat(63), "a".repeat(last));
    assert_eq!(name(1).len(), NAME_BYTES_MAX);
    assert!(name(1).parse::<HostName>().is_ok());
    assert!(name(2).parse::<HostName>().is_err());
    let text = |bytes: usize| format!("https://h.example/{}", "x".repeat(bytes - 18));
    assert!(text(TEXT_BYTES_MAX).parse::<Target>().is_ok());
    assert!(matches!(text(TEXT_BYTES_MAX + 1).parse::<Target>(), Err(NameError::TooLong { .. })));
}

#[test]
fn stars_stand_only_in_front() {
    for text in [
        "*",
        "*S.example",
        "a.*.example",
        "azgn*.servicebus.windows.net",
        "*.*.example",
        "*.",
        "www.contoso.*",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "{text}");
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9_-]{0,8}[a-z0-9])?".prop_filter("no punycode by chance", |l| l.get(2..4) != Some("--"))
}

fn name(labels: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(label(), labels).prop_map(|labels| labels.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn p02_below_means_at_least_one_whole_label(suffix in name(2..4), head in name(1..4)) {
        let required = pattern(&format!("*.{suffix}"));
        let below = format!("{head}.{suffix}");
        let beside = format!("{head}{suffix}");
        prop_assert!(required.matches_text(&below));
        prop_assert!(!required.matches_text(&suffix));
        let boundary = beside.ends_with(&format!(".{suffix}"));
        prop_assert!(boundary || !required.matches_text(&beside));
        let outside = format!("{below}.evil");
        prop_assert!(!required.matches_text(&outside));
    }

    #[test]
    fn p02_case_root_dot_scheme_and_port_do_not_matter(suffix in name(2..4), head in name(1..3)) {
        let required = pattern(&format!("*.{suffix}"));
        let below = format!("{head}.{suffix}");
        for text in [
            below.to_uppercase(), format!("{below}."), format!("{below}:443"), format!("https://{below}/a?b#c"),
            format!("WSS://{below}"), format!(" {below}\n"),
        ] {
            prop_assert!(required.matches_text(&text), "{text}");
        }
        for text in [format!("{below}:444"), format!("http://{below}"), format!("{below}.."), format!(".{below}")] {
            prop_assert!(!required.matches_text(&text), "{text}");
        }
    }

    #[test]
    fn p03_only_the_host_decides(host in name(2..4), other in name(2..4)) {
        prop_assume!(host != other);
        let required = pattern(&host);
        for text in [
            format!("https://{host}@{other}/"), format!("https://{other}/{host}"), format!("https://{other}?{host}"),
            format!("https://{other}#{host}"), format!("https://{other}\\{host}"), format!("{other}/https://{host}"),
        ] {
            prop_assert!(!required.matches_text(&text), "{text}");
        }
    }

    #[test]
    fn printed_names_parse_back(host in name(2..5), port in 1u16.., wildcard: bool) {
        let text = format!("{}{host}:{port}", if wildcard { "*." } else { "" });
        let one = pattern(&text);
        prop_assert_eq!(pattern(&one.to_string()), one.clone());
        prop_assert_eq!(one.port(), port);
        let json = serde_json::to_string(&one).unwrap();
        prop_assert_eq!(serde_json::from_str::<HostPattern>(&json).unwrap(), one);
        let target: Target = format!("{host}:{port}").parse().unwrap();
        prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
    }

    #[test]
    fn no_text_panics_and_what_parses_is_normal(text in "\\PC{0,60}") {
        if let Ok(target) = text.parse::<Target>() {
            let again: Target = target.to_string().parse().unwrap();
            prop_assert_eq!(again.host(), target.host());
        }
        let _ = text.parse::<HostPattern>();
        let _ = text.parse::<HostName>();
    }

    #[test]
    fn addresses_match_no_name(a: u32, b: u128) {
        for text in [std::net::Ipv4Addr::from(a).to_string(), std::net::Ipv6Addr::from(b).to_string(),
                     format!("[{}]", std::net::Ipv6Addr::from(b)), a.to_string()] {
            prop_assert!(text.parse::<Target>().is_err(), "{text}");
            prop_assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
