//! The operator's commands on the real program: enable, disable, access.

use std::process::Stdio;

use rs_consent::compat::AccessView;

#[cfg(unix)]
use crate::machine;
use crate::machine::Machine;

const AGREED: &str = "enable --agree-to-remote-support-consent --access-level Diagnostics";

#[test]
fn c04_minutes_outside_the_range_are_refused_and_nothing_is_stored() {
    let machine = Machine::new();
    for value in
        ["59", "20161", "0", "-5", "1e3", "99999999999999999999", "", "480.5", "+480", "15d", "PT59M", " 480"]
    {
        let gnu = [&AGREED.split(' ').collect::<Vec<_>>()[..], &["--expire-in-minutes", value]].concat();
        let powershell = [
            "Enable-RemoteSupport",
            "-AgreeToRemoteSupportConsent",
            "-AccessLevel",
            "Diagnostics",
            "-ExpireInMinutes",
            value,
        ];
        for args in [&gnu[..], &powershell] {
            let run = machine.run_args(args);
            assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
            assert!(run.stderr.contains("60 to 20160 minutes"), "{args:?}: {}", run.stderr);
        }
        let run = machine.command(AGREED.split(' ')).env("REMOTE_SUPPORT_EXPIRE_IN_MINUTES", value).output();
        assert_eq!(run.expect("starts").status.code(), Some(2), "{value:?} from the environment");
    }
    assert!(!machine.state().exists(), "nothing is stored");
}

#[test]
fn c02_a_level_must_be_given_and_known() {
    let machine = Machine::new();
    for args in [
        vec!["enable", "--agree-to-remote-support-consent"],
        vec!["enable", "--agree-to-remote-support-consent", "--access-level", "Admin"],
        vec!["enable", "--agree-to-remote-support-consent", "--access-level", ""],
        vec!["enable", "--agree-to-remote-support-consent", "--access-level", "None"],
        vec!["Enable-RemoteSupport", "-AgreeToRemoteSupportConsent", "-AccessLevel", "Diag nostics"],
    ] {
        let run = machine.run_args(&args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("Diagnostics") && run.stderr.contains("DiagnosticsRepair"),
            "{args:?}: {}",
            run.stderr
        );
    }
    let run = machine.run("Enable-RemoteSupport -AgreeToRemoteSupportConsent -AccessLevel");
    assert_eq!((run.code, run.stderr.contains("Missing an argument for parameter 'AccessLevel'")), (2, true));
    assert!(!machine.state().exists(), "nothing is stored");
}

#[test]
fn c03_c05_permitted_minutes_are_taken_as_they_are() {
    for (more, minutes) in [
        ("Diagnostics", 480),
        ("Diagnostics --expire-in-minutes 60", 60),
        ("Diagnostics --expire-in-minutes=20160", 20160),
        ("diagnosticsandrepair -ExpireInMinutes:1440", 1440),
        ("Diagnostics -ExpireMinutes 1d", 1440),
        ("Diagnostics --expire-minutes PT8H", 480),
    ] {
        let grant = Machine::new().enable(more);
        assert_eq!(grant["minutes"], minutes, "{more}");
        assert_eq!(grant["state"], "Active");
    }
}

#[test]
fn c08_without_a_terminal_nobody_is_asked_and_nothing_is_granted() {
    let machine = Machine::new();
    let run = machine.run("enable --access-level Diagnostics");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("error[no-terminal]") && run.stderr.contains("--agree-to-remote-support-consent")
    );
    assert!(!machine.state().exists());
    let run = machine.run("enable --access-level Diagnostics --output json");
    let error: serde_json::Value = serde_json::from_str(&run.stderr).expect("i14: errors are JSON too");
    assert_eq!(error["error"]["code"], "no-terminal");
}

#[test]
fn c08_agreement_is_to_the_terms_in_force_and_never_from_the_environment() {
    let machine = Machine::new();
    let run = machine.run("enable --access-level Diagnostics --agree-to-terms azure-local-1999");
    assert_eq!(run.code, 3, "{}", run.stderr);
    let run = machine
        .command(["enable", "--access-level", "Diagnostics"])
        .env("REMOTE_SUPPORT_AGREE_TO_REMOTE_SUPPORT_CONSENT", "true")
        .output()
        .expect("starts");
    assert_eq!(run.status.code(), Some(3));
    assert!(!machine.state().exists());
    let grant = machine.json("enable --access-level Diagnostics --agree-to-terms azure-local-2025-07-31");
    assert_eq!(grant["terms"]["version"], "azure-local-2025-07-31");
    assert_eq!(grant["grantor"]["method"], "command-line");
}

