//! What each product does with a list: the published tables, dialect by dialect.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use rs_proxy::allowlist::{self, LIST_FORMATS, ListFormat, Report, Status};
use rs_proxy::{Cloud, Format, Profile, Severity, render};

const ARTICLE: &str = "*.servicebus.windows.net\n*.core.windows.net\nlogin.microsoftonline.com\n\
    https://asztrsprod.westus2.cloudapp.azure.com\nhttps://asztrsprod.westeurope.cloudapp.azure.com\n\
    https://asztrsprod.eastus.cloudapp.azure.com\nhttps://asztrsprod.westcentralus.cloudapp.azure.com\n\
    https://asztrsprod.southeastasia.cloudapp.azure.com\nhttps://edgesupprd.trafficmanager.net\n";

fn check(format: ListFormat, text: &str) -> Report {
    allowlist::check(text, Some(format), &Profile::of(Cloud::Public))
}

#[track_caller]
fn status(format: ListFormat, text: &str, id: &str) -> Status {
    let report = check(format, text);
    report.endpoints.iter().find(|v| v.id.as_str() == id).unwrap().status
}

/// The status of the relay's entry for one line.
#[track_caller]
fn relay(format: ListFormat, cases: &[(&str, Status)]) {
    for (text, expected) in cases {
        assert_eq!(status(format, text, "servicebus"), *expected, "{format:?}: {text}");
    }
}

use Status::{Contradictory, Covered, Missing, NeverMatches, OverBroad, Partial, Unknown};

#[test]
fn p04_squid_dstdomain_table() {
    relay(
        ListFormat::Squid,
        &[
            (".servicebus.windows.net", Covered),
            (".SERVICEBUS.Windows.NET", Covered),
            ("servicebus.windows.net", Missing),
            ("*.servicebus.windows.net", NeverMatches),
            ("*servicebus.windows.net", NeverMatches),
            (".servicebus.windows.net.", NeverMatches),
            (".servicebus.windows.net:443", NeverMatches),
            ("rslab.servicebus.windows.net", Partial),
            (".windows.net", OverBroad),
            (".net", OverBroad),
            ("*", Missing),
            ("10.0.0.0/8", Missing),
        ],
    );
    assert_eq!(
        status(ListFormat::Squid, "https://edgesupprd.trafficmanager.net", "edgesupprd"),
        NeverMatches
    );
    assert_eq!(status(ListFormat::Squid, "edgesupprd.trafficmanager.net:443", "edgesupprd"), NeverMatches);
    assert_eq!(status(ListFormat::Squid, "edgesupprd.trafficmanager.net/", "edgesupprd"), NeverMatches);
}

#[test]
fn p04_squid_fatal_orderings() {
    for (text, fatal) in [
        (".s.example\nfoo.s.example", false),
        ("foo.s.example\n.s.example", true),
        ("s.example\n.s.example", true),
        (".s.example\ns.example", true),
        (".s.example\n.s.example", false),
        ("a.example\nb.example", false),
    ] {
        let text = format!("{text}\nlogin.microsoftonline.com\n");
        let expected = if fatal { Contradictory } else { Covered };
        assert_eq!(status(ListFormat::Squid, &text, "login"), expected, "{text}");
    }
}

#[test]
fn p04_squid_regex_table() {
    let conf = |kind: &str, pattern: &str| {
        format!("acl a {kind} {pattern}\nhttp_access allow a\nhttp_access deny all\n")
    };
    for (pattern, expected) in [
        ("servicebus.windows.net", OverBroad),
        (r"servicebus\.windows\.net$", OverBroad),
        (r"\.servicebus\.windows\.net$", Covered),
        (r"(^|\.)servicebus\.windows\.net$", Covered),
        (r"^[a-z0-9-]+\.servicebus\.windows\.net$", Covered), // one label, said in the text
        ("*.servicebus.windows.net", NeverMatches),
    ] {
        relay(ListFormat::SquidConf, &[(&conf("dstdom_regex", pattern), expected)]);
    }
    let url = |pattern: &str| status(ListFormat::SquidConf, &conf("url_regex", pattern), "login");
    assert_eq!(url("^https://login.microsoftonline.com"), NeverMatches);
    assert_eq!(url(r"^login\.microsoftonline\.com:443$"), Covered);
}

