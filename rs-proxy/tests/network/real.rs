//! Real squid and real tinyproxy: what we say of a list is what they do, and what the probe says of them is right.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rs_proxy::allowlist::{self, ListFormat};
use rs_proxy::net::probe::{Quiet, Report};
use rs_proxy::net::{Dialer, Stream, Trust, probe};
use rs_proxy::settings::Settings;
use rs_proxy::{Cloud, Format, Hop, Profile, render};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, Exit, NAMESPACE, ca, connect_status, leaf};
use crate::programs::{Running, directory, program, squid, tinyproxy};

const ARTICLE: &str = "*.servicebus.windows.net\n*.core.windows.net\nlogin.microsoftonline.com\n\
    https://asztrsprod.westus2.cloudapp.azure.com\nhttps://asztrsprod.westeurope.cloudapp.azure.com\n\
    https://asztrsprod.eastus.cloudapp.azure.com\nhttps://asztrsprod.westcentralus.cloudapp.azure.com\n\
    https://asztrsprod.southeastasia.cloudapp.azure.com\nhttps://edgesupprd.trafficmanager.net\n";

/// Hosts that tell the readings of an entry apart.
const HOSTS: [&str; 16] = [
    "rslab.servicebus.windows.net",
    "my_ns.servicebus.windows.net",
    "a.b.c.servicebus.windows.net",
    "servicebus.windows.net",
    "evilservicebus.windows.net",
    "x.servicebus.windows.net.evil.example",
    "xservicebusxwindowsxnet.example",
    "azgn1.servicebus.windows.net",
    "x.windows.net",
    "rslab.blob.core.windows.net",
    "x.prod.warm.ingest.monitor.core.windows.net",
    "login.microsoftonline.com",
    "x.login.microsoftonline.com",
    "asztrsprod.eastus.cloudapp.azure.com",
    "edgesupprd.trafficmanager.net",
    "stranger.example",
];

/// squid's lines that send everything to the exit.
fn to_exit(exit: &Exit) -> String {
    format!(
        "cache_peer 127.0.0.1 parent {} 0 no-query no-digest default\nnever_direct allow all\n",
        exit.address.port()
    )
}

