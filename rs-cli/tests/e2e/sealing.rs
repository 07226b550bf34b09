//! What is typed and shown lies sealed on the node: whoever takes the state directory alone opens nothing.

use std::path::Path;
use std::process::Command;

use rs_cli::state::Role;
use uuid::Uuid;

use crate::daemon::until_true;
use crate::site::{ENDLESS, Site, files};

const TYPED: &str = "Get-CanaryTyped4711";

/// A site with the owner's policy on storage.
fn site_with(policy: Option<&str>) -> Site {
    let site = Site::ready_without_agent();
    if let Some(text) = policy {
        std::fs::write(site.role(Role::Node).join("policy.json"), text).expect("own directory");
    }
    site
}

/// A session in which a canary is typed and another one printed; returns what is printed.
fn session(site: &Site) -> String {
    let printed = format!("canary{}", std::process::id());
    let name = site.machine.file(&printed);
    std::fs::copy("/bin/sleep", &name).expect("a program");
    let mut running = Command::new(&name).arg("60").spawn().expect("started");
    let line = format!("Get-Process -Name {printed}* | Select-Object ProcessName");
    let run = site.machine.run_args(["connect", "--command", TYPED, "--command", &line]);
    running.kill().expect("own process");
    running.wait().expect("own process");
    assert!(run.stdout.contains(&printed), "{}{}", run.stdout, run.stderr);
    printed
}

/// Files of the state directory, those of the engineer apart, in which a canary stands.
fn found(site: &Site, canary: &str) -> Vec<std::path::PathBuf> {
    let engineer = site.role(Role::Engineer);
    let has = |content: &[u8]| content.windows(canary.len()).any(|part| part == canary.as_bytes());
    let of_node = site.machine.state_files().into_iter().filter(|(path, _)| !path.starts_with(&engineer));
    of_node.filter(|(_, content)| has(content)).map(|(path, _)| path).collect()
}

fn id_of(site: &Site) -> Uuid {
    site.machine.json("history")[0]["sessionId"].as_str().expect("an id").parse().expect("an id")
}

#[test]
fn sec36_no_canary_stands_in_the_raw_store_and_a_copy_without_its_key_opens_nothing() {
    let mut site = site_with(None);
    site.start_agent();
    site.connected();
    let printed = session(&site);
    for canary in [TYPED, &printed] {
        assert_eq!(found(&site, canary), Vec::<std::path::PathBuf>::new(), "{canary}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&site.machine.storage_key()), 0o600);
        assert!(files(&site.role(Role::Node).join("sessions")).iter().all(|path| mode(path) == 0o600));
    }
    // With its key everything is there.
    let id = id_of(&site);
    let transcript = format!("history --session-id {id} --include-session-transcript");
    let run = site.machine.run(&transcript);
    assert!(run.code == 0 && run.stdout.contains(TYPED) && run.stdout.contains(&printed), "{}", run.stdout);
    let run = site.machine.run(&format!("history --command {TYPED} --output json"));
    assert!(run.code == 0 && run.stdout.contains(&id.to_string()), "{}{}", run.stdout, run.stderr);
    assert_eq!(site.machine.json("session verify")["records"][0]["contentsSealed"], 0);

    // A thief has the state directory and not the key.
    let key = std::fs::read(site.machine.storage_key()).expect("a key");
    std::fs::remove_file(site.machine.storage_key()).expect("own file");
    let run = site.machine.run(&transcript);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("key store locked"), "{}", run.stderr);
    assert!(run.stdout.contains("content sealed") && !run.stdout.contains(TYPED), "{}", run.stdout);
    let run = site.machine.run(&format!("history --command {TYPED}"));
    assert_eq!(run.code, 7, "{}", run.stderr);
    let verified = site.machine.run(&format!("session verify {id}"));
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("Contents sealed, not checked"), "{}", verified.stdout);
    let bundle = site.machine.file("bundle");
    let export = site.machine.run(&format!("session export {id} {}", bundle.display()));
    assert!(export.code == 1 && !bundle.exists(), "{}", export.stderr);

    // Another key is told from damage.
    std::fs::write(site.machine.storage_key(), hex::encode([7; 32])).expect("own file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(site.machine.storage_key(), mode).expect("own file");
    let run = site.machine.run(&transcript);
    assert!(run.code == 7 && run.stdout.contains("another key closed it"), "{}{}", run.stdout, run.stderr);

    // Contents go without a key too.
    let run = site.machine.run(&format!("session redact {id} --record 1 --reason test"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    std::fs::write(site.machine.storage_key(), key).expect("own file");
    assert_eq!(site.machine.run(&format!("session verify {id}")).code, 0);
    assert_eq!(site.machine.run(&format!("session export {id} {}", bundle.display())).code, 0);
    assert!(!found_in(&bundle.join("session.record"), TYPED), "it was redacted");
    assert!(found_in(&bundle.join("session.record"), &printed), "a bundle is for people without a key");
}

fn found_in(path: &Path, canary: &str) -> bool {
    let content = std::fs::read(path).expect("a file");
    content.windows(canary.len()).any(|part| part == canary.as_bytes())
}

#[test]
fn sec36_control_with_sealing_off_the_canary_is_found() {
    let mut site = site_with(Some(r#"{ "storage": "off" }"#));
    site.start_agent();
    site.connected();
    let printed = session(&site);
    for canary in [TYPED, &printed] {
        assert_eq!(found(&site, canary).len(), 1, "{canary}");
    }
    assert!(!site.machine.storage_key().exists());
}

#[test]
fn sec36_a_locked_key_store_lets_nobody_in_ends_sessions_and_disable_works() {
    let mut site = site_with(Some(r#"{ "storage": "passphrase" }"#));
    site.start_agent();
    site.connected();
    assert!(site.agent().stderr().contains("key store locked"), "{}", site.agent().stderr());
    let refused = site.connect("");
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    site.agent().kill9();

    let passphrase = site.machine.file("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").expect("own file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&passphrase, mode).expect("own file");
    site.start_agent_with(|command| {
        command.env("REMOTE_SUPPORT_STORAGE_PASSPHRASE_FILE", &passphrase);
    });
    site.connected();
    let _printed = session(&site);
    assert_eq!(found(&site, TYPED), Vec::<std::path::PathBuf>::new());
    let with = format!("history --storage-passphrase-file {} --command {TYPED}", passphrase.display());
    assert_eq!(site.machine.run(&with).code, 0);
    assert_eq!(site.machine.run("Disable-RemoteSupport").code, 0);
}

#[test]
fn sec36_a_session_ends_when_its_key_is_taken_away_and_disable_works() {
    let mut site = site_with(None);
    site.start_agent();
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    let away = site.machine.file("away.key");
    std::fs::rename(site.machine.storage_key(), &away).expect("own file");
    until_true("the session has ended", || site.status().sessions.is_empty());
    assert_ne!(engineer.exit_code(), 0);
    let refused = site.machine.run_args(["connect", "--command", ENDLESS]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    until_true("the owner is told why", || {
        site.agent.as_ref().is_some_and(|it| it.stderr().contains("key store locked"))
    });
    let disabled = site.machine.run("Disable-RemoteSupport");
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    std::fs::rename(&away, site.machine.storage_key()).expect("own file");
    let (frame, end) = crate::records::end(&site.record(session));
    assert_eq!(frame.skeleton().end, Some(rs_consent::EndCause::RecordFault), "{end:?}");
}
