//! The probe: for each way in which a connection can fail, the hop, the cause and the fix; and the time it takes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bed::{self, ACCOUNT, Bed, Fate, Habit, NAMES, NAMESPACE, acceptor, ca, speaker, tls_front};
use rs_proxy::net::probe::{EndpointReport, Plan, Progress, Quiet, Report, Step};
use rs_proxy::net::{Deadlines, Dialer, Trust, probe};
use rs_proxy::settings::{ProxyUrl, Settings, Sources};
use rs_proxy::{Cloud, EndpointId, Hop, Profile, Severity};

const EDGE: &str = "edgesupprd.trafficmanager.net";

#[track_caller]
fn of<'a>(report: &'a Report, id: &str) -> &'a EndpointReport {
    report.endpoints.iter().find(|e| e.id.as_str() == id).unwrap()
}

/// One endpoint fails at a hop and says a word; all others are usable.
#[track_caller]
fn only_edge(report: &Report, hop: Hop, word: &str) {
    for endpoint in &report.endpoints {
        if endpoint.id.as_str() == "edgesupprd" {
            assert_eq!(endpoint.hop, Some(hop), "{report}");
            assert!(!endpoint.usable && !endpoint.fix.is_empty());
            let text = format!("{} {}", endpoint.explanation, endpoint.fix);
            assert!(text.contains(word), "{text}");
        } else {
            assert!(endpoint.usable, "{}: {report}", endpoint.id);
        }
    }
    assert_eq!(report.severity, Severity::Failed);
    assert!(report.one_line().unwrap().contains(hop.as_str()));
}

#[track_caller]
fn all(report: &Report, hop: Hop, word: &str) {
    for endpoint in &report.endpoints {
        assert_eq!(endpoint.hop, Some(hop), "{}: {report}", endpoint.id);
        let text = format!("{} {}", endpoint.explanation, endpoint.fix);
        assert!(text.contains(word), "{text}");
    }
}

fn url(address: impl std::fmt::Display) -> ProxyUrl {
    format!("http://{address}").parse().unwrap()
}

#[tokio::test]
async fn p06_all_nine_are_usable_and_403_counts() {
    let bed = Bed::new();
    let report = bed.probe(bed.exit(None).await.url()).await;
    assert!(report.endpoints.iter().all(|e| e.usable && e.probed), "{report}");
    assert_eq!(report.severity, Severity::Ok, "{report}");
    assert!(of(&report, "edgesupprd").explanation.contains("403"));
    assert!(report.one_line().is_none());
    let hops: Vec<&str> = of(&report, "servicebus").steps.iter().map(|s| s.hop.as_str()).collect();
    let expected = [
        "proxy-dns",
        "proxy-tcp",
        "proxy-http",
        "tls-handshake",
        "tls-certificate",
        "http",
        "websocket",
        "clock",
    ];
    assert_eq!(hops, expected);
}

#[tokio::test]
async fn p20_the_report_is_json_of_the_agreed_form() {
    let bed = Bed::new();
    let exit =
        bed.exit(Some((EDGE, Fate::Answer("HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\n\r\n")))).await;
    let json = serde_json::to_value(bed.probe(exit.url()).await).unwrap();
    let edge = &json["endpoints"][8];
    assert_eq!(edge["id"], "edgesupprd");
    assert_eq!(edge["host"], EDGE);
    assert_eq!(edge["port"], 443);
    assert_eq!(edge["usable"], false);
    assert_eq!(edge["hop"], "proxy-policy");
    assert_eq!(edge["steps"][2]["hop"], "proxy-policy");
    assert_eq!(edge["steps"][2]["passed"], false);
    assert!(edge["fix"].as_str().unwrap().contains(EDGE));
    assert!(json["endpoints"][0]["hop"].is_null());
    assert_eq!(json["severity"], "failed");
}

#[tokio::test]
async fn p05_answers_to_connect() {
    let bed = Bed::new();
    for (answer, hop, word) in [
        ("HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\n\r\n", Hop::ProxyPolicy, EDGE),
        (
            "HTTP/1.1 407 Auth\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n",
            Hop::ProxyAuth,
            "NTLM, Negotiate",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\n\r\n",
            Hop::CaptivePortal,
            "portal.example",
        ),
        ("HTTP/1.1 500 x\r\nX-Squid-Error: ERR_CANNOT_FORWARD 0\r\n\r\n", Hop::ProxyUpstream, "resolve"),
        ("HTTP/1.1 503 x\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n", Hop::ProxyUpstream, "refused"),
        ("HTTP/1.1 405 No\r\n\r\n", Hop::ProxyHttp, "port"),
        ("SSH-2.0-OpenSSH\r\n", Hop::ProxyHttp, "does not answer as an HTTP proxy"),
        ("", Hop::ProxyHttp, "does not answer CONNECT"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            Hop::CaptivePortal,
            "sign-in",
        ),
    ] {
        let exit = bed.exit(Some((EDGE, Fate::Answer(answer)))).await;
        only_edge(&bed.probe(exit.url()).await, hop, word);
    }
}