/// Lists with the format in which they are a squid ACL of the given type.
fn lists() -> Vec<(&'static str, String)> {
    let dstdomain = [
        ".servicebus.windows.net",
        "servicebus.windows.net",
        "*.servicebus.windows.net",
        "*servicebus.windows.net",
        "azgn*.servicebus.windows.net",
        "*",
        ".servicebus.windows.net.",
        ".SERVICEBUS.Windows.NET",
        "https://login.microsoftonline.com",
        "login.microsoftonline.com:443",
        "login.microsoftonline.com/",
        ".windows.net",
        ".net",
        ".servicebus.windows.net\nfoo.servicebus.windows.net",
        ".core.windows.net # a comment\n\n# another\nlogin.microsoftonline.com",
        ARTICLE,
    ];
    let regex = [
        "servicebus.windows.net",
        r"servicebus\.windows\.net$",
        r"\.servicebus\.windows\.net$",
        r"(^|\.)servicebus\.windows\.net$",
        r"^[a-z0-9-]+\.servicebus\.windows\.net$",
        r"^LOGIN\.microsoftonline\.com$",
        r"-i ^LOGIN\.microsoftonline\.com$",
        "^login[.]microsoftonline[.]com$",
        "azure.com$",
    ];
    let url = ["^https://login.microsoftonline.com", r"^login\.microsoftonline\.com:443$", "windows.net"];
    let mut all: Vec<(&str, String)> =
        dstdomain.into_iter().map(|list| ("dstdomain", list.to_owned())).collect();
    all.extend(regex.into_iter().map(|pattern| ("dstdom_regex", pattern.to_owned())));
    all.extend(url.into_iter().map(|pattern| ("url_regex", pattern.to_owned())));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_what_we_say_of_a_squid_list_is_what_squid_does() {
    let Some(path) = program("squid") else { return };
    let exit = Bed::new().exit(None).await;
    let directory = directory();
    let mut conf = to_exit(&exit);
    let lists = lists();
    let mut ports = Vec::new();
    let mut listeners = Vec::new(); // held until all ports are chosen, so that none is chosen twice
    for (index, (kind, list)) in lists.iter().enumerate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        ports.push(port);
        listeners.push(listener);
        let file = directory.path().join(format!("list{index}"));
        fs::write(&file, list).unwrap();
        let entries = if *kind == "dstdomain" { format!("\"{}\"", file.display()) } else { list.clone() };
        conf.push_str(&format!(
            "http_port 127.0.0.1:{port} name=p{index}\nacl on{index} myportname p{index}\nacl list{index} {kind} {entries}\n\
             http_access allow on{index} list{index}\n"
        ));
    }
    drop(listeners);
    conf.push_str("http_port 127.0.0.1:{port}\nhttp_access deny all\n");
    let Some(_running) = squid(&path, directory, &conf) else { panic!("squid refuses the configuration") };
    let results = tokio::task::spawn_blocking(move || {
        let mut wrong = Vec::new();
        for ((kind, list), port) in lists.iter().zip(ports) {
            let (text, format) = match *kind {
                "dstdomain" => (list.clone(), ListFormat::Squid),
                _ => (
                    format!("acl a {kind} {list}\nhttp_access allow a\nhttp_access deny all\n"),
                    ListFormat::SquidConf,
                ),
            };
            for host in HOSTS {
                let ours = allowlist::lets_through(&text, format, &host.parse().unwrap());
                let squids =
                    connect_status(([127, 0, 0, 1], port).into(), &format!("{host}:443")) != Some(403);
                if ours != squids {
                    wrong.push(format!("{kind} {list:?} {host}: squid {squids}, we {ours}"));
                }
            }
        }
        wrong
    });
    let wrong = results.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn p04_squid_refuses_what_we_call_fatal() {
    let Some(path) = program("squid") else { return };
    let old = std::process::Command::new(&path).arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&old.stdout).into_owned();
    if !["Version 3", "Version 4", "Version 5"].iter().any(|v| version.contains(v)) {
        println!("skipped: the orderings are fatal before version 7 only");
        return;
    }
    for list in [
        ".s.example\nfoo.s.example\n",
        "foo.s.example\n.s.example\n",
        ".foo.s.example\n.s.example\n",
        "s.example\n.s.example\n",
        ".s.example\ns.example\n",
        ".s.example\n.s.example\n",
        ".s.example\n.foo.s.example\n",
        "a.example\nb.example\n",
    ] {
        let directory = directory();
        fs::write(directory.path().join("list"), list).unwrap();
        let started = squid(
            &path,
            directory,
            "acl l dstdomain \"{dir}/list\"\nhttp_access allow l\nhttp_access deny all",
        )
        .is_some();
        let text = format!("{list}login.microsoftonline.com\n");
        let ours =
            allowlist::lets_through(&text, ListFormat::Squid, &"login.microsoftonline.com".parse().unwrap());
        assert_eq!(ours, started, "{list:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_what_we_say_of_a_tinyproxy_filter_is_what_it_does() {
    let Some(path) = program("tinyproxy") else { return };
    let exit = Bed::new().exit(None).await;
    let written = render::render(&Profile::of(Cloud::Public), Format::Tinyproxy);
    for list in [
        "servicebus.windows.net",
        r"\.servicebus\.windows\.net$",
        r"^login\.microsoftonline\.com$",
        r"\(^\|\.\)servicebus\.windows\.net$",
        "windows+",
        "*.servicebus.windows.net",
        "^LOGIN",
        ARTICLE,
        &written,
    ] {
        let directory = directory();
        fs::write(directory.path().join("filter"), format!("{list}\n")).unwrap();
        let conf = format!(
            "Filter \"{{dir}}/filter\"\nFilterDefaultDeny Yes\nConnectPort 443\nUpstream http 127.0.0.1:{}\n",
            exit.address.port()
        );
        let Some(running) = tinyproxy(&path, directory, &conf) else { panic!("tinyproxy refuses {list:?}") };
        let (address, list) = (running.address, list.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            for host in HOSTS {
                let ours = allowlist::lets_through(&list, ListFormat::Tinyproxy, &host.parse().unwrap());
                let theirs = connect_status(address, &format!("{host}:443")) != Some(403);
                assert_eq!(ours, theirs, "{list:?} {host}");
            }
        });
        checked.await.unwrap();
    }
}

/// A squid that allows what a dstdomain list has.
fn squid_with_list(exit: &Exit, list: &str) -> Option<Running> {
    let directory = directory();
    fs::write(directory.path().join("list"), list).unwrap();
    let conf =
        to_exit(exit) + "acl l dstdomain \"{dir}/list\"\nhttp_access allow CONNECT l\nhttp_access deny all\n";
    squid(&program("squid")?, directory, &conf)
}

#[track_caller]
fn usable(report: &Report, ids: &[&str]) {
    let found: Vec<&str> = report.endpoints.iter().filter(|e| e.usable).map(|e| e.id.as_str()).collect();
    assert_eq!(found, ids, "{report}");
    for endpoint in report.endpoints.iter().filter(|e| !e.usable) {
        assert_eq!(endpoint.hop, Some(Hop::ProxyPolicy), "{report}");
        assert!(endpoint.fix.contains("dstdomain list of squid"), "{}", endpoint.fix);
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn p01_the_list_we_write_passes_nine_of_nine_in_squid() {
    if program("squid").is_none() {
        return;
    }
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let written = render::render(&Profile::of(Cloud::Public), Format::Squid);
    let running = squid_with_list(&exit, &written).unwrap();
    let report = bed.probe(running.url()).await;
    usable(&report, &ALL);
    let slowest = report.endpoints.iter().map(|e| e.millis).max().unwrap();
    println!("nine endpoints through squid: {} ms, the slowest alone {slowest} ms", report.millis);
    let address = running.address;
    let strangers = tokio::task::spawn_blocking(move || {
        ["stranger.example", "evilservicebus.windows.net", "x.windows.net", "x.login.microsoftonline.com"]
            .map(|host| connect_status(address, &format!("{host}:443")))
    });
    assert_eq!(strangers.await.unwrap(), [Some(403); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_lists_in_squid_as_customers_have_them() {
    if program("squid").is_none() {
        return;
    }
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let written = render::render(&Profile::of(Cloud::Public), Format::Squid);
    let missing = written.replace("asztrsprod.eastus.cloudapp.azure.com\n", "");
    let all_but_one: Vec<&str> = ALL.into_iter().filter(|id| *id != "asztrsprod-eastus").collect();
    for (list, ids) in
        [(ARTICLE, &["login"][..]), (&missing, &all_but_one), (".net\n.com\n", &ALL), ("none.example\n", &[])]
    {
        let running = squid_with_list(&exit, list).unwrap();
        usable(&bed.probe(running.url()).await, ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_behind_squid_nothing_answers() {
    let Some(path) = program("squid") else { return };
    let bed = Bed::new();
    // No exit: the only DNS server is a port of this machine, and whatever listens there knows no name in .invalid.
    let lines = "http_access allow all\ndns_timeout 1 second\ndns_retransmit_interval 1 second\n";
    let running = squid(&path, directory(), lines).unwrap();
    let profile =
        Profile::custom(["relay.bed.invalid".parse().unwrap(), "login.bed.invalid".parse().unwrap()])
            .unwrap();
    let mut plan = bed.plan(running.url());
    plan.profile = profile;
    let report = probe::run(plan, Arc::new(Quiet)).await;
    for endpoint in &report.endpoints {
        assert_eq!(endpoint.hop, Some(Hop::ProxyUpstream), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_behind_squid_the_connection_is_refused() {
    let Some(path) = program("squid") else { return };
    if std::net::TcpStream::connect("127.0.0.1:443").is_ok() {
        println!("skipped: something listens on port 443 of this machine");
        return;
    }
    let directory = directory();
    fs::write(directory.path().join("hosts"), "127.0.0.1 login.microsoftonline.com\n").unwrap();
    let running = squid(&path, directory, "http_access allow all\nhosts_file {dir}/hosts\n").unwrap();
    let bed = Bed::new();
    let mut plan = bed.plan(running.url());
    plan.profile = plan.profile.only(["login"]).unwrap();
    let report = probe::run(plan, Arc::new(Quiet)).await;
    assert_eq!(report.endpoints[0].hop, Some(Hop::ProxyUpstream), "{report}");
    assert!(report.endpoints[0].explanation.contains("ERR_CONNECT_FAIL"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_squid_behind_tls() {
    let Some(path) = program("squid") else { return };
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let directory = directory();
    let (certificate, key) = leaf(&bed.genuine, &["proxy.example"], 0);
    fs::write(directory.path().join("proxy.pem"), certificate.pem() + &key.serialize_pem()).unwrap();
    let conf =
        to_exit(&exit) + "https_port 127.0.0.1:{port} tls-cert={dir}/proxy.pem\nhttp_access allow all\n";
    let running = squid(&path, directory, &conf).unwrap();
    let port = running.address.port();
    let mut plan = bed.plan(format!("https://proxy.example:{port}").parse().unwrap());
    plan.resolve.add(format!("proxy.example:{port}:127.0.0.1").parse().unwrap());
    usable(&probe::run(plan, Arc::new(Quiet)).await, &ALL);
    let plain = bed.probe(running.url()).await; // http:// to a port that speaks TLS
    assert!(plain.endpoints.iter().all(|e| e.hop == Some(Hop::ProxyHttp)), "{plain}");
}

/// A helper script for squid's Basic authentication: the one user is `node`, with password `secret`.
const HELPER: &str = "while read user password rest; do\nif [ \"$user\" = node ] && [ \"$password\" = secret ]; then echo OK; else echo ERR; fi\ndone\n";

/// A squid that asks for Basic credentials.
fn squid_with_basic(exit: &Exit, more: &str) -> Option<Running> {
    let directory = directory();
    fs::write(directory.path().join("helper.sh"), HELPER).unwrap();
    let conf = to_exit(exit)
        + "auth_param basic program /bin/sh {dir}/helper.sh\nauth_param basic realm bed\nacl known proxy_auth REQUIRED\n\
           http_access allow known\nhttp_access deny all\n"
        + more;
    squid(&program("squid")?, directory, &conf)
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_basic_authentication_in_squid() {
    if program("squid").is_none() {
        return;
    }
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let running = squid_with_basic(&exit, "").unwrap();
    let report = bed.probe(running.url()).await;
    for endpoint in &report.endpoints {
        assert_eq!(endpoint.hop, Some(Hop::ProxyAuth), "{report}");
        assert!(endpoint.explanation.contains("Basic"), "{}", endpoint.explanation);
    }
    let proxy = running.url().with_credentials("node:secret".parse().unwrap());
    usable(&bed.probe(proxy).await, &ALL);
    let wrong = bed.probe(running.url().with_credentials("node:wrong".parse().unwrap())).await;
    assert!(wrong.endpoints.iter().all(|e| e.hop == Some(Hop::ProxyAuth)), "{wrong}");
    assert!(
        wrong.endpoints.iter().all(|e| e.explanation.contains("refuses the user and password")),
        "{wrong}"
    );
    assert!(!serde_json::to_string(&wrong).unwrap().contains("wrong"));
}

/// Sends a line through a tunnel to a server that echoes, and reads it back.
async fn echo(stream: &mut Stream) -> std::io::Result<()> {
    stream.write_all(b"ping\n").await?;
    let mut line = [0; 5];
    stream.read_exact(&mut line).await?;
    Ok(())
}

/// An exit whose targets echo.
async fn echo_exit() -> Exit {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 ok\r\n\r\n").await;
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Exit { address }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialer_lives_through_an_idle_limit_with_traffic_and_reconnects_after_a_restart() {
    if program("squid").is_none() {
        return;
    }
    let exit = echo_exit().await;
    let mut running = squid_with_basic(&exit, "read_timeout 2 seconds\n").unwrap();
    let settings = Settings::through(running.url()).with_credentials("node:secret".parse().unwrap());
    let dialer = Dialer::new(settings, Trust::system().unwrap());
    let mut stream = dialer.connect(NAMESPACE, 443).await.unwrap();
    for _ in 0..8 {
        echo(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await; // four seconds: twice the limit
    }
    echo(&mut stream).await.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(15), stream.read_u8()).await;
    assert!(cut.is_ok_and(|read| read.is_err()), "control: without traffic the proxy cuts the tunnel");
    tokio::task::block_in_place(|| running.restart());
    let mut again = dialer.connect(NAMESPACE, 443).await.unwrap();
    echo(&mut again).await.unwrap();
}

/// A squid that opens TLS with a CA of its own, for all names or for those that `acl opened` names.
fn squid_that_inspects(exit: &Exit, opened: &str) -> Option<(Running, String)> {
    let path = program("squid")?;
    let helper = program("security_file_certgen")?;
    let directory = directory();
    let issuer = ca("Company", "Company Inspection CA");
    let pem = issuer.pem();
    fs::write(directory.path().join("ca.pem"), format!("{}{}", pem, issuer.key().serialize_pem())).unwrap();
    let database = directory.path().join("certificates");
    let made = std::process::Command::new(&helper)
        .arg("-c")
        .arg("-s")
        .arg(&database)
        .args(["-M", "4MB"])
        .output()
        .unwrap();
    assert!(made.status.success());
    open_all(&database);
    let conf = format!(
        "http_port 127.0.0.1:{{port}} ssl-bump tls-cert={{dir}}/ca.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB\n\
         sslcrtd_program {} -s {} -M 4MB\nsslcrtd_children 2 startup=1 idle=1\n{}acl step1 at_step SslBump1\n{opened}\
         ssl_bump peek step1\nssl_bump bump opened\nssl_bump splice all\nhttp_access allow all\n\
         tls_outgoing_options flags=DONT_VERIFY_PEER\nsslproxy_cert_error allow all\n",
        helper.display(),
        database.display(),
        to_exit(exit)
    );
    Some((squid(&path, directory, &conf)?, pem))
}

/// squid gives up its rights and must still write there.
#[cfg(unix)]
fn open_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() {
            open_all(&entry);
        } else {
            fs::set_permissions(entry, fs::Permissions::from_mode(0o666)).unwrap();
        }
    }
}

#[cfg(not(unix))]
fn open_all(_path: &std::path::Path) {}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_squid_that_opens_tls_for_all_or_some() {
    if program("squid").is_none() || program("security_file_certgen").is_none() {
        return;
    }
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let all = "acl opened ssl::server_name_regex .\n";
    let some = "acl opened ssl::server_name .cloudapp.azure.com\n";
    for (opened, count) in [(all, 9), (some, 5)] {
        let (running, _) = squid_that_inspects(&exit, opened).unwrap();
        let report = bed.probe(running.url()).await;
        let inspected = report.endpoints.iter().filter(|e| e.hop == Some(Hop::TlsInspection)).count();
        let usable = report.endpoints.iter().filter(|e| e.usable).count();
        assert_eq!((inspected, usable), (count, 9 - count), "{report}");
        assert!(report.endpoints[3].explanation.contains("Company Inspection CA"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_squid_that_opens_tls_strips_the_upgrade() {
    if program("squid").is_none() || program("security_file_certgen").is_none() {
        return;
    }
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let (running, pem) =
        squid_that_inspects(&exit, "acl opened ssl::server_name .servicebus.windows.net\n").unwrap();
    let mut plan = bed.plan(running.url());
    // As if the inspecting CA were genuine: only then is anything later than the certificate looked at.
    let genuine = format!("{}{pem}", bed.genuine.pem());
    plan.trust = Trust::system().unwrap().with_genuine_pem(genuine.as_bytes()).unwrap();
    let report = probe::run(plan, Arc::new(Quiet)).await;
    assert_eq!(report.endpoints[0].hop, Some(Hop::Websocket), "{report}");
    assert!(report.endpoints[1..].iter().all(|e| e.usable), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_through_tinyproxy() {
    let Some(path) = program("tinyproxy") else { return };
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let directory = directory();
    let written = render::render(&Profile::of(Cloud::Public), Format::Tinyproxy);
    fs::write(directory.path().join("filter"), written.replace("^edgesupprd\\.trafficmanager\\.net$\n", ""))
        .unwrap();
    let conf = format!(
        "Filter \"{{dir}}/filter\"\nFilterDefaultDeny Yes\nConnectPort 443\nUpstream http 127.0.0.1:{}\n",
        exit.address.port()
    );
    let running = tinyproxy(&path, directory, &conf).unwrap();
    let report = bed.probe(running.url()).await;
    assert_eq!(report.endpoints.iter().filter(|e| e.usable).count(), 8, "{report}");
    let edge = &report.endpoints[8];
    assert_eq!(edge.hop, Some(Hop::ProxyPolicy));
    assert!(edge.fix.contains(r"^edgesupprd\.trafficmanager\.net$"), "{}", edge.fix);
}