#[test]
fn p04_squid_configurations_are_read_in_order() {
    let base = "acl SSL_ports port 443\nacl Safe_ports port 80 443 1025-65535\nhttp_access deny !Safe_ports\n\
        http_access deny CONNECT !SSL_ports\nhttp_access allow localhost manager\nhttp_access deny manager\n\
        acl azure dstdomain .servicebus.windows.net\n";
    for (rest, expected) in [
        ("http_access allow azure\nhttp_access deny all\n", Covered),
        ("http_access deny all\nhttp_access allow azure\n", Contradictory),
        ("http_access deny azure\nhttp_access allow all\n", Missing),
        ("http_access allow CONNECT azure\nhttp_access deny all\n", Covered),
        ("acl nodes src 10.0.0.0/8\nhttp_access allow nodes azure\nhttp_access deny all\n", Covered),
        (
            "acl two dstdomain .core.windows.net\nhttp_access allow azure two\nhttp_access deny all\n",
            Contradictory,
        ),
        ("acl p port 8443\nhttp_access allow azure p\nhttp_access deny all\n", Contradictory),
        ("http_access deny all\n", Contradictory),
        ("acl azure dstdomain foo.servicebus.windows.net\nhttp_access allow azure\n", Covered),
        ("acl azure dstdomain servicebus.windows.net\nhttp_access allow azure\n", Contradictory),
        ("acl azure dst 10.0.0.1\nhttp_access allow azure\n", Contradictory),
        ("http_access allow all\n", OverBroad),
        ("acl f dstdomain \"/etc/squid/list\"\nhttp_access allow f\nhttp_access deny all\n", Contradictory),
    ] {
        relay(ListFormat::SquidConf, &[(&format!("{base}{rest}"), expected)]);
    }
    let elsewhere = "acl f dstdomain \"/etc/squid/list\"\nhttp_access allow f\nhttp_access deny all\n";
    relay(ListFormat::SquidConf, &[(elsewhere, Unknown)]);
}

#[test]
fn p04_tinyproxy() {
    relay(
        ListFormat::Tinyproxy,
        &[
            (r"\.servicebus\.windows\.net$", Covered),
            ("servicebus.windows.net", OverBroad),
            ("*.servicebus.windows.net", NeverMatches),
            (r"\(bad", Contradictory),
        ],
    );
    assert_eq!(
        status(ListFormat::Tinyproxy, "https://edgesupprd.trafficmanager.net", "edgesupprd"),
        NeverMatches
    );
    assert_eq!(status(ListFormat::Tinyproxy, "login.microsoftonline.com", "login"), OverBroad);
}

#[test]
fn p04_azure_firewall() {
    let rules = |action: &str, fqdn: &str, more: &str| {
        format!(
            r#"{{"properties":{{"ruleCollections":[{{"priority":100,"action":{{"type":"{action}"}},"rules":[
            {{"ruleType":"ApplicationRule","protocols":[{{"protocolType":"Https","port":443}}],"targetFqdns":["{fqdn}"]{more}}}]}}]}}}}"#
        )
    };
    for (fqdn, expected) in [
        ("*.servicebus.windows.net", Covered),
        ("*servicebus.windows.net", OverBroad),
        ("*", OverBroad),
        ("servicebus.windows.net", Missing),
        ("*.servicebus.*", Missing),
        (".servicebus.windows.net", NeverMatches),
        ("https://rs.servicebus.windows.net", Missing),
    ] {
        let text = rules("Allow", fqdn, "");
        relay(ListFormat::AzureFirewall, &[(&text, expected)]);
    }
    let inspected = check(
        ListFormat::AzureFirewall,
        &rules("Allow", "*.servicebus.windows.net", r#","terminateTLS":true"#),
    );
    assert_eq!(inspected.endpoints[0].severity, Severity::Warning);
    let tags = r#"[{"rules":[{"ruleType":"ApplicationRule","fqdnTags":["AzureBackup"]}]}]"#;
    relay(ListFormat::AzureFirewall, &[(tags, Unknown)]);
    let http = rules("Allow", "*.servicebus.windows.net", "").replace("Https", "Http").replace("443", "80");
    relay(ListFormat::AzureFirewall, &[(&http, Contradictory)]);
    let two = r#"{"ruleCollections":[
        {"priority":200,"action":{"type":"Allow"},"rules":[{"ruleType":"ApplicationRule","targetFqdns":["*.servicebus.windows.net"]}]},
        {"priority":100,"action":{"type":"Deny"},"rules":[{"ruleType":"ApplicationRule","targetFqdns":["*.windows.net"]}]}]}"#;
    relay(ListFormat::AzureFirewall, &[(two, Contradictory)]);
    relay(ListFormat::AzureFirewall, &[(&two.replace("100", "300"), Covered)]);
}