#[tokio::test]
async fn p05_after_the_tunnel_is_open() {
    let bed = Bed::new();
    let names = [EDGE];
    let endpoint = |days| Fate::Endpoint(acceptor(&bed.genuine, &names, days), Habit::default());
    let habit = |habit| Fate::Endpoint(acceptor(&bed.genuine, &names, 0), habit);
    let other = ca("Evil Inspection", "Inspecting CA");
    for (fate, hop, word) in [
        (Fate::Reset, Hop::TlsHandshake, "filters by name"),
        (Fate::Bytes("SSH-2.0"), Hop::TlsHandshake, "does not speak TLS"),
        (Fate::Bytes("HTTP/1.1 302 Found\r\n\r\n"), Hop::CaptivePortal, "block page"),
        (endpoint(-30), Hop::TlsCertificate, "expired"),
        (endpoint(30), Hop::TlsCertificate, "not valid yet"),
        (
            Fate::Endpoint(acceptor(&bed.genuine, &["other.example"], 0), Habit::default()),
            Hop::TlsCertificate,
            "other names",
        ),
        (Fate::Endpoint(acceptor(&other, &names, 0), Habit::default()), Hop::TlsInspection, "Inspecting CA"),
        (habit(Habit { mute: true, ..Habit::default() }), Hop::Http, "does not answer HTTP"),
        (habit(Habit { skew: 7200, ..Habit::default() }), Hop::Clock, "time service"),
        (habit(Habit { skew: -7200, ..Habit::default() }), Hop::Clock, "7"),
    ] {
        let exit = bed.exit(Some((EDGE, fate))).await;
        only_edge(&bed.probe(exit.url()).await, hop, word);
    }
}

#[tokio::test]
async fn p05_a_small_clock_difference_is_a_warning() {
    let bed = Bed::new();
    let fate = Fate::Endpoint(acceptor(&bed.genuine, &NAMES, 0), Habit { skew: 120, ..Habit::default() });
    let report = bed.probe(bed.exit(Some((EDGE, fate))).await.url()).await;
    assert!(of(&report, "edgesupprd").usable);
    assert_eq!(report.severity, Severity::Warning);
}

#[tokio::test]
async fn p07_inspection_is_said_where_the_machine_trusts_it_too() {
    let bed = Bed::new();
    let inspecting = ca("Company", "Company Inspection CA");
    let fate = Fate::Endpoint(acceptor(&inspecting, &NAMES, 0), Habit::default());
    let exit = bed::Exit::start(Default::default(), fate).await;
    for trusted in [false, true] {
        let mut trust = Trust::system().unwrap().with_genuine_pem(bed.genuine.pem().as_bytes()).unwrap();
        if trusted {
            trust = trust.with_ca_pem(inspecting.pem().as_bytes()).unwrap();
        }
        let mut plan = bed.plan(exit.url());
        plan.trust = trust;
        let report = probe::run(plan, Arc::new(Quiet)).await;
        all(&report, Hop::TlsInspection, "Company Inspection CA");
        let known = if trusted { "which this machine trusts" } else { "does not trust" };
        assert!(of(&report, "login").explanation.contains(known));
        assert!(report.findings.iter().any(|f| f.text.contains("beyond doubt")));
    }
}

#[tokio::test]
async fn p07_control_a_users_own_endpoint_may_use_the_users_ca() {
    let own = ca("Company", "Company CA");
    let fate = Fate::Endpoint(acceptor(&own, &["relay.company.example"], 0), Habit::default());
    let exit = bed::Exit::start(Default::default(), fate).await;
    let profile = Profile::of(Cloud::Custom).with_relay("relay.company.example:9443".parse().unwrap());
    let trust = Trust::system().unwrap().with_ca_pem(own.pem().as_bytes()).unwrap();
    let report = probe::run(Plan::new(profile, Settings::through(exit.url()), trust), Arc::new(Quiet)).await;
    assert!(report.endpoints[0].usable, "{report}");
}