#[test]
fn c06_u02_terms_level_and_progress_are_shown_in_the_products_words() {
    let run = Machine::new().run("enable --access-level Diagnostics --agree-to-remote-support-consent");
    let at =
        |text: &str| run.stderr.find(text).unwrap_or_else(|| panic!("{text} is missing in {}", run.stderr));
    assert!(at("By approving this request") < at("Access level 'Diagnostics' permits"));
    assert!(
        at("Access level 'Diagnostics' permits")
            < at("Enabling Remote Support for 'Diagnostics' expiring in '480' minutes.")
    );
    assert!(at("expiring in '480' minutes.") < at("Remote Support successfully Enabled."));
}

#[test]
fn c10_c11_the_list_has_the_nine_public_fields_in_the_public_form() {
    let machine = Machine::new();
    machine.enable("Diagnostics -ExpireInMinutes 1440");
    for line in
        ["Get-RemoteSupportAccess", "enable --agree-to-remote-support-consent --access-level Diagnostics"]
    {
        let shown = machine.run(line).stdout;
        let view: AccessView = shown.parse().expect("the product's list view");
        assert_eq!(view.to_string(), shown, "byte by byte");
        assert_eq!(
            (view.state.as_str(), view.connection_status.as_str(), view.target_service.as_str()),
            ("Active", "NotConnected", "PowerShell")
        );
        let names: Vec<&str> =
            shown.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
        assert_eq!(
            names,
            [
                "State",
                "CreatedAt",
                "UpdatedAt",
                "ConnectionStatus",
                "ConnectionErrorMessage",
                "TargetService",
                "AccessLevel",
                "ExpiresAt",
                "SasCredential",
            ]
        );
        assert!(shown.ends_with("\nSasCredential          :\n"), "always blank: {shown}");
    }
}

#[test]
fn c14_a_second_enable_changes_the_grant_in_place() {
    let machine = Machine::new();
    let first = machine.enable("Diagnostics --expire-in-minutes 1440");
    let second = machine.enable("DiagnosticsRepair --expire-in-minutes 60");
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["createdAt"], first["createdAt"]);
    assert!(second["updatedAt"].as_str() > first["updatedAt"].as_str());
    assert!(second["expiresAt"].as_str() < first["expiresAt"].as_str(), "a shorter period is allowed");
    assert_eq!((&second["revision"], &second["accessLevel"]), (&2.into(), &"DiagnosticsRepair".into()));
    assert_eq!(machine.json("access").as_array().map(Vec::len), Some(1));
}

#[test]
fn c14_many_enables_at_once_lose_nothing() {
    let machine = Machine::new();
    let started: Vec<_> = (0..6)
        .map(|_| {
            machine
                .command(AGREED.split(' '))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts")
        })
        .collect();
    for mut child in started {
        assert!(child.wait().expect("ends").success());
    }
    let grants = machine.json("access --include-expired");
    assert_eq!(grants.as_array().map(Vec::len), Some(1), "{grants}");
    assert_eq!(grants[0]["revision"], 6, "each of them is in it");
}

#[test]
fn c16_c17_disable_revokes_and_is_a_quiet_success_without_a_grant() {
    let machine = Machine::new();
    let none = machine.json("disable");
    assert_eq!((&none["changed"], &none["sessionsEnded"]), (&false.into(), &0.into()));
    assert!(!machine.state().exists(), "nothing was there and nothing is made");
    machine.enable("Diagnostics");
    assert_eq!(machine.json("Disable-RemoteSupport")["changed"], true);
    let again = machine.run("disable");
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("was not enabled"), "{}", again.stderr);
    assert_eq!(machine.json("access"), serde_json::json!([]));
}

