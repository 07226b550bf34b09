//! Consents that wait: for their start (C25) and for a second person (C26).

use std::process::Command;

use chrono::{SecondsFormat, TimeDelta};
use rs_cli::state::Role;
use serde_json::Value;

use crate::daemon::until_true;
use crate::expiry::now;
use crate::machine::Run;
use crate::site::Site;

fn access(site: &Site) -> Value {
    site.machine.json("access")[0].clone()
}

#[test]
fn c25_a_consent_with_a_start_opens_nothing_before_it_and_all_after() {
    let site = Site::started();
    site.papers();
    // The minutes count from the start, so a whole hour is left when it has come.
    let start = now() + TimeDelta::seconds(8);
    let at = start.to_rfc3339_opts(SecondsFormat::Millis, true);
    let grant = site.machine.enable(&format!("Diagnostics --expire-in-minutes 60 --not-before {at}"));
    assert_eq!((&grant["state"], &grant["connectionStatus"]), (&"Pending".into(), &"NotConnected".into()));
    assert_eq!(site.status().connection_status, "NotConnected", "no word to the relay before");
    assert_eq!(site.connect("").code, 5, "nobody listens");
    if now() < start {
        assert_eq!(access(&site)["state"], "Pending", "nothing above took as long as the start was ahead");
    }
    site.connected();
    assert!(now() >= start, "connected before the start");
    assert_eq!(access(&site)["state"], "Active");
    assert!(access(&site)["remainingSeconds"].as_u64() > Some(59 * 60 - 30));
    assert_eq!(site.connect("").code, 0);
}

/// Runs a command of the program as the login of account number 1.
pub(crate) fn as_another(site: &Site, line: &str) -> Option<Run> {
    let mut words = site.machine.command(line.split(' '));
    words.args(["--output", "json"]);
    let script =
        r#"echo 1 >/proc/self/loginuid && [ "$(cat /proc/self/loginuid)" = 1 ] || exit 77; exec "$0" "$@""#;
    let mut other = Command::new("sh");
    other.arg("-c").arg(script).arg(words.get_program()).args(words.get_args());
    for (name, value) in words.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.current_dir(site.machine.work());
    let run = Run::from(other.output().expect("sh starts"));
    if run.code == 77 {
        eprintln!(
            "skipped: this machine keeps no logins, or does not let the test be another one: {}",
            run.stderr
        );
        return None;
    }
    Some(run)
}

#[test]
fn c26_repair_waits_for_a_second_person_where_the_policy_wants_one() {
    let site = Site::started();
    site.papers();
    let policy = site.role(Role::Node).join("policy.json");
    std::fs::write(policy, r#"{"secondPerson": true}"#).expect("own folder");
    assert_eq!(site.machine.run("approve --agree-to-remote-support-consent").code, 4, "nothing waits yet");
    let grant = site.machine.enable("DiagnosticsRepair");
    assert_eq!(
        (&grant["state"], &grant["waitsFor"]),
        (&"Pending".into(), &"the approval of a second person".into())
    );
    assert_eq!(site.status().connection_status, "NotConnected");
    let own = site.machine.run("approve --agree-to-remote-support-consent");
    assert_eq!(own.code, 3, "{}", own.stderr);
    assert!(own.stderr.contains("somebody else has to approve"), "{}", own.stderr);
    assert_eq!(access(&site)["state"], "Pending");
    if let Some(look) = as_another(&site, "approve --dry-run") {
        assert_eq!(look.code, 0, "{}", look.stderr);
        assert!(look.stderr.contains("gave this consent"), "{}", look.stderr);
        assert_eq!(access(&site)["state"], "Pending");
        let approved = as_another(&site, "approve --agree-to-remote-support-consent").expect("as before");
        assert_eq!(approved.code, 0, "{}", approved.stderr);
        site.connected();
        assert_eq!(access(&site)["secondPerson"]["by"]["user"], "daemon");
        assert_eq!(site.connect("").code, 0);
        let raised =
            site.machine.run("enable --agree-to-remote-support-consent --access-level DiagnosticsRepair");
        assert_eq!(raised.code, 3, "one person alone cannot make it longer: {}", raised.stderr);
        assert_eq!(access(&site)["state"], "Active", "what two gave stands");
    }
    assert_eq!(site.machine.run("disable").code, 0, "one person can always take it back");
    assert_eq!(site.machine.enable("Diagnostics")["state"], "Active", "the policy is about repair");
}

#[test]
fn c26_a_pending_consent_is_revoked_like_any_other_and_may_be_asked_for_by_an_option() {
    let site = Site::started();
    let grant = site.machine.enable("Diagnostics --second-person");
    assert_eq!(grant["state"], "Pending");
    until_true("the list shows it", || access(&site)["state"] == "Pending");
    assert_eq!(site.machine.json("disable")["changed"], true);
    assert_eq!(site.machine.json("access --include-expired")[0]["state"], "Revoked");
}