#[tokio::test]
async fn p05_every_certificate_outside_its_time_is_the_clock() {
    let bed = Bed::new();
    for (days, word) in [(30, "behind"), (-30, "ahead")] {
        let fate = Fate::Endpoint(acceptor(&bed.genuine, &NAMES, days), Habit::default());
        let exit = bed::Exit::start(Default::default(), fate).await;
        all(&bed.probe(exit.url()).await, Hop::Clock, word);
    }
}

#[tokio::test]
async fn p05_a_missing_intermediate_is_not_inspection() {
    let bed = Bed::new();
    let intermediate = ca("Genuine Trust", "Genuine Issuing CA"); // not sent, but of a genuine owner
    let fate = Fate::Endpoint(acceptor(&intermediate, &NAMES, 0), Habit::default());
    let report = bed.probe(bed.exit(Some((EDGE, fate))).await.url()).await;
    only_edge(&report, Hop::TlsCertificate, "not inspection");
}

#[tokio::test]
async fn p10_a_stripped_upgrade_is_found() {
    let bed = Bed::new();
    let habit = Habit { upgrade_eaten: true, ..Habit::default() };
    let fate = Fate::Endpoint(acceptor(&bed.genuine, &NAMES, 0), habit);
    let report = bed.probe(bed.exit(Some((NAMESPACE, fate))).await.url()).await;
    assert_eq!(of(&report, "servicebus").hop, Some(Hop::Websocket), "{report}");
    assert!(of(&report, "servicebus").fix.contains("WebSocket"));
    assert!(of(&report, "core").usable);
}

#[tokio::test]
async fn p09_a_proxy_that_permits_the_namespace_only() {
    let bed = Bed::new();
    let denied = Fate::Answer("HTTP/1.1 403 Forbidden\r\n\r\n");
    let mut fates: std::collections::HashMap<String, Fate> = Default::default();
    fates.insert(NAMESPACE.to_owned(), bed.healthy());
    let exit = bed::Exit::start(fates, denied).await;
    let report = bed.probe(exit.url()).await;
    assert_eq!(of(&report, "servicebus").hop, Some(Hop::ProxyPolicy), "{report}");
    assert!(of(&report, "servicebus").explanation.contains("gateway"));
}

#[tokio::test]
async fn p08_wildcards_without_a_name_are_not_probed_and_never_ok() {
    let bed = Bed::new();
    let plan = |exit: &bed::Exit| {
        Plan::new(Profile::of(Cloud::Public), Settings::through(exit.url()), bed.trust.clone())
    };
    let mute = bed.exit(None).await;
    let report = probe::run(plan(&mute), Arc::new(Quiet)).await;
    let servicebus = of(&report, "servicebus");
    assert!(!servicebus.usable && !servicebus.probed && servicebus.hop.is_none());
    assert!(servicebus.explanation.contains("not probed"));
    assert_eq!(servicebus.severity, Severity::Warning);
    let denying = bed::Exit::start(Default::default(), Fate::Answer("HTTP/1.1 403 no\r\n\r\n")).await;
    let report = probe::run(plan(&denying), Arc::new(Quiet)).await;
    assert_eq!(of(&report, "core").hop, Some(Hop::ProxyPolicy));
    let unknown = bed::Exit::start(Default::default(), Fate::Answer("HTTP/1.1 500 no\r\n\r\n")).await;
    let report = probe::run(plan(&unknown), Arc::new(Quiet)).await;
    assert_eq!(of(&report, "core").hop, None, "{report}");
    assert!(of(&report, "core").explanation.contains("lets names of this kind through"));
}

#[tokio::test]
async fn p05_the_proxy_itself() {
    let bed = Bed::new();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    all(&bed.probe(url(closed)).await, Hop::ProxyTcp, "refuses");
    all(
        &bed.probe(url(speaker("SSH-2.0-x\r\n", true).await)).await,
        Hop::ProxyHttp,
        "not answer as an HTTP proxy",
    );
    all(&bed.probe(url(speaker("", false).await)).await, Hop::ProxyHttp, "does not answer CONNECT");
    let front = tls_front(acceptor(&bed.genuine, &["proxy.example"], 0), bed.exit(None).await.address).await;
    all(&bed.probe(url(front)).await, Hop::ProxyHttp, "");
}