#[test]
fn c18_c19_ended_grants_are_listed_when_asked_for_each_with_its_state() {
    let machine = Machine::new();
    let empty = machine.run("access");
    assert_eq!((empty.code, empty.stdout.as_str()), (0, ""));
    assert!(empty.stderr.contains("No remote support access exists."));
    machine.enable("Diagnostics");
    machine.run("disable");
    machine.enable("DiagnosticsRepair");
    let grants = machine.json("Get-AzStackHCIRemoteSupportAccess -IncludeExpired");
    assert_eq!(
        (&grants[0]["state"], &grants[0]["accessLevel"]),
        (&"Active".into(), &"DiagnosticsRepair".into())
    );
    assert_eq!((&grants[1]["state"], &grants[1]["endCause"]), (&"Revoked".into(), &"revoked".into()));
    assert_eq!(
        machine.json("Get-RemoteSupportAccess -IncludeExpired:$false").as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn u08_the_remaining_time_is_said() {
    let machine = Machine::new();
    machine.enable("Diagnostics --expire-in-minutes 60");
    assert!(
        machine.run("access").stderr.contains("Access ends in 59 min"),
        "{}",
        machine.run("access").stderr
    );
}

#[cfg_attr(
    windows,
    ignore = "it writes its files itself, without the access lists that Windows wants of them"
)]
#[test]
fn c21_sec33_a_credential_is_read_from_a_private_file_or_stdin_and_never_shown() {
    let machine = Machine::new();
    let secret = "Endpoint=sb://relay.example/;EntityPath=node-01;SharedAccessKeyName=listen;SharedAccessKey=c2FzLWNhbmFyeQ==";
    let file = machine.file("sas");
    std::fs::write(&file, secret).expect("own directory");
    #[cfg(unix)]
    {
        machine::chmod(&file, 0o644);
        let run = machine.run(&format!("{AGREED} --sas-credential-file sas"));
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(run.stderr.contains("chmod 600") && !run.stderr.contains("canary"), "{}", run.stderr);
        assert!(!machine.state().exists(), "nothing is stored");
        machine::chmod(&file, 0o600);
    }
    let mut shown = String::new();
    for line in [
        "enable --agree-to-remote-support-consent --access-level Diagnostics --sas-credential-file sas",
        "access",
        "access --output json",
        "access --output table",
        "disable",
    ] {
        let run = machine.run(line);
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
        shown += &(run.stdout + &run.stderr);
    }
    assert!(shown.contains("Using provided SAS credential"));
    assert!(!shown.contains("c2FzLWNhbmFyeQ"), "{shown}");
    let kept: Vec<_> =
        machine.state_files().into_iter().filter(|(_, content)| holds(content, b"c2FzLWNhbmFyeQ")).collect();
    let [(path, content)] = kept.as_slice() else { panic!("kept in one place: {kept:?}") };
    assert_eq!(
        (path.file_name(), content.as_slice()),
        (Some("relay.credential".as_ref()), secret.as_bytes())
    );
    #[cfg(unix)]
    assert_eq!(machine::mode(path), 0o600);
}

#[cfg_attr(
    windows,
    ignore = "it writes its files itself, without the access lists that Windows wants of them"
)]
#[test]
fn c21_a_credential_that_cannot_connect_is_refused_before_anything_is_stored() {
    let machine = Machine::new();
    for content in ["", "canary", "Endpoint=sb://relay.example/;EntityPath=node-01;SharedAccessKey=canary"] {
        std::fs::write(machine.file("sas"), content).expect("own directory");
        #[cfg(unix)]
        machine::chmod(&machine.file("sas"), 0o600);
        let run = machine.run(&format!("{AGREED} --sas-credential-file sas"));
        assert_eq!(run.code, 1, "{content}: {}", run.stderr);
        assert!(run.stderr.contains("invalid-file") && !run.stderr.contains("canary"), "{}", run.stderr);
    }
    assert!(!machine.state().exists());
}

#[test]
fn c21_a_credential_can_come_from_standard_input() {
    use std::io::Write as _;
    let machine = Machine::new();
    let mut command = machine.command(AGREED.split(' ').chain(["--sas-credential-file", "-"]));
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("starts");
    let secret =
        b"Endpoint=sb://relay.example/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=node-01\n";
    child.stdin.take().expect("a pipe").write_all(secret).expect("read");
    assert!(child.wait().expect("ends").success());
    let kept = std::fs::read(machine.state().join("node/relay.credential")).expect("kept");
    assert_eq!(kept, secret.trim_ascii_end());
}

