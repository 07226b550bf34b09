//! Agent and engineer meet at a relay behind squid.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::programs::Running;
use crate::site::{GOOD, NAMESPACE, RELAY, Site, WRONG, squid_with_basic, until};

#[test]
fn r17_agent_and_engineer_meet_through_squid_with_basic_and_the_agent_is_back_after_its_restart() {
    let Some(mut squid) = squid_with_basic("") else { return };
    let mut site = Site::new(RELAY);
    site.credentials(GOOD);
    site.start_agent_behind(&squid);
    site.machine.enable("Diagnostics");
    site.connected(1);
    let run = site.session(&squid);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("20"), "a date: {}", run.stdout);

    squid.restart();
    let back = Instant::now();
    site.connected(2);
    println!("connected again {} ms after the proxy was back", back.elapsed().as_millis());
    let run = site.session(&squid);
    assert_eq!(run.code, 0, "{}", run.stderr);

    let run = site.machine.run("connect --proxy direct --command Get-Date");
    assert_eq!(run.code, 5, "control: without the proxy the relay has no address: {}", run.stderr);
    assert!(run.stderr.contains("dns: ") && run.stderr.contains("proxy check"), "{}", run.stderr);
    site.holds_nowhere("secret");
}

#[test]
fn p13_a_wrong_password_is_named_with_its_hop_and_fix_and_a_corrected_file_is_taken_at_once() {
    let Some(squid) = squid_with_basic("") else { return };
    let mut site = Site::new(RELAY);
    site.credentials(WRONG);
    site.start_agent_behind(&squid);
    let run = site.machine.run("enable --agree-to-remote-support-consent --access-level Diagnostics");
    assert_eq!(run.code, 0, "the consent stands: {}", run.stderr);
    assert!(run.stderr.contains("cause: proxy-auth: "), "{}", run.stderr);
    let said = until("the agent names the hop", || {
        site.status().connection_error_message.filter(|said| said.starts_with("proxy-auth: "))
    });
    assert!(
        said.contains("refuses the user and password") && said.contains("correct the credentials"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let access = site.machine.json("access");
    assert_eq!(access[0]["connectionErrorMessage"], said.as_str());
    let run = site.session(&squid);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("proxy-auth: ") && !run.stderr.contains("canary"), "{}", run.stderr);
    let doctor = site.machine.run_args([
        "agent",
        "doctor",
        "--proxy",
        &squid.url().to_string(),
        "--proxy-credentials-file",
        "proxy",
        "--output",
        "json",
    ]);
    assert_eq!(doctor.code, 5, "{}", doctor.stdout);
    assert!(doctor.stdout.contains("proxy-auth: "), "{}", doctor.stdout);
    site.holds_nowhere("canary");

    site.credentials(GOOD);
    site.connected(1);
    assert_eq!(site.status().connection_error_message, None);
}

#[test]
fn p11_the_environments_proxy_is_for_others_than_this_machine_and_a_flag_for_all() {
    let mut site = Site::new("localhost");
    let dead = ("HTTPS_PROXY", "http://127.0.0.1:1");
    site.start_agent_with(&[], &[dead]);
    site.machine.enable("Diagnostics");
    site.connected(1);

    let mut site = Site::new("localhost");
    site.start_agent(&["--proxy", dead.1]);
    site.machine.enable("Diagnostics");
    until("control: the flag counts", || {
        site.status().connection_error_message.filter(|said| said.starts_with("proxy-tcp: "))
    });

    let mut site = Site::new(RELAY);
    site.start_agent_with(&[], &[dead]);
    site.machine.enable("Diagnostics");
    until("control: the environment counts", || {
        site.status().connection_error_message.filter(|said| said.starts_with("proxy-tcp: "))
    });
}

#[test]
fn what_lies_behind_the_dialled_stream_is_found_by_the_probe() {
    let mut site = Site::new("localhost");
    let other = Site::new("localhost");
    let foreign = other.machine.state().join("relay/ca.pem").display().to_string();
    site.start_agent(&["--relay-ca", &foreign]);
    site.machine.enable("Diagnostics");
    let said = until("the probe names the hop", || {
        site.status().connection_error_message.filter(|said| said.starts_with("tls-"))
    });
    assert!(said.contains("localhost"), "{said}");
    let log = site.agent_said();
    assert!(log.contains("no trusted TLS connection"), "control: the attempt itself knows less: {log}");
}

/// A tunnel to the relay through squid on which nothing is ever sent: how long squid keeps it.
fn quiet_tunnel(squid: &Running, target: &str) -> Duration {
    let mut stream = TcpStream::connect(squid.address).expect("squid listens");
    let since = Instant::now();
    // node:secret
    let head = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic bm9kZTpzZWNyZXQ=\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.set_read_timeout(Some(Duration::from_secs(90))).expect("a limit");
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).expect("an answer");
    assert!(bytes[..read].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&bytes[..read]));
    match stream.read(&mut bytes) {
        Ok(0) => since.elapsed(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => since.elapsed(),
        other => panic!("neither kept nor cut: {other:?}"),
    }
}

/// Waits for real: 60 s are squid's limit, and longer than what an agent leaves silent.
#[test]
fn r17_the_channel_outlives_an_idle_limit_of_60_seconds_to_a_relay_of_ones_own_and_to_one_like_azures() {
    let Some(squid) = squid_with_basic("read_timeout 60 seconds\n") else { return };
    let sites: Vec<Site> = [Site::new(RELAY), Site::with_silent_relay(NAMESPACE)]
        .map(|mut site| {
            site.credentials(GOOD);
            site.start_agent_behind(&squid);
            site.machine.enable("Diagnostics");
            site.connected(1);
            site
        })
        .into();
    let echo = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("{RELAY}:{}", echo.local_addr().expect("bound").port());
    let kept = quiet_tunnel(&squid, &target);
    println!("control: a tunnel without traffic was cut after {:.1} s", kept.as_secs_f32());
    assert!((55..85).contains(&kept.as_secs()), "control: {kept:?}");
    std::thread::sleep(Duration::from_secs(5)); // beyond the limit for certain, counted from the agents' last connection
    for site in sites {
        assert_eq!(site.times_connected(), 1, "never lost: {}", site.agent_said());
        assert_eq!(site.status().connection_status, "Connected");
        let run = site.session(&squid);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
}