#[tokio::test]
async fn p05_a_proxy_behind_tls() {
    let bed = Bed::new();
    let exit = bed.exit(None).await;
    let front = tls_front(acceptor(&bed.genuine, &["proxy.example"], 0), exit.address).await;
    let proxy: ProxyUrl = format!("https://proxy.example:{}", front.port()).parse().unwrap();
    let mut plan = bed.plan(proxy);
    plan.resolve.add(format!("proxy.example:{}:127.0.0.1", front.port()).parse().unwrap());
    let report = probe::run(plan.clone(), Arc::new(Quiet)).await;
    assert!(report.endpoints.iter().all(|e| e.usable), "{report}");
    let stranger = ca("Stranger", "Stranger CA"); // control: a proxy certificate that nobody knows
    let front = tls_front(acceptor(&stranger, &["proxy.example"], 0), exit.address).await;
    plan.settings = Settings::through(format!("https://proxy.example:{}", front.port()).parse().unwrap());
    plan.resolve.add(format!("proxy.example:{}:127.0.0.1", front.port()).parse().unwrap());
    all(&probe::run(plan, Arc::new(Quiet)).await, Hop::ProxyTls, "http://host:port");
}

#[tokio::test]
async fn p05_names_that_cannot_be_looked_up() {
    let bed = Bed::new();
    let name = "a".repeat(64); // too long for a label: refused before any question is sent
    let report = bed.probe(format!("http://{name}.example:3128").parse().unwrap()).await;
    all(&report, Hop::ProxyDns, "does not resolve");
}

#[tokio::test]
async fn p05_one_issuer_for_several_is_inspection_although_its_owner_looks_genuine() {
    let bed = Bed::new();
    let lookalike = ca("Genuine Trust", "Other CA of the same name");
    let fate = Fate::Endpoint(acceptor(&lookalike, &NAMES, 0), Habit::default());
    let exit = bed::Exit::start(Default::default(), fate).await;
    all(&bed.probe(exit.url()).await, Hop::TlsInspection, "Other CA of the same name");
}

#[tokio::test]
async fn p05_direct() {
    let bed = Bed::new();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let profile = Profile::custom([format!("a.bed.example:{closed}").parse().unwrap()]).unwrap();
    let mut plan = Plan::new(profile, Settings::direct(), bed.trust.clone());
    plan.resolve.add(format!("a.bed.example:{closed}:127.0.0.1").parse().unwrap());
    all(&probe::run(plan, Arc::new(Quiet)).await, Hop::Tcp, "open TCP");
}

#[tokio::test]
async fn p11_an_unusable_setting_is_the_settings_hop() {
    let bed = Bed::new();
    let sources = Sources { flag: Some("socks5://p:1".into()), ..Sources::default() };
    let plan = Plan::new(Bed::profile(), Settings::read(&sources), bed.trust.clone());
    let report = probe::run(plan, Arc::new(Quiet)).await;
    all(&report, Hop::Settings, "netsh winhttp set proxy");
    assert_eq!(report.severity, Severity::CouldNotRun);
}

#[tokio::test]
async fn p05_a_black_hole_ends_within_its_deadline_and_names_the_hop() {
    let bed = Bed::new();
    for (fate, hop) in [
        (Fate::Silence, Hop::ProxyHttp),
        (Fate::AnswerAndHold("HTTP/1.1 200 ok\r\n\r\n"), Hop::TlsHandshake),
        (Fate::AnswerAndHold("HTTP/1.1 200 ok\r\nX: "), Hop::ProxyHttp),
    ] {
        let exit = bed::Exit::start(Default::default(), fate).await;
        let begun = Instant::now();
        let report = bed.probe_briefly(exit.url()).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        all(&report, hop, "");
    }
}

