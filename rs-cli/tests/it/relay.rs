//! Credentials of a self-hosted relay, as files hand them over.

use crate::machine::{self, Machine};

const CREDENTIAL: &str = "Endpoint=sb://relay.example:8443/;SharedAccessKeyName=send;SharedAccessKey=c2VuZC1jYW5hcnk=;EntityPath=node-01";

#[cfg(unix)]
#[test]
fn sec33_a_connection_string_is_printed_on_request_only_or_handed_over_in_a_private_file() {
    let machine = Machine::new();
    let run = machine.run("relay connection-string --side send");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(!machine.state().exists());
    let relay = machine.state().join("relay");
    std::fs::create_dir_all(&relay).expect("own directory");
    for path in [machine.state(), relay.clone()] {
        machine::chmod(&path, 0o700);
    }
    std::fs::write(relay.join("send.connection-string"), CREDENTIAL).expect("own directory");
    machine::chmod(&relay.join("send.connection-string"), 0o600);
    let run = machine.run("relay connection-string --side send");
    assert_eq!((run.stdout.trim_end(), run.stderr.as_str(), run.code), (CREDENTIAL, "", 0));
    let run = machine.run("relay connection-string --side send --file handed");
    assert_eq!((run.stdout.as_str(), run.code), ("", 0));
    assert!(!run.stderr.contains("c2VuZC1jYW5hcnk"), "{}", run.stderr);
    assert_eq!(machine::mode(&machine.file("handed")), 0o600);
    let run = machine.run("relay connection-string --side send --file handed");
    assert_eq!(run.code, 1, "a file that is there is not overwritten: {}", run.stderr);
    assert!(!run.stderr.contains("c2VuZC1jYW5hcnk"));
    machine::chmod(&relay.join("send.connection-string"), 0o640);
    let run = machine.run("relay connection-string --side send");
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
}

#[cfg(unix)]
#[test]
fn a_token_is_made_from_a_credential_for_a_limited_time() {
    let machine = Machine::new();
    std::fs::write(machine.file("sas"), CREDENTIAL).expect("own directory");
    machine::chmod(&machine.file("sas"), 0o600);
    let run = machine.run("relay token --relay-credential-file sas --good-for-minutes 1");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let token = rs_relay::proto::SasToken::parse(run.stdout.trim()).expect("a token");
    assert!(token.is_signed_with(&"c2VuZC1jYW5hcnk=".parse().expect("a key")));
    assert!(!(run.stdout + &run.stderr).contains("c2VuZC1jYW5hcnk"), "a token is not the key");
    for minutes in ["0", "1441", "-5", "1e3"] {
        let run =
            machine.run(&format!("relay token --relay-credential-file sas --good-for-minutes {minutes}"));
        assert_eq!(run.code, 2, "{minutes}: {}", run.stderr);
    }
}
