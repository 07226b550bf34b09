//! What an operator does with a running relay.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{KEY, Relay, settings, soon, write_private};

async fn admin(relay: &Relay, path: &str) -> String {
    let mut io = TcpStream::connect(relay.admin).await.expect("the operators' port");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    soon(io.read_to_string(&mut answer)).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_streams_and_a_stop_ends_with_0() {
    let mut relay = Relay::start();
    assert!(admin(&relay, "/readyz").await.starts_with("HTTP/1.1 200 "));
    relay.echo("hyco").await;
    let mut stream = soon(relay.sender("hyco").connect()).await.expect("joined");
    // What cannot be used changes nothing.
    write_private(&relay.path("relay.toml"), "[[namespace]]\nhosts = 7\n");
    relay.signal("-HUP");
    let said = relay.line("cannot be used");
    assert!(said.contains("the old ones stay") && said.contains("line 2"), "{said}");
    // The old key becomes the secondary one: nobody is lost, and both are good.
    let both = settings("new key") + &format!("secondary-key = \"{KEY}\"\n");
    write_private(&relay.path("relay.toml"), &both);
    relay.signal("-HUP");
    assert!(relay.line("Settings read again").contains("1 listeners stay, 0 were closed"));
    soon(relay.sender("hyco").connect()).await.expect("the old key is good still");
    // It is gone: the listener is closed, the joined stream stays.
    write_private(&relay.path("relay.toml"), &settings("new key"));
    relay.signal("-HUP");
    assert!(relay.line("Settings read again").contains("0 listeners stay, 1 were closed"));
    stream.write_all(b"still here").await.expect("joined");
    stream.flush().await.expect("joined");
    let mut back = [0; 10];
    soon(stream.read_exact(&mut back)).await.expect("joined");
    assert_eq!(&back, b"still here");
    // With its last listener the hybrid connection is gone, too; its key would not be good either.
    assert_eq!(soon(relay.sender("hyco").connect()).await.err().and_then(|error| error.status()), Some(404));
    assert!(admin(&relay, "/metrics").await.contains("relay_joined_connections{namespace=\"localhost\"} 1"));
    relay.signal("-TERM");
    let mut rest = Vec::new();
    // The stream gets its time (3 s here) and is then told.
    assert!(soon(stream.read_to_end(&mut rest)).await.is_err(), "an end that the other side did not make");
    assert!(relay.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sec33_the_access_log_has_names_and_no_secrets() {
    let relay = Relay::start();
    relay.echo("hyco").await;
    let stream = soon(relay.sender("hyco").connect()).await.expect("joined");
    drop(stream);
    let wrong = relay.connection("hyco", "canary-key");
    let sender = rs_relay::client::Sender::new(wrong, relay.connector());
    soon(sender.connect()).await.expect_err("refused");
    let refused = relay.line("\"event\":\"refused\"");
    let entry: serde_json::Value = serde_json::from_str(&refused).expect("a JSON object a line");
    assert_eq!((entry["status"].as_u64(), entry["path"].as_str()), (Some(401), Some("/$hc/hyco")));
    assert_eq!(entry["namespace"], "localhost");
    let all = relay.said().join("\n") + &refused;
    for secret in ["SharedAccess", "canary", "sb-hc-", KEY, "sig="] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn a_file_with_keys_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("relay.toml");
    write_private(&file, &settings(KEY));
    let run = |file: &std::path::Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_remote-support"))
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .args(["relay", "serve", "--listen", "127.0.0.1:0", "--namespaces"])
            .arg(file)
            .output()
            .expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("own file");
    let (code, said) = run(&file);
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains(KEY), "{said}");
    // A key in a file of its own lets the configuration be read by everybody.
    let by_file = settings("x").replace("primary-key = \"x\"", "primary-key-file = \"absent.key\"");
    std::fs::write(&file, by_file).expect("own directory");
    let (code, said) = run(&file);
    assert!(code != Some(0) && said.contains("absent.key"), "{code:?} {said}");
}