/// A listener that accepts nothing and whose queue is full drops further attempts, as a firewall does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn p05_a_dropped_connection_to_the_proxy_ends_within_its_deadline() {
    let bed = Bed::new();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        waiting.spawn(tokio::net::TcpStream::connect(address));
    }
    let mut held = Vec::new();
    while let Ok(Some(connected)) =
        tokio::time::timeout(Duration::from_millis(300), waiting.join_next()).await
    {
        held.push(connected);
    }
    let mut plan = bed.plan(url(address));
    plan.deadlines = bed::brief();
    plan.deadlines.tcp = Duration::from_millis(600);
    let begun = Instant::now();
    all(&probe::run(plan, Arc::new(Quiet)).await, Hop::ProxyTcp, "firewall");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn p05_the_whole_deadline_holds_over_the_steps() {
    let bed = Bed::new();
    let exit = bed::Exit::start(Default::default(), Fate::Silence).await;
    let mut plan = bed.plan(exit.url());
    plan.deadlines = Deadlines::within(Duration::from_millis(500));
    let begun = Instant::now();
    all(&probe::run(plan, Arc::new(Quiet)).await, Hop::ProxyHttp, "");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn p05_nine_take_hardly_longer_than_the_slowest() {
    let bed = Bed::new();
    let slow = Fate::Slow(Duration::from_millis(800), acceptor(&bed.genuine, &NAMES, 0));
    let exit = bed::Exit::start(Default::default(), slow).await;
    let report = bed.probe(exit.url()).await;
    assert!(report.endpoints.iter().all(|e| e.usable), "a slow proxy is not a broken one: {report}");
    let slowest = report.endpoints.iter().map(|e| e.millis).max().unwrap();
    assert!(report.millis * 2 <= slowest * 3, "{} ms for all, {slowest} ms for the slowest", report.millis);
}

/// Keeps what it is told.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl Progress for Kept {
    fn begin(&self, id: &EndpointId, hop: Hop) {
        self.0.lock().unwrap().push(format!("{id} begins {hop}"));
    }
    fn step(&self, id: &EndpointId, step: &Step) {
        self.0.lock().unwrap().push(format!("{id} {} {}", step.hop, step.passed));
    }
    fn done(&self, endpoint: &EndpointReport) {
        self.0.lock().unwrap().push(format!("{} done", endpoint.id));
    }
}

#[tokio::test]
async fn p05_progress_tells_each_hop_as_it_happens() {
    let bed = Bed::new();
    let mut plan = bed.plan(bed.exit(None).await.url());
    plan.profile = plan.profile.only(["login"]).unwrap();
    let kept = Arc::new(Kept::default());
    probe::run(plan, kept.clone()).await;
    let told = kept.0.lock().unwrap().clone();
    assert_eq!(
        told[..4],
        ["login begins proxy-dns", "login proxy-dns true", "login begins proxy-tcp", "login proxy-tcp true"]
    );
    assert_eq!(told.last().unwrap(), "login done");
}

#[tokio::test]
async fn p10_an_idle_tunnel_that_is_cut_is_a_warning() {
    let bed = Bed::new();
    for (fate, cut) in [(bed.healthy(), false), (Fate::Once(acceptor(&bed.genuine, &NAMES, 0)), true)] {
        let mut plan = bed.plan(bed.exit(Some((NAMESPACE, fate))).await.url());
        plan.profile = plan.profile.only(["servicebus"]).unwrap();
        plan.idle = Some(Duration::from_secs(2));
        let report = probe::run(plan, Arc::new(Quiet)).await;
        assert_eq!(report.endpoints[0].warnings.iter().any(|w| w.contains("is cut")), cut, "{report}");
    }
}

#[tokio::test]
async fn the_dialer_reports_the_same_failures() {
    let bed = Bed::new();
    let exit = bed.exit(Some((EDGE, Fate::Answer("HTTP/1.1 403 no\r\n\r\n")))).await;
    let dialer = Dialer::new(Settings::through(exit.url()), bed.trust.clone());
    assert_eq!(dialer.connect(EDGE, 443).await.unwrap_err().hop, Hop::ProxyPolicy);
    assert!(dialer.connect(ACCOUNT, 443).await.is_ok());
    let direct = Dialer::new(Settings::direct(), bed.trust.clone());
    assert!(direct.connect("127.0.0.1", exit.address.port()).await.is_ok());
}

#[tokio::test]
async fn p17_two_nodes_of_which_one_is_blocked() {
    let bed = Bed::new();
    let open = bed.probe(bed.exit(None).await.url()).await;
    let denied = Fate::Answer("HTTP/1.1 403 no\r\n\r\n");
    let blocked = bed.probe(bed.exit(Some((EDGE, denied))).await.url()).await;
    let json = serde_json::to_string(&blocked).unwrap(); // as it comes from the other node
    let blocked: Report = serde_json::from_str(&json).unwrap();
    let compared = probe::compare(&[("node-01".into(), open.clone()), ("node-02".into(), blocked)]);
    assert_eq!(compared.differences.len(), 1);
    assert_eq!(compared.differences[0].blocked, [("node-02".to_owned(), Some(Hop::ProxyPolicy))]);
    assert!(compared.to_string().contains("usable on node-01; not on node-02 (proxy-policy)"), "{compared}");
    let same = probe::compare(&[("node-01".into(), open.clone()), ("node-02".into(), open)]);
    assert!(same.differences.is_empty());
}

#[test]
fn what_goes_between_threads_can() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<rs_proxy::net::Stream>();
    check::<Dialer>();
    check::<Plan>();
    check::<Report>();
    check::<rs_proxy::Failure>();
}
