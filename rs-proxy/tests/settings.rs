//! Proxy settings: who goes past the proxy in which client, and which setting wins.

use rs_proxy::settings::{
    Client, ProxyUrl, Route, Settings, Source, Sources, WindowsBypass, lint_no_proxy, no_proxy_bypasses,
    windows_bypass,
};
use rs_proxy::{Cloud, Profile, Severity};

/// The published table. D = direct, - = to the proxy, ? = not stated. Columns: curl, urllib, requests, Go, hyper-util, .NET.
const TABLE: &[(&str, &str, u16, &str)] = &[
    ("contoso.com", "contoso.com", 443, "DDDDDD"),
    ("contoso.com", "www.contoso.com", 443, "DDDDD-"),
    ("contoso.com", "evilcontoso.com", 443, "------"),
    ("contoso.com.", "contoso.com", 443, "D-----"),
    (".contoso.com", "contoso.com", 443, "DDD-DD"),
    (".contoso.com", "www.contoso.com", 443, "DDDDDD"),
    ("*.contoso.com", "www.contoso.com", 443, "---D--"),
    ("*", "anything.example", 443, "DDDDD-"),
    ("*", "10.1.2.3", 443, "DDDD--"),
    ("contoso.com:443", "contoso.com", 443, "---D--"),
    ("contoso.com:8443", "contoso.com", 8443, "-DDD--"),
    ("a.com, contoso.com", "contoso.com", 443, "DDDDDD"),
    ("a.com;contoso.com", "contoso.com", 443, "------"),
    ("a.com contoso.com", "contoso.com", 443, "D---D-"),
    ("https://contoso.com", "contoso.com", 443, "------"),
    ("10.0.0.0/8", "10.1.2.3", 443, "D-DDD-"),
    ("10.1.*", "10.1.2.3", 443, "------"),
    ("localhost", "127.0.0.1", 443, "---D--"),
    ("127.0.0.1", "localhost", 443, "---D--"),
    ("::1", "::1", 443, "D-DDD?"),
    ("[::1]", "::1", 443, "-D-D-?"),
    ("<local>", "node1", 443, "------"),
    ("bücher.example", "xn--bcher-kva.example", 443, "---D--"),
];

