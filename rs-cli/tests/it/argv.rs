//! PowerShell spelling on the program's own command tree.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;
use rs_cli::argv::{ArgvError, rewrite};
use rs_cli::cli::Cli;

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("remote-support").chain(line.split_whitespace()).map(Into::into).collect()
}

fn rewritten(line: &str) -> String {
    let out = rewrite(&Cli::command(), words(line)).expect("understood");
    out.iter().skip(1).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn refused(line: &str) -> String {
    rewrite(&Cli::command(), words(line)).expect_err("not understood").to_string()
}

#[test]
fn u01_the_products_own_lines_work_as_they_are_written() {
    for (written, expected) in [
        (
            "Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440",
            "enable --access-level=Diagnostics --expire-in-minutes=1440",
        ),
        ("enable-remotesupport -accesslevel:Diagnostics", "enable --access-level=Diagnostics"),
        ("ENABLE-AZSTACKHCIREMOTESUPPORT -Acc DiagnosticsRepair", "enable --access-level=DiagnosticsRepair"),
        ("Enable-RemoteSupport -ExpireMinutes 1440", "enable --expire-in-minutes=1440"),
        ("Enable-RemoteSupport -Exp 60", "enable --expire-in-minutes=60"),
        ("Enable-RemoteSupport -ExpireInMinutes -5", "enable --expire-in-minutes=-5"),
        ("Enable-RemoteSupport -AgreeToRemoteSupportConsent", "enable --agree-to-remote-support-consent"),
        ("Disable-RemoteSupport", "disable"),
        ("Disable-AzStackHciRemoteSupport", "disable"),
        ("Get-RemoteSupportAccess -IncludeExpired", "access --include-expired"),
        ("get-azstackhciremotesupportaccess -IncludeExpired:$true", "access --include-expired"),
        ("Get-RemoteSupportAccess -IncludeExpired:$false", "access"),
        ("Get-RemoteSupportAccess -IncludeExpired:False", "access"),
        ("Get-RemoteSupportAccess -IncludeExpired $true", "access --include-expired"),
        ("Get-RemoteSupportSessionHistory -FromDate -7d", "history --from-date=-7d"),
        (
            "Get-RemoteSupportSessionHistory -IncludeSessionTranscript -SessionId 5",
            "history --include-session-transcript --session-id=5",
        ),
        (
            "Get-RemoteSupportSessionHistory -IncludeSessionTranscript $true -SessionId 5",
            "history --include-session-transcript --session-id=5",
        ),
        (
            "Get-RemoteSupportSessionHistory -IncludeSessionTranscript:$false",
            "history --include-session-transcript=false",
        ),
        ("-StateDir /x Get-RemoteSupportAccess -Output json", "--state-dir=/x access --output=json"),
        ("-?", "--help"),
        ("Enable-RemoteSupport -?", "enable --help"),
        ("help Enable-RemoteSupport", "help enable"),
        ("agent RUN", "agent run"),
    ] {
        assert_eq!(rewritten(written), expected, "{written}");
    }
}

#[test]
fn gnu_spelling_passes_untouched() {
    for line in [
        "enable --access-level Diagnostics --expire-in-minutes=1440",
        "enable --access-level -AccessLevel",
        "enable --expire-in-minutes -5",
        "--state-dir enable access",
        "history --include-session-transcript=true --from-date -7d",
        "connect --command -Name --command=Get-Process",
        "request submit --reason -why -h",
        "session verify -- -AccessLevel",
        "-V",
        "unknown -5 -- -x --y",
    ] {
        assert_eq!(rewritten(line), line);
    }
}

#[test]
fn u05_names_that_do_not_exist_get_powershells_words_and_a_correction() {
    assert_eq!(
        refused("Enable-RemoteSupport -ExpireInMinute5 60"),
        "enable: A parameter cannot be found that matches parameter name 'ExpireInMinute5'. \
         Did you mean '-ExpireInMinutes'?"
    );
    assert_eq!(
        refused("Enable-RemoteSupport -Zebra"),
        "enable: A parameter cannot be found that matches parameter name 'Zebra'."
    );
    assert_eq!(
        refused("Enable-RemoteSupport -Agree"),
        "enable: Parameter cannot be processed because the parameter name 'Agree' is ambiguous. \
         Possible matches include: -AgreeToRemoteSupportConsent -AgreeToTerms -AgreeToCatalog."
    );
    for line in ["Enable-RemoteSupport -AccessLevel", "Enable-RemoteSupport -AccessLevel -ExpireInMinutes 60"]
    {
        assert!(refused(line).contains("Missing an argument for parameter 'AccessLevel'"), "{line}");
    }
    assert!(refused("Get-RemoteSupportAccess -IncludeExpired:maybe").contains("switch 'IncludeExpired'"));
    assert!(refused("Get-RemoteSupportAccess -IncludeExpired:").contains("switch 'IncludeExpired'"));
}

#[test]
fn sec33_a_credential_on_the_command_line_is_refused_and_not_repeated() {
    for line in [
        "Enable-RemoteSupport -SasCredential canary",
        "Enable-RemoteSupport -sascredential:canary",
        "enable --sas-credential canary",
        "enable --sas-credential=canary",
    ] {
        let text = refused(line);
        assert!(text.contains("--sas-credential-file") && !text.contains("canary"), "{text}");
    }
}

#[test]
fn arguments_that_are_not_text_pass_through() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let raw = OsString::from_vec(b"/tmp/\xff".to_vec());
        let args = vec!["remote-support".into(), "-StateDir".into(), raw.clone(), "access".into()];
        let mut expected = OsString::from("--state-dir=");
        expected.push(&raw);
        assert_eq!(rewrite(&Cli::command(), args).expect("understood")[1], expected);
    }
}

