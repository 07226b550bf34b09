//! What `enable` says of the network, when the consent is given and no agent runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bed::speaker;
use crate::machine::{Machine, Run, chmod};

const AGREED: &str = "enable --agree-to-remote-support-consent --access-level Diagnostics --sas-credential-file sas --output json";

fn enable(machine: &Machine, relay: &str, proxy: &str) -> Run {
    let credential = format!(
        "Endpoint=sb://{relay}/;SharedAccessKeyName=listen;SharedAccessKey=c2FzLWNhbmFyeQ==;EntityPath=node-01"
    );
    std::fs::write(machine.file("sas"), credential).expect("own directory");
    chmod(&machine.file("sas"), 0o600);
    let mut command = machine.command(AGREED.split(' '));
    command.env("REMOTE_SUPPORT_PROXY", proxy).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run: Run = command.output().expect("starts").into();
    assert_eq!(run.code, 0, "the consent stands whatever the network does: {}", run.stderr);
    let grant: serde_json::Value = serde_json::from_str(&run.stdout).expect("the grant and nothing else");
    assert_eq!(grant["state"], "Active");
    run
}

#[test]
fn what_stops_the_connection_is_said_after_the_consent() {
    let run = enable(&Machine::new(), "relay.example", "http://127.0.0.1:1");
    assert!(run.stderr.contains("the relay relay.example is not reached"), "{}", run.stderr);
    assert!(
        run.stderr.contains("cause: proxy-tcp: ") && run.stderr.contains("proxy check"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("canary"), "sec33");
}

#[test]
fn a_relay_on_this_machine_is_not_asked_about() {
    for relay in ["localhost:1", "127.0.0.1:1"] {
        let run = enable(&Machine::new(), relay, "http://127.0.0.1:1");
        assert!(!run.stderr.contains("is not reached"), "{relay}: {}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_holds_the_command_up_for_three_seconds_at_most() {
    let silent = format!("http://{}", speaker("", true).await);
    let machine = Machine::new();
    let since = Instant::now();
    let run = tokio::task::block_in_place(|| enable(&machine, "relay.example", &silent));
    let took = since.elapsed();
    println!("enable with a relay behind a black hole: {} ms", took.as_millis());
    assert!(run.stderr.contains("cause: proxy-http: "), "{}", run.stderr);
    assert!(took < Duration::from_secs(6), "{took:?}"); // 3 s and what a busy machine adds
}
