//! `proxy check` through real squid with the lists that customers have.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rs_proxy::{Cloud, Format, Profile, render};
use serde_json::Value;

use crate::bed::{ACCOUNT, Bed, Exit, NAMESPACE, speaker};
use crate::machine::{Machine, Run, chmod};
use crate::programs::{Running, directory, program, squid};

const ARTICLE: &str = "*.servicebus.windows.net\n*.core.windows.net\nlogin.microsoftonline.com\n\
    https://asztrsprod.westus2.cloudapp.azure.com\nhttps://asztrsprod.westeurope.cloudapp.azure.com\n\
    https://asztrsprod.eastus.cloudapp.azure.com\nhttps://asztrsprod.westcentralus.cloudapp.azure.com\n\
    https://asztrsprod.southeastasia.cloudapp.azure.com\nhttps://edgesupprd.trafficmanager.net\n";

const ALL: [&str; 9] = [
    "servicebus",
    "core",
    "login",
    "asztrsprod-westus2",
    "asztrsprod-westeurope",
    "asztrsprod-eastus",
    "asztrsprod-westcentralus",
    "asztrsprod-southeastasia",
    "edgesupprd",
];

/// A squid whose way out is the bed, with these lines of its own; `{list}` in them is a file with the list.
fn squid_of(exit: &Exit, list: &str, lines: &str) -> Option<Running> {
    let directory = directory();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("own directory");
    write("list", list);
    write(
        "helper.sh",
        "while read user password rest; do\nif [ \"$password\" = secret ]; then echo OK; else echo ERR; fi\ndone\n",
    );
    let lines = format!(
        "cache_peer 127.0.0.1 parent {} 0 no-query no-digest default\nnever_direct allow all\n{}",
        exit.address.port(),
        lines.replace("{list}", "\"{dir}/list\"")
    );
    Some(squid(&program("squid")?, directory, &lines).expect("squid takes the configuration"))
}

const BY_LIST: &str = "acl l dstdomain {list}\nhttp_access allow CONNECT l\nhttp_access deny all\n";
const BASIC: &str = "auth_param basic program /bin/sh {dir}/helper.sh\nauth_param basic realm bed\n\
    acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n";

/// `proxy check` of all nine with the roots of the bed.
fn check(machine: &Machine, bed: &Bed, proxy: &str, more: &[&str]) -> (Run, Value) {
    let roots = machine.file("roots.pem");
    fs::write(&roots, bed.genuine.pem()).expect("own directory");
    let (servicebus, core) = (format!("servicebus={NAMESPACE}"), format!("*.core.windows.net={ACCOUNT}"));
    let words =
        ["proxy", "check", "--ca-file", "roots.pem", "--genuine-roots", "roots.pem", "--proxy", proxy];
    let hosts = ["--probe-host", &servicebus, "--probe-host", &core, "--output", "json"];
    let run = tokio::task::block_in_place(|| {
        machine.run_args(words.iter().chain(&hosts).chain(more).copied().collect::<Vec<_>>())
    });
    let report =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("JSON: {} {}", run.stdout, run.stderr));
    (run, report)
}