#[test]
fn c21_a_credential_on_the_command_line_is_refused_without_repeating_it() {
    let machine = Machine::new();
    for line in [
        "Enable-RemoteSupport -AgreeToRemoteSupportConsent -AccessLevel Diagnostics -SasCredential canary",
        "enable --agree-to-remote-support-consent --access-level Diagnostics --sas-credential=canary",
        "enable --agree-to-remote-support-consent --access-level Diagnostics --sas-credential canary",
    ] {
        let run = machine.run(line);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(
            !run.stderr.contains("canary") && run.stderr.contains("--sas-credential-file"),
            "{}",
            run.stderr
        );
    }
    let run = machine.run(&format!("{AGREED} --sas-credential-file SharedAccessKey=canary"));
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert!(!machine.state().exists());
}

fn holds(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[test]
fn sec33_no_command_prints_a_private_key() {
    let machine = Machine::new();
    machine.submit();
    let mut shown = String::new();
    for line in [
        "desk init",
        "desk open request.json",
        "engineer init",
        "engineer init --output json",
        "request list --output json",
        "desk assign --engineer engineer@support.example --output json",
        "request confirm 1",
        "desk init --output table",
    ] {
        let run = machine.run(line);
        shown += &(run.stdout + &run.stderr);
    }
    let keys: Vec<_> = machine
        .state_files()
        .into_iter()
        .filter(|(path, _)| path.extension() == Some("key".as_ref()))
        .collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for (path, content) in keys {
        let body = String::from_utf8(content).expect("PEM").lines().nth(1).expect("a body").to_owned();
        assert!(!shown.contains(&body), "{}", path.display());
        #[cfg(unix)]
        assert_eq!(machine::mode(&path), 0o600);
    }
}

#[cfg(unix)]
#[test]
fn sec36_the_state_is_the_owners_only_and_a_looser_one_is_refused_with_the_remedy() {
    let machine = Machine::new();
    machine.submit();
    machine.enable("Diagnostics");
    let node = machine.state().join("node");
    for path in [machine.state(), node.clone()] {
        assert_eq!(machine::mode(&path), 0o700);
    }
    for (path, _) in machine.state_files() {
        assert_eq!(machine::mode(&path), 0o600, "{}", path.display());
    }
    for (path, line) in [
        (node.join("node.key"), "request submit --reason again --file again.json"),
        (node.join("store.sqlite"), "access"),
        (node.clone(), "access"),
        (machine.state(), "access"),
    ] {
        let good = machine::mode(&path);
        machine::chmod(&path, good | 0o066);
        let run = machine.run(line);
        assert_eq!(run.code, 1, "{}: {}", path.display(), run.stderr);
        assert!(run.stderr.contains("unsafe-permissions") && run.stderr.contains("chmod "), "{}", run.stderr);
        machine::chmod(&path, good);
        assert_eq!(machine.run("access").code, 0);
    }
}

#[test]
fn sec37_what_was_typed_wrongly_is_not_obeyed_by_the_terminal() {
    let machine = Machine::new();
    for args in [
        vec!["enable", "--access-level", "\u{1b}[2J"],
        vec!["\u{1b}]0;title\u{7}"],
        vec!["enable", "-Level\u{1b}[2J"],
        vec!["request", "confirm", "\u{1b}[2J"],
    ] {
        let run = machine.run_args(&args);
        assert_ne!(run.code, 0);
        assert!(!run.stderr.contains('\u{1b}') && !run.stderr.contains('\u{7}'), "{:?}", run.stderr);
    }
}

#[test]
fn a_damaged_store_is_refused_by_every_command() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let store = machine.state().join("node/store.sqlite");
    std::fs::write(&store, b"this is no store").expect("own file");
    for line in ["access", "disable", "request list", AGREED] {
        let run = machine.run(line);
        assert_eq!(run.code, 6, "{line}: {}", run.stderr);
    }
    assert!(machine.run("disable").stderr.contains("no agent is running"));
}