#[test]
fn p04_fortigate() {
    let object = "config firewall address\nedit \"sb\"\nset type fqdn\nset fqdn \"*.servicebus.windows.net\"\nnext\nend\n";
    let policy = |more: &str| {
        format!(
            "{object}config firewall addrgrp\nedit \"g\"\nset member \"sb\"\nnext\nend\nconfig firewall policy\nedit 1\n\
             set dstaddr \"g\"\nset action accept\n{more}next\nend\n"
        )
    };
    for (text, expected) in [
        (object.to_owned(), Covered),
        (policy("set service \"HTTPS\"\n"), Covered),
        (policy("set service \"HTTP\"\n"), Contradictory),
        (policy("set status disable\n"), Contradictory),
        (policy("").replace("set dstaddr \"g\"", "set dstaddr \"x\""), Contradictory),
        (policy("").replace("accept", "deny"), Missing),
    ] {
        relay(ListFormat::Fortigate, &[(&text, expected)]);
    }
    assert_eq!(check(ListFormat::Fortigate, object).endpoints[0].severity, Severity::Warning); // DNS-learnt
    let exemption = "config firewall wildcard-fqdn custom\nedit \"x\"\nset wildcard-fqdn \"*.servicebus.windows.net\"\nnext\nend\n";
    relay(ListFormat::Fortigate, &[(exemption, NeverMatches)]);
}

#[test]
fn p04_palo_alto() {
    relay(
        ListFormat::Paloalto,
        &[
            ("*.servicebus.windows.net/", Covered),
            ("*.servicebus.windows.net", Covered),
            ("^.servicebus.windows.net/", Covered), // one label, said in the text
            ("servicebus.windows.net/", Missing),
            ("*servicebus.windows.net/", NeverMatches),
            ("https://*.servicebus.windows.net/", NeverMatches),
            (".servicebus.windows.net", NeverMatches),
        ],
    );
    assert_eq!(status(ListFormat::Paloalto, "^.core.windows.net/", "core"), Partial);
    let category =
        "set profiles custom-url-category x list [ *.servicebus.windows.net/ login.microsoftonline.com/ ]";
    assert_eq!(check(ListFormat::Paloalto, category).covered(), 2);
}