/// Each endpoint in order: usable, or the hop that failed.
#[track_caller]
fn verdicts(report: &Value, usable: &[&str], hop: &str) {
    let endpoints = report["endpoints"].as_array().expect("endpoints");
    assert_eq!(endpoints.len(), ALL.len());
    for (endpoint, id) in endpoints.iter().zip(ALL) {
        let good = usable.contains(&id);
        let expected = if good { Value::Null } else { hop.into() };
        assert_eq!(
            (&endpoint["id"], &endpoint["usable"], &endpoint["hop"]),
            (&id.into(), &good.into(), &expected)
        );
        assert_eq!(endpoint["port"], 443);
        assert!(endpoint["host"].is_string() && !endpoint["explanation"].as_str().expect("text").is_empty());
        let steps = endpoint["steps"].as_array().expect("steps");
        assert!(!steps.is_empty());
        for step in steps {
            assert!(
                step["hop"].is_string() && step["passed"].is_boolean() && step["millis"].is_u64(),
                "{step}"
            );
        }
        assert_eq!(
            steps.last().expect("a step")["passed"],
            good,
            "the first hop that fails is the last that is tried"
        );
        assert_eq!(endpoint["fix"].as_str().expect("text").is_empty(), good, "{endpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_the_report_through_squid_for_each_list_of_the_bed() {
    if program("squid").is_none() {
        return;
    }
    let machine = Machine::new();
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let complete = render::render(&Profile::of(Cloud::Public), Format::Squid);
    let missing = complete.replace("asztrsprod.eastus.cloudapp.azure.com\n", "");
    let all_but_one: Vec<&str> = ALL.into_iter().filter(|id| *id != "asztrsprod-eastus").collect();
    for (what, list, lines, usable, hop, exit_code) in [
        ("complete", complete.as_str(), BY_LIST, &ALL[..], "", 0),
        ("one missing", &missing, BY_LIST, &all_but_one, "proxy-policy", 5),
        ("verbatim", ARTICLE, BY_LIST, &["login"], "proxy-policy", 5),
        ("deny all", "", "http_access deny all\n", &[], "proxy-policy", 5),
        ("Basic without credentials", "", BASIC, &[], "proxy-auth", 5),
    ] {
        let running = squid_of(&exit, list, lines).expect("installed");
        let (run, report) = check(&machine, &bed, &running.url().to_string(), &[]);
        println!("{what}: {} ms", report["millis"]);
        verdicts(&report, usable, hop);
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (exit_code, ""),
            "{what}: quiet where nobody sits at a terminal"
        );
    }
    let running = squid_of(&exit, "", BASIC).expect("installed");
    let file = machine.file("credentials");
    fs::write(&file, "node:secret\n").expect("own directory");
    chmod(&file, 0o600);
    let (run, report) =
        check(&machine, &bed, &running.url().to_string(), &["--proxy-credentials-file", "credentials"]);
    verdicts(&report, &ALL, "");
    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains("secret"), "sec33");
    chmod(&file, 0o644);
    let proxy = running.url().to_string();
    let refused =
        machine.run_args(["proxy", "check", "--proxy", &proxy, "--proxy-credentials-file", "credentials"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("chmod 600") && !refused.stderr.contains("secret"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_p11_p20_inspection_by_another_root_and_forms_for_people_and_options_that_select() {
    let machine = Machine::new();
    let (bed, other) = (Bed::new(), Bed::new());
    let exit = bed.exit(None).await;
    let proxy = exit.url().to_string();
    let (run, report) = check(&machine, &other, &proxy, &["--endpoint", "login", "--endpoint", "edgesupprd"]);
    assert_eq!(run.code, 5);
    let hops: Vec<_> =
        report["endpoints"].as_array().expect("two").iter().map(|one| one["hop"].clone()).collect();
    assert_eq!(hops, ["tls-inspection", "tls-inspection"], "{report}");

    fs::write(machine.file("roots.pem"), bed.genuine.pem()).expect("own directory");
    let lines = "proxy check --ca-file roots.pem --genuine-roots roots.pem --endpoint login --endpoint core";
    for (form, words) in [
        ("list", ["usable", "not probed", "--probe-host core=HOST", "1 of 2 endpoints are usable"]),
        ("table", ["login.microsoftonline.com:443", "not probed", "--probe-host core=HOST", "Hop"]),
    ] {
        let mut command = machine.command(lines.split(' ').chain(["--output", form]));
        command.env("HTTPS_PROXY", &proxy); // the environment, where there is no flag
        let run: Run = tokio::task::block_in_place(|| command.output()).expect("starts").into();
        assert_eq!(run.code, 7, "p08: what was not probed is never well: {}", run.stdout);
        assert!(words.iter().all(|word| run.stdout.contains(word)), "{form}: {}", run.stdout);
    }
    for (line, word) in [
        ("--endpoint nowhere", "servicebus, core, login"),
        ("--probe-host core=evil.example", "not covered"),
        ("--probe-host core", "ENTRY=HOST"),
        ("--proxy socks5://proxy.example", "socks5"),
        ("--proxy http://node:canary@proxy.example", "--proxy-credentials-file"),
        ("--resolve proxy.example:127.0.0.1", "HOST:PORT:ADDR"),
        ("--timeout 0", "1..=600"),
        ("--timeout 601", "1..=600"),
        ("--compare node-01", "NODE=FILE"),
    ] {
        let run = machine.run(&format!("proxy check {line}"));
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(word) && !run.stderr.contains("canary"), "{line}: {}", run.stderr);
    }
    assert!(!machine.state().exists(), "looking creates nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_black_hole_ends_in_time_and_names_the_hop() {
    let machine = Machine::new();
    let bed = Bed::new();
    let silent = speaker("", true).await;
    let since = Instant::now();
    let (run, report) = check(&machine, &bed, &format!("http://{silent}"), &["--timeout", "1"]);
    let took = since.elapsed();
    println!("nine endpoints behind a black hole with --timeout 1: {} ms", took.as_millis());
    verdicts(&report, &[], "proxy-http");
    assert_eq!(run.code, 5);
    assert!(took < Duration::from_secs(5), "{took:?}"); // 1 s and the start of a program on a busy machine
    assert!(report["millis"].as_u64().expect("a time") < 3_000, "{}", report["millis"]);
}

fn save(path: &Path, report: &Value) {
    fs::write(path, report.to_string()).expect("own directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_reports_of_two_nodes_are_laid_side_by_side() {
    let machine = Machine::new();
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let (_, good) = check(&machine, &bed, &exit.url().to_string(), &[]);
    let blocked = bed
        .exit(Some(("login.microsoftonline.com", crate::bed::Fate::Answer("HTTP/1.1 403 no\r\n\r\n"))))
        .await;
    let (_, bad) = check(&machine, &bed, &blocked.url().to_string(), &[]);
    save(&machine.file("1.json"), &good);
    save(&machine.file("2.json"), &bad);
    let run = machine.run("proxy check --compare node-01=1.json --compare node-02=2.json");
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stdout.contains("login: usable on node-01; not on node-02 (proxy-policy)"), "{}", run.stdout);
    let run = machine.run("proxy check --compare node-01=1.json,node-02=2.json --output json");
    let comparison: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(comparison["differences"].as_array().expect("one").len(), 1);
    for (nodes, code) in
        [("a=1.json --compare b=1.json", 0), ("a=2.json --compare b=2.json", 5), ("a=no.json", 4)]
    {
        let run = machine.run(&format!("proxy check --compare {nodes}"));
        assert_eq!(run.code, code, "{nodes}: {}", run.stderr);
    }
}

#[test]
fn p11_p12_settings_from_files_are_compared_and_the_one_that_counts_is_named() {
    let machine = Machine::new();
    let netsh = "Current WinHTTP proxy settings:\r\n\r\n    Proxy Server(s) :  http://b.example:8080\r\n    Bypass List     :  \
                 .contoso.example;10.0.0.0/8\r\n";
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(netsh.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(machine.file("netsh.txt"), utf16).expect("own directory");
    let run = |variable: &str, more: &[&str]| -> Run {
        let words = ["proxy", "settings", "--winhttp-file", "netsh.txt"].iter().chain(more);
        machine.command(words).env("HTTPS_PROXY", variable).output().expect("starts").into()
    };
    let good = run("http://u:canary@a.example:3128", &["--output", "json"]);
    assert_eq!(good.code, 0, "{}", good.stderr);
    let settings: Value = serde_json::from_str(&good.stdout).expect("JSON");
    assert_eq!(settings["settings"][0]["proxy"], "http://a.example:3128");
    assert_eq!(settings["settings"][1]["source"], "win-http");
    let findings = settings["findings"].to_string();
    for word in ["disagree", "netsh winhttp set proxy", "10.0.0.0/8", "user and password"] {
        assert!(findings.contains(word), "{word}: {findings}");
    }
    let list = run("http://u:canary@a.example:3128", &[]).stdout;
    assert!(list.contains("Counts : True") && list.contains("http://b.example:8080"), "{list}");
    assert!(!(good.stdout + &list).contains("canary"), "sec33");
    assert_eq!(run("socks5://a.example", &[]).code, 1, "the setting that counts cannot be used");
    assert_eq!(run("socks5://a.example", &["--proxy", "direct"]).code, 0, "the flag counts");
    assert_eq!(run("", &["--proxy", "socks5://x"]).code, 2);
    assert_eq!(run("", &["--arc-file", "none"]).code, 4);
}
