//! Wrong order, wrong flags, wrong places: each says what to do.

use rs_cli::state::Role;

use crate::daemon::until_true;
use crate::machine::{Machine, chmod};
use crate::site::Site;

#[test]
fn connect_before_anything_says_what_is_missing_step_by_step() {
    let mut site = Site::empty();
    let next = |site: &Site, code: i32, text: &str| {
        let run = site.connect("");
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    };
    next(&site, 4, "--assignment");
    site.papers();
    next(&site, 4, "remote-support relay serve");
    site.start_relay();
    next(&site, 5, "agent runs");
    site.start_agent();
    next(&site, 5, "ask its owner whether consent is in force");
    site.machine.enable("Diagnostics");
    site.connected();
    assert_eq!(site.connect("").code, 0);
}

#[test]
fn c17_disable_with_nothing_to_disable_is_a_quiet_success() {
    let machine = Machine::new();
    let run = machine.run("disable");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("was not enabled"), "{}", run.stderr);
    assert!(!machine.state().exists(), "looking creates nothing");
}

#[test]
fn an_agent_without_a_credential_says_what_it_needs_and_starts_when_it_comes() {
    let mut site = Site::empty();
    site.start_agent();
    assert_eq!(site.status().connection_status, "NotConnected");
    site.machine.enable("Diagnostics");
    until_true("it is tried", || site.status().connection_status == "Failed");
    let status = site.machine.json("agent status");
    let trouble = status["connectionErrorMessage"].as_str().expect("trouble");
    assert!(trouble.contains("there is no relay credential"), "{trouble}");
    assert!(trouble.contains("remote-support relay serve"), "{trouble}");
    let access = &site.machine.json("access")[0];
    assert_eq!((&access["connectionStatus"], &access["state"]), (&"Failed".into(), &"Active".into()));
    site.start_relay();
    site.connected();
    assert_eq!(site.machine.json("access")[0]["connectionErrorMessage"], serde_json::Value::Null);
}

#[test]
fn a_relay_that_goes_away_is_said_and_a_relay_that_comes_back_is_found() {
    let mut site = Site::ready();
    site.relay().kill9();
    until_true("it is noticed", || site.status().connection_status == "Connecting");
    assert!(site.status().connection_error_message.is_some());
    assert_eq!(site.connect("").code, 5);
    // On another port: the connection strings are written anew, and the agent takes them up.
    site.start_relay();
    site.connected();
    assert_eq!(site.connect("").code, 0);
}

#[test]
fn a_relay_on_a_used_port_says_so() {
    let machine = Machine::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let run = machine.run(&format!("relay serve --listen {address}"));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("--listen") && run.stderr.contains(&address.to_string()), "{}", run.stderr);
}

#[test]
fn no_agent_no_status() {
    let run = Machine::new().run("agent status");
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("remote-support agent run"), "{}", run.stderr);
}

#[test]
fn sec36_folders_that_others_can_enter_are_refused_with_the_remedy() {
    let site = Site::empty();
    site.papers();
    site.machine.enable("Diagnostics");
    for (role, lines) in [
        (
            Role::Node,
            &[
                "access",
                "disable",
                "agent run",
                "enable --agree-to-remote-support-consent --access-level Diagnostics",
                "request list",
            ][..],
        ),
        (Role::Engineer, &["connect --command Get-Date"]),
        (Role::Desk, &["desk assign --engineer engineer@support.example"]),
    ] {
        let folder = site.role(role);
        chmod(&folder, 0o755);
        for line in lines {
            let run = site.machine.run(line);
            assert_eq!(run.code, 1, "{line}: {}", run.stderr);
            assert!(run.stderr.contains("chmod 700"), "{line}: {}", run.stderr);
        }
        chmod(&folder, 0o700);
    }
    assert_eq!(site.machine.run("access").code, 0, "safe again");
}

#[test]
fn sec36_a_state_directory_that_others_can_write_is_refused_with_the_remedy() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    chmod(&machine.state(), 0o777);
    for line in ["access", "agent run", "relay serve --listen 127.0.0.1:0"] {
        let run = machine.run(line);
        assert_eq!(run.code, 1, "{line}: {}", run.stderr);
        assert!(run.stderr.contains("chmod go-w"), "{line}: {}", run.stderr);
    }
}

#[test]
fn wrong_values_store_nothing_and_name_what_is_permitted() {
    let machine = Machine::new();
    let line = "enable --agree-to-remote-support-consent --access-level";
    for minutes in ["59", "20161", "0", "-5", "1e3", "99999999999999999999", "''"] {
        let run = machine.run(&format!("{line} Diagnostics --expire-in-minutes {minutes}"));
        assert_eq!(run.code, 2, "{minutes}: {}", run.stderr);
        assert!(run.stderr.contains("60") && run.stderr.contains("20160"), "{minutes}: {}", run.stderr);
    }
    for wrong in [format!("{line} Full"), "enable --agree-to-remote-support-consent".to_owned()] {
        let run = machine.run(&wrong);
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
    }
    assert!(!machine.state().exists(), "nothing stored");
    for (minutes, given) in [("--expire-in-minutes 60", 60), ("--expire-in-minutes 20160", 20160), ("", 480)]
    {
        assert_eq!(machine.enable(&format!("Diagnostics {minutes}"))["minutes"], given);
    }
}