#[test]
fn p04_zscaler() {
    relay(
        ListFormat::Zscaler,
        &[
            (r#"{"configuredName":"a","urls":[".servicebus.windows.net"]}"#, Covered),
            (r#"{"urls":["*.servicebus.windows.net"]}"#, NeverMatches),
            (r#"{"urls":["servicebus.windows.net"]}"#, Missing),
            (r#"{"urls":["https://.servicebus.windows.net"]}"#, NeverMatches),
            (".servicebus.windows.net", Covered),
        ],
    );
    // Five levels below are just enough for the deepest storage name.
    assert_eq!(status(ListFormat::Zscaler, ".core.windows.net", "core"), Covered);
}

#[test]
fn p12_windows_bypass() {
    relay(
        ListFormat::WindowsBypass,
        &[
            ("*.servicebus.windows.net;node1", Covered),
            (".servicebus.windows.net", NeverMatches),
            ("servicebus.windows.net", Missing),
            ("*.servicebus.windows.net,10.0.0.0/8", Contradictory),
        ],
    );
    let netsh = "Current WinHTTP proxy settings:\n\n    Proxy Server(s) :  p:8080\n    Bypass List     :  *.core.windows.net\n";
    assert_eq!(status(ListFormat::WindowsBypass, netsh, "core"), Covered);
}

#[test]
fn p04_plain_texts() {
    relay(
        ListFormat::Plain,
        &[
            ("*.servicebus.windows.net", Covered),
            (".servicebus.windows.net", Covered),
            ("  - \"*.servicebus.windows.net\", tcp/443", Covered),
            ("*.servicebus.windows.net tcp/80", Contradictory),
            ("servicebus.windows.net", Missing),
            ("# *.servicebus.windows.net", Missing),
            ("*servicebus.windows.net", NeverMatches),
            ("azgn*.servicebus.windows.net", Partial),
            ("x *.windows.net y", OverBroad),
            ("*", OverBroad),
            ("https\\://x.servicebus.windows.net", Partial),
        ],
    );
    assert_eq!(status(ListFormat::Plain, "*.blob.core.windows.net", "core"), Partial);
}

#[test]
fn p04_tables() {
    let markdown = "| Id | Endpoint | Port | Notes |\n|---|---|---|---|\n| 1 | \\*.servicebus.windows.net | 443 | see login.microsoftonline.com |\n\
        | 2 | *.core.windows.net | 80 | |\n";
    assert_eq!(status(ListFormat::Markdown, markdown, "servicebus"), Covered);
    assert_eq!(status(ListFormat::Markdown, markdown, "core"), Contradictory);
    assert_eq!(status(ListFormat::Markdown, markdown, "login"), Missing);
    let csv = "Endpoint;Port;Action;Status\n*.servicebus.windows.net;443;allow;enabled\n*.core.windows.net;443;allow;disabled\n\
        login.microsoftonline.com;443;deny;enabled\n";
    assert_eq!(allowlist::detect(csv).0, ListFormat::Csv);
    assert_eq!(status(ListFormat::Csv, csv, "servicebus"), Covered);
    assert_eq!(status(ListFormat::Csv, csv, "core"), Contradictory);
    assert_eq!(status(ListFormat::Csv, csv, "login"), Missing);
    let rules = r#"[{"action":"allow","fqdns":["*.servicebus.windows.net"]},{"action":"Deny","fqdns":["login.microsoftonline.com"]},
        {"enabled":false,"fqdns":["edgesupprd.trafficmanager.net"]}]"#;
    assert_eq!(check(ListFormat::Json, rules).covered(), 1);
    let json = r#"{"allow":["*.servicebus.windows.net"],"deny":["login.microsoftonline.com"]}"#;
    assert_eq!(status(ListFormat::Json, json, "servicebus"), Covered);
    assert_eq!(status(ListFormat::Json, json, "login"), Missing);
}

#[test]
fn p04_the_article_pasted_as_it_stands() {
    for (format, covered) in [
        (ListFormat::Squid, 1),
        (ListFormat::Tinyproxy, 1),
        (ListFormat::Zscaler, 1),
        (ListFormat::Paloalto, 3),
        (ListFormat::Plain, 9),
        (ListFormat::Markdown, 9),
    ] {
        let report = check(format, ARTICLE);
        assert_eq!(report.covered(), covered, "{format:?}\n{report}");
    }
}

#[test]
fn p15_outdated_names_are_said() {
    let list = "edgesupprdwestuufrontend.westus2.cloudapp.azure.com\nedgesupprdwestusfrontend.westus2.cloudapp.azure.com\n";
    let report = check(ListFormat::Plain, list);
    assert_eq!(report.endpoints[3].status, Status::Outdated);
    assert!(report.endpoints[3].explanation.contains("older back end"));
}

#[test]
fn p19_addresses_are_warned_about() {
    let report = check(ListFormat::Plain, "10.1.2.0/24\n20.30.40.50\n");
    assert!(report.findings.iter().any(|f| f.severity == Severity::Warning && f.text.contains("by name")));
    assert!(report.endpoints.iter().all(|v| v.status == Missing));
}

#[test]
fn what_we_write_is_read_back_as_full_cover() {
    let profile = Profile::of(Cloud::Public);
    for (format, list_format) in [
        (Format::Plain, ListFormat::Plain),
        (Format::Squid, ListFormat::Squid),
        (Format::Tinyproxy, ListFormat::Tinyproxy),
        (Format::Netsh, ListFormat::WindowsBypass),
        (Format::Fortigate, ListFormat::Fortigate),
        (Format::Paloalto, ListFormat::Paloalto),
        (Format::Zscaler, ListFormat::Zscaler),
        (Format::AzureFirewall, ListFormat::AzureFirewall),
        (Format::Json, ListFormat::Json),
    ] {
        let text = render::render(&profile, format);
        let report = allowlist::check(&text, None, &profile);
        assert_eq!(report.format, list_format, "{text}");
        assert_eq!(report.covered(), 9, "{report}");
        assert!(report.endpoints.iter().all(|v| v.status == Covered), "{report}");
    }
}

#[test]
fn fix_lines_are_enough() {
    for format in LIST_FORMATS {
        if matches!(
            format,
            ListFormat::SquidConf | ListFormat::Fortigate | ListFormat::AzureFirewall | ListFormat::Json
        ) {
            continue; // one line is not a whole rule there
        }
        let report = check(format, "");
        assert_eq!(report.covered(), 0);
        let fixed = check(format, &(report.fix_lines().join("\n") + "\n"));
        assert_eq!(fixed.covered(), 9, "{format:?}\n{fixed}");
    }
}

#[test]
fn reports_are_text_and_json() {
    let report = check(ListFormat::Squid, ARTICLE);
    assert_eq!(report.severity, Severity::Failed);
    let text = report.to_string();
    assert!(
        text.contains("1 of 9 endpoints are let through") && text.contains("add: .servicebus.windows.net"),
        "{text}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["endpoints"][0]["id"], "servicebus");
    assert_eq!(json["endpoints"][0]["status"], "never-matches");
    assert_eq!(json["endpoints"][2]["covered"], true);
    assert_eq!(json["endpoints"][2]["line"], 3);
}

mod no_list_panics {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn in_any_dialect(text in "([\\PC\\n]|acl a dstdomain |http_access allow a\\n|config firewall policy\\nedit 1\\n|\\.net|\\*\\.|https://|\\[|\"|\\|){0,40}") {
            for format in LIST_FORMATS {
                let _ = allowlist::check(&text, Some(format), &Profile::of(Cloud::Public)).to_string();
            }
            let _ = allowlist::check(&text, None, &Profile::of(Cloud::Usgov));
        }

        #[test]
        fn adding_a_proper_line_never_takes_cover_away(noise in proptest::collection::vec("[a-z*.]{1,12}\\.[a-z]{2,5}", 0..6)) {
            let text = noise.join("\n");
            let with = format!("{text}\n*.servicebus.windows.net\n");
            prop_assert!(check(ListFormat::Plain, &with).endpoints[0].covered);
        }
    }
}

#[test]
fn a_squid_snippet_without_http_access_is_read_as_allowed() {
    let snippet = "acl azure dstdomain .servicebus.windows.net\n";
    let report = check(ListFormat::SquidConf, snippet);
    assert_eq!(report.endpoints[0].status, Covered);
    assert!(report.findings.iter().any(|f| f.text.contains("no http_access line")));
    let fixed = check(ListFormat::SquidConf, &report.fix_lines().join("\n"));
    assert_eq!(fixed.covered(), 8);
}

#[test]
fn detection_goes_by_contents_first_and_by_name_where_they_leave_it_open() {
    let of = |name: &str, text: &str| {
        allowlist::check_file(name, text.as_bytes(), None, &Profile::of(Cloud::Public)).unwrap().format
    };
    assert_eq!(of("list.txt", ".s.example\n10.0.0.0/8\n"), ListFormat::Squid);
    assert_eq!(of("list.txt", ARTICLE), ListFormat::Plain);
    assert_eq!(of("squid.txt", ARTICLE), ListFormat::Squid);
    assert_eq!(of("Zscaler.csv", ".s.example\n"), ListFormat::Zscaler);
    assert_eq!(of("squid.txt", "http_access deny all\n"), ListFormat::SquidConf);
    assert_eq!(of("bypass.txt", "*.s.example;<local>\n"), ListFormat::WindowsBypass);
    assert_eq!(of("edl.txt", "[\"a.example\"]"), ListFormat::Json);
}

#[test]
fn ten_thousand_lines_are_no_matter() {
    let mut list: String = (0..10_000).map(|n| format!("node{n}.company{}.example\n", n % 50)).collect();
    list.push_str(".servicebus.windows.net\n");
    let begun = std::time::Instant::now();
    assert_eq!(check(ListFormat::Squid, &list).endpoints[0].line, Some(10_001));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The published table of what the same text means to each product, for `S` = servicebus.windows.net.
#[test]
fn p04_one_text_many_meanings() {
    use ListFormat::{AzureFirewall, Fortigate, Paloalto, Squid, Zscaler};
    let formats = [Squid, AzureFirewall, Paloalto, Zscaler, Fortigate];
    let no = NeverMatches;
    for (text, row) in [
        ("*.servicebus.windows.net", [no, Covered, Covered, no, Covered]),
        (".servicebus.windows.net", [Covered, no, no, Covered, no]),
        ("servicebus.windows.net", [Missing, Missing, Missing, Missing, Missing]),
        ("*servicebus.windows.net", [no, OverBroad, no, no, OverBroad]),
    ] {
        for (format, expected) in formats.into_iter().zip(row) {
            relay(format, &[(text, expected)]);
        }
    }
}

#[test]
fn squid_means_either_of_its_files() {
    let conf = "acl a dstdomain .servicebus.windows.net\nhttp_access allow a\n";
    assert_eq!(check(ListFormat::Squid, conf).format, ListFormat::SquidConf);
    assert_eq!(check(ListFormat::SquidConf, ".servicebus.windows.net\n").format, ListFormat::Squid);
    assert_eq!("NETSH".parse::<ListFormat>().unwrap(), ListFormat::WindowsBypass);
    assert!("sqid".parse::<ListFormat>().unwrap_err().to_string().contains("squid-conf"));
}