#[test]
fn p12_no_proxy_by_client() {
    let clients =
        [Client::Curl, Client::Urllib, Client::Requests, Client::Go, Client::HyperUtil, Client::Dotnet];
    let mut wrong = Vec::new();
    for (list, host, port, row) in TABLE {
        for (client, expected) in
            clients.into_iter().zip(row.chars()).filter(|(_, expected)| *expected != '?')
        {
            if no_proxy_bypasses(client, list, host, *port) != (expected == 'D') {
                wrong.push(format!("{client:?} {list} {host}: expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn p12_windows_lists() {
    use WindowsBypass::{Direct, ListInvalid, Proxy};
    for (list, host, expected) in [
        ("contoso.com", "contoso.com", Direct),
        ("contoso.com", "www.contoso.com", Proxy),
        ("*.contoso.com", "www.contoso.com", Direct),
        ("*.contoso.com", "contoso.com", Proxy),
        (".contoso.com", "www.contoso.com", Proxy),
        ("a,b;contoso.com d", "contoso.com", Direct),
        ("192.168.1.*", "192.168.1.7", Direct),
        ("192.168.1.0/24;contoso.com", "contoso.com", ListInvalid),
        ("<local>", "node1", Direct),
        ("<local>", "node1.contoso.com", Proxy),
        ("<-loopback>", "127.0.0.1", Proxy),
    ] {
        assert_eq!(windows_bypass(list, host), expected, "{list} {host}");
    }
}

#[test]
fn p12_lints_are_silent_on_the_right_form() {
    assert!(lint_no_proxy("localhost,127.0.0.1,.contoso.com,192.168.1.0/24,.svc").is_empty());
    assert_eq!(lint_no_proxy("a.com;b.com <local> *").len(), 2);
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn p11_which_setting_wins() {
    let mut sources = Sources {
        flag: Some("http://flag:1".into()),
        environment: env(&[("HTTPS_PROXY", "http://env:2")]),
        systemd: Some("[Service]\nEnvironment=\"HTTPS_PROXY=http://unit:3\" \"NO_PROXY=.a\"\n".into()),
        arc: Some("proxy.url : http://arc:4\nproxy.bypass : [AAD, ARM]\n".into()),
        winhttp: Some("WinHTTP\n    Proxy Server(s) :  http://winhttp:5\n".into()),
        wininet: Some("ProxyEnable REG_DWORD 0x1\nProxyServer REG_SZ wininet:6\n".into()),
    };
    for expected in [
        "http://flag:1",
        "http://env:2",
        "http://unit:3",
        "http://arc:4",
        "http://winhttp:5",
        "http://wininet:6",
    ] {
        let settings = Settings::read(&sources);
        assert_eq!(settings.proxy().unwrap().to_string(), expected);
        match settings.winner().unwrap().source {
            Source::Flag => sources.flag = None,
            Source::Environment => sources.environment.clear(),
            Source::Systemd => sources.systemd = None,
            Source::Arc => sources.arc = None,
            Source::WinHttp => sources.winhttp = None,
            Source::WinInet => sources.wininet = None,
        }
    }
    assert!(Settings::read(&sources).winner().is_none());
}

#[test]
fn p11_flag_direct_means_direct() {
    let sources = Sources {
        flag: Some("direct".into()),
        environment: env(&[("HTTPS_PROXY", "http://env:2")]),
        ..Sources::default()
    };
    assert!(matches!(Settings::read(&sources).route("a.example", 443), Route::Direct));
}

#[test]
fn p11_http_proxy_alone_is_said() {
    let settings =
        Settings::read(&Sources { environment: env(&[("HTTP_PROXY", "http://p:1")]), ..Sources::default() });
    assert!(settings.winner().is_none());
    assert!(settings.findings[0].text.contains("set HTTPS_PROXY"));
}

#[test]
fn p13_pac_and_passwords_are_said() {
    let settings = Settings::read(&Sources {
        environment: env(&[("https_proxy", "http://u:secret@p:1")]),
        wininet: Some("ProxyEnable REG_DWORD 0x0\nAutoConfigURL REG_SZ http://p/x.pac\n".into()),
        ..Sources::default()
    });
    let texts: String = settings.findings.iter().map(|f| f.text.as_str()).collect();
    assert!(
        texts.contains("PAC") && texts.contains("authentication") && !texts.contains("secret"),
        "{texts}"
    );
    let broken = Settings::read(&Sources { flag: Some("socks5://p".into()), ..Sources::default() });
    assert_eq!(broken.findings[0].severity, Severity::Failed);
    assert!(matches!(broken.route("a.example", 443), Route::Unusable(_)));
}

#[test]
fn p12_the_pasted_bypass_string_is_found() {
    let settings = Settings::read(&Sources {
        environment: env(&[
            ("HTTPS_PROXY", "http://p:1"),
            ("NO_PROXY", "localhost;*.contoso.com;192.168.1.*"),
        ]),
        winhttp: Some(
            "WinHTTP\n    Proxy Server(s) :  http://p:1\n    Bypass List :  .contoso.com;10.0.0.0/8\n".into(),
        ),
        ..Sources::default()
    });
    let texts: Vec<&str> = settings.findings.iter().map(|f| f.text.as_str()).collect();
    assert!(texts.iter().any(|t| t.contains("semicolon")), "{texts:#?}");
    assert!(texts.iter().any(|t| t.contains("192.168.1.0/24")), "{texts:#?}");
    assert!(texts.iter().any(|t| t.contains("10.*")), "{texts:#?}");
}

#[test]
fn p12_endpoints_past_the_proxy_are_said() {
    let settings = Settings::read(&Sources {
        environment: env(&[
            ("HTTPS_PROXY", "http://p:1"),
            ("NO_PROXY", ".windows.net,login.microsoftonline.com"),
        ]),
        arc: Some("proxy.url: http://p:1\nproxy.bypass: AAD\n".into()),
        ..Sources::default()
    });
    let findings = settings.findings_for(&Profile::of(Cloud::Public));
    assert!(findings.iter().any(|f| f.text.contains("servicebus")), "{findings:#?}");
    assert_eq!(findings.iter().filter(|f| f.text.contains("login.microsoftonline.com")).count(), 2);
    assert!(matches!(settings.route("x.servicebus.windows.net", 443), Route::Direct));
    assert!(matches!(settings.route("edgesupprd.trafficmanager.net", 443), Route::Proxy(_)));
}

#[test]
fn routes_through_one_proxy() {
    let proxy: ProxyUrl = "http://p:3128".parse().unwrap();
    let settings = Settings::through(proxy);
    assert!(matches!(settings.route("a.example", 443), Route::Proxy(p) if p.port() == 3128));
    assert!(matches!(Settings::direct().route("a.example", 443), Route::Direct));
}

#[test]
fn p16_what_the_arc_gateway_does_not_carry_is_said() {
    let arc = "connection.type : gateway\nproxy.url : http://p:1\n";
    let settings = Settings::read(&Sources { arc: Some(arc.into()), ..Sources::default() });
    let text = |cloud| {
        let found = settings.findings_for(&Profile::of(cloud));
        found.into_iter().find(|f| f.text.contains("Arc gateway")).map(|f| f.text).unwrap_or_default()
    };
    assert!(text(Cloud::Public).contains("login") && !text(Cloud::Public).contains("edgesupprd"));
    assert!(text(Cloud::Usgov).contains("edgesupprd"));
    let none =
        Settings::read(&Sources { arc: Some("proxy.url : http://p:1\n".into()), ..Sources::default() });
    assert!(none.findings_for(&Profile::of(Cloud::Public)).is_empty());
}

mod no_text_panics {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn in_any_setting(text in "([\\PC\\n]|://|@|\\*\\.|WinHTTP|REG_SZ|ProxyServer |Environment=|proxy\\.url|: |/8|<local>|;){0,30}", host in "[a-z.:*]{0,20}", port: u16) {
            let sources = Sources {
                flag: Some(text.clone()),
                environment: env(&[("HTTPS_PROXY", &text), ("NO_PROXY", &text)]),
                systemd: Some(text.clone()),
                arc: Some(text.clone()),
                winhttp: Some(format!("winhttp{text}")),
                wininet: Some(text.clone()),
            };
            let settings = Settings::read(&sources);
            let _ = settings.route(&host, port);
            let _ = settings.findings_for(&Profile::of(Cloud::Public));
            let _ = rs_proxy::settings::commands(None, Some(&text));
        }

        #[test]
        fn a_password_in_a_proxy_setting_never_shows(password in "[a-zA-Z0-9%!$,;'\"/?#=]{8,20}", rest in "[a-z:/@]{0,8}") {
            let password = format!("s3cret{password}t3rces");
            let text = format!("http://user:{password}@proxy.example:3128{rest}");
            let shown = match text.parse::<ProxyUrl>() {
                Ok(proxy) => format!("{proxy} {proxy:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("s3cret") && !shown.contains("t3rces"), "{shown}");
        }

        #[test]
        fn what_is_below_a_dotted_name_goes_direct_in_every_client(name in "[a-z]{2,8}\\.example", head in "[a-z]{1,5}") {
            for client in rs_proxy::settings::CLIENTS {
                let host = format!("{head}.{name}");
                let beside = format!("{head}{name}");
                let list = format!("other.example,.{name}");
                prop_assert!(no_proxy_bypasses(client, &list, &host, 443));
                prop_assert!(!no_proxy_bypasses(client, &list, &beside, 443));
            }
        }
    }
}
