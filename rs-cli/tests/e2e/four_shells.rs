//! The whole path as README shows it: relay, agent, operator and desk, engineer.

use crate::machine::{Machine, mode};
use crate::records;
use crate::site::{Site, files};
use rs_cli::state::Role;
use rs_consent::EndCause;

/// The nine public fields in the public order.
const FIELDS: [&str; 9] = [
    "State",
    "CreatedAt",
    "UpdatedAt",
    "ConnectionStatus",
    "ConnectionErrorMessage",
    "TargetService",
    "AccessLevel",
    "ExpiresAt",
    "SasCredential",
];

/// Name and value of each line of a list.
fn list(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').expect("name : value");
        (name.trim_end().to_owned(), value.trim().to_owned())
    };
    text.lines().filter(|line| !line.is_empty()).map(pair).collect()
}

#[test]
fn whole_path_with_gnu_spelling() {
    let site = Site::started();
    let number = site.papers();
    let grant = site.machine.enable("Diagnostics --expire-in-minutes 1440");
    assert_eq!(grant["supportRequest"], number.as_str());
    site.connected();
    whole_path(&site);
}

#[test]
fn u01_whole_path_in_the_words_of_the_product() {
    let site = Site::started();
    site.papers();
    let run = site.machine.run(
        "Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440 -AgreeToRemoteSupportConsent",
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    site.connected();
    whole_path(&site);
}

/// From the consent to the proof.
fn whole_path(site: &Site) {
    let access = site.machine.run("access");
    assert_eq!(access.code, 0, "{}", access.stderr);
    let shown = list(&access.stdout);
    assert_eq!(shown.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), FIELDS);
    let value = |name: &str| shown.iter().find(|(shown, _)| shown == name).expect("a field").1.as_str();
    assert_eq!(value("State"), "Active");
    assert_eq!(value("ConnectionStatus"), "Connected");
    assert_eq!(value("AccessLevel"), "Diagnostics");
    assert_eq!(value("TargetService"), "PowerShell");
    assert_eq!((value("ConnectionErrorMessage"), value("SasCredential")), ("", ""));
    assert!(value("ExpiresAt").ends_with(" +00:00"), "{shown:?}");
    let cmdlet = site.machine.run("Get-RemoteSupportAccess");
    assert_eq!(cmdlet.stdout, access.stdout, "both spellings show the same");

    let own = std::process::id().to_string();
    let engineer = site.machine.run_args([
        "connect",
        "--command",
        "Get-Date",
        "--command",
        &format!("Get-Process -Id {own} | Select-Object Id"),
        "--command",
        "Stop-Service -Name ssh",
        "--command",
        "Get-Process; rm -rf /",
    ]);
    assert_eq!(engineer.code, 3, "a refused line is told by the exit code: {}", engineer.stderr);
    assert!(engineer.stdout.split_whitespace().any(|word| word == own), "this machine's real processes");
    assert!(engineer.stderr.contains("refused (needs-repair)"), "{}", engineer.stderr);
    assert_eq!(engineer.stderr.matches("refused (").count(), 2, "{}", engineer.stderr);
    assert!(engineer.stderr.contains("Session ended (exit)"), "{}", engineer.stderr);

    let [record] = &site.records()[..] else { panic!("one session, one record") };
    assert_eq!(records::ends(record), [EndCause::Exit]);
    assert_eq!(records::lines(record).len(), 4, "the refused lines are on record too");
    let [copy] = &files(&site.role(Role::Engineer).join("received"))[..] else { panic!("one copy") };
    assert_eq!(
        std::fs::read(copy).expect("a copy"),
        records::opened(record),
        "both sides hold the same record"
    );
    assert_eq!((mode(copy), mode(record)), (0o600, 0o600), "sec36");

    on_record(site);

    let disabled = site.machine.run("Disable-RemoteSupport");
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    assert_eq!(site.machine.json("access"), serde_json::json!([]));
    let again = site.connect("");
    assert_eq!(again.code, 5, "nobody listens any more: {}", again.stderr);
    assert_eq!(site.records().len(), 1);
}

/// History, transcript, verification, and a tampered copy.
fn on_record(site: &Site) {
    let history = site.machine.json("history");
    let session = history[0]["sessionId"].as_str().expect("an id").to_owned();
    assert_eq!(history.as_array().map(Vec::len), Some(1));
    let transcript = site
        .machine
        .run(&format!("Get-RemoteSupportSessionHistory -IncludeSessionTranscript -SessionId {session}"));
    assert_eq!(transcript.code, 0, "{}", transcript.stderr);
    for text in ["PS> Get-Date", "PS> Stop-Service -Name ssh", "refused (needs-repair)"] {
        assert!(transcript.stdout.contains(text), "{text}: {}", transcript.stdout);
    }
    assert_eq!(site.machine.run(&format!("session verify {session}")).code, 0);
    let mut bytes = std::fs::read(&site.records()[0]).expect("a record");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(site.machine.file("tampered.record"), bytes).expect("own directory");
    assert_eq!(site.machine.run("session verify tampered.record").code, 6);
}

#[test]
fn c14_a_second_enable_updates_the_grant_in_place() {
    let machine = Machine::new();
    let first = machine.enable("Diagnostics --expire-in-minutes 60");
    let second = machine.enable("DiagnosticsRepair --expire-in-minutes 1440");
    for kept in ["id", "createdAt", "state"] {
        assert_eq!(first[kept], second[kept], "{kept}");
    }
    for moved in ["updatedAt", "expiresAt", "accessLevel"] {
        assert_ne!(first[moved], second[moved], "{moved}");
    }
    assert_eq!(
        (&second["revision"], &second["minutes"]),
        (&2.into(), &1440.into()),
        "the second is what is in force"
    );
    assert_eq!(machine.json("access --include-expired").as_array().map(Vec::len), Some(1));
}

#[test]
fn a_second_enable_leaves_a_running_session_alive_and_lowering_it_ends_it() {
    let mut site = Site::started();
    site.papers();
    site.machine.enable("DiagnosticsRepair");
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    site.machine.enable("DiagnosticsRepair --expire-in-minutes 60");
    assert_eq!(site.status().sessions.len(), 1, "more of the same changes nothing for who is in");
    assert!(!engineer.has_ended());
    site.machine.enable("Diagnostics");
    assert_eq!(engineer.exit_code(), 3, "{}", engineer.stderr());
    assert_eq!(records::ends(&site.record(session)), [EndCause::LevelLowered]);
    assert!(site.workers().is_empty());
    site.agent().signal(rustix::process::Signal::TERM);
    assert_eq!(site.agent().exit_code(), 0);
}