/// One parameter of `enable` in both spellings.
fn parameter() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let valued = prop_oneof![
        (Just("access-level"), Just("Diagnostics".to_owned()), 2_usize..=11),
        (Just("expire-in-minutes"), (60_u32..=20160).prop_map(|n| n.to_string()), 2_usize..=15),
        (Just("support-request"), "[0-9]{16}", 2_usize..=14),
        (Just("output"), Just("table".to_owned()), 2_usize..=6),
        (Just("state-dir"), "/[a-z]{1,8}", 2_usize..=8),
    ];
    let switch = (prop_oneof![Just("agree-to-remote-support-consent"), Just("compat-prompt")], any::<bool>());
    prop_oneof![
        (valued, any::<u32>(), any::<bool>()).prop_map(|((long, value, keep), cases, colon)| {
            let name = powershell(long, keep, cases);
            let written = if colon {
                vec![format!("-{name}:{value}")]
            } else {
                vec![format!("-{name}"), value.clone()]
            };
            (written, vec![format!("--{long}={value}")])
        }),
        (switch, any::<u32>()).prop_map(|((long, on), cases)| {
            let name = powershell(long, usize::MAX, cases);
            let written = vec![if on { format!("-{name}") } else { format!("-{name}:$false") }];
            (written, if on { vec![format!("--{long}")] } else { vec![] })
        }),
    ]
}

/// The name without hyphens, cut to a prefix, with upper and lower case as the bits of `cases` say.
fn powershell(long: &str, keep: usize, cases: u32) -> String {
    let letters = long.chars().filter(|c| *c != '-').take(keep).enumerate();
    letters.map(|(at, c)| if cases >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect()
}

proptest! {
    #[test]
    fn u01_both_spellings_mean_the_same(parameters in prop::collection::vec(parameter(), 0..6), cases in any::<u32>()) {
        let mut written = vec!["remote-support".to_owned(), powershell("enable", 99, cases)];
        let mut expected = vec!["remote-support".to_owned(), "enable".to_owned()];
        for (powershell, gnu) in parameters {
            written.extend(powershell);
            expected.extend(gnu);
        }
        let out = rewrite(&Cli::command(), written.into_iter().map(Into::into));
        // A prefix of two letters can fit two parameters; then the refusal must say so.
        match out {
            Ok(out) => prop_assert_eq!(out, expected.into_iter().map(OsString::from).collect::<Vec<_>>()),
            Err(error) => prop_assert!(matches!(error, ArgvError::Ambiguous { .. }), "{}", error),
        }
    }

    #[test]
    fn rewriting_twice_changes_nothing(args in prop::collection::vec("-{0,2}[a-zA-Z:=$-]{0,12}", 0..8)) {
        let args = std::iter::once("remote-support".to_owned()).chain(args).map(OsString::from);
        if let Ok(once) = rewrite(&Cli::command(), args) {
            prop_assert_eq!(rewrite(&Cli::command(), once.clone()), Ok(once));
        }
    }

    #[test]
    fn sec44_no_arguments_panic(args in prop::collection::vec(any::<String>(), 0..8)) {
        let args = std::iter::once("remote-support".to_owned()).chain(args).map(OsString::from);
        if let Ok(out) = rewrite(&Cli::command(), args) {
            let _ = Cli::try_parse_from(out);
        }
    }

    #[test]
    fn all_after_two_dashes_is_left_alone(args in prop::collection::vec(any::<String>(), 0..8)) {
        let args: Vec<OsString> = ["remote-support", "access", "--"].into_iter().map(Into::into)
            .chain(args.into_iter().map(Into::into)).collect();
        prop_assert_eq!(rewrite(&Cli::command(), args.clone()), Ok(args));
    }
}
