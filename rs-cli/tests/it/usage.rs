//! Help, completion and mistakes on the real program.

use std::process::Stdio;

use crate::machine::Machine;

#[test]
fn u01_help_lists_the_commands_and_their_cmdlets() {
    let help = Machine::new().run("--help");
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for name in [
        "enable",
        "disable",
        "access",
        "history",
        "session",
        "request",
        "operations",
        "agent",
        "desk",
        "engineer",
        "connect",
        "proxy",
        "relay",
        "demo",
        "completions",
    ] {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "{name}");
    }
    let flowed = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for cmdlet in [
        "Enable-RemoteSupport",
        "Disable-RemoteSupport",
        "Get-RemoteSupportAccess",
        "Get-RemoteSupportSessionHistory",
    ] {
        assert!(flowed.contains(&format!("[alias: {cmdlet}]")), "{cmdlet}");
    }
    assert!(!help.stdout.contains("operation-worker"), "what only the agent starts is not shown");
}

#[test]
fn c05_help_of_enable_says_range_default_and_values() {
    for line in ["enable --help", "help enable", "Enable-RemoteSupport -?", "help ENABLE-REMOTESUPPORT"] {
        let help = Machine::new().run(line);
        assert_eq!(help.code, 0, "{line}");
        for text in [
            "60 to 20160",
            "[default: 480]",
            "Diagnostics|DiagnosticsRepair",
            "REMOTE_SUPPORT_EXPIRE_IN_MINUTES",
        ] {
            assert!(help.stdout.contains(text), "{line}: {text}");
        }
    }
}

#[test]
fn u05_mistakes_end_with_exit_code_2_and_a_suggestion() {
    let machine = Machine::new();
    for (line, suggestion) in [
        ("enabel", "'enable'"),
        ("enable --acces-level Diagnostics", "'--access-level'"),
        ("enable --access-level Diagnosics", "'Diagnostics'"),
        ("access --include-expird", "'--include-expired'"),
        ("Enable-RemoteSuport", "Enable-RemoteSupport"),
        ("Enable-RemoteSupport -AccesLevel Diagnostics", "'-AccessLevel'"),
        ("Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinuts 60", "'-ExpireInMinutes'"),
    ] {
        let run = machine.run(line);
        assert_eq!(run.code, 2, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(suggestion), "{line}: {}", run.stderr);
        assert_eq!(run.stdout, "");
    }
    for line in
        ["", "history --from-date 31/07/2025", "access --output yaml", "request confirm 123", "desk assign"]
    {
        assert_eq!(machine.run(line).code, 2, "{line}");
    }
    assert!(!machine.state().exists());
}

#[test]
fn u14_completion_scripts_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = Machine::new().run(&format!("completions {shell}"));
        assert_eq!(run.code, 0, "{shell}");
        assert!(run.stdout.contains("expire-in-minutes"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_crash_and_no_noise() {
    let machine = Machine::new();
    let mut command = machine.command(["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    // 0 where all of it fitted into the pipe before the reader left.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn whoever_names_no_command_is_told_which_there_are() {
    let machine = Machine::new();
    for (line, listed) in
        [("", "First steps:"), ("session", "replay"), ("diagnostic-data destination", "clear")]
    {
        let run = machine.run(line);
        assert_eq!(run.code, 2, "{line}");
        assert!(
            run.stderr.starts_with("error: name a command\n") && run.stderr.contains(listed),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("operation-worker"), "what is hidden stays so: {}", run.stderr);
    }
    let run = machine.run("session --output json");
    assert!(run.stderr.contains("a command is missing"), "{}", run.stderr);
}
